r"""Total variation of two laws in the plane that are each a law on the line beside an independent Gaussian: one integral, the other is closed."""

import math

import numpy as np
from scipy.special import ndtr

from ..enclosure import Enclosure
from ..laws import Gaussian
from .panels import EPS, integrate
from .quadrature import _DOUBLING
from .view import Pair, view

__all__ = ["arranged", "total_variation"]


def arranged(pairs):
    """(core of p, core of q, Gaussian of p, Gaussian of q) if the pairs are a pair on the line and one of Gaussians on the line, else None."""
    if sum(count for *_, count in pairs) != 2 or len(pairs) != 2 or any(p.dim != 1 for p, *_ in pairs):
        return None
    gaussian = [isinstance(p, Gaussian) and isinstance(q, Gaussian) for p, q, _ in pairs]
    if not any(gaussian):
        return None
    j = gaussian.index(True)
    return (*pairs[1 - j][:2], *pairs[j][:2])


def total_variation(p, q, g, h):
    r"""TV(p \otimes g, q \otimes h) = \int [p(y) G(A_y) - q(y) H(A_y)] dy, A_y = \{z : \log g/h > -\log p/q(y)\}, g and h Gaussian.

    \log g/h is a quadratic, so A_y is an interval, a half-line or the complement of an interval.
    """
    pair = Pair(view(p), view(q))
    (a, u), (b, w) = ((float(x.mean()[0]), float(x.covariance.reshape(()))) for x in (g, h))
    bend, tilt = 0.5 * (u - w) / (u * w), 0.5 * (a - b) * (1 / u + 1 / w)  # log g/h = level + tilt z + bend z^2, z from the middle of the means
    middle = 0.5 * (a + b)
    level = 0.5 * math.log(w / u) + 0.125 * (a - b) ** 2 * (1 / w - 1 / u)

    def inside(lo, hi, mean, var):
        x, y = ((end + middle - mean) / math.sqrt(var) for end in (lo, hi))
        flip = x > 0
        return ndtr(np.where(flip, -x, y)) - ndtr(np.where(flip, -y, x))

    def f(y, _):
        lp, lq, d = pair.logs(y)
        lo, hi, outside = _positive(d + level, tilt, bend)
        masses = [inside(lo, hi, mean, var) for mean, var in ((a, u), (b, w))]
        masses = [np.where(outside, 1 - m, m) for m in masses]
        p, q = np.exp(lp), np.exp(lq)
        return np.stack([np.maximum(p * masses[0] - q * masses[1], 0.0), 8 * (p + q)])

    e = pair.edges
    full = np.concatenate([e[0] - (e[1] - e[0]) * _DOUBLING[7::-1], e, e[-1] + (e[-1] - e[-2]) * _DOUBLING[:8]])
    with np.errstate(over="ignore", under="ignore", invalid="ignore", divide="ignore"):
        done = integrate(f, full[:-1], full[1:])
    value, error = done.total()
    return Enclosure.near(value, error + EPS * (done.total(1)[0] + 16), method="quadrature beside a Gaussian").cut(0.0, 1.0)


def _positive(c, tilt, bend):
    """(lo, hi, outside): where c + tilt z + bend z^2 > 0, as an interval or its complement; c is an array."""
    if bend == 0:
        root = np.divide(-c, tilt) if tilt else np.where(c > 0, -math.inf, math.inf)
        far = np.full_like(c, math.inf)
        return (root, far, np.zeros(c.shape, bool)) if tilt >= 0 else (-far, root, np.zeros(c.shape, bool))
    disc = tilt * tilt - 4 * bend * c
    root = np.sqrt(np.maximum(disc, 0.0))
    big = -0.5 * (tilt + math.copysign(1.0, tilt) * root)  # without cancellation
    first = big / bend
    second = np.where(big != 0, c / np.where(big != 0, big, 1.0), first)
    lo, hi = np.minimum(first, second), np.maximum(first, second)
    none = disc <= 0  # then the sign is that of bend everywhere
    return np.where(none, 0.0, lo), np.where(none, 0.0, hi), np.full(c.shape, bend > 0)
