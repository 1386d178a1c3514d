"""One text for a number and for many: what the compiler makes of it has the bits of the Python text."""

import numpy as np
import pytest
from numba import njit

from scoresde.engine.vectors import BYTES, LANES, bits, fma, full_width, lanewise, lookup, sqrt, value, where

TABLE = tuple(np.float64(2.0**k) for k in range(8))
SHORT = tuple(np.float64(k) for k in (3.0, 1.0, 4.0, 1.5))  # shorter than a vector: halved bit by bit
TABLE32 = tuple(np.float32(k * k) for k in range(16))


def one(x):
    """1 as a bit pattern of the width of x."""
    return bits(x).dtype.type(1)


TEXTS = {
    "arithmetic": lambda out, x, y: -((2.0 + x) * y - 3.0) / (1.5 - y * 0.25) + 1.0 / x,
    "fused": lambda out, x, y: fma(x, fma(-2.0, y, 1.0), out),
    "fused with constants": lambda out, x, y: fma(fma(0.5, y, 0.25), 3.0, x),
    "root": lambda out, x, y: sqrt(x) * sqrt(y),
    "choice": lambda out, x, y: where(x < y, where(x > 0.7, x, 0.125), y),
    "bits": lambda out, x, y: value((bits(x) ^ (bits(y) >> one(x))) & bits(x) | (bits(y) << one(x)) & bits(y)),
    "whole numbers": lambda out, x, y: value(where((bits(x) & one(x)) != one(x), bits(x), bits(y) - one(x) + one(x))),
}


def both(text, dtype, seed=0):
    """What the compiler and Python make of a text over three random arrays."""
    apply = lanewise(text)

    @njit
    def run(out, x, y):
        apply(out, x, y)

    arrays = [np.random.default_rng(seed + k).uniform(0.5, 2.0, 3 * LANES).astype(dtype) for k in range(3)]
    here, there = arrays[0].copy(), arrays[0].copy()
    with np.errstate(over="ignore"):  # unsigned arithmetic wraps on purpose
        apply(there, *arrays[1:])
    run(here, *arrays[1:])
    assert not np.array_equal(here, arrays[0])
    return here, there


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", TEXTS)
def test_vectors_have_the_bits_of_the_python_text(name, dtype):
    here, there = both(TEXTS[name], dtype)
    assert here.dtype == dtype
    assert np.array_equal(here, there)


@pytest.mark.parametrize(("table", "dtype"), [(TABLE, np.float64), (SHORT, np.float64), (TABLE32, np.float32)])
def test_a_table_is_read_at_the_low_bits(table, dtype):
    here, there = both(lambda out, x, y: lookup(table, bits(x)), dtype)
    assert np.array_equal(here, there)
    assert set(here) == set(table)  # control: every entry is met


def test_numbers_beside_arrays_and_an_output_that_is_an_input():
    apply = lanewise(lambda out, x, a: fma(a, x, out))

    @njit
    def run(out, a):
        apply(out, out, a)

    x = np.arange(LANES, dtype=np.float32)
    run(x, 2.0)
    assert np.array_equal(x, 3.0 * np.arange(LANES, dtype=np.float32))


def test_a_multiply_add_is_rounded_once():
    x = np.float64(1 + 2.0**-30)
    assert fma(x, x, -np.float64(1 + 2.0**-29)) == 2.0**-60
    assert x * x - (1 + 2.0**-29) == 0.0  # control: twice


def test_nan_and_infinity_pass_through_a_text():
    here, there = np.array([np.nan, np.inf, -np.inf, 0.0] * (LANES // 4)), None
    apply = lanewise(lambda out: where(out < -1.0, -1.0, out) * 0.5)
    there = here.copy()

    @njit
    def run(out):
        apply(out)

    run(here)
    apply(there)
    assert np.array_equal(here, there, equal_nan=True)
    assert np.isnan(here[0])
    assert here[2] == -0.5


def test_a_plain_loop_gets_the_widest_vectors_and_an_aligned_stack():
    def add(x, y):
        for i in range(len(x)):
            x[i] += y[i]

    def wide(x, y):
        full_width()
        add_compiled(x, y)

    add_compiled = njit(add)
    x, y = np.ones(1000), np.ones(1000)
    compiled = njit(wide)
    compiled(x, y)
    wide(x, y)
    assert (x == 3.0).all()
    (text,) = compiled.inspect_llvm().values()
    assert f'"prefer-vector-width"="{8 * BYTES}"' in text
    assert f"alignstack={BYTES}" in text or f"alignstack({BYTES})" in text
    add_compiled(x, y)
    (plain,) = add_compiled.inspect_llvm().values()
    assert "prefer-vector-width" not in plain  # control
