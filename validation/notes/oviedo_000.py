"""Note 000: an introduction to diffusion models; a chain of T = 12 steps with noise variances from .02 to .2."""

import math
from functools import reduce

import numpy as np
from scipy.optimize import brentq

from scoresde import Gaussian, Kernel, Table, kernel, kullback_leibler, marginals, ornstein_uhlenbeck, propagate, scheme, score, total_variation

from .elbo import divergence_from_prior, elbo
from .formula import Formula
from .sums import close, column, equal, fact, images, less, mean_of, normal, together

__all__ = ["FORMULAS"]

BETAS = np.linspace(0.02, 0.2, 12)
CHAIN = kernel.autoregressive(np.sqrt(1 - BETAS))
LONG = np.tile(BETAS, 40)  # signal variance 2e-25


def _clock(betas):
    """The steps as a grid of Ornstein-Uhlenbeck times, from T down to 0."""
    return np.append(0.0, np.cumsum(-0.5 * np.log1p(-betas)))[::-1]


# F01
def _after_twelve_steps(bench):
    return equal(*((total_variation(law.noised(CHAIN), bench.noise), 0.0) for law in images(bench)), what="TV of q(x_12) and N(0, 1)")


def _in_the_limit(bench):
    far = kernel.autoregressive(np.sqrt(1 - LONG))
    bounds = [math.sqrt(0.5 * divergence_from_prior(law, far)) for law in images(bench)]  # Pinsker, and convexity of KL over x_0
    return less(
        *((total_variation(law.noised(far), bench.noise), bound) for law, bound in zip(images(bench), bounds, strict=True)),
        what="TV of q(x_480) and N(0, 1), at most sqrt(E KL(q(x_T|x_0)|N(0, 1))/2)",
    )


# F02
def _one_step_at_a_time(bench):
    steps = reduce(lambda done, b: Kernel(math.sqrt(1 - b), b) @ done, BETAS, Kernel(1.0, 0.0))
    table = Table(np.arange(13.0), np.sqrt(1 - BETAS), 0.0, np.sqrt(BETAS))
    law = propagate(table, None, start=bench.target)
    return together(
        close([steps.m, steps.v, bench.noise.noised(steps).cov()[0, 0]], [CHAIN.m, 1 - CHAIN.m**2, 1.0], "m, v after 12 steps; unit variance stays"),
        equal((total_variation(law, bench.target.noised(CHAIN)), 0.0), what="TV of the chain's law and the closed form"),
    )


# F03
def _two_steps(bench):
    first, second = (Kernel(math.sqrt(1 - b), b) for b in BETAS[-2:])
    both, pairs = second @ first, []
    for x0 in bench.points(bench.target)[:, 0]:
        middle = Gaussian([first.m * x0], first.v)
        for x2 in both.m * x0 + math.sqrt(both.v) * np.array([-1.0, 0.4]):
            end = column(x2)
            marginal = mean_of(middle, lambda x, end=end: np.exp(second.logpdf(np.broadcast_to(end, x.shape), x)))
            density = float(np.exp(both.logpdf(end, column(x0)))[0])
            pairs.append(close([marginal.value], [density], "integral of the product over x_1, and q(x_2|x_0)"))
    return together(*pairs)


# F04
def _mixed_over_the_data(bench):
    law = bench.target.noised(CHAIN)
    x = bench.points(law)
    return equal(
        *((mean_of(bench.target, lambda x0, y=y: np.exp(CHAIN.logpdf(np.full_like(x0, y), x0))), float(law.pdf(column(y))[0])) for y in x[:, 0]),
        what="integral of q_0 q(x_t|x_0), and the density of the noised law",
    )


# F05
def _levels(power):
    """abar at which the signal is as strong as the noise: where the posterior variance is half the prior one; for each frequency."""

    def excess(abar, p):
        return float(Gaussian([0.0], p).denoise_cov(np.zeros(1), Kernel(math.sqrt(abar), 1 - abar))[0, 0]) - 0.5 * p

    return np.array([brentq(excess, 1e-9, 1 - 1e-9, args=(p,), xtol=1e-15) for p in power])


def _flat_spectrum(bench):
    return fact(*(np.diff(_levels(bench.var * np.ones(4))) > 1e-12), what="a flat spectrum: is each higher frequency lost before the lower one")


def _decaying_spectrum(bench):
    power = bench.var / np.array([1.0, 2.0, 4.0, 8.0]) ** 2
    levels = _levels(power)
    return together(
        fact(*(np.diff(levels) > 1e-12), what="power 1/f^2: each higher frequency is lost first"),
        close(levels, 1 / (1 + power), "abar at SNR 1 is 1/(1 + P(f))"),
    )


# F06, F07
def _reverse(bench, betas, start):
    """The law that ancestral sampling with the exact reverse kernels of Gaussian data returns."""
    data, grid = start[0], _clock(betas)
    return propagate(scheme.ancestral(grid, scheme.optimal_variance(grid, data)), score.exact(data), start=start[1])


def _back_from_the_marginal(bench):
    data = normal(bench)
    end = _reverse(bench, BETAS, (data, data.noised(CHAIN)))
    return close([end.mean()[0], end.cov()[0, 0]], [bench.mean, bench.var], "mean and variance returned, started from q(x_T)", size=1.0)


def _back_from_noise(betas):
    def sides(bench):
        wide, narrow = normal(bench), Gaussian([0.5 * bench.mean], 0.25 * bench.var)
        ends = [(data, _reverse(bench, betas, (data, bench.noise))) for data in (wide, narrow)]
        got = [x for _, end in ends for x in (end.mean()[0], end.cov()[0, 0])]
        true = [x for data, _ in ends for x in (data.mean()[0], data.cov()[0, 0])]
        return close(got, true, f"mean and variance returned, started from N(0, 1) after {len(betas)} steps", size=1.0)

    return sides


# F08
def _elbo_is_the_distance(bench):
    e = elbo(bench)
    return equal((e.evidence, e.likelihood), what="ELBO, and E log p(x_0) = -H(q_0) - KL(q_0|p)")


def _up_to_the_gap(bench):
    e = elbo(bench)
    return equal((e.evidence, e.likelihood - e.gap), what="ELBO, and E log p(x_0) - E KL(q(x_1:T|x_0)|p(x_1:T|x_0))")


# F09
def _noise_predicts_the_mean(bench):
    grid = _clock(BETAS)[::-1]
    found, formula = [], []
    for t, u, b in zip(grid[1:], grid[:-1], BETAS, strict=True):
        k = ornstein_uhlenbeck(float(t))
        x = bench.points(bench.target.noised(k))
        found.append(bench.ou(float(u)).denoise(x, Kernel(math.sqrt(1 - b), b)))
        formula.append((x - b / math.sqrt(k.v) * score.to_epsilon(score.exact(bench.target))(float(t), x)) / math.sqrt(1 - b))
    return close(found, formula, "E[x_(t-1)|x_t], and (x_t - b E[eps|x_t]/sqrt(1-abar))/sqrt(1-b), at 12 steps")


# F10
def _regulariser_vanishes(bench):
    return equal(*((divergence_from_prior(law, CHAIN), 0.0) for law in images(bench)), what="E KL(q(x_T|x_0)|N(0, 1)) and its claimed minimum 0")


def _regulariser_is_constant(bench):
    """By the two-point rule, exact for quadratic functions of x_0; and the same number in the bound of two different decoders."""
    ends = [kullback_leibler(Gaussian([CHAIN.m * (bench.mean + sign * bench.sd)], CHAIN.v), bench.noise) for sign in (-1, 1)]
    one, two = elbo(bench, 0.9), elbo(bench, 0.7)
    return together(
        equal((0.5 * (ends[0] + ends[1]), divergence_from_prior(bench.target, CHAIN)), what="E KL(q(x_T|x_0)|N(0, 1)) and its closed form"),
        equal((one.prior, two.prior), what="the same for two decoders"),
    )


# F11
def _structure(bench):
    grid = _clock(BETAS)
    reverse = scheme.ancestral(grid)
    forward = Table(np.arange(13.0), np.sqrt(1 - BETAS), 0.0, np.sqrt(BETAS))
    dims = [law.dim for law in marginals(reverse, score.exact(normal(bench)))]
    return together(
        close(dims, [bench.target.dim] * 13, "dimension of every latent"),
        close([forward.evaluations, reverse.evaluations], [0, 12], "evaluations of the one score: none forwards, one a step backwards"),
    )


FORMULAS = (
    Formula(
        "000-F01", "000 L26", "x_T ≈ N(0|I) after enough steps", "x_T is approximately N(0, I) in law, exactly as abar_T → 0", "IMPRECISE",
        _after_twelve_steps, _in_the_limit, "qualifier", "12 steps leave abar = .24; 480 steps leave 2e-25",
    ),
    Formula("000-F02", "000 L47", "q(x_t|x_{t-1}) = N(√(1-β_t) x_{t-1}, β_t I)", "", "HOLDS", _one_step_at_a_time),
    Formula("000-F03", "000 L51", "q(x_{1:T}|x_0) = ∏ q(x_t|x_{t-1})", "", "HOLDS", _two_steps),
    Formula(
        "000-F04", "000 L60", "q(x_t) = ∫ q_0(x_0) q(x_t|x_0) dx_0, a Gaussian convolution", "", "HOLDS", _mixed_over_the_data,
        note="a convolution of the rescaled data √abar x_0",
    ),
    Formula(
        "000-F05", "000 L64", "noise removes high frequencies first, then low ones", "… where the spectrum decays: SNR = 1 at abar = 1/(1 + P(f))",
        "CONVENTION", _flat_spectrum, _decaying_spectrum, "convention", "images have decaying spectra; white data lose all frequencies at once",
    ),
    Formula(
        "000-F06", "000 L74", "p(x_{0:T}) = p(x_T) ∏ p(x_{t-1}|x_t), sampled ancestrally", "", "HOLDS", _back_from_the_marginal,
        note="x_t ~ p(·|x_{t+1}); L80 prints ≈ for ~",
    ),
    Formula(
        "000-F07", "000 L76", "p(x_T) = N(0, I)", "p(x_T) = N(0, I) in the limit abar_T → 0; before it the output is biased", "CONVENTION",
        _back_from_noise(BETAS), _back_from_noise(LONG), "convention", "exact reverse kernels, so that the start is the only error",
    ),
    Formula(
        "000-F08", "000 L100", "maximising the ELBO is minimising the distance of data and model",
        "ELBO = -H(q_0) - KL(q_0|p) - E KL(q(x_{1:T}|x_0)|p(x_{1:T}|x_0))", "IMPRECISE", _elbo_is_the_distance, _up_to_the_gap, "qualifier",
        "equal only up to the posterior gap",
    ),
    Formula("000-F09", "000 L88", "predict the noise; from it compute the mean of x_{t-1}", "", "HOLDS", _noise_predicts_the_mean),
    Formula(
        "000-F10", "000 L103", "the KL regulariser guarantees that the forward noise follows the expected law",
        "it is the prior term E KL(q(x_T|x_0)|p(x_T)), a constant once the β_t are fixed", "IMPRECISE", _regulariser_vanishes,
        _regulariser_is_constant, "qualifier", "no decoder can change it",
    ),
    Formula(
        "000-F11", "000 L35", "the decoder is shared, latents have the data's dimension, the encoder is fixed", "", "HOLDS", _structure,
        note="a statement of structure: one score for all steps, none in the encoder",
    ),
)  # fmt: skip
