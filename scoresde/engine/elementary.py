r"""exp, log and a point of the unit circle as polynomials, in float64 and float32, within 2 ulp, for numbers and vectors.

NumPy's and libm's functions are calls, and a call keeps a loop scalar. These texts use only + - * /, fused multiply-add and bit patterns,
in a fixed order and without fast-math, so that they give the same bits in every loop, on every machine. Polynomials are summed as a tree
(Estrin), a shorter chain of dependent operations than Horner's; their coefficients: near-minimax fits (Chebyshev interpolation at 60 digits),
written out; the tests hold them against mpmath.

Every function here takes NumPy scalars, or the :class:`.vectors.Vectors` of a compiled loop.
"""

import numpy as np

from .vectors import bits, fma, lookup, number, value, where

__all__ = ["circle", "circle32", "exp", "exp32", "minus_two_log", "minus_two_log32"]

U = np.uint64
F = np.float32

# ---- float64 -------------------------------------------------------------------------------------------------------------------------

_LN2, _LN2_LOW = 0.6931471805599453, 2.319046813846299e-17  # their sum is log 2 to 107 bits
_EIGHTH, _EIGHTH_LOW, _EIGHTHS = 0.08664339756999316, 2.8988085173078744e-18, 11.541560327111707  # (log 2) / 8 and the inverse
_ROOTS = tuple(map(np.float64, (
    1.0, 1.0905077326652577, 1.189207115002721, 1.2968395546510096, 1.4142135623730951, 1.5422108254079407, 1.681792830507429, 1.8340080864093424,
)))  # 2^{j/8}  # fmt: skip
_ROUND = 6755399441055744.0  # 1.5 * 2^52: adding it rounds to an integer, which then stands in the low bits
_LOWEST = np.float64(-708.0)  # below it e^x would be subnormal
_TWO52 = 4503599627370496.0
_TWO52_BITS = U(0x4330000000000000)
_ONE_BITS, _ROOT_HALF_BITS, _TWICE_ROOT_HALF_BITS = U(0x3FF0000000000000), U(0x3FE6A09E667F3BCD), U(0x3FF6A09E667F3BCD)
_MANTISSA = U(0x000FFFFFFFFFFFFF)
_U2, _U3, _U12, _U52 = U(2), U(3), U(12), U(52)


def exp(x):
    """e^x for x <= 709, within 2 ulp; e^-708 = 3e-308 for every x below -708, -inf included (never 0); NaN stays NaN.

    x = (n / 8) log 2 + r: e^x = 2^{n / 8} e^r, the eighth from a table.
    """
    x = where(x < _LOWEST, _LOWEST, x)  # written so that NaN passes
    shifted = fma(x, _EIGHTHS, _ROUND)
    n = shifted - _ROUND
    r = fma(n, -_EIGHTH_LOW, fma(n, -_EIGHTH, x))
    z = r * r
    high = fma(fma(r, 0.00019842045637239258, 0.0013889587108239542), z, fma(r, 0.00833333332787334, 0.04166666661752646))
    p = fma(high, z, fma(r, 0.16666666666666724, 0.5000000000000051))
    root = lookup(_ROOTS, bits(shifted))
    return value(bits(fma(root, fma(z, p, r), root)) + ((bits(shifted) >> _U3) << _U52))


def minus_two_log(w):
    r"""-2 \log(2^{-52} w) for w in [1/2, 2^{52}], within 2 ulp.

    w = 2^k m with m in [2^{-1/2}, 2^{1/2}); with f = m - 1, s = f/(2 + f): log m = 2 artanh s = f - s (f - 2 (artanh s - s)/s).
    The factor -2 is in the constants, and in f.
    """
    shifted = bits(w) + (_ONE_BITS - _ROOT_HALF_BITS)
    k = value((shifted >> _U52) | _TWO52_BITS) - (_TWO52 + 1023.0 + 52.0)
    f = 2.0 - value((shifted & _MANTISSA) + _TWICE_ROOT_HALF_BITS)
    s = f / (f - 4.0)
    z = s * s
    w = z * z
    high = fma(w, _LOG[0], fma(z, _LOG[1], _LOG[2]))
    p = fma(fma(high, w, fma(z, _LOG[3], _LOG[4])), w, fma(z, _LOG[5], _LOG[6]))
    return fma(k, -2 * _LN2, fma(k, -2 * _LN2_LOW, fma(-s, fma(z, p, f), f)))


def circle(word):
    r"""(cos, sin) of a uniform angle, from 64 random bits: the top two say which quarter, the next 52 where in [-1/2, 1/2) of it.

    With 2^{-52} x that place: \sin(\pi 2^{-52} x / 2) = x S(x^2), \cos(\pi 2^{-52} x / 2) = 1 + x^2 C(x^2), the powers of two in the
    coefficients; the quarter swaps the two and sets a sign.
    """
    x = (value(((word << _U2) >> _U12) | _TWO52_BITS) - 1.5 * _TWO52) + 0.5
    z = x * x
    w = z * z
    p = fma(fma(fma(z, _SIN[0], _SIN[1]), w, fma(z, _SIN[2], _SIN[3])), w, fma(z, _SIN[4], _SIN[5]))
    sine = x * fma(p, z, _SIN[6])
    high = fma(w, _COS[0], fma(z, _COS[1], _COS[2]))
    p = fma(fma(high, w, fma(z, _COS[3], _COS[4])), w, fma(z, _COS[5], _COS[6]))
    cosine = fma(p, z, 1.0)
    swap, flip = (word & _QUARTER) != _ZERO, word & _SIGN  # a quarter of a turn, half a turn
    return value(bits(where(swap, -sine, cosine)) ^ flip), value(bits(where(swap, cosine, sine)) ^ flip)


_ZERO, _SIGN, _QUARTER = U(0), U(1 << 63), U(1 << 62)


def _scaled(coefficients, least):
    """Coefficients of x^{2j + least}, j falling to 0, for x in units of 2^-52."""
    return tuple(np.ldexp(c, -52 * (2 * (len(coefficients) - 1 - i) + least)) for i, c in enumerate(coefficients))


_LOG = tuple(2 * c for c in (
    0.14617807153417325, 0.15331611722055008, 0.1818289243253687, 0.22222211089379496, 0.28571428626253836, 0.3999999999989889, 0.666666666666667,
))  # fmt: skip
_SIN = _scaled((
    5.6339279856583726e-08, -3.5986433131315896e-06, 0.00016044115073200066, -0.004681754132339787, 0.07969262624604294, -0.6459640975062443,
    1.5707963267948966,
), 1)  # fmt: skip
_COS = _scaled((
    -6.32939064877311e-09, 4.710678366340137e-07, -2.520203902702769e-05, 0.0009192602745467278, -0.020863480763340766, 0.2536695079010478,
    -1.2337005501361697,
), 2)  # fmt: skip


# ---- float32: the same formulas, shorter polynomials -------------------------------------------------------------------------------

_LN4_F, _LN4_LOW_F = F(-2 * 0.6931472), F(2 * 1.9046542e-09)  # minus
_SIXTEENTH_F, _SIXTEENTH_LOW_F, _SIXTEENTHS_F = F(0.0433217), F(-1.1904089e-10), F(23.08312)
_ROOTS_F = tuple(F(2.0 ** (j / 16)) for j in range(16))
_ROUND_F, _LOWEST_F = F(12582912.0), F(-87.0)
_ONE_BITS_F, _MANTISSA_F = np.uint32(0x3F800000), np.uint32(0x007FFFFF)
_ROOT_HALF_BITS_F, _TWICE_ROOT_HALF_BITS_F = np.uint32(0x3F3504F3), np.uint32(0x3FB504F3)
_U4, _U23, _BIAS_F = np.uint32(4), np.uint32(23), np.uint32(127 + 31)
_EXP_F = tuple(map(F, (0.1666686236858368, 0.5000097751617432)))
_LOG_F = tuple(F(2 * c) for c in (0.29580985929974424, 0.39988757716604845, 0.6666668509542907))
_SIN_F = tuple(map(F, (-0.004602141313607809, 0.07968021517843601, -0.6459634774795254, 1.5707963219513053)))
_COS_F = tuple(map(F, (0.0009067386543986477, -0.020861527953338076, 0.25366941032793217, -1.2337005493739153)))
_F1, _F2, _F4 = F(1), F(2), F(4)


def exp32(x):
    """e^x for x <= 88 in float32, within 2 ulp; e^-87 = 2e-38 for every x below -87; NaN stays NaN. With sixteenths."""
    x = where(x < _LOWEST_F, _LOWEST_F, x)
    shifted = fma(x, _SIXTEENTHS_F, _ROUND_F)
    n = shifted - _ROUND_F
    r = fma(n, -_SIXTEENTH_LOW_F, fma(n, -_SIXTEENTH_F, x))
    root = lookup(_ROOTS_F, bits(shifted))
    return value(bits(fma(root, fma(r * r, fma(r, _EXP_F[0], _EXP_F[1]), r), root)) + ((bits(shifted) >> _U4) << _U23))


def minus_two_log32(w):
    """-2 log(2^-31 w) for w in [1/2, 2^31] in float32, within 2 ulp."""
    shifted = bits(w) + (_ONE_BITS_F - _ROOT_HALF_BITS_F)
    k = number((shifted >> _U23) - _BIAS_F)
    f = _F2 - value((shifted & _MANTISSA_F) + _TWICE_ROOT_HALF_BITS_F)
    s = f / (f - _F4)
    z = s * s
    p = fma(z, _LOG_F[0], _LOG_F[1])
    p = fma(p, z, _LOG_F[2])
    return fma(k, _LN4_F, fma(k, _LN4_LOW_F, fma(-s, fma(z, p, f), f)))


def circle32(place, quarter):
    """(cos, sin) in float32 of the same angle as :func:`circle`: place from bits 2 to 33 of its word, quarter its leading 32 bits."""
    x = number(place ^ _HIGH_BIT) * _QUARTER_TURN
    z = x * x
    p = fma(z, _SIN_F[0], _SIN_F[1])
    p = fma(p, z, _SIN_F[2])
    sine = x * fma(p, z, _SIN_F[3])
    p = fma(z, _COS_F[0], _COS_F[1])
    p = fma(p, z, _COS_F[2])
    cosine = fma(fma(p, z, _COS_F[3]), z, _F1)
    swap, flip = (quarter & _SECOND_BIT) != _ZERO_F, quarter & _HIGH_BIT
    return value(bits(where(swap, -sine, cosine)) ^ flip), value(bits(where(swap, cosine, sine)) ^ flip)


_ZERO_F, _HIGH_BIT, _SECOND_BIT = np.uint32(0), np.uint32(1 << 31), np.uint32(1 << 30)
_QUARTER_TURN = F(2.0**-32)
