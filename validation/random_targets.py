r"""Every theorem on mixtures chosen at random: no true one is refuted, no negative control is verified.

    python -m validation.random_targets [--draws 300] [--seed 0] [--workers 2] [--quick] [--only ID[,ID]]

Targets: mixtures on the line of 1 to 4 components, means uniform in [-4, 4], standard deviations in [.2, 1.5], weights Dirichlet(2). Target i
depends on (seed, i) alone. The chance of any wrong verdict is at most 1e-6 over all of them. ``--quick`` shrinks the theorems' sweeps.
"""

import argparse
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context

import numpy as np

from scoresde import GaussianMixture, to_json, verify
from scoresde.theorems import ALL, family, find
from scoresde.theorems.claim import VERDICTS

from . import findings, table

TOTAL = 1e-6


def target(seed, i):
    """The i-th mixture."""
    rng = np.random.default_rng([seed, i])
    count = int(rng.integers(1, 5))
    return GaussianMixture(rng.dirichlet(np.full(count, 2.0)), rng.uniform(-4, 4, (count, 1)), rng.uniform(0.2, 1.5, count) ** 2)


def verdicts(i, seed, quick, alpha, only):
    """[(name, verdict, as expected, control's verdict or None, reason, seconds)] of all theorems on the i-th target."""
    claims = verify(target(seed, i), [find(name) for name in only], alpha=alpha, seed=seed + i, quick=quick)
    return [(c.name, c.verdict, c.as_expected, None if c.control is None else c.control.verdict, c.reason, c.seconds) for c in claims]


def main(argv=None):
    parser = argparse.ArgumentParser(prog="python -m validation.random_targets", description=__doc__.split("\n")[0])
    parser.add_argument("--draws", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", metavar="ID[,ID]")
    args = parser.parse_args(argv)
    names = [f.__name__ for f in ALL] if args.only is None else [f.__name__ for i in args.only.split(",") for f in family(i)]
    ids = {f.__name__: f.info.id for f in ALL}
    began, counts, controls, problems, slowest = time.monotonic(), Counter(), Counter(), [], Counter()
    work = partial(verdicts, seed=args.seed, quick=args.quick, alpha=TOTAL / args.draws, only=names)
    with ProcessPoolExecutor(args.workers, mp_context=get_context("spawn")) as pool:
        for i, found in enumerate(pool.map(work, range(args.draws))):
            for name, verdict, as_expected, control, reason, seconds in found:
                counts[name, verdict] += 1
                controls[name, control] += 1
                slowest[name] = max(slowest[name], seconds)
                if not as_expected:
                    problems.append((f"{ids[name]} {verdict}, its control {control}, on {to_json(target(args.seed, i))}: {reason}", False))
                elif verdict == "inconclusive":
                    print(f"{ids[name]} inconclusive on target {i}: {reason}", flush=True)
    rows = [[ids[name], *(str(counts[name, v]) for v in VERDICTS), str(controls[name, "refuted"]), f"{slowest[name]:.1f} s"] for name in names]
    table(("theorem", *VERDICTS, "controls refuted", "slowest"), rows)
    total = Counter()
    for (_, verdict), count in counts.items():
        total[verdict] += count
    print(f"{args.draws} targets, {len(names)} theorems: " + ", ".join(f"{n} {v}" for v, n in total.items()) + f"; {time.monotonic() - began:.0f} s")
    return findings(problems or [("no true theorem refuted, no negative control verified or undecided", True)])


if __name__ == "__main__":
    sys.exit(main())
