r"""The fused engine: which scores it takes, what it precomputes of a table, and how it shares the particles among threads.

It takes the exact score of a Gaussian or a Gaussian mixture with isotropic or diagonal covariances (an empirical measure is one, with
covariance 0), under any clock, plus a constant shift; any table, of several evaluations a step and with memory. The kernel is in
:mod:`.lanes`. Threads share nothing but the table: particles are independent, so they are split among a pool, and the bits of the result do
not depend on how many threads there are. NUMBA_NUM_THREADS bounds them.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numba import config

from ..laws import Empirical, Gaussian, GaussianMixture
from ..score import Exact, Perturbed
from .lanes import LANES, chain

__all__ = ["Program", "program", "run"]

_BLOCK = 16384  # numbers in a block's state: state, score, noise and a few rows stay in the second-level cache
_TASK = 64  # blocks handed to a thread at once
_WORTH_A_THREAD = 200_000  # particle-steps below which starting threads costs more than it brings


@dataclass(frozen=True, eq=False)
class Program:
    """The arrays that :func:`.lanes.chain` reads, in one floating type."""

    table: tuple  # a, b, c, used, drawn
    score: tuple  # m, v (R,), offset (R, K), means (K, d), covs (K, 1 or d), shift (d,)


def program(table, score, dim, dtype):
    """The Program of a table under a score, or None if the fused engine does not take this score.

    Raises ValueError if the noised law is degenerate at a score time that is used: it has no density there, hence no score.
    """
    parts = (np.zeros(dim), None, (np.ones(1), np.zeros((1, dim)), np.ones((1, 1)))) if score is None else _parts(score)
    if parts is None:
        return None
    shift, forward, (weights, means, covs) = parts
    kept = weights > 0
    weights, means, covs = weights[kept], means[kept], covs[kept]
    rows = table.rows
    m, v, offset = np.ones(rows), np.ones(rows), np.zeros((rows, len(weights)))
    for r in np.flatnonzero(table.used):
        kernel = forward(float(table.score_times[r]))
        m[r], v[r] = kernel.m, kernel.v
        variances = kernel.m**2 * covs + kernel.v
        if not variances.min() > 0:
            raise ValueError(
                f"score: got a target whose law at time {float(table.score_times[r])} has variance 0, allowed is a law with a density at every "
                "time where the score is evaluated; stop the grid before 0 (stop=1e-3, say)"
            )
        axes = dim if covs.shape[1] == 1 else 1
        offset[r] = np.log(weights) - 0.5 * axes * np.log(variances).sum(axis=1)
        offset[r] -= offset[r].max()
    cast = lambda *arrays: tuple(np.ascontiguousarray(x, dtype=dtype) for x in arrays)  # noqa: E731
    # copies: a Table's arrays are read-only, which to Numba is another type
    return Program((*cast(table.a.copy(), table.b.copy(), table.c.copy()), table.used, table.drawn), cast(m, v, offset, means, covs, shift))


def _parts(score):
    """(shift, forward, (weights, means, covs (K, 1 or d))) of a score that is exact up to a constant shift, else None."""
    shift = np.zeros(score.dim) if isinstance(score, Exact | Perturbed) else None
    while isinstance(score, Perturbed) and score.shift is not None:
        shift, score = shift + score.shift, score.score
    mixture = _mixture(score.law) if isinstance(score, Exact) else None
    return None if mixture is None else (shift, score.forward, mixture)


def _mixture(law):
    """(weights (K,), means (K, d), covs (K, 1 or d)) of a law that is such a mixture, else None."""
    if isinstance(law, Gaussian):
        weights, means, covs = np.ones(1), law.mean()[None], np.asarray(law.covariance)[None]
    elif isinstance(law, GaussianMixture):
        weights, means, covs = law.weights, law.means, law.covs
    elif isinstance(law, Empirical):
        weights, means, covs = law.weights, law.points, np.zeros(len(law.points))
    else:
        return None
    if covs.ndim == 3 and law.dim > 1:
        return None
    return weights, means, covs.reshape(len(weights), -1)


def run(program, start, keep, states, key, n, dim, dtype, threads=None):
    """(states, n, dim): the y_{r+1} with keep[r] >= 0, at that place; start(lo, hi) gives rows lo..hi-1 of y_0.

    ``threads``: None for as many as NUMBA_NUM_THREADS allows, where the work is worth them. The result does not depend on it.
    """
    out = np.empty((states, n, dim), dtype)
    lanes = max(64, min(LANES, _BLOCK // dim // 64 * 64))
    if threads is None:
        threads = config.NUMBA_NUM_THREADS if n * len(keep) >= _WORTH_A_THREAD else 1
    blocks = -(-n // lanes)
    size = lanes * max(1, min(_TASK, -(-blocks // threads)))

    def task(lo):
        hi = min(lo + size, n)
        first = np.array(start(lo, hi), dtype=dtype, order="C")
        chain(out, first, keep, *key, lo, lanes, *program.table, *program.score)

    if threads == 1 or n <= size:
        for lo in range(0, n, size):
            task(lo)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(task, range(0, n, size)))
    return out
