"""Chains whose law factorises: target, start and score split into independent blocks, after a turn where the target's means ask for one."""

from itertools import pairwise

import numpy as np

from ..laws import Gaussian, Product, standard_normal
from ..laws.rotated import Rotated, factorised, in_basis
from ..score import Exact, Perturbed

__all__ = ["blocks"]


def blocks(score, start):
    """(Rotated whose turn is used, or None; [(score of a block, its start), ...]) of an independent splitting, else None.

    score : exact, or off by a constant shift, which splits as the coordinates do; its law a Product, or turned into one. start : a law with
    the same blocks, in the same basis; N(0, I) has every one.
    """
    exact, shift = _peeled(score)
    law = None if exact is None else exact.law if isinstance(exact.law, Product) else factorised(exact.law)
    frame = None
    if isinstance(law, Rotated):
        frame, law, shift = law, law.law, law.turn(shift)
        start = _turned(start, frame)
    if start is None or law is None:
        return None
    targets = law.expanded() if isinstance(law, Product) else (law,)
    starts = _cut(start, [f.dim for f in targets])
    if starts is None or (frame is None and len(targets) == 1):
        return None
    made, out, first = {}, [], 0
    for target, begin in zip(targets, starts, strict=True):
        key = target, begin, tuple(shift[first : first + target.dim].tolist())
        if key not in made:
            made[key] = _shifted(Exact(target, exact.forward), np.array(key[2])), begin
        out.append(made[key])
        first += target.dim
    return frame, out


def _peeled(score):
    """(the exact score inside, the sum of the constant shifts around it), or (None, None)."""
    shift = 0.0
    while isinstance(score, Perturbed) and score.shift is not None:
        score, shift = score.score, shift + score.shift
    return (score, np.zeros(score.dim) + shift) if isinstance(score, Exact) else (None, None)


def _shifted(score, shift):
    size = float(np.linalg.norm(shift))
    return Perturbed(score, size, tuple((shift / size).tolist())) if size > 0 else score


def _turned(start, frame):
    """The start in the turned coordinates, or None."""
    if isinstance(start, Gaussian) and start.covariance.ndim == 0:
        return Gaussian(frame.turn(start.mean()), start.covariance)
    found = in_basis(start, frame.basis)
    return None if found is None else found.law


def _cut(start, sizes):
    """The laws of consecutive blocks of coordinates of these sizes, or None where they are not independent."""
    if isinstance(start, Gaussian) and start == standard_normal(start.dim):
        return [standard_normal(size) for size in sizes]
    if isinstance(start, Gaussian) and start.covariance.ndim < 2:
        at = lambda x, part: x[part] if x.ndim else x  # noqa: E731
        slices = [slice(lo, hi) for lo, hi in pairwise(np.cumsum([0, *sizes]).tolist())]
        return [Gaussian(start.mean()[part], at(start.covariance, part)) for part in slices]
    parts = start.expanded() if isinstance(start, Product) else (start,)
    return list(parts) if [f.dim for f in parts] == list(sizes) else None
