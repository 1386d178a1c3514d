"""Chapter F: the discriminator's value, the envelopes of Jensen–Shannon, averaged iterates."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import scoresde as sd
from scoresde import targets, theorems
from scoresde.testing import mixtures
from scoresde.theorems import adversarial

F1, F2, F3, F4 = (
    adversarial.goodfellow_2014_discriminator, adversarial.goodfellow_2014_minimum, adversarial.lin_1991_jensen_shannon,
    adversarial.exponential_moving_average,
)  # fmt: skip
ALL = (F1, F2, F3, F4)


@pytest.mark.parametrize("theorem", ALL, ids=lambda f: f.info.id)
@pytest.mark.parametrize("name", targets.ALL)
def test_default_targets(theorem, name):
    (claim,) = theorems.verify(targets.ALL[name], theorem)
    assert claim.verdict == "verified" and claim.control.verdict == "refuted", claim
    assert claim.lhs.level == "deterministic" and claim.id == theorem.info.id
    (quick,) = theorems.verify(targets.ALL[name], theorem, quick=True)
    assert quick.verdict == "verified" and len(quick.cells) <= len(claim.cells)


@given(mixtures(max_dim=1, max_components=4), st.sampled_from(ALL))
@settings(max_examples=40, deadline=None)
def test_never_refuted_and_controls_never_verified(target, theorem):
    claim = theorem(target, quick=True)
    assert claim.verdict == "verified" and claim.control.verdict == "refuted", claim


def test_the_value_of_a_discriminator_of_two_uniform_laws_by_hand():
    r"""\pi on [0, 1], \mu on [0, 2]: D* = 2/3 on [0, 1], 0 beyond; V(D*) = \log(2/3) + ½\log(1/3)."""
    pi, mu = sd.Uniform([0.0], [1.0]), sd.Uniform([0.0], [2.0])
    value = adversarial._value(pi, mu, lambda logit, x: logit)
    assert math.log(2 / 3) + 0.5 * math.log(1 / 3) in value and value.width < 1e-11
    half = adversarial._value(pi, mu, lambda logit, x: np.zeros_like(logit))
    assert -2 * math.log(2) in half
    apart = adversarial._value(pi, sd.Uniform([3.0], [4.0]), lambda logit, x: logit)
    assert 0.0 in apart and apart.width < 1e-11  # disjoint supports


def test_what_a_discriminator_loses_is_the_divergence_of_coins():
    """Logit 1 too large on D* = 1/2 everywhere: kl(1/2 | sigma(1)) twice."""
    lost = adversarial._loss(targets.g1, targets.g1, lambda logit, x: logit + 1.0)
    p = 1 / (1 + math.exp(-1.0))
    assert lost.value == pytest.approx(-math.log(2 * p) - math.log(2 * (1 - p)), rel=1e-12)


def test_randomised_discriminators_do_not_help():
    """V is concave: the mean of the values is at most the value of the mean discriminator."""
    mu, sigma = sd.standard_normal(1), lambda x: 1 / (1 + np.exp(-x))
    first, second = (lambda logit, x: logit + 1.0), (lambda logit, x: logit - 2.0)

    def mean(logit, x):
        d = 0.5 * (sigma(first(logit, x)) + sigma(second(logit, x)))
        return np.log(d) - np.log1p(-d)

    values = [adversarial._value(targets.gm3, mu, f) for f in (first, second, mean)]
    assert (0.5 * (values[0] + values[1])).hi < values[2].lo


@given(st.floats(0.0, 1.0))
@settings(deadline=None)
def test_the_lower_envelope_is_above_half_the_square_and_below_the_chord(t):
    assert 0.5 * t * t - 1e-15 <= adversarial.envelope(t) <= t * math.log(2) + 1e-15


def test_coins_attain_the_lower_envelope_and_nothing_lies_below():
    rng = np.random.default_rng(0)
    for _ in range(200):
        p, q = (sd.Empirical([[0.0], [1.0], [2.0]], w) for w in rng.dirichlet(np.ones(3), 2))
        js, t = sd.jensen_shannon(p, q), sd.total_variation(p, q)
        assert adversarial.envelope(t.value) <= js.value + 1e-13 <= t.value * math.log(2) + 2e-13


def test_a_wrong_half_is_refuted():
    """The half-sum read as a sum is a different number: the control's verdict is not by chance."""
    claim = F1(targets.gm3)
    best = [c for c in claim.cells if c.parameters["D"] == "D*"]
    assert all(abs(c.lhs.value + 2 * math.log(2)) > 1e-6 for c in best)  # JS > 0, so that JS and 2 JS differ
    assert claim.control.lhs.value == best[0].lhs.value


def test_assumptions_are_checked():
    heavy = sd.Density(lambda x: math.lgamma(1.25) - math.lgamma(0.75) - 0.5 * math.log(1.5 * math.pi) - 1.25 * np.log1p(x[..., 0] ** 2 / 1.5), dim=1)
    for theorem in ALL:  # Student's t with 1.5 degrees of freedom
        claim = theorem(heavy)
        assert claim.verdict == "not applicable" and "E|X|^2" in claim.reason
    with pytest.raises(sd.NoMethod, match="dimension 2"):
        F1(targets.ring8)
    assert theorems.verify(targets.ring8, F1)[0].parameters["axis"] == "first principal"


def test_window_and_variance_of_the_average():
    terms = F4(targets.gm3).terms
    assert terms["window, m = 0.01"].value == pytest.approx(100, rel=1e-9)
    assert terms["variance seen, m = 0.01"].value == pytest.approx(0.01 / 1.99, rel=1e-9)
