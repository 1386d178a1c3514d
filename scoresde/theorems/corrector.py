r"""Langevin steps as a corrector: how fast a chain forgets its start, how far a step moves the law it aims at, and predictor–corrector sampling."""

import math
from itertools import pairwise

import numpy as np

from .. import information
from ..divergence import kullback_leibler, total_variation, wasserstein2
from ..enclosure import Enclosure
from ..engine.propagate import marginals, propagate
from ..errors import NoMethod
from ..grid import uniform
from ..laws import Gaussian
from ..scheme import euler_maruyama, langevin, predictor_corrector
from ..score import exact
from .claim import Statement, claim_over, states
from .gaussians import MOMENT, SPREAD, along_axes, log_size, matched, principal_axes, same_to_rounding, turned
from .numeric import about, at_most, exists, flow, mutated, needs, slow, unmet
from .score_curvature import curvature
from .score_matching import expectation

__all__ = ["corrector_invariance", "langevin_forgetting", "predictor_corrector_on_gaussians"]

CONCAVE = "p_t is log-concave for some t among 0, 1/4, ..., 3"


# ---- E1' ---------------------------------------------------------------------------------------------------------------------------------


def _concave(target):
    r"""(t, m, M) with m <= -\nabla^2 \log p_t <= M and m > 0.05 M, at the first t that has it, or None."""
    for t in (0.0, 0.25, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0):
        if t == 0 and hasattr(target, "points"):
            continue
        low, high = curvature(flow(target, t))
        if low > 0.05 * high:
            return t, low, high
    return None


@states(Statement(
    "E1'", "the Langevin chain forgets its start at a rate between those of the curvature", "synchronous coupling; see Durmus & Moulines 2019,"
    " https://doi.org/10.3150/18-BEJ1073",
    r"mI\preceq-\nabla^2\log p\preceq MI,\ hM<1,\ Y_0\sim X_0+\Delta:\quad (1-hM)^k|\Delta| \le W_2(X_k,Y_k) \le (1-hm)^k|\Delta|,\qquad"
    r" W_2(X_{k+1},X_k) \le (1-hm)^kW_2(X_1,X_0),\quad\text{so}\quad W_2(X_k,p_h) \le \frac{(1-hm)^k}{hm}\,W_2(X_1,X_0)", (MOMENT, CONCAVE),
    caveat="p is the target, noised until it is log-concave (the parameters say how long); Gaussians with a scalar covariance attain both sides;"
    " d = 1 unless Gaussian",
))  # fmt: skip
def langevin_forgetting(target, *, quick=False):
    r"""(1 - hM)^k |\Delta| <= W_2(X_k, Y_k) <= (1 - hm)^k |\Delta| for two starts 3 standard deviations apart, and the steps of one chain; hM = ½.

    The coupled difference is multiplied by 1 + h s' at a point between, so it lies between the two bounds; W_2 is at least the difference of the
    means. p_h is the stationary law, for which the last X_k stands. Control: twice the rate of the greatest curvature, W_2(X_k, Y_k) <=
    (1 - hM)^{2k} |\Delta|.
    """
    theorem = langevin_forgetting
    needs(target, "noised", "second_moment")
    finite = exists(target.second_moment)
    known = _concave(target) if finite else None
    what = about(theorem, (MOMENT, finite), (CONCAVE, not finite or known is not None))
    if (claim := unmet(what)) is not None:
        return claim
    t, m, M = known
    p, score = flow(target, t), exact(target)
    spread = math.sqrt(float(np.max(principal_axes(p)[0] if isinstance(p, Gaussian) else p.cov())))
    starts = [Gaussian(p.mean() + side * 1.5 * spread, spread**2) for side in (-1.0, 1.0)]
    gap = 3.0 * spread * math.sqrt(p.dim)
    cells, wrong, terms, counts, h = [], [], {}, (1, 8) if quick else (1, 4, 12), 0.5 / M
    first, second = (marginals(langevin(step=h, steps=counts[-1], t=t), score, start=start) for start in starts)
    for k in counts:
        apart, at = wasserstein2(first[k], second[k]), {"k": k}
        low, high = (_power(1 - h * c, k) * gap for c in (M, m))
        cells.append(at_most(apart, high, name="W2", parameters={"of": "from above", **at}))
        cells.append(at_most(low, apart, name="W2", parameters={"of": "from below", **at}))
        wrong.append(at_most(apart, low * low / gap, name="W2", parameters=at))
        terms[f"W2(X_k, Y_k)/|Δ|, k = {k}"] = apart / gap
    moved, step, rest = (wasserstein2(first[k], first[j]) for k, j in ((1, 0), (2, 1), (counts[-1], 1)))
    rate = _power(1 - h * m, 1)
    cells.append(at_most(step, rate * moved, name="W2", parameters={"of": "one chain's steps", "k": 1}))
    cells.append(at_most(rest, rate / (h * m) * moved, name="W2", parameters={"of": "to where it ends", "k": 1}))
    control = claim_over(wrong, **mutated(theorem, r"W_2(X_k,Y_k) \le (1-hM)^{2k}|\Delta|"))
    return claim_over(cells, control=control, terms=terms, parameters={"t": t, "m": m, "M": M, "h": h}, **what)


def _power(rate, k):
    """rate^k; the rate is that of a curvature known to 1e-9 of the largest."""
    return Enclosure.near(rate**k, 2e-9 * k * rate ** (k - 1) + 1e-15, method="closed form")


# ---- E6' ---------------------------------------------------------------------------------------------------------------------------------


@states(Statement(
    "E6'", "predictor–corrector on a Gaussian: its law, and what many corrections end in", "linear recursion; scheme: Song et al. 2021,"
    " https://arxiv.org/abs/2011.13456",
    r"\pi=N(\mu,v):\quad\text{predict }t\to u:\ \mathrm{Var}\mapsto\left(1+h-\tfrac{2h}{v_t}\right)^2\mathrm{Var}+2h;\quad"
    r"\text{correct at }u:\ \mathrm{Var}\mapsto r_u^{2n}\mathrm{Var}+(1-r_u^{2n})\frac{v_u}{1-\varepsilon/2v_u},\ r_u=1-\frac\varepsilon{v_u},\quad"
    r" EY-\mu_u\mapsto r_u^n(EY-\mu_u);\qquad n\to\infty:\ L(Y_N)\to N\left(\mu_\delta,\frac{v_\delta}{1-\varepsilon/2v_\delta}\right)",
    (MOMENT, SPREAD), caveat="whatever the predictor did is forgotten at the rate r^n, and what is left is the Langevin step's own bias. A target"
    " that is not Gaussian stands for the Gaussian with its mean and covariance",
))  # fmt: skip
def predictor_corrector_on_gaussians(target, *, quick=False):
    r"""Mean and variance of every state of the predictor–corrector chain against the closed recursion, along each eigenvector, and the limit.

    \varepsilon is half the least variance along the grid, n = 1, 3; the limit with n = 64 a level, r^n < 1e-19 in the directions where
    v_u < 2\varepsilon and as far as the recursion says in others. Control: the corrector leaves p_u as it is, so that the limit is p_\delta.
    """
    theorem = predictor_corrector_on_gaussians
    refusal, law, what = matched(theorem, target)
    if refusal is not None:
        return refusal
    v, basis = principal_axes(law)
    centre, score = turned(law.mean(), basis), exact(law)
    times = uniform(2.0, 6, stop=0.1)
    at_time = lambda t: math.exp(-2 * t) * v - math.expm1(-2 * t)  # noqa: E731
    step = 0.5 * float(min(np.min(at_time(t)) for t in times[1:]))
    cells, wrong, terms = [], [], {}
    for n in (3,) if quick else (1, 3, 64):
        found = marginals(predictor_corrector(times, steps=n, step=step), score)
        mean, spread, size = np.zeros(law.dim), np.ones(law.dim), 1 + float(np.max(np.abs(centre)) + np.max(v))
        for k, (t, u) in enumerate(pairwise(times), 1):
            h, now, there = t - u, at_time(t), at_time(u)
            gain, r, aim = 1 + h - 2 * h / now, 1 - step / there, math.exp(-u) * centre
            mean, spread = gain * mean + 2 * h * math.exp(-t) * centre / now, gain**2 * spread + 2 * h
            size = max(size, float(np.max(spread)), float(np.max(np.abs(mean))))
            mean = aim + r**n * (mean - aim)
            spread = r ** (2 * n) * spread - np.expm1(2 * n * log_size(r)) * there / (1 - 0.5 * step / there)
            got, at = along_axes(found[k], basis), {"n": n, "step": k}
            roundings = 64 * (n + 8) * k * (1 if basis is None else law.dim)
            cells.append(same_to_rounding(got[0], mean, roundings, size, "mean", at))
            cells.append(same_to_rounding(got[1], spread, roundings, size, "variance", at))
        wrong.append(same_to_rounding(got[1], there, roundings, size, "variance", at))
        fast = np.abs(r) < 0.55  # 0.55^64 = 2e-17: nothing of the predictor is left
        if n == 64 and fast.any():
            limit = (there / (1 - 0.5 * step / there))[fast]
            cells.append(same_to_rounding(got[1][fast], limit, roundings, size, "variance in the limit", at))
            terms["variance at δ over v_δ, many corrections"] = float(np.max(got[1][fast] / there[fast]))
    control = claim_over(wrong, **mutated(theorem, r"p_uP_\varepsilon = p_u,\quad\text{so } L(Y_N)\to p_\delta"))
    parameters = {"law": "the target" if law is target else "N(E X, Cov X)", "ε": step}
    return claim_over(cells, control=control, terms=terms, parameters=parameters, **what)


# ---- E6'' --------------------------------------------------------------------------------------------------------------------------------


@states(Statement(
    "E6''", "a corrector moves the law it aims at by nε²/4 E‖∇s‖² at most; a bound for predictor–corrector sampling",
    "derived here, by Girsanov's theorem along the stationary diffusion; scheme: Song et al. 2021, https://arxiv.org/abs/2011.13456",
    r"KL(p_t|p_tP_\varepsilon^n) \le \frac{n\varepsilon^2}4E_{p_t}\|\nabla s_t\|_F^2,\qquad"
    r" KL(p_\delta|L(Y_{PC})) \le KL_{path}(\text{predictor}) + \frac{n\varepsilon^2}4\sum_{k=1}^NE\|\nabla s_{t_k}\|_F^2", (MOMENT,),
    caveat="no bound on s or its slope is needed, only the mean square; the truth is of order ε⁴, since a Langevin step errs with order 2 in law",
))  # fmt: skip
def corrector_invariance(target, *, quick=False):
    r"""KL(p_t | p_t P^n) and KL(p_\delta | predictor–corrector chain) against (n\varepsilon^2/4) E|\nabla s|^2 and the predictor's path KL.

    Stationary Langevin diffusion has E|s(X_u) - s(X_0)|^2 <= 2u E|\nabla s|_F^2 (a reversible semigroup: 2<s, (1 - P_u)s> <= 2u times the
    Dirichlet form), which Girsanov's theorem integrates over each step; between the corrections the reversed diffusion carries p_t to p_u.
    Gaussians in any dimension, laws on the line. Control: the corrector leaves p_t as it is.
    """
    theorem = corrector_invariance
    needs(target, "noised", "second_moment")
    what = about(theorem, (MOMENT, exists(target.second_moment)))
    if (claim := unmet(what)) is not None:
        return claim
    if target.dim > 1 and not isinstance(target, Gaussian):
        raise NoMethod(f"{theorem.__name__}: got a {type(target).__name__} in dimension {target.dim}, allowed are Gaussians and laws on the line")
    score, cells, wrong, terms = exact(target), [], [], {}
    for t in (0.2,) if quick or slow(target) else (0.05, 0.5):
        p, roughness = flow(target, t), _roughness(flow(target, t))
        step = 0.2 * math.sqrt(p.dim / roughness.value)
        for n in (1, 4):
            moved, at = propagate(langevin(step=step, steps=n, t=t), score, start=p), {"t": t, "ε": step, "n": n}
            bound = roughness * (0.25 * n * step * step)
            lost, apart = kullback_leibler(p, moved).cut(0.0), total_variation(p, moved)
            cells.append(at_most(lost, bound, name="KL", parameters={"of": "KL(p|pPⁿ)", **at}))
            cells.append(at_most(apart, (0.5 * bound).sqrt(), trivial=1.0, name="TV", parameters={"of": "TV(p, pPⁿ)", **at}))
            wrong.append(at_most(apart, 1e-9, name="TV", parameters=at))
            terms |= {f"KL(p|pPⁿ), t = {t:g}, n = {n}": lost, f"TV(p, pPⁿ), t = {t:g}, n = {n}": apart}
    times = uniform(2.0, 10 if quick or slow(target) else 20, stop=0.2)
    rough = [_roughness(flow(target, float(u))) for u in times[1:]]
    step, path = 0.1 * math.sqrt(target.dim / rough[-1].value), information.path_kullback_leibler(target, euler_maruyama(times))
    chain, early = propagate(predictor_corrector(times, steps=1, step=step), score), flow(target, 0.2)
    spent, lost = sum(rough, start=Enclosure.exact(0.0)) * (0.25 * step * step), kullback_leibler(early, chain).cut(0.0)
    cells.append(at_most(lost, path + spent, name="KL", parameters={"of": "KL(p_δ|predictor–corrector)", "ε": step, "steps": len(times) - 1}))
    terms |= {"KL(p_δ|predictor–corrector)": lost, "path KL of the predictor": path, "spent by the corrector, at most": spent}
    control = claim_over(wrong, **mutated(theorem, r"p_tP_\varepsilon = p_t"))
    return claim_over(cells, control=control, terms=terms, **what)


def _roughness(p):
    r"""E_p|\nabla^2 \log p|_F^2."""
    if isinstance(p, Gaussian):
        value = float(np.sum(principal_axes(p)[0] ** -2.0))
        return Enclosure.near(value, 1e-13 * value, method="closed form")
    return expectation(p, lambda x: np.asarray(p.score_jacobian(x[..., None]))[..., 0, 0] ** 2)
