"""A density on the line, resolved: panels on which its logarithm is a polynomial, found by bisection; integrals and tails from them."""

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.polynomial import legendre

from ..errors import NotTrusted
from ._common import solve_quantile

__all__ = ["Panels", "find_panels", "rule"]

DROP = 160.0  # panels are followed down to a mass of e^-160 = 3e-70
LONGEST = 2000  # panels; more means a density that is not piecewise smooth


@lru_cache
def rule(count):
    """(nodes, weights) on [0, 1], the matrix from node values to Legendre coefficients, and the one to the nodes of both halves."""
    t, w = legendre.leggauss(count)
    analysis = legendre.legvander(t, count - 1).T * w * (np.arange(count) + 0.5)[:, None]
    halves = legendre.legvander(np.concatenate([t - 1, t + 1]) / 2, count - 1) @ analysis
    return 0.5 * (t + 1), 0.5 * w, analysis, halves


@dataclass(frozen=True, eq=False)
class Panels:
    """Panels [lo, hi] (P,), sorted, with the density's logarithm at their nodes (P, M)."""

    lo: np.ndarray
    hi: np.ndarray
    logs: np.ndarray

    @cached_property
    def nodes(self):
        return self.lo[:, None] + (self.hi - self.lo)[:, None] * rule(self.logs.shape[1])[0]

    @cached_property
    def weights(self):
        """The measure at the nodes: integrals of f are sums of f(nodes) * weights."""
        return (self.hi - self.lo)[:, None] * rule(self.logs.shape[1])[1] * np.exp(self.logs)

    @cached_property
    def mass(self):
        return self.weights.sum(1)

    @cached_property
    def below(self):
        """Mass to the left of each panel, and of all."""
        return np.append(0.0, np.cumsum(self.mass))

    @cached_property
    def above(self):
        """Mass to the right of each edge: sums start at the far end, so that small tails keep their digits."""
        return np.append(np.cumsum(self.mass[::-1])[::-1], 0.0)

    @cached_property
    def _coefficients(self):
        return self.logs @ rule(self.logs.shape[1])[2].T

    def logpdf(self, x, panel):
        """The interpolated logarithm at x (n, ...), in the panel (n,) named."""
        extra = (1,) * (x.ndim - 1)
        lo, hi = self.lo[panel].reshape(-1, *extra), self.hi[panel].reshape(-1, *extra)
        t = (2 * x - lo - hi) / (hi - lo)
        return legendre.legval(t, self._coefficients[panel].T.reshape(-1, len(panel), *extra), tensor=False)

    def slope(self, x, panel):
        """The derivative of the interpolated logarithm at x (n,), in the panel (n,) named."""
        lo, hi = self.lo[panel], self.hi[panel]
        derivative = legendre.legder(self._coefficients[panel].T)
        return 2 / (hi - lo) * legendre.legval((2 * x - lo - hi) / (hi - lo), derivative, tensor=False)

    def tail(self, x, upper):
        """P(X > x) where ``upper``, else P(X <= x), for x (n,): panels beyond x, and the piece of its own by the rule."""
        u, w, *_ = rule(self.logs.shape[1])
        panel = np.clip(np.searchsorted(self.lo, x, side="right") - 1, 0, len(self.lo) - 1)
        x = np.clip(x, self.lo[panel], self.hi[panel])
        end = np.where(upper, self.hi[panel], self.lo[panel])
        y = end[:, None] + (x - end)[:, None] * u
        piece = np.abs(x - end) * (np.exp(self.logpdf(y, panel)) @ w)
        return np.where(upper, self.above[panel + 1], self.below[panel]) + piece

    def quantile(self, u):
        def ends(u):
            upper = u > 0.5
            left = np.searchsorted(self.below[1:-1], u, side="left")
            right = len(self.mass) - 1 - np.searchsorted(self.above[-2:0:-1], 1 - u, side="left")
            panel = np.where(upper, right, left)
            return self.lo[panel], self.hi[panel]

        return solve_quantile(u, ends, self.tail, lambda x: np.exp(self.logpdf(x, np.clip(np.searchsorted(self.lo, x) - 1, 0, len(self.lo) - 1))))

    def expectation(self, f, what):
        """E f(X), the mass divided out; NotTrusted if the outermost panels still count: the tails are too heavy for it."""
        parts = (f(self.nodes) * self.weights).sum(1)
        sizes = (np.abs(f(self.nodes)) * self.weights).sum(1)
        if max(sizes[0], sizes[-1]) > 1e-10 * sizes.sum() and len(sizes) > 1 and self.mass[[0, -1]].min() < math.exp(-DROP / 2):
            raise NotTrusted(f"{what}: the tails are so heavy that the integral is infinite or converges too slowly to be trusted")
        return float(parts.sum() / self.mass.sum())

    def breakpoints(self, least=1e-32):
        """The edges, without the outer panels that together hold less than ``least``."""
        inside = (self.below[1:] > least) & (self.above[:-1] > least)
        return np.unique(np.concatenate([self.lo[inside], self.hi[inside]]))


def find_panels(f, support, count=16, edges=None):
    """Panels of exp(f) on ``support`` = (lo, hi), unnormalised; f maps (n,) to logarithms (n,), -inf allowed.

    A panel is accepted when f varies by at most 8 on it and its interpolant agrees with f at the nodes of both halves; otherwise it is
    halved. ``edges`` starts the search; without them the modes are looked for on a logarithmic grid of all scales.
    """
    edges = _first_edges(f, support) if edges is None else edges
    lo, hi = edges[:-1], edges[1:]
    u, *_, halves = rule(count)
    total, done, logs = -math.inf, [], None
    while len(lo):
        if logs is None:
            logs = _checked(f, lo[:, None] + (hi - lo)[:, None] * u)
        size = logs.max(1) + np.log(hi - lo)
        total = max(total, float(size.max()))
        keep = size > total - DROP
        lo, hi, logs, size = lo[keep], hi[keep], logs[keep], size[keep]
        mid = lo + 0.5 * (hi - lo)
        finer = _checked(f, np.concatenate([lo[:, None] + (mid - lo)[:, None] * u, mid[:, None] + (hi - mid)[:, None] * u], 1))
        with np.errstate(invalid="ignore"):
            off = np.abs(logs @ halves.T - finer).max(1)
            varies = logs.max(1) - logs.min(1)
        with np.errstate(invalid="ignore"):  # what rounding of x does to f, and f's own rounding
            rounding = 4 * np.spacing(np.maximum(np.abs(lo), np.abs(hi))) * varies / (hi - lo)
        slack = np.where(size < total - 70, 1e-9, 4e-14) * (2 + np.abs(logs).max(1)) + rounding
        fine = (varies <= 8) & (off <= slack)
        stuck = (hi - lo) <= 4 * np.spacing(np.maximum(np.abs(lo), np.abs(hi)))
        if (stuck & ~fine & (size > total - 32)).any():
            raise NotTrusted(f"logpdf: not resolved near x = {lo[stuck & ~fine][0]}; pass support= where the density jumps")
        done.append((lo[fine], hi[fine], logs[fine]))
        more = ~fine & ~stuck
        lo, hi, mid, finer = lo[more], hi[more], mid[more], finer[more]
        lo, hi = np.concatenate([lo, mid]), np.concatenate([mid, hi])
        logs = np.concatenate([finer[:, :count], finer[:, count:]])
        if sum(len(d[0]) for d in done) + len(lo) > LONGEST:
            raise NotTrusted(
                f"logpdf: more than {LONGEST} panels, at last near x = {lo[0] if len(lo) else done[-1][0][-1]}, allowed is a piecewise smooth "
                "density; pass support= where it ends or jumps, or smooth it"
            )
    lo, hi, logs = (np.concatenate(parts) for parts in zip(*done, strict=True))
    order = np.argsort(lo)
    return Panels(lo[order], hi[order], logs[order])


def _checked(f, x):
    value = f(x.reshape(-1)).reshape(x.shape)
    bad = np.isnan(value) | (value == math.inf)
    if bad.any():
        raise ValueError(f"logpdf: got {value[bad][0]} at x = {x[bad][0]}, allowed are numbers and -inf; pass support= to exclude points")
    return value


def _first_edges(f, support):
    """Edges around the modes: a ladder of powers of two away from each, in units of the width at the highest one."""
    lo, hi = support
    x = _all_scales(lo, hi)
    with np.errstate(all="ignore"):
        value = f(x)
    value = np.where(np.isnan(value) | (value == math.inf), -math.inf, value)
    with np.errstate(invalid="ignore"):
        weight = value + np.log(np.gradient(x))
    if not (weight > -math.inf).any():
        raise ValueError(
            "logpdf: got no finite value on a logarithmic grid of the line, allowed is a density that can be found; pass support=(low, high)"
        )
    peak = np.flatnonzero((value[1:-1] >= value[:-2]) & (value[1:-1] >= value[2:]) & (weight[1:-1] > weight.max() - 800)) + 1
    peak = peak[np.argsort(-value[peak])][:64]
    if not len(peak):
        peak = np.array([int(np.argmax(weight))])
    at = _climb(f, x[np.maximum(peak - 1, 0)], x[np.minimum(peak + 1, len(x) - 1)])
    edges = [at, [0.0], x[[0, -1]]]
    for i, c in enumerate(at):
        step = _width(f, c, lo, hi)
        ladder = step * np.exp2(np.arange(-2.0, 260.0 if i == 0 else 8.0))
        edges += [c - ladder, c + ladder]
    edges = np.concatenate(edges)
    ends = [e for e in (lo, hi) if math.isfinite(e)]
    return np.unique(np.concatenate([edges[(edges > lo) & (edges < hi)], ends]))


def _all_scales(lo, hi):
    """Points of (lo, hi) at all scales: sinh of a uniform grid, or powers away from finite ends."""
    u = np.linspace(-38.0, 38.0, 4001)
    if math.isinf(lo) and math.isinf(hi):
        return np.sinh(u)
    if math.isinf(hi):
        return np.unique(lo + np.exp(u)[np.exp(u) > np.spacing(abs(lo))])
    if math.isinf(lo):
        return np.unique(hi - np.exp(u)[np.exp(u) > np.spacing(abs(hi))])
    inner = np.where(u < 0, lo + (hi - lo) / (1 + np.exp(-u)), hi - (hi - lo) / (1 + np.exp(u)))
    return np.unique(inner[(inner > lo) & (inner < hi)])


def _climb(f, lo, hi):
    """A local maximum of f in each [lo, hi] (n,) by golden sections."""
    g = (math.sqrt(5) - 1) / 2
    a, b = lo.copy(), hi.copy()
    with np.errstate(all="ignore"):
        for _ in range(90):
            c, d = b - g * (b - a), a + g * (b - a)
            left = f(c) >= f(d)
            a, b = np.where(left, a, c), np.where(left, d, b)
    return a + 0.5 * (b - a)


def _width(f, c, lo, hi):
    """The smallest power of two by which one must move from c for f to change by one half."""
    step = np.exp2(np.arange(math.ceil(math.log2(max(np.spacing(abs(c)), 1e-300))) + 3, 120.0))
    with np.errstate(all="ignore"):
        sides = [f(y) for y in (np.maximum(c - step, lo), np.minimum(c + step, hi))]
        far = (np.abs(sides[0] - f(np.array([c]))) > 0.5) | (np.abs(sides[1] - f(np.array([c]))) > 0.5)
    return float(step[np.argmax(far)] if far.any() else step[-1])
