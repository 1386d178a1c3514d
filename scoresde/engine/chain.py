"""One block of a chain on the line, evaluated at points: the deterministic part of the recurrence that a Table is."""

import numpy as np

__all__ = ["evolve"]


def evolve(table, score, r0, r1, x):
    """[y_{r0+1}, ..., y_{r1}] without noise, from y_{r0} = x (n,) float64; the score sees (n, 1)."""
    a, b, used, times = table.a, table.b, table.used, table.score_times
    ys, ss = [x], []
    for r in range(r0, r1):
        ss.append(_score(score, float(times[r]), ys[-1]) if used[r] else None)
        y = a[r, 0] * ys[-1]
        if b[r, 0]:
            y += b[r, 0] * ss[-1]
        for j in range(1, min(a.shape[1], len(ys))):
            if a[r, j]:
                y += a[r, j] * ys[-1 - j]
            if b[r, j]:
                y += b[r, j] * ss[-1 - j]
        ys.append(y)
    return ys[1:]


def _score(score, t, x):
    s = np.asarray(score(t, x[:, None]), dtype=np.float64)
    if s.shape != (len(x), 1):
        raise ValueError(f"score: got shape {s.shape} for x of shape {(len(x), 1)}, allowed is the shape of x")
    return s[:, 0]
