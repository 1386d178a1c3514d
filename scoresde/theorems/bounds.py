r"""Proved bounds on the path Kullback–Leibler divergence of a generative chain, with explicit constants.

Along the reverse diffusion dY = b dt + \sqrt2 dB, b = Y + 2 s = -Y + 2 U, the relative score obeys dU = U dt + \sqrt2 \nabla U dB and the
drift db = Y dt + \sqrt2 \nabla b dB. Girsanov turns a frozen drift into a path divergence:

    KL_path = KL(p_T | \gamma) + \frac14 \int_0^T E|b_t - \hat b_t|^2 dt,

and the two lines above bound the integral by h times a constant, for every sequence of steps of length at most h. A score error e adds
|e_k(Y_{t_k})|^2 inside the square, at the law p_{t_k} of the true process: so only its L2(p_{t_k}) norm at the grid enters (Minkowski).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..divergence import hellinger, kullback_leibler, total_variation
from ..enclosure import LEVELS, Enclosure, enclose
from ..engine.propagate import propagate
from ..errors import NoMethod, NotTrusted
from ..information import relative_fisher
from ..kernel import ornstein_uhlenbeck
from ..laws import Gaussian, standard_normal
from ..scheme import ancestral, euler_maruyama, exponential_relative
from .claim import claim_at_most
from .coordinates import coordinates, pieces
from .numeric import EPS, exists, needs

__all__ = [
    "ANCESTRAL", "EULER_MARUYAMA", "EXPONENTIAL_RELATIVE", "FINITE", "MOMENT", "Along", "Proved", "along", "assumed",
    "bounded", "constants", "explicit", "half_root", "last_law", "powered", "recognise", "roughness", "variation",
]  # fmt: skip

FINITE = r"I(\pi|\gamma) finite"
MOMENT = "E|X|^2 finite"


# ---- what the bounds need of a target -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Along:
    r"""The scalar functions of noise time that the bounds are made of, each computed once: KL(p_t|\gamma), I_t, and E|X_0|^2."""

    law: Any
    memo: dict = field(default_factory=dict, compare=False, repr=False)

    @property
    def dim(self):
        return self.law.dim

    def at(self, t):
        """p_t; p_0 is the law itself."""
        return self._once("law", t, lambda: self.law.noised(ornstein_uhlenbeck(float(t))) if t > 0 else self.law)

    def divergence(self, t):
        r"""KL(p_t | \gamma)."""
        return self._once("divergence", t, lambda: kullback_leibler(self.at(t), standard_normal(self.dim)).cut(0.0))

    def information(self, t):
        r"""I_t = E|\nabla \log (p_t/\gamma)|^2."""
        return self._once("information", t, lambda: relative_fisher(self.law, float(t)).cut(0.0))

    @property
    def second_moment(self):
        """E|X_0|^2, with the rounding of a sum of squares."""

        def compute():
            value = float(self.law.second_moment())
            return Enclosure.near(value, 16 * EPS * value, method="closed form")

        return self._once("second moment", 0.0, compute)

    def _once(self, what, t, compute):
        key = (what, float(t))
        if key not in self.memo:
            self.memo[key] = compute()
        return self.memo[key]


def along(target, stop=0.0):
    """The functions of time of the law that the chain aims at, p_stop; times then count from there.

    Raises NoMethod where the law of a chain is not exact: off the line, unless the target is Gaussian, a product, or one after a turn.
    """
    needs(target, "noised", "logpdf", "score", "second_moment")
    if pieces(target) is None:
        raise NoMethod(
            f"convergence: no exact law of the chain for a {type(target).__name__} in dimension {target.dim}; exact are laws on the line, Gaussians "
            "in any dimension, products of these, and mixtures whose means span a line beside a common Gaussian; take one axis (targets.first_axis), "
            "or draw particles with simulate"
        )
    return Along(Along(target).at(stop))


def roughness(law):
    r"""The largest |\nabla^2 \log\pi| among 1023 quantiles (at the mean of a Gaussian, whose Hessian is constant), of all independent blocks."""
    if law.dim > 1:
        return max(roughness(part) for part, _ in coordinates(law, most=math.inf))
    x = law.mean()[None] if isinstance(law, Gaussian) else law.quantile(np.arange(1, 1024) / 1024)
    return float(np.max(np.abs(law.score_jacobian(x))))


def variation(p, q):
    r"""TV(p, q): exact on the line and of Gaussians with up to 32 axes; else from both sides by what is additive or multiplicative,

    \max(H^2, \max_j TV_j) \le TV \le \min(H \sqrt{2 - H^2}, \sqrt{KL(q|p)/2}, 1): a Fourier integral for every cell of a sweep would cost too much.
    """
    if p.dim == 1 or (isinstance(p, Gaussian) and isinstance(q, Gaussian) and p.dim <= 32):
        return total_variation(p, q)
    H, pinsker = hellinger(p, q), half_root(kullback_leibler(q, p))
    square = min(H.hi**2, 1.0)
    hi = min(math.sqrt(square * (2 - square)), pinsker.hi, 1.0)
    level = max((H.level, pinsker.level), key=LEVELS.index)
    return Enclosure(min(H.lo**2, hi), hi, level, H.alpha + pinsker.alpha, None, "Hellinger below, Hellinger and Pinsker above")


# ---- the schemes that have a proof ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Proved:
    r"""A scheme with its proof: path KL <= KL(p_T|\gamma) + loss(p, T, h) for the exact score and all steps <= h.

    ``scheme`` : grid -> Table; ``constant`` : (p, D) -> the C of the form B, C, D; None where a score error enters the proof otherwise.
    """

    name: str
    scheme: Callable
    loss: Callable
    constant: Callable | None = None


def _gain(p, T):
    """I_0 - I_T >= 0: the relative Fisher information decreases along the flow."""
    return (p.information(0.0) - p.information(T)).cut(0.0)


def _relative_loss(p, T, h):
    r"""h (I_0 - I_T): U is frozen, and E[U_t | F_k] = e^{t - t_k} U_k gives E|U_t - U_k|^2 = I + (1 - 2 e^{t-t_k}) I_k <= I - I_k."""
    return _gain(p, T) * h


def _euler_maruyama_loss(p, T, h):
    r"""h(1+h) [I_0 - I_T + dT/2 - (M_2 - d)(1 - e^{-2T}) + T \max(M_2, d)/12],  M_2 = E|X_0|^2.

    From |x + y|^2 <= (1+h)|x|^2 + (1+1/h)|y|^2 for the martingale part x and the drift part y of b_t - b_k. The first is integrated by
    \frac12 E\|\nabla b\|^2 = d/2 - 2(E|X_t|^2 - d) - dI_t/dt, the second bounded by E|X_t|^2 <= \max(M_2, d).
    """
    bracket = _gain(p, T) + 0.5 * p.dim * T + (p.second_moment - p.dim) * math.expm1(-2 * T) + p.second_moment.maximum(p.dim) * (T / 12)
    return bracket.cut(0.0) * (h * (1 + h))


def _error_growth(D):
    r"""\sup_T \sqrt{T/2} e^{-DT} = 1/(2 \sqrt{eD}), at T = 1/(2D)."""
    return 0.5 / math.sqrt(math.e * D)


def _relative_constant(p, D):
    r"""C = \max(\sqrt{I_0/2}, 1/(2\sqrt{eD}))."""
    return half_root(p.information(0.0)).maximum(_error_growth(D))


def _euler_maruyama_constant(p, D):
    r"""C = \max(\sup_T \sqrt{(1+T)(a + bT)/2} e^{-DT}, 1/(2\sqrt{eD})),  a = I_0 + (d - M_2)_+,  b = d/2 + \max(M_2, d)/12.

    1 + h <= 1 + T, since no step is longer than T. The supremum grows with a and b, so its ends are those of a and b.
    """
    a = p.information(0.0) + (p.dim - p.second_moment).cut(0.0)
    b = p.second_moment.maximum(p.dim) * (1 / 12) + p.dim / 2
    rounding = 16 * EPS
    value = None if a.value is None else _growth(a.value, b.value, D)
    return Enclosure(
        _growth(a.lo, b.lo, D) * (1 - rounding), _growth(a.hi, b.hi, D) * (1 + rounding), a.level, a.alpha, value, a.method
    ).maximum(_error_growth(D))  # fmt: skip


def _growth(a, b, D):
    r"""\sup_{T>=0} \sqrt{(1+T)(a+bT)/2} e^{-DT}: log-concave in T, so at 0 or where a quadratic vanishes."""
    if math.isinf(a):
        return math.inf
    q2, q1, q0 = D * b, D * (a + b) - b, D * a - 0.5 * (a + b)
    T = 0.0 if q0 >= 0 else (-q1 + math.sqrt(q1 * q1 - 4 * q2 * q0)) / (2 * q2)
    return math.sqrt((1 + T) * (a + b * T) / 2) * math.exp(-D * T)


def _ancestral(grid):
    return ancestral(grid, "beta")


EULER_MARUYAMA = Proved("euler_maruyama", euler_maruyama, _euler_maruyama_loss, _euler_maruyama_constant)
EXPONENTIAL_RELATIVE = Proved("exponential_relative", exponential_relative, _relative_loss, _relative_constant)
ANCESTRAL = Proved("ancestral (beta)", _ancestral, _relative_loss)


def recognise(table, among):
    """Which of the proved schemes ``table`` is, found from its coefficients (to 1e-12 of each); None if it is none of them."""
    if (np.diff(table.times) >= 0).any() or not table.state.all() or not np.array_equal(table.score_times, table.times[:-1]):
        return None
    if table.a[:, 1:].any() or table.b[:, 1:].any() or table.c[:, 1:].any():
        return None
    for proved in among:
        made = proved.scheme(table.times)
        if all(np.allclose(getattr(table, k)[:, 0], getattr(made, k)[:, 0], rtol=1e-12, atol=0.0) for k in "abc"):
            return proved
    return None


# ---- the two forms --------------------------------------------------------------------------------------------------------------------


def half_root(x):
    r"""\sqrt{x/2} of an Enclosure known to be >= 0."""
    return (enclose(x) * 0.5).cut(0.0).sqrt()


def explicit(proved, p, T, h, M=0.0):
    r"""(bound, its three parts) of  TV <= \{\frac12 [KL(p_T|\gamma) + (\sqrt{loss} + M \sqrt T)^2]\}^{1/2},  by Pinsker.

    M : number or Enclosure, \max_k \|s_\theta - \nabla\log p_{t_k}\|_{L^2(p_{t_k})}; a sup norm is at least that.
    """
    start, loss, error = p.divergence(T), proved.loss(p, T, h).cut(0.0), enclose(M) * math.sqrt(T)
    root = loss.sqrt() + error
    parts = {"initialisation": half_root(start), "discretisation": half_root(loss), "score error": error * math.sqrt(0.5)}
    return half_root(start + root * root), parts


def constants(proved, p, D):
    r"""(B, C) of  TV <= B e^{-T} + C (M + \sqrt h) e^{DT},  B = \sqrt{KL(\pi|\gamma)/2}."""
    return half_root(p.divergence(0.0)), proved.constant(p, D)


# ---- what a claim says of them --------------------------------------------------------------------------------------------------------


def bounded(lhs, rhs, **how):
    """lhs <= rhs to the resolution of the numbers: the slack is the width of both sides, up to 1e-7, and 1e-12 for the rounding of the steps.

    Where a bound is attained (both sides 0 on N(0, I), or equal after a shift of it) it is then verified. The square root of a KL that is
    0 but for rounding is 1e-8 wide.
    """
    lhs, rhs = enclose(lhs), enclose(rhs)
    return claim_at_most(lhs, rhs, slack=1e-12 + min(lhs.width + rhs.width, 1e-7), **how)


def last_law(table, score, start=None):
    """The law of the chain's last state. A poor resolution (coarse steps on a rough target) is let through: it widens what is computed of it."""
    try:
        return propagate(table, score, start=start)
    except NotTrusted:
        return propagate(table, score, start=start, tolerance=1e-3)


def powered(claim, control):
    """The claim with its control, if that is refuted; otherwise the cells cannot tell the two apart, and nothing is verified."""
    if control.verdict == "refuted":
        return replace(claim, control=control)
    if claim.verdict != "verified":
        return claim
    return replace(claim, verdict="inconclusive", reason=f"the control is {control.verdict}: these cells cannot tell it from the claim")


def assumed(p):
    """The assumptions on the target, each with whether it holds."""
    return (FINITE, exists(lambda: p.information(0.0))), (MOMENT, exists(lambda: p.second_moment))
