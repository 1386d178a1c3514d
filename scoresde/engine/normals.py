r"""Standard normals as a function of (key, particle, row, coordinate): a counter-based generator, then Box–Muller.

Philox4x32-10 turns the counter (p mod 2^32, row, coordinate, p div 2^32), p the pair of particles 2p, 2p + 1, under a key drawn from
(seed, purpose) into 128 bits, hence into

    z_{2p} = \sqrt{-2 \log u} \cos\theta,    z_{2p+1} = \sqrt{-2 \log u} \sin\theta.

No draw depends on how many particles there are, in which order, in which blocks or on how many threads they are made; the bits are the
same on every machine. float64: u on a lattice of 2^-52, so that |z| <= 8.57. float32 reads the leading bits of the same words: it gives
the same normals to about 1e-6, |z| <= 6.66.

Sources: Salmon, Moraes, Dror & Shaw 2011, Parallel random numbers: as easy as 1, 2, 3, https://doi.org/10.1145/2063384.2063405;
Box & Muller 1958, https://doi.org/10.1214/aoms/1177706645
"""

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic, overload, register_jitable

from .._arrays import seed_words
from .elementary import _TWO52, _TWO52_BITS, _U12, circle, circle32, log, log32, value

__all__ = ["fill", "key", "normals", "philox", "raw", "scratch", "table", "table_py", "uniforms"]

_LANES = 1024  # normals made in one go; results do not depend on it
_GROUP = 8  # pairs whose words are made side by side
_SQUARE = 16  # coordinates made at once, so that whole cache lines of points are written
_ROWS = 8  # points written side by side: no more than the first-level cache has places for addresses a power of two apart

_U32, _LOW = np.uint64(32), np.uint64(0xFFFFFFFF)
_M0, _M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)  # multipliers and key increments of Philox4x32
_W0, _W1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
_S1, _F_STEP, _F_HALF, _F_MINUS2 = np.uint32(1), np.float32(2.0**-31), np.float32(2.0**-32), np.float32(-2)
_BESIDE = 0xFFFFFFFF  # the coordinate that no normal has


def key(seed, purpose):
    """The 64-bit Philox key of (seed, purpose) as two uint64 words below 2^32; seed an int or a SeedSequence, as everywhere."""
    words = np.random.SeedSequence(seed_words(seed, purpose)).generate_state(2, np.uint32)
    return np.uint64(words[0]), np.uint64(words[1])


# ---- words: integers in Python, explicit vectors for the compiler, whose vectoriser does not find all of them -----------------------------


def philox(c0, c1, c2, c3, k0, k1):
    """Ten rounds of Philox4x32 on a counter and a key, all uint64 below 2^32; two words of 64 bits, the low halves first."""
    for _ in range(10):
        left, right = _M0 * c0, _M1 * c2
        c0, c1, c2, c3 = (right >> _U32) ^ c1 ^ k0, right & _LOW, (left >> _U32) ^ c3 ^ k1, left & _LOW
        k0, k1 = (k0 + _W0) & _LOW, (k1 + _W1) & _LOW
    return c0 | (c1 << _U32), c2 | (c3 << _U32)


def _draw(words, pairs, count, k0, k1, pair, row, coordinate):
    """Overwrite words (rows, count pairs) with those of so many coordinates, from ``pair`` on; pairs a multiple of 8.

    uint64: the word of u and the word of the angle. uint32: the leading half of the first, bits 2 to 33 of the second, its leading half.
    """
    row = np.uint64(int(row) & 0xFFFFFFFF)
    for i in range(count * pairs):
        p, j = int(pair) + i % pairs, np.uint64(int(coordinate) + i // pairs)
        first, second = philox(np.uint64(p & 0xFFFFFFFF), row, j, np.uint64(p >> 32), k0, k1)
        if words.dtype == np.uint64:
            words[0, i], words[1, i] = first, second
        else:
            words[0, i], words[1, i], words[2, i] = first >> _U32, (second << np.uint64(2)) >> _U32, second >> _U32


@intrinsic
def _draw_vectors(_context, words, pairs, count, k0, k1, pair, row, coordinate):
    def emit(context, builder, signature, args):
        kinds, b, int64, int32 = signature.args, builder, ir.IntType(64), ir.IntType(32)
        vector, short = ir.VectorType(int64, _GROUP), ir.VectorType(int32, _GROUP)
        array = context.make_array(kinds[0])(context, b, args[0])
        stride = b.udiv(cgutils.unpack_tuple(b, array.strides)[0], array.itemsize)
        pairs, count, k0, k1, pair, row, coordinate = (context.cast(b, x, kind, types.uint64) for x, kind in zip(args[1:], kinds[1:], strict=True))

        def word(x):
            return ir.Constant(int64, x)

        def constant(x):
            return ir.Constant(vector, [int(x)] * _GROUP)

        def spread(x):
            one = b.insert_element(ir.Constant(vector, ir.Undefined), x, ir.Constant(int32, 0))
            return b.shuffle_vector(one, one, ir.Constant(short, [0] * _GROUP))

        low, shift = constant(_LOW), constant(32)
        keys = [[spread(b.and_(b.add(k, word(int(w) * r)), word(int(_LOW)))) for k, w in ((k0, _W0), (k1, _W1))] for r in range(10)]
        rows, places = spread(b.and_(row, word(int(_LOW)))), ir.Constant(vector, list(range(_GROUP)))
        with (
            cgutils.for_range_slice(b, word(0), count, word(1), int64) as (j, _),
            cgutils.for_range_slice(b, word(0), pairs, word(_GROUP), int64) as (at, _),
        ):
            p = b.add(spread(b.add(pair, at)), places)
            c = [p, rows, spread(b.and_(b.add(coordinate, j), word(int(_LOW)))), b.lshr(p, shift)]
            for k in keys:  # what stands above 32 bits is rubbish that a multiplication does not read
                left, right = (b.mul(constant(m), b.and_(x, low)) for m, x in ((_M0, c[0]), (_M1, c[2])))
                c = [b.xor(b.xor(b.lshr(right, shift), c[1]), k[0]), right, b.xor(b.xor(b.lshr(left, shift), c[3]), k[1]), left]
            if kinds[0].dtype.bitwidth == 64:
                out = [b.or_(b.and_(x, low), b.shl(y, shift)) for x, y in ((c[0], c[1]), (c[2], c[3]))]
            else:
                c1, c2, c3 = (b.trunc(x, short) for x in c[1:])
                two, thirty = (ir.Constant(short, [x] * _GROUP) for x in (2, 30))
                out = [c1, b.or_(b.shl(c3, two), b.lshr(c2, thirty)), c3]
            to = b.add(b.mul(j, pairs), at)
            for n, x in enumerate(out):
                pointer = b.gep(array.data, [b.add(to, b.mul(stride, word(n)))])
                b.store(x, b.bitcast(pointer, x.type.as_pointer()), align=kinds[0].dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.none(words, pairs, count, k0, k1, pair, row, coordinate), emit


@overload(_draw, jit_options={"forceinline": True})
def _overload_draw(words, pairs, count, k0, k1, pair, row, coordinate):
    return lambda words, pairs, count, k0, k1, pair, row, coordinate: _draw_vectors(words, pairs, count, k0, k1, pair, row, coordinate)


# ---- Box–Muller --------------------------------------------------------------------------------------------------------------------------


@register_jitable(forceinline=True)
def _turn64(z, first, second):
    for i in range(len(z) // 2):
        u = (value((first[i] >> _U12) | _TWO52_BITS) - (_TWO52 - 0.5)) * (1.0 / _TWO52)
        r = np.sqrt(-2.0 * log(u))
        c, s = circle(second[i])
        z[2 * i], z[2 * i + 1] = r * c, r * s


@register_jitable(forceinline=True)
def _turn32(z, first, place, quarter):
    for i in range(len(z) // 2):
        u = np.float32(np.int32(first[i] >> _S1)) * _F_STEP + _F_HALF
        r = np.sqrt(_F_MINUS2 * log32(u))
        c, s = circle32(place[i], quarter[i])
        z[2 * i], z[2 * i + 1] = r * c, r * s


def _turn(z, words):
    if z.dtype == np.float64:
        _turn64(z, words[0], words[1])
    else:
        _turn32(z, words[0], words[1], words[2])


@overload(_turn)
def _overload_turn(z, words):
    if z.dtype.name == "float64":
        return lambda z, words: _turn64(z, words[0], words[1])
    return lambda z, words: _turn32(z, words[0], words[1], words[2])


@register_jitable
def fill(z, words, k0, k1, particle, row, coordinate, lanes):
    """Overwrite z (c lanes,) with the normals of the coordinates coordinate, ..., coordinate + c - 1 at one row.

    The particles are particle, ..., particle + lanes - 1; particle even, lanes a multiple of 16. words: scratch, (2, c lanes / 2 at least)
    uint64 for float64 and (3, ...) uint32 for float32, the type of z.
    """
    _draw(words, lanes // 2, len(z) // lanes, k0, k1, particle // 2, row, coordinate)
    _turn(z, words)


def scratch(dtype, normals=_LANES):
    """The words that :func:`fill` needs for so many normals, every row from a whole cache line on."""
    rows, kind, size = (2, np.uint64, 8) if np.dtype(dtype) == np.float64 else (3, np.uint32, 4)
    count = -(-normals // 128) * 64  # pairs
    memory = np.empty(rows * count * size + 64, np.uint8)
    skip = -memory.ctypes.data % 64
    return memory[skip : skip + rows * count * size].view(kind).reshape(rows, count)


def table_py(out, words, k0, k1, first, row):
    """Overwrite out (n, d) with the normals of the particles first, ..., first + n - 1 at one row.

    words: scratch as in :func:`fill`, for 16 particles times min(d, 16) coordinates at least.
    """
    n, d = out.shape
    skip = first % 2  # a pair is made together
    step = min(d, _SQUARE)
    most = 2 * words.shape[1] // step // (2 * _GROUP) * 2 * _GROUP
    lanes = np.empty(step * most, out.dtype)
    for low in range(0, n + skip, most):
        a, b = max(low - skip, 0), min(low + most - skip, n)
        width = -(-(b + skip - low) // (2 * _GROUP)) * 2 * _GROUP
        for j in range(0, d, step):
            count = min(step, d - j)
            fill(lanes[: count * width], words, k0, k1, first - skip + low, row, j, width)
            for near in range(a, b, _ROWS):
                for k in range(count):
                    for i in range(near, min(near + _ROWS, b)):
                        out[i, j + k] = lanes[k * width + i - low + skip]


table = njit(table_py, cache=True, error_model="numpy", nogil=True)


def normals(key, n, d, *, row=0, first=0, dtype=np.float64):
    """(n, d) standard normals of particles first, ..., first + n - 1 at one row. Particle i depends on (key, i, row) alone."""
    out = np.empty((n, d), dtype)
    step = min(d, _SQUARE)
    table(out, scratch(dtype, step * min(-(-(n + 1) // 16) * 16, max(16, _LANES // step // 16 * 16))), *key, first, row)
    return out


def uniforms(key, n, *, row=0, first=0):
    """(n,) uniforms in (0, 1), on a lattice of 2^-52, of particles first, ..., first + n - 1 at one row: independent of all the normals."""
    words = raw(key, n + 1, row=row, coordinate=_BESIDE, first=first // 2)[first % 2 :][:n]
    return ((words >> _U12) + 0.5) / _TWO52


def raw(key, n, *, row=0, coordinate=0, first=0):
    """(n,) words of 64 bits as the float64 normals read them, those of u and of the angle in turn, from the pair ``first`` on."""
    words = scratch(np.float64, -(-n // 16) * 16)
    _words(words, *key, first, row, coordinate)
    return words.T.ravel()[:n]


def _words_py(words, k0, k1, first, row, coordinate):
    _draw(words, words.shape[1], 1, k0, k1, first, row, coordinate)


_words = njit(_words_py, cache=True, error_model="numpy", nogil=True)
