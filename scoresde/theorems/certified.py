r"""Proofs of A6, A8, D3 and D4 for Gaussian mixtures on the line: both sides in ball arithmetic, level "rigorous", no slack.

D3 and D4 go through the path divergence. By Girsanov's theorem and de Bruijn's identity it is a finite sum over the grid,

    KL_path = KL(\pi|\gamma) + \sum_k [c_I(h_k) I_{t_k} + c_M(h_k) (E X_{t_k}^2 - 1) + c_1(h_k)],

without any quadrature in time, and KL(\pi|chain) <= KL_path (data processing), TV <= \sqrt{KL/2} (Pinsker). The times are the float64
numbers of the table, exactly; the coefficients of the scheme are the real numbers e^{-h}, ..., of which the table stores the roundings.
Where two sides are equal (a shifted N(0, I) attains A6 and A8) no computation of finite precision proves it, and the claim is inconclusive.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import reduce
from itertools import pairwise

from ..divergence.balls import Balls, arb, balls, enclosed, exactly, normal, root
from ..divergence.certified import divergence, information
from ..divergence.certified_transport import cost
from ..errors import NoMethod
from .bounds import ANCESTRAL, EULER_MARUYAMA, EXPONENTIAL_RELATIVE, FINITE, MOMENT
from .claim import claim_at_most, claim_over
from .numeric import about, mutated, unmet

__all__ = ["contraction", "log_sobolev", "path_bound", "pinsker_bound"]

AWAY = "π ≠ γ (else both sides are 0)"


@dataclass(frozen=True)
class Flow:
    r"""The functions of time of a mixture that the proofs are made of, balls, each computed once. Times are floats, exact."""

    law: Balls
    memo: dict = field(default_factory=dict, compare=False, repr=False)

    def divergence(self, t):
        r"""KL(p_t|\gamma)."""
        return self._once(divergence, t)

    def information(self, t):
        r"""I_t = E|\nabla\log(p_t/\gamma)|^2."""
        return self._once(information, t)

    def distance(self, t):
        r"""W_2(p_t, \gamma)."""
        return root(self._once(cost, t))

    def mean(self, t):
        return self.law.flow(t).mean()

    def excess(self, t):
        """E X_t^2 - 1."""
        return (self.law.second_moment() - 1) * (-2 * arb(t)).exp()

    def _once(self, f, t):
        if (f, t) not in self.memo:
            self.memo[f, t] = f(self.law.flow(t), normal())
        return self.memo[f, t]


def proved(lhs, rhs, **how):
    """lhs <= rhs of two balls."""
    return claim_at_most(enclosed(lhs), enclosed(rhs), decides="rigorous", **how)


# ---- A6, A8 ---------------------------------------------------------------------------------------------------------------------------


@exactly
def log_sobolev(theorem, target, quick):
    r"""A6: KL(p_t|\gamma) <= e^{-2t} KL(\pi|\gamma), I_t <= e^{-2t} I_0, KL <= I/2; control: the rate e^{-10t}."""
    p = Flow(balls(target, theorem.__name__))
    kl, info = p.divergence(0.0), p.information(0.0)
    said = about(theorem, (MOMENT, True), (AWAY, kl > 0))
    if (claim := unmet(said)) is not None:
        return claim
    cells, wrong = [proved(kl, info / 2, name="LSI", parameters={"of": "KL ≤ I/2", "t": 0.0})], []
    for t in (0.5, 3.0) if quick else (0.1, 0.5, 1.0, 3.0):
        rate = (-2 * arb(t)).exp()
        cells.append(proved(p.divergence(t), rate * kl, name="KL", parameters={"of": "KL", "t": t}))
        cells.append(proved(p.information(t), rate * info, name="I", parameters={"of": "I", "t": t}))
        cells.append(proved(p.divergence(t), p.information(t) / 2, name="LSI", parameters={"of": "KL ≤ I/2", "t": t}))
        wrong.append(proved(p.divergence(t), rate**5 * kl, name="KL", parameters={"of": "KL", "t": t}))
    control = claim_over(wrong, **mutated(theorem, r"KL(p_t|\gamma) \le e^{-10t}KL(\pi|\gamma)"))
    return claim_over(cells, control=control, terms={"KL(π|γ)": enclosed(kl), "I(π|γ)": enclosed(info)}, **said)


@exactly
def contraction(theorem, target, quick):
    r"""A8: W_2(p_t,\gamma) <= e^{-t} W_2(\pi,\gamma) <= e^{-t} (\sqrt{E X^2} + 1); control: the rate e^{-5t}."""
    p = Flow(balls(target, theorem.__name__))
    start, crude = p.distance(0.0), root(p.law.second_moment()) + 1
    said = about(theorem, (MOMENT, True), (AWAY, start > 0))
    if (claim := unmet(said)) is not None:
        return claim
    cells, wrong = [proved(start, crude, name="W2", parameters={"of": "W2(π, γ) ≤ √E|X|² + 1", "t": 0.0})], []
    for t in (0.5, 3.0) if quick else (0.1, 0.5, 1.0, 3.0):
        rate = (-arb(t)).exp()
        cells.append(proved(p.distance(t), rate * start, name="W2", parameters={"of": "e^-t W2(π, γ)", "t": t}))
        cells.append(proved(p.distance(t), rate * crude, name="W2", parameters={"of": "e^-t (√E|X|² + 1)", "t": t}))
        wrong.append(proved(p.distance(t), rate**5 * start, name="W2", parameters={"t": t}))
    control = claim_over(wrong, **mutated(theorem, r"W_2(p_t,\gamma) \le e^{-5t}\,W_2(\pi,\gamma)"))
    return claim_over(cells, control=control, terms={"W2(π, γ)": enclosed(start)}, **said)


# ---- the path divergence, and what bounds it ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scheme:
    """``step``: h -> (c_I, c_M, c_1, c_E), the last of M E X_t for a score that is off by the constant M; ``loss``: what bounds the sum."""

    step: Callable
    loss: Callable


def _relative_step(h):
    grow = h.expm1()
    return h - 2 * grow, arb(0), arb(0), 2 * (h - grow)


def _ancestral_step(h):
    return -(2 * h).expm1() / 2, arb(0), arb(0), arb(0)


def _euler_maruyama_step(h):
    sinh, fade = h.sinh(), -(-h).expm1()
    return h - 2 * sinh, sinh + fade / 2 - 3 * ((2 * h).expm1() / 2 + h) / 4, (h - fade) / 2, h - h.expm1()


def _absolute_step(h):
    fade = -(-h).expm1()
    return h - 2 * fade, 2 * fade - h - (2 * h).expm1() / 2, 2 * (h - fade), arb(0)


def _relative_loss(p, start, end, h):
    """h (I_0 - I_T)."""
    return h * (p.information(end) - p.information(start))


def _euler_maruyama_loss(p, start, end, h):
    r"""h(1+h) [I_0 - I_T + T/2 - (M_2 - 1)(1 - e^{-2T}) + T \max(M_2, 1)/12]."""
    T, excess = arb(start) - arb(end), p.excess(end)
    gain = p.information(end) - p.information(start)
    return h * (1 + h) * (gain + T / 2 + excess * (-2 * T).expm1() + T * (1 + excess.max(arb(0))) / 12)


SCHEMES = {
    EXPONENTIAL_RELATIVE: Scheme(_relative_step, _relative_loss),
    ANCESTRAL: Scheme(_ancestral_step, _relative_loss),
    EULER_MARUYAMA: Scheme(_euler_maruyama_step, _euler_maruyama_loss),
}


def path_divergence(p, step, times, M=0.0):
    """The sum above for times from T down to the data, and a score off by the constant M (``exponential_relative``, ``euler_maruyama``)."""
    total, M = p.divergence(times[-1]), arb(M)
    for t, h in zip(times, _steps(times), strict=False):
        of_i, of_m, of_1, of_mean = step(h)
        total += of_1 + M * (M * h + of_mean * p.mean(t))
        total += (of_i * p.information(t) if of_i != 0 else 0) + of_m * p.excess(t)
    return total


def _steps(times):
    return [arb(t) - arb(u) for t, u in pairwise(times)]


def _longest(times):
    return reduce(arb.max, _steps(times))


# ---- D3, D4 ---------------------------------------------------------------------------------------------------------------------------


@exactly
def path_bound(theorem, target, chains):
    r"""D3: KL_path <= KL(p_T|\gamma) + h (I_0 - I_T) <= e^{-2T} KL(\pi|\gamma) + h I_0 for ``chains``: (Proved, parameters, table)."""
    p, cells = Flow(balls(target, theorem.__name__)), []
    for known, cell, chain in chains:
        scheme, times = SCHEMES[known], [float(t) for t in chain.times]
        start, end, h = times[0], times[-1], _longest(times)
        left = path_divergence(p, scheme.step, times)
        rights = {
            "h (I_0 - I_T)": p.divergence(start) + scheme.loss(p, start, end, h),
            "h I_0": p.divergence(end) * (2 * (arb(end) - arb(start))).exp() + h * p.information(end),
        }
        for form, right in rights.items():
            cells.append(proved(left, right, name=theorem.__name__, parameters={**cell, "divergence": "path", "form": form}))
    said = mutated(theorem, r"KL_{path} \le KL(p_T|\gamma) + h (I_0 - I_T) \text{ for exponential\_absolute}, \pi = N(0, 1)")
    times, gamma = [2.0, 1.5, 1.0, 0.5, 0.0], Flow(normal())
    left, right = path_divergence(gamma, _absolute_step, times), _relative_loss(gamma, 2.0, 0.0, arb(0.5))
    control = proved(left, right, parameters={"T": 2.0, "h": 0.5}, **said)
    terms = {"KL(π|γ)": enclosed(p.divergence(end)), "I(π|γ)": enclosed(p.information(end))}
    return claim_over(cells, control=control, terms=terms, parameters={"chains": len(chains)}, **about(theorem, (FINITE, True), (MOMENT, True)))


@exactly
def pinsker_bound(theorem, target, chains, score, D):
    r"""D4: TV <= \sqrt{KL_path/2} <= {[KL(p_T|\gamma) + (\sqrt{loss} + M \sqrt T)^2]/2}^{1/2}, and <= B e^{-T} + C (M + \sqrt h) e^{DT}.

    M = 0 and a score that is off by the constant 0.1. ``chains`` as in ``path_bound``. Control: the loss of ``exponential_relative`` for
    ``euler_maruyama`` on N(0, 1), where it is 0. Raises NoMethod for another score.
    """
    if score is not None:
        raise NoMethod("score: rigorous=True has a proof for the exact score and one that is off by a constant, which it makes itself; drop score")
    p, cells = Flow(balls(target, theorem.__name__)), []
    for known, cell, chain in chains:
        scheme, times = SCHEMES[known], [float(t) for t in chain.times]
        start, end, h = times[0], times[-1], _longest(times)
        T, B, C = arb(start) - arb(end), root(p.divergence(end) / 2), _constant(p, known, end, arb(D))
        for M in (0.0, 0.1):
            left = root(path_divergence(p, scheme.step, times, M) / 2)
            lost = root(scheme.loss(p, start, end, h)) + M * T.sqrt()
            rights = {"explicit": root((p.divergence(start) + lost * lost) / 2), "B, C, D": B * (-T).exp() + C * (M + h.sqrt()) * (D * T).exp()}
            for form, right in rights.items():
                parameters = {**cell, "M": M, "left": "sqrt(KL path/2)", "form": form}
                cells.append(proved(left, right, name=theorem.__name__, trivial=1.0, parameters=parameters))
    said = mutated(theorem, r"TV \le \{\tfrac12 [KL(p_T|\gamma) + h (I_0 - I_T)]\}^{1/2} \text{ for euler\_maruyama}, \pi = N(0, 1)")
    times, gamma = [2.0, 1.5, 1.0, 0.5, 0.0], Flow(normal())
    left, right = path_divergence(gamma, _euler_maruyama_step, times), _relative_loss(gamma, 2.0, 0.0, arb(0.5))
    control = proved(root(left / 2), root(right / 2), parameters={"T": 2.0, "h": 0.5}, **said)
    terms = {"B": enclosed(B), f"C ({known.name})": enclosed(C), "D": float(D)}
    return claim_over(cells, control=control, terms=terms, parameters={"chains": len(chains)}, **about(theorem, (FINITE, True), (MOMENT, True)))


def _constant(p, known, end, D):
    r"""C = \max(\sup_T \sqrt{(1+T)(a+bT)/2} e^{-DT}, 1/(2\sqrt{eD})) for ``euler_maruyama``, \max(\sqrt{I_0/2}, ...) for the other."""
    error = 1 / (2 * (arb(1).exp() * D).sqrt())
    if known is EXPONENTIAL_RELATIVE:
        return root(p.information(end) / 2).max(error)
    a, b = p.information(end) + (-p.excess(end)).max(arb(0)), arb(1) / 2 + (1 + p.excess(end).max(arb(0))) / 12
    q2, q1, q0 = D * b, D * (a + b) - b, D * a - (a + b) / 2  # the slope of the logarithm vanishes where q2 T^2 + q1 T + q0 does
    T = ((root((q1 * q1 - 4 * q2 * q0).max(arb(0))) - q1) / (2 * q2)).max(arb(0))
    return (((1 + T) * (a + b * T) / 2).sqrt() * (-D * T).exp()).max(error)
