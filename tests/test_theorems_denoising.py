"""Denoising chains and the probability flow: exact path and joint KL, the variational bound, DDPM and DDIM, likelihoods, bits."""

import math
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import scoresde as sd
from scoresde import targets
from scoresde.kernel import Kernel, ornstein_uhlenbeck
from scoresde.testing import mixtures
from scoresde.theorems import verify
from scoresde.theorems.denoising import (
    ho_2020_elbo_gap,
    ho_2020_optimal_variances,
    ho_2020_posterior,
    sohl_dickstein_2015_bound,
    song_2021_implicit_family,
    variational_terms,
)  # fmt: skip
from scoresde.theorems.flow import _string_kernel, chen_2018_flow_likelihood, quadratic_identity, sohl_dickstein_2015_binomial, transported
from scoresde.theorems.girsanov import (
    cameron_martin_girsanov_path,
    kingma_2021_refinement,
    kingma_2021_riemann_sum,
    skeleton_kullback_leibler,
    skeletons,
    two_times,
)  # fmt: skip
from scoresde.theorems.numeric import EPS

D1, C8, REFINED, D2 = CHAINS = (cameron_martin_girsanov_path, kingma_2021_riemann_sum, kingma_2021_refinement, skeleton_kullback_leibler)
C4, C5, C6, C7, C9 = STEPS = (
    ho_2020_posterior, ho_2020_optimal_variances, ho_2020_elbo_gap, sohl_dickstein_2015_bound, song_2021_implicit_family,
)  # fmt: skip
C10, C11, C12 = FLOWS = (chen_2018_flow_likelihood, sohl_dickstein_2015_binomial, quadratic_identity)
ALL = CHAINS + STEPS + FLOWS
identify = lambda f: f.info.id  # noqa: E731


@pytest.mark.parametrize("theorem", ALL, ids=identify)
@pytest.mark.parametrize("name", ["gm3", "g1", "gm2sym", "diracs", "ring8", "aniso16"])
def test_default_targets(theorem, name):
    (claim,) = verify(targets.ALL[name], theorem, quick=name not in targets.DEFAULTS)
    if name == "diracs" and theorem in (C6, C7):
        assert claim.verdict == "not applicable" and "density" in claim.reason
        return
    assert claim.verdict == "verified" and claim.control.verdict == "refuted"
    assert claim.id == theorem.info.id and claim.statement == theorem.info.statement
    assert claim.lhs.level in ("rigorous", "deterministic")


@pytest.mark.parametrize("theorem", ALL, ids=identify)
def test_never_refuted_and_controls_never_verified(theorem):
    """Mixtures as the default target of no one: 1 to 4 components, means in [-4, 4], standard deviations in [.2, 1.5]."""
    rng = np.random.default_rng(zlib.crc32(theorem.__name__.encode()))
    for _ in range(12):
        k = int(rng.integers(1, 5))
        claim = theorem(sd.GaussianMixture(rng.dirichlet(np.ones(k)), rng.uniform(-4, 4, (k, 1)), rng.uniform(0.2, 1.5, k) ** 2), quick=True)
        assert claim.verdict != "refuted" and claim.control.verdict == "refuted"


@given(mixtures(max_dim=1, max_components=3), st.sampled_from(ALL))
@settings(max_examples=40)
def test_mixtures_of_any_shape(target, theorem):
    claim = theorem(target, quick=True)
    assert claim.verdict != "refuted" and (claim.control is None or claim.control.verdict == "refuted")


@given(mixtures(max_dim=3, max_components=3), st.sampled_from([C4, C5, C9, C10, C12]))
@settings(max_examples=20)
def test_several_dimensions(target, theorem):
    claim = theorem(target, quick=True)
    assert claim.verdict in ("verified", "not applicable", "inconclusive")
    assert claim.control is None or claim.control.verdict == "refuted"


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

    def denoise_cov(self, x, kernel):
        return self.law.denoise_cov(x, kernel)


@pytest.mark.parametrize("theorem", [C8, D2, C4, C10], ids=identify)
def test_a_wrong_score_or_a_wrong_law_is_refuted(theorem):
    assert theorem(Mistaken(), quick=True).verdict == "verified"
    assert theorem(Mistaken(gain=1.02), quick=True).verdict == "refuted"
    assert theorem(Mistaken(noise=1.05), quick=True).verdict == "refuted"


def test_standard_normal_and_infinite_moments_are_not_applicable():
    gamma = sd.standard_normal(1)
    for theorem in (D1, D2, C8, REFINED, C6, C7, C10):
        claim = theorem(gamma)
        assert claim.verdict == "not applicable" and claim.control is None
    cauchy = sd.Density(lambda x: -np.log1p(x[..., 0] ** 2) - math.log(math.pi), dim=1)
    for theorem in ALL:
        if theorem is not C11:
            claim = theorem(cauchy)
            assert claim.verdict == "not applicable" and "E|X|^2" in claim.reason
    with pytest.raises(sd.NoMethod, match="products of laws"):
        D1(targets.ring8)
    with pytest.raises(sd.NoMethod, match="64"):
        C10(sd.Gaussian(np.zeros(65), 0.5))


# ---- two times ---------------------------------------------------------------------------------------------------------------------------


@given(mixtures(max_dim=1, max_components=3), st.floats(0.01, 2))
@settings(max_examples=25)
def test_moments_over_two_times(law, t):
    """E[1, X, Y, XY, Y^2]; the sum over Z is exact for polynomials beyond 1e-15, that over X has its stated error."""
    kernel = ornstein_uhlenbeck(t)
    value, error = two_times(law, kernel, lambda x, y, z: [np.ones_like(y), x, y, x * y, y * y])
    mean, second = float(law.mean()[0]), law.second_moment()
    truth = np.array([1, mean, kernel.m * mean, kernel.m * second, kernel.m**2 * second + kernel.v])
    assert np.all(np.abs(value - truth) <= error + 64 * EPS * (1 + second)) and np.all(error <= 1e-9 * (1 + second))


def test_two_times_from_points():
    value, error = two_times(targets.diracs, Kernel(0.5, 0.75), lambda x, y, z: [x * y, y**4])
    assert np.abs(value - [0.5, 0.5**4 + 6 * 0.25 * 0.75 + 3 * 0.75**2]).max() <= error.max() < 1e-12


# ---- chains ------------------------------------------------------------------------------------------------------------------------------


def test_figures_of_gm3():
    """Printed: KL_joint = KL_path of the ancestral chain, T = 6, uniform h = .2, is .202351; here by its definition, 30 quadratures."""
    (joint,) = skeletons(targets.gm3, [sd.scheme.ancestral(sd.grid.uniform(6.0, 30), "beta")])
    assert joint.value == pytest.approx(0.202351, abs=6e-7) and joint.width < 1e-6


def test_a_table_of_ones_own():
    rng = np.random.default_rng(1)
    grid = np.array([1.5, 1.1, 0.6, 0.2])
    table = sd.Table(grid, a=rng.uniform(0.8, 1.5, 3), b=rng.uniform(0.1, 0.9, 3), c=rng.uniform(0.3, 0.9, 3))
    assert D2(targets.gm3, table).verdict == "verified"
    with pytest.raises(sd.NoMethod, match="without noise"):
        D2(targets.gm3, sd.scheme.flow_euler(grid))


@pytest.mark.parametrize("mean", [0.5, -2.0])
def test_shifted_normal_attains_the_riemann_sum(mean):
    r"""\pi = N(\mu, 1): g is constant, so no grid matters and KL_joint = KL(p_T|\gamma) = e^{-2T} \mu^2/2."""
    target = sd.Gaussian([mean], 1.0)
    claim = C8(target)
    assert claim.verdict == "verified"
    for steps in (1, 2, 4, 8):
        assert claim.terms[f"KL_joint, {steps} steps"].value == pytest.approx(0.5 * math.exp(-2) * mean**2, rel=1e-10)
    assert REFINED(target).verdict == "verified"


def test_refinement_in_high_dimension():
    for variances in (np.geomspace(0.2, 3.0, 1000), 1.0):  # with variance 1 every grid attains the bound
        claim = REFINED(sd.Gaussian(np.full(1000, 0.1), variances))
        assert claim.verdict == "verified" and claim.control.verdict == "refuted"


# ---- the variational bound ---------------------------------------------------------------------------------------------------------------


def test_variational_terms_of_a_gaussian_by_hand():
    r"""One step from T to 0: L = KL(q(x_T|x_0)|\gamma) - E \log N(X_0; a X_T + b s(X_T), c^2), all moments Gaussian."""
    mu, var, T = 1.3, 0.3, 0.5
    m, v = math.exp(-T), -math.expm1(-2 * T)
    table = sd.scheme.ancestral(np.array([T, 0.0]), "beta")
    prior, steps, last = variational_terms(sd.Gaussian([mu], var), table)
    a, b, c2 = table.a[0, 0], table.b[0, 0], table.c[0, 0] ** 2
    spread = m * m * var + v
    slope = a - b / spread
    bias = mu - slope * m * mu - b * m * mu / spread
    square = bias**2 + var * (1 - slope * m) ** 2 + slope**2 * v
    assert steps.value == 0
    assert prior.value == pytest.approx(0.5 * (m * m * (mu * mu + var) + v - 1 - math.log(v)), abs=1e-14)
    assert last.value == pytest.approx(0.5 * (square / c2 + math.log(2 * math.pi * c2)), abs=1e-12)
    with pytest.raises(sd.NoMethod, match="ends at 0"):
        variational_terms(targets.g1, sd.scheme.ancestral(np.array([0.5, 0.1])))


def test_edge_term_vanishes_where_the_second_moment_is_d():
    claim = C7(sd.GaussianMixture([0.5, 0.5], [[-0.8], [0.8]], 0.36))
    assert claim.verdict == "not applicable" and "E|X|²" in claim.reason


# ---- the flow and the bits ---------------------------------------------------------------------------------------------------------------


def test_flow_of_a_gaussian_in_closed_form():
    r"""x_T = \mu_T + \sqrt{v_T/v_0}(x_0 - \mu_0), and \int div = -\frac12 \log(v_T/v_0) with the sign of -d - tr \nabla s."""
    target = sd.Gaussian([1.3, -0.5], [0.3, 2.0])
    x = np.array([[0.7, 1.0], [2.0, -3.0]])
    y, total = transported(target, x, 0.0, 1.0, 200)
    last = target.noised(ornstein_uhlenbeck(1.0))
    ratio = np.sqrt(np.diag(last.cov()) / np.array([0.3, 2.0]))
    assert np.abs(y - last.mean() - ratio * (x - target.mean())).max() <= 1e-7  # (h / 0.3)^4 / 120 with h = 0.02
    assert np.abs(total - np.log(ratio).sum()).max() <= 1e-7
    assert C10(target).verdict == "verified"


def test_bits_by_hand():
    assert _string_kernel(1, 0.5).tolist() == [[0.75, 0.25], [0.25, 0.75]]
    kernel = _string_kernel(3, 0.2)
    assert kernel.shape == (8, 8) and kernel[0b101, 0b100] == pytest.approx(0.6 * 0.6 * 0.4, abs=1e-15)
    claim = C11(targets.gm3, bits=3, length=4)
    assert claim.verdict == "verified" and claim.control.verdict == "refuted"
