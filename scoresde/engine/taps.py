r"""Sums of equal Gaussians on a uniform grid: q(x_i) = \sum_j w_j N(x_i; a_j, R), two exponentials per point instead of one per term.

With d = a - x_k the distance to the nearest node, N(x_{k+l}; a, R) = e^{-d^2/2R} r^l e^{-(l dx)^2/2R} / \sqrt{2\pi R}, r = e^{d dx/R}: the last
factor is a table, r^l a recurrence.
"""

import math

import numpy as np
from numba import njit

from ..laws.cloud import FLAGS, fast_exp
from .vectors import full_width

__all__ = ["deposit", "on_grid"]


def taps_py(first, ratio, start, cls, table, size, out):
    """out[cls_j, i_j + l] += first_j ratio_j^l table_{l + i_j - start_j + 7}, l < size, i_j the multiple of 8 at or below start_j.

    A row of taps by recurrence, eight at a time; eights that begin anywhere would straddle cache lines, and wait for what the point before
    has just written there.
    """
    for j in range(first.size):
        row = out[cls[j]]
        r = ratio[j]
        r2 = r * r
        r4 = r2 * r2
        r8 = r4 * r4
        p0 = first[j]
        p1, p2 = p0 * r, p0 * r2
        p3, p4 = p1 * r2, p0 * r4
        p5, p6, p7 = p1 * r4, p2 * r4, p3 * r4
        i = start[j] // 8 * 8
        shift = 7 - (start[j] - i)
        for block in range(size // 8):  # loads before stores, so that the eight become one vector
            b = 8 * block + shift
            t0 = row[i] + p0 * table[b]
            t1 = row[i + 1] + p1 * table[b + 1]
            t2 = row[i + 2] + p2 * table[b + 2]
            t3 = row[i + 3] + p3 * table[b + 3]
            t4 = row[i + 4] + p4 * table[b + 4]
            t5 = row[i + 5] + p5 * table[b + 5]
            t6 = row[i + 6] + p6 * table[b + 6]
            t7 = row[i + 7] + p7 * table[b + 7]
            row[i] = t0
            row[i + 1] = t1
            row[i + 2] = t2
            row[i + 3] = t3
            row[i + 4] = t4
            row[i + 5] = t5
            row[i + 6] = t6
            row[i + 7] = t7
            p0 *= r8
            p1 *= r8
            p2 *= r8
            p3 *= r8
            p4 *= r8
            p5 *= r8
            p6 *= r8
            p7 *= r8
            i += 8


# inlined, all of them: a copy of its own beside the one in a cached caller is optimised differently, and which runs would depend on the cache
taps = njit(taps_py, error_model="numpy", fastmath=FLAGS, forceinline=True)


def deposit_py(a, w, cls, var, dx, x0, reach, out):
    """out[cls_j, i] += w_j N(x_i; a_j, var) on x_i = x0 + i dx, ``reach`` nodes to either side and up to 14 more; what does not fit is left out."""
    m, n, size = out.shape[1], a.size, (2 * reach + 15) // 8 * 8
    table = np.empty(size + 7)
    norm = 1 / math.sqrt(2 * math.pi * var)
    c, g, inv = -0.5 / var, dx / var, 1 / dx
    for l in range(table.size):
        d = (l - 7 - reach) * dx
        table[l] = norm * fast_exp(c * d * d)
    first, ratio, start = np.empty(n), np.empty(n), np.empty(n, dtype=np.int64)
    for j in range(n):
        t = (a[j] - x0) * inv
        k = np.rint(t)
        d = (t - k) * dx
        begin = np.int64(k) - reach
        first[j] = w[j] * fast_exp(c * d * d - (reach + begin % 8) * g * d)
        ratio[j] = fast_exp(g * d)
        if k < reach or begin // 8 * 8 + size > m:
            begin, first[j] = 0, 0.0
        start[j] = begin
    taps(first, ratio, start, cls, table, size, out)


_deposit = njit(deposit_py, error_model="numpy", fastmath=FLAGS, forceinline=True)
deposit = njit(deposit_py, error_model="numpy", fastmath=FLAGS, cache=True)


def collect_py(out, x0, dx, cut):
    """The fields of a Grid after dx, from rows that hold what the nodes of each class deposited; only nodes where q exceeds ``cut``."""
    m = out.shape[1]
    x, w, cls = np.empty(m), np.empty(m), np.empty(m, dtype=np.int64)
    n, half, quarter, total = 0, 0.0, 0.0, 0.0
    before, jump = 0.0, 1.0
    for i in range(m):
        even, odd = out[0, i] + out[2, i], out[1, i] + out[3, i]
        q = even + odd
        half += abs(even - odd)
        quarter += abs(4 * out[0, i] - q)
        total += q
        if q > 1e-34 and before > 1e-34:
            jump = max(jump, q / before, before / q)
        before = q
        if q > cut:
            x[n], w[n], cls[n] = x0 + i * dx, q * dx, i & 3
            n += 1
    total *= dx
    for i in range(n):  # so that rounding does not drift over thousands of steps
        w[i] /= total
    return x[:n], w[:n], cls[:n], 0.5 * dx * half, 0.5 * dx * quarter, total, math.log(jump) / dx


collect = njit(collect_py, error_model="numpy", fastmath=FLAGS, forceinline=True)


def on_grid_py(a, w, cls, var, dx, shift, reach, cut, limit):
    """(nodes of the grid, what :func:`collect_py` finds on it): the sum on a grid of spacing dx, staggered by ``shift`` of it, with ``reach``
    nodes beyond the outermost points; more than ``limit`` nodes are not made."""
    full_width()
    lo, hi = math.inf, -math.inf
    for j in range(a.size):
        lo, hi = min(lo, a[j]), max(hi, a[j])
    m = (hi - lo) / dx + 2 * reach + 20
    if m > limit:  # a few nodes without mass may have been thrown far out
        lo, hi = math.inf, -math.inf
        for j in range(a.size):
            if w[j] > 1e-24:
                lo, hi = min(lo, a[j]), max(hi, a[j])
        m = (hi - lo) / dx + 2 * reach + 20
    x0 = lo - (reach + 1 - shift) * dx
    wide = (int(m) // 8 + 1) * 8 if m <= limit else 0
    memory = np.zeros(4 * wide + 8)
    skip = (-memory.ctypes.data % 64) // 8
    out = memory[skip : skip + 4 * wide].reshape(4, wide)  # every row from a cache line on
    if m <= limit:
        _deposit(a, w, cls, var, dx, x0, reach, out)
    return m, collect(out, x0, dx, cut)


on_grid = njit(on_grid_py, error_model="numpy", fastmath=FLAGS, cache=True)
