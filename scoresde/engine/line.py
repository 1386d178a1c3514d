r"""The law of a noisy chain on the line: q_{k+1}(x) = \int q_k(y) N(x; a_k(y), R_k) dy, one uniform grid per step, no Monte Carlo.

The trapezoidal sum turns q_k into a weighted cloud; its points move to a_k(y) and carry N(0, R_k): that cloud *is* the next law, evaluated
wherever the next grid wants it by a recurrence over Gaussian taps. Terms are positive, so tails stay relatively accurate.

Two runs at independent resolutions go in lockstep (the score is called once for both): the finer is the law, the coarser its twin.
Where a noise z enters a later score of its step, and fresh noise is left at the end, the cloud is that of all (y, z): a trapezoidal sum in z,
whose spacing comes from how far z moves a point over what the fresh noise bridges.

Grids are chosen from a measurement. The coarse cloud is split into its residue classes modulo 4: what half the nodes and a quarter of
the nodes get wrong is seen, and extrapolated to what all of them do. Markov kernels contract TV, so the steps' errors at most add up.
"""

import math
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np

from ..errors import NoMethod, NotTrusted
from ..laws import Empirical
from ..laws._resolve import resolved
from ..laws.cloud import Cloud
from ..laws.line import Line, Outer
from .chain import evolve
from .lagrange import push
from .taps import on_grid

__all__ = ["COARSE", "Spread", "blocks_of", "propagate_line", "subdivided"]

# reach of a tap in standard deviations \sqrt R of the noise. What is found at x came from R |(log q)'(x)| away, give or take 8 \sqrt R; at
# 12 standard deviations of a law that is itself nearly all fresh noise, 12 \sqrt R and next to nothing: never more than 14.2 in between
REACH, BAND = 8.2, 14.2
CUT = 1e-44  # nodes where the density is below this are dropped
COARSE = 1.37  # spacing of the twin's grid over the law's
WIDEST = 0.7  # spacing of the twin's grid over the standard deviation of the noise, at most
LIMIT = 1_000_000  # grid points
KINKED = 0.25  # spacing over the widest one at which refining for kinks stops
ROUNDING = 2e-15  # TV that rounding may cost beyond what the two runs show
FAR = 12.0  # standard deviations to which an inner noise is followed
BRIDGED, FINEST = 0.55, 0.25  # spacing of an inner noise: of its image over the fresh noise, and its own, at most
POINTS = 6_000_000  # of a cloud with an inner noise


@dataclass(frozen=True, eq=False)
class Run:
    """One resolution of the law: a_j with weights w_j, each carrying N(0, var). cls: place of node j on its grid modulo 4, if it had one;
    steep: greatest |(log q)'| of the law before; rows: how many values of an inner noise, each with all nodes in turn."""

    a: np.ndarray
    w: np.ndarray
    var: float
    cls: np.ndarray | None = None
    steep: float = math.inf
    rows: int = 1


class Block(NamedTuple):
    """Rows r0..r1-1: a map of y_{r0} and of the noise of the row ``inner`` (None: of y alone), plus fresh noise of variance ``var`` (0: none)."""

    r0: int
    r1: int
    var: float
    inner: int | None = None


class Grid(NamedTuple):
    """A law on a uniform grid: nodes, weights (sum 1), their places modulo 4; half-L1 of every second node alone, and of every fourth,
    against all; the sum before scaling; the steepest |(log q)'|."""

    dx: float
    x: np.ndarray
    w: np.ndarray
    cls: np.ndarray
    half: float
    quarter: float
    total: float
    steep: float


def propagate_line(table, score, start, *, tolerance=1e-8, keep="last"):
    r"""The law of the last state of the chain (keep="last"), or of all S+1 states (keep="all", the start itself first).

    table : Table whose noise enters no later score within its segment; score : s(t, x) on x (n, 1); start : Law of dimension 1.
    Returns a Line (a Gaussian-smoothed cloud, or the image of one where the chain ends without noise); point masses without noise stay
    Empirical. Raises NoMethod for other tables, NotTrusted if the measured TV error exceeds ``tolerance`` after refinement.
    """
    blocks = blocks_of(table)
    scale = 1.0
    for _ in range(3):
        laws = _run(table, score, start, blocks, tolerance, scale, keep)
        worst = max(law.error for law in laws[1:])
        if worst <= tolerance:
            return laws if keep == "all" else laws[-1]
        if blocks[0].var == 0:
            break
        # with kinks the error goes with the square of the spacing, and the time with its inverse square
        scale *= min(max(0.8 * math.sqrt(tolerance / worst), 0.2), 0.6)
    raise NotTrusted(
        f"propagate: two resolutions of {table.name or 'the chain'} differ by {worst:.1e} in total variation, asked for was "
        f"tolerance={tolerance:.1e}; a score with kinks, jumps or rounding noise does this (a ReLU or float32 network); raise tolerance="
    )


def blocks_of(table):
    """[Block]: maps plus fresh noise; variance 0 for the rows that end the chain without noise."""
    blocks, begin = [], 0
    if getattr(table, "target", None) is not None:
        raise NoMethod("propagate: no law engine for Metropolis tests; use simulate(table, score, n=..., seed=...)")
    for r0, r1 in table.segments:
        kind = table.noise(r0, r1)
        if kind == "none":
            continue
        inside = [] if kind == "last" else [r for r in range(r0, r1 - 1) if table.drawn[r]]
        if len(inside) > 1 or not table.c[r1 - 1, 0]:
            how = "more than one of them" if len(inside) > 1 else "and no fresh noise is left at their end"
            raise NoMethod(
                f"propagate: noise enters a later score inside rows {r0}..{r1 - 1} of {table.name or 'the table'}, {how}, where no law engine is "
                "exact unless the target is Gaussian; use simulate(table, score, n=..., seed=...), or a scheme with one evaluation per noise or with "
                "fresh noise at the end (euler_maruyama, ancestral, flow_heun, midpoint, dpm_solver_pp_sde)"
            )
        blocks.append(Block(begin, r1, float(table.c[r1 - 1, 0]) ** 2, *inside))
        begin = r1
    if begin < table.rows:
        blocks.append(Block(begin, table.rows, 0.0))
    return blocks


def _run(table, score, start, blocks, tolerance, scale, keep):
    """The laws asked for, on grids whose widest spacing is multiplied by ``scale``."""
    wanted = set((table.states if keep == "all" else table.states[-1:]).tolist())
    inner = [[r for r in range(b.r0 + 1, b.r1 + (b.var == 0)) if r in wanted] for b in blocks] + [[]]
    noisy = [b.var for b in blocks if b.var > 0]
    if any(b.inner is not None and rows for b, rows in zip(blocks, inner, strict=False)):
        raise NoMethod("marginals: the table has a state inside a step, whose noise is still to be used; propagate gives the law of the last state")
    # the twin is asked for far more than the tolerance, because for analytic scores that costs little
    wish, must = (max(x * scale**4, 1e-15) / max(len(noisy), 1) for x in (1e-4 * tolerance, 0.2 * tolerance))
    laws, law, lost = {0: start}, start, float(getattr(start, "error", 0.0)) + ROUNDING
    runs, grid = None, None
    if isinstance(start, Line) and start.flow is None and noisy:
        runs = tuple(Run(law.base.nodes.copy(), law.base.weights.copy(), law.base.var) for law in (start, start.twin or start))
        grid = _deposit(runs[1], 0.5 * scale * math.sqrt(min(runs[1].var, noisy[0])), 0.37)
    plan = math.inf
    for k, block in enumerate(blocks):
        if inner[k]:
            laws.update(zip(inner[k], push(table, score, law, block.r0, inner[k], tolerance), strict=True))
        if block.var == 0:
            break
        # the next grid is for the next noise; nodes further apart than a few \sqrt var would not see this one's
        widest = WIDEST * scale * math.sqrt(noisy[min(k + 1, len(noisy) - 1)])
        plan = min(plan, widest, 4 * math.sqrt(block.var))
        if runs is None:
            runs = _first(table, score, start, block, scale)
            grid = _deposit(runs[1], 0.7 * plan, 0.37)
        else:
            runs, grid, plan = _step(table, score, runs, grid, block, plan, wish, must, KINKED * widest, scale)
        lost += max(abs(1 - grid.total) - 1e-13, 0.0)
        if block.r1 in wanted or inner[k + 1]:
            law = _law(runs, grid, lost)
            if block.r1 in wanted:
                laws[block.r1] = law
    return [laws[r] for r in sorted(laws)]


def _step(table, score, runs, grid, block, plan, wish, must, finest, scale):
    """(runs, twin's grid, spacing for the one after) one block further; ``grid`` is refined until what it loses is small enough."""
    for _ in range(8):
        new = _advance(table, score, runs[0], grid, block, scale)
        ahead = _deposit(new[1], min(plan, 1.3 * grid.dx), 0.37)
        excess, better = judge(ahead, grid.dx, wish, must, finest, partial(_torn, new[1]))
        if excess <= 1.0:
            break
        grid = _deposit(runs[1], max(min(better, 0.9 * grid.dx), 0.3 * grid.dx), 0.37)
    return new, ahead, min(0.95 * better, 1.3 * grid.dx)


def _first(table, score, start, block, scale):
    """Both runs after the first noisy block: atoms move as they are, any other law through panels of Gauss nodes."""
    spread = Spread(table, score, block, scale)
    if isinstance(start, Empirical):
        x, w = start.points[:, 0], start.weights.copy()
        return tuple(spread.runs([(x, w, None, math.inf)] * 2)) if block.inner is not None else tuple(spread.runs([(x, w, None, math.inf)])) * 2
    nodes, law, root = [], Outer(start), math.sqrt(block.var)
    for length in (2.0 * scale * root, 2.0 * scale * COARSE * root):
        move = lambda x: _moved(table, score, block, x, [np.exp(law.log_density(x))])  # noqa: E731
        x, w, _ = resolved(move, subdivided(law.panels, length), 1.3 * length)
        w = w * np.exp(law.log_density(x))
        nodes.append((x[w > CUT], w[w > CUT], None, math.inf))
    return tuple(spread.runs(nodes))


class Spread(NamedTuple):
    """How weighted points become the cloud after a block: through its map, for each value of its inner noise."""

    table: object
    score: object
    block: Block
    scale: float

    def runs(self, parts):
        """A Run for each of the (x, w, cls, steep): the law's nodes first, then its twin's. The score is called once for all."""
        if self.block.inner is None:
            a = _moved(self.table, self.score, self.block, np.concatenate([part[0] for part in parts]), [part[1] for part in parts])
            ends = np.cumsum([len(part[0]) for part in parts])
            return [Run(a[j - len(w) : j], w, self.block.var, cls, steep) for j, (_, w, cls, steep) in zip(ends, parts, strict=True)]
        gap = self.spacing(*parts[0][:2])
        values = [_normal_nodes(gap, COARSE**k) for k in range(len(parts))]
        pairs = list(zip(parts, values, strict=True))
        x = np.concatenate([np.tile(x, len(v)) for (x, *_), (v, _) in pairs])
        w = np.concatenate([np.outer(u, w).ravel() for (_, w, *_), (_, u) in pairs])
        z = np.concatenate([np.repeat(v, len(x)) for (x, *_), (v, _) in pairs])
        if len(x) > POINTS:
            raise NotTrusted(
                f"propagate: a cloud of {len(x):.1e} points would be needed, at most {POINTS} are kept: a step's noise moves its own end too far; "
                "use smaller steps, or simulate(table, score, n=..., seed=...)"
            )
        a = _moved(self.table, self.score, self.block, x, [w], z)
        out, i = [], 0
        for (x, _, cls, steep), (v, _) in pairs:
            j = i + len(x) * len(v)
            out.append(Run(a[i:j], w[i:j], self.block.var, None if cls is None else np.tile(cls, len(v)), steep, len(v)))
            i = j
        return out

    def spacing(self, x, w):
        """Of the inner noise: so that the images of neighbours are as far apart as the fresh noise bridges."""
        z = np.linspace(-5.0, 5.0, 41)
        a = _moved(self.table, self.score, self.block, np.tile(x, len(z)), [w] * len(z), np.repeat(z, len(x))).reshape(len(z), -1)
        seen = np.outer(np.exp(-0.5 * z[1:] ** 2), w / w.max()) > 1e-10
        steep = float(np.abs(np.diff(a, axis=0))[seen].max()) / (z[1] - z[0])
        return self.scale * min(FINEST, BRIDGED * math.sqrt(self.block.var) / max(steep, 1e-300))


def _normal_nodes(gap, coarser):
    """(nodes, weights) of N(0, 1), a trapezoidal sum of spacing gap * coarser."""
    half = math.ceil(FAR / (gap * coarser))
    z = gap * coarser * np.arange(-half, half + 1)
    w = np.exp(-0.5 * z * z)
    return z, w / w.sum()


def subdivided(edges, longest):
    """``edges`` with every gap cut into equal pieces of at most ``longest``."""
    count = np.maximum(1, np.ceil(np.diff(edges) / longest)).astype(int)
    _affordable(count.sum() * 16)
    pieces = [np.linspace(a, b, n, endpoint=False) for a, b, n in zip(edges[:-1], edges[1:], count, strict=True)]
    return np.append(np.concatenate(pieces), edges[-1])


def _moved(table, score, block, x, weights, z=None):
    """Images of x under the block's map, with its inner noise z (None: 0) and without the fresh one; ``weights``: arrays that make up x's.

    Where the law has no mass a score may fail (such nodes stay where they are); elsewhere NaN is refused.
    """
    y = evolve(table, score, block.r0, block.r1, x, None if block.inner is None or z is None else {block.inner: z})[-1]
    fine = np.isfinite(y)
    if not fine.all():
        bad, density = ~fine, np.concatenate(weights)
        k = int(np.argmax(np.where(bad, density, -1.0)))
        if density[k] > 1e-20:
            raise ValueError(
                f"score: got {y[k]} in rows {block.r0}..{block.r1 - 1} from x = {x[k]:.6g}, where the law has weight {density[k]:.1e}, allowed are "
                "finite values"
            )
        y[bad] = x[bad]
    return y


def _advance(table, score, main, grid, block, scale):
    """Both runs one block further; ``grid`` is the twin's."""
    fine = _deposit(main, grid.dx / COARSE, 0.0)
    return tuple(Spread(table, score, block, scale).runs([(g.x, g.w, g.cls, grid.steep) for g in (fine, grid)]))


def _deposit(run, dx, shift):
    """The law of a run on a uniform grid of spacing dx, staggered by ``shift`` of it."""
    root = math.sqrt(run.var)
    reach = int(min(REACH + run.steep * root, BAND) * root / dx) + 1
    cls = run.cls if run.cls is not None else np.zeros(len(run.a), dtype=np.int64)
    m, found = on_grid(run.a, run.w, cls, run.var, dx, shift, reach, CUT, LIMIT)
    _affordable(m)
    return Grid(dx, *found)


def _affordable(m):
    if m > LIMIT:
        raise NotTrusted(
            f"propagate: a grid of {m:.1e} points would be needed, at most {LIMIT} are kept: the noise of a step is too small, or its map too "
            "steep, for the width of the law; use smaller steps, set negligible noise to zero, or simulate(table, score, n=..., seed=...)"
        )


def judge(grid, dx, wish, must, finest, torn=lambda: False):
    r"""(predicted error of the grid before, of spacing dx, over what is allowed; the spacing that would meet it).

    finest: the least spacing worth having, unless torn(), which is asked where kinks are seen.

    With every second node the sum at spacing 2 dx is off by ``half``, with every fourth by ``quarter``. A trapezoidal sum of an analytic
    function is off by C e^{-\lambda / dx}: those two give C and \lambda. Of one with kinks it is off by C dx^p.
    """
    half, quarter = max(grid.half, 1e-16), grid.quarter
    if quarter < 1e-14:
        return 0.0, 1.5 * dx
    if half > 0.3 * quarter and quarter > 0.01:
        return math.inf, 0.5 * dx  # not resolved at all
    rate = quarter / min(half, 0.9 * quarter)
    if rate < 10:  # algebraic: kinks or rounding noise in the score
        error, finest = half / rate, 0.0 if torn() else finest
        return (error / must if dx > finest else 0.0), max(dx * (must / error) ** (math.log(2) / math.log(rate)), finest)
    error = half / rate**2
    return 0.1 * error / wish, 4 * dx * math.log(rate) / (2 * math.log(quarter) - math.log(half) - math.log(wish))


def _torn(run):
    """Do neighbouring nodes move further apart than their noise bridges? Then a finer grid helps, however slowly the error falls."""
    a, seen = run.a.reshape(run.rows, -1), run.w.reshape(run.rows, -1) > 1e-12
    return bool((np.abs(np.diff(a, axis=1))[seen[:, 1:] & seen[:, :-1]] > math.sqrt(run.var)).any())


def _law(runs, grid, lost):
    """The Line of both runs; error: their half-L1 distance on the twin's grid, beside what is known to be ``lost``."""
    main, twin = (Cloud.of(run.a, run.w, run.var) for run in runs)
    apart = 0.5 * float(np.abs(np.exp(main.log_density(grid.x)) * grid.dx - grid.w).sum())
    return Line(main, None, apart + lost, Line(twin, None, apart + lost))
