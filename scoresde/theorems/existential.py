r"""What is fitted rather than proved: an existential bound on cells that it was not fitted to, and the true rates beside the stated ones."""

import math
from dataclasses import replace

import numpy as np

from .. import grid
from ..divergence import total_variation
from ..errors import NoMethod
from ..laws import Gaussian, standard_normal
from ..score import exact, perturbed
from .bounds import EULER_MARUYAMA, FINITE, MOMENT, along, assumed, bounded, last_law, powered, roughness
from .claim import Claim, Statement, claim_over, claim_rate, states
from .numeric import about, mutated, order, slow, unmet

__all__ = ["de_bortoli_2021_constants", "de_bortoli_2021_rates"]

LONGEST = 4000  # steps of the longest chain that shows an order


# ---- D4' ------------------------------------------------------------------------------------------------------------------------------


@states(
    Statement(
        "D4'",
        "B and C exist: fitted on some cells, TV ≤ B e^−T + C (M + √h) e^DT holds on others",
        "De Bortoli, Thornton, Heng & Doucet 2021, arXiv:2106.01357, Theorem 1 with alpha = 1",
        r"\exists B, C, D: \quad TV(L(\hat Y), \pi) \le B e^{-T} + C (M + \sqrt h) e^{DT} \quad \text{for all } T, h, M",
        (FINITE, MOMENT, "euler_maruyama; the score is off by M in a constant direction"),
        "No proof: constants fitted on a grid and judged on a disjoint one can be refuted, but never be established. D4 has proved ones. "
        "As printed, with a general drift -alpha x, the exponent sqrt(alpha) of the first term fails for alpha < 1/4; here alpha = 1.",
    )
)
def de_bortoli_2021_constants(target, *, quick=False, D=(0.25, 0.5, 1.0), safety=2.0):
    r"""There are B, C, D with TV(law of the chain, \pi) <= B e^{-T} + C (M + \sqrt h) e^{DT}: fitted on calibration cells, judged on others.

    B, C >= 0 minimise the total gap on the calibration cells under the condition of lying above each (a linear program), for each D of a
    few; the tightest wins, and is multiplied by ``safety``: a least bound touches some cells, and one C has to serve for M and \sqrt h both.
    The held-out cells go where the fit has not been: 2T, h/4, M/4 and all at once.
    Control: the sharper form B e^{-T} + C M e^{DT}, without \sqrt h, fitted and judged alike: at M = 0 it vanishes as T grows, the
    chain's error does not. Raises ValueError if an exponent is not > 0, or safety < 1.
    """
    theorem = de_bortoli_2021_constants
    if not min(D) > 0:
        raise ValueError(f"D: got {tuple(D)}, allowed are exponents > 0")
    if not safety >= 1:
        raise ValueError(f"safety: got {safety}, allowed is a factor >= 1")
    if target.dim > 1 and not (isinstance(target, Gaussian) and target.dim <= 16):
        raise NoMethod(f"{theorem.__name__}: got dimension {target.dim}, allowed is 1 (a Gaussian: 16), else cells are vacuous; targets.first_axis")
    p = along(target)
    said = about(theorem, *assumed(p))
    if (refusal := unmet(said)) is not None:
        return refusal
    fitted, held = _cells(quick or slow(target))
    errors = {cell: _error(p, *cell) for cell in fitted + held}
    fits = [_fit(fitted, errors, exponent, safety, math.sqrt) for exponent in D]
    sharper = [_fit(fitted, errors, exponent, safety, lambda h: 0.0) for exponent in D]
    control = _judged(min(sharper), held, errors, lambda h: 0.0, mutated(theorem, r"TV(L(\hat Y), \pi) \le B e^{-T} + C M e^{DT}"))
    claim = _judged(min(fits), held, errors, math.sqrt, said)
    return powered(replace(claim, parameters={**claim.parameters, "calibration cells": len(fitted), "safety": safety}), control)


def _cells(quick):
    """Calibration cells (T, h, M), and held-out ones: each calibration cell pushed to 2T, h/4, M/4 and all at once, where that is new."""
    Ts, hs, Ms = ((1.0, 2.0), (0.4, 0.1), (0.0, 0.1, 0.4)) if quick else ((1.0, 2.0, 3.0), (0.4, 0.2, 0.1), (0.0, 0.1, 0.4))
    fitted = [(T, h, M) for T in Ts for h in hs for M in Ms]
    pushed = [c for T, h, M in fitted for c in ((2 * T, h, M), (T, h / 4, M), (T, h, M / 4), (2 * T, h / 4, M / 4))]
    return fitted, [c for c in dict.fromkeys(pushed) if c not in fitted]


def _error(p, T, h, M):
    chain = EULER_MARUYAMA.scheme(grid.uniform(T, h=h))
    score = perturbed(exact(p.law), M) if M else exact(p.law)
    return total_variation(last_law(chain, score), p.law)


def _fit(cells, errors, D, safety, root):
    """(mean gap, B, C, D): safety times the least B e^{-T} + C (M + root(h)) e^{DT} above the errors, a linear program."""
    from scipy.optimize import linprog

    columns = np.array([(math.exp(-T), (M + root(h)) * math.exp(D * T)) for T, h, M in cells])
    least = np.array([errors[cell].hi for cell in cells])
    found = linprog(columns.sum(axis=0), A_ub=-columns, b_ub=-least, bounds=(0, None), method="highs")
    B, C = (safety * float(x) for x in found.x)
    return float(np.mean(columns @ (B, C) - least)), B, C, D


def _judged(fit, held, errors, root, said):
    r"""The sweep over held-out cells of the fitted form, with root(h) in the place of \sqrt h."""
    gap, B, C, D = fit
    claims = []
    for T, h, M in held:
        right = B * math.exp(-T) + C * (M + root(h)) * math.exp(D * T)
        claims.append(bounded(errors[T, h, M], right, trivial=1.0, parameters={"T": T, "h": h, "M": M}, name=said["name"]))
    share = sum(not c.vacuous for c in claims) / len(claims)
    terms = {"B": B, "C": C, "D": D, "mean gap where fitted": gap, "share of held-out cells not vacuous": share}
    return claim_over(claims, terms=terms, **said)


# ---- the true rates -------------------------------------------------------------------------------------------------------------------


@states(
    Statement(
        "D4r",
        "the rate in h is at least ½ (and the true rates in h, T and M)",
        "stated rates: De Bortoli, Thornton, Heng & Doucet 2021, arXiv:2106.01357; weak order 1: Talay & Tubaro 1990, doi:10.1080/07362999008809220",
        r"TV(p_T \hat R_h, \pi) = O(h^r), r \ge 1/2",
        (FINITE, MOMENT, "exact score; the chain starts at p_T, so that no initialisation error hides the rate"),
        "The bound's exponents 1/2 in h and 1 in T are not attained: the law has order 1 in h, and forgets its start at twice the rate.",
    )
)
def de_bortoli_2021_rates(target, *, T=2.0, within=0.1):
    r"""TV(p_T R_h, \pi) ~ h^r with r >= 1/2 for Euler–Maruyama; the fitted exponents in h, T and M are the terms.

    The steps start at h = 0.1, or lower where \log\pi is rough, since an order shows only where h |\nabla^2 \log\pi| is small, and are
    halved three times. Other terms: the decay in T of TV(p_T, \gamma) (stated e^{-T}) and of TV(\gamma R, p_T R), what initialisation
    really costs, and the exponent of TV(law with score error M, law without) in M (stated 1). Control: the rate in h equals 1/2.
    """
    theorem = de_bortoli_2021_rates
    p = along(target)
    said = about(theorem, *assumed(p))
    if (refusal := unmet(said)) is not None:
        return refusal
    first = min(0.1, 0.6 / roughness(target))
    if T / first > LONGEST / 8:
        reason = f"too rough: an order shows only for h < {first:.1e}, which takes more than {LONGEST} steps"
        return Claim(verdict="inconclusive", relation=">=", lhs=None, rhs=None, reason=reason, **said)
    score, chain = exact(target), lambda T, h: EULER_MARUYAMA.scheme(grid.uniform(T, h=h))
    steps = [first / 2**k for k in range(4)]
    errors = [total_variation(last_law(chain(T, h), score, p.at(T)), p.law) for h in steps]
    half = {"order": 0.5, "within": within, "parameters": {"T": T}}
    control = claim_rate(steps, errors, relation="=", **half, **mutated(theorem, r"TV(p_T \hat R_h, \pi) \sim h^{1/2}"))
    claim = claim_rate(steps, errors, relation=">=", **half, **said)
    if p.dim > 1:  # there each law, and each distance, takes longer
        return powered(replace(claim, terms={"rate in h (stated 1/2)": claim.lhs, "TV / h at the finest step": errors[-1] / steps[-1]}), control)
    gamma, times = standard_normal(p.dim), (3.0, 4.0)
    mixing = [total_variation(p.at(t), gamma) for t in times]
    forgotten = [total_variation(last_law(chain(t, first), score), last_law(chain(t, first), score, p.at(t))) for t in times]
    clean, sizes = last_law(chain(T, first), score), (0.02, 0.01)
    moved = [total_variation(last_law(chain(T, first), perturbed(score, M)), clean) for M in sizes]
    decay = [math.exp(-t) for t in times]
    terms = {
        "rate in h (stated 1/2)": claim.lhs,
        "rate in e^-T of TV(p_T, gamma) (stated 1)": order(decay, mixing),
        "rate in e^-T of TV(gamma R, p_T R)": order(decay, forgotten),
        "rate in M (stated 1)": order(sizes, moved),
        "TV / h at the finest step": errors[-1] / steps[-1],
    }
    return powered(replace(claim, terms={name: term for name, term in terms.items() if term is not None}), control)
