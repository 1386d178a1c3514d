"""Chapter C: time reversal, the exact law of the reverse process, and the sharp initialisation error."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import trapezoid

import scoresde as sd
from scoresde import targets, theorems
from scoresde.kernel import Kernel, ornstein_uhlenbeck
from scoresde.testing import mixtures
from scoresde.theorems.numeric import EPS
from scoresde.theorems.reversal import _initialisation_error, reverse_density

C1, C2, C3 = ALL = (theorems.anderson_1982_time_reversal, theorems.reverse_semigroup_density, theorems.sharp_initialisation_error)


@pytest.mark.parametrize("theorem", ALL, ids=lambda f: f.info.id)
@pytest.mark.parametrize("name", ["gm3", "g1", "gm2sym", "uni", "diracs", "ring8", "aniso16"])
def test_default_targets(theorem, name):
    (claim,) = theorems.verify(targets.ALL[name], theorem)
    if (name, theorem) == ("diracs", C3):
        assert claim.verdict == "not applicable" and "constant" in claim.reason
    else:
        assert claim.verdict == "verified" and claim.control.verdict == "refuted" and claim.lhs.level == "deterministic"
    if theorem is not C1 and targets.ALL[name].dim > 1:
        assert claim.parameters["axis"] == "first principal"


@given(mixtures(max_dim=1, max_components=4), st.sampled_from(ALL))
@settings(max_examples=80)
def test_never_refuted_and_controls_never_verified(target, theorem):
    claim = theorem(target, quick=True)
    assert claim.verdict != "refuted"
    assert claim.control is None or claim.control.verdict == "refuted"
    if theorem is not C3:
        assert claim.verdict == "verified"


@given(mixtures(max_dim=3, max_components=3))
@settings(max_examples=20)
def test_time_reversal_in_several_dimensions(target):
    claim = C1(target, quick=True)
    assert claim.verdict == "verified" and claim.control.verdict == "refuted"


class Mistaken:
    """gm3 whose score is ``gain`` times the right one, or whose noise is ``noise`` times what it says."""

    dim, error, twin = 1, 0.0, None

    def __init__(self, gain=1.0, noise=1.0, law=targets.gm3):
        self.gain, self.noise, self.law = gain, noise, law

    def __getattr__(self, name):
        return getattr(self.law, name)

    def noised(self, kernel):
        return Mistaken(self.gain, self.noise, self.law.noised(Kernel(kernel.m, self.noise * kernel.v)))

    def score(self, x):
        return self.gain * self.law.score(x)

    def score_jacobian(self, x):
        return self.gain * self.law.score_jacobian(x)


def test_a_wrong_score_or_a_wrong_law_is_refuted():
    assert [f(Mistaken()).verdict for f in ALL] == ["verified"] * 3
    assert [f(Mistaken(gain=1.01)).verdict for f in ALL[:2]] == ["refuted"] * 2
    assert [f(Mistaken(noise=1.05)).verdict for f in ALL[:2]] == ["refuted"] * 2
    assert C3(Mistaken(noise=1.05)).verdict != "verified"  # e^{2T} TV has no limit then, and the extrapolation says so


# ---- the reverse semigroup ---------------------------------------------------------------------------------------------------------------


@given(st.floats(-2, 2), st.floats(0.1, 2), st.floats(-2, 2), st.floats(0.2, 1.5), st.floats(0, 0.5), st.floats(0.2, 2))
def test_reverse_density_of_gaussians(mu, var, a, b, stop, length):
    r"""\nu = N(a, b), \pi = N(mu, var): \nu Q is Gaussian, by conditioning. Error: rounding of log-densities up to 50, on the scale of p_u."""
    target, t = sd.Gaussian([mu], var), stop + length
    m = math.exp(-length)
    (mean_u, var_u), (mean_t, var_t) = ((p.mean()[0], p.cov()[0, 0]) for p in (target.noised(ornstein_uhlenbeck(s)) for s in (stop, t)))
    gain = m * var_u / var_t
    law = sd.Gaussian([mean_u + gain * (a - mean_t)], var_u * -math.expm1(-2 * length) / var_t + gain**2 * b)
    y = mean_u + math.sqrt(var_u) * np.array([-3.0, -1.0, 0.0, 0.5, 2.0])
    ratio = np.exp(law.logpdf(y[:, None]) - target.noised(ornstein_uhlenbeck(stop)).logpdf(y[:, None]))
    got = 1 + reverse_density(target, t, sd.Gaussian([a], b), y, stop=stop, spacing=0.1)
    assert np.abs(got - ratio).max() <= 400 * EPS * (1 + ratio.max()) * (1 + np.abs(np.log(ratio)).max())


@given(mixtures(max_dim=1, max_components=3), st.floats(0.3, 2.0))
@settings(max_examples=25)
def test_reverse_density_has_mass_one_and_reproduces_p(target, t):
    """E_pi of the density ratio is 1 (trapezoid sum: error below 1e-12 for analytic integrands at sd/8); started from p_t, it is 1."""
    sds = np.sqrt(np.asarray(target.cov()))[0, 0]
    step = math.sqrt(float(np.min(target.covs))) / 8
    y = np.arange(target.means.min() - 10 * sds, target.means.max() + 10 * sds, step)
    gap = reverse_density(target, t, sd.standard_normal(1), y)
    assert abs(trapezoid(target.pdf(y[:, None]) * gap, dx=step)) <= 1e-10
    same = reverse_density(target, t, target.noised(ornstein_uhlenbeck(t)), y[::16])
    assert np.abs(same).max() == 0


def test_reverse_density_is_a_semigroup():
    """From t to u through s, or at once: the law in between enters as the start (cdf of a mixture refit is not needed: Gaussians)."""
    target, start = targets.g1, sd.Gaussian([0.3], 0.8)
    y = np.array([0.0, 0.9, 2.0])
    direct = reverse_density(target, 1.5, start, y, stop=0.2)
    (mean_s, var_s), (mean_t, var_t) = ((p.mean()[0], p.cov()[0, 0]) for p in (target.noised(ornstein_uhlenbeck(s)) for s in (0.7, 1.5)))
    gain = math.exp(-0.8) * var_s / var_t
    middle = sd.Gaussian([mean_s + gain * (0.3 - mean_t)], var_s * -math.expm1(-1.6) / var_t + gain**2 * 0.8)
    assert reverse_density(target, 0.7, middle, y, stop=0.2) == pytest.approx(direct, abs=1e-13)


def test_chains_converge_to_the_formula():
    """The extrapolated chains and the sum share nothing but the target; they agree far beyond any single chain."""
    claim = C2(targets.gm3)
    assert all(abs(c.lhs.value - c.rhs.value) < 1e-4 for c in claim.cells)
    p, start = targets.gm3.noised(ornstein_uhlenbeck(0.1)), sd.Gaussian([0.5], 0.75)
    x = np.array([[-1.1], [0.35], [1.2]])
    chain = sd.propagate(sd.scheme.exponential_relative(sd.grid.uniform(0.7, 128, stop=0.1)), sd.score.exact(targets.gm3), start=start)
    exact = p.pdf(x) * (1 + reverse_density(targets.gm3, 0.7, start, x[:, 0], stop=0.1))
    assert 1e-4 < np.abs(chain.pdf(x) - exact).max() < 1e-2  # of order h


# ---- the sharp initialisation error ------------------------------------------------------------------------------------------------------


def test_figures_of_gm3():
    """TV(gamma Q_T, pi) at T = 6 is 5.31819e-7, predicted 5.31835e-7, while the textbook term is 1.286e-4."""
    value, error = _initialisation_error(targets.gm3, 6.0)
    assert value == pytest.approx(5.31819e-7, abs=5e-13) and error < 1e-13
    terms = C3(targets.gm3).terms
    assert terms["TV(γQ_T, π) at T = 6"].value == pytest.approx(value, abs=2 * error)
    assert terms["lim e^2T TV(γQ_T, π)"].value * math.exp(-12) == pytest.approx(5.31835e-7, abs=5e-13)
    assert terms["TV(p_T, γ) at T = 6"].value == pytest.approx(1.286e-4, abs=1e-7)


def test_constant_of_a_gaussian_by_hand():
    r"""N(mu, v): \frac12 |mu| E|X - mu| = |mu| \sqrt{v/(2\pi)}; centred: A = v - 1, \frac14 |A| E|X^2 - v| = |A| v \varphi(1)."""
    claim = C3(targets.g1)
    assert claim.rhs.value == pytest.approx(1.3 * math.sqrt(0.3 / (2 * math.pi)), rel=1e-12)
    claim = C3(sd.Gaussian([0.0], 0.4))
    assert claim.rhs.value == pytest.approx(0.6 * 0.4 * math.exp(-0.5) / math.sqrt(2 * math.pi), rel=1e-12)
    assert claim.verdict == "verified" and claim.parameters["worst"]["power"] == 4


@given(mixtures(max_dim=1, max_components=3), st.floats(1.0, 5.0))
@settings(max_examples=25)
def test_data_processing(target, T):
    """TV(gamma Q_T, pi) <= TV(gamma, p_T): no kernel increases it (slack: the stated error)."""
    value, error = _initialisation_error(target, T)
    assert value - error <= sd.total_variation(sd.standard_normal(1), target.noised(ornstein_uhlenbeck(T))).hi


def test_where_the_constant_vanishes_the_error_is_smaller_still():
    r"""Atoms at \pm a: A (X^2 - 1) = A^2, so the constant is 0 for every a, not only where E X^2 = 1: by symmetry the error itself is 0."""
    for law in (sd.Empirical([[-1.5], [1.5]]), sd.Empirical([[0.7]]), sd.standard_normal(1)):
        claim = C3(law)
        assert claim.verdict == "not applicable" and "constant is not 0" in claim.reason
    for T in (1.0, 2.0):
        assert _initialisation_error(sd.Empirical([[-1.5], [1.5]]), T)[0] <= 8 * EPS
        assert _initialisation_error(sd.Empirical([[-1.5], [1.4]]), T)[0] > 1e-3 * math.exp(-2 * T)


def test_heavy_tails_are_not_misjudged():
    """Student's t (5): four moments, so the limit exists, but it is approached more slowly than a series in e^{-2T}: the error says so.
    Student's t (3): two moments, a finite constant, but e^{4T} TV has no limit."""
    claim = C3(targets.student5, quick=True)
    assert claim.verdict == "verified" and claim.rhs.value in claim.lhs
    claim = C3(student(3.0))
    assert claim.verdict == "not applicable" and "E|X|^4" in claim.reason


def test_infinite_second_moment_is_not_applicable():
    for theorem in ALL:
        claim = theorem(student(1.5))
        assert claim.verdict == "not applicable" and "E|X|^2" in claim.reason


def student(nu):
    level = math.lgamma((nu + 1) / 2) - math.lgamma(nu / 2) - 0.5 * math.log(nu * math.pi)
    return sd.Density(lambda x: level - 0.5 * (nu + 1) * np.log1p(x[..., 0] ** 2 / nu), dim=1)
