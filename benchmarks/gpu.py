"""The device engine on a graphics card against what the card can do, in float32.

    python -m benchmarks.gpu [--json FILE]

Three comparisons, medians of rounds: at (d, K) = (1024, 4096) against the two matrix products of each step alone, as torch makes them on this card
(and once more with TF32 products, with the error that they bring); at small d against the same kernel drawing its normals and nothing else; at
(2, 8) against torch.compile, each at its best number of particles. Writes benchmarks/results/gpu.json with the card's name. Exit status 1 if a
goal is missed, or if the peer's law is another one. Without a card it says so, writes nothing and exits with 0.
"""

import argparse
import math
import statistics
import sys
import warnings
from pathlib import Path

import numpy as np

import scoresde as sd

from .timing import seconds, versions, write

ROUNDS = 7
WIDE, SMALL, PEER = (1024, 4096), ((1, 1), (1, 3), (2, 8)), (2, 8)  # (d, K)
FALSE_ALARM = 6.0  # standard errors


def problem(d, count, steps):
    """Euler-Maruyama's table and a mixture of count components; t >= 0.5, where float32 products resolve the logits."""
    rng = np.random.default_rng(0)
    law = sd.GaussianMixture(np.full(count, 1 / count), rng.normal(size=(count, d)), 1.0)
    return sd.scheme.euler_maruyama(sd.grid.uniform(2.0, steps, stop=0.5)), sd.score.exact(law)


def median(torch, call):
    """Median seconds of a call on the card; the first two, which compile, do not count."""

    def finished():
        call()
        torch.cuda.synchronize()

    finished(), finished()
    return statistics.median(seconds(finished) for _ in range(ROUNDS))


def ours(table, score, n):
    return sd.simulate(table, score, n, seed=0, device="cuda", dtype="float32")


# ---- the three comparisons: each yields (what, got, at least, details) ------------------------------------------------------------------


def products(torch):
    (d, count), n, steps = WIDE, 16384, 20
    table, score = problem(d, count, steps)
    x, means, weights = (torch.randn(size, device="cuda") for size in ((n, d), (count, d), (n, count)))
    before = torch.get_float32_matmul_precision()
    for precision, name, goal in (("highest", "float32", 0.7), ("high", "TF32, on request", None)):
        torch.set_float32_matmul_precision(precision)
        with warnings.catch_warnings(record=True) as shown:
            warnings.simplefilter("always")
            chain = median(torch, lambda: ours(table, score, n))
        alone = steps * median(torch, lambda: (x @ means.T, weights @ means))
        rate = 4e-12 * n * d * count * steps
        details = {"TFLOP/s": rate / chain, "products alone TFLOP/s": rate / alone, "shown": str(shown[0].message) if shown else ""}
        yield f"{WIDE}: share of the matrix products' rate, {name}", alone / chain, goal, details
    torch.set_float32_matmul_precision(before)


def small(torch):
    n, steps = 2**25, 200
    for d, count in SMALL:
        table, score = problem(d, count, steps)
        alone = sd.Table(table.times, table.a, 0.0, table.c, name="normals alone")  # the same kernel without a score
        chain, limit = (median(torch, lambda t=t, s=score: ours(t, s, n)) for t in (table, alone))
        details = {"ps per particle-step": 1e12 * chain / (n * steps), "normals alone": 1e12 * limit / (n * steps)}
        yield f"({d}, {count}): share of the rate of normals alone", limit / chain, 0.7, details


def compiled(torch, table, score, mode):
    """run(n) by torch: one step, written as a user would and compiled by torch.compile, and the loop over the steps."""
    law, kernels = score.law, [score.forward(float(t)) for t in table.score_times]
    put = lambda x: torch.tensor(np.asarray(x), dtype=torch.float32, device="cuda")  # noqa: E731
    means, log_weights, c = put(law.means), put(np.log(law.weights)), float(law.covs[0])
    rows = put([[k.m, 1 / (k.m**2 * c + k.v), *r] for k, *r in zip(kernels, table.a[:, 0], table.b[:, 0], table.c[:, 0], strict=True)])

    @torch.compile(mode=mode)
    def step(y, row):
        m, inverse, a, b, c = row.unbind()
        pull = m * means - y[:, None]
        r = torch.softmax(log_weights - inverse / 2 * pull.square().sum(-1), -1)
        return a * y + b * inverse * (r[..., None] * pull).sum(1) + c * torch.randn_like(y)

    def run(n):
        y = torch.randn(n, law.dim, device="cuda")
        for row in rows:
            y = step(y, row).clone() if mode == "reduce-overhead" else step(y, row)
        return y

    return run


def peer(torch):
    steps, sizes = 100, (2**18, 2**20, 2**22, 2**24)
    table, score = problem(*PEER, steps)
    best = lambda run: min(1e12 * median(torch, lambda n=n: run(n)) / (n * steps) for n in sizes)  # noqa: E731
    runs = {mode: compiled(torch, table, score, mode) for mode in ("default", "reduce-overhead")}
    x = ours(table, score, 2**20).double()
    for name, run in runs.items():
        y = run(2**20).double()
        apart = ((x.mean(0) - y.mean(0)) / ((x.var(0) + y.var(0)) / 2**20).sqrt()).abs().max()
        if not float(apart) < FALSE_ALARM or not bool(((x.var(0) / y.var(0)).log().abs() < FALSE_ALARM * math.sqrt(12 / 2**20)).all()):
            raise SystemExit(f"torch.compile, {name}: the peer simulates another law")
    mine, theirs = best(lambda n: ours(table, score, n)), {name: best(run) for name, run in runs.items()}
    yield f"{PEER}: times faster than torch.compile", min(theirs.values()) / mine, 5.0, {"ps per particle-step": mine, **theirs}


def main(argv=None):
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__.split("\n")[0])
    parser.add_argument("--json", metavar="FILE", default=str(Path(__file__).parent / "results" / "gpu.json"), help="where the results go")
    args = parser.parse_args(argv)
    try:
        import torch
    except ImportError:
        torch = None
    if torch is None or not torch.cuda.is_available():
        print("no CUDA device: nothing measured, nothing written")
        return 0
    name = torch.cuda.get_device_name()
    print(name)
    results = []
    for measure in (products, small, peer):
        for what, got, goal, details in measure(torch):
            verdict = "    " if goal is None else "ok  " if got >= goal else "LESS"
            print(f"{verdict}  {what:64s} {got:7.3g}" + (f"   at least {goal:g}" if goal else ""), details, flush=True)
            results.append({"what": what, "got": got, "at least": goal, **details})
    write(args.json, {"device": name, "rows": results, "versions": versions(("numpy", "torch", "triton"))})
    return int(any(row["at least"] is not None and row["got"] < row["at least"] for row in results))


if __name__ == "__main__":
    sys.exit(main())
