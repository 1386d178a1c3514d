r"""Two mixtures of Gaussians in the plane, sliced: component k is N(y; \mu_k, \sigma_k^2) N(x; c_k(y), s_k^2), c_k(y) = a_k + b_k (y - \mu_k).

Every slice y = const is a pair of mixtures on the line with explicit weights. The coordinates (y, x) = A z make components round on average and
are turned so that few panels suffice; f-divergences do not depend on A. Parameters are computed in rational arithmetic and rounded once, so a
component of aspect 1000 : 1 loses no digits to the change of coordinates.
"""

import math
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from ..laws import Gaussian, GaussianMixture, Product
from .panels import EPS, grade

LOG_2PI = math.log(2 * math.pi)
BLOCK = 2**19  # numbers of one temporary array
REACH = 9.5  # standard deviations: 1e-20 of a component's mass is beyond, each way


@dataclass(frozen=True)
class Slices:
    """Components of p (the first ``count``) and of q, arrays (K,): see the module's docstring. ``to`` is A (2, 2).

    ``spots`` (y, width), each (J,): where the centres of thin components cross, narrower in y than the components themselves.
    """

    log_w: np.ndarray
    mu: np.ndarray
    sigma: np.ndarray
    a: np.ndarray
    b: np.ndarray
    s: np.ndarray
    count: int
    to: np.ndarray
    spots: tuple

    def centres(self, y):
        """c_k(y), (n, K)."""
        return self.a + self.b * (y[:, None] - self.mu)

    def edges(self, fineness):
        """Panel edges in y: steps of about ``fineness`` standard deviations out to REACH, about ``spots`` too, graded between them."""
        centre, width = (np.concatenate(pair) for pair in zip((self.mu, self.sigma), self.spots, strict=True))
        points, _ = lattice(centre[None], width, np.ones((1, len(centre)), dtype=bool), fineness)
        return grade(points)

    def mesh(self, y, fineness):
        """(x, row): along each slice, points at steps of about ``fineness`` s_k, sorted by row; components beyond REACH there are left out."""
        return lattice(self.centres(y), self.s, np.abs(y[:, None] - self.mu) <= REACH * self.sigma, fineness)

    def by_rows(self, f, y):
        """f(y) -> (k, n) for y (n,), in blocks that bound memory."""
        step = max(16, 2**14 // len(self.mu))
        return np.concatenate([f(y[i : i + step]) for i in range(0, max(len(y), 1), step)], axis=1)

    def condition(self):
        """The relative uncertainty of (x - c_k(y)) / s_k in units of EPS, (K,): rounding of x, of c_k and of y."""
        size = np.max(np.abs(self.a) + REACH * (np.abs(self.b) * self.sigma + self.s))
        return (size + np.abs(self.a)) / self.s + REACH * np.abs(self.b) * self.sigma / self.s + np.max(np.abs(self.mu)) / self.sigma

    def logits(self, y, x, side):
        """log of the weighted densities of the components of ``side``, (k, *shape of y and x together)."""
        out = np.empty((len(side), *np.broadcast_shapes(y.shape, x.shape)))
        for row, k in zip(out, side, strict=True):
            t = (y - self.mu[k]) / self.sigma[k]
            u = (x - (self.a[k] + self.b[k] * (y - self.mu[k]))) / self.s[k]
            np.multiply(u, u, out=row)
            row += t * t - 2 * (self.log_w[k] - math.log(self.sigma[k] * self.s[k]) - LOG_2PI)
            row *= -0.5
        return out

    def logs(self, y, x):
        """(log p, log q), densities in the coordinates (y, x)."""
        return tuple(total(self.logits(y, x, side))[0] for side in self.sides)

    def gradients(self, y, x, second=False):
        """For p and for q: (log density, its derivatives in x and y) and, if asked, those in xx and xy; (3 or 5, ...) each."""
        out = []
        for side in self.sides:
            level, shares = total(self.logits(y, x, side))
            sums = np.zeros((4 if second else 2, *level.shape))
            for k, r in zip(side, shares, strict=True):
                u = (x - (self.a[k] + self.b[k] * (y - self.mu[k]))) / self.s[k]
                dx, dy = -u / self.s[k], self.b[k] * u / self.s[k] - (y - self.mu[k]) / self.sigma[k] ** 2
                terms = (dx, dy, dx * dx - 1 / self.s[k] ** 2, dx * dy + self.b[k] / self.s[k] ** 2) if second else (dx, dy)
                for row, term in zip(sums, terms, strict=True):
                    row += r * term
            if second:
                sums[2:] -= sums[0] * sums[:2]
            out.append(np.concatenate([level[None], sums]))
        return out

    @property
    def sides(self):
        """Indices of the components of p, and of q."""
        return range(self.count), range(self.count, len(self.mu))


def in_blocks(f, y, x, width):
    """f(y, x) -> (k, n, ...) for x (n, ...) and y (n,) or (n, 1), in blocks along n so that temporaries of ``width`` numbers a point stay small."""
    step = max(1, BLOCK * len(x) // max(1, width * x.size))
    return np.concatenate([f(y[i : i + step], x[i : i + step]) for i in range(0, max(len(x), 1), step)], axis=1)


def total(logits):
    """(log of the sum of exponentials over the first axis, the share of each)."""
    if len(logits) == 1:
        return logits[0], np.ones_like(logits)
    top = logits.max(axis=0)
    shares = np.exp(logits - top)
    size = shares.sum(axis=0)
    shares /= size
    return top + np.log(size), shares


def lattice(centre, width, near, fineness):
    """(points, row): per row of ``centre`` (n, K), multiples of powers of two close to fineness * width_k within REACH of the centre.

    The lattices of different widths are nested: they merge where they overlap and the finest wins there.
    """
    step = np.exp2(np.round(np.log2(fineness * width)))
    first, last = np.floor((centre - REACH * width) / step), np.ceil((centre + REACH * width) / step)
    last = np.where(near, last, first - 1)
    j = np.arange(max(int((last - first).max()) + 1, 1))
    points = (first[..., None] + j) * step[:, None]
    points[first[..., None] + j > last[..., None]] = np.inf
    points = np.sort(points.reshape(len(centre), -1), axis=1)
    kept = np.isfinite(points)
    kept[:, 1:] &= points[:, 1:] > points[:, :-1]
    row, _ = np.nonzero(kept)
    return points[kept], row


# ---- coordinates --------------------------------------------------------------------------------------------------------------------


def mixture(law):
    """A law in the plane as (weights, means, covariances (K, 2, 2)), components without weight left out; None if it is no such mixture."""
    if isinstance(law, Gaussian) and law.dim == 2:
        return np.ones(1), law.mean()[None], law.cov()[None]
    if isinstance(law, GaussianMixture) and law.dim == 2:
        c = law.covs
        full = c if c.ndim == 3 else c[..., None, None] * np.eye(2) if c.ndim == 1 else c[:, :, None] * np.eye(2)
        kept = law.weights > 0
        return law.weights[kept], law.means[kept], full[kept]
    if isinstance(law, Product) and law.dim == 2 and all(isinstance(f, (Gaussian, GaussianMixture)) for f in law.factors):
        parts = [f if isinstance(f, GaussianMixture) else GaussianMixture([1.0], f.mean()[None], f.cov()[None]) for f in law.expanded()]
        if len(parts) == 1:
            return mixture(parts[0])
        (w, m, v), (w2, m2, v2) = ((f.weights, f.means[:, 0], f.covs.reshape(-1)) for f in parts)
        i, j = (x.ravel() for x in np.indices((len(w), len(w2))))
        return mixture(GaussianMixture(w[i] * w2[j], np.stack([m[i], m2[j]], axis=1), np.stack([v[i], v2[j]], axis=1)[:, :, None] * np.eye(2)))
    return None


def slices(p, q, turns):
    """Slices of two laws in the coordinates that are turned by each of ``turns``, those first that need the fewest panels."""
    both = [np.concatenate(x) for x in zip(mixture(p), mixture(q), strict=True)]
    count = len(mixture(p)[0])
    weights, means, covs = both
    root = np.sqrt(np.linalg.det(covs / np.trace(covs, axis1=1, axis2=2)[:, None, None]).clip(1e-16))
    shape = np.mean(covs / (np.trace(covs, axis1=1, axis2=2) * root)[:, None, None], axis=0)
    lam, basis = np.linalg.eigh(shape)
    size = np.exp(-0.25 * np.mean(np.linalg.slogdet(covs)[1]) + 0.25 * np.sum(np.log(lam)))
    round_ = size * (basis / np.sqrt(lam)).T
    origin = weights @ means / np.sum(weights)
    exact = [[Fraction(v) for v in row] for row in means.tolist()], [[[Fraction(v) for v in r] for r in c] for c in covs.tolist()]
    found = []
    for turn in turns:
        cos, sin = math.cos(turn), math.sin(turn)
        to = np.array([[cos, sin], [-sin, cos]]) @ round_
        found.append(_sliced(np.log(weights), *exact, origin, to, count))
    return sorted(found, key=lambda z: len(z.edges(0.5)))


def _sliced(log_w, means, covs, origin, to, count):
    (p, q), (r, s) = ([Fraction(v) for v in row] for row in to.tolist())
    o = [Fraction(v) for v in origin.tolist()]
    area = (p * s - q * r) ** 2
    rows = []
    for (m0, m1), c in zip(means, covs, strict=True):
        c00, c01, c11 = c[0][0], (c[0][1] + c[1][0]) / 2, c[1][1]
        vy = p * p * c00 + 2 * p * q * c01 + q * q * c11
        vxy = p * r * c00 + (p * s + q * r) * c01 + q * s * c11
        inner = area * (c00 * c11 - c01 * c01) / vy
        d0, d1 = m0 - o[0], m1 - o[1]
        rows.append((float(p * d0 + q * d1), math.sqrt(vy), float(r * d0 + s * d1), float(vxy / vy), math.sqrt(inner)))
    mu, sigma, a, b, s = np.array(rows).T
    z = Slices(log_w, mu, sigma, a, b, s, count, to, (np.zeros(0), np.ones(0)))
    return replace(z, spots=spots(z))


def spots(z):
    """(y, width) where the centres of two components cross, if they part within less than their own extent in y."""
    i, j = np.triu_indices(len(z.mu), 1)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        tilt = z.b[i] - z.b[j]
        y = z.mu[i] + (z.a[j] - z.a[i] + z.b[j] * (z.mu[i] - z.mu[j])) / tilt
        width = np.hypot(z.s[i], z.s[j]) / np.abs(tilt)
        kept = width < 0.7 * np.minimum(z.sigma[i], z.sigma[j])
        kept &= (np.abs(y - z.mu[i]) < REACH * z.sigma[i]) & (np.abs(y - z.mu[j]) < REACH * z.sigma[j])
    return y[kept], np.maximum(width[kept], 1e3 * EPS * np.abs(y[kept]))
