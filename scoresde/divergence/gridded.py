r"""Divergences of two laws in the plane of which one was computed by an engine, from log-densities on a uniform grid.

Smooth integrands: a trapezoidal sum, which converges exponentially; the sums at twice and four times the spacing say how far it is. Total variation:
p - q is resampled by its Fourier series, rows are integrated between their roots, and rows are integrated adaptively over y: where the curve
{p = q} turns back, the integral of a row behaves as |y - y_0|^{3/2}. Where a computed law is below ``trusted()``, what it could be counts as error.
"""

import math

import numpy as np
from numba import njit
from scipy import fft

from ..enclosure import Enclosure
from ..errors import NotTrusted
from ..laws import Gaussian
from . import slices
from .panels import EPS, integrate
from .quadrature import LN2, entropy_gap, phi, root

REACH = 11.0  # standard deviations of a mixture that are looked at
FIRST = 0.36  # spacing over the least scale of the laws, for a start
MOST = 1_500_000  # grid points
FINE = 0.1  # spacing over the least scale after resampling
ORDER = 12  # points of a local polynomial
NOISE = 1e-11  # relative rounding of densities that an engine has computed
ROWS = 4000  # panels across the rows
TINY = 1e-13  # total variation that is not looked for


def suits(p, q):
    """Is one of two laws in the plane known through its window, and the other through its density?"""
    return p.dim == q.dim == 2 and any(hasattr(law, "window") for law in (p, q)) and all(hasattr(law, "logpdf") for law in (p, q))


def kullback_leibler(p, q):
    r"""KL = \int p\,\varphi(d), \varphi(d) = d + e^{-d} - 1, d = \log p/q."""

    def f(lp, lq):
        d = lp - lq
        low = np.maximum(np.minimum(d, -1.0), -745.0)  # there p phi(d) = q (1 + e^d (d - 1)), which survives p = 0
        return np.where(d > -1, np.exp(lp) * phi(np.maximum(d, -1.0)), np.exp(lq) * (1 + np.exp(low) * (low - 1)))

    return _near(*_smooth("kullback_leibler", p, q, f))


def hellinger(p, q):
    r"""H^2 = \int \frac{p+q}2 (1 - \mathrm{sech}\,\frac d2)."""

    def f(lp, lq):
        half = 0.5 * np.abs(lp - lq)
        return 0.5 * (np.exp(lp) + np.exp(lq)) * np.expm1(-half) ** 2 / (1 + np.exp(-2 * half))

    return root(*_smooth("hellinger", p, q, f)).cut(0.0, 1.0)


def jensen_shannon(p, q):
    r"""JS = \int \frac{p+q}2 J(\tanh\frac d2), J(u) = \frac12[(1+u)\log(1+u) + (1-u)\log(1-u)]."""
    f = lambda lp, lq: 0.5 * (np.exp(lp) + np.exp(lq)) * entropy_gap(np.tanh(0.5 * (lp - lq)))  # noqa: E731
    return _near(*_smooth("jensen_shannon", p, q, f)).cut(0.0, LN2)


def chi_squared(p, q):
    r"""\chi^2 = \int (p-q)^2/q. Raises NotTrusted where the tails that are not known decide, as they do where it is infinite."""

    def f(lp, lq):
        log = np.where(lp > lq, 2 * lp - lq, lq) + 2 * np.log(np.maximum(-np.expm1(-np.abs(lp - lq)), 1e-300))
        return np.exp(np.minimum(log, 700.0))

    return _near(*_smooth("chi_squared", p, q, f))


def fisher_divergence(p, q):
    r"""\int p |\nabla\log p - \nabla\log q|^2."""

    def f(lp, _, points):
        out, seen = np.zeros(lp.shape), lp > math.log(1e-30)
        x = points[seen]
        out[seen] = np.exp(lp[seen]) * ((p.score(x) - q.score(x)) ** 2).sum(axis=-1)
        return out

    return _near(*_smooth("fisher_divergence", p, q, f, True))


def total_variation(p, q):
    r"""TV = \frac12 \int |p - q|, about 1e-11."""
    lo, hi, scale = _together(p, q)
    for spacing in FIRST * 0.7 ** np.arange(4):
        x, y = _axes(lo, hi, spacing * scale, fast=True)
        gap = np.subtract(*(np.exp(law) for law in _logs(p, q, x, y)[:2]))
        h = x[1] - x[0]
        spectrum = fft.rfft2(gap)
        rows, columns = np.abs(fft.fftfreq(len(y))), fft.rfftfreq(len(x))
        outer = np.abs(spectrum[(rows[:, None] > 0.4) | (columns > 0.4)]).sum()  # the last fifth of the frequencies, and those beyond
        alias = 2 * outer * h * h
        if alias <= 1e-11:
            break
    times = math.ceil(h / (FINE * scale))
    fine = _resampled(spectrum, gap.shape, times)
    edges, cell = np.arange(0.0, len(fine), 4.0), 0.5 * (h / times) ** 2
    tiny = TINY / (cell * fine.size)  # per node, so that all of them together are worth TINY

    def across(at, _):
        out = np.empty((2, *at.shape))
        row_variations(fine, at.ravel(), LAGRANGE, ANTIDERIVATIVE, tiny, out[0].ravel())
        out[1] = tiny * fine.shape[1] / EPS
        return out

    done = integrate(across, edges[:-1], edges[1:], tolerance=1e-13, most=ROWS)
    value, error = (cell * total for total in done.total())
    error += alias + _interpolation_error(fine) * cell + NOISE * value + 2 * TINY
    return Enclosure.near(value, error, method="rows of a grid").cut(0.0, 1.0)


# ---- the grid -------------------------------------------------------------------------------------------------------------------------


def _near(value, error):
    return Enclosure.near(value, error, method="trapezoidal sums").cut(0.0)


def _together(p, q):
    """(lo (2,), hi (2,), scale): a box that holds both laws, and the least scale of either."""
    windows = [_window(law) for law in (p, q)]
    return np.min([w[0] for w in windows], axis=0), np.max([w[1] for w in windows], axis=0), min(w[2] for w in windows)


def _window(law):
    if hasattr(law, "window"):
        return law.window()
    parts = slices.mixture(law)
    _, centres, covs = parts if parts is not None else (None, law.mean()[None], law.cov()[None])
    reach = REACH * np.sqrt(np.diagonal(covs, axis1=1, axis2=2))
    return (centres - reach).min(axis=0), (centres + reach).max(axis=0), math.sqrt(np.linalg.eigvalsh(covs).min())


def _axes(lo, hi, h, fast=False):
    count = np.ceil((hi - lo) / h).astype(int) + 1
    if fast:
        count = np.array([fft.next_fast_len(int(n), real=True) for n in count])
    if count.prod() > MOST:
        raise NotTrusted(
            f"a grid of {count.prod():.1e} points would be needed in the plane, at most {MOST} are used: the laws have details {h:.1e} wide on a "
            f"square {np.max(hi - lo):.1e} wide; compare projections onto an axis: law.projected(u)"
        )
    return tuple(start + h * np.arange(n) for start, n in zip(lo, count, strict=True))


def _logs(p, q, x, y):
    """(log p, log q (rows, columns), the points)."""
    points = np.stack(np.meshgrid(x, y), axis=-1)
    return *(np.maximum(law.logpdf(points), -1e300) for law in (p, q)), points


def _smooth(name, p, q, f, local=False):
    r"""(value, error) of \int f(log p, log q), f >= 0; local: f takes the points too."""
    lo, hi, scale = _together(p, q)
    for spacing in FIRST * 0.7 ** np.arange(6):
        try:
            x, y = _axes(lo, hi, spacing * scale)
        except NotTrusted:
            if spacing == FIRST:
                raise
            break
        h = x[1] - x[0]
        with np.errstate(all="ignore"):
            lp, lq, points = _logs(p, q, x, y)
            z = f(lp, lq, points) if local else f(lp, lq)
            high = [_ceiling(law, log, points) for law, log in zip((p, q), (lp, lq), strict=True)]
            if local:  # scores are not known there
                left = float(z[(high[0] > lp) | (high[1] > lq)].sum())
            else:
                left = float(np.abs(f(high[0], lq) - z).sum() + np.abs(f(lp, high[1]) - z).sum())
        left = h * h * (left + z.size * max(float(side.max()) for side in (z[0], z[-1], z[:, 0], z[:, -1])))
        sums = [k * k * h * h * float(z[::k, ::k].sum()) for k in (1, 2, 4)]
        near, far = abs(sums[0] - sums[1]), abs(sums[1] - sums[2])
        error = 4 * near * min(1.0, near / far) if far > 0 else near
        if error <= 1e-12 + 1e-8 * sums[0] or left > sums[0] + 1e-9:
            break
    if not left <= 1e-3 * sums[0] + 1e-9:
        raise NotTrusted(
            f"{name}: {left:.1e} beside {sums[0]:.1e} depend on tails where a computed law ceases to be relatively accurate; use "
            "total_variation or hellinger, which do not depend on far tails"
        )
    apart = float(np.abs(np.exp(lp) - np.exp(lq)).sum()) * h * h
    return sums[0], error + left + NOISE * (sums[0] + apart**2) + 1e-15


def _ceiling(law, log, points):
    """What a log-density may be at most: itself, and more below ``trusted()``, but not more than that of a Gaussian with the law's moments."""
    if not hasattr(law, "trusted"):
        return log
    depth = np.maximum(law.trusted() - log, 0.0)
    rise = np.minimum(depth, depth**2 / 400)  # measured: 4e-4 at 14, 1 at 30; and no law falls faster than its own noise
    return np.where(depth > 0, np.maximum(log, np.minimum(log + rise, Gaussian(law.mean(), law.cov()).logpdf(points))), log)


# ---- rows -----------------------------------------------------------------------------------------------------------------------------


def _resampled(spectrum, shape, times):
    """A periodic function on a grid ``times`` as fine, from its Fourier coefficients."""
    rows, columns = shape
    wide = np.zeros((times * rows, times * columns // 2 + 1), dtype=complex)
    top = (rows + 1) // 2
    wide[:top, : spectrum.shape[1]] = spectrum[:top]
    wide[top - rows :, : spectrum.shape[1]] = spectrum[top:]
    return fft.irfft2(wide, s=(times * rows, times * columns)) * times**2


def _local():
    """(coefficients in t of the polynomial through values at t = 1 - ORDER/2, ..., ORDER/2; the integral of it from 0 to 1)."""
    nodes = np.arange(ORDER) + 1.0 - ORDER // 2
    inverse = np.array([_basis(nodes, k) for k in range(ORDER)]).T  # row: power of t
    return np.ascontiguousarray(inverse), inverse.T @ (1 / np.arange(1.0, ORDER + 1))


def _basis(nodes, k):
    """Coefficients, lowest first, of the polynomial that is 1 at node k and 0 at the others."""
    others = np.delete(nodes, k)
    return np.polynomial.polynomial.polyfromroots(others) / np.prod(nodes[k] - others)


LAGRANGE, ANTIDERIVATIVE = _local()


def _interpolation_error(fine):
    """Sum over the grid of what local polynomials get wrong there, from what they get wrong at odd nodes when told the even ones."""
    middle = LAGRANGE.T @ (0.5 ** np.arange(ORDER))
    worst = 0.0
    for f in (fine, fine.T):
        even, odd = f[:, ::2], f[:, 1::2]
        n = even.shape[1] - ORDER + 1
        guess = sum(middle[k] * even[:, k : k + n] for k in range(ORDER))
        worst += 2 * float(np.abs(guess - odd[:, ORDER // 2 - 1 : ORDER // 2 - 1 + n]).sum())
    return worst * 2.0 ** (3 - ORDER)  # of order ORDER in the spacing; 8 for safety


def row_variations_py(f, at, lagrange, integral, tiny, out):
    r"""out[p] = \int |f(t, at_p)| dt over the row at_p of f, coordinates in units of the grid."""
    order = integral.size
    behind = order // 2 - 1
    columns = f.shape[1]
    row, c, d = np.empty(columns), np.empty(order), np.empty(order)
    for p in range(at.size):
        j = min(max(int(at[p]), behind), f.shape[0] - order + behind)
        t = at[p] - j
        row[:] = 0.0
        for k in range(order):
            weight, power = 0.0, 1.0
            for l in range(order):
                weight += lagrange[l, k] * power
                power *= t
            source = f[j - behind + k]
            for i in range(columns):
                row[i] += weight * source[i]
        total = 0.0
        for i in range(behind, columns - order + behind + 1):
            a, b = row[i], row[i + 1]
            if abs(a) < tiny and abs(b) < tiny:
                total += 0.5 * (abs(a) + abs(b))
                continue
            piece = 0.0
            for k in range(order):
                piece += integral[k] * row[i - behind + k]
            bow = abs(row[i + 2] - b - a + row[i - 1])
            if (a > 0) == (b > 0) and min(abs(a), abs(b)) > bow:
                total += abs(piece)
                continue
            for l in range(order):  # coefficients of the antiderivative, and of the function
                c[l] = 0.0
                for k in range(order):
                    c[l] += lagrange[l, k] * row[i - behind + k]
                d[l] = c[l] / (l + 1)
            # the turning point, if there is one inside, then a root on either side of it
            middle = 0.5
            slope0, slope1 = c[1], 0.0
            for l in range(1, order):
                slope1 += l * c[l]
            if (slope0 > 0) != (slope1 > 0):
                lo, hi = 0.0, 1.0
                for _ in range(45):
                    middle = 0.5 * (lo + hi)
                    slope = 0.0
                    for l in range(order - 1, 0, -1):
                        slope = slope * middle + l * c[l]
                    if (slope > 0) == (slope0 > 0):
                        lo = middle
                    else:
                        hi = middle
            before, where = 0.0, 0.0
            for part in range(2):
                lo, hi = (0.0, middle) if part == 0 else (middle, 1.0)
                end = hi
                low, high = 0.0, 0.0
                for l in range(order - 1, -1, -1):
                    low = low * lo + c[l]
                    high = high * hi + c[l]
                if (low > 0) != (high > 0):
                    for _ in range(45):
                        where = 0.5 * (lo + hi)
                        value = 0.0
                        for l in range(order - 1, -1, -1):
                            value = value * where + c[l]
                        if (value > 0) == (low > 0):
                            lo = where
                        else:
                            hi = where
                    here = 0.0
                    for l in range(order - 1, -1, -1):
                        here = (here + d[l]) * where
                    total += abs(here - before)
                    before = here
                here = 0.0
                for l in range(order - 1, -1, -1):
                    here = (here + d[l]) * end
                total += abs(here - before)
                before = here
        out[p] = total


row_variations = njit(row_variations_py, error_model="numpy", cache=True)
