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
from numba import njit
from numba.extending import overload, register_jitable

from .._arrays import seed_words
from .elementary import _TWO52, _TWO52_BITS, _U12, circle, circle32, log, log32, value

__all__ = ["fill", "key", "normals", "philox", "table", "table_py"]

LANES = 256  # particles made side by side; results do not depend on it

_U32, _LOW = np.uint64(32), np.uint64(0xFFFFFFFF)
_M0, _M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)  # multipliers and key increments of Philox4x32
_W0, _W1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
_ONE, _TWO = np.uint64(1), np.uint64(2)
_U33, _F_STEP, _F_HALF, _F_MINUS2 = np.uint64(33), np.float32(2.0**-31), np.float32(2.0**-32), np.float32(-2)


def key(seed, purpose):
    """The 64-bit Philox key of (seed, purpose) as two uint64 words below 2^32; seed an int or a SeedSequence, as everywhere."""
    words = np.random.SeedSequence(seed_words(seed, purpose)).generate_state(2, np.uint32)
    return np.uint64(words[0]), np.uint64(words[1])


@register_jitable(forceinline=True)
def philox(c0, c1, c2, c3, k0, k1):
    """Ten rounds of Philox4x32 on a counter and a key, all uint64 below 2^32; two words of 64 bits, the low halves first."""
    for _ in range(10):
        left, right = _M0 * c0, _M1 * c2
        c0, c1, c2, c3 = (right >> _U32) ^ c1 ^ k0, right & _LOW, (left >> _U32) ^ c3 ^ k1, left & _LOW
        k0, k1 = (k0 + _W0) & _LOW, (k1 + _W1) & _LOW
    return c0 | (c1 << _U32), c2 | (c3 << _U32)


@register_jitable
def _words(words, k0, k1, pair, row, coordinate):
    # the masks tell the compiler that 32-bit multiplications suffice
    k0, k1, c1, c2 = k0 & _LOW, k1 & _LOW, np.uint64(row) & _LOW, np.uint64(coordinate) & _LOW
    first, second = words[0], words[1]  # one-dimensional views: the vectoriser gives up on two-dimensional ones
    for i in range(len(first)):
        p = np.uint64(pair + i)
        first[i], second[i] = philox(p & _LOW, c1, c2, p >> _U32, k0, k1)
    return first, second


@register_jitable
def _fill64(z, words, k0, k1, pair, row, coordinate):
    first, second = _words(words, k0, k1, pair, row, coordinate)
    for i in range(len(first)):
        u = (value((first[i] >> _U12) | _TWO52_BITS) - (_TWO52 - 0.5)) * (1.0 / _TWO52)
        r = np.sqrt(-2.0 * log(u))
        c, s = circle(second[i])
        z[2 * i], z[2 * i + 1] = r * c, r * s


@register_jitable
def _fill32(z, words, k0, k1, pair, row, coordinate):
    first, second = _words(words, k0, k1, pair, row, coordinate)
    for i in range(len(first)):
        u = np.float32(np.int32(first[i] >> _U33)) * _F_STEP + _F_HALF
        r = np.sqrt(_F_MINUS2 * log32(u))
        c, s = circle32(second[i])
        z[2 * i], z[2 * i + 1] = r * c, r * s


def fill(z, words, k0, k1, pair, row, coordinate):
    """Overwrite z (2m,) with the normals of one coordinate at one row for the particles 2 pair, ..., 2 pair + 2m - 1.

    words (2, m) uint64: scratch. float64 or float32 is the type of z.
    """
    (_fill64 if z.dtype == np.float64 else _fill32)(z, words, k0, k1, pair, row, coordinate)


@overload(fill)
def _overload_fill(z, words, k0, k1, pair, row, coordinate):
    return _fill64 if z.dtype.name == "float64" else _fill32


def table_py(out, k0, k1, first, row):
    """Overwrite out (n, d) with the normals of the particles first, ..., first + n - 1 at one row."""
    n, d = out.shape
    skip = first % 2  # a pair is made together
    lanes = np.empty(LANES, out.dtype)
    words = np.empty((2, LANES // 2), np.uint64)
    for low in range(0, n + skip, LANES):
        a, b = max(low - skip, 0), min(low + LANES - skip, n)
        block, wanted = out[a:b], lanes[a - low + skip : b - low + skip]
        for j in range(d):
            fill(lanes, words, k0, k1, (first + low) // 2, row, j)
            for i in range(len(wanted)):
                block[i, j] = wanted[i]


table = njit(table_py, cache=True, error_model="numpy", nogil=True)


def normals(key, n, d, *, row=0, first=0, dtype=np.float64):
    """(n, d) standard normals of particles first, ..., first + n - 1 at one row. Particle i depends on (key, i, row) alone."""
    out = np.empty((n, d), dtype)
    table(out, *key, first, row)
    return out
