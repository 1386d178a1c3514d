"""Langevin steps as a corrector: forgetting, the law of predictor–corrector chains, and what a correction costs."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import scoresde as sd
from scoresde import scheme, targets, theorems
from scoresde.score import exact
from scoresde.testing import mixtures
from scoresde.theorems import corrector

FORGET, PC, MOVED = corrector.langevin_forgetting, corrector.predictor_corrector_on_gaussians, corrector.corrector_invariance
ALL = (FORGET, PC, MOVED)
IDS = {"ids": lambda f: f.info.id}


@pytest.mark.parametrize("theorem", ALL, **IDS)
@pytest.mark.parametrize("name", ["gm3", "g1", "gm2sym"])
def test_default_targets(theorem, name):
    (claim,) = theorems.verify(targets.ALL[name], theorem)
    assert claim.verdict == "verified" and claim.control.verdict == "refuted" and claim.id == theorem.info.id, claim
    assert all(c.verdict == "verified" for c in claim.cells) and sd.from_json(sd.to_json(claim)) == claim


@pytest.mark.parametrize("theorem", ALL, **IDS)
@pytest.mark.parametrize("name", ["uni", "diracs", "ring8", "aniso16"])
def test_rough_laws_and_higher_dimensions(theorem, name):
    (claim,) = theorems.verify(targets.ALL[name], theorem, quick=True)
    if (theorem, name) == (FORGET, "uni"):
        assert claim.verdict == "not applicable" and "curvature" in claim.reason
    else:
        assert claim.verdict == "verified" and claim.control.verdict == "refuted", claim


@given(mixtures(max_dim=1, max_components=4), st.sampled_from(ALL))
@settings(max_examples=15, deadline=None)
def test_never_refuted_and_controls_never_verified(target, theorem):
    claim = theorem(target, quick=True)
    assert claim.verdict == "verified" and claim.control.verdict == "refuted", claim


@pytest.mark.parametrize("d", [2, 16, 128])
def test_every_dimension(d):
    rng = np.random.default_rng(d)
    basis = np.linalg.qr(rng.standard_normal((d, d)))[0]
    full = (basis * np.exp(rng.uniform(-1, 1, d))) @ basis.T
    for cov in [np.exp(rng.uniform(-1, 1, d))] + [0.5 * (full + full.T)] * (d < 128):
        law = sd.Gaussian(rng.standard_normal(d), cov)
        for theorem in ALL if d < 128 else (FORGET, PC):
            claim = theorem(law, quick=True)
            assert claim.verdict == "verified" and claim.control.verdict == "refuted", claim


def test_a_gaussian_attains_both_rates():
    claim = FORGET(sd.Gaussian([0.5], 2.0))
    assert claim.parameters["t"] == 0 and claim.parameters["m"] == claim.parameters["M"] == 0.5
    assert all(c.ratio == pytest.approx(1, abs=1e-6) for c in claim.cells if c.parameters["of"] in ("from above", "from below"))


def test_far_modes_are_noised_until_they_are_one():
    claim = FORGET(sd.GaussianMixture([0.5, 0.5], [[-3.0], [3.0]], 0.1))
    assert claim.verdict == "verified" and claim.parameters["t"] >= 1 and claim.parameters["m"] > 0


def test_the_chain_ends_in_its_stationary_law_at_that_rate():
    """W2(X_k, p_h) <= (1 - hm)^k/(hm) W2(X_1, X_0), with X_60, of which (1 - hm)^60 = 4e-4 of the start is left, for p_h."""
    p, score = sd.Gaussian([1.3], 2.0), exact(sd.Gaussian([1.3], 2.0))
    laws = sd.marginals(scheme.langevin(step=0.25, steps=60), score, start=sd.Gaussian([-1.0], 0.3))
    h, m = 0.25, 0.5
    stationary = sd.Gaussian(p.mean(), 1 / (m * (1 - 0.5 * h * m)))
    first = sd.wasserstein2(laws[1], laws[0]).value
    for k in (1, 5, 20):
        assert sd.wasserstein2(laws[k], stationary).value <= (1 - h * m) ** k / (h * m) * first
    assert sd.wasserstein2(laws[60], stationary).value < 5e-4 * sd.wasserstein2(laws[0], stationary).value


def test_many_corrections_forget_the_predictor():
    """n = 64 corrections: the variance is v_u/(1 - eps/2v_u), a quarter of eps/2v_u beyond v_u for eps = v_u/2: 4/3."""
    assert PC(targets.g1).terms["variance at δ over v_δ, many corrections"] == pytest.approx(4 / 3, rel=1e-9)


def test_the_bias_of_one_correction_is_of_fourth_order():
    """KL(p|pP) goes with eps^4: a Langevin step has weak order 2 locally; the bound, by paths, with eps^2."""
    p, score, t = targets.gm3.noised(sd.ornstein_uhlenbeck(0.5)), exact(targets.gm3), 0.5
    lost = [sd.kullback_leibler(p, sd.propagate(scheme.langevin(step=h, steps=1, t=t), score, start=p)).value for h in (0.04, 0.02, 0.01)]
    assert math.log2(lost[1] / lost[2]) == pytest.approx(4, abs=0.3)


def test_the_mean_square_slope_of_the_score():
    r"""E|\nabla s|^2 = 1/v^2 for N(\mu, v), by the closed form and by quadrature."""
    assert corrector._roughness(sd.Gaussian([1.0], 0.5)).value == pytest.approx(4, rel=1e-14)
    alike = sd.GaussianMixture([0.5, 0.5], [[1.0], [1.0]], 0.5)
    assert corrector._roughness(alike).value == pytest.approx(4, rel=1e-10)


def test_a_law_that_is_noised_wrongly_is_refuted():
    """Its p_t are no flow, so that the reversed diffusion does not carry one to the next."""

    class Mistaken:
        dim, error, twin = 1, 0.0, None

        def __getattr__(self, name):
            return getattr(targets.gm3, name)

        def noised(self, kernel):
            return targets.gm3.noised(sd.Kernel(kernel.m, 4 * kernel.v))

    claim = MOVED(Mistaken(), quick=True)
    assert claim.verdict == "refuted" and "predictor–corrector" in claim.parameters["worst"]["of"]
