"""The same claims in d = 1, 2, 16, 128, 1000: a Gaussian with unequal variances, d copies of a law, and a mixture whose means span a line."""

from collections import Counter

import numpy as np
import pytest

import scoresde as sd
from scoresde.laws import Gaussian, GaussianMixture, Product
from scoresde.targets import gm2sym, gm3
from scoresde.theorems.coordinates import coordinates, pieces
from scoresde.theorems.dimension import dimension_of_the_bounds, dimension_of_the_noise, dimension_of_the_step, dimension_of_the_time

DIMENSIONS = (1, 2, 16, 128, 1000)
# of the flow, of the score, of the chain's distance from the target: additive, or with a stated dependence on d
ANY = ["A5", "A6", "A7", "A8", "A9'", "B1", "B3", "B13", "B14", "B14'", "B17", "C8", "C8'", "D1", "D2", "D3", "D5", "D7"]
FEW = ["A10", "B2", "D4"]  # total variation in every cell, or matrices (d, d): asked in d = 16
CLAIMS = [dimension_of_the_bounds, dimension_of_the_noise, dimension_of_the_step, dimension_of_the_time]


def targets(d):
    u = np.random.default_rng(d).normal(size=d)
    u = u / np.linalg.norm(u)
    centre = 0.1 * np.random.default_rng(d + 1).normal(size=d) / np.sqrt(d)
    return {
        "gaussian": Gaussian(np.linspace(-1.0, 1.0, d) if d > 1 else [1.3], np.geomspace(0.3, 2.0, d)),
        "product": Product([gm3], [d]),
        "mixture": GaussianMixture(gm3.weights, gm3.means * u + centre, 0.2),
    }


@pytest.mark.parametrize("d", DIMENSIONS)
def test_the_claims_hold_in_every_dimension(d):
    """None refuted, none raises; those decided in d itself, and not on an axis, are most of them."""
    decided = Counter()
    for name, target in targets(d).items():
        for claim in sd.verify(target, only=[*ANY, *(FEW if d == 16 else [])], quick=True):
            assert claim.verdict != "refuted", (name, str(claim))
            assert claim.control is None or claim.control.verdict == "refuted", (name, claim.id)
            assert claim.verdict == "verified" or claim.reason, (name, claim.id)
            decided[name] += claim.verdict == "verified" and "axis" not in claim.parameters
    asked = len(ANY) + (len(FEW) if d == 16 else 0)
    # a Gaussian with more than four variances has too many distinct coordinates for D1, D2 and C8; D7 asks for components of one variance
    missing = {"gaussian": 3 if d > 4 else 0, "product": 1, "mixture": 0}
    assert all(decided[name] >= asked - missing[name] for name in decided), (asked, decided)


def test_a_product_of_computed_laws_and_unsplit_mixtures_have_honest_reasons():
    rng = np.random.default_rng(0)
    spread = GaussianMixture(np.full(4, 0.25), rng.normal(size=(4, 6)), 0.3)  # the means span three dimensions
    assert pieces(spread) is None
    for claim in sd.verify(spread, only=["D0", "D1", "D3", "D5"], quick=True):
        assert claim.verdict == "verified" and claim.parameters["axis"] == "first principal", str(claim)
    with pytest.raises(sd.NoMethod, match="products of laws"):
        coordinates(spread)
    with pytest.raises(sd.NoMethod, match="distinct"):
        coordinates(sd.targets.aniso16)


def test_coordinates_are_counted():
    law = Product((gm3, Gaussian(np.array([3.0, 4.0, 0.0]), 0.5), gm3))
    found = dict(coordinates(law))
    assert found == {gm3: 2, Gaussian([5.0], 0.5): 1, Gaussian([0.0], 0.5): 2}
    full = Gaussian([0.0, 0.0], [[1.0, 0.5], [0.5, 1.0]])
    assert sorted(round(float(f.covariance), 12) for f, _ in coordinates(full)) == [0.5, 1.5]
    assert sum(n for _, n in coordinates(targets(128)["mixture"])) == 128


@pytest.mark.parametrize("name", ["gm3", "g1", "gm2sym"])
@pytest.mark.parametrize("theorem", CLAIMS)
def test_the_dependence_on_the_dimension(theorem, name):
    claim = theorem(sd.targets.ALL[name])
    assert claim.verdict == "verified" and claim.control.verdict == "refuted", str(claim)
    assert claim.cells and claim.terms is not None


@pytest.mark.parametrize("theorem", CLAIMS)
def test_where_the_dependence_on_the_dimension_is_not_asked(theorem):
    assert theorem(sd.standard_normal(1)).verdict == "not applicable"  # both sides are 0
    (claim,) = sd.verify(sd.targets.student5, only=[theorem])
    assert claim.verdict == "not applicable" and "closed" in claim.reason
    (claim,) = sd.verify(sd.targets.aniso16, only=[theorem], quick=True)
    assert claim.verdict == "verified" and claim.parameters["axis"] == "first principal"
    finite = theorem is dimension_of_the_time
    assert theorem(sd.targets.uni, quick=True).verdict == ("verified" if finite else "not applicable")


def test_random_mixtures_neither_refute_nor_verify_a_control():
    rng = np.random.default_rng(5)
    for _ in range(3):
        K = int(rng.integers(1, 5))
        law = GaussianMixture(rng.dirichlet(np.ones(K)), rng.uniform(-4, 4, (K, 1)), rng.uniform(0.2, 1.5, K) ** 2)
        for claim in sd.verify(law, only=CLAIMS, quick=True):
            assert claim.verdict in ("verified", "inconclusive"), str(claim)
            assert claim.control is None or claim.control.verdict == "refuted", claim.id


def test_the_step_asked_for_by_the_bound_and_the_step_needed():
    """On gm2sym^d: at h = h_0 / sqrt(d) the distance settles, which D4 cannot show: its bound grows like sqrt(d h) ~ d^(1/4)."""
    claim = dimension_of_the_step(gm2sym)
    tied = [e.value for name, e in claim.terms.items() if name.startswith("H, h")]
    assert max(tied) / min(tied) < 1.1
