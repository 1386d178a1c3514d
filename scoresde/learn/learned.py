"""A network as a score: numpy in, numpy out; torch in, torch out."""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from .._arrays import as_points, namespace, positive_int
from ..kernel import ornstein_uhlenbeck

__all__ = ["LearnedScore", "score"]

CHUNK = 1 << 15  # rows per call of the network: bounds the memory, not the result


@dataclass(frozen=True, eq=False)
class LearnedScore:
    r"""s(t, x) given by a network. Build it with :func:`train`, :func:`score` or :func:`load`.

    Called with t in [stop, T] (a float, or (n,), one per row) and x (..., dim); what comes back has the shape, namespace, dtype and device
    of x. It is computed in ``dtype``: in float64 (the default) a smooth function to about 1e-15, in float32 with noise of about 1e-7
    per evaluation, which an exact law engine sees as roughness (measured: laws move by 1e-8, and the error estimates stall near 1e-8
    for chains with noise in every step, near 1e-6 for deterministic ones, above the default tolerance). Tensors that require gradients
    get them. ``losses`` is the training curve; ``law`` is None: a network does not know it.
    Raises ValueError for t outside [stop, T] (the network was never trained there) and wrong shapes, TypeError for s(x, t).
    """

    module: Callable
    dim: int
    device: Any
    dtype: Any
    stop: float = 0.0
    T: float = math.inf
    losses: Any = ()

    law = None
    error_bound = None
    forward = staticmethod(ornstein_uhlenbeck)

    def __call__(self, t, x):
        x = as_points(x, self.dim)
        parts = [self._evaluate(u, y) for u, y in self._chunks(t, x)]
        return self._back(torch.cat(parts).reshape(tuple(x.shape)), x)

    def jacobian(self, t, x):
        r"""\partial s_i / \partial x_j by automatic differentiation, shape (..., dim, dim)."""
        x = as_points(x, self.dim)
        parts = []
        with torch.enable_grad():
            for u, y in self._chunks(t, x):
                y = y.detach().requires_grad_(True)
                s = self._evaluate(u, y)
                rows = [torch.autograd.grad(s[:, i].sum(), y, retain_graph=True, materialize_grads=True)[0] for i in range(self.dim)]
                parts.append(torch.stack(rows, dim=1))
        return self._back(torch.cat(parts).reshape(*x.shape, self.dim).detach(), x)

    def _chunks(self, t, x):
        """Pairs of times (n,) and points (n, dim) on the network's device, in its dtype."""
        t = self._times(t, x)
        y = x if namespace(x) is torch else torch.from_numpy(np.array(x, order="C"))  # a copy: torch warns about read-only arrays
        y = y.to(device=self.device, dtype=self.dtype).reshape(-1, self.dim)
        return zip(t.expand(len(y)).split(CHUNK), y.split(CHUNK))

    def _times(self, t, x):
        t = t.detach().cpu().numpy() if isinstance(t, torch.Tensor) else np.asarray(t)
        if t.ndim > 1:
            raise TypeError(f"t: got an array of shape {t.shape}, allowed is a number or one time per row (n,); scores are called s(t, x)")
        if t.ndim == 1 and (x.ndim != 2 or len(t) != len(x)):
            raise ValueError(f"t: got shape {t.shape} with x of shape {tuple(x.shape)}, allowed is a number or one time per row of x (n, d)")
        t = t.astype(np.float64)
        outside = ~((t >= self.stop * (1 - 1e-9)) & (t <= self.T * (1 + 1e-9)))
        if outside.any():
            raise ValueError(
                f"t: got {t[outside].flat[0]}, allowed is [{self.stop:g}, {self.T:g}], the times this network was trained on; "
                "train it with other stop= or T=, or end the grid earlier with stop="
            )
        return torch.from_numpy(np.array(t)).to(device=self.device, dtype=self.dtype)

    def _evaluate(self, t, x):
        s = self.module(t, x)
        if not isinstance(s, torch.Tensor) or s.shape != x.shape:
            got = f"shape {tuple(s.shape)}" if isinstance(s, torch.Tensor) else type(s).__name__
            raise ValueError(f"score: f(t, x) gave {got} for t {tuple(t.shape)} and x {tuple(x.shape)}, allowed is a tensor of the shape of x")
        return s

    def _back(self, s, x):
        return s.to(device=x.device, dtype=x.dtype) if namespace(x) is torch else s.detach().cpu().numpy().astype(x.dtype, copy=False)


def score(score, *, dim, device=None, dtype=None):
    r"""s(t, x) = f(t, x), from a torch function or module f: t (n,), x (n, dim) -> (n, dim), row by row.

    score : f (predictions of x0 or epsilon: wrap the result in ``scoresde.score.from_x0`` or ``from_epsilon``), or a LearnedScore to be
    moved; a module is copied, so that later training does not change the result, and put into evaluation mode; device : where it runs
    (default: where it is); dtype : a floating torch dtype (default float64, for smoothness). Returns a LearnedScore.
    Raises TypeError if f cannot be called or dtype is not a floating torch dtype, ValueError if dim is wrong.
    """
    dim = positive_int("dim", dim)
    dtype = torch.float64 if dtype is None else dtype
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise TypeError(f"dtype: got {dtype!r:.80}, allowed is a floating torch dtype such as torch.float64")
    made = score if isinstance(score, LearnedScore) else LearnedScore(score, dim, device, dtype)
    if made.dim != dim:
        raise ValueError(f"dim: got {dim} for a score of dimension {made.dim}, allowed are equal dimensions")
    if not callable(made.module):
        raise TypeError(f"score: got {type(score).__name__}, allowed is a torch function or module f(t, x)")
    module = made.module
    if isinstance(module, torch.nn.Module):
        tensors = [*module.parameters(), *module.buffers()]
        device = device or (tensors[0].device if tensors else None)
        module = copy.deepcopy(module).to(device=device, dtype=dtype).eval().requires_grad_(False)
    return replace(made, module=module, device=torch.device(device or "cpu"), dtype=dtype)
