r"""Verdicts about sampled numbers whose truth is known: never wrong within a budget of 1e-6, and the usual procedure beside them.

    python -m validation.verdicts [--quick]

900 inequalities E f <= b or E f >= b, at an error probability of 1e-6 over all of them: 300 true with 10 to 20 % to spare, 300 false by
10 %, 300 exact (b = E f), where nothing may be decided. E f is a frequency from 1e-3 up, the mean of a Beta law, or a total variation.

The usual procedure: a 95 % interval from the central limit theorem, looked at six times while the sample grows fourfold, believed as soon
as it excludes the bound or lies below it.
"""

import argparse
import math
import sys
import time
from collections import Counter
from functools import partial

import numpy as np
from scipy import stats

from scoresde import Enclosure, Gaussian, GaussianMixture, standard_normal, total_variation
from scoresde.divergence import concentration, sampled
from scoresde.theorems.claim import claim_at_most
from scoresde.theorems.escalation import decide, shares

from . import findings, table

TOTAL = 1e-6
LEVEL = 1e-9  # at which a count of errors is called too many


# ---- numbers of known truth --------------------------------------------------------------------------------------------------------------


def frequency(p, n, alpha, seed):
    """The frequency of an event of probability p, which takes one binomial draw whatever n."""
    k = int(np.random.default_rng(seed).binomial(n, p))
    return Enclosure(*concentration.clopper_pearson(k, n, alpha), "finite-sample", alpha, k / n, "Clopper-Pearson")


def beta_mean(a, b, n, alpha, seed):
    x = np.random.default_rng(seed).beta(a, b, n)
    return Enclosure(*concentration.empirical_bernstein(x, alpha), "finite-sample", alpha, float(np.mean(x)), "empirical Bernstein")


def variation(p, q, n, alpha, seed):
    return sampled.total_variation(p, q, n=n, seed=seed, alpha=alpha)


def number(i, rng):
    """(truth, estimate, rounds) of the i-th number; rounds so many that a gap of a tenth is decided."""
    if i % 3 == 0:
        p = 10 ** rng.uniform(-3, -0.05)
        return p, partial(frequency, p), 9
    if i % 3 == 1:
        a, b = rng.uniform(0.3, 4.0, 2)
        return a / (a + b), partial(beta_mean, a, b), 6
    if i % 2:
        d = int(rng.integers(2, 17))
        p, q = standard_normal(d), Gaussian(rng.standard_normal(d) * rng.uniform(0.4, 1.5) / math.sqrt(d), np.exp(rng.uniform(-0.3, 0.3, d)))
    else:
        p, q = (GaussianMixture(rng.dirichlet([2, 2, 2]), rng.uniform(-2, 2, (3, 1)), rng.uniform(0.3, 1.5, 3)) for _ in range(2))
    return total_variation(p, q).value, partial(variation, p, q), 5


def verdicts(kind, count, alphas, seed):
    """The verdicts of ``count`` claims of a kind, and how many draws they took."""
    rng, found, draws = np.random.default_rng([seed, len(kind)]), Counter(), 0
    for i in range(count):
        truth, estimate, rounds = number(i, rng)
        slack = {"true": rng.uniform(0.1, 0.2), "false": -0.1, "exact": 0.0}[kind]
        if rng.random() < 0.5:
            compare = lambda e, bound=truth * (1 + slack): claim_at_most(e, bound, name="upper")  # noqa: E731
        else:
            compare = lambda e, bound=truth * (1 - slack): claim_at_most(bound, e, name="lower")  # noqa: E731
        claim = decide(estimate, compare, alpha=alphas[i], seed=seed, name=f"{kind} {i}", rounds=rounds)
        found[claim.verdict] += 1
        draws += claim.parameters["draws"]
    return found, draws


# ---- the usual procedure -----------------------------------------------------------------------------------------------------------------


def usual(p, bound, rng, first=200, looks=6):
    """Its verdict on "probability <= bound": intervals mean ± 1.96 s / sqrt(n) of one growing sample, the first that decides."""
    k = n = 0
    for size in first * 4 ** np.arange(looks):
        k, n = k + rng.binomial(size - n, p), size
        half = 1.96 * math.sqrt(k / n * (1 - k / n) / (n - 1))
        if k / n - half > bound:
            return "refuted"
        if k / n + half <= bound:
            return "verified"
    return "inconclusive"


def ours(p, bound, alpha, seed, name):
    return decide(partial(frequency, p), lambda e: claim_at_most(e, bound, name=name), alpha=alpha, seed=seed, name=name, rounds=6, n=200).verdict


def most(count, probability):
    """So many errors that more of them have probability below LEVEL."""
    return int(stats.binom.isf(LEVEL, count, probability))


def beside(boundary, rare, suites, seed):
    """Three experiments: (label, repetitions, the usual procedure's errors, ours)."""
    rng = np.random.default_rng([seed, 1])
    theirs = Counter(usual(0.5, 0.5, rng) for _ in range(boundary))
    here = Counter(ours(0.5, 0.5, 0.01, seed, f"boundary {i}") for i in range(boundary))
    yield "E f = b: refuted", boundary, theirs["refuted"], here["refuted"]
    yield "E f = b: verified", boundary, theirs["verified"], here["verified"]
    theirs = sum(usual(1e-3, 9e-4, rng) == "verified" for _ in range(rare))
    yield "rare event, 1e-3 <= 9e-4: verified", rare, theirs, sum(ours(1e-3, 9e-4, 0.01, seed, f"rare {i}") == "verified" for i in range(rare))
    alphas = shares(0.05, [1.0] * 60)
    theirs = sum(any(usual(0.5, 0.5, rng) == "refuted" for _ in range(60)) for _ in range(suites))
    seeds = [np.random.SeedSequence([seed, k]) for k in range(suites)]
    here = sum(any(ours(0.5, 0.5, alpha, s, f"check {i}") == "refuted" for i, alpha in enumerate(alphas)) for s in seeds)
    yield "suites of 60 checks at E f = b: one refuted", suites, theirs, here


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m validation.verdicts", description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of everything")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    share = 10 if options.quick else 1
    count, repetitions = 300 // share, {"boundary": 2000 // share, "rare": 1000 // share, "suites": 200 // share}
    began = time.perf_counter()

    alphas = shares(TOTAL, [1.0] * (3 * count))
    groups = {"true": "true, 10 to 20 % to spare", "false": "false by 10 %", "exact": "exact"}
    found = {kind: verdicts(kind, count, alphas, options.seed) for kind in groups}
    print(f"{3 * count} claims, error probability {TOTAL:g} over all of them\n")
    rows = [(groups[k], str(count), *(str(v[w]) for w in ("verified", "refuted", "inconclusive")), f"{n:.1e}") for k, (v, n) in found.items()]
    table(("claim", "number", "verified", "refuted", "inconclusive", "draws"), rows)

    rows = list(beside(**repetitions, seed=options.seed))
    print("wrong verdicts of the usual procedure (95 %, six looks), and of escalation at 1 % per claim or 5 % per suite\n")
    table(("experiment", "repetitions", "usual", "here"), [(text, *map(str, numbers)) for text, *numbers in rows])

    (_, n, refuted, here), (_, _, verified, there), (_, m, rare, missed), (_, k, suites, false) = rows
    near = lambda x, n, p: abs(x - n * p) <= 6 * math.sqrt(n * p * (1 - p)) + 1  # noqa: E731
    status = findings([
        (f"all {count} true claims are verified", found["true"][0] == {"verified": count}),
        (f"all {count} false claims are refuted", found["false"][0] == {"refuted": count}),
        (f"none of {count} exact claims is decided", found["exact"][0] == {"inconclusive": count}),
        ("the usual procedure refutes 12 % of the boundary claims, which are true", near(refuted, n, 0.119)),
        ("and verifies 12 % of them, for no better reason", near(verified, n, 0.119)),
        ("it verifies 82 % of false claims about a rare event: until it has occurred the interval has width 0", near(rare, m, 0.821)),
        ("almost every suite of 60 boundary claims has a refuted one", suites >= 0.95 * k),
        (f"here the boundaries decided are what 1 % allows, at most {most(n, 0.01)}", here + there <= most(n, 0.01)),
        (f"the rare events misjudged are what 1 % allows, at most {most(m, 0.01)}", missed <= most(m, 0.01)),
        (f"the suites with a refuted claim are what 5 % allows, at most {most(k, 0.05)}", false <= most(k, 0.05)),
    ])  # fmt: skip
    print(f"\n{time.perf_counter() - began:.0f} s")
    return status


if __name__ == "__main__":
    sys.exit(main())
