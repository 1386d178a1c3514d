"""Verdicts: every branch of claim_at_most, claim_equal, claim_rate and claim_over, and what a Claim refuses to do."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoresde.enclosure import LEVELS, Enclosure
from scoresde.errors import NotVerified
from scoresde.theorems.claim import (
    DECIDING,
    VERDICTS,
    Claim,
    Statement,
    claim_at_most,
    claim_equal,
    claim_exists,
    claim_over,
    claim_rate,
    not_applicable,
    states,
)

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
    assert equal(-INF, -INF, within=1).verdict == "verified" and equal(-INF, INF, within=1).verdict == "refuted"
    assert equal(INF, box(3, INF), within=1).verdict == "inconclusive"


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("decides", DECIDING)
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


def test_a_heuristic_number_never_decides():
    """No claim can opt in to it: there is no such option."""
    assert LEVELS[:-1] == DECIDING
    with pytest.raises(ValueError, match=r"decides: got 'heuristic'.*asymptotic"):
        at_most(0, 1, decides="heuristic")
    for number in (box(0, 0, "heuristic"), box(9, 9, "heuristic")):
        assert at_most(number, 1, decides="asymptotic").verdict == equal(number, 0, within=1, decides="asymptotic").verdict == "inconclusive"
    errors = [Enclosure.near(x, 1e-9, "heuristic") for x in (0.4, 0.2, 0.1)]
    assert rate(errors, decides="asymptotic").verdict == rate(errors, relation=">=", decides="asymptotic").verdict == "inconclusive"


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


def test_noise_cannot_settle_a_rate():
    """Point estimates of slope 1.02 and 1 agree by accident; the intervals leave room for 1.6 before the last step, so nothing is decided."""
    noisy = [Enclosure.near(0.405, 0.15), Enclosure.near(0.2, 1e-3), Enclosure.near(0.1, 1e-3)]
    for relation in ("=", ">="):
        claim = rate(noisy, relation=relation)
        assert claim.verdict == "inconclusive" and "not settled" in claim.reason
    clean = [Enclosure.near(0.405, 1e-3), *noisy[1:]]
    assert rate(clean).verdict == rate(clean, relation=">=").verdict == "verified"  # the same values, known better


@given(st.floats(0.3, 3.0), st.floats(1e-3, 0.3), st.lists(st.floats(-1, 1), min_size=4, max_size=4))
def test_a_rate_is_never_decided_wrongly(order, noise, where):
    """Errors h^r known to a factor 1 + noise, the estimate anywhere inside: "= r" and ">= r" may not be refuted, nor a rate off by 1/2 verified."""
    errors = [Enclosure.near(h**order * (1 + noise * w), 2 * noise * h**order) for h, w in zip(H, where)]
    errors = [replace(e, lo=max(e.lo, 1e-9 * e.value)) for e in errors]
    for relation in ("=", ">="):
        assert rate(errors, order=order, relation=relation).verdict != "refuted"
        assert rate(errors, order=order + 0.5, relation=relation).verdict != "verified"
    assert rate(errors, order=order - 0.5).verdict != "verified"


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


def test_a_sweep_counts_what_it_left_out():
    sweep = claim_over([GOOD, NOT_HERE, VACUOUS, NOT_HERE], name="s")
    assert {k: sweep.parameters[k] for k in ("cells", "vacuous", "not applicable")} == {"cells": 4, "vacuous": 1, "not applicable": 2}
    assert "not applicable" not in claim_over([GOOD], name="s").parameters


def test_the_reason_of_an_undecided_sweep_is_that_of_a_cell_that_says_something():
    assert claim_over([VACUOUS, OPEN], name="s").reason == OPEN.reason
    blank = Claim("c", "inconclusive", "<=", None, None, reason="too rough")
    assert claim_over([blank, GOOD], name="s").reason == "too rough"
    assert claim_over([blank, at_most(Enclosure.near(4.0, 0.1), 4)], name="s").ratio == 1.0  # the sides shown are those of a cell that has some


def test_a_failing_assumption_of_a_sweep_makes_it_not_applicable():
    sweep = claim_over([GOOD, BAD], name="s", assumptions=(("two moments", True), ("finite information", False)))
    assert sweep.verdict == "not applicable" and sweep.reason == "fails here: finite information" and sweep.name == "s"
    assert claim_over([GOOD], name="s", assumptions=(("two moments", True),)).verdict == "verified"


def test_the_error_probability_of_a_claim_adds_up():
    sampled = Enclosure(0.1, 0.2, "finite-sample", 1e-7)
    assert at_most(sampled, sampled + 1).alpha == pytest.approx(2e-7, rel=1e-12)
    assert claim_over([at_most(sampled * k, 1) for k in (1, 2, 3)], name="s").alpha == pytest.approx(3e-7, rel=1e-12)
    assert claim_over([at_most(sampled, k) for k in (1, 2, 3)], name="s").alpha == 1e-7  # the same draws in every cell
    assert GOOD.alpha == 0 and not_applicable("c", "why").alpha == 0


# ---- constants that exist ----------------------------------------------------------------------------------------------------------------


def fitted(points, curve, **how):
    """There is a C with curve(x) <= C x^2, fitted on some x and judged on others."""
    split = {"calibration": [1.0, 2.0], "held_out": [0.5, 3.0, 4.0], **points}
    return claim_exists(
        lambda xs: {"C": 1.1 * max(curve(x) / x**2 for x in xs)},
        lambda c, x: at_most(curve(x), c["C"] * x**2, parameters={"x": x}), name="growth", **split, **how,
    )  # fmt: skip


def test_constants_are_judged_where_they_were_not_fitted():
    claim = fitted({}, lambda x: 3 * x**2)
    assert claim.verdict == "verified" and claim.terms["C"] == pytest.approx(3.3)
    assert claim.parameters["calibration cells"] == 2 and claim.parameters["cells"] == 3
    assert [c.parameters["x"] for c in claim.cells] == [0.5, 3.0, 4.0]
    control = fitted({}, lambda x: 3 * x**3, terms={"degree": 3})  # the control: growth of another order
    assert control.verdict == "refuted" and control.terms == {"C": pytest.approx(6.6), "degree": 3}


def test_a_claim_that_was_fitted_where_it_is_judged_is_refused():
    """It could not be refuted: on its own calibration cells the cubic passes as well."""
    assert all(3 * x**3 <= 1.1 * 6 * x**2 for x in (1.0, 2.0))
    with pytest.raises(ValueError, match=r"held_out: got 2\.0 in both lists"):
        fitted({"held_out": [0.5, 2.0]}, lambda x: 3 * x**3)
    with pytest.raises(ValueError, match="no calibration cells"):
        fitted({"calibration": []}, lambda x: 3 * x**2)
    with pytest.raises(ValueError, match="at least one cell"):
        fitted({"held_out": []}, lambda x: 3 * x**2)


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
