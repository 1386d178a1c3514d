r"""Note 003, L130-L195: denoising diffusion probabilistic models, with the linear schedule of 1000 steps looked at in step t = 301.

Written \alpha_t = 1 - \beta_t, abar_t = \prod\alpha. The bound's decomposition is evaluated on a three-step chain (``elbo``).
"""

import math
from functools import lru_cache, reduce

import numpy as np

from scoresde import Gaussian, Kernel, grid, information, kernel, kullback_leibler, propagate, scheme, score

from .bench import EPS, Bench
from .elbo import elbo, gaussian_kl, posterior
from .formula import Formula, Sides
from .sums import close, column, equal, fact, joint, less, mean_of, normal, together

__all__ = ["FORMULAS", "step"]

BETAS = np.linspace(1e-4, 0.02, 1000)
ABAR = np.cumprod(1 - BETAS)
T = 301


@lru_cache(maxsize=8)
def step(t=T):
    """(kernel x_0 -> x_{t-1}, kernel x_{t-1} -> x_t, kernel x_0 -> x_t), t from 1 to 1000."""
    beta = BETAS[t - 1]
    before = kernel.autoregressive(np.sqrt(1 - BETAS[: t - 1])) if t > 1 else Kernel(1.0, 0.0)
    return before, Kernel(math.sqrt(1 - beta), beta), kernel.autoregressive(np.sqrt(1 - BETAS[:t]))


def _pairs(bench):
    """Pairs (x_0, x_t), each (5, 1), where they live."""
    x0, k = bench.points(bench.target), step()[2]
    return x0, k.m * x0 + math.sqrt(k.v) * column([-0.8, 0.3, 1.1, -0.2, 0.6])


# F19, F20
def _closed_form(_):
    found, exact = [], []
    for t in (T, 1000):
        k = reduce(lambda done, b: Kernel(math.sqrt(1 - b), b) @ done, BETAS[:t], Kernel(1.0, 0.0))
        found += [k.m, k.v]
        exact += [math.sqrt(ABAR[t - 1]), 1 - ABAR[t - 1]]
    return close(found, exact, "m and v step by step, and sqrt(abar_t), 1 - abar_t, at t = 301 and 1000")


def _noise(is_a_density):
    def sides(bench):
        k = step()[2]
        true = bench.target.noised(k).second_moment()
        if is_a_density:
            found = mean_of(bench.target, lambda x: (k.m * x[:, 0] + math.sqrt(k.v) * bench.noise.pdf(x)) ** 2)
        else:
            j = joint(bench.target, k)
            found = j.mean_of(j.x**2)
        return equal((found, true), what="E x_t^2 with that eps, and of the noised law")

    return sides


# F21, F22
def _bound(bench):
    e = elbo(bench)
    return less((-e.likelihood, -e.evidence), what="E[-log rho(x_0)], and the bound")


def _decomposed(bench):
    e = elbo(bench)
    return equal((-e.evidence, sum(e.steps, start=e.prior + e.reconstruction)), what="the bound, and L_T + L_2 + L_1 + L_0")


# F23 - F25, F27
def _conditioned(bench):
    """Mean and variance of x_{t-1} given x_0 and x_t: the Gaussian law of x_{t-1} given x_0, denoised."""
    before, last, _ = step()
    pairs = list(zip(*_pairs(bench), strict=True))
    means = [Gaussian(before.m * x0, before.v).denoise(x, last)[0] for x0, x in pairs]
    return np.array(means), [Gaussian(before.m * x0, before.v).denoise_cov(x, last)[0, 0] for x0, x in pairs]


def _posterior_mean(weight):
    """``weight`` of x_0, beside sqrt(alpha_t) (1 - abar_{t-1}) / (1 - abar_t) of x_t."""

    def sides(bench):
        x0, x = _pairs(bench)
        b, old, new = BETAS[T - 1], ABAR[T - 2], ABAR[T - 1]
        formula = weight(b, old, new) * x0 + math.sqrt(1 - b) * (1 - old) / (1 - new) * x
        return close(_conditioned(bench)[0], formula, "E[x_(t-1)|x_t, x_0], by conditioning and by the formula", size=float(np.abs(x0).max()))

    return sides


def _posterior_variance(ratio):
    def sides(bench):
        return close(
            _conditioned(bench)[1], [ratio(ABAR[T - 2], ABAR[T - 1]) * BETAS[T - 1]] * 5, "Var[x_(t-1)|x_t, x_0], by conditioning and by the formula"
        )

    return sides


def _mean_from_noise(bench):
    x0, x = _pairs(bench)
    eps = (x - math.sqrt(ABAR[T - 1]) * x0) / math.sqrt(1 - ABAR[T - 1])
    formula = (x - BETAS[T - 1] / math.sqrt(1 - ABAR[T - 1]) * eps) / math.sqrt(1 - BETAS[T - 1])
    return close(_conditioned(bench)[0], formula, "E[x_(t-1)|x_t, x_0], and (x_t - beta eps/sqrt(1-abar))/sqrt(alpha)", size=float(np.abs(x0).max()))


# F26
def _two_gaussians(bench):
    """In three dimensions, drawn from the seed; E log p_1/p_2 by Gauss-Hermite cubature, exact for quadratics."""
    rng = np.random.default_rng([bench.seed, 26])
    (m1, m2), roots = rng.normal(size=(2, 3)), rng.normal(size=(2, 3, 3))
    c1, c2 = (r @ r.T + 0.5 * np.eye(3) for r in roots)
    inverse = np.linalg.inv(c2)
    formula = 0.5 * (np.trace(inverse @ c1) + (m2 - m1) @ inverse @ (m2 - m1) + math.log(np.linalg.det(c2) / np.linalg.det(c1)) - 3)
    z, w = bench.hermite(3)
    nodes = np.stack(np.meshgrid(z, z, z), -1).reshape(-1, 3)
    weights = np.prod(np.stack(np.meshgrid(w, w, w), -1).reshape(-1, 3), axis=1)
    p, q = Gaussian(m1, c1), Gaussian(m2, c2)
    x = m1 + nodes @ np.linalg.cholesky(c1).T
    cubature, package = float(weights @ (p.logpdf(x) - q.logpdf(x))), kullback_leibler(p, q).value
    return close([formula, package], cubature * np.ones(2), "the formula and the package's KL, and E log p_1/p_2", size=float(np.linalg.cond(c2)))


# F28 - F31
def _model_noise(bench, x):
    r"""\epsilon_\theta: that of the wrong model law, noised like the data."""
    k = step()[2]
    return -math.sqrt(k.v) * bench.second.noised(k).score(x)


def _model_mean(bench, x):
    k, b = step()[2], BETAS[T - 1]
    return (x - b / math.sqrt(k.v) * _model_noise(bench, x)) / math.sqrt(1 - b)


def _variances():
    before, last, whole = step()
    return last.v, last.v * before.v / whole.v


@lru_cache(maxsize=8)
def _squares(bench: Bench):
    r"""E|\tilde\mu - \mu_\theta|^2."""
    before, last, whole = step()
    j = joint(bench.target, whole)
    return j.mean_of((posterior(before, last, j.x0, j.x)[0] - _model_mean(bench, j.x)) ** 2)


def _divergence_is_a_square(bench):
    before, last, whole = step()
    j, pairs = joint(bench.target, whole), []
    for v in _variances():
        mean, own = posterior(before, last, j.x0, j.x)
        constant = 0.5 * (own / v - 1 + math.log(v / own))
        pairs.append((j.mean_of(gaussian_kl(mean, own, _model_mean(bench, j.x), v)), 0.5 / v * _squares(bench) + constant))
    exact = equal(*pairs, what="L_(t-1), and E|mu~ - mu|^2/(2 sigma^2) + C, for sigma^2 = beta and posterior")
    return Sides(exact.lhs, exact.rhs, exact.tolerance + 64 * EPS, exact.what)  # C is a difference of numbers of size 1


def _weighted_noise(bench):
    whole = step()[2]
    j, b, pairs = joint(bench.target, whole), BETAS[T - 1], []
    missed = j.mean_of((j.z - _model_noise(bench, j.x)) ** 2)
    for v in _variances():
        pairs.append((b * b / (2 * v * (1 - b) * whole.v) * missed, 0.5 / v * _squares(bench)))
    return equal(*pairs, what="weight E|eps - eps_theta|^2, and E|mu~ - mu|^2/(2 sigma^2)")


def _unequal_weights(_):
    weights = BETAS / (2 * (1 - BETAS) * (1 - ABAR))  # sigma^2 = beta
    return fact(weights.max() > 50 * weights.min(), what=f"largest weight {weights.max():.3g} over the smallest {weights.min():.3g}: more than 50")


def _best_noise(bench):
    r"""The minimiser is E[\epsilon|x_t] = -\sqrt{1 - abar}\, score, and what another predictor loses is its distance from it."""
    k = step()[2]
    law, j = bench.target.noised(k), joint(bench.target, k)
    best = lambda x: -math.sqrt(k.v) * law.score(x)[:, 0]  # noqa: E731
    pairs = []
    for x in bench.points(law)[:, 0]:
        weigh = lambda x0, x=x: np.exp(k.logpdf(np.full_like(x0, x), x0))  # noqa: E731
        missed = mean_of(bench.target, lambda x0, x=x, weigh=weigh: weigh(x0) * (x - k.m * x0[:, 0]) / math.sqrt(k.v))
        pairs.append((missed / mean_of(bench.target, weigh), float(best(column(x))[0])))
    least, other = (j.mean_of((j.z[:, 0] - e) ** 2) for e in (best(j.x), _model_noise(bench, j.x)[:, 0]))
    apart = mean_of(law, lambda x: (best(x) - _model_noise(bench, x)[:, 0]) ** 2)
    noise = equal(*pairs, what="E[eps|x_t] at five points, and -sqrt(1-abar) score")
    noise = Sides(noise.lhs, noise.rhs, noise.tolerance + 2**12 * EPS * np.abs(noise.rhs).max(), noise.what)
    return together(noise, equal((other, least + apart), what="loss of another predictor: least loss plus its distance"))


# F32, F33
def _reconstruction_variance(variance):
    """The variance of the last step, which L_0 divides by, beside its beta_1."""

    def sides(_):
        table = scheme.ancestral(grid.linear_beta(1000), variance=variance)
        return close([table.c[-1, 0] ** 2], [BETAS[0]], "variance of rho(x_0|x_1), and beta_1 > 0")

    return sides


def _rows(_):
    r"""The rows of ``ancestral`` without last noise, in terms of \epsilon = -\sqrt{1 - abar}\, s."""
    alpha, v, old = 1 - BETAS[::-1], 1 - ABAR[::-1], 1 - np.append(1.0, ABAR[:-1])[::-1]
    sides = []
    for variance, c2 in (("beta", 1 - alpha), ("posterior", (1 - alpha) * old / v)):
        table = scheme.ancestral(grid.linear_beta(1000), variance=variance, last_noise=False)
        sides.append(close(table.a[:, 0], 1 / np.sqrt(alpha), "1000 rows of the sampler, and the formula's coefficients of x_t, eps, z"))
        sides.append(close(-table.b[:, 0] / np.sqrt(v), -(1 - alpha) / np.sqrt(v * alpha)))
        sides.append(close(table.c[:, 0] ** 2, np.append(c2[:-1], 0.0)))
    return together(*sides)


def _returns_the_data(bench):
    """KL of the data and of what the chain returns, at most the exact KL of the two path laws, which falls with the number of steps."""
    data, tables = normal(bench), {n: scheme.ancestral(grid.linear_beta(n, beta=(0.1 / n, 30 / n)), variance="beta") for n in (60, 120, 240)}
    paths = {n: information.joint_kullback_leibler(bench.target, table) for n, table in tables.items()}
    marginal = kullback_leibler(data, propagate(tables[240], score.exact(data)))
    return less(
        (marginal, information.joint_kullback_leibler(data, tables[240])), (paths[120], 0.67 * paths[60]), (paths[240], 0.67 * paths[120]),
        what="KL(data|output) and its bound by path laws, Gaussian data; the bound for the target, a third less with twice the steps",
    )  # fmt: skip


def _sampler(bench):
    rows, law = _rows(bench), _returns_the_data(bench)
    return together(rows, fact(*(law.gaps <= law.tolerance), what=law.what))


FORMULAS = (
    Formula("003-F19", "003 L141", "q(x_t|x_0) = N(√abar_t x_0, (1 - abar_t) I), abar_t = ∏ α_s", "", "HOLDS", _closed_form),
    Formula(
        "003-F20", "003 L137", "ε = N(0, I), ε = N(x; 0, I)", "ε ~ N(0, I)", "IMPRECISE", _noise(True), _noise(False), "qualifier",
        "= read literally, as the value of a density",
    ),
    Formula("003-F21", "003 L146", "E[-log ρ(x_0)] ≤ E_q[-log ρ(x_{0:T})/q(x_{1:T}|x_0)]", "", "HOLDS", _bound),
    Formula("003-F22", "003 L150", "L = L_T + Σ_{t>1} L_{t-1} + L_0", "", "HOLDS", _decomposed),
    Formula(
        "003-F23", "003 L154", "μ̃ = √abar_{t-1} β_t/(1 - abar_t) x_0 + √α_t (1 - abar_{t-1})/(1 - abar_t) x_t", "", "HOLDS",
        _posterior_mean(lambda b, old, new: math.sqrt(old) * b / (1 - new)),
    ),
    Formula(
        "003-F24", "003 L154", "β̃_t - (1 - abar_{t-1})/(1 - abar_{t-1}) β_t", "β̃_t = (1 - abar_{t-1})/(1 - abar_t) β_t", "MISPRINT",
        _posterior_variance(lambda old, new: (1 - old) / (1 - old)), _posterior_variance(lambda old, new: (1 - old) / (1 - new)), "misprint",
        "the first - is read as =",
    ),
    Formula(
        "003-F25", "003 L191", "μ̃ = √(abar_{t-1} β_t)/(1 - abar_t) x_0 + …", "μ̃ = √abar_{t-1} β_t/(1 - abar_t) x_0 + …", "MISPRINT",
        _posterior_mean(lambda b, old, new: math.sqrt(old * b) / (1 - new)), _posterior_mean(lambda b, old, new: math.sqrt(old) * b / (1 - new)),
        "misprint",
    ),
    Formula("003-F26", "003 L158", "KL(ρ₁|ρ₂) = ½(tr Σ₂⁻¹Σ₁ + (μ₂-μ₁)ᵀΣ₂⁻¹(μ₂-μ₁) + ln det Σ₂/det Σ₁ - d)", "", "HOLDS", _two_gaussians),
    Formula("003-F27", "003 L166", "μ̃ = (x_t - β_t/√(1 - abar_t) ε)/√α_t", "", "HOLDS", _mean_from_noise),
    Formula(
        "003-F28", "003 L162", "L_{t-1} = E[‖μ̃ - μ_θ‖²/(2σ_t²)] + C", "", "HOLDS", _divergence_is_a_square,
        note="C = 0 for σ² = β̃, ½(β̃/β - 1 + ln β/β̃) d for σ² = β",
    ),
    Formula("003-F29", "003 L170", "L_{t-1} = E[β_t²/(2σ_t² α_t (1 - abar_t)) ‖ε - ε_θ‖²] + C", "", "HOLDS", _weighted_noise),
    Formula("003-F30", "003 L176", "these weights can make some terms much smaller", "", "HOLDS", _unequal_weights),
    Formula("003-F31", "003 L178", "L_simple = E‖ε - ε_θ(x_t, t)‖²", "", "HOLDS", _best_noise, note="minimised by E[ε|x_t] = -√(1 - abar_t) score"),
    Formula(
        "003-F32", "003 L174", "ρ(x_0|x_1) = N(μ_θ(x_1, 1), σ_1² I), with σ² = β̃", "… with σ_1² = β_1", "CONVENTION",
        _reconstruction_variance("posterior"), _reconstruction_variance("beta"), "convention", "β̃_1 = 0, as abar_0 = 1: L_0 has no density",
    ),
    Formula("003-F33", "003 L193", "x_{t-1} = (x_t - β_t/√(1 - abar_t) ε_θ)/√α_t + σ_t z, no noise at t = 1", "", "HOLDS", _sampler),
)  # fmt: skip
