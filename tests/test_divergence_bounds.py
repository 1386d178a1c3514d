"""W_2 and KL of mixtures in any dimension between bounds, projections, exact transport between atoms, synchronous coupling."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import scoresde as sd
from scoresde.divergence import bounds, closed, discrete, projections, quadrature
from scoresde.divergence.view import Pair, view
from scoresde.engine.coupling import coupled_wasserstein2
from scoresde.testing import mixtures

GM3 = sd.targets.gm3
OTHER = sd.GaussianMixture([0.6, 0.4], [[-1.0], [1.5]], [0.9, 0.5])


def turned(law, seed):
    """The law of U X for a random rotation U, as a mixture with full covariances."""
    weights, means, covs = bounds.components(law)
    turn = np.linalg.qr(np.random.default_rng(seed).standard_normal((law.dim, law.dim)))[0]
    covs = bounds._full(covs, means.shape)
    covs = turn @ covs @ turn.T
    return sd.GaussianMixture(weights, means @ turn.T, 0.5 * (covs + covs.swapaxes(1, 2)))


def beside(law, sd_, d):
    """The product of a law on the line and N(0, sd^2 I) in d - 1 more dimensions, as a mixture."""
    weights, means, covs = bounds.components(law)
    wide = np.concatenate([means, np.zeros((len(means), d - 1))], axis=1)
    return sd.GaussianMixture(weights, wide, np.concatenate([covs.reshape(-1, 1), np.full((len(means), d - 1), sd_**2)], axis=1))


# ---- W_2 ------------------------------------------------------------------------------------------------------------------------------


@given(mixtures(max_dim=1), mixtures(max_dim=1))
def test_gelbrich_below_and_mixture_distance_above_the_exact_one_on_the_line(p, q):
    exact, e = sd.wasserstein2(p, q), bounds.wasserstein2(p, q)
    gelbrich = closed.wasserstein2(sd.Gaussian(p.mean(), p.cov()), sd.Gaussian(q.mean(), q.cov()))
    assert e.level == "deterministic" and e.lo <= exact.hi and exact.lo <= e.hi
    assert gelbrich.lo <= exact.hi + 1e-7  # moments of 1e-16 make a root of 1e-8
    assert e.hi <= math.hypot(*(p.mean() - q.mean()), math.sqrt(p.cov()[0, 0]) + math.sqrt(q.cov()[0, 0])) + 1e-9  # no coupling is worse


@pytest.mark.parametrize("d,seed", [(2, 0), (4, 1)])
def test_bounds_hold_where_the_exact_distance_is_known_in_more_dimensions(d, seed):
    """Rotations change nothing, and of a product with a common factor only the line counts."""
    p, q = beside(GM3, 0.7, d), beside(OTHER, 0.7, d)
    exact = sd.wasserstein2(GM3, OTHER)
    for a, b in ((p, q), (turned(p, seed), turned(q, seed))):
        e = bounds.wasserstein2(a, b)
        assert e.lo <= exact.hi and exact.lo <= e.hi
        one_gaussian_each = closed.wasserstein2(sd.Gaussian(a.mean(), a.cov()), sd.Gaussian(b.mean(), b.cov()))
        assert e.lo > 1.2 * one_gaussian_each.hi  # the axes see more than the moments
    assert bounds.wasserstein2(p, q).lo >= exact.lo - 1e-12  # along the coordinate axes everything


def test_modes_that_moved_apart_are_seen_by_the_axes_only():
    """Equal moments, far modes: Gelbrich says 0."""
    p = sd.GaussianMixture([0.5, 0.5], [[-8.0, 0.0], [8.0, 0.0]], [1.0, 1.0])
    q = sd.Gaussian([0.0, 0.0], [65.0, 1.0])
    assert bounds._by_axes(p, q, 0) <= 1e-6
    e, exact = bounds.wasserstein2(p, q), sd.wasserstein2(projections.along(p, np.array([1.0, 0.0])), sd.Gaussian([0.0], 65.0))
    assert exact.lo - 1e-9 <= e.lo <= exact.hi <= e.hi


def test_two_gaussians_meet_from_both_sides():
    rng = np.random.default_rng(4)
    roots = rng.standard_normal((2, 5, 5))
    p, q = (sd.Gaussian(rng.standard_normal(5), m @ m.T + 0.1 * np.eye(5)) for m in roots)
    exact, e = closed.wasserstein2(p, q), bounds.wasserstein2(p, q)
    assert e.lo <= exact.hi and exact.lo <= e.hi and e.width <= 1e-12


@given(st.integers(1, 5), st.integers(1, 3), st.integers(0, 2**31))
def test_transport_between_atoms_is_the_best_permutation(n, d, seed):
    x, y = np.random.default_rng(seed).integers(-4, 5, (2, n, d)).astype(float)
    best = min(sum(np.sum((x[i] - y[s]) ** 2) for i, s in enumerate(order)) / n for order in itertools.permutations(range(n)))
    e = bounds.wasserstein2(sd.Empirical(x), sd.Empirical(y))
    assert e.lo <= math.sqrt(best) <= e.hi and e.width <= 1e-6 + 1e-12  # at 0 the root of rounding
    if d == 1:
        other = discrete.wasserstein2(sd.Empirical(x), sd.Empirical(y))
        assert e.lo <= other.hi and other.lo <= e.hi


@given(st.integers(2, 5), st.integers(2, 5), st.integers(0, 2**31))
def test_the_linear_program_is_certified_on_both_sides(k, l, seed):
    rng = np.random.default_rng(seed)
    cost, w, v = rng.random((k, l)), rng.dirichlet(np.ones(k)), rng.dirichlet(np.ones(l))
    lo, hi, plan = bounds.matched(cost, w, v)
    assert lo <= hi <= lo + 1e-9
    assert np.abs(plan.sum(1) - w).max() <= 1e-15 and np.abs(plan.sum(0) - v).max() <= 1e-15 and plan.min() >= 0
    assert lo <= np.sum(np.outer(w, v) * cost)  # another coupling
    broken = plan.copy()
    broken[:, 0] = 0.0
    repaired = bounds._repaired(broken, w, v)
    assert np.abs(repaired.sum(1) - w).max() <= 1e-15 and np.sum(repaired * cost) >= lo


def test_laws_without_components_are_bounded_by_moments_and_coordinates():
    box, g = sd.Uniform([-1.0, -1.0], [1.0, 1.0]), sd.Gaussian([0.0, 1.0], [[1.0, 0.5], [0.5, 1.0]])
    e = bounds.wasserstein2(box, g)
    draws = box.sample(2000, 1), g.sample(2000, 2)
    near = sd.wasserstein2(sd.Empirical(draws[0][:, :1]), sd.Empirical(draws[1][:, :1])).value
    assert e.lo >= near - 0.1 and e.lo <= e.hi < math.inf
    kl = bounds.kullback_leibler(box, g)  # X_1 alone: -log 2 + log(2 pi)/2 + 1/6
    assert -math.log(2) + 0.5 * math.log(2 * math.pi) + 1 / 6 <= kl.lo + 1e-12 and kl.hi == math.inf
    assert bounds.kullback_leibler(g, box).lo == math.inf


def test_too_many_components_are_refused_with_a_remedy(monkeypatch):
    monkeypatch.setattr(bounds, "ROUTES", 3)
    monkeypatch.setattr(bounds, "PAIRS", 3)
    p, q = beside(GM3, 1.0, 2), beside(OTHER, 1.0, 2)
    for f in (bounds.wasserstein2, bounds.kullback_leibler):
        with pytest.raises(sd.NoMethod, match="sampl"):
            f(p, q)


# ---- KL -------------------------------------------------------------------------------------------------------------------------------


@settings(max_examples=25)
@given(mixtures(max_dim=1), mixtures(max_dim=1))
def test_kullback_leibler_bounds_hold_on_the_line(p, q):
    exact = sd.kullback_leibler(p, q)
    e = bounds.kullback_leibler(p, q)
    assert e.lo <= exact.hi and exact.lo <= e.hi
    w, first = bounds.parts(p)
    v, second = bounds.parts(q)
    kl = bounds._table(closed.kullback_leibler, first, second)
    pairwise = bounds._pairwise(w, v, kl, first, second)  # below the projections above would hide its lower end
    assert pairwise[0] <= exact.hi and exact.lo <= pairwise[1] and exact.lo <= bounds._log_sum(w, v, kl)


def test_without_the_information_on_the_component_the_upper_bound_would_be_false():
    """Negative control: sum w_i KL(p_i|q) - H(w) is too small when the components overlap."""
    p, q = sd.GaussianMixture([0.5, 0.5], [[-0.1], [0.1]], [1.0, 1.0]), sd.Gaussian([1.0], 1.0)
    exact = sd.kullback_leibler(p, q)
    (w, first), (v, second) = bounds.parts(p), bounds.parts(q)
    kl = bounds._table(closed.kullback_leibler, first, second)
    assert w @ kl[:, 0] - math.log(2) < exact.lo <= bounds._pairwise(w, v, kl, first, second)[1]


@pytest.mark.parametrize("d", [2, 6])
def test_kullback_leibler_bounds_hold_in_more_dimensions(d):
    p, q = beside(GM3, 0.7, d), beside(OTHER, 1.0, d)
    exact = sd.kullback_leibler(GM3, OTHER) + (d - 1) * sd.kullback_leibler(sd.Gaussian([0.0], 0.49), sd.standard_normal(1))
    for a, b in ((p, q), (turned(p, 3), turned(q, 3))):
        e = bounds.kullback_leibler(a, b)
        assert e.lo <= exact.hi and exact.lo <= e.hi and e.width <= exact.value


def test_far_modes_and_close_laws_are_pinned_down():
    far = sd.GaussianMixture([0.3, 0.7], [[-30.0, 0.0], [30.0, 5.0]], [1.0, 2.0])
    e = bounds.kullback_leibler(far, sd.Gaussian(far.mean(), far.cov()))
    assert e.width <= 0.05 * e.lo
    near = sd.GaussianMixture(GM3.weights, np.repeat(GM3.means, 2, axis=1) + 1e-3, GM3.covs)
    e = bounds.kullback_leibler(near, sd.GaussianMixture(GM3.weights, np.repeat(GM3.means, 2, axis=1), GM3.covs))
    assert 0 < e.lo <= e.hi <= 1e-5


def test_equal_components_of_zero_weight_and_single_ones_do_no_harm():
    p = sd.GaussianMixture([1.0, 0.0], [[0.0, 0.0], [9.0, 9.0]], [1.0, 1.0])
    q = sd.standard_normal(2)
    assert bounds.kullback_leibler(p, q).hi <= 1e-12 and bounds.wasserstein2(p, q).hi <= 1e-12


# ---- projections ----------------------------------------------------------------------------------------------------------------------

LINE = {
    "total_variation": quadrature.total_variation, "hellinger": quadrature.hellinger, "chi_squared": quadrature.chi_squared,
    "kullback_leibler": quadrature.kullback_leibler,
}  # fmt: skip


@pytest.mark.parametrize("name", LINE)
def test_projections_bound_every_f_divergence_and_are_sharp_for_equal_covariances(name):
    f, exact = LINE[name], getattr(closed, name)
    on_line = lambda a, b: f(Pair(view(a), view(b)))  # noqa: E731
    cov = np.array([[1.0, 0.6, 0.0], [0.6, 2.0, 0.1], [0.0, 0.1, 0.5]])
    p, q = sd.Gaussian([0.3, -0.2, 0.1], cov), sd.Gaussian([0.0, 0.2, 0.3], cov)
    e = projections.projected(on_line, p, q, high=1.0 if name in ("total_variation", "hellinger") else math.inf)
    truth = exact(p, q)
    assert e.value is None and e.lo <= truth.hi and e.lo >= truth.lo * (1 - 1e-9)  # S^{-1} (difference of the means) is sufficient
    axes = np.eye(3)
    assert projections.projected(on_line, p, q, along_axes=axes).lo < 0.9 * truth.lo
    r = sd.Gaussian([0.0, 0.2, 0.3], cov * 0.7)
    assert projections.projected(on_line, r, q).lo <= exact(r, q).hi


def test_a_proven_infinity_of_one_projection_is_one_of_the_whole():
    p, q = sd.Gaussian([0.0, 0.0], [2.5, 0.2]), sd.standard_normal(2)
    e = projections.projected(lambda a, b: quadrature.chi_squared(Pair(view(a), view(b))), p, q)
    assert e.lo == e.hi == math.inf


def test_projections_are_the_laws_of_projected_draws():
    u = np.array([0.6, 0.0, -0.8])
    full = turned(sd.GaussianMixture([0.4, 0.6], [[0.0, 1.0, 2.0], [1.0, -1.0, 0.0]], [0.5, 2.0]), 5)
    for law in (full, sd.Gaussian(np.arange(3.0), [0.5, 1.0, 2.0]), sd.Gaussian(np.arange(3.0), 2.0), sd.Empirical(np.eye(3))):
        line = projections.along(law, u)
        assert abs(line.mean()[0] - u @ law.mean()) <= 1e-14 and abs(line.cov()[0, 0] - u @ law.cov() @ u) <= 1e-14
    box = sd.Uniform([-1.0, 0.0], [1.0, 3.0])
    e = projections.along(box, np.array([0.0, -2.0]))
    assert (e.low[0], e.high[0]) == (-6.0, 0.0)
    product = sd.Product([GM3, GM3, OTHER])
    assert projections.along(product, np.array([0.0, 0.0, 1.0])) == OTHER
    for law in (box, sd.Product([GM3, GM3])):
        with pytest.raises(sd.NoMethod, match="sample"):
            projections.along(law, np.array([1.0, 1.0]))
    assert len(projections.directions(box, sd.standard_normal(2))) <= 2  # coordinates only


# ---- synchronous coupling -------------------------------------------------------------------------------------------------------------


def test_synchronous_coupling_lies_above_the_exact_distance_and_halves_with_the_step():
    score, tops = sd.score.exact(GM3), []
    for steps in (40, 80):
        coarse, fine = (sd.scheme.euler_maruyama(sd.grid.uniform(4.0, steps * k)) for k in (1, 4))
        e = coupled_wasserstein2(coarse, fine, score, 4000, seed=0)
        exact = sd.wasserstein2(sd.propagate(coarse, score), sd.propagate(fine, score))
        assert e.level == "asymptotic" and e.lo == 0 and exact.lo <= e.hi <= 4 * exact.hi
        tops.append(e.hi)
    assert 1.6 <= tops[0] / tops[1] <= 2.4
    assert coupled_wasserstein2(coarse, coarse, score, 100, seed=0).hi == 0
    independent = math.sqrt(2 * float(GM3.cov()[0, 0]))  # what two chains without a common path would show
    assert tops[0] < 0.2 * independent


def test_coupling_refuses_what_it_cannot_couple():
    grid, score = sd.grid.uniform(2.0, 10), sd.score.exact(GM3)
    em = sd.scheme.euler_maruyama(grid)
    with pytest.raises(sd.NoMethod, match="stages or memory"):
        coupled_wasserstein2(sd.scheme.stochastic_heun(grid), em, score, 10, seed=0)
    with pytest.raises(ValueError, match="refinement"):
        coupled_wasserstein2(em, sd.scheme.euler_maruyama(sd.grid.uniform(2.0, 15)), score, 10, seed=0)
    with pytest.raises(ValueError, match="seed"):
        coupled_wasserstein2(em, em, score, 10, seed=None)
