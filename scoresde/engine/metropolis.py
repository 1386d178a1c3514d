r"""The law of a Metropolis chain on the line, with no Monte Carlo.

    q'(x) = q(x) r(x) + \int q(y) p(y, x) \alpha(y, x) dy,   r(x) = 1 - \int p(x, y) \alpha(x, y) dy.

\alpha has kinks where the ratio is 1: along y = x, and where B(x, y) = \log\alpha^*(x, y) / (y - x) vanishes. Integrals in y are Gauss sums
on panels, which these curves cut for each x; there q/\pi is interpolated, so that detailed balance makes q = \pi a fixed point to rounding. Where
two curves meet in y, r(x) has a singularity |x - x_0|^{3/2}: the panels of x are halved until r is resolved. Kernels contract TV, so that errors at
most add up.
"""

import math
from dataclasses import dataclass

import numpy as np
from numba import njit
from scipy.sparse import csr_matrix, vstack

from ..errors import NoMethod, NotTrusted
from ..laws import Empirical
from ..laws._panels import Panels, rule
from ..laws.density import Density
from ..laws.line import Outer
from .loop import log_acceptance

__all__ = ["Mesh", "Points", "points", "propagate_metropolis", "transitions"]

COUNTS = (16, 12)  # nodes of a panel, of the law and of its twin
WIDEST = 1.4  # panel over the standard deviation of the proposal, at most
STEEPEST = 8.0  # change of a log-density on a panel, where there is mass
DROPPED = -138.0  # log of a proposal's density, 1e-60, below which it is dropped
UNRESOLVED = 3e-2  # mass of a panel times the last coefficients of r on it, over the tolerance
LIMIT, DENSE = 40_000, 5000  # nodes in all, and for which a full matrix is kept
FLOOR = 1e-55  # of the density: sums are relatively accurate as far as this
ROUNDING = 1e-15  # TV that rounding may cost at each step
SEARCH = (np.arange(6) + 0.43) / 6  # where roots are looked for on a panel: never at a node


@dataclass(frozen=True, eq=False)
class Points:
    """Places x (n,), with log pi and the score there."""

    x: np.ndarray
    log: np.ndarray
    s: np.ndarray

    def __getitem__(self, i):
        return Points(self.x[i], self.log[i], self.s[i])

    def beside(self, other, h):
        r"""(\log\alpha^*(x, y), \log p(x, y), \log p(y, x)) from these to the others, broadcast; \alpha = \min(1, \alpha^*)."""
        x, y = self, other
        ratio = log_acceptance(x.x[..., None], y.x[..., None], x.log, y.log, x.s[..., None], y.s[..., None], h)
        level = -0.5 * math.log(4 * math.pi * h)
        return ratio, level - (y.x - x.x - h * x.s) ** 2 / (4 * h), level - (x.x - y.x - h * y.s) ** 2 / (4 * h)


@dataclass(frozen=True, eq=False)
class Mesh:
    """Panels of the line: edges (P+1,), ``count`` Gauss nodes on each."""

    edges: np.ndarray
    count: int

    @property
    def x(self):
        return (self.edges[:-1, None] + np.diff(self.edges)[:, None] * rule(self.count)[0]).ravel()

    @property
    def w(self):
        return (np.diff(self.edges)[:, None] * rule(self.count)[1]).ravel()


def propagate_metropolis(table, score, start, *, tolerance=1e-8, keep="last"):
    r"""The law of the last state (keep="last"), or of all S+1 states (keep="all", the start first), of a table with a Metropolis test.

    start : Law of dimension 1 with a density. Returns a Density with ``error`` (TV) and ``twin`` (other panels, other nodes). The score may be any
    smooth function; \pi needs a density where the start has mass. Raises NoMethod for point masses, NotTrusted above ``tolerance``.
    """
    if isinstance(start, Empirical) or not hasattr(start, "logpdf"):
        raise NoMethod(
            "propagate: a rejected point mass stays a point mass beside a density, and no law engine holds both; give the start a little noise, "
            "start.noised(Kernel(1, 1e-2)), or use simulate(table, score, n=..., seed=...)"
        )
    for finer in (1.0, 0.5, 0.25):
        laws, worst = _run(table, score, start, finer, tolerance, keep)
        if worst <= tolerance:
            return laws if keep == "all" else laws[-1]
    raise NotTrusted(
        f"propagate: two resolutions of {table.name or 'the chain'} differ by {worst:.1e} in total variation, asked for was "
        f"tolerance={tolerance:.1e}; a score or a target with kinks does this; raise tolerance=, or use simulate(table, score, n=..., seed=...)"
    )


def _run(table, score, start, finer, tolerance, keep):
    """(laws of the states asked for, the start first; their worst error)."""
    steps = list(zip(table.b[:, 0].tolist(), table.score_times.tolist(), strict=True))
    runs = [_densities(steps, table.target, score, start, count, finer, tolerance, keep) for count in COUNTS]
    (mesh, path), (other, twins) = runs
    laws, errors = [start], [float(getattr(start, "error", 0.0))]
    for k, (q, r) in enumerate(zip(path, twins, strict=True), 1):
        steps_done = k if keep == "all" else len(steps)
        twin = _law(other, r, table.target, 0.0, None)
        apart = 0.5 * float(mesh.w @ np.abs(q / (mesh.w @ q) - np.exp(twin.logpdf(mesh.x[:, None]))))
        errors.append(errors[0] + 2 * apart + abs(1 - float(mesh.w @ q)) + ROUNDING * steps_done)
        laws.append(_law(mesh, q, table.target, errors[-1], twin))
    return laws, max(errors[1:])


def _densities(steps, target, score, start, count, finer, tolerance, keep):
    """(mesh, [q at its nodes for each state asked for])."""
    at = {t: points(target, score, t) for _, t in steps}
    mesh = _mesh(steps, at, target, start, count, finer, UNRESOLVED * tolerance * finer**4)
    x = mesh.x[:, None]
    kernels = {(h, t): _kernel(mesh, at[t], h) for h, t in set(steps)}
    q, path = np.exp(start.logpdf(x)), []
    for k, step in enumerate(steps):
        onto, stay = kernels[step]
        q = stay * q + onto @ q
        if keep == "all" or k == len(steps) - 1:
            path.append(q)
    return mesh, path


def points(target, score, t):
    """x (n,) -> Points."""

    def at(x):
        with np.errstate(divide="ignore"):
            log_p = np.asarray(target.logpdf(x[:, None]), dtype=np.float64)
        s = np.asarray(score(t, x[:, None]), dtype=np.float64)
        if s.shape != (len(x), 1):
            raise ValueError(f"score: got shape {s.shape} for x of shape {(len(x), 1)}, allowed is the shape of x")
        bad = ~(np.isfinite(s[:, 0]) & np.isfinite(log_p))
        if bad.any():
            raise ValueError(
                f"score: got {s[bad][0, 0]}, and log pi = {log_p[bad][0]}, at t = {t:g} and x = {x[bad][0]:.6g}, allowed are finite values wherever "
                "the start or the target has mass: the law engine needs a target with a density all over the start's support"
            )
        return Points(x, log_p, s[:, 0])

    return at


# ---- panels ----------------------------------------------------------------------------------------------------------------------------


def _mesh(steps, at, target, start, count, finer, unresolved):
    """Panels that resolve target, start, proposals, and the probability to stay."""
    sizes = lambda x: [np.asarray(law.logpdf(x.reshape(-1, 1))).reshape(x.shape) for law in (target, start)]  # noqa: E731
    edges = np.union1d(Outer(target).panels, Outer(start).panels)
    edges = _merged(edges[np.append(True, np.diff(edges) > 1e-9 * np.ptp(edges))], count, sizes, finer)
    if count != COUNTS[0]:  # the twin has other panels between the same ends
        edges = np.sort(np.append(edges, 0.37 * edges[:-1] + 0.63 * edges[1:]))
    root, x = math.sqrt(2 * min(h for h, _ in steps)), Mesh(edges, count).x.reshape(-1, count)
    widths = np.diff(edges) / root
    light = sum(np.exp(f.max(axis=1)) for f in sizes(x)) * np.diff(edges) < 0.1 * unresolved  # heavy tails
    pieces = np.where(light, np.log2(1 + widths), np.ceil(widths / (WIDEST * finer)))
    _affordable(pieces.sum() * count)
    parts = [np.linspace(a, b, n, endpoint=False) for a, b, n in zip(edges[:-1], edges[1:], np.maximum(pieces, 1).astype(int), strict=True)]
    edges = np.append(np.concatenate(parts), edges[-1])
    for _ in range(8):
        with np.errstate(invalid="ignore", divide="ignore"):
            logs = sizes(Mesh(edges, count).x.reshape(-1, count))
            steep = np.any([(np.ptp(f, axis=1) > STEEPEST * finer) & (f.max(axis=1) > -80) for f in logs], axis=0)
        if not steep.any():
            break
        edges = np.sort(np.append(edges, 0.5 * (edges[:-1] + edges[1:])[steep]))
    base = Mesh(edges, count)
    _affordable(len(base.x))
    for h, t in set(steps):
        edges = np.union1d(edges, _resolving(base, at[t], h, sizes, unresolved))
    _affordable(len(edges) * count)
    return Mesh(edges, count)


def _merged(edges, count, sizes, finer):
    """Fewer edges: two neighbours become one panel where both log-densities are polynomials on it and change little."""
    analysis = rule(count)[2]
    for _ in range(4):
        for offset in (0, 1):
            lo, hi = edges[offset:-2:2], edges[offset + 2 :: 2]
            if not len(hi):
                continue
            x = lo[: len(hi), None] + (hi - lo[: len(hi)])[:, None] * rule(count)[0]
            with np.errstate(invalid="ignore"):
                smooth = np.all([np.abs(f @ analysis[-3:].T).max(axis=1) < 1e-10 * (10 + np.abs(f).max(axis=1)) for f in sizes(x)], axis=0)
                smooth &= np.all([np.ptp(f, axis=1) < 0.5 * STEEPEST * finer for f in sizes(x)], axis=0)
            edges = np.delete(edges, offset + 1 + 2 * np.flatnonzero(smooth))
    return edges


def _resolving(base, field, h, sizes, unresolved):
    """Edges between which the probability to stay is a polynomial, as far as the mass there asks for it."""
    count, found = base.count, [base.edges]
    lo, hi = base.edges[:-1], base.edges[1:]
    analysis = rule(count)[2]
    y = field(base.x)
    for _ in range(30):
        x = lo[:, None] + (hi - lo)[:, None] * rule(count)[0]
        stay = transitions(field(x.ravel()), base, y, field, h, onto=False)[1].reshape(x.shape)
        tail = np.abs(stay @ analysis[-3:].T).max(axis=1)
        mass = sum(np.exp(f.max(axis=1)) for f in sizes(x)) * (hi - lo)
        rough = tail * mass > unresolved
        if not rough.any():
            break
        lo, hi, middle = lo[rough], hi[rough], 0.5 * (lo + hi)[rough]
        found.append(middle)
        lo, hi = np.concatenate([lo, middle]), np.concatenate([middle, hi])
    return np.concatenate(found)


def _affordable(n):
    if n > LIMIT:
        raise NotTrusted(
            f"propagate: {n} nodes would be needed, at most {LIMIT} are kept: the step is too small for the width of the law; use a larger step, or "
            "simulate(table, score, n=..., seed=...)"
        )


# ---- the kernel ------------------------------------------------------------------------------------------------------------------------


def _kernel(mesh, field, h):
    """((n, n), sparse if it is large: q at the nodes -> the accepted part of q', (n,): probability to stay)."""
    y = field(mesh.x)
    size, parts, stay = max(64, 4_000_000 // len(y.x)), [], []
    for lo in range(0, len(y.x), size):
        onto, r = transitions(y[lo : lo + size], mesh, y, field, h)
        parts.append(onto if len(y.x) <= DENSE else csr_matrix(onto))
        stay.append(r)
    return (np.concatenate(parts) if len(y.x) <= DENSE else vstack(parts, format="csr")), np.concatenate(stay)


def transitions(x, mesh, y, field, h, onto=True):
    """(rows of the accepted part (len(x), n), probability to stay (len(x),)) for points x, y the nodes of the mesh."""
    count = mesh.count
    u, v, analysis, _ = rule(count)
    i, panel, lo, hi = _pieces(x, mesh, field, h)
    cut = np.zeros((len(x.x), len(mesh.edges) - 1), dtype=bool)
    cut[i, panel] = True
    enter, left = np.zeros((len(x.x), len(y.x)) if onto else (0, 0)), np.zeros(len(x.x))
    whole_panels(x.x, x.log, x.s, y.x, y.log, y.s, mesh.w, h, cut, enter, left)
    z = field((lo[:, None] + (hi - lo)[:, None] * u).ravel())
    z = Points(*(a.reshape(-1, count) for a in (z.x, z.log, z.s)))
    ratio, there, back = x[i][:, None].beside(z, h)
    weight = (hi - lo)[:, None] * v
    left += np.bincount(i, (np.exp(there + np.minimum(ratio, 0.0)) * weight).sum(axis=1), len(x.x))
    if onto:
        t = 2 * (z.x - mesh.edges[panel][:, None]) / np.diff(mesh.edges)[panel][:, None] - 1
        lagrange = np.polynomial.legendre.legvander(t, count - 1) @ analysis  # of q/pi, from the panel's nodes
        columns = panel[:, None] * count + np.arange(count)
        ratios = np.exp(np.clip(z.log[:, :, None] - y.log[columns][:, None, :], -600.0, 600.0))
        share = np.einsum("pk,pkj,pkj->pj", np.exp(back + np.minimum(-ratio, 0.0)) * weight, lagrange, ratios)
        np.add.at(enter, (i[:, None], columns), share)
    return enter, 1 - left


def whole_panels_py(x, log_x, s_x, y, log_y, s_y, w, h, cut, enter, left):
    """enter[i, j] = p(y_j, x_i) alpha(y_j, x_i) w_j, left[i] = sum_j p(x_i, y_j) alpha(x_i, y_j) w_j, both over the panels that are not cut."""
    level, c = 1 / math.sqrt(4 * math.pi * h), -0.25 / h
    count = len(y) // cut.shape[1]
    for i in range(len(x)):
        total = 0.0
        for j in range(len(y)):
            if cut[i, j // count]:
                continue
            d = y[j] - x[i]
            there, back = c * (d - h * s_x[i]) ** 2, c * (d + h * s_y[j]) ** 2
            if max(there, back) < DROPPED:
                continue
            ratio = log_y[j] - log_x[i] - 0.5 * (s_x[i] + s_y[j]) * (d + 0.5 * h * (s_y[j] - s_x[i]))
            leave = level * w[j] * math.exp(there + min(ratio, 0.0))
            total += leave
            if len(enter):
                enter[i, j] = level * w[j] * math.exp(back + min(-ratio, 0.0))
        left[i] = total


whole_panels = njit(whole_panels_py, error_model="numpy", cache=True)


def _pieces(x, mesh, field, h):
    """(row, panel, lo, hi) of the pieces into which x and the roots of B(x, .) cut the panels, for each row."""
    edges = mesh.edges
    z = field((edges[:-1, None] + np.diff(edges)[:, None] * SEARCH).ravel())
    ratio, there, back = x[:, None].beside(z[None, :], h)
    sign = np.signbit(ratio) ^ (z.x[None, :] < x.x[:, None])
    near = np.maximum(there, back) > -50.0
    i, j = np.nonzero((sign[:, 1:] != sign[:, :-1]) & (near[:, 1:] | near[:, :-1]))
    lo, hi, flag = z.x[j], z.x[j + 1], sign[i, j]
    for _ in range(26):
        mid = 0.5 * (lo + hi)
        r = x[i].beside(field(mid), h)[0]
        same = (np.signbit(r) ^ (mid < x.x[i])) == flag
        lo, hi = np.where(same, mid, lo), np.where(same, hi, mid)
    inside = (x.x > edges[0]) & (x.x < edges[-1])
    at = np.concatenate([0.5 * (lo + hi), x.x[inside]])
    i = np.concatenate([i, np.flatnonzero(inside)])
    panel = np.clip(np.searchsorted(edges, at, side="right") - 1, 0, len(edges) - 2)
    order = np.lexsort((at, panel, i))
    i, panel, at = i[order], panel[order], at[order]
    new = np.append(True, (np.diff(i) != 0) | (np.diff(panel) != 0))
    last = np.append(new[1:], True)
    lo = np.where(new, edges[panel], np.append(0.0, at[:-1]))
    ends = edges[panel[last] + 1]
    return tuple(np.concatenate(p) for p in ((i, i[last]), (panel, panel[last]), (lo, at[last]), (at, ends)))


# ---- the law ---------------------------------------------------------------------------------------------------------------------------


def _law(mesh, q, target, error, twin):
    """The law with density q at the nodes; outside of the panels it falls off as the target does."""
    logs = np.log(np.maximum(q / (mesh.w @ q), FLOOR)).reshape(-1, mesh.count)
    return Density.resolved(Panels(mesh.edges[:-1], mesh.edges[1:], logs), target, error=error, twin=twin, name="law of a Metropolis chain")
