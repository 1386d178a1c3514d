"""Divergences of random mixtures on the line against 30 digits, and what the sampled intervals miss.

    python -m validation.divergences [--quick] [--seed N]

1000 pairs of mixtures of one to four components, means in [-4, 4], standard deviations in [0.2, 1.5]: every deterministic value agrees with
an independent one of 128 bits within 1e-12 max(1, |value|), and the stated interval covers it every time; W2 on 20 of them. 10 000 pairs:
sampled intervals at alpha = 1e-3 miss the truth no more often than that allows; halved, they do.
"""

import argparse
import math
import sys
import time

import numpy as np
from scipy import stats

import scoresde as sd
from scoresde.divergence import sampled, witness

from . import findings, reference, table

TOLERANCE = 1e-12
ALPHA = 1e-3
LEVEL = 1e-9  # at which a count of misses is called too many
DRAWS = 200
EXACT = (
    "total_variation", "kullback_leibler", "hellinger", "jensen_shannon", "chi_squared", "fisher_divergence", "wasserstein1", "wasserstein2",
)  # fmt: skip


def mixture(rng):
    count = rng.integers(1, 5)
    return sd.GaussianMixture(rng.dirichlet(np.ones(count)), rng.uniform(-4, 4, (count, 1)), rng.uniform(0.2, 1.5, count) ** 2)


def pair(seed, i):
    """The i-th pair of laws, whatever the others are."""
    rng = np.random.default_rng([seed, i])
    return mixture(rng), mixture(rng)


# ---- deterministic values ----------------------------------------------------------------------------------------------------------------


def truths(p, q, *, transport=False):
    """{name: value of 128 bits}, without chi_squared where that is infinite."""
    p, q = reference.Mixture(p), reference.Mixture(q)
    found = {**reference.integrals(p, q), "total_variation": reference.total_variation(p, q), "wasserstein1": reference.wasserstein1(p, q)}
    return found | ({"wasserstein2": reference.wasserstein2(p, q)} if transport else {})


def confronted(e, truth):
    """(|value - truth| / max(1, |truth|), |value - truth| / half-width, does the interval hold the truth) of an Enclosure."""
    above = math.isinf(e.hi) or float(reference.number(e.hi) - truth) >= 0
    covers = e.lo < math.inf and float(truth - reference.number(e.lo)) >= 0 and above
    if e.value is None:  # beyond floating point: an interval [1.8e308, inf]
        return None, None, covers
    error = abs(float(truth - reference.number(e.value)))
    return error / max(1.0, abs(float(truth))), error / (0.5 * e.width) if e.width else math.inf if error else 0.0, covers


def deterministic(seed, count, transported):
    """Rows of the first table, and findings about them."""
    seen, infinite, doubled = {name: [] for name in EXACT}, [], 0.0
    for i in range(count):
        p, q = pair(seed, i)
        truth = truths(p, q, transport=i < transported)
        for name, value in truth.items():
            seen[name].append(confronted(getattr(sd, name)(p, q), value))
        if "chi_squared" not in truth:
            infinite.append(sd.chi_squared(p, q))
        if i % 50 == 0:
            again = reference.integrals(reference.Mixture(p), reference.Mixture(q), halved=True)
            doubled = max(doubled, *(abs(float((again[name] - truth[name]) / again[name])) for name in again))
    rows, claims = [], []
    for name, found in seen.items():
        known = [(error, share) for error, share, _ in found if error is not None]
        worst, fullest, outside = max(e for e, _ in known), max(s for _, s in known), sum(not covers for *_, covers in found)
        rows.append((name, str(len(found)), f"{worst:.1e}", f"{fullest:.2f}", str(sum(e > TOLERANCE for e, _ in known)), str(outside)))
        claims += [
            (f"{name}: all {len(known)} values within {TOLERANCE:g} max(1, |value|)", worst <= TOLERANCE),
            (f"{name}: every interval covers the truth", outside == 0),
        ]
    claims += [
        (f"chi_squared: {len(infinite)} of {count} are infinite, and are proved to be", all(e.lo == math.inf for e in infinite)),
        (f"the reference on panels half as long: the same to {doubled:.0e}", doubled < 1e-18),
    ]
    return rows, claims


# ---- sampled intervals -------------------------------------------------------------------------------------------------------------------


def drawn(law, seed, which):
    return law.sample(DRAWS, np.random.SeedSequence([seed, which]))


def _densities(f):
    return lambda p, q, seed: f(p, q, n=DRAWS, seed=seed, alpha=ALPHA)


def _sample(f):
    return lambda p, q, seed: f(drawn(p, seed, 0), q, alpha=ALPHA)


def _samples(f):
    return lambda p, q, seed: f(drawn(p, seed, 0), drawn(q, seed, 1), alpha=ALPHA)


def _halved(f):
    def interval(p, q, seed):
        e = f(p, q, n=DRAWS, seed=seed, alpha=ALPHA)
        return sd.Enclosure.near(e.value, 0.25 * e.width, e.level, e.alpha)

    return interval


INTERVALS = [
    ("total variation, both densities", sd.total_variation, _densities(sampled.total_variation)),
    ("Hellinger, both densities", sd.hellinger, _densities(sampled.hellinger)),
    ("Jensen-Shannon, both densities", sd.jensen_shannon, _densities(sampled.jensen_shannon)),
    ("Kullback-Leibler, both densities", sd.kullback_leibler, _densities(sampled.kullback_leibler)),
    ("chi-squared, both densities", sd.chi_squared, _densities(sampled.chi_squared)),
    ("total variation, a sample and a law", sd.total_variation, _sample(witness.total_variation)),
    ("total variation, two samples", sd.total_variation, _samples(witness.total_variation)),
    ("Kolmogorov, a sample and a law", sd.kolmogorov, _sample(sd.kolmogorov)),
    ("Kolmogorov, two samples", sd.kolmogorov, _samples(witness.kolmogorov)),
]
CONTROL = ("total variation, both densities, half the interval", sd.total_variation, _halved(sampled.total_variation))


def misses(seed, count, intervals):
    """{label: (number of pairs whose truth lies outside, median width)}."""
    out, width = dict.fromkeys((label for label, *_ in intervals), 0), {label: [] for label, *_ in intervals}
    for i in range(count):
        p, q = pair(seed, i)
        exact = {f: f(p, q) for f in {f for _, f, _ in intervals}}
        for label, f, interval in intervals:
            e, truth = interval(p, q, (seed << 32) + i), exact[f]
            out[label] += e.hi < truth.lo or e.lo > truth.hi
            width[label].append(e.width)
    return {label: (out[label], float(np.median(width[label]))) for label in out}


def sampled_intervals(seed, count):
    found = misses(seed, count, [*INTERVALS, CONTROL])
    allowed = int(stats.binom.isf(LEVEL, count, ALPHA))
    rows = [(label, str(count), str(missed), str(allowed), f"{width:.2g}") for label, (missed, width) in found.items()]
    claims = [(f"{label}: {found[label][0]} misses, at most {allowed} at alpha = {ALPHA:g}", found[label][0] <= allowed) for label, *_ in INTERVALS]
    missed = found[CONTROL[0]][0]
    return rows, [*claims, (f"control: {CONTROL[0]} misses {missed} times, which is noticed", missed > allowed)]


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m validation.divergences", description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="40 pairs, W2 on one, and 1000 pairs for the sampled intervals")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    pairs, transported, many = (40, 1, 1000) if options.quick else (1000, 20, 10_000)
    clock = time.perf_counter

    began = clock()
    rows, claims = deterministic(options.seed, pairs, transported)
    print(f"{pairs} pairs of mixtures against {reference.BITS} bits ({reference.ENGINE}), {clock() - began:.0f} s\n")
    table(("divergence", "pairs", "worst error", "worst error / half-width", f"beyond {TOLERANCE:g}", "not covered"), rows)

    began = clock()
    rows, more = sampled_intervals(options.seed, many)
    print(f"intervals from {DRAWS} draws a law at alpha = {ALPHA:g}, {clock() - began:.0f} s\n")
    table(("interval", "pairs", "misses", "allowed", "median width"), rows)
    return findings([*claims, *more])


if __name__ == "__main__":
    sys.exit(main())
