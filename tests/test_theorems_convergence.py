"""Chapter D: the chain's law against proved bounds. Figures, proofs re-run numerically, false forms that must be refuted."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import scoresde as sd
from scoresde import targets, theorems
from scoresde.information import joint_kullback_leibler, path_kullback_leibler
from scoresde.testing import mixtures
from scoresde.theorems import bounds
from scoresde.theorems.bounds import ANCESTRAL, EULER_MARUYAMA, EXPONENTIAL_RELATIVE, along
from scoresde.theorems.numeric import richardson

D3, D4, D0 = theorems.conforti_2023_kullback_leibler, theorems.de_bortoli_2021_total_variation, theorems.de_bortoli_2021_decomposition
FITTED, RATES = theorems.de_bortoli_2021_constants, theorems.de_bortoli_2021_rates
CHAPTER = (D3, D4, D0, FITTED, RATES)
EXACT3 = sd.score.exact(targets.gm3)


def euler(T, **steps):
    return sd.scheme.euler_maruyama(sd.grid.uniform(T, **steps))


def uneven(T, cuts):
    """A grid from T to 0 with these fractions in between."""
    return T * np.unique(np.concatenate([[0.0, 1.0], cuts]))[::-1]


cuts = st.lists(st.floats(0.01, 0.99), max_size=12)


# ---- figures --------------------------------------------------------------------------------------------------------------------------


def test_constants_of_gm3():
    """B = .5515, C = 1.4456 with D = 1, to the figures given; I(pi|gamma) = 4.1794319824482890 by ball arithmetic."""
    p = along(targets.gm3)
    assert p.information(0.0).value == pytest.approx(4.1794319824482890, rel=1e-13)  # quadrature: a few hundred roundings
    for proved in (EULER_MARUYAMA, EXPONENTIAL_RELATIVE):
        B, C = bounds.constants(proved, p, 1.0)
        assert round(B.value, 4) == 0.5515 and round(C.value, 4) == 1.4456
        assert B.width < 1e-12 and C.width < 1e-12
    assert bounds.constants(EULER_MARUYAMA, p, 0.1)[1].value > bounds.constants(EXPONENTIAL_RELATIVE, p, 0.1)[1].value


def test_ledger_of_the_proof_on_gm3():
    """Marginal, joint and path KL .06563, .23219, .23358 and TV .143223141992875 of 60 Euler–Maruyama steps over T = 6."""
    claim = D0(targets.gm3, euler(6.0, steps=60))
    value = {name.split(" (euler")[0]: term.value for name, term in claim.terms.items()}
    assert round(2 * value["sqrt(KL/2)"] ** 2, 8) == 0.06563280
    assert round(2 * value["sqrt(KL joint/2)"] ** 2, 5) == 0.23219
    assert round(2 * value["sqrt(KL path/2)"] ** 2, 5) == 0.23358
    assert abs(value["TV(gamma R, pi)"] - 0.143223141992875) < 1e-12
    assert claim.verdict == "verified" and claim.control.verdict == "refuted"
    assert [(c.parameters["left"], c.parameters["right"]) for c in claim.cells][-2] == ("sqrt(KL joint/2)", "sqrt(KL path/2)")


def test_ancestral_path_is_its_skeleton():
    """With Ornstein–Uhlenbeck bridges between the states the path holds no more than the joint law: .12279 both (gm3, T = 6, h = .1)."""
    table = sd.scheme.ancestral(sd.grid.uniform(6.0, steps=60), "beta")
    path, joint = path_kullback_leibler(targets.gm3, table), joint_kullback_leibler(targets.gm3, table)
    assert round(path.value, 5) == 0.12279
    assert abs(path.value - joint.value) <= path.width + joint.width + 1e-13
    assert D3(targets.gm3, table).verdict == "verified"


def test_true_order_one_and_its_constant():
    """TV / h -> 1.679237 (within 2e-4; here 1.6792440) for the chain that starts at p_T, T = 6, by Richardson in powers 1, 2 of h."""
    p_T = targets.gm3.noised(sd.ornstein_uhlenbeck(6.0))
    sizes = [0.0125, 0.00625, 0.003125]
    errors = [sd.total_variation(sd.propagate(euler(6.0, h=h), EXACT3, start=p_T), targets.gm3) for h in sizes]
    limit, error = richardson([e.value / h for e, h in zip(errors, sizes)], [e.width / h for e, h in zip(errors, sizes)], [1, 2])
    assert abs(limit - 1.679237) < 2e-4
    assert abs(limit - 1.6792440) < error < 5e-4


# ---- verdicts -------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("theorem", CHAPTER, ids=lambda f: f.info.id)
@pytest.mark.parametrize("name", ["gm3", "g1", "gm2sym", "aniso16"])
def test_default_targets(theorem, name):
    claim = theorem(targets.ALL[name])
    assert claim.verdict == "verified" and claim.control.verdict == "refuted" and claim.as_expected
    assert claim.id == theorem.info.id and claim.lhs.level == "deterministic"
    assert all(c.verdict == "verified" or c.vacuous for c in claim.cells)
    assert sd.from_json(sd.to_json(claim)) == claim


@pytest.mark.parametrize("theorem", CHAPTER, ids=lambda f: f.info.id)
@pytest.mark.parametrize("name", ["uni", "diracs"])
def test_infinite_information_is_not_applicable(theorem, name):
    claim = theorem(targets.ALL[name])
    assert claim.verdict == "not applicable" and "finite" in claim.reason


@pytest.mark.parametrize("theorem", CHAPTER, ids=lambda f: f.info.id)
def test_off_the_line_gaussians_and_what_splits(theorem):
    with pytest.raises(sd.NoMethod, match="first_axis"):
        theorem(targets.ring8)
    (claim,) = theorems.verify(targets.ring8, theorem, quick=True)
    assert claim.parameters["axis"] == "first principal" and claim.verdict in ("verified", "inconclusive")
    full = sd.Gaussian([1.0, 0.0], [[1.0, 0.5], [0.5, 2.0]])
    options = {} if theorem is RATES else {"quick": True}
    assert theorem(full, **options).verdict == "verified"


@pytest.mark.parametrize("target", [sd.standard_normal(1), sd.standard_normal(3), sd.Gaussian([1.0], 1.0)], ids=["normal", "normal3", "shift"])
def test_where_bounds_are_attained(target):
    """On N(0, I) both sides are 0 for the relative integrators; after a shift KL(p_T|gamma) = e^{-2T} KL: equality is not a refutation."""
    for theorem in (D3, D4, D0):
        claim = theorem(target, quick=True)
        assert claim.verdict == "verified" and claim.as_expected


@given(mixtures(max_dim=1, max_components=3))
@settings(max_examples=6)
def test_never_refuted(target):
    """Random mixtures, rough and far ones too: verified, or inconclusive with a reason; a control never speaks against its judge."""
    for theorem in CHAPTER:
        (claim,) = theorems.verify(target, theorem, quick=True)
        assert claim.verdict in ("verified", "inconclusive") and claim.as_expected
        assert claim.verdict == "verified" or claim.reason


def test_sweep_of_the_explicit_inequality():
    """At least 200 chains: two schemes, equal and variable steps, three kinds of score error, both forms; the vacuous ones are counted."""
    claim = D4(targets.gm3)
    seen = {key: {c.parameters[key] for c in claim.cells} for key in ("scheme", "grid", "error", "form", "M", "T")}
    assert claim.parameters["chains"] >= 200 and len(claim.cells) == 2 * claim.parameters["chains"]
    assert seen["scheme"] == {"euler_maruyama", "exponential_relative"} and seen["grid"] == {"uniform", "quadratic", "geometric"}
    assert seen["error"] == {"none", "shift", "sine"} and seen["form"] == {"explicit", "B, C, D"} and len(seen["M"]) == 4
    assert claim.parameters["vacuous"] == sum(c.vacuous for c in claim.cells) > 0
    explicit = [c for c in claim.cells if c.parameters["form"] == "explicit"]
    assert claim.ratio == max(c.ratio for c in claim.cells if not c.vacuous) < 1
    assert claim.terms["largest ratio, explicit form"].value == max(c.ratio for c in explicit if not c.vacuous)
    assert claim.terms["share not vacuous, explicit form"] > 0.9
    both = zip(explicit, (c for c in claim.cells if c.parameters["form"] != "explicit"))
    assert all(tight.rhs.lo <= loose.rhs.hi for tight, loose in both)  # the second form is implied by the first


# ---- one chain, one score -------------------------------------------------------------------------------------------------------------


def test_schemes_are_recognised_by_their_coefficients():
    times = sd.grid.quadratic(3.0, 20)
    among = (EULER_MARUYAMA, EXPONENTIAL_RELATIVE, ANCESTRAL)
    for proved in among:
        table = proved.scheme(times)
        assert bounds.recognise(table, among) is proved
        renamed = sd.Table(table.times, table.a, table.b, table.c, name="mine")
        assert bounds.recognise(renamed, among) is proved
        nudged = sd.Table(table.times, table.a, table.b * (1 + 1e-9), table.c, name=table.name)
        late = sd.Table(table.times, table.a, table.b, table.c, score_times=table.times[1:], name=table.name)
        assert bounds.recognise(nudged, among) is None and bounds.recognise(late, among) is None
    for scheme in (sd.scheme.exponential_absolute, sd.scheme.ddim, sd.scheme.stochastic_heun, sd.scheme.flow_heun):
        claim = D4(targets.gm3, scheme(times))
        assert claim.verdict == "not applicable" and claim.reason.startswith(f"table: {scheme.__name__} is none of")
    assert D3(targets.gm3, euler(3.0, steps=20)).verdict == "not applicable"
    assert D3(targets.gm3, sd.scheme.ancestral(times, "posterior")).verdict == "not applicable"


def wavy(t, x):
    return EXACT3(t, x) + 0.05 * np.cos(x)


wavy.dim = 1


def test_measured_error_of_a_score_that_knows_nothing():
    """The L2 error of s + .05 cos x under p_t is .05 (E cos^2)^{1/2}: in the bound it stands for M."""
    table = euler(6.0, steps=60)
    claim = D4(targets.gm3, table, wavy)
    cell = claim.cells[0]
    # E cos^2 X = (1 + E cos 2X)/2, and the characteristic function of a mixture is closed
    t = table.times[:-1, None]
    m, v = np.exp(-t), 1 - np.exp(-2 * t)
    w, mu, var = (np.ravel(a) for a in (targets.gm3.weights, targets.gm3.means, targets.gm3.covs))
    cos2 = (w * np.cos(2 * m * mu) * np.exp(-2 * (m * m * var + v))).sum(axis=1)
    assert cell.parameters["M"] == pytest.approx(0.05 * math.sqrt(0.5 * (1 + cos2.max())), rel=1e-9)
    assert claim.verdict == "verified" and cell.parameters["scheme"] == "euler_maruyama"
    assert D4(targets.gm3, score=wavy).verdict == "verified"


def test_a_score_of_another_target_is_measured_not_believed():
    """The exact score of another law has error_bound 0 for that law; here its distance counts, and the bound is vacuous."""
    claim = D4(targets.gm3, euler(2.0, steps=40), sd.score.exact(targets.g1))
    assert claim.cells[0].parameters["M"] > 1 and claim.verdict == "inconclusive" and claim.vacuous
    off = D4(targets.gm3, euler(2.0, steps=40), sd.score.perturbed(EXACT3, 0.1))
    assert off.cells[0].parameters["M"] == 0.1 and off.verdict == "verified"
    discrete = sd.score.exact(targets.gm3, sd.kernel.euler_maruyama_marginals(sd.grid.uniform(2.0, steps=40)))
    assert D4(targets.gm3, euler(2.0, steps=40), discrete).cells[0].parameters["M"] > 0


def test_an_understated_error_is_refuted():
    """A score off by 3 that claims error_bound 0 breaks the bound: the judge notices."""

    class Liar:
        dim, law, error_bound, forward = 1, targets.gm3, 0.0, staticmethod(sd.ornstein_uhlenbeck)

        def __call__(self, t, x):
            return EXACT3(t, x) + 3.0

    assert D4(targets.gm3, euler(4.0, h=0.02), Liar()).verdict == "refuted"


@pytest.mark.parametrize("name", ["uni", "diracs", "gm3"])
def test_early_stopping_is_judged_against_the_noised_law(name):
    times = sd.grid.quadratic(2.0, 200, stop=0.02)
    for theorem, scheme in ((D4, sd.scheme.euler_maruyama), (D3, sd.scheme.exponential_relative), (D0, sd.scheme.exponential_relative)):
        assert theorem(targets.ALL[name], scheme(times)).verdict == "verified"


# ---- the proofs, re-run on random targets ---------------------------------------------------------------------------------------------


@given(mixtures(max_dim=1, max_components=3), st.floats(0.1, 4.0), cuts)
@settings(max_examples=25)
def test_path_divergence_below_its_bound(target, T, cuts):
    """Girsanov's path KL is at most KL(p_T|gamma) + loss for every sequence of steps, and nothing less: without the loss it is above."""
    p, times = along(target), uneven(T, cuts)
    h = float(np.max(-np.diff(times)))
    for proved in (EULER_MARUYAMA, EXPONENTIAL_RELATIVE, ANCESTRAL):
        path = path_kullback_leibler(target, proved.scheme(times))
        assert bounds.bounded(path, p.divergence(T) + proved.loss(p, T, h), name="").verdict == "verified"
        assert path.hi >= p.divergence(T).lo


@given(st.floats(0.0, 50.0), st.floats(0.5, 50.0), st.floats(0.05, 5.0))
def test_supremum_over_the_time(a, b, D):
    r"""sup_T sqrt((1+T)(a+bT)/2) e^{-DT} by a grid search, zoomed in three times, each by a thousand."""
    low, high = 0.0, 2 / D + 2.0
    for _ in range(3):
        T = np.linspace(low, high, 2001)
        f = np.sqrt((1 + T) * (a + b * T) / 2) * np.exp(-D * T)
        k = int(np.argmax(f))
        low, high = T[max(k - 1, 0)], T[min(k + 1, 2000)]
    assert bounds._growth(a, b, D) == pytest.approx(f.max(), rel=1e-12)  # exponents up to 12: a few dozen roundings


@pytest.mark.parametrize("D", [0.3, 1.0])
def test_second_form_follows_from_the_first(D):
    """{...}^{1/2} <= B e^{-T} + C (M + sqrt h) e^{DT} for all T >= h, M >= 0: on a grid far beyond the sweep."""
    for proved in (EULER_MARUYAMA, EXPONENTIAL_RELATIVE):
        for law in (targets.gm3, targets.g1, sd.standard_normal(2), targets.aniso16):
            p = along(law)
            B, C = bounds.constants(proved, p, D)
            for T in (0.01, 0.5, 3.0, 12.0):
                for h in (T, T / 7, T / 1000):
                    for M in (0.0, 1e-3, 1.0, 30.0):
                        first, _ = bounds.explicit(proved, p, T, h, M)
                        second = B * math.exp(-T) + C * (M + math.sqrt(h)) * math.exp(D * T)
                        assert first.lo <= second.hi


# ---- what is fitted -------------------------------------------------------------------------------------------------------------------


def test_held_out_cells_are_disjoint_and_go_beyond():
    from scoresde.theorems.existential import _cells

    for quick in (True, False):
        fitted, held = _cells(quick)
        assert not set(fitted) & set(held)
        assert max(T for T, _, _ in held) == 2 * max(T for T, _, _ in fitted)
        assert min(h for _, h, _ in held) == min(h for _, h, _ in fitted) / 4
    claim = FITTED(targets.gm3)
    assert len(claim.cells) == len(held) and claim.parameters["calibration cells"] == len(fitted)
    assert 0.5 < claim.terms["share of held-out cells not vacuous"] <= 1
    assert "No proof" in claim.caveat


def test_a_fit_lies_above_what_it_was_fitted_to():
    from scoresde.theorems.existential import _fit

    cells = [(T, h, M) for T in (1.0, 2.0) for h in (0.4, 0.1) for M in (0.0, 0.3)]
    errors = {(T, h, M): sd.Enclosure.exact(0.3 * math.exp(-T) + 0.2 * (M + math.sqrt(h)) * math.exp(0.5 * T)) for T, h, M in cells}
    gap, B, C, D = _fit(cells, errors, 0.5, 1.0, math.sqrt)
    assert np.allclose((B, C, D), (0.3, 0.2, 0.5), atol=1e-6, rtol=0) and abs(gap) < 1e-6  # the solver's own tolerance is 1e-7
    assert _fit(cells, errors, 0.5, 1.0, lambda h: 0.0)[0] > 0.05  # a form that is wrong is not tight


def test_rates():
    """h^1, e^{-T} and e^{-2T} (mean not 0), twice that for a centred target, M^1: to the few per cent that asymptotics leave."""
    for law, decay in ((targets.gm3, 1), (targets.gm2sym, 2)):
        claim = RATES(law)
        rate = {name: term.value for name, term in claim.terms.items()}
        assert claim.relation == ">=" and claim.verdict == "verified" and claim.control.relation == "="
        assert rate["rate in h (stated 1/2)"] == pytest.approx(1, abs=0.02)
        assert rate["rate in M (stated 1)"] == pytest.approx(1, abs=0.02)
        assert rate["rate in e^-T of TV(p_T, gamma) (stated 1)"] == pytest.approx(decay, abs=0.06)
        assert rate["rate in e^-T of TV(gamma R, p_T R)"] == pytest.approx(2 * decay, abs=0.12)


def test_a_target_too_rough_for_an_order_is_inconclusive():
    claim = RATES(sd.GaussianMixture([0.5, 0.5], [[-1.0], [1.0]], [1e-6, 0.3]))
    assert claim.verdict == "inconclusive" and "too rough" in claim.reason and claim.as_expected


def test_a_control_that_is_not_refuted_takes_the_verdict_away():
    """powered(): where the cells cannot tell a claim from its false neighbour, nothing is verified; a refutation stays."""
    good = sd.claim_at_most(1.0, 2.0, name="a")
    bad = sd.claim_at_most(2.0, 1.0, name="b")
    assert bounds.powered(good, bad).verdict == "verified" and bounds.powered(good, bad).control is bad
    assert bounds.powered(good, good).verdict == "inconclusive" and bounds.powered(good, good).control is None
    assert bounds.powered(bad, good).verdict == "refuted"


@pytest.mark.parametrize("call", [
    lambda: D4(targets.gm3, D=0.0), lambda: FITTED(targets.gm3, D=(0.0, 1.0)), lambda: FITTED(targets.gm3, safety=0.5),
])  # fmt: skip
def test_bad_arguments(call):
    with pytest.raises(ValueError, match=r"got .* allowed"):
        call()
