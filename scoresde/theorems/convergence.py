r"""Convergence of the generative chain: the law of the last state against the target, beside bounds with proved constants.

Every left side is the exact law of the chain (no Monte Carlo), so these hold for the line, and in any dimension for Gaussians, products, and
mixtures whose means span a line beside a common Gaussian. In high dimension total variation is enclosed from both sides.
A table that ends at \delta > 0 is judged against p_\delta, with T counted from there.
"""

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np

from .. import grid
from ..divergence import kullback_leibler, total_variation
from ..enclosure import Enclosure
from ..information import joint_kullback_leibler, path_kullback_leibler
from ..kernel import ornstein_uhlenbeck
from ..laws import Gaussian, standard_normal
from ..scheme import exponential_absolute
from ..score import exact, l2_error, perturbed, sine
from .bounds import (
    ANCESTRAL,
    EULER_MARUYAMA,
    EXPONENTIAL_RELATIVE,
    FINITE,
    MOMENT,
    Along,
    along,
    assumed,
    bounded,
    constants,
    explicit,
    half_root,
    last_law,
    recognise,
    roughness,
    variation,
)
from .claim import Statement, claim_over, not_applicable, states
from .numeric import about, mutated, slow, unmet

__all__ = ["conforti_2023_kullback_leibler", "de_bortoli_2021_decomposition", "de_bortoli_2021_total_variation"]


MOST = 8_000  # steps of a chain in high dimension


# ---- D3 -------------------------------------------------------------------------------------------------------------------------------


@states(
    Statement(
        "D3",
        "KL(π|chain) ≤ KL(p_T|γ) + h (I_0 − I_T) ≤ e^−2T KL(π|γ) + h I(π|γ)",
        "form: Conforti, Durmus & Gentiloni Silveri 2023, arXiv:2308.12240, Theorem 2.1; constants: derived here",
        r"KL(\pi|L(\hat Y)) \le KL_{path} \le KL(p_T|\gamma) + h (I_0 - I_T) \le e^{-2T} KL(\pi|\gamma) + h I(\pi|\gamma)",
        (FINITE, MOMENT, "exact score, used at the left end of each step", "exponential_relative, or ancestral with variance beta; steps at most h"),
        "The linear part of the scheme must preserve N(0, I): no such bound holds for euler_maruyama or exponential_absolute.",
    )
)
def conforti_2023_kullback_leibler(target, table=None, *, quick=False, rigorous=False):
    r"""KL(\pi | law of the chain) <= KL(p_T|\gamma) + h (I_0 - I_T) <= e^{-2T} KL(\pi|\gamma) + h I(\pi|\gamma), exact score.

    Cells: both schemes, T and h swept over equal and variable steps, the marginal and the path divergence on the left, both forms on the
    right. table : judge this chain alone. Control: the same bound for exponential_absolute on \pi = N(0, 1), where it is 0.
    rigorous : proofs, for Gaussians and mixtures on the line, with the path divergence on the left and fewer chains.
    """
    theorem, among = conforti_2023_kullback_leibler, (EXPONENTIAL_RELATIVE, ANCESTRAL)
    refusal, p, said = _asked(theorem, target, table, among)
    if refusal is not None:
        return refusal
    quick = quick or rigorous or slow(target) or target.dim > 1
    chains = _chains(table, among, lambda proved: [g for T in (1.0, 3.0) for g in _grids(T, (0.1,) if quick else (0.05, 0.1))])
    if rigorous:
        from .certified import path_bound

        return path_bound(theorem, target, chains)
    claims, ratios = [], {"marginal": [], "path": []}
    for proved, cell, chain in chains:
        T, h = cell["T"], cell["h"]
        bounds = {
            "h (I_0 - I_T)": p.divergence(T) + proved.loss(p, T, h),
            "h I_0": p.divergence(0.0) * math.exp(-2 * T) + p.information(0.0) * h,
        }
        lefts = {"marginal": kullback_leibler(p.law, last_law(chain, exact(target))), "path": path_kullback_leibler(target, chain)}
        for kind, left in lefts.items():
            for form, right in bounds.items():
                parameters = {**cell, "divergence": kind, "form": form}
                claims.append(bounded(left, right, name=theorem.__name__, parameters=parameters))
            ratios[kind].append(left / bounds["h (I_0 - I_T)"])
    terms = {"KL(pi|gamma)": p.divergence(0.0), "I(pi|gamma)": p.information(0.0)}
    terms |= {f"largest {kind} KL / bound": _largest(found) for kind, found in ratios.items()}
    return claim_over(claims, parameters={"chains": len(chains)}, terms=terms, control=_absolute_on_normal(theorem), **said)


def _absolute_on_normal(theorem):
    """D3 for exponential_absolute on N(0, 1): the bound is 0, the chain's stationary variance is (e^h + 1)/(3 - e^h)."""
    T, h, gamma = 4.0, 0.1, Along(standard_normal(1))
    left = kullback_leibler(gamma.law, last_law(exponential_absolute(grid.uniform(T, h=h)), exact(gamma.law)))
    right = gamma.divergence(T) + EXPONENTIAL_RELATIVE.loss(gamma, T, h)
    said = mutated(theorem, r"KL(\pi|L(\hat Y)) \le KL(p_T|\gamma) + h (I_0 - I_T) \text{ for exponential\_absolute}, \pi = N(0, 1)")
    return bounded(left, right, parameters={"T": T, "h": h}, **said)


# ---- D4 -------------------------------------------------------------------------------------------------------------------------------


@states(
    Statement(
        "D4",
        "TV(chain, π) ≤ {½[KL(p_T|γ) + (√(hK) + M√T)²]}^½ ≤ B e^−T + C (M + √h) e^DT",
        "form: De Bortoli, Thornton, Heng & Doucet 2021, arXiv:2106.01357, Theorem 1 with alpha = 1; constants: derived here",
        r"TV(L(\hat Y), \pi) \le \{\tfrac12 [KL(p_T|\gamma) + (\sqrt{hK} + M\sqrt T)^2]\}^{1/2} \le B e^{-T} + C (M + \sqrt h) e^{DT}, "
        r"\quad B = \sqrt{KL(\pi|\gamma)/2}, \quad D > 0, \quad C \text{ explicit}",
        (
            FINITE,
            MOMENT,
            "euler_maruyama or exponential_relative; steps at most h, equal or not",
            "score error at most M in L2(p_t) at the grid's times (a sup norm is at least that)",
        ),
        "Cells whose right side is at least 1 say nothing (vacuous): they are counted and never verify. The stated rate in h is 1/2, the true one 1.",
    )
)
def de_bortoli_2021_total_variation(target, table=None, score=None, *, quick=False, rigorous=False, D=1.0):
    r"""TV(law of the chain, \pi) <= \{\frac12 [KL(p_T|\gamma) + (\sqrt{hK} + M \sqrt T)^2]\}^{1/2} <= B e^{-T} + C (M + \sqrt h) e^{DT}.

    K = (1+h)[I_0 - I_T + dT/2 - (M_2 - d)(1 - e^{-2T}) + T \max(M_2, d)/12] for euler_maruyama, K = I_0 - I_T for exponential_relative.

    Cells: both schemes, T, equal and variable steps, scores off by exactly M in a constant direction and along a sine, both forms.
    table, score : judge these alone; the scheme is recognised by its coefficients. M is ``score.error_bound`` where the score is an exact
    one of this target plus a perturbation, else the measured \max_k L2(p_{t_k}) error. D > 0 : the exponent of the second form.
    rigorous : proofs, for Gaussians and mixtures on the line, of the exact score and one off by a constant, with the path divergence on the
    left (Pinsker) and fewer chains. Control: the K of exponential_relative for euler_maruyama on \pi = N(0, 1), where the right side is 0.
    """
    theorem, among = de_bortoli_2021_total_variation, (EULER_MARUYAMA, EXPONENTIAL_RELATIVE)
    if not D > 0:
        raise ValueError(f"D: got {D}, allowed is D > 0: without growth in T the bound is false for euler_maruyama")
    refusal, p, said = _asked(theorem, target, table, among)
    if refusal is not None:
        return refusal
    quick = quick or rigorous or slow(target) or target.dim > 1
    chains = _chains(table, among, lambda proved: _swept(proved, p, quick or score is not None))
    if rigorous:
        from .certified import pinsker_bound

        return pinsker_bound(theorem, target, chains, score, D)
    if table is not None and score is None:
        score = exact(target)
    claims, ratios, shown = [], {"explicit": [], "B, C, D": []}, {}
    for proved, cell, chain in chains:
        T, h = cell["T"], cell["h"]
        B, C = constants(proved, p, D)
        shown |= {"B": B, f"C ({proved.name})": C, "D": D}
        for kind, M, s in _scores(target, chain, score, quick):
            bound, parts = explicit(proved, p, T, h, M)
            bounds = {"explicit": bound, "B, C, D": B * math.exp(-T) + C * (M + math.sqrt(h)) * math.exp(D * T)}
            said_nothing = p.dim > 1 and all(right.lo >= 1 for right in bounds.values())
            left = Enclosure(0.0, 1.0, "rigorous", method="a total variation") if said_nothing else variation(last_law(chain, s), p.law)
            size = M.value if isinstance(M, Enclosure) else M
            for form, right in bounds.items():
                parameters = {**cell, "M": size, "error": kind, "form": form}
                claim = bounded(left, right, name=theorem.__name__, trivial=1.0, terms=parts, parameters=parameters)
                claims.append(claim)
                if not claim.vacuous:
                    ratios[form].append(left / right)
    for form, found in ratios.items():
        shown[f"share not vacuous, {form} form"] = 2 * len(found) / len(claims)
        if found:
            shown[f"largest ratio, {form} form"] = _largest(found)
    claim = claim_over(claims, parameters={"chains": len(claims) // 2}, control=_relative_on_normal(theorem), **said)
    return replace(claim, terms={**claim.terms, **shown})


def _relative_on_normal(theorem):
    """D4 with the K of exponential_relative for euler_maruyama on N(0, 1): the right side is 0, the chain's variance is 1/(1 - h/2)."""
    T, h, gamma = 4.0, 0.1, Along(standard_normal(1))
    left = total_variation(last_law(EULER_MARUYAMA.scheme(grid.uniform(T, h=h)), exact(gamma.law)), gamma.law)
    right, _ = explicit(EXPONENTIAL_RELATIVE, gamma, T, h)
    said = mutated(theorem, r"TV \le \{\tfrac12 [KL(p_T|\gamma) + h (I_0 - I_T)]\}^{1/2} \text{ for euler\_maruyama}, \pi = N(0, 1)")
    return bounded(left, right, trivial=1.0, parameters={"T": T, "h": h}, **said)


# ---- D0: the two terms of the proof, link by link -------------------------------------------------------------------------------------


@states(
    Statement(
        "D0",
        "the proof's two terms, mixing and Girsanov with Pinsker, link by link",
        "De Bortoli, Thornton, Heng & Doucet 2021, arXiv:2106.01357, proof of Theorem 1; Girsanov as in Chen et al. 2022, arXiv:2209.11215",
        r"TV(\gamma\hat R, p_T\hat R) \le TV(\gamma, p_T) \le \sqrt{KL(p_T|\gamma)/2} \le B e^{-T}; \quad "
        r"TV(p_T\hat R, \pi) \le \sqrt{(KL_{path} - KL(p_T|\gamma))/2} \le \sqrt{hK/2}; \quad "
        r"TV(\gamma\hat R, \pi) \le \sqrt{KL/2} \le \sqrt{KL_{joint}/2} \le \sqrt{KL_{path}/2} \le \{\tfrac12 [KL(p_T|\gamma) + hK]\}^{1/2}",
        (FINITE, MOMENT, "exact score; euler_maruyama or exponential_relative"),
        "Each link is a cell of its own: the ratios show where the bound is lost.",
    )
)
def de_bortoli_2021_decomposition(target, table=None, *, quick=False):
    r"""TV(\gamma R, \pi) <= TV(\gamma R, p_T R) + TV(p_T R, \pi): what mixing costs and what the discretisation costs, link by link.

    R is the chain's transition. Mixing: TV(\gamma R, p_T R) <= TV(p_T, \gamma) <= \sqrt{KL(p_T|\gamma)/2} <= B e^{-T}. Girsanov and
    Pinsker, started at p_T: TV(p_T R, \pi) <= \sqrt{(KL_{path} - KL(p_T|\gamma))/2} <= \sqrt{hK/2}; started at \gamma:
    TV <= \sqrt{KL/2} <= \sqrt{KL_{joint}/2} <= \sqrt{KL_{path}/2} <= the explicit bound of D4 with M = 0.
    Cells: each link, on chains of both schemes or on ``table``. Control: the path divergence is at most the marginal one.
    """
    theorem, among = de_bortoli_2021_decomposition, (EULER_MARUYAMA, EXPONENTIAL_RELATIVE)
    refusal, p, said = _asked(theorem, target, table, among)
    if refusal is not None:
        return refusal
    sizes = ((3.0, 0.1),) if quick or slow(target) or target.dim > 1 else ((2.0, 0.1), (4.0, 0.1), (4.0, 0.05))
    chains = _chains(table, among, lambda proved: [("uniform", grid.uniform(T, h=h)) for T, h in sizes])
    claims, terms = [], {}
    for proved, cell, chain in chains:
        numbers = _numbers(proved, p, target, chain, cell["T"], cell["h"])
        for series in numbers:
            for (left, x), (right, y) in pairwise(series.items()):
                claims.append(bounded(x, y, name=theorem.__name__, parameters={**cell, "left": left, "right": right}))
        here = f"{proved.name}, T = {cell['T']:g}, h = {cell['h']:.3g}"
        terms[proved.name] = {f"{what} ({here})": value for series in numbers for what, value in series.items()}
    claim = claim_over(claims, parameters={"chains": len(chains)}, control=_reversed_on_normal(theorem), **said)
    return replace(claim, terms={what: value for one in terms.values() for what, value in one.items()})


def _reversed_on_normal(theorem):
    """The last link of D0 reversed, for euler_maruyama on N(0, 1): the path knows more than its end, whose KL is of a higher order in h."""
    T, h, gamma = 4.0, 0.1, standard_normal(1)
    chain = EULER_MARUYAMA.scheme(grid.uniform(T, h=h))
    left, right = path_kullback_leibler(gamma, chain), kullback_leibler(gamma, last_law(chain, exact(gamma)))
    said = mutated(theorem, r"KL_{path} \le KL \text{ for euler\_maruyama}, \pi = N(0, 1)")
    return bounded(half_root(left), half_root(right), parameters={"T": T, "h": h}, **said)


def _numbers(proved, p, target, chain, T, h):
    """The three series of the proof, each nondecreasing if the theorem holds: {name: Enclosure} in order."""
    gamma, score, p_T = standard_normal(p.dim), exact(target), p.at(T)
    cold, warm = last_law(chain, score), last_law(chain, score, p_T)
    path = path_kullback_leibler(target, chain)
    mixing = {
        "TV(gamma R, p_T R)": total_variation(cold, warm),
        "TV(p_T, gamma)": total_variation(p_T, gamma),
        "sqrt(KL(p_T|gamma)/2)": half_root(p.divergence(T)),
        "B e^-T": half_root(p.divergence(0.0)) * math.exp(-T),
    }
    approximation = {
        "TV(p_T R, pi)": total_variation(warm, p.law),
        "sqrt((KL path - KL(p_T|gamma))/2)": half_root(path - p.divergence(T)),
        "sqrt(h K/2)": half_root(proved.loss(p, T, h)),
    }
    whole = {
        "TV(gamma R, pi)": total_variation(cold, p.law),
        "sqrt(KL/2)": half_root(kullback_leibler(p.law, cold)),
        "sqrt(KL joint/2)": half_root(joint_kullback_leibler(target, chain)),
        "sqrt(KL path/2)": half_root(path),
        "explicit bound": explicit(proved, p, T, h)[0],
    }
    return mixing, approximation, whole


# ---- chains and scores of the sweeps --------------------------------------------------------------------------------------------------


def _asked(theorem, target, table, among):
    """(refusal or None, p, wording): does the theorem apply to this target, and is ``table``, if given, one of the schemes it is proved for?"""
    if table is not None and recognise(table, among) is None:
        allowed = " and ".join(proved.name for proved in among)
        reason = f"table: {table.name or 'this table'} is none of {allowed} by its coefficients; the proof covers these"
        return not_applicable(reason=reason, **about(theorem)), None, None
    p = along(target, 0.0 if table is None else float(table.times[-1]))
    said = about(theorem, *assumed(p))
    return unmet(said), p, said


def _chains(table, among, grids):
    """[(proved scheme, its cell's parameters, table)]: the sweep over grids(proved), pairs (kind, times), or ``table`` alone."""
    if table is not None:
        chosen = [(recognise(table, among), "given", table)]
    else:
        chosen = [(proved, kind, proved.scheme(times)) for proved in among for kind, times in grids(proved)]
    cells = []
    for proved, kind, chain in chosen:
        T, h = float(chain.times[0] - chain.times[-1]), float(np.max(-np.diff(chain.times)))
        cells.append((proved, {"scheme": proved.name, "T": T, "h": h, "steps": chain.rows, "grid": kind}, chain))
    return cells


def _grids(T, sizes, finer=1.0, most=math.inf):
    """(kind, times): equal steps of these sizes, and variable ones, of which the bounds know the longest; ``finer`` times, or ``most``, steps."""
    n = lambda h: math.ceil(max(T / h, min(T / h * finer, most)) - 1e-9)  # noqa: E731
    for h in sizes:
        yield "uniform", grid.uniform(T, n(h))
    n = n(sizes[-1] if len(sizes) == 1 else 0.5 * sizes[-1])
    yield "quadratic", grid.quadratic(T, n)
    yield "geometric", np.append(grid.geometric(T, n - 1, stop=T / n**2), 0.0)


def _swept(proved, p, quick):
    r"""The grids of D4. A target far from N(0, I) is given more time, one with a large K smaller steps (h K <= 0.8), so that not all cells are
    vacuous; neither changes anything on the default targets. Rough targets, whose steps cost more, get fewer of them.
    """
    mixed = 0.5 * math.log(max(1.0, 0.5 * p.divergence(0.0).hi))
    if p.dim > 64:  # K grows like d, and so must the number of steps: one chain that is not vacuous
        T = 1.0 + mixed
        yield "uniform", grid.uniform(T, min(math.ceil(T * proved.loss(p, T, 1e-6).hi / 1.1e-6), MOST))
        return
    most = 400.0 * min(1.0, 30.0 / roughness(p.law))
    for T in (1.0,) if p.dim > 1 and quick else (1.0, 3.0) if quick else (0.5, 1.0, 2.0, 4.0):
        finer = max(1.0, proved.loss(p, T + mixed, 1e-3).hi / 8e-3)
        yield from _grids(T + mixed, (0.1,) if quick else (0.02, 0.05, 0.1), finer, most)


def _scores(target, table, score, quick):
    """(kind of error, its size, score): the one given, or exact ones that are off by exactly M."""
    if score is not None:
        yield "given", _error_of(score, target, table), score
        return
    s = exact(target)
    yield "none", 0.0, s
    if table.rows > 1000 and not isinstance(target, Gaussian):
        return  # in high dimension: thousands of steps on the line are enough once
    far = table.times[0] - table.times[-1] > 3 or target.dim > 64  # the longest chains cost the most: one perturbation is enough
    fields = {"shift": None, "sine": sine(3.0)} if target.dim == 1 else {"shift": None, "diagonal shift": np.ones(target.dim)}
    for M in (0.1,) if quick or far else (0.02, 0.1, 0.5):
        for kind, direction in fields.items():
            if not (far and direction is not None):
                yield kind, M, perturbed(s, M, direction)


def _error_of(score, target, table):
    """M: the error bound of a perturbed exact score of this very target and clock; otherwise the L2(p_t) error measured at the grid."""
    core = score
    while hasattr(core, "score") and hasattr(core, "M"):
        core = core.score
    bound, law = getattr(score, "error_bound", None), getattr(core, "law", None)
    same = law is target or (type(law) is type(target) and law == target)
    if bound is not None and same and getattr(core, "forward", None) is ornstein_uhlenbeck:
        return float(bound)
    return l2_error(score, target, table.score_times[table.used])


def _largest(found):
    """The largest of some enclosures, by their point estimates."""
    return max(found, key=lambda e: e.hi if e.value is None else e.value)
