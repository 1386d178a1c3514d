"""Rényi divergence: closed form against quadrature against mpmath, the orders 1/2, 1 and 2, infinities, cancellation."""

import math
from functools import partial
from itertools import pairwise

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import scoresde as sd
from scoresde.divergence import closed, product, quadrature
from scoresde.divergence import renyi_orders as renyi
from scoresde.divergence.view import Pair, view

GM3 = sd.targets.gm3
OTHER = sd.GaussianMixture([0.6, 0.4], [[-1.0], [1.5]], [0.9, 0.5])
ORDERS = (0.01, 0.25, 0.5, 0.75, 1 - 2**-10, 1 + 2**-10, 2.0, 5.0)


def line(order, p, q):
    return renyi.line(order, Pair(view(p), view(q)))


def meet(a, b):
    return a.lo <= b.hi and b.lo <= a.hi


def truth(order, p, q):
    """The trapezoid rule at 30 digits: its error is exp(-2 pi s / h), s = .28 the distance of the zeros of p from the line."""
    parts = [[(mp.mpf(float(w)), mp.mpf(float(m)), mp.sqrt(mp.mpf(float(v)))) for w, m, v in zip(x.weights, x.means[:, 0], x.covs)] for x in (p, q)]
    density = lambda part, x: sum(w * mp.npdf(x, m, s) for w, m, s in part) / sum(w for w, _, _ in part)  # noqa: E731
    h, order = mp.mpf(1) / 40, mp.mpf(order)
    total = h * mp.fsum(density(parts[0], h * k) ** order * density(parts[1], h * k) ** (1 - order) for k in range(-800, 801))
    return mp.log(total) / (order - 1)


@pytest.mark.parametrize("order", ORDERS)
def test_mixtures_on_the_line_against_thirty_digits(order):
    with mp.workdps(30):
        e, exact = line(order, GM3, OTHER), truth(order, GM3, OTHER)
        assert mp.mpf(e.lo) <= exact <= mp.mpf(e.hi)
        assert e.width <= 2e-13
        assert not mp.mpf(e.lo) <= truth(order * 1.001, GM3, OTHER) <= mp.mpf(e.hi)  # the test can fail


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("eps", [1e-3, 1e-8])
def test_close_laws_keep_relative_accuracy(order, eps):
    """R_a(N(0,1)|N(eps,1)) = a eps^2/2; the rounding of log p/q is 1e-16/eps of it."""
    p, q = sd.GaussianMixture([1.0], [[0.0]], [1.0]), sd.GaussianMixture([1.0], [[eps]], [1.0])
    exact = 0.5 * order * eps**2
    for e in (line(order, p, q), renyi.gaussians(order, p.component(0), q.component(0))):
        assert e.lo <= exact <= e.hi and abs(e.value - exact) <= 1e-14 / eps * exact


@given(st.floats(-4, 4), st.floats(-1.5, 1.5), st.sampled_from([0.1, 0.5, 0.9, 1.5, 2.0, 4.0]))
def test_closed_form_and_quadrature_agree_for_gaussians(shift, log_sd, order):
    p, q = sd.Gaussian([shift], math.exp(2 * log_sd)), sd.standard_normal(1)
    a, b = renyi.gaussians(order, p, q), line(order, p, q)
    assert meet(a, b)
    assert (a.lo == math.inf) == (b.lo == math.inf)
    if a.hi < math.inf:
        wrong = renyi.gaussians(order * 1.01, p, q)
        assert wrong.lo > a.hi or a.hi < 1e-6  # it increases with the order


@given(st.integers(0, 2**31), st.sampled_from([0.3, 0.5, 1.2, 2.0]))
def test_turning_and_splitting_gaussians_changes_nothing(seed, order):
    rng = np.random.default_rng(seed)
    mean, variances, other = rng.normal(size=3), rng.uniform(0.3, 1.7, 3), rng.uniform(1.0, 2.0, 3)
    p, q = sd.Gaussian(mean, variances), sd.Gaussian(np.zeros(3), other)
    e = renyi.gaussians(order, p, q)
    parts = [renyi.gaussians(order, sd.Gaussian(mean[i : i + 1], variances[i]), sd.Gaussian([0.0], other[i])) for i in range(3)]
    assert meet(e, product.added([(part, 1) for part in parts]))
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    p, q = (sd.Gaussian(turn @ g.mean(), (turn * g.covariance) @ turn.T) for g in (p, q))
    turned = renyi.gaussians(order, p, q)
    assert abs(e.value - turned.value) <= turned.width + 1e-12 * (1 + e.value)  # the rotated matrices are rounded: eps kappa, kappa < 10


def test_orders_one_half_one_and_two_are_known_divergences():
    pair = Pair(view(GM3), view(OTHER))
    h, chi = quadrature.hellinger(pair), quadrature.chi_squared(pair)
    assert meet(line(0.5, GM3, OTHER), -2 * (1 - h * h).log())
    assert meet(line(2.0, GM3, OTHER), (1 + chi).log())
    assert meet(line(1.0, GM3, OTHER), quadrature.kullback_leibler(pair))
    p, q = sd.Gaussian([1.0, 0.0], [0.5, 2.0]), sd.standard_normal(2)
    h = closed.hellinger(p, q)
    assert meet(renyi.gaussians(0.5, p, q), -2 * (1 - h * h).log())
    assert meet(renyi.gaussians(1.0, p, q), closed.kullback_leibler(p, q))
    assert abs(line(1 + 1e-7, GM3, OTHER).value - line(1.0, GM3, OTHER).value) <= 1e-6


def test_it_increases_with_the_order():
    values = [line(order, GM3, OTHER) for order in ORDERS]
    assert all(a.hi < b.lo for a, b in pairwise(values))


@pytest.mark.parametrize("shift", [20.0, 200.0])
@pytest.mark.parametrize("order", [0.01, 0.3, 0.5, 0.99, 3.0])
def test_far_laws_do_not_underflow(order, shift):
    p, q = sd.GaussianMixture([1.0], [[0.0]], [1.0]), sd.GaussianMixture([1.0], [[shift]], [1.0])
    e, exact = line(order, p, q), 0.5 * order * shift**2
    assert e.lo <= exact <= e.hi and e.width <= 1e-9 * exact


def test_infinity_is_proved_from_tails_and_supports():
    g = sd.standard_normal(1)
    assert renyi.gaussians(3.0, sd.Gaussian([0.0], 1.5), g).lo == math.inf  # 3/(3-1) = 1.5
    assert renyi.gaussians(3.0, sd.Gaussian([0.0], 1.499), g).hi < math.inf
    assert line(3.0, sd.GaussianMixture([0.9, 0.1], [[0.0], [1.0]], [0.5, 1.6]), g).lo == math.inf
    unit, far = sd.Uniform([0.0], [1.0]), sd.Uniform([2.0], [3.0])
    assert line(2.0, g, unit).lo == math.inf and line(0.5, unit, far).lo == math.inf
    half = line(0.5, unit, sd.Uniform([0.0], [2.0]))
    assert half.lo <= math.log(2) <= half.hi
    p, q = sd.Empirical([[0.0], [1.0]]), sd.Empirical([[1.0], [2.0]], [0.25, 0.75])
    assert renyi.atoms(2.0, p, q).lo == math.inf and renyi.atoms(2.0, p, g).lo == math.inf
    assert renyi.atoms(0.5, p, sd.Empirical([[7.0]])).lo == math.inf
    e = renyi.atoms(0.5, p, q)
    assert e.lo <= -2 * math.log(math.sqrt(0.5 * 0.25)) <= e.hi


@pytest.mark.parametrize("order", [0.0, -1.0, math.nan, math.inf])
def test_orders_out_of_range_are_refused(order):
    with pytest.raises(ValueError, match="order"):
        renyi.checked_order(order)


def test_the_functions_take_the_order_first():
    f = partial(renyi.gaussians, renyi.checked_order(2))
    assert f(sd.standard_normal(2), sd.standard_normal(2)).hi == 0
