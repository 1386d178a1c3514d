"""The discrete law of weighted points. It has no density; noised, it is a Gaussian mixture."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from .._arrays import finite, frozen
from ..errors import NoMethod
from . import _common as common
from ._common import coefficients, on_the_line, probabilities, rows, trusted
from .mixture import GaussianMixture, denoise_components, denoise_cov_components, draw_labels

__all__ = ["Empirical"]


@dataclass(frozen=True, eq=False, repr=False)
class Empirical:
    r"""\sum_i w_i \delta_{x_i}: the discrete law itself, not a sample of an unknown one.

    points : (N, d); weights : (N,) >= 0 with sum 1, default 1/N each. Raises ValueError for other shapes or numbers that are not finite;
    ``pdf``, ``logpdf``, ``score`` and ``score_jacobian`` raise NoMethod: noise the law first.
    """

    points: Any
    weights: Any = None

    error, twin = 0.0, None

    def __post_init__(self):
        points = finite("points", self.points)
        if points.ndim != 2 or not points.size:
            remedy = "; write points[:, None] for a law on the line" if points.ndim == 1 else ""
            raise ValueError(f"points: got shape {points.shape}, allowed is (N, d){remedy}")
        count = len(points)
        weights = np.full(count, 1 / count) if self.weights is None else common.weights_of(self.weights)
        if len(weights) != count:
            raise ValueError(f"weights: got {len(weights)} of them for {count} points, allowed is one each")
        self.__dict__.update(points=frozen(points), weights=frozen(weights))

    @property
    def dim(self):
        return self.points.shape[1]

    def __repr__(self):
        return f"Empirical(N={len(self.points)}, d={self.dim})"

    def __eq__(self, other):
        if not isinstance(other, Empirical):
            return NotImplemented
        return common.same(self.points, other.points) and common.same(self.weights, other.weights)

    def __hash__(self):
        return common.fingerprint(self.points, self.weights)

    def mean(self):
        return self.weights @ self.points

    def cov(self):
        dev = self.points - self.mean()
        return (dev * self.weights[:, None]).T @ dev

    def second_moment(self):
        return float(self.weights @ (self.points * self.points).sum(1))

    def pdf(self, x):
        """Raises NoMethod."""
        raise NoMethod("Empirical: a discrete law has no density and no score; noise it first: law.noised(kernel) is a Gaussian mixture")

    logpdf = score = score_jacobian = pdf

    def sample(self, n, seed):
        """(n, d) draws with replacement. Growing n keeps the first rows."""
        return self.points[draw_labels(self.weights, n, seed)]

    def noised(self, kernel):
        r"""\sum_i w_i N(m x_i, v I), a GaussianMixture; for v = 0 the Empirical of the points m x_i."""
        m, v = coefficients(kernel)
        if v == 0.0:
            return trusted(Empirical, points=self.points * m, weights=self.weights)
        lam = np.full((len(self.points), 1), v)
        return trusted(GaussianMixture, weights=self.weights, means=self.points * m, covs=lam[:, 0], _lam=lam, _basis=None)

    def denoise(self, x, kernel):
        r"""E[X_0 | m X_0 + \sqrt v Z = x]: the points averaged with weights w_i N(x; m x_i, v), (..., d). Needs v > 0."""
        m, v = coefficients(kernel)
        if v == 0.0:
            common.refuse_noiseless(kernel)
        return denoise_components(x, self.points, np.zeros((len(self.points), 1)), self.noised(kernel), m)

    def denoise_cov(self, x, kernel):
        r"""Cov[X_0 | m X_0 + \sqrt v Z = x], (..., d, d). Needs v > 0."""
        m, v = coefficients(kernel)
        if v == 0.0:
            common.refuse_noiseless(kernel)
        return denoise_cov_components(x, self.points, np.zeros((len(self.points), 1)), self.noised(kernel), m, v)

    def cdf(self, x):
        r"""P(X \le x), right-continuous, dimension 1 only."""
        points, below = self._sorted()
        x, shape = rows(x, 1)
        return below[np.searchsorted(points, x[:, 0], side="right")].reshape(shape)

    def sf(self, x):
        r"""P(X > x), dimension 1 only."""
        points, _ = self._sorted()
        x, shape = rows(x, 1)
        weights = self.weights[np.argsort(self.points[:, 0], kind="stable")]
        above = np.append(np.cumsum(weights[::-1])[::-1], 0.0)
        return above[np.searchsorted(points, x[:, 0], side="right")].reshape(shape)

    def quantile(self, u):
        r"""\min\{x : cdf(x) \ge u\} among the points, (..., 1), dimension 1 only. Sums of weights are compared up to rounding."""
        points, below = self._sorted()
        u = probabilities(u)
        rounding = 2.0**-52 * len(points)
        index = np.searchsorted(below[1:], u * (1 - rounding), side="left")
        return points[np.minimum(index, len(points) - 1)][..., None]

    def breakpoints(self):
        """The points, sorted and without repetition: where the distribution function jumps."""
        on_the_line(self, "breakpoints")
        return np.unique(self.points)

    def _sorted(self):
        on_the_line(self, "cdf")
        order = np.argsort(self.points[:, 0], kind="stable")
        below = np.append(0.0, np.cumsum(self.weights[order]))
        below[-1] = 1.0
        return self.points[order, 0], below
