r"""Divergences of two mixtures of Gaussians in the plane.

Total variation: exact along slices (``level``), in two directions of slicing whose difference is part of the width. The others have smooth
integrands, written in d = \log p - \log q as on the line, and are integrated by adaptive panels along slices, the slices by adaptive panels across.
"""

import math

import numpy as np

from ..enclosure import Enclosure
from ..errors import NoMethod, NotTrusted
from . import level
from .panels import EPS, integrate
from .quadrature import LN2, entropy_gap, phi, root
from .slices import in_blocks, mixture, slices
from .tails import diverges, with_peaks

TURNS = 0.3 + math.pi / 6 * np.arange(6)  # no symmetry of a law puts its level curves along an axis
MOST = 500  # components of a law: the work grows with their square, 10 to 20 s for 500
CONDITION = 1e12  # extent of the laws over the width of a component
PANELS = 6000  # across the slices
STEP = 1.0  # of panels, in standard deviations
OUTSIDE = 1e-20  # mass of a Gaussian beyond slices.REACH standard deviations in either coordinate
TAIL = 1e-17  # OUTSIDE times the growth of d^2 there, relative to the integral


def suits(p, q):
    """Are both laws Gaussians, mixtures of them, or products of two such laws on the line, in the plane?"""
    return mixture(p) is not None and mixture(q) is not None


def total_variation(p, q):
    r"""TV = \frac12 \int |p - q|, about 1e-14; thin components (aspect 1000) and far modes (1000 apart) about 1e-12."""
    with np.errstate(all="ignore"):
        (value, error), (other, doubt) = (level.total_variation(z) for z in _slices(p, q)[:2])
    return _near(value, max(error, doubt) + abs(value - other), "slices in two directions").cut(0.0, 1.0)


def kullback_leibler(p, q):
    r"""KL = \int p\,\varphi(d), \varphi(d) = d + e^{-d} - 1."""

    def f(lp, lq, of_d, of_density):
        p, q, d = np.exp(lp), np.exp(lq), lp - lq
        low = np.maximum(np.minimum(d, -1.0), -745.0)  # there p phi(d) = q (1 + e^d (d - 1)), which survives p = 0
        y = np.where(d > -1, p * phi(np.maximum(d, -1.0)), q * (1 + np.exp(low) * (low - 1)))
        return y, of_density * y + of_d * np.abs(p - q)

    return _near(*_smooth(p, q, f))


def hellinger(p, q):
    r"""H^2 = \int \frac{p+q}2 (1 - \mathrm{sech}\,\frac d2)."""

    def f(lp, lq, of_d, of_density):
        half = 0.5 * np.abs(lp - lq)
        m, w = 0.5 * (np.exp(lp) + np.exp(lq)), np.exp(-half)
        y = m * np.expm1(-half) ** 2 / (1 + w * w)
        return y, of_density * y + of_d * m * w * np.abs(np.tanh(half))

    return root(*_smooth(p, q, f)).cut(0.0, 1.0)


def jensen_shannon(p, q):
    r"""JS = \int \frac{p+q}2 J(\tanh\frac d2), J(u) = \frac12[(1+u)\log(1+u) + (1-u)\log(1-u)]."""

    def f(lp, lq, of_d, of_density):
        d, a = lp - lq, np.minimum(np.abs(lp - lq), 700.0)
        m = 0.5 * (np.exp(lp) + np.exp(lq))
        y = m * entropy_gap(np.tanh(0.5 * d))
        return y, of_density * y + of_d * m * a * np.exp(-a)

    return _near(*_smooth(p, q, f)).cut(0.0, LN2)


def fisher_divergence(p, q):
    r"""\int p |\nabla\log p - \nabla\log q|^2."""
    z = _slices(p, q)[0]
    kappa = float(np.max(z.condition()))

    def f(y, x):
        (lp, *sp), (_, *sq) = z.gradients(y, x)
        # the coordinates are (y, x), the gradients (d/dx, d/dy)
        gap = np.einsum("ij,i...->j...", z.to, np.stack([sp[1] - sq[1], sp[0] - sq[0]]))
        size = np.einsum("ij,i...->j...", np.abs(z.to), np.stack([np.abs(sp[1]) + np.abs(sq[1]), np.abs(sp[0]) + np.abs(sq[0])]))
        density, loss = np.exp(lp), (4 + np.abs(lp) + kappa) * size
        value = density * (gap**2).sum(axis=0)
        noise = density * (loss * (2 * np.abs(gap) + EPS * loss)).sum(axis=0)
        return np.stack([value, 4 * noise + _of_density(kappa, lp, lp) * value])

    with np.errstate(all="ignore"):
        return _near(*over_plane(z, f))


def _slices(p, q):
    for law in (p, q):
        parts = mixture(law)
        if parts is None:
            raise NoMethod(f"plane: got {type(law).__name__} of dimension {law.dim}, allowed are Gaussians and mixtures of them in dimension 2")
        if len(parts[0]) > MOST:
            raise NoMethod(f"plane: got {len(parts[0])} components, allowed are {MOST}; thin out the data, or compare projections onto an axis")
    found = slices(p, q, TURNS)
    lost = max(float(np.max(z.condition())) for z in found)
    if not lost <= CONDITION:
        raise NotTrusted(
            f"plane: got components {lost:.1e} times their own width apart (or as long), allowed is {CONDITION:.0e}: coordinates would be lost to "
            "rounding; compare the parts on their own"
        )
    return found


def _near(value, error, method="cubature"):
    if not math.isfinite(value + error):
        raise NotTrusted("plane: floating point overflows for these laws, whose components are too far apart or too different in size")
    return Enclosure.near(value, error, method=method).cut(0.0)


# ---- integrals over the plane -------------------------------------------------------------------------------------------------------


def _smooth(p, q, f):
    """(value, error) of \\int f(log p, log q, rounding of d, relative rounding of densities) for f -> (integrand, its rounding / EPS)."""
    z = _slices(p, q)[0]
    kappa = float(np.max(z.condition()))

    def at(y, x):
        lp, lq = z.logs(y, x)
        lp, lq = np.maximum(lp, -1e300), np.maximum(lq, -1e300)
        of_d = _of_density(kappa, lp, lp) + _of_density(kappa, lq, lq)
        value, noise = f(lp, lq, of_d, _of_density(kappa, lp, lq))
        return np.stack([value, noise + EPS * of_d**2 * np.exp(np.minimum(lp, lq))])  # of second order where d vanishes

    with np.errstate(all="ignore"):
        return over_plane(z, at)


def _of_density(kappa, lp, lq):
    """Relative rounding of the larger density in units of EPS: of its exponent, and of the distance to the centre, which is kappa EPS."""
    size = np.minimum(np.abs(lp), np.abs(lq))
    return 4.0 * (4.0 + size) + kappa * np.sqrt(2 * size)


def over_plane(z, f):
    """(value, error) of the integral of f(y, x) -> (2, ...), the integrand >= 0 and its rounding in units of EPS; panels where z has mass."""
    edges = z.edges(STEP)

    def along(y):
        x, row = z.mesh(y, STEP)
        gap = np.nonzero(row[1:] == row[:-1])[0]
        who = row[gap]
        if not len(who):
            return np.zeros((2, len(y)))
        done = integrate(lambda x, w: in_blocks(f, y[w][:, None], x, len(z.mu)), x[gap], x[gap + 1], who, tolerance=1e-15, most=1000 * len(y))
        value, noise, error = (np.bincount(who, v, len(y)) for v in (*done.value, done.error[0]))
        return np.stack([value, noise + error / EPS])

    done = integrate(lambda y, _: z.by_rows(along, y.ravel()).reshape(2, *y.shape), edges[:-1], edges[1:], tolerance=1e-15, most=PANELS)
    (value, error), (noise, _) = done.total(), done.total(1)
    return value, error + EPS * noise + (TAIL + 4 * EPS) * value


# ---- chi-squared --------------------------------------------------------------------------------------------------------------------


def chi_squared(p, q):
    r"""\chi^2 = \int (p-q)^2/q, infinite iff in some direction the tails of p are too heavy for those of q, which is decided by proof (``tails``).

    Raises NotTrusted on the border between finite and infinite, and where the tails of p are dominated by no single component of q.
    """
    z = _slices(p, q)[0]
    with np.errstate(all="ignore"):
        if diverges(z, mixture(p)[2], mixture(q)[2]):
            return Enclosure.near(math.inf, 0.0, method="in some direction the tails of p are too heavy for q")
        where, log_bound = with_peaks(z)
        kappa = float(np.max(z.condition()))

        def log_integrand(y, x):
            lp, lq = z.logs(y, x)
            gap = -np.expm1(-np.abs(lp - lq))
            rounding = _of_density(kappa, lp, lp) + _of_density(kappa, lq, lq)
            return np.where(lp > lq, 2 * lp - lq, lq) + 2 * np.log(gap), rounding * (3 + 2 / np.maximum(gap, EPS))

        def highest(y):
            x, row = where.mesh(y, STEP)
            return np.max(log_integrand(y[row], x)[0], keepdims=True, initial=-np.inf)[None]

        shift = max(float(np.max(where.by_rows(highest, where.edges(STEP)))), -700.0)

        def f(y, x):
            log, rounding = log_integrand(y, x)
            value = np.exp(np.minimum(log - shift, 700.0))
            return np.stack([value, rounding * value])

        value, error = over_plane(where, f)
    error += OUTSIDE * math.exp(min(log_bound - shift, 700.0))
    if shift + math.log(value + error) > 709.0:
        return Enclosure(np.finfo(float).max, math.inf, "deterministic", method="cubature, beyond floating point")
    if error > 1e-6 * (value + math.exp(-shift)):
        raise NotTrusted(
            f"chi_squared: got a relative error of {error / (value + math.exp(-shift)):.1e}, allowed is 1e-6; some component of p is nearly too wide "
            "for, or far from, each single component of q; use kullback_leibler or hellinger"
        )
    return _near(value * math.exp(shift), error * math.exp(shift))
