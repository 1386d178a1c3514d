r"""Langevin chains x' = x + h s(x) + \sqrt{2h} z: their laws on Gaussians, the bias of what they converge to, and annealing."""

import math
from dataclasses import replace

import numpy as np

from ..divergence import kullback_leibler, wasserstein2
from ..divergence.view import view
from ..enclosure import Enclosure
from ..engine.propagate import propagate
from ..errors import NoMethod
from ..kernel import variance_exploding
from ..laws import Gaussian
from ..scheme import annealed_langevin, langevin
from ..score import exact
from .claim import Statement, claim_over, states
from .gaussians import MOMENT, SPREAD, along_axes, log_size, matched, principal_axes, same_to_rounding, turned
from .numeric import EPS, about, at_most, changes, equal, exists, flow, mutated, needs, order, probes, richardson, unmet, worst

__all__ = [
    "annealed_langevin_on_gaussians", "dalalyan_2019_wasserstein2", "song_2021_same_marginals", "unadjusted_langevin_bias",
    "unadjusted_langevin_on_gaussians", "vempala_2019_kullback_leibler",
]  # fmt: skip


# ---- E1 ----------------------------------------------------------------------------------------------------------------------------------


@states(Statement(
    "E1", "the Langevin chain on a Gaussian: k-step law, stationary law, bias", "linear recursion; see Roberts & Tweedie 1996, Wibisono 2018",
    r"\pi=N(\mu,\Sigma),\ 0<h<2/\lambda_{\max}(\Sigma^{-1}):\quad E X_k-\mu = (1-h\lambda)^k(EX_0-\mu),\quad"
    r" \mathrm{Var}X_k = (1-h\lambda)^{2k}\mathrm{Var}X_0+(1-(1-h\lambda)^{2k})\,v_h,\quad v_h = \frac{1}{\lambda(1-h\lambda/2)}"
    r"\quad\text{along each eigenvector of }\Sigma^{-1},\qquad W_2(\pi_h,\pi)^2 = \sum_\lambda\tfrac1\lambda\left((1-h\lambda/2)^{-1/2}-1\right)^2",
    (MOMENT, SPREAD), caveat="a target that is not Gaussian stands for the Gaussian with its mean and covariance (the parameters say so)",
))  # fmt: skip
def unadjusted_langevin_on_gaussians(target, *, quick=False):
    r"""The law of X_k, its limit N(\mu, \Sigma(1 - h\Sigma^{-1}/2)^{-1}), and W_2(\pi_h, \pi), in any dimension.

    Cells: h from 0.1 to 1.9 of 1/\lambda_max, k up to 50, mean and variance of the propagated chain against the closed forms; one step from
    \pi_h returns it; W_2. Control: one step from \pi returns \pi.
    """
    theorem = unadjusted_langevin_on_gaussians
    refusal, law, what = matched(theorem, target)
    if refusal is not None:
        return refusal
    v, basis = principal_axes(law)
    centre, score, d = turned(law.mean(), basis), exact(law), law.dim
    start = Gaussian(law.mean() + 1.5 * math.sqrt(float(np.max(v))), 0.7 * float(np.max(v)))
    first = turned(start.mean(), basis)
    cells, wrong, terms = [], [], {}
    for share in (0.1, 1.9) if quick else (0.1, 0.5, 1.0, 1.9):
        h = share * float(np.min(v))
        contraction = 1 - h / v
        stationary = v / (1 - 0.5 * h / v)
        size = float(np.max(stationary) + np.max(start.covariance) + np.max(np.abs(first)) + np.max(np.abs(centre)))
        for k in (1, 10) if quick else (1, 10, 50):
            mean, spread = along_axes(propagate(langevin(step=h, steps=k), score, start=start), basis)
            at, roundings = {"h λ_max": share, "k": k}, (8 * k + 32) * (1 if basis is None else d)
            cells.append(same_to_rounding(mean, centre + contraction**k * (first - centre), roundings, size, "mean", at))
            closed = contraction ** (2 * k) * np.max(start.covariance) - np.expm1(2 * k * log_size(contraction)) * stationary
            cells.append(same_to_rounding(spread, closed, roundings, size, "variance", at))
        at, roundings = {"h λ_max": share}, 64 * (1 if basis is None else d)
        limit = _with_variances(law, stationary, basis)
        step = langevin(step=h, steps=1)
        cells.append(
            same_to_rounding(
                along_axes(propagate(step, score, start=limit), basis)[1], stationary, roundings, size, "variance of π_h after a step", at
            )
        )
        wrong.append(same_to_rounding(along_axes(propagate(step, score, start=law), basis)[1], v, roundings, size, "variance of π after a step", at))
        bias = float(np.sqrt(np.sum(v * np.expm1(-0.5 * np.log1p(-0.5 * h / v)) ** 2)))
        rhs = Enclosure.near(bias, 64 * EPS * bias, method="closed form")
        distance = wasserstein2(limit, law)
        cells.append(equal(distance, rhs, digits=6, floor=math.sqrt(float(np.sum(v))), name="W2", parameters={"of": "W2(π_h, π)", **at}))
        terms[f"W2(π_h, π) at h = {share:g}/λ_max"] = distance
    control = claim_over(wrong, **mutated(theorem, r"\pi P_h = \pi"))
    return claim_over(cells, control=control, terms=terms, parameters={"law": "the target" if law is target else "N(E X, Cov X)"}, **what)


def _with_variances(law, variances, basis):
    if basis is None:
        return Gaussian(law.mean(), variances)
    cov = (basis * variances) @ basis.T
    return Gaussian(law.mean(), 0.5 * (cov + cov.T))


# ---- E2, E3 ------------------------------------------------------------------------------------------------------------------------------


@states(Statement(
    "E2", "W2 of the Langevin chain on a log-concave target", "form: Dalalyan & Karagulyan 2019, https://doi.org/10.1016/j.spa.2019.02.016;"
    " constant: derived here",
    r"mI\preceq-\nabla^2\log\pi\preceq MI,\ h\le\frac{2}{m+M}:\quad"
    r" W_2(X_k,\pi) \le (1-mh)^kW_2(X_0,\pi)+\tfrac{7\sqrt2}{6}\,\tfrac Mm\sqrt{hd}",
    (MOMENT, SPREAD), caveat="judged on Gaussians, where the truth is of order h; what is not Gaussian stands for the Gaussian with its moments",
))  # fmt: skip
def dalalyan_2019_wasserstein2(target, *, quick=False):
    r"""W_2(X_k, \pi) <= (1 - mh)^k W_2(X_0, \pi) + (7\sqrt2/6)(M/m)\sqrt{hd}, on the Gaussian with the target's moments.

    The constant is that of one step of synchronous coupling: E|X_s - X_0| <= s\sqrt{Md} + \sqrt{2sd} at stationarity, integrated over a step and
    times M, where \sqrt{Mh} <= \sqrt2. Control: from \pi, without the second term (no bias).
    """
    bias = lambda h, m, M, d: 7 * math.sqrt(2) / 6 * M / m * math.sqrt(h * d)  # noqa: E731
    longest, rate = (lambda m, M: 2 / (m + M)), (lambda h, m: 1 - m * h)
    return _contracted(dalalyan_2019_wasserstein2, target, quick, wasserstein2, longest, rate, bias, r"W_2(X_k,\pi) \le (1-mh)^kW_2(X_0,\pi)")


@states(Statement(
    "E3", "KL of the Langevin chain under a logarithmic Sobolev inequality", "form: Vempala & Wibisono 2019, https://arxiv.org/abs/1903.08568,"
    " Theorem 1; constant: derived here",
    r"KL(\rho|\pi)\le\tfrac1{2m}I(\rho|\pi),\ |\nabla^2\log\pi|\le M,\ h\le\frac{m}{4M^2}:\quad"
    r" KL(X_k|\pi) \le e^{-mhk}KL(X_0|\pi)+\tfrac{20}{7}\,\frac{hdM^2}{m}",
    (MOMENT, SPREAD), caveat="judged on Gaussians, where the truth is of order h²; what is not Gaussian stands for the Gaussian with its moments",
))  # fmt: skip
def vempala_2019_kullback_leibler(target, *, quick=False):
    r"""KL(X_k|\pi) <= e^{-mhk} KL(X_0|\pi) + (20/7) h d M^2/m, on the Gaussian with the target's moments.

    Over one step KL' <= -\frac34 I + E|\nabla\log\pi(X_t) - \nabla\log\pi(X_0)|^2, and the last term is at most
    4h^2M^4/m KL(X_0|\pi) + \frac52 h d M^2; this gives KL(X_1) <= e^{-mh} KL(X_0) + \frac52 h^2 d M^2, and 1 - e^{-mh} >= \frac78 mh.
    Control: from \pi, without the second term (no bias).
    """
    bias = lambda h, m, M, d: 20 / 7 * h * d * M * M / m  # noqa: E731
    longest, rate = (lambda m, M: m / (4 * M * M)), (lambda h, m: math.exp(-m * h))
    return _contracted(vempala_2019_kullback_leibler, target, quick, kullback_leibler, longest, rate, bias, r"KL(X_k|\pi) \le e^{-mhk}KL(X_0|\pi)")


def _contracted(theorem, target, quick, divergence, longest, rate, bias, false):
    r"""divergence(X_k, \pi) <= rate^k divergence(X_0, \pi) + bias, for steps up to the longest, from a start to one side of \pi."""
    refusal, law, what = matched(theorem, target, "<=")
    if refusal is not None:
        return refusal
    v = principal_axes(law)[0]
    m, M, score = 1 / float(np.max(v)), 1 / float(np.min(v)), exact(law)
    start = Gaussian(law.mean() + 1.5 / math.sqrt(m), 0.7 / m)
    first, cells, wrong, terms = divergence(start, law), [], [], {"at the start": divergence(start, law)}
    for share in (0.1, 1.0) if quick else (0.1, 0.5, 1.0):
        h = share * longest(m, M)
        for k in (1, 10) if quick else (1, 10, 100):
            table, at = langevin(step=h, steps=k), {"h / longest": share, "k": k}
            lhs, most = divergence(propagate(table, score, start=start), law), bias(h, m, M, law.dim)
            rhs = first * rate(h, m) ** k + Enclosure.near(most, 16 * EPS * most, method="closed form")
            cells.append(at_most(lhs, rhs, name=theorem.info.id, parameters=at))
            terms[f"h = {share:g} of the longest, k = {k}"] = lhs
        wrong.append(at_most(divergence(propagate(langevin(step=h, steps=10), score, start=law), law), 0.0, name=theorem.info.id, parameters=at))
    control = claim_over(wrong, **mutated(theorem, false))
    parameters = {"law": "the target" if law is target else "N(E X, Cov X)", "m": m, "M": M}
    return claim_over(cells, control=control, terms=terms, parameters=parameters, **what)


# ---- E4 ----------------------------------------------------------------------------------------------------------------------------------

TAILS = "p_1 has light tails (all its mass within 60 on the line)"
NOISED = 1.0  # the time at which the chain runs: p_1 has no modes that are too far apart to mix


@states(Statement(
    "E4", "bias of the Langevin chain: π_h/π = 1 + h (¼s² + ½s′ + ¼E s²) + O(h²)", "order 1: Talay & Tubaro 1990; the coefficient: derived here",
    r"\lim_{h\to0}\frac1h\left(\frac{\pi_h}{\pi}(x)-1\right) = e(x) := \tfrac14s(x)^2+\tfrac12s'(x)+\tfrac14E_\pi s^2,\qquad"
    r" \lim_{h\to0} h^{-2}KL(\pi_h|\pi) = \tfrac12E_\pi e^2\qquad(\pi = p_1,\ d=1)",
    (MOMENT, TAILS), caveat="order 1 in h for the density, total variation and W2, 2 for KL; e = 0 for no law on the line. The target is noised"
    " to t = 1 first: the chain between far modes of the data would take exponentially long to get there",
))  # fmt: skip
def unadjusted_langevin_bias(target, *, quick=False):
    r"""(\pi_h/\pi - 1)/h -> ¼ s^2 + ½ s' + ¼ E s^2: where an unadjusted Langevin chain ends, to first order, on \pi = p_1.

    \pi_h solves q = q P_h on a grid (a trapezoidal sum, spectrally accurate) at two resolutions, h = 0.4 to 0.05; density at five points and
    KL, extrapolated to h = 0. Control: the limit 0 (order 2).
    """
    theorem = unadjusted_langevin_bias
    needs(target, "noised", "second_moment")
    finite = exists(target.second_moment)
    what = about(theorem, (MOMENT, finite), (TAILS, True))
    if (claim := unmet(what, "=")) is not None:
        return claim
    if target.dim != 1:
        raise NoMethod(f"{theorem.__name__}: got dimension {target.dim}, allowed is 1: the stationary law is solved for on a grid")
    p = flow(target, NOISED)
    edges = view(p).edges
    what = about(theorem, (MOMENT, True), (TAILS, edges[-1] - edges[0] <= 60))
    if (claim := unmet(what, "=")) is not None:
        return claim
    sd = math.sqrt(float(p.cov()[0, 0]))
    ends = max(edges[0], float(p.mean()[0]) - 9 * sd), min(edges[-1], float(p.mean()[0]) + 9 * sd)
    x = probes(p)[:, 0]
    steps = (0.2, 0.1, 0.05) if quick else (0.4, 0.2, 0.1, 0.05)
    ratios, entropies, noise, rough = [], [], [], []
    for h in steps:
        (fine, kl), (coarse, less) = (_stationary(p, h, ends, per, x) for per in (5.0, 4.0))
        ratios.append(fine / h)
        entropies.append(kl / h**2)
        noise.append(float(np.max(np.abs(fine - coarse))) / h + 1e-12 / h)
        rough.append(abs(kl - less) / h**2 + 1e-13 / h**2)
    slope, error = richardson(ratios, noise, (1, 2, 3))
    curve, spread = richardson(entropies, rough, (1, 2, 3))
    grid, weights = _nodes(p, ends, 0.02)
    s = _score(p, grid)
    fisher = float(weights @ s**2)
    e = lambda y, a: 0.25 * a**2 + 0.5 * np.asarray(p.score_jacobian(y[:, None]))[:, 0, 0] + 0.25 * fisher  # noqa: E731
    at_probes, half = e(x, _score(p, x)), 0.5 * float(weights @ e(grid, s) ** 2)
    size, error = float(np.max(np.abs(at_probes))), float(np.max(error))
    cells, wrong = [], []
    for point, value, limit in zip(x, slope, at_probes):
        lhs, at = Enclosure.near(value, error, method="stationary laws, extrapolated"), {"of": "(π_h/π − 1)/h", "x": float(point)}
        cells.append(equal(lhs, Enclosure.near(limit, 1e-11 * size, method="closed form"), digits=2, floor=size, name="density", parameters=at))
        wrong.append(equal(lhs, 0.0, digits=2, floor=size, name="density", parameters=at))
    lhs = Enclosure.near(float(curve), float(spread), method="stationary laws, extrapolated")
    rhs = Enclosure.near(half, 1e-10 * half, method="quadrature")
    cells.append(equal(lhs, rhs, digits=2, floor=half, name="KL", parameters={"of": "KL(π_h‖π)/h²"}))
    terms = {"lim KL(π_h‖π)/h²": rhs, "E s²": Enclosure.near(fisher, 1e-10 * fisher, method="quadrature")}
    terms |= {f"KL(π_h‖π) at h = {h:g}": Enclosure.near(k * h * h, r * h * h, method="stationary law") for h, k, r in zip(steps, entropies, rough)}
    slope = order(steps, [terms[f"KL(π_h‖π) at h = {h:g}"] for h in steps])
    terms |= {} if slope is None else {"order of KL in h": slope}
    control = claim_over(wrong, **mutated(theorem, r"\lim_{h\to0}\tfrac1h(\pi_h/\pi-1) = 0"))
    return claim_over(cells, control=control, terms=terms, parameters={"t": NOISED}, **what)


def _score(p, x):
    return np.asarray(p.score(np.asarray(x)[:, None]))[:, 0]


def _nodes(p, ends, spacing):
    """A uniform grid, and the weights of \\pi on it (their sum is 1 to spectral accuracy)."""
    grid = np.linspace(*ends, math.ceil((ends[1] - ends[0]) / spacing) + 1)
    return grid, np.exp(np.asarray(p.logpdf(grid[:, None]))) * (grid[1] - grid[0])


def _stationary(p, h, ends, per, points):
    r"""(\pi_h/\pi - 1 at the points, KL(\pi_h|\pi)): q = q P_h on a grid of ``per`` nodes to a standard deviation \sqrt{2h} of the noise."""
    grid, weights = _nodes(p, ends, math.sqrt(2 * h) / per)
    dx = grid[1] - grid[0]
    moved = grid + h * _score(p, grid)
    to = lambda y: np.exp(-((y[:, None] - moved) ** 2) / (4 * h)) * (dx / math.sqrt(4 * math.pi * h))  # noqa: E731
    # (1 - K) q = 0 with sum(q) = 1: the rank-one term makes the solution unique
    q = np.linalg.solve(np.eye(len(grid)) - to(grid) + weights[:, None] / weights.sum(), weights / weights.sum())
    ratio = (to(points) @ q) / dx / np.exp(np.asarray(p.logpdf(points[:, None]))) - 1
    held = weights > 1e-18
    return ratio, float(np.sum(_entropy(q[held], weights[held])))


def _entropy(q, p):
    """q log(q/p) - q + p, without cancellation where q is near p."""
    gap = (q - p) / p
    return p * ((1 + gap) * np.log1p(np.maximum(gap, -1 + 1e-16)) - gap)


# ---- E6 ----------------------------------------------------------------------------------------------------------------------------------


@states(Statement(
    "E6", "one family of reverse processes: dY = (Y + (1+λ²)s)dt + √2 λ dB has the marginals p_{T−t} for every λ",
    "Song et al. 2021, https://arxiv.org/abs/2011.13456, appendix D; a predictor with λ = 0 or 1 and a Langevin corrector at infinite rate between",
    r"-\partial_\tau p_\tau = -\nabla\cdot\left((x+(1+\lambda^2)s_\tau)\,p_\tau\right)+\lambda^2\Delta p_\tau,\qquad \lambda\ge0",
    (MOMENT,), caveat="λ = 0 is the probability flow, λ = 1 the reversed diffusion; the excess λ² s dt + √2 λ dB is a Langevin corrector, which"
    " leaves p_τ invariant; a discrete corrector does so up to the bias of E4",
))  # fmt: skip
def song_2021_same_marginals(target, *, quick=False):
    r"""-\partial_\tau p = -div((x + (1 + \lambda^2) s) p) + \lambda^2 \Delta p, for the flow, the reversed diffusion and everything beyond.

    Cells: \lambda and \tau, each at the worst of five points: -\partial_\tau \log p by extrapolated differences against the right side over p.
    Control: the drift x + s of the flow, with the noise put in.
    """
    theorem = song_2021_same_marginals
    needs(target, "noised", "second_moment")
    what = about(theorem, (MOMENT, exists(target.second_moment)))
    if (claim := unmet(what, "=")) is not None:
        return claim
    cells, wrong = [], []
    for t, x, s, trace, rate, error in changes(target, quick):
        squared, inner = (s * s).sum(-1), (x * s).sum(-1)
        for lam in (0.0, 0.5, 1.0, 2.0):
            for side, a in ((cells, 1 + lam**2), (wrong, 1.0)):
                if side is cells or lam > 0:
                    claim = worst(rate, error, -(target.dim + a * trace) - inner - a * squared + lam**2 * (trace + squared), "−∂ log p/∂τ", t)
                    side.append(replace(claim, parameters={**claim.parameters, "λ": lam}))
    control = claim_over(wrong, **mutated(theorem, r"-\partial_\tau p = -\nabla\cdot((x+s)p)+\lambda^2\Delta p,\ \lambda>0"))
    return claim_over(cells, control=control, **what)


# ---- E5 ----------------------------------------------------------------------------------------------------------------------------------


@states(Statement(
    "E5", "annealed Langevin: the law level by level, and why steps scale with σ²", "Song & Ermon 2019, https://arxiv.org/abs/1907.05600",
    r"\varepsilon_l = \varepsilon(\sigma_l/\sigma_L)^2,\ \pi=N(\mu,v):\quad EX-\mu\ \mapsto\ r_l^n(EX-\mu),\quad"
    r" \mathrm{Var} \mapsto r_l^{2n}\mathrm{Var}+(1-r_l^{2n})\frac{v+\sigma_l^2}{1-\frac{\varepsilon_l}{2(v+\sigma_l^2)}},\quad"
    r" r_l = 1-\frac{\varepsilon_l}{v+\sigma_l^2};"
    r"\qquad 1-r_l = \frac{\varepsilon/\sigma_L^2}{1+v/\sigma_l^2}",
    (MOMENT, SPREAD), caveat="some notes print the first power of σ_l/σ_L: the chain then hardly moves at the coarse levels. A target that is not"
    " Gaussian stands for the Gaussian with its mean and covariance",
))  # fmt: skip
def annealed_langevin_on_gaussians(target, *, quick=False):
    r"""The law after each level of annealed Langevin, and the relative step 1 - r_l, the same at all levels where \sigma_l^2 dominates.

    Cells: mean and variance after 1 to L levels, propagated, against the closed recursion along each eigenvector, with the steps that scale with
    \sigma^2 and those with the first power; and (1 - r_l)(1 + v/\sigma_l^2) \sigma_L^2/\varepsilon = 1, with 1 - r_l measured on the chain.
    Control: the same for the first power.
    """
    theorem = annealed_langevin_on_gaussians
    refusal, law, what = matched(theorem, target)
    if refusal is not None:
        return refusal
    v, basis = principal_axes(law)
    score, widest = exact(law, variance_exploding), math.sqrt(float(np.max(v)))
    levels = widest * np.geomspace(8.0, 0.25, 4 if quick else 6)
    steps, step = (3 if quick else 10), 0.3 * levels[-1] ** 2
    start = Gaussian(law.mean() + 2 * widest, float(levels[0] ** 2))
    centre, roundings = turned(law.mean(), basis), 64 * len(levels) * steps * (1 if basis is None else law.dim)
    size = float(levels[0] ** 2 + np.max(np.abs(start.mean())) + widest)
    cells, wrong, terms = [], [], {}
    for power in (2, 1):
        mean, spread = turned(start.mean(), basis), np.full(law.dim, float(levels[0] ** 2))
        for count, level in enumerate(levels, 1):
            epsilon, total, before = step * (level / levels[-1]) ** power, v + level**2, mean
            r = 1 - epsilon / total
            mean = centre + r**steps * (mean - centre)
            spread = r ** (2 * steps) * spread - np.expm1(2 * steps * log_size(r)) * total / (1 - 0.5 * epsilon / total)
            table = annealed_langevin(levels[:count], steps=steps, step=step * (levels[count - 1] / levels[-1]) ** power, power=power)
            found, variances = along_axes(propagate(table, score, start=start), basis)
            at = {"power": power, "levels": count}
            cells.append(same_to_rounding(found, mean, roundings, size, "mean", at))
            cells.append(same_to_rounding(variances, spread, roundings, size, "variance", at))
            if abs(before[0] - centre[0]) > 1e-3 * size:  # else the contraction cannot be read off the chain's mean
                moved = -np.expm1(log_size((found - centre)[0] / (before - centre)[0]) / steps) * (1 + v[0] / level**2) * levels[-1] ** 2 / step
                lhs = Enclosure.near(float(moved), 1e-9, method="propagated")
                claim = equal(lhs, 1.0, digits=7, floor=1.0, name="speed", parameters={"of": "relative step", **at})
                (cells if power == 2 else wrong).append(claim)
                terms[f"relative step at σ = {level / widest:.3g} sd, power {power}"] = lhs
    false = r"\varepsilon_l = \varepsilon\,\sigma_l/\sigma_L,\qquad 1-r_l = \frac{\varepsilon/\sigma_L^2}{1+v/\sigma_l^2}"
    control = claim_over(wrong, **mutated(theorem, false))
    return claim_over(cells, control=control, terms=terms, parameters={"law": "the target" if law is target else "N(E X, Cov X)"}, **what)
