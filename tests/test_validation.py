"""The validation scripts on a handful of cases, and that they would notice: a value off by 2e-12, an interval too narrow, a lax verdict."""

import math

import numpy as np
import pytest

import scoresde as sd
from scoresde.theorems.escalation import shares
from validation import divergences, findings, reference, verdicts


def test_a_handful_of_pairs_agrees_with_128_bits():
    rows, claims = divergences.deterministic(0, 3, 1)
    assert [name for name, *_ in rows] == list(divergences.EXACT) and len(rows) == 8
    assert all(holds for _, holds in claims), claims


def test_the_reference_knows_closed_forms():
    """Two Gaussians, where every divergence is elementary; the reference integrates."""
    m, v = 0.75, 0.5
    p, q = (reference.Mixture(sd.GaussianMixture([1.0], [[a]], b)) for a, b in ((m, v), (0.0, 1.0)))
    found = reference.integrals(p, q)
    expected = {
        "kullback_leibler": 0.5 * (v + m * m - 1 - math.log(v)),
        "hellinger": math.sqrt(1 - math.sqrt(2 * math.sqrt(v) / (1 + v)) * math.exp(-m * m / (4 * (1 + v)))),
        "chi_squared": math.exp(m * m / (2 - v)) / math.sqrt(v * (2 - v)) - 1,
        "fisher_divergence": m * m + (1 - v) ** 2 / v,
    }
    for name, value in expected.items():
        assert float(found[name]) == pytest.approx(value, rel=1e-14)  # a dozen roundings of the closed form
    assert float(reference.wasserstein2(p, q)) == pytest.approx(math.hypot(m, 1 - math.sqrt(v)), rel=1e-14)
    shifted = reference.Mixture(sd.GaussianMixture([1.0], [[m]], 1.0))
    assert float(reference.total_variation(shifted, q)) == pytest.approx(math.erf(m / math.sqrt(8)), rel=1e-14)
    assert float(reference.wasserstein1(shifted, q)) == pytest.approx(m, rel=1e-14)


def test_a_wrong_value_or_a_narrow_interval_is_noticed():
    p, q = divergences.pair(0, 0)
    with reference.working():
        truth = reference.total_variation(reference.Mixture(p), reference.Mixture(q))
        e = sd.total_variation(p, q)
        error, share, covers = divergences.confronted(e, truth)
        assert error <= divergences.TOLERANCE and share <= 1 and covers
        off = divergences.confronted(sd.Enclosure.near(e.value + 2e-12, 1e-9), truth)
        assert off[0] > divergences.TOLERANCE and off[2]
        assert not divergences.confronted(sd.Enclosure.near(e.value + 2e-12, 1e-12), truth)[2]
        assert divergences.confronted(sd.Enclosure(1.0, math.inf, "deterministic"), 2 * truth)[2] == (float(truth) >= 0.5)


def test_intervals_that_are_too_narrow_miss_more_often_than_they_may():
    """Half the width at n = 200 is about 1.8 standard errors: some 3 % of the truths lie outside, 10 of 300 where 1e-3 allows 8."""
    found = divergences.misses(0, 300, [*divergences.INTERVALS[:1], divergences.CONTROL])
    assert found[divergences.INTERVALS[0][0]][0] <= 8  # P(more than 8 of 300 at 1e-3) = 2e-9
    assert found[divergences.CONTROL[0]][0] > found[divergences.INTERVALS[0][0]][0]


def test_a_few_verdicts_of_each_kind_are_right():
    alphas = shares(verdicts.TOTAL, [1.0] * 18)
    for kind, verdict in (("true", "verified"), ("false", "refuted"), ("exact", "inconclusive")):
        found, draws = verdicts.verdicts(kind, 6, alphas, 1)
        assert found == {verdict: 6} and draws > 6000


def test_the_usual_procedure_errs_where_ours_does_not():
    rng = np.random.default_rng(0)
    usual = [verdicts.usual(1e-3, 9e-4, rng) for _ in range(100)]
    here = [verdicts.ours(1e-3, 9e-4, 1e-6, 0, f"rare {i}") for i in range(100)]
    assert usual.count("verified") > 60  # 82 expected, sd 4
    assert "verified" not in here


def test_a_finding_that_fails_is_an_exit_status(capsys):
    assert findings([("a", True)]) == 0
    assert findings([("a", True), ("b", False)]) == 1
    assert "FAILED  b" in capsys.readouterr().out
