"""Laws on flats, circles and points: what diverges, what stays finite, and what an early stopped chain makes of it."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import scoresde as sd
from scoresde import targets, theorems
from scoresde.laws import Circle, Empirical
from scoresde.testing import mixtures
from scoresde.theorems import manifold

M1, M2, M3, M4, M5, M6 = (
    manifold.singular_divergences, manifold.score_growth, manifold.kullback_leibler_growth, manifold.early_stopping_distance,
    manifold.chain_on_a_manifold, manifold.memorisation_bound,
)  # fmt: skip
ALL = (M1, M2, M3, M4, M5, M6)
IDS = {"ids": lambda f: f.info.id}
POINT = Empirical([[0.7]])


def run(theorem, target, **options):
    (claim,) = theorems.verify(target, theorem, **options)
    return claim


@pytest.mark.parametrize("theorem", ALL, **IDS)
@pytest.mark.parametrize("name", ["gm3", "g1", "gm2sym"])
def test_default_targets(theorem, name):
    claim = run(theorem, targets.ALL[name])
    assert claim.verdict == "verified" and claim.control.verdict == "refuted" and claim.id == theorem.info.id, claim
    assert all(c.verdict == "verified" for c in claim.cells) and claim.statement and claim.reference
    assert {claim.lhs.level, claim.rhs.level} <= {"rigorous", "deterministic"}
    assert sd.from_json(sd.to_json(claim)) == claim


@pytest.mark.parametrize("theorem", ALL, **IDS)
@pytest.mark.parametrize("name", ["uni", "diracs", "ring8", "aniso16"])
def test_rough_laws_and_higher_dimensions(theorem, name):
    claim = run(theorem, targets.ALL[name], quick=True)
    if (theorem, name) == (M6, "diracs"):  # six quantiles of two points are not six points
        assert claim.verdict == "not applicable" and "apart" in claim.reason
    else:
        assert claim.verdict == "verified" and claim.control.verdict == "refuted", claim


@given(mixtures(max_dim=1, max_components=4), st.sampled_from(ALL))
@settings(max_examples=15, deadline=None)
def test_never_refuted_and_controls_never_verified(target, theorem):
    claim = theorem(target, quick=True)
    assert claim.verdict == "verified" and claim.control.verdict == "refuted", claim


def test_infinite_moments_are_out_of_scope():
    class Wild:
        dim, error, twin = 1, 0.0, None

        def __getattr__(self, name):
            return getattr(targets.gm3, name)

        def second_moment(self):
            return math.inf

    for theorem in ALL:
        claim = theorem(Wild())
        assert claim.verdict == "not applicable" and "E|X|^2 finite" in claim.reason


def of(claim, **parameters):
    return [c for c in claim.cells if parameters.items() <= c.parameters.items()]


def test_a_gaussian_attains_both_bounds_of_the_score():
    for c in of(M2(targets.g1), law="codimension 56 in d = 64"):
        assert c.ratio == pytest.approx(1, abs=1e-12)


def test_a_smooth_factor_costs_what_it_has():
    """On a flat E|s|^2 - c/sigma^2 is k times the Fisher information of a coordinate, which stays finite."""
    claim = M2(targets.gm3)
    t, v = 1e-3, -math.expm1(-2e-3)
    found = claim.terms["σ² E|s|², codimension 56 in d = 64, t = 0.001"].value
    own = sd.information.fisher(targets.gm3, t).value
    assert found == pytest.approx(56 + 8 * v * own, rel=1e-12) and own < 12


def test_a_point_attains_the_coupling_bound_and_everything_else_is_of_order_one_half():
    claim = M4(POINT)
    for c in of(claim, law="one point"):
        if "W2" in c.parameters["of"]:
            assert c.ratio == pytest.approx(1, abs=1e-12)
    terms = M4(targets.gm3).terms
    for name in ("codimension 1 in d = 2", "codimension 56 in d = 64", "one point", "six points", "circle"):
        assert terms[f"order in δ, {name}"].value == pytest.approx(0.5, abs=1e-3)
    assert terms["W2, codimension 56 in d = 64, δ = 0.0001"].value == pytest.approx(math.sqrt(2e-4 * 56), rel=1e-3)


def test_a_smooth_law_is_stopped_early_for_less():
    """W2(p_d, pi) is linear in d for a density, so that the flat's square root comes from the coordinates that are 0."""
    near, far = (sd.wasserstein2(targets.gm3.noised(sd.ornstein_uhlenbeck(t)), targets.gm3).value for t in (1e-4, 1e-3))
    assert far / near == pytest.approx(10, rel=0.05)


@pytest.mark.parametrize("a", [0.3, 3.0, 30.0])
def test_moments_of_rice_by_quadrature(a):
    mean, inverse, cosine = manifold._rice(a)
    law = Circle(a, 1.0)
    assert manifold._over_radii(law, lambda rho, _: rho).value == pytest.approx(mean, rel=1e-12)
    assert manifold._over_radii(law, lambda rho, _: 1 / np.maximum(rho, 1e-300)).value == pytest.approx(inverse, rel=1e-12)
    step = 1e-4 * a  # E cos is the derivative of E rho in a
    slope = (manifold._rice(a + step)[0] - manifold._rice(a - step)[0]) / (2 * step)
    assert slope == pytest.approx(cosine, rel=1e-6)


def test_radii_beyond_the_circle_bounds_are_seen():
    """The two bounds hold for the circle's own score and not for one that is a twentieth too long."""
    law = Circle(1.0, 0.01)
    low, high = manifold._circle_bounds(law)
    value = law.var * manifold._over_radii(law, lambda _, x: (law.score(x) ** 2).sum(-1))
    assert low.hi <= value.lo and value.hi <= high.lo and high.value - low.value < 0.03
    assert 1.05**2 * value.value > high.hi


def test_divergences_grow_by_half_the_codimension_per_log():
    terms = M3(targets.gm3).terms
    for name, c in (("codimension 1 in d = 2", 1), ("codimension 56 in d = 64", 56)):
        rise = terms[f"KL, {name}, t = 1e-06"].value - terms[f"KL, {name}, t = 0.001"].value
        assert rise == pytest.approx(0.5 * c * math.log(1e3), rel=5e-3)


def test_the_chain_comes_closer_as_its_end_does_and_total_variation_does_not_tell():
    terms = M5(targets.gm3).terms
    for law in ("codimension 1 in d = 2", "codimension 56 in d = 64"):
        late, early = (terms[f"W2(chain, π_c), {law}, δ = {d}"].value for d in ("0.01", "0.05"))
        assert late < 0.5 * early  # sqrt(1/5) = 0.447
    assert all(c.lhs.value == c.rhs.value == 1 for c in of(M5(targets.gm3), of="TV(π_c, chain)"))


def test_memorisation_sharpens_with_the_steps():
    coarse, fine = (M6(targets.gm3, quick=q) for q in (True, False))
    (a,), (b,) = ([v for k, v in c.terms.items() if k.startswith("τ")] for c in (coarse, fine))
    assert b.value < a.value < 1 and all(v.value < 1e-3 for k, v in fine.terms.items() if k.startswith("outside"))


def test_heavy_tails():
    for theorem in (M1, M2, M3, M4):
        assert run(theorem, targets.student5, quick=True).verdict == "verified"
