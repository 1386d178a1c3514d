r"""Laws: what a law must know, and the ones that are built in.

A law knows how to be noised: ``law.noised(kernel)`` is the law of m X + \sqrt v Z, again a law. Densities, scores, Tweedie means and
covariances, and moments come from the same object. Any object with these methods is a law; what is used is what is needed.
"""

from typing import Any, Protocol, runtime_checkable

from .circle import Circle
from .density import Density
from .empirical import Empirical
from .gaussian import Gaussian, standard_normal
from .mixture import GaussianMixture
from .product import Product
from .rotated import Rotated
from .smoothing import kernel_density
from .uniform import SmoothedBox, Uniform

__all__ = [
    "Circle", "Density", "Empirical", "Gaussian", "GaussianMixture", "Law", "Product", "Rotated", "SmoothedBox", "Uniform", "kernel_density",
    "standard_normal",
]  # fmt: skip


@runtime_checkable
class Law(Protocol):
    r"""A probability law on R^d. Points x are (..., d), also for d = 1; the result has the dtype and namespace (numpy or torch) of x.

    ``error`` bounds the distance in total variation to the law meant: 0 for closed forms, more for computed laws, whose ``twin`` is the
    same law at an independent resolution (None for closed forms). Laws on the line also have ``sf`` (P(X > x), accurate in the right
    tail) and ``breakpoints`` (sorted panel edges between which log p is smooth).
    """

    error: float
    twin: "Law | None"

    @property
    def dim(self) -> int: ...

    def mean(self) -> Any:
        """E X, (d,)."""

    def cov(self) -> Any:
        """Covariance, (d, d)."""

    def second_moment(self) -> float:
        """E|X|^2; forms no (d, d) array."""

    def pdf(self, x) -> Any:
        """p(x), (...)."""

    def logpdf(self, x) -> Any:
        """log p(x), (...)."""

    def score(self, x) -> Any:
        r"""\nabla \log p(x), (..., d)."""

    def score_jacobian(self, x) -> Any:
        r"""\nabla^2 \log p(x), (..., d, d)."""

    def sample(self, n, seed) -> Any:
        """(n, d) draws keyed by seed; growing n keeps the first rows."""

    def noised(self, kernel) -> "Law":
        r"""The law of m X + \sqrt v Z."""

    def denoise(self, x, kernel) -> Any:
        r"""E[X_0 | m X_0 + \sqrt v Z = x], (..., d)."""

    def denoise_cov(self, x, kernel) -> Any:
        r"""Cov[X_0 | m X_0 + \sqrt v Z = x], (..., d, d)."""

    def cdf(self, x) -> Any:
        r"""P(X \le x), (...); dimension 1, else NoMethod."""

    def quantile(self, u) -> Any:
        """x with cdf(x) = u, (..., 1); dimension 1, else NoMethod."""
