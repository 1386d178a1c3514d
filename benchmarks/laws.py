"""The law engine on the line and the command's first row, against their budgets, beside a dense transfer matrix.

    python -m benchmarks.laws [--quick] [--json FILE] [--figure FILE.png]

The law of Euler-Maruyama from T = 6 on a mixture of three Gaussians, with its total variation error and the twin that gives it, on one core; memory;
a sweep of 1000 cells (T, h, M) on two processes; what a user waits for first, nothing compiled. Exit status 1 if a budget is exceeded.
"""

import argparse
import math
import os
import subprocess
import sys
import tempfile
import time
import tracemalloc

import numpy as np

import scoresde as sd

from .timing import BLUE, GREY, INK, ORANGE, best, paint, processor, seconds, slope, versions, write

__all__ = ["cell", "dense", "main"]

GM3 = sd.targets.gm3
NARROW = sd.GaussianMixture(GM3.weights, GM3.means, 0.02**2)
CELLS = {"T": np.linspace(1.0, 10.0, 10), "h": np.geomspace(0.01, 0.2, 10), "M": np.linspace(0.0, 0.5, 10)}


def uniform(steps):
    return sd.scheme.euler_maruyama(sd.grid.uniform(6.0, steps))


def law(steps, target=GM3, table=None):
    return sd.propagate(uniform(steps) if table is None else table, sd.score.exact(target))


def dense(steps, spacing, reach=9.0):
    """(nodes, density) of the same chain as anyone would write it: q' = K q on one grid, K_ij = N(x_i; a_k(x_j), R) dx, a new matrix every step."""
    table, score = uniform(steps), sd.score.exact(GM3)
    x = np.linspace(-reach, reach, 2 * math.ceil(reach / spacing) + 1)
    dx = x[1] - x[0]
    q = np.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)
    for r in range(steps):
        root = table.c[r, 0]
        a = table.a[r, 0] * x + table.b[r, 0] * score(float(table.score_times[r]), x[:, None])[:, 0]
        q = np.exp(-0.5 * ((x[:, None] - a) / root) ** 2) @ q * (dx / (root * math.sqrt(2 * math.pi)))
    return x, q


def cell(T, h, M):
    """TV between the target and the law of the chain whose score is off by M."""
    table = sd.scheme.euler_maruyama(sd.grid.uniform(T, h=h))
    return sd.total_variation(sd.propagate(table, sd.score.perturbed(sd.score.exact(GM3), M)), GM3)


def swept(cells):
    """Seconds that a sweep of the axes takes on two processes, their start included."""
    with tempfile.TemporaryDirectory() as folder:
        return seconds(lambda: sd.sweep(cell, store=os.path.join(folder, "kept"), workers=2, **cells))


def memory(steps):
    """(MB that numpy holds at the worst moment of a run, grid points of its law)."""
    tracemalloc.start()
    made = law(steps)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 1e6, len(made.base.nodes)


def command(*words):
    return [sys.executable, "-c", "from scoresde.cli import main; raise SystemExit(main())", *words]


def first_row():
    """Seconds until ``scoresde verify`` has printed the row of a theorem, with an empty cache of compiled code."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        environment = {**os.environ, "NUMBA_CACHE_DIR": folder, "PYTHONUNBUFFERED": "1"}
        with subprocess.Popen(command("verify"), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment) as process:
            next(line for line in process.stdout if "verified" in line)
            took = time.perf_counter() - began
            process.kill()
    return took


def rows(quick):
    """(what, got, allowed, unit) of each budget."""
    runs, table = 3 if quick else 9, sd.scheme.euler_maruyama(sd.grid.geometric(6.0, 480, stop=1e-4))
    yield "480 steps, error below 1e-12, with the twin", best(lambda: law(480), runs) * 1e3, 70.0, "ms"
    yield "error that it vouches for", law(480).error, 1e-12, "TV"
    if not quick:
        yield "10 000 steps", best(lambda: law(10_000), 2) * 1e3, 2500.0, "ms"
    yield "480 geometric steps to 1e-4, components of sd .02", best(lambda: law(480, NARROW, table), runs) * 1e3, 100.0, "ms"
    yield "error that it vouches for, geometric steps", law(480, NARROW, table).error, 1e-12, "TV"
    (less, _), (more, nodes) = memory(480), memory(4800)
    yield f"memory at 4800 steps, a law of {nodes} points", more, 20.0, "MB"
    yield "memory at 4800 steps over that at 480: at most in proportion", more / less, 10.0, ""
    cells = {k: v[::3] for k, v in CELLS.items()} if quick else CELLS
    count = math.prod(map(len, cells.values()))
    yield f"a sweep of {count} cells (T, h, M) on two processes", swept(cells), 60.0 * max(count / 1000, 0.2), "s"
    yield "scoresde --help", best(lambda: subprocess.run(command("--help"), stdout=subprocess.DEVNULL, check=True), runs), 0.3, "s"
    yield "first row of scoresde verify, nothing compiled", first_row(), 3.0, "s"


def beside(quick):
    """The engine and the dense matrix at growing numbers of steps: seconds of both, half-L1 distance of the two laws."""
    for steps in (120, 480) if quick else (120, 480, 1920):
        spacing = 0.25 * math.sqrt(12.0 / steps)
        ours = law(steps)
        began = time.perf_counter()
        x, q = dense(steps, spacing)
        theirs = time.perf_counter() - began
        apart = 0.5 * float(np.abs(ours.pdf(x[:, None]) - q).sum() * (x[1] - x[0]))
        own = best(lambda: law(steps), 3)  # noqa: B023
        yield {"steps": steps, "seconds": own, "dense_seconds": theirs, "ratio": theirs / own, "distance": apart, "points": len(x)}


def figure(report):
    """Seconds against steps: the engine, the dense matrix; the budgets as marks."""
    from matplotlib.figure import Figure

    result = Figure(figsize=(6.4, 4.2), dpi=110, layout="constrained")
    axes = result.subplots()
    steps = np.array([row["steps"] for row in report["beside"]])
    for key, name, colour in (("seconds", "scoresde, with twin and error", BLUE), ("dense_seconds", "dense matrix, one resolution", GREY)):
        cost = np.array([row[key] for row in report["beside"]])
        axes.loglog(steps, 1e3 * cost, marker="o", color=colour, linewidth=2.0 if colour == BLUE else 1.2)
        label = f"{name}\nsteps$^{{{slope(steps, cost):.2f}}}$"
        axes.annotate(label, (steps[-1], 1e3 * cost[-1]), (8, -4), textcoords="offset points", va="top", fontsize=8, color=colour)
    budgets = {480: 70.0, 10_000: 2500.0}
    axes.plot(list(budgets), list(budgets.values()), linestyle="", marker="_", markersize=16, markeredgewidth=2, color=ORANGE)
    got = next((row["got"] for row in report["rows"] if row["what"] == "10 000 steps"), None)
    if got is not None:
        axes.plot([steps[-1], 10_000], [1e3 * report["beside"][-1]["seconds"], got], marker="o", color=BLUE, linewidth=2.0)
    axes.annotate("budget", (480, 70.0), (0, 6), textcoords="offset points", ha="center", fontsize=8, color=ORANGE)
    axes.set(xlabel="steps", ylabel="ms", title="Law of Euler–Maruyama on the line, three Gaussians, T = 6", xlim=(90, 40_000))
    axes.title.set_size(10)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#e6e6e6", linewidth=0.7)
    axes.set_axisbelow(True)
    result.supxlabel(f"{report['processor']}, one core", fontsize=8, color=INK)
    return result


def main(argv=None):
    parser = argparse.ArgumentParser(prog="python -m benchmarks.laws", description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer runs, a smaller sweep")
    parser.add_argument("--json", metavar="FILE", help="write the results there")
    parser.add_argument("--figure", metavar="FILE.png", help="draw them there")
    args = parser.parse_args(argv)
    report = {"processor": processor(), "versions": versions(), "rows": [], "beside": []}
    print(processor())
    for row in rows(args.quick):
        report["rows"].append(dict(zip(("what", "got", "allowed", "unit"), row, strict=True)))
        what, got, allowed, unit = row
        print(f"{'ok  ' if got <= allowed else 'OVER'}  {what:72s} {got:9.4g} {unit:2s}   allowed {allowed:g}", flush=True)
    for row in beside(args.quick):
        report["beside"].append(row)
        print(
            f"{row['steps']:6d} steps: {1e3 * row['seconds']:8.1f} ms, dense matrix of {row['points']} points {1e3 * row['dense_seconds']:8.1f} ms, "
            f"{row['ratio']:.1f} times; their laws are {row['distance']:.1e} apart",
            flush=True,
        )
    if args.json:
        write(args.json, report)
    if args.figure:
        paint(args.figure, figure(report))
    return int(any(row["got"] > row["allowed"] for row in report["rows"]))


if __name__ == "__main__":
    sys.exit(main())
