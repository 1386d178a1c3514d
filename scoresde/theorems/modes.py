r"""Far modes: the Langevin chain stays where it started, annealed Langevin and the reversed diffusion find the weights.

The bench is w N(-a, v) + (1-w) N(a, v) with w = 1/4, a = 3, v = 1/4: twelve standard deviations apart.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import special

from ..divergence import total_variation
from ..enclosure import Enclosure
from ..engine.propagate import propagate
from ..grid import quadratic
from ..information import path_kullback_leibler
from ..kernel import variance_exploding
from ..laws import Gaussian, GaussianMixture
from ..scheme import ancestral, annealed_langevin, langevin
from ..score import exact
from .claim import Statement, claim_over, states
from .numeric import about, at_most, mutated

__all__ = ["Trap", "langevin_between_modes", "trap", "weights_recovered"]

W, A, V = 0.25, 3.0, 0.25
BENCH = GaussianMixture([W, 1 - W], [[-A], [A]], V)


@dataclass(frozen=True)
class Trap:
    r"""One side of a barrier b: P(X_k crosses b for some k <= n) <= ``escape`` for the Langevin chain of ``law`` from ``start``.

    side : 1 for the chain to the right of b, -1 to the left; step : h; missing : the mass of the law beyond b.
    """

    law: Any
    side: int
    b: float
    step: float
    start: Gaussian
    escape: Enclosure
    missing: float

    def ran(self, n):
        return propagate(langevin(step=self.step, steps=n), exact(self.law), start=self.start)

    def passed(self, law):
        return _beyond(law, self.b, self.side)


def _beyond(law, b, side):
    """P(X < b) for side 1, P(X > b) for side -1."""
    found = [float((p.cdf if side > 0 else p.sf)(np.array([[b]]))[0]) for p in (law, getattr(law, "twin", None)) if p is not None]
    return Enclosure.near(found[0], abs(found[0] - found[-1]) + float(getattr(law, "error", 0.0)) + 1e-14, method="distribution function")


def trap(law, side, n, cut=None):
    r"""The barrier of a mixture on the line with the most mass beyond it, less what can cross in n steps of h = 1/(5L), L = 1/least variance.

    -(\log\pi)'' <= L gives s(x) >= s(b) - L(x - b) on x >= b. While it is there, X stays above the Gaussian chain G' = G + h(s(b) - L(G - b)) +
    \sqrt{2h} Z (the map is increasing, hL <= 1), which starts in its stationary law N(b + s(b)/L, 1/(L(1 - hL/2))); so does X. Summed over k = 0..n.
    cut : the barrier is on this side of it.
    """
    L = 1 / float(np.min(law.covariance if isinstance(law, Gaussian) else law.covs[law.weights > 0]))
    x = np.linspace(*law.quantile([1e-9, 1 - 1e-9])[:, 0], 4001)
    if cut is not None:
        x = x[side * (x - cut) > 0]
    h, y = 0.2 / L, x[:, None]
    push = side * np.asarray(law.score(y))[:, 0]
    escape = (n + 1) * special.ndtr(-push * math.sqrt((1 - 0.5 * h * L) / L))
    missing = np.asarray((law.cdf if side > 0 else law.sf)(y))
    k = int(np.argmax(missing - escape))
    start = Gaussian([x[k] + side * push[k] / L], 1 / (L * (1 - 0.5 * h * L)))
    bound = Enclosure.near(escape[k], 1e-10 * escape[k], method="closed form")
    return Trap(law, side, float(x[k]), h, start, bound, float(missing[k]))


def _traps(target, n):
    """That of the bench, and the target's deeper one if hardly anything crosses it: a twentieth is missing, and a quarter of that may cross."""
    found = {"two far modes": trap(BENCH, 1, n)}
    if target.dim == 1 and isinstance(target, (Gaussian, GaussianMixture)):
        deeper = max((trap(target, side, n) for side in (1, -1)), key=lambda t: t.missing - t.escape.value)
        found |= {"the target": deeper} if deeper.missing > 0.05 and deeper.escape.value < 0.25 * deeper.missing else {}
    return found


# ---- M7 ----------------------------------------------------------------------------------------------------------------------------------


@states(Statement(
    "M7", "Langevin is frozen between far modes: what crosses a barrier is exponentially little", "derived here, by comparison with a Gaussian chain",
    r"-(\log\pi)''\le L,\ hL\le1,\ X_0\sim N\left(b+\tfrac{s(b)}L,\tfrac1{L(1-hL/2)}\right):\quad"
    r" P(X_k<b\text{ for some }k\le n) \le (n+1)\,\Phi\left(-s(b)\sqrt{\tfrac{1-hL/2}L}\right),\quad"
    r"\text{so}\quad TV(L(X_n),\pi) \ge \pi(-\infty,b)-\text{the same}",
    caveat="judged on a law of two far modes, and on the target where its own modes are so far apart (the parameters of a cell say which): on the"
    " line, with least variance 1/L; and likewise to the left of b",
))  # fmt: skip
def langevin_between_modes(target, *, quick=False):
    r"""The mass that crosses b in n steps of the Langevin chain and its total variation from the law, by propagated laws, against the bound.

    n = 25 and 100, h = 1/(5L), b where the most is missing. Control: half of the missing mass has crossed.
    """
    cells, wrong, terms = [], [], {}
    for n in (25,) if quick else (25, 100):
        for name, it in _traps(target, n).items():
            law, at = it.ran(n), {"law": name, "n": n, "h": it.step, "b": it.b}
            passed, apart = it.passed(law), total_variation(law, it.law)
            cells.append(at_most(passed, it.escape, name="mass", parameters={"of": "mass across b", **at}))
            cells.append(at_most(it.missing - it.escape, apart, name="TV", parameters={"of": "total variation", **at}))
            wrong.append(at_most(0.5 * it.missing, passed, name="mass", parameters=at))
            terms |= {f"mass across b, {name}, n = {n}": passed, f"missing there, {name}, n = {n}": it.missing, f"TV, {name}, n = {n}": apart}
    control = claim_over(wrong, **mutated(langevin_between_modes, r"P(X_n<b) \ge \tfrac12\pi(-\infty,b)"))
    return claim_over(cells, control=control, terms=terms, **about(langevin_between_modes))


# ---- M8 ----------------------------------------------------------------------------------------------------------------------------------


@states(Statement(
    "M8", "with as many scores: reverse diffusion and annealed Langevin recover the weights, Langevin does not",
    "comparison: Song & Ermon 2019, https://arxiv.org/abs/1907.05600; bounds: C8 and M7",
    r"\pi=\tfrac14N(-3,\tfrac14)+\tfrac34N(3,\tfrac14),\ N\text{ evaluations},\ e=|P(X<0)-\tfrac14|:\quad"
    r" e_{reverse} \le \sqrt{\tfrac12KL_{path}} \le |w_0-\tfrac14|-(\text{M7}) \le e_{Langevin};\qquad"
    r" e_{annealed,\,\sigma^2} \le \tfrac12e_{Langevin},\quad e_{annealed,\,\sigma^2} \le \tfrac12e_{annealed,\,\sigma}",
    caveat="judged on this one law; the target is not used. The first line is proved (Girsanov and Pinsker; comparison with a Gaussian chain), the"
    " second computed: ten steps a level, σ from 6 to 1/4, ε = 0.1 σ² at the last level, both step rules from the heavy mode",
))  # fmt: skip
def weights_recovered(target, *, quick=False):
    r"""The error of the mode's mass after N score evaluations, by propagated laws (the target is not used).

    Reverse: ancestral (variance beta) from N(0, 1) on a quadratic grid from t = 4. Langevin: h = v/5, from the heavy mode (w_0 = 0) and from
    half in each. Annealed: steps that scale with \sigma^2, and with \sigma as some notes print. Control: Langevin's error is at most
    \sqrt{KL_{path}/2}.
    """
    N = 40 if quick else 60
    table = ancestral(quadratic(4.0, N), "beta")
    found = propagate(table, exact(BENCH))
    proved = (0.5 * path_kullback_leibler(BENCH, table)).cut(0.0).sqrt()
    error = lambda law: abs(_beyond(law, 0.0, 1) - W)  # noqa: E731
    right, left = (trap(BENCH, side, N, cut=0.0) for side in (1, -1))
    heavy, at = right.start, {"N": N}
    both = GaussianMixture([0.5, 0.5], np.stack([left.start.mean(), heavy.mean()]), heavy.covariance)
    cells = [
        at_most(error(found), proved, trivial=1.0, name="mass", parameters={"of": "reverse diffusion, mass", **at}),
        at_most(total_variation(found, BENCH), proved, trivial=1.0, name="TV", parameters={"of": "reverse diffusion, total variation", **at}),
    ]
    wrong, terms = [], {"mass error, reverse diffusion": error(found), "√(KL_path/2)": proved}
    for name, start, least in (("heavy mode", heavy, W - right.escape), ("half in each", both, 0.5 - W - (right.escape + left.escape) * 0.5)):
        stuck = error(propagate(langevin(step=right.step, steps=N), exact(BENCH), start=start))
        cells.append(at_most(proved, least, name="mass", parameters={"of": "reverse below Langevin's floor", "start": name, **at}))
        cells.append(at_most(least, stuck, name="mass", parameters={"of": "Langevin's floor", "start": name, **at}))
        wrong.append(at_most(stuck, proved, name="mass", parameters={"start": name, **at}))
        terms[f"mass error, Langevin, {name}"] = stuck
    levels, annealed = np.geomspace(6.0, 0.25, N // 10), {}
    for power in (2, 1):
        chain = annealed_langevin(levels, steps=10, step=0.1 * levels[-1] ** 2, power=power)
        annealed[power] = error(propagate(chain, exact(BENCH, variance_exploding), start=heavy))
        terms[f"mass error, annealed Langevin, power {power}"] = annealed[power]
    stuck = terms["mass error, Langevin, heavy mode"]
    cells.append(at_most(annealed[2], 0.5 * stuck, name="mass", parameters={"of": "annealed against Langevin", **at}))
    cells.append(at_most(annealed[2], 0.5 * annealed[1], name="mass", parameters={"of": "annealed, σ² against σ", **at}))
    control = claim_over(wrong, **mutated(weights_recovered, r"e_{Langevin} \le \sqrt{\tfrac12KL_{path}}"))
    return claim_over(cells, control=control, terms=terms, parameters={"a": A, "v": V, "w": W}, **about(weights_recovered))
