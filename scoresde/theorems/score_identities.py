r"""Identities of the score along the forward flow: conditional expectations, martingales, partial differential equations."""

import math

import numpy as np

from ..divergence.panels import integrate
from ..divergence.view import view
from ..enclosure import Enclosure
from ..errors import NoMethod
from ..kernel import ornstein_uhlenbeck
from ..score import exact, to_epsilon, to_v, to_x0
from .claim import Statement, claim_over, states
from .numeric import EPS, about, equal, exists, flow, mutated, needs, probes, richardson, unmet
from .tweedie import bayes_moments

__all__ = [
    "conditional", "parametrisation_identities", "relative_score_equation", "score_conditional_expectation", "score_equation",
    "score_martingales", "semigroup_commutation",
]  # fmt: skip

MOMENT = r"E|X|^2 finite"
STEPS = (2, 4, 6, 8)  # powers in the error of a central difference


def _opened(theorem, target, relation="="):
    """(what, None), or (what, the claim "not applicable") where the second moment is infinite."""
    needs(target, "noised", "second_moment")
    what = about(theorem, (MOMENT, exists(target.second_moment)))
    return what, unmet(what, relation)


def _pointwise(value, error, rhs, *, digits, loss=0.0, **parameters):
    """The equality at the entry where it is furthest off, to so many digits of the largest right side."""
    value, rhs = np.broadcast_arrays(np.asarray(value, dtype=np.float64), np.asarray(rhs, dtype=np.float64))
    at = np.unravel_index(np.argmax(np.abs(value - rhs)), value.shape)
    size = max(1.0, float(np.max(np.abs(rhs))))
    lhs = Enclosure.near(value[at], np.broadcast_to(error, value.shape)[at], method="quadrature or differences")
    rhs = Enclosure.near(rhs[at], np.broadcast_to(loss, value.shape)[at] + 64 * EPS * size, method="closed form")
    return equal(lhs, rhs, digits=digits, floor=size, name="identity", parameters=parameters)


def _score_loss(p, x):
    """Rounding of the score: its weights are exponentials of terms of size log p."""
    return 16 * EPS * (8 + np.abs(p.logpdf(x)))[:, None] * (1 + np.abs(x) + np.abs(p.score(x)))


# ---- conditional expectations --------------------------------------------------------------------------------------------------------


@states(Statement(
    "B3", r"s_t(x) = E[−(x − m X₀)/σ² | X_t = x]", "Efron 2011, https://doi.org/10.1198/jasa.2011.tm11181; Vincent 2011",
    r"\nabla\log p_t(x) = E\left[\nabla_x\log p(x\mid X_u)\mid X_t=x\right] = E\left[-\frac{x-mX_u}{v}\,\Big|\,X_t=x\right],\quad"
    r" m=e^{-(t-u)},\; v=1-e^{-2(t-u)},\quad 0\le u<t",
    (MOMENT,), caveat="the score is the regression of the noise's own score on X_t: that is why denoising learns it",
))  # fmt: skip
def score_conditional_expectation(target, *, quick=False):
    r"""s_t(x) = E[-(x - m X_u)/v | X_t = x], from time u = 0 and from a later one, the mean by Bayes' rule.

    Each cell at the worst of five points. Control: -(x - X_u)/v, m forgotten.
    """
    what, claim = _opened(score_conditional_expectation, target)
    if claim is not None:
        return claim
    cells, wrong = [], []
    for u, t in ((0.0, 0.5), (0.2, 0.7)) if quick else ((0.0, 0.05), (0.0, 0.5), (0.0, 2.0), (0.2, 0.7)):
        kernel, p = ornstein_uhlenbeck(t - u), flow(target, t)
        x = probes(p)
        mean, _, error = bayes_moments(flow(target, u), kernel, x)
        error, loss = (error * kernel.m + 8 * EPS * (1 + np.abs(x))) / kernel.v, _score_loss(p, x) / kernel.v
        s = p.score(x)
        cells.append(_pointwise((kernel.m * mean - x) / kernel.v, error, s, digits=7, loss=loss, t=t, u=u))
        wrong.append(_pointwise((mean - x) / kernel.v, error, s, digits=7, loss=loss, t=t, u=u))
    control = claim_over(wrong, **mutated(score_conditional_expectation, r"s_t(x) = E[-(x-X_u)/v\mid X_t=x]"))
    return claim_over(cells, control=control, **what)


def conditional(law, kernel, x, g):
    r"""(E[g(U) | m U + \sqrt v Z = x], error), each (n,): Bayes' rule under the integral sign, U of ``law`` on the line, x (n,).

    Panels of the law and, for each x, of the likelihood of width \sqrt v/m; g is smooth at the scale of those panels.
    """
    m, v = kernel.m, kernel.v
    edges, width = view(law).edges, math.sqrt(v) / m
    log_joint = lambda u, y: np.asarray(law.logpdf(u[..., None])) - 0.5 * (y - m * u) ** 2 / v  # noqa: E731
    lo, hi, who, top = [], [], [], []
    for k, y in enumerate(x):
        own = np.union1d(edges, y / m + 0.5 * width * np.arange(-24, 25))
        ends = log_joint(own, y)
        size = np.maximum(ends[1:], ends[:-1])
        keep = size > size.max() - 80
        lo.append(own[:-1][keep])
        hi.append(own[1:][keep])
        who.append(np.full(np.count_nonzero(keep), k))
        top.append(size.max())
    lo, hi, who, top = np.concatenate(lo), np.concatenate(hi), np.concatenate(who), np.array(top)

    def f(u, which):
        w = np.exp(log_joint(u, x[which][:, None]) - top[which][:, None])
        values = w * g(u)
        return np.stack([w, values, 4 * (8 + np.abs(top[which][:, None])) * w, 16 * (8 + np.abs(top[which][:, None])) * np.abs(values)])

    found = integrate(f, lo, hi, who, watch=2, tolerance=1e-13, rounds=20)
    (mass, total, shake, shaky), error = ([np.bincount(who, row, len(x)) for row in rows] for rows in (found.value, found.error))
    mean = total / mass
    return mean, (error[1] + EPS * shaky + np.abs(mean) * (error[0] + EPS * shake)) / mass


@states(Statement(
    "B9", r"martingales of the score along the reverse process", "derived here; the target-score identity: De Bortoli et al. 2024",
    r"E[s_u(X_u)\mid X_t] = e^{-(t-u)}\,s_t(X_t),\qquad E[U_u(X_u)\mid X_t] = e^{t-u}\,U_t(X_t),\quad U_t(x)=s_t(x)+x,\; 0<u<t", (MOMENT,),
    caveat="in reverse time t ↦ e^{t} s and t ↦ e^{−t} U are martingales; at u = 0 the density must vanish at the ends of its support",
))  # fmt: skip
def score_martingales(target, *, quick=False):
    r"""E[s_u(X_u)|X_t] = e^{-(t-u)} s_t(X_t) and E[U_u(X_u)|X_t] = e^{t-u} U_t(X_t), on the line, by Bayes' rule.

    Each cell at the worst of five points. Control: E[s_u(X_u)|X_t] = s_t(X_t), a martingale without the exponential.
    """
    what, claim = _opened(score_martingales, target)
    if claim is not None:
        return claim
    if target.dim != 1:
        raise NoMethod(f"score_martingales: got dimension {target.dim}, allowed is 1: conditional expectations are integrals over the line")
    cells, wrong = [], []
    for u, t in ((0.2, 0.5),) if quick else ((0.1, 0.3), (0.2, 1.0)):
        q, p, kernel = flow(target, u), flow(target, t), ornstein_uhlenbeck(t - u)
        x = probes(p)
        s, loss = p.score(x)[:, 0], _score_loss(p, x)[:, 0]
        mean, error = conditional(q, kernel, x[:, 0], lambda y, q=q: q.score(y[..., None])[..., 0])
        cells.append(_pointwise(mean, error, kernel.m * s, digits=6, loss=loss, of="s", t=t, u=u))
        wrong.append(_pointwise(mean, error, s, digits=6, loss=loss, of="s", t=t, u=u))
        mean, error = conditional(q, kernel, x[:, 0], lambda y, q=q: q.score(y[..., None])[..., 0] + y)
        cells.append(_pointwise(mean, error, (s + x[:, 0]) / kernel.m, digits=6, loss=loss, of="U", t=t, u=u))
    control = claim_over(wrong, **mutated(score_martingales, r"E[s_u(X_u)\mid X_t] = s_t(X_t)"))
    return claim_over(cells, control=control, **what)


@states(Statement(
    "B12", r"∇P_t f = e^(−t) P_t ∇f", "Bakry, Gentil & Ledoux 2014, section 2.7, https://doi.org/10.1007/978-3-319-00227-9",
    r"\nabla P_tf = e^{-t}P_t\nabla f,\qquad P_tf(x) = E f(e^{-t}x+\sqrt{1-e^{-2t}}\,Z)", (MOMENT,),
    caveat="the source of every e^{−t} in this chapter; it holds without a constant only because the drift −x is linear",
))  # fmt: skip
def semigroup_commutation(target, *, quick=False):
    r"""d/dx P_t f = e^{-t} P_t f' for f = \log p_{0.1}, on the line: extrapolated differences of P_t f against P_t s_{0.1}.

    P_t by a trapezoidal sum of 2401 points over \pm 9.6. Control: without e^{-t}.
    """
    what, claim = _opened(semigroup_commutation, target)
    if claim is not None:
        return claim
    if target.dim != 1:
        raise NoMethod(f"semigroup_commutation: got dimension {target.dim}, allowed is 1: the semigroup is a sum over the line")
    z = np.linspace(-9.6, 9.6, 2401)
    w = np.exp(-0.5 * z * z)
    w /= w.sum()
    q, cells, wrong = flow(target, 0.1), [], []
    for t in (0.5,) if quick else (0.2, 0.5, 2.0):
        m, sd, x = math.exp(-t), math.sqrt(-math.expm1(-2 * t)), probes(flow(target, t))[:, 0]
        smooth = lambda y, m=m, sd=sd: q.logpdf((m * y[:, None] + sd * z)[..., None]) @ w  # noqa: E731
        values, noise = [], []
        for k in range(5):
            step = sd / m / 2 ** (k + 3)
            before, after = smooth(x - step), smooth(x + step)
            values.append((after - before) / (2 * step))
            noise.append(64 * EPS * (8 + np.abs(before)) / step)
        slope, error = _extrapolated(values, noise)
        mean = q.score((m * x[:, None] + sd * z)[..., None])[..., 0] @ w
        cells.append(_pointwise(slope, error, m * mean, digits=5, t=t))
        wrong.append(_pointwise(slope, error, mean, digits=5, t=t))
    control = claim_over(wrong, **mutated(semigroup_commutation, r"\nabla P_tf = P_t\nabla f"))
    return claim_over(cells, control=control, **what)


# ---- partial differential equations ----------------------------------------------------------------------------------------------------


def _time_slope(target, t, x):
    r"""(\partial_t s_t(x), error) by central differences from t/16, extrapolated."""
    values, noise = [], []
    for k in range(5):
        step = min(t, 1.0) / 2 ** (k + 4)
        before, after = flow(target, t - step), flow(target, t + step)
        values.append((after.score(x) - before.score(x)) / (2 * step))
        noise.append(_score_loss(before, x) / step)
    return _extrapolated(values, noise)


def _laplacian(p, x, scale):
    r"""(\Delta s(x), error) = \nabla tr \nabla s by central differences along each axis, extrapolated; ``scale``: the width of the noise."""
    trace = lambda y: np.trace(p.score_jacobian(y), axis1=-2, axis2=-1)  # noqa: E731
    rough = 64 * EPS * (8 + np.abs(p.logpdf(x))) * (1 + np.abs(p.score_jacobian(x)).max((-1, -2)) + (p.score(x) ** 2).sum(-1) + p.dim / scale**2)
    values, noise = [], []
    for k in range(5):
        step = scale / 2 ** (k + 4)
        moved = step * np.eye(p.dim)
        values.append(np.stack([(trace(x + e) - trace(x - e)) / (2 * step) for e in moved], axis=-1))
        noise.append(np.broadcast_to(rough[:, None] / step, x.shape))
    return _extrapolated(values, noise)


def _extrapolated(values, noise):
    """Richardson's limit of arrays with an array of rounding errors each: the least certain entry speaks for all."""
    return richardson(values, [float(np.max(n)) for n in noise], STEPS)


def _equations(target, quick):
    """Per time: t, points x, s, U = s + x, the Jacobian of s, its Laplacian, the time derivative and their joint error."""
    if target.dim > 32:
        raise NoMethod(f"score equation: got dimension {target.dim}, allowed is at most 32: its Laplacian takes a Jacobian for every axis")
    for t in (0.5,) if quick else (0.1, 0.5, 2.0):
        p = flow(target, t)
        x = probes(p)
        s, J = p.score(x), p.score_jacobian(x)
        slope, error = _time_slope(target, t, x)
        laplacian, more = _laplacian(p, x, math.sqrt(-math.expm1(-2 * t)))
        yield t, x, s, J, laplacian, slope, error + more


def _at(J, y):
    return np.einsum("nij,nj->ni", J, y)


@states(Statement(
    "B10", r"the score's Fokker–Planck equation",
    "Lai et al. 2023, https://arxiv.org/abs/2210.04296; gradient of the Fokker–Planck equation of log p",
    r"\partial_t s_t = \Delta s_t + \nabla\langle x,s_t\rangle + \nabla|s_t|^2", (MOMENT,),
    caveat="on the line: s'' + (x s)' + 2 s s'; a learnt score that violates it is no law's score",
))  # fmt: skip
def score_equation(target, *, quick=False):
    r"""\partial_t s = \Delta s + \nabla<x, s> + \nabla|s|^2, time and space derivatives by extrapolated differences.

    Each cell at the worst of five points, d <= 32. Control: \frac12\nabla|s|^2, the heat flow of another clock.
    """
    what, claim = _opened(score_equation, target)
    if claim is not None:
        return claim
    cells, wrong = [], []
    for t, _x, s, J, laplacian, slope, error in _equations(target, quick):
        rhs = laplacian + s + _at(J, _x) + 2 * _at(J, s)
        cells.append(_pointwise(slope, error, rhs, digits=5, t=t))
        wrong.append(_pointwise(slope, error, rhs - _at(J, s), digits=5, t=t))
    control = claim_over(wrong, **mutated(score_equation, r"\partial_ts = \Delta s+\nabla\langle x,s\rangle+\tfrac12\nabla|s|^2"))
    return claim_over(cells, control=control, **what)


@states(Statement(
    "B11", r"the relative score's equation, and the drift of the reverse drift", "derived here from the score's Fokker–Planck equation",
    r"\partial_tU_t = \Delta U_t - (x\cdot\nabla)U_t - U_t + 2(\nabla U_t)U_t,\quad U_t=s_t+x;\qquad"
    r" b=y+2s_{T-r}(y):\; (\partial_r+\Delta+b\cdot\nabla)\,b = y", (MOMENT,),
    caveat="so along the reverse process the drift b(Y) itself has drift exactly Y",
))  # fmt: skip
def relative_score_equation(target, *, quick=False):
    r"""\partial_t U = \Delta U - (x.\nabla)U - U + 2(\nabla U)U; for b = y + 2s in reverse time, (\partial_r + \Delta + b.\nabla) b = y.

    Each cell at the worst of five points, d <= 32. Control: (\partial_r + \Delta + b.\nabla) b = 0, a martingale.
    """
    what, claim = _opened(relative_score_equation, target)
    if claim is not None:
        return claim
    cells, wrong = [], []
    for t, x, s, J, laplacian, slope, error in _equations(target, quick):
        U, dU, b = s + x, J + np.eye(x.shape[1]), x + 2 * s
        cells.append(_pointwise(slope, error, laplacian - _at(dU, x) - U + 2 * _at(dU, U), digits=5, of="U", t=t))
        drift = 2 * (laplacian - slope) + _at(2 * dU - np.eye(x.shape[1]), b)
        scale = float(np.max(np.abs(slope)))  # the terms cancel down to y: digits of the largest of them count
        cells.append(_pointwise(drift / max(1.0, scale), 2 * error, x / max(1.0, scale), digits=5, of="b", t=t))
        wrong.append(_pointwise(drift / max(1.0, scale), 2 * error, 0 * x, digits=5, of="b", t=t))
    control = claim_over(wrong, **mutated(relative_score_equation, r"(\partial_r+\Delta+b\cdot\nabla)\,b = 0"))
    return claim_over(cells, control=control, **what)


# ---- parametrisations -------------------------------------------------------------------------------------------------------------------


@states(Statement(
    "B16", r"x̂₀ = (x + σ²s)/m,  ε̂ = −σs,  v = m ε̂ − σ x̂₀", "Ho, Jain & Abbeel 2020, https://arxiv.org/abs/2006.11239; Salimans & Ho 2022",
    r"x = m\hat x_0+\sigma\hat\varepsilon,\quad \hat\varepsilon = -\sigma s,\quad \hat x_0 = mx-\sigma\hat v,\quad"
    r" \hat v = m\hat\varepsilon-\sigma\hat x_0;\qquad"
    r" |\Delta\hat x_0|^2 = \tfrac{\sigma^2}{m^2}|\Delta\hat\varepsilon|^2 = \tfrac{\sigma^4}{m^2}|\Delta s|^2",
    (MOMENT,), caveat="some notes print ∇ log p(x_k | x_0) = −ε/σ²: it is −ε/σ",
))  # fmt: skip
def parametrisation_identities(target, *, quick=False):
    r"""The denoiser of Bayes' rule against the conversions of the exact score: x_0, noise and v predictions, and the weights of their losses.

    Each cell at the worst of five points. Control: s = -\hat\varepsilon/\sigma^2.
    """
    what, claim = _opened(parametrisation_identities, target)
    if claim is not None:
        return claim
    s, cells, wrong = exact(target), [], []
    for t in (0.5,) if quick else (0.05, 0.5, 2.0):
        kernel, p = ornstein_uhlenbeck(t), flow(target, t)
        m, sigma, x = kernel.m, math.sqrt(kernel.v), probes(p)
        mean, _, error = bayes_moments(target, kernel, x)
        noise, score, loss = (x - m * mean) / sigma, p.score(x), _score_loss(p, x)
        error, loss = (error + 8 * EPS * (1 + np.abs(x) + np.abs(mean))) / sigma, loss / (m * sigma)
        pairs = {
            "x0": (mean, to_x0(s)(t, x)), "epsilon": (noise, to_epsilon(s)(t, x)), "v": (m * noise - sigma * mean, to_v(s)(t, x)),
            "x0 from v": (mean, m * x - sigma * to_v(s)(t, x)),
        }  # fmt: skip
        cells += [_pointwise(lhs, error, rhs, digits=7, loss=loss, of=name, t=t) for name, (lhs, rhs) in pairs.items()]
        moved = _shifted(s, 0.5)
        gaps = [((f(moved)(t, x) - f(s)(t, x)) ** 2).sum(-1) for f in (to_x0, to_epsilon)]
        cells.append(_pointwise(gaps[0], 8 * EPS * np.max(np.abs(x)), kernel.v / m**2 * gaps[1], digits=7, loss=np.max(loss), of="losses", t=t))
        wrong.append(_pointwise(-noise / kernel.v, error / kernel.v, score, digits=7, loss=loss, of="s", t=t))
    control = claim_over(wrong, **mutated(parametrisation_identities, r"s = -\hat\varepsilon/\sigma^2"))
    return claim_over(cells, control=control, **what)


def _shifted(s, by):
    return lambda t, x: s(t, x) + by
