r"""Time reversal: the drift that undoes the noise, and the exact law of the reverse process from any start."""

import math

import numpy as np

from ..divergence import total_variation
from ..divergence.panels import integrate
from ..divergence.view import view
from ..enclosure import Enclosure
from ..engine.propagate import propagate
from ..errors import NoMethod
from ..grid import uniform
from ..kernel import ornstein_uhlenbeck
from ..laws import Gaussian, standard_normal
from ..scheme import exponential_relative
from ..score import exact
from .claim import Statement, claim_over, states
from .numeric import EPS, about, equal, exists, flow, mutated, needs, populated, probes, richardson, slow, time_derivative, unmet, worst
from .tweedie import bayes_moments

__all__ = ["anderson_1982_time_reversal", "reverse_density", "reverse_semigroup_density", "sharp_initialisation_error"]

MOMENT = r"E|X|^2 finite"
FOURTH = r"E|X|^4 finite, or E X ≠ 0"
MOVED = "the constant is not 0 (then the error is smaller still)"


@states(Statement(
    "C1", r"time reversal: dY = (Y + 2 s_{T−t}(Y)) dt + √2 dB has L(Y_t) = p_{T−t}",
    "Anderson 1982, https://doi.org/10.1016/0304-4149(82)90051-5; Haussmann & Pardoux 1986, https://doi.org/10.1214/aop/1176992362",
    r"b = y+2s_\tau(y):\quad -\partial_\tau p = -\nabla\cdot(b\,p)+\Delta p,\qquad"
    r" \lim_{h\to0}\frac{E[X_{\tau-h}-x\mid X_\tau=x]}h = b(x),\quad \lim_{h\to0}\frac{\mathrm{Cov}(X_{\tau-h}\mid X_\tau=x)}h = 2I",
    (MOMENT,),
))  # fmt: skip
def anderson_1982_time_reversal(target, *, quick=False):
    r"""L(Y_t) = p_{T-t}: the reverse drift b = y + 2s solves the Fokker–Planck equation, and is the drift of the Bayes kernel.

    Cells, each at the worst of five points: -\partial_\tau \log p by extrapolated differences against the equation; drift and variance of
    X_{\tau-h} given X_\tau by Bayes' rule, extrapolated to h = 0. Control: b = y + s, the drift of the probability flow, with the noise kept.
    """
    needs(target, "noised", "second_moment")
    what = about(anderson_1982_time_reversal, (MOMENT, exists(target.second_moment)))
    if (claim := unmet(what, "=")) is not None:
        return claim
    cells, wrong = [], []
    for t in (0.5,) if quick else (0.1, 0.5, 2.0):
        p = flow(target, t)
        x = populated(p, probes(p))
        s, trace = p.score(x), np.trace(p.score_jacobian(x), axis1=-2, axis2=-1)
        rate, error = time_derivative(target, t, x)
        for side, a in ((cells, 2.0), (wrong, 1.0)):  # b = y + a s: -div b - <b, s> + tr grad s + |s|^2
            residual = -(p.dim + a * trace) - (x * s).sum(-1) - a * (s * s).sum(-1) + trace + (s * s).sum(-1)
            side.append(worst(rate, error, residual, "−∂ log p/∂τ", t))
        drift, spread = _bayes_generator(target, t, x)
        cells.append(worst(*drift, x + 2 * s, "drift", t))
        cells.append(worst(*spread, np.broadcast_to(2 * np.eye(p.dim), spread[0].shape), "Cov/h", t))
        wrong.append(worst(*drift, x + s, "drift", t))
    control = claim_over(wrong, **mutated(anderson_1982_time_reversal, r"b = y+s_\tau(y)"))
    return claim_over(cells, control=control, **what)


def _bayes_generator(target, t, x):
    r"""((drift, error), (cov/h, error)): \lim (E[X_{t-h}|X_t=x] - x)/h and \lim Cov/h, from h = t/16, ..., t/256."""
    drifts, spreads, noise = [], [], []
    for k in range(5):
        h = min(t, 1.0) / 2 ** (k + 4)
        mean, cov, error = bayes_moments(flow(target, t - h), ornstein_uhlenbeck(h), x)
        drifts.append((mean - x) / h)
        spreads.append(cov / h)
        noise.append(error / h)
    return richardson(drifts, noise, (1, 2, 3, 4)), richardson(spreads, noise, (1, 2, 3, 4))


# ---- the exact law of the reverse process ----------------------------------------------------------------------------------------------


def reverse_density(target, t, start, y, *, stop=0.0, spacing=0.125):
    r"""E[(d\nu/dp_t)(X_t) - 1 | X_{stop} = y] (n,): the density of \nu Q relative to p_{stop}, less 1, for points y (n,) of the line.

    \nu = ``start`` is a law with a density. A trapezoidal sum over X_t = m y + \sqrt v Z on one grid for all y, on which the ratio is
    computed once. Its error falls like e^{-2\pi a/spacing}, a the distance of the nearest complex zero of p_t, in the narrower of
    \sqrt v and the spread of \nu.
    """
    y = np.asarray(y, dtype=np.float64)
    kernel, own = ornstein_uhlenbeck(t - stop), view(start).edges
    sd = math.sqrt(kernel.v)
    width = spacing * min(sd, math.sqrt(float(start.cov()[0, 0])))
    lo, hi = min(own[0], kernel.m * y.min() - 9 * sd), max(own[-1], kernel.m * y.max() + 9 * sd)
    x = np.linspace(lo, hi, math.ceil((hi - lo) / width) + 1)
    log_ratio = np.asarray(start.logpdf(x[:, None])) - np.asarray(flow(target, t).logpdf(x[:, None]))
    log_weight = -0.5 * ((x - kernel.m * y[..., None]) / sd) ** 2 + math.log((x[1] - x[0]) / sd / math.sqrt(2 * math.pi))
    small = np.abs(log_ratio) < 1
    near = np.exp(log_weight) @ np.where(small, np.expm1(np.where(small, log_ratio, 0.0)), 0.0)
    far = np.exp(log_weight[..., ~small] + log_ratio[~small]) - np.exp(log_weight[..., ~small])
    return near + far.sum(-1)


@states(Statement(
    "C2", r"reverse semigroup: d(νQ_T)/dπ (x) = E[(dν/dp_T)(X_T) | X_0 = x]", "derived here (Bayes' rule for the path, reversed)",
    r"\frac{d(\nu Q)}{dp_u}(x) = E\left[\frac{d\nu}{dp_t}(X_t)\,\Big|\,X_u=x\right],\qquad 0\le u<t,\quad \nu\ll p_t",
    (MOMENT,), caveat="one sum gives the exact law of the continuous generative model from any start, with no discretisation",
))  # fmt: skip
def reverse_semigroup_density(target, *, quick=False):
    r"""The law of the reverse process from \nu, against fine chains extrapolated to step 0.

    \nu at t = 0.7: a Gaussian half a standard deviation of p_t off, with 3/4 of its variance; density at u = 0.1, at five points of p_u.
    Chains: exponential integrators with 16 to 128 (quick: 10 to 80) steps, propagated exactly. Control: (d\nu/dp_t)(e^{-(t-u)} x), the
    ratio at the mean instead of its mean.
    """
    needs(target, "noised", "second_moment")
    what = about(reverse_semigroup_density, (MOMENT, exists(target.second_moment)))
    if (claim := unmet(what, "=")) is not None:
        return claim
    if target.dim != 1:
        raise NoMethod(f"reverse_semigroup_density: got dimension {target.dim}, allowed is 1: the reverse law is a sum on the line")
    t, u, score = 0.7, 0.1, exact(target)
    p, last = flow(target, u), flow(target, t)
    spread = float(last.cov()[0, 0])
    start = Gaussian(last.mean() + 0.5 * math.sqrt(spread), 0.75 * spread)
    x = probes(p)
    values, noise = [], []
    for steps in (10, 20, 40, 80) if quick or slow(target) else (16, 32, 64, 128):
        law = propagate(exponential_relative(uniform(t, steps, stop=u)), score, start=start)
        values.append(law.pdf(x))
        noise.append(1e-12 if law.twin is None else np.max(np.abs(law.twin.pdf(x) - values[-1])) + 1e-12)
    limit, error = richardson(values, noise, (1, 2, 3))
    error = np.max(error)  # of all points: at one of them two columns may agree by accident
    density, m = p.pdf(x), math.exp(u - t)
    fine, coarse = (density * (1 + reverse_density(target, t, start, x[:, 0], stop=u, spacing=a)) for a in (0.0625, 0.125))
    plugged = density * np.exp(start.logpdf(m * x) - last.logpdf(m * x))
    cells, wrong, top = [], [], float(np.max(density))
    for k, at in enumerate(x[:, 0]):
        lhs = Enclosure.near(limit[k], error, method="chains, extrapolated")
        rhs = Enclosure.near(fine[k], abs(fine[k] - coarse[k]) + 64 * EPS * fine[k], method="trapezoidal sum")
        cells.append(equal(lhs, rhs, digits=3, floor=top, name="density", parameters={"x": float(at)}))
        wrong.append(equal(lhs, plugged[k], digits=3, floor=top, name="density", parameters={"x": float(at)}))
    control = claim_over(wrong, **mutated(reverse_semigroup_density, r"\frac{d(\nu Q)}{dp_u}(x) = \frac{d\nu}{dp_t}(e^{-(t-u)}x)"))
    return claim_over(cells, control=control, parameters={"t": t, "u": u}, **what)


@states(Statement(
    "C3", r"sharp initialisation error: TV(γQ_T, π) ~ ½ e^(−2T) E|⟨m̄, X − m̄⟩|", "derived here",
    r"\lim_{T\to\infty} e^{2T}\,TV(\gamma Q_T,\pi) = \tfrac12E_\pi|\langle\bar m,X-\bar m\rangle|,\quad \bar m=EX\ne0;\qquad"
    r" \bar m=0:\ \lim e^{4T}\,TV(\gamma Q_T,\pi) = \tfrac14E_\pi\left|\langle A,XX^\top-I\rangle-\|A\|_F^2\right|,\; A = E[XX^\top]-I",
    (MOMENT, FOURTH, MOVED), caveat="the textbook bound TV(γQ_T, π) ≤ TV(p_T, γ) is of order e^(−T): its square is the truth",
))  # fmt: skip
def sharp_initialisation_error(target, *, quick=False):
    r"""e^{2T} TV(\gamma Q_T, \pi) -> ½ E|<m, X - m>|, m = EX; e^{4T} TV -> ¼ E|<A, XX^T - I> - |A|^2| for centred laws.

    The left side is exact (reverse semigroup and quadrature) at three T, extrapolated in e^{-2T}; on the line. Control: the textbook term
    TV(p_T, \gamma) taken for the error itself.
    """
    needs(target, "noised", "mean", "second_moment")
    what = about(sharp_initialisation_error, (MOMENT, exists(target.second_moment)))
    if (claim := unmet(what, "=")) is not None:
        return claim
    if target.dim != 1:
        raise NoMethod(f"sharp_initialisation_error: got dimension {target.dim}, allowed is 1: the reverse law is a sum on the line")
    mean, second = float(target.mean()[0]), target.second_moment()
    size = math.sqrt(second)
    centred = abs(mean) <= 1e-9 * size
    power, A = (4, second - 1) if centred else (2, 0.0)
    leading = (lambda x: 0.25 * np.abs(A * (x * x - 1) - A * A)) if centred else (lambda x: 0.5 * np.abs(mean * (x - mean)))
    constant = _mean_of(target, leading, [-size, size] if centred else [mean])  # A (X^2 - 1) = A^2 at |X| = size
    moved = constant.lo > 1e-9 * (abs(A) * (1 + abs(A)) if centred else abs(mean) * size)
    what = about(sharp_initialisation_error, (MOMENT, True), (FOURTH, not centred or _light(target, size)), (MOVED, moved))
    if (claim := unmet(what, "=")) is not None:
        return claim
    if centred:  # late, but not so late that rounding (1e-15) shows: TV about 1e-8 at the end
        end = min(4.5, max(2.0, 0.25 * math.log(1e8 * constant.value)))
    else:  # a small mean needs a later T, when e^{-2T} is small beside it
        end = 6.0 - 0.5 * math.log(min(1.0, abs(mean) / size / 0.05))
    times = [end - 1.0, end - 0.5, end]
    values, noise = ([math.exp(power * T) * e for T, e in zip(times, side)] for side in zip(*(_initialisation_error(target, T) for T in times)))
    limit, error = richardson(values, noise, (1, 2), ratio=math.e)  # in e^{-2T}, which falls by e from one T to the next
    error += _unlike_a_series(values, noise, limit)
    T = times[-1]
    lhs = Enclosure.near(limit, float(error), method="reverse semigroup, extrapolated")
    parameters = {"T": T, "power": power}
    cells = [equal(lhs, constant, digits=3, floor=0.0, name="TV", parameters=parameters)]
    textbook = math.exp(power * T) * total_variation(flow(target, T), standard_normal(1))
    last = Enclosure.near(values[-1], noise[-1], method="reverse semigroup")
    wrong = [equal(last, textbook, digits=3, floor=0.0, name="TV", parameters=parameters)]
    terms = {f"TV(γQ_T, π) at T = {T:g}": math.exp(-power * T) * last, f"TV(p_T, γ) at T = {T:g}": math.exp(-power * T) * textbook}
    terms |= {f"lim e^{power}T TV(γQ_T, π)": constant}
    control = claim_over(wrong, **mutated(sharp_initialisation_error, r"TV(\gamma Q_T,\pi) = TV(p_T,\gamma)"))
    return claim_over(cells, control=control, terms=terms, **what)


def _initialisation_error(target, T):
    r"""(TV(\gamma Q_T, \pi), error) = \frac12 E_\pi|E[(d\gamma/dp_T)(X_T) - 1 | X_0]|; panels end where the conditional expectation changes sign."""
    ratio = lambda y: reverse_density(target, T, standard_normal(1), y, spacing=0.4)  # noqa: E731
    span = _span(target)
    x = np.union1d(span, np.linspace(span[0], span[-1], 65))
    f = ratio(x)
    change = np.flatnonzero(np.sign(f[1:]) != np.sign(f[:-1]))
    lo, hi, rising = x[change], x[change + 1], f[change + 1] > 0
    for _ in range(40 if len(change) else 0):  # the error of the integral is quadratic in that of the cut
        middle = 0.5 * (lo + hi)
        right = (ratio(middle) > 0) == rising
        lo, hi = np.where(right, lo, middle), np.where(right, middle, hi)
    found = _mean_of(target, lambda y: 0.5 * np.abs(ratio(y)), 0.5 * (lo + hi))
    # log \gamma - log p_T is rounded by a few ulps of its terms, 1/2 X_T^2 + log \sqrt{2 \pi} on average
    return found.value, 0.5 * found.width + 8 * EPS * (1.5 + 0.5 * flow(target, T).second_moment())


def _unlike_a_series(values, noise, limit):
    """What to add to the error of an extrapolation in e^{-2T}, since laws whose high moments are infinite have other powers.

    The distance to Aitken's limit, which assumes any geometric decay, and 5% of what the extrapolation changed.
    """
    first, second = values[1] - values[0], values[2] - values[1]
    if abs(second) <= 16 * max(noise):
        return 0.0
    aitken = abs(values[2] - second**2 / (second - first) - limit) if second != first else math.inf
    return aitken + 0.05 * abs(limit - values[2])


def _light(target, size):
    """Does at least 90% of E X^4 come from within 100 standard deviations? It does not where the fourth moment is infinite."""
    if hasattr(target, "points"):
        return True
    edges = np.union1d(view(target).edges, [-100 * size, 100 * size])
    fourth = lambda y, _: (np.exp(np.asarray(target.logpdf(y[..., None]))) * y**4)[None]  # noqa: E731
    part = integrate(fourth, edges[:-1], edges[1:], watch=1, tolerance=1e-6, rounds=10).value[0]
    inside = (edges[:-1] >= -100 * size) & (edges[1:] <= 100 * size)
    return bool(part[inside].sum() >= 0.9 * part.sum())


def _span(target):
    """Panel edges of the target, at most 1e3 away: beyond that no mass counts (less than 1e-12 where four moments are finite)."""
    edges = np.sort(target.points[:, 0]) if hasattr(target, "points") else view(target).edges
    return np.unique(np.clip(edges, -1e3, 1e3))


def _mean_of(target, f, cuts):
    r"""E_\pi f(X) on the line; f is smooth but for kinks at ``cuts``."""
    if hasattr(target, "points"):
        value = float(target.weights @ f(np.asarray(target.points)[:, 0]))
        return Enclosure.near(value, 64 * EPS * abs(value), method="sum over points")
    edges = np.union1d(_span(target), cuts)
    g = lambda y, _: (np.exp(np.asarray(target.logpdf(y[..., None]))) * f(y.ravel()).reshape(y.shape))[None]  # noqa: E731
    value, error = integrate(g, edges[:-1], edges[1:], watch=1, tolerance=1e-8, rounds=10).total()
    return Enclosure.near(value, error + 64 * EPS * abs(value), method="quadrature")
