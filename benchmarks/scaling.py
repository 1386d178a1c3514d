"""How the cost grows: particles n, steps N, components K, dimension d, threads; and steps of the exact law.

    python -m benchmarks.scaling [--quick] [--json FILE] [--figure FILE.png]

One quantity at a time is varied around a base case, in interleaved rounds. The slope of log(seconds) on log(quantity) is fitted in every round;
printed are its median and order statistics. At most 1.15 is allowed; below 1 a fixed cost is shared. Two threads must be at least 1.9 times as
fast as one, if two cores are free. Exit status 1 if a slope or that factor is missed.
"""

import argparse
import sys

import numpy as np

import scoresde as sd

from .engines import ours
from .peers import problem
from .timing import BLUE, GREY, INK, cores, paint, processor, rounds, slope, spread, versions, write

__all__ = ["AXES", "main"]

BASE = {"n": 4096, "N": 32, "K": 8, "d": 16}
AXES = {  # what is varied: its values
    "n": (1024, 2048, 4096, 8192, 16384, 32768),
    "N": (8, 16, 32, 64, 128, 256),
    "K": (2, 4, 8, 16, 32, 64, 128),
    "d": (1, 4, 16, 64, 256, 512),
    "steps of the law": (120, 240, 480, 960, 1920),
}
STEEPEST, SPEED_UP = 1.15, 1.9
NAMES = {"n": "particles n", "N": "steps N", "K": "components K", "d": "dimension d", "steps of the law": "steps of the law on the line"}


def simulated(threads=1, **changed):
    """A call of the fused engine on the base case with something changed."""
    case = BASE | changed
    run = ours(problem(case["d"], case["K"], steps=case["N"]), "float64", threads)
    return lambda: run(case["n"], 0)


def propagated(steps):
    table, score = sd.scheme.euler_maruyama(sd.grid.uniform(6.0, steps)), sd.score.exact(sd.targets.gm3)
    return lambda: sd.propagate(table, score)


def grown(name, values, repeats):
    """{values, seconds (median, lo, hi) each, slope}; the base case is warm before."""
    calls = {x: propagated(x) if name == "steps of the law" else simulated(**{name: x}) for x in values}
    for call in calls.values():
        call()
    times = rounds(calls, repeats)
    slopes = [slope(values, [times[x][i] for x in values]) for i in range(repeats)]
    return {"name": name, "values": list(values), "seconds": [spread(times[x]) for x in values], "slope": spread(slopes)}


def threads(repeats, particles=2**19):
    """[{threads, seconds, faster}], from one to all cores: ``faster`` is the factor over one thread."""
    counts = range(1, cores() + 1)
    calls = {t: simulated(threads=t, n=particles) for t in counts}
    for call in calls.values():
        call()
    times = rounds(calls, repeats)
    return [{"threads": t, "seconds": spread(times[t]), "faster": spread([a / b for a, b in zip(times[1], times[t], strict=True)])} for t in counts]


def figure(report):
    """Seconds over the base case's, every quantity over its base value, log against log, and a line of slope 1."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, StrMethodFormatter

    result = Figure(figsize=(9.0, 5.4), dpi=110, layout="constrained")
    panels = result.subplots(2, 3).flat
    for axes, row in zip(panels, report["axes"], strict=False):
        x, cost = np.array(row["values"], dtype=float), 1e3 * np.array([s[:3] for s in row["seconds"]])
        middle = len(x) // 2
        axes.loglog(x, cost[middle, 0] * x / x[middle], color=GREY, linewidth=0.9, linestyle=(0, (4, 3)))
        axes.loglog(x, cost[:, 0], marker="o", markersize=4, color=BLUE, linewidth=1.8)
        axes.fill_between(x, cost[:, 1], cost[:, 2], color=BLUE, alpha=0.2, linewidth=0)
        axes.set_title(f"{NAMES[row['name']]}: slope {row['slope'][0]:.2f}", fontsize=9)
        axes.set_xticks(x, [f"{v:,}".replace(",", " ") for v in row["values"]])
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.minorticks_off()
        axes.set_ylabel("ms", fontsize=8)
    axes, t = panels[-1], [row["threads"] for row in report["threads"]]
    axes.bar(t, [row["faster"][0] for row in report["threads"]], width=0.5, color=BLUE)
    axes.plot(t, t, marker="_", markersize=14, color=GREY, linewidth=0.9, linestyle=(0, (4, 3)))
    axes.set_title("threads: times faster than one", fontsize=9)
    axes.set_xticks(t)
    for axes in result.axes:
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=7)
    result.suptitle(f"Cost of simulate (d = 16, K = 8, float64, one thread) and of propagate · {report['processor']}", fontsize=10, color=INK)
    result.supxlabel("dashed: in proportion; band: interval of the median", fontsize=8, color=INK)
    return result


def main(argv=None):
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="few rounds")
    parser.add_argument("--json", metavar="FILE", help="write the results there")
    parser.add_argument("--figure", metavar="FILE.png", help="draw them there")
    args = parser.parse_args(argv)
    repeats = 3 if args.quick else 15
    report = {"processor": processor(), "versions": versions(), "rounds": repeats, "base": BASE, "axes": [], "threads": []}
    print(f"{processor()}; slope of log(seconds), median [interval]")
    missed = False
    for name, values in AXES.items():
        row = grown(name, values[1:-1] if args.quick else values, repeats)
        report["axes"].append(row)
        missed |= (steep := row["slope"][0] > STEEPEST)
        print(f"{'STEEP' if steep else 'ok   '}  {NAMES[name]:30s} slope {row['slope']}   allowed {STEEPEST}", flush=True)
    report["threads"] = threads(repeats)
    for row in report["threads"][1:]:
        allowed = SPEED_UP if row["threads"] == 2 else 0.0
        missed |= (slow := row["faster"][0] < allowed)
        print(f"{'SLOW ' if slow else 'ok   '}  {row['threads']} threads × {row['faster']}{f'   at least {allowed}' if allowed else ''}", flush=True)
    if args.json:
        write(args.json, report)
    if args.figure:
        paint(args.figure, figure(report))
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
