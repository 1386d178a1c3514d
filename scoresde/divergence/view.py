"""A law on the line seen through flat arrays: log-density, both tails, score, and panels to integrate on."""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..errors import NoMethod, NotTrusted
from ..laws import GaussianMixture
from .panels import EPS, integrate

_SWITCH = np.array([-40.0, -20.0, -8.0, -3.0, -1.0, 0.0, 1.0, 3.0, 8.0, 20.0, 40.0])
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
        if isinstance(law, GaussianMixture):
            edges = np.union1d(edges, _switches(law))
    else:
        edges = _search(law)
    return View(law, edges)


def _switches(law):
    """Panels about the points where one component of a mixture takes over from another, far out in the tails of both.

    There log p bends within 1/|difference of slopes|. The law itself has no mass there and does not care, but another law may: KL(q|p) and the
    Fisher divergence see the bend. All pairs are tried, beyond 64 components those of neighbouring means.
    """
    kept = law.weights > 0
    order = np.argsort(law.means[kept, 0], kind="stable")
    w, mu, var = (x[kept][order] for x in (law.weights, law.means[:, 0], law.covs.reshape(len(kept))))
    i, j = np.triu_indices(len(w), 1) if len(w) <= 64 else (np.arange(len(w) - 1), np.arange(1, len(w)))
    level = np.log(w) - 0.5 * np.log(var)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        # (x - mu_i)^2/(2 var_i) - level_i = the same for j; x = mu_i + y
        curve, gap = 0.5 * (1 / var[i] - 1 / var[j]), mu[j] - mu[i]
        tilt, rest = gap / var[j], level[j] - level[i] - 0.5 * gap**2 / var[j]
        root = np.sqrt(tilt**2 - 4 * curve * rest)
        big = -0.5 * (tilt + np.copysign(root, tilt))  # curve y^2 + tilt y + rest = 0, without cancellation
        x = np.concatenate([mu[i] + big / curve, mu[i] + rest / big])
        i, j = np.tile(i, 2), np.tile(j, 2)
        steep = [np.abs(x - mu[k]) / var[k] for k in (i, j)]
        far = np.where(steep[0] > steep[1], np.abs(x - mu[i]) / np.sqrt(var[i]), np.abs(x - mu[j]) / np.sqrt(var[j])) > 11
    x, i, j = x[far & np.isfinite(x)], i[far & np.isfinite(x)], j[far & np.isfinite(x)]
    if not len(x):
        return x
    top = level[i] - 0.5 * (x - mu[i]) ** 2 / var[i]
    seen = top > law.logpdf(x[:, None]) + 0.5 * math.log(2 * math.pi) - 5  # the others are below
    x, i, j = x[seen], i[seen], j[seen]
    width = 1 / np.maximum(np.abs((x - mu[i]) / var[i] - (x - mu[j]) / var[j]), 1e-300)
    return (x[:, None] + width[:, None] * _SWITCH).ravel()


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
