"""Far modes: the barrier's bound, and what annealing and the reversed diffusion do about it."""

import math

import numpy as np
import pytest
from hypothesis import given, settings

import scoresde as sd
from scoresde import scheme, targets, theorems
from scoresde.score import exact
from scoresde.testing import mixtures
from scoresde.theorems import modes

M7, M8 = modes.langevin_between_modes, modes.weights_recovered
FAR = sd.GaussianMixture([0.2, 0.5, 0.3], [[-3.0], [0.0], [3.5]], [0.09, 0.04, 0.16])


@pytest.mark.parametrize("theorem", [M7, M8], ids=lambda f: f.info.id)
@pytest.mark.parametrize("quick", [False, True])
def test_verified(theorem, quick):
    (claim,) = theorems.verify(targets.gm3, theorem, quick=quick)
    assert claim.verdict == "verified" and claim.control.verdict == "refuted", claim
    assert all(c.verdict == "verified" for c in claim.cells) and sd.from_json(sd.to_json(claim)) == claim


@pytest.mark.parametrize("name", targets.ALL)
def test_every_target_is_welcome(name):
    """Where its own modes are not far, or there are none, the bench alone is judged."""
    (claim,) = theorems.verify(targets.ALL[name], M7, quick=True)
    assert claim.verdict == "verified" and {c.parameters["law"] for c in claim.cells} == {"two far modes"}


def test_a_target_of_far_modes_is_judged_itself():
    claim = M7(FAR)
    assert claim.verdict == "verified" and claim.control.verdict == "refuted"
    assert {c.parameters["law"] for c in claim.cells} == {"two far modes", "the target"}


@given(mixtures(max_dim=1, max_components=4))
@settings(max_examples=10, deadline=None)
def test_never_refuted(target):
    claim = M7(target, quick=True)
    assert claim.verdict == "verified" and claim.control.verdict == "refuted", claim


def test_on_a_gaussian_each_term_of_the_bound_is_attained():
    r"""b + s(b)/L is the mean: the chain is stationary, and P(X_k < b) is the one term that the bound repeats n + 1 times."""
    law = sd.Gaussian([1.0], 0.5)
    for side in (1, -1):
        it = modes.trap(law, side, 9)
        assert it.passed(it.ran(9)).value * 10 == pytest.approx(it.escape.value, rel=1e-9)
        assert it.start.mean()[0] == pytest.approx(1.0, abs=1e-12)


def test_paths_cross_no_more_often_than_the_bound_says():
    """The bound is on the whole path: 40000 chains of 25 steps between modes 6 standard deviations apart, where one in a hundred crosses."""
    law, n, count = sd.GaussianMixture([0.5, 0.5], [[-1.5], [1.5]], 0.25), 25, 40000
    it = modes.trap(law, 1, n)
    path = sd.trajectories(scheme.langevin(step=it.step, steps=n), exact(law), count, seed=3, start=it.start)
    crossed = float((path.states[:, :, 0].min(axis=0) < it.b).mean())
    spread = math.sqrt(it.escape.value / count)
    assert 0.1 * it.escape.value < crossed < it.escape.value + 5.5 * spread  # 5.5 standard deviations: level 2e-8


def test_sides_are_mirror_images():
    mirrored = sd.GaussianMixture(FAR.weights, -FAR.means, FAR.covs)
    a, b = modes.trap(FAR, 1, 25), modes.trap(mirrored, -1, 25)
    # the grid ends at the quantile of 1 - 1e-9, which a rounding of 2^-53 moves by 1e-7 of the tail's length
    assert a.b == pytest.approx(-b.b, abs=1e-6) and a.escape.value == pytest.approx(b.escape.value, rel=1e-5)
    assert a.missing == pytest.approx(b.missing, rel=1e-6)


def test_what_each_sampler_makes_of_the_weights():
    terms = {k: v.value for k, v in M8(targets.gm3).terms.items()}
    assert terms["mass error, reverse diffusion"] < 0.01
    assert terms["mass error, annealed Langevin, power 2"] < 0.06 < 0.15 < terms["mass error, annealed Langevin, power 1"]
    assert all(terms[f"mass error, Langevin, {start}"] == pytest.approx(0.25, abs=1e-5) for start in ("heavy mode", "half in each"))


def test_without_a_valley_langevin_moves():
    """The control of the frozen chain: between modes 3 standard deviations apart half of the missing mass has crossed after 400 steps."""
    law = sd.GaussianMixture([0.5, 0.5], [[-0.75], [0.75]], 0.25)
    end = sd.propagate(scheme.langevin(step=0.05, steps=400), exact(law), start=sd.Gaussian([0.75], 0.25))
    assert np.asarray(end.cdf(np.zeros((1, 1))))[0] > 0.4
