r"""The reference engine: the recurrence of a table as it is written, one text for numpy and torch.

    y_{r+1} = \sum_j a_{r,j} y_{r-j} + \sum_j b_{r,j} s_{r-j} + \sum_l c_{r,l} z_{r-l}.

Scores that are never used are not evaluated, noises that are never used are not drawn. Every other engine is held against this one.
With a target the new state is a proposal: it is taken if \log u < \log\alpha(y, y'), else the particle stays.
"""

import math
from contextlib import nullcontext

import numpy as np

from .._arrays import like, namespace
from .normals import normals, uniforms

__all__ = ["evaluate", "log_acceptance", "rows"]


def rows(table, score, x, key, first=0):
    """Yield y_1, ..., y_R (n, d) from y_0 = x, in the namespace, dtype and on the device of x.

    The normals are those of the particles first, first + 1, ... under ``key``, whatever n is; coefficients may differ between particles.
    """
    if table.target is not None:
        yield from _tested_rows(table, score, x, key, first)
        return
    n, d = x.shape
    dtype = x.dtype if namespace(x) is np else str(x.dtype).removeprefix("torch.")
    y, s, z = [x], [], []  # newest first, as many as the table looks back
    for r in range(table.rows):
        s.insert(0, evaluate(score, _time(table, r, x), y[0]) if table.used[r] else None)
        z.insert(0, like(normals(key, n, d, row=r, first=first, dtype=dtype), x) if table.drawn[r] else None)
        terms = [(p, u) for p, u in zip(_numbers(table.a[r], x), y, strict=False) if p is not None]
        terms += [(p, u) for p, u in zip(_numbers(table.b[r], x), s, strict=False) if p is not None]
        terms += [(p, u) for p, u in zip(_numbers(table.c[r], x), z, strict=False) if p is not None]
        with _quiet():
            y.insert(0, sum((p * u for p, u in terms[1:]), terms[0][0] * terms[0][1]) if terms else namespace(x).zeros_like(x))
        for past, lags in ((y, table.a.shape[1]), (s, table.b.shape[1] - 1), (z, table.c.shape[1] - 1)):
            del past[lags:]
        yield y[0]


def _numbers(row, x):
    """The coefficients of a row, None for those that are zero: numbers, or columns (n, 1) where particles differ."""
    if row.ndim == 1:
        return [p if p != 0 else None for p in row.tolist()]
    return [like(p, x)[:, None] if p.any() else None for p in row]


def _time(table, r, x):
    """The time of a row's score: a float, or (n,) where particles differ."""
    t = table.score_times[r]
    return float(t) if t.ndim == 0 else like(t, x) if np.ptp(t) else float(t[0])


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


# ---- Metropolis tests ------------------------------------------------------------------------------------------------------------------


def log_acceptance(x, y, log_x, log_y, s_x, s_y, h):
    r"""\log\frac{\pi(y) N(x; y + h s_y, 2h)}{\pi(x) N(y; x + h s_x, 2h)}
    = \log\frac{\pi(y)}{\pi(x)} - \frac12 \langle s_x + s_y, y - x + \frac h2 (s_y - s_x)\rangle.

    The quadratic terms cancel on paper; what is left changes its sign exactly when x and y change places. Points (..., d), densities (...).
    """
    return log_y - log_x - 0.5 * ((s_x + s_y) * (y - x + 0.5 * h * (s_y - s_x))).sum(-1)


def _tested_rows(table, score, x, key, first):
    """``rows`` with a Metropolis test after each; score and density of a particle that stays are kept."""
    (n, d), xp, s, before = x.shape, namespace(x), None, None
    dtype = x.dtype if xp is np else str(x.dtype).removeprefix("torch.")
    log_x = _log_density(table.target, x)
    for r in range(table.rows):
        t, h = float(table.score_times[r]), float(table.b[r, 0])
        s = evaluate(score, t, x) if t != before else s
        with _quiet():
            y = x + h * s + float(table.c[r, 0]) * like(normals(key, n, d, row=r, first=first, dtype=dtype), x)
            ahead, log_y, log_u = evaluate(score, t, y), _log_density(table.target, y), xp.log(like(uniforms(key, n, row=r, first=first), x))
            log_ratio = log_acceptance(x, y, log_x, log_y, s, ahead, h)
        # where the density is 0 nothing goes, and from there everything moves; a ratio that is no number is passed on, to be seen at the end
        out, possible = log_x == -math.inf, log_y > -math.inf
        taken = possible & (out | (log_u < log_ratio)) | (xp.isnan(log_ratio) & ~out & (log_y != -math.inf))
        y = xp.where(xp.isnan(log_ratio)[:, None] & ~out[:, None], math.nan * y, y)
        x, s = xp.where(taken[:, None], y, x), xp.where(taken[:, None], ahead, s)
        log_x, before = xp.where(taken, log_y, log_x), t
        yield x


def _log_density(target, x):
    with _quiet(), np.errstate(divide="ignore"), nullcontext() if namespace(x) is np else namespace(x).no_grad():
        log_p = target.logpdf(x)
    if log_p.shape != x.shape[:-1]:
        raise ValueError(f"target: got logpdf of shape {tuple(log_p.shape)} for x of shape {tuple(x.shape)}, allowed is {tuple(x.shape[:-1])}")
    return log_p if namespace(x) is np else log_p.detach()
