r"""Slides "Modelos generativos basados en score", L64-L192: the score, the Fisher divergence and Hyvärinen's objective.

The model s_\theta is the score of a mixture near the target, ``bench.second``.
"""

import math

import numpy as np
from scipy.optimize import brentq

from scoresde import Density, GaussianMixture, fisher_divergence, information

from .bench import EPS
from .formula import Formula, Sides
from .numeric import derivative
from .sums import agree, close, column, equal, mean_of, together

__all__ = ["FORMULAS", "gradient_at", "hyvarinen", "model", "true_score"]


def model(bench, x):
    """(s(x), s'(x)) of the model at points (n, 1), each (n,)."""
    return bench.second.score(x)[:, 0], bench.second.score_jacobian(x)[:, 0, 0]


def hyvarinen(bench, sign=1.0):
    r"""E[\frac12 s^2 + sign\, s'] under the target."""

    def terms(x):
        s, ds = model(bench, x)
        return 0.5 * s * s + sign * ds

    return mean_of(bench.target, terms)


def true_score(bench, x):
    """The target's score at points (n, 1), (n,)."""
    return bench.target.score(x)[:, 0]


def gradient_at(f, x, step):
    """(f'(x), error) at points (n, 1), each (n,), by differences."""
    return derivative(lambda y: f(column(y)), x[:, 0], step)


# F01, F03
def _gradient(of):
    def sides(bench):
        x = bench.points(bench.target)
        step = 0.01 * math.sqrt(bench.target.covs.min())
        f = bench.target.pdf if of == "density" else bench.target.logpdf
        return agree(bench.target.score(x), gradient_at(f, x, step), f"score, and (d/dx) {of}")

    return sides


def _no_constant(bench):
    """f = 2 log p + 3: an energy whose Z is not known until it is integrated."""
    energy = Density(lambda x: 2 * bench.target.logpdf(x) + 3.0, dim=1, normalized=False)
    x = bench.points(bench.target)
    step = 0.01 * math.sqrt(bench.target.covs.min())
    log_z = 2 * bench.target.logpdf(x) + 3.0 - energy.logpdf(x)
    return together(
        agree(2 * bench.target.score(x), gradient_at(energy.logpdf, x, step), "f', and (d/dx) log p of the normalised density"),
        close(log_z, [log_z[0]] * len(log_z), "log Z, the same everywhere", size=np.abs(log_z).max() + np.abs(energy.logpdf(x)).max()),
    )


# F02
def _at_two_modes(signs):
    def sides(bench):
        pair = GaussianMixture([0.35, 0.65], bench.mean + bench.sd * np.array([[-1.5], [1.5]]), 0.2 * bench.var)
        score = lambda x: float(pair.score(column(x))[0, 0])  # noqa: E731
        modes = [brentq(score, *(bench.mean + bench.sd * np.array(ends))) for ends in ((-2.0, -0.8), (0.8, 2.0))]
        flanks = [mode + side * 0.2 * bench.sd for mode in modes for side in (-1, 1)]
        return Sides(np.sign([score(x) for x in flanks]), signs, 0.0, "sign of the score left and right of the left mode, of the right mode")

    return sides


# F04
def _is_the_mean_distance(bench):
    def distance(x):
        return np.abs(true_score(bench, x) - model(bench, x)[0])

    return equal((0.5 * fisher_divergence(bench.target, bench.second), mean_of(bench.target, distance)), what="Fisher divergence/2 and E|score - s|")


def _is_half_the_mean_square(bench):
    def square(x):
        return 0.5 * (true_score(bench, x) - model(bench, x)[0]) ** 2

    return equal(
        (0.5 * fisher_divergence(bench.target, bench.second), mean_of(bench.target, square)),
        (fisher_divergence(bench.target, bench.target), 0.0),
        what="Fisher divergence/2 and E|score - s|^2/2; zero for s = score",
    )


# F05, F07, F08
def _by_parts(bench):
    fisher, constant = fisher_divergence(bench.target, bench.second), information.fisher(bench.target)
    return equal((0.5 * fisher, hyvarinen(bench) + 0.5 * constant), what="Fisher divergence/2, and E[s^2/2 + s'] + E[score^2]/2")


def _square_expanded(printed):
    def terms(bench, x):
        s = model(bench, x)[0]
        second, third = (model(bench, x * x)[0], s * s) if printed else (s * s, s)
        p = true_score(bench, x)
        return 0.5 * p * p + 0.5 * second - p * third

    def sides(bench):
        fisher = fisher_divergence(bench.target, bench.second)
        return equal((0.5 * fisher, mean_of(bench.target, lambda x: terms(bench, x))), what="Fisher divergence/2 and the three integrals")

    return sides


def _third_integral(power):
    def sides(bench):
        left = mean_of(bench.target, lambda x: true_score(bench, x) * model(bench, x)[0] ** power)
        right = mean_of(bench.target, lambda x: -model(bench, x)[1])
        ends = bench.target.breakpoints()[[0, -1]]
        boundary = bench.target.pdf(column(ends)) * model(bench, column(ends))[0]
        return together(
            equal((left, right), what=f"E[(log p)' s^{power}] and -E[s']"),
            Sides(boundary, 0.0, EPS, "p s at the ends, 12 standard deviations out"),
        )

    return sides


FORMULAS = (
    Formula(
        "002-F01", "002 L66", "the score is the gradient of the density", "the score is the gradient of the log-density ∇ log p", "IMPRECISE",
        _gradient("density"), _gradient("log density"), "qualifier",
    ),
    Formula(
        "002-F02", "002 L83", "the score is negative near the left mode and positive near the right mode",
        "it changes from + to - at every mode; the statement is right on the inner flanks", "IMPRECISE", _at_two_modes([-1, -1, 1, 1]),
        _at_two_modes([1, -1, 1, -1]), "qualifier",
    ),
    Formula("002-F03", "002 L93", "∇ log p_θ = ∇ f_θ: no Z(θ)", "", "HOLDS", _no_constant),
    Formula(
        "002-F04", "002 L163", "½ E‖∇ log p - s‖² is the mean Euclidean distance of the two fields", "half the mean squared distance", "IMPRECISE",
        _is_the_mean_distance, _is_half_the_mean_square, "qualifier", "zero if and only if s is the score almost everywhere",
    ),
    Formula("002-F05", "002 L175", "J = E[½‖s‖² + tr ∇s]", "", "HOLDS", _by_parts, note="up to the constant ½ E‖∇ log p‖²"),
    Formula(
        "002-F07", "002 L187", "½∫p(log p)'² + ½∫p s(x²) - ∫p(log p)' s(x)²", "½∫p(log p)'² + ½∫p s(x)² - ∫p(log p)' s(x)", "MISPRINT",
        _square_expanded(True), _square_expanded(False), "misprint",
    ),
    Formula(
        "002-F08", "002 L192", "∫p(log p)' s² = ∫p' s² = [p s] - ∫p s'", "∫p(log p)' s = ∫p' s = [p s] - ∫p s'", "MISPRINT", _third_integral(2),
        _third_integral(1), "misprint",
    ),
)  # fmt: skip
