"""Reverse Euler-Maruyama with the exact score of a mixture: the fused engine against peers, in one run.

    python -m benchmarks.engines [--quick] [--json FILE] [--figure FILE.png]

Nanoseconds per particle and step in five columns (d, K), in float64 and float32, everything included: normals, start, result. All have two cores.
Rounds are interleaved, so that what disturbs the machine disturbs all alike; a ratio is the median over the rounds of (time of the peer) / (ours, two
threads), with order statistics as its interval. Before any is timed its particles are compared with ours: who simulates another law is not timed.
Peers that are not installed are left out, and said so. Exit status 1 if a peer's law is wrong, or if the best one is not beaten 4 times in
float64 and 2.5 times in float32 in every column.
"""

import argparse
import math
import os
import sys
from importlib.util import find_spec

import numpy as np

import scoresde as sd

from .peers import PEERS, THREADS, problem
from .timing import BLUE, GREY, INK, ORANGE, cores, paint, processor, rounds, seconds, spread, versions, write

__all__ = ["COLUMNS", "GOALS", "main", "same_law"]

COLUMNS = ((1, 3), (2, 8), (16, 8), (128, 16), (1024, 16))  # (d, K)
GOALS = {"float64": 4.0, "float32": 2.5}  # times faster than the best peer
SLOW_TO_START = "torch.compile"
OURS, ALONE = "scoresde", "scoresde, one thread"
CHECKED = 2**18  # numbers (particles times coordinates) whose law is compared, between 500 and 4000 particles
FALSE_ALARM = 6.0  # standard errors: a right peer is refused with probability 2e-9 a feature
PACKAGES = ("scoresde", "numpy", "numba", "torch", "jax", "diffrax", "torchsde")


def ours(problem, dtype, threads):
    """run(n, seed) of the fused engine, by its public door."""
    from numba import config

    score = sd.score.exact(problem.law)

    def run(n, seed):
        config.NUMBA_NUM_THREADS = threads
        return sd.simulate(problem.table, score, n, seed=seed, engine="fused", dtype=dtype)

    return run


def same_law(x, y):
    """Standard errors that separate the worst of three means, |x|^2 / d, u.x and cos(u.x), in two samples (n, d)."""
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    d = x.shape[1]
    u = np.cos(np.arange(1, d + 1) ** 2) * np.sqrt(2 / d)  # a direction of no special meaning, about unit length
    worst = 0.0
    for f in (lambda z: (z * z).mean(axis=1), lambda z: z @ u, lambda z: np.cos(z @ u)):
        a, b = f(x), f(y)
        worst = max(worst, abs(a.mean() - b.mean()) / math.sqrt(a.var() / len(a) + b.var() / len(b)))
    return worst if np.isfinite(x).all() else math.inf


def fastest(make, problem, dtype, batches, goal):
    """(run, particles of one timed run, particles at once) for the fastest of the sizes; a run takes about ``goal`` seconds or one batch a core."""
    found = []
    for batch in batches:
        run, least = make(problem, dtype, batch), 2 * batch
        run(least, 0)  # compiles
        took = seconds(lambda: run(least, 0))  # noqa: B023
        n = least * max(1, round(goal / took))
        found.append((seconds(lambda: run(n, 1)) / n if took < goal else took / least, batch, n, run))  # noqa: B023
    _, batch, n, run = min(found, key=lambda f: f[0])
    return run, n, batch


def contestants(problem, dtype, peers, goal):
    """{name: (run, n, batch)}, ours first."""
    found = {}
    for name, threads in ((OURS, min(THREADS, cores())), (ALONE, 1)):
        found[name] = fastest(lambda p, kind, _, threads=threads: ours(p, kind, threads), problem, dtype, (max(256, 2**17 // problem.dim),), goal)
    for name, _, make, numbers in peers:
        found[name] = fastest(make, problem, dtype, sorted({max(64, size // problem.dim) for size in numbers}), goal)
    return found


def column(d, count, dtype, peers, repeats, goal):
    """The row of the report for one column."""
    case = problem(d, count)
    found = contestants(case, dtype, peers, goal)
    checked = min(max(500, CHECKED // d), 4000)
    reference = found[OURS][0](10 * checked, 10**6)
    off = {name: same_law(run(checked, 5), reference) for name, (run, *_) in found.items()}
    wrong = [name for name, z in off.items() if not z <= FALSE_ALARM]
    times = rounds({name: lambda run=run, n=n: run(n, 2) for name, (run, n, _) in found.items() if name not in wrong}, repeats)
    cost = {name: [t / found[name][1] / case.steps * 1e9 for t in ts] for name, ts in times.items()}
    medians = {name: spread(c) for name, c in cost.items()}
    ratio = {name: spread([a / b for a, b in zip(c, cost[OURS], strict=True)]) for name, c in cost.items() if name != OURS}
    others = [name for name in ratio if name != ALONE]
    best = min(others, key=lambda name: medians[name][0], default=None)
    return {
        "d": d, "K": count, "dtype": dtype, "steps": case.steps, "nanoseconds": medians, "ratio": ratio, "best_peer": best, "goal": GOALS[dtype],
        "reached": best is None or ratio[best][0] >= GOALS[dtype], "wrong_law": wrong, "standard_errors": {k: round(z, 2) for k, z in off.items()},
        "particles": {k: n for k, (_, n, _) in found.items()}, "at_once": {k: b for k, (*_, b) in found.items() if k not in (OURS, ALONE)},
    }  # fmt: skip


def show(row):
    """What is printed for a column."""
    yield f"d = {row['d']}, K = {row['K']}, {row['dtype']}: ns per particle and step, median [interval]; times slower than {OURS}"
    for name, cost in sorted(row["nanoseconds"].items(), key=lambda item: item[1][0]):
        beside = f"   × {row['ratio'][name]}" if name in row["ratio"] else ""
        yield f"  {name:22s} {cost!s:30s}{beside}"
    for name in row["wrong_law"]:
        yield f"  {name:22s} WRONG LAW: {row['standard_errors'][name]} standard errors from ours, not timed"
    if row["best_peer"]:
        verdict = "ok  " if row["reached"] else "MISSED"
        yield f"  {verdict} × {row['ratio'][row['best_peer']]} to the best peer, {row['best_peer']}; the goal is {row['goal']}"


def figure(report):
    """Time against the column, one panel a precision: ours in blue with the ratio to the best peer below, peers in grey with their names."""
    from matplotlib.figure import Figure

    kinds = [k for k in GOALS if any(row["dtype"] == k for row in report["columns"])]
    result = Figure(figsize=(10.5, 4.9), dpi=110, layout="constrained")
    for axes, kind in zip(np.atleast_1d(result.subplots(1, len(kinds), sharey=True)), kinds, strict=True):
        rows = [row for row in report["columns"] if row["dtype"] == kind]
        place = range(len(rows))
        best = [row["best_peer"] for row in rows]
        ends = []
        for name in dict.fromkeys(name for row in rows for name in row["nanoseconds"]):
            at = [i for i in place if name in rows[i]["nanoseconds"]]
            cost = np.array([rows[i]["nanoseconds"][name][:3] for i in at])
            mine = name in (OURS, ALONE)
            style = {"color": BLUE if mine else GREY, "linewidth": 2.2 if name == OURS else 1.0, "linestyle": (0, (4, 2)) if name == ALONE else "-"}
            axes.plot(at, cost[:, 0], marker="o", markersize=5 if mine else 3.5, zorder=3 if mine else 2, **style)
            axes.vlines(at, cost[:, 1], cost[:, 2], color=style["color"], linewidth=1.0)
            ends.append((math.log(cost[-1, 0]), name, BLUE if mine else INK))
        for i in place:
            if best[i] is not None:
                mine, other, ratio = rows[i]["nanoseconds"][OURS][0], rows[i]["nanoseconds"][best[i]][0], rows[i]["ratio"][best[i]][0]
                axes.plot(i, other, marker="o", markersize=6, color=ORANGE, zorder=4)
                axes.annotate(f"× {ratio:.1f}", (i, mine), (0, -15), textcoords="offset points", ha="center", fontsize=9, color=BLUE, weight="bold")
        low = min(c[1] for row in report["columns"] for c in row["nanoseconds"].values())
        high = max(c[2] for row in report["columns"] for c in row["nanoseconds"].values())
        for height, name, colour in apart(ends, 0.041 * math.log(6.25 * high / low)):
            axes.annotate(
                name,
                (len(rows) - 1, math.exp(height)),
                (9, 0),
                textcoords="offset points",
                va="center",
                fontsize=7.5,
                color=colour,
                annotation_clip=False,
            )
        axes.set(
            yscale="log",
            ylim=(low / 2.5, 2.5 * high),
            xlim=(-0.3, len(rows) - 1 + 0.42 * max(len(rows) - 1, 1)),
            title=f"{kind}: {GOALS[kind]:g} times is the goal",
        )
        axes.set_xticks(list(place), [f"d = {row['d']}\nK = {row['K']}" for row in rows])
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", color="#e6e6e6", linewidth=0.7)
        axes.set_axisbelow(True)
    result.axes[0].set_ylabel("ns per particle and step")
    result.suptitle(
        f"Reverse Euler–Maruyama, exact score of K Gaussians · {report['processor']}, {report['threads']} threads", fontsize=10, color=INK
    )
    result.supxlabel("orange: the best peer; blue: scoresde, and how many times faster than the best peer", fontsize=8, color=INK)
    return result


def apart(ends, gap):
    """Heights of labels moved up until they are ``gap`` apart."""
    out = []
    for height, *rest in sorted(ends):
        out.append((max(height, out[-1][0] + gap) if out else height, *rest))
    return out


def main(argv=None):
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engines", description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help=f"two columns, few rounds, without {SLOW_TO_START}")
    parser.add_argument("--json", metavar="FILE", help="write the results there")
    parser.add_argument("--figure", metavar="FILE.png", help="draw them there")
    args = parser.parse_args(argv)
    columns, repeats, goal = (COLUMNS[1:4:2], 5, 0.05) if args.quick else (COLUMNS, 7, 0.1)
    peers = [peer for peer in PEERS if find_spec(peer[1]) and not (args.quick and peer[0] == SLOW_TO_START)]
    report = {"processor": processor(), "threads": min(THREADS, cores()), "versions": versions(PACKAGES), "rounds": repeats, "columns": []}
    print(f"{report['processor']}, {report['threads']} threads; {', '.join(f'{k} {v}' for k, v in report['versions'].items() if v)}")
    for name, module, *_ in PEERS:
        if not find_spec(module):
            print(f"{name}: {module} is not installed, left out")
    for d, count in columns:
        for dtype in GOALS:
            report["columns"].append(column(d, count, dtype, peers, repeats, goal))
            print("\n".join(show(report["columns"][-1])), flush=True)
    if args.json:
        write(args.json, report)
    if args.figure:
        paint(args.figure, figure(report))
    return int(any(row["wrong_law"] or not row["reached"] for row in report["columns"]))


def alone():
    """Start this program again with one thread for numpy's matrix products: its two are those of ``numpy_make``, and more would fight them."""
    if "OPENBLAS_NUM_THREADS" not in os.environ:
        os.environ["OPENBLAS_NUM_THREADS"] = "1"
        os.execv(sys.executable, [sys.executable, "-m", "benchmarks.engines", *sys.argv[1:]])


if __name__ == "__main__":
    alone()
    sys.exit(main())
