r"""Tweedie's identities: the posterior mean and covariance of X_0 given m X_0 + \sqrt v Z = x, from the score of the noised law."""

import numpy as np

from ..divergence.panels import integrate
from ..divergence.view import view
from ..enclosure import Enclosure
from ..errors import NoMethod
from ..kernel import euler_maruyama, ornstein_uhlenbeck
from .claim import Statement, claim_over, states
from .numeric import EPS, about, equal, exists, mutated, needs, populated, probes, unmet

__all__ = ["bayes_moments", "robbins_1956_denoising", "tweedie_covariance"]

MOMENT = r"E|X|^2 finite"


def bayes_moments(law, kernel, x):
    r"""(mean (n, d), cov (n, d, d), error) of X_0 given m X_0 + \sqrt v Z = x, never through a score.

    On the line by Bayes' rule under the integral sign, \int g(x_0) p(x_0) N(x; m x_0, v) dx_0, where the law has a density; else by the law's
    own posterior (component by component for mixtures, point by point for an Empirical). Raises NoMethod if it has none.
    """
    if law.dim == 1 and not hasattr(law, "points"):
        return _bayes_on_the_line(law, kernel, x)
    if not (hasattr(law, "denoise") and hasattr(law, "denoise_cov")):
        raise NoMethod(f"bayes_moments: {type(law).__name__} in dimension {law.dim} has no denoise(x, kernel); it is needed above the line")
    mean, cov = law.denoise(x, kernel), law.denoise_cov(x, kernel)
    return mean, cov, 64 * EPS * (1 + np.abs(x).max() / abs(kernel.m) + np.abs(mean).max())


def _bayes_on_the_line(law, kernel, x):
    """All points at once: every point has its own panels, those of the law and those of the likelihood."""
    m, v, flat = kernel.m, kernel.v, x[:, 0]
    edges, width = view(law).edges, np.sqrt(v) / abs(m)
    log_joint = lambda u, y: np.asarray(law.logpdf(u[..., None])) - 0.5 * (y - m * u) ** 2 / v  # noqa: E731
    lo, hi, who, top = [], [], [], []
    for k, y in enumerate(flat):
        own = np.union1d(edges, y / m + width * 0.5 * np.arange(-24, 25))
        own = own[(own >= edges[0]) & (own <= edges[-1])]
        middle = 0.5 * (own[1:] + own[:-1])
        with np.errstate(divide="ignore", over="ignore"):
            size = np.maximum.reduce([log_joint(own[1:], y), log_joint(own[:-1], y), log_joint(middle, y)])
        keep = size > size.max() - 80
        lo.append(own[:-1][keep])
        hi.append(own[1:][keep])
        who.append(np.full(np.count_nonzero(keep), k))
        top.append(size.max())
    lo, hi, who, top = (np.concatenate(lo), np.concatenate(hi), np.concatenate(who), np.array(top))

    def moments(centre):
        def f(u, which):
            with np.errstate(divide="ignore", over="ignore"):
                w = np.exp(log_joint(u, flat[which][:, None]) - top[which][:, None])
            dev = u - centre[which][:, None]
            return np.stack([w, w * dev, w * dev**2])

        found = integrate(f, lo, hi, who, watch=3, tolerance=1e-13, rounds=30)
        total = np.stack([np.bincount(who, row, len(flat)) for row in found.value])
        error = np.stack([np.bincount(who, row, len(flat)) for row in found.error])
        return total[1:] / total[0], error[1:].max() / total[0].min() + 64 * EPS * (1 + np.abs(top).max())

    (shift, _), _ = moments(flat / m)
    mean = flat / m + shift
    (shift, second), error = moments(mean)
    return (mean + shift)[:, None], (second - shift**2)[:, None, None], error * (1 + np.abs(mean).max() + second.max())


def _settings(target, quick):
    """(what, law before the noise, kernel): OU times, and one Euler–Maruyama step of the discrete chain from its fifth state."""
    for t in (0.5,) if quick else (0.05, 0.5, 2.0):
        yield {"t": t}, target, ornstein_uhlenbeck(t)
    yield {"chain": "X_5 given X_6", "h": 0.1}, target.noised(euler_maruyama(0.1, count=5)), euler_maruyama(0.1, count=1)


def _worst(lhs, rhs, wrong, scale, error, floor, parameters):
    """Two claims at the worst of all points and entries: the identity, and its mutation where it is furthest off."""
    made = []
    for value in (rhs, wrong):
        at = np.unravel_index(np.argmax(np.abs(lhs - value)), lhs.shape)
        sides = (Enclosure.near(y[at], e, method=m) for y, e, m in ((lhs, error, "Bayes' rule"), (value, scale[at], "closed form")))
        made.append(equal(*sides, digits=8, floor=floor, name="posterior", parameters=parameters))
    return made


@states(Statement(
    "B1", r"Tweedie: E[X_0 | X_t = x] = (x + σ² s_t(x))/m", "Robbins 1956; Efron 2011, https://doi.org/10.1198/jasa.2011.tm11181",
    r"E[X_0\mid mX_0+\sqrt vZ = x] = \frac{x+v\,s(x)}{m},\quad s = \nabla\log L(mX_0+\sqrt vZ);\qquad"
    r" E[X_k\mid X_{k+1}=x] = \frac{x+2h\,s_{k+1}(x)}{1-h}", (MOMENT,),
    caveat="for the discrete chain some notes print x + h(x + 2 s_k(x)): it uses the score of the wrong state and is off by O(h²)",
))  # fmt: skip
def robbins_1956_denoising(target, *, quick=False):
    r"""E[X_0 | X_t = x] = (x + \sigma^2 s_t(x))/m, against Bayes' rule.

    Cells: three OU times and one step of the Euler–Maruyama chain, each at the worst of five points. Control: (x + 2\sigma^2 s)/m.
    """
    needs(target, "noised", "second_moment")
    what = about(robbins_1956_denoising, (MOMENT, exists(target.second_moment)))
    if (claim := unmet(what, "=")) is not None:
        return claim
    cells, wrong = [], []
    for parameters, law, kernel in _settings(target, quick):
        noised = law.noised(kernel)
        x = populated(noised, probes(noised))
        s = noised.score(x)
        mean, _, error = bayes_moments(law, kernel, x)
        # the score's exponents are of size log p, and it loses as many digits as it cancels against x/v
        loss = 16 * EPS * (8 + np.abs(noised.logpdf(x)))[:, None] * (np.abs(x) + kernel.v * np.abs(s) + np.abs(mean)) / abs(kernel.m)
        floor = np.abs(mean).max() + 1e-3 * np.abs(x).max() / kernel.m  # x and v s cancel where the posterior is narrow
        good, bad = _worst(mean, (x + kernel.v * s) / kernel.m, (x + 2 * kernel.v * s) / kernel.m, loss, error, floor, parameters)
        cells.append(good)
        wrong.append(bad)
    control = claim_over(wrong, **mutated(robbins_1956_denoising, r"E[X_0\mid mX_0+\sqrt vZ=x] = \frac{x+2v\,s(x)}{m}"))
    return claim_over(cells, control=control, **what)


@states(Statement(
    "B2", r"Cov(X_0 | X_t = x) = (σ²/m²)(I + σ² ∇s_t(x))", "second derivative of Tweedie's identity; Efron 2011, https://doi.org/10.1198/jasa.2011.tm11181",
    r"\mathrm{Cov}(X_0\mid mX_0+\sqrt vZ=x) = \frac{v}{m^2}\left(I+v\nabla s(x)\right)\succeq 0", (MOMENT,),
    caveat="hence I + v∇s ⪰ 0, and on the line x ↦ E[X_0 | x] increases",
))  # fmt: skip
def tweedie_covariance(target, *, quick=False):
    r"""Cov(X_0 | X_t = x) = (\sigma^2/m^2)(I + \sigma^2 \nabla s_t(x)), against Bayes' rule.

    Cells: as for the mean, each at the worst of five points and all entries. Control: (\sigma^2/m^2)(I + 2\sigma^2 \nabla s).
    """
    needs(target, "noised", "second_moment")
    what = about(tweedie_covariance, (MOMENT, exists(target.second_moment)))
    if (claim := unmet(what, "=")) is not None:
        return claim
    cells, wrong, least = [], [], []
    for parameters, law, kernel in _settings(target, quick):
        noised, v, unit = law.noised(kernel), kernel.v, np.eye(law.dim)
        x = populated(noised, probes(noised))
        slope = noised.score_jacobian(x)
        _, cov, error = bayes_moments(law, kernel, x)
        # \nabla s is a difference of two terms of size (1 + |x - m x_0|^2/v)/v each
        size = 1 + v * np.abs(slope).max((-1, -2)) + noised.score(x).max(-1) ** 2 * v + (x**2).sum(-1) / v
        loss = np.broadcast_to((16 * EPS * v / kernel.m**2 * (8 + np.abs(noised.logpdf(x))) * size)[:, None, None], cov.shape)
        scale = v / kernel.m**2
        good, bad = _worst(cov, scale * (unit + v * slope), scale * (unit + 2 * v * slope), loss, error, scale, parameters)
        cells.append(good)
        wrong.append(bad)
        least.append(float(np.linalg.eigvalsh(unit + v * slope).min()))
    control = claim_over(wrong, **mutated(tweedie_covariance, r"\mathrm{Cov} = \frac{v}{m^2}(I+2v\nabla s)"))
    terms = {"least eigenvalue of I + v∇s": Enclosure.near(min(least), 1e-9)}
    return claim_over(cells, control=control, terms=terms, **what)
