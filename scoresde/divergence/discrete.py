"""Divergences in which a discrete law (Empirical) takes part: exact sums over atoms, and transport to a law with a density on the line."""

import math

import numpy as np

from ..enclosure import Enclosure
from ..errors import NoMethod
from ..laws import Empirical
from .panels import EPS
from .quadrature import LN2, entropy_gap, over_line, root, unbounded
from .view import view


def _both(p, q):
    return isinstance(p, Empirical) and isinstance(q, Empirical)


def _aligned(p, q):
    """Weights of both laws on the union of their atoms, and the rounding of a sum over them."""
    atoms, index = np.unique(np.concatenate([p.points, q.points]), axis=0, return_inverse=True)
    a, b = np.split(index.reshape(-1), [len(p.points)])
    return np.bincount(a, p.weights, len(atoms)), np.bincount(b, q.weights, len(atoms)), 4 * EPS * math.sqrt(len(atoms)) + 4 * EPS


def _sum(terms, rounding, high=math.inf):
    value = float(np.sum(terms))
    return Enclosure.near(value, rounding * float(np.sum(np.abs(terms)) + 1), method="sum over atoms").cut(0.0, high)


def _apart(value, name):
    """What a divergence is if one law is discrete and the other has a density."""
    return Enclosure.exact(value, f"{name} of a discrete law and a density")


def total_variation(p, q):
    if not _both(p, q):
        return _apart(1.0, "total variation")
    w, v, rounding = _aligned(p, q)
    if not np.any((w > 0) & (v > 0)):
        return Enclosure.exact(1.0, "no atom in common")
    return _sum(0.5 * np.abs(w - v), rounding, 1.0)


def kullback_leibler(p, q):
    if not _both(p, q):
        return _apart(math.inf, "Kullback-Leibler divergence")
    w, v, rounding = _aligned(p, q)
    if np.any((w > 0) & (v == 0)):
        return Enclosure.exact(math.inf, "an atom of p is none of q")
    w, v = w[w > 0], v[w > 0]
    return _sum(w * np.log(w / v), rounding)


def chi_squared(p, q):
    if not _both(p, q):
        return _apart(math.inf, "chi-squared divergence")
    w, v, rounding = _aligned(p, q)
    if np.any((w > 0) & (v == 0)):
        return Enclosure.exact(math.inf, "an atom of p is none of q")
    return _sum((w - v)[v > 0] ** 2 / v[v > 0], rounding)


def jensen_shannon(p, q):
    if not _both(p, q):
        return _apart(LN2, "Jensen-Shannon divergence")
    w, v, rounding = _aligned(p, q)
    some = w + v > 0
    w, v = w[some], v[some]
    return _sum(0.5 * (w + v) * entropy_gap((w - v) / (w + v)), rounding, LN2)


def hellinger(p, q):
    if not _both(p, q):
        return _apart(1.0, "Hellinger distance")
    w, v, rounding = _aligned(p, q)
    square = 0.5 * float(np.sum((np.sqrt(w) - np.sqrt(v)) ** 2))
    return root(square, rounding * (square + EPS)).cut(0.0, 1.0)


def fisher_divergence(p, q):
    raise NoMethod("fisher_divergence: a discrete law has no score; noise it first, law.noised(kernel)")


def _line_only(name, p):
    if p.dim != 1:
        raise NoMethod(f"{name}: no exact method for discrete laws in dimension {p.dim}, allowed is 1; project onto an axis")


def kolmogorov(p, q):
    _line_only("kolmogorov", p)
    x = np.unique(np.concatenate([law.points for law in (p, q) if isinstance(law, Empirical)]))
    value = max(float(np.max(np.abs(F - G))) for F, G in zip(_sides(p, x), _sides(q, x), strict=True))
    size = max(len(law.points) for law in (p, q) if isinstance(law, Empirical))
    return Enclosure.near(value, 4 * EPS * (1 + math.sqrt(size)), method="both sides of every atom").cut(0.0, 1.0)


def _sides(law, x):
    """P(X <= x) and P(X < x)."""
    at = law.cdf(x[:, None])
    return at, law.cdf(np.nextafter(x, -np.inf)[:, None]) if isinstance(law, Empirical) else at


def wasserstein1(p, q):
    return _transport("wasserstein1", p, q, 1)


def wasserstein2(p, q):
    return _transport("wasserstein2", p, q, 2)


def _transport(name, p, q, power):
    """(E|X - Y|^power)^{1/power} for the monotone coupling."""
    _line_only(name, p)
    if not isinstance(p, Empirical):
        p, q = q, p
    order = np.argsort(p.points[:, 0], kind="stable")
    atoms, levels = p.points[order, 0], np.cumsum(p.weights[order])
    if isinstance(q, Empirical):
        other = np.argsort(q.points[:, 0], kind="stable")
        targets, marks = q.points[other, 0], np.cumsum(q.weights[other])
        u = np.unique(np.concatenate([[0.0], levels[:-1], marks[:-1], [1.0]]))
        u = u[(u >= 0) & (u <= 1)]
        mid = 0.5 * (u[1:] + u[:-1])
        cost = np.abs(_at(atoms, levels, mid) - _at(targets, marks, mid))
        total, size = float(np.diff(u) @ cost**power), float(np.max(np.abs(np.concatenate([atoms, targets]))))
        rounding = 4 * EPS * (math.sqrt(len(u)) * float(np.max(cost)) ** power + total)
        if power == 1:
            return Enclosure.near(total, rounding + EPS * size, method="sum over atoms").cut(0.0)
        return root(total, rounding, EPS * size)
    return _semidiscrete(name, atoms, levels, view(q), power)


def _at(atoms, levels, u):
    return atoms[np.minimum(np.searchsorted(levels, u), len(atoms) - 1)]


def _semidiscrete(name, atoms, levels, q, power):
    r"""\int |T(y) - y|^r q(y) dy: the atom T(y) is constant between the quantiles of the levels."""
    if not q.has_cdf or not callable(getattr(q.law, "quantile", None)):
        raise NoMethod(f"{name}: {type(q.law).__name__} has no cdf or quantile, which the distance to a discrete law needs")
    cuts = np.asarray(q.law.quantile(np.minimum(levels[:-1], 1.0)), dtype=np.float64).reshape(-1)

    def f(x, _):
        density = np.exp(q.logpdf(x))
        to = atoms[np.searchsorted(cuts, x)]
        y = density * np.abs(to - x) ** power
        noise = y * (8 + np.abs(np.log(np.maximum(density, 1e-300)))) + density * (np.abs(x) + np.abs(to)) * np.abs(to - x) ** (power - 1)
        return np.stack([y, noise])

    kinks = atoms if power == 1 else atoms[:0]
    edges = np.unique(np.concatenate([q.edges, cuts[np.isfinite(cuts)], kinks[(kinks > q.edges[0]) & (kinks < q.edges[-1])]]))
    total, error, noise = over_line(f, edges)
    if math.isinf(total):
        return unbounded("the transport cost")
    spread = float(np.max(np.abs(np.diff(atoms)), initial=0.0))  # a level is rounded by an ulp: that mass goes to the neighbour
    error += EPS * (noise + math.sqrt(len(atoms)) * spread**power)
    return Enclosure.near(total, error, method="quadrature").cut(0.0) if power == 1 else root(total, error)
