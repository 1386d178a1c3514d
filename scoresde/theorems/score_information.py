r"""The score and information: Fisher information by the least mean square error, mutual information, and KL as an integral over the noise."""

import math
from itertools import pairwise

import numpy as np

from .. import information
from ..divergence import kullback_leibler
from ..enclosure import Enclosure
from ..errors import NoMethod
from ..kernel import ornstein_uhlenbeck
from ..laws import Gaussian
from .claim import Statement, claim_equal, claim_over, states
from .numeric import EPS, about, at_most, blurred, equal, exists, flow, mutated, needs, slope, slow, unmet
from .score_matching import expectation, line_score

__all__ = [
    "fisher_information_denoising", "guo_2005_mutual_information", "kullback_leibler_integral", "reference_law", "relative_fisher_bound",
    "relative_fisher_denoising", "score_distance",
]  # fmt: skip

MOMENT = r"E|X|^2 finite"


def _opened(theorem, target, relation="="):
    """(what, None), or (what, the claim "not applicable") where the second moment is infinite."""
    needs(target, "noised", "second_moment")
    what = about(theorem, (MOMENT, exists(target.second_moment)))
    return what, unmet(what, relation)


# ---- Fisher information and the least mean square error ---------------------------------------------------------------------------------


def _times(quick):
    return (0.1, 1.0) if quick else (0.02, 0.1, 0.5, 2.0)


def _known(e, size):
    """The enclosure, with the rounding of the flow's own m and v: some ulps of ``size``."""
    return blurred(e, 32 * EPS * size)


@states(Statement(
    "B13", r"F_t = d/σ² − (m²/σ⁴) Φ_t", "Stam 1959; Guo, Shamai & Verdú 2005, https://doi.org/10.1109/TIT.2005.844072",
    r"E|\nabla\log p_t|^2 = \frac dv - \frac{m^2}{v^2}\,\Phi_t,\qquad \Phi_t = E\,\mathrm{tr\,Cov}(X_0\mid X_t),\; m=e^{-t},\; v=1-e^{-2t}",
    (MOMENT,), caveat="Fisher information of the noised law is what denoising cannot recover",
))  # fmt: skip
def fisher_information_denoising(target, *, quick=False):
    r"""F_t = d/v - (m^2/v^2) \Phi_t: two different integrals over the same law.

    Laws on the line, their products, Gaussians in any dimension. Control: d/\sqrt v in place of d/v (\sigma for \sigma^2).
    """
    what, claim = _opened(fisher_information_denoising, target)
    if claim is not None:
        return claim
    cells, wrong, d = [], [], target.dim
    for t in _times(quick):
        m, v = math.exp(-t), -math.expm1(-2 * t)
        fisher, rest = information.fisher(target, t), (m / v) ** 2 * information.mmse(target, t)
        for side, first in ((cells, d / v), (wrong, d / math.sqrt(v))):
            side.append(equal(fisher, _known(first - rest, d / v), digits=7, floor=d, name="F", parameters={"t": t}))
    control = claim_over(wrong, **mutated(fisher_information_denoising, r"E|\nabla\log p_t|^2 = \frac d\sigma-\frac{m^2}{\sigma^4}\Phi_t"))
    return claim_over(cells, control=control, **what)


@states(Statement(
    "B14", r"I_t = d m⁴/σ² + m² E|X|² − (m²/σ⁴) Φ_t", "derived here from B13",
    r"I(p_t|\gamma) = \frac{d\,m^4}{v} + m^2E|X_0|^2 - \frac{m^2}{v^2}\,\Phi_t,\qquad I(p|\gamma)=E_p|\nabla\log p+x|^2", (MOMENT,),
))  # fmt: skip
def relative_fisher_denoising(target, *, quick=False):
    r"""I_t = d m^4/v + m^2 E|X_0|^2 - (m^2/v^2) \Phi_t.

    Laws on the line, their products, Gaussians in any dimension. Control: d m^2/v in place of d m^4/v.
    """
    what, claim = _opened(relative_fisher_denoising, target)
    if claim is not None:
        return claim
    cells, wrong, d, second = [], [], target.dim, target.second_moment()
    for t in _times(quick):
        m2, v = math.exp(-2 * t), -math.expm1(-2 * t)
        relative, rest = information.relative_fisher(target, t), m2 / v**2 * information.mmse(target, t)
        size = m2 * (d / v + second)
        for side, first in ((cells, d * m2 * m2 / v), (wrong, d * m2 / v)):
            rhs = _known(first + m2 * second - rest, size)
            side.append(equal(relative, rhs, digits=7, floor=size, name="I", parameters={"t": t}))
    control = claim_over(wrong, **mutated(relative_fisher_denoising, r"I(p_t|\gamma) = \frac{d\,m^2}v+m^2E|X_0|^2-\frac{m^2}{v^2}\Phi_t"))
    return claim_over(cells, control=control, **what)


@states(Statement(
    "B14'", r"I_t ≤ d m⁴/σ² + m² E|X|²", "derived here: B14 with Φ ≥ 0",
    r"I(p_t|\gamma) \le \frac{d\,e^{-4t}}{1-e^{-2t}} + e^{-2t}E|X_0|^2,\qquad t>0", (MOMENT,),
    caveat="no smoothness is needed; a point mass attains it at every t",
))  # fmt: skip
def relative_fisher_bound(target, *, quick=False):
    r"""I_t <= d m^4/v + m^2 E|X_0|^2 for any law with two moments.

    Control: five times the rate in t (e^{-10t} for e^{-2t}), which only a law whose first four Hermite moments vanish could satisfy; there is
    none for N(0, I) itself, where I = 0.
    """
    what, claim = _opened(relative_fisher_bound, target, "<=")
    if claim is not None:
        return claim
    cells, wrong, terms, d, second = [], [], {}, target.dim, target.second_moment()
    for t in (*_times(quick), 4.0):
        m2, v = math.exp(-2 * t), -math.expm1(-2 * t)
        relative, bound = information.relative_fisher(target, t), d * m2 * m2 / v + m2 * second
        cells.append(at_most(relative, _known(Enclosure.exact(bound), bound), name="I", parameters={"t": t}))
        wrong.append(at_most(relative, m2**5 * (d / v + second), name="I", parameters={"t": t}))
        terms[f"I(p_{t:g}|γ)"] = relative
    away = terms["I(p_4|γ)"].lo > 0
    control = claim_over(wrong, **mutated(relative_fisher_bound, r"I(p_t|\gamma) \le e^{-10t}(d/v+E|X_0|^2)")) if away else None
    return claim_over(cells, control=control, terms=terms, **what)


# ---- mutual information, divergence -------------------------------------------------------------------------------------------------------


@states(Statement(
    "B17", r"I-MMSE: d I(X₀; X_t)/d snr = ½ Φ_t", "Guo, Shamai & Verdú 2005, https://doi.org/10.1109/TIT.2005.844072",
    r"\frac{d\,I(X_0;X_t)}{d\,\mathrm{snr}} = \tfrac12\Phi_t,\quad \mathrm{snr}=\frac{m^2}{v}=\frac1{e^{2t}-1};\qquad"
    r" -\frac{d}{dt}I(X_0;X_t) = \frac{m^2}{v^2}\Phi_t", (MOMENT,),
))  # fmt: skip
def guo_2005_mutual_information(target, *, quick=False):
    r"""-d/dt I(X_0; X_t) = (m^2/v^2) \Phi_t: central differences of the mutual information, extrapolated, against the MMSE.

    Laws on the line, their products, Gaussians in any dimension. Control: \Phi_t in place of ½\Phi_t (none where X_0 is constant).
    """
    what, claim = _opened(guo_2005_mutual_information, target)
    if claim is not None:
        return claim
    cells, wrong, told = [], [], False
    for t in (0.5,) if quick or slow(target) else (0.1, 0.5, 2.0):
        kernel = ornstein_uhlenbeck(t)
        rate = slope(lambda u: information.mutual_information(target, u), t)
        rhs = (kernel.m / kernel.v) ** 2 * information.mmse(target, t)
        told |= rhs.lo > 1e-5
        for side, factor in ((cells, 1.0), (wrong, 2.0)):
            side.append(equal(rate, factor * rhs, digits=5, floor=1e-2 * target.dim, name="slope", parameters={"t": t}))
    control = claim_over(wrong, **mutated(guo_2005_mutual_information, r"\frac{dI}{d\,\mathrm{snr}} = \Phi_t")) if told else None
    return claim_over(cells, control=control, **what)


def reference_law(target):
    """A Gaussian on the line that is not the target: half a standard deviation off, with half as much variance again (sd at least 0.1)."""
    spread = max(float(target.cov()[0, 0]), 0.01)
    return Gaussian(np.asarray(target.mean()) + 0.5 * math.sqrt(spread), 1.5 * spread)


def score_distance(p, q):
    """E_p |grad log p - grad log q|^2 on the line, an Enclosure."""
    a, b = line_score(p), line_score(q)
    return expectation(p, lambda x: (a(x) - b(x)) ** 2)


@states(Statement(
    "B17'", r"KL(p_s‖q_s) = ∫ E_p|s^p − s^q|² dt",
    "Verdú 2010, https://doi.org/10.1109/TIT.2010.2054710; Song et al. 2021 (maximum likelihood training)",
    r"KL(p_s|q_s)-KL(p_T|q_T) = \int_s^T E_{p_t}\left|\nabla\log p_t-\nabla\log q_t\right|^2dt,\qquad KL(p_T|q_T)\to0", (MOMENT,),
    caveat="q is here a Gaussian half a standard deviation off; the identity holds for every q with KL(p_s|q_s) finite",
))  # fmt: skip
def kullback_leibler_integral(target, *, quick=False):
    r"""KL(p_s|q_s) - KL(p_T|q_T) = \int_s^T E_p|s^p - s^q|^2 dt, s = 0.1, T = 3.2, q a Gaussian.

    Time by Gauss–Legendre with 8 nodes on each of five octaves; its error is the difference from 6 nodes. Control: half the integral (the
    factor of dX = -½X dt + dB).
    """
    what, claim = _opened(kullback_leibler_integral, target)
    if claim is not None:
        return claim
    if target.dim != 1:
        raise NoMethod(f"kullback_leibler_integral: got dimension {target.dim}, allowed is 1: its expectations are integrals over the line")
    q, octaves = reference_law(target), [0.1 * 2.0**k for k in range(6)]
    if slow(target):
        octaves = [0.4, 0.8]
    totals = {}
    for nodes in (4, 6) if quick or slow(target) else (6, 8):
        u, w = np.polynomial.legendre.leggauss(nodes)
        total = Enclosure.exact(0.0)
        for a, b in pairwise(octaves):
            for node, weight in zip(u, w):
                t = 0.5 * (a + b) + 0.5 * (b - a) * float(node)
                total = total + 0.5 * (b - a) * float(weight) * score_distance(flow(target, t), flow(q, t))
        totals[nodes] = total
    coarse, fine = totals.values()
    spent = Enclosure.near(fine.value, fine.width + abs(fine.value - coarse.value), method="quadrature in time")
    first, last = (kullback_leibler(flow(target, t), flow(q, t)) for t in (octaves[0], octaves[-1]))
    parameters = {"s": octaves[0], "T": octaves[-1]}
    how = {"within": 1e-4 * max(first.value, 1e-3), "name": "KL", "parameters": parameters}
    cells, wrong = [claim_equal(spent, first - last, **how)], [claim_equal(0.5 * spent, first - last, **how)]
    control = claim_over(wrong, **mutated(kullback_leibler_integral, r"KL(p_s|q_s) = \tfrac12\int_s^\infty E_p|s^p-s^q|^2dt"))
    return claim_over(cells, control=control, terms={"KL at s": first, "KL at T": last, "integral": spent}, **what)
