r"""What the dimension costs: the quantities of the bounds, and the distances they bound, on d copies of a law on the line, d up to 1000.

[\pi]^d is the law of d independent copies; the law of its chain is a product too, so everything is exact. A stated dependence on d is then a
slope of \log(quantity) against \log d, and a claim.
"""

import math
from dataclasses import replace

import numpy as np

from .. import grid
from ..divergence import hellinger, kullback_leibler, wasserstein2
from ..enclosure import Enclosure
from ..errors import NoMethod
from ..information import joint_kullback_leibler, path_kullback_leibler
from ..laws import Gaussian, Product, standard_normal
from ..scheme import ancestral, euler_maruyama, exponential_absolute, exponential_relative
from ..score import exact, perturbed
from .bounds import ANCESTRAL, EULER_MARUYAMA, EXPONENTIAL_RELATIVE, FINITE, MOMENT, Along, assumed, bounded, constants, last_law, powered, roughness
from .claim import Claim, Statement, claim_over, claim_rate, states
from .numeric import about, at_most, equal, flow, mutated, needs, slow, unmet
from .schedules import de_bruijn_bound

__all__ = ["dimension_of_the_bounds", "dimension_of_the_noise", "dimension_of_the_step", "dimension_of_the_time"]

DIMENSIONS = (1, 2, 16, 128, 1000)
AWAY = "KL(π|γ) > 1e-6 (at π = γ both sides are 0)"
LONGEST = 8000  # steps


def _asked(theorem, target, relation, *, finite=True):
    """(refusal or None, p, wording): the target is on the line, copies of it are what has dimension d."""
    needs(target, "noised", "logpdf", "score", "second_moment")
    if target.dim != 1:
        raise NoMethod(f"{theorem.__name__}: got dimension {target.dim}, allowed is 1: the theorem makes d copies of a law on the line itself")
    if slow(target):
        raise NoMethod(f"{theorem.__name__}: got a {type(target).__name__} whose noised laws are computed, allowed are closed forms, for many copies")
    p = Along(target)
    what = about(theorem, *(assumed(p) if finite else assumed(p)[1:]))
    if (refusal := unmet(what, relation)) is None:
        what = about(theorem, *what["assumptions"], (AWAY, p.divergence(0.0).hi > 1e-6))
        refusal = unmet(what, relation)
    return refusal, p, what


def _copies(law, d):
    return Product([law], [d]) if d > 1 else law


# ---- the right sides -------------------------------------------------------------------------------------------------------------------


@states(Statement(
    "D3d", "path KL, joint KL and the bounds D3, D4, D5 grow like d; W2 and Pinsker's bound like √d",
    "additivity over independent coordinates; the bounds: D3, D4, D5, D7",
    r"[\pi]^d:\quad KL_{path},\ KL_{joint},\ KL(\pi|L(\hat Y)),\ KL(p_T|\gamma)+hK,\ \text{bound of D5} \;\propto\; d;\qquad"
    r" W_2(L(\hat Y),\pi),\ B=\sqrt{KL(\pi|\gamma)/2} \;\propto\; \sqrt d", (FINITE, MOMENT, AWAY),
    caveat="of d independent copies; a target with directions in which it is N(0, 1) already costs less, see D3d'",
))  # fmt: skip
def dimension_of_the_bounds(target, *, quick=False):
    r"""\log(quantity)/\log d on [\pi]^d: 1 for divergences and for the bounds on them, 1/2 for distances.

    Cells: each quantity, over d = 1, 2, 16, 128, 1000 (for computed laws, and if quick: 1, 16, 1000), for euler_maruyama, or the scheme of the
    bound. Control: \sqrt d for the path divergence, the guess that a Monte Carlo error suggests.
    """
    theorem = dimension_of_the_bounds
    refusal, _, what = _asked(theorem, target, "=")
    if refusal is not None:
        return refusal
    few = (1, 16, 1000)
    dims = few if quick else DIMENSIONS
    T, h = 2.0, 0.1
    chain = euler_maruyama(grid.uniform(T, h=h))
    copies = {d: Along(_copies(target, d)) for d in dims}
    last = last_law(chain, exact(target))
    laws = {d: _copies(last, d) for d in dims}
    linear = {
        "KL of the paths": lambda d: path_kullback_leibler(copies[d].law, chain),
        "KL of the skeletons": lambda d: joint_kullback_leibler(copies[d].law, chain),
        "KL(π|chain)": lambda d: kullback_leibler(copies[d].law, laws[d]),
        "bound of D3": lambda d: copies[d].divergence(T) + EXPONENTIAL_RELATIVE.loss(copies[d], T, h),
        "bound of D4": lambda d: copies[d].divergence(T) + EULER_MARUYAMA.loss(copies[d], T, h),
        "bound of D5": lambda d: de_bruijn_bound(copies[d], T, 0.5, 0.1),
    }
    root = {"W2(chain, π)": lambda d: wasserstein2(laws[d], copies[d].law), "B of D4": lambda d: constants(EULER_MARUYAMA, copies[d], 1.0)[0]}
    cells, terms = [], {}
    for order, group in ((1.0, linear), (0.5, root)):
        for name, f in group.items():
            these = few if "chain" in name or "skeletons" in name else dims
            values = [f(d) for d in these]
            cells.append(_slope(these, values, order, name))
            terms[f"{name}, d = 1"] = values[0]
    control = _slope(few, [linear["KL of the paths"](d) for d in few], 0.5, **mutated(theorem, r"KL_{path}([\pi]^d) \propto \sqrt d"))
    return claim_over(cells, terms=terms, control=control, parameters={"T": T, "h": h}, **what)


def _slope(dims, values, order, name, within=1e-3, **about):
    """The claim values ~ d^order, by the rate in 1/d."""
    claim = claim_rate([1 / d for d in dims], values, order=-order, relation="=", within=within, name=name, **about)
    return replace(claim, parameters={"of": name, "d": list(map(float, dims)), "within": within})


# ---- directions of pure noise ----------------------------------------------------------------------------------------------------------


@states(Statement(
    "D3d'", "directions of pure noise cost nothing for schemes that preserve N(0, I), and (d − 1) κ for the others",
    "derived here (chain rule of KL); Girsanov's sums: D1",
    r"\pi\otimes\gamma_{d-1}:\quad KL_{path} = KL_{path}(\pi) + (d-1)\,\kappa,\qquad \kappa = KL_{path}(\gamma_1) = 0"
    r"\ \text{for exponential\_relative and ancestral},\; > 0\ \text{for euler\_maruyama and exponential\_absolute}", (FINITE, MOMENT, AWAY),
    caveat="hence the constant of a bound for euler_maruyama contains d itself, and not only I(π|γ): D4's K does, D3's does not",
))  # fmt: skip
def dimension_of_the_noise(target, *, quick=False):
    r"""KL_path and KL(\pi|chain) of \pi \otimes N(0, I_{d-1}) against those of \pi and of N(0, 1), for four schemes.

    Cells: scheme, d = 2, 16, 128, 1000 for the paths, d = 2 and 1000 (all there is if quick) for the laws; for D3's two schemes the term
    (d - 1)\kappa is 0 exactly. Control: that euler_maruyama does not see d.
    """
    theorem = dimension_of_the_noise
    refusal, _, what = _asked(theorem, target, "=")
    if refusal is not None:
        return refusal
    times, gamma = grid.uniform(2.0, h=0.1), standard_normal(1)
    schemes = {
        "euler_maruyama": euler_maruyama, "exponential_absolute": exponential_absolute, "exponential_relative": exponential_relative,
        ANCESTRAL.name: lambda g: ancestral(g, "beta"),
    }  # fmt: skip
    cells, terms, control = [], {}, None
    dims = (2, 1000) if quick else DIMENSIONS[1:]
    for name, scheme in schemes.items():
        chain = scheme(times)
        own, noise = last_law(chain, exact(target)), last_law(chain, exact(gamma))
        marginal, kappa = kullback_leibler(target, own), kullback_leibler(gamma, noise)
        path, lost = path_kullback_leibler(target, chain), path_kullback_leibler(gamma, chain)
        if scheme in (exponential_relative, schemes[ANCESTRAL.name]):
            kappa, lost = kappa.cut(0.0, 1e-14), Enclosure.exact(0.0)  # preserved up to rounding
        terms[f"κ, {name}"] = lost
        for d in dims:
            law = Product((target, standard_normal(d - 1)))
            found = {"path": (path_kullback_leibler(law, chain), path + (d - 1) * lost)}
            if d in (2, 1000):
                beside = Gaussian(np.full(d - 1, noise.mean()[0]), float(np.ravel(noise.covariance)[0]))
                found["marginal"] = kullback_leibler(law, Product((own, beside))), marginal + (d - 1) * kappa
            for kind, (lhs, rhs) in found.items():
                cells.append(equal(lhs, rhs, digits=9, floor=1e-3, name="KL", parameters={"scheme": name, "d": d, "divergence": kind}))
            if name == "euler_maruyama" and d == 1000:
                said = mutated(theorem, r"KL_{path}(\pi\otimes\gamma_{d-1}) = KL_{path}(\pi)\ \text{for euler\_maruyama}")
                control = equal(found["path"][0], path, digits=9, floor=1e-3, **said)
    return claim_over(cells, terms=terms, control=control, **what)


# ---- how the step, the time and the score error must shrink -----------------------------------------------------------------------------


@states(Statement(
    "D8d", "to hold TV in dimension d the step must shrink like d^−½ and the score error per coordinate like d^−½",
    "weak order 1: Talay & Tubaro 1990, doi:10.1080/07362999008809220; multiplicativity of 1 − H²; the rate in d: derived here",
    r"H(p_T\hat R_h, [\pi]^d) \sim d^0 \text{ for } h = h_0 d^{-1/2},\quad \sim d^{-1/2} \text{ for } h = h_0/d;\qquad"
    r" KL \sim d^0 \text{ between the chains with and without an error } M d^{-1/2} \text{ in each coordinate};\qquad H^2 \le TV \le H\sqrt{2-H^2}",
    (FINITE, MOMENT, AWAY, "euler_maruyama started at p_T, the error constant in time and space"),
    caveat="D4 bounds TV by √(hK/2) with K ~ d: it asks for h ~ 1/d, and cannot be improved to d^−½ by constants",
))  # fmt: skip
def dimension_of_the_step(target, *, quick=False):
    r"""Slopes in d of the Hellinger distance of the chain's law from [\pi]^d, with h tied to d, and of the divergence a score error makes.

    H encloses total variation from both sides and is multiplicative: 1 - H_d^2 = (1 - H_1^2)^d. d = 27, 81, 243, and 9, 27, 81 for
    h_0/d. The first step is lower where \log\pi is rough, since an order shows only where h |\nabla^2 \log\pi| is small. Control:
    h = h_0 d^{-1/2} makes H vanish like d^{-1/2}.
    """
    theorem = dimension_of_the_step
    refusal, p, what = _asked(theorem, target, "=")
    if refusal is not None:
        return refusal
    many, few, T, first = (27, 81, 243), (9, 27, 81), 0.5, min(0.1, 0.6 / roughness(target))
    if T / first * few[-1] > LONGEST:
        reason = f"too rough: an order shows only for h < {first / few[-1]:.1e}, which takes more than {LONGEST} steps"
        return Claim(verdict="inconclusive", relation="=", lhs=None, rhs=None, reason=reason, **what)
    score, start = exact(target), p.at(T)
    steps = {first * d**-0.5 for d in many} | {first / d for d in few}
    at = {h: last_law(euler_maruyama(grid.uniform(T, h=h)), score, start) for h in steps}

    def distance(d, h):
        return hellinger(_copies(at[h], d), _copies(target, d))

    tied, fine = [distance(d, first * d**-0.5) for d in many], [distance(d, first / d) for d in few]
    chain, M = euler_maruyama(grid.uniform(T, h=first)), 0.05
    clean = last_law(chain, score, start)
    moved = [kullback_leibler(_copies(last_law(chain, perturbed(score, M * d**-0.5), start), d), _copies(clean, d)) for d in many]
    within = 0.1
    cells = [
        _slope(many, tied, 0.0, "H at h = h_0 d^-1/2", within),
        _slope(few, fine, -0.5, "H at h = h_0/d", within),
        _slope(many, moved, 0.0, "KL of a score error M d^-1/2 a coordinate", within),
    ]
    terms = {f"H, h = h_0/√d, d = {d}": e for d, e in zip(many, tied, strict=True)} | {"h_0": first, "KL of the score error": moved[-1]}
    control = _slope(many, tied, -0.5, within=within, **mutated(theorem, r"H(p_T\hat R_h, [\pi]^d) \sim d^{-1/2}\ \text{for } h = h_0 d^{-1/2}"))
    return powered(claim_over(cells, terms=terms, parameters={"T": T}, **what), control)


@states(Statement(
    "A6d", "½ ln d more time makes up for d coordinates: KL([p_{T+½ ln d}]^d|γ_d) ≤ KL(p_T|γ), W2 likewise",
    "Bakry, Gentil & Ledoux 2014, chapter 5 (A6), and A8, over independent coordinates",
    r"KL([p_{T+\frac12\ln d}]^d\,|\,\gamma_d) \le KL(p_T|\gamma),\qquad W_2([p_{T+\frac12\ln d}]^d,\gamma_d) \le W_2(p_T,\gamma)", (MOMENT, AWAY),
    caveat="attained by a shifted N(0, I); where the mean is 0 the distance falls twice as fast and half the time is enough",
))  # fmt: skip
def dimension_of_the_time(target, *, quick=False):
    r"""KL and W_2 from N(0, I_d) of d copies at time T + \frac12 \ln d, against those of one copy at T.

    Cells: T = 0.5, 1, 2 and d = 2, 16, 128, 1000. Control: no more time for more coordinates.
    """
    theorem = dimension_of_the_time
    refusal, _, what = _asked(theorem, target, "<=", finite=False)
    if refusal is not None:
        return refusal
    found = {
        "KL": lambda d, t: kullback_leibler(_copies(flow(target, t), d), standard_normal(d)),
        "W2": lambda d, t: wasserstein2(_copies(flow(target, t), d), standard_normal(d)),
    }
    cells = []
    for T in (1.0,) if quick else (0.5, 1.0, 2.0):
        for name, f in found.items():
            one = f(1, T)
            for d in (1000,) if quick else DIMENSIONS[1:]:
                cells.append(bounded(f(d, T + 0.5 * math.log(d)), one, name=name, parameters={"of": name, "T": T, "d": d}))
    control = at_most(found["KL"](2, 1.0), found["KL"](1, 1.0), **mutated(theorem, r"KL([p_T]^d|\gamma_d) \le KL(p_T|\gamma)"))
    return claim_over(cells, control=control, **what)
