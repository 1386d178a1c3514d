r"""Slides "Modelos Generativos", part 2: the forward chains, autoregressive and Euler-Maruyama, and what they converge to.

X_{k+1} = (1 - \gamma) X_k + \sqrt{2\gamma} Z has m_k = (1 - \gamma)^k and \sigma_k^2 = {1 - (1 - \gamma)^{2k}} / (1 - \gamma/2).
"""

import math

import numpy as np

from scoresde import Gaussian, kernel, kullback_leibler, ornstein_uhlenbeck, propagate, total_variation, wasserstein2
from scoresde.scheme import forward_euler_maruyama

from .formula import Formula, Sides
from .numeric import ORDER, QUAD, excess, order


def _recursion(bench):
    r"""\int p_k(y) p_{k+1|k}(x|y) dy against p_{k+1}(x)."""
    step, found, exact = bench.chain(1), [], []
    for k in (0, bench.k):
        before, after = bench.law(k), bench.law(k + 1)
        for x in bench.points(after):
            where = Gaussian(x / step.m, step.v / step.m**2)  # where y |-> p(x|y) lives
            found.append(bench.integral(lambda y, x=x, before=before: before.pdf(y) * np.exp(step.logpdf(x, y)), before, where))
            exact.append(after.pdf(x))
    return Sides(found, exact, QUAD * np.array(exact), "∫ p_k p_(k+1|k), p_(k+1), at 5 points for k = 0 and 6")


def _decompositions(bench):
    """Log-density of paths, forwards from p_0 and backwards from p_N; the backward kernels by Bayes' rule in each component."""
    N, step, forward, backward, mass = 5, bench.chain(1), [], [], []
    for level in (0.1, 0.35, 0.8):
        path = [bench.law(k).quantile(np.array([0.9 * level + 0.02 * k]))[0] for k in range(N + 1)]
        forward.append(float(bench.target.logpdf(path[0])) + sum(float(step.logpdf(path[k + 1], path[k])) for k in range(N)))
        kernels = [bench.backward(k, path[k + 1]) for k in range(N)]
        backward.append(float(bench.law(N).logpdf(path[N])) + sum(float(kernels[k].logpdf(path[k])) for k in range(N)))
        mass.append(bench.expectation(kernels[0], lambda x: np.ones(len(x))))
    sizes = np.append(np.abs(forward) + 10, np.ones(3))
    return Sides([*forward, *mass], [*backward, 1, 1, 1], QUAD * sizes, "log p(x_0..x_5) forwards, backwards; mass of p_(0|1), 1")


def _autoregressive(alphas, steps=400):
    r"""The distance of the chain's law from N(0, 1) after many steps; infinite where \sqrt{1 - \alpha^2} is not real."""

    def distance(bench, alpha):
        try:
            law = bench.target.noised(kernel.autoregressive(np.full(steps, alpha)))
        except ValueError:  # 1 - alpha^2 < 0: there is no such chain
            return math.inf
        return total_variation(law, bench.noise).hi

    def sides(bench):
        start = math.sqrt(kullback_leibler(bench.target, bench.noise).hi / 2)
        decay = [min(abs(alpha), 1.0) ** steps * start if abs(alpha) < 1 else 0.0 for alpha in alphas]
        found = [distance(bench, alpha) for alpha in alphas]
        return Sides(found, 0.0, np.array(decay) + QUAD, f"TV(X_{steps}, N(0, 1)), 0, for α = {', '.join(map(str, alphas))}")

    return sides


def _exponentially(bench):
    r"""W_2 <= |\alpha|^k W_2(\pi, N) with |mean| falling at exactly that rate, TV <= |\alpha|^k \sqrt{KL/2}, for four k."""
    alpha, steps = 0.8, (1, 4, 12, 30)
    laws = [bench.target.noised(kernel.autoregressive(np.full(k, alpha))) for k in steps]
    rate = alpha ** np.array(steps)
    w2, tv = [wasserstein2(law, bench.noise) for law in laws], [total_variation(law, bench.noise) for law in laws]
    first, entropy = wasserstein2(bench.target, bench.noise).hi, math.sqrt(kullback_leibler(bench.target, bench.noise).hi / 2)
    over = [*excess([e.lo for e in w2], rate * first), *excess([e.lo for e in tv], rate * entropy)]
    means, variances = [float(law.mean()[0]) for law in laws], [float(law.cov()[0, 0]) - 1 for law in laws]
    return Sides(
        [*over, *means, *variances], [*np.zeros(8), *(rate * bench.mean), *(rate**2 * (bench.var - 1))],
        QUAD * (1 + abs(bench.mean) + bench.var), "excess of W2, TV over their rates, 0; mean, variance - 1 at rates α^k, α^2k; k = 1, 4, 12, 30",
    )  # fmt: skip


def _stationary(bench):
    r"""Mean, variance and law after 600 steps against N(0, 1/(1 - \gamma/2)), for \gamma in (0, 2)."""
    gammas = (0.1, 0.5, 1.7)
    laws = [bench.target.noised(kernel.euler_maruyama(np.full(600, g))) for g in gammas]  # the recursion, step by step
    limits = [1 / (1 - g / 2) for g in gammas]
    far = [total_variation(law, Gaussian([0.0], v)).hi for law, v in zip(laws, limits, strict=True)]
    found = [[float(law.mean()[0]) for law in laws], [float(law.cov()[0, 0]) for law in laws], far]
    return Sides(found, [np.zeros(3), limits, np.zeros(3)], 10 * QUAD, "mean, variance, TV to N(0, 1/(1-γ/2)) after 600 steps; γ = .1, .5, 1.7")


def _closed_form(bench):
    r"""m_k, \sigma_k^2 of the recursion; differences of log p_{k|0} (C_k cancels) and its gradient, against the closed forms."""
    g, k = bench.gamma, bench.k
    chain = kernel.euler_maruyama(np.full(k, g))
    m, v = (1 - g) ** k, (1 - (1 - g) ** (2 * k)) / (1 - g / 2)
    x, x0 = bench.points(bench.law(k)), bench.points(bench.target)[::-1]
    log_p = -((x - m * x0) ** 2)[:, 0] / (2 * v)
    left = [chain.m, chain.v, *np.diff(chain.logpdf(x, x0)), *chain.score(x, x0)[:, 0]]
    right = [m, v, *np.diff(log_p), *(-(x - m * x0) / v)[:, 0]]
    return Sides(left, right, QUAD * (1 + np.abs(right)), "m_6, σ_6², differences and gradients of log p_(6|0) at 5 pairs")


def _noise_sum(weights):
    r"""The variance of m_k X_0 plus the noises' sum, for ``weights(k, gamma)`` on independent Z_j, against that of the chain's law."""

    def sides(bench):
        g, k = bench.gamma, bench.k
        exact = float(propagate(forward_euler_maruyama(np.full(k, g)), None, start=bench.target).cov()[0, 0])
        found = (1 - g) ** (2 * k) * bench.var + 2 * g * float(np.sum(weights(k, g) ** 2))
        return Sides(found, exact, QUAD * exact, "Var of the sum, Var X_6 of the chain")

    return sides


def _one_noise(k, g):
    """Every term has the same Z_k, so that the weights add."""
    return np.array([np.sum((1 - g) ** np.arange(k))])


def _each_noise(k, g):
    return (1 - g) ** np.arange(k)


def _residual(power):
    r"""grad log p_{k|0} at X_k = m_k X_0 + \sigma_k z, against -z / \sigma_k^power."""

    def sides(bench):
        chain, x0 = bench.chain(bench.k), bench.points(bench.target)
        z = np.array([-1.7, -0.6, 0.3, 0.8, 2.1])[:, None]
        sigma = math.sqrt(chain.v)
        exact = chain.score(chain.m * x0 + sigma * z, x0)
        return Sides(-z / sigma**power, exact, QUAD * (1 + np.abs(chain.m * x0)) / chain.v, "right side, gradient, at 5 pairs (x0, z)")

    return sides


def _two_clocks(bench):
    r"""Orders in \gamma at which (m_k, \sigma_k^2) approach (e^{-T}, 1 - e^{-2T}), T = k\gamma = 1."""
    limit = ornstein_uhlenbeck(1.0)
    chains = [bench.chain(k, 1.0 / k) for k in (20, 40, 80)]
    orders = [order([abs(getattr(c, name) - getattr(limit, name)) for c in chains]) for name in ("m", "v")]
    return Sides(orders, 1.0, ORDER, "orders of |m_k - e^-T|, |σ_k² - (1 - e^-2T)| in γ, 1")


FORMULAS = (
    Formula(
        "001-F09", "001 L405, L415", "p(x_{0:N}) = p_0(x_0) ∏ p_{k+1|k}(x_{k+1}|x_k); p_{k+1}(x) = ∫ p_k(y) p_{k+1|k}(x|y) dy", "",
        "HOLDS", _recursion
    ),
    Formula(
        "001-F10", "001 L429, L447", "p_{k|k+1} = p_{k+1|k} p_k / p_{k+1}; p(x_{0:N}) = p_N(x_N) ∏ p_{k|k+1}(x_k|x_{k+1})", "", "HOLDS",
        _decompositions
    ),
    Formula(
        "001-F11", "001 L468-470", "X_{k+1} = α X_k + √(1-α²) Z, α < 1, has X_k → N(0, Id)", "… |α| < 1 …", "MISPRINT",
        _autoregressive((0.8, -0.5, -1.0, -1.5)), _autoregressive((0.8, -0.5, -0.9)), "misprint",
        "α = -1 alternates; at α = -1.5, √(1-α²) is imaginary",
    ),
    Formula(
        "001-F12", "001 L472", "Law(X_k) → N(0, Id) exponentially fast (W, TV)", "", "HOLDS", _exponentially,
        note="rate α^k for the mean, α^{2k} for the variance",
    ),
    Formula("001-F13", "001 L489", "X_{k+1} = (1-γ) X_k + √(2γ) Z → N(0, Id/(1-γ/2))", "", "HOLDS", _stationary, note="0 < γ < 2"),
    Formula(
        "001-F24", "001 L608", "X_k = m_k X_0 + √(2γ) Σ_j (1-γ)^{k-j} Z_k = m_k X_0 + σ_k Ẑ_{j+1}",
        "X_k = m_k X_0 + √(2γ) Σ_j (1-γ)^{k-j} Z_j = m_k X_0 + σ_k Ẑ_k", "MISPRINT",
        _noise_sum(_one_noise), _noise_sum(_each_noise), "misprint",
    ),
    Formula(
        "001-F25", "001 L612", "m_k = (1-γ)^k, σ_k² = {1-(1-γ)^{2k}}/(1-γ/2); ∇ log p_{k|0}(x|x_0) = -(x - m_k x_0)/σ_k²", "", "HOLDS", _closed_form
    ),
    Formula(
        "001-F26", "001 L614, L919", "∇ log p_{k|0}(X_k|X_0) = -Ẑ_k/σ_k²", "∇ log p_{k|0}(X_k|X_0) = -Ẑ_k/σ_k", "MISPRINT",
        _residual(2), _residual(1), "misprint",
    ),
    Formula(
        "001-F33", "001 L489, L612, L736", "(m_k, σ_k²) of the EM chain ≈ (e^{-kγ}, 1 - e^{-2kγ}) of OU", "", "HOLDS", _two_clocks,
        note="first order",
    ),
)  # fmt: skip
