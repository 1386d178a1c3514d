"""One block of a chain, evaluated at points: the deterministic part of the recurrence that a Table is."""

import numpy as np

__all__ = ["evolve"]


def evolve(table, score, r0, r1, x, noises=None):
    """[y_{r0+1}, ..., y_{r1}] from y_{r0} = x float64: (n, d), or (n,) on the line, where the score sees (n, 1).

    noises : {row: z, as x}; the noises of all other rows are 0.
    """
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
        for row, z in (noises or {}).items():
            if 0 <= r - row < table.c.shape[1] and table.c[r, r - row]:
                y += table.c[r, r - row] * z
        ys.append(y)
    return ys[1:]


def _score(score, t, x):
    points = x.reshape(len(x), -1)
    s = np.asarray(score(t, points), dtype=np.float64)
    if s.shape != points.shape:
        raise ValueError(f"score: got shape {s.shape} for x of shape {points.shape}, allowed is the shape of x")
    return s.reshape(x.shape)
