r"""The evidence bound of a three-step chain on the target: Gaussian forward steps, and a decoder of Gaussian steps that is wrong on purpose.

Forward x_t = \sqrt{1 - \beta_t} x_{t-1} + \sqrt{\beta_t} \epsilon; decoder x_{t-1} \sim N(c \sqrt{1 - \beta_t}\, x_t, 1.2 \beta_t), x_T \sim N(0, 1).
Pair expectations are quadratures over the target; what is quadratic in x_0 needs its mean and variance only.
"""

import math
from dataclasses import dataclass
from functools import lru_cache, reduce

import numpy as np

from scoresde import Enclosure, Gaussian, Kernel, information, kullback_leibler, standard_normal

from .bench import Bench
from .sums import joint

__all__ = ["BETAS", "Elbo", "divergence_from_prior", "elbo", "gaussian_kl", "posterior"]

BETAS = (0.15, 0.3, 0.45)


@dataclass(frozen=True)
class Elbo:
    r"""``likelihood`` E \log\rho(x_0); ``evidence`` E \log\rho(x_{0:T})/q(x_{1:T}|x_0); ``gap`` E KL(q(x_{1:T}|x_0)|\rho(x_{1:T}|x_0));
    ``prior`` L_T, ``steps`` (L_{T-1}, ..., L_1), ``reconstruction`` L_0: all Enclosures."""

    likelihood: Enclosure
    evidence: Enclosure
    gap: Enclosure
    prior: Enclosure
    steps: tuple[Enclosure, ...]
    reconstruction: Enclosure


def gaussian_kl(m1, v1, m2, v2):
    r"""KL(N(m_1, v_1)|N(m_2, v_2)) of arrays, \frac12 (v_1/v_2 + (m_1 - m_2)^2/v_2 - 1 - \log v_1/v_2)."""
    return 0.5 * ((v1 + (m1 - m2) ** 2) / v2 - 1 + np.log(v2 / v1))


def divergence_from_prior(law, kernel):
    r"""E KL(N(m x_0, v)|N(0, 1)) = \frac12 (m^2 E x_0^2 + v - 1 - \log v)."""
    return 0.5 * (kernel.m**2 * law.second_moment() + (kernel.v - 1 - math.log(kernel.v) if kernel.v < 1 else 0.0))


def posterior(earlier, step, x0, x):
    r"""(mean, variance) of x_{t-1} given x_0 and x_t: N(m x_0, v) conditioned on x_t = a x_{t-1} + \sqrt\beta \epsilon."""
    gain = earlier.v * step.m / (step.m**2 * earlier.v + step.v)
    return earlier.m * x0 + gain * (x - step.m * earlier.m * x0), earlier.v * (1 - gain * step.m)


@lru_cache(maxsize=8)
def elbo(bench: Bench, c=0.9):
    """The Elbo of the decoder with factor ``c`` on the bench's target."""
    forward = [Kernel(math.sqrt(1 - b), b) for b in BETAS]
    decoder = [Kernel(c * k.m, 1.2 * k.v) for k in forward]
    reach = [reduce(lambda done, k: k @ done, forward[:t], Kernel(1.0, 0.0)) for t in range(len(BETAS) + 1)]  # x_0 -> x_t
    laws = [bench.target.noised(k) if t else bench.target for t, k in enumerate(reach)]

    pairs = [joint(law, k) for law, k in zip(laws[:-1], forward, strict=True)]
    evidence = pairs[-1].mean_of(standard_normal(1).logpdf(pairs[-1].x))
    for p, k, r in zip(pairs, forward, decoder, strict=True):
        evidence = evidence + p.mean_of(r.logpdf(p.x0, p.x) - k.logpdf(p.x, p.x0))

    generated = standard_normal(1).noised(reduce(lambda done, k: k @ done, reversed(decoder), Kernel(1.0, 0.0)))
    likelihood = -information.entropy(bench.target) - kullback_leibler(bench.target, generated)

    last = joint(bench.target, reach[-1])
    prior = last.mean_of(gaussian_kl(reach[-1].m * last.x0, reach[-1].v, 0.0, 1.0))
    steps = []
    for earlier, now, k, r in zip(reach[1:-1], reach[2:], forward[1:], decoder[1:], strict=True):
        j = joint(bench.target, now)
        mean, variance = posterior(earlier, k, j.x0, j.x)
        steps.append(j.mean_of(gaussian_kl(mean, variance, r.m * j.x, r.v)))
    reconstruction = pairs[0].mean_of(-decoder[0].logpdf(pairs[0].x0, pairs[0].x))
    return Elbo(likelihood, evidence, _gap(bench, forward, decoder), prior, tuple(steps[::-1]), reconstruction)


def _gap(bench, forward, decoder):
    """Both laws of x_1:T given x_0 are Gaussian, their KL quadratic in x_0: two points of the target's mean and variance average it exactly."""
    T = len(forward)
    walk = np.zeros((T, T + 1))  # x_1..x_T from x_0 and the noises
    row = np.eye(T + 1)[0]
    for t, k in enumerate(forward):
        row = k.m * row + math.sqrt(k.v) * np.eye(T + 1)[t + 1]
        walk[t] = row
    back = np.zeros((T + 1, T + 1))  # x_0..x_T from the decoder's noises
    row = np.eye(T + 1)[T]
    back[T] = row
    for t in range(T, 0, -1):
        row = decoder[t - 1].m * row + math.sqrt(decoder[t - 1].v) * np.eye(T + 1)[t - 1]
        back[t - 1] = row
    cov = back @ back.T
    gain = cov[1:, 0] / cov[0, 0]
    given = cov[1:, 1:] - np.outer(gain, cov[0, 1:])
    ends = []
    for x0 in (bench.mean - bench.sd, bench.mean + bench.sd):
        q = Gaussian(walk[:, 0] * x0, walk[:, 1:] @ walk[:, 1:].T)
        ends.append(kullback_leibler(q, Gaussian(gain * x0, 0.5 * (given + given.T))))
    return 0.5 * (ends[0] + ends[1])
