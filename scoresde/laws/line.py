r"""Laws on the line that an engine has computed: a cloud \sum_j w_j N(x; a_j, R), or the image of a law under a monotone map."""

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from .._arrays import as_points, finite, namespace
from ._resolve import gauss_legendre, resolved, smooth_panels

__all__ = ["Line", "Outer"]


@dataclass(frozen=True)
class Outer:
    """Any law of dimension 1, spoken to in flat float64 arrays (n,): the interface that a cloud has."""

    law: Any

    def mean(self):
        return float(self.law.mean()[0])

    def variance(self):
        return float(self.law.cov()[0, 0])

    def log_density(self, x):
        return self.law.logpdf(x[:, None])

    def slopes(self, x):
        y = x[:, None]
        return self.law.logpdf(y), self.law.score(y)[:, 0], self.law.score_jacobian(y)[:, 0, 0]

    def tails(self, x):
        y = x[:, None]
        lower = self.law.cdf(y)
        return lower, self.law.sf(y) if hasattr(self.law, "sf") else 1 - lower

    def quantile(self, u, upper_tail=False):
        """x with P(X <= x) = u, or with P(X > x) = u: then 1 - u is a start for Newton's method on log P(X > x)."""
        if not upper_tail:
            return self.law.quantile(u)[:, 0]
        x = self.law.quantile(np.where(u > 0, np.minimum(1 - u, 1 - 2**-53), 1.0))[:, 0]
        small = (u > 0) & (u < 0.5) & hasattr(self.law, "sf")
        for _ in range(60 if small.any() else 0):
            y = x[small, None]
            tail = self.law.sf(y)
            step = np.log(tail / u[small]) * tail / self.law.pdf(y)
            x[small] += step
            if np.abs(step).max() <= 1e-9:
                break
        return x

    def sample(self, n, seed):
        return self.law.sample(n, seed)[:, 0]

    @cached_property
    def panels(self):
        """Edges between which the law is smooth at the panel's own scale."""
        if hasattr(self.law, "breakpoints"):
            return self.law.breakpoints()
        centre, spread = self.mean(), math.sqrt(self.variance())
        return smooth_panels(self.log_density, centre + spread * np.linspace(-14.0, 14.0, 29))


@dataclass(frozen=True, eq=False)
class Line:
    r"""q(x) = \sum_j w_j N(x; a_j, R), or the image of such a law (or of the start) under a monotone map y = F(x): q(y) = q_0(F^{-1} y) / F'.

    What ``propagate`` returns on the line; not constructed by users. All sums are of positive terms, so log-densities and tail probabilities
    are relatively accurate out to densities of about 1e-32, twelve standard deviations. ``error`` bounds the TV distance to the chain's
    law (level deterministic); ``twin`` is the same law at an independent resolution, so |f(law) - f(twin)| judges any functional f.
    Points (..., 1), numpy or torch; the result has the dtype of x.
    """

    base: Any = field(repr=False)
    flow: Any = field(default=None, repr=False)
    error: float = 0.0
    twin: Any = field(default=None, repr=False)

    dim = 1

    def mean(self):
        """E X, shape (1,)."""
        return np.array([self._moments[0]])

    def cov(self):
        """Var X, shape (1, 1)."""
        return np.array([[self._moments[1]]])

    def second_moment(self):
        """E X^2."""
        mean, variance = self._moments
        return mean * mean + variance

    def logpdf(self, x):
        r"""\log q(x), shape (...)."""
        return _through(self._log_density, x)

    def pdf(self, x):
        """q(x), shape (...)."""
        return _through(lambda y: np.exp(self._log_density(y)), x)

    def score(self, x):
        r"""(\log q)'(x), shape (..., 1)."""
        return _through(lambda y: self._slopes(y)[1][:, None], x, (1,))

    def score_jacobian(self, x):
        r"""(\log q)''(x), shape (..., 1, 1)."""
        return _through(lambda y: self._slopes(y)[2][:, None, None], x, (1, 1))

    def cdf(self, x):
        """P(X <= x), shape (...), relatively accurate also where it is tiny."""
        return _through(lambda y: self._tails(y)[0], x)

    def sf(self, x):
        """P(X > x), shape (...), relatively accurate also where it is tiny."""
        return _through(lambda y: self._tails(y)[1], x)

    def quantile(self, u):
        """x with P(X <= x) = u, shape (..., 1); u in [0, 1]."""
        u = u if namespace(u) is not np else np.asarray(u)
        if ((u < 0) | (u > 1)).any():
            raise ValueError(f"u: got {float(u.min())} to {float(u.max())}, allowed are probabilities in [0, 1]")
        return _through(lambda v: self._quantile(v)[:, None], u[..., None], (1,))

    def sample(self, n, seed):
        """n independent draws (n, 1); growing n keeps the first rows."""
        x = self.base.sample(n, seed)
        return (x if self.flow is None else self.flow.at(x)[0])[:, None]

    def noised(self, kernel):
        r"""The law of m X + \sqrt v Z, again a Line."""
        m, v = _scalar(kernel)
        twin = None if self.twin is None else self.twin.noised(kernel)
        if v == 0 and self.flow is not None and m:
            return Line(self.base, self.flow.scaled(m), self.error, twin)
        return Line(self._cloud(m, v), None, self.error, twin)

    def denoise(self, x, kernel):
        r"""E[X_0 | m X_0 + \sqrt v Z = x], shape (..., 1)."""
        return _through(lambda y: self._posterior(y, kernel)[0][:, None], x, (1,))

    def denoise_cov(self, x, kernel):
        r"""Var(X_0 | m X_0 + \sqrt v Z = x), shape (..., 1, 1)."""
        return _through(lambda y: self._posterior(y, kernel)[1][:, None, None], x, (1, 1))

    def breakpoints(self):
        """Sorted points (B,): between neighbours log q is smooth at their distance; the mass outside is below 1e-30."""
        return self._panels.copy()

    @cached_property
    def _panels(self):
        if self.flow is None:
            return self.base.panels
        edges = self.flow.at(self.base.panels)[0]
        return smooth_panels(self._log_density, np.sort(edges))

    @cached_property
    def _moments(self):
        if self.flow is None:
            return self.base.mean(), self.base.variance()
        x, w = self._quadrature
        y = self.flow.at(x)[0]
        mean = float(w @ y)
        return mean, float(w @ (y - mean) ** 2)

    @cached_property
    def _quadrature(self):
        """Nodes and weights (sum 1) for integrals of F against the base law."""
        edges = np.union1d(self.base.panels, self.flow.edges)
        x, w = gauss_legendre(edges)
        w *= np.exp(self.base.log_density(x))
        return x, w / w.sum()

    def _log_density(self, y):
        if self.flow is None:
            return self.base.log_density(y)
        x = self.flow.inverse(y)
        return self.base.log_density(x) - np.log(np.abs(self.flow.at(x)[1]))

    def _slopes(self, y):
        if self.flow is None:
            return self.base.slopes(y)
        x = self.flow.inverse(y)
        log_q, s, ds = self.base.slopes(x)
        _, f1, f2, f3 = self.flow.at(x)
        bend = f2 / f1
        s_y = (s - bend) / f1
        return log_q - np.log(np.abs(f1)), s_y, ((ds - f3 / f1 + bend * bend) / f1 - bend * s_y) / f1

    def _tails(self, y):
        if self.flow is None:
            return self.base.tails(y)
        lower, upper = self.base.tails(self.flow.inverse(y))
        return (lower, upper) if self.flow.sign > 0 else (upper, lower)

    def _quantile(self, u):
        if self.flow is None:
            return self.base.quantile(u)
        return self.flow.at(self.base.quantile(u, upper_tail=self.flow.sign < 0))[0]

    def _cloud(self, m, v):
        """The law of m X + sqrt(v) Z as a cloud."""
        from .cloud import Cloud

        if not v > 0 and (self.flow is not None or not m):
            raise ValueError(f"kernel: got m = {m}, v = {v}, allowed is v > 0 here: without noise there is no density to return")
        if self.flow is None:
            return self.base.moved(m, v)
        x, w, y = resolved(lambda x: m * self.flow.at(x)[0], np.union1d(self.base.panels, self.flow.edges), 2.5 * math.sqrt(v))
        return Cloud.of(y, w * np.exp(self.base.log_density(x)), v)

    def _posterior(self, x, kernel):
        """E and Var of X_0 given m X_0 + sqrt(v) Z = x: the point j of the cloud has posterior N(a_j + g (x - m a_j), R (1 - g m))."""
        m, v = _scalar(kernel)
        if not m:
            return np.full_like(x, self._moments[0]), np.full_like(x, self._moments[1])
        noised = self._cloud(m, v)
        own = 0.0 if self.flow is not None else self.base.var
        gain = own * m / noised.var
        _, shift, spread = noised.local(x)  # of m a - x and m a
        mean = (x + shift) / m - gain * shift
        return mean, own * v / noised.var + (1 / m - gain) ** 2 * spread


def _scalar(kernel):
    m, v = finite("kernel.m", kernel.m), finite("kernel.v", kernel.v)
    if m.ndim or v.ndim:
        raise ValueError(f"kernel: got m of shape {m.shape}, v of shape {v.shape}, allowed is one kernel of numbers m and v")
    return float(m), float(v)


def _through(f, x, tail=()):
    """f on the flat float64 points of x (..., 1); the result (..., *tail) in the namespace and dtype of x."""
    x = as_points(x, 1)
    xp = namespace(x)
    flat = np.array(x if xp is np else x.detach().cpu().numpy(), dtype=np.float64).reshape(-1)  # a copy: compiled code wants it writable
    out = f(flat).reshape(tuple(x.shape[:-1]) + tail)
    return out.astype(x.dtype, copy=False) if xp is np else xp.as_tensor(out, dtype=x.dtype, device=x.device)
