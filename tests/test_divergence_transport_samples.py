"""W_1, W_2 and sliced W_2 from samples: sorting, bands that hold, noise floors, assignment, directions, memory."""

import itertools
import math
import sys
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import ellipe

import scoresde as sd
from scoresde.divergence import empirical_transport as transport
from scoresde.divergence import sliced
from scoresde.divergence.empirical_transport import wasserstein
from scoresde.divergence.sliced import sliced_wasserstein2

P, Q = sd.Gaussian([0.0], 1.0), sd.Gaussian([0.7], 2.25)  # W_2^2 = .49 + .25
EXACT = {1: sd.wasserstein1, 2: sd.wasserstein2}


# ---- the line -------------------------------------------------------------------------------------------------------------------------


@given(st.integers(1, 12), st.integers(1, 12), st.sampled_from([1, 2]), st.integers(0, 2**31))
def test_sorted_samples_of_any_sizes_agree_with_the_discrete_laws(n, m, power, seed):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=n), rng.normal(size=m)
    cost = transport.sorted_cost(np.sort(x), np.sort(y), power) ** (1 / power)
    exact = EXACT[power](sd.Empirical(x[:, None]), sd.Empirical(y[:, None]))
    assert abs(cost - exact.value) <= exact.width + 1e-15 * n * m
    i, j, w = transport.merged(n, m)
    assert abs(w.sum() - 1) <= 1e-15 * (n + m) and i.max() == n - 1 and j.max() == m - 1 and w.min() > 0


@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize("sizes", [(400, 400), (2000, 300)])
def test_the_band_holds_and_the_plug_in_alone_would_not(power, sizes):
    truth, beyond = EXACT[power](P, Q).value, 0
    for seed in range(20):
        x, y = P.sample(sizes[0], 2 * seed), Q.sample(sizes[1], 2 * seed + 1)
        for a, b in ((x, y), (x, Q), (P, y)):
            e = wasserstein(a, b, power, level="finite-sample")
            assert e.level == "finite-sample" and e.alpha == 1e-6 and 0 <= e.lo <= truth and e.hi == math.inf and e.lo <= e.value
            beyond += e.value > truth
    assert beyond > 10  # negative control: the value itself is no lower bound


@pytest.mark.parametrize("power", [1, 2])
def test_many_points_give_a_useful_lower_bound_and_a_support_an_upper_one(power):
    p, q = sd.Uniform([0.0], [1.0]), sd.Uniform([0.0], [2.0])
    truth = EXACT[power](p, q).value
    x, y = p.sample(100_000, 1), q.sample(90_000, 2)
    for a, b in ((x, y), (x, q), (p, y)):
        e = wasserstein(a, b, power, level="finite-sample", support=(0.0, 2.0))
        assert 0.9 * truth <= e.lo <= truth <= e.hi <= 1.2 * truth
    null = wasserstein(x, p.sample(100_000, 3), power, level="finite-sample")
    assert null.lo == 0


@pytest.mark.parametrize("power", [1, 2])
def test_the_noise_floor_is_the_half_width_and_stands_in_the_method(power):
    truth = EXACT[power](P, Q).value
    for n in (100, 10_000):
        e = wasserstein(P.sample(n, 5), Q.sample(n, 6), power)
        assert e.level == "heuristic" and truth in e and "noise floor" in e.method
        null = wasserstein(P.sample(n, 5), P.sample(n, 7), power)
        assert 0 in null and null.value <= 8 / math.sqrt(n)
        beside = wasserstein(P.sample(n, 5), Q, power)
        assert truth in beside and beside.width < e.width
    ordered = np.sort(P.sample(1000, 5), axis=0)
    assert wasserstein(ordered, Q.sample(1000, 6), power).width > 1e-2  # a sorted sample does not hide its noise
    assert wasserstein(np.zeros((1, 1)), np.ones((1, 1)), power).hi == math.inf  # one point has no halves


def test_torch_tensors_are_samples():
    torch = pytest.importorskip("torch")
    x, y = P.sample(50, 1), Q.sample(50, 2)
    assert wasserstein(torch.tensor(x), torch.tensor(y), 2) == wasserstein(x, y, 2)


# ---- more dimensions ------------------------------------------------------------------------------------------------------------------


def test_assignment_by_pot_is_the_best_permutation():
    pytest.importorskip("ot")
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 5, 3))
    for power, distance in ((1, lambda z: np.linalg.norm(z)), (2, lambda z: z @ z)):
        best = min(sum(distance(x[i] - y[s]) for i, s in enumerate(order)) / 5 for order in itertools.permutations(range(5)))
        assert abs(wasserstein(x, y, power).value - best ** (1 / power)) <= 1e-14
    unequal = wasserstein(np.array([[0.0, 0.0], [2.0, 0.0]]), np.array([[1.0, 0.0]]), 2)
    assert abs(unequal.value - 1) <= 1e-15


def test_coordinates_give_a_lower_bound_without_any_assignment():
    p, q = sd.standard_normal(3), sd.Gaussian([0.5, 0.5, 0.0], 1.0)
    x, y = p.sample(20_000, 1), q.sample(20_000, 2)
    for power, truth in ((1, math.sqrt(0.5)), (2, math.sqrt(0.5))):  # a translation
        e = wasserstein(x, y, power, level="finite-sample")
        assert 0.3 * truth < e.lo <= truth and e.hi == math.inf
    assert wasserstein(x, p.sample(20_000, 3), 2, level="finite-sample").lo == 0


def test_what_does_not_fit_is_refused_with_what_to_do(monkeypatch):
    big = np.zeros((6000, 2))
    with pytest.raises(sd.NoMethod, match=r"6000 and 6000 rows.*take fewer rows.*sliced_wasserstein2"):
        wasserstein(big, big + 1, 2)
    monkeypatch.setitem(sys.modules, "ot", None)
    with pytest.raises(ImportError, match=r"pip install 'scoresde\[ot\]'"):
        wasserstein(np.zeros((3, 2)), np.ones((3, 2)), 2)


@pytest.mark.parametrize(
    "p,q,options,error,match",
    [
        (np.zeros(3), np.ones((3, 1)), {}, ValueError, r"\[:, None\]"),
        (np.zeros((3, 1)), np.zeros((3, 1)), {}, ValueError, "independent"),
        (np.zeros((3, 1)), np.ones((3, 2)), {}, ValueError, "dimension"),
        (np.array([[np.nan]]), np.ones((3, 1)), {}, ValueError, "finite"),
        (np.zeros((3, 2)), P, {}, ValueError, "dimension"),
        (np.zeros((3, 2)), sd.standard_normal(2), {}, sd.NoMethod, "sample"),
        (np.zeros((3, 2)), sd.standard_normal(2), {"level": "finite-sample"}, sd.NoMethod, "sample"),
        (np.zeros((3, 1)), np.ones((3, 1)), {"level": "sure"}, ValueError, "heuristic"),
        (np.zeros((3, 1)), np.ones((3, 1)), {"level": "finite-sample", "support": (0.0, 0.5)}, ValueError, "support"),
        (P, Q, {}, TypeError, "sample"),
    ],
)
def test_wrong_arguments_are_refused(p, q, options, error, match):
    with pytest.raises(error, match=match):
        wasserstein(p, q, 2, **options)


# ---- sliced ---------------------------------------------------------------------------------------------------------------------------


def test_isotropic_gaussians_are_exact():
    e = sliced_wasserstein2(sd.standard_normal(3), sd.Gaussian([1.0, 2.0, 2.0], 4.0))
    assert e.lo <= 2.0 <= e.hi and e.width <= 1e-13  # |(1,2,2)|^2 / 3 + (2 - 1)^2
    assert sliced_wasserstein2(sd.standard_normal(3), sd.standard_normal(3)).value == 0


def test_on_the_line_it_is_the_exact_distance():
    assert sliced_wasserstein2(P, Q) == sd.wasserstein2(P, Q)
    x, y = P.sample(100, 1), Q.sample(100, 2)
    assert sliced_wasserstein2(x, y) == wasserstein(x, y, 2)


@pytest.mark.parametrize("projections", [50, 500, 50_000])
def test_directions_give_an_interval_that_holds_the_elliptic_integral(projections):
    """In the plane E sqrt(a cos^2 + b sin^2) = 2/pi sqrt(a) E(1 - b/a)."""
    p, q = sd.standard_normal(2), sd.Gaussian([0.3, 0.4], [4.0, 0.25])
    square = 0.25 / 2 + 1 + (4.0 + 0.25) / 2 - 2 * (2 / math.pi * 2.0 * ellipe(1 - 0.25 / 4))
    turn = np.linalg.qr(np.random.default_rng(2).standard_normal((2, 2)))[0]
    full = sd.Gaussian(turn @ q.mean(), (turn * q.covariance) @ turn.T)
    for other in (q, full):
        e = sliced_wasserstein2(p, other, seed=3, projections=projections)
        assert e.level == "finite-sample" and e.alpha == 1e-6 and math.sqrt(square) in e
        assert e.width <= 12 / math.sqrt(projections)
    wrong = math.sqrt(square - 0.25 / 2)
    assert projections < 500 or wrong not in e  # the means count


def test_mixtures_are_projected_exactly_and_atoms_like_samples():
    ring, g = sd.targets.ring8, sd.Gaussian([0.0, 0.0], 2.1)
    e = sliced_wasserstein2(ring, g, seed=0, projections=100)
    lone = sd.wasserstein2(sd.GaussianMixture(ring.weights, ring.means[:, :1], ring.covs), sd.Gaussian([0.0], 2.1))
    assert e.level == "finite-sample" and e.lo <= lone.value * 1.02 and e.hi >= lone.value * 0.98  # the ring looks nearly alike from everywhere
    x, y = ring.sample(40, 1), g.sample(40, 2)
    laws = sliced_wasserstein2(sd.Empirical(x), sd.Empirical(y), seed=5, projections=64)
    samples = sliced_wasserstein2(x, y, seed=5, projections=64)
    assert abs(laws.value - samples.value) <= 1e-12 and laws.level == "finite-sample" and samples.level == "heuristic"


def test_samples_show_both_kinds_of_noise():
    p, q = sd.standard_normal(4), sd.Gaussian(np.full(4, 0.5), 2.0)
    truth = sliced_wasserstein2(p, q).value
    for n in (200, 5000):
        e = sliced_wasserstein2(p.sample(n, 1), q.sample(n + 1, 2), seed=0, projections=100)
        assert truth in e and "noise floor" in e.method and "directions" in e.method
        null = sliced_wasserstein2(p.sample(n, 1), p.sample(n, 3), seed=0, projections=100)
        assert 0 in null and null.value <= 6 / math.sqrt(n)
    beside = sliced_wasserstein2(p.sample(2000, 1), q, seed=0, projections=100)
    both = sliced_wasserstein2(sd.Product([sd.targets.gm3] * 3), sd.standard_normal(3), n=500, seed=0, projections=50)
    assert truth in beside and both.level == "heuristic"


def test_more_directions_keep_the_first_and_seeds_decide():
    assert np.array_equal(sliced.sphere(5, 10, 7), sliced.sphere(5, 30, 7)[:10])
    p, q = sd.standard_normal(2), sd.Gaussian([0.0, 0.0], [1.0, 4.0])
    assert sliced_wasserstein2(p, q, seed=1, projections=20) == sliced_wasserstein2(p, q, seed=1, projections=20)
    assert sliced_wasserstein2(p, q, seed=1, projections=20) != sliced_wasserstein2(p, q, seed=2, projections=20)


def test_a_hundred_thousand_points_fit_in_three_hundred_megabytes():
    """The peak is reached within the first blocks of directions, so 60 of the 500 suffice here."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((100_000, 3)), rng.standard_normal((99_999, 3))
    tracemalloc.start()
    try:
        sliced_wasserstein2(x, y, seed=0, projections=60)
        assert tracemalloc.get_traced_memory()[1] <= 300e6
    finally:
        tracemalloc.stop()


def test_sliced_refusals():
    p = sd.standard_normal(2)
    with pytest.raises(ValueError, match="seed"):
        sliced_wasserstein2(p, sd.Gaussian([0.0, 0.0], [1.0, 2.0]))
    with pytest.raises(sd.NoMethod, match="pass n"):
        sliced_wasserstein2(sd.Uniform([0.0, 0.0], [1.0, 1.0]), p, seed=0)
    with pytest.raises(ValueError, match="dimension"):
        sliced_wasserstein2(p, sd.standard_normal(3))
    with pytest.raises(ValueError, match="projections"):
        sliced_wasserstein2(p, p, projections=1)
