"""Gaussians seen along the eigenvectors of their covariance, where every chain is a scalar recursion."""

import math
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from ..enclosure import Enclosure
from ..laws import Gaussian
from .numeric import EPS, about, equal, exists, needs, unmet

__all__ = [
    "MOMENT", "MOMENTS", "SPREAD", "SURROGATE", "Directions", "along_axes", "directions", "log_size", "matched", "principal_axes",
    "same_to_rounding", "told", "turned",
]  # fmt: skip

MOMENT = r"E|X|^2 finite"
SPREAD = "the covariance is positive definite"


def matched(theorem, target, relation="="):
    """(the claim that it does not apply, or None; N(E X, Cov X), the target itself where it is Gaussian; what is said of the theorem)."""
    needs(target, "mean", "cov", "second_moment")
    finite, law = exists(target.second_moment), None
    if isinstance(target, Gaussian):
        law = target
    elif finite:
        with suppress(ValueError):  # a singular covariance
            law = Gaussian(target.mean(), target.cov() if target.dim > 1 else target.cov()[0, 0])
    what = about(theorem, (MOMENT, finite), (SPREAD, not finite or law is not None))
    return unmet(what, relation), law, what


def principal_axes(law):
    """(variances (d,), eigenvectors (d, d) or None) of a Gaussian's covariance."""
    cov = law.covariance
    return (np.broadcast_to(cov, (law.dim,)), None) if cov.ndim < 2 else np.linalg.eigh(cov)


def turned(x, basis):
    """A vector, or a diagonal (d,) of variances, along the eigenvectors."""
    return x if basis is None else x @ basis


def along_axes(law, basis):
    """(mean (d,), variances (d,)) of a Gaussian along the eigenvectors."""
    cov = law.covariance
    spread = np.broadcast_to(cov, (law.dim,)) if cov.ndim < 2 else np.diag(cov) if basis is None else np.einsum("ij,ij->j", basis, cov @ basis)
    return turned(law.mean(), basis), spread


def same_to_rounding(lhs, rhs, operations, size, of, at):
    """lhs = rhs at the worst entry, up to so many roundings of numbers of this size."""
    k = int(np.argmax(np.abs(lhs - rhs)))
    error = operations * EPS * size
    sides = Enclosure.near(lhs[k], error, method="propagated"), Enclosure.near(rhs[k], error, method="closed form")
    return equal(*sides, digits=9, floor=size, name=of, parameters={"of": of, **at})


def log_size(x):
    r"""\log|x|, and a large negative number at 0."""
    return np.log(np.maximum(np.abs(x), 1e-300))


# ---- mean and variance in each direction ----------------------------------------------------------------------------------------------

MOMENTS = "mean and covariance finite, the covariance positive definite"
SURROGATE = "For a target that is not Gaussian: the Gaussian with its mean and covariance"


@dataclass(frozen=True)
class Directions:
    r"""N(\mu, v) in each eigen-direction of the covariance, (d,) both; along the flow \mu_t = e^{-t}\mu, v_t = v + (1 - v)(1 - e^{-2t})."""

    mean: np.ndarray
    var: np.ndarray

    def at(self, t):
        return math.exp(-t) * self.mean, self.var + (1 - self.var) * -math.expm1(-2 * t)

    @property
    def law(self):
        return Gaussian(self.mean, self.var)

    @property
    def widest(self):
        """The direction of the greatest variance alone."""
        k = int(np.argmax(self.var))
        return Directions(self.mean[k : k + 1], self.var[k : k + 1])


def directions(target):
    """(Directions, the assumption on the moments)."""
    needs(target, "mean", "cov")
    if not exists(target.cov) or not exists(target.mean):
        return None, (MOMENTS, False)
    var, basis = np.linalg.eigh(np.atleast_2d(target.cov()))
    held = bool(var[0] > len(var) * EPS * var[-1])
    return Directions(basis.T @ target.mean(), var), (MOMENTS, held)


def told(target, p, **more):
    return {"law": "the target" if isinstance(target, Gaussian) else "N(E X, Cov X)", "directions": len(p.var), **more}
