r"""The kernel of the fused simulator: a whole table for a block of particles that stays in cache, with the exact score of a noised Gaussian mixture.

With (m, v) = forward(t), V_k = m^2 C_k + v and r_k the responsibilities of the components,

    s(t, x) = \sum_k r_k(x) V_k^{-1} (m \mu_k - x) + shift,   r_k \propto w_k |V_k|^{-1/2} \exp(-(x - m \mu_k)^T V_k^{-1} (x - m \mu_k) / 2),

with isotropic C_k = c_k I, diagonal C_k, or full C_k = U_k diag(c_k) U_k^T: V_k has the eigenvectors U_k at every time, so that
y = U_k^T (x - m \mu_k) brings a full covariance to a diagonal one. The coordinates of a block of particles lie lane by lane; products and
weights are in :mod:`.tiles`, what is left are texts over the lanes (:func:`.vectors.lanewise`). Once the weights are known, score, noise and
new state are made for a few coordinates at a time, in the first-level cache.

Differences x - m \mu_k are formed before they are squared, and logits are measured from the greatest: nothing cancels, nothing underflows to
0/0. The pull is gathered as \sum_k r_k V_k^{-1} m \mu_k - (\sum_k r_k V_k^{-1}) x, whose rounding is that of m \mu_k and x themselves. Components
come in tiles with a running maximum (Milakov & Gimelshein 2018, https://arxiv.org/abs/1805.02867), so that scratch memory does not grow
with their number.

No fast-math flag is set: multiply-adds are written out, so that NaN and infinity stay visible and the bits of a particle do not depend on
how many others there are, on the block or on the threads. ``chain_py`` is the plain text, ``chain`` its compiled form.
"""

import numpy as np
from numba import njit
from numba.extending import register_jitable

from .normals import fill
from .tiles import ROWS, advance, gather, normalise, part, squares, weigh
from .vectors import fma, full_width, lanewise

__all__ = ["chain", "chain_py", "tile"]

_TILE = 16  # components whose logits are held at once
_NEAR = 16384  # bytes of a block that are worked on at once, so that they stay in the first-level cache
_CHUNK = 1024  # numbers whose score and noise are made in one go, about
_SQUARE, _ROWS = 16, 8  # coordinates and points copied at once between points and lanes: fewer lines than the first-level cache has in a set


@register_jitable
def tile(count, d, full):
    """Components whose logits, and with full covariances whitened differences, are held at once."""
    return min(count, max(1, min(_TILE, 512 // d)) if full else _TILE)


_set = lanewise(lambda out, p: p)
_subtract = lanewise(lambda out, x, a: x - a)
_invert = lanewise(lambda out: 1.0 / out)
_multiply = lanewise(lambda out, p: out * p)
_multiply_scaled = lanewise(lambda out, p, q: out * (p * q))
_combine = lanewise(lambda out, x, s, z, a, b, c: fma(a, x, fma(b, s, c * z)))
_extend = lanewise(lambda out, x, a: fma(a, x, out))


# ---- the score of a block ------------------------------------------------------------------------------------------------------------


@register_jitable
def _room(n, kind):
    """n numbers from a whole cache line on: a vector that lies across two lines is read twice."""
    memory = np.empty(n + 16, kind)
    skip = (-memory.ctypes.data % 64) // memory.itemsize
    return memory[skip : skip + n]


@register_jitable
def _weights(out, x, m, v, offset, row, means, covs, basis, q, top, total, weight, fade, centres, inverse, scale, ones, bias, matrix, wide, turned):
    """The weights of the components, a tile at a time, 1 / total; the components in the last tile. What the others pull with is gathered in out.

    x (d lanes,), out (d lanes,) if there are several tiles. means (K, d); covs (K, 1) isotropic, (K, d) diagonal, or of the eigenvectors
    basis (K, 2, d d): U_k and U_k^T; these are gathered to the end.
    Scratch, for t components at once: q (t lanes,); top, total, weight, fade (lanes,); ones, bias (t,), centres, matrix (t d,); inverse,
    scale (t axes,); wide (d lanes,) with several axes; turned (t d lanes,) with full covariances.
    """
    lanes, (count, d), axes, full = len(top), means.shape, covs.shape[1], len(basis) > 0
    one, half, near = out.dtype.type(1), out.dtype.type(-0.5), max(1, _NEAR // (out.itemsize * len(top)))
    height = len(q) // lanes
    size = 0
    for first in range(0, count, height):
        size = min(height, count - first)
        for k in range(size):
            bias[k] = offset[row, first + k]
            for j in range(axes):
                inverse[k * axes + j] = one / (m * m * covs[first + k, j] + v)
                scale[k * axes + j] = half * inverse[k * axes + j]
            for j in range(d):
                centres[k * d + j] = m * means[first + k, j]
        # squared distances
        if full:
            for i in range(size * d):
                matrix[i] = 0
            for k in range(size):
                y = part(turned, k * d * lanes, (k + 1) * d * lanes)
                for j in range(d):
                    _subtract(part(wide, j * lanes, (j + 1) * lanes), part(x, j * lanes, (j + 1) * lanes), centres[k * d + j])
                gather(y, wide, basis[first + k, 0], d, 0, d, d, lanes, True)
                squares(part(q, k * lanes, (k + 1) * lanes), y, matrix, part(scale, k * d, (k + 1) * d), 0, 1, 0, d, d, lanes)
        else:
            for low in range(0, d, near):
                if axes == 1:
                    squares(q, x, centres, None, 0, size, low, min(low + near, d), d, lanes)
                else:
                    squares(q, x, centres, scale, 0, size, low, min(low + near, d), d, lanes)
        # weights, measured from the greatest logit; what was summed so far was measured from a lower one
        weigh(q, top, total, weight, fade, scale if axes == 1 else ones, bias, inverse if axes == 1 else ones, size, lanes, first == 0)
        if first:
            for j in range(d):
                _multiply(part(out, j * lanes, (j + 1) * lanes), fade)
                if axes > 1 and not full:
                    _multiply(part(wide, j * lanes, (j + 1) * lanes), fade)
        # the pull towards the centres
        if full:
            for k in range(size):
                for j in range(d):
                    place = (k * d + j) * lanes
                    _multiply_scaled(part(turned, place, place + lanes), -inverse[k * d + j], part(q, k * lanes, (k + 1) * lanes))
                gather(out, part(turned, k * d * lanes, (k + 1) * d * lanes), basis[first + k, 1], d, 0, d, d, lanes, first + k == 0)
        elif axes > 1:
            for i in range(size * d):
                matrix[i] = inverse[i] * centres[i]
        if first + size < count and not full:
            gather(out, q, centres if axes == 1 else matrix, size, 0, d, d, lanes, first == 0)
            if axes > 1:
                gather(wide, q, inverse, size, 0, d, d, lanes, first == 0)
    if full:
        _set(weight, 0.0)
    _invert(total)
    return size


@register_jitable
def _score(out, x, low, high, size, fresh, full, shift, q, total, weight, centres, inverse, matrix, wide):
    """The coordinates low, ..., high - 1 of the score, out ((high - low) lanes,), from the weights and what they gathered before the last tile."""
    lanes, d = len(total), len(shift)
    begin, end = low * lanes, high * lanes
    axes = len(wide) > 0 and not full
    if not full:
        gather(out, q, matrix if axes else centres, size, low, high, d, lanes, fresh)
    if axes:
        gather(part(wide, begin, end), q, inverse, size, low, high, d, lanes, fresh)
        normalise(out, part(x, begin, end), total, part(wide, begin, end), lanes, part(shift, low, high), high - low, lanes)
    else:
        normalise(out, part(x, begin, end), total, weight, 0, part(shift, low, high), high - low, lanes)


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


def chain_py(out, n, start, s0, s1, keep, k0, k1, index, lanes, a, b, c, used, drawn, m, v, offset, means, covs, shift, basis):
    """Particles in blocks of ``lanes`` through all rows; y_{r+1} goes to out[keep[r]] where keep[r] >= 0.

    The particles are index, ..., index + n - 1 out of those of out (S, N, d); index even, lanes a multiple of 16 (compiled: of vectors.LANES).
    start (n, d), or (0, d) for standard normals under the key s0, s1, made in float64; keep (R,); k0, k1: the key of the noise.
    a, b, c, used, drawn: the table; m, v (R,) and offset (R or 1, K), the logits' constants, at its score times; means (K, d);
    covs (K, 1) isotropic, (K, d) diagonal or in the eigenvectors basis (K, 2, d d), empty otherwise; shift (d,). One floating type throughout.
    """
    full_width()
    d, kind, axes, full = start.shape[1], out.dtype, covs.shape[1], len(basis) > 0
    width, height = d * lanes, tile(len(means), d, full)
    step = min(d, max(ROWS, _CHUNK // lanes // ROWS * ROWS))  # coordinates whose score, noise and state are made in one go
    states, scores, draws = a.shape[1], b.shape[1], c.shape[1]
    states += states > 1  # with lags one more, so that the new one never overwrites what is still read; without, it takes the old one's place
    # without memory of the noise it is used where it is made; without memory of the score, in one tile, the score is not even stored
    brief = scores == 1 and axes == 1 and len(means) <= height
    y, s, z = (
        _room(states * width, kind),
        _room(step * lanes if brief else scores * width, kind),
        _room(draws * width if draws > 1 else step * lanes, kind),
    )
    _set(y, 0.0)
    _set(s, 0.0)
    _set(z, 0.0)
    q, centres, matrix = _room(height * lanes, kind), _room(height * d, kind), _room(height * d, kind)
    inverse, scale, ones, bias = _room(height * axes, kind), _room(height * axes, kind), np.ones(height, kind), np.empty(height, kind)
    wide = _room(width if axes > 1 else 0, kind)
    turned = _room(height * width if full else 0, kind)
    top, total, weight, fade = _room(lanes, kind), _room(lanes, kind), _room(lanes, kind), _room(lanes, kind)
    begun = _room(lanes, np.float64)
    for low in range(0, n, lanes):
        if len(start):
            _enter(part(y, 0, width), start, low, lanes)
        else:
            for j in range(d):
                fill(begun, s0, s1, index + low, 0, j, lanes)
                for i in range(lanes):
                    y[j * lanes + i] = begun[i]
        for r in range(len(a)):
            x, to, score, noise = _slot(y, r, states), _slot(y, r + 1, states), _slot(s, r, scores), _slot(z, r, draws)
            size = 0
            if used[r]:
                size = _weights(
                    score, x, m[r], v[r], offset, r % len(offset), means, covs, basis,
                    q, top, total, weight, fade, centres, inverse, scale, ones, bias, matrix, wide, turned,
                )  # fmt: skip
            for j in range(0, d, step):
                after = min(j + step, d)
                begin, end = j * lanes, after * lanes
                pull = part(score, 0, end - begin) if brief else part(score, begin, end)
                fresh = part(noise, begin, end) if draws > 1 else part(noise, 0, end - begin)
                if drawn[r]:
                    fill(fresh, k0, k1, index + low, r, j, lanes)
                here, there = part(x, begin, end), part(to, begin, end)
                if used[r] and brief:
                    advance(there, here, fresh, q, centres, size, j, after, d, lanes, total, weight, shift, a[r, 0], b[r, 0], c[r, 0])
                    continue
                if used[r]:
                    _score(pull, x, j, after, size, size == len(means), full, shift, q, total, weight, centres, inverse, matrix, wide)
                else:
                    _set(pull, 0.0)  # a NaN left there by an earlier block would survive its coefficient 0
                _combine(there, here, pull, fresh, a[r, 0], b[r, 0], c[r, 0])
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
