"""The uniform law on a box, and the same law noised: coordinates are independent, so every formula is one on the line."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._arrays import finite, frozen, like, namespace, positive_int, stream
from . import _common as common
from ._common import coefficients, normal_quantile, on_the_line, probabilities, rows, solve_quantile, trusted, wide
from ._truncated import mean_ndtr, truncated_normal
from .gaussian import QUIET, Gaussian

__all__ = ["SmoothedBox", "Uniform"]


def box(low, high):
    low, high = finite("low", low), finite("high", high)
    if low.ndim != 1 or low.shape != high.shape or not low.size:
        remedy = "; write Uniform([low], [high]) on the line" if low.ndim == 0 else ""
        raise ValueError(f"low, high: got shapes {low.shape} and {high.shape}, allowed are two of shape (d,){remedy}")
    if (low >= high).any():
        j = int(np.argmax(low >= high))
        raise ValueError(f"low, high: got low = {low[j]}, high = {high[j]} in coordinate {j}, allowed is low < high")
    return frozen(low), frozen(high)


def _moments(law, var):
    width = law.high - law.low
    return 0.5 * (law.low + law.high), width * width / 12 + var


def _noised(law, kernel, var):
    m, v = coefficients(kernel)
    new_var = m * m * var + v
    if m == 0.0:
        return Gaussian(np.zeros(law.dim), new_var) if new_var > 0 else common.refuse_point_mass(kernel)
    low, high = (law.low * m, law.high * m) if m > 0 else (law.high * m, law.low * m)
    return trusted(SmoothedBox, low=low, high=high, var=new_var) if new_var > 0 else trusted(Uniform, low=low, high=high)


def _denoise(law, x, kernel, var, second):
    r"""X_0 = U + \sqrt{var} Z': given x, U is a truncated normal, and given U too, X_0 is Gaussian with the regression gain of Z'.

    U = high - (high - low) F' with the relative place F' of the truncated normal: accurate for m -> 0, where dividing by m is not.
    """
    m, v = coefficients(kernel)
    if v == 0.0 and m == 0.0:
        common.refuse_point_mass(kernel)
    x, shape = rows(x, law.dim)
    d, total = law.dim, m * m * var + v
    gain, keep = m * var / total if total else 0.0, v / total if total else 1.0
    low, high = like(law.low, x), like(law.high, x)
    with np.errstate(**QUIET):
        if v == 0.0:
            value = wide(0 * x) if second else x / m
        else:
            sd = math.sqrt(total)
            first, last = (x - m * high) / sd, (x - m * low) / sd  # T = (x - m U) / sd lies between them
            a, b = (first, last) if m >= 0 else (last, first)
            *_, frac, frac_var = truncated_normal(a, b)
            if second:
                value = wide(keep * keep * (high - low) ** 2 * frac_var + var * keep)
            else:  # F = (b - T) / (b - a): at F = 0, T = b, so U is low if m >= 0
                u = low + (high - low) * frac if m >= 0 else high - (high - low) * frac
                value = keep * u + gain * x
    return value.reshape(*shape, *((d, d) if second else (d,)))


@dataclass(frozen=True, eq=False, repr=False)
class Uniform:
    r"""\prod_j 1[low_j \le x_j \le high_j] / (high_j - low_j).

    low, high : (d,), low < high. The score is 0 inside and undefined outside, where ``score`` raises ValueError: noise the law first.
    """

    low: Any
    high: Any

    error, twin = 0.0, None

    def __post_init__(self):
        low, high = box(self.low, self.high)
        self.__dict__.update(low=low, high=high)

    @property
    def dim(self):
        return len(self.low)

    def __repr__(self):
        return f"Uniform({self.low.tolist()}, {self.high.tolist()})" if self.dim <= 3 else f"Uniform(d={self.dim})"

    def __eq__(self, other):
        return common.same(self.low, other.low) and common.same(self.high, other.high) if isinstance(other, Uniform) else NotImplemented

    def __hash__(self):
        return common.fingerprint(self.low, self.high)

    def mean(self):
        return _moments(self, 0.0)[0]

    def cov(self):
        return np.diag(_moments(self, 0.0)[1])

    def second_moment(self):
        mean, var = _moments(self, 0.0)
        return float(mean @ mean + var.sum())

    def _inside(self, x):
        return ((x >= like(self.low, x)) & (x <= like(self.high, x))).all(-1)

    def logpdf(self, x):
        """(...); -inf outside the closed box."""
        x, shape = rows(x, self.dim)
        level = like(-float(np.log(self.high - self.low).sum()), x)
        return namespace(x).where(self._inside(x), level, like(-math.inf, x)).reshape(shape)

    def pdf(self, x):
        logpdf = self.logpdf(x)
        return namespace(logpdf).exp(logpdf)

    def score(self, x):
        """0 for x in the box, (..., d). Raises ValueError outside."""
        x, shape = rows(x, self.dim)
        inside = self._inside(x)
        if not bool(inside.all()):
            raise ValueError(f"x: got {int((~inside).sum())} points outside the box, where the score is not defined; noise the law first")
        return namespace(x).zeros_like(x).reshape(*shape, self.dim)

    def score_jacobian(self, x):
        """0 for x in the box, (..., d, d). Raises ValueError outside."""
        return wide(self.score(x))

    def sample(self, n, seed):
        """(n, d) draws. Growing n keeps the first rows."""
        u = stream(seed, "sample: uniforms").random((positive_int("n", n, least=0), self.dim))
        return self.low + (self.high - self.low) * u

    def noised(self, kernel):
        """SmoothedBox; Uniform for v = 0; Gaussian for m = 0. Raises ValueError for both 0."""
        return _noised(self, kernel, 0.0)

    def denoise(self, x, kernel):
        r"""E[X_0 | m X_0 + \sqrt v Z = x], (..., d): the mean of a normal truncated to the box."""
        return _denoise(self, x, kernel, 0.0, second=False)

    def denoise_cov(self, x, kernel):
        r"""Cov[X_0 | m X_0 + \sqrt v Z = x], (..., d, d), diagonal."""
        return _denoise(self, x, kernel, 0.0, second=True)

    def cdf(self, x):
        r"""P(X \le x), dimension 1 only."""
        on_the_line(self, "cdf")
        x, shape = rows(x, 1)
        return np.clip((x - self.low) / (self.high - self.low), 0.0, 1.0).reshape(shape)

    def sf(self, x):
        r"""P(X > x), dimension 1 only."""
        on_the_line(self, "cdf")
        x, shape = rows(x, 1)
        return np.clip((self.high - x) / (self.high - self.low), 0.0, 1.0).reshape(shape)

    def quantile(self, u):
        """low + (high - low) u, (..., 1), dimension 1 only."""
        on_the_line(self, "quantile")
        u = probabilities(u)[..., None]
        return np.where(u <= 0.5, self.low + (self.high - self.low) * u, self.high - (self.high - self.low) * (1 - u))

    def breakpoints(self):
        on_the_line(self, "breakpoints")
        return np.concatenate([self.low, self.high])


@dataclass(frozen=True, eq=False, repr=False)
class SmoothedBox:
    r"""The law of U + \sqrt{var} Z, U uniform on the box: p(x) = \prod_j [\Phi((x-low)/\sqrt{var}) - \Phi((x-high)/\sqrt{var})] / (high - low).

    low, high : (d,), low < high; var : a number > 0. Closed under noising; accurate in both tails, in logarithms.
    """

    low: Any
    high: Any
    var: float

    error, twin = 0.0, None

    def __post_init__(self):
        low, high = box(self.low, self.high)
        var = finite("var", self.var)
        if var.ndim or not var > 0:
            raise ValueError(f"var: got {self.var!r:.60}, allowed is one variance > 0; without noise use Uniform")
        self.__dict__.update(low=low, high=high, var=float(var))

    @property
    def dim(self):
        return len(self.low)

    def __repr__(self):
        ends = f"{self.low.tolist()}, {self.high.tolist()}" if self.dim <= 3 else f"d={self.dim}"
        return f"SmoothedBox({ends}, var={self.var:.6g})"

    def __eq__(self, other):
        if not isinstance(other, SmoothedBox):
            return NotImplemented
        return common.same(self.low, other.low) and common.same(self.high, other.high) and self.var == other.var

    def __hash__(self):
        return hash((common.fingerprint(self.low, self.high), self.var))

    def mean(self):
        return _moments(self, self.var)[0]

    def cov(self):
        return np.diag(_moments(self, self.var)[1])

    def second_moment(self):
        mean, var = _moments(self, self.var)
        return float(mean @ mean + var.sum())

    def _truncated(self, x):
        sd = math.sqrt(self.var)
        return truncated_normal((x - like(self.high, x)) / sd, (x - like(self.low, x)) / sd)

    def logpdf(self, x):
        x, shape = rows(x, self.dim)
        with np.errstate(**QUIET):
            return (self._truncated(x)[0].sum(-1) - 0.5 * self.dim * math.log(self.var)).reshape(shape)

    def pdf(self, x):
        logpdf = self.logpdf(x)
        return namespace(logpdf).exp(logpdf)

    def score(self, x):
        r"""-E[T | x] / \sqrt{var}, T = (x - U) / \sqrt{var}, (..., d)."""
        x, shape = rows(x, self.dim)
        with np.errstate(**QUIET):
            return (self._truncated(x)[1] / -math.sqrt(self.var)).reshape(*shape, self.dim)

    def score_jacobian(self, x):
        r"""(Var[T | x] - 1) / var, diagonal, (..., d, d)."""
        x, shape = rows(x, self.dim)
        with np.errstate(**QUIET):
            return wide(self._truncated(x)[2] / self.var).reshape(*shape, self.dim, self.dim)

    def sample(self, n, seed):
        """(n, d) draws. Growing n keeps the first rows."""
        n = positive_int("n", n, least=0)
        u = stream(seed, "sample: uniforms").random((n, self.dim))
        return self.low + (self.high - self.low) * u + math.sqrt(self.var) * stream(seed, "sample: normals").standard_normal((n, self.dim))

    def noised(self, kernel):
        """SmoothedBox; Gaussian for m = 0. Raises ValueError for m = v = 0."""
        return _noised(self, kernel, self.var)

    def denoise(self, x, kernel):
        r"""E[X_0 | m X_0 + \sqrt v Z = x], (..., d)."""
        return _denoise(self, x, kernel, self.var, second=False)

    def denoise_cov(self, x, kernel):
        r"""Cov[X_0 | m X_0 + \sqrt v Z = x], (..., d, d), diagonal."""
        return _denoise(self, x, kernel, self.var, second=True)

    def cdf(self, x):
        r"""P(X \le x), dimension 1 only; relatively accurate in the left tail, ``sf`` in the right one."""
        on_the_line(self, "cdf")
        x, shape = rows(x, 1)
        return self._tail(x[:, 0], np.zeros(len(x), dtype=bool)).reshape(shape)

    def sf(self, x):
        r"""P(X > x), dimension 1 only."""
        on_the_line(self, "cdf")
        x, shape = rows(x, 1)
        return self._tail(x[:, 0], np.ones(len(x), dtype=bool)).reshape(shape)

    def _tail(self, x, upper):
        r"""The mean of \Phi over [a, b] = (x - high, x - low) / sd (left tail), mirrored where ``upper``."""
        sd = math.sqrt(self.var)
        with np.errstate(over="ignore"):
            ends = (x - self.high) / sd, (x - self.low) / sd
            a, b = np.where(upper, -ends[1], ends[0]), np.where(upper, -ends[0], ends[1])
            past = a + b > 0  # more than half: one minus the other tail
            tail = mean_ndtr(np.where(past, -b, a), np.where(past, -a, b))
            return np.where(past, 1 - tail, tail)

    def quantile(self, u):
        """x with cdf(x) = u for u of any shape: (..., 1), dimension 1 only; 0 and 1 give -inf and inf."""
        on_the_line(self, "quantile")
        sd = math.sqrt(self.var)

        def ends(u):
            return self.low + sd * normal_quantile(u), self.high + sd * normal_quantile(u)

        return solve_quantile(u, ends, self._tail, lambda x: self.pdf(x[:, None]))

    def breakpoints(self):
        """Panel edges for quadrature on the line: both ends, and steps of about sd/2 out to 12 sd of each."""
        on_the_line(self, "breakpoints")
        ends = np.concatenate([self.low, self.high])
        return common.dyadic_breakpoints(ends, np.full(2, math.sqrt(self.var)), ends)
