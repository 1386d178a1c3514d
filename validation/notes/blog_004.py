"""Note 004, a blog: X ~ N(0, 1) is drowned in noise of standard deviation 10 and "un-diffused" by the most probable x given x + noise = o."""

import math

import numpy as np
from scipy.optimize import brentq, minimize_scalar

from scoresde import Gaussian, GaussianMixture, Kernel, information, standard_normal

from .bench import EPS
from .formula import Formula, Sides
from .sums import close, column, equal, fact, mean_of, rule, together, total

__all__ = ["FORMULAS", "NOISE", "X", "most_probable"]

X = Gaussian([0.0], 1.0)
NOISE = Kernel(1.0, 100.0)
OBSERVED = X.noised(NOISE)  # N(0, 101)
XATOL = 1e-10


def _draws():
    """Observations o: 21 quantiles of N(0, 101)."""
    return OBSERVED.quantile((np.arange(21) + 0.5) / 21)[:, 0]


def most_probable(o):
    """The x in [-10, 10] that maximises p(o|x) p(x), by a bounded search, as the note does."""

    def minus(x):
        return -float(np.exp(NOISE.logpdf(column(o), column(x)))[0] * X.pdf(column(x))[0])

    return minimize_scalar(minus, bounds=(-10, 10), method="bounded", options={"xatol": XATOL}).x


def _search(observations, expected, what):
    """A maximum is flat: with the product of densities known to 8 EPS, its place is known to sqrt(16 EPS)."""
    return Sides([most_probable(o) for o in observations], expected, math.sqrt(16 * EPS) + XATOL, what)


# F01, F02
def _sum_of_normals(variance, sd):
    def sides(_):
        return close(
            [X.noised(Kernel(1.0, 10.0)).cov()[0, 0], math.sqrt(OBSERVED.cov()[0, 0])], [variance, sd],
            "variance of X + Y with Var Y = 10; standard deviation of X + Y with sd Y = 10",
        )  # fmt: skip

    return sides


def _code_is_consistent(_):
    pairs = []
    for o in (-12.0, 5.0, 20.0):
        convolved = mean_of(X, lambda x, o=o: np.exp(NOISE.logpdf(np.full_like(x, o), x)))
        pairs.append((convolved, float(Gaussian([0.0], 101.0).pdf(column(o))[0])))
    return equal(*pairs, what="density of N(0, 1) + N(0, 10^2), and of N(0, 101)")


# F03 - F06
def _conditioned_on(zero):
    def sides(_):
        draws = _draws()
        return _search(np.zeros_like(draws) if zero else draws, draws / 101, "argmax of the posterior, and o/101, at 21 observations")

    return sides


def _bayes(_):
    sides = []
    for o in (-12.0, 7.0):
        weigh = lambda x, o=o: np.exp(NOISE.logpdf(np.full_like(x, o), x))  # noqa: E731
        mass, first, second = (mean_of(X, lambda x, k=k, weigh=weigh: weigh(x) * x[:, 0] ** k) for k in range(3))
        mean = first / mass
        exact, spread = float(X.denoise(column(o), NOISE)[0, 0]), float(X.denoise_cov(column(o), NOISE)[0, 0, 0])
        sides += [
            equal((mean, exact), (second / mass - mean * mean, spread), what="mean and variance of p(o|x) p(x) normalised, and by conditioning")
        ]
        sides += [close([exact, spread], [o / 101, 100 / 101])]
    return together(*sides)


def _default_argument(given):
    """post(x) without o, and with it."""

    def sides(_):
        o = _draws()[[2, 17]]
        return _search(o if given else np.zeros(2), o / 101, "argmax for two observations, and o/101")

    return sides


# F07
def _near_the_mode(_):
    """The search is o -> o/101, so its values are N(0, 1/101); drawing x given o instead restores N(0, 1)."""
    found = OBSERVED.noised(Kernel(1 / 101, 0.0))
    drawn = OBSERVED.noised(Kernel(1 / 101, float(X.denoise_cov(column(0.0), NOISE)[0, 0, 0])))
    return together(
        close([found.cov()[0, 0], drawn.cov()[0, 0]], [1 / 101, 1.0], "variance of the search's values, 1/101, and of posterior draws, 1"),
        fact(1 - 2 * found.cdf(column(-0.3))[0] > 0.997, what="99.7 % of the search's values within .3 of the mode"),
    )


# F08
PAIR = GaussianMixture([0.5, 0.5], [[-3.0], [3.0]], [0.04, 1.0])


def _search_in_a_pair(_):
    """A narrow mode and a wide one: o above the switch, where both posterior maxima are equally high, goes to the wide one."""

    def peak(o, ends):
        f = lambda x: -float(PAIR.logpdf(column(x))[0] + NOISE.logpdf(column(o), column(x))[0])  # noqa: E731
        return -minimize_scalar(f, bounds=ends, method="bounded", options={"xatol": XATOL}).fun

    switch = brentq(lambda o: peak(o, (-4, -1)) - peak(o, (0, 6)), -50, 80)
    return Sides(PAIR.noised(NOISE).cdf(column(switch)), PAIR.cdf(column(0.0)), 1e-6, "mass of the left mode after the search, and before")


def _drawn_from_the_posterior(_):
    law = PAIR.noised(NOISE)
    o, w = rule(law)
    left = total([w[i] * float(PAIR.given(o[i], np.eye(1), NOISE.v).cdf(column(0.0))[0]) for i in range(len(o))])
    return equal((left, float(PAIR.cdf(column(0.0))[0])), what="mass of the left mode after posterior draws, and before")


# F10
def _typical(dim, gap):
    r"""E \log p(X) - \log p(mode)."""

    def sides(_):
        law = standard_normal(dim)
        return equal(
            (-information.entropy(law) - float(law.logpdf(np.zeros((1, dim)))[0]), gap), what=f"E log p(X) - max log p, N(0, I) in d = {dim}"
        )

    return sides


FORMULAS = (
    Formula(
        "004-F01", "004 L26", "Y ~ N(0, 10); X + Y ~ N(0, √11)", "variances: Y ~ N(0, 10), X + Y ~ N(0, 11); standard deviations: 10 and √101",
        "MISPRINT", _sum_of_normals(math.sqrt(11), math.sqrt(11)), _sum_of_normals(11.0, math.sqrt(101)), "misprint",
        "the code's 10 is a standard deviation",
    ),
    Formula("004-F02", "004 L29", "rnorm(1, 0, sqrt(101)) with dnorm(·, 0, 10)", "", "HOLDS", _code_is_consistent, note="standard deviations"),
    Formula(
        "004-F03", "004 L32", "the x that maximises p(x|0)", "the x that maximises p(x|o)", "MISPRINT", _conditioned_on(True), _conditioned_on(False),
        "misprint",
    ),
    Formula("004-F04", "004 L34", "p(x|o) ∝ p(o|x) p(x) = p_d(o - x) p_0(x)", "", "HOLDS", _bayes),
    Formula("004-F05", "004 L39", "optimize(post, -10, 10)", "", "HOLDS", _conditioned_on(False), note="the maximum is at o/101"),
    Formula(
        "004-F06", "004 L39", "post <- function(x, o = 0)", "o must be passed", "CONVENTION", _default_argument(False), _default_argument(True),
        "convention", "a trap, not a mistake: the note passes o everywhere",
    ),
    Formula("004-F07", "004 L60", "hist(res): values near the mode of X", "", "HOLDS", _near_the_mode, note="N(0, 1/101): not a sample of X"),
    Formula(
        "004-F08", "004 L71", "the same idea for a complicated p_0",
        "… with draws from the posterior: the most probable x keeps modes, not their masses", "IMPRECISE", _search_in_a_pair,
        _drawn_from_the_posterior, "qualifier", "p_0 = ½N(-3, .2²) + ½N(3, 1)",
    ),
    Formula(
        "004-F10", "004 L20", "values of high probability, where the density is large, are wanted",
        "in d dimensions draws lie d/2 nats below the mode", "IMPRECISE", _typical(1000, 0.0), _typical(1000, -500.0), "qualifier",
        "the mode is not typical: |X| ≈ 31.6 in d = 1000",
    ),
)  # fmt: skip
