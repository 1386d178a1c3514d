r"""Laws without a density: on a flat, on a circle, on finitely many points. What diverges as the noise goes, what stays finite, and early stopping.

A target \pi on the line gives the laws here: \pi^{\otimes k} \otimes \delta_0^{\otimes c}, on a flat of codimension c in R^{k+c}; six of its
quantiles; and the circle of radius \sqrt{E X^2}. m = e^{-t}, \sigma^2 = 1 - e^{-2t} throughout.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import special

from .. import information
from ..divergence import kullback_leibler, total_variation, wasserstein1, wasserstein2
from ..divergence.quadrature import over_line
from ..enclosure import Enclosure
from ..engine.propagate import propagate
from ..errors import NoMethod
from ..kernel import ornstein_uhlenbeck
from ..laws import Circle, Empirical, Product, standard_normal
from ..scheme import ancestral
from ..score import exact
from .bounds import Along
from .claim import Statement, claim_equal, claim_over, states
from .memorisation import training_set
from .numeric import EPS, about, at_most, blurred, equal, exists, flow, mutated, needs, order, slow, unmet
from .schedules import second_moment_bound, shrinking_times

__all__ = [
    "chain_on_a_manifold", "early_stopping_distance", "kullback_leibler_growth", "memorisation_bound", "score_growth", "singular_divergences",
]  # fmt: skip

MOMENT = r"E|X|^2 finite"
APART = "the points are apart"
ORIGIN = Empirical([[0.0]])


@dataclass(frozen=True)
class Flat:
    r"""\pi^{\otimes k} \otimes \delta_0^{\otimes c}: k independent copies of a law on the line, and c coordinates that are 0."""

    along: Any
    k: int
    c: int

    @property
    def law(self):
        return Product((self.along, ORIGIN), (self.k, self.c))

    @property
    def dim(self):
        return self.k + self.c

    @property
    def name(self):
        return f"codimension {self.c} in d = {self.dim}"

    def total(self, along, across):
        """k and c times what a coordinate has: of a KL, of a squared W2."""
        return along * self.k + across * self.c

    def distance(self, along, across):
        return self.total(along * along, across * across).cut(0.0).sqrt()


def _opened(theorem, target, relation="<="):
    """(what, None), or (what, the claim "not applicable") where the second moment is infinite. Raises NoMethod off the line."""
    needs(target, "noised", "second_moment")
    what = about(theorem, (MOMENT, exists(target.second_moment)))
    claim = unmet(what, relation)
    if claim is None and target.dim != 1:
        raise NoMethod(f"{theorem.__name__}: got dimension {target.dim}, allowed is 1: the flats are made of copies of a law on the line")
    return what, claim


def _flats(target, quick):
    return [Flat(target, 1, 1)] if quick else [Flat(target, 1, 1), Flat(target, 8, 56)]


def _clock(t):
    r"""(m, \sigma^2)."""
    return math.exp(-t), -math.expm1(-2 * t)


def _number(x, operations=16):
    """A number that a closed form gives, to so many roundings."""
    return Enclosure.near(x, operations * EPS * abs(x), method="closed form")


def _circle(target):
    return Circle(math.sqrt(target.second_moment()) or 1.0)


def _over_radii(law, f):
    """E f(|X|) for a noised circle, by quadrature."""
    sd = math.sqrt(law.var)
    edges = law.radius + sd * np.arange(-12.0, 12.5, 0.5)
    edges = edges if edges[0] >= 0 else np.append(0.0, edges[edges > 0])

    def integrand(rho, _):
        x = np.stack([rho, 0 * rho], axis=-1)
        value = np.where(rho > 0, 2 * math.pi * rho * law.pdf(x) * f(rho, x), 0.0)
        return np.stack([value, 64 * np.abs(value)])

    value, error, noise = over_line(integrand, edges)
    return Enclosure.near(value, error + EPS * noise, method="quadrature")


# ---- M1 ----------------------------------------------------------------------------------------------------------------------------------


@states(Statement(
    "M1", "a law on a manifold: KL = ∞ and TV = 1 from whatever has a density, W2 finite",
    "Arjovsky & Bottou 2017, https://arxiv.org/abs/1701.04862; De Bortoli 2022, https://arxiv.org/abs/2208.05314",
    r"\pi_c = \pi^{\otimes k}\otimes\delta_0^{\otimes c},\ c\ge1,\ q\in\{p_\delta,\gamma\}:\quad KL(\pi_c|q)=\infty,\quad TV(\pi_c,q)=1,\quad"
    r" W_2(\pi_c,q)^2 = k\,W_2(\pi,q_1)^2+c\,E_{q_d}X^2", (MOMENT,),
    caveat="TV and KL cannot see that p_δ comes close: every bound on a chain in these is a bound against p_δ, with the rest in W2",
))  # fmt: skip
def singular_divergences(target, *, quick=False):
    r"""KL = \infty, TV = 1 and a finite W_2 between a law on a flat and laws with a density: p_\delta, \delta down to 1e-6, and N(0, I).

    TV is that of a coordinate across the flat, which is at most TV. Control: TV(\pi_c, p_\delta) <= \sqrt{2\delta}, of the order of W_2.
    """
    what, claim = _opened(singular_divergences, target, "=")
    if claim is not None:
        return claim
    cells, wrong, terms = [], [], {}
    deltas = (1e-2,) if quick or slow(target) else (1e-2, 1e-6)
    others = {"N(0, I)": (standard_normal(1), standard_normal(1))} | {f"p_{t:g}": (flow(target, t), flow(ORIGIN, t)) for t in deltas}
    parts = {name: wasserstein2(target, along) for name, (along, _) in others.items()}
    for flat in _flats(target, quick):
        for name, (along, across) in others.items():
            q, at = Product((along, across), (flat.k, flat.c)), {"π_c": flat.name, "q": name}
            cells.append(claim_equal(kullback_leibler(flat.law, q), math.inf, within=1.0, name="KL", parameters={"of": "KL", **at}))
            apart, distance = total_variation(ORIGIN, across), wasserstein2(flat.law, q)
            cells.append(claim_equal(apart, 1.0, within=1e-12, name="TV", parameters={"of": "TV", **at}))
            rhs = flat.total(parts[name] * parts[name], _number(across.second_moment()))
            cells.append(equal(distance * distance, rhs, digits=6, floor=rhs.value, name="W2", parameters={"of": "W2²", **at}))
            terms[f"W2, {flat.name}, q = {name}"] = distance
        wrong += [at_most(total_variation(ORIGIN, flow(ORIGIN, t)), math.sqrt(2 * t), name="TV", parameters={"δ": t}) for t in deltas]
    control = claim_over(wrong, **mutated(singular_divergences, r"TV(\pi_c,p_\delta) \le \sqrt{2\delta}"))
    return claim_over(cells, control=control, terms=terms, **what)


# ---- M2 ----------------------------------------------------------------------------------------------------------------------------------


@states(Statement(
    "M2", r"the score of a law of codimension c grows as c/σ²", "bounds: Cramér–Rao, Stam 1959, Amos 1974; put together here",
    r"\pi_c:\; c+\frac{\sigma^2k}{m^2\mathrm{Var}\pi+\sigma^2} \le \sigma^2E|s_t|^2 \le c+\frac{\sigma^2k}{m^2/F_0+\sigma^2},\quad"
    r" F_0=E_\pi|\nabla\log\pi|^2\le\infty;\qquad"
    r" \sum_iw_i\delta_{x_i}:\; d-\frac{m^2}{4\sigma^2}\sum_{i\ne j}\sqrt{w_iw_j}\,|x_i-x_j|^2e^{-m^2|x_i-x_j|^2/8\sigma^2}"
    r" \le \sigma^2E|s_t|^2 \le d;\qquad \text{circle},\ a=\tfrac{mr}\sigma:\;"
    r" \frac{(2-aE\rho^{-1})^2}{E(\rho-a)^2} \le \sigma^2E|s_t|^2 \le 2-\frac{a^2}{1+a\sqrt{a^2+2}},\; \rho=|a e_1+Z|", (MOMENT,),
    caveat="so no score of bounded size, and no network of bounded size, is right down to σ = 0; a Gaussian π attains both sides",
))  # fmt: skip
def score_growth(target, *, quick=False):
    r"""\sigma^2 E|s_t|^2 -> c between two bounds: flats of codimension 1 and 56 (d = 64), six points of the line (c = 1), the circle (c = 1).

    Flats: E|s|^2 is a sum over coordinates; Cramér–Rao below, Blachman–Stam above. Points: \sigma^2 E|s|^2 = d - (m/\sigma)^2 \Phi, and \Phi is
    half of E\sum_{ij} w_i w_j |x_i - x_j|^2 over posterior weights, where E w_i(Y) w_j(Y) <= \frac12\int\sqrt{p_i p_j}. Circle: the test field
    (\rho - a) x/\rho below; above A(\kappa)^2 <= 1 - 1/(\kappa + 1) for A = I_1/I_0, and Jensen. Control: E|s|^2 <= d/\sigma.
    """
    what, claim = _opened(score_growth, target)
    if claim is not None:
        return claim
    cells, wrong, terms = [], [], {}
    times = (1e-3,) if quick or slow(target) else (1e-1, 1e-2, 1e-3, 1e-4)
    variance = max(target.second_moment() - float(target.mean()[0]) ** 2, 0.0)
    smooth, points, circle = information.fisher(target), training_set(target), _circle(target)
    for t in times:
        m, v = _clock(t)
        found = []
        for flat in _flats(target, quick):
            # where F_0 is infinite the upper bound is k/\sigma^2 along the flat
            inner = flat.c + (flat.k if math.isinf(smooth.hi) else v * flat.k / (m * m / smooth.cut(1e-300) + v))
            lower = _number(flat.c + v * flat.k / (m * m * variance + v))
            found.append((flat.name, v * information.fisher(flat.law, t), lower, inner, flat.dim))
        found.append(("six points", v * information.fisher(points, t), _atoms_below(points, m, v), 1.0, 1))
        own = circle.noised(ornstein_uhlenbeck(t))
        found.append(("circle", v * _over_radii(own, lambda _, x, own=own: (own.score(x) ** 2).sum(-1)), *_circle_bounds(own), 2))
        for name, value, low, high, d in found:
            value = blurred(value, 64 * EPS * d)
            at = {"law": name, "t": t}
            cells.append(at_most(low, value, name="score", parameters={"of": "from below", **at}))
            cells.append(at_most(value, high, name="score", parameters={"of": "from above", **at}))
            wrong.append(at_most(value, d * math.sqrt(v), name="score", parameters=at))
            terms[f"σ² E|s|², {name}, t = {t:g}"] = value
    control = claim_over(wrong, **mutated(score_growth, r"E|s_t|^2 \le d/\sigma"))
    return claim_over(cells, control=control, terms=terms, **what)


def _atoms_below(law, m, v):
    r"""d - \frac{m^2}{4\sigma^2} \sum_{i \ne j} \sqrt{w_i w_j} |x_i - x_j|^2 e^{-m^2 |x_i - x_j|^2/8\sigma^2}."""
    square = ((law.points[:, None] - law.points) ** 2).sum(-1)
    weight = np.sqrt(np.outer(law.weights, law.weights))
    lost = m * m / (4 * v) * float(np.sum(weight * square * np.exp(-m * m * square / (8 * v))))
    return law.dim - _number(lost, 64 * len(square) ** 2)


def _rice(a):
    r"""(E\rho, E\rho^{-1}, E\cos\theta) of Y = a e_1 + Z in the plane, \rho = |Y|, \theta its angle."""
    u = 0.25 * a * a
    zero, one = float(special.i0e(u)), float(special.i1e(u))
    half = math.sqrt(0.5 * math.pi)
    return half * ((1 + 2 * u) * zero + 2 * u * one), half * zero, 0.5 * half * a * (zero + one)


def _circle_bounds(law):
    r"""The two bounds of \sigma^2 E|s|^2, \sigma^2 = ``law.var`` and mr = ``law.radius``."""
    a = law.radius / math.sqrt(law.var)
    mean, inverse, _ = _rice(a)
    spread = Enclosure.near(2 * a * a + 2 - 2 * a * mean, 64 * EPS * (1 + a * a), method="closed form")
    slope = Enclosure.near(2 - a * inverse, 64 * EPS, method="closed form")
    return slope * slope / spread, _number(2 - a * a / (1 + a * math.sqrt(a * a + 2)), 64)


# ---- M3 ----------------------------------------------------------------------------------------------------------------------------------


@states(Statement(
    "M3", r"KL(p_t‖γ) of a law of codimension c grows as (c/2) log(1/σ²)", "de Bruijn; two-moment bound as in Benton et al. 2024, arXiv:2308.03686",
    r"\pi_c:\; 0 \le KL(p_t|\gamma)-\tfrac c2(\sigma^2-1-\ln\sigma^2) \le"
    r" k\,\min\left(e^{-2t}KL(\pi|\gamma),\ \tfrac12[m^2(E_\pi X^2-1)-\ln\sigma^2]\right);\qquad"
    r" n\text{ points}:\; -\ln n \le KL(p_t|\gamma)-\tfrac12[m^2(E|X|^2-d)-d\,\ln\sigma^2] \le 0", (MOMENT,),
    caveat="why bounds for early stopping carry log(1/δ), and none without it holds for all laws",
))  # fmt: skip
def kullback_leibler_growth(target, *, quick=False):
    r"""KL(p_t|\gamma) between bounds that differ by a number independent of t: flats of codimension 1 and 56, six points of the line.

    Points: KL is the right side less I(X_0; X_t), which is between 0 and \ln n. Control: half the rate, KL(p_t|\gamma) <= \frac c4\ln(1/\sigma^2).
    """
    what, claim = _opened(kullback_leibler_growth, target)
    if claim is not None:
        return claim
    cells, wrong, terms = [], [], {}
    first, second = kullback_leibler(target, standard_normal(1)), target.second_moment()
    points = training_set(target)
    for t in (1e-6,) if quick or slow(target) else (1e-1, 1e-3, 1e-6):
        m, v = _clock(t)
        for flat in _flats(target, quick):
            found = kullback_leibler(flow(flat.law, t), standard_normal(flat.dim))
            known = 0.5 * flat.c * (v - 1 - math.log(v))
            most = (first * math.exp(-2 * t)).minimum(_number(0.5 * (m * m * (second - 1) - math.log(v)), 64))
            at = {"law": flat.name, "t": t}
            cells.append(at_most(_number(known, 64), found, name="KL", parameters={"of": "from below", **at}))
            cells.append(at_most(found, _number(known, 64) + most * flat.k, name="KL", parameters={"of": "from above", **at}))
            wrong.append(at_most(found, -0.25 * flat.c * math.log(v), name="KL", parameters=at))
            terms[f"KL, {flat.name}, t = {t:g}"] = found
        found = kullback_leibler(flow(points, t), standard_normal(1))
        known = _number(0.5 * (m * m * (points.second_moment() - 1) - math.log(v)), 64)
        at = {"law": "six points", "t": t}
        cells.append(at_most(known - math.log(len(points.points)), found, name="KL", parameters={"of": "from below", **at}))
        cells.append(at_most(found, known, name="KL", parameters={"of": "from above", **at}))
        terms[f"KL, six points, t = {t:g}"] = found
    control = claim_over(wrong, **mutated(kullback_leibler_growth, r"KL(p_t|\gamma) \le \tfrac c4\ln\tfrac1{\sigma^2}"))
    return claim_over(cells, control=control, terms=terms, **what)


# ---- M4 ----------------------------------------------------------------------------------------------------------------------------------


@states(Statement(
    "M4", "early stopping costs √(2cδ) in W2 on a manifold of codimension c", "upper bound: coupling X with mX + σZ; lower bounds: derived here",
    r"W_2(p_\delta,\pi)^2 \le (1-m)^2E|X|^2+\sigma^2d\ \text{(any law)};\qquad \pi_c:\; c\,\sigma^2 \le W_2(p_\delta,\pi_c)^2;\qquad"
    r" \delta_x:\; \sigma\sqrt{2/\pi} \le W_1\ (d=1),\ W_2^2 = (1-m)^2|x|^2+\sigma^2d;\qquad"
    r" \text{circle}:\; \sigma^2(E\cos\theta)^2 \le W_2^2,\ \theta\text{ the angle of }ae_1+Z,\ a=\tfrac{mr}\sigma", (MOMENT,),
    caveat="both sides are of order √δ; a law with a smooth density is at distance O(δ), so this is the price of the manifold",
))  # fmt: skip
def early_stopping_distance(target, *, quick=False):
    r"""W_2(p_\delta, \pi) between bounds of order \sqrt\delta: flats of codimension 1 and 56, one point, six points, the circle.

    On the circle the best coupling is radial (both laws are), so W_2^2 = E(|X_\delta| - r)^2, by quadrature; below it the variance of |X_\delta|,
    at least \sigma^2 |E\nabla|x||^2 given X_0. Control: W_2(p_\delta, \pi) shrinks linearly in \delta on flats.
    """
    what, claim = _opened(early_stopping_distance, target)
    if claim is not None:
        return claim
    cells, wrong, terms = [], [], {}
    deltas = (1e-1, 1e-4) if quick or slow(target) else (1e-1, 1e-2, 1e-3, 1e-4)
    point, points, circle = Empirical([np.atleast_1d(target.mean())]), training_set(target), _circle(target)
    found = {}
    for t in deltas:
        m, v = _clock(t)
        own = circle.noised(ornstein_uhlenbeck(t))
        cosine = _rice(own.radius / math.sqrt(v))[2]
        radial = _over_radii(own, lambda rho, _: (rho - circle.radius) ** 2).cut(0.0).sqrt()
        parts = [wasserstein2(flow(law, t), law) for law in (target, ORIGIN)]
        laws = [(f.name, f.law, f.distance(*parts), math.sqrt(f.c * v)) for f in _flats(target, quick)]
        exactly = math.sqrt((1 - m) ** 2 * point.second_moment() + v)
        laws.append(("one point", point, wasserstein2(flow(point, t), point), exactly))
        laws.append(("six points", points, wasserstein2(flow(points, t), points), 0.0))
        laws.append(("circle", circle, radial, math.sqrt(v) * cosine))
        for name, law, distance, low in laws:
            high = _number(math.sqrt((1 - m) ** 2 * law.second_moment() + v * law.dim))
            at = {"law": name, "δ": t}
            cells.append(at_most(distance, high, name="W2", parameters={"of": "W2, from above", **at}))
            if low > 0:
                cells.append(at_most(_number(low), distance, name="W2", parameters={"of": "W2, from below", **at}))
            found.setdefault(name, []).append(distance)
            terms[f"W2, {name}, δ = {t:g}"] = distance
        nearest = wasserstein1(flow(point, t), point)
        at = {"of": "W1, from below", "law": "one point", "δ": t}
        cells.append(at_most(_number(math.sqrt(2 * v / math.pi)), nearest, name="W1", parameters=at))
        wrong += [
            at_most(found[f.name][-1], found[f.name][0] * (t / deltas[0]), name="W2", parameters={"law": f.name, "δ": t})
            for f in _flats(target, quick) if t < deltas[0]
        ]  # fmt: skip
    terms |= {f"order in δ, {name}": slope for name, e in found.items() if (slope := order(deltas, e)) is not None}
    control = claim_over(wrong, **mutated(early_stopping_distance, r"W_2(p_\delta,\pi_c) \le \frac\delta{\delta_0}W_2(p_{\delta_0},\pi_c)"))
    return claim_over(cells, control=control, terms=terms, **what)


# ---- M5 ----------------------------------------------------------------------------------------------------------------------------------


@states(Statement(
    "M5", "the reverse chain on a manifold: close in W2, at total variation 1", "bound: D5; De Bortoli 2022, https://arxiv.org/abs/2208.05314",
    r"\hat Y\text{ ancestral (variance }\beta\text{), exact score of }\pi_c,\ h_k\le\kappa\,\min(1,t_{k+1}),\text{ stopped at }\delta:\quad"
    r" KL(p_\delta|L(\hat Y)) \le \text{D5, second moments, }d=k+c,\qquad TV(\pi_c,L(\hat Y)) = 1,\qquad"
    r" W_2(L(\hat Y),\pi_c) \le W_2(L(\hat Y),p_\delta)+\sqrt{(1-m)^2E|X|^2+\sigma^2d}", (MOMENT,),
    caveat="TV and KL judge the chain against p_δ only; the rest of the way to the data is W2's",
))  # fmt: skip
def chain_on_a_manifold(target, *, quick=False):
    r"""KL(p_\delta|chain) below D5's bound in R^2 and R^64, TV(\pi_c, chain) = 1, and W_2(chain, \pi_c) below two distances that are small.

    The chain's law is a product: one chain for \pi, one for the coordinates that are 0. Control: Pinsker's inequality of p_\delta read for \pi_c,
    TV(\pi_c, chain) <= \sqrt{KL(p_\delta|chain)/2} in codimension 1.
    """
    what, claim = _opened(chain_on_a_manifold, target)
    if claim is not None:
        return claim
    cells, wrong, terms, T = [], [], {}, 3.0
    for kappa, stop in ((0.5, 0.05),) if quick or slow(target) else ((0.5, 0.05), (0.25, 0.01)):
        table = ancestral(shrinking_times(T, kappa, stop), "beta")
        along, across = (propagate(table, exact(law)) for law in (target, ORIGIN))
        m, v = _clock(stop)
        pairs = (along, target), (across, ORIGIN)
        lost_in, to_data = [kullback_leibler(flow(p, stop), q) for q, p in pairs], [wasserstein2(q, p) for q, p in pairs]
        to_early, apart = [wasserstein2(q, flow(p, stop)) for q, p in pairs], total_variation(ORIGIN, across)
        for flat in _flats(target, quick):
            at = {"law": flat.name, "κ": kappa, "δ": stop, "steps": table.rows}
            lost, distance = flat.total(*lost_in), flat.distance(*to_data)
            cells.append(at_most(lost, second_moment_bound(Along(flat.law), T, kappa, stop), name="KL", parameters={"of": "KL(p_δ|chain)", **at}))
            cells.append(at_most(1.0, apart, name="TV", parameters={"of": "TV(π_c, chain)", **at}))
            near = flat.distance(*to_early) + math.sqrt((1 - m) ** 2 * flat.law.second_moment() + v * flat.dim)
            cells.append(at_most(distance, near, name="W2", parameters={"of": "W2(chain, π_c)", **at}))
            terms |= {f"W2(chain, π_c), {flat.name}, δ = {stop:g}": distance, f"KL(p_δ|chain), {flat.name}, δ = {stop:g}": lost}
            if flat.c == 1:
                wrong.append(at_most(apart, (0.5 * lost).cut(0.0).sqrt(), name="TV", parameters=at))
    control = claim_over(wrong, **mutated(chain_on_a_manifold, r"TV(\pi_c,L(\hat Y)) \le \sqrt{KL(p_\delta|L(\hat Y))/2}"))
    return claim_over(cells, control=control, terms=terms, **what)


# ---- M6 ----------------------------------------------------------------------------------------------------------------------------------


@states(Statement(
    "M6", "memorisation is proved: near each training point the chain leaves its share, and nothing elsewhere",
    "derived here from D5; Gu et al. 2023, https://arxiv.org/abs/2310.02664",
    r"\hat Y\text{ with the score of }\hat\pi=\tfrac1n\sum_i\delta_{x_i}:\quad"
    r" P\left(\min_i|\hat Y-mx_i|>4\sigma_\delta\right) \le \tau,\qquad"
    r" \left|P(|\hat Y-mx_i|\le4\sigma_\delta)-\tfrac1n\right| \le \tau,\qquad \tau=P(|Z|>4)+\sqrt{\tfrac12KL_{path}}",
    (MOMENT, APART), caveat="the path KL goes to 0 with κ and e^{-2T}, whatever the points: a perfect fit of the training loss cannot but copy",
))  # fmt: skip
def memorisation_bound(target, *, quick=False):
    r"""What is outside 4\sigma_\delta of every training point, and the share of each, against \tau: six quantiles, \sigma_\delta = gap/20.

    Ancestral sampling from t = 4 with h_k <= \kappa min(1, t_{k+1}). \tau by Girsanov's theorem and Pinsker; the left sides by the chain's own
    law. Control: the target itself is as close to its points.
    """
    needs(target, "noised", "second_moment")
    finite = exists(target.second_moment)
    what = about(memorisation_bound, (MOMENT, finite), (APART, True))
    if (claim := unmet(what)) is not None:
        return claim
    data = training_set(target)
    x = np.sort(data.points[:, 0])
    gap = float(np.diff(x).min())
    what = about(memorisation_bound, (MOMENT, True), (APART, bool(gap > 1e-3 * (x[-1] - x[0]))))
    if (claim := unmet(what)) is not None:
        return claim
    small = 0.05 * min(gap, 1.0)
    stop = -0.5 * math.log1p(-small * small)
    m, cells, wrong, terms = math.exp(-stop), [], [], {}
    for kappa in (0.25,) if quick else (0.15,):
        table = ancestral(shrinking_times(4.0, kappa, stop), "beta")
        law = propagate(table, exact(data))
        left, right = m * x - 4 * small, m * x + 4 * small
        shares, theirs = (_masses(p, left, right) for p in (law, flow(target, stop)))
        path = information.path_kullback_leibler(data, table)
        tau = (0.5 * path).cut(0.0).sqrt() + _number(2 * float(special.ndtr(-4.0)))
        at = {"κ": kappa, "δ": stop, "steps": table.rows}
        outside, own = (1.0 - sum(part, start=Enclosure.exact(0.0)) for part in (shares, theirs))
        cells.append(at_most(outside, tau, trivial=1.0, name="mass", parameters={"of": "outside", **at}))
        for k, share in enumerate(shares):
            cells.append(at_most(abs(share - 1 / len(x)), tau, trivial=1.0, name="mass", parameters={"of": "share", "point": float(x[k]), **at}))
        wrong.append(at_most(own, _number(2 * float(special.ndtr(-4.0))), name="mass", parameters=at))
        terms |= {f"outside, κ = {kappa:g}": outside, f"τ, κ = {kappa:g}": tau, f"path KL, κ = {kappa:g}": path}
    control = claim_over(wrong, **mutated(memorisation_bound, r"P(\min_i|X-mx_i|>4\sigma_\delta) \le P(|Z|>4),\quad X\sim p_\delta"))
    return claim_over(cells, control=control, terms=terms, **what)


def _masses(law, left, right):
    """P(left <= X <= right) for each interval."""
    found = [np.asarray(p.cdf(right[:, None])) - np.asarray(p.cdf(left[:, None])) for p in (law, getattr(law, "twin", None)) if p is not None]
    return [Enclosure.near(float(a), abs(float(a - b)) + 1e-12, method="distribution function") for a, b in zip(found[0], found[-1], strict=True)]
