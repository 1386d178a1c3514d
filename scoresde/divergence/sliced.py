r"""Sliced Wasserstein distance SW_2^2(P, Q) = E_u W_2(u \cdot P, u \cdot Q)^2, u uniform on the unit sphere.

The means contribute |\mu_p - \mu_q|^2 / d exactly; only the centred laws are averaged over random directions.
Source: Bonneel, Rabin, Peyré & Pfister 2015, https://doi.org/10.1007/s10851-014-0506-3
"""

import math

import numpy as np

from .._arrays import positive_int, stream
from ..enclosure import Enclosure
from ..errors import NoMethod
from ..laws import Empirical, Gaussian, GaussianMixture
from . import bounds
from .concentration import betting, normal
from .empirical_transport import merged, sorted_cost, wasserstein
from .panels import EPS
from .product import plain
from .projections import along, turnable
from .rows import drawn, halves, is_sample

__all__ = ["sliced_wasserstein2"]

BLOCK = 2**21  # numbers of one array of projected samples: 16 MB, a few of them live at once


def sliced_wasserstein2(p, q, *, alpha=1e-6, projections=500, n=None, seed=None):
    r"""SW_2(P, Q), a distance; SW_2 \le W_2 / \sqrt d for centred isotropic laws, always \le W_2; on the line it is W_2.

    p, q : laws or samples (n, d). Two laws: exact for isotropic Gaussians; else every projection is exact (Gaussians, mixtures, discrete
    laws) and the mean over directions is bounded by betting, level finite-sample: the truth is inside with probability at least 1 - alpha
    over the directions. Samples: the distance of the empirical laws, level heuristic as a statement about the laws: \pm the Monte Carlo
    half-width over directions given the samples, \pm the noise floors of the samples (the distance between their halves). A law beside a
    sample, or one without projections, is drawn: n rows, by default as many as the sample has.
    Memory: 100 MB beyond the samples up to n = 2e6, for any number of projections. seed is needed unless the answer is exact.
    Raises ValueError for shapes, counts and a missing seed, NoMethod for laws without projections when n is None.
    """
    projections = positive_int("projections", projections, least=2)
    if not (is_sample(p) or is_sample(q)):
        if p.dim != q.dim:
            raise ValueError(f"sliced_wasserstein2: got laws of dimension {p.dim} and {q.dim}, allowed are equal dimensions")
        if p.dim == 1:
            return bounds.on_the_line(p, q)
        p, q = plain(p), plain(q)
        if _round(p) and _round(q):
            return _exact(p, q)
        if turnable(p) and turnable(q):
            return _of_laws(p, q, alpha, projections, seed)
        if n is None:
            names = " and ".join(type(law).__name__ for law in (p, q))
            raise NoMethod(f"sliced_wasserstein2: no projections of {names} onto every direction; pass n (draws per law) and seed")
    x, y = drawn("sliced_wasserstein2", p, q, n, seed)
    if x.shape[1] == 1:
        return wasserstein(x, y, 2)
    return _of_samples(x, y, alpha, projections, seed)


def sphere(d, count, seed):
    """Uniform directions (count, d); growing the count keeps the first ones."""
    z = stream(seed, "sliced_wasserstein2: directions").standard_normal((count, d))
    return z / np.linalg.norm(z, axis=1, keepdims=True)


def _round(law):
    return isinstance(law, Gaussian) and law.covariance.ndim == 0


def _exact(p, q):
    move, gap = p.mean() - q.mean(), math.sqrt(p.covariance) - math.sqrt(q.covariance)
    value = math.hypot(float(np.linalg.norm(move)) / math.sqrt(p.dim), gap)
    return Enclosure.near(value, 8 * EPS * (value + math.sqrt(p.covariance) + math.sqrt(q.covariance)), method="closed form").cut(0.0)


# ---- two laws -----------------------------------------------------------------------------------------------------------------------


def _of_laws(p, q, alpha, projections, seed):
    r"""\frac{|\Delta|^2}{d} + E T(u), T(u) = W_2^2 of the centred projections in [0, R], R = sup u^T M u for any coupling of second moment M."""
    move, d = p.mean() - q.mean(), p.dim
    shift = float(move @ move) / d
    p, q = _centred(p), _centred(q)
    u = sphere(d, projections, seed)
    if isinstance(p, Gaussian) and isinstance(q, Gaussian):
        costs = (np.sqrt(_along(p, u)) - np.sqrt(_along(q, u))) ** 2
        blur = 16 * d * EPS * math.sqrt(p.second_moment() + q.second_moment())
    else:
        seen = [bounds.on_the_line(along(p, v), along(q, v)) for v in u]
        costs = np.array([e.value for e in seen]) ** 2
        blur = max(e.hi - e.value for e in seen) + 16 * d * EPS * math.sqrt(p.second_moment() + q.second_moment())
    top = max(_widest(p, q), float(np.max(costs))) or 1.0
    lo, hi = (top * x for x in betting(costs / top, alpha))
    value = math.sqrt(shift + float(np.mean(costs)))
    half = max(value - math.sqrt(shift + lo), math.sqrt(shift + hi) - value, 0.0) + blur
    return Enclosure.near(value, half, "finite-sample", alpha, f"{projections} exact projections, betting interval over directions").cut(0.0)


def _centred(law):
    if isinstance(law, Gaussian):
        return Gaussian(np.zeros(law.dim), law.covariance)
    if isinstance(law, GaussianMixture):
        return GaussianMixture(law.weights, law.means - law.mean(), law.covs)
    return Empirical(law.points - law.mean(), law.weights)


def _along(law, u):
    cov = law.covariance
    return cov * np.ones(len(u)) if cov.ndim == 0 else (u * u) @ cov if cov.ndim == 1 else np.einsum("ni,ij,nj->n", u, cov, u)


def _widest(p, q):
    r"""A bound of W_2^2 over all projections: the largest eigenvalue of E (X-Y)(X-Y)^T for the coupling of components, or for independence."""
    a, b = bounds.components(p), bounds.components(q)
    loose = float(np.linalg.eigvalsh(p.cov() + q.cov())[-1])
    if len(a[0]) * len(b[0]) > bounds.PAIRS:
        return loose * (1 + 1e-12)
    return min(loose, float(np.linalg.eigvalsh(bounds.coupled_moment(a, b))[-1])) * (1 + 1e-12)


# ---- samples ------------------------------------------------------------------------------------------------------------------------


def _of_samples(x, y, alpha, projections, seed):
    d, split = x.shape[1], (halves(len(x)), halves(len(y)))
    moves = x.mean(axis=0) - y.mean(axis=0), *(_mean(z, i) - _mean(z, j) for z, (i, j) in zip((x, y), split, strict=True))
    costs = _costs(x, y, split, sphere(d, projections, seed))
    between, *floors = (math.sqrt(float(move @ move) / d + float(np.mean(c))) for move, c in zip(moves, costs, strict=True))
    spread = normal(costs[0], alpha)
    half = max(between - math.sqrt(max(between**2 - spread, 0.0)), math.sqrt(between**2 + spread) - between)
    method = f"{projections} projections, Monte Carlo half-width {half:.3g} over directions; noise floor of the samples {sum(floors):.3g}"
    return Enclosure.near(between, half + sum(floors), "heuristic", method=method).cut(0.0)


def _mean(x, index):
    """The mean of the rows chosen, without a copy of them."""
    return np.bincount(index, minlength=len(x)) @ x / len(index)


def _costs(x, y, split, u):
    """Squared W_2 of centred projections onto every direction, (3, len(u)): between the samples, and between the halves of either."""
    out = np.empty((3, len(u)))
    step = max(1, BLOCK // max(len(x), len(y)))
    pieces = [merged(len(x), len(y)), *(merged(len(i), len(j)) for i, j in split)]
    for start in range(0, len(u), step):
        here = slice(start, start + step)
        a, b = u[here] @ x.T, u[here] @ y.T
        for k, (z, (i, j)) in enumerate(zip((a, b), split, strict=True), 1):
            out[k, here] = sorted_cost(_sorted(z[:, i]), _sorted(z[:, j]), 2, pieces[k])
        out[0, here] = sorted_cost(_sorted(a), _sorted(b), 2, pieces[0])
    return out


def _sorted(z):
    """Centred and sorted along the last axis, in place."""
    z -= z.mean(axis=1, keepdims=True)
    z.sort(axis=1)
    return z
