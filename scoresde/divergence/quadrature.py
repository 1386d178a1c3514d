r"""Divergences of two laws on the line by quadrature and root finding.

Integrands are written in d = \log p - \log q so that nothing cancels or underflows: with m = (p+q)/2 and y = d/2,
KL: p\varphi(d), \varphi(d) = d + e^{-d} - 1;  H^2: m (1 - sech y);  JS: m J(\tanh y), J(u) = \frac12[(1+u)\log(1+u) + (1-u)\log(1-u)];
\chi^2: (p-q)^2/q in logarithms. Total variation needs no quadrature: the laws' own distribution functions between the roots of d.
Each function takes a Pair and returns an Enclosure of level "deterministic": differences of two rules, tails and rounding are in the width.
"""

import math

import numpy as np

from ..enclosure import Enclosure
from ..errors import NoMethod, NotTrusted
from ..laws import Gaussian, GaussianMixture
from .panels import EPS, grade, integrate
from .signs import sign_changes

LN2 = math.log(2.0)
_DOUBLING = 2.0 ** np.arange(1, 13) - 1


def over_line(f, edges, closed=False, *, limit=1e120):
    r"""(value, error, noise): \int f over the line; f(x, who) -> (2, P, n), the integrand and its rounding in units of EPS.

    ``noise`` is the integral of the rounding. Beyond the outermost edges panels double in width until they no longer matter; what is left
    is bounded by the geometric series that the last two panels suggest. (inf, 0, 0) if that series does not converge.
    ``closed``: nothing is known outside the edges; NotTrusted if the integrand has not died out there.
    """
    if closed:
        return _between_ends(f, edges)
    w0, w1 = edges[1] - edges[0], edges[-1] - edges[-2]
    full = np.concatenate([edges[0] - w0 * _DOUBLING[5::-1], edges, edges[-1] + w1 * _DOUBLING[:6]])
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        main = integrate(f, full[:-1], full[1:])
        value, error = main.total()
        noise = main.total(1)[0]
        for sign, end, w, last in ((-1, full[0], 64 * w0, main.value[0, 1::-1]), (1, full[-1], 64 * w1, main.value[0, -2:])):
            for _ in range(40):
                if abs(last[1]) <= 1e-18 * abs(value) or w > limit:
                    break
                ends = end + sign * w * np.append(0.0, _DOUBLING)
                more = integrate(f, np.minimum(ends[:-1], ends[1:]), np.maximum(ends[:-1], ends[1:]))
                (gain, loss), (hum, _) = more.total(), more.total(1)
                value, error, noise = value + gain, error + loss, noise + hum
                end, w, last = ends[-1], w * 2.0**12, more.value[0, -2:]
            before, outer = abs(last[0]), abs(last[1])
            negligible = outer <= 1e-18 * abs(value)
            ratio = 0.5 if negligible else outer / before if before > 0 else math.inf
            if ratio > 0.999 or not math.isfinite(value):
                return math.inf, 0.0, 0.0
            error += outer * ratio / (1 - ratio)
    return value, error + 2 * EPS * abs(value), noise


def _between_ends(f, edges):
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        main = integrate(f, edges[:-1], edges[1:])
    (value, error), (noise, _) = main.total(), main.total(1)
    ends = f(edges[None, [0, -1]], np.zeros(1, dtype=int))[0, 0]
    left = float(np.max(np.abs(ends))) * (edges[-1] - edges[0])
    if not left <= 1e-13 * abs(value) + 1e-30:
        raise NotTrusted(
            f"the integrand is still {left / max(abs(value), 1e-300):.1e} of the integral where the tails of a computed law cease to be "
            "relatively accurate; use total_variation, hellinger or wasserstein2, which do not depend on far tails"
        )
    return value, error + left, noise


def _near(value, error, noise):
    if math.isinf(value):
        return unbounded("the integral")
    return Enclosure.near(value, error + EPS * noise, method="quadrature").cut(0.0)


def unbounded(what):
    """Infinite as far as a computation can see; only the proofs of ``chi_squared`` and of supports say more."""
    return Enclosure(math.inf, math.inf, "heuristic", 0.0, math.inf, f"{what} does not converge as far as it was followed")


def _rounding(lp, lq):
    """Roundings in units of EPS: of d (exponents and normalisers of both log-densities), and relative, of the larger density."""
    lp, lq = (np.where(np.isfinite(v), v, 0.0) for v in (lp, lq))
    return 4.0 * (4.0 + np.abs(lp) + np.abs(lq)), 4.0 * (4.0 + np.minimum(np.abs(lp), np.abs(lq)))


def _mean_log(lp, lq):
    return np.logaddexp(lp, lq) - LN2


# ---- Kullback–Leibler, Hellinger, Jensen–Shannon ------------------------------------------------------------------------------------


def phi(d):
    """d + exp(-d) - 1 >= 0, without cancellation (series below 1/4)."""
    small = np.abs(d) < 0.25
    x = np.where(small, -d, 0.0)
    series = np.ones_like(x)
    for k in range(14, 2, -1):  # x^2/2 (1 + x/3 (1 + x/4 (...)))
        series = 1 + x / k * series
    return np.where(small, 0.5 * x * x * series, d + np.expm1(-d))


def kullback_leibler(pair):
    if pair.uncovered():
        return Enclosure.near(math.inf, 0.0, method="p has mass where q has none")

    def f(x, _):
        lp, lq, d = pair.logs(x)
        p, q = np.exp(lp), np.exp(lq)
        low = np.maximum(np.minimum(d, -1.0), -745.0)  # there p phi(d) = q (1 + e^d (d - 1)), which survives p = 0
        y = np.where(d > -1, p * phi(np.maximum(d, -1.0)), q * (1 + np.exp(low) * (low - 1)))
        of_d, of_density = _rounding(lp, lq)
        return np.stack([y, of_density * y + of_d * np.abs(p - q)])

    return _near(*over_line(f, *pair.within(pair.edges, pair.q)))


def hellinger(pair):
    def f(x, _):
        lp, lq, d = pair.logs(x)
        m, w = np.exp(_mean_log(lp, lq)), np.exp(-0.5 * np.abs(d))
        y = m * np.expm1(-0.5 * np.abs(d)) ** 2 / (1 + w * w)
        of_d, of_density = _rounding(lp, lq)
        return np.stack([y, of_density * y + of_d * m * w * np.abs(np.tanh(0.5 * d))])

    square, error, noise = over_line(f, pair.edges)
    return root(square, error + EPS * noise).cut(0.0, 1.0)


def root(square, error, blur=0.0):
    """The enclosure of a distance from its square +- error; ``blur``: the L2 norm of the rounding of a map (Minkowski)."""
    value = math.sqrt(max(square, 0.0))
    lo, hi = math.sqrt(max(square - error, 0.0)), math.sqrt(max(square, 0.0) + error)
    return Enclosure.near(value, max(value - lo, hi - value) + blur + 2 * EPS * value, method="quadrature").cut(0.0)


def entropy_gap(u):
    """J(u) of the module's docstring; series below 1/8."""
    a = np.minimum(np.abs(u), 1.0)
    small = a < 0.125
    x = np.where(small, a * a, 0.0)
    series = np.zeros_like(x)
    for k in range(9, 0, -1):
        series = x * series + 1 / (2 * k * (2 * k - 1))
    rest = 1 - np.where(small, 0.0, a)
    return np.where(small, x * series, 0.5 * ((1 + a) * np.log1p(a) + rest * np.log(np.where(rest > 0, rest, 1.0))))


def jensen_shannon(pair):
    def f(x, _):
        lp, lq, d = pair.logs(x)
        m, u, a = np.exp(_mean_log(lp, lq)), np.tanh(0.5 * d), np.minimum(np.abs(d), 700.0)
        y, (of_d, of_density) = m * entropy_gap(u), _rounding(lp, lq)
        return np.stack([y, of_density * y + of_d * m * a * np.exp(-a)])

    return _near(*over_line(f, pair.edges)).cut(0.0, LN2)


# ---- chi-squared -------------------------------------------------------------------------------------------------------------------


def chi_squared(pair):
    if pair.uncovered():
        return Enclosure.near(math.inf, 0.0, method="p has mass where q has none")
    (vp, _), (vq, widest) = tail_variance(pair.p.law), tail_variance(pair.q.law)
    if vp is not None and vq is not None and (vp > 2 * vq or (vp == 2 * vq and widest == 1)):
        return Enclosure.near(math.inf, 0.0, method="the tail variance of p is at least twice that of q")

    def log_integrand(x):
        lp, lq, d = pair.logs(x)
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            gap = -np.expm1(-np.abs(d))
            y = np.where(d > 0, _twice_minus(pair, x, lp, lq), lq) + 2 * np.log(gap)
            noise = _rounding(lp, lq)[0] * (3 + 2 / np.maximum(gap, EPS))
        return np.where(np.isnan(y), -np.inf, y), noise

    edges, closed = pair.within(grade(pair.edges), pair.p, pair.q)
    if closed and _may_grow(edges, log_integrand(edges)[0], vq is not None):
        raise NotTrusted(
            "chi_squared: p^2/q grows, or will grow, beyond where the tails of a computed law are known, so it may be infinite; "
            "use kullback_leibler or hellinger"
        )
    out = 1.25 ** np.arange(1, 1 if closed else 120)
    w0, w1 = edges[1] - edges[0], edges[-1] - edges[-2]
    before, after = edges[0] - w0 * out[::-1], edges[-1] + w1 * out
    trial = np.concatenate([before, edges, 0.5 * (edges[1:] + edges[:-1]), after])
    seen = log_integrand(trial)[0]
    shift = float(np.max(seen))
    if shift == -math.inf:
        return Enclosure.near(0.0, 0.0, method="quadrature")
    if shift > 1500.0:  # too high for any width of the peak
        return _overflow()
    high = trial[seen > shift - 100]  # p^2/q may be large far from both laws: panels follow it there
    edges = np.concatenate([before[before >= np.min(high)], edges, after[after <= np.max(high)]])

    def f(x, _):
        y, rounding = log_integrand(x)
        y = np.exp(np.minimum(y - shift, 700.0))
        return np.stack([y, rounding * y])

    value, error, noise = over_line(f, edges, closed)
    error += EPS * noise
    if math.isinf(value):
        return unbounded("the integral of p^2/q")
    if shift + math.log(value + error) > 709.0:
        return _overflow()
    return Enclosure.near(value * math.exp(shift), error * math.exp(shift), method="quadrature").cut(0.0)


def _twice_minus(pair, x, lp, lq):
    """2 log p - log q. Far from both laws the logarithms are large and cancel: normal densities are then taken with 64 bits of mantissa."""
    y = 2 * lp - lq
    far = (np.abs(lp) > 300.0) & np.isfinite(y)
    if far.any() and all(isinstance(v.law, Gaussian | GaussianMixture) for v in (pair.p, pair.q)):
        z = x[far].astype(np.longdouble)[:, None]
        y[far] = 2 * pair.p.law.logpdf(z) - pair.q.law.logpdf(z)
    return y


def _may_grow(x, y, gaussian):
    """Does y = log p^2/q rise outwards at an end, or is it convex there although q has a Gaussian tail, so that p must have a heavier one?"""
    for a, b in ((x[2::-1], y[2::-1]), (x[-3:], y[-3:])):
        if np.isfinite(b).all():
            slope = np.diff(b) / np.abs(np.diff(a))
            if slope[1] > 0 or (gaussian and slope[1] > slope[0]):
                return True
    return False


def _overflow():
    return Enclosure(np.finfo(float).max, math.inf, "deterministic", method="quadrature, beyond floating point")


def tail_variance(law):
    """(the variance that rules Gaussian tails, how many components have it); None if unknown.

    p^2/q is integrable in the tails if var_p < 2 var_q, and not if var_p > 2 var_q. Where they are equal a linear exponent decides: with one
    widest component of q it grows, or is constant, on one side; several of them may hold both sides down.
    """
    if isinstance(law, Gaussian):
        return float(law.cov()[0, 0]), 1
    if isinstance(law, GaussianMixture):
        variances = law.covs.reshape(len(law.weights), -1)[law.weights > 0, 0]
        return float(np.max(variances)), int(np.sum(variances == np.max(variances)))
    return None, 0


# ---- Fisher divergence -------------------------------------------------------------------------------------------------------------


def fisher_divergence(pair):
    for v in (pair.p, pair.q):
        if not callable(getattr(v.law, "score", None)):
            raise NoMethod(f"fisher_divergence: {type(v.law).__name__} has no score; give it score(x) -> (..., 1)")
    if pair.uncovered() or _jumps(pair):
        return Enclosure.near(math.inf, 0.0, method="a density jumps, or q vanishes, where p has mass")

    def f(x, _):
        lp = pair.p.logpdf(x)
        sp, sq, density = pair.p.score(x), pair.q.score(x), np.exp(lp)
        gap, loss = sp - sq, (4 + np.abs(lp)) * (np.abs(sp) + np.abs(sq))
        y = density * gap**2
        noise = 4 * density * loss * (2 * np.abs(gap) + EPS * loss) + (4 + np.abs(lp)) * y
        return np.where(density > 0, np.stack([y, noise]), 0.0)

    return _near(*over_line(f, *pair.within(pair.edges, pair.q)))


def _jumps(pair):
    """Does p jump, or q where p has mass? Across an edge a slope's difference grows with the distance, a jump's does not."""
    near, far = (np.stack([pair.edges - k * np.spacing(pair.edges), pair.edges + k * np.spacing(pair.edges)]) for k in (1, 4))
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        mass, jump = pair.p.logpdf(near).max(axis=0) > -np.inf, False
        for v in (pair.p, pair.q):
            a, b = v.logpdf(near), v.logpdf(far)
            step = np.abs(a[1] - a[0])
            jump |= (step > 1e-2 + 16 * EPS * np.where(np.isfinite(a), np.abs(a), 0.0).max(axis=0)) & ~(np.abs(b[1] - b[0]) > 2 * step)
    return bool(np.any(mass & jump))


# ---- total variation and Kolmogorov distance ----------------------------------------------------------------------------------------


def crossings(pair):
    """Where p - q changes sign, and the weight of what may have been missed."""
    edges = pair.edges

    def f(x):
        lp, lq, d = pair.logs(x)
        return d, np.exp(_mean_log(lp, lq)), 2 * EPS * _rounding(lp, lq)[0]

    each = 3 if len(edges) < 700 else 2 if len(edges) < 1500 else 1
    x = (edges[:-1, None] + np.diff(edges)[:, None] * (np.arange(each) + 0.5) / each).ravel()
    w0, w1 = edges[1] - edges[0], edges[-1] - edges[-2]
    return sign_changes(f, np.concatenate([edges[0] - w0 * _DOUBLING[::-1], x, edges[-1] + w1 * _DOUBLING]), edges)


def total_variation(pair):
    cuts, slack = crossings(pair)
    if not (pair.p.has_cdf and pair.q.has_cdf):
        return _total_variation_by_quadrature(pair, cuts)
    gap, rounding = pair.difference(cuts)
    value = 0.5 * float(np.sum(np.abs(np.diff(np.concatenate([[0.0], gap, [0.0]])))))
    return Enclosure.near(value, slack + 4 * float(np.sum(rounding)) + EPS * value, method="roots of log p/q").cut(0.0, 1.0)


def _total_variation_by_quadrature(pair, cuts):
    def f(x, _):
        lp, lq, d = pair.logs(x)
        m = np.exp(_mean_log(lp, lq))
        y, (of_d, of_density) = m * np.abs(np.tanh(0.5 * d)), _rounding(lp, lq)
        return np.stack([y, of_density * y + of_d * m * np.exp(-np.abs(d))])

    return _near(*over_line(f, np.union1d(pair.edges, cuts))).cut(0.0, 1.0)


def kolmogorov(pair):
    pair.needs_cdf("kolmogorov")
    cuts, slack = crossings(pair)
    gap, rounding = pair.difference(cuts)
    value = float(np.max(np.abs(gap), initial=0.0))
    return Enclosure.near(value, slack + 2 * float(np.max(rounding, initial=0.0)), method="roots of log p/q").cut(0.0, 1.0)
