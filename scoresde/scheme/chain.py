"""The forward chain, and transforms of tables."""

import math

import numpy as np

from .._arrays import finite
from .table import Table

__all__ = ["denoise_last", "forward_euler_maruyama", "score_at_end"]


def forward_euler_maruyama(steps):
    r"""x' = (1 - h) x + \sqrt{2h}\, z: the noising chain itself, from t = 0. No score is evaluated.

    steps (N,) or a float : 0 < h < 2, in the order taken. Its law is that of ``kernel.euler_maruyama(steps)``.
    """
    h = np.atleast_1d(finite("steps", steps))
    if h.ndim != 1 or (h <= 0).any() or (h >= 2).any():
        raise ValueError(f"steps: got shape {h.shape}, least {h.min()}, greatest {h.max()}, allowed are steps (N,) with 0 < h < 2")
    return Table(np.append(0.0, np.cumsum(h)), 1 - h, 0.0, np.sqrt(2 * h), name="forward_euler_maruyama", order=1)


def score_at_end(table):
    r"""The same table with each score taken at the end of its step: s_r = score(t_{r+1}, y_r).

    The index is not cosmetic: lecture notes and some published code use the score of p_k at X_{k+1}. Only for tables of one evaluation a
    step (every row ends in a state); a last step that ends at 0 then needs the target's own score.
    """
    if not table.state.all():
        raise ValueError(f"table: got {table.name!r} with stages, allowed are tables of one evaluation a step: a stage already has its own time")
    return Table(
        table.times, table.a, table.b, table.c, score_times=table.times[1:],
        name=f"{table.name}, score at end", order=table.order, reference=table.reference,
    )  # fmt: skip


def denoise_last(table):
    r"""One more row, y' = \hat x_0 = (y + v s)/m at the last time \delta > 0: Tweedie's estimate ends the chain at t = 0.

    Source of the practice: Jolicoeur-Martineau et al. 2021, https://arxiv.org/abs/2009.05475
    """
    t = float(table.times[-1])
    if t <= 0:
        raise ValueError("table: got last time 0, allowed is > 0: there is no noise left to remove; stop the grid earlier (stop=1e-3, say)")
    m, v = math.exp(-t), -math.expm1(-2 * t)
    end = Table([t, 0.0], 1 / m, v / m, 0.0, name=f"{table.name}, denoised", order=table.order, reference=table.reference)
    joined = end @ table
    return Table(
        joined.times, joined.a, joined.b, joined.c, state=joined.state, score_times=joined.score_times,
        name=end.name, order=None, reference=table.reference,
    )  # fmt: skip
