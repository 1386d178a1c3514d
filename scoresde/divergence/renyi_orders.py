r"""Rényi divergence R_a(p|q) = \frac{1}{a-1} \log\int p^a q^{1-a} \ge 0, order a > 0 (a = 1: Kullback–Leibler), nats.

It increases with the order; R_{1/2} = -2\log(1 - H^2), R_2 = \log(1 + \chi^2); it adds up over independent factors. Each function takes the
order first. Sources: Rényi 1961, https://projecteuclid.org/euclid.bsmsp/1200512181; van Erven & Harremoës 2014,
https://doi.org/10.1109/TIT.2014.2320500; the Gaussian formula: Gil, Alajaji & Linder 2013, https://doi.org/10.1016/j.ins.2013.06.018
"""

import math

import numpy as np

from ..enclosure import Enclosure
from . import closed, discrete, quadrature
from .panels import EPS, grade
from .quadrature import over_line, tail_variance, unbounded
from .rows import positive

__all__ = ["atoms", "checked_order", "gaussians", "line"]


def checked_order(order):
    """The order as a float > 0, finite. Raises ValueError."""
    return positive("order", order)


def gaussians(order, p, q):
    r"""R_a = \frac12 \sum \left[\frac{a\delta^2}{s} + \frac{\log s - (1-a)\log\lambda}{1-a}\right], s = 1 + (1-a)e: infinite if some s <= 0.

    \lambda = 1 + e are the variances of p and \delta^2 its squared mean, along the axes in which q = N(0, I).
    """
    if order == 1:
        return closed.kullback_leibler(p, q)
    x, b = closed.axes(p, q), 1.0 - order
    s = 1.0 + b * x.e
    if np.any(s <= 0):
        return Enclosure.near(math.inf, 0.0, method=f"closed form: a variance ratio is at least a/(a - 1) = {order / -b:.6g}")
    small = np.abs(x.e) < 0.125 / max(1.0, abs(b))
    e = np.where(small, x.e, 0.0)
    series, first = closed._log1pmx(b * e, 1 + b * e), closed._log1pmx(e, 1 + e)
    one = np.where(small, series, np.log1p(b * x.e)) / b
    other = np.where(small, first, np.log(x.lam))
    terms = 0.5 * (x.count * (one - other) + order * x.shift / s)
    scale = 0.5 * (x.count * (np.abs(one) + np.abs(other)) * 2 + order * x.shift / s * (2 + np.abs(b * x.e) / s))
    value, error = float(terms.sum()), closed.LOSS * float(scale.sum())
    margin = s - abs(b) * x.blur
    if np.any(margin <= 0):
        return Enclosure(0.0, math.inf, "deterministic", method="closed form: finite or infinite within rounding")
    steep = order * (np.abs(x.e) + x.blur) / (margin * x.lam)  # d/de of the logarithms, times 2
    error += 0.5 * x.blur * float(np.sum(x.count * steep + order * x.shift * (1 / s + abs(b) / margin**2)))
    return Enclosure.near(value, error, method="closed form").cut(0.0)


def atoms(order, p, q):
    """Discrete laws; infinite against a law with a density."""
    if order == 1:
        return discrete.kullback_leibler(p, q)
    if not discrete._both(p, q):
        return discrete._apart(math.inf, "Renyi divergence")
    w, v, rounding = discrete._aligned(p, q)
    both, eta = (w > 0) & (v > 0), order - 1.0
    if order > 1 and np.any((w > 0) & (v == 0)):
        return Enclosure.exact(math.inf, "an atom of p is none of q")
    if not both.any():
        return Enclosure.exact(math.inf, "no atom in common")
    logs = order * np.log(w[both]) - eta * np.log(v[both])
    top = float(np.max(logs))
    value = (top + math.log(float(np.sum(np.exp(logs - top))))) / eta
    error = rounding * (1 + float(np.max(np.abs(logs)))) * (1 + order) / abs(eta)
    return Enclosure.near(max(value, 0.0), error + abs(min(value, 0.0)), method="sum over atoms").cut(0.0)


def line(order, pair):
    r"""Two laws on the line by quadrature of J = \int p^a q^{1-a} - 1 without cancellation, or of its logarithm where J is far from 0.

    Infinity is proved for supports (a > 1: p has mass where q has none) and for Gaussian tails (a var_q <= (a - 1) var_p); for other laws it
    is of level heuristic.
    """
    if order == 1:
        return quadrature.kullback_leibler(pair)
    if order < 0.5:  # J is the same for (a, p, q) and (1 - a, q, p), and the better conditioned one is taken
        return _from(order, _excess(-order, type(pair)(pair.q, pair.p)), pair)
    if order > 1:
        if pair.uncovered():
            return Enclosure.near(math.inf, 0.0, method="p has mass where q has none")
        (vp, _), (vq, widest) = tail_variance(pair.p.law), tail_variance(pair.q.law)
        if vp is not None and vq is not None and (order * vq < (order - 1) * vp or (order * vq == (order - 1) * vp and widest == 1)):
            return Enclosure.near(math.inf, 0.0, method=f"the tail variance of p is at least a/(a - 1) = {order / (order - 1):.6g} times that of q")
        return _by_logarithm(order, pair, _excess(order - 1.0, pair))
    return _from(order, _excess(order - 1.0, pair), pair)


def _from(order, excess, pair):
    """R for a < 1, where -1 <= J <= 0."""
    value, error = excess
    if value < -0.5:
        return _by_logarithm(order, pair, excess)
    return _near(math.log1p(value) / (order - 1.0), error / ((1 + value) * abs(order - 1.0)))


def _near(value, error):
    return Enclosure.near(max(value, 0.0), error + 4 * EPS * abs(value) + max(-value, 0.0), method="quadrature").cut(0.0)


def _excess(eta, pair):
    r"""(J, error), J = \int p\,(e^{\eta d} - 1) - \eta (p - q), d = \log p/q: the integrand has one sign and is O(d^2)."""

    def f(x, _):
        lp, lq, d = pair.logs(x)
        p, q = np.exp(lp), np.exp(lq)
        small = np.abs(d) * (1 + abs(eta)) < 0.5
        z = np.where(small, d, 0.0)
        term, series, sign = z.copy(), np.zeros_like(z), -1.0
        for k in range(2, 18):  # p eta sum (eta^{k-1} - (-1)^{k-1}) d^k / k!
            term = term * z / k
            series += (eta ** (k - 1) - sign) * term
            sign = -sign
        with np.errstate(over="ignore", invalid="ignore"):
            power = np.exp(np.where(lp > -np.inf, lp + eta * d, -np.inf))  # p^a q^{1-a}
            direct = np.where(np.abs(eta * d) < 1, p * np.expm1(np.clip(eta * d, -1.0, 1.0)), power - p) - eta * (p - q)
            y = np.abs(np.where(small, p * eta * series, direct))
            finite = np.where(np.isfinite(lp), np.abs(lp), 0.0) + np.where(np.isfinite(lq), np.abs(lq), 0.0)
            blur, bend = 8 * (4 + finite), abs(eta) * (1 + abs(eta))
            noise = blur * (y + np.where(small, bend * p * (np.abs(d) + EPS * blur), abs(eta) * (p + q + power)))
        return np.stack([y, noise])

    edges, closed_ends = pair.edges, False
    if eta > 0:
        edges, closed_ends = pair.within(pair.edges, pair.p, pair.q)
        edges = edges if closed_ends else _reached(eta, pair, edges)
    value, error, noise = over_line(f, edges, closed_ends)
    return (math.inf if eta > 0 else -1.0) if math.isinf(value) else math.copysign(value, eta), error + EPS * noise


def _log_integrand(eta, pair, x):
    lp, lq, d = pair.logs(x)
    with np.errstate(over="ignore", invalid="ignore"):
        y = np.where((lp > -np.inf) & ((lq > -np.inf) | (eta > 0)), lp + eta * d, -np.inf)
    return np.where(np.isnan(y), -np.inf, y), lp, lq


def _reached(eta, pair, edges):
    """Panels that follow p^a q^{1-a} to where it is large, which may be far from both laws."""
    edges = grade(edges)
    out = 1.25 ** np.arange(1, 120)
    before, after = edges[0] - (edges[1] - edges[0]) * out[::-1], edges[-1] + (edges[-1] - edges[-2]) * out
    trial = np.concatenate([before, edges, 0.5 * (edges[1:] + edges[:-1]), after])
    seen = _log_integrand(eta, pair, trial)[0]
    high = trial[seen > np.max(seen) - 100]
    return np.concatenate([before[before >= np.min(high)], edges, after[after <= np.max(high)]]) if len(high) else edges


def _by_logarithm(order, pair, excess):
    r"""R from \log\int p^a q^{1-a}, scaled by the largest integrand, where J is not small; else from J."""
    eta = order - 1.0
    if -0.5 <= excess[0] <= 1e6 and math.isfinite(excess[1]):
        return _near(math.log1p(excess[0]) / eta, excess[1] / ((1 + excess[0]) * abs(eta)))
    edges, closed_ends = pair.within(pair.edges, pair.p, pair.q)
    edges = edges if closed_ends else _reached(eta, pair, edges)
    shift = float(np.max(_log_integrand(eta, pair, np.concatenate([edges, 0.5 * (edges[1:] + edges[:-1])]))[0]))
    if shift == -math.inf:
        return Enclosure.near(math.inf, 0.0, method="p and q have no mass in common")

    def f(x, _):
        y, lp, lq = _log_integrand(eta, pair, x)
        with np.errstate(over="ignore"):
            value = np.exp(np.minimum(y - shift, 700.0))
        finite = np.where(np.isfinite(lp), np.abs(lp), 0.0) * order + np.where(np.isfinite(lq), np.abs(lq), 0.0) * abs(eta)
        return np.stack([value, 4 * (4 + finite) * value])

    value, error, noise = over_line(f, edges, closed_ends)
    if math.isinf(value):
        return unbounded("the integral of p^a q^(1-a)")
    error += EPS * noise
    if not value > error:
        return Enclosure(0.0, math.inf, "deterministic", method="quadrature, nothing resolved")
    return _near((shift + math.log(value)) / eta, error / (value - error) / abs(eta))
