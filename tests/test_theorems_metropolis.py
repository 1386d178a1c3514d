"""Chapter E: detailed balance, invariance and acceptance of the Metropolis-adjusted Langevin chain."""

import numpy as np
import pytest
from hypothesis import given, settings

import scoresde as sd
from scoresde import scheme, targets
from scoresde.testing import mixtures
from scoresde.theorems import metropolis

THEOREM = metropolis.roberts_1996_metropolis_adjusted


@pytest.mark.parametrize("name", [n for n, law in targets.ALL.items() if law.dim == 1])
def test_default_targets(name):
    claim = THEOREM(targets.ALL[name], quick=name != "gm3")
    if name == "student5":
        assert claim.verdict == "not applicable" and "light tails" in claim.reason
        return
    assert claim.verdict == "verified" and claim.control.verdict == "refuted", claim
    assert claim.lhs.level == "deterministic" and claim.id == "E4'"


@given(mixtures(max_dim=1, max_components=4))
@settings(max_examples=10, deadline=None)
def test_never_refuted_and_controls_never_verified(target):
    claim = THEOREM(target, quick=True)
    assert claim.verdict == "verified" and claim.control.verdict == "refuted", claim


def test_the_acceptance_rate_is_that_of_particles():
    """Particles at stationarity that do not move in a step: within 5 standard deviations (level 6e-7)."""
    p = targets.gm3.noised(sd.ornstein_uhlenbeck(0.1))
    x = p.sample(100_000, 0)
    moved = float(np.mean(sd.simulate(scheme.mala(p, step=0.5, steps=1), sd.score.exact(p), n=len(x), seed=1, start=x) != x))
    rate = THEOREM(targets.gm3).terms["P(accept) at t = 0.1, h = 0.5"].value
    assert abs(moved - rate) < 5 * (rate * (1 - rate) / len(x)) ** 0.5
    assert abs(moved - THEOREM(targets.gm3).terms["P(accept) at t = 0.1, h = 0.05"].value) > 0.1  # control: another step


def test_the_mean_of_an_odd_cubic():
    a, b = np.array([1.0, 1.0, 0.0, -2.0, 0.3, 1e-12]), np.array([0.0, -1.0, 2.0, 0.5, 4.0, -1.0])
    z = np.linspace(-12, 12, 240_001)
    phi = np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi) * (z[1] - z[0])
    sums = [float(np.abs(p * z**3 + q * z) @ phi) for p, q in zip(a, b, strict=True)]
    assert np.allclose(metropolis._absolute(a, b), sums, rtol=1e-7)  # the trapezoidal sum errs by the square of its spacing at each kink


def test_only_the_line():
    with pytest.raises(sd.NoMethod, match="got dimension 2"):
        THEOREM(sd.standard_normal(2))
