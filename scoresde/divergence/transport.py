r"""W_1 and W_2 on the line: W_1 = \int |F - G| dx; W_r^r = \int |T(y) - y|^r dQ(y) with the monotone map T = F_p^{-1} \circ F_q."""

import math

import numpy as np

from ..enclosure import Enclosure
from .panels import EPS
from .quadrature import over_line, root, unbounded
from .signs import sign_changes

_OUT = 2.0 ** np.arange(1, 8) - 1


def wasserstein1(pair):
    pair.needs_cdf("wasserstein1")

    def g(x):
        gap, rounding = pair.difference(x)
        return gap, np.ones(len(x)), rounding

    edges = pair.edges
    inner = (edges[:-1, None] + np.diff(edges)[:, None] * np.array([0.25, 0.75])).ravel()
    cuts, _ = sign_changes(g, inner)  # what is missed shows as a kink in the quadrature

    def f(x, _):
        gap, rounding = pair.difference(x)
        return np.stack([np.abs(gap), rounding / EPS])

    value, error, noise = over_line(f, np.unique(np.concatenate([edges, cuts])))
    return unbounded("E|X - Y|") if math.isinf(value) else Enclosure.near(value, error + EPS * noise, method="quadrature").cut(0.0)


def wasserstein2(pair):
    pair.needs_cdf("wasserstein2")
    # y runs over the law that reaches farther: the other's quantiles are then never asked beyond what it resolves
    wide = lambda v: v.edges[-1] - v.edges[0]  # noqa: E731
    p, q = (pair.p, pair.q) if wide(pair.q) >= wide(pair.p) else (pair.q, pair.p)
    match, back = _matching(p, q), _matching(q, p)

    def f(x, _):
        y = x.ravel()
        to, blur = match(y)
        density = np.exp(q.logpdf(y))
        gap = np.abs(to - y)
        return np.stack([density * gap**2, density * (2 * gap + blur) * blur / EPS]).reshape(2, *x.shape)

    edges = np.unique(np.concatenate([q.edges, back(p.edges)[0]]))
    square, error, noise = over_line(f, edges)
    if math.isinf(square):
        return unbounded("E|X - Y|^2")
    return root(square, error + EPS * noise + _torn(p) + _torn(q))


def _torn(v):
    """What the rounding of F costs where F is flat: about that mass may be matched across the whole gap between two modes."""
    e = v.edges
    mass = np.minimum(v.cdf(e), v.sf(e))
    flat = np.abs(np.diff(mass)) <= 16 * EPS * mass[:-1]
    starts, ends = (np.flatnonzero(np.diff(np.r_[0, flat, 0]) == sign) for sign in (1, -1))
    return float(np.sum(16 * EPS * mass[starts] * (e[ends] - e[starts]) ** 2))


def _matching(p, q):
    """T: y -> (x with F_p(x) = F_q(y), the rounding of x). Newton on the logarithm of the smaller tail, bisection where it fails."""
    e = p.edges
    table = np.concatenate([e[0] - (e[1] - e[0]) * _OUT[::-1], e, e[-1] + (e[-1] - e[-2]) * _OUT])
    with np.errstate(divide="ignore", over="ignore"):
        logs, density = (np.log(np.maximum.accumulate(p.cdf(table))), np.log(np.minimum.accumulate(p.sf(table)))), p.logpdf(table)
    middle = q.edges[min(int(np.searchsorted(q.cdf(q.edges), 0.5)), len(q.edges) - 1)]

    def match(y):
        x, blur = np.empty(len(y)), np.empty(len(y))
        for side, mine, tail, sign, log_tail in ((y < middle, q.cdf, p.cdf, 1.0, logs[0]), (y >= middle, q.sf, p.sf, -1.0, -logs[1])):
            if side.any():
                with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
                    slope = np.exp(sign * log_tail - density)
                    x[side], blur[side] = _solve(sign * np.log(mine(y[side])), tail, p.logpdf, sign, table, log_tail, slope)
        return x, blur + EPS * (np.abs(x) + np.abs(y))

    return match


def _solve(aim, tail, logpdf, sign, table, log_tail, slope):
    """x with sign * log tail(x) = aim, an increasing equation, and the effect on x of the rounding of both tails, eight ulps."""
    i = np.clip(np.searchsorted(log_tail, aim) - 1, 0, len(table) - 2)
    lo, hi = table[i], table[i + 1]
    below, above = log_tail[i], log_tail[i + 1]
    rise, width = above - below, hi - lo
    t = np.clip((aim - below) / rise, 0.0, 1.0)
    # Hermite's cubic through both ends, with the slopes dx / d log tail = tail / density
    x = lo + (hi - lo) * t * t * (3 - 2 * t) + rise * t * (1 - t) * ((1 - t) * slope[i] - t * slope[i + 1])
    x = np.where((x >= lo) & (x <= hi), x, 0.5 * (lo + hi))
    blur, last, live = np.zeros(len(x)), np.full(len(x), np.inf), np.arange(len(x))
    outside = ~np.isfinite(aim) | (aim < log_tail[0]) | (aim > log_tail[-1])  # beyond the table: its end, where no mass is left
    x = np.where(aim < log_tail[0], table[0], np.where(aim > log_tail[-1], table[-1], x))
    live = live[~outside]
    for _ in range(80):
        if not len(live):
            break
        at = x[live]
        mass = tail(at)
        gap = sign * np.log(mass) - aim[live]
        speed = np.exp(np.log(mass) - logpdf(at))  # dx per unit of the equation
        hi[live] = np.where(gap > 0, at, hi[live])
        lo[live] = np.where(gap > 0, lo[live], at)
        step = -gap * speed
        new = at + step
        newton = (new >= lo[live]) & (new <= hi[live]) & (np.abs(step) <= 0.5 * last[live])
        new = np.where(newton, new, 0.5 * (lo[live] + hi[live]))
        last[live] = np.abs(new - at)
        blur[live] = np.minimum(8 * EPS * (1 + np.abs(aim[live])) * speed, width[live])
        x[live] = new
        # Newton's error is quadratic in the step at the scale of the panel
        live = live[~((gap == 0) | (last[live] <= 2 * EPS * np.abs(new)) | (newton & (np.abs(step) <= 1e-8 * width[live])))]
    return x, blur
