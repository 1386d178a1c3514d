r"""The kernel of the fused simulator: a whole table for a block of particles that stays in cache, with the exact score of a noised Gaussian mixture.

With (m, v) = forward(t), V_k = m^2 C_k + v and r_k the responsibilities of the components,

    s(t, x) = \sum_k r_k(x) V_k^{-1} (m \mu_k - x) + shift,   r_k \propto w_k |V_k|^{-1/2} \exp(-(x - m \mu_k)^T V_k^{-1} (x - m \mu_k) / 2),

with isotropic C_k = c_k I, diagonal C_k, or full C_k = U_k diag(c_k) U_k^T: V_k has the eigenvectors U_k at every time, so that
y = U_k^T (x - m \mu_k) brings a full covariance to a diagonal one. The coordinates of a block of particles lie lane by lane; the products are
in :mod:`.tiles`, every other stage is a loop of its own over the lanes, so that LLVM can vectorise it.

Differences x - m \mu_k are formed before they are squared, and logits are measured from the greatest: nothing cancels, nothing underflows to
0/0. The pull is gathered as \sum_k r_k V_k^{-1} m \mu_k - (\sum_k r_k V_k^{-1}) x, whose rounding is that of m \mu_k and x themselves. Components
come in tiles with a running maximum (Milakov & Gimelshein 2018, https://arxiv.org/abs/1805.02867), so that scratch memory does not grow
with their number.

No fast-math flag is set: multiply-adds are written out, so that NaN and infinity stay visible and the bits of a particle do not depend on
how many others there are, on the block or on the threads. ``chain_py`` is the plain text, ``chain`` its compiled form.
"""

import numpy as np
from numba import njit
from numba.extending import overload, register_jitable

from .elementary import exp, exp32, fma
from .normals import fill
from .tiles import gather, normalise, part, squares

__all__ = ["chain", "chain_py", "tile"]

_TILE = 16  # components whose logits are held at once
_NEAR = 16384  # bytes of a block that are worked on at once, so that they stay in the first-level cache
_SQUARE, _ROWS = 16, 8  # coordinates and points copied at once between points and lanes: fewer lines than the first-level cache has in a set

_jit = register_jitable(forceinline=True)


@register_jitable
def tile(count, d, full):
    """Components whose logits, and with full covariances whitened differences, are held at once."""
    return min(count, max(1, min(_TILE, 512 // d)) if full else _TILE)


def power(x):
    """e^x in the precision of x; see :mod:`.elementary`."""
    return exp(x) if x.dtype == np.float64 else exp32(x)


@overload(power, jit_options={"forceinline": True})
def _overload_power(x):
    return (lambda x: exp(x)) if x.bitwidth == 64 else (lambda x: exp32(x))


# ---- loops over the lanes of a block --------------------------------------------------------------------------------------------------


@_jit
def _set(out, p):
    for i in range(len(out)):
        out[i] = p


@_jit
def _copy(out, p):  # out[:] = p would drag in the formatting of an error, a second of compilation
    for i in range(len(out)):
        out[i] = p[i]


@_jit
def _subtract(out, x, a):
    for i in range(len(out)):
        out[i] = x[i] - a


@_jit
def _scale_and_raise(top, q, p, offset):
    for i in range(len(q)):
        logit = fma(p, q[i], offset)
        q[i] = logit
        top[i] = logit if logit > top[i] else top[i]


@_jit
def _weigh(q, total, weight, top, p):
    for i in range(len(q)):
        e = power(q[i] - top[i])
        total[i] += e
        weight[i] = fma(p, e, weight[i])
        q[i] = p * e


@_jit
def _fade(old, top):
    for i in range(len(old)):
        old[i] = power(old[i] - top[i])


@_jit
def _multiply(out, p):
    for i in range(len(out)):
        out[i] *= p[i]


@_jit
def _multiply_scaled(out, p, q):
    for i in range(len(out)):
        out[i] *= p * q[i]


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
def _room(n, kind):
    """n numbers from a whole cache line on: a vector that lies across two lines is read twice."""
    memory = np.empty(n + 16, kind)
    skip = (-memory.ctypes.data % 64) // memory.itemsize
    return memory[skip : skip + n]


@register_jitable
def _score(out, x, m, v, offset, row, means, covs, basis, shift, q, top, old, total, weight, centres, inverse, scale, matrix, wide, turned):
    """out, x (d lanes,). means (K, d); covs (K, 1) isotropic, (K, d) diagonal, or of the eigenvectors basis (K, 2, d d): U_k and U_k^T.

    Scratch, for t components at once: q (t lanes,); top, old, total, weight (lanes,); centres, matrix (t d,); inverse,
    scale (t axes,); wide (d lanes,) with several axes; turned (t d lanes,) with full covariances.
    """
    lanes, (count, d), axes, full = len(top), means.shape, covs.shape[1], len(basis) > 0
    one, half, near = out.dtype.type(1), out.dtype.type(-0.5), max(1, _NEAR // (out.itemsize * len(top)))
    height = len(q) // lanes
    _set(total, 0.0)
    _set(weight, 0.0)
    _set(top, -np.inf)
    for first in range(0, count, height):
        size = min(height, count - first)
        for k in range(size):
            for j in range(axes):
                inverse[k * axes + j] = one / (m * m * covs[first + k, j] + v)
                scale[k * axes + j] = half * inverse[k * axes + j]
            for j in range(d):
                centres[k * d + j] = m * means[first + k, j]
        # squared distances
        if full:
            _set(matrix, 0.0)
            for k in range(size):
                y = part(turned, k * d * lanes, (k + 1) * d * lanes)
                for j in range(d):
                    _subtract(part(wide, j * lanes, (j + 1) * lanes), part(x, j * lanes, (j + 1) * lanes), centres[k * d + j])
                gather(y, wide, basis[first + k, 0], d, d, lanes, True)
                squares(part(q, k * lanes, (k + 1) * lanes), y, matrix, part(scale, k * d, (k + 1) * d), 0, 1, 0, d, d, lanes)
        else:
            for low in range(0, d, near):
                if axes == 1:
                    squares(q, x, centres, None, 0, size, low, min(low + near, d), d, lanes)
                else:
                    squares(q, x, centres, scale, 0, size, low, min(low + near, d), d, lanes)
        # weights, measured from the greatest logit
        if first:
            _copy(old, top)
        for k in range(size):
            _scale_and_raise(top, part(q, k * lanes, (k + 1) * lanes), scale[k] if axes == 1 else one, offset[row, first + k])
        if first:  # what was summed so far was measured from a lower greatest logit
            _fade(old, top)
            _multiply(total, old)
            _multiply(weight, old)
            for j in range(d):
                _multiply(part(out, j * lanes, (j + 1) * lanes), old)
                if axes > 1 and not full:
                    _multiply(part(wide, j * lanes, (j + 1) * lanes), old)
        for k in range(size):
            _weigh(part(q, k * lanes, (k + 1) * lanes), total, weight, top, inverse[k] if axes == 1 else one)
        # the pull towards the centres
        if full:
            for k in range(size):
                for j in range(d):
                    place = (k * d + j) * lanes
                    _multiply_scaled(part(turned, place, place + lanes), -inverse[k * d + j], part(q, k * lanes, (k + 1) * lanes))
                gather(out, part(turned, k * d * lanes, (k + 1) * d * lanes), basis[first + k, 1], d, d, lanes, first + k == 0)
        elif axes == 1:
            gather(out, q, centres, size, d, lanes, first == 0)
        else:
            for i in range(size * d):
                matrix[i] = inverse[i] * centres[i]
            gather(out, q, matrix, size, d, lanes, first == 0)
            gather(wide, q, inverse, size, d, lanes, first == 0)
    if full:
        _set(weight, 0.0)
    if axes > 1 and not full:
        normalise(out, x, total, wide, lanes, shift, d, lanes)
    else:
        normalise(out, x, total, weight, 0, shift, d, lanes)


# ---- the chain of a block ------------------------------------------------------------------------------------------------------------


@register_jitable
def _slot(ring, r, slots):
    """The values of row r in a ring of so many slots."""
    width = len(ring) // slots
    return part(ring, r % slots * width, (r % slots + 1) * width)


@register_jitable
def _enter(y, start, low, lanes):
    n, d = start.shape
    here = min(lanes, n - low)
    for near in range(0, d, _SQUARE):
        for row in range(0, here, _ROWS):
            for j in range(near, min(near + _SQUARE, d)):
                for i in range(row, min(row + _ROWS, here)):
                    y[j * lanes + i] = start[low + i, j]
    for j in range(d):
        for i in range(here, lanes):
            y[j * lanes + i] = start[n - 1, j]  # a last block is filled up with copies; nobody sees them


@register_jitable
def _leave(out, y, first, count, lanes):
    d = out.shape[1]
    for near in range(0, d, _SQUARE):
        for row in range(0, count, _ROWS):
            for j in range(near, min(near + _SQUARE, d)):
                for i in range(row, min(row + _ROWS, count)):
                    out[first + i, j] = y[j * lanes + i]


def chain_py(out, start, keep, k0, k1, index, lanes, words, a, b, c, used, drawn, m, v, offset, means, covs, shift, basis):
    """Particles in blocks of ``lanes`` through all rows; y_{r+1} goes to out[keep[r]] where keep[r] >= 0.

    start (n, d): the particles index, ..., index + n - 1 out of those of out (S, N, d), index even, lanes a multiple of 16 (compiled: of
    tiles.LINE bytes); keep (R,); k0, k1: the key of the noise; words: scratch of the normals.
    a, b, c, used, drawn: the table; m, v (R,) and offset (R or 1, K), the logits' constants, at its score times; means (K, d);
    covs (K, 1) isotropic, (K, d) diagonal or in the eigenvectors basis (K, 2, d d), empty otherwise; shift (d,). One floating type throughout.
    """
    (n, d), kind, axes, full = start.shape, out.dtype, covs.shape[1], len(basis) > 0
    width, height, step = d * lanes, tile(len(means), d, len(basis) > 0), min(d, 2 * words.shape[1] // lanes)
    drawn_width = width if c.shape[1] > 1 else step * lanes  # without memory of the noise it is used where it is made
    states, scores, draws = a.shape[1] + 1, b.shape[1], c.shape[1]  # one state more than lags: the new one never overwrites what is still read
    y, s, z = _room(states * width, kind), _room(scores * width, kind), _room(draws * drawn_width, kind)
    _set(y, 0.0)
    _set(s, 0.0)
    _set(z, 0.0)
    q, centres, matrix = _room(height * lanes, kind), _room(height * d, kind), _room(height * d, kind)
    inverse, scale = _room(height * axes, kind), _room(height * axes, kind)
    wide = _room(width if axes > 1 else 0, kind)
    turned = _room(height * width if full else 0, kind)
    top, old, total, weight = _room(lanes, kind), _room(lanes, kind), _room(lanes, kind), _room(lanes, kind)
    for low in range(0, n, lanes):
        _enter(y, start, low, lanes)
        for r in range(len(a)):
            x, to, score = _slot(y, r, states), _slot(y, r + 1, states), _slot(s, r, scores)
            if used[r]:
                _score(
                    score, x, m[r], v[r], offset, r % len(offset), means, covs, basis, shift,
                    q, top, old, total, weight, centres, inverse, scale, matrix, wide, turned,
                )  # fmt: skip
            else:
                _set(score, 0.0)  # a NaN left there by an earlier block would survive its coefficient 0
            noise = _slot(z, r, draws)
            for j in range(0, d, step):
                begin, end = j * lanes, min(j + step, d) * lanes
                fresh = part(noise, begin, end) if c.shape[1] > 1 else part(noise, 0, end - begin)
                if drawn[r]:
                    fill(fresh, words, k0, k1, index + low, r, j, lanes)
                _combine(part(to, begin, end), part(x, begin, end), part(score, begin, end), fresh, a[r, 0], b[r, 0], c[r, 0])
            for j in range(1, a.shape[1]):
                if a[r, j] != 0:
                    _extend(to, _slot(y, r - j, states), a[r, j])
                if b[r, j] != 0:
                    _extend(to, _slot(s, r - j, scores), b[r, j])
            for j in range(1, c.shape[1]):
                if c[r, j] != 0:
                    _extend(to, _slot(z, r - j, draws), c[r, j])
            if keep[r] >= 0:
                _leave(out[keep[r]], to, index + low, min(lanes, n - low), lanes)


chain = njit(chain_py, cache=True, error_model="numpy", nogil=True)
