r"""The default targets, by name: a Gaussian, mixtures, and laws that are not smooth, heavy-tailed, or live on points.

Parameters are weights, means and variances (never standard deviations). ``ALL`` names every target; ``DEFAULTS`` are those that the
command line checks when none is named.
"""

import math

import numpy as np

from .errors import NoMethod
from .laws import Density, Empirical, Gaussian, GaussianMixture, Product, Rotated, SmoothedBox, Uniform

__all__ = ["ALL", "DEFAULTS", "aniso16", "diracs", "first_axis", "g1", "gm2sym", "gm3", "ring8", "student5", "uni"]

_STUDENT5_LEVEL = math.lgamma(3.0) - math.lgamma(2.5) - 0.5 * math.log(5 * math.pi)


def _student5_logpdf(x):
    return _STUDENT5_LEVEL - 3 * np.log1p(x[..., 0] ** 2 / 5)


def _student5_score(x):
    return -6 * x / (5 + x * x)


_ANGLES = 2 * math.pi * np.arange(8) / 8

g1 = Gaussian([1.3], 0.3)
"""N(1.3, 0.3): every quantity is closed form."""

gm3 = GaussianMixture([0.3, 0.45, 0.25], [[-2.0], [0.4], [2.2]], [0.25, 0.16, 0.36])
"""Three components on the line: the law of most reference numbers."""

gm2sym = GaussianMixture([0.5, 0.5], [[-1.5], [1.5]], 0.25)
r"""Two equal components at \pm 1.5: mean exactly 0, so the initial error decays as e^{-2T}."""

uni = Uniform([-1.0], [1.0])
"""Uniform on [-1, 1]: not smooth, its relative Fisher information is infinite."""

student5 = Density(_student5_logpdf, dim=1, score=_student5_score, name="student5")
"""Student's t with 5 degrees of freedom: heavy tails, four moments."""

ring8 = GaussianMixture(np.full(8, 1 / 8), 2 * np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], axis=1), 0.1)
"""Eight components of variance 0.1 on a circle of radius 2 in the plane."""

aniso16 = Gaussian(np.zeros(16), np.geomspace(0.1, 4.0, 16))
"""N(0, diag) in dimension 16, variances geometric from 0.1 to 4."""

diracs = Empirical([[-1.0], [1.0]])
r"""Two equal point masses at \pm 1: no density, infinite Kullback–Leibler divergence from anything smooth."""

ALL = {
    "gm3": gm3, "g1": g1, "gm2sym": gm2sym, "uni": uni, "student5": student5, "ring8": ring8, "aniso16": aniso16, "diracs": diracs,
}  # fmt: skip

DEFAULTS = ("gm3", "g1", "gm2sym")


def first_axis(law):
    r"""The law of u \cdot X on the line, u the unit vector along which X has the largest variance (its largest entry positive).

    law : a Gaussian, GaussianMixture or Empirical in any dimension, or a law of independent coordinates (Product, Uniform, SmoothedBox),
    whose first axis is that of one factor. Noising commutes with it: u \cdot Z is N(0, 1). A law on the line is returned as it is.
    Raises NoMethod for other laws.
    """
    if law.dim == 1:
        return law
    if isinstance(law, (Uniform, SmoothedBox)):
        j = int(np.argmax(law.high - law.low))
        ends = law.low[j : j + 1], law.high[j : j + 1]
        return Uniform(*ends) if isinstance(law, Uniform) else SmoothedBox(*ends, law.var)
    if isinstance(law, Rotated):
        return first_axis(law.law)
    if isinstance(law, Product):
        axes = [first_axis(factor) for factor in law.factors]
        return max(axes, key=lambda axis: float(axis.cov()[0, 0]))
    if isinstance(law, Gaussian) and law.covariance.ndim < 2:
        variances = np.broadcast_to(law.covariance, (law.dim,))
        j = int(np.argmax(variances))
        return Gaussian(law.mean()[j : j + 1], variances[j])
    if not isinstance(law, (Gaussian, GaussianMixture, Empirical)):
        raise NoMethod(
            f"first_axis: no projection for a {type(law).__name__} in dimension {law.dim}; pass a Gaussian, a mixture, or a law on the line"
        )
    u = _principal(law)
    u = u * np.sign(u[np.argmax(np.abs(u))])
    if isinstance(law, Gaussian):
        return Gaussian([law.mean() @ u], u @ law.covariance @ u)
    if isinstance(law, Empirical):
        return Empirical((law.points @ u)[:, None], law.weights)
    covs = law.covs
    along = covs if covs.ndim == 1 else covs @ (u * u) if covs.ndim == 2 else np.einsum("kij,i,j->k", covs, u, u)
    return GaussianMixture(law.weights, (law.means @ u)[:, None], along)


def _principal(law):
    """The unit vector of largest variance; isotropic mixtures and points in high dimension have it without their (d, d) covariance."""
    points = law.points if isinstance(law, Empirical) else law.means if isinstance(law, GaussianMixture) and law.covs.ndim == 1 else None
    if points is None or len(points) >= law.dim:
        return np.linalg.eigh(law.cov())[1][:, -1]
    moves = np.sqrt(law.weights)[:, None] * (points - law.weights @ points)
    return np.linalg.svd(moves, full_matrices=False)[2][0] if moves.any() else np.eye(1, law.dim)[0]
