"""The schedule of least total variation: its gradient, brute force on few steps, figures, refusals; and the claim about it."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings

import scoresde as sd
from scoresde import grid, scheme, targets, theorems
from scoresde.engine.descent import _absolute, _Loss, optimal_total_variation
from scoresde.theorems.schedules import total_variation_schedule
from tests.test_theorems_sharp import mixtures


def beta(times):
    return scheme.ancestral(times, "beta")


def error(target, times, make=beta):
    return sd.total_variation(sd.propagate(make(times), sd.score.exact(target), tolerance=1e-3), target).value


@pytest.mark.parametrize("make", [beta, scheme.euler_maruyama, scheme.exponential_relative, scheme.exponential_absolute])
@pytest.mark.parametrize("stop", [0.0, 0.1])
def test_gradient(make, stop):
    """The sweep back against central differences of the sweep forward: 1e-4 (finite steps), 1e-5 of the largest slope."""
    loss, times = _Loss(targets.gm3, make, stop), grid.quadratic(3.0, 24, stop=stop)
    value, slope = loss(times)
    for j in (1, 9, 23):
        e = np.zeros(25)
        e[j] = 1e-5 * (times[j - 1] - times[j])
        assert slope[j] == pytest.approx((loss(times + e)[0] - loss(times - e)[0]) / (2 * e[j]), rel=1e-4, abs=1e-5 * np.abs(slope).max())
    assert slope[0] == slope[-1] == 0.0
    end = targets.gm3 if stop == 0 else targets.gm3.noised(sd.ornstein_uhlenbeck(stop))
    law = sd.propagate(make(times), sd.score.exact(targets.gm3))
    assert value == pytest.approx(sd.total_variation(law, end).value, abs=1e-4)  # cells of .02: kinks cost .02^2/12 times the slopes there


def test_sum_of_absolute_values():
    """Piecewise linear: |x - .3| over [-2, 2] by cells of 1 is exact, and so are the derivatives, also beside the change of sign."""
    f = np.arange(-2.0, 3.0) - 0.3
    assert _absolute(f)[0] == pytest.approx(0.5 * (2.3**2 + 1.7**2), rel=1e-15)
    for j in range(5):
        e = np.zeros(5)
        e[j] = 1e-6
        assert _absolute(f)[1][j] == pytest.approx((_absolute(f + e)[0] - _absolute(f - e)[0]) / 2e-6, rel=1e-8)


def test_three_steps_by_brute_force():
    """No pair of inner times on a grid of 18 does better, and the best of them is close."""
    best = optimal_total_variation(targets.gm3, 4.0, 3)
    inner = 4.0 * np.linspace(0.02, 0.95, 18) ** 2
    least = min(error(targets.gm3, np.array([4.0, b, a, 0.0])) for a, b in itertools.combinations(inner, 2) if b < 2.5)
    assert error(targets.gm3, best) <= least <= 1.05 * error(targets.gm3, best)


def test_figures():
    """gm3, 30 steps, T = 6: .02198 where the optimum for path KL has .02235, the quadratic grid .0557, the uniform one .2074."""
    claim = total_variation_schedule(targets.gm3)
    value = {name: getattr(term, "value", term) for name, term in claim.terms.items()}
    assert claim.verdict == "verified" and claim.control.verdict == "refuted" and sd.from_json(sd.to_json(claim)) == claim
    assert round(value["TV, best"], 5) == 0.02198 and round(value["TV, path KL (D10)"], 5) == 0.02235
    assert round(value["TV, quadratic"], 4) == 0.0557 and round(value["TV, uniform"], 4) == 0.2074


def test_other_schemes_have_other_schedules():
    """Euler–Maruyama profits the most: it cannot take the first step of 4.7 that suits ancestral sampling."""
    for make in (scheme.euler_maruyama, scheme.exponential_relative):
        best, other = optimal_total_variation(targets.g1, 6.0, 20, scheme=make), optimal_total_variation(targets.g1, 6.0, 20)
        assert error(targets.g1, best, make) < error(targets.g1, other, make)
        assert error(targets.g1, best, make) < error(targets.g1, grid.quadratic(6.0, 20), make)


def test_any_law_on_the_line():
    for law, stop in ((targets.uni, 0.0), (targets.uni, 0.02), (targets.diracs, 0.02), (targets.gm2sym, 0.0)):
        best = optimal_total_variation(law, 4.0, 6, stop=stop)
        assert best.shape == (7,) and best[0] == 4.0 and best[-1] == stop and (np.diff(best) < 0).all() and not best.flags.writeable
    assert np.array_equal(optimal_total_variation(sd.standard_normal(1), 4.0, 8), grid.uniform(4.0, 8))  # where all grids are the same
    assert np.array_equal(optimal_total_variation(targets.gm3, 4.0, 1), [4.0, 0.0])


def test_refusals():
    with pytest.raises(sd.NoMethod, match="allowed is 1"):
        sd.optimal_total_variation(targets.ring8, 4.0, 5)
    for make in (scheme.ddim, scheme.flow_heun, scheme.ancestral):
        with pytest.raises(ValueError, match="scheme: got"):
            optimal_total_variation(targets.gm3, 4.0, 5, scheme=make)
    for T, steps, stop in ((1.0, 5, 2.0), (1.0, 0, 0.0), (np.nan, 5, 0.0)):
        with pytest.raises(ValueError):
            optimal_total_variation(targets.gm3, T, steps, stop=stop)


# ---- D10m -----------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["g1", "gm2sym"])
def test_default_targets(name):
    claim = total_variation_schedule(targets.ALL[name], quick=True)
    assert claim.verdict == "verified" and claim.control.verdict == "refuted" and claim.id == "D10m"


@given(mixtures())
@settings(max_examples=8)
def test_never_refuted(target):
    (claim,) = theorems.verify(target, total_variation_schedule, quick=True)
    assert claim.verdict in ("verified", "inconclusive") and claim.as_expected


def test_scope():
    assert total_variation_schedule(targets.student5).verdict == "not applicable"
    (claim,) = theorems.verify(targets.aniso16, total_variation_schedule, quick=True)
    assert claim.verdict == "verified" and claim.parameters["axis"] == "first principal"
