r"""Slides "Modelos generativos basados en score", L280-L315: denoising score matching, and the descent.

\tilde x = x + \sigma\varepsilon, \sigma = .6 standard deviations of the target; the model s_\theta is that of ``uruguay_002_fisher``.
"""

import math

import numpy as np

from scoresde import Gaussian, fisher_divergence, information, total_variation

from .bench import EPS
from .formula import Formula, Sides
from .sums import close, column, equal, fact, joint, less, mean_of, smoothing, together
from .uruguay_002_fisher import model, true_score

__all__ = ["FORMULAS"]


def _denoising(bench, target=None):
    r"""E|g - s(\tilde x)|^2 with g = \nabla\log q(\tilde x|x), or another target of the regression."""
    k = smoothing(bench)
    j = joint(bench.target, k)
    g = k.score(j.x, j.x0) if target is None else target(j)
    return j.mean_of((g[:, 0] - model(bench, j.x)[0]) ** 2)


def _noised(bench):
    return bench.target.noised(smoothing(bench))


def _constant(bench):
    r"""\frac12 E|\nabla\log q(\tilde x|x)|^2 - \frac12 E|\nabla\log q|^2."""
    return 0.5 / smoothing(bench).v - 0.5 * information.fisher(_noised(bench))


# F13
def _dsm_is_fisher(with_constant):
    def sides(bench):
        left = 0.5 * fisher_divergence(_noised(bench), bench.second)
        right = 0.5 * _denoising(bench)
        return equal(
            (left, right - _constant(bench) if with_constant else right), what="Fisher divergence/2 from q_sigma, and the denoising objective"
        )

    return sides


# F14 - F16
def _kernel_score(sign):
    def sides(bench):
        k, x0 = smoothing(bench), bench.points(bench.target)
        x = x0 + math.sqrt(k.v) * column([-0.8, 0.3, 1.1, -0.2, 0.6])
        return close(k.score(x, x0), sign * (x0 - x) / k.v, "gradient of log q(x~|x) at five pairs")

    return sides


def _smoothed_density(bench):
    k, q = smoothing(bench), _noised(bench)
    x = bench.points(q)[:, 0]
    return equal(
        *((mean_of(bench.target, lambda x0, y=y: np.exp(k.logpdf(np.full_like(x0, y), x0))), float(q.pdf(column(y))[0])) for y in x),
        what="integral of q(x~|x) p(x), and the density of the noised law",
    )


def _small_noise(conditional):
    def sides(bench):
        k = smoothing(bench, 0.01 * math.sqrt(bench.target.covs.min()) / bench.sd)
        bound = (0.5 * math.sqrt(2 * k.v / math.pi) * information.fisher(bench.target).sqrt()).hi
        laws = [Gaussian(x, k.v) for x in bench.points(bench.target)] if conditional else [bench.target.noised(k)]
        return less(
            *((total_variation(law, bench.target), bound) for law in laws), what="TV to p, at most E|sigma Z| sqrt(E score^2)/2, sigma = .01 sd"
        )

    return sides


# F17, F18
def _minibatch(printed):
    """Printed: a gradient at an x~ of its own, the model at x~_n, and no 1/2."""

    def sides(bench):
        left = 0.5 * fisher_divergence(_noised(bench), bench.second) + _constant(bench)
        if not printed:
            return equal((left, 0.5 * _denoising(bench)), what="the objective of L291, and the mean over a batch")
        k = smoothing(bench)
        j = joint(bench.target, k)
        g, s = k.score(j.x, j.x0)[:, 0], model(bench, j.x)[0]
        return equal(
            (left, j.mean_of(g * g) + j.mean_of(s * s) - 2 * j.mean_of(g) * j.mean_of(s)), what="the objective of L291, and the printed mean"
        )

    return sides


def _descent(bench):
    """Models c * score: J(c) = c^2 E[score^2]/2 + c E[score'], of gradient c E[score^2] + E[score']."""
    square = mean_of(bench.target, lambda x: true_score(bench, x) ** 2)
    slope_mean = mean_of(bench.target, lambda x: bench.target.score_jacobian(x)[:, 0, 0])
    eta, c, path = 0.5 / square.value, 0.0, []
    for _ in range(60):
        path.append(0.5 * c * c * square.value + c * slope_mean.value)
        c -= eta * (c * square.value + slope_mean.value)
    end = (square.hi - square.lo + slope_mean.hi - slope_mean.lo) / square.lo + 0.5**60
    return together(
        Sides(c, 1.0, end + 60 * EPS, "60 steps downhill from s = 0: the factor c of the true score"),
        fact(path[0] > path[1] > path[5], what="the objective falls"),
    )


FORMULAS = (
    Formula(
        "002-F13", "002 L291", "½ E‖∇ log q_σ(x̃) - s‖² = ½ E‖∇ log q_σ(x̃|x) - s‖²", "… equal up to ½ E‖∇ log q_σ(x̃|x)‖² - ½ E‖∇ log q_σ(x̃)‖²",
        "MISPRINT", _dsm_is_fisher(False), _dsm_is_fisher(True), "misprint", "the constant is free of θ",
    ),
    Formula(
        "002-F14", "002 L295", "∇ log q_σ(x̃|x) = -(x - x̃)/σ²", "∇ log q_σ(x̃|x) = -(x̃ - x)/σ²", "MISPRINT", _kernel_score(-1.0),
        _kernel_score(1.0), "misprint", "trained with the printed sign, a model learns minus the score",
    ),
    Formula("002-F15", "002 L280", "q_σ(x̃) = ∫ q_σ(x̃|x) p(x) dx", "", "HOLDS", _smoothed_density),
    Formula(
        "002-F16", "002 L285", "for small noise q_σ(x̃|x) ≈ p(x̃)", "for small noise q_σ(x̃) ≈ p(x̃)", "MISPRINT", _small_noise(True),
        _small_noise(False), "misprint", "q_σ(·|x) tends to a point mass at x",
    ),
    Formula(
        "002-F17", "002 L311", "J = (1/N) Σ ‖∇ log q_σ(x̃|x_n) - s(x̃_n)‖²", "J = (1/N) Σ ½‖∇ log q_σ(x̃_n|x_n) - s(x̃_n)‖²", "MISPRINT",
        _minibatch(True), _minibatch(False), "misprint", "x̃ without an index is read as a draw of its own; the ½ is that of L291 (same minimiser)",
    ),
    Formula("002-F18", "002 L315", "θ ← θ - η ∇J", "", "HOLDS", _descent, note="J is minimised by the score: downhill is right"),
)  # fmt: skip
