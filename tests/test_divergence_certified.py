"""Proofs in ball arithmetic: the truth is always inside, whatever is left unresolved; widths; refusals; the theorems that are proved."""

import json
import math
import subprocess
import sys
from itertools import pairwise

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import scoresde as sd
from scoresde import theorems
from scoresde.testing import mixtures

flint = pytest.importorskip("flint")
arb = flint.arb

from scoresde.divergence import balls, certified, certified_transport  # noqa: E402
from scoresde.theorems import certified as proofs  # noqa: E402

GAMMA, GM3 = sd.standard_normal(1), sd.targets.gm3
P3 = sd.GaussianMixture([0.25, 0.5, 0.25], [[-1.0], [0.5], [2.0]], [0.25, 0.25, 0.5])
Q3 = sd.GaussianMixture([0.25, 0.25, 0.5], [[-1.25], [0.75], [1.75]], [0.5, 0.125, 0.25])
NARROW = sd.GaussianMixture([0.999, 0.001], [[0.0], [5.0]], [1.0, 1e-8])
FAR = sd.GaussianMixture([0.5, 0.5], [[-1e6], [1e6]], 1.0)
FAST = (sd.total_variation, sd.kullback_leibler, sd.fisher_divergence)
ALL = (*FAST, sd.wasserstein2)


def meet(e, other):
    """Two enclosures of one number."""
    return e.lo <= other.hi and other.lo <= e.hi


def holds(e, truth):
    """Is a number of 30 digits (itself good to 1e-25) inside?"""
    slack = mp.mpf(10) ** -25 * (1 + abs(truth))
    return mp.mpf(e.lo) - slack <= truth <= mp.mpf(e.hi) + slack


def density(law):
    """log p and its derivative in mpmath, weights divided by their sum, as in the proofs."""
    w, m, v = ([mp.mpf(float(x)) for x in a] for a in (law.weights, law.means[:, 0], law.covs))
    pdf = lambda x: mp.fsum(a / mp.fsum(w) * mp.npdf(x, b, mp.sqrt(c)) for a, b, c in zip(w, m, v))  # noqa: E731
    slope = lambda x: mp.fsum(a / mp.fsum(w) * mp.npdf(x, b, mp.sqrt(c)) * (b - x) / c for a, b, c in zip(w, m, v)) / pdf(x)  # noqa: E731
    cdf = lambda x: mp.fsum(a / mp.fsum(w) * mp.ncdf(x, b, mp.sqrt(c)) for a, b, c in zip(w, m, v))  # noqa: E731
    return pdf, slope, cdf


# ---- values -----------------------------------------------------------------------------------------------------------------------------


def test_against_quadrature_with_30_digits():
    (p, sp, F), (q, sq, G) = density(P3), density(Q3)
    with mp.workdps(30):
        panels = list(mp.linspace(-9, 10, 20))
        assert holds(sd.kullback_leibler(P3, Q3, rigorous=True), mp.quad(lambda x: p(x) * mp.log(p(x) / q(x)), panels))
        assert holds(sd.fisher_divergence(P3, Q3, rigorous=True), mp.quad(lambda x: p(x) * (sp(x) - sq(x)) ** 2, panels))
        x = np.linspace(-9, 10, 4000)
        changes = np.flatnonzero(np.diff(np.sign(P3.logpdf(x[:, None]) - Q3.logpdf(x[:, None]))))
        roots = [mp.findroot(lambda y: p(y) - q(y), (x[k], x[k + 1]), solver="anderson", tol=1e-40) for k in changes]
        gaps = [mp.mpf(0), *(F(y) - G(y) for y in roots), mp.mpf(0)]
        truth = mp.fsum(abs(b - a) for a, b in pairwise(gaps)) / 2
        assert len(roots) >= 3 and holds(sd.total_variation(P3, Q3, rigorous=True), truth)


@balls.exactly
def test_the_catalogues_values_for_decimal_parameters():
    """gm3 with decimal instead of binary parameters; the reference digits are from an independent program."""
    decimal = (("0.3", "-2", "0.25"), ("0.45", "0.4", "0.16"), ("0.25", "2.2", "0.36"))
    law = balls.Balls(tuple(tuple(arb(x) for x in row) for row in decimal))
    assert (certified.variation(law.flow(1.0), balls.normal()) - arb("0.057090806480251209373")).abs_upper() < 1e-21
    assert (certified.information(law, balls.normal()) - arb("4.1794319824482890")).abs_upper() < 1e-16
    assert sd.total_variation(GM3.noised(sd.ornstein_uhlenbeck(1.0)), GAMMA, rigorous=True).value == pytest.approx(0.0570908064802512, rel=1e-14)


@settings(max_examples=15)
@given(st.floats(-5, 5), st.floats(0.05, 20), st.floats(0.05, 20))
def test_two_gaussians_against_closed_forms(m, v, u):
    """KL, W2 and Fisher divergence of N(m, v) and N(0, u)."""
    p, q = sd.Gaussian([m], v), sd.Gaussian([0.0], u)
    with mp.workdps(40):
        m, v, u = mp.mpf(m), mp.mpf(v), mp.mpf(u)
        assert holds(sd.kullback_leibler(p, q, rigorous=True), (v / u + m * m / u - 1 + mp.log(u / v)) / 2)
        assert holds(sd.fisher_divergence(p, q, rigorous=True), (v - u) ** 2 / (v * u * u) + m * m / u**2)
        assert holds(sd.wasserstein2(p, q, rigorous=True), mp.sqrt(m * m + (mp.sqrt(v) - mp.sqrt(u)) ** 2))


@settings(max_examples=20)
@given(mixtures(max_dim=1), mixtures(max_dim=1))
def test_deterministic_values_lie_where_the_proofs_say(p, q):
    for f in FAST:
        proof, value = f(p, q, rigorous=True), f(p, q)
        assert proof.level == "rigorous" and proof.width <= 1e-12 * max(1.0, proof.value)
        assert meet(proof, value)
        off = sd.Enclosure.near(value.value + 1e-9 * (1 + value.value), value.width)
        assert not meet(proof, off)  # control: a number that is off by 1e-9 is not inside


@settings(max_examples=4)
@given(mixtures(max_dim=1), mixtures(max_dim=1))
def test_transport_where_the_proof_says(p, q):
    proof, value = sd.wasserstein2(p, q, rigorous=True), sd.wasserstein2(p, q)
    assert proof.level == "rigorous" and proof.width <= 1e-11 * max(1.0, proof.value) and meet(proof, value)
    assert not meet(proof, sd.Enclosure.near(value.value + 1e-9 * (1 + value.value), value.width))


@pytest.mark.parametrize(("p", "q"), [(NARROW, GAMMA), (GAMMA, NARROW), (FAR, sd.GaussianMixture([0.3, 0.7], [[-1e6], [1e6 + 1]], [1.0, 2.0]))])
def test_narrow_and_far_modes(p, q):
    for f in ALL:
        proof = f(p, q, rigorous=True)
        assert meet(proof, f(p, q)) and proof.width <= 1e-12 * max(1.0, proof.value)


def test_tiny_distances_keep_their_digits():
    """N(e, 1) against N(0, 1): TV = erf(e/sqrt 8), KL = e^2/2, both to the last float."""
    for e in (1e-3, 1e-6, 1e-9):
        p = sd.Gaussian([e], 1.0)
        with mp.workdps(40):
            x = mp.mpf(e)
            for f, truth in ((sd.total_variation, mp.erf(x / mp.sqrt(8))), (sd.kullback_leibler, x * x / 2), (sd.fisher_divergence, x * x)):
                proof = f(p, GAMMA, rigorous=True)
                assert proof.lo <= truth <= proof.hi and proof.width <= 1e-12 * truth


def test_modes_that_move_a_little():
    """Far apart, each mode moves as a whole: W2^2 = sum w d^2 (but for e^-1000); and p - q nearly cancels everywhere."""
    step = [2.0**-23, 2.0**-24]
    p, q = (sd.GaussianMixture([0.25, 0.75], [[k * step[0]], [100.0 + k * step[1]]], [0.25, 1.0]) for k in (0, 1))
    proof = sd.wasserstein2(p, q, rigorous=True)
    assert proof.lo <= math.sqrt(0.25 * step[0] ** 2 + 0.75 * step[1] ** 2) <= proof.hi and proof.width < 1e-12
    truth = 0.25 * math.erf(step[0] / 0.5 / math.sqrt(8)) + 0.75 * math.erf(step[1] / math.sqrt(8))
    proof = sd.total_variation(p, q, rigorous=True)
    assert proof.value == pytest.approx(truth, rel=1e-14) and proof.width < 1e-12 * truth


def test_far_from_the_origin_at_a_small_scale():
    """What is proved near 0 holds, digit for digit, around 2^20 (an exact translation)."""
    move = 2.0**20
    for f in ALL:
        here = f(sd.GaussianMixture([0.5, 0.5], [[0.0], [1.0]], 2.0**-30), sd.Gaussian([0.25], 2.0**-28), rigorous=True)
        there = f(sd.GaussianMixture([0.5, 0.5], [[move], [move + 1.0]], 2.0**-30), sd.Gaussian([move + 0.25], 2.0**-28), rigorous=True)
        assert meet(here, there) and there.width <= 1e-12 * max(1.0, there.value)


def test_one_law_written_twice():
    """Equal laws as objects are at distance 0; a component in two halves leaves only what rounding leaves."""
    halves = sd.GaussianMixture([0.5, 0.5], [[0.0], [0.0]], 1.0)
    for f in ALL:
        assert f(GM3, sd.GaussianMixture(GM3.weights, GM3.means, GM3.covs), rigorous=True).hi == 0
        proof = f(GAMMA, halves, rigorous=True)
        assert proof.lo == 0 and proof.hi <= 1e-11


def test_information_along_the_flow():
    for t in (0.0, 0.1, 1.0):
        assert meet(certified.relative_fisher(GM3, t), sd.information.relative_fisher(GM3, t))
        assert meet(certified.fisher(GM3, t), sd.information.fisher(GM3, t))
    kl = [sd.kullback_leibler(GM3.noised(sd.ornstein_uhlenbeck(t)), GAMMA, rigorous=True) for t in (0.4999, 0.5001)]
    assert (kl[0].value - kl[1].value) / 2e-4 == pytest.approx(certified.relative_fisher(GM3, 0.5).value, rel=1e-7)  # de Bruijn; step^2 / 6


# ---- what is cut off is inside, too ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("p", "q"), [(GM3, GAMMA), (P3, Q3), (NARROW, GAMMA)])
def test_short_intervals_and_few_cells_widen_and_never_lie(monkeypatch, p, q):
    exact = {f: f(p, q, rigorous=True) for f in ALL}
    for reach in (1.0, 3.0):
        monkeypatch.setattr(balls, "REACH", reach)
        for f in ALL:
            rough = f(p, q, rigorous=True)
            assert rough.lo <= exact[f].lo and exact[f].hi <= rough.hi and rough.width > 1e-7 * exact[f].value
    monkeypatch.undo()
    monkeypatch.setattr(certified, "CELLS", 5)
    monkeypatch.setattr(certified_transport, "CELLS", 5)
    for f in (sd.total_variation, sd.wasserstein2):
        rough = f(p, q, rigorous=True)
        assert rough.lo <= exact[f].lo and exact[f].hi <= rough.hi and rough.width > 1e-3 * exact[f].value


@balls.exactly
def test_masses_and_moments_outside_an_interval():
    law = balls.balls(GM3, "test")
    pdf, _, _ = density(GM3)
    with mp.workdps(30):
        for c in (None, 0.5):
            f = lambda x, c=c: pdf(x) * (1 if c is None else (x - c) ** 2)  # noqa: E731
            truth = mp.quad(f, [-12, -8, -4, -2, -1.5]) + mp.quad(f, [2, 3, 4, 8, 12])
            ball = law.outside(-1.5, 2.0, None if c is None else arb(c))
            assert abs(mp.mpf(ball.mid().str(35, radius=False)) - truth) < mp.mpf(10) ** -25


def test_precision_is_given_back():
    before = flint.ctx.prec, flint.ctx.cap
    sd.wasserstein2(GM3, GAMMA, rigorous=True)
    with pytest.raises(sd.NoMethod):
        sd.wasserstein2(sd.targets.uni, GAMMA, rigorous=True)
    assert (flint.ctx.prec, flint.ctx.cap) == before


# ---- refusals -------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("f", ALL)
def test_other_laws_have_no_proof(f):
    for p, q in ((sd.targets.uni, GAMMA), (GAMMA, sd.targets.student5), (sd.targets.ring8, sd.standard_normal(2))):
        with pytest.raises(sd.NoMethod, match="Gaussian and GaussianMixture of dimension 1"):
            f(p, q, rigorous=True)


def test_without_flint_the_remedy_is_named():
    code = "import sys; sys.modules['flint'] = None; import scoresde as sd; g = sd.targets.g1; sd.total_variation(g, sd.targets.gm3, rigorous=True)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 1 and "ImportError" in run.stderr and "pip install 'scoresde[rigorous]'" in run.stderr


# ---- theorems -------------------------------------------------------------------------------------------------------------------------


def squares(law, t, u):
    """E over (X_u, X_t), u <= t, of the squares of a linear function: a X_u + b X_t + c -> number, for a Gaussian law."""
    m, v, e = law.mean()[0], float(law.covariance), math.exp
    means = np.array([m * e(-u), m * e(-t)])
    variances = [v * e(-2 * s) + 1 - e(-2 * s) for s in (u, t)]
    cov = np.array([[variances[0], e(-(t - u)) * variances[0]], [e(-(t - u)) * variances[0], variances[1]]])
    return lambda a, b, c: (a * means[0] + b * means[1] + c) ** 2 + np.array([a, b]) @ cov @ np.array([a, b])


def drift_gap(name, law, t, u, M):
    """E of the squared difference of relative scores (drifts halved) between the reverse diffusion at u and a chain that froze its score at t."""
    m, v, h = law.mean()[0], float(law.covariance), t - u
    at = lambda s: (1 - 1 / (1 + (v - 1) * math.exp(-2 * s)), m * math.exp(-s) / (1 + (v - 1) * math.exp(-2 * s)))  # noqa: E731  U = a x + b
    (a, b), (A, B), second = at(u), at(t), squares(law, t, u)
    if name == "relative":
        return second(a, -A, b - B - M)
    if name == "ancestral":
        return second(a, -math.exp(h) * A, b - math.exp(h) * (B + M))
    if name == "euler_maruyama":  # halves of -x + 2U
        return second(a - 0.5, 0.5 - A, b - B - M)
    return second(a - 1, 1 - A, b - B - M)  # absolute: U - x


@pytest.mark.parametrize("name", ["relative", "ancestral", "euler_maruyama", "absolute"])
def test_the_path_divergence_is_girsanovs_integral(name):
    """For a Gaussian target both scores are linear: E|b - b^|^2/4 on each step by Gauss–Legendre (24 nodes: rounding) against the closed sum."""
    law, times = sd.Gaussian([1.3], 0.3), [1.5, 1.1, 0.4, 0.1]
    nodes, weights = np.polynomial.legendre.leggauss(24)
    with balls.working(balls.BITS):
        flow = proofs.Flow(balls.balls(law, "test"))
        for M in (0.0, 0.3) if name in ("relative", "euler_maruyama") else (0.0,):
            total = sd.kullback_leibler(law.noised(sd.ornstein_uhlenbeck(times[0])), GAMMA).value
            for t, u in pairwise(times):
                points = u + (t - u) * (nodes + 1) / 2
                total += 0.5 * (t - u) * sum(w * drift_gap(name, law, t, s, M) for w, s in zip(weights, points))
            got = proofs.path_divergence(flow, getattr(proofs, f"_{name}_step"), times, M)
            assert float(got.mid()) == pytest.approx(total, rel=1e-12) and float(got.rad()) < 1e-18


@pytest.fixture(scope="module")
def claims():
    return {c.id: c for c in sd.verify(GM3, quick=True, rigorous=True)}


def test_the_four_theorems_are_proved_for_a_mixture(claims):
    assert sorted(claims) == ["A6", "A8", "D3", "D4"]
    for claim in claims.values():
        assert claim.verdict == "verified" and claim.slack == 0 and claim.control.verdict == "refuted"
        assert {side.level for cell in claim.cells for side in (cell.lhs, cell.rhs)} == {"rigorous"}
        assert {side.level for side in (claim.control.lhs, claim.control.rhs)} == {"rigorous"}


def test_the_proved_sides_are_those_of_the_deterministic_theorem(claims):
    """Path divergence and right sides of D3, cell by cell, and the constants of D4."""
    plain = {tuple(sorted(c.parameters.items())): c for c in theorems.find("D3")(GM3, quick=True).cells}
    for cell in claims["D3"].cells:
        other = plain[tuple(sorted(cell.parameters.items()))]
        assert meet(cell.lhs, other.lhs) and meet(cell.rhs, other.rhs)
    other = theorems.find("D4")(GM3, quick=True)
    for name in ("B", "C (exponential_relative)"):
        assert claims["D4"].terms[name].value == pytest.approx(other.terms[name].value, rel=1e-12)
    right = {c.rhs.value for c in other.cells if c.parameters["M"] in (0.0, 0.1)}
    assert all(min(abs(c.rhs.value / x - 1) for x in right) < 1e-12 for c in claims["D4"].cells)


def test_a_chain_that_is_given_and_one_that_is_not_covered():
    table = sd.scheme.exponential_relative(sd.grid.uniform(2.0, 10, stop=0.1))
    for name in ("D3", "D4"):
        (claim,) = sd.verify(GM3, name, table=table, rigorous=True)
        assert claim.verdict == "verified" and claim.parameters["chains"] == 1
    (claim,) = sd.verify(GM3, "D3", table=sd.scheme.euler_maruyama(sd.grid.uniform(2.0, 10)), rigorous=True)
    assert claim.verdict == "not applicable"
    (claim,) = sd.verify(GM3, "D4", table=table, score=sd.score.exact(GM3), rigorous=True)
    assert claim.verdict == "not applicable" and "drop score" in claim.reason


def test_equality_is_not_proved_and_never_refuted():
    for target, name in ((sd.Gaussian([1.0], 1.0), "A6"), (sd.Gaussian([1.0], 1.0), "A8"), (GAMMA, "D4")):  # D4: by a score that is off
        (claim,) = sd.verify(target, name, quick=True, rigorous=True)
        assert claim.verdict == "inconclusive" and not any(c.verdict == "refuted" for c in claim.cells)


def test_what_cannot_be_proved_is_not_decided():
    (claim,) = sd.verify(GM3, "A5", rigorous=True)
    assert claim.verdict == "inconclusive" and "only a proof" in claim.reason
    assert sd.claim_at_most(sd.total_variation(GM3, GAMMA), 0.9, name="x", decides="rigorous").verdict == "inconclusive"
    assert sd.claim_at_most(sd.total_variation(GM3, GAMMA, rigorous=True), 0.9, name="x", decides="rigorous").verdict == "verified"
    for target in (sd.targets.uni, sd.targets.ring8, sd.targets.student5):
        assert {c.verdict for c in sd.verify(target, ["A6", "A8", "D3", "D4"], quick=True, rigorous=True)} == {"not applicable"}
    verdicts = {c.id: c.verdict for c in sd.verify(GAMMA, ["A6", "A8", "D3"], quick=True, rigorous=True)}
    assert verdicts == {"A6": "not applicable", "A8": "not applicable", "D3": "verified"}  # 0 <= 0, exactly


def test_the_command_line_proves(capsys, tmp_path, monkeypatch):
    from scoresde import cli

    file = tmp_path / "report.json"
    assert cli.main(["verify", "--rigorous", "--only", "A6,A5", "--target", "gm3", "--quick", "--json", str(file)]) == 0
    report = json.loads(file.read_text())
    assert report["rigorous"] and {c["id"]: c["verdict"] for c in report["claims"]} == {"A5": "inconclusive", "A6": "verified"}
    assert report["claims"][1]["lhs"]["level"] == "rigorous" and "ball arithmetic" in capsys.readouterr().out
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert cli.main(["verify", "--rigorous", "--target", "gm3"]) == 2 and "pip install 'scoresde[rigorous]'" in capsys.readouterr().err
