"""Confidence bounds: exact coverage where the sample space can be enumerated, counted coverage elsewhere, and rules that fail beside them."""

import itertools
import math

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from scoresde.divergence.concentration import (
    betting,
    betting_lower,
    clopper_pearson,
    clopper_pearson_lower,
    dkw,
    empirical_bernstein,
    mcdiarmid,
    normal,
)

REPEATS = 2000
LAWS = {  # draws in [0, 1] and their mean
    "beta": (lambda rng, n: rng.beta(1, 4, n), 0.2),
    "rare": (lambda rng, n: (rng.random(n) < 0.02) * 1.0, 0.02),
    "fair": (lambda rng, n: (rng.random(n) < 0.5) * 1.0, 0.5),
    "near 1": (lambda rng, n: 1 - rng.beta(1, 40, n), 40 / 41),
}


def misses_allowed(repeats, alpha):
    """A procedure that misses with probability alpha misses more often than this with probability 1e-6 only."""
    return stats.binom.isf(1e-6, repeats, alpha)


def misses(interval, draw, mean, n, repeats=REPEATS, seed=0):
    rng = np.random.default_rng(seed)
    intervals = (interval(draw(rng, n)) for _ in range(repeats))
    return sum(not lo <= mean <= hi for lo, hi in intervals)


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("bound", [betting, empirical_bernstein])
def test_coverage(bound, law):
    draw, mean = LAWS[law]
    assert misses(lambda x: bound(x, 0.05), draw, mean, 60) <= misses_allowed(REPEATS, 0.05)


def test_the_normal_interval_fails_where_these_hold():
    draw, mean = LAWS["rare"]

    def clt(x):
        return np.mean(x) - normal(x, 0.05), np.mean(x) + normal(x, 0.05)

    assert misses(clt, draw, mean, 60) > misses_allowed(REPEATS, 0.05)  # no rare event among 60: an interval of width 0

    def peeking(x):  # six looks at 95 %, "significant" once is enough
        looks = [clt(x[:k]) for k in (50, 80, 120, 200, 300, 400)]
        return max(lo for lo, _ in looks), min(hi for _, hi in looks)

    assert misses(peeking, *LAWS["fair"], 400) > misses_allowed(REPEATS, 0.05)
    assert misses(lambda x: betting(x, 0.05 / 6), *LAWS["fair"], 400) <= misses_allowed(REPEATS, 0.05 / 6)


@pytest.mark.parametrize("theta", [0.1, 0.3, 0.5, 0.8])
@pytest.mark.parametrize("alpha", [0.2, 0.05])
def test_betting_misses_with_probability_at_most_alpha_exactly(theta, alpha):
    """All 2^11 outcomes of 11 coins, weighed; an interval of a fifth of the length does not hold."""
    outcomes = np.array(list(itertools.product([0.0, 1.0], repeat=11)))
    weight = theta ** outcomes.sum(axis=1) * (1 - theta) ** (1 - outcomes).sum(axis=1)
    missed = np.array([betting_lower(x, alpha) > theta for x in outcomes])
    assert weight[missed].sum() <= alpha
    shortened = np.array([np.mean(x) - 0.2 * (np.mean(x) - betting_lower(x, alpha)) > theta for x in outcomes])
    assert weight[shortened].sum() > alpha


@given(st.lists(st.floats(0, 1), min_size=2, max_size=40), st.floats(1e-9, 0.5))
def test_bounds_stay_in_the_unit_interval_and_hold_the_mean(x, alpha):
    x = np.array(x)
    for bound in (betting, empirical_bernstein):
        lo, hi = bound(x, alpha)
        assert 0 <= lo <= np.mean(x) + 1e-15 and np.mean(x) - 1e-15 <= hi <= 1
    (lo, hi), (flipped_lo, flipped_hi) = betting(x, alpha), betting(1 - x, alpha)
    assert abs(lo - (1 - flipped_hi)) <= 1e-8 and abs(hi - (1 - flipped_lo)) <= 1e-8  # twice the tolerance of the root, and 1 - (1 - x)


def test_betting_is_narrower_than_empirical_bernstein_and_close_to_the_normal_interval():
    x = np.random.default_rng(0).beta(1, 4, 100_000)
    bet, bernstein = (hi - lo for lo, hi in (betting(x, 1e-6), empirical_bernstein(x, 1e-6)))
    assert 2 * normal(x, 1e-6) < bet < 0.9 * bernstein
    assert bet < 1.2 * 2 * normal(x, 1e-6)  # sqrt(2 log(2/alpha)) / z = 1.10, and less than a tenth for the estimated variance


def test_constant_draws():
    assert betting(np.zeros(50), 0.01)[0] == 0.0 and betting(np.ones(50), 0.01)[1] == 1.0
    assert 0 < betting(np.zeros(50), 0.01)[1] < 0.2 and 0.8 < betting(np.ones(50), 0.01)[0] < 1


def test_empirical_bernstein_is_the_formula():
    x = np.array([0.2, 0.4, 0.9, 0.3] * 500)
    half = math.sqrt(2 * np.var(x, ddof=1) * math.log(400) / 2000) + 7 * math.log(400) / (3 * 1999)
    assert empirical_bernstein(x, 0.01) == (np.mean(x) - half, np.mean(x) + half)


@pytest.mark.parametrize("n", [5, 30])
def test_clopper_pearson_covers_exactly(n):
    k = np.arange(n + 1)
    bounds = np.array([clopper_pearson(i, n, 0.1) for i in k])
    wald = np.array([[i / n - 1.645 * math.sqrt(i / n * (1 - i / n) / n), i / n + 1.645 * math.sqrt(i / n * (1 - i / n) / n)] for i in k])
    theta = np.linspace(0.001, 0.999, 999)
    weight = stats.binom.pmf(k[:, None], n, theta)
    cover = [(((b[:, :1] <= theta) & (theta <= b[:, 1:])) * weight).sum(axis=0).min() for b in (bounds, wald)]
    assert cover[0] >= 0.9 - 1e-12 and cover[1] < 0.8  # rounding of the pmf; the textbook interval fails


@pytest.mark.parametrize(("k", "n", "alpha"), [(1, 10, 0.05), (500, 100_000, 1e-6), (412, 1000, 1e-9), (99_999, 100_000, 1e-6), (7, 7, 1e-12)])
def test_clopper_pearson_solves_its_equation(k, n, alpha):
    lo = clopper_pearson_lower(k, n, alpha)
    with mp.workdps(30):
        tail = lambda x: mp.betainc(k, n - k + 1, 0, x, regularized=True)  # noqa: E731
        assert tail(lo) <= alpha <= tail(lo * (1 + 2e-9))  # the relative margin is 1e-9
    assert clopper_pearson_lower(0, n, alpha) == 0.0


def test_dvoretzky_kiefer_wolfowitz():
    rng, n = np.random.default_rng(0), 50
    u = np.sort(rng.random((REPEATS, n)), axis=1)
    statistic = np.maximum(np.arange(1, n + 1) / n - u, u - np.arange(n) / n).max(axis=1)
    assert np.count_nonzero(statistic > dkw(n, 0.05)) <= misses_allowed(REPEATS, 0.05)
    assert np.count_nonzero(statistic > 0.8 * dkw(n, 0.05)) > misses_allowed(REPEATS, 0.05)


def test_mcdiarmid():
    rng, n = np.random.default_rng(0), 40
    x = (rng.random((REPEATS, n)) < 0.5).mean(axis=1)
    assert np.count_nonzero(x - 0.5 >= mcdiarmid(n, 0.05)) <= misses_allowed(REPEATS, 0.05)
    assert np.count_nonzero(x - 0.5 >= mcdiarmid(n, 0.05, change=0.5)) > misses_allowed(REPEATS, 0.05)
