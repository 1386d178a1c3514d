r"""Escalation: the budget is never exceeded, a wrong estimate is found out, no check moves another's draws, and as few draws are made as it takes."""

import hashlib
import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoresde.divergence import concentration
from scoresde.enclosure import Enclosure
from scoresde.theorems.claim import claim_at_most, claim_equal, claim_over, claim_rate, not_applicable
from scoresde.theorems.escalation import decide, draws_to_decide, shares, within_budget

ALPHA = 1e-6


def bernoulli(p, calls=None):
    """The mean of n draws that are 1 with probability p, with its empirical Bernstein interval."""

    def estimate(n, alpha, seed):
        if calls is not None:
            calls.append((n, alpha, seed))
        x = np.random.default_rng(seed).random(n) < p
        return Enclosure(*concentration.empirical_bernstein(x, alpha), "finite-sample", alpha, float(np.mean(x)), "empirical Bernstein")

    return estimate


def naive(p):
    """The same mean with the 95 % interval of the central limit theorem, passed off as a finite-sample one: the negative control."""

    def estimate(n, alpha, seed):
        x = np.random.default_rng(seed).random(n) < p
        return Enclosure.near(float(np.mean(x)), concentration.normal(x, 0.05), "finite-sample", alpha)

    return estimate


def below(bound, **how):
    return lambda e: claim_at_most(e, bound, name="below", **how)


def run(estimate, compare, *, alpha=ALPHA, seed=0, name="check", **how):
    return decide(estimate, compare, alpha=alpha, seed=seed, name=name, **how)


# ---- the budget --------------------------------------------------------------------------------------------------------------------------


@given(st.floats(1e-12, 0.5), st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=20))
def test_shares_are_proportional_and_add_up(alpha, weights):
    parts = shares(alpha, weights)
    # n sums and quotients of positive numbers: n + 2 roundings
    assert sum(parts) == pytest.approx(alpha, rel=(len(weights) + 2) * 2**-52)
    for (a, v), (b, w) in itertools.pairwise(zip(parts, weights)):
        assert a * w == pytest.approx(b * v, rel=8 * 2**-52)


def test_every_round_gets_its_part_of_the_budget_and_four_times_the_draws():
    calls = []
    claim = run(bernoulli(0.3, calls), below(0.3), rounds=5, n=100)
    assert [n for n, _, _ in calls] == [100, 400, 1600, 6400, 25600]
    assert all(alpha == ALPHA / 5 for _, alpha, _ in calls)
    assert claim.verdict == "inconclusive"
    assert {k: claim.parameters[k] for k in ("n", "rounds", "draws")} == {"n": 25600, "rounds": 5, "draws": 34100}
    assert claim.lhs.alpha == pytest.approx(ALPHA, rel=1e-12) and claim.alpha == claim.lhs.alpha


def test_an_estimate_that_spends_more_than_it_was_given_is_refused():
    greedy = lambda n, alpha, seed: Enclosure(0, 1, "finite-sample", 1e-6)  # noqa: E731
    with pytest.raises(ValueError, match="pass alpha on"):
        run(greedy, below(2))
    twice = lambda n, alpha, seed: (bernoulli(0.2)(n, alpha, seed), bernoulli(0.3)(n, alpha, seed))  # noqa: E731
    with pytest.raises(ValueError, match="pass alpha on"):
        run(twice, lambda a, b: claim_at_most(a, b, name="c"))


def test_a_claim_beyond_its_share_of_the_budget_decides_nothing():
    sampled = Enclosure(0.1, 0.2, "finite-sample", 1e-7)
    sweep = claim_over([claim_at_most(sampled * k, 1, name="c") for k in (1, 2, 3, 4)], name="sweep")
    assert within_budget(sweep, 4e-7) is sweep and sweep.verdict == "verified"
    claim = within_budget(sweep, 3e-7)
    assert claim.verdict == "inconclusive" and "4.0e-07" in claim.reason and "3.0e-07" in claim.reason
    absent = not_applicable("c", "why")
    assert within_budget(absent, 1e-9) is absent


# ---- stopping ----------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("p, bound, verdict", [(0.3, 0.5, "verified"), (0.3, 0.35, "verified"), (0.3, 0.25, "refuted"), (0.02, 0.01, "refuted")])
def test_it_stops_at_the_first_round_that_decides(p, bound, verdict):
    claim = run(bernoulli(p), below(bound))
    assert claim.verdict == verdict
    k = claim.parameters["rounds"]
    assert claim.parameters["n"] == 1000 * 4 ** (k - 1)
    for fewer in range(1, k):  # the same seeds and levels, one round fewer at a time: still open
        assert run(bernoulli(p), below(bound), rounds=fewer, alpha=ALPHA * fewer / 8).verdict == "inconclusive"


def test_the_draws_of_the_formula_decide():
    """30 gaps in one round each. At 3n the half-width is .53 of the gap, and the mean 5.6 standard errors below the bound it would have to
    pass (a failure in 30 has probability 3e-7); at n/3 the half-width is 1.9 gaps, and the mean must be 3.5 standard errors off to decide."""
    gap, p = 0.02, 0.1
    n = draws_to_decide(p * (1 - p), gap, alpha=ALPHA, rounds=1)
    many, few = ([run(bernoulli(p), below(p + gap), seed=s, rounds=1, n=m).verdict for s in range(30)] for m in (3 * n, n // 3))
    assert many == ["verified"] * 30
    assert few.count("verified") < 5
    assert draws_to_decide(0.09, gap, alpha=ALPHA, rounds=8) > n  # eight looks cost a little


def test_a_claim_left_open_says_how_many_draws_it_would_take():
    claim = run(bernoulli(0.3), below(0.301), rounds=3)
    assert "not decided by 3 rounds" in claim.reason and "draws would" in claim.reason
    blank = run(lambda n, alpha, seed: Enclosure(0, 1, "finite-sample", alpha), below(0.5), rounds=2)
    assert "not decided" in blank.reason and "would" not in blank.reason


def test_rounds_that_cannot_help_are_not_run():
    calls = []
    vacuous = run(bernoulli(0.3, calls), below(1.0, trivial=1.0))
    assert vacuous.verdict == "inconclusive" and vacuous.vacuous and len(calls) == 1
    calls.clear()
    absent = run(bernoulli(0.3, calls), below(1.0, assumptions=[("two moments", False)]))
    assert absent.verdict == "not applicable" and "two moments" in absent.reason and len(calls) == 1
    guess = lambda n, alpha, seed: calls.append(n) or Enclosure(0.1, 0.2, "heuristic")  # noqa: E731
    calls.clear()
    assert run(guess, below(1.0)).verdict == "inconclusive" and len(calls) == 1


# ---- intersections -----------------------------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.floats(0, 0.5), st.floats(0.5, 1), st.booleans()), min_size=1, max_size=6))
def test_what_is_compared_is_the_intersection_of_all_rounds(boxes):
    given_, seen = iter(boxes), []

    def estimate(n, alpha, seed):
        lo, hi, point = next(given_)
        return Enclosure(lo, hi, "finite-sample", alpha, lo if point else None)

    def compare(e):
        seen.append(e)
        return claim_at_most(e, 0.5, name="c", slack=1e-300) if e.lo < e.hi else claim_equal(0, 0, within=1, name="c")

    run(estimate, compare, rounds=len(boxes))
    for k, e in enumerate(seen):
        assert e.lo == max(lo for lo, _, _ in boxes[: k + 1]) and e.hi == min(hi for _, hi, _ in boxes[: k + 1])
        assert (e.value is not None) == boxes[k][2] and (e.value is None or e.lo <= e.value <= e.hi)


def test_the_weakest_level_of_all_rounds_counts():
    levels = iter(["asymptotic", "finite-sample"])
    claim = run(lambda n, alpha, seed: Enclosure(0.1, 0.2, next(levels), alpha), below(1.0), rounds=2)
    assert claim.verdict == "inconclusive" and "asymptotic" in claim.reason
    assert run(lambda n, alpha, seed: Enclosure(0.1, 0.2, "asymptotic", alpha), below(1.0, decides="asymptotic")).verdict == "verified"


def test_intervals_that_do_not_meet_are_a_bug_and_decide_nothing():
    """The estimate drifts with n, as a biased one does: the second interval alone would verify the claim."""
    drifting = lambda n, alpha, seed: Enclosure.near(1 / math.sqrt(n), 1e-3, "finite-sample", alpha)  # noqa: E731
    bound = 1 / math.sqrt(1000)
    assert below(bound)(drifting(4000, ALPHA, None)).verdict == "verified"
    claim = run(drifting, below(bound))
    assert claim.verdict == "inconclusive" and "do not meet" in claim.reason and "bug" in claim.reason
    assert claim.parameters["rounds"] == 2


def test_several_numbers_at_once():
    """An order of convergence from three sampled errors, each at a third of the level."""

    def estimate(n, alpha, seed):
        words = seed.spawn(3)
        return tuple(bernoulli(h)(n, alpha / 3, s) for h, s in zip((0.4, 0.2, 0.1), words))

    compare = lambda order: lambda *e: claim_rate((0.4, 0.2, 0.1), e, order=order, relation=">=", within=0.1, name="rate")  # noqa: E731
    claim, control = run(estimate, compare(1.0)), run(estimate, compare(1.5))
    assert claim.verdict == "verified" and control.verdict == "refuted"
    assert claim.lhs.alpha <= ALPHA


# ---- seeds -------------------------------------------------------------------------------------------------------------------------------


def draws_of(names, seed=7):
    """The first draws of every round of every check in a suite, by name."""
    out = {}
    for name in names:
        calls = []
        run(bernoulli(0.5, calls), below(0.5), seed=seed, name=name, rounds=3, n=10)
        out[name] = [np.random.default_rng(s).random() for _, _, s in calls]
    return out


def test_adding_a_check_never_changes_another():
    few, many = draws_of(["a", "b"]), draws_of(["new", "b", "another", "a"])
    assert few["a"] == many["a"] and few["b"] == many["b"]
    everything = list(itertools.chain(*many.values(), *draws_of(["a", "b"], seed=8).values()))
    assert len(set(everything)) == len(everything) == 18  # no two rounds, checks or suites share a stream


def test_seeds_come_from_sha256_of_the_name_and_the_seed_of_the_suite():
    """Never from hash(), which differs between processes."""
    calls = []
    run(bernoulli(0.5, calls), below(0.5), seed=41, name="TV of gm3", rounds=2, n=10)
    word = int.from_bytes(hashlib.sha256(b"TV of gm3").digest()[:8], "little")
    for (_, _, got), expected in zip(calls, np.random.SeedSequence([word, 41]).spawn(2)):
        assert got.entropy == expected.entropy and got.spawn_key == expected.spawn_key


def test_no_seed_no_draws():
    with pytest.raises(ValueError, match="seed"):
        run(bernoulli(0.5), below(0.5), seed=None)


# ---- never wrong -------------------------------------------------------------------------------------------------------------------------


def test_a_false_claim_is_never_verified_and_a_boundary_never_decided():
    """60 boundary claims and 60 claims false by a tenth of a rare event, at a budget of 1e-6 over all of them: no wrong verdict.

    The naive procedure looks six times at a 95 % interval. A boundary is decided by at least one look with probability .2, so fewer than 2
    of 60 have probability 2e-5; a rare event that has not occurred yet has an interval of width 0, which is far likelier than not at n = 100.
    """
    share = shares(1e-6, [1.0] * 120)[0]
    wrong = {bernoulli: 0, naive: 0}
    for make in wrong:
        for i in range(60):
            wrong[make] += run(make(0.5), below(0.5), alpha=share, name=f"boundary {i}", rounds=6, n=100).verdict in ("verified", "refuted")
            wrong[make] += run(make(1e-3), below(9e-4), alpha=share, name=f"rare {i}", rounds=6, n=100).verdict == "verified"
    assert wrong[bernoulli] == 0
    assert wrong[naive] > 40


@pytest.mark.parametrize(
    "bad, match",
    [({"alpha": 0.0}, "alpha"), ({"alpha": 1.0}, "alpha"), ({"alpha": math.nan}, "alpha"), ({"rounds": 0}, "rounds"), ({"n": 0}, "n:")],
)
def test_bad_arguments_are_refused_before_any_draw(bad, match):
    with pytest.raises(ValueError, match=match):
        run(lambda *_: pytest.fail("drew"), below(0.5), **bad)


def test_bare_numbers_and_wrong_claims_are_refused():
    """A float would pass for an exact constant and be believed."""
    with pytest.raises(TypeError, match=r"estimate: got float.*Enclosure"):
        run(lambda n, alpha, seed: 0.3, below(0.5))
    with pytest.raises(ValueError, match="NaN"):
        run(lambda n, alpha, seed: Enclosure.near(math.nan, 0.1), below(0.5))
    with pytest.raises(TypeError, match="compare: got bool"):
        run(bernoulli(0.3), lambda e: e.hi < 0.5)


@pytest.mark.parametrize("weights", [[], [1, 0], [1, -1], [math.inf], 3.0])
def test_bad_weights_are_refused(weights):
    with pytest.raises(ValueError, match="weights"):
        shares(1e-6, weights)


@pytest.mark.parametrize("variance, gap", [(-0.1, 0.1), (0.3, 0.1), (0.1, 0.0), (0.1, math.nan)])
def test_bad_plans_are_refused(variance, gap):
    with pytest.raises(ValueError, match=r"variance|gap"):
        draws_to_decide(variance, gap, alpha=1e-6)
