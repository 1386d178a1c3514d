r"""Sums and comparisons whose tolerance follows from how they were computed.

Expectations on the line are adaptive quadratures with a measured error; a sum of n terms is an Enclosure of half-width n EPS \sum |terms| (a few
roundings a term, added at their worst); divergences and informations are enclosures already. ``equal`` turns pairs of such numbers into Sides.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from scoresde import Enclosure, Gaussian, Kernel, variance_exploding
from scoresde.divergence.panels import integrate
from scoresde.enclosure import enclose

from .bench import EPS, Bench, mixture
from .formula import Sides

__all__ = [
    "Joint", "agree", "close", "column", "equal", "fact", "images", "joint", "less", "mean_of", "normal", "rule", "smoothing", "together", "total",
]  # fmt: skip

ORDER = 8  # Gauss-Legendre nodes on a panel half a standard deviation wide: a Gaussian times a smooth function to 1e-14
_T, _W = np.polynomial.legendre.leggauss(ORDER)
LOST = 1e-20  # probability of a node below which it is left out


# ---- numbers --------------------------------------------------------------------------------------------------------------------------


def total(terms):
    r"""\sum terms as an Enclosure: each term carries a few roundings, and all may add."""
    terms = np.asarray(terms, dtype=np.float64).reshape(-1)
    size = float(np.abs(terms).sum())
    return Enclosure.near(math.fsum(terms), max(len(terms), 16) * EPS * size, method=f"sum of {len(terms)} terms")


def mean_of(law, f):
    r"""E f(X) for X \sim law on the line, f : (n, 1) -> (n,), by the package's adaptive quadrature, with the error it measures."""

    def terms(x, _):
        points = x.reshape(-1, 1)
        return (law.pdf(points) * f(points)).reshape(1, *x.shape)

    edges = law.breakpoints()
    found = integrate(terms, edges[:-1], edges[1:])
    (value, error), size = found.total(), float(np.abs(found.value[0]).sum())
    return Enclosure.near(value, error + len(edges) * EPS * size, method="quadrature")


@lru_cache(maxsize=64)
def rule(law):
    """(x (n, 1), probabilities (n,)): Gauss-Legendre nodes on equal panels, half the smallest standard deviation wide; those of probability
    below 1e-20 are left out."""
    parts = mixture(law)
    sd = np.sqrt(parts.covs)
    low, high = (parts.means[:, 0] - 9.5 * sd).min(), (parts.means[:, 0] + 9.5 * sd).max()
    edges = np.linspace(low, high, math.ceil(2 * (high - low) / sd.min()) + 1)
    half = 0.5 * np.diff(edges)[:, None]
    x = (0.5 * (edges[1:] + edges[:-1])[:, None] + half * _T).reshape(-1, 1)
    w = (half * _W).reshape(-1) * law.pdf(x)
    return x[w > LOST], w[w > LOST]


@dataclass(frozen=True, eq=False)
class Joint:
    r"""A rule for X_0 \sim law, Z \sim N(0, 1), X = m X_0 + \sqrt v Z: nodes x0, z, x (n, 1) and their probabilities w (n,)."""

    x0: np.ndarray
    z: np.ndarray
    x: np.ndarray
    w: np.ndarray

    def mean_of(self, values):
        """The expectation of values (n,) or (n, 1) at the nodes."""
        return total(self.w * np.asarray(values).reshape(-1))


@lru_cache(maxsize=8)
def joint(law, forward):
    """The Joint of a law and a Kernel."""
    x, w = rule(law)
    z, u = rule(Gaussian([0.0], 1.0))
    weight = w[:, None] * u
    i, j = np.nonzero(weight > LOST)
    return Joint(x[i], z[j], forward.m * x[i] + math.sqrt(forward.v) * z[j], weight[i, j])


def column(x):
    """Numbers as points on the line, (n, 1)."""
    return np.asarray(x, dtype=np.float64).reshape(-1, 1)


# ---- comparisons ----------------------------------------------------------------------------------------------------------------------


def _half(e):
    return 0.0 if math.isinf(e.value) else max(e.hi - e.value, e.value - e.lo)


def _pairs(pairs, what, relation):
    both = [(enclose(a), enclose(b)) for a, b in pairs]
    return Sides([a.value for a, _ in both], [b.value for _, b in both], [_half(a) + _half(b) for a, b in both], what, relation)


def equal(*pairs, what=""):
    """Sides of pairs (left, right), each an Enclosure or an exact number; the tolerance is the sum of the half-widths."""
    return _pairs(pairs, what, "=")


def less(*pairs, what=""):
    """Sides of pairs that should be left <= right, up to the half-widths."""
    return _pairs(pairs, what, "<=")


def close(lhs, rhs, what="", *, size=0.0):
    """Sides of two closed forms: 2^12 roundings of the largest number that occurs (at least ``size``)."""
    lhs, rhs = np.asarray(lhs, dtype=np.float64).reshape(-1), np.asarray(rhs, dtype=np.float64).reshape(-1)
    return Sides(lhs, rhs, 2**12 * EPS * max(np.abs(lhs).max(), np.abs(rhs).max(), size), what)


def agree(value, derivative, what=""):
    """Sides of a closed form and a pair (derivative, error) from ``numeric.derivative``."""
    found, error = (np.asarray(d, dtype=np.float64).reshape(-1) for d in derivative)
    return Sides(np.asarray(value, dtype=np.float64).reshape(-1), found, error + 2**12 * EPS * np.abs(found), what)


def fact(*conditions, what=""):
    """Sides of statements that are true (1) or not (0); the claim is that all are."""
    return Sides(np.array(conditions, dtype=np.float64), 1.0, 0.0, what)


def together(*sides):
    """All entries of several Sides of the same relation."""
    lhs, rhs, tolerance = (np.concatenate([getattr(s, k) for s in sides]) for k in ("lhs", "rhs", "tolerance"))
    return Sides(lhs, rhs, tolerance, "; ".join(dict.fromkeys(s.what for s in sides if s.what)), sides[0].relation)


# ---- laws -----------------------------------------------------------------------------------------------------------------------------


def normal(bench: Bench):
    """The Gaussian with the target's mean and variance: chains that start from it have laws in closed form."""
    return Gaussian([bench.mean], bench.var)


def images(bench: Bench):
    """The target and the same law at half its size: a formula that claims to hold for every law is tried on both."""
    return bench.target, bench.target.noised(Kernel(0.5, 0.0))


def smoothing(bench: Bench, of=0.6):
    r"""X \mapsto X + \sigma Z, \sigma a fraction of the target's standard deviation."""
    return variance_exploding(of * bench.sd)
