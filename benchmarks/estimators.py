"""Divergences against their budgets of time and memory.

    python -m benchmarks.estimators [--json FILE]

Each line: what, the best time of a few runs, its budget, the memory that the whole process peaked at where memory is promised. Exit status 1 if
a budget is exceeded. The budgets are those of the design: a prototype's time on a 2.6 GHz core, times two.
"""

import argparse
import subprocess
import sys

import numpy as np

import scoresde as sd

from .timing import best, processor, write

P3 = sd.GaussianMixture([0.3, 0.45, 0.25], [[-2.0], [0.4], [2.2]], [0.25, 0.16, 0.36])
Q3 = sd.GaussianMixture([0.25, 0.5, 0.25], [[-1.7], [0.2], [2.4]], [0.36, 0.25, 0.3])
NARROW = sd.GaussianMixture([0.999, 0.001], [[0.0], [5.0]], [1.0, 1e-8])
RING, PAIR = sd.targets.ring8, sd.GaussianMixture([0.4, 0.6], [[-1.0, 0.0], [1.0, 0.5]], [0.5, 0.8])


def gaussians(d, ratio=1.01):
    return sd.Gaussian(np.zeros(d), ratio), sd.standard_normal(d)


def mixtures(d):
    means = np.stack([np.full(d, a / np.sqrt(d)) for a in (-1.5, -0.5, 0.5, 1.5)])
    return sd.GaussianMixture(np.full(4, 0.25), means, 1.0), sd.GaussianMixture(np.full(4, 0.25), 0.6 * means, 1.0)


def samples(n, d):
    rng = np.random.default_rng(0)
    return rng.standard_normal((n, d)), 1.1 * rng.standard_normal((n, d))


def sliced():
    x, y = samples(100_000, 4)
    return sd.sliced_wasserstein2(x, y, projections=500, seed=0)


CASES = (  # what, call, seconds allowed
    ("total variation on the line", lambda: sd.total_variation(P3, Q3), 0.014),
    ("Kullback-Leibler, Hellinger, chi-squared, Fisher on the line together", lambda: [f(P3, Q3) for f in FOUR], 0.020),
    ("W1 on the line", lambda: sd.wasserstein1(P3, Q3), 0.044),
    ("W2 on the line", lambda: sd.wasserstein2(P3, Q3), 0.118),
    ("a spike of width 1e-4: total variation and chi-squared", lambda: (sd.total_variation(NARROW, Q3), sd.chi_squared(NARROW, Q3)), 0.020),
    ("total variation of Gaussians, d = 1000", lambda: sd.total_variation(*gaussians(1000)), 0.6),
    ("total variation in the plane, Gaussians", lambda: sd.total_variation(PAIR.component(0), PAIR.component(1)), 0.4),
    ("total variation in the plane, mixtures", lambda: sd.total_variation(RING, PAIR), 4.0),
    ("total variation by draws, d = 16, n = 1e5", lambda: sd.total_variation(*mixtures(16), n=100_000, seed=0), 1.0),
    ("total variation of 1e5 particles and a law", lambda: sd.total_variation(P3.sample(100_000, seed=0), Q3), 0.2),
    ("sliced W2, n = 1e5, 500 directions, d = 4", sliced, 10.0),
)
RIGOROUS = ("total variation, proved", lambda: sd.total_variation(P3, Q3, rigorous=True), 0.5)
TRANSPORT = ("optimal transport, n = 2000, d = 8", lambda: sd.wasserstein2(*samples(2000, 8)), 8.0)
FOUR = (sd.kullback_leibler, sd.hellinger, sd.chi_squared, sd.fisher_divergence)


def available():
    """The cases whose extras are installed."""
    from importlib.util import find_spec

    return [*CASES, *([RIGOROUS] if find_spec("flint") else []), *([TRANSPORT] if find_spec("ot") else [])]


def peak():
    """MB that a fresh process needs for the sliced distance of 1e5 points and 500 directions, imports included; None off Linux."""
    code = "from benchmarks.estimators import sliced; sliced(); print(next(x for x in open('/proc/self/status') if x.startswith('VmHWM')).split()[1])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    return int(done.stdout) / 1024 if done.returncode == 0 else None


def main(argv=None):
    parser = argparse.ArgumentParser(prog="python -m benchmarks.estimators", description=__doc__.split("\n")[0])
    parser.add_argument("--json", metavar="FILE", help="write the results there")
    args = parser.parse_args(argv)
    rows = [(what, best(call), budget, "s") for what, call, budget in available()]
    if (memory := peak()) is not None:
        rows.append(("sliced W2: memory of the process", memory, 300.0, "MB"))
    print(processor())
    for what, got, budget, unit in rows:
        print(f"{'ok  ' if got <= budget else 'OVER'}  {what:72s} {got:9.4g} {unit:2s}   allowed {budget:g}")
    if args.json:
        keys = ("what", "got", "allowed", "unit")
        write(args.json, {"processor": processor(), "rows": [dict(zip(keys, row, strict=True)) for row in rows]})
    return int(any(got > budget for _, got, budget, _ in rows))


if __name__ == "__main__":
    sys.exit(main())
