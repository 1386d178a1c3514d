r"""A density on the line after noising: p_t(x) = \int p(y) N(x; m y, v) dy by quadrature that is relatively accurate at every x.

Two regimes, panel by panel of p. A panel narrower than the kernel (in the coordinate y, whose kernel has sd s = sqrt(v)/|m|): its nodes
are Gaussian components, the same for all x. A wider one: p is smooth on the kernel's scale, so the rule is laid on the part of the panel
where the kernel is felt from x, in units of s. Panels that cannot count at x (by bounds on p and on the kernel) are skipped.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from .._arrays import positive_int, stream
from ..kernel import Kernel
from . import _common as common
from ._common import coefficients
from ._panels import find_panels, rule
from .gaussian import LOG_2PI

__all__ = ["SmoothedDensity", "posterior"]

NARROW = 3.0  # panels up to this many kernel sds wide: p and the kernel together vary by what 16 nodes resolve
FAR = 45.0  # contributions below e^-45 of the largest are skipped
ROWS = 512  # points at a time


@dataclass(frozen=True, repr=False)
class SmoothedDensity:
    r"""The law of m Y + \sqrt v Z, Y with a Density on the line, m != 0, v > 0. Made by ``Density.noised``.

    ``error`` is what its quadrature vouches for; ``twin`` uses panels and rules with another number of nodes.
    """

    base: Any
    m: float
    v: float

    error = 1e-13
    dim = 1

    def __repr__(self):
        return f"SmoothedDensity({self.base!r}, m={self.m:.6g}, v={self.v:.6g})"

    @cached_property
    def twin(self):
        return SmoothedDensity(self.base.finer(), self.m, self.v)

    def mean(self):
        return self.m * self.base.mean()

    def cov(self):
        return self.m**2 * self.base.cov() + self.v

    def second_moment(self):
        return self.m**2 * self.base.second_moment() + self.v

    def _rows(self, f, x):
        """f(what the quadrature at x yields) for points x, in the namespace and dtype of x."""
        return self.base._on_numpy(lambda y: f(posterior(self.base, self.m, self.v, y[:, 0])), x)

    def logpdf(self, x):
        return self._rows(lambda q: q.logpdf, x)

    def pdf(self, x):
        return self._rows(lambda q: np.exp(q.logpdf), x)

    def score(self, x):
        r"""-E[Z | x] / \sqrt v, (..., 1)."""
        return self._rows(lambda q: -q.mean_z[:, None] / math.sqrt(self.v), x)

    def score_jacobian(self, x):
        r"""(Var[Z | x] - 1) / v, (..., 1, 1)."""
        return self._rows(lambda q: (q.var_z[:, None, None] - 1) / self.v, x)

    def sample(self, n, seed):
        """(n, 1) draws. Growing n keeps the first rows."""
        n = positive_int("n", n, least=0)
        return self.m * self.base.sample(n, seed) + math.sqrt(self.v) * stream(seed, "sample: normals").standard_normal((n, 1))

    def noised(self, kernel):
        """Again a SmoothedDensity, of the composed kernel; a Gaussian for m = 0."""
        coefficients(kernel)
        return self.base.noised(kernel @ Kernel(self.m, self.v))

    def denoise(self, x, kernel):
        r"""E[X_0 | m X_0 + \sqrt v Z = x] = keep m_1 E[Y | x] + gain x, since X_0 given Y and x is Gaussian."""
        gain, keep, _ = self._regression(kernel)
        return self._through(x, kernel, lambda q, x: keep * self.m * q.mean_y[:, None] + gain * x)

    def denoise_cov(self, x, kernel):
        r"""Cov[X_0 | m X_0 + \sqrt v Z = x], (..., 1, 1)."""
        _, keep, rest = self._regression(kernel)
        return self._through(x, kernel, lambda q, x: ((keep * self.m) ** 2 * q.var_y + rest)[:, None, None])

    def _regression(self, kernel):
        """(gain, 1 - m gain, remaining variance) of X_0 on x given Y."""
        m, v = coefficients(kernel)
        total = m * m * self.v + v
        if total == 0.0:
            common.refuse_point_mass(kernel)
        return m * self.v / total, v / total, self.v * (v / total)

    def _through(self, x, kernel, f):
        coefficients(kernel)
        m, v = coefficients(kernel @ Kernel(self.m, self.v))
        return self.base._on_numpy(lambda y: f(posterior(self.base, m, v, y[:, 0]), y), x)

    @cached_property
    def panels(self):
        """Panels of the noised density, for tails and quantiles. They start from the base's, thinned to the kernel's scale."""
        step = 2.0 ** round(math.log2(math.sqrt(self.v)))
        edges = self.m * self.base.panels.breakpoints(least=1e-60)
        near = np.unique(np.round(edges / step)) * step
        ladder = np.exp2(np.arange(-1.0, 260.0)) * max(step, near[-1] - near[0])
        far = np.concatenate([near[0] - 12 * step - ladder, near[-1] + 12 * step + ladder]) if self.base.heavy else np.array([])
        edges = np.unique(np.concatenate([near, near[0] - step * np.arange(1, 40), near[-1] + step * np.arange(1, 40), far]))
        return find_panels(lambda x: self.logpdf(x[:, None]), (-math.inf, math.inf), self.base._count, edges)

    def cdf(self, x):
        r"""P(X \le x); relatively accurate in the left tail, ``sf`` in the right one (to 1e-60)."""
        return self.base._on_numpy(lambda y: self.panels.tail(y[:, 0], np.zeros(len(y), dtype=bool)), x)

    def sf(self, x):
        r"""P(X > x)."""
        return self.base._on_numpy(lambda y: self.panels.tail(y[:, 0], np.ones(len(y), dtype=bool)), x)

    def quantile(self, u):
        """x with cdf(x) = u for u of any shape: (..., 1)."""
        return self.panels.quantile(u)

    def breakpoints(self):
        """The panels' edges, but for outer ones of mass 1e-32."""
        return self.panels.breakpoints()


class Posterior(NamedTuple):
    """At points x (n,): log p_t(x), and mean and variance of Z and of Y given m Y + sqrt(v) Z = x."""

    logpdf: np.ndarray
    mean_z: np.ndarray
    var_z: np.ndarray
    mean_y: np.ndarray
    var_y: np.ndarray


def posterior(base, m, v, x):
    """The Posterior at x (n,), by the quadrature described above."""
    if m == 0.0:  # nothing is seen of Y
        z = x / math.sqrt(v)
        prior = (np.full_like(x, c) for c in (base.mean()[0], base.cov()[0, 0]))
        return Posterior(-0.5 * (z * z + LOG_2PI + math.log(v)), z, np.ones_like(x), *prior)
    if v == 0.0:
        y = x / m
        return Posterior(base.log_unit(y[:, None]) - math.log(abs(m)), 0 * y, 0 * y, y, 0 * y)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        blocks = [_block(base, m, v, x[i : i + ROWS]) for i in range(0, len(x), ROWS)] or [_block(base, m, v, x)]
    return Posterior(*map(np.concatenate, zip(*blocks, strict=True)))


def _block(base, m, v, x):
    panels, root, n = base.panels, math.sqrt(v), len(x)
    edges = (x[:, None] - m * panels.lo) / root, (x[:, None] - m * panels.hi) / root  # panels in the coordinate z, (n, P)
    za, zb = edges if m < 0 else edges[::-1]
    width = abs(m) * (panels.hi - panels.lo) / root
    near = np.clip(0.0, za, zb)
    distance = np.abs(near)
    most, least = panels.logs.max(1), panels.logs.min(1)
    upper = most + np.log(np.minimum(width, 2.6)) - 0.5 * distance**2
    reach = np.minimum(width, 1.0)
    counts = upper > (least + np.log(reach) - 0.5 * (distance + reach) ** 2).max(1, initial=-math.inf, keepdims=True) - FAR
    narrow = width <= NARROW
    pieces = [_narrow(panels, m, root, x, width, narrow & counts.any(0)), _wide(base, m, root, x, za, zb, near, counts & ~narrow)]
    return _moments(base, m, root, x, [p for p in pieces if p is not None], n)


def _narrow(panels, m, root, x, width, used):
    """(rows, z, y, log of the summands) from the panels' own nodes, all x at once; rows None: one row of z for each x."""
    if not used.any():
        return None
    weights = rule(panels.logs.shape[1])[1]
    y = panels.nodes[used].reshape(-1)
    logs = (panels.logs[used] + np.log(weights * width[used, None])).reshape(-1)
    z = (x[:, None] - m * y) / root
    return None, z, np.broadcast_to(y, z.shape), logs - 0.5 * z * z


def _wide(base, m, root, x, za, zb, near, used):
    """The same from rules laid where the kernel is felt: rows (T,) says to which x each of the T intervals belongs."""
    row, panel = np.nonzero(used)
    if not len(row):
        return None
    start = near[row, panel]
    slope = 4.0 - np.abs(start)  # log p may rise by 4 per unit of z away from x
    root_term = np.sqrt(slope * slope + 100.0)
    length = np.where(slope > 0, slope + root_term, 100.0 / (root_term + np.abs(slope)))
    a, b = np.maximum(za[row, panel], start - length), np.minimum(zb[row, panel], start + length)
    count = np.maximum(1, np.ceil(np.maximum((b - a) / NARROW, (b - a) * np.abs(start) / 12))).astype(int)
    first = np.cumsum(count) - count
    index = np.arange(count.sum()) - np.repeat(first, count)
    piece = np.repeat((b - a) / count, count)
    row, panel, left = (np.repeat(t, count) for t in (row, panel, a))
    left = left + index * piece
    u, w, *_ = rule(base.panels.logs.shape[1])
    z = left[:, None] + piece[:, None] * u
    y = np.clip((x[row, None] - root * z) / m, base.panels.lo[panel, None], base.panels.hi[panel, None])
    logs = base.log_unit(y.reshape(-1, 1)).reshape(y.shape) + np.log(w * piece[:, None])
    return row, z, y, logs - 0.5 * z * z


def _moments(base, m, root, x, pieces, n):
    """The Posterior from the summands: moments of z where the kernel is narrow, of y where it is wide, whichever loses no digits."""
    top = np.full(n, -math.inf)
    for row, _, _, logs in pieces:
        _gather(np.maximum, top, row, logs.max(1))
    safe = np.where(top == -math.inf, 0.0, top)
    of_z = root < abs(m) * base.scale
    parts = [(row, z if of_z else y, np.exp(logs - _for(row, safe))) for row, z, y, logs in pieces]
    total, first, second = np.zeros(n), np.zeros(n), np.zeros(n)
    for row, _, w in parts:
        _gather(np.add, total, row, w.sum(1))
    for row, t, w in parts:
        _gather(np.add, first, row, (w * t).sum(1))
    mean = first / total
    for row, t, w in parts:
        _gather(np.add, second, row, (w * (t - _for(row, mean)) ** 2).sum(1))
    var = second / total
    logpdf = top + np.log(total) - 0.5 * LOG_2PI - math.log(abs(m))
    if of_z:
        return Posterior(logpdf, mean, var, (x - root * mean) / m, (root / m) ** 2 * var)
    return Posterior(logpdf, (x - m * mean) / root, (m / root) ** 2 * var, mean, var)


def _for(row, values):
    """values (n,) as a column, for each x or for each interval."""
    return (values if row is None else values[row])[:, None]


def _gather(ufunc, out, row, values):
    """Accumulate one value per x, or per interval of row (T,), into out (n,)."""
    if row is None:
        ufunc(out, values, out=out)
    else:
        ufunc.at(out, row, values)
