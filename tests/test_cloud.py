"""The law that the line engine returns: a cloud of equal Gaussians obeys the protocol of laws, and its kernels say what their formulas do."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import erfc

import scoresde as sd
from scoresde import kernel
from scoresde.engine import taps
from scoresde.laws import cloud as clouds
from scoresde.laws._resolve import smooth_panels
from scoresde.laws.cloud import Cloud
from scoresde.laws.line import Line

EPS = 2.0**-52

WEIGHTS = st.lists(st.floats(0.05, 1.0), min_size=1, max_size=6)


@given(WEIGHTS, st.integers(0, 2**20), st.floats(0.01, 2.0), st.floats(-1.5, 1.5), st.floats(0.01, 2.0))
def test_a_cloud_is_the_mixture_of_equal_variances(weights, seed, var, m, v):
    w = np.array(weights) / np.sum(weights)
    means = 3 * np.random.default_rng(seed).standard_normal(len(w))
    law, mixture = Line(Cloud.of(means, w, var)), sd.GaussianMixture(w, means[:, None], var)
    x = np.linspace(means.min() - 6, means.max() + 6, 121)[:, None]
    k = kernel.Kernel(m, v)
    for a, b, noise in ((law, mixture, var), (law.noised(k), mixture.noised(k), m * m * var + v)):
        exponent = 1 + np.abs(b.logpdf(x)).max()
        assert np.abs(a.logpdf(x) - b.logpdf(x)).max() <= 50 * EPS * exponent
        assert np.abs(a.score(x) - b.score(x)).max() <= 200 * EPS * exponent / math.sqrt(noise)
        assert np.abs(a.score_jacobian(x) - b.score_jacobian(x)).max() <= 2000 * EPS * exponent / noise
        assert np.abs(a.cdf(x) - b.cdf(x)).max() <= 1e-14 and np.abs(a.sf(x) + a.cdf(x) - 1).max() <= 1e-14
    assert np.abs(law.mean() - mixture.mean()).max() <= 1e-13 and np.abs(law.cov() - mixture.cov()).max() <= 1e-12
    assert law.second_moment() == pytest.approx(mixture.second_moment(), rel=1e-13)
    if abs(m) > 0.05:
        scale = (1 + np.abs(x).max()) / abs(m) ** 2
        assert np.abs(law.denoise(x, k) - mixture.denoise(x, k)).max() <= 1e-12 * scale
        assert np.abs(law.denoise_cov(x, k) - mixture.denoise_cov(x, k)).max() <= 1e-11 * scale**2
    u = np.linspace(0.001, 0.999, 37)
    assert np.abs(law.cdf(law.quantile(u)) - u).max() <= 1e-13


def test_far_tails_neither_vanish_nor_lose_accuracy():
    law, gaussian = Line(Cloud.of(np.array([0.0, 1e-3]), np.array([0.5, 0.5]), 1.0)), sd.Gaussian([5e-4], 1.0 + 2.5e-7)
    x = np.array([[-200.0], [-35.0], [35.0], [200.0]])
    two = sd.GaussianMixture([0.5, 0.5], [[0.0], [1e-3]], 1.0)
    assert np.allclose(law.logpdf(x), two.logpdf(x), rtol=1e-14) and np.allclose(law.score(x), two.score(x), rtol=1e-12)
    tiny = np.array([1e-300, 1e-100, 1e-20])
    assert np.allclose(law.quantile(tiny), gaussian.quantile(tiny), rtol=1e-9)  # the cloud is a Gaussian but for 1e-13
    assert np.allclose(law.cdf(law.quantile(tiny)[:, :]), tiny, rtol=1e-9)
    assert law.quantile([0.0, 1.0])[:, 0].tolist() == [-math.inf, math.inf]
    assert law.logpdf(np.array([[math.inf], [-math.inf]])).tolist() == [-math.inf, -math.inf]
    assert np.isnan(law.logpdf(np.array([[math.nan]])))[0]


def test_points_at_the_ends_of_floating_point():
    law = Line(Cloud.of(np.linspace(-1, 1, 40), np.full(40, 1 / 40), 0.2))
    x = np.array([[1e3], [1e10], [1e100], [-1e100], [1e149]])
    # the nearest atom rules: its exponent is right to rounding, the logarithm of its weight vanishes beside it
    assert law.logpdf(x) == pytest.approx(-0.5 * (np.abs(x[:, 0]) - 1) ** 2 / 0.2, rel=1e-5)
    assert law.score(x)[:, 0] == pytest.approx(-(x[:, 0] - np.sign(x[:, 0])) / 0.2, rel=1e-12)
    assert (law.logpdf(np.array([[1e200], [-1e300]])) == -np.inf).all() and law.score([[1e200]]) == pytest.approx(-5e200)


def test_panels_find_a_kink():
    edges = smooth_panels(lambda x: -np.abs(x - 0.3), np.linspace(-5.0, 5.0, 5))
    assert np.abs(edges - 0.3).min() <= 1e-5 and len(edges) < 200


def test_points_may_be_torch_tensors_of_any_shape():
    torch = pytest.importorskip("torch")
    law = Line(Cloud.of(np.array([-1.0, 1.0]), np.array([0.5, 0.5]), 0.3))
    x = np.linspace(-2, 2, 12).reshape(3, 4, 1)
    for f, shape in (("logpdf", (3, 4)), ("score", (3, 4, 1)), ("score_jacobian", (3, 4, 1, 1)), ("cdf", (3, 4))):
        here, there = getattr(law, f)(x), getattr(law, f)(torch.tensor(x, dtype=torch.float32))
        assert here.shape == shape == tuple(there.shape) and there.dtype == torch.float32
        assert np.abs(there.numpy() - here).max() <= 1e-5
    assert law.pdf(np.array([[0]])).dtype == np.float64 and law.pdf(np.zeros((1, 1), np.float32)).dtype == np.float32
    for bad, message in ((np.zeros(3), "x\\[:, None\\]"), (np.zeros((3, 2)), "allowed is")):
        with pytest.raises(ValueError, match=message):
            law.logpdf(bad)
    with pytest.raises(ValueError, match="u: got"):
        law.quantile([0.5, 1.5])
    with pytest.raises(ValueError, match="kernel: got"):
        law.noised(kernel.Kernel(0.0, 0.0))


# ---- kernels: the plain functions say what the compiled ones do -------------------------------------------------------------------------


def test_exponential_and_tail_are_accurate():
    z = np.linspace(-700.0, 50.0, 3001)
    assert np.abs(np.array([clouds.exp_py(t) for t in z]) / np.exp(z) - 1).max() <= 2 * EPS
    assert clouds.exp_py(-1e9) == clouds.exp_py(-700.0)
    z = np.linspace(0.0, 26.0, 2001)
    # z^2, up to 676, is rounded before it is exponentiated
    assert np.abs(np.array([clouds.tail_py(t) for t in z]) / (0.5 * erfc(z)) - 1).max() <= 676 * EPS


def test_plain_and_compiled_kernels_agree():
    rng = np.random.default_rng(1)
    a = np.sort(rng.normal(size=40))
    w = rng.random(40)
    cloud = Cloud.of(a, w, 0.04)
    x = np.concatenate([rng.normal(size=30), [-6.0, 6.0, 40.0, math.inf]])
    arrays = lambda: [np.zeros(len(x)) for _ in range(3)]  # noqa: E731
    for level in (0, 2):
        plain, compiled = arrays(), arrays()
        clouds.moments_py(x, a, cloud.weights, cloud.log_weights, 0.04, level, *plain)
        clouds.moments(x, a, cloud.weights, cloud.log_weights, 0.04, level, *compiled)
        assert all(np.allclose(p, c, rtol=1e-12, atol=1e-13) for p, c in zip(plain, compiled, strict=True))
    for t in x:
        plain, compiled = (f(t, a, cloud.weights, cloud.below, cloud.above, 0.04) for f in (clouds.tails_py, clouds.tails))
        assert np.allclose(plain, compiled, rtol=1e-12, atol=0)
        assert clouds.density_py(t, a, cloud.weights, 0.04) == pytest.approx(clouds.density(t, a, cloud.weights, 0.04), rel=1e-12)
        assert clouds.bounds_py(a, t, 0.1) == clouds.bounds(a, t, 0.1)
    u = np.array([0.0, 1e-9, 0.3, 0.5, 0.9999, 1.0])
    for upper in (False, True):
        plain, compiled = np.zeros(6), np.zeros(6)
        clouds.quantiles_py(u, upper, a, cloud.weights, cloud.below, cloud.above, 0.04, plain)
        clouds.quantiles(u, upper, a, cloud.weights, cloud.below, cloud.above, 0.04, compiled)
        assert np.allclose(plain, compiled, rtol=1e-11)
        assert np.allclose(cloud.tails(plain[1:-1])[int(upper)], u[1:-1], rtol=1e-11)


def test_deposits_are_the_sums_of_gaussians_that_they_stand_for():
    rng = np.random.default_rng(2)
    a, w, var, dx, reach = rng.uniform(-1, 1, 25), rng.random(25), 0.03, 0.06, 41
    cls = np.arange(25) & 3
    x0 = a.min() - (reach + 1) * dx
    m = int((a.max() - a.min()) / dx) + 2 * reach + 20
    plain, compiled = np.zeros((4, m)), np.zeros((4, m))
    taps.deposit_py(a, w, cls, var, dx, x0, reach, plain)
    taps.deposit(a, w, cls, var, dx, x0, reach, compiled)
    x = x0 + dx * np.arange(m)
    normal = np.exp(-((x[:, None] - a) ** 2) / (2 * var)) / math.sqrt(2 * math.pi * var)
    direct = np.stack([normal[:, cls == k] @ w[cls == k] for k in range(4)])
    for out in (plain, compiled):
        assert np.abs(out - direct).max() <= 1e-13 * direct.max()
        seen = out[:, reach : m - reach] > 0
        assert np.abs(out[:, reach : m - reach] / direct[:, reach : m - reach] - 1)[seen & (direct[:, reach : m - reach] > 1e-12)].max() <= 1e-12
    parts = [f(plain, x0, dx, 1e-44) for f in (taps.collect_py, taps.collect)]
    assert all(np.allclose(p, c, rtol=1e-12) for p, c in zip(*parts, strict=True))
    assert parts[0][1].sum() == pytest.approx(1, abs=1e-14) and parts[0][5] == pytest.approx(w.sum(), rel=1e-13)
    rows = [np.zeros((4, m)) for _ in range(2)]
    table, first, ratio, start = np.exp(-np.linspace(0, 3, 23)), w[:3], 1 + 0.1 * a[:3], np.array([0, 5, 15])
    for f, out in zip((taps.taps_py, taps.taps), rows, strict=True):
        f(first, ratio, start, cls[:3], table, 16, out)
    assert np.allclose(*rows, rtol=1e-13)
    for j, aligned in enumerate((0, 0, 8)):  # the row begins at a multiple of 8, the table where it then stands
        row = first[j] * ratio[j] ** np.arange(16) * table[7 - (start[j] - aligned) :][:16]
        assert np.allclose(rows[0][j, aligned : aligned + 16], row, rtol=1e-13)
        assert not rows[0][j, :aligned].any() and not rows[0][j, aligned + 16 :].any()


def test_a_law_on_a_grid_fits_and_too_many_nodes_are_not_made():
    rng = np.random.default_rng(3)
    a, w = rng.normal(size=40), np.full(40, 1 / 40)
    for shift in (0.0, 0.37):
        m, (x, q, cls, *_, total, _) = taps.on_grid(a, w, np.arange(40) & 3, 0.04, 0.1, shift, 20, 1e-44, 10_000)
        assert m < 200 and abs(total - 1) <= 1e-13  # nothing was left out
        assert x[0] < a.min() - 1.9 and x[-1] > a.max() + 1.9
        assert ((x - x[0]) / 0.1 == pytest.approx(np.rint((x - x[0]) / 0.1), abs=1e-9)) and (np.diff(cls) % 4 == 1).all()
        cloud = Cloud.of(a, w, 0.04)
        assert q / 0.1 == pytest.approx(np.exp(cloud.log_density(x)), rel=1e-11, abs=1e-15)
    assert taps.on_grid(a, w, np.arange(40) & 3, 0.04, 0.1, 0.0, 20, 1e-44, 50)[0] > 50
