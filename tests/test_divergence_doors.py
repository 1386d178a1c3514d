"""One name per divergence, whatever is given: laws or samples, one dimension or many; the level says what the number is worth."""

import math

import numpy as np
import pytest

import scoresde as sd

PI = sd.targets.gm3
RING, BLOB = sd.targets.ring8, sd.Gaussian([0.3, 0.0], 2.0)
N = 20_000


def test_two_samples_and_a_law_give_lower_bounds_of_total_variation():
    other = sd.Gaussian([0.5], 1.5)
    truth = sd.total_variation(PI, other).value
    x, y = PI.sample(N, seed=1), other.sample(N, seed=2)
    for e in (sd.total_variation(x, other), sd.total_variation(PI, y), sd.total_variation(x, y)):
        assert 0.5 * truth < e.lo <= truth and e.hi == 1.0 and e.value is None and e.level == "finite-sample" and e.alpha == 1e-6
    assert sd.total_variation(x, PI).lo == 0.0  # the control: nothing is claimed where there is nothing


def test_the_example_of_the_readme():
    table = sd.scheme.euler_maruyama(sd.grid.uniform(T=6.0, steps=60))
    x = sd.simulate(table, sd.score.exact(PI), n=100_000, seed=0)
    e = sd.total_variation(x, PI)
    assert 0.128 <= e.lo <= 0.143223141992875  # the exact law of the chain says how sharp it is


@pytest.mark.parametrize("f", [sd.total_variation, sd.hellinger, sd.jensen_shannon, sd.kullback_leibler])
def test_in_the_plane_draws_agree_with_cubature(f):
    from scoresde.divergence import sampled

    exact, drawn = f(RING, BLOB), getattr(sampled, f.__name__)(RING, BLOB, n=4000, seed=0)
    assert exact.level == "deterministic" and exact.width < 1e-9 * max(1.0, exact.value)
    assert drawn.lo <= exact.value <= drawn.hi and drawn.width > 1e3 * exact.width


def test_in_many_dimensions_draws_and_bounds_meet():
    d = 16
    signs = np.array([[a, b, c] for a in (-1, 1) for b in (-1, 1) for c in (-1, 1)])  # the means span three dimensions: not a line, not a plane
    p = sd.GaussianMixture(np.full(8, 0.125), np.pad(0.7 * signs, ((0, 0), (0, d - 3))), 1.0)
    q = sd.standard_normal(d)
    tv = sd.total_variation(p, q, n=5000, seed=0)
    assert tv.level == "finite-sample" and 0.05 < tv.lo < tv.hi < 0.7
    bounds, both = sd.kullback_leibler(p, q), sd.kullback_leibler(p, q, n=5000, seed=0)
    assert bounds.lo <= both.lo < both.hi <= bounds.hi
    axis = sd.GaussianMixture([0.5, 0.5], [[-0.7], [0.7]], 1.0)  # in three coordinates: as a product it is exact
    product = sd.Product((axis, axis, axis, sd.standard_normal(d - 3)))
    assert tv.lo <= sd.total_variation(product, q).value <= tv.hi
    assert both.lo <= sd.kullback_leibler(product, q).value <= both.hi


def test_a_computed_law_beside_a_sample_counts_with_its_error():
    law = sd.propagate(sd.scheme.euler_maruyama(sd.grid.uniform(2.0, 10)), sd.score.exact(PI))
    x = PI.sample(N, seed=3)
    assert 0 < sd.total_variation(x, law).lo <= sd.total_variation(PI, law).hi
    with pytest.raises(sd.NotTrusted, match="bounds nothing"):
        sd.kullback_leibler(x, law)


def test_no_seed_no_draws():
    with pytest.raises(ValueError, match="seed"):
        sd.total_variation(sd.targets.ring8.noised(sd.ornstein_uhlenbeck(0.1)).sample(100, seed=0), sd.targets.ring8)
    with pytest.raises(ValueError, match="seed"):
        sd.total_variation(sd.GaussianMixture([0.5, 0.5], np.eye(2, 3), [1.0, 1.1]), sd.standard_normal(3), n=100)


def test_dependent_samples_are_refused():
    x = PI.sample(100, seed=0)
    for f in (sd.total_variation, sd.wasserstein2, sd.maximum_mean_discrepancy, sd.energy_distance, sd.kolmogorov):
        with pytest.raises(ValueError, match="same draws"):
            f(x, x.copy())


def test_orders_of_renyi():
    q = sd.Gaussian([0.2], 3.0)
    values = [sd.renyi(PI, q, order=a).value for a in (0.3, 0.5, 1, 1.5, 2)]
    assert values == sorted(values) and values[2] == sd.kullback_leibler(PI, q).value
    assert values[4] == pytest.approx(math.log1p(sd.chi_squared(PI, q).value), rel=1e-12)


def test_two_dimensional_products_and_thin_gaussians_are_as_sharp_as_the_rest():
    pair, other = sd.Product([PI, PI]), sd.Product([sd.Gaussian([0.3], 1.0), PI])
    assert sd.total_variation(pair, other).value == pytest.approx(sd.total_variation(PI, sd.Gaussian([0.3], 1.0)).value, rel=1e-11)
    turn = np.array([[0.6, -0.8], [0.8, 0.6]])
    thin = [turn @ np.diag([v, 1e-6]) @ turn.T for v in (1.0, 2.0)]
    e = sd.total_variation(sd.Gaussian([0.0, 0.0], thin[0]), sd.Gaussian([0.0, 0.0], thin[1]))
    assert e.width < 1e-8 and abs(e.value - sd.total_variation(sd.standard_normal(1), sd.Gaussian([0.0], 2.0)).value) < 1e-8


def test_equal_laws_written_differently_are_at_distance_zero():
    one = sd.Gaussian([-4.0], 0.0625)
    mixture = sd.GaussianMixture([1.0], [[-4.0]], [[[0.0625]]])
    for other in (sd.Gaussian([-4.0], [0.0625]), sd.Gaussian([-4.0], [[0.0625]]), mixture, sd.Product([one])):
        for f in (sd.total_variation, sd.kullback_leibler, sd.wasserstein2, sd.hellinger):
            assert f(one, other).hi <= 1e-15 >= f(other, one).hi
