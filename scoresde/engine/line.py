r"""The law of a noisy chain on the line: q_{k+1}(x) = \int q_k(y) N(x; a_k(y), R_k) dy, one uniform grid per step, no Monte Carlo.

The trapezoidal sum turns q_k into a weighted cloud; its points move to a_k(y) and carry N(0, R_k): that cloud *is* the next law, evaluated
wherever the next grid wants it by a recurrence over Gaussian taps. Terms are positive, so tails stay relatively accurate.

Two runs at independent resolutions go in lockstep (the score is called once for both): the finer is the law, the coarser its twin.
Grids are chosen from a measurement. The coarse cloud is split into its residue classes modulo 4: what half the nodes and a quarter of
the nodes get wrong is seen, and extrapolated to what all of them do. Markov kernels contract TV, so the steps' errors at most add up.
"""

import math
from dataclasses import dataclass

import numpy as np
from numba import njit

from ..errors import NoMethod, NotTrusted
from ..laws import Empirical
from ..laws.cloud import FLAGS, Cloud, fast_exp
from ..laws.line import Line, Outer, gauss_legendre
from .chain import evolve
from .lagrange import push

__all__ = ["propagate_line"]

# reach of a tap in standard deviations \sqrt R of the noise. What is found at x came from R |(log q)'(x)| away, give or take 8 \sqrt R; at
# 12 standard deviations of a law that is itself nearly all fresh noise, 12 \sqrt R and next to nothing: never more than 14.2 in between
REACH, BAND = 8.2, 14.2
CUT = 1e-44  # nodes where the density is below this are dropped
COARSE = 1.37  # spacing of the twin's grid over the law's
WIDEST = 0.7  # spacing of the twin's grid over the standard deviation of the noise, at most
LIMIT = 1_000_000  # grid points
KINKED = 0.25  # spacing over the widest one at which refining for kinks stops
ROUNDING = 2e-15  # TV that rounding may cost beyond what the two runs show


def taps_py(first, ratio, start, cls, table, out):
    """out[cls_j, start_j + l] += first_j ratio_j^l table_l: a row of taps by recurrence, eight at a time."""
    for j in range(first.size):
        row = out[cls[j]]
        r = ratio[j]
        r2 = r * r
        r4 = r2 * r2
        r8 = r4 * r4
        p0 = first[j]
        p1, p2 = p0 * r, p0 * r2
        p3, p4 = p1 * r2, p0 * r4
        p5, p6, p7 = p1 * r4, p2 * r4, p3 * r4
        i = start[j]
        for block in range(table.size // 8):  # loads before stores, so that the eight become one vector
            b = 8 * block
            t0 = row[i] + p0 * table[b]
            t1 = row[i + 1] + p1 * table[b + 1]
            t2 = row[i + 2] + p2 * table[b + 2]
            t3 = row[i + 3] + p3 * table[b + 3]
            t4 = row[i + 4] + p4 * table[b + 4]
            t5 = row[i + 5] + p5 * table[b + 5]
            t6 = row[i + 6] + p6 * table[b + 6]
            t7 = row[i + 7] + p7 * table[b + 7]
            row[i] = t0
            row[i + 1] = t1
            row[i + 2] = t2
            row[i + 3] = t3
            row[i + 4] = t4
            row[i + 5] = t5
            row[i + 6] = t6
            row[i + 7] = t7
            p0 *= r8
            p1 *= r8
            p2 *= r8
            p3 *= r8
            p4 *= r8
            p5 *= r8
            p6 *= r8
            p7 *= r8
            i += 8


taps = njit(taps_py, error_model="numpy", fastmath=FLAGS)


def deposit_py(a, w, cls, var, dx, x0, reach, out):
    """out[cls_j, i] += w_j N(x_i; a_j, var) on x_i = x0 + i dx, ``reach`` nodes to either side; nodes that do not fit are left out."""
    m, n = out.shape[1], a.size
    table = np.empty((2 * reach + 8) // 8 * 8)
    norm = 1 / math.sqrt(2 * math.pi * var)
    c, g, inv = -0.5 / var, dx / var, 1 / dx
    for l in range(table.size):
        d = (l - reach) * dx
        table[l] = norm * fast_exp(c * d * d)
    first, ratio, start = np.empty(n), np.empty(n), np.empty(n, dtype=np.int64)
    for j in range(n):
        t = (a[j] - x0) * inv
        k = np.rint(t)
        d = (t - k) * dx
        first[j] = w[j] * fast_exp(c * d * d - reach * g * d)
        ratio[j] = fast_exp(g * d)
        if k < reach or k - reach + table.size > m:
            k, first[j] = reach, 0.0
        start[j] = np.int64(k) - reach
    taps(first, ratio, start, cls, table, out)


deposit = njit(deposit_py, error_model="numpy", fastmath=FLAGS, cache=True)


def collect_py(out, x0, dx, cut):
    """Nodes where the summed rows exceed ``cut``, their weights (scaled to sum 1) and classes; half-L1 of half the nodes, and of a quarter
    of them, against all; the sum before scaling; the steepest |(log q)'|."""
    m = out.shape[1]
    x, w, cls = np.empty(m), np.empty(m), np.empty(m, dtype=np.int64)
    n, half, quarter, total = 0, 0.0, 0.0, 0.0
    before, jump = 0.0, 1.0
    for i in range(m):
        even, odd = out[0, i] + out[2, i], out[1, i] + out[3, i]
        q = even + odd
        half += abs(even - odd)
        quarter += abs(4 * out[0, i] - q)
        total += q
        if q > 1e-34 and before > 1e-34:
            jump = max(jump, q / before, before / q)
        before = q
        if q > cut:
            x[n], w[n], cls[n] = x0 + i * dx, q * dx, i & 3
            n += 1
    total *= dx
    for i in range(n):  # so that rounding does not drift over thousands of steps
        w[i] /= total
    return x[:n], w[:n], cls[:n], 0.5 * dx * half, 0.5 * dx * quarter, total, math.log(jump) / dx


collect = njit(collect_py, error_model="numpy", fastmath=FLAGS, cache=True)


@dataclass(frozen=True, eq=False)
class Run:
    """One resolution of the law: a_j with weights w_j, each carrying N(0, var). cls: place of node j on its grid modulo 4, if it had one;
    steep: greatest |(log q)'| of the law before."""

    a: np.ndarray
    w: np.ndarray
    var: float
    cls: np.ndarray | None = None
    steep: float = math.inf


def propagate_line(table, score, start, *, tolerance=1e-8, keep="last"):
    r"""The law of the last state of the chain (keep="last"), or of all S+1 states (keep="all", the start itself first).

    table : Table whose noise enters no later score within its segment; score : s(t, x) on x (n, 1); start : Law of dimension 1.
    Returns a Line (a Gaussian-smoothed cloud, or the image of one where the chain ends without noise); point masses without noise stay
    Empirical. Raises NoMethod for other tables, NotTrusted if the measured TV error exceeds ``tolerance`` after refinement.
    """
    blocks = _blocks(table)
    scale = 1.0
    for _ in range(2):
        laws = _run(table, score, start, blocks, tolerance, scale, keep)
        worst = max(law.error for law in laws[1:])
        if worst <= tolerance:
            return laws if keep == "all" else laws[-1]
        if blocks[0][2] == 0:
            break
        scale = min(max(0.8 * math.sqrt(tolerance / worst), 0.15), 0.6)  # kinks: the error goes with the square of the spacing
    raise NotTrusted(
        f"propagate: two resolutions of {table.name or 'the chain'} differ by {worst:.1e} in total variation, asked for was tolerance={tolerance:.1e}; "
        "a score with kinks, jumps or rounding noise does this (a ReLU or float32 network); raise tolerance="
    )


def _blocks(table):
    """[(r0, r1, variance)]: rows r0..r1-1 are a map of y_{r0} plus fresh noise; variance 0 for the rows that end the chain without noise."""
    blocks, begin = [], 0
    if getattr(table, "target", None) is not None:
        raise NoMethod("propagate: no law engine for Metropolis tests; use simulate(table, score, n=..., seed=...)")
    for r0, r1 in table.segments:
        kind = table.noise(r0, r1)
        if kind == "inside":
            raise NoMethod(
                f"propagate: noise enters a later score inside rows {r0}..{r1 - 1} of {table.name or 'the table'}, and no law engine is exact "
                "there unless the target is Gaussian; use simulate(table, score, n=..., seed=...), or a scheme with one evaluation per noise "
                "(euler_maruyama, ancestral, flow_heun)"
            )
        if kind == "last":
            blocks.append((begin, r1, float(table.c[r1 - 1, 0]) ** 2))
            begin = r1
    if begin < table.rows:
        blocks.append((begin, table.rows, 0.0))
    return blocks


def _run(table, score, start, blocks, tolerance, scale, keep):
    wanted = set((table.states if keep == "all" else table.states[-1:]).tolist())
    inner = [[r for r in range(r0 + 1, r1 + (var == 0)) if r in wanted] for r0, r1, var in blocks] + [[]]
    noisy = sum(var > 0 for *_, var in blocks)
    # the twin is asked for far more than the tolerance, because for analytic scores that costs little
    wish, must = (max(x * scale**4, 1e-15) / max(noisy, 1) for x in (1e-4 * tolerance, 0.2 * tolerance))
    laws, law, runs, grid, dx, plan, lost = {0: start}, start, None, None, None, None, 0.0
    if isinstance(start, Line) and start.flow is None and blocks[0][2]:
        clouds = (start.base, start.base if start.twin is None else start.twin.base)
        runs = tuple(Run(c.nodes, c.weights, c.var) for c in clouds)
        dx = plan = 0.7 * WIDEST * scale * math.sqrt(min(clouds[0].var, blocks[0][2]))
        grid = _deposit(runs[1], dx, 0.37)
    for k, (r0, r1, var) in enumerate(blocks):
        if inner[k]:
            laws.update(zip(inner[k], push(table, score, law, r0, inner[k], tolerance), strict=True))
        if var == 0:
            break
        ahead = WIDEST * scale * math.sqrt(blocks[k + 1][2] if k + 1 < noisy else var)
        if runs is None:
            new, dx = _first(table, score, start, r0, r1, var, scale), 0.7 * ahead
            plan = dx
            spread = _deposit(new[1], dx, 0.37)
        else:
            plan = min(plan, ahead)
            for _ in range(8):
                new = _advance(table, score, runs[0], grid, dx, r0, r1, var)
                spread = _deposit(new[1], plan, 0.37)
                excess, better = _judge(spread, dx, wish, must, KINKED * ahead)
                if excess <= 1.0:
                    break
                dx = max(min(better, 0.9 * dx), 0.3 * dx)
                plan = min(plan, dx)
                grid = _deposit(runs[1], dx, 0.37)
            dx, plan = plan, min(0.95 * better, 1.3 * dx)
        runs, grid, lost = new, spread, lost + max(abs(1 - spread[5]) - 1e-13, 0.0)
        if r1 in wanted or inner[k + 1]:
            law = _law(runs, grid, dx, float(getattr(start, "error", 0.0)) + lost + ROUNDING)
            if r1 in wanted:
                laws[r1] = law
    return [laws[r] for r in sorted(laws)]


def _first(table, score, start, r0, r1, var, scale):
    """Both runs after the first noisy block: atoms move as they are, any other law through panels of Gauss nodes."""
    if isinstance(start, Empirical):
        a = _moved(table, score, r0, r1, start.points[:, 0], start.weights)
        return (Run(a, start.weights, var),) * 2
    runs = []
    panels = Outer(start).panels()
    for length in (2.0 * scale, 2.0 * scale * COARSE):
        edges = panels
        cut = _subdivided(edges, length * math.sqrt(var))
        for _ in range(12):  # panels whose image is long against the noise are halved
            x, w = gauss_legendre(cut)
            w = w * np.exp(Outer(start).log_density(x))
            a = _moved(table, score, r0, r1, x, w)
            long = np.ptp(a.reshape(-1, 16), axis=1) > 1.3 * length * math.sqrt(var)
            if not long.any():
                break
            cut = np.sort(np.append(cut, 0.5 * (cut[:-1] + cut[1:])[long]))
        keep = w > CUT
        runs.append(Run(a[keep], w[keep], var))
    return tuple(runs)


def _subdivided(edges, longest):
    """``edges`` with every gap cut into equal pieces of at most ``longest``."""
    count = np.maximum(1, np.ceil(np.diff(edges) / longest)).astype(int)
    _affordable(count.sum() * 16)
    pieces = [np.linspace(a, b, n, endpoint=False) for a, b, n in zip(edges[:-1], edges[1:], count, strict=True)]
    return np.append(np.concatenate(pieces), edges[-1])


def _moved(table, score, r0, r1, x, density):
    """Images of x without noise. Where the law has no mass a score may fail; elsewhere NaN is refused."""
    y = evolve(table, score, r0, r1, x)[-1]
    if not math.isfinite(y.sum()):
        bad = ~np.isfinite(y)
        k = int(np.argmax(np.where(bad, density, -1.0)))
        if density[k] > 1e-20:
            raise ValueError(f"score: got {y[k]} in rows {r0}..{r1 - 1} at x = {x[k]:.6g}, where the law has density {density[k]:.1e}, allowed are finite values")
        density[bad] = 0.0
        y[bad] = x[bad]
    return y


def _advance(table, score, main, grid, dx, r0, r1, var):
    """Both runs one block further; ``grid`` is the twin's, already deposited with spacing dx."""
    x1, w1, cls1 = _deposit(main, dx / COARSE, 0.0)[:3]
    x2, w2, cls2 = grid[:3]
    w = np.concatenate([w1, w2])
    a = _moved(table, score, r0, r1, np.concatenate([x1, x2]), w)
    n = len(x1)
    return Run(a[:n], w[:n], var, cls1, grid[6]), Run(a[n:], w[n:], var, cls2, grid[6])


def _deposit(run, dx, shift):
    """The law of a run on a uniform grid of spacing dx, staggered by ``shift`` of it: what ``collect`` returns."""
    root = math.sqrt(run.var)
    reach = int(min(REACH + run.steep * root, BAND) * root / dx) + 1
    lo, hi = run.a.min(), run.a.max()
    m = (hi - lo) / dx + 2 * reach + 12
    if m > LIMIT:
        inside = run.a[run.w > 1e-24]
        lo, hi = inside.min(), inside.max()
        m = (hi - lo) / dx + 2 * reach + 12
        _affordable(m)
    x0 = lo - (reach + 1 - shift) * dx
    out = np.zeros((4, int(m)))
    cls = run.cls if run.cls is not None else np.zeros(len(run.a), dtype=np.int64)
    deposit(run.a, run.w, cls, run.var, dx, x0, reach, out)
    return collect(out, x0, dx, CUT)


def _affordable(m):
    if m > LIMIT:
        raise NotTrusted(
            f"propagate: a grid of {m:.1e} points would be needed, at most {LIMIT} are kept: the noise of a step is too small, or its map too "
            "steep, for the width of the law; use smaller steps, set negligible noise to zero, or simulate(table, score, n=..., seed=...)"
        )


def _judge(spread, dx, wish, must, finest):
    """(predicted error over what is allowed, spacing that would meet it), from what half and a quarter of the nodes get wrong."""
    half, quarter = max(spread[3], 1e-16), spread[4]
    if quarter < 1e-14:
        return 0.0, 1.5 * dx
    if half > 0.3 * quarter and quarter > 0.01:
        return math.inf, 0.5 * dx  # not resolved at all
    rate = quarter / min(half, 0.9 * quarter)
    if rate < 10:  # algebraic: kinks or rounding noise in the score; an exponential promise would be vain
        error = half / rate
        return (error / must if dx > finest else 0.0), max(dx * (must / error) ** (math.log(2) / math.log(rate)), finest)
    error = half / rate**2
    return 0.1 * error / wish, 4 * dx * math.log(rate) / (2 * math.log(quarter) - math.log(half) - math.log(wish))


def _law(runs, grid, dx, lost):
    """The Line of both runs; error: their half-L1 distance on the twin's grid, beside what is known to be ``lost``."""
    main, twin = (Cloud.of(run.a, run.w, run.var) for run in runs)
    x, w = grid[:2]
    apart = 0.5 * float(np.abs(np.exp(main.log_density(x)) * dx - w).sum())
    error = apart + lost
    return Line(main, None, error, Line(twin, None, error))
