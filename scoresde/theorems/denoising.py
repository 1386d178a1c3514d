r"""DDPM and DDIM: the Gaussian posterior, the variances for which the chain is exact, the variational bound and its gap."""

import math
from itertools import pairwise

import numpy as np

from ..divergence import kullback_leibler, wasserstein2
from ..divergence.panels import integrate
from ..divergence.view import view
from ..enclosure import Enclosure
from ..engine.propagate import propagate
from ..errors import NoMethod
from ..information import entropy, joint_kullback_leibler, relative_fisher
from ..kernel import ornstein_uhlenbeck
from ..laws import Empirical, Gaussian, standard_normal
from ..scheme import Table, ancestral, ddim, euler_maruyama
from ..score import exact
from .claim import Statement, claim_over, states
from .girsanov import log_normal, two_times
from .numeric import EPS, about, equal, exists, flow, mutated, needs, populated, probes, slow, unmet, vouched
from .tweedie import bayes_moments

__all__ = ["ho_2020_elbo_gap", "ho_2020_optimal_variances", "ho_2020_posterior", "sohl_dickstein_2015_bound", "song_2021_implicit_family"]

MOMENT = r"E|X|^2 finite"
AWAY = "KL(π|γ) > 1e-6 (at π = γ every difference is 0)"
SMOOTH = "π has a density and finite Fisher information"


# ---- C4 --------------------------------------------------------------------------------------------------------------------------------


@states(Statement(
    "C4", "DDPM's posterior q(x_u | x_t, x_0) = N(μ̃, β̃ I)", "Ho, Jain & Abbeel 2020, https://arxiv.org/abs/2006.11239, equations (6) and (7)",
    r"\tilde\mu=\frac{\sqrt{\bar\alpha_{t-1}}\,\beta_t}{1-\bar\alpha_t}x_0+\frac{\sqrt{\alpha_t}(1-\bar\alpha_{t-1})}{1-\bar\alpha_t}x_t,\quad"
    r"\tilde\beta=\beta_t\frac{1-\bar\alpha_{t-1}}{1-\bar\alpha_t};\qquad E[X_{t-1}\mid X_t=x]=\frac{x+\beta_t s_t(x)}{\sqrt{\alpha_t}}", (MOMENT,),
    caveat="with ε̂ = −√(1−ᾱ) s the mean is (x − β ε̂/√(1−ᾱ))/√α; some notes print the first denominator as 1 − ᾱ_{t−1}",
))  # fmt: skip
def ho_2020_posterior(target, *, quick=False):
    r"""\tilde\mu, \tilde\beta for x_0 at five points of the target, and E[X_u | X_t = x] as ``ancestral`` has it, against Bayes' rule.

    \alpha = e^{-2h}, \bar\alpha = e^{-2t}. Cells: three pairs t > u, each the worst of five points. Control: 1 - \bar\alpha_{t-1} in the first
    denominator.
    """
    needs(target, "noised", "second_moment")
    what = about(ho_2020_posterior, (MOMENT, exists(target.second_moment)))
    if (claim := unmet(what, "=")) is not None:
        return claim
    cells, wrong = [], []
    for t, u in ((0.5, 0.3),) if quick else ((0.2, 0.1), (0.5, 0.3), (2.0, 1.0)):
        here, kernel = {"t": t, "u": u}, ornstein_uhlenbeck(t - u)
        m, alpha, bar, before = kernel.m, kernel.m**2, math.exp(-2 * t), math.exp(-2 * u)
        x0 = probes(flow(target, 0.05))
        points = [Empirical(point[None]) for point in x0]
        x = np.stack([probes(point.noised(ornstein_uhlenbeck(t)))[-1 - k] for k, point in enumerate(points)])
        by_bayes = [bayes_moments(point.noised(ornstein_uhlenbeck(u)), kernel, y[None]) for point, y in zip(points, x, strict=True)]
        mean, cov, error = (np.stack([b[j] for b in by_bayes]) for j in range(3))
        from_x = m * (1 - before) / (1 - bar) * x
        for side, below in ((cells, 1 - bar), (wrong, 1 - before)):
            formula = math.sqrt(before) * (1 - alpha) / below * x0 + from_x
            side.append(_worst(mean[:, 0], formula, error, "mean given x_0", here))
        spread = (1 - alpha) * (1 - before) / (1 - bar)
        cells.append(_worst(cov[:, 0], np.broadcast_to(spread * np.eye(target.dim), cov[:, 0].shape), error, "cov given x_0", here))
        row, x = ancestral(np.array([t, u]), "beta"), populated(flow(target, t), probes(flow(target, t)))
        mean, _, error = bayes_moments(flow(target, u), kernel, x)
        cells.append(_worst(mean, row.a[0, 0] * x + row.b[0, 0] * flow(target, t).score(x), error, "mean", here))
    control = claim_over(wrong, **mutated(ho_2020_posterior, r"\tilde\mu=\frac{\sqrt{\bar\alpha_{t-1}}\beta_t}{1-\bar\alpha_{t-1}}x_0+\dots"))
    return claim_over(cells, control=control, **what)


def _worst(value, formula, error, of, parameters):
    """The claim at the entry where the two differ most, to eight digits of the largest."""
    at = np.unravel_index(np.argmax(np.abs(value - formula)), value.shape)
    size = float(np.max(np.abs(formula)))
    lhs = Enclosure.near(value[at], float(np.max(error)), method="Bayes' rule")
    rhs = Enclosure.near(formula[at], 1e-12 * size, method="closed form")
    return equal(lhs, rhs, digits=8, floor=size, name=of, parameters={"of": of, **parameters})


# ---- C5 and C9: chains whose score is affine, given x_0 or for N(0, I) -----------------------------------------------------------------


def _affine_chain(table, mean, var, start):
    r"""N(mean, var I) after the chain with the score of N(e^{-t} mean, e^{-2t} var + 1 - e^{-2t}), from the law ``start`` = (mean, var)."""
    m, v = start
    for k, t in enumerate(table.times[:-1]):
        law = flow(Gaussian(mean, var), float(t)) if var > 0 else Empirical(mean[None]).noised(ornstein_uhlenbeck(float(t)))
        spread = var * math.exp(-2 * t) - math.expm1(-2 * t)
        slope = table.a[k, 0] - table.b[k, 0] / spread
        m, v = slope * m + table.b[k, 0] * law.mean() / spread, slope**2 * v + table.c[k, 0] ** 2
    return m, v


def _off(chain, truth):
    r"""W_2 of two isotropic Gaussians (mean, variance), with its rounding: an ulp in a variance is half an ulp in its root."""
    (m, v), (mean, var) = chain, truth
    value = math.hypot(float(np.linalg.norm(m - mean)), math.sqrt(len(mean)) * (math.sqrt(v) - math.sqrt(var)))
    error = 1e-12 * (1 + float(np.linalg.norm(mean)) + math.sqrt(len(mean)) / max(math.sqrt(var), 1e-3))
    return Enclosure.near(value, error, method="affine recursion").cut(0.0)


def _noised(mean, var, t):
    return math.exp(-t) * mean, var * math.exp(-2 * t) - math.expm1(-2 * t)


@states(Statement(
    "C5", "variance β is exact for data N(0, I), β̃ for one point", "Ho, Jain & Abbeel 2020, https://arxiv.org/abs/2006.11239, section 3.2",
    r"X_0\sim N(0,I):\ \mathrm{Cov}(X_{t-1}|X_t)=\beta_tI;\qquad X_0=x_0:\ \mathrm{Cov}(X_{t-1}|X_t)=\tilde\beta_tI;"
    r"\qquad\text{each chain then has the law } p_\tau \text{ at every grid time}", (MOMENT,),
    caveat="for other data neither is exact, and the law of X_{t−1} given X_t need not be Gaussian",
))  # fmt: skip
def ho_2020_optimal_variances(target, *, quick=False):
    r"""W_2(ancestral chain, p_\delta) = 0 for N(0, I_d) with "beta", and for one point with "posterior", started from p_T; any d.

    The point is the mean of the target. Cells: grids of different lengths and ends. Control: the two variances exchanged.
    """
    needs(target, "noised", "mean", "second_moment")
    what = about(ho_2020_optimal_variances, (MOMENT, exists(target.second_moment)))
    if (claim := unmet(what, "=")) is not None:
        return claim
    origin = np.zeros(target.dim)
    data = {"N(0, I)": (origin, 1.0, "beta", "posterior"), "one point": (np.asarray(target.mean(), dtype=float), 0.0, "posterior", "beta")}
    cells, wrong = [], []
    for grid in _grids(quick):
        T, delta = float(grid[0]), float(grid[-1])
        for name, (mean, var, right, exchanged) in data.items():
            for side, variance in ((cells, right), (wrong, exchanged)):
                off = _off(_affine_chain(ancestral(grid, variance), mean, var, _noised(mean, var, T)), _noised(mean, var, delta))
                size, here = 1.0 + math.sqrt(float(mean @ mean)), {"data": name, "δ": delta, "N": len(grid) - 1}
                side.append(equal(off, 0.0, digits=9, floor=size, name="W2", parameters=here))
    control = claim_over(wrong, **mutated(ho_2020_optimal_variances, r"X_0\sim N(0,I):\ \mathrm{Cov}(X_{t-1}|X_t)=\tilde\beta_tI"))
    return claim_over(cells, control=control, **what)


def _grids(quick):
    """Decreasing times: equal, few; and geometric, many."""
    yield np.linspace(1.5, 0.1, 6)
    if not quick:
        yield np.geomspace(4.0, 0.01, 40)
        yield np.geomspace(1.0, 0.001, 12)


@states(Statement(
    "C9", "DDIM keeps the marginals given x_0 for every amount of noise, and only given x_0",
    "Song, Meng & Ermon 2021, https://arxiv.org/abs/2010.02502, Lemma 1",
    r"x'=m'\hat x_0+\sqrt{\sigma'^2-s^2}\,\hat\varepsilon+sZ,\; 0\le s\le\sigma':\quad \hat x_0=x_0,\ X\sim N(mx_0,\sigma^2I)\ \Rightarrow\ "
    r"X'\sim N(m'x_0,\sigma'^2I)", (MOMENT,),
    caveat="with E[X_0|x] plugged in, as the sampler does, the marginals are kept only in the limit of small steps",
))  # fmt: skip
def song_2021_implicit_family(target, *, quick=False):
    r"""W_2(ddim chain given x_0, N(m_\delta x_0, \sigma_\delta^2)) = 0 for \eta = 0, 1/2, 1, x_0 at five points of the target; any d.

    On the line a term shows how far the chain is from p_\delta once the denoiser E[X_0|x] is plugged in, from p_1 in two steps.
    Control: \sigma' \hat\varepsilon in place of \sqrt{\sigma'^2 - s^2} \hat\varepsilon, for \eta > 0.
    """
    needs(target, "noised", "second_moment")
    what = about(song_2021_implicit_family, (MOMENT, exists(target.second_moment)))
    if (claim := unmet(what, "=")) is not None:
        return claim
    cells, wrong = [], []
    for grid in _grids(quick):
        for eta in (0.0, 0.5, 1.0):
            table, here = ddim(grid, eta), {"η": eta, "δ": float(grid[-1]), "N": len(grid) - 1}
            cells.append(_given_x0(target, table, here))
            if eta > 0:
                wrong.append(_given_x0(target, Table(grid, table.a[:, 0], ddim(grid, 0.0).b[:, 0], table.c[:, 0]), here))
    terms = {}
    if target.dim == 1 and (plugged := vouched(lambda: _plugged_in(target))) is not None:
        terms["W2(chain with E[X_0|x] plugged in, p_δ)"] = plugged
    control = claim_over(wrong, **mutated(song_2021_implicit_family, r"x'=m'\hat x_0+\sigma'\hat\varepsilon+sZ"))
    return claim_over(cells, control=control, terms=terms, **what)


def _given_x0(target, table, parameters):
    """W_2(chain given x_0, N(m x_0, v)) = 0 at the worst of five x_0."""
    T, delta, found = float(table.times[0]), float(table.times[-1]), []
    for x0 in probes(flow(target, 0.05)):
        off = _off(_affine_chain(table, x0, 0.0, _noised(x0, 0.0, T)), _noised(x0, 0.0, delta))
        found.append((off, 1.0 + math.sqrt(float(x0 @ x0))))
    off, floor = max(found, key=lambda pair: pair[0].value / pair[1])
    return equal(off, 0.0, digits=9, floor=floor, name="W2", parameters=parameters)


def _plugged_in(target):
    r"""W_2 of p_{0.1} and of the chain with the target's own denoiser, \eta = 1, from p_1 in two steps."""
    chain = propagate(ddim(np.array([1.0, 0.4, 0.1]), 1.0), exact(target), start=flow(target, 1.0))
    return wasserstein2(chain, flow(target, 0.1))


# ---- C6 and C7: the variational bound --------------------------------------------------------------------------------------------------


def variational_terms(target, table):
    r"""(prior, steps, last), Enclosures: E KL(q(x_T|x_0)|\gamma), \sum E KL(q(x_u|x_t,x_0)|p_\theta(x_u|x_t)) and -E\log p_\theta(x_0|x_1).

    On the line, exact score, each by quadrature over X_0 and X_t. table : one evaluation and some noise in every step, down to time 0.
    """
    times = table.times
    T = float(times[0])
    second = target.second_moment()
    m2, v = math.exp(-2 * T), -math.expm1(-2 * T)
    prior = 0.5 * (m2 * second + v - 1 - math.log(v))
    value, error = 0.0, 8 * EPS * (1 + m2 * second)
    prior, steps = Enclosure.near(prior, error, method="closed form"), Enclosure.exact(0.0)
    for k, (t, u) in enumerate(pairwise(map(float, times))):
        after, kernel, (a, b, c) = flow(target, t), ornstein_uhlenbeck(t), (float(table.a[k, 0]), float(table.b[k, 0]), float(table.c[k, 0]))
        vt, vu, h = -math.expm1(-2 * t), -math.expm1(-2 * u), t - u
        tight = -math.expm1(-2 * h) * vu / vt

        def f(x, y, _, u=u, h=h, vt=vt, vu=vu, tight=tight, after=after, a=a, b=b, c=c):
            guess = a * y + b * np.asarray(after.score(y[..., None]))[..., 0]
            if u == 0:
                return [-log_normal(x - guess, c * c)]
            mean = (math.exp(-u) * -math.expm1(-2 * h) * x + math.exp(-h) * vu * y) / vt
            return [0.5 * (tight / c**2 - 1 - math.log(tight / c**2) + (mean - guess) ** 2 / c**2)]

        value, error = two_times(target, kernel, f)
        term = Enclosure.near(value[0], error[0], method="quadrature over two times")
        if u == 0:
            return prior, steps, term
        steps = steps + term
    raise NoMethod(f"variational_terms: got a table that ends at {times[-1]:g}, allowed is one that ends at 0: the bound is of the data's likelihood")


def _likelihood(target, law):
    r"""-E_\pi\log p_\theta(X) by quadrature."""

    def f(x, _):
        log_p, log_q = (np.asarray(p.logpdf(x[..., None])) for p in (target, law))
        p = np.exp(log_p)
        return np.where(p > 0, np.stack([-p * np.where(p > 0, log_q, 0.0), 4 * p * (4 + np.abs(log_p)) * (1 + np.abs(log_q))]), 0.0)

    edges = view(target).edges
    found = integrate(f, edges[:-1], edges[1:], tolerance=1e-12, rounds=20)
    (value, error), (size, _) = found.total(), found.total(1)
    return Enclosure.near(value, error + EPS * size, method="quadrature")


def _bounded(theorem, target):
    """(refusal or None, what) for the variational bound on the line."""
    needs(target, "noised", "second_moment")
    what = about(theorem, (MOMENT, exists(target.second_moment)))
    if (claim := unmet(what, "=")) is not None:
        return claim, what
    if target.dim != 1:
        raise NoMethod(f"{theorem.__name__}: got dimension {target.dim}, allowed is 1: the expectations over two times are sums on the line")
    smooth = not hasattr(target, "points") and exists(lambda: relative_fisher(target))
    away = smooth and kullback_leibler(target, standard_normal(1)).hi > 1e-6
    what = about(theorem, (MOMENT, True), (SMOOTH, smooth), (AWAY, away or not smooth))
    return unmet(what, "="), what


@states(Statement(
    "C6", "the variational bound is H(π) + KL_joint, and its gap is KL_joint − KL(π‖p_θ)",
    "Sohl-Dickstein, Weiss, Maheswaranathan & Ganguli 2015, https://arxiv.org/abs/1503.03585; Ho, Jain & Abbeel 2020, arXiv:2006.11239",
    r"L=E_q\Big[KL(q(x_T|x_0)\|\gamma)+\sum_kKL(q(x_u|x_t,x_0)\|p_\theta(x_u|x_t))-\log p_\theta(x_0|x_1)\Big]=H(\pi)+KL_{joint},\quad"
    r" L+E_\pi\log p_\theta(X_0)=KL_{joint}-KL(\pi|p_\theta)\ge0", (MOMENT, SMOOTH, AWAY),
    caveat="exact score, started at γ; with the best score the gap is still not 0, because a step's posterior is not Gaussian",
))  # fmt: skip
def ho_2020_elbo_gap(target, *, quick=False):
    r"""The variational bound L, term by term by quadrature over (X_0, X_t), against H(\pi) + KL_joint; its gap to -E\log p_\theta by the exact law.

    Cells: ancestral sampling and Euler–Maruyama on coarse grids to 0, on the line. Control: the bound is tight, L = -E_\pi\log p_\theta.
    """
    refusal, what = _bounded(ho_2020_elbo_gap, target)
    if refusal is not None:
        return refusal
    grid = np.array([1.0, 0.4, 0.15, 0.0] if quick or slow(target) else [1.5, 0.8, 0.4, 0.2, 0.08, 0.0])
    cells, wrong, terms, whole = [], [], {}, entropy(target)
    for name, table in {"ancestral, beta": ancestral(grid, "beta"), "euler_maruyama": euler_maruyama(grid)}.items():
        parts = variational_terms(target, table)
        bound, joint, law = parts[0] + parts[1] + parts[2], joint_kullback_leibler(target, table), propagate(table, exact(target))
        likelihood, marginal = _likelihood(target, law), kullback_leibler(target, law)
        how = {"digits": 6, "floor": 1e-1, "name": "L"}
        cells.append(equal(bound, whole + joint, parameters={"of": "L = H + KL_joint", "scheme": name}, **how))
        cells.append(equal(bound - likelihood, joint - marginal, parameters={"of": "gap", "scheme": name}, **how))
        wrong.append(equal(bound, likelihood, parameters={"of": "gap = 0", "scheme": name}, **how))
        labels = ("E KL(q(x_T|x_0)|γ)", "Σ E KL(q(x_u|x_t,x_0)|p_θ)", "−E log p_θ(x_0|x_1)")
        terms |= {f"{label}, {name}": e for label, e in zip(labels, parts, strict=True)} | {f"gap, {name}": joint - marginal}
    control = claim_over(wrong, **mutated(ho_2020_elbo_gap, r"L = -E_\pi\log p_\theta(X_0)"))
    return claim_over(cells, control=control, terms={"H(π)": whole, **terms}, **what)


@states(Statement(
    "C7", "the bound K in conditional entropies, and the edge term it leaves out: ELBO = K + ½ β_1 (d − E|X_0|²)",
    "Sohl-Dickstein, Weiss, Maheswaranathan & Ganguli 2015, https://arxiv.org/abs/1503.03585, appendix B; edge term: derived here",
    r"K=-\sum_kE\,KL(q(x_u|x_t,x_0)\|p_\theta(x_u|x_t))+H_q(X_T|X_0)-H_q(X_1|X_0)+E_q\log\gamma(X_T),\quad"
    r" p_\theta(x_0|x_1)=q(x_1|x_0)\frac{\gamma(x_0)}{\gamma(x_1)}:\quad E\log p_\theta(X_0)\ge ELBO = K+\tfrac12\beta_1(d-E|X_0|^2)",
    (MOMENT, SMOOTH, AWAY, "E|X|² ≠ d (else nothing is left out)"),
    caveat="K itself bounds the likelihood only if E|X_0|² ≤ d; what is printed as H_p(X_T) is the cross entropy −E_q log γ(X_T)",
))  # fmt: skip
def sohl_dickstein_2015_bound(target, *, quick=False):
    r"""ELBO, by quadrature over (X_0, X_t), against K + \frac12 \beta_1 (d - E|X_0|^2); the last step is the forward kernel reversed under \gamma.

    \beta_1 = 1 - e^{-2 h} of the step next to the data; the other steps are ancestral. Cells: two grids, on the line. Control: ELBO = K.
    """
    refusal, what = _bounded(sohl_dickstein_2015_bound, target)
    if refusal is not None:
        return refusal
    excess = 1.0 - target.second_moment()
    named = [(text, True) for text in (MOMENT, SMOOTH, AWAY)] + [("E|X|² ≠ d (else nothing is left out)", abs(excess) > 1e-4)]
    what = about(sohl_dickstein_2015_bound, *named)
    if (claim := unmet(what, "=")) is not None:
        return claim
    cells, wrong, terms = [], [], {}
    for grid in ([1.0, 0.4, 0.2, 0.0],) if quick or slow(target) else ([1.0, 0.4, 0.2, 0.0], [1.5, 0.8, 0.3, 0.0]):
        T, first = grid[0], grid[-2]
        vT, beta = -math.expm1(-2 * T), -math.expm1(-2 * first)
        table = ancestral(np.array(grid), "beta")
        a, b, c = (np.append(x[:-1, 0], last) for x, last in ((table.a, math.exp(-first)), (table.b, 0.0), (table.c, math.sqrt(beta))))
        prior, steps, last = variational_terms(target, Table(np.array(grid), a, b, c))
        elbo = -1 * (prior + steps + last)
        second = math.exp(-2 * T) * target.second_moment() + vT
        entropies = 0.5 * (math.log(vT / beta) - math.log(2 * math.pi) - second)  # H_q(X_T|X_0) - H_q(X_1|X_0) + E log gamma(X_T)
        K = -1 * steps + Enclosure.near(entropies, 8 * EPS * (4 + abs(entropies) + second), method="closed form")
        how = {"digits": 8, "floor": 1.0, "name": "ELBO", "parameters": {"grid": grid}}
        cells.append(equal(elbo, K + 0.5 * beta * excess, **how))
        wrong.append(equal(elbo, K, **how))
        terms |= {f"K, T = {T:g}": K, f"½ β_1 (1 − E|X_0|²), T = {T:g}": Enclosure.near(0.5 * beta * excess, 4 * EPS * (1 + second))}
    control = claim_over(wrong, **mutated(sohl_dickstein_2015_bound, r"ELBO = K"))
    return claim_over(cells, control=control, terms=terms, **what)
