"""Theorems with hidden constants: verdicts, the method on known errors, and the grids they come with."""

import math

import numpy as np
import pytest
from hypothesis import given, settings

import scoresde as sd
from scoresde import targets, theorems
from scoresde.theorems import rates
from scoresde.theorems.rates import (
    chen_2022_total_variation,
    chen_2023_early_stopping,
    de_bortoli_2022_manifold,
    lee_2022_polynomial,
    li_2024_ancestral,
)
from tests.test_theorems_sharp import mixtures

TRUE = (chen_2022_total_variation, lee_2022_polynomial, chen_2023_early_stopping, li_2024_ancestral, de_bortoli_2022_manifold)


@pytest.mark.parametrize("theorem", TRUE, ids=lambda f: f.info.id)
@pytest.mark.parametrize("name", ["gm3", "g1", "gm2sym"])
def test_default_targets(theorem, name):
    claim = theorem(targets.ALL[name])
    assert claim.verdict == "verified" and claim.control.verdict == "refuted" and claim.as_expected
    assert claim.id == theorem.info.id and claim.terms["C, fitted"] > 0
    assert sd.from_json(sd.to_json(claim)) == claim


@given(mixtures())
@settings(max_examples=15)
def test_never_refuted(target):
    for theorem in TRUE:
        (claim,) = theorems.verify(target, theorem, quick=True)
        assert claim.verdict in ("verified", "inconclusive") and claim.as_expected


def test_scope():
    """Point masses and boxes where two moments suffice, a Gaussian in any dimension, the first axis of a mixture."""
    expected = {"D6a": "not applicable", "D6b": "not applicable", "D6c": "verified", "D6d": "verified", "D6e": "verified"}
    assert {f.info.id: f(targets.uni, quick=True).verdict for f in TRUE} == expected
    assert {f.info.id: f(targets.diracs).verdict for f in TRUE} == expected
    assert {f(targets.aniso16, quick=True).verdict for f in TRUE[:4]} == {"verified"}
    assert {f(targets.student5).verdict for f in TRUE[:4]} == {"not applicable"}
    (claim,) = theorems.verify(targets.ring8, li_2024_ancestral, quick=True)
    assert claim.parameters["axis"] == "first principal"
    with pytest.raises(sd.NoMethod, match="first_axis"):
        chen_2022_total_variation(targets.ring8)
    assert chen_2022_total_variation(sd.Gaussian([0.5], 1e-4)).verdict == "inconclusive"
    assert li_2024_ancestral(sd.Gaussian([0.5], 1e-4)).verdict == "inconclusive"


def test_rates_of_gm3():
    """The stated exponents are 1/2 in h, 1 in e^-T, 1 in M, 1/2 in ε; the measured ones 1, 2, 1, 1/2."""
    terms = chen_2022_total_variation(targets.gm3).terms
    assert abs(terms["exponent of h (stated 1/2)"].value - 1) < 0.05
    assert terms["exponent of e^-T (stated 1)"].value > 1.7 and abs(terms["exponent of M (stated 1)"].value - 1) < 0.01
    assert abs(de_bortoli_2022_manifold(targets.diracs).terms["exponent of ε in W1(p_ε, π) (stated 1/2)"].value - 0.5) < 0.01
    assert abs(chen_2023_early_stopping(targets.gm3).terms["exponent of 1/N (stated 1)"].value - 2) < 0.2


@pytest.mark.parametrize(("power", "verdict"), [(0.5, "verified"), (0.6, "verified"), (1.5, "refuted"), (2.0, "refuted")])
def test_a_hidden_constant(power, verdict):
    """Errors 3 h^{0.6}: every form of a lower power passes, one that is sharper by h^{0.9} does not, whatever its constant."""
    fitted, held = [(0.2,), (0.1,)], [(0.05,), (0.0125,)]
    measured = {cell: sd.Enclosure.near(3 * cell[0] ** 0.6, 1e-12) for cell in fitted + held}
    said = {"name": "errors", "id": "x"}
    assert rates._hidden(measured, fitted, held, lambda h: h**power, said).verdict == verdict


def test_grids():
    for N in (4, 16, 90):
        times = rates._proportional(6.0, 0.01, N)
        assert len(times) == N + 1 and times[0] == 6.0 and times[-1] == 0.01
        kappa = (5 + math.log(100)) / N
        assert (-np.diff(times) <= kappa * math.exp(kappa) * np.minimum(1, times[1:]) * (1 + 1e-9)).all()
        t = rates._learning_rates(N * 4)
        beta = -np.expm1(2 * np.diff(np.append(t, 0.0)))[::-1]
        assert beta[0] == pytest.approx((4 * N) ** -2.0, rel=1e-9) and (np.diff(beta[1:]) >= -1e-12).all() and beta.max() < 1
