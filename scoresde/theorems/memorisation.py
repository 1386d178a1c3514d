r"""A finite training set: its own score has the least denoising loss, and reverse diffusion with it returns the training points."""

import math

import numpy as np

from ..enclosure import Enclosure
from ..engine.propagate import propagate
from ..errors import NoMethod
from ..grid import geometric
from ..kernel import ornstein_uhlenbeck
from ..laws import Empirical
from ..scheme import ancestral
from ..score import exact
from .claim import Statement, claim_over, states
from .numeric import EPS, about, at_most, equal, exists, flow, mutated, needs, unmet
from .score_information import score_distance
from .score_matching import line_score

__all__ = ["empirical_score_loss", "memorised_training_points", "training_set"]

MOMENT = r"E|X|^2 finite"
SPREAD = "π is not itself a finite set of points"
COUNT = 6


def training_set(target, count=COUNT):
    """The empirical law of the target's quantiles at (k + ½)/count, on the line. Raises NoMethod elsewhere."""
    if target.dim != 1:
        raise NoMethod(f"training_set: got dimension {target.dim}, allowed is 1: the points are quantiles")
    needs(target, "quantile")
    return Empirical(np.asarray(target.quantile((np.arange(count) + 0.5) / count)).reshape(count, 1))


def _opened(theorem, target, relation):
    """(what, None), or (what, the claim "not applicable") for infinite moments or a law that is already a set of points."""
    needs(target, "noised", "second_moment")
    what = about(theorem, (MOMENT, exists(target.second_moment)), (SPREAD, not hasattr(target, "points")))
    return what, unmet(what, relation)


def _training_loss(points, kernel, score):
    r"""(mean over the points of E|score(m x_i + \sqrt v Z) + Z/\sqrt v|^2, error), by a trapezoidal sum of 2401 points over \pm 9.6."""
    z = np.linspace(-9.6, 9.6, 2401)
    w = np.exp(-0.5 * z * z)
    sd = math.sqrt(kernel.v)
    loss = (score(kernel.m * points + sd * z) + z / sd) ** 2
    fine, coarse = loss @ w / w.sum(), loss[:, ::2] @ w[::2] / w[::2].sum()
    return fine.mean(), np.abs(fine - coarse).max() + 64 * EPS * fine.max() + 1e-13 / kernel.v


@states(Statement(
    "B18", r"the empirical score has the least training loss, whatever the law", "Vincent 2011; Gu et al. 2023, https://arxiv.org/abs/2310.02664",
    r"\frac1n\sum_iE\left|f(mx_i+\sqrt vZ)+\tfrac{Z}{\sqrt v}\right|^2 = \frac1n\sum_iE\left|\hat s_t(mx_i+\sqrt vZ)+\tfrac{Z}{\sqrt v}\right|^2"
    r" + E_{\hat p_t}|f-\hat s_t|^2,\qquad \hat s_t = \nabla\log\hat p_t", (MOMENT, SPREAD),
    caveat="the true score has the larger training loss: zero excess training loss is memorisation, not learning",
))  # fmt: skip
def empirical_score_loss(target, *, quick=False):
    r"""Training loss of the law's own score less that of the empirical score, against E|s - \hat s|^2 under the empirical law, six points.

    Left: sums over points and noise; right: adaptive quadrature. Control: the excess is 0, so that the true score is a minimiser, too.
    """
    what, claim = _opened(empirical_score_loss, target, "=")
    if claim is not None:
        return claim
    data = training_set(target)
    cells, wrong, terms = [], [], {}
    for t in (0.2,) if quick else (0.1, 0.3, 1.0):
        kernel, p, q = ornstein_uhlenbeck(t), flow(target, t), flow(data, t)
        (true, e), (own, more) = (_training_loss(data.points, kernel, line_score(law)) for law in (p, q))
        excess = Enclosure.near(true - own, e + more, method="sum over points and noise")
        cells.append(equal(excess, score_distance(q, p), digits=6, floor=1e-2 / kernel.v, name="loss", parameters={"t": t}))
        wrong.append(equal(excess, 0.0, digits=6, floor=1e-2 / kernel.v, name="loss", parameters={"t": t}))
        terms |= {f"training loss of the true score, t = {t:g}": float(true), f"of the empirical score, t = {t:g}": float(own)}
    control = claim_over(wrong, **mutated(empirical_score_loss, r"\text{training loss of } s_t = \text{training loss of }\hat s_t"))
    return claim_over(cells, control=control, terms=terms, **what)


def _outside(law, points, radius):
    """P(no training point within radius), by the law's distribution function."""
    lo, hi = points - radius, points + radius
    ends = np.unique(np.concatenate([lo, hi]))
    inside = ((ends[:-1, None] >= lo - EPS) & (ends[1:, None] <= hi + EPS)).any(1)
    mass = [float(np.diff(np.asarray(p.cdf(ends[:, None])))[inside].sum()) for p in (law, getattr(law, "twin", None)) if p is not None]
    return Enclosure.near(1 - mass[0], abs(mass[0] - mass[-1]) + 1e-12, method="distribution function").cut(0.0)


@states(Statement(
    "B18'", r"reverse diffusion with the empirical score returns the training points",
    "Gu et al. 2023, https://arxiv.org/abs/2310.02664; the bound for this chain: computed here",
    r"P\left(\min_i|Y_N-m\,x_i|>5\sigma_\delta\right) \le 10^{-5},\qquad Y_N\text{ the ancestral chain with }\hat s,"
    r"\; \sigma_\delta^2=1-e^{-2\delta}",
    (MOMENT, SPREAD), caveat="6 points, 60 steps down to σ_δ = sd/250, start at N(0, 1); the claim is about this chain, not for every step size",
))  # fmt: skip
def memorised_training_points(target, *, quick=False):
    r"""P(\min_i|Y_N - m x_i| > 5\sigma_\delta) <= 1e-5 for the exact law of an ancestral chain with the score of six points.

    A normal variable leaves 5.7e-7 outside. Control: the same of the target itself, which no finite set of points exhausts.
    """
    what, claim = _opened(memorised_training_points, target, "<=")
    if claim is not None:
        return claim
    data = training_set(target)
    sd = math.sqrt(float(data.cov()[0, 0]))
    small = 0.004 * sd
    delta = -0.5 * math.log1p(-small * small)
    grid = geometric(4.0, 40 if quick else 60, stop=delta)
    law = propagate(ancestral(grid, "posterior"), exact(data))
    points = data.points[:, 0]
    mine, theirs = (_outside(p, math.exp(-delta) * points, 5 * small) for p in (law, flow(target, delta)))
    cells, wrong = [at_most(mine, 1e-5, name="mass", parameters={"δ": delta})], [at_most(theirs, 1e-5, name="mass", parameters={"δ": delta})]
    control = claim_over(wrong, **mutated(memorised_training_points, r"P(\min_i|X-m\,x_i|>5\sigma_\delta) \le 10^{-5},\quad X\sim p_\delta"))
    return claim_over(cells, control=control, terms={"outside, chain": mine, "outside, law itself": theirs}, **what)
