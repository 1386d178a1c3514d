r"""The bench on which formulas are evaluated: a target on the line, its noised laws, and quadrature as accurate as rounding allows."""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from scoresde import GaussianMixture, kernel, ornstein_uhlenbeck, standard_normal
from scoresde.laws import Gaussian

__all__ = ["EPS", "Bench", "mixture"]

EPS = 2.0**-52
ORDER = 14  # Gauss-Legendre nodes on a panel half a standard deviation wide: exact to rounding for a Gaussian times a polynomial
_T, _W = np.polynomial.legendre.leggauss(ORDER)


def mixture(law):
    """A law on the line as a GaussianMixture. Raises ValueError for anything but a Gaussian or a mixture of dimension 1."""
    if isinstance(law, Gaussian) and law.dim == 1:
        return GaussianMixture([1.0], law.mean()[None, :], float(law.cov()[0, 0]))
    if isinstance(law, GaussianMixture) and law.dim == 1:
        return GaussianMixture(law.weights, law.means, law.covs.reshape(-1))
    raise ValueError(
        f"target: got a {type(law).__name__} of dimension {getattr(law, 'dim', '?')}, allowed is a Gaussian or a GaussianMixture on the line: "
        "the formulas need densities, scores and moments in closed form"
    )


@dataclass(frozen=True)
class Bench:
    r"""A target \pi on the line and what the notes do with it. ``gamma`` and ``k``: the step and the index at which chains are looked at.

    target : GaussianMixture of dimension 1 (``mixture(law)`` makes one); seed : int, for the few formulas that need draws.
    """

    target: GaussianMixture
    seed: int = 0

    gamma = 0.1
    k = 6

    @cached_property
    def mean(self):
        return float(self.target.mean()[0])

    @cached_property
    def var(self):
        return float(self.target.cov()[0, 0])

    @cached_property
    def sd(self):
        return math.sqrt(self.var)

    @cached_property
    def noise(self):
        r"""\mu_Z = N(0, 1)."""
        return standard_normal(1)

    @cached_property
    def second(self):
        """Another law near the target: a mixture of two, neither the target nor N(0, 1). Used as a generator, a guess, a wrong model."""
        return GaussianMixture([0.4, 0.6], [[self.mean - 0.7 * self.sd], [self.mean + 0.9 * self.sd]], [0.5 * self.var, 0.7 * self.var])

    def chain(self, k, gamma=None):
        r"""The kernel of X_0 -> X_k of the Euler-Maruyama chain X' = (1 - \gamma) X + \sqrt{2\gamma} Z: m_k and v = \sigma_k^2."""
        return kernel.euler_maruyama(self.gamma if gamma is None else gamma, count=k)

    def law(self, k, gamma=None):
        """p_k, the law of X_k of that chain; k = 0 is the target."""
        return self.target if k == 0 else self.target.noised(self.chain(k, gamma))

    def backward(self, k, y, gamma=None):
        r"""p_{k|k+1}(\cdot|y), y (1,): Bayes' rule in each component of p_k for the observation (1 - \gamma) X_k + \sqrt{2\gamma} Z = y."""
        gamma = self.gamma if gamma is None else gamma
        return self.law(k, gamma).given(y, [[1 - gamma]], 2 * gamma)

    def ou(self, t):
        """p_t, the law of the Ornstein-Uhlenbeck process at time t."""
        return self.target if t == 0 else self.target.noised(ornstein_uhlenbeck(float(t)))

    def points(self, law, levels=(0.06, 0.3, 0.55, 0.8, 0.97)):
        """Points (n, 1) where a law lives: its quantiles."""
        return law.quantile(np.array(levels))

    def nodes(self, *laws):
        """(x (n, 1), w (n,)): a Gauss-Legendre rule for Lebesgue measure on the panels of all these laws, out to 12 standard deviations."""
        edges = np.unique(np.concatenate([law.breakpoints() for law in laws]))
        half = 0.5 * np.diff(edges)[:, None]
        return (0.5 * (edges[1:] + edges[:-1])[:, None] + half * _T).reshape(-1, 1), (half * _W).reshape(-1)

    def expectation(self, law, f, *others):
        r"""E f(X), X \sim law, f : (n, 1) -> (n,); ``others`` are laws whose scale f has."""
        x, w = self.nodes(law, *others)
        return float(np.sum(w * law.pdf(x) * f(x)))

    def integral(self, f, *laws):
        r"""\int f(x) dx over where these laws live, f : (n, 1) -> (n,)."""
        x, w = self.nodes(*laws)
        return float(np.sum(w * f(x)))

    @staticmethod
    def hermite(n=48):
        """(z (n,), w (n,)): Gauss-Hermite rule for N(0, 1), weights of sum 1; exact for polynomials of degree 2n - 1."""
        z, w = np.polynomial.hermite_e.hermegauss(n)
        return z, w / w.sum()

    def joint(self, k, gamma=None):
        """(x (n, 1), x0 (n0, 1), W (n, n0)): a rule for E f(X_k, X_0) = sum(W f), for steps whose noise is not much below the target's scale."""
        (x, w), (x0, w0) = self.nodes(self.law(k, gamma)), self.nodes(self.target)
        keep, keep0 = self.law(k, gamma).pdf(x) > 1e-25, self.target.pdf(x0) > 1e-25
        x, w, x0, w0 = x[keep], w[keep], x0[keep0], w0[keep0]
        conditional = np.exp(self.chain(k, gamma).logpdf(x[:, None, :], x0[None, :, :]))
        return x, x0, w[:, None] * conditional * (w0 * self.target.pdf(x0))
