"""Chapter E: Langevin chains on Gaussians, the bias of their stationary law, the family of reverse processes, annealing."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import scoresde as sd
from scoresde import scheme, targets, theorems
from scoresde.kernel import variance_exploding
from scoresde.score import exact
from scoresde.testing import mixtures
from scoresde.theorems import langevin

E1, E4, E5, E6 = (
    langevin.unadjusted_langevin_on_gaussians, langevin.unadjusted_langevin_bias, langevin.annealed_langevin_on_gaussians,
    langevin.song_2021_same_marginals,
)  # fmt: skip
E2, E3 = langevin.dalalyan_2019_wasserstein2, langevin.vempala_2019_kullback_leibler
ALL = (E1, E2, E3, E4, E5, E6)


@pytest.mark.parametrize("theorem", ALL, ids=lambda f: f.info.id)
@pytest.mark.parametrize("name", targets.ALL)
def test_default_targets(theorem, name):
    (claim,) = theorems.verify(targets.ALL[name], theorem)
    if claim.verdict == "not applicable":
        assert theorem is E4 and name == "student5" and "light tails" in claim.reason
    else:
        assert claim.verdict == "verified" and claim.control.verdict == "refuted", claim
        assert claim.lhs.level == "deterministic" and claim.id == theorem.info.id
    (quick,) = theorems.verify(targets.ALL[name], theorem, quick=True)
    assert quick.verdict == claim.verdict and len(quick.cells) <= len(claim.cells)


@given(mixtures(max_dim=1, max_components=4), st.sampled_from(ALL))
@settings(max_examples=40, deadline=None)
def test_never_refuted_and_controls_never_verified(target, theorem):
    claim = theorem(target, quick=True)
    assert claim.verdict == "verified" and claim.control.verdict == "refuted", claim


@pytest.mark.parametrize("d", [1, 2, 16, 128, 1000])
def test_every_dimension(d):
    """The closed forms along each axis, and the bias that grows like \\sqrt d on N(0, I)."""
    rng = np.random.default_rng(d)
    law = sd.Gaussian(rng.standard_normal(d), np.exp(rng.uniform(-1, 1, d)))
    for theorem in (E1, E2, E3, E5, E6):
        claim = theorem(law, quick=True)
        assert claim.verdict == "verified" and claim.control.verdict == "refuted", claim
    bias = E1(sd.standard_normal(d), quick=True).terms["W2(π_h, π) at h = 0.1/λ_max"].value
    assert bias == pytest.approx(math.sqrt(d) * (0.95**-0.5 - 1), rel=1e-9)


def test_a_full_covariance_is_turned_to_its_axes():
    rng = np.random.default_rng(3)
    a = rng.standard_normal((5, 5))
    for theorem in (E1, E2, E3, E5):
        assert theorem(sd.Gaussian(np.arange(5.0), a @ a.T + np.eye(5))).verdict == "verified"


def test_what_is_not_gaussian_stands_for_its_moments():
    assert E1(targets.gm3).parameters["law"] == "N(E X, Cov X)"
    assert E1(targets.g1).parameters["law"] == "the target"
    point = E1(sd.Empirical([[1.0]]))
    assert point.verdict == "not applicable" and "positive definite" in point.reason


def test_the_chain_converges_to_the_law_that_was_solved_for():
    """160 steps of the line engine from p_1, which shrink what is left of the start to e^{-10}, give the solution of q = q P_h."""
    p, h = targets.gm3.noised(sd.ornstein_uhlenbeck(1.0)), 0.2
    law = sd.propagate(scheme.langevin(step=h, steps=160, t=1.0), exact(targets.gm3), start=p)
    x = np.array([-2.0, -0.5, 0.3, 1.7])
    ends = p.mean()[0] - 12, p.mean()[0] + 12
    ratio, kl = langevin._stationary(p, h, ends, 5.0, x)
    assert np.allclose(law.pdf(x[:, None]), p.pdf(x[:, None]) * (1 + ratio), rtol=1e-6, atol=0)
    assert sd.kullback_leibler(law, p).value == pytest.approx(kl, rel=1e-6)


def test_the_first_order_of_the_bias_on_a_gaussian_is_the_closed_form():
    r"""N(0, v): variance v + h/2 + O(h^2), so e(x) = (x^2/v - 1)/(4v) and ½ E e^2 = 1/(16 v^2)."""
    claim = E4(targets.g1)
    v = 1 - math.exp(-2) * (1 - 0.3)
    assert claim.terms["lim KL(π_h‖π)/h²"].value == pytest.approx(1 / (16 * v * v), rel=1e-9)
    assert claim.terms["order of KL in h"].value == pytest.approx(2, abs=0.1)


def test_a_law_that_is_noised_wrongly_is_refuted():
    class Mistaken:
        dim, error, twin = 1, 0.0, None

        def __getattr__(self, name):
            return getattr(targets.gm3, name)

        def noised(self, kernel):
            return targets.gm3.noised(sd.Kernel(kernel.m, 1.1 * kernel.v))

    assert E6(Mistaken()).verdict == "refuted"


def test_annealing_takes_the_chain_across_what_freezes_it():
    """Two modes 24 standard deviations apart: from one of them, 60 plain steps leave all mass there; annealed ones share it evenly."""
    law = sd.GaussianMixture([0.5, 0.5], [[-3.0], [3.0]], 0.0625)
    at_one = sd.Gaussian([3.0], 0.0625)
    plain = sd.propagate(scheme.langevin(step=0.02, steps=60), exact(law), start=at_one)
    assert plain.cdf(np.array([[0.0]]))[0] < 1e-6
    levels = np.geomspace(12.0, 0.25, 12)
    annealed = sd.propagate(scheme.annealed_langevin(levels, steps=5, step=0.3 * levels[-1] ** 2), exact(law, variance_exploding), start=at_one)
    assert annealed.cdf(np.array([[0.0]]))[0] == pytest.approx(0.5, abs=0.02)  # e^{-0.3 * 5 * levels above 6} of the start is left


def test_annealed_langevin_is_langevin_at_each_level():
    levels = np.array([3.0, 1.0, 0.5])
    table = scheme.annealed_langevin(levels, steps=2, step=0.05)
    assert table.rows == 6 and len(table.states) == 4 and table.evaluations == 6
    joined = scheme.langevin(step=0.05 * 36, steps=2, t=3.0)
    assert np.array_equal(table.b[:2], joined.b) and np.array_equal(table.c[:2], joined.c)
    assert np.array_equal(table.score_times, np.repeat(levels, 2))
    printed = scheme.annealed_langevin(levels, steps=2, step=0.05, power=1)
    assert np.allclose(printed.b[:, 0], 0.05 * np.repeat(levels / 0.5, 2), rtol=4e-16)
    for wrong in ([1.0, 2.0], [1.0, 0.0], [[1.0]], []):
        with pytest.raises(ValueError, match="levels"):
            scheme.annealed_langevin(wrong, steps=1, step=0.1)
    with pytest.raises(ValueError, match="step"):
        scheme.annealed_langevin(levels, steps=1, step=0.0)
