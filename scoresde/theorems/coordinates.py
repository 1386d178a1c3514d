"""Independent coordinates of a law in any dimension: what is additive over them is known as soon as each is."""

import numpy as np

from ..divergence.product import plain
from ..errors import NoMethod
from ..laws import Gaussian, Product
from ..laws.rotated import factorised

__all__ = ["coordinates", "pieces"]

MOST = 4  # distinct laws on the line, where each costs a quadrature


def pieces(law):
    """[(block, count), ...]: independent blocks, after a turn, each on the line or Gaussian; None if the law has no such splitting."""
    law = plain(law)
    if law.dim == 1 or isinstance(law, Gaussian):
        return [(law, 1)]
    if isinstance(law, Product):
        parts = [pieces(f) for f in law.factors]
        return None if None in parts else [(x, n * count) for part, count in zip(parts, law.repeat, strict=True) for x, n in part]
    turned = factorised(law)
    return None if turned is None else pieces(turned.law)


def coordinates(law, most=MOST):
    """[(law on the line, count), ...] of independent coordinates, after a turn. A law on the line is its own.

    Gaussian coordinates of one variance are turned until one of them holds their mean, so N(a, v I) has two distinct ones at most.
    Raises NoMethod where the coordinates are not independent, or more than ``most`` of them are distinct.
    """
    if law.dim == 1:
        return [(law, 1)]
    parts = pieces(law)
    if parts is None:
        raise NoMethod(f"coordinates: got a {type(law).__name__} in dimension {law.dim}, allowed are products of laws on the line, up to a turn")
    found = {}
    for part, count in parts:
        for x, n in [(part, 1)] if part.dim == 1 else _of_a_gaussian(part):
            x = plain(x)
            found[x] = found.get(x, 0) + n * count
    if len(found) > most:
        raise NoMethod(f"coordinates: got {len(found)} distinct ones in dimension {law.dim}, allowed {most}: each costs a quadrature; take an axis")
    return list(found.items())


def _of_a_gaussian(law):
    mean, cov = law.mean(), law.covariance
    if cov.ndim == 2:
        cov, basis = np.linalg.eigh(cov)
        mean = basis.T @ mean
    variances, group = np.unique(np.broadcast_to(cov, (law.dim,)), return_inverse=True)
    shift = np.sqrt(np.bincount(group, mean**2))
    for v, n, m in zip(variances, np.bincount(group), shift, strict=True):
        yield Gaussian([m], v), 1
        if n > 1:
            yield Gaussian([0.0], v), int(n) - 1
