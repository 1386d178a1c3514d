"""Enclosures: arithmetic contains the truth, keeps the weakest level, adds the alphas, and is not a number."""

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoresde import LEVELS, Enclosure

numbers = st.floats(-1e6, 1e6).filter(lambda x: x == 0 or abs(x) > 1e-100)
points = st.tuples(numbers, numbers, st.floats(0, 1)).map(lambda p: (*sorted(p[:2]), p[2]))


def inside(lo, hi, u):
    return min(max(lo + u * (hi - lo), lo), hi)


@given(points, points)
def test_arithmetic_contains_every_combination_of_what_it_encloses(a, b):
    x, y = inside(*a), inside(*b)
    p, q = Enclosure(*a[:2], "rigorous"), Enclosure(*b[:2], "rigorous")
    fx, fy = Fraction(x), Fraction(y)
    for got, truth in ((p + q, fx + fy), (p - q, fx - fy), (p * q, fx * fy)):
        assert got.lo <= truth <= got.hi
    if 0 not in q:
        got = p / q
        assert got.lo <= fx / fy <= got.hi


@given(st.floats(1e-3, 1e3), st.floats(0, 10))
def test_monotone_functions_contain_their_values(x, width):
    e = Enclosure.near(x + width, width)
    for got, f in ((e.cut(0).sqrt(), math.sqrt), (e.cut(0).log(), lambda z: math.log(z) if z else -math.inf)):
        assert got.lo <= f(max(e.lo, 0.0)) <= f(e.hi) <= got.hi
    small = Enclosure.near(x / 100, width / 100)
    assert small.exp().lo <= math.exp(small.lo) <= math.exp(small.hi) <= small.exp().hi


@given(st.sampled_from(LEVELS), st.sampled_from(LEVELS), st.floats(0, 0.4), st.floats(0, 0.4))
def test_the_weaker_level_and_the_sum_of_the_alphas(p, q, a, b):
    got = Enclosure(1, 2, p, a) + Enclosure(1, 2, q, b)
    assert LEVELS.index(got.level) == max(LEVELS.index(p), LEVELS.index(q)) and got.alpha == a + b


def test_infinities_are_statements():
    inf = Enclosure.exact(math.inf)
    assert (inf - inf).lo == -math.inf and (inf - inf).hi == math.inf
    assert inf.width == 0.0 and (inf + 1).lo == math.inf
    assert (1 / inf).hi <= 5e-324 and (Enclosure.exact(0.0) * inf).value == 0.0


def test_exact_constants_stay_exact():
    assert (Enclosure.exact(0.5) + 0.25).width == 0 and (1 * Enclosure.exact(0.1)).width == 0
    assert (Enclosure.exact(0.1) + 0.2).width > 0  # 0.1 + 0.2 rounds


def test_nothing_negative_comes_out_of_nonnegative_factors():
    assert (Enclosure(0, 0.3, "rigorous") * 0.1).lo == 0.0
    assert (Enclosure(0, 0.3, "rigorous") * Enclosure(0, 2, "rigorous")).sqrt().lo == 0.0


def test_division_by_an_enclosure_that_may_vanish_is_bounded_below_only():
    got = Enclosure(1, 2, "rigorous") / Enclosure(0, 4, "rigorous")
    assert got.lo <= 0.25 and got.hi == math.inf


@pytest.mark.parametrize("operation", [bool, float, int, lambda e: e < 1, lambda e: e >= 1])
def test_an_enclosure_is_not_a_number(operation):
    with pytest.raises(TypeError, match="not a number"):
        operation(Enclosure(0, 1, "rigorous"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((math.nan, 1, "rigorous"), "NaN"),
        ((2, 1, "rigorous"), "lo=2.0 > hi=1.0"),
        ((0, 1, "sure"), "level: got 'sure', allowed are rigorous"),
        ((0, 1, "rigorous", 1.0), "alpha: got 1.0"),
        ((0, 1, "rigorous", 0.0, 3.0), "value: got 3.0 outside"),
    ],
)
def test_errors(arguments, message):
    with pytest.raises(ValueError, match=message):
        Enclosure(*arguments)


def test_a_square_root_of_something_negative_says_what_to_do():
    with pytest.raises(ValueError, match=r"\.cut\(0\)"):
        Enclosure(-1, 1, "rigorous").sqrt()


def test_only_numbers_combine_with_enclosures():
    for other in ("1", None, [1.0]):
        with pytest.raises(TypeError):
            Enclosure(0, 1, "rigorous") + other
        with pytest.raises(TypeError):
            other - Enclosure(0, 1, "rigorous")
        with pytest.raises(TypeError):
            other / Enclosure(0, 1, "rigorous")


def test_near_is_symmetric_before_the_cut():
    e = Enclosure.near(0.01, 0.1)
    assert e.hi - 0.01 == pytest.approx(0.01 - e.lo)
    assert e.cut(0, 1).lo == 0.0 and e.cut(0, 1).value == 0.01
