"""The counter-based normals: the published generator, 2-ulp elementary functions, the law, and what a draw may depend on."""

import math

import mpmath
import numpy as np
import pytest
from numba import njit
from scipy.special import chdtrc, ndtr

from scoresde.engine import elementary
from scoresde.engine.normals import key, normals, philox, raw, table, table_py, uniforms
from scoresde.engine.vectors import LANES, lanewise
from validation import randomness

KEY = key(0, "test normals")


# ---- the integer generator ---------------------------------------------------------------------------------------------------------


def reference_philox(counter, keys, bits, multipliers, increments):
    """Philox with four words of ``bits`` bits, ten rounds, in Python integers (Salmon et al. 2011, section 4.3)."""
    mask, (c0, c1, c2, c3), (k0, k1) = (1 << bits) - 1, counter, keys
    for _ in range(10):
        left, right = multipliers[0] * c0, multipliers[1] * c2
        c0, c1, c2, c3 = (right >> bits) ^ c1 ^ k0, right & mask, (left >> bits) ^ c3 ^ k1, left & mask
        k0, k1 = (k0 + increments[0]) & mask, (k1 + increments[1]) & mask
    return [c0, c1, c2, c3]


def four_words(counter, keys):
    return [int(w) & 0xFFFFFFFF for w in philox(*map(np.uint64, (*counter, *keys)))]


# published with Random123 (kat_vectors, philox4x32 10)
KNOWN = [
    ((0, 0, 0, 0), (0, 0), "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ((0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344), (0xA4093822, 0x299F31D0), "d16cfe09 94fdcceb 5001e420 24126ea1"),
]


@pytest.mark.parametrize(("counter", "keys", "expected"), KNOWN)
def test_philox_gives_the_published_vectors(counter, keys, expected):
    assert " ".join(f"{w:08x}" for w in four_words(counter, keys)) == expected


def test_philox_is_the_algorithm_that_numpy_has_at_64_bits():
    """The reference text, at 64 bits, is numpy's Philox; the same text at 32 bits is ours, at random counters."""
    rng = np.random.default_rng(1)
    for _ in range(20):
        counter, keys = rng.integers(0, 2**63, 4, dtype=np.uint64), rng.integers(0, 2**63, 2, dtype=np.uint64)
        counter[0] -= counter[0] == 2**64 - 1
        after = [int(counter[0]) + 1, *map(int, counter[1:])]  # numpy counts before it draws
        wide = reference_philox(after, map(int, keys), 64, (0xD2E7470EE14C6C93, 0xCA5A826395121157), (0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B))
        assert wide == [int(w) for w in np.random.Philox(counter=counter, key=keys).random_raw(4)]
        narrow, pair = [int(c) & 0xFFFFFFFF for c in counter], [int(k) & 0xFFFFFFFF for k in keys]
        assert four_words(narrow, pair) == reference_philox(narrow, pair, 32, (0xD2511F53, 0xCD9E8D57), (0x9E3779B9, 0xBB67AE85))


@pytest.mark.parametrize(("row", "coordinate", "first"), [(0, 0, 0), (7, 3, 5), (2**32 - 1, 9, 2**32 - 4), (1, 2, 2**33)])
def test_the_compiled_words_are_philox_at_the_documented_counters(row, coordinate, first):
    got = raw(KEY, 30, row=row, coordinate=coordinate, first=first)
    with np.errstate(over="ignore"):  # unsigned arithmetic wraps on purpose
        for i, p in enumerate(range(first, first + 15)):
            words = [int(w) & 0xFFFFFFFF for w in philox(*map(np.uint64, (p & 0xFFFFFFFF, row, coordinate, p >> 32)), *KEY)]
            assert [int(w) for w in got[2 * i : 2 * i + 2]] == [words[0] | words[1] << 32, words[2] | words[3] << 32]


def test_uniforms_are_the_words_of_a_coordinate_that_no_normal_has():
    whole = uniforms(KEY, 1000, row=5)
    words = raw(KEY, 1000, row=5, coordinate=2**32 - 1)
    assert np.array_equal(whole, [(int(w >> np.uint64(12)) + 0.5) / 2**52 for w in words])
    for first in (0, 1, 2, 17):
        assert np.array_equal(whole[first : first + 10], uniforms(KEY, 10, row=5, first=first))
    assert 0 < whole.min() < whole.max() < 1


# ---- elementary functions ------------------------------------------------------------------------------------------------------------


def compiled(f):
    """f on an array, by the compiler: the texts emit vectors."""
    apply = lanewise(lambda _, x: f(x))

    @njit
    def run(out, x):
        apply(out, x)

    def call(x):
        padded = np.resize(x, -(-len(x) // LANES) * LANES)
        out = np.empty_like(padded)
        run(out, padded)
        return out[: len(x)]

    return call


def worst_ulp(got, exact):
    """The largest error in units of the last place of the exact values (mpmath)."""
    ulp = np.spacing(np.abs(np.array([float(e) for e in exact])).astype(got.dtype)).astype(float)
    with mpmath.workprec(120):
        return max(abs(float((mpmath.mpf(float(g)) - e) / u)) for g, e, u in zip(got, exact, ulp, strict=True))


def exact(f, x):
    with mpmath.workprec(120):
        return [f(mpmath.mpf(float(v))) for v in x]


def arguments(kind, dtype):
    rng = np.random.default_rng(2)
    if kind == "exp":
        low = 707.9 if dtype == np.float64 else 86.9
        return np.concatenate([-low * rng.random(1500), -rng.random(1500), rng.random(200), -(2.0 ** -np.arange(60.0)), [0.0]]).astype(dtype)
    places = 52 if dtype == np.float64 else 31
    lattice = 2.0 ** -np.arange(1, places + 1)
    near_one = 1 - 2.0 ** -np.arange(2, 54 if dtype == np.float64 else 25)
    return (np.concatenate([rng.random(2000), lattice, 1.5 * lattice, near_one, [1.0, 0.5**0.5]]) * 2.0**places).astype(dtype)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("kind", ["exp", "minus_two_log"])
def test_exp_and_log_are_within_two_ulp(kind, dtype):
    f = getattr(elementary, kind + ("" if dtype == np.float64 else "32"))
    x = arguments(kind, dtype)
    got = compiled(f)(x)
    assert got.dtype == dtype
    places = 52 if dtype == np.float64 else 31
    true = exact(mpmath.exp if kind == "exp" else lambda w: -2 * mpmath.log(w / 2**places), x)
    assert worst_ulp(got, true) <= 2
    assert worst_ulp(got * dtype(1 + 6 * np.finfo(dtype).eps), true) > 2  # control: the measure sees 3 to 6 units


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_the_circle_is_within_two_ulp(dtype):
    """Each coordinate against cos and sin of the angle that the words stand for: a quarter and a place in it."""
    f, places = (elementary.circle, 52) if dtype == np.float64 else (elementary.circle32, 32)
    cosine, sine = (lanewise(lambda _, *words, k=k: f(*words)[k]) for k in (0, 1))

    @njit
    def run(c, s, *words):
        cosine(c, *words)
        sine(s, *words)

    words = np.random.default_rng(3).integers(0, 2**64, 50 * LANES, dtype=np.uint64)
    c, s = np.empty(len(words), dtype), np.empty(len(words), dtype)
    if dtype == np.float64:
        run(c, s, words)
    else:
        run(c, s, *((words << shift >> np.uint64(32)).astype(np.uint32) for shift in (np.uint64(2), np.uint64(0))))
    with mpmath.workprec(120):
        angles = []
        for w in map(int, words):
            quarter, inner = w >> 62, (w & (2**62 - 1)) >> (62 - places)
            # in float64 the middle of the lattice cell; float32 rounds the place itself, as an exact input of the polynomials
            inside = mpmath.mpf(inner - 2 ** (places - 1)) + mpmath.mpf("0.5") if places == 52 else mpmath.mpf(float(np.float32(inner - 2**31)))
            angles.append((quarter % 2 + 2 * (quarter // 2) + inside / 2**places) * mpmath.pi / 2)
        cosines, sines = [mpmath.cos(a) for a in angles], [mpmath.sin(a) for a in angles]
    assert worst_ulp(c, cosines) <= 2
    assert worst_ulp(s, sines) <= 2
    assert worst_ulp(s, cosines) > 1e3  # control


def test_exp_shows_nan_and_never_gives_zero():
    x = np.array([np.nan, -np.inf, -1e300, -708.0, 0.0])
    assert np.isnan(compiled(elementary.exp)(x)[0])
    assert (compiled(elementary.exp)(x)[1:] >= 3e-308).all()
    y = np.array([np.nan, -np.inf, -1e30, -87.0, 0.0], np.float32)
    assert np.isnan(compiled(elementary.exp32)(y)[0])
    assert (compiled(elementary.exp32)(y)[1:] >= 1.6e-38).all()


@pytest.mark.parametrize(("f", "dtype"), [("exp", np.float64), ("minus_two_log", np.float64), ("exp32", np.float32), ("minus_two_log32", np.float32)])
def test_the_compiled_functions_are_their_python_texts_bit_for_bit(f, dtype):
    x = np.random.default_rng(4).random(100).astype(dtype) + dtype(0.5)
    f = getattr(elementary, f)
    with np.errstate(over="ignore"):  # unsigned arithmetic wraps on purpose
        assert np.array_equal(compiled(f)(x), np.array([f(v) for v in x]))


# ---- what a draw depends on ----------------------------------------------------------------------------------------------------------


def test_a_normal_depends_on_key_particle_row_and_coordinate_alone():
    whole = normals(KEY, 1000, 3, row=5)
    assert np.array_equal(whole[:10], normals(KEY, 10, 3, row=5))
    assert np.array_equal(whole[:, :2], normals(KEY, 1000, 2, row=5))
    for first in (1, 2, 255, 256, 257, 600):
        assert np.array_equal(whole[first : first + 300], normals(KEY, 300, 3, row=5, first=first)[: 1000 - first])
    for other in (normals(KEY, 1000, 3, row=6), normals(key(1, "test normals"), 1000, 3, row=5), normals(key(0, "other"), 1000, 3, row=5)):
        assert not np.isin(other, whole).any()
    assert len(np.unique(whole)) == whole.size


def test_particles_beyond_2_to_33_and_rows_beyond_2_to_31_are_new():
    near, far = normals(KEY, 4, 2), normals(KEY, 4, 2, first=2**34)
    late = normals(KEY, 4, 2, row=2**32 - 1)
    assert len(np.unique(np.concatenate([near, far, late]))) == 24


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_the_compiled_table_is_its_python_text_bit_for_bit(dtype):
    slow, fast = np.empty((5, 2), dtype), np.empty((5, 2), dtype)
    with np.errstate(over="ignore"):
        table_py(slow, *KEY, 3, 7)
    table(fast, *KEY, 3, 7)
    assert np.array_equal(slow, fast)


def test_float32_draws_are_the_float64_draws():
    """They read the leading 31 bits of u and 34 of the angle, so |dz| <= |z| du/(u r^2) + r d\\theta + rounding, r = |(z_{2p}, z_{2p+1})|."""
    z = normals(KEY, 20000, 1)[:, 0]
    short = normals(KEY, 20000, 1, dtype=np.float32)[:, 0]
    r2 = np.repeat(z[::2] ** 2 + z[1::2] ** 2, 2)
    relative_du = 2.0**-31 * np.exp(r2 / 2) + 2.0**-24  # u = exp(-r^2 / 2)
    bound = np.abs(z) * relative_du / r2 + np.sqrt(r2) * 2.0**-32 * math.pi + 8 * 2.0**-24 * np.sqrt(r2)
    assert (np.abs(short - z) <= bound).all()
    assert np.median(np.abs(short - z)) < 1e-7


def test_keys_follow_the_rule_for_seeds():
    sequence = np.random.SeedSequence(7, spawn_key=(3,))
    assert key(sequence, "a") == key(sequence, "a")
    assert sequence.n_children_spawned == 0
    assert len({key(s, p) for s in (7, sequence, np.random.SeedSequence(7)) for p in ("a", "b")}) >= 4
    with pytest.raises(ValueError, match="seed: got None"):
        key(None, "a")


# ---- the law ---------------------------------------------------------------------------------------------------------------------------

SIGMAS = 6  # two-sided level 2e-9 each, normal approximation at n = 1e6


def scores_of_moments(z):
    """Standardised deviations of the first four moments and of the counts beyond 1, ..., 4 standard deviations."""
    n = z.size
    moments = [(1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)]  # order, mean, variance under N(0, 1)
    found = [float((np.mean(z**k) - mean) / math.sqrt(var / n)) for k, mean, var in moments]
    for c in (1.0, 2.0, 3.0, 4.0):
        for p, count in ((ndtr(-c), (z > c).sum()), (ndtr(-c), (z < -c).sum())):
            found.append(float((count - n * p) / math.sqrt(n * p * (1 - p))))
    return np.abs(found)


def chi_square_level(z, bins=64):
    """P of a larger chi-square of the counts in equally likely bins."""
    counts = np.bincount(np.minimum((ndtr(z.ravel()) * bins).astype(int), bins - 1), minlength=bins)
    return float(chdtrc(bins - 1, ((counts - z.size / bins) ** 2).sum() * bins / z.size))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_moments_tails_and_bins_are_those_of_the_normal_law(dtype):
    z = normals(KEY, 10**6, 1, dtype=dtype).astype(float)
    assert scores_of_moments(z).max() < SIGMAS
    assert chi_square_level(z) > 1e-8


def test_far_tails_are_filled_but_not_beyond_the_lattice():
    z = np.concatenate([np.abs(normals(KEY, 10**6, 4, row=r)).ravel() for r in range(3)])
    p = 2 * ndtr(-5.0)  # 5.7e-7: seven expected
    limit = SIGMAS * math.sqrt(z.size * p) + 1
    assert abs((z > 5).sum() - z.size * p) <= limit
    assert abs((1.1 * z > 5).sum() - z.size * p) > limit  # control: tails a tenth too wide
    assert z.max() <= math.sqrt(2 * 53 * math.log(2))


def test_controls_the_tests_of_the_law_refuse_near_normals():
    rng = np.random.default_rng(5)
    twelve = rng.random((10**6, 12)).sum(axis=1) - 6  # the sum of twelve uniforms: right mean and variance, light tails
    assert scores_of_moments(twelve).max() > SIGMAS
    z = normals(KEY, 10**6, 1)
    assert scores_of_moments(1.01 * z).max() > SIGMAS
    assert chi_square_level(z + 0.02) < 1e-8


def test_draws_are_uncorrelated_across_particles_rows_coordinates_and_keys():
    n = 500_000
    z = normals(KEY, n, 2)
    partners = {
        "the pair": (z[::2, 0], z[1::2, 0]), "next pair": (z[1:-1, 0], z[2:, 0]), "next coordinate": (z[:, 0], z[:, 1]),
        "next row": (z[:, 0], normals(KEY, n, 1, row=1)[:, 0]), "next seed": (z[:, 0], normals(key(1, "test normals"), n, 1)[:, 0]),
        "256 on": (z[:-256, 0], z[256:, 0]),
    }  # fmt: skip
    for name, (x, y) in partners.items():
        for power, var in ((1, 1), (2, 4)):  # products of x^k - E x^k: mean 0, variance var under independence
            u, v = (x, y) if power == 1 else (x**2 - 1, y**2 - 1)
            assert abs((u * v).sum()) / math.sqrt(var * len(u)) < SIGMAS, name
    x = z[::2, 0]
    radius = np.sqrt(x**2 + z[1::2, 0] ** 2)
    assert abs(((x**2 - 1) * (radius**2 - 2)).sum()) / math.sqrt(4 * len(x)) > SIGMAS  # control: x and the radius are dependent


def test_the_streams_that_dieharder_is_given_are_the_generator(monkeypatch, capsys):
    assert np.array_equal(next(randomness.particles(KEY))[:6], raw(KEY, 6))
    chain = next(randomness.chains(KEY))
    assert np.array_equal(chain[256 * 17 : 256 * 17 + 9], raw(KEY, 9, row=1, coordinate=1))
    u = next(randomness.uniforms(KEY))[:50, 0] / 2.0**32
    assert np.abs(u - ndtr(normals(KEY, 50, 1)[:, 0])).max() <= 2.0**-32
    monkeypatch.setattr(randomness.shutil, "which", lambda name: None)
    assert randomness.main([]) == 0
    assert "nothing was tested" in capsys.readouterr().out
