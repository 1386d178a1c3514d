"""Chapter B: Tweedie's mean and covariance against Bayes' rule, computed without any score."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import scoresde as sd
from scoresde import targets, theorems
from scoresde.kernel import Kernel
from scoresde.testing import mixtures
from scoresde.theorems.numeric import EPS
from scoresde.theorems.tweedie import bayes_moments

B1, B2 = BOTH = (theorems.robbins_1956_denoising, theorems.tweedie_covariance)
IDS = {"ids": lambda f: f.info.id}


@pytest.mark.parametrize("theorem", BOTH, **IDS)
@pytest.mark.parametrize("name", sorted(targets.ALL))
def test_default_targets(theorem, name):
    """In every dimension, also for laws without a density; on the line by quadrature."""
    claim = theorem(targets.ALL[name])
    assert claim.verdict == "verified" and claim.control.verdict == "refuted"
    assert len(claim.cells) == 4 and all(c.verdict == "verified" for c in claim.cells)
    assert claim.cells[-1].parameters["chain"] == "X_5 given X_6"  # the identity also holds for the discrete chain
    assert all(c.verdict == "refuted" for c in claim.control.cells)


@given(mixtures(max_dim=2, max_components=4), st.sampled_from(BOTH))
@settings(max_examples=60)
def test_verified_for_every_mixture_and_its_control_refuted(target, theorem):
    claim = theorem(target, quick=True)
    assert claim.verdict == "verified" and claim.control.verdict == "refuted"


@given(mixtures(max_dim=1, max_components=4), st.floats(0.1, 0.95), st.floats(0.05, 3.0))
@settings(max_examples=60)
def test_bayes_quadrature_against_components(law, m, v):
    """On the line, the integral over x_0 agrees with the closed form of a mixture's posterior (error: what the quadrature states)."""
    kernel = Kernel(m, v)
    x = law.noised(kernel).quantile(np.array([0.001, 0.3, 0.99]))
    mean, cov, error = bayes_moments(law, kernel, x)
    size = 1 + np.abs(law.means).max() + 12 * np.sqrt(np.max(law.covs))
    assert np.abs(mean - law.denoise(x, kernel)).max() <= error + 64 * EPS * size
    assert np.abs(cov - law.denoise_cov(x, kernel)).max() <= error * size + 256 * EPS * size**2
    assert error < 1e-9


def test_bayes_moments_of_a_gaussian_by_hand():
    r"""N(0, 1) and m = 1/2, v = 3/4: mean x/2, variance 3/4."""
    x = np.array([[-3.0], [0.0], [1.0], [7.0]])
    mean, cov, _ = bayes_moments(sd.standard_normal(1), Kernel(0.5, 0.75), x)
    assert mean == pytest.approx(0.5 * x, abs=1e-13)
    assert cov[:, 0, 0] == pytest.approx(np.full(4, 0.75), abs=1e-13)


def test_bayes_moments_of_a_discrete_law_and_of_a_jump():
    """Two atoms: a logistic curve. A uniform law: a truncated normal, here symmetric."""
    x = np.array([[-0.7], [0.0], [0.4]])
    mean, cov, _ = bayes_moments(targets.diracs, Kernel(0.6, 0.64), x)
    assert mean == pytest.approx(np.tanh(0.6 * x / 0.64), abs=1e-14)
    assert cov[:, 0, 0] == pytest.approx(1 - np.tanh(0.6 * x[:, 0] / 0.64) ** 2, abs=1e-14)
    mean, cov, error = bayes_moments(targets.uni, Kernel(1e-3, 1.0), np.zeros((1, 1)))
    assert mean[0, 0] == pytest.approx(0, abs=error) and cov[0, 0, 0] == pytest.approx(1 / 3, abs=1e-6)


@pytest.mark.parametrize("theorem", BOTH, **IDS)
def test_a_score_of_the_wrong_law_is_refuted(theorem):
    """A law that adds 1% more noise than it says, and one whose score is 0.01% too large."""

    class Mistaken:
        dim, error, twin = 1, 0.0, None

        def __init__(self, noise, gain, law=targets.gm3):
            self.noise, self.gain, self.law = noise, gain, law

        def __getattr__(self, name):
            return getattr(self.law, name)

        def noised(self, kernel):
            return Mistaken(self.noise, self.gain, self.law.noised(Kernel(kernel.m, self.noise * kernel.v)))

        def score(self, x):
            return self.gain * self.law.score(x)

        def score_jacobian(self, x):
            return self.gain * self.law.score_jacobian(x)

    assert theorem(Mistaken(1.0, 1.0)).verdict == "verified"
    assert theorem(Mistaken(1.01, 1.0)).verdict == "refuted"
    assert theorem(Mistaken(1.0, 1.0001)).verdict == "refuted"


def test_lecture_note_misprint_is_off_at_second_order():
    """x + h(x + 2 s_k(x)) against the exact (x + 2h s_{k+1}(x))/(1 - h): the gap falls by 4 when h is halved (observed order within 0.1)."""
    x, gaps = np.array([[-1.0], [0.5], [2.0]]), []
    for h in (0.02, 0.01, 0.005):
        before = targets.gm3.noised(sd.ornstein_uhlenbeck(0.5))
        after = before.noised(sd.kernel.euler_maruyama(h))
        exact = (x + 2 * h * after.score(x)) / (1 - h)
        gaps.append(np.abs(exact - (x + h * (x + 2 * before.score(x)))).max())
    assert np.log2(gaps[1] / gaps[2]) == pytest.approx(2, abs=0.1)


def test_the_posterior_mean_increases():
    """On the line I + v s' >= 0: it is a variance over v/m^2."""
    assert 0 <= B2(targets.gm3).terms["least eigenvalue of I + v∇s"].value <= 1
    assert abs(B2(targets.diracs).terms["least eigenvalue of I + v∇s"].value) <= 1e-3  # near an atom nothing is left to learn


def test_above_the_line_a_denoiser_is_needed():
    class Bare:
        dim = 2

        def noised(self, kernel):
            return targets.ring8.noised(kernel)

        def second_moment(self):
            return 4.2

    with pytest.raises(sd.NoMethod, match="denoise"):
        B1(Bare())
