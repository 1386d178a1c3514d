r"""Laws seen along directions: u \cdot X is on the line, where every divergence is exact.

Data processing: D(u \cdot P, u \cdot Q) \le D(P, Q) for total variation, Hellinger, every f- and Rényi divergence, and for W_1, W_2 if
|u| = 1. So the largest value over any set of directions is a lower bound in every dimension, whatever the laws.
"""

import math

import numpy as np

from ..enclosure import LEVELS, Enclosure
from ..errors import NoMethod
from ..kernel import Kernel
from ..laws import Empirical, Gaussian, GaussianMixture, Product, SmoothedBox, Uniform
from .panels import EPS
from .product import plain

__all__ = ["along", "directions", "projected"]


def along(law, u):
    r"""The law of u \cdot X on the line; u (d,), not zero.

    Gaussians, mixtures, discrete laws and those that an engine has computed in the plane have one for every u; laws of independent coordinates
    for u along one of them (or within one factor). Raises NoMethod otherwise.
    """
    law = plain(law)
    if isinstance(law, Gaussian):
        return Gaussian([law.mean() @ u], _variances(law.covariance[None], u)[0])
    if isinstance(law, GaussianMixture):
        return GaussianMixture(law.weights, (law.means @ u)[:, None], _variances(law.covs, u))
    if isinstance(law, Empirical):
        return Empirical((law.points @ u)[:, None], law.weights)
    if hasattr(law, "projected"):
        return law.projected(u)
    if isinstance(law, Product):
        start = 0
        for factor, count in zip(law.factors, law.repeat, strict=True):
            for _ in range(count):
                stop = start + factor.dim
                if not np.any(u[:start]) and not np.any(u[stop:]):
                    return along(factor, u[start:stop])
                start = stop
    j = np.flatnonzero(u)
    if len(j) == 1 and isinstance(law, (Uniform, SmoothedBox)):
        ends = law.low[j], law.high[j]
        law = Uniform(*ends) if isinstance(law, Uniform) else SmoothedBox(*ends, law.var)
    if law.dim == 1:
        return law if u[j[0]] == 1 else law.noised(Kernel(float(u[j[0]]), 0.0))
    raise NoMethod(f"along: no projection of a {type(law).__name__} in dimension {law.dim} onto this direction; sample it and use the samples")


def _variances(covs, u):
    """u^T C_k u for covariances () | (d,) | (d, d) after the leading axis."""
    if covs.ndim == 1:
        return covs * (u @ u)
    return covs @ (u * u) if covs.ndim == 2 else np.einsum("kij,i,j->k", covs, u, u)


def turnable(law):
    """Has the law a projection onto every direction?"""
    return isinstance(plain(law), (Gaussian, GaussianMixture, Empirical))


def directions(p, q):
    r"""Unit vectors (k, d) along which two laws differ most, k <= 6, from their means and covariances.

    With S the mean of the covariances: S^{-1}(\mu_p - \mu_q) (the best for equal covariances), \mu_p - \mu_q, the axes where the ratio of
    variances is largest and smallest, and the two principal axes of the scatter of both laws. Laws that have no projection onto them are
    seen along the nearest coordinates.
    """
    move, vp, vq = p.mean() - q.mean(), p.cov(), q.cov()
    lam, basis = np.linalg.eigh(0.5 * (vp + vq))
    kept = lam > lam[-1] * len(lam) * EPS
    white = basis[:, kept] / np.sqrt(lam[kept])
    _, turn = np.linalg.eigh(white.T @ (vp - vq) @ white)
    _, spread = np.linalg.eigh(0.5 * (vp + vq) + np.outer(move, move))
    found = [white @ (white.T @ move), move, *(white @ turn[:, [0, -1]]).T, *spread[:, :-3:-1].T]
    if not (turnable(p) and turnable(q)):
        found = [np.eye(len(u))[np.argmax(np.abs(u))] for u in found if np.any(u)]
    units = {tuple(np.round(u / np.linalg.norm(u) * np.sign(u[np.argmax(np.abs(u))]), 12)): u / np.linalg.norm(u) for u in found if np.any(u)}
    return np.stack(list(units.values()))


def projected(f, p, q, *, along_axes=None, high=math.inf):
    r"""[\max_u f(u \cdot P, u \cdot Q), high] \ni f(P, Q) for a divergence that obeys data processing.

    f : (law, law) on the line -> Enclosure, exact there; p, q : laws in d > 1; along_axes : (k, d), by default ``directions``. The level is
    that of f; a projection's parameters are sums of d rounded products, which is taken off the bound. Proven infinite if one projection is.
    """
    axes = directions(p, q) if along_axes is None else np.atleast_2d(np.asarray(along_axes, dtype=np.float64))
    seen = []
    for u in axes:
        a, b = along(p, u), along(q, u)
        e = f(a, b)
        seen.append((e.lo if math.isinf(e.lo) else max(e.lo - _blur(a, b, len(u)) * (1 + e.lo), 0.0), e.level, e.alpha))
    lo = max(s[0] for s in seen)
    level = max((s[1] for s in seen), key=LEVELS.index)
    alpha = sum(s[2] for s in seen)
    return Enclosure(min(lo, high), high, level, alpha, None, f"data processing, {len(axes)} directions")


def _blur(a, b, d):
    """How far rounded parameters move the laws, in units of their smallest spread; a coordinate is not rounded."""
    spread = min(float(np.sqrt(np.min(v.covs))) if isinstance(v, GaussianMixture) else math.sqrt(max(float(v.cov()[0, 0]), 0.0)) for v in (a, b))
    size = math.sqrt(max(a.second_moment(), b.second_moment()))
    return 8 * d * EPS * (1 + size / spread) if spread > 0 else 0.0
