r"""Synchronous coupling: two chains driven by one Brownian path, whose distance bounds W_2 between their laws from above."""

import math

import numpy as np

from .._arrays import positive_int, seed_words
from ..divergence.concentration import normal
from ..enclosure import Enclosure
from ..errors import NoMethod, NotTrusted
from . import loop
from .normals import key, normals
from .propagate import check_chain

__all__ = ["coupled_wasserstein2"]

BLOCK = 2**20  # numbers of one array: 8 MB


def coupled_wasserstein2(coarse, fine, score, n, *, seed, start=None, alpha=1e-6):
    r"""W_2(law of the coarse chain, law of the fine chain) \le (E|Y - Y'|^2)^{1/2}, Y and Y' from one start and one Brownian path.

    coarse, fine : tables of one evaluation a step without memory (``scheme.euler_maruyama(grid)``, ``exponential_relative(grid)``, ...), the
    times of the coarse one among those of the fine one; the noise of a coarse step is that of its fine steps, weighted by the roots of their
    lengths. Any coupling bounds W_2, so nothing else is assumed: with a fine grid this is the discretisation error of the coarse chain.
    score : s(t, x); n pairs of particles; start : Law, None for N(0, I). [0, hi]: the mean of |Y - Y'|^2 is bounded by the central limit theorem,
    level asymptotic, error probability alpha. Memory: about 60 MB in any dimension, plus 8 n bytes and the draws of ``start``.
    Raises TypeError and ValueError for wrong arguments, NoMethod for tables with stages, memory or Metropolis tests, NotTrusted if a particle
    is not finite.
    """
    n, dim = positive_int("n", n, least=2), check_chain(coarse, score, start)
    check_chain(fine, score, start)
    for name, table in (("coarse", coarse), ("fine", fine)):
        if max(x.shape[1] for x in (table.a, table.b, table.c)) > 1 or not table.state.all() or getattr(table, "target", None) is not None:
            raise NoMethod(
                f"{name}: got {table!r} with stages or memory, allowed is one evaluation a step: euler_maruyama, exponential_relative, ..."
            )
    ends = np.searchsorted(-fine.times, -coarse.times - 1e-12)
    if ends[-1] >= len(fine.times) or np.max(np.abs(fine.times[ends] - coarse.times)) > 1e-12 or ends[0] != 0 or ends[-1] != fine.rows:
        raise ValueError("fine: got a grid that misses times of the coarse one, allowed is a refinement; say grid.uniform(T, 8 * steps)")
    noise, origin = (key(seed, f"coupled_wasserstein2 {what}") for what in ("noise", "start"))
    x0 = None if start is None else start.sample(n, np.random.SeedSequence(seed_words(seed, "coupled_wasserstein2 start")))
    squares = np.empty(n)
    step = max(2, BLOCK // dim)
    for lo in range(0, n, step):
        m = min(step, n - lo)
        y = normals(origin, m, dim, first=lo) if x0 is None else x0[lo : lo + m]
        squares[lo : lo + m] = _apart(coarse, fine, score, y, ends, lambda r, lo=lo, m=m: normals(noise, m, dim, row=r, first=lo))
    if not np.isfinite(squares).all():
        raise NotTrusted(f"coupled_wasserstein2: {int((~np.isfinite(squares)).sum())} of {n} pairs are not finite; take smaller steps")
    hi = math.sqrt(float(np.mean(squares)) + normal(squares, alpha))
    return Enclosure(0.0, hi, "asymptotic", alpha, None, f"synchronous coupling with {fine.rows} fine steps, {n} pairs")


def _apart(coarse, fine, score, x, ends, draw):
    """|Y - Y'|^2 (m,) at the end, both chains from x."""
    y, z = x, x
    for r in range(coarse.rows):
        parts = np.sqrt(np.diff(fine.times[ends[r] : ends[r + 1] + 1]) / (coarse.times[r + 1] - coarse.times[r]))
        total = np.zeros_like(x)
        for k, weight in zip(range(ends[r], ends[r + 1]), parts, strict=True):
            increment = draw(k)
            total += weight * increment
            z = _step(fine, score, k, z, increment)
        y = _step(coarse, score, r, y, total)
    return np.sum((y - z) ** 2, axis=1)


def _step(table, score, r, y, noise):
    with np.errstate(over="ignore", invalid="ignore"):
        out = table.a[r, 0] * y + table.c[r, 0] * noise
        return out + table.b[r, 0] * loop.evaluate(score, float(table.score_times[r]), y) if table.used[r] else out
