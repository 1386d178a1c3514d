r"""The law of a noisy chain in the plane: q_{k+1}(x) = \int q_k(y) N(x; a_k(y), R_k I) dy, one uniform grid per step, no Monte Carlo.

As on the line (``line``): the trapezoidal sum turns q_k into a weighted cloud, its points move to a_k(y) and carry N(0, R_k I), and that cloud is
the next law, evaluated on the next grid by adding up discs (``deposit``). Terms are positive, so tails stay relatively accurate; discs are
small because light points have small ones. (A Fourier transform costs as much at these spacings, and loses the tails.)

Two runs at independent resolutions go in lockstep: the finer is the law, the coarser its twin. The spacings in x and in y are chosen from what
half and a quarter of the columns, rows and diagonals get wrong, extrapolated to all of them. Kernels contract TV: errors at most add up.
"""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..errors import NoMethod, NotTrusted
from ..laws import Empirical, Gaussian, GaussianMixture
from ..laws.lattice import CUT, Lattice, box, deposit, height
from ..laws.plane import Plane
from .chain import evolve
from .line import ROUNDING, WIDEST, judge

__all__ = ["propagate_plane"]

COARSE = 1.2  # spacing of the twin's grid over the law's
SAFETY = 5.0  # errors that go with the square of the spacing are 1 / (COARSE^2 - 1) = 2.3 times the difference of the two runs, give or take chance
GLANCE = 1e-20  # of the height: terms below it do not matter where errors are only estimated
SHIFT = 0.37  # of the twin's grid, in spacings
KINKED = 0.5  # spacing over the widest one at which refining for kinks stops: time goes with its inverse fourth power
REACH = 12.2  # standard deviations of a start that are looked at
LIMIT = 4_000_000  # grid points
WORK = 2e10  # terms of one step, about ten seconds


class Lost(NamedTuple):
    """Half-L1 errors of a trapezoidal sum over every second, and over every fourth, column (row, diagonal) of a grid."""

    half: float
    quarter: float


class Grid(NamedTuple):
    """A law on a uniform grid: spacing (2,), nodes (n, 2), weights (n,) (sum 1), their places modulo 4 (n, 2), the sum before scaling."""

    step: np.ndarray
    x: np.ndarray
    w: np.ndarray
    place: np.ndarray
    total: float


@dataclass(frozen=True, eq=False)
class Run:
    """One resolution of the law: points a (n, 2) with weights, each carrying N(0, var I); place: of node j on its grid modulo 4, if it had one."""

    a: np.ndarray
    w: np.ndarray
    var: float
    place: np.ndarray | None = None

    def density(self, step, shift, least=CUT, signs=None):
        """(x0, y0, densities (c, rows, columns), cut) on a grid of that spacing; signs (c, n) multiply the weights; least: of the height."""
        cut = least * height(self.a, self.w, self.var)
        x0, y0, nx, ny = box(self.a, self.w, self.var, step, cut, shift, LIMIT)
        work = len(self.w) * self.var / step.prod() * 2 * math.pi * math.log(1 / least)
        if work > WORK:
            raise NotTrusted(
                f"propagate: a step would add up {work:.1e} terms, at most {WORK:.0e} are allowed: its noise is too small, or its map too steep, for "
                "the width of the law; use smaller steps and stop earlier, raise tolerance=, or simulate(table, score, n=..., seed=...)"
            )
        signs = np.ones((1, len(self.w))) if signs is None else signs
        out = np.zeros((len(signs), ny, nx))
        deposit(self.a, self.w, signs, self.var, x0, y0, float(step[0]), float(step[1]), cut, out)
        return x0, y0, out, cut

    def grid(self, step, shift):
        """The law on a uniform grid."""
        x0, y0, (q,), cut = self.density(step, shift)
        return _collected(x0, y0, step, q, cut)

    def halves(self, step):
        """(Lost for the columns of the grid before, for its rows, and for either kind of diagonal), seen on a grid of that spacing.

        A thin ridge across the axes is summed well along both and badly along a diagonal: there its Fourier transform is long.
        """
        i, j = self.place.T.astype(np.int64)
        lines = (i, j, i + j, i - j)
        signs = np.stack([1.0 - 2.0 * (k & 1) for k in lines[:3]] + [4.0 * (k & 3 == 0) - 1.0 for k in lines])
        lost = 0.5 * step.prod() * np.abs(self.density(step, 0.0, GLANCE, signs)[2]).sum(axis=(1, 2))
        return [Lost(float(half), float(quarter)) for half, quarter in zip(lost[[0, 1, 2, 2]], lost[3:], strict=True)]


@dataclass(frozen=True, eq=False)
class Opening:
    """The start, a law with a density; ``lo``, ``hi``: the box that holds it."""

    law: Any
    lo: np.ndarray
    hi: np.ndarray

    def grid(self, step, shift):
        """The start on a uniform grid."""
        columns, rows = ((self.hi - self.lo) / step).astype(int) + 2
        _affordable(columns * rows)
        x0, y0 = self.lo - (1 - shift) * step
        x, y = x0 + step[0] * np.arange(columns), y0 + step[1] * np.arange(rows)
        q = np.exp(self.law.logpdf(np.stack(np.meshgrid(x, y), axis=-1)))
        return _collected(x0, y0, step, q, CUT * q.max())


def propagate_plane(table, score, start, *, tolerance=1e-8, keep="last"):
    r"""The law of the last state of the chain (keep="last"), or of all S+1 states (keep="all", the start itself first).

    table : Table whose noise enters no later score within its segment, with noise in its last row; score : s(t, x) on x (n, 2);
    start : Law of dimension 2 with a smooth density, or Empirical. Returns a Plane (and the start as it is).
    Raises NoMethod for other tables, NotTrusted if the measured TV error exceeds ``tolerance`` after refinement.
    """
    blocks = _blocks(table)
    _check(table, blocks, start, keep)
    scale = 1.0
    for _ in range(2):
        laws = _run(table, score, start, blocks, tolerance, scale, keep)
        worst = max(law.error for law in laws[1:])
        if worst <= tolerance:
            return laws if keep == "all" else laws[-1]
        if worst > 25 * tolerance:  # kinks, which would take a spacing too fine
            break
        scale = 0.45
    raise NotTrusted(
        f"propagate: two resolutions of {table.name or 'the chain'} differ by {worst:.1e} in total variation, asked for was "
        f"tolerance={tolerance:.1e}; a start or a score with kinks, jumps or rounding noise does this (a ReLU or float32 network); raise tolerance="
    )


def _blocks(table):
    """[(r0, r1, variance > 0)]: rows r0..r1-1 are a map of y_{r0} plus fresh noise."""
    name, blocks, begin = table.name or "the table", [], 0
    remedy = "use simulate(table, score, n=..., seed=...), or a scheme with one evaluation per noise (euler_maruyama, ancestral)"
    if table.target is not None:
        raise NoMethod("propagate: no law engine for Metropolis tests in the plane; use simulate(table, score, n=..., seed=...)")
    for r0, r1 in table.segments:
        kind = table.noise(r0, r1)
        if kind == "inside":
            raise NoMethod(f"propagate: noise enters a later score inside rows {r0}..{r1 - 1} of {name}, no law engine in the plane; {remedy}")
        if kind == "last":
            blocks.append((begin, r1, float(table.c[r1 - 1, 0]) ** 2))
            begin = r1
    if begin < table.rows:
        raise NoMethod(
            f"propagate: {name} ends without noise in rows {begin}..{table.rows - 1}, and no law engine in the plane follows a map without noise; "
            f"stop before those rows, or {remedy}"
        )
    return blocks


def _check(table, blocks, start, keep):
    ends = {r1 for _, r1, _ in blocks}
    if keep == "all" and not ends.issuperset(table.states.tolist()[1:]):
        raise NoMethod(
            f"marginals: some states of {table.name or 'the table'} carry no fresh noise, which no law engine follows in the plane; propagate gives "
            "the law of the last state"
        )
    if not isinstance(start, Empirical) and not hasattr(start, "logpdf"):
        raise NoMethod(f"propagate: no density for a start of type {type(start).__name__}, allowed are laws with logpdf, and Empirical")


def _run(table, score, start, blocks, tolerance, scale, keep):
    """The laws asked for, on grids whose widest spacing is multiplied by ``scale``."""
    wanted = set((table.states if keep == "all" else table.states[-1:]).tolist())
    noisy = [var for *_, var in blocks]
    # the twin is asked for more than the tolerance: for analytic scores that costs little
    wish, must = (max(x * scale**4, 1e-15) / len(noisy) for x in (1e-3 * tolerance, 0.1 * tolerance))
    laws, lost = [start], float(getattr(start, "error", 0.0)) + ROUNDING
    runs, grid, plan = _opened(start, noisy[0], scale)
    if grid is not None:
        lost += max(abs(1 - grid.total) - 1e-12, 0.0)
    for k, (r0, r1, var) in enumerate(blocks):
        widest = WIDEST * scale * math.sqrt(noisy[min(k + 1, len(noisy) - 1)])
        plan = np.minimum(plan, min(widest, 4 * math.sqrt(var)))
        if grid is None:
            a = _moved(table, score, r0, r1, start.points, start.weights)
            runs = (Run(a, start.weights.copy(), var),) * 2
            grid = runs[1].grid(0.7 * plan, SHIFT)
        else:
            runs, grid, plan = _step(table, score, runs, grid, (r0, r1, var), plan, wish, must, KINKED * widest)
        lost += max(abs(1 - grid.total) - 1e-12, 0.0)
        if r1 in wanted:
            laws.append(_law(runs, grid, lost))
    return laws


def _opened(start, var, scale):
    """(both resolutions of the start, the twin's grid, the spacing planned); no grid for point masses."""
    if isinstance(start, Empirical):
        return None, None, np.full(2, math.inf)
    if isinstance(start, Plane):
        runs = tuple(Run(*law.base.points, law.base.var) for law in (start, start.twin or start))
        smallest = math.sqrt(runs[1].var)
    else:
        lo, hi, smallest = extent(start)
        runs = (Opening(start, lo, hi),) * 2
    step = np.full(2, 0.5 * scale * min(smallest, math.sqrt(var)))
    return runs, runs[1].grid(step, SHIFT), step


def extent(law):
    """(lo (2,), hi (2,), the least standard deviation) of a law with a density."""
    if isinstance(law, (Gaussian, GaussianMixture)):
        parts = law if isinstance(law, GaussianMixture) else GaussianMixture([1.0], law.mean()[None], law.cov()[None])
        covs = np.stack([parts.component(k).cov() for k in np.flatnonzero(parts.weights)])
        centres = parts.means[parts.weights > 0]
    else:
        covs, centres = law.cov()[None], law.mean()[None]
    reach = REACH * np.sqrt(np.diagonal(covs, axis1=1, axis2=2))
    return (centres - reach).min(axis=0), (centres + reach).max(axis=0), math.sqrt(np.linalg.eigvalsh(covs).min())


def _step(table, score, runs, grid, block, plan, wish, must, finest):
    """(runs, twin's grid, spacing for the one after) one block further; ``grid`` is refined until what it loses is small enough."""
    for _ in range(8):
        new = _advance(table, score, runs[0], grid, *block)
        seen = new[1].halves(np.full(2, math.sqrt(block[2])))
        excess, ratio = np.array([judge(lost, 1.0, wish, must, min(1.0, finest / grid.step.min())) for lost in seen]).T  # in units of the step
        excess, better = np.maximum(excess[:2], excess[2:].max()), grid.step * np.minimum(ratio[:2], ratio[2:].min())
        if (excess <= 1.0).all():
            break
        grid = runs[1].grid(np.where(excess > 1.0, np.clip(better, 0.3 * grid.step, 0.9 * grid.step), grid.step), SHIFT)
    ahead = new[1].grid(np.minimum(plan, np.minimum(0.95 * better, 1.3 * grid.step)), SHIFT)
    return new, ahead, np.minimum(0.95 * better, 1.3 * grid.step)


def _advance(table, score, main, grid, r0, r1, var):
    """Both runs one block further; ``grid`` is the twin's."""
    fine = main.grid(grid.step / COARSE, 0.0)
    a = _moved(table, score, r0, r1, np.concatenate([fine.x, grid.x]), np.concatenate([fine.w, grid.w]))
    n = len(fine.x)
    return Run(np.ascontiguousarray(a[:n]), fine.w, var, fine.place), Run(np.ascontiguousarray(a[n:]), grid.w, var, grid.place)


def _moved(table, score, r0, r1, x, weights):
    """Images of x without noise. Where the law has no mass a score may fail (such nodes stay where they are); elsewhere NaN is refused."""
    y = evolve(table, score, r0, r1, x)[-1]
    bad = ~np.isfinite(y).all(axis=1)
    if bad.any():
        k = int(np.argmax(np.where(bad, weights, -1.0)))
        if weights[k] > 1e-20:
            raise ValueError(
                f"score: got {y[k]} in rows {r0}..{r1 - 1} from x = {x[k]}, where the law has weight {weights[k]:.1e}, allowed are finite values"
            )
        y[bad] = x[bad]
    return y


def _collected(x0, y0, step, q, cut):
    """The Grid of densities q (rows, columns) whose first node is (x0, y0)."""
    i, j = np.nonzero(q > cut)
    w = q[i, j] * step.prod()
    total = float(w.sum())
    x = np.stack([x0 + j * step[0], y0 + i * step[1]], axis=1)
    return Grid(step, x, w / total, np.stack([j & 3, i & 3], axis=1).astype(np.int8), total)


def _affordable(m):
    if m > LIMIT:
        raise NotTrusted(
            f"propagate: a grid of {m:.1e} points would be needed for the start, at most {LIMIT} are kept: the noise of the first step is too small "
            "for its width; use simulate(table, score, n=..., seed=...)"
        )


def _law(runs, grid, lost):
    """The Plane of both runs; error: their half-L1 distance on the twin's grid, beside what is known to be ``lost``."""
    main, twin = (Lattice.of(run.a, run.w, run.var) for run in runs)
    apart = 0.5 * float(np.abs(np.exp(main.log_density(grid.x)) * grid.step.prod() - grid.w).sum())
    error = SAFETY * apart + lost
    return Plane(main, error, Plane(twin, error))
