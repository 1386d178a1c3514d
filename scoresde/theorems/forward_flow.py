r"""The forward flow as a chain, as an equation for densities and for means, as a contraction in \chi^2, and for two laws at once."""

import math

import numpy as np

from ..divergence import chi_squared, kullback_leibler, total_variation, wasserstein2
from ..enclosure import Enclosure
from ..errors import NoMethod
from ..kernel import Kernel, autoregressive
from ..laws import Gaussian, GaussianMixture, standard_normal
from .claim import Statement, claim_over, states
from .numeric import EPS, about, at_most, blurred, changes, equal, exists, flow, mutated, needs, probes, slope, slow, unmet
from .score_information import reference_law, score_distance
from .score_matching import expectation

__all__ = [
    "autoregressive_clock", "chi_squared_contraction", "dynkin_formula", "fokker_planck", "hermite_chi_squared", "two_laws_contraction",
    "two_laws_de_bruijn",
]  # fmt: skip

MOMENT = r"E|X|^2 finite"
AWAY = "π ≠ γ (else both sides are 0)"
TAILS = "χ²(p_s‖γ) finite at some s ≤ 2"
STARTS = (0.0, 0.1, 0.25, 0.5, 1.0, 1.5, 2.0)


# ---- chi-squared ------------------------------------------------------------------------------------------------------------------------


def _distance(target, t):
    r"""\chi^2(p_t|\gamma), with the rounding of p_t's own parameters."""
    e = chi_squared(flow(target, t), standard_normal(target.dim))
    return blurred(e, 64 * EPS * (math.sqrt(max(e.hi, 0.0)) * (1 + math.sqrt(max(e.hi, 0.0))) + EPS)).cut(0.0)


def _start(target):
    r"""(s, \chi^2(p_s|\gamma)) at the first start where it is finite and not astronomical, or (None, None)."""
    for s in STARTS:
        if exists(lambda s=s: _distance(target, s)) and (found := _distance(target, s)).hi < 1e12:
            return s, found
    return None, None


def _opened(theorem, target, relation):
    """(what, claim "not applicable" or None, s, chi^2 at s)."""
    needs(target, "noised", "second_moment")
    moment = (MOMENT, exists(target.second_moment))
    what = about(theorem, moment)
    if (claim := unmet(what, relation)) is not None:
        return what, claim, None, None
    s, first = _start(target)
    what = about(theorem, moment, (TAILS, s is not None), (AWAY, s is None or first.hi > 1e-24))
    return what, unmet(what, relation), s, first


@states(Statement(
    "A9", r"χ²(p_t‖γ) = Σ e^(−2nt) a_n²", "Mehler 1866; Bakry, Gentil & Ledoux 2014, section 2.7, https://doi.org/10.1007/978-3-319-00227-9",
    r"\chi^2(p_t|\gamma) = \sum_{n\ge1}e^{-2nt}a_n^2,\qquad a_n = E_\pi[h_n(X)],\quad h_n = He_n/\sqrt{n!}", (MOMENT, TAILS, AWAY),
    caveat="χ²(π‖γ) is infinite if a component's variance reaches 2: the sum then starts at a time s where it is finite",
))  # fmt: skip
def hermite_chi_squared(target, *, quick=False):
    r"""\chi^2(p_t|\gamma) by quadrature or closed form, against its Hermite series from a_n(p_s), n <= 400, on the line.

    The coefficients follow the three-term recursion in each Gaussian component; the remainder is at most e^{-802(t-s)} \chi^2(p_s|\gamma).
    Control: e^{-nt} in place of e^{-2nt}.
    """
    if target.dim != 1:
        raise NoMethod(f"hermite_chi_squared: got dimension {target.dim}, allowed is 1: the series is in the Hermite polynomials of the line")
    what, claim, s, first = _opened(hermite_chi_squared, target, "=")
    if claim is not None:
        return claim
    a, size = _coefficients(flow(target, s), 400)
    n = np.arange(1, len(a) + 1)
    cells, wrong = [], []
    for later in (0.5,) if quick else (0.25, 0.5, 2.0):
        lhs, decay = _distance(target, s + later), np.exp(-2 * n * later)
        value, rest = float(decay @ a**2), math.exp(-2 * (len(a) + 1) * later) * first.hi
        rough = 64 * EPS * float((n * decay) @ (np.abs(a) * size))
        rhs = Enclosure.near(value, rest + rough, method="Hermite series")
        for side, right in ((cells, rhs), (wrong, float(np.sqrt(decay) @ a**2))):
            side.append(equal(lhs, right, digits=6, floor=1e-20, name="χ²", parameters={"t": s + later, "s": s}))
    control = claim_over(wrong, **mutated(hermite_chi_squared, r"\chi^2(p_t|\gamma) = \sum_{n\ge1}e^{-nt}a_n^2"))
    return claim_over(cells, control=control, terms={f"χ²(p_{s:g}‖γ)": first, "a_1": float(a[0]), "a_2": float(a[1])}, **what)


def _coefficients(p, count):
    r"""(a_1, ..., a_count) of a mixture on the line, and the components' absolute sums, by the recursion in n of each component:

    \sqrt{n+1} a_{n+1} = \mu a_n + \sqrt n (var - 1) a_{n-1}.
    """
    if isinstance(p, Gaussian):
        p = GaussianMixture([1.0], [p.mean()], float(np.ravel(p.cov())[0]))
    if not isinstance(p, GaussianMixture):
        raise NoMethod(f"hermite_chi_squared: got {type(p).__name__}, allowed are Gaussians and their mixtures, whose moments are exact")
    mean, excess = p.means[:, 0], np.asarray(p.covs).ravel() - 1
    before, now, a, size = np.zeros_like(mean), np.ones_like(mean), [], []
    for n in range(count):
        before, now = now, (mean * now + math.sqrt(n) * excess * before) / math.sqrt(n + 1)
        a.append(p.weights @ now)
        size.append(p.weights @ np.abs(now))
    return np.array(a), np.array(size)


@states(Statement(
    "A9'", r"χ²(p_t‖γ) ≤ e^(−2(t−s)) χ²(p_s‖γ)", "Poincaré's inequality; Bakry, Gentil & Ledoux 2014, chapter 4, https://doi.org/10.1007/978-3-319-00227-9",
    r"\chi^2(p_t|\gamma) \le e^{-2(t-s)}\chi^2(p_s|\gamma),\qquad s\le t", (MOMENT, TAILS, AWAY),
    caveat="attained in the limit of small shifts of N(0, I)",
))  # fmt: skip
def chi_squared_contraction(target, *, quick=False):
    r"""\chi^2(p_t|\gamma) <= e^{-2(t-s)} \chi^2(p_s|\gamma), from the first s at which it is finite.

    Control: five times the rate (it could only hold for a law whose first four Hermite moments vanish).
    """
    what, claim, s, first = _opened(chi_squared_contraction, target, "<=")
    if claim is not None:
        return claim
    cells, wrong = [], []
    for later in (0.5, 3.0) if quick else (0.1, 0.5, 1.0, 3.0):
        now, rate = _distance(target, s + later), math.exp(-2 * later)
        cells.append(at_most(now, rate * first, name="χ²", parameters={"t": s + later, "s": s}))
        wrong.append(at_most(now, rate**5 * first, name="χ²", parameters={"t": s + later, "s": s}))
    far = _distance(target, s + 6.0)  # a large chi^2(p_s) of high order takes long to show its first term
    wrong.append(at_most(far, math.exp(-60.0) * first, name="χ²", parameters={"t": s + 6.0, "s": s}))
    control = claim_over(wrong, **mutated(chi_squared_contraction, r"\chi^2(p_t|\gamma) \le e^{-10(t-s)}\chi^2(p_s|\gamma)"))
    return claim_over(cells, control=control, terms={f"χ²(p_{s:g}‖γ)": first}, **what)


# ---- the equation ------------------------------------------------------------------------------------------------------------------------


@states(Statement(
    "A11", r"Fokker–Planck: ∂p/∂t = ∇·(x p) + Δp", "Fokker 1914; Planck 1917; Risken 1996, https://doi.org/10.1007/978-3-642-61544-3",
    r"\partial_tp_t = \nabla\cdot(x\,p_t)+\Delta p_t,\qquad \partial_t\log p_t = d+\langle x,s_t\rangle+\mathrm{tr}\,\nabla s_t+|s_t|^2", (MOMENT,),
))  # fmt: skip
def fokker_planck(target, *, quick=False):
    r"""\partial_t \log p_t = d + <x, s> + tr \nabla s + |s|^2, the time derivative by extrapolated differences, any dimension.

    Each cell at the worst of five points. Control: \frac12\Delta p, the equation of dX = -X dt + dB.
    """
    needs(target, "noised", "second_moment")
    what = about(fokker_planck, (MOMENT, exists(target.second_moment)))
    if (claim := unmet(what, "=")) is not None:
        return claim
    cells, wrong = [], []
    for t, x, s, trace, rate, error in changes(target, quick):
        for side, diffusion in ((cells, 1.0), (wrong, 0.5)):
            rhs = target.dim + (x * s).sum(-1) + diffusion * (trace + (s * s).sum(-1))
            at, size = int(np.argmax(np.abs(-rate - rhs) - error)), max(1.0, float(np.max(np.abs(rhs))))
            value = Enclosure.near(rhs[at], 1e-11 * size, method="closed form")
            lhs = Enclosure.near(-rate[at], error[at], method="differences, extrapolated")
            side.append(equal(lhs, value, digits=5, floor=size, name="rate", parameters={"t": t}))
    control = claim_over(wrong, **mutated(fokker_planck, r"\partial_tp = \nabla\cdot(xp)+\tfrac12\Delta p"))
    return claim_over(cells, control=control, **what)


@states(Statement(
    "A12", r"Dynkin: E f(X_t) = E f(X_0) + ∫ E[Δf − x·∇f](X_u) du", "Dynkin 1965; Stroock & Varadhan 1979, https://doi.org/10.1007/3-540-28999-2",
    r"E f(X_t)-E f(X_s) = \int_s^tE[\mathcal Af(X_u)]\,du,\qquad \mathcal Af = \Delta f-x\cdot\nabla f", (MOMENT,),
    caveat="in general A f = ⟨b, ∇f⟩ + ½⟨σσᵀ, ∇²f⟩; some notes print σᵀσ, which is another matrix unless σ is symmetric",
))  # fmt: skip
def dynkin_formula(target):
    r"""E f(X_t) - E f(X_0) = \int_0^t E[f'' - x f'] du for f = x^2 and \sin x, on the line.

    Space by quadrature, time by Gauss–Legendre with 10 nodes (its error: the difference from 8). Laws whose p_t is a
    closed form. Control: \frac12 f'', for x^2.
    """
    needs(target, "noised", "second_moment")
    what = about(dynkin_formula, (MOMENT, exists(target.second_moment)))
    if (claim := unmet(what, "=")) is not None:
        return claim
    if target.dim != 1:
        raise NoMethod(f"dynkin_formula: got dimension {target.dim}, allowed is 1: its expectations are integrals over the line")
    if slow(target):
        raise NoMethod(f"dynkin_formula: got a {type(target).__name__} whose p_t is itself a quadrature, allowed are laws with a closed form of p_t")
    t, cells, wrong = 1.0, [], []
    functions = {"x²": (lambda x: x * x, lambda x, a: 2 * a - 2 * x * x), "sin x": (np.sin, lambda x, a: -a * np.sin(x) - x * np.cos(x))}
    for name, (f, generator) in functions.items():
        change = expectation(flow(target, t), f) - expectation(target, f)
        for side, a in ((cells, 1.0), (wrong, 0.5)):
            if side is wrong and name != "x²":
                continue
            coarse, fine = (_over_time(target, t, nodes, lambda x, a=a, g=generator: g(x, a)) for nodes in (8, 10))
            spent = Enclosure.near(fine.value, fine.width + abs(fine.value - coarse.value), method="quadrature")
            side.append(equal(change, spent, digits=7, floor=1.0, name="mean", parameters={"f": name, "t": t}))
    control = claim_over(wrong, **mutated(dynkin_formula, r"\mathcal Af = \tfrac12\Delta f-x\cdot\nabla f"))
    return claim_over(cells, control=control, **what)


def _over_time(target, t, nodes, g):
    r"""\int_0^t E g(X_u) du by Gauss–Legendre."""
    total = Enclosure.exact(0.0)
    for node, weight in zip(*np.polynomial.legendre.leggauss(nodes), strict=True):
        total = total + 0.5 * t * float(weight) * expectation(flow(target, 0.5 * t * (1 + float(node))), g)
    return total


@states(Statement(
    "A3", r"the DDPM (AR(1)) chain is an exact OU process", "Ho, Jain & Abbeel 2020, https://arxiv.org/abs/2006.11239; AR(1) as a sampled OU process",
    r"X_{k+1} = \sqrt{1-\beta_k}\,X_k+\sqrt{\beta_k}\,Z_k \;\Rightarrow\; X_k\sim p_\tau,\quad \tau = -\tfrac12\sum_{j<k}\log(1-\beta_j),\quad"
    r" \bar\alpha_k = e^{-2\tau}", (MOMENT,), caveat="the Euler–Maruyama chain is not: its factor is 1 − β/2 in place of √(1−β)",
))  # fmt: skip
def autoregressive_clock(target, *, quick=False):
    r"""L(X_k) = p_\tau, \tau = -\frac12\sum\log(1-\beta_j), for the linear schedule \beta = 10^{-4}, ..., 0.02 of 1000 steps.

    Left: the law noised k times in a row, log-density at five points; right: p_\tau. Control: the factor 1 - \beta/2 of Euler–Maruyama in
    every step.
    """
    needs(target, "noised", "second_moment")
    what = about(autoregressive_clock, (MOMENT, exists(target.second_moment)))
    if (claim := unmet(what, "=")) is not None:
        return claim
    beta, cells, wrong = np.linspace(1e-4, 0.02, 1000), [], []
    for k in (500,) if quick else (100, 500, 1000):
        used = beta[:k]
        tau = -0.5 * float(np.sum(np.log1p(-used)))
        chain = false = Kernel(1.0, 0.0)
        for b in used:
            chain, false = autoregressive(math.sqrt(1 - b)) @ chain, Kernel(1 - 0.5 * b, b) @ false
        p = flow(target, tau)
        x = probes(p)
        exact = p.logpdf(x)
        for side, kernel in ((cells, chain), (wrong, false)):
            found = target.noised(kernel).logpdf(x)
            at = int(np.argmax(np.abs(found - exact)))
            # m and v carry k roundings each, log p is their smooth function with derivatives below (1 + |x|^2)/v^2
            size = float(1 + np.sum(x[at] ** 2)) * (1 + target.second_moment())
            lhs = Enclosure.near(found[at], 16 * k * EPS * size / kernel.v**2, method="chain")
            rhs = Enclosure.near(exact[at], 64 * EPS * (8 + abs(exact[at])), method="closed form")
            side.append(equal(lhs, rhs, digits=7, floor=1e-2, name="log p", parameters={"k": k, "τ": tau}))
    control = claim_over(wrong, **mutated(autoregressive_clock, r"X_{k+1} = (1-\beta_k/2)X_k+\sqrt{\beta_k}Z_k \Rightarrow X_k\sim p_\tau"))
    return claim_over(cells, control=control, **what)


# ---- two laws ----------------------------------------------------------------------------------------------------------------------------


def _pair(theorem, target, relation):
    """(what, claim or None, the second law)."""
    needs(target, "noised", "second_moment", "mean", "cov")
    what = about(theorem, (MOMENT, exists(target.second_moment)))
    if (claim := unmet(what, relation)) is not None:
        return what, claim, None
    if target.dim != 1:
        raise NoMethod(f"{theorem.__name__}: got dimension {target.dim}, allowed is 1: the two laws' divergences are integrals over the line")
    return what, None, reference_law(target)


@states(Statement(
    "A13", r"d/dt KL(p_t‖q_t) = −E_p|s^p − s^q|²", "de Bruijn's identity for two laws; Barron 1986; Verdú 2010, https://doi.org/10.1109/TIT.2010.2054710",
    r"\frac d{dt}KL(p_t|q_t) = -E_{p_t}\left|\nabla\log p_t-\nabla\log q_t\right|^2", (MOMENT,),
    caveat="q is here a Gaussian half a standard deviation off, with half as much variance again",
))  # fmt: skip
def two_laws_de_bruijn(target, *, quick=False):
    r"""-d/dt KL(p_t|q_t) = E_p|s^p - s^q|^2, q a Gaussian that is not p: extrapolated differences against quadrature.

    Control: half of it, the rate on the clock of dX = -½X dt + dB.
    """
    what, claim, q = _pair(two_laws_de_bruijn, target, "=")
    if claim is not None:
        return claim
    cells, wrong = [], []
    for t in (0.5,) if quick or slow(target) else (0.1, 0.5, 2.0):
        rate = slope(lambda u: kullback_leibler(flow(target, u), flow(q, u)), t)
        distance = score_distance(flow(target, t), flow(q, t))
        for side, factor in ((cells, 1.0), (wrong, 0.5)):
            side.append(equal(rate, factor * distance, digits=5, floor=1e-3, name="slope", parameters={"t": t}))
    control = claim_over(wrong, **mutated(two_laws_de_bruijn, r"\frac d{dt}KL(p_t|q_t) = -\tfrac12E_{p_t}|s^p-s^q|^2"))
    return claim_over(cells, control=control, **what)


@states(Statement(
    "A13'", r"noise contracts: KL and TV do not increase, W2(p_t, q_t) ≤ e^(−t) W2(p, q)", "data processing; synchronous coupling, Villani 2009",
    r"KL(p_t|q_t)\le KL(p_s|q_s),\quad TV(p_t,q_t)\le TV(p_s,q_s),\quad W_2(p_t,q_t)\le e^{-(t-s)}W_2(p_s,q_s),\qquad s\le t", (MOMENT,),
    caveat="KL and TV of two laws need not contract at any rate: laws of disjoint support have TV = 1 before the noise",
))  # fmt: skip
def two_laws_contraction(target, *, quick=False):
    r"""KL, TV and W_2 of two laws under the same noise, from s = 0.05; q a Gaussian that is not p.

    Control: W_2 at five times the rate, refuted since the difference of the means falls like e^{-t} and W_2 is at least that.
    """
    what, claim, q = _pair(two_laws_contraction, target, "<=")
    if claim is not None:
        return claim
    times = (0.05, 2.0) if quick or slow(target) else (0.05, 0.5, 2.0, 4.0)
    laws = {t: (flow(target, t), flow(q, t)) for t in times}
    cells, wrong, names = [], [], {"KL": kullback_leibler, "TV": total_variation, "W2": wasserstein2}
    found = {name: [blurred(f(*laws[t]), 1e-14).cut(0.0) for t in times] for name, f in names.items()}
    for name, values in found.items():
        for k in range(1, len(times)):
            gap = times[k] - times[k - 1]
            rate = math.exp(-gap) if name == "W2" else 1.0
            parameters = {"of": name, "s": times[k - 1], "t": times[k]}
            cells.append(at_most(values[k], rate * values[k - 1], name=name, parameters=parameters))
            if name == "W2":
                wrong.append(at_most(values[k], rate**5 * values[k - 1], name=name, parameters=parameters))
    control = claim_over(wrong, **mutated(two_laws_contraction, r"W_2(p_t,q_t)\le e^{-5(t-s)}W_2(p_s,q_s)"))
    terms = {f"{name} at t = {times[0]:g}": values[0] for name, values in found.items()}
    return claim_over(cells, control=control, terms=terms, **what)
