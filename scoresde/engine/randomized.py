r"""The law on the line of a chain with random times, no Monte Carlo: q_{k+1}(x) = \int_0^1 \int q_k(y) \int \varphi(z) N(x; a_u(y, z), R_u) dz dy du.

Each step's uniform is integrated over by Gauss's rule in \theta, u = \sin^2\theta, and for each u its noises as the line engine does it. Where R_u
goes to 0 the law is as rough as that of a step without fresh noise: there R_u is kept at a floor that shrinks with the grid, and a share of u that
shrinks with it sees it. This engine reaches errors of 1e-3 to 1e-5, and says which.
"""

import math

import numpy as np

from ..errors import NoMethod, NotTrusted
from ..laws import Empirical
from ..laws._panels import Panels, rule
from ..laws._resolve import gauss_legendre
from ..laws.density import Density
from ..laws.line import Outer
from .line import COARSE, Spread, blocks_of, subdivided
from .taps import deposit

__all__ = ["propagate_randomized"]

NODES = (14, 10)  # of u, for the law and for its twin
PER = 7.0  # grid points to a standard deviation of a step's noise
LEAST = 0.45  # standard deviation of a fresh noise over the grid's spacing, at least
BAND = 12.0  # reach of a tap in standard deviations
CUT, FLOOR = 1e-32, 1e-40
STENCIL = 8  # grid points from which a value between them is interpolated
HOPELESS = 1e-6  # a tolerance below which nothing is tried
ROUNDING = 1e-14


def propagate_randomized(table, score, start, *, tolerance=1e-8, keep="last"):
    r"""The law of the last state (keep="last"), or of all S+1 states (keep="all", the start first), of a RandomTable on the line.

    Each step may depend on one uniform of its own; noise may enter one later score of its step, if fresh noise is left (``randomized_midpoint``).
    Returns a Density with ``error`` (TV) and ``twin``. Raises NoMethod for other tables and for point masses, NotTrusted above ``tolerance``.
    """
    if isinstance(start, Empirical) or not hasattr(start, "logpdf"):
        raise NoMethod("propagate: got point masses as a start, allowed with random times is a law with a density; use start.noised(Kernel(1, 1e-2))")
    if tolerance < HOPELESS:
        raise NotTrusted(
            f"propagate: got tolerance={tolerance:.1e} for random times, where the law is known to 1e-3 to 1e-5: pass tolerance=1e-3, or use "
            "simulate(table, score, n=..., seed=...)"
        )
    _refuse_shared(table)
    for finer in (1.0, 0.7):
        runs = [_run(table, score, start, count, finer * coarse, keep) for count, coarse in zip(NODES, (1.0, COARSE), strict=True)]
        laws, worst = _laws(*runs, start)
        if worst <= tolerance:
            return laws if keep == "all" else laws[-1]
        if worst > 10 * tolerance:
            break
    raise NotTrusted(
        f"propagate: two resolutions of {table.name or 'the chain'} differ by {worst:.1e} in total variation, asked for was "
        f"tolerance={tolerance:.1e}; pass tolerance={10 ** math.ceil(math.log10(2 * worst)):.0e}, or use simulate(table, score, n=..., seed=...)"
    )


def _refuse_shared(table):
    """Each block of rows may depend on one uniform, and each uniform on one block."""
    n, base = table.uniforms, None
    owners = {}
    blocks = blocks_of(table.skeleton)
    for lo in range(0, n, 64):
        u = np.full((n, min(64, n - lo) + 1), 0.5)
        u[np.arange(lo, lo + u.shape[1] - 1), np.arange(u.shape[1] - 1)] = 0.3
        given = table.at(u)
        for x in (given.a, given.b, given.c, given.score_times):
            base = x[..., -1:]
            rows, of = np.nonzero((x[..., :-1] != base).reshape(given.rows, -1, u.shape[1] - 1).any(axis=1))
            for row, j in zip(rows.tolist(), (lo + of).tolist(), strict=True):
                k = next(i for i, b in enumerate(blocks) if b.r0 <= row < b.r1)
                owners.setdefault(j, set()).add(k)
    used = [k for ks in owners.values() for k in ks]
    if len(used) != len(set(used)) or any(len(ks) > 1 for ks in owners.values()):
        raise NoMethod(
            f"propagate: in {table.name or 'the table'} a step depends on several uniforms, or steps share one, and no law engine integrates over "
            "that; use simulate(table, score, n=..., seed=...)"
        )


def _run(table, score, start, count, coarse, keep):
    """[(x0, dx, q on the grid)] for each state asked for."""
    t, w, *_ = rule(count)
    theta = 0.5 * math.pi * t
    u, weights = np.sin(theta) ** 2, 0.5 * math.pi * w * np.sin(2 * theta)
    weights /= weights.sum()
    given = table.at(np.tile(u, (table.uniforms, 1)))
    tables = [given.particle(g) for g in range(count)]
    blocks = [blocks_of(one) for one in tables]
    law, out, nodes = Outer(start), [], None
    last = len(blocks[0]) - 1
    for k in range(last + 1):
        step = [b[k] for b in blocks]
        if min(b.var for b in step) == 0 or table.skeleton.state[step[0].r0 : step[0].r1].sum() != 1:
            raise NoMethod(
                "propagate: a step without fresh noise, or of several states, beside random times; use simulate(table, score, n=..., seed=...)"
            )
        dx = coarse * math.sqrt(max(b.var for b in step)) / PER
        if nodes is None:
            x, w = gauss_legendre(subdivided(law.panels, 4 * dx))
            nodes = x, w * np.exp(law.log_density(x))
        x, w = (v[nodes[1] > CUT] for v in nodes)
        step = [b._replace(var=max(b.var, (LEAST * dx) ** 2)) for b in step]
        clouds = [Spread(one, score, block, coarse).runs([(x, w, None, math.inf)])[0] for one, block in zip(tables, step, strict=True)]
        nodes, grid = _summed(clouds, weights, dx)
        if keep == "all" or k == last:
            out.append(grid)
    return out


def _summed(clouds, weights, dx):
    """((x, weights) of the new law on a uniform grid; (x0, dx, density there))."""
    inside = [c.a[c.w > 1e-24] for c in clouds]
    reach = [int(BAND * math.sqrt(c.var) / dx) + 1 for c in clouds]
    margin = (max(reach) + 18) * dx
    x0 = min(a.min() for a in inside) - margin
    out = np.zeros((1, int((max(a.max() for a in inside) + margin - x0) / dx) + 10))
    for c, weight, far in zip(clouds, weights, reach, strict=True):
        deposit(c.a, c.w * weight, np.zeros(len(c.a), dtype=np.int64), c.var, dx, x0, far, out)
    q = out[0]
    return (x0 + dx * np.arange(len(q)), q * dx), (x0, dx, q)


def _laws(fine, coarse, start):
    """(laws, their worst error): densities through the grids' values, on panels of a few grid points."""
    laws, worst = [start], 0.0
    for k, (main, other) in enumerate(zip(fine, coarse, strict=True), 1):
        twin = _law(other, 0.0, None)
        law = _law(main, 0.0, None)
        x, w = law.panels.nodes.ravel(), law.panels.weights.ravel()
        apart = 0.5 * float(w @ np.abs(1 - np.exp(twin.logpdf(x[:, None]) - law.logpdf(x[:, None]))))
        error = float(getattr(start, "error", 0.0)) + apart + abs(1 - main[1] * main[2].sum()) + k * ROUNDING
        laws.append(_law(main, error, _law(other, error, None)))
        worst = max(worst, error)
    return laws, worst


def _law(grid, error, twin):
    x0, dx, q = grid
    logs = np.log(np.maximum(q, FLOOR))
    seen = np.flatnonzero(q > FLOOR)
    first, last = seen[0] + STENCIL, seen[-1] - STENCIL
    edges = x0 + dx * np.linspace(first, last, 1 + (last - first) // 6)
    x = edges[:-1, None] + np.diff(edges)[:, None] * rule(12)[0]
    panels = Panels(edges[:-1], edges[1:], _between(logs, (x - x0) / dx))
    panels = Panels(panels.lo, panels.hi, panels.logs - math.log(panels.mass.sum()))
    return Density.resolved(panels, None, error=error, twin=twin, name="law of a chain with random times")


def _between(values, place):
    """The polynomial through the STENCIL nearest of the values at 0, 1, 2, ..., at places (...)."""
    first = np.floor(place).astype(int) - STENCIL // 2 + 1
    t = place - first
    total = np.zeros_like(place)
    for j in range(STENCIL):
        others = [i for i in range(STENCIL) if i != j]
        total += values[first + j] * np.prod([(t - i) / (j - i) for i in others], axis=0)
    return total
