r"""Laws on the line that an engine has computed: a cloud \sum_j w_j N(x; a_j, R), or the image of a law under a monotone map."""

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from .._arrays import as_points, finite, namespace

__all__ = ["Line", "Outer", "smooth_panels"]

GAUSS, GAUSS_WEIGHTS = np.polynomial.legendre.leggauss(16)
SPACING = 0.5  # of the nodes of a quadrature, in standard deviations of what it has to resolve


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
        """An upper tail below 1e-16 is beyond a law that knows its lower one only: the last probability before 1 is taken."""
        return self.law.quantile(np.where(u > 0, np.minimum(1 - u, 1 - 2**-53), 1.0) if upper_tail else u)[:, 0]

    def sample(self, n, seed):
        return self.law.sample(n, seed)[:, 0]

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
    are relatively accurate as far out as the chain was followed (densities of about 1e-40). ``error`` bounds the TV distance to the chain's
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
        return Line(self._moved(m, v), None, self.error, None if self.twin is None else self.twin.noised(kernel))

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
            lo, hi = self.base.ends()
            return smooth_panels(self._log_density, np.linspace(lo, hi, 17))
        edges = self.flow.at(_base_panels(self.base))[0]
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
        edges = np.union1d(_base_panels(self.base), self.flow.edges)
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

    def _moved(self, m, v):
        from .cloud import Cloud

        if self.flow is None and hasattr(self.base, "moved"):
            if m * m * self.base.var + v > 0:
                return self.base.moved(m, v)
        if not v > 0:
            raise ValueError(f"kernel: got v = {v} for the image of a law under a map, allowed is v > 0: without noise there is no cloud")
        x, w = gauss_legendre(np.union1d(_base_panels(self.base), self.flow.edges))
        for _ in range(8):  # halve the panels that the noise does not smear
            y = self.flow.at(x)[0]
            gap = np.ptp(y.reshape(-1, len(GAUSS)), axis=1) * abs(m)
            if gap.max() <= 2.5 * math.sqrt(v):
                break
            x, w = _halved(x, w, gap > 2.5 * math.sqrt(v))
        w = w * np.exp(self.base.log_density(x))
        return Cloud.of(m * self.flow.at(x)[0], w, v)

    def _posterior(self, x, kernel):
        """E and Var of X_0 given m X_0 + sqrt(v) Z = x: the point j of the cloud has posterior N(a_j + g (x - m a_j), R (1 - g m))."""
        m, v = _scalar(kernel)
        if not m:
            return np.full_like(x, self._moments[0]), np.full_like(x, self._moments[1])
        noised = self._moved(m, v)
        own = 0.0 if self.flow is not None else self.base.var
        gain = own * m / noised.var
        _, shift, spread = noised.local(x)  # of m a - x and m a
        mean = (x + shift) / m - gain * shift
        return mean, own * v / noised.var + (1 / m - gain) ** 2 * spread


def smooth_panels(log_density, edges, tolerance=1e-8, degree=16, most=3000):
    """Halve panels until the last Chebyshev coefficients of the log-density are below ``tolerance`` on each; where a panel is so small and
    light that only rounding is left to see, halving stops."""
    from .monotone import to_coefficients

    t, matrix = to_coefficients(degree)
    least = 1e-3 * (edges[-1] - edges[0])
    done, todo = [], np.stack([edges[:-1], edges[1:]], axis=1)
    while len(todo) and len(todo) + sum(map(len, done)) < most:
        half = 0.5 * (todo[:, 1] - todo[:, 0])
        x = todo.mean(axis=1)[:, None] + half[:, None] * t
        f = log_density(x.ravel()).reshape(x.shape)
        top = f.max(axis=1)
        with np.errstate(invalid="ignore"):  # a density may vanish
            tail = np.abs(f @ matrix.T)[:, -3:].max(axis=1)
            smooth = tail <= tolerance + 1e-13 * np.abs(f).max(axis=1)
        light = (top < -80) | ((half < least) & (top + np.log(half) < -28)) | (half < 1e-11 * least)
        keep = smooth | light
        done.append(todo[keep])
        halves = todo[~keep]
        middle = halves.mean(axis=1)
        todo = np.concatenate([np.stack([halves[:, 0], middle], 1), np.stack([middle, halves[:, 1]], 1)])
    return np.unique(np.concatenate([*done, todo]))


def gauss_legendre(edges):
    """(x, w), 16 nodes on each panel."""
    half = 0.5 * np.diff(edges)
    x = (0.5 * (edges[1:] + edges[:-1]))[:, None] + half[:, None] * GAUSS
    return x.ravel(), (half[:, None] * GAUSS_WEIGHTS).ravel()


def _halved(x, w, which):
    """The quadrature with the panels ``which`` cut in two."""
    n = len(GAUSS)
    half = 0.5 * w.reshape(-1, n).sum(axis=1)
    centre = x.reshape(-1, n).mean(axis=1)
    lo, hi = centre - half, centre + half
    panels = np.concatenate([
        np.stack([lo[~which], hi[~which]], 1), np.stack([lo[which], centre[which]], 1), np.stack([centre[which], hi[which]], 1)
    ])  # fmt: skip
    panels = panels[np.argsort(panels[:, 0])]
    half = 0.5 * (panels[:, 1] - panels[:, 0])
    x = panels.mean(axis=1)[:, None] + half[:, None] * GAUSS
    return x.ravel(), (half[:, None] * GAUSS_WEIGHTS).ravel()


def _base_panels(base):
    return base.panels() if isinstance(base, Outer) else Line(base).breakpoints()


def _scalar(kernel):
    m, v = finite("kernel.m", kernel.m), finite("kernel.v", kernel.v)
    if m.ndim or v.ndim:
        raise ValueError(f"kernel: got m of shape {m.shape}, v of shape {v.shape}, allowed is one kernel of numbers m and v")
    return float(m), float(v)


def _through(f, x, tail=()):
    """f on the flat float64 points of x (..., 1); the result (..., *tail) in the namespace and dtype of x."""
    x = as_points(x, 1)
    xp = namespace(x)
    flat = np.ascontiguousarray((x if xp is np else x.detach().cpu().numpy()).reshape(-1), dtype=np.float64)
    out = f(flat).reshape(tuple(x.shape[:-1]) + tail)
    return out.astype(x.dtype, copy=False) if xp is np else xp.as_tensor(out, dtype=x.dtype, device=x.device)
