"""The particles of the fused engine have the law that propagate computes, in the five configurations of the benchmark, in both precisions.

Means on a line and one variance for all components: the chain's law is a law on the line beside a Gaussian, both exact. So the particles'
coordinate along the line is compared with a law on the line, and the squared distance of the rest from its mean with a chi-squared law.
"""

import math

import numpy as np
import pytest
from scipy.special import gammainc, gammaincc

from scoresde import grid, propagate, scheme, score, simulate
from scoresde.laws import Gaussian, GaussianMixture
from scoresde.laws.rotated import Rotated, factorised, in_basis

ALPHA = 1e-6
TABLE = scheme.euler_maruyama(grid.quadratic(3.0, 12))
CONFIGURATIONS = {(1, 3): 200_000, (2, 8): 200_000, (16, 8): 100_000, (128, 16): 40_000, (1024, 16): 16_000}  # (d, K): particles


def target(d, count):
    """Means on a line in general position, off the origin."""
    rng = np.random.default_rng(d)
    u, centre = rng.normal(size=(2, d))
    u, weights = u / np.linalg.norm(u), rng.random(count) + 0.3
    return GaussianMixture(weights / weights.sum(), np.linspace(-3.0, 3.0, count)[:, None] * u + 0.5 * centre / math.sqrt(d), 0.15)


def parts(law):
    """(turn, law along the line, mean and variance of the rest or None)."""
    if law.dim == 1:
        return (lambda x: x), law, None
    core, rest = law.law.factors
    return law.turn, core, (rest.mean(), float(np.ravel(rest.covariance)[0]))


def statistics(x, law):
    """Kolmogorov's statistic, of x along the line and of |rest|^2."""
    turn, core, rest = parts(law)
    y = turn(x)
    found = [distance(np.sort(y[:, 0]), lambda z: core.cdf(z[:, None]))]
    if rest is not None:
        mean, var = rest
        k = len(mean)
        square = np.sort(((y[:, 1:] - mean) ** 2).sum(axis=1) / var)
        found.append(distance(square, lambda z: gammainc(k / 2, z / 2)))
    return found


def distance(x, cdf):
    """sup |F_n - F| of a sorted sample."""
    n, at = len(x), np.asarray(cdf(x))
    return float(max(np.max(np.arange(1, n + 1) / n - at), np.max(at - np.arange(n) / n)))


def band(n, tests):
    """Dvoretzky, Kiefer, Wolfowitz and Massart: exceeded with probability at most ALPHA by any of so many statistics of n draws."""
    return math.sqrt(math.log(2 * tests / ALPHA) / (2 * n))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("d,count", CONFIGURATIONS)
def test_the_law_of_the_particles_is_the_law_computed(d, count, dtype):
    pi, n = target(d, count), CONFIGURATIONS[d, count]
    s = score.exact(pi)
    law = propagate(TABLE, s)
    x = np.asarray(simulate(TABLE, s, n, seed=d, engine="fused", dtype=dtype), dtype=np.float64)
    found = statistics(x, law)
    assert max(found) <= band(n, len(found)) + law.error, found
    # control: the target is not the law of the chain, neither along the line nor beside it
    aimed = pi if d == 1 else in_basis(pi, law.basis)
    assert min(statistics(x, aimed)) > band(n, len(found))


def test_a_shifted_score_in_many_dimensions():
    """The shift splits into a part along the line and one beside it."""
    pi, n = target(128, 16), 20_000
    u = np.random.default_rng(0).normal(size=128)
    s = score.perturbed(score.exact(pi), 1.5, u + 6 * factorised(pi).basis[0])
    law = propagate(TABLE, s)
    found = statistics(simulate(TABLE, s, n, seed=1, engine="fused"), law)
    assert max(found) <= band(n, 2) + law.error
    without = simulate(TABLE, score.exact(pi), n, seed=1, engine="fused")
    assert min(statistics(without, law)) > band(n, 2)  # control


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_two_moments_against_the_gaussian_recursion(dtype):
    """d = 1024: the law of the chain is Gaussian, so n sums of squares are chi-squared and means normal, coordinate by coordinate."""
    d, n = 1024, 10_000
    pi = Gaussian(np.linspace(-2.0, 2.0, d), np.geomspace(0.1, 3.0, d))
    s = score.exact(pi)
    law = propagate(TABLE, s)
    x = np.asarray(simulate(TABLE, s, n, seed=3, engine="fused", dtype=dtype), dtype=np.float64)

    def least(law):
        """The smallest probability, over coordinates and both moments, of a deviation as large, times the number of tests."""
        var = np.broadcast_to(law.covariance, (d,))
        z = (x.mean(axis=0) - law.mean()) * np.sqrt(n / var)
        square = ((x - law.mean()) ** 2).sum(axis=0) / var
        tails = np.minimum(gammainc(n / 2, square / 2), gammaincc(n / 2, square / 2))
        normal = np.array([math.erfc(abs(t) / math.sqrt(2)) for t in z])
        return 2 * d * min(normal.min(), 2 * tails.min())

    assert least(law) > ALPHA
    assert least(pi) < ALPHA  # control


def test_the_computed_law_is_the_one_along_axes():
    """A turn of the target turns the law of the chain: propagated in general position and along an axis, they agree."""
    pi = target(16, 8)
    law = propagate(TABLE, score.exact(pi))
    assert isinstance(law, Rotated)
    straight = factorised(pi).law
    other = propagate(TABLE, score.exact(straight))
    x = law.sample(50, 0)
    assert np.abs(law.logpdf(x) - other.logpdf(law.turn(x))).max() <= 1e-11  # rounding of 12 steps in 16 coordinates
    assert np.abs(law.mean() - law.back(other.mean())).max() <= 1e-13
