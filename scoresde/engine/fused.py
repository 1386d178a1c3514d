r"""The fused engine: which scores it takes, what it precomputes of a table, and how it shares the particles among threads.

It takes the exact score of a Gaussian or a Gaussian mixture (an empirical measure is one, with covariance 0), under any clock, plus constant
shifts and fields M u(t, x); any table, of several evaluations a step and with memory. The kernel is in :mod:`.lanes`. Threads share nothing
but the table: particles are independent, so they are split among a pool, and the bits of the result do not depend on how many threads
there are. NUMBA_NUM_THREADS bounds them.

A field is Python, so with one the recurrence runs row by row over blocks that stay in cache: the exact part compiled, the field by its own text.
Then the bits of a particle are independent of the others as far as the field treats its rows one by one.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numba import config

from ..laws import Empirical, Gaussian, GaussianMixture
from ..score import Exact, Perturbed
from . import loop
from .lanes import chain, tile
from .normals import normals
from .vectors import LANES

__all__ = ["Program", "need", "program", "run"]

_BLOCK = 49152  # bytes of a block's state and logits: they stay near the processor; results do not depend on it
_LANES = 1024  # particles side by side at most
_TASK = 2**20  # bytes of a start that is handed to a thread at once, small enough for memory to be used again
_TASKS = 8  # for each thread, so that none waits long for the last
_FIELD = 32768  # numbers in a block that a field is called with
_WORTH_A_THREAD = 200_000  # numbers times steps below which starting threads costs more than it brings


@dataclass(frozen=True, eq=False)
class Program:
    """The arrays that :func:`.lanes.chain` reads, in one floating type, and what it cannot compile."""

    table: tuple  # a, b, c, used, drawn
    score: tuple  # m, v (R,), offset (R, K), means (K, d), covs (K, 1 or d), shift (d,)
    basis: np.ndarray  # (K, 2, d d) for full covariances, whose eigenvalues are covs; else (0, 2, 0)
    fields: tuple  # (M, u(t, x)) each
    source: object  # the Table

    @property
    def plain(self):
        """No full covariances and no fields."""
        return not (len(self.basis) or self.fields)

    @property
    def held(self):
        """Components in a tile."""
        return tile(*self.score[3].shape, len(self.basis) > 0)

    @property
    def compact(self):
        """What the kernel reads: one row of offsets where all are the same."""
        m, v, offset, means, covs, shift = self.score
        return m, v, offset if offset.strides[0] else np.ascontiguousarray(offset[:1]), means, covs, shift, self.basis


def program(table, score, dim, dtype):
    """The Program of a table under a score, or None if the fused engine does not take this score.

    Raises ValueError if the noised law is degenerate at a score time that is used: it has no density there, hence no score.
    """
    parts = _parts(score, dim)
    if parts is None:
        return None
    shift, fields, forward, (weights, means, covs) = parts
    kept = weights > 0
    weights, means, covs = weights[kept], means[kept], covs[kept]
    covs, basis = _diagonal(covs)
    alike = bool((covs == covs[:1]).all())  # then the determinants are, at every time
    m, v = np.ones(table.rows), np.ones(table.rows)
    offset = np.zeros((1 if alike else table.rows, len(weights)))
    if alike:
        offset[0] = np.log(weights) - np.log(weights.max())
    for r in np.flatnonzero(table.used):
        kernel = forward(float(table.score_times[r]))
        m[r], v[r] = kernel.m, kernel.v
        variances = kernel.m**2 * (covs[:1] if alike else covs) + kernel.v
        if not variances.min() > 0:
            raise ValueError(
                f"score: got a target whose law at time {float(table.score_times[r])} has variance 0, allowed is a law with a density at every "
                "time where the score is evaluated; stop the grid before 0 (stop=1e-3, say)"
            )
        if not alike:
            offset[r] = np.log(weights) - 0.5 * (dim // covs.shape[1]) * np.log(variances).sum(axis=1)
            offset[r] -= offset[r].max()
    cast = lambda *arrays: tuple(np.ascontiguousarray(x, dtype=dtype) for x in arrays)  # noqa: E731
    # copies: a Table's arrays are read-only, which to Numba is another type
    arrays = (*cast(table.a.copy(), table.b.copy(), table.c.copy()), table.used, table.drawn)
    m, v, offset, means, covs, shift, basis = cast(m, v, offset, means.copy(), covs.copy(), shift, basis)
    offset = np.broadcast_to(offset, (table.rows, len(weights))) if alike else offset
    return Program(arrays, (m, v, offset, means, covs, shift), basis, fields, table)


def need(table, score, dim, dtype, device=None):
    """Bytes that the constants and the blocks of a run take beside its particles; None if the engine does not take this score (on this device)."""
    parts = _parts(score, dim)
    if parts is None:
        return None
    _, fields, _, (weights, means, covs) = parts
    size, count, full = np.dtype(dtype).itemsize, len(weights), covs.ndim == 3
    if device is not None and (full or fields):
        return None
    offset = 0 if (covs == covs[:1]).all() else table.rows * count * (8 + size)
    eigen = count * dim**2 * (4 * 8 + 2 * size) if full else 0  # eigenvectors and their copies, and those in the type of the run
    held = tile(count, dim, full)
    lanes = _lanes(_LANES, dim, held, size)
    memories = sum(x.shape[1] for x in (table.a, table.b, table.c)) + 2 + (held if full else 0)
    block = (memories * max(lanes * dim, _FIELD if fields else 0) + held * (lanes + 4 * dim)) * size
    return offset + eigen + (means.size + covs.size) * (8 + size) + config.NUMBA_NUM_THREADS * block


def _parts(score, dim):
    """(shift, fields, forward, (weights, means, covs)) of a score that is exact up to shifts and fields, else None."""
    if score is None:
        return np.zeros(dim), (), None, (np.ones(1), np.zeros((1, dim)), np.ones((1, 1)))
    shift, fields = np.zeros(score.dim) if isinstance(score, Exact | Perturbed) else None, []
    while isinstance(score, Perturbed):
        if score.shift is None:
            fields.append((score.M, score.direction))
        else:
            shift = shift + score.shift
        score = score.score
    mixture = _mixture(score.law) if isinstance(score, Exact) else None
    return None if mixture is None else (shift, tuple(fields), score.forward, mixture)


def _mixture(law):
    """(weights (K,), means (K, d), covs (K, 1), (K, d) or (K, d, d)) of a law that is such a mixture, else None."""
    if isinstance(law, Gaussian):
        weights, means, covs = np.ones(1), law.mean()[None], np.asarray(law.covariance)[None]
    elif isinstance(law, GaussianMixture):
        weights, means, covs = law.weights, law.means, law.covs
    elif isinstance(law, Empirical):
        weights, means, covs = law.weights, law.points, np.zeros(len(law.points))
    else:
        return None
    return weights, means, covs if covs.ndim == 3 and law.dim > 1 else covs.reshape(len(weights), -1)


def _diagonal(covs):
    """(variances (K, 1 or d), basis): C_k = U_k diag(variances_k) U_k^T with basis (K, 2, d d) = (U_k, U_k^T), or (0, 2, 0) for U_k = I."""
    if covs.ndim == 2:
        return covs, np.zeros((0, 2, 0))
    count, d, _ = covs.shape
    variances, vectors = np.linalg.eigh(covs)
    basis = np.stack([vectors, vectors.transpose(0, 2, 1)], axis=1).reshape(count, 2, d * d)
    return np.maximum(variances, 0.0), basis  # a singular covariance may round below 0


def run(program, start, keep, states, key, n, dim, dtype, threads=None):
    """(states, n, dim): the y_{r+1} with keep[r] >= 0, at that place.

    start: the key of standard normals, or (lo, hi) -> rows lo..hi-1 of y_0.

    ``threads``: None for as many as NUMBA_NUM_THREADS allows, where the work is worth them. The result does not depend on it.
    """
    out = np.empty((states, n, dim), dtype)
    drawn = isinstance(start, tuple)
    if program.fields:
        first = (lambda lo, hi: normals(start, hi - lo, dim, first=lo)) if drawn else start
        _row_by_row(program, first, keep, key, out)
        return out
    lanes = _lanes(n, dim, program.held, out.itemsize)
    if threads is None:
        threads = config.NUMBA_NUM_THREADS if n * dim * len(keep) >= _WORTH_A_THREAD else 1
    blocks = -(-n // lanes)
    share = -(-blocks // (_TASKS * threads)) if threads > 1 else blocks
    size = lanes * (share if drawn else max(1, min(_TASK // (8 * dim * lanes), share)))

    def task(lo):
        count = min(size, n - lo)
        first = np.empty((0, dim), dtype) if drawn else np.array(start(lo, lo + count), dtype=dtype, order="C")
        chain(out, count, first, *(start if drawn else key), keep, *key, lo, lanes, *program.table, *program.compact)

    if threads == 1 or n <= size:
        for lo in range(0, n, size):
            task(lo)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(task, range(0, n, size)))
    return out


def _lanes(n, dim, held, itemsize):
    """Particles in a block: whole tiles, so many that the block stays in cache, or that there are; held: components in a tile."""
    unit = LANES * 8 // itemsize
    return max(1, min(_LANES // unit, _BLOCK // (itemsize * (dim + held) * unit), -(-n // unit))) * unit


def _row_by_row(program, start, keep, key, out):
    """Fill out (states, n, d) by the reference recurrence over blocks in cache, the exact part of the score compiled."""
    _, n, dim = out.shape
    lanes = _lanes(n, dim, program.held, out.itemsize)
    m, v, offset, *rest = program.compact
    row = {float(program.source.score_times[r]): r for r in np.flatnonzero(program.source.used)}
    zero, one = np.zeros((1, 1), out.dtype), np.ones((1, 1), out.dtype)
    once = (zero, one, zero, np.ones(1, bool), np.zeros(1, bool))  # the table of one row whose state is the score

    def score(t, x):
        r, s = row[t], np.empty((1, *x.shape), out.dtype)
        at = (m[r : r + 1], v[r : r + 1], offset[r % len(offset) : r % len(offset) + 1])
        chain(s, len(x), x, *key, np.zeros(1, np.int64), *key, 0, lanes, *once, *at, *rest)
        for size, field in program.fields:
            s[0] += size * loop.evaluate(field, t, x)
        return s[0]

    block = max(lanes, _FIELD // dim)
    for lo in range(0, n, block):
        x = np.array(start(lo, min(lo + block, n)), dtype=out.dtype, order="C")
        for r, y in enumerate(loop.rows(program.source, score, x, key, first=lo)):
            if keep[r] >= 0:
                out[keep[r], lo : lo + block] = y
