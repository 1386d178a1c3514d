"""Kernel distances: closed forms by two routes, U-statistics against them, intervals where the statistic degenerates, memory."""

import math
import tracemalloc

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import scoresde as sd
from scoresde.divergence import kernels
from scoresde.divergence.kernels import energy_distance, kernel_stein_discrepancy, maximum_mean_discrepancy
from scoresde.testing import mixtures

GM3 = sd.targets.gm3
OTHER = sd.GaussianMixture([0.6, 0.4], [[-1.0], [1.5]], [0.9, 0.5])
NORMAL = sd.standard_normal(1)


def pair(d, seed=0, full=False):
    rng = np.random.default_rng(seed)
    w, m, v = rng.dirichlet(np.full(4, 3.0), 2), 0.5 * rng.standard_normal((2, 4, d)), rng.uniform(0.5, 1.5, (2, 4, d))
    if not full:
        return [sd.GaussianMixture(w[i], m[i], v[i]) for i in (0, 1)]
    turn = np.linalg.qr(rng.standard_normal((d, d)))[0]
    covs = (turn * v[:, :, None, :]) @ turn.T
    return [sd.GaussianMixture(w[i], m[i] @ turn.T, 0.5 * (covs[i] + covs[i].swapaxes(1, 2))) for i in (0, 1)]


def meet(a, b):
    return a.lo <= b.hi and b.lo <= a.hi


def square_by_components(p, q, t):
    (b, e), (f, e1), (s, e2) = (kernels._gap(x, y, np.array([t])) for x, y in ((p, q), (p, p), (q, q)))
    return 2 * b[0] - f[0] - s[0], 2 * e[0] + e1[0] + e2[0]


# ---- maximum mean discrepancy of laws -------------------------------------------------------------------------------------------------


@given(mixtures(max_dim=1), mixtures(max_dim=1), st.sampled_from([0.1, 1.0, 10.0]))
def test_quadrature_and_the_sum_over_components_agree_on_the_line(p, q, bandwidth):
    e = maximum_mean_discrepancy(p, q, bandwidth=bandwidth)
    square, error = square_by_components(p, q, 0.5 / bandwidth**2)
    assert max(e.lo**2 - error, 0) <= max(square + 1e-15, 0) and square - error <= e.hi**2 + 1e-15
    assert e.hi <= math.sqrt(2) * sd.total_variation(p, q).hi + 1e-12


def test_against_thirty_digits():
    with mp.workdps(30):
        parts = [[(mp.mpf(float(a)), mp.mpf(float(b)), mp.mpf(float(c))) for a, b, c in zip(x.weights, x.means[:, 0], x.covs)] for x in (GM3, OTHER)]

        def mean(a, b):
            total = sum(w * v * mp.exp(-((m - n) ** 2) / 2 / (1 + s + t)) / mp.sqrt(1 + s + t) for w, m, s in a for v, n, t in b)
            return total / (sum(w for w, _, _ in a) * sum(v for v, _, _ in b))

        exact = mp.sqrt(mean(parts[0], parts[0]) + mean(parts[1], parts[1]) - 2 * mean(*parts))
        e = maximum_mean_discrepancy(GM3, OTHER)
        assert mp.mpf(e.lo) <= exact <= mp.mpf(e.hi) and e.width <= 1e-13
        assert not maximum_mean_discrepancy(GM3, OTHER, bandwidth=1.001).lo <= exact <= maximum_mean_discrepancy(GM3, OTHER, bandwidth=1.001).hi


def test_close_laws_keep_relative_accuracy_on_the_line():
    """MMD^2(N(0,1), N(e,1)) = 2/sqrt3 (1 - exp(-e^2/6)), b = 1."""
    for eps in (1e-3, 1e-6):
        e, exact = maximum_mean_discrepancy(NORMAL, sd.Gaussian([eps], 1.0)), math.sqrt(2 / math.sqrt(3) * -math.expm1(-(eps**2) / 6))
        assert e.lo <= exact <= e.hi and abs(e.value - exact) <= 1e-9 * exact


@pytest.mark.parametrize("d", [2, 16, 64])
def test_rotations_change_nothing(d):
    a, b = maximum_mean_discrepancy(*pair(d), bandwidth=math.sqrt(d)), maximum_mean_discrepancy(*pair(d, full=True), bandwidth=math.sqrt(d))
    assert a.width <= 1e-11 and b.width <= 1e-10 and abs(a.value - b.value) <= 1e-12 and meet(a, b)


def test_products_multiply():
    p, q = sd.Product([GM3] * 2), sd.standard_normal(2)
    weights = np.outer(GM3.weights, GM3.weights).ravel()
    means = np.stack([x.ravel() for x in np.meshgrid(GM3.means[:, 0], GM3.means[:, 0], indexing="ij")], axis=1)
    covs = np.stack([x.ravel() for x in np.meshgrid(GM3.covs, GM3.covs, indexing="ij")], axis=1)
    flat = sd.GaussianMixture(weights, means, covs)
    assert meet(maximum_mean_discrepancy(p, q), maximum_mean_discrepancy(flat, q))
    assert meet(energy_distance(p, q), energy_distance(flat, q))
    box = maximum_mean_discrepancy(sd.Uniform([-1.0] * 5, [1.0] * 5), sd.standard_normal(5))
    x, y = sd.Uniform([-1.0] * 5, [1.0] * 5).sample(3000, 1), sd.standard_normal(5).sample(3000, 2)
    assert box.value in maximum_mean_discrepancy(x, y, level="asymptotic") and box.width <= 1e-12


def test_other_laws_on_the_line_and_atoms():
    e = maximum_mean_discrepancy(sd.targets.diracs, NORMAL)
    square = 0.5 + 0.5 * math.exp(-2) + 1 / math.sqrt(3) - 2 * math.exp(-0.25) / math.sqrt(2)
    assert e.lo <= math.sqrt(square) <= e.hi and e.width <= 1e-13
    flat = sd.Empirical([[0.0, 0.0], [3.0, 4.0]])
    two = maximum_mean_discrepancy(flat, sd.Empirical([[0.0, 0.0]]), bandwidth=5.0)
    assert abs(two.value - math.sqrt(0.25 * 2 * (1 - math.exp(-0.5)))) <= 1e-14
    assert maximum_mean_discrepancy(sd.targets.student5, NORMAL).width <= 1e-10
    assert maximum_mean_discrepancy(GM3, GM3).hi == 0


def test_laws_without_a_closed_form_are_refused():
    box, g = sd.Uniform([0.0, 0.0], [1.0, 1.0]), sd.Gaussian([0.0, 0.0], [[1.0, 0.5], [0.5, 1.0]])
    for f in (maximum_mean_discrepancy, energy_distance):
        with pytest.raises(sd.NoMethod, match="sample"):
            f(box, g)


# ---- energy distance of laws ------------------------------------------------------------------------------------------------------------


def test_energy_of_isotropic_gaussians_is_known():
    """E|X - Y| = 2 sqrt(2/pi) sigma in d = 3."""
    c = 2 * math.sqrt(2 / math.pi)
    e, exact = energy_distance(sd.standard_normal(3), sd.Gaussian(np.zeros(3), 4.0)), math.sqrt(c * (2 * math.sqrt(5) - math.sqrt(2) - math.sqrt(8)))
    assert e.lo <= exact <= e.hi and e.width <= 1e-11
    wrong = energy_distance(sd.standard_normal(3), sd.Gaussian(np.zeros(3), 4.001))
    assert not meet(e, wrong)


@given(mixtures(max_dim=1), mixtures(max_dim=1))
def test_energy_on_the_line_is_an_integral_over_bandwidths(p, q):
    e = energy_distance(p, q)
    square, error = kernels._energy_by_bandwidths(p, q)
    assert e.lo**2 <= square + error + 1e-13 and square - error - 1e-13 <= e.hi**2


def test_energy_of_atoms():
    x, y = np.random.default_rng(0).normal(size=(2, 6, 3))
    distance = lambda a, b: np.linalg.norm(a[:, None] - b, axis=2).mean()  # noqa: E731
    for cut in (3, 1):
        a, b = x[:, :cut], y[:, :cut]
        exact = math.sqrt(2 * distance(a, b) - distance(a, a) - distance(b, b))
        e = energy_distance(sd.Empirical(a), sd.Empirical(b))
        assert e.lo - 1e-14 <= exact <= e.hi + 1e-14 and e.width <= 1e-6
    rotated = [sd.GaussianMixture(w.weights, w.means, w.covs) for w in pair(3, full=True)]
    assert meet(energy_distance(*pair(3)), energy_distance(*rotated))
    assert energy_distance(NORMAL, NORMAL).hi == 0


# ---- samples ------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("d", [1, 16])
def test_samples_enclose_the_closed_form(d):
    p, q = (GM3, OTHER) if d == 1 else pair(d)
    b = math.sqrt(d)
    exact, energy = maximum_mean_discrepancy(p, q, bandwidth=b).value, energy_distance(p, q).value
    for seed in range(5):
        x, y = p.sample(700, 2 * seed), q.sample(900, 2 * seed + 1)
        for first, second in ((x, y), (x, q), (p, y)):
            sure = maximum_mean_discrepancy(first, second, bandwidth=b)
            limit = maximum_mean_discrepancy(first, second, bandwidth=b, level="asymptotic")
            assert (sure.level, limit.level) == ("finite-sample", "asymptotic") and exact in sure and exact in limit
        assert energy in energy_distance(x, y) and energy in energy_distance(x, q, seed=seed)
    far = sd.Gaussian(np.full(d, 3.0), 1.0)
    assert maximum_mean_discrepancy(p.sample(900, 1), far.sample(900, 2), bandwidth=b).lo > exact  # it can exclude
    assert energy_distance(p.sample(900, 1), far.sample(900, 2)).lo > energy


def test_the_finite_sample_half_width_is_the_stated_one():
    e = maximum_mean_discrepancy(GM3.sample(5000, 1), OTHER.sample(2500, 2), alpha=0.01)
    half = (1 + math.sqrt(math.log(100))) * math.sqrt(1 / 5000 + 1 / 2500)
    assert abs(e.hi - e.value - half) <= 1e-14 and e.alpha == 0.01


def test_the_limit_interval_holds_where_the_statistic_degenerates():
    """p = q, alpha = .05, 400 repetitions: misses are at most Binomial(400, .05), beyond 45 with probability 1e-6. A shift by 2 is seen."""
    misses = seen = 0
    for seed in range(400):
        x, y = np.random.default_rng(seed).standard_normal((2, 60, 1))
        misses += maximum_mean_discrepancy(x, y, alpha=0.05, level="asymptotic").lo > 0
        seen += maximum_mean_discrepancy(x, y + 2, alpha=0.05, level="asymptotic").lo > 0
    assert misses <= 45 and seen >= 390


def test_sorting_and_blocks_give_the_same_means():
    x, y = GM3.sample(70, 1), OTHER.sample(50, 2)
    a, b = kernels._by_sorting(x[:, 0], y[:, 0]), kernels.Means.of(x, y, lambda u, v: -np.abs(u - v.T))
    for name in ("a", "b", "c", "back", "of_a", "of_b", "of_c"):
        assert np.allclose(getattr(a, name), getattr(b, name), rtol=0, atol=1e-12), name  # 120 terms of size 10


def test_no_matrix_of_all_pairs_is_formed(monkeypatch):
    x, y = np.random.default_rng(0).standard_normal((2, 4000, 2))
    monkeypatch.setattr(kernels, "BLOCK", 2**17)  # 1 MB an array
    tracemalloc.start()
    try:
        maximum_mean_discrepancy(x, y)
        energy_distance(x, y)
        kernel_stein_discrepancy(x, sd.standard_normal(2))
        assert tracemalloc.get_traced_memory()[1] <= 24e6  # one matrix would be 128 MB
    finally:
        tracemalloc.stop()


# ---- kernel Stein discrepancy -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bandwidth", [0.5, 2.0])
def test_steins_identity(bandwidth):
    """E_q u(X, y) = 0 for every y: the trapezoid rule on an analytic integrand; for another law it is not."""
    z = np.linspace(-12, 12, 4801)[:, None]
    rows = lambda x: np.concatenate([x, GM3.score(x)], axis=1)  # noqa: E731
    u = kernels._stein(bandwidth)(rows(z), rows(np.array([[-1.0], [0.3], [2.5]])))
    step = z[1, 0] - z[0, 0]
    assert np.abs(step * GM3.pdf(z) @ u).max() <= 1e-12
    assert np.abs(step * OTHER.pdf(z) @ u).min() >= 1e-3


def test_steins_kernel_is_the_double_derivative():
    """u = s s' k + s k_y + s' k_x + k_xy, derivatives by mpmath."""
    s = lambda x: float(GM3.score(np.array([x]))[0])  # noqa: E731
    k = lambda x, y: (mp.mpf(4) + (x - y) ** 2) ** mp.mpf(-0.5)  # noqa: E731
    for x, y in ((0.3, -1.2), (2.0, 2.0)):
        exact = s(x) * s(y) * k(x, y) + s(x) * mp.diff(k, (x, y), (0, 1)) + s(y) * mp.diff(k, (x, y), (1, 0)) + mp.diff(k, (x, y), (1, 1))
        u = kernels._stein(2.0)(np.array([[x, s(x)]]), np.array([[y, s(y)]]))[0, 0]
        assert abs(u - float(exact)) <= 1e-7 * (1 + abs(u))  # numerical derivatives


def test_kernel_stein_discrepancy_tells_laws_apart():
    for p, q in ((GM3, OTHER), pair(8)):
        x = p.sample(1500, 3)
        own, other = kernel_stein_discrepancy(x, p), kernel_stein_discrepancy(x, sd.Gaussian(np.full(p.dim, 1.0), 2.0))
        assert own.lo == 0 and other.lo > 0 and own.level == "asymptotic"
        assert kernel_stein_discrepancy(p, q, n=200, seed=1) == kernel_stein_discrepancy(p, q, n=200, seed=1)


@pytest.mark.parametrize(
    "f,args,options,error,match",
    [
        (maximum_mean_discrepancy, (np.zeros((3, 1)), np.zeros((3, 1))), {}, ValueError, "independent"),
        (maximum_mean_discrepancy, (np.zeros((3, 1)), NORMAL), {"level": "sure"}, ValueError, "asymptotic"),
        (maximum_mean_discrepancy, (NORMAL, GM3), {"bandwidth": 0.0}, ValueError, "bandwidth"),
        (maximum_mean_discrepancy, (np.zeros((3, 2)), NORMAL), {}, ValueError, "dimension"),
        (maximum_mean_discrepancy, (np.zeros((1, 1)), NORMAL), {}, ValueError, "at least 2"),
        (energy_distance, (np.zeros((3, 1)), NORMAL), {}, ValueError, "seed"),
        (energy_distance, (NORMAL, sd.standard_normal(2)), {}, ValueError, "dimension"),
        (kernel_stein_discrepancy, (GM3, NORMAL), {}, sd.NoMethod, "pass n"),
        (kernel_stein_discrepancy, (NORMAL, np.zeros((3, 1))), {}, sd.NoMethod, "score"),
        (kernel_stein_discrepancy, (np.zeros((3, 1)), sd.targets.diracs), {}, sd.NoMethod, "score"),
        (kernel_stein_discrepancy, (np.zeros((3, 2)), NORMAL), {}, ValueError, "dimension"),
    ],
)
def test_wrong_arguments_are_refused(f, args, options, error, match):
    with pytest.raises(error, match=match):
        f(*args, **options)
