"""Grids: strictly decreasing, exact ends, small steps near the data."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoresde import grid, kernel

FAMILIES = {
    "uniform": lambda T, n, stop: grid.uniform(T, n, stop=stop),
    "linear": lambda T, n, stop: grid.linear(T, n, stop=stop),
    "quadratic": lambda T, n, stop: grid.quadratic(T, n, stop=stop),
    "cosine": lambda T, n, stop: grid.cosine(T, n, stop=stop),
    "tanh": lambda T, n, stop: grid.tanh(T, n, stop=stop),
    "geometric": lambda T, n, stop: grid.geometric(T, n, stop=stop),
    "log_snr": lambda T, n, stop: grid.log_snr(T, n, stop=stop),
}


@pytest.mark.parametrize("family", FAMILIES)
@given(T=st.floats(0.5, 30), n=st.integers(1, 200), stop=st.floats(1e-4, 0.1))
def test_the_ends_are_exact_and_the_times_decrease(family, T, n, stop):
    times = FAMILIES[family](T, n, stop)
    assert times.shape == (n + 1,) and times[0] == T and times[-1] == stop and (np.diff(times) < 0).all()
    assert not times.flags.writeable


@pytest.mark.parametrize("family", ["linear", "quadratic", "cosine", "tanh", "geometric"])
def test_steps_shrink_towards_the_data(family):
    h = -np.diff(FAMILIES[family](6.0, 50, 1e-3))
    assert h[-1] < h[0] / 5 and (np.diff(h) < 0).all()


def test_linear_is_an_arithmetic_progression_with_the_stated_ratio():
    h = -np.diff(grid.linear(6.0, 50, ratio=10.0))
    assert h[0] / h[-1] == pytest.approx(10, rel=1e-12) and np.ptp(np.diff(h)) < 1e-14  # differences of times of size 6 round at 1e-15


def test_h_takes_the_fewest_equal_steps():
    assert len(grid.uniform(6.0, h=0.1)) == 61 and len(grid.uniform(6.0, h=0.0999)) == 62 and len(grid.uniform(1.0, h=3.0)) == 2


def test_linear_beta_is_the_clock_of_the_autoregressive_chain():
    times = grid.linear_beta(1000)
    betas = np.linspace(1e-4, 0.02, 1000)
    assert kernel.ornstein_uhlenbeck(float(times[0])).v == pytest.approx(kernel.autoregressive(np.sqrt(1 - betas)).v, rel=1e-12)
    assert times[-1] == 0.0 and times[-2] == pytest.approx(-0.5 * np.log1p(-1e-4))


def test_karras_levels_are_the_stated_noise_levels():
    sigma = np.sqrt(np.expm1(2 * grid.karras(18, sigma_min=0.002, sigma_max=80.0)))
    ends = [80.0, (80 ** (1 / 7) + (0.002 ** (1 / 7) - 80 ** (1 / 7)) / 18) ** 7]
    assert sigma[:2] == pytest.approx(ends, rel=1e-12) and sigma[-1] == pytest.approx(0.002, rel=1e-9)  # t ~ 2e-6 carries 1e-10


def test_log_snr_is_uniform_in_it():
    t = grid.log_snr(6.0, 20, stop=0.01)
    steps = np.diff(-t - 0.5 * np.log(-np.expm1(-2 * t)))
    assert np.ptp(steps) < 1e-12 * steps.mean() * 100


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: grid.uniform(6.0), "exactly one"),
        (lambda: grid.uniform(6.0, 10, h=0.1), "exactly one"),
        (lambda: grid.uniform(6.0, 10, stop=7.0), "0 <= stop < T"),
        (lambda: grid.uniform(6.0, 0), "steps: got 0"),
        (lambda: grid.geometric(6.0, 10, stop=0.0), "stop > 0"),
        (lambda: grid.karras(10, sigma_min=2.0, sigma_max=1.0), "sigma_min < sigma_max"),
        (lambda: grid.checked([3.0, 1.0, 2.0]), "strictly decreasing"),
        (lambda: grid.checked([3.0, 1.0, -0.1]), "allowed is >= 0"),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()
