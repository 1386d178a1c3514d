r"""The reference engine: the recurrence of a table as it is written, one text for numpy and torch.

    y_{r+1} = \sum_j a_{r,j} y_{r-j} + \sum_j b_{r,j} s_{r-j} + \sum_l c_{r,l} z_{r-l}.

Scores that are never used are not evaluated, noises that are never used are not drawn. Every other engine is held against this one.
"""

from contextlib import nullcontext

import numpy as np

from .._arrays import like, namespace
from .normals import normals

__all__ = ["evaluate", "rows"]


def rows(table, score, x, key, first=0):
    """Yield y_1, ..., y_R (n, d) from y_0 = x, in the namespace, dtype and on the device of x.

    The normals are those of the particles first, first + 1, ... under ``key``, whatever n is.
    """
    n, d = x.shape
    dtype = x.dtype if namespace(x) is np else str(x.dtype).removeprefix("torch.")
    y, s, z = [x], [], []  # newest first, as many as the table looks back
    for r in range(table.rows):
        s.insert(0, evaluate(score, float(table.score_times[r]), y[0]) if table.used[r] else None)
        z.insert(0, like(normals(key, n, d, row=r, first=first, dtype=dtype), x) if table.drawn[r] else None)
        terms = [(a, u) for a, u in zip(table.a[r].tolist(), y, strict=False) if a != 0]
        terms += [(b, u) for b, u in zip(table.b[r].tolist(), s, strict=False) if b != 0]
        terms += [(c, u) for c, u in zip(table.c[r].tolist(), z, strict=False) if c != 0]
        with _quiet():
            y.insert(0, sum((p * u for p, u in terms[1:]), terms[0][0] * terms[0][1]) if terms else namespace(x).zeros_like(x))
        for past, lags in ((y, table.a.shape[1]), (s, table.b.shape[1] - 1), (z, table.c.shape[1] - 1)):
            del past[lags:]
        yield y[0]


def _quiet():
    """No warnings for particles that leave the floating range: whoever runs the loop checks the states."""
    return np.errstate(over="ignore", invalid="ignore")


def evaluate(score, t, x):
    """score(t, x) in the dtype of x; TypeError or ValueError if it is not an array like x of the same shape."""
    xp = namespace(x)
    try:
        with _quiet(), nullcontext() if xp is np else xp.no_grad():  # a graph through all the steps would grow without bound
            s = score(t, x)
    except Exception as error:
        error.add_note(f"raised inside score(t, x), which was called with t = {t!r} and x of shape {tuple(x.shape)}: time first, then points")
        raise
    if namespace(s) is not xp:
        wanted = "a numpy array; pass device= to be called with torch tensors" if xp is np else "a torch tensor"
        raise TypeError(f"score: got a {type(s).__name__} back at t = {t!r}, allowed is {wanted}, as x is")
    s = xp.asarray(s, dtype=x.dtype)
    if s.shape != x.shape:
        raise ValueError(
            f"score: got shape {tuple(s.shape)} back at t = {t!r} for x of shape {tuple(x.shape)}, allowed is the shape of x; "
            "it is called as s(t, x) with the points on the leading axis"
        )
    return s if xp is np else s.detach()
