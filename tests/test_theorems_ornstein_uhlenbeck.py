"""Chapter A: chains, clocks, and decay towards N(0, I). Figures, equality cases, assumptions, and wrong laws that must be refuted."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad

import scoresde as sd
from scoresde import targets, theorems
from scoresde.kernel import Kernel
from scoresde.testing import mixtures
from scoresde.theorems.numeric import EPS, at_most, blurred, equal, needs, order, probes, richardson
from scoresde.theorems.ornstein_uhlenbeck import _leading

CLOCKS = (theorems.euler_maruyama_moments, theorems.euler_maruyama_modified_equation, theorems.song_2021_time_change)
DECAY = (
    theorems.stam_1959_de_bruijn, theorems.bakry_2014_kullback_leibler, theorems.bobkov_2001_regularised_kullback_leibler,
    theorems.villani_2009_wasserstein2, theorems.ornstein_uhlenbeck_total_variation_constant,
)  # fmt: skip
A5, A6, A7, A8, A10 = DECAY


def by(claim, **wanted):
    """The cell with these parameters."""
    (cell,) = [c for c in claim.cells if all(c.parameters.get(k) == v for k, v in wanted.items())]
    return cell


@pytest.mark.parametrize("theorem", CLOCKS + DECAY, ids=lambda f: f.info.id)
@pytest.mark.parametrize("name", ["gm3", "g1", "gm2sym", "uni", "aniso16", "diracs"])
def test_default_targets(theorem, name):
    """Verified with a refuted control, or not applicable for a stated reason: never a wrong verdict."""
    (claim,) = theorems.verify(targets.ALL[name], theorem)
    if claim.verdict == "not applicable":
        assert name == "diracs" and theorem is A10  # E X = 0 and E X^2 = 1: the constant is 0
        assert "E X²" in claim.reason
    else:
        assert claim.verdict == "verified" and claim.control.verdict == "refuted" and claim.as_expected
        assert claim.id == theorem.info.id and claim.statement == theorem.info.statement and claim.lhs.level == "deterministic"
    quick = theorem(sd.targets.first_axis(targets.ALL[name]), quick=True)
    assert quick.verdict == claim.verdict and len(quick.cells) <= len(claim.cells)


@given(mixtures(max_dim=1, max_components=4), st.sampled_from(DECAY + CLOCKS[2:]))
@settings(max_examples=150)
def test_never_refuted_and_controls_never_verified(target, theorem):
    claim = theorem(target, quick=True)
    assert claim.verdict in ("verified", "not applicable")
    if claim.verdict == "verified":
        assert claim.control.verdict == "refuted"


@pytest.mark.parametrize("theorem", DECAY, ids=lambda f: f.info.id)
def test_a_law_that_is_noised_wrongly_is_refuted(theorem):
    """The same mixture with a tenth more noise than it claims: it converges to N(0, 1.1), and every statement must notice."""
    assert theorem(Mistaken(1.1)).verdict == "refuted"
    assert theorem(Mistaken(1.0)).verdict == "verified"


class Mistaken:
    """gm3 whose ``noised`` adds ``factor`` times the noise."""

    dim, error, twin = 1, 0.0, None

    def __init__(self, factor):
        self.factor = factor

    def __getattr__(self, name):
        return getattr(targets.gm3, name)

    def noised(self, kernel):
        return targets.gm3.noised(Kernel(kernel.m, self.factor * kernel.v))


@pytest.mark.parametrize("theorem", DECAY, ids=lambda f: f.info.id)
def test_gamma_itself_has_nothing_to_decay(theorem):
    claim = theorem(sd.standard_normal(1))
    assert claim.verdict == ("verified" if theorem is A5 else "not applicable")


def test_assumptions_are_checked():
    heavy = sd.Density(lambda x: math.lgamma(1.25) - math.lgamma(0.75) - 0.5 * math.log(1.5 * math.pi) - 1.25 * np.log1p(x[..., 0] ** 2 / 1.5), dim=1)
    for theorem in DECAY[:4]:  # Student's t with 1.5 degrees of freedom has no second moment
        claim = theorem(heavy)
        assert claim.verdict == "not applicable" and "E|X|^2" in claim.reason
    claim = A10(targets.student5)  # two moments, but chi^2(p_s | gamma) is infinite at every s
    assert claim.verdict == "not applicable" and "χ²" in claim.reason
    with pytest.raises(sd.NoMethod, match="second_moment"):
        A6(type("Bare", (), {"dim": 1, "noised": lambda self, k: self})())
    assert theorems.verify(targets.ring8, A8)[0].parameters["axis"] == "first principal"


# ---- clocks ------------------------------------------------------------------------------------------------------------------------------


def test_moments_are_checked_to_the_rounding_of_the_recursion():
    claim = theorems.euler_maruyama_moments(targets.gm3)
    for cell in claim.cells:  # a mutation by 1e-12 per step would be seen
        assert cell.parameters["within"] <= 300 * cell.parameters["k"] * EPS * max(abs(cell.rhs.value), 1e-280)
    assert by(claim, of="σ_k²", h=1.9, k=100).rhs.value == pytest.approx(20.0, rel=1e-8)  # close to 1/(1 - h/2), with m_k = 0.9^100
    assert claim.control.cells[0].rhs.value == pytest.approx(0.0199, rel=1e-12)  # 1 - 0.99^2, the continuous formula


def test_moments_hold_in_every_dimension():
    cell = by(theorems.euler_maruyama_moments(targets.aniso16), of="E|X_k|²", h=0.1, k=100)
    assert cell.rhs.value == pytest.approx(16 / 0.95, rel=1e-8)


def test_discrete_against_continuous_has_order_one_in_tv_and_two_in_kl():
    terms = theorems.euler_maruyama_modified_equation(targets.gm3).terms
    assert terms["order of TV in h"].value == pytest.approx(1, abs=0.15)
    assert terms["order of KL in h"].value == pytest.approx(2, abs=0.2)
    assert terms["order of W2 in h"].value == pytest.approx(1, abs=0.15)
    tv = terms["TV(chain, p_1) at h = 0.1"]
    assert tv.value**2 <= terms["KL(chain, p_1) at h = 0.1"].value / 2  # Pinsker


def test_schedules_are_clocks_pathwise():
    """The VP chain with beta_k and step Delta, and the OU chain with steps beta_k Delta / 2, given the same normals, are the same path."""
    betas, width = np.array([8.0, 3.0, 1.0, 0.4, 0.1]), 0.2
    vp = sd.Table(width * np.arange(6.0), 1 - 0.5 * betas * width, 0.0, np.sqrt(betas * width))
    ou = sd.scheme.forward_euler_maruyama(0.5 * betas * width)
    x, y = (sd.trajectories(table, None, 50, seed=3, start=targets.gm3).states for table in (vp, ou))
    assert x.shape == (6, 50, 1)
    # each of five steps rounds two coefficients, two products and a sum of numbers up to |x| + |z|
    assert np.abs(x - y).max() <= 5 * 6 * EPS * (np.abs(x).max() + 6)
    wrong = sd.trajectories(sd.scheme.forward_euler_maruyama(betas * width), None, 50, seed=3, start=targets.gm3).states
    assert np.abs(x - wrong).max() > 0.1


# ---- decay -------------------------------------------------------------------------------------------------------------------------------


def test_figures_of_gm3():
    """Reference numbers: KL = .608239, I = 4.179432; ratios of both sides to the digits known."""
    claim = A6(targets.gm3)
    assert claim.terms["KL(p_0|γ)"].value == pytest.approx(0.608239, abs=1e-6)
    assert claim.terms["I(p_0|γ)"].value == pytest.approx(4.179432, abs=1e-6)
    assert [round(by(claim, of="KL", t=t).ratio, d) for t, d in ((0.1, 2), (1.0, 2), (3.0, 3))] == [0.70, 0.16, 0.017]
    claim = A7(targets.gm3)
    assert [round(by(claim, t=t).ratio, 2) for t in (0.1, 1.0, 3.0)] == [0.31, 0.33, 0.04]
    assert round(by(A8(targets.gm3), of="e^-t (√E|X|² + √d)", t=0.5).ratio, 2) == 0.18
    cell = by(A10(targets.gm3), t=6.0)
    assert cell.lhs.value * math.exp(-6) == pytest.approx(1.28571e-4, abs=1e-9)
    assert A10(targets.gm3).terms["lim e^t TV(p_t, γ)"].value * math.exp(-6) == pytest.approx(1.28554e-4, abs=1e-9)


@pytest.mark.parametrize("shift", [0.01, 1.0, 30.0])
def test_a_shifted_normal_attains_the_bounds(shift):
    """N(mu, 1): equality in A6 and the first part of A8, and the ratio 1 - e^{-2t} in A7. Tolerance: rounding of the laws' parameters
    relative to the shift."""
    law, tolerance = sd.Gaussian([shift], 1.0), 64 * EPS * (1 + 1 / shift) ** 2
    for theorem, skip in ((A6, ()), (A8, ("e^-t (√E|X|² + √d)", "W2(π, γ) ≤ √E|X|² + √d"))):
        claim = theorem(law)
        assert claim.verdict == "verified"
        for cell in claim.cells:
            if cell.parameters["of"] not in skip:
                assert cell.ratio == pytest.approx(1, abs=tolerance * math.exp(2 * cell.parameters["t"]))
    for cell in A7(law).cells:
        t = cell.parameters["t"]
        assert cell.ratio == pytest.approx(-math.expm1(-2 * t), abs=tolerance * math.exp(2 * t))


def test_de_bruijn_starts_where_information_is_finite():
    assert by(A5(targets.gm3), of="∫ I dt").parameters["t"] == 0
    for law in (targets.uni, targets.diracs):  # I(pi | gamma) is infinite
        cell = by(A5(law), of="∫ I dt")
        assert cell.parameters["t"] == 0.05 and cell.verdict == "verified"


def test_faster_rates_hold_for_centred_laws_so_the_control_is_faster_still():
    """e^{-4t} would not do as a control: it is true for N(0, v), v < 1."""
    law = sd.Gaussian([0.0], 0.3)
    claim = A6(law)
    for t in (0.1, 0.5, 1.0, 3.0):
        assert claim.terms[f"KL(p_{t:g}|γ)"].value < math.exp(-4 * t) * claim.terms["KL(p_0|γ)"].value
    assert claim.control.verdict == "refuted"


@given(st.floats(-3, 3), st.floats(-3, 3))
def test_two_leading_hermite_terms(alpha, beta):
    r"""\frac12 E|alpha Z + beta (Z^2 - 1)| in closed form, against adaptive quadrature between the kinks (its own error estimate 1e-9)."""
    if 0 < abs(alpha) < 1e-100 or 0 < abs(beta) < 1e-100:
        return  # squares underflow
    f = lambda z: 0.5 * abs(alpha * z + beta * (z * z - 1)) * math.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)  # noqa: E731
    kinks = [z for z in np.roots([beta, alpha, -beta]) if abs(z) < 12] if beta and abs(beta) > 1e-3 * abs(alpha) else [0.0]
    value, _ = quad(f, -12, 12, points=np.real(kinks), limit=200, epsabs=1e-10)
    assert _leading(alpha, beta) == pytest.approx(value, abs=1e-6 if abs(beta) <= 1e-3 * abs(alpha) else 1e-9)
    assert _leading(-alpha, beta) == pytest.approx(_leading(alpha, beta), rel=1e-14, abs=0)


@given(mixtures(max_dim=1, max_components=4))
@settings(max_examples=20)
def test_the_remainder_of_the_mixing_constant_is_proved(target):
    """|TV - leading| <= remainder at every t; the leading term is then the limit as e^{-t}."""
    claim = A10(target)
    if claim.verdict == "verified":
        assert all(abs(c.lhs.value - c.rhs.value) <= c.parameters["within"] for c in claim.cells)
        assert claim.cells[-1].parameters["within"] < claim.cells[0].parameters["within"]


# ---- the tools of the chapters -----------------------------------------------------------------------------------------------------------


@given(st.lists(st.floats(-1, 1), min_size=4, max_size=4), st.sampled_from([2.0, math.e, 3.0]))
def test_richardson_is_exact_on_its_powers(c, ratio):
    """c0 + c1 h + c2 h^2 + c3 h^3 at four steps: rounding only, amplified by the weights that the error accounts for."""
    h = ratio ** -np.arange(4.0)
    limit, error = richardson(c[0] + c[1] * h + c[2] * h**2 + c[3] * h**3, 8 * EPS * sum(map(abs, c)), (1, 2, 3), ratio=ratio)
    weights = math.prod((ratio**p + 1) / (ratio**p - 1) for p in (1, 2, 3))
    assert abs(limit - c[0]) <= 16 * EPS * sum(map(abs, c)) * weights
    assert error >= 0


def test_richardson_encloses_and_propagates_noise():
    h = 0.5 ** np.arange(1, 6)
    limit, error = richardson(np.exp(h), 0.0, (1, 2, 3, 4))
    assert abs(limit - 1) <= error < 1e-4
    _, noisy = richardson(np.exp(h), 1e-3, (1, 2, 3, 4))
    assert noisy > error + 1e-3  # weights sum to 1 with both signs, so their absolute sum is more
    both, _ = richardson(np.stack([np.exp(h), np.cos(h)], axis=1), [0.0] * 5, (1, 2, 3, 4))
    assert both == pytest.approx([limit, 1.0], abs=1e-4)


def test_comparisons_use_the_resolution_of_the_numbers():
    near = lambda x: sd.Enclosure.near(x, 1e-10)  # noqa: E731
    assert at_most(near(1.0), near(1.0), name="c").verdict == "verified"  # an equality case, not decided by rounding
    assert at_most(near(1.0 + 1e-9), near(1.0), name="c").verdict == "refuted"
    assert at_most(sd.Enclosure.near(1.0, 0.5), 1.2, name="c").verdict == "inconclusive"  # but a wide side stays wide
    assert at_most(math.inf, 1.0, name="c").verdict == "refuted"
    assert equal(1.0 + 1e-7, 1.0, digits=6, floor=0.0, name="c").verdict == "verified"
    assert equal(1e-7, 0.0, digits=6, floor=1.0, name="c").verdict == "verified"
    assert equal(1e-5, 0.0, digits=6, floor=1.0, name="c").verdict == "refuted"
    assert blurred(sd.Enclosure.exact(1.0), 0.5).lo == 0.5 and blurred(sd.Enclosure.exact(1.0), math.inf).lo == 1.0
    assert order([0.2, 0.1], [sd.Enclosure.exact(4.0), sd.Enclosure.exact(1.0)]).value == pytest.approx(2)
    assert order([0.2, 0.1], [sd.Enclosure.exact(4.0), sd.Enclosure(0.0, 1.0, "rigorous")]) is None
    with pytest.raises(sd.NoMethod, match="float has no method fly"):
        needs(1.0, "fly")


@pytest.mark.parametrize("law", [targets.gm3, targets.aniso16, targets.ring8], ids=["gm3", "aniso16", "ring8"])
def test_probes_surround_the_law(law):
    x = probes(law)
    sd_ = np.sqrt(np.diag(law.cov()))
    assert x.shape == (5, law.dim)
    assert (np.abs(x - law.mean()) <= 2 * sd_).all() and (x.max(0) > law.mean()).all() and (x.min(0) < law.mean()).all()
