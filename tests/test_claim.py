"""Verdicts: every branch of claim_at_most, claim_equal, claim_rate and claim_over, and what a Claim refuses to do."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoresde.enclosure import LEVELS, Enclosure
from scoresde.errors import NotVerified
from scoresde.theorems.claim import VERDICTS, Claim, Statement, claim_at_most, claim_equal, claim_over, claim_rate, not_applicable, states

INF = math.inf


def box(lo, hi, level="deterministic", alpha=0.0):
    return Enclosure(lo, hi, level, alpha)


def at_most(lhs, rhs, **how):
    return claim_at_most(lhs, rhs, name="c", **how)


def equal(lhs, rhs, **how):
    return claim_equal(lhs, rhs, name="c", **how)


numbers = st.floats(-1e6, 1e6)
boxes = st.builds(lambda a, b, level: box(min(a, b), max(a, b), level), numbers, numbers, st.sampled_from(LEVELS[:3]))


@given(boxes, boxes, st.floats(0, 10))
def test_at_most_decides_exactly_when_no_point_of_the_boxes_contradicts(lhs, rhs, slack):
    """Verified: every pair of points satisfies x <= y + slack. Refuted: none does. Else inconclusive (up to the outward ulp)."""
    verdict = at_most(lhs, rhs, slack=slack).verdict
    gap = lhs - rhs
    assert verdict == ("verified" if gap.hi <= slack else "refuted" if gap.lo > slack else "inconclusive")
    if verdict == "verified":
        assert lhs.hi - rhs.lo <= slack * (1 + 1e-15) + 1e-300
    if verdict == "refuted":
        assert lhs.lo - rhs.hi > slack * (1 - 1e-15)


@given(boxes, boxes, st.floats(1e-3, 10), st.floats(0, 1))
def test_equal_is_an_equivalence_test(lhs, rhs, within, slack):
    gap, verdict = lhs - rhs, equal(lhs, rhs, within=within, slack=slack).verdict
    inside = -within <= gap.lo - slack and gap.hi + slack <= within
    outside = gap.lo - slack > within or gap.hi + slack < -within
    assert not (inside and outside)
    assert verdict == ("verified" if inside else "refuted" if outside else "inconclusive")


@pytest.mark.parametrize(
    "lhs, rhs, verdict",
    [(1, 2, "verified"), (2, 2, "verified"), (2, 1, "refuted"), (box(0, 3), 2, "inconclusive"), (-INF, -5, "verified"),
     (INF, 5, "refuted"), (box(0, INF), 5, "inconclusive"), (3, INF, "inconclusive"), (INF, INF, "inconclusive"), (3, box(1, INF), "inconclusive")],
)  # fmt: skip
def test_at_most_with_numbers_and_infinities(lhs, rhs, verdict):
    claim = at_most(lhs, rhs)
    assert claim.verdict == verdict
    assert (claim.reason == "") == (verdict == "verified" or lhs == 2)
    assert claim.relation == "<=" and claim.vacuous == (rhs == INF)


def test_wide_interval_around_zero_is_not_an_equality():
    """Containing 0 is not enough: all of the interval must lie within the tolerance."""
    assert equal(box(-1, 1), 0, within=0.5).verdict == "inconclusive"
    assert equal(box(-0.4, 0.4), 0, within=0.5).verdict == "verified"
    assert equal(box(0.6, 1), 0, within=0.5).verdict == equal(box(-1, -0.6), 0, within=0.5).verdict == "refuted"
    assert equal(box(-0.4, 0.4), 0, within=0.5, slack=0.2).verdict == "inconclusive"
    assert equal(box(0.6, 1), 0, within=0.5, slack=0.2).verdict == "inconclusive"


def test_equal_with_infinities():
    assert equal(INF, INF, within=1).verdict == "verified"
    assert equal(INF, 3, within=1).verdict == equal(3, INF, within=1).verdict == "refuted"
    assert equal(box(0, INF), box(0, INF), within=1).verdict == "inconclusive"


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("decides", LEVELS)
def test_only_strong_enough_numbers_decide(level, decides):
    strong = LEVELS.index(level) <= LEVELS.index(decides)
    for claim, verdict in (
        (at_most(box(0, 0, level), 1, decides=decides), "verified"), (at_most(2, box(1, 1, level), decides=decides), "refuted"),
        (equal(box(0, 0, level), 0, within=1, decides=decides), "verified"), (equal(box(3, 3, level), 0, within=1, decides=decides), "refuted"),
    ):  # fmt: skip
        assert claim.verdict == (verdict if strong else "inconclusive")
        assert strong or level in claim.reason


def test_by_default_asymptotic_and_heuristic_do_not_decide():
    assert [at_most(box(0, 0, level), 1).verdict for level in LEVELS] == ["verified"] * 3 + ["inconclusive"] * 2
    assert at_most(box(INF, INF, "heuristic"), 1).verdict == "inconclusive"


def test_a_right_side_beyond_the_trivial_bound_is_vacuous_and_never_verified():
    claim = at_most(0.5, 1.0, trivial=1.0)
    assert claim.vacuous and claim.verdict == "inconclusive" and "vacuous" in claim.reason
    assert at_most(0.5, box(0.9, 1.1), trivial=1.0).verdict == "verified"  # it may be below
    assert at_most(2.0, 1.5, trivial=1.0).verdict == "refuted"  # but a violation is one


def test_a_failing_assumption_wins_over_every_verdict():
    assumptions = [("two moments", True), ("finite information", False)]
    for claim in (at_most(0, 1, assumptions=assumptions), at_most(1, 0, assumptions=assumptions), equal(0, 0, within=1, assumptions=assumptions)):
        assert claim.verdict == "not applicable"
        assert "finite information" in claim.reason and "two moments" not in claim.reason
        assert claim.assumptions == (("two moments", True), ("finite information", False))
    assert at_most(0, 1, assumptions=assumptions[:1]).verdict == "verified"


@pytest.mark.parametrize("bad", [{"slack": -1}, {"slack": math.nan}, {"decides": "certain"}])
def test_bad_arguments_are_refused(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        at_most(0, 1, **bad)


def test_bad_tolerances_are_refused():
    for within in (0, -1, INF, math.nan):
        with pytest.raises(ValueError, match="within"):
            equal(0, 0, within=within)
        with pytest.raises(ValueError, match="within"):
            rate([1, 1, 1], within=within)


def test_sides_are_enclosures_or_numbers():
    for make in (at_most, lambda lhs, rhs: equal(lhs, rhs, within=1)):
        with pytest.raises(TypeError, match="lhs: got object"):
            make(object(), 1)
        with pytest.raises(TypeError, match="rhs: got list"):
            make(1, [1])
        with pytest.raises(ValueError, match="NaN"):
            make(math.nan, 1)


# ---- rates -------------------------------------------------------------------------------------------------------------------------------

H = (0.4, 0.2, 0.1, 0.05)


def rate(errors, h=None, order=1.0, relation="=", within=0.1, **how):
    errors = [e if isinstance(e, Enclosure) else Enclosure.near(e, 1e-12) for e in errors]
    return claim_rate(h or H[: len(errors)], errors, order=order, relation=relation, within=within, name="rate", **how)


@pytest.mark.parametrize("order", [0.5, 1.0, 2.0])
def test_rate_of_a_pure_power(order):
    errors = [3 * h**order for h in H]
    assert rate(errors, order=order).verdict == rate(errors, order=order, relation=">=").verdict == "verified"
    assert rate(errors, order=order + 0.3).verdict == rate(errors, order=order + 0.3, relation=">=").verdict == "refuted"
    assert rate(errors, order=order - 0.3).verdict == "refuted"  # "=" is two-sided
    assert rate(errors, order=order - 0.3, relation=">=").verdict == "verified"  # "at least" is not
    assert rate(errors, order=order).lhs.value == pytest.approx(order, abs=1e-9)
    assert rate(errors, order=order, relation=">=").relation == ">="


def test_the_finest_slope_decides_once_two_agree():
    settled = [1.0, 0.3, 0.1, 0.1 / 2**1.02]  # slopes 1.74, 1.58, 1.02: the last two differ
    assert rate(settled, within=0.1).verdict == "inconclusive"
    assert "not settled" in rate(settled).reason
    slopes = [1.0, 0.3, 0.3 / 2**1.05, 0.3 / 2**2.06]  # 1.74, 1.05, 1.01
    assert rate(slopes).verdict == "verified"


def test_rate_without_point_values_is_judged_by_its_interval():
    """Enclosures without a point estimate: the settled guard must use their bounds (a missing value is not a change of 0)."""
    loose = [Enclosure(x * 0.5, x * 2, "deterministic") for x in (0.4, 0.2, 0.1)]
    assert rate(loose).verdict == "inconclusive" and "not settled" in rate(loose).reason
    tight = [Enclosure(x * (1 - 1e-6), x * (1 + 1e-6), "deterministic") for x in (0.4, 0.2, 0.1)]
    assert rate(tight).verdict == "verified"


def test_rate_at_the_noise_floor_is_inconclusive():
    floor = [Enclosure.near(1.0, 0.1), Enclosure.near(0.5, 0.1), Enclosure.near(0.0, 0.1)]
    assert rate(floor).verdict == rate(floor, relation=">=").verdict == "inconclusive"
    assert "bounded away" in rate(floor).reason
    wide = [Enclosure.near(x, 0.3 * x) for x in (0.4, 0.2, 0.1)]
    assert rate(wide).verdict == "inconclusive"


def test_rate_with_a_failing_assumption_is_not_applicable():
    for errors in ([0.4, 0.2, 0.1], [1.0, 0.9, 0.1]):
        assert rate(errors, assumptions=[("smooth", False)]).verdict == "not applicable"


def test_rate_arguments():
    with pytest.raises(ValueError, match="at least 3"):
        rate([1, 0.5])
    with pytest.raises(ValueError, match="decreasing"):
        rate([1, 1, 1], h=(0.1, 0.2, 0.3))
    with pytest.raises(ValueError, match="relation"):
        rate([1, 1, 1], relation="<=")
    assert rate([0.4, 0.2, 0.1]).parameters["h"] == [0.4, 0.2, 0.1]


# ---- sweeps ------------------------------------------------------------------------------------------------------------------------------

GOOD, TIGHT, BAD, OPEN = at_most(1, 4), at_most(3, 4), at_most(5, 4), at_most(box(3, 5), 4)
VACUOUS = at_most(0.5, 2, trivial=1)
NOT_HERE = at_most(0, 1, assumptions=[("two moments", False)])


@pytest.mark.parametrize(
    "claims, verdict",
    [([GOOD], "verified"), ([GOOD, TIGHT], "verified"), ([GOOD, VACUOUS], "verified"), ([GOOD, NOT_HERE], "verified"), ([VACUOUS], "inconclusive"),
     ([GOOD, OPEN], "inconclusive"), ([GOOD, OPEN, BAD], "refuted"), ([BAD, VACUOUS], "refuted"), ([NOT_HERE], "not applicable"),
     ([NOT_HERE, VACUOUS], "inconclusive"), ([NOT_HERE, NOT_HERE], "not applicable"), ([NOT_HERE, BAD], "refuted")],
)  # fmt: skip
def test_verdict_of_a_sweep(claims, verdict):
    sweep = claim_over(claims, name="sweep")
    assert sweep.verdict == verdict and sweep.name == "sweep" and sweep.verdict in VERDICTS
    assert (sweep.reason == "") == (verdict == "verified")
    if verdict != "not applicable":
        assert sweep.parameters["cells"] == len(claims) == len(sweep.cells)
        assert sweep.parameters["vacuous"] == sum(c.vacuous for c in claims) == sum(c.vacuous for c in sweep.cells)


def test_a_sweep_shows_its_worst_cell():
    sweep = claim_over([replace(GOOD, parameters={"t": 1}), replace(TIGHT, parameters={"t": 2})], name="s", terms={"a": 1}, id="X9")
    assert sweep.ratio == 0.75 and sweep.parameters["worst"] == {"t": 2} and sweep.terms == {"a": 1} and sweep.id == "X9"
    assert claim_over([GOOD, BAD, OPEN], name="s").ratio == 1.25
    near, far = equal(1e-9, 0, within=1e-8), equal(1e-3, 0, within=1.0)
    assert claim_over([near, far], name="s").lhs.value == 1e-9  # measured by the tolerance of each cell, not absolutely
    slow, fast = rate([0.4, 0.2, 0.1], relation=">="), rate([0.16, 0.04, 0.01], relation=">=")
    assert claim_over([fast, slow], name="s").lhs.value == pytest.approx(1.0)  # "at least": the smallest slope is the worst
    assert claim_over([slow, fast], name="s").lhs.value == pytest.approx(1.0)


def test_a_sweep_needs_cells_of_one_relation():
    with pytest.raises(ValueError, match="at least one"):
        claim_over([], name="s")
    with pytest.raises(ValueError, match="one relation"):
        claim_over([GOOD, equal(0, 0, within=1)], name="s")


def test_vacuous_sweep_says_so():
    sweep = claim_over([VACUOUS, VACUOUS], name="s")
    assert sweep.vacuous and "vacuous" in sweep.reason
    assert not claim_over([VACUOUS, GOOD], name="s").vacuous


# ---- the object --------------------------------------------------------------------------------------------------------------------------


def test_a_claim_is_not_a_truth_value():
    with pytest.raises(TypeError, match="verdict"):
        bool(GOOD)


def test_require():
    assert GOOD.require() is GOOD
    assert replace(BAD, expected="refuted").require().verdict == "refuted"
    assert OPEN.require(allow=("inconclusive",)) is OPEN
    for claim in (BAD, OPEN, NOT_HERE, replace(GOOD, expected="refuted")):
        with pytest.raises(NotVerified, match=claim.verdict):
            claim.require()


def test_as_expected_also_asks_for_a_refuted_control():
    assert GOOD.as_expected and OPEN.as_expected and NOT_HERE.as_expected and not BAD.as_expected
    assert replace(BAD, expected="refuted").as_expected and not replace(GOOD, expected="refuted").as_expected
    assert replace(GOOD, control=BAD).as_expected
    assert not replace(GOOD, control=GOOD).as_expected and not replace(GOOD, control=OPEN).as_expected


def test_ratio():
    assert at_most(1, 2).ratio == 0.5
    assert at_most(0, 0).ratio == 1.0 and at_most(1, 0).ratio == INF
    assert at_most(INF, 3).ratio == INF
    assert at_most(box(0, 1), 2).ratio is None and not_applicable("c", "why").ratio is None


def test_str_shows_both_sides_and_the_reason():
    assert "1.0" in str(GOOD) and "4.0" in str(GOOD) and "verified" in str(GOOD)
    assert "two moments" in str(NOT_HERE)
    assert str(not_applicable("c", "because", id="Z1")) == "Z1: not applicable [because]"


def test_states_attaches_the_statement():
    info = Statement("Z1", "title", "somebody 1900", "a = b")

    @states(info)
    def theorem(target):
        return Claim("theorem", "verified", "=", None, None)

    assert theorem.info is info and theorem(None).verdict == "verified"
