"""A law on the line seen through flat arrays: log-density, both tails, score, and panels to integrate on."""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..errors import NoMethod, NotTrusted
from .panels import EPS, integrate

FAR = 2.0 ** np.arange(1, 400, 6)  # probes for the ends of a support, up to 1e119


@dataclass(frozen=True)
class View:
    """``edges``: sorted; between neighbours log p is smooth at their distance."""

    law: object
    edges: np.ndarray

    @property
    def has_cdf(self):
        return callable(getattr(self.law, "cdf", None))

    def logpdf(self, x):
        return np.asarray(self.law.logpdf(np.asarray(x)[..., None]), dtype=np.float64)

    def score(self, x):
        return np.asarray(self.law.score(np.asarray(x)[..., None]), dtype=np.float64)[..., 0]

    def cdf(self, x):
        return np.asarray(self.law.cdf(np.asarray(x)[..., None]), dtype=np.float64)

    def sf(self, x):
        """P(X > x), relatively accurate where the law has its own ``sf``."""
        own = getattr(self.law, "sf", None)
        if callable(own):
            return np.asarray(own(np.asarray(x)[..., None]), dtype=np.float64)
        return np.maximum(1.0 - self.cdf(x), 0.0)


def view(law):
    """The View of a law on the line; panels are searched for if it has no ``breakpoints()``.

    Raises NotTrusted if panels that hold all of its mass cannot be found.
    """
    points = getattr(law, "breakpoints", None)
    if callable(points):
        edges = np.unique(np.asarray(points(), dtype=np.float64))
        if len(edges) == 1:
            edges = np.array([edges[0] - 1.0, edges[0], edges[0] + 1.0])
    else:
        edges = _search(law)
    return View(law, edges)


def _search(law):
    """Panels of a law known by its log-density alone: geometric edges about its mean, refined until its mass is resolved and equal to 1."""
    try:
        centre = float(np.asarray(law.mean())[0])
    except (NotImplementedError, AttributeError, ArithmeticError):
        centre = 0.0
    centre = centre if math.isfinite(centre) else 0.0
    arm = 2.0 ** np.arange(-30.0, 60.0)
    edges = np.concatenate([centre - arm[::-1], [centre], centre + arm])
    peak = _climb(law, edges)
    edges = np.unique(np.concatenate([edges, peak - arm, [peak], peak + arm]))
    density = lambda x, _: np.exp(np.asarray(law.logpdf(x[..., None])))[None]  # noqa: E731
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        found = integrate(density, edges[:-1], edges[1:], watch=1, tolerance=1e-13, most=40_000)
    mass, error = found.total()
    if not abs(mass - 1) <= 1e-8 + error:
        raise NotTrusted(
            f"law: the panels found by adaptive search hold mass {mass:.9g}, expected 1; give the law a method breakpoints() -> sorted (B,) "
            "between which its log-density is smooth, or normalise it"
        )
    return _trimmed(found.leaves, found.leaf_value)


def _climb(law, x):
    """The top of the highest hill seen from the points x: they are narrowed about the largest log-density."""
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        for _ in range(40):
            i = int(np.clip(np.argmax(law.logpdf(x[:, None])), 1, len(x) - 2))
            x = np.linspace(x[i - 1], x[i + 1], 17)
    return float(x[8])


def _trimmed(leaves, mass):
    """The leaves of the search that hold mass, as edges."""
    keep = np.nonzero(mass > 1e-30)[0]
    return np.append(leaves[keep[0] : keep[-1] + 1, 0], leaves[keep[-1], 1])


@dataclass(frozen=True)
class Pair:
    """Two laws on the line, to be compared."""

    p: View
    q: View

    @cached_property
    def edges(self):
        """Panels of both laws together."""
        return np.union1d(self.p.edges, self.q.edges)

    def logs(self, x):
        """(log p, log q, d = log p - log q), d = 0 where both vanish."""
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            lp, lq = self.p.logpdf(x), self.q.logpdf(x)
            d = lp - lq
        return lp, lq, np.where(np.isnan(d), 0.0, d)

    def uncovered(self):
        """Is there a point with p > 0 = q? Asked far out, between and inside the panels; of logarithms, so that nothing underflows."""
        edges = self.edges
        scale = max(edges[-1] - edges[0], np.max(np.abs(edges)))
        lp, lq, _ = self.logs(np.concatenate([edges[0] - scale * FAR, 0.5 * (edges[1:] + edges[:-1]), edges[-1] + scale * FAR]))
        return bool(np.any((lp > -np.inf) & (lq == -np.inf)))

    def within(self, edges, *computed):
        """Edges cut to where laws that were computed have relatively accurate tails: their own panels. Closed forms have no limit."""
        limits = [v.edges[[0, -1]] for v in computed if getattr(v.law, "twin", None) is not None or getattr(v.law, "error", 0.0) > 0]
        if not limits:
            return edges, False
        lo, hi = max(e[0] for e in limits), min(e[1] for e in limits)
        if not lo < hi:
            raise NotTrusted("two computed laws have no region in common in which both are relatively accurate; use total_variation")
        return np.concatenate([[lo], edges[(edges > lo) & (edges < hi)], [hi]]), True

    @cached_property
    def middle(self):
        """A point with about as much mass on either side (only rounding depends on it)."""
        total = self.p.cdf(self.edges) + self.q.cdf(self.edges)
        return self.edges[min(int(np.searchsorted(total, 1.0)), len(self.edges) - 1)]

    def difference(self, x):
        """(F - G at x from the smaller tails, its rounding)."""
        below, gap, size = x < self.middle, np.zeros(np.shape(x)), np.zeros(np.shape(x))
        for side, sign, tail in ((below, 1.0, View.cdf), (~below, -1.0, View.sf)):
            if side.any():
                a, b = tail(self.p, x[side]), tail(self.q, x[side])
                gap[side], size[side] = sign * (a - b), a + b
        return gap, 2 * EPS * size

    def needs_cdf(self, name):
        for v in (self.p, self.q):
            if not v.has_cdf:
                raise NoMethod(
                    f"{name}: {type(v.law).__name__} has no cdf; give it cdf(x) -> (...), or use total_variation, which needs a log-density only"
                )
