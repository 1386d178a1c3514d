r"""The kernel of the fused simulator: a whole table for a block of particles that stays in cache, with the exact score of a noised Gaussian mixture.

With (m, v) = forward(t), V_k = m^2 C_k + v and r_k the responsibilities of the components,

    s(t, x) = \sum_k r_k(x) V_k^{-1} (m \mu_k - x) + shift,   r_k \propto w_k |V_k|^{-1/2} \exp(-(x - m \mu_k)^T V_k^{-1} (x - m \mu_k) / 2),

with isotropic C_k = c_k I or diagonal C_k. The coordinates of a block of particles lie lane by lane and every stage is a loop of its own
over the lanes, so that LLVM can vectorise it. Differences x - m \mu_k are formed before they are squared and logits are measured from the
greatest: nothing cancels, nothing underflows to 0/0. Components come in tiles with a running maximum (Milakov & Gimelshein 2018,
https://arxiv.org/abs/1805.02867), so that scratch memory does not grow with their number.

No fast-math flag is set: multiply-adds are written out, so that NaN and infinity stay visible and the bits of a particle do not depend on
how many others there are, on the block or on the threads. ``chain_py`` is the plain text, ``chain`` its compiled form.
"""

import numpy as np
from numba import njit
from numba.extending import overload, register_jitable

from .elementary import exp, exp32, fma
from .normals import fill

__all__ = ["LANES", "TILE", "chain", "chain_py"]

TILE = 16  # components whose logits are held at once
LANES = 256  # particles side by side, fewer in high dimension; results do not depend on it

_jit = register_jitable(forceinline=True)


def power(x):
    """e^x in the precision of x; see :mod:`.elementary`."""
    return exp(x) if x.dtype == np.float64 else exp32(x)


@overload(power, inline="always")
def _overload_power(x):
    return (lambda x: exp(x)) if x.bitwidth == 64 else (lambda x: exp32(x))


# ---- loops over the lanes of a block: x, y, z, w are coordinates, q, r, s, t rows of logits or weights ------------------------------


@_jit
def _set(out, p):
    for i in range(len(out)):
        out[i] = p


@_jit
def _copy(out, p):  # out[:] = p would drag in the formatting of an error, a second of compilation
    for i in range(len(out)):
        out[i] = p[i]


@_jit
def _add_square(q, x, a):
    for i in range(len(q)):
        u = x[i] - a
        q[i] = fma(u, u, q[i])


@_jit
def _add_square4(q, x, y, z, w, a, b, c, d):
    for i in range(len(q)):
        s, t, u, v = x[i] - a, y[i] - b, z[i] - c, w[i] - d
        q[i] = fma(v, v, fma(u, u, fma(t, t, fma(s, s, q[i]))))


@_jit
def _add_scaled_square(q, x, a, p):
    for i in range(len(q)):
        u = x[i] - a
        q[i] = fma(p * u, u, q[i])


@_jit
def _scale_and_raise(top, q, p, offset):
    for i in range(len(q)):
        logit = fma(p, q[i], offset)
        q[i] = logit
        top[i] = logit if logit > top[i] else top[i]


@_jit
def _weigh(q, total, top, p):
    for i in range(len(q)):
        e = power(q[i] - top[i])
        total[i] += e
        q[i] = p * e


@_jit
def _fade(old, top):
    for i in range(len(old)):
        old[i] = power(old[i] - top[i])


@_jit
def _pull(out, x, q, a):
    for i in range(len(out)):
        out[i] = fma(q[i], a - x[i], out[i])


@_jit
def _pull4(out, x, q, r, s, t, a, b, c, d):
    for i in range(len(out)):
        y = x[i]
        out[i] = fma(t[i], d - y, fma(s[i], c - y, fma(r[i], b - y, fma(q[i], a - y, out[i]))))


@_jit
def _scaled_pull(out, x, q, a, p):
    for i in range(len(out)):
        out[i] = fma(q[i], p * (a - x[i]), out[i])


@_jit
def _multiply(out, p):
    for i in range(len(out)):
        out[i] *= p[i]


@_jit
def _normalise(out, total, shift):
    for i in range(len(out)):
        out[i] = out[i] / total[i] + shift


@_jit
def _combine(out, x, s, z, a, b, c):
    for i in range(len(out)):
        out[i] = fma(a, x[i], fma(b, s[i], c * z[i]))


@_jit
def _extend(out, x, a):
    for i in range(len(out)):
        out[i] = fma(a, x[i], out[i])


# ---- the score of a block ------------------------------------------------------------------------------------------------------------


@register_jitable
def _score(out, x, m, v, offset, means, covs, shift, q, inverse, top, old, total):
    """out, x (d lanes,), q (TILE lanes,); means (K, d); covs (K, 1) isotropic or (K, d); inverse, top, old, total: scratch."""
    lanes, (count, d), axes = len(top), means.shape, covs.shape[1]
    one = out.dtype.type(1)
    minus_half = out.dtype.type(-0.5)
    _set(out, 0.0)
    _set(total, 0.0)
    _set(top, -np.inf)
    for first in range(0, count, TILE):
        size = min(TILE, count - first)
        if first:
            _copy(old, top)
        for k in range(size):
            mean, row = means[first + k], q[k * lanes : (k + 1) * lanes]
            for j in range(axes):
                inverse[k, j] = one / (m * m * covs[first + k, j] + v)
            _set(row, 0.0)
            if axes == 1:
                for j in range(0, d - 3, 4):
                    x0, x1 = x[j * lanes : (j + 1) * lanes], x[(j + 1) * lanes : (j + 2) * lanes]
                    x2, x3 = x[(j + 2) * lanes : (j + 3) * lanes], x[(j + 3) * lanes : (j + 4) * lanes]
                    _add_square4(row, x0, x1, x2, x3, m * mean[j], m * mean[j + 1], m * mean[j + 2], m * mean[j + 3])
                for j in range(d - d % 4, d):
                    _add_square(row, x[j * lanes : (j + 1) * lanes], m * mean[j])
                _scale_and_raise(top, row, minus_half * inverse[k, 0], offset[first + k])
            else:
                for j in range(d):
                    _add_scaled_square(row, x[j * lanes : (j + 1) * lanes], m * mean[j], minus_half * inverse[k, j])
                _scale_and_raise(top, row, one, offset[first + k])
        if first:  # what was summed so far was measured from a lower greatest logit
            _fade(old, top)
            _multiply(total, old)
            for j in range(d):
                _multiply(out[j * lanes : (j + 1) * lanes], old)
        for k in range(size):
            _weigh(q[k * lanes : (k + 1) * lanes], total, top, inverse[k, 0] if axes == 1 else one)
        for j in range(d):
            to, at = out[j * lanes : (j + 1) * lanes], x[j * lanes : (j + 1) * lanes]
            if axes == 1:
                for k in range(0, size - 3, 4):
                    q0, q1 = q[k * lanes : (k + 1) * lanes], q[(k + 1) * lanes : (k + 2) * lanes]
                    q2, q3 = q[(k + 2) * lanes : (k + 3) * lanes], q[(k + 3) * lanes : (k + 4) * lanes]
                    i = first + k
                    _pull4(to, at, q0, q1, q2, q3, m * means[i, j], m * means[i + 1, j], m * means[i + 2, j], m * means[i + 3, j])
                for k in range(size - size % 4, size):
                    _pull(to, at, q[k * lanes : (k + 1) * lanes], m * means[first + k, j])
            else:
                for k in range(size):
                    _scaled_pull(to, at, q[k * lanes : (k + 1) * lanes], m * means[first + k, j], inverse[k, j])
    for j in range(d):
        _normalise(out[j * lanes : (j + 1) * lanes], total, shift[j])


# ---- the chain of a block ------------------------------------------------------------------------------------------------------------


def chain_py(out, start, keep, k0, k1, index, lanes, a, b, c, used, drawn, m, v, offset, means, covs, shift):
    """Particles in blocks of ``lanes`` through all rows; y_{r+1} goes to out[keep[r]] where keep[r] >= 0.

    start (n, d): the particles index, ..., index + n - 1 (index even) out of those of out (S, N, d); keep (R,); k0, k1: the key of the noise.
    a, b, c, used, drawn: the table; m, v (R,) and offset (R, K), the logits' constants, at its score times; means (K, d);
    covs (K, 1) isotropic or (K, d) diagonal; shift (d,). One floating type throughout.
    """
    n, d = start.shape
    width, kind = d * lanes, out.dtype
    y = np.zeros((a.shape[1] + 1, width), kind)  # one slot more than lags: the new value never overwrites one that is still read
    s = np.zeros((b.shape[1], width), kind)
    z = np.zeros((c.shape[1], width), kind)
    q = np.empty(min(TILE, len(means)) * lanes, kind)
    inverse = np.empty((min(TILE, len(means)), covs.shape[1]), kind)
    top, old, total = np.empty(lanes, kind), np.empty(lanes, kind), np.empty(lanes, kind)
    words = np.empty((2, lanes // 2), np.uint64)
    for low in range(0, n, lanes):
        for j in range(d):
            for i in range(lanes):
                y[0, j * lanes + i] = start[min(low + i, n - 1), j]  # a last block is filled up with copies; nobody sees them
        for r in range(len(a)):
            x = y[r % len(y)]
            if used[r]:
                _score(s[r % len(s)], x, m[r], v[r], offset[r], means, covs, shift, q, inverse, top, old, total)
            else:
                _set(s[r % len(s)], 0.0)  # a NaN left there by an earlier block would survive its coefficient 0
            if drawn[r]:
                for j in range(d):
                    fill(z[r % len(z), j * lanes : (j + 1) * lanes], words, k0, k1, (index + low) // 2, r, j)
            to = y[(r + 1) % len(y)]
            _combine(to, x, s[r % len(s)], z[r % len(z)], a[r, 0], b[r, 0], c[r, 0])
            for j in range(1, a.shape[1]):
                if a[r, j] != 0:
                    _extend(to, y[(r - j) % len(y)], a[r, j])
                if b[r, j] != 0:
                    _extend(to, s[(r - j) % len(s)], b[r, j])
            for j in range(1, c.shape[1]):
                if c[r, j] != 0:
                    _extend(to, z[(r - j) % len(z)], c[r, j])
            if keep[r] >= 0:
                for i in range(min(lanes, n - low)):
                    for j in range(d):
                        out[keep[r], index + low + i, j] = to[j * lanes + i]


chain = njit(chain_py, cache=True, error_model="numpy", nogil=True)
