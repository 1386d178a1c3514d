"""The standard normal law truncated to an interval, and the mean of its distribution function: what a noised box is made of."""

import math

import numpy as np

from .._arrays import like, namespace
from ._common import ndtr
from .gaussian import LOG_2PI

__all__ = ["mean_ndtr", "truncated_normal"]

NODES, WEIGHTS = np.polynomial.legendre.leggauss(32)
NODES, WEIGHTS = 0.5 * (1 + NODES), 0.5 * WEIGHTS  # on [0, 1]
DROP = 40.0  # integrands are followed until they have fallen by e^-40: less than rounding


def truncated_normal(a, b):
    r"""For T ~ N(0, 1) given a <= T <= b: (log of the mean of phi over [a, b], E T, Var T - 1, E F, Var F), F = (b - T) / (b - a).

    Intervals that reach past 1 in the heavier half and are longer than 2: normal tails and end-point densities. Others (a tail, or a
    short interval): a 32-point rule on the part that counts, from the end where phi is largest, so that nothing cancels and a = b is
    allowed; by symmetry that end is b. Also right at |a|, |b| = 1e300, where E T is the nearer end.
    """
    xp = namespace(a)
    flip = a + b > 0  # reflect, so that phi is larger at b than at a
    lo, hi = xp.where(flip, -b, a), xp.where(flip, -a, b)
    width = hi - lo
    centred = (hi > -1) & (width > 2)
    c, w = xp.where(centred, hi, 3.0), xp.where(centred, width, 6.0)  # harmless values where the other branch is used
    mass = ndtr(c) - ndtr(c - w)
    at_hi, at_lo = xp.exp(-0.5 * (c * c + LOG_2PI)), xp.exp(-0.5 * ((c - w) ** 2 + LOG_2PI))
    mean = -(at_hi - at_lo) / mass
    excess = -(c * at_hi - (c - w) * at_lo) / mass - mean * mean
    out = [xp.log(mass / w), mean, excess, (c - mean) / w, (1 + excess) / (w * w)]
    if not bool(centred.all()):
        other = ~centred
        for value, exact in zip(out, _from_the_end(xp, hi[other], width[other]), strict=True):
            value[other] = exact
    log_mean, mean, excess, frac, frac_var = out
    return log_mean, xp.where(flip, -mean, mean), excess, xp.where(flip, 1 - frac, frac), frac_var


def _from_the_end(xp, b, width):
    """The same five numbers on [b - width, b], phi largest at b: T = b - y with weight exp(b y - y^2 / 2), y in [0, length]."""
    length, share = _part_that_counts(xp, b, width)
    u = like(NODES, b)
    y = length[..., None] * u
    density = like(WEIGHTS, b) * xp.exp((b[..., None] - 0.5 * y) * y)
    total = density.sum(-1)
    p = density / total[..., None]
    mean_u = (p * u).sum(-1)
    var_u = (p * (u - mean_u[..., None]) ** 2).sum(-1)
    log_mean = xp.log(total * share) - 0.5 * (b * b + LOG_2PI)
    return log_mean, b - length * mean_u, length * length * var_u - 1, share * mean_u, share * share * var_u


def _part_that_counts(xp, b, width):
    """(length, length / width) of the part of [b - width, b] outside which phi is below e^-DROP of its value at b."""
    steep = xp.clip(-b, 0.0, None)
    reach = 2 * DROP / (steep + xp.hypot(steep, like(math.sqrt(2 * DROP), b)))  # y^2 / 2 + steep y = DROP
    share = xp.where(width > reach, reach / xp.where(width > 0, width, 1.0), 1.0)
    return width * share, share


def mean_ndtr(a, b):
    r"""The mean of \Phi over [a, b], a + b <= 0: by \int \Phi = z \Phi + \varphi where that does not cancel, else by quadrature from b."""
    width = b - a
    centred = (b > -1) & (width > 2)
    c, w = np.where(centred, b, 3.0), np.where(centred, width, 6.0)
    out = (_integral_ndtr(c) - _integral_ndtr(c - w)) / w
    if not centred.all():
        hi, span = b[~centred], width[~centred]
        length, share = _part_that_counts(np, hi, span)
        out[~centred] = share * (ndtr(hi[:, None] - length[:, None] * NODES) @ WEIGHTS)
    return out


def _integral_ndtr(z):
    return z * ndtr(z) + np.exp(-0.5 * (z * z + LOG_2PI))
