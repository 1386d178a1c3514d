"""Gaussian targets: recursions, exact maps, first-order constants and closed distances; a coefficient off by little must be refuted."""

import math

import numpy as np
import pytest
from hypothesis import given, settings

import scoresde as sd
from scoresde import grid, targets, theorems
from scoresde.theorems import distances, first_order, recursions
from scoresde.theorems.distances import gaussian_distances
from scoresde.theorems.first_order import DPM_SOLVER_2, gaussian_first_order
from scoresde.theorems.gaussians import Directions
from scoresde.theorems.recursions import RECURSIONS, gaussian_exact_maps, gaussian_recursions
from tests.test_theorems_sharp import mixtures

TRUE = (gaussian_recursions, gaussian_exact_maps, gaussian_first_order, gaussian_distances)


@pytest.mark.parametrize("theorem", TRUE, ids=lambda f: f.info.id)
@pytest.mark.parametrize("name", ["g1", "gm3", "student5"])
def test_default_targets(theorem, name):
    claim = theorem(targets.ALL[name])
    assert claim.verdict == "verified" and claim.control.verdict == "refuted" and claim.as_expected
    assert claim.id == theorem.info.id and claim.lhs.level == "deterministic"
    assert claim.parameters["law"] == ("the target" if name == "g1" else "N(E X, Cov X)")
    assert sd.from_json(sd.to_json(claim)) == claim


@given(mixtures())
@settings(max_examples=15)
def test_never_refuted(target):
    for theorem in TRUE:
        (claim,) = theorems.verify(target, theorem, quick=True)
        assert claim.verdict == "verified" and claim.as_expected


@pytest.mark.parametrize("theorem", TRUE[:3], ids=lambda f: f.info.id)
def test_every_direction(theorem):
    rng = np.random.default_rng(5)
    half = rng.standard_normal((24, 24)) / 5
    for law in (targets.aniso16, targets.ring8, sd.Gaussian(rng.standard_normal(24), half @ half.T + 0.05 * np.eye(24))):
        claim = theorem(law)
        assert claim.verdict == "verified" and claim.parameters["directions"] == law.dim


@pytest.mark.parametrize("law", [sd.standard_normal(1), sd.Gaussian([2.0], 1.0), sd.Gaussian([0.5], 1e-4), sd.Gaussian([-3.0], 30.0)], ids=str)
def test_where_errors_vanish_and_where_they_are_large(law):
    for theorem in TRUE:
        claim = theorem(law)
        assert claim.verdict == "verified" and claim.control.verdict == "refuted"


def test_a_point_has_no_surrogate():
    for theorem in TRUE:
        assert theorem(sd.Empirical([[1.0]])).verdict == "not applicable"


@pytest.mark.parametrize("r", RECURSIONS, ids=lambda r: r.name)
def test_a_millionth_is_noticed(r):
    p, times = Directions(np.array([1.3]), np.array([0.3])), grid.uniform(2.0, 10, stop=r.stop)
    law = sd.propagate(r.table(times, p), sd.score.exact(p.law))
    mean, var = recursions._run(p, times, r.step, np.zeros(1), np.ones(1))
    assert [c.verdict for c in recursions._moments(r.name, law, (mean, var))] == ["verified"] * 2
    assert [c.verdict for c in recursions._moments(r.name, law, (mean * (1 + 1e-6), var * (1 - 1e-6)))] == ["refuted"] * 2


def test_the_constant_of_dpm_solver_2_at_zero():
    r"""-2 {1 + \sum_j [2(\sqrt j - \sqrt{j-1})(j(j-1))^{1/4} - 1]}; with x = 1/j the terms are -x^2/32 - x^3/32 + O(x^4)."""
    j = np.arange(2, 20001, dtype=float)
    gap = 1 / (np.sqrt(j) + np.sqrt(j - 1))
    terms = 2 * gap * (j * (j - 1)) ** 0.25 - 1
    n = j[-1]
    tail = -1 / 32 * (1 / n - 1 / (2 * n * n)) - 1 / 32 / (2 * n * n)  # sums of j^-2 and j^-3 beyond n; the rest is below 1e-13
    assert -2 * (1 + terms.sum() + tail) == pytest.approx(DPM_SOLVER_2, abs=1e-9)


def test_closed_distances():
    assert distances._closed_tv(0.0, 1.0, 1.0, 1.0) == pytest.approx(math.erf(1 / math.sqrt(8)), rel=1e-15)
    assert distances._closed_tv(0.3, 2.0, 0.3, 2.0) == 0.0
    for pair in ((0.0, 1.0, 0.0, 4.0), (1.0, 0.2, -3.0, 5.0), (0.0, 1.0, 40.0, 1.5)):
        p, q = sd.Gaussian([pair[0]], pair[1]), sd.Gaussian([pair[2]], pair[3])
        assert distances._closed_tv(*pair) == pytest.approx(sd.total_variation(p, q).value, rel=1e-12)
        assert distances._closed_kl(*pair) == pytest.approx(sd.kullback_leibler(p, q).value, rel=1e-12)


def test_orders_of_the_catalogue():
    """mu = 1.3, v = .3, variance errors at h and h/2: order 1, Heun 2, and h log(1/h) where the posterior variance goes on to 0."""
    p = Directions(np.array([1.3]), np.array([0.3]))
    shown = lambda table, stop=0.0: np.abs(first_order._errors(p, table, 0.5, stop, (64, 128))[1]).ravel()  # noqa: E731
    tables = {r.name: r.table for r in RECURSIONS}
    order = {name: math.log2(np.divide(*shown(table, 0.1))) for name, table in tables.items() if name != "ancestral (optimal)"}
    assert {round(order[name]) for name in ("flow_heun", "dpm_solver_2")} == {2}
    assert all(abs(order[name] - 1) < 0.1 for name in order if name not in ("flow_heun", "dpm_solver_2"))
    assert 0.6 < math.log2(np.divide(*shown(tables["ancestral (posterior)"]))) < 0.9
    assert shown(tables["ancestral (optimal)"])[0] < 1e-14  # exact
