"""Gaussians seen along the eigenvectors of their covariance, where every chain is a scalar recursion."""

import numpy as np

from ..enclosure import Enclosure
from ..laws import Gaussian
from .numeric import EPS, equal

__all__ = ["along_axes", "log_size", "matched", "principal_axes", "same_to_rounding", "turned"]


def matched(target):
    r"""N(E X, Cov X): the target itself where it is Gaussian, in other cases the Gaussian with its first two moments; None if there is none."""
    if isinstance(target, Gaussian):
        return target
    try:
        return Gaussian(target.mean(), target.cov() if target.dim > 1 else target.cov()[0, 0])
    except ValueError:
        return None


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
