r"""Note 003, L49-L258: score matching again, noise-conditional networks and annealed Langevin dynamics; and the conventions of L72 and L174.

The model s_\theta is the score of a mixture near the target, as in note 002.
"""

import math

import numpy as np

from scoresde import Kernel, Uniform, fisher_divergence, information, score, variance_exploding

from .bits import STEPS, chain
from .formula import Formula, Sides
from .numeric import derivative
from .russia_003_bound import BETA, central_term, unit_size
from .russia_003_ddpm import step
from .sums import agree, close, column, equal, joint, less, mean_of, smoothing, together
from .uruguay_002_annealed import annealing, contractions
from .uruguay_002_fisher import hyvarinen, model
from .uruguay_002_langevin import separated, stationary
from .uruguay_002_sliced import plane

__all__ = ["FORMULAS"]


def _objective(bench):
    r"""E[\frac12 s^2 + s'] by the package: half the Fisher divergence less half the information."""
    return 0.5 * fisher_divergence(bench.target, bench.second) - 0.5 * information.fisher(bench.target)


# F35 - F37
def _square_expanded(bench):
    def terms(x):
        s = model(bench, x)[0]
        return 0.5 * s * s - s * bench.target.score(x)[:, 0]

    return equal((_objective(bench), mean_of(bench.target, terms)), what="Fisher divergence/2 less E|score|^2/2, and E[s^2/2 - s score]")


def _by_parts(sign):
    def sides(bench):
        return equal((_objective(bench), hyvarinen(bench, sign)), what="Fisher divergence/2 less E|score|^2/2, and the objective")

    return sides


def _in_the_plane(of):
    def sides(bench):
        q = plane(bench)
        left = q.mean_of(0.5 * ((q.p - q.s) ** 2).sum(1)) - 0.5 * q.information
        return equal(
            (left, q.mean_of(0.5 * (q.s**2).sum(1) + of(q.ds))), what="in the plane: Fisher divergence/2 less E|score|^2/2, and the objective"
        )

    return sides


# F38, F39, F43, F45: denoising
def _constant(law, k):
    r"""\frac12 E|\nabla\log q(\tilde x|x)|^2 - \frac12 E|\nabla\log q|^2 = \frac12(1/v - I)."""
    return 0.5 / k.v - 0.5 * information.fisher(law)


def _denoising(bench, at_clean):
    r"""\frac12 E|s - \nabla\log q(\tilde x|x)|^2; at_clean: s and the gradient in x instead of \tilde x."""
    k = smoothing(bench)
    j = joint(bench.target, k)
    gradient = k.score(j.x, j.x0)[:, 0]
    s, g = (model(bench, j.x0)[0], -gradient) if at_clean else (model(bench, j.x)[0], gradient)
    return 0.5 * j.mean_of((s - g) ** 2)


def _which_argument(at_clean):
    def sides(bench):
        k = smoothing(bench)
        law = bench.target.noised(k)
        left = 0.5 * fisher_divergence(law, bench.second) + _constant(law, k)
        return equal((left, _denoising(bench, at_clean)), what="Fisher divergence/2 from q_sigma and the constant, and the denoising objective")

    return sides


def _minimiser(bench):
    k = smoothing(bench)
    law, j = bench.target.noised(k), joint(bench.target, k)
    least = 0.5 * j.mean_of((law.score(j.x)[:, 0] - k.score(j.x, j.x0)[:, 0]) ** 2)
    return equal(
        (_denoising(bench, False) - least, 0.5 * fisher_divergence(law, bench.second)),
        what="loss of the model less that of score q_sigma; Fisher divergence/2",
    )


def _least_loss(sign):
    def sides(bench):
        k = smoothing(bench)
        law, j = bench.target.noised(k), joint(bench.target, k)
        loss = 0.5 * j.mean_of((law.score(j.x) + (j.x + sign * j.x0) / k.v) ** 2)
        return equal((_constant(law, k), loss), what="least possible loss (1/sigma^2 - E|score|^2)/2, and the loss at s = score q_sigma")

    return sides


def _all_levels(bench):
    pairs = []
    for of in (1.0, 0.5, 0.25):
        k = smoothing(bench, of)
        law, j = bench.target.noised(k), joint(bench.target, k)
        weighted = k.v * 0.5 * j.mean_of((model(bench, j.x)[0] - k.score(j.x, j.x0)[:, 0]) ** 2)
        pairs.append((k.v * (0.5 * fisher_divergence(law, bench.second) + _constant(law, k)), weighted))
        pairs.append((k.v * j.mean_of(k.score(j.x, j.x0) ** 2), 1.0))
    return equal(*pairs, what="lambda l at three levels, by the Fisher divergence and by denoising; lambda E|target|^2 = 1")


# F40 - F42, F44, F48
def _density(bench):
    k, x0 = step()[2], bench.points(bench.target)
    x = k.m * x0 + math.sqrt(k.v) * column([-0.8, 0.3, 1.1, -0.2, 0.6])
    formula = np.exp(-((x - k.m * x0) ** 2) / (2 * k.v)) / (math.sqrt(2 * math.pi) * math.sqrt(k.v))
    return close(np.exp(k.logpdf(x, x0)), formula, "density of the kernel x_0 -> x_301, and the formula")


def _kernel_score(bench):
    r"""The equality for every pair; the score itself is its mean given x_t."""
    k, x0 = step()[2], bench.points(bench.target)
    eps = column([-0.8, 0.3, 1.1, -0.2, 0.6])
    x, law = k.m * x0 + math.sqrt(k.v) * eps, bench.target.noised(k)
    mean = (k.m * bench.target.denoise(x, k) - x) / k.v
    return together(
        close(k.score(x, x0), -eps / math.sqrt(k.v), "-(x_t - m x_0)/v and -eps/sqrt(v)"),
        close(law.score(x), mean, "score, and the mean of that given x_t", size=np.abs(x).max() / k.v),
    )


def _gradient(of):
    def sides(bench):
        k = smoothing(bench)
        law, s = bench.target.noised(k), score.exact(bench.target, forward=variance_exploding)
        x = bench.points(law)
        f = law.logpdf if of == "log density" else law.pdf
        return agree(
            s(math.sqrt(k.v), x), derivative(lambda y: f(column(y)), x[:, 0], 0.02 * math.sqrt(k.v)), f"s(x, sigma), and the gradient of the {of}"
        )

    return sides


def _smoothed_density(bench):
    pairs = []
    for of in (1.0, 0.5, 0.25):
        k = smoothing(bench, of)
        law = bench.target.noised(k)
        for x in bench.points(law)[:, 0]:
            pairs.append((mean_of(bench.target, lambda t, x=x, k=k: np.exp(k.logpdf(np.full_like(t, x), t))), float(law.pdf(column(x))[0])))
    return equal(*pairs, what="integral of p(t) N(x; t, sigma^2), and the noised density, three levels")


def _estimate_of(f_name):
    def sides(bench):
        x, law = bench.points(bench.target), bench.target
        if f_name == "density":
            return close(law.score(x), law.pdf(x), "score, and density")
        h = 0.01 * math.sqrt(law.covs.min())
        return agree(law.score(x), derivative(lambda y: law.logpdf(column(y)), x[:, 0], h), "score, and gradient of the log density")

    return sides


# F47, F49, F50
def _double_loop(bench):
    """From uniform noise on [-2 sigma_1, 2 sigma_1]; the level's last state starts the next level."""
    pairs = []
    for law in (bench.target, separated(bench, 0.2)):
        wide = 6 * math.sqrt(law.second_moment())
        start = Uniform([-wide], [wide])
        pairs.append((annealing(law, 0.4, 20, start=start), 0.67 * annealing(law, 0.8, 5, start=start)))
    return less(*pairs, what="TV to the data at the last level: half the step and four times the steps, a third less at least; target, modes apart")


def _jensen(bench):
    """log E >= E log of the importance ratio, for each x_0 of the binomial chain."""
    c, later = chain(bench), tuple(range(1, STEPS + 1))
    given = c.q / c.data.reshape(4, *(1,) * STEPS)
    inside, outside = (given * c.log_ratio).sum(axis=later), np.log((given * np.exp(c.log_ratio)).sum(axis=later))
    exact = close(inside, outside)
    return Sides(exact.lhs, exact.rhs, exact.tolerance, "E log and log E of the ratio, four x_0", "<=")


def _scaled(to):
    r"""The central term of L90, (E x_1^2 - E x_0^2)/2 for the standard normal prior: a uniform law on [-1, 1], then laws of second moment 1."""

    def sides(bench):
        box = Uniform([-1.0], [1.0])
        laws = [box] if to == "[-1, 1]" else [unit_size(box), unit_size(bench.target)]
        k = Kernel(math.sqrt(1 - BETA), BETA)
        terms = [0.5 * (law.noised(k).second_moment() - law.second_moment()) for law in laws]
        exact = close(terms, [0.0] * len(terms), f"integral of log pi(x_0)/pi(x_1), data scaled to {to}", size=1.0)
        return exact if len(laws) == 1 else together(exact, equal((central_term(laws[1]), 0.0), what="the same by entropies"))

    return sides


FORMULAS = (
    Formula(
        "003-F34", "003 L209", "x_t = x_{t-1} + ½ε ∇ log ρ(x_{t-1}) + √ε z_t", "", "HOLDS", stationary(0.1),
        note="exact as ε → 0: at ε the variance of N(μ, v) becomes v/(1 - ε/(4v))",
    ),
    Formula("003-F35", "003 L223", "E(½‖s‖² - s·∇ log ρ)", "", "HOLDS", _square_expanded, note="up to ½ E‖∇ log ρ‖²"),
    Formula("003-F36", "003 L227", "E(½‖s‖² - tr ∇s)", "E(½‖s‖² + tr ∇s)", "MISPRINT", _by_parts(-1.0), _by_parts(1.0), "misprint"),
    Formula(
        "003-F37", "003 L229", "tr(∇s), the Jacobian of s", "the trace of the Jacobian matrix of s", "IMPRECISE", _in_the_plane(np.linalg.det),
        _in_the_plane(lambda ds: np.trace(ds, axis1=1, axis2=2)), "qualifier", "literally a determinant; seen in the plane",
    ),
    Formula(
        "003-F38", "003 L233", "½ E‖s(x) - ∇_x log q_σ(x̃|x)‖²", "½ E‖s(x̃) - ∇_x̃ log q_σ(x̃|x)‖²", "MISPRINT", _which_argument(True),
        _which_argument(False), "misprint", "the two gradients have opposite signs",
    ),
    Formula("003-F39", "003 L234", "s_θ(x) ≈ ∇ log q_σ(x)", "", "HOLDS", _minimiser, note="the minimiser of the denoising objective"),
    Formula(
        "003-F40", "003 L236", "q(x_t|x_0) = exp{-(x_t - √abar x_0)²/(2(1 - abar))}/(√(2π) √(1 - abar))", "", "HOLDS", _density,
        note="in one dimension",
    ),
    Formula(
        "003-F41", "003 L238", "s(x_t, t) ≈ -(x_t - √abar x_0)/(1 - abar) = -ε/√(1 - abar)", "", "HOLDS", _kernel_score,
        note="the equality; ≈ becomes = in the mean given x_t",
    ),
    Formula(
        "003-F42", "003 L250", "s_θ(x, σ) ≈ ∇ q_σ(x)", "s_θ(x, σ) ≈ ∇ log q_σ(x)", "MISPRINT", _gradient("density"), _gradient("log density"),
        "misprint",
    ),
    Formula(
        "003-F43", "003 L252", "l = ½ E‖s(x̃, σ) + (x̃ + x)/σ²‖²", "l = ½ E‖s(x̃, σ) + (x̃ - x)/σ²‖²", "MISPRINT", _least_loss(1), _least_loss(-1),
        "misprint",
    ),
    Formula("003-F44", "003 L248", "q_σ(x) = ∫ ρ(t) N(x; t, σ² I) dt", "", "HOLDS", _smoothed_density),
    Formula("003-F45", "003 L256", "(1/L) Σ λ(σ_i) l(θ, σ_i)", "", "HOLDS", _all_levels, note="λ = σ²"),
    Formula("003-F46", "003 L258", "α_i = ε σ_i²/σ_L²", "", "HOLDS", contractions(2), note="002 L503 prints the first power"),
    Formula("003-F47", "003 L258", "double loop over levels and steps from uniform noise", "", "HOLDS", _double_loop),
    Formula(
        "003-F48", "003 L205", "the score is an estimate of the density", "the score is the gradient of the log-density", "IMPRECISE",
        _estimate_of("density"), _estimate_of("log density"), "qualifier",
    ),
    Formula("003-F49", "003 L72", "f(EX) ≥ E f(X) for concave f, here the logarithm", "", "HOLDS", _jensen),
    Formula(
        "003-F50", "003 L174", "scale data to [-1, 1]", "… and F06, F08 are exact only for data scaled to unit second moment", "CONVENTION",
        _scaled("[-1, 1]"), _scaled("unit second moment"), "convention",
    ),
)  # fmt: skip
