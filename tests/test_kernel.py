"""Kernels are a monoid; the closed forms of the chains are its words."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mpmath import mp, mpf

from scoresde import kernel
from scoresde.kernel import Kernel

EPS = np.finfo(float).eps
steps = st.floats(1e-16, 2 - 1e-15, exclude_min=False)
kernels = st.builds(Kernel, st.floats(-3, 3), st.floats(0, 10))


@given(kernels, kernels, kernels)
def test_composition_is_associative_and_has_a_unit(a, b, c):
    left, right = (a @ b) @ c, a @ (b @ c)
    scale = 1 + abs(a.m * b.m) * abs(a.m * b.m) * c.v + a.m**2 * b.v + a.v
    assert abs(left.m - right.m) <= 4 * EPS * (1 + abs(left.m))
    assert abs(left.v - right.v) <= 8 * EPS * scale  # three products and two sums
    unit = Kernel(1.0, 0.0)
    assert (a @ unit) == a == (unit @ a)


@given(st.floats(0, 30), st.floats(0, 30))
def test_the_ornstein_uhlenbeck_flow_is_a_semigroup(s, t):
    both, at_once = kernel.ornstein_uhlenbeck(s) @ kernel.ornstein_uhlenbeck(t), kernel.ornstein_uhlenbeck(s + t)
    assert both.m == pytest.approx(at_once.m, rel=4 * EPS * (1 + s + t))  # exp has condition number s + t
    assert both.v == pytest.approx(at_once.v, rel=8 * EPS * (1 + s + t))


@given(st.lists(st.floats(1e-6, 1.999999), min_size=1, max_size=12))
def test_euler_maruyama_with_variable_steps_is_the_composition_of_its_steps(hs):
    word = Kernel(1.0, 0.0)
    for h in hs:
        word = Kernel(1 - h, 2 * h) @ word
    closed = kernel.euler_maruyama(hs)
    # log|1-h| is ill-conditioned where h ~ 1: then m is tiny against the noise of one step, so errors are absolute at that scale
    assert abs(closed.m - word.m) <= 64 * EPS * (1 + sum(abs(1 / (1 - h)) if h != 1 else 0 for h in hs) * abs(word.m))
    assert abs(closed.v - word.v) <= 256 * EPS * len(hs) * (word.v + closed.v)


@pytest.mark.parametrize("h", [1e-16, 1e-8, 0.1, 0.999999, 1.0, 1.3, 2 - 1e-15])
@pytest.mark.parametrize("k", [1, 7, 10**3, 10**9])
def test_the_closed_form_of_equal_steps_against_mpmath(h, k):
    with mp.workdps(60):
        r = 1 - mpf(h)
        m, v = r**k, (1 - r ** (2 * k)) / (1 - mpf(h) / 2)
    got = kernel.euler_maruyama(h, count=k)
    # m = exp(k log|1-h|): the relative error of exp is k |log|1-h|| ulps; below 1e-300 only log m is kept
    log_m = k * abs(math.log(abs(float(r)))) if r else math.inf
    if log_m < 600:
        assert got.m == pytest.approx(float(m), rel=4 * EPS * (1 + log_m))
    assert got.v == pytest.approx(float(v), rel=4 * EPS * (1 + min(log_m, 1.0)))


def test_log_m_survives_where_m_underflows():
    got = kernel.euler_maruyama(0.5, count=10**9)
    assert got.m == 0.0 and got.log_m == pytest.approx(-(10**9) * math.log(2), rel=4 * EPS)
    assert (got @ got).log_m == 2 * got.log_m


def test_the_misprint_without_the_half_is_seen():
    """Negative control: the stationary variance is 1/(1 - h/2), not 1."""
    assert abs(kernel.euler_maruyama(0.1, count=10**6).v - 1 / 0.95) < 4 * EPS
    assert abs(kernel.euler_maruyama(0.1, count=10**6).v - 1) > 0.05


@given(st.lists(st.floats(1e-5, 0.9), min_size=1, max_size=20))
def test_ddpm_is_exactly_ornstein_uhlenbeck_at_another_clock(betas):
    chain = kernel.autoregressive(np.sqrt(1 - np.array(betas)))
    exact = kernel.ornstein_uhlenbeck(float(-0.5 * np.sum(np.log1p(-np.array(betas)))))
    assert chain.m == pytest.approx(exact.m, rel=64 * EPS * len(betas))  # sqrt(1-beta) rounds relative to 1, the clock relative to beta
    assert chain.v == pytest.approx(exact.v, rel=64 * EPS * len(betas) / min(betas))


def test_time_change_and_rescaling():
    vp = kernel.variance_preserving(lambda s: 0.1 + 19.9 * s, 1.0)
    assert vp.log_m == pytest.approx(-0.5 * (0.1 + 19.9 / 2), rel=8 * EPS)
    t = 0.7
    ou, ve = kernel.ornstein_uhlenbeck(t), kernel.variance_exploding(math.sqrt(math.expm1(2 * t)))
    assert math.exp(2 * t) * ou.v == pytest.approx(ve.v, rel=8 * EPS)


def test_the_marginals_of_the_discrete_chain_are_known_at_its_own_times_only():
    grid = np.array([0.6, 0.5, 0.2, 0.0])
    forward = kernel.euler_maruyama_marginals(grid)
    closed = kernel.euler_maruyama([0.2, 0.3, 0.1])
    assert forward(0.6).m == pytest.approx(closed.m, rel=8 * EPS) and forward(0.6).v == pytest.approx(closed.v, rel=8 * EPS)
    assert forward(0.0) == Kernel(1.0, 0.0)
    with pytest.raises(ValueError, match="grid's 4 times"):
        forward(0.3)


def test_sample_has_the_kernel_s_law_and_another_kernel_s_has_not():
    n, k = 200_000, Kernel(0.6, 0.5)
    x = k.sample(np.full((n, 2), 3.0), seed=1)
    z = (x - 1.8) / math.sqrt(0.5)
    assert abs(z.mean()) < 6 / math.sqrt(2 * n) and abs((z**2).mean() - 1) < 6 * math.sqrt(2 / (2 * n))
    assert abs(((x - 1.8) ** 2).mean() / 0.52 - 1) > 6 * math.sqrt(2 / (2 * n))  # control: the wrong variance is seen
    assert np.array_equal(k.sample(np.full((10, 2), 3.0), seed=1), x[:10])


def test_the_score_is_the_gradient_of_logpdf():
    k, x, x0 = Kernel(0.6, 0.5), np.array([[0.3, -1.0]]), np.array([[1.0, 2.0]])
    h = 1e-4
    for i in range(2):
        e = h * np.eye(2)[i]
        slope = (k.logpdf(x + e, x0) - k.logpdf(x - e, x0)) / (2 * h)
        assert slope == pytest.approx(k.score(x, x0)[:, i], abs=16 * EPS / h)  # the log-density is quadratic: only rounding is left


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Kernel(1.0, -0.1), "v: got -0.1, allowed is a variance >= 0"),
        (lambda: kernel.euler_maruyama(2.0, count=3), "steps: got 2.0, allowed is 0 < h < 2"),
        (lambda: kernel.euler_maruyama([0.1, 0.0]), "steps: got 0.0, allowed is 0 < h < 2"),
        (lambda: kernel.ornstein_uhlenbeck(-1.0), "t: got -1.0, allowed is a forward noise time"),
        (lambda: kernel.autoregressive([1.5]), r"alphas: got 1.5, allowed is 0 < \|a\| <= 1"),
        (lambda: kernel.ornstein_uhlenbeck(math.nan), "t: got nan"),
    ],
)
def test_errors_name_the_parameter_the_value_and_what_is_allowed(call, message):
    with pytest.raises(ValueError, match=message):
        call()
