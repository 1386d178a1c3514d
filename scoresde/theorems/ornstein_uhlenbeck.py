r"""How fast the forward flow p_t approaches \gamma = N(0, I): in KL, Fisher information, W2 and total variation."""

import math

import numpy as np

from .. import information
from ..divergence import chi_squared, kullback_leibler, total_variation, wasserstein2
from ..divergence.panels import integrate
from ..enclosure import Enclosure
from ..errors import NoMethod, NotTrusted
from ..laws import standard_normal
from .claim import Statement, claim_equal, claim_over, states
from .numeric import EPS, about, at_most, blurred, equal, exists, flow, mutated, needs, slope, slow, unmet

__all__ = [
    "bakry_2014_kullback_leibler", "bobkov_2001_regularised_kullback_leibler", "ornstein_uhlenbeck_total_variation_constant",
    "stam_1959_de_bruijn", "villani_2009_wasserstein2",
]  # fmt: skip

MOMENT = r"E|X|^2 finite"
NOTHING = 1e-28  # KL of laws whose parameters agree to a few ulps
AWAY = "π ≠ γ (else both sides are 0)"


def _entropy(target, t):
    r"""KL(p_t | \gamma); an ulp in p_t moves \log p_t by an ulp, and KL by that times the spread of \log p_t/\gamma, about \sqrt{KL}."""
    e = kullback_leibler(flow(target, t), standard_normal(target.dim))
    return blurred(e, 8 * EPS * (math.sqrt(target.dim * max(e.hi, 0.0)) + EPS * target.dim)).cut(0.0)


def _information(target, t):
    r"""I(p_t | \gamma) = E|U|^2; an ulp in p_t moves U by an ulp of \nabla \log p_t."""
    e = information.relative_fisher(target, t)
    return blurred(e, 8 * EPS * (math.sqrt(max(e.hi, 0.0) * (e.hi + target.dim)) + EPS * (e.hi + target.dim))).cut(0.0)


def _cost(target, t):
    r"""W_2(p_t, \gamma)."""
    e = wasserstein2(flow(target, t), standard_normal(target.dim))
    if e.value is None:
        raise NoMethod(f"wasserstein2: {e}, bounds only for a {type(target).__name__} in dimension {target.dim}; exact on the line (an axis)")
    return blurred(e, 8 * EPS * math.sqrt(target.second_moment() + target.dim)).cut(0.0)


def _start(target):
    r"""The earliest time from which information decays: 0, or 0.05 where I(\pi|\gamma) is infinite."""
    return 0.0 if exists(lambda: information.relative_fisher(target)) else 0.05


@states(Statement(
    "A5", r"de Bruijn: d/dt KL(p_t‖γ) = −I(p_t‖γ)", "Stam 1959 (de Bruijn's identity); in this form: Bakry, Gentil & Ledoux 2014, chapter 5",
    r"\frac{d}{dt}KL(p_t|\gamma) = -I(p_t|\gamma),\qquad KL(p_s|\gamma) = \int_s^\infty I(p_t|\gamma)\,dt,\qquad"
    r" I(p|\gamma) = E_p|\nabla\log p + x|^2",
    (MOMENT,),
))  # fmt: skip
def stam_1959_de_bruijn(target, *, quick=False):
    r"""-d/dt KL(p_t|\gamma) = I(p_t|\gamma) = E|s_t(X) + X|^2, and its integral over all times.

    Cells: central differences of KL, extrapolated, and quadrature of I over t (from 0 if I(\pi|\gamma) is finite and p_t a closed
    form, else from 0.05).
    Control: the absolute Fisher information E|s_t|^2 in place of the relative one (they agree at one t at most).
    """
    needs(target, "noised", "second_moment")
    what = about(stam_1959_de_bruijn, (MOMENT, exists(target.second_moment)))
    if (claim := unmet(what, "=")) is not None:
        return claim
    cells, wrong = [], []
    for t in (0.2, 1.0) if quick or slow(target) else (0.1, 0.5, 2.0):
        rate = slope(lambda u: _entropy(target, u), t)
        parameters = {"of": "−dKL/dt", "t": t}
        cells.append(equal(rate, _information(target, t), digits=6, floor=1e-6, name="slope", parameters=parameters))
        wrong.append(equal(rate, information.fisher(target, t), digits=6, floor=1e-6, name="slope", parameters=parameters))
    start = 0.05 if slow(target) else _start(target)
    total, spent = _entropy(target, start), _dissipated(target, start)
    cells.append(equal(spent, total, digits=4, floor=1e-6, name="integral", parameters={"of": "∫ I dt", "t": start}))
    control = claim_over(wrong, **mutated(stam_1959_de_bruijn, r"\frac{d}{dt}KL(p_t|\gamma) = -E|\nabla\log p_t|^2"))
    return claim_over(cells, control=control, terms={f"KL(p_{start:g}|γ)": total, f"∫ I dt from {start:g}": spent}, **what)


def _dissipated(target, start):
    r"""\int_{start}^\infty I dt = \int_0^{x} g dx with x = e^{-2t}/2, g = e^{2t} I(p_t|\gamma) increasing and bounded by g(x_{start})."""

    def f(x, _):
        ledger = information.ledger(target, -0.5 * np.log(2 * x.ravel()))
        return (np.asarray(ledger.relative_fisher) / (2 * x.ravel())).reshape(1, *x.shape)

    end = 0.5 * math.exp(-2 * start)
    edges = np.array([0.0, 0.6, 1.0]) * end
    found = integrate(f, edges[:-1], edges[1:], watch=1, tolerance=1e-5, rounds=10)
    value, error = found.total()
    return Enclosure.near(value, error, method="quadrature in time")


@states(Statement(
    "A6", r"KL(p_t‖γ) ≤ e^(−2t) KL(π‖γ)", "Bakry, Gentil & Ledoux 2014, chapter 5, https://doi.org/10.1007/978-3-319-00227-9; Gross 1975",
    r"KL(p_t|\gamma) \le e^{-2(t-s)}KL(p_s|\gamma),\qquad I(p_t|\gamma) \le e^{-2(t-s)}I(p_s|\gamma),\qquad"
    r" KL(p_t|\gamma) \le \tfrac12 I(p_t|\gamma)",
    (MOMENT, AWAY), caveat="a shifted N(0, I) attains all three with equality",
))  # fmt: skip
def bakry_2014_kullback_leibler(target, *, quick=False, rigorous=False):
    r"""The logarithmic Sobolev inequality of \gamma, and the exponential decay of KL and I that it gives.

    Cells: times up to 3, from s = 0 if I(\pi|\gamma) is finite, else from s = 0.05. Control: five times the rate, e^{-10t} (it could
    only hold for a law whose first four Hermite moments vanish; e^{-4t} does hold for some centred laws). rigorous : proofs, for Gaussians and
    mixtures on the line.
    """
    if rigorous:
        from .certified import log_sobolev

        return log_sobolev(bakry_2014_kullback_leibler, target, quick)
    needs(target, "noised", "second_moment")
    what = about(bakry_2014_kullback_leibler, (MOMENT, exists(target.second_moment)))
    if (claim := unmet(what)) is not None:
        return claim
    s = _start(target)
    entropy, fisher = _entropy(target, s), _information(target, s)
    what = about(bakry_2014_kullback_leibler, (MOMENT, True), (AWAY, entropy.hi > NOTHING))
    if (claim := unmet(what)) is not None:
        return claim
    cells = [at_most(entropy, 0.5 * fisher, name="LSI", parameters={"of": "KL ≤ I/2", "t": s})]
    wrong, terms = [], {f"KL(p_{s:g}|γ)": entropy, f"I(p_{s:g}|γ)": fisher}
    for t in (0.5, 3.0) if quick else (0.1, 0.5, 1.0, 3.0):
        kl, info, rate = _entropy(target, t), _information(target, t), math.exp(-2 * (t - s))
        cells.append(at_most(kl, rate * entropy, name="KL", parameters={"of": "KL", "t": t}))
        cells.append(at_most(info, rate * fisher, name="I", parameters={"of": "I", "t": t}))
        cells.append(at_most(kl, 0.5 * info, name="LSI", parameters={"of": "KL ≤ I/2", "t": t}))
        wrong.append(at_most(kl, rate**5 * entropy, name="KL", parameters={"of": "KL", "t": t}))
        terms[f"KL(p_{t:g}|γ)"] = kl
    control = claim_over(wrong, **mutated(bakry_2014_kullback_leibler, r"KL(p_t|\gamma) \le e^{-10(t-s)}KL(p_s|\gamma)"))
    return claim_over(cells, control=control, terms=terms, **what)


@states(Statement(
    "A7", r"KL(p_t‖γ) ≤ W2(π, γ)² / (2(e^(2t)−1))", "Bobkov, Gentil & Ledoux 2001; here by joint convexity of KL over the optimal coupling",
    r"KL(p_t|\gamma) \le \frac{W_2(\pi,\gamma)^2}{2(e^{2t}-1)},\qquad t>0", (MOMENT, AWAY),
    caveat="no smoothness is needed: point masses qualify; for a shifted N(0, I) the ratio of the sides is exactly 1 − e^(−2t)",
))  # fmt: skip
def bobkov_2001_regularised_kullback_leibler(target, *, quick=False):
    r"""KL(p_t|\gamma) <= W_2(\pi,\gamma)^2 / (2(e^{2t} - 1)): noise makes any law with two moments absolutely continuous, at this price.

    Control: KL(p_t|\gamma) <= e^{-2t} W_2(\pi,\gamma)^2/4, regularisation for nothing; Talagrand's KL >= W_2^2/2 refutes it as t -> 0
    for every \pi but \gamma.
    """
    needs(target, "noised", "second_moment")
    what = about(bobkov_2001_regularised_kullback_leibler, (MOMENT, exists(target.second_moment)))
    if (claim := unmet(what)) is not None:
        return claim
    cost = _cost(target, 0.0)
    what = about(bobkov_2001_regularised_kullback_leibler, (MOMENT, True), (AWAY, cost.hi**2 > NOTHING))
    if (claim := unmet(what)) is not None:
        return claim
    cells, wrong = [], []
    for t in (0.01, 1.0) if quick else (0.01, 0.1, 0.5, 1.0, 3.0):
        kl = _entropy(target, t)
        cells.append(at_most(kl, cost * cost / (2 * math.expm1(2 * t)), name="KL", parameters={"t": t}))
        wrong.append(at_most(kl, cost * cost * (0.25 * math.exp(-2 * t)), name="KL", parameters={"t": t}))
    control = claim_over(wrong, **mutated(bobkov_2001_regularised_kullback_leibler, r"KL(p_t|\gamma) \le \tfrac14 e^{-2t}W_2(\pi,\gamma)^2"))
    return claim_over(cells, control=control, terms={"W2(π, γ)": cost}, **what)


@states(Statement(
    "A8", r"W2(p_t, γ) ≤ e^(−t) (√E|X|² + √d)", "synchronous coupling; Villani 2009, https://doi.org/10.1007/978-3-540-71050-9",
    r"W_2(p_t,\gamma) \le e^{-t}\,W_2(\pi,\gamma) \le e^{-t}\left(\sqrt{E|X|^2}+\sqrt d\right)", (MOMENT, AWAY),
    caveat="X_t = e^(−t) X_0 + B_{1−e^(−2t)}, as some notes write, holds in law at each fixed t, not as a process",
))  # fmt: skip
def villani_2009_wasserstein2(target, *, quick=False, rigorous=False):
    r"""W_2(p_t,\gamma) <= e^{-t} W_2(\pi,\gamma) <= e^{-t}(\sqrt{E|X|^2} + \sqrt d): two OU processes with the same noise.

    Control: five times the rate, e^{-5t} (it could only hold for a law whose first four Hermite moments vanish). rigorous : proofs, for
    Gaussians and mixtures on the line.
    """
    if rigorous:
        from .certified import contraction

        return contraction(villani_2009_wasserstein2, target, quick)
    needs(target, "noised", "second_moment")
    what = about(villani_2009_wasserstein2, (MOMENT, exists(target.second_moment)))
    if (claim := unmet(what)) is not None:
        return claim
    cost = _cost(target, 0.0)
    what = about(villani_2009_wasserstein2, (MOMENT, True), (AWAY, cost.hi**2 > NOTHING))
    if (claim := unmet(what)) is not None:
        return claim
    crude = Enclosure.near(math.sqrt(target.second_moment()) + math.sqrt(target.dim), 8 * EPS * (1 + math.sqrt(target.second_moment() + target.dim)))
    cells, wrong = [], []
    for t in (0.5, 3.0) if quick else (0.1, 0.5, 1.0, 3.0):
        now, rate = _cost(target, t), math.exp(-t)
        cells.append(at_most(now, rate * cost, name="W2", parameters={"of": "e^-t W2(π, γ)", "t": t}))
        cells.append(at_most(now, rate * crude, name="W2", parameters={"of": "e^-t (√E|X|² + √d)", "t": t}))
        wrong.append(at_most(now, rate**5 * cost, name="W2", parameters={"t": t}))
    cells.append(at_most(cost, crude, name="W2", parameters={"of": "W2(π, γ) ≤ √E|X|² + √d", "t": 0.0}))
    control = claim_over(wrong, **mutated(villani_2009_wasserstein2, r"W_2(p_t,\gamma) \le e^{-5t}\,W_2(\pi,\gamma)"))
    return claim_over(cells, control=control, terms={"W2(π, γ)": cost, "√E|X|² + √d": crude}, **what)


MOVED = "E X ≠ 0 or E X² ≠ 1 (else TV is smaller still)"
TAILS = "χ²(p_s‖γ) finite at some s ≤ 2"


@states(Statement(
    "A10", r"lim e^t TV(p_t, γ) = |E X|/√(2π)", "derived here (Hermite expansion of p_t/γ)",
    r"TV(p_t,\gamma) = \tfrac12 E_\gamma\left|e^{-t}\bar m Z + \tfrac12 e^{-2t}A(Z^2-1)\right| + R,\quad \bar m = EX,\; A = EX^2-1,\quad"
    r" |R| \le \tfrac12 e^{-3(t-s)}\sqrt{\chi^2(p_s|\gamma)};\qquad e^{t}TV \to |\bar m|/\sqrt{2\pi},\quad"
    r"\text{or, if } \bar m = 0,\; e^{2t}TV \to |A|\varphi(1)",
    (MOMENT, MOVED, TAILS), caveat="in d > 1 with E X ≠ 0 one term is used, with remainder ½ e^(−2(t−s)) √χ²(p_s‖γ)",
))  # fmt: skip
def ornstein_uhlenbeck_total_variation_constant(target, *, quick=False):
    r"""e^t TV(p_t,\gamma) -> |\bar m|/\sqrt{2\pi}; for centred laws e^{2t} TV -> |EX^2 - 1| \varphi(1): the sharp speed of mixing.

    Cells: e^{jt} TV(p_t, \gamma), j = 1 or (centred) 2, against the two leading Hermite terms, within the proved remainder.
    Control: twice the constant (the norm that is not halved).
    """
    needs(target, "noised", "mean", "second_moment")
    mean, second, d = np.asarray(target.mean()), target.second_moment(), target.dim
    size = float(np.linalg.norm(mean))
    centred = size <= 1e-9 * math.sqrt(second)
    assumed = ((MOMENT, math.isfinite(second)), (MOVED, not centred or abs(second - d) > 1e-9))
    what = about(ornstein_uhlenbeck_total_variation_constant, *assumed)
    if (claim := unmet(what, "=")) is not None:
        return claim
    terms_used = 2 if d == 1 else 1
    if d > 1 and centred:
        name = ornstein_uhlenbeck_total_variation_constant.__name__
        raise NoMethod(f"{name}: for a centred law in d > 1 the constant is ¼ E|⟨Z, AZ⟩ − tr A|, which is computed on the line only")
    tail, s = _tail_beyond(target, size, second, terms_used)
    what = about(ornstein_uhlenbeck_total_variation_constant, *assumed, (TAILS, math.isfinite(tail)))
    if (claim := unmet(what, "=")) is not None:
        return claim
    power, cells, wrong = (2 if centred else 1), [], []
    for t in (5.0, 8.0) if quick else (4.0, 6.0, 8.0):
        scale, m = math.exp(power * t), math.exp(-t)
        lhs = scale * blurred(total_variation(flow(target, t), standard_normal(d)), 8 * EPS * math.sqrt(d)).cut(0.0)
        lead = _leading(m * size, 0.5 * m * m * (second - 1) if d == 1 else 0.0)
        rhs = Enclosure.near(scale * lead, 64 * EPS * scale * lead, method="closed form")
        within = 0.5 * scale * math.exp(-(terms_used + 1) * (t - s)) * tail + 2 * (lhs.width + rhs.width)
        cells.append(claim_equal(lhs, rhs, within=within, name="TV", parameters={"t": t}))
        wrong.append(claim_equal(lhs, 2 * rhs, within=within, name="TV", parameters={"t": t}))
    constant = abs(second - 1) * math.exp(-0.5) / math.sqrt(2 * math.pi) if centred else size / math.sqrt(2 * math.pi)
    terms = {f"lim e^{'2' * centred}t TV(p_t, γ)": Enclosure.near(constant, 8 * EPS * constant)}
    control = claim_over(wrong, **mutated(ornstein_uhlenbeck_total_variation_constant, r"e^tTV(p_t,\gamma) \to 2|\bar m|/\sqrt{2\pi}"))
    return claim_over(cells, control=control, terms=terms, **what)


def _leading(alpha, beta):
    r"""\frac12 E|\alpha Z + \beta(Z^2 - 1)| = |F(z_1) - F(z_2)|, F(z) = (\alpha + \beta z)\varphi(z), z_{1,2} the roots (their product is -1)."""
    if alpha == beta == 0:
        return 0.0
    q = -0.5 * (alpha + math.copysign(math.hypot(alpha, 2 * beta), alpha))
    roots = [-beta / q] + ([q / beta] if abs(beta) > 1e-3 * abs(q) else [])  # beyond |z| = 1000 the density is 0
    return abs(sum(sign * (alpha + beta * z) * math.exp(-0.5 * z * z) for sign, z in zip((1, -1), roots))) / math.sqrt(2 * math.pi)


def _tail_beyond(target, mean, second, terms):
    r"""(r, s) that minimise e^{(n+1)s} r with r^2 >= \sum_{k>n} e^{-2ks} a_k^2 = \chi^2(p_s|\gamma) less its first n = ``terms`` parts."""
    found = []
    for s in (0.5, 1.0, 2.0):
        try:
            chi2, m = chi_squared(flow(target, s), standard_normal(target.dim)), math.exp(-2 * s)
        except NotTrusted:  # it does not decay as far as the law can be followed
            chi2, m = Enclosure.exact(math.inf), 1.0
        known = m * mean**2 + (0.5 * (m * (second - 1)) ** 2 if terms == 2 else 0.0)
        rest = (chi2 - Enclosure.near(known, 8 * EPS * known)).hi
        found.append((math.exp((terms + 1) * s) * math.sqrt(max(rest, 0.0)), s, math.sqrt(max(rest, 0.0))))
    _, s, tail = min(found)
    return tail, s
