r"""Laws in the plane that an engine has computed: \sum_{ij} m_{ij} N(x; g_{ij}, s I) on a uniform lattice."""

import math
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from .._arrays import as_points, finite, namespace
from ..errors import NoMethod
from ._common import coefficients, refuse_point_mass
from .cloud import Cloud
from .lattice import TRUSTED
from .line import Line

__all__ = ["Plane"]


@dataclass(frozen=True, eq=False)
class Plane:
    r"""q(x) = \sum_{ij} m_{ij} N(x; g_{ij}, s I) over the nodes of a uniform lattice.

    What ``propagate`` returns in the plane; not constructed by users. All sums are of positive terms: log-densities are relatively accurate
    to 1e-9 down to ``trusted()``, about nine standard deviations, and only lower bounds further out. ``error`` bounds the TV distance to the
    chain's law (level deterministic); ``twin`` is the same law at an independent resolution, so |f(law) - f(twin)| judges any functional f.
    Points (..., 2), numpy or torch; the result has the dtype of x.
    """

    base: Any = field(repr=False)
    error: float = 0.0
    twin: Any = field(default=None, repr=False)

    dim = 2

    def mean(self):
        """E X, shape (2,)."""
        return self.base.moments[0].copy()

    def cov(self):
        """Cov X, shape (2, 2)."""
        return self.base.moments[1].copy()

    def second_moment(self):
        """E|X|^2."""
        mean, cov = self.base.moments
        return float(mean @ mean + np.trace(cov))

    def logpdf(self, x):
        r"""\log q(x), shape (...)."""
        return _through(self.base.log_density, x)

    def pdf(self, x):
        """q(x), shape (...)."""
        return _through(lambda y: np.exp(self.base.log_density(y)), x)

    def score(self, x):
        r"""\nabla\log q(x), shape (..., 2)."""
        return _through(lambda y: self.base.local(y)[1] / self.base.var, x, (2,))

    def score_jacobian(self, x):
        r"""\nabla^2\log q(x), shape (..., 2, 2)."""
        return _through(lambda y: (self.base.local(y)[2] / self.base.var - np.eye(2)) / self.base.var, x, (2, 2))

    def cdf(self, x):
        """Refused: a distribution function is for laws on the line."""
        raise NoMethod("cdf: got a law of dimension 2, allowed is 1; project it onto an axis first: law.projected(u).cdf(x)")

    def quantile(self, u):
        """Refused: quantiles are for laws on the line."""
        raise NoMethod("quantile: got a law of dimension 2, allowed is 1; project it onto an axis first: law.projected(u).quantile(x)")

    def sample(self, n, seed):
        """n independent draws (n, 2); growing n keeps the first rows."""
        return self.base.sample(n, seed)

    def projected(self, u):
        r"""The law of u \cdot X on the line, a Line. u : (2,), not zero."""
        u = finite("u", u)
        if u.shape != (2,) or not u.any():
            raise ValueError(f"u: got {u}, allowed is a direction (2,) that is not zero")
        nodes, weights = self.base.points
        twin = None if self.twin is None else self.twin.projected(u)
        at, which = np.unique(nodes @ u, return_inverse=True)  # along an axis whole rows fall together
        return Line(Cloud.of(at, np.bincount(which, weights), float(u @ u) * self.base.var), None, self.error, twin)

    def noised(self, kernel):
        r"""The law of m X + \sqrt v Z, again a Plane."""
        m, v = coefficients(kernel)
        if v == 0 == m:
            refuse_point_mass(kernel)
        return Plane(self.base.moved(m, v), self.error, None if self.twin is None else self.twin.noised(kernel))

    def denoise(self, x, kernel):
        r"""E[X_0 | m X_0 + \sqrt v Z = x], shape (..., 2)."""
        return _through(lambda y: self._posterior(y, kernel)[0], x, (2,))

    def denoise_cov(self, x, kernel):
        r"""Cov(X_0 | m X_0 + \sqrt v Z = x), shape (..., 2, 2)."""
        return _through(lambda y: self._posterior(y, kernel)[1], x, (2, 2))

    def trusted(self):
        r"""\log q above which log-densities are relatively accurate."""
        return math.log(TRUSTED * self.base.top)

    def window(self):
        r"""(lo (2,), hi (2,), scale): all but 1e-26 of the mass lies between lo and hi; scale is the least 1/\sqrt c, c = -\partial^2 \log q."""
        nodes, weights = self.base.points
        held = nodes[weights > 1e-30]
        return held.min(axis=0), held.max(axis=0), self._scale

    @cached_property
    def _scale(self):
        nodes, weights = self.base.points
        heavy = nodes[weights > 1e-6 * weights.max()]
        curvature = -np.linalg.eigvalsh(self.score_jacobian(heavy[:: 1 + len(heavy) // 2000]))[:, 0].min()
        return 1 / math.sqrt(max(curvature, 1 / np.trace(self.base.moments[1])))

    def _posterior(self, x, kernel):
        """E and Cov of X_0 given m X_0 + sqrt(v) Z = x: node g has posterior N(g + gain (x - m g), s (1 - gain m) I)."""
        m, v = coefficients(kernel)
        if not m:
            mean, cov = self.base.moments
            return np.broadcast_to(mean, x.shape), np.broadcast_to(cov, (len(x), 2, 2))
        own = self.base.var
        total = m * m * own + v
        gain = own * m / total
        _, shift, spread = replace(self.base.moved(m, 0.0), var=total).local(x)  # of m g - x and m g
        return (x + shift) / m - gain * shift, own * v / total * np.eye(2) + (1 / m - gain) ** 2 * spread


def _through(f, x, tail=()):
    """f on the float64 rows of x (..., 2); the result (..., *tail) in the namespace and dtype of x."""
    x = as_points(x, 2)
    xp = namespace(x)
    flat = np.array(x if xp is np else x.detach().cpu().numpy(), dtype=np.float64).reshape(-1, 2)  # a copy: compiled code wants it writable
    out = f(flat).reshape(tuple(x.shape[:-1]) + tail)
    return out.astype(x.dtype, copy=False) if xp is np else xp.as_tensor(out, dtype=x.dtype, device=x.device)
