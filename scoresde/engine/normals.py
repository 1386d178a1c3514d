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
from .elementary import _TWO52, _TWO52_BITS, _U12, circle, circle32, minus_two_log, minus_two_log32
from .vectors import BYTES, SIDE, Vectors, constant, halves, join, number, splat, spread, sqrt, store, value, widen

__all__ = ["fill", "key", "normals", "philox", "raw", "table", "table_py", "uniforms"]

_LANES = 1024  # normals made in one go; results do not depend on it
_GROUP = BYTES // 8  # pairs in a vector of words
_SQUARE = 16  # coordinates made at once, so that whole cache lines of points are written
_ROWS = 8  # points written side by side: no more than the first-level cache has places for addresses a power of two apart

_U32, _LOW = np.uint64(32), np.uint64(0xFFFFFFFF)
_M0, _M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)  # multipliers and key increments of Philox4x32
_W0, _W1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
_S1, _S2, _S30, _F_HALF = np.uint32(1), np.uint32(2), np.uint32(30), np.float32(0.5)
_BESIDE = 0xFFFFFFFF  # the coordinate that no normal has


def key(seed, purpose):
    """The 64-bit Philox key of (seed, purpose) as two uint64 words below 2^32; seed an int or a SeedSequence, as everywhere."""
    words = np.random.SeedSequence(seed_words(seed, purpose)).generate_state(2, np.uint32)
    return np.uint64(words[0]), np.uint64(words[1])


# ---- texts, for numbers and vectors; see :mod:`.vectors` ------------------------------------------------------------------------------


def philox(c0, c1, c2, c3, k0, k1):
    """Ten rounds of Philox4x32 on a counter and a key, all uint64 below 2^32: four words in the low halves, with rubbish above."""
    for _ in range(10):
        left, right = (c0 & _LOW) * _M0, (c2 & _LOW) * _M1
        c0, c1, c2, c3 = (right >> _U32) ^ c1 ^ k0, right, (left >> _U32) ^ c3 ^ k1, left
        k0, k1 = (k0 + _W0) & _LOW, (k1 + _W1) & _LOW
    return c0, c1, c2, c3


def pair64(c0, c1, c2, c3):
    """The two normals of four words, float64."""
    r = sqrt(minus_two_log(value((join(c0, c1) >> _U12) | _TWO52_BITS) - (_TWO52 - 0.5)))
    cosine, sine = circle(join(c2, c3))
    return r * cosine, r * sine


def pair32(c0, c1, c2, c3):
    """The two normals of four words, float32: of the leading half of the first two, bits 2 to 33 of the others, and their leading half."""
    quarter = halves(c3)
    r = sqrt(minus_two_log32(number(halves(c1) >> _S1) + _F_HALF))
    cosine, sine = circle32((quarter << _S2) | (halves(c2) >> _S30), quarter)
    return r * cosine, r * sine


# ---- loops over pairs ------------------------------------------------------------------------------------------------------------------


def fill(z, k0, k1, particle, row, coordinate, lanes):
    """Overwrite z (c lanes,) with the normals of the coordinates coordinate, ..., coordinate + c - 1 at one row.

    The particles are particle, ..., particle + lanes - 1; particle even, lanes a multiple of 16.
    """
    pair = pair64 if z.dtype == np.float64 else pair32
    for i in range(0, len(z), 2):
        z[i], z[i + 1] = pair(*_words(particle + i % lanes, row, int(coordinate) + i // lanes, k0, k1))


def words(out, k0, k1, particle, row, coordinate):
    """Overwrite out (n,) uint64, n a multiple of 16, with what the float64 normals read: the words of u and of the angle in turn."""
    for i in range(0, len(out), 2):
        c = _words(particle + i, row, coordinate, k0, k1)
        out[i], out[i + 1] = join(c[0], c[1]), join(c[2], c[3])


def _words(particle, row, coordinate, k0, k1):
    p = int(particle) // 2
    return philox(*map(np.uint64, (p & 0xFFFFFFFF, int(row) & 0xFFFFFFFF, int(coordinate) & 0xFFFFFFFF, p >> 32)), k0, k1)


def _in_pairs(text, count):
    """An emitter of the loop that writes both results of text(words of a pair) side by side, for so many vectors at once."""

    def emit(context, builder, signature, args):
        widen(builder)
        builder.function.attributes.add("noinline")  # two such loops in one function share registers to the harm of both
        b, array = builder, context.make_array(signature.args[0])(context, builder, args[0])
        k0, k1, particle, row, coordinate, lanes = (
            context.cast(b, x, kind, types.uint64) for x, kind in zip(args[1:], signature.args[1:], strict=True)
        )
        length, first = cgutils.unpack_tuple(b, array.shape)[0], b.udiv(particle, constant(2))
        pairs, low = b.udiv(lanes, constant(2)), constant(int(_LOW))
        places = ir.Constant(ir.VectorType(ir.IntType(64), _GROUP), list(range(_GROUP)))
        with (
            cgutils.for_range_slice(b, constant(0), b.udiv(length, lanes), constant(1), ir.IntType(64)) as (j, _),
            cgutils.for_range_slice(b, constant(0), pairs, constant(count * _GROUP), ir.IntType(64)) as (at, _),
        ):
            here = b.add(first, at)
            pair = Vectors(b, [b.add(splat(b, b.add(here, constant(i * _GROUP)), _GROUP), places) for i in range(count)])
            row_, column, k0_, k1_ = (spread(b, x, count) for x in (b.and_(row, low), b.and_(b.add(coordinate, j), low), k0, k1))
            even, odd = text(*philox(pair, row_, column, pair >> _U32, k0_, k1_))
            width, both = even.width, ir.VectorType(ir.IntType(32), even.width)
            orders = [ir.Constant(both, [i for k in range(h, h + width // 2) for i in (k, k + width)]) for h in (0, width // 2)]
            parts = [b.shuffle_vector(x, y, order) for x, y in zip(even.parts, odd.parts, strict=True) for order in orders]
            store(Vectors(b, parts), b.gep(array.data, [b.mul(constant(2), b.add(b.mul(j, pairs), at))]))
        return context.get_dummy_value()

    return emit


def _loop(emitters):
    @intrinsic
    def loop(_context, out, k0, k1, particle, row, coordinate, lanes):
        return types.none(out, k0, k1, particle, row, coordinate, lanes), emitters[out.dtype]

    return register_jitable(lambda out, k0, k1, particle, row, coordinate, lanes: loop(out, k0, k1, particle, row, coordinate, lanes))


_kinds = ((types.float64, pair64), (types.float32, pair32), (types.uint64, lambda c0, c1, c2, c3: (join(c0, c1), join(c2, c3))))
_many, _few = (_loop({kind: _in_pairs(text, count) for kind, text in _kinds}) for count in (SIDE, 1))


@overload(fill)
def _overload_fill(z, k0, k1, particle, row, coordinate, lanes):
    def compiled(z, k0, k1, particle, row, coordinate, lanes):
        if lanes % (2 * SIDE * _GROUP):
            _few(z, k0, k1, particle, row, coordinate, lanes)
        else:
            _many(z, k0, k1, particle, row, coordinate, lanes)

    return compiled


@overload(words)
def _overload_words(out, k0, k1, particle, row, coordinate):
    return lambda out, k0, k1, particle, row, coordinate: _few(out, k0, k1, particle, row, coordinate, len(out))


# ---- normals of points -----------------------------------------------------------------------------------------------------------------


def table_py(out, k0, k1, first, row):
    """Overwrite out (n, d) with the normals of the particles first, ..., first + n - 1 at one row."""
    n, d = out.shape
    skip = first % 2  # a pair is made together
    step = min(d, _SQUARE)
    most = min(_LANES // step, n + skip + 15) // 16 * 16
    lanes = np.empty(step * most, out.dtype)
    for low in range(0, n + skip, most):
        a, b = max(low - skip, 0), min(low + most - skip, n)
        width = -(-(b + skip - low) // 16) * 16
        for j in range(0, d, step):
            count = min(step, d - j)
            fill(lanes[: count * width], k0, k1, first - skip + low, row, j, width)
            for near in range(a, b, _ROWS):
                for k in range(count):
                    for i in range(near, min(near + _ROWS, b)):
                        out[i, j + k] = lanes[k * width + i - low + skip]


table = njit(table_py, cache=True, error_model="numpy", nogil=True)


def normals(key, n, d, *, row=0, first=0, dtype=np.float64):
    """(n, d) standard normals of particles first, ..., first + n - 1 at one row. Particle i depends on (key, i, row) alone."""
    out = np.empty((n, d), dtype)
    table(out, *key, first, row)
    return out


def uniforms(key, n, *, row=0, first=0):
    """(n,) uniforms in (0, 1), on a lattice of 2^-52, of particles first, ..., first + n - 1 at one row: independent of all the normals."""
    words = raw(key, n + 1, row=row, coordinate=_BESIDE, first=first // 2)[first % 2 :][:n]
    return ((words >> _U12) + 0.5) / _TWO52


def raw(key, n, *, row=0, coordinate=0, first=0):
    """(n,) words of 64 bits as the float64 normals read them, those of u and of the angle in turn, from the pair ``first`` on."""
    out = np.empty(-(-n // 16) * 16, np.uint64)
    _words_table(out, *key, 2 * first, row, coordinate)
    return out[:n]


def _words_table_py(out, k0, k1, particle, row, coordinate):
    words(out, k0, k1, particle, row, coordinate)


_words_table = njit(_words_table_py, cache=True, error_model="numpy", nogil=True)
