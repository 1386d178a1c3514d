r"""exp, log and a point of the unit circle as polynomials that a compiler can vectorise, in float64 and float32, within 2 ulp.

NumPy's and libm's functions are calls, and a call keeps a loop scalar. These texts use only + - * /, fused multiply-add and bit patterns,
in a fixed order and without fast-math, so that they give the same bits in every loop, on every machine. Polynomials are summed as a tree
(Estrin), a shorter chain of dependent operations than Horner's; their coefficients: near-minimax fits (Chebyshev interpolation at 60 digits),
written out; the tests hold them against mpmath.

Every function here is plain Python on NumPy scalars and is compiled by Numba wherever a compiled function calls it.
"""

from fractions import Fraction

import numpy as np
from numba import types
from numba.core.errors import TypingError
from numba.extending import intrinsic, overload, register_jitable

__all__ = ["bits", "circle", "circle32", "exp", "exp32", "fma", "log", "log32", "value"]

U = np.uint64
F = np.float32


# ---- three primitives: one text for Python, one machine instruction each for the compiler --------------------------------------------


def fma(x, y, z):
    """x y + z, rounded once; x, y, z of one floating type."""
    plain = x * y + z
    if not np.isfinite(plain) or plain == 0:
        return plain
    return type(x)(float(Fraction(float(x)) * Fraction(float(y)) + Fraction(float(z))))


def bits(x):
    """The bit pattern of a float64 (float32) as uint64 (uint32)."""
    return x.view(np.uint32 if x.dtype == np.float32 else np.uint64)


def value(i):
    """The float whose bit pattern is i: the inverse of :func:`bits`."""
    return i.view(np.float32 if i.dtype == np.uint32 else np.float64)


@intrinsic
def _fma(_context, x, y, z):
    if not isinstance(x, types.Float) or not x == y == z:
        raise TypingError(f"fma: got {x}, {y}, {z}, allowed is one floating type")
    return x(x, y, z), lambda _c, builder, _s, args: builder.fma(*args)


_SAME_WIDTH = {types.float64: types.uint64, types.float32: types.uint32, types.uint64: types.float64, types.uint32: types.float32}


@intrinsic
def _reinterpret(_context, x):
    result = _SAME_WIDTH[x]
    return result(x), lambda context, builder, _s, args: builder.bitcast(args[0], context.get_value_type(result))


@overload(fma, jit_options={"forceinline": True})
def _overload_fma(x, y, z):
    return lambda x, y, z: _fma(x, y, z)


@overload(bits, jit_options={"forceinline": True})
def _overload_bits(x):
    return lambda x: _reinterpret(x)


@overload(value, jit_options={"forceinline": True})
def _overload_value(i):
    return lambda i: _reinterpret(i)


# ---- float64 -------------------------------------------------------------------------------------------------------------------------

_LN2, _LN2_LOW = 0.6931471805599453, 2.319046813846299e-17  # their sum is log 2 to 107 bits
_LOG2E = 1.4426950408889634
_ROUND = 6755399441055744.0  # 1.5 * 2^52: adding it rounds to an integer, which then stands in the low bits
_LOWEST = -708.0  # below it e^x would be subnormal
_TWO52 = 4503599627370496.0
_TWO52_BITS = U(0x4330000000000000)
_ONE_BITS, _ROOT_HALF_BITS = U(0x3FF0000000000000), U(0x3FE6A09E667F3BCD)
_MANTISSA = U(0x000FFFFFFFFFFFFF)
_U2, _U12, _U52 = U(2), U(12), U(52)


@register_jitable(forceinline=True)  # a call would keep the loop scalar
def exp(x):
    """e^x for x <= 709, within 2 ulp; e^-708 = 3e-308 for every x below -708, -inf included (never 0); NaN stays NaN."""
    x = np.float64(_LOWEST) if x < _LOWEST else x  # written so that NaN passes
    shifted = fma(x, _LOG2E, _ROUND)
    n = shifted - _ROUND
    r = fma(n, -_LN2_LOW, fma(n, -_LN2, x))
    z = r * r
    low = fma(fma(r, 0.008333333333330062, 0.04166666666662413), z, fma(r, 0.16666666666666669, 0.5))
    high = fma(fma(r, 2.7557268459997064e-06, 2.4801521295954376e-05), z, fma(r, 0.00019841269863053618, 0.0013888888917213717))
    w = z * z
    p = fma(fma(fma(r, 2.510038549551032e-08, 2.7620088445409746e-07), w, high), w, low)
    p = 1.0 + fma(z, p, r)
    return value(bits(p) + (bits(shifted) << _U52))  # times 2^n


@register_jitable(forceinline=True)  # a call would keep the loop scalar
def log(u):
    r"""log u for a positive normal float64, within 2 ulp.

    u = 2^k m with m in [2^{-1/2}, 2^{1/2}); with f = m - 1, s = f/(2 + f): log m = 2 artanh s = f - s (f - 2 (artanh s - s)/s).
    """
    shifted = bits(u) + (_ONE_BITS - _ROOT_HALF_BITS)
    k = value((shifted >> _U52) | _TWO52_BITS) - (_TWO52 + 1023.0)
    f = value((shifted & _MANTISSA) + _ROOT_HALF_BITS) - 1.0
    s = f / (2.0 + f)
    z = s * s
    w = z * z
    high = fma(w, 0.14617807153417325, fma(z, 0.15331611722055008, 0.1818289243253687))
    p = fma(fma(high, w, fma(z, 0.22222211089379496, 0.28571428626253836)), w, fma(z, 0.3999999999989889, 0.666666666666667))
    return fma(k, _LN2, fma(k, _LN2_LOW, fma(-s, f - z * p, f)))


@register_jitable(forceinline=True)  # a call would keep the loop scalar
def circle(word):
    r"""(cos, sin) of a uniform angle, from 64 random bits: the top two say which quarter, the next 52 where in [-1/2, 1/2) of it.

    With x that place: \sin(\pi x / 2) = x S(x^2), \cos(\pi x / 2) = 1 + x^2 C(x^2); the quarter swaps the two and sets a sign.
    """
    x = ((value(((word << _U2) >> _U12) | _TWO52_BITS) - 1.5 * _TWO52) + 0.5) * (1.0 / _TWO52)
    z = x * x
    w = z * z
    high = fma(fma(z, 5.6339279856583726e-08, -3.5986433131315896e-06), w, fma(z, 0.00016044115073200066, -0.004681754132339787))
    p = fma(high, w, fma(z, 0.07969262624604294, -0.6459640975062443))
    sine = x * fma(p, z, 1.5707963267948966)
    high = fma(w, -6.32939064877311e-09, fma(z, 4.710678366340137e-07, -2.520203902702769e-05))
    p = fma(fma(high, w, fma(z, 0.0009192602745467278, -0.020863480763340766)), w, fma(z, 0.2536695079010478, -1.2337005501361697))
    cosine = fma(p, z, 1.0)
    swap = (word & _QUARTER) != _ZERO
    first, second = (-sine, cosine) if swap else (cosine, sine)
    flip = word & _SIGN  # half a turn
    return value(bits(first) ^ flip), value(bits(second) ^ flip)


_ZERO, _SIGN, _QUARTER = U(0), U(1 << 63), U(1 << 62)


# ---- float32: the same formulas, shorter polynomials -------------------------------------------------------------------------------

_LN2_F, _LN2_LOW_F, _LOG2E_F = F(0.6931472), F(-1.9046542e-09), F(1.442695)
_ROUND_F, _LOWEST_F = F(12582912.0), F(-87.0)
_ONE_BITS_F, _ROOT_HALF_BITS_F, _MANTISSA_F = np.uint32(0x3F800000), np.uint32(0x3F3504F3), np.uint32(0x007FFFFF)
_U23 = np.uint32(23)
_EXP_F = tuple(map(F, (0.0013926183587713494, 0.008363179052722578, 0.041666554617204574, 0.16666576989698775, 0.5)))
_LOG_F = tuple(map(F, (0.29580985929974424, 0.39988757716604845, 0.6666668509542907)))
_SIN_F = tuple(map(F, (-0.004602141313607809, 0.07968021517843601, -0.6459634774795254, 1.5707963219513053)))
_COS_F = tuple(map(F, (0.0009067386543986477, -0.020861527953338076, 0.25366941032793217, -1.2337005493739153)))
_F1, _F2 = F(1), F(2)


@register_jitable(forceinline=True)  # a call would keep the loop scalar
def exp32(x):
    """e^x for x <= 88 in float32, within 2 ulp; e^-87 = 2e-38 for every x below -87; NaN stays NaN."""
    x = _LOWEST_F if x < _LOWEST_F else x
    shifted = fma(x, _LOG2E_F, _ROUND_F)
    n = shifted - _ROUND_F
    r = fma(n, -_LN2_LOW_F, fma(n, -_LN2_F, x))
    z = r * r
    p = fma(fma(z, _EXP_F[0], fma(r, _EXP_F[1], _EXP_F[2])), z, fma(r, _EXP_F[3], _EXP_F[4]))
    p = _F1 + fma(z, p, r)
    return value(np.uint32(bits(p) + np.uint32(bits(shifted) << _U23)))


@register_jitable(forceinline=True)  # a call would keep the loop scalar
def log32(u):
    """log u for a positive normal float32, within 2 ulp."""
    shifted = np.uint32(bits(u) + np.uint32(_ONE_BITS_F - _ROOT_HALF_BITS_F))
    k = F(np.int32(shifted >> _U23) - np.int32(127))
    f = value(np.uint32((shifted & _MANTISSA_F) + _ROOT_HALF_BITS_F)) - _F1
    s = f / (_F2 + f)
    z = s * s
    p = fma(z, _LOG_F[0], _LOG_F[1])
    p = fma(p, z, _LOG_F[2])
    return fma(k, _LN2_F, fma(k, _LN2_LOW_F, fma(-s, f - z * p, f)))


@register_jitable(forceinline=True)  # a call would keep the loop scalar
def circle32(place, quarter):
    """(cos, sin) in float32 of the same angle as :func:`circle`: place from bits 2 to 33 of its word, quarter its leading 32 bits."""
    x = F(np.int32(np.uint32(place ^ _HIGH_BIT))) * _QUARTER_TURN
    z = x * x
    p = fma(z, _SIN_F[0], _SIN_F[1])
    p = fma(p, z, _SIN_F[2])
    sine = x * fma(p, z, _SIN_F[3])
    p = fma(z, _COS_F[0], _COS_F[1])
    p = fma(p, z, _COS_F[2])
    cosine = fma(fma(p, z, _COS_F[3]), z, _F1)
    swap = np.uint32(quarter & _SECOND_BIT) != _ZERO_F
    first, second = (-sine, cosine) if swap else (cosine, sine)
    flip = np.uint32(quarter & _HIGH_BIT)
    return value(np.uint32(bits(first) ^ flip)), value(np.uint32(bits(second) ^ flip))


_ZERO_F, _HIGH_BIT, _SECOND_BIT = np.uint32(0), np.uint32(1 << 31), np.uint32(1 << 30)
_QUARTER_TURN = F(2.0**-32)
