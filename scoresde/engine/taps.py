r"""Sums of equal Gaussians on a uniform grid: q(x_i) = \sum_j w_j N(x_i; a_j, R), two exponentials per point instead of one per term.

With d = a - x_k the distance to the nearest node, N(x_{k+l}; a, R) = e^{-d^2/2R} r^l e^{-(l dx)^2/2R} / \sqrt{2\pi R}, r = e^{d dx/R}: the last
factor is a table, r^l a recurrence.
"""

import math

import numpy as np
from numba import njit

from ..laws.cloud import FLAGS, fast_exp

__all__ = ["collect", "deposit"]


def taps_py(first, ratio, start, cls, table, out):
    """out[cls_j, start_j + l] += first_j ratio_j^l table_l: a row of taps by recurrence, eight at a time."""
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
        i = start[j]
        for block in range(table.size // 8):  # loads before stores, so that the eight become one vector
            b = 8 * block
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


taps = njit(taps_py, error_model="numpy", fastmath=FLAGS)


def deposit_py(a, w, cls, var, dx, x0, reach, out):
    """out[cls_j, i] += w_j N(x_i; a_j, var) on x_i = x0 + i dx, ``reach`` nodes to either side; nodes that do not fit are left out."""
    m, n = out.shape[1], a.size
    table = np.empty((2 * reach + 8) // 8 * 8)
    norm = 1 / math.sqrt(2 * math.pi * var)
    c, g, inv = -0.5 / var, dx / var, 1 / dx
    for l in range(table.size):
        d = (l - reach) * dx
        table[l] = norm * fast_exp(c * d * d)
    first, ratio, start = np.empty(n), np.empty(n), np.empty(n, dtype=np.int64)
    for j in range(n):
        t = (a[j] - x0) * inv
        k = np.rint(t)
        d = (t - k) * dx
        first[j] = w[j] * fast_exp(c * d * d - reach * g * d)
        ratio[j] = fast_exp(g * d)
        if k < reach or k - reach + table.size > m:
            k, first[j] = reach, 0.0
        start[j] = np.int64(k) - reach
    taps(first, ratio, start, cls, table, out)


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


collect = njit(collect_py, error_model="numpy", fastmath=FLAGS, cache=True)
