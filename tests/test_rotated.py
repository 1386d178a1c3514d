"""Mixtures in any dimension as a small core beside a Gaussian: the law, what is known of it, and the law of its chains."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import scoresde as sd
from scoresde import grid, scheme, score
from scoresde.divergence import beside, plane, product
from scoresde.laws import Gaussian, GaussianMixture, Product, Rotated
from scoresde.laws.rotated import factorised, factorised_together, in_basis
from scoresde.targets import gm3, ring8

EPS = 2.0**-52
DIVERGENCES = [sd.total_variation, sd.kullback_leibler, sd.chi_squared, sd.hellinger, sd.wasserstein2, sd.fisher_divergence]


def direction(d, seed=0):
    u = np.random.default_rng(seed).normal(size=d)
    return u / np.linalg.norm(u)


def lifted(d, seed=0, var=0.2, size=0.3, core=gm3):
    """The core's means on a line in general position in R^d, one variance for all."""
    u = direction(d, seed)
    return GaussianMixture(core.weights, core.means * u + size * np.random.default_rng(seed + 1).normal(size=d) / np.sqrt(d), var)


def basis(d, r, seed=0):
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(d, r)))[0].T


# ---- the law ---------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("d,r", [(2, 1), (3, 2), (5, 5), (40, 2)])
def test_the_turn_is_orthogonal_and_sends_the_basis_to_the_first_axes(d, r):
    law = Rotated(sd.standard_normal(d), basis(d, r))
    rounding = 16 * d * EPS
    assert np.abs(law.turn(law.basis) - np.eye(r, d)).max() <= rounding
    q = law.turn(np.eye(d))
    assert np.abs(q @ q.T - np.eye(d)).max() <= rounding
    assert np.abs(law.back(q) - np.eye(d)).max() <= rounding
    assert np.array_equal(Rotated(sd.standard_normal(d), np.eye(d)[:r]).turn(q), q)  # along the axes nothing is turned


def test_a_rotated_law_is_a_law():
    """Tweedie's identities, the score as a gradient, and draws with the law's moments."""
    law, kernel = Rotated(Product((gm3, Gaussian([0.5, -1.0], [0.3, 0.9]))), basis(3, 2)), sd.ornstein_uhlenbeck(0.4)
    assert isinstance(law, sd.Law) and law.dim == 3 and law.error == 0.0 and law.twin is None
    x = law.sample(50, 0)
    p, (m, v) = law.noised(kernel), (kernel.m, kernel.v)
    assert np.abs(law.denoise(x, kernel) - (x + v * p.score(x)) / m).max() <= 1e-13
    assert np.abs(law.denoise_cov(x, kernel) - v / m**2 * (np.eye(3) + v * p.score_jacobian(x))).max() <= 1e-13
    h = 1e-5
    slope = np.stack([(p.logpdf(x + h * e) - p.logpdf(x - h * e)) / (2 * h) for e in np.eye(3)], axis=-1)
    bend = np.stack([(p.score(x + h * e) - p.score(x - h * e)) / (2 * h) for e in np.eye(3)], axis=-1)
    assert np.abs(slope - p.score(x)).max() <= 1e-8 and np.abs(bend - p.score_jacobian(x)).max() <= 1e-7  # h^2, and rounding over h
    assert np.abs(np.exp(p.logpdf(x)) - p.pdf(x)).max() <= 1e-15
    y = law.sample(20_000, 1)
    assert np.array_equal(y[:10], law.sample(10, 1))
    z = (y.mean(axis=0) - law.mean()) * np.sqrt(len(y) / np.diag(law.cov()))
    assert np.abs(z).max() < 5.5  # 2e-8 each, by the central limit theorem
    with pytest.raises(sd.NoMethod):
        law.cdf(x)


@pytest.mark.parametrize("d", [2, 3, 16, 1000])
def test_it_is_the_mixture_it_came_from(d):
    law, kernel = lifted(d), sd.ornstein_uhlenbeck(0.3)
    turned = factorised(law)
    core, rest = turned.law.factors
    assert (core.dim, rest.dim) == (1, d - 1)
    x, rounding = law.sample(20, 1), 64 * d * EPS
    assert np.abs(law.noised(kernel).logpdf(x) - turned.noised(kernel).logpdf(x)).max() <= rounding * (1 + np.abs(law.logpdf(x)).max())
    assert np.abs(law.noised(kernel).score(x) - turned.noised(kernel).score(x)).max() <= rounding
    assert np.abs(law.denoise(x, kernel) - turned.denoise(x, kernel)).max() <= rounding
    assert np.abs(law.mean() - turned.mean()).max() <= rounding
    assert abs(law.second_moment() - turned.second_moment()) <= rounding * d
    if d <= 16:
        assert np.abs(law.cov() - turned.cov()).max() <= rounding
        assert np.abs(law.score_jacobian(x) - turned.score_jacobian(x)).max() <= 64 * rounding
        assert np.abs(law.denoise_cov(x, kernel) - turned.denoise_cov(x, kernel)).max() <= rounding


def test_covariances_that_agree_off_the_span():
    """Full matrices: the components differ along the span, and act as one Gaussian off it."""
    q = np.vstack([basis(4, 2, 3), np.zeros((2, 4))])
    q[2:] = np.linalg.svd(q[:2])[2][2:]
    rest = np.array([[0.5, 0.1], [0.1, 0.4]])
    inner = [np.diag([0.3, 0.2]), np.array([[0.6, 0.1], [0.1, 0.2]])]
    covs = np.stack([q[:2].T @ c @ q[:2] + q[2:].T @ rest @ q[2:] for c in inner])
    law = GaussianMixture([0.4, 0.6], np.array([[-1.0, 0.0], [1.0, 0.5]]) @ q[:2] + 0.3 * q[2], covs)
    turned = factorised(law)
    assert [f.dim for f in turned.law.factors] == [2, 2]
    x = law.sample(30, 0)
    assert np.abs(law.logpdf(x) - turned.logpdf(x)).max() <= 1e-12  # a few hundred roundings of numbers up to 10
    diagonal = GaussianMixture([0.5, 0.5], [[0.0, 1.0, 2.0], [0.0, 1.0, 0.0]], [[0.3, 0.4, 0.5], [0.3, 0.4, 0.1]])
    assert np.array_equal(factorised(diagonal).basis, [[0.0, 0.0, 1.0]])


def test_what_does_not_split_is_left_alone():
    rng = np.random.default_rng(0)
    assert factorised(GaussianMixture(np.full(4, 0.25), rng.normal(size=(4, 5)), 0.3)) is None  # the means span three dimensions
    assert factorised(GaussianMixture([0.5, 0.5], rng.normal(size=(2, 5)), [0.3, 0.4])) is None  # variances differ off the line
    assert factorised(ring8) is None  # the plane itself
    assert factorised(GaussianMixture([0.5, 0.5], rng.normal(size=(2, 3)), [[0.3, 0.4, 0.5]] * 2)) is None  # the span is no axis of theirs
    assert in_basis(lifted(5), basis(5, 1, seed=9)) is None
    with pytest.raises(ValueError, match="orthonormal"):
        Rotated(sd.standard_normal(3), [[1.0, 1.0, 0.0]])
    with pytest.raises(ValueError, match="basis"):
        Rotated(sd.standard_normal(3), [1.0, 0.0, 0.0])
    with pytest.raises(TypeError, match="law"):
        Rotated(np.zeros((3, 3)), np.eye(3))


def test_json_and_equality():
    law = factorised(lifted(4))
    assert sd.from_json(sd.to_json(law)) == law and hash(sd.from_json(sd.to_json(law))) == hash(law)
    assert law != factorised(lifted(4, seed=1))


# ---- divergences -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("d", [3, 16, 1000])
def test_divergences_do_not_see_a_turn(d):
    """Two mixtures in general position against the same two along an axis, as products."""
    p, q = lifted(d), lifted(d, var=0.2 * (1 + d**-0.5), size=0.1)
    pair = factorised_together(p, q)
    assert pair is not None
    for f in DIVERGENCES:
        lhs, rhs = f(p, q), f(*pair)
        assert abs(lhs.value - rhs.value) <= 1e-9 * abs(rhs.value) + lhs.width + rhs.width, f.__name__
        assert lhs.width <= (1e-4 if f is sd.total_variation and d < 10 else 1e-9 * (1 + lhs.value)), f.__name__
    assert abs(sd.kullback_leibler(p, q).value - sd.kullback_leibler(p, lifted(d, seed=0, var=0.21)).value) > 1e-3  # control


@settings(max_examples=12)
@given(st.integers(0, 10**6))
def test_beside_a_gaussian_total_variation_is_the_planes(seed):
    """Two laws of a line beside a Gaussian: one integral, against slices of the plane."""
    rng = np.random.default_rng(seed)
    u, v = direction(2, seed), 0.3
    w = v if seed % 3 == 0 else 0.3 * np.exp(0.5 * rng.normal())
    p = GaussianMixture(gm3.weights, gm3.means * u + 0.5 * (seed % 2) * rng.normal(size=2), v)
    q = GaussianMixture([0.5, 0.5], np.array([[-1.5], [1.0]]) * u + 0.5 * rng.normal(size=2), w)
    found = beside.total_variation(*beside.arranged(product.paired(*factorised_together(p, q))))
    exact = plane.total_variation(p, q)
    assert abs(found.value - exact.value) <= found.width + exact.width
    assert found.width <= 1e-12


def test_the_fourier_integral_with_a_gaussian_factor_in_many_dimensions():
    """All factors on the line against one of them being a Gaussian in 30 dimensions."""
    p, q = gm3, gm3.noised(sd.ornstein_uhlenbeck(0.05))
    one = product.total_variation([(p, q, 1), (Gaussian(np.full(30, 0.1), 1.1), sd.standard_normal(30), 1)])
    other = product.total_variation([(p, q, 1), (Gaussian([0.1], 1.1), sd.standard_normal(1), 30)])
    assert abs(one.value - other.value) <= one.width + other.width <= 1e-12
    bounds = product.total_variation_bounds([
        (sd.total_variation(p, q), sd.hellinger(p, q), 1),
        (sd.total_variation(Gaussian([0.1], 1.1), sd.standard_normal(1)), sd.hellinger(Gaussian([0.1], 1.1), sd.standard_normal(1)), 30),
    ])  # fmt: skip
    assert bounds.lo <= one.value <= bounds.hi and bounds.hi < 2 * bounds.lo**0.5


def test_a_product_of_two_equal_components_and_a_gaussian_in_the_plane():
    """Variances that happen to make a symmetric matrix are still rows of variances."""
    p = Product((GaussianMixture([0.5, 0.5], [[-1.0], [1.0]], 0.3), Gaussian([0.0], 0.3)))
    assert sd.total_variation(p, p.noised(sd.ornstein_uhlenbeck(0.1))).width <= 1e-12


def test_information_is_that_of_the_parts():
    law = lifted(1000)
    whole, core = sd.information.relative_fisher(law, 0.2), factorised(law).law
    parts = sum(sd.information.relative_fisher(f, 0.2).value for f in core.factors)
    assert abs(whole.value - parts) <= whole.width + 1e-9 * parts


# ---- chains ----------------------------------------------------------------------------------------------------------------------------

TABLES = [scheme.euler_maruyama(grid.quadratic(3.0, 12)), scheme.midpoint(grid.uniform(2.0, 20)), scheme.flow_euler(grid.uniform(2.0, 10))]


@pytest.mark.parametrize("table", TABLES, ids=lambda t: t.name)
@pytest.mark.parametrize("shift", [0.0, 0.2])
def test_the_chain_in_general_position_is_the_turned_chain(table, shift):
    """Against the product of a chain on the line and a Gaussian one, each propagated by its own engine; the shift splits."""
    law = lifted(16)
    turned = factorised(law)
    e = direction(16, 7)
    s = score.perturbed(score.exact(law), shift, e) if shift else score.exact(law)
    got = sd.propagate(table, s)
    core, rest = turned.law.factors
    split = shift * turned.turn(e)
    shifted = [score.perturbed(score.exact(f), np.linalg.norm(v), v) if shift else score.exact(f) for f, v in ((core, split[:1]), (rest, split[1:]))]
    parts = Product([sd.propagate(table, s) for s in shifted])
    x = turned.turn(got.sample(20, 0))
    assert np.abs(got.law.logpdf(x) - parts.logpdf(x)).max() <= 1e-10  # rounding of tens of steps
    assert sd.total_variation(got, law).lo > 0.01


def test_starts_that_split_and_starts_that_do_not():
    law, table = lifted(8), TABLES[0]
    s = score.exact(law)
    warm = sd.propagate(table, s, start=law.noised(sd.ornstein_uhlenbeck(3.0)))
    shifted = sd.propagate(table, s, start=Gaussian(np.ones(8), 1.0))
    cold = sd.propagate(table, s)
    assert sd.kullback_leibler(law, warm).value < sd.kullback_leibler(law, cold).value < sd.kullback_leibler(law, shifted).value
    for start in (Gaussian(np.zeros(8), np.linspace(0.5, 1.5, 8)), sd.targets.aniso16):
        with pytest.raises((sd.NoMethod, ValueError)):
            sd.propagate(table, s, start=start)
    with pytest.raises(sd.NoMethod):  # a field that mixes the coordinates
        sd.propagate(table, score.perturbed(s, 0.1, score.sine(np.ones(8))))


def test_all_states_of_a_chain_in_many_dimensions():
    law = lifted(1000)
    states = sd.marginals(TABLES[0], score.exact(law))
    assert len(states) == 13 and states[0].law.factors[1].dim == 999
    assert np.abs(states[-1].mean() - sd.propagate(TABLES[0], score.exact(law)).mean()).max() <= 1e-12


def test_a_product_of_blocks_is_propagated_block_by_block():
    """Factors of any dimension: a law on the line beside a Gaussian with a full covariance."""
    full = Gaussian([0.3, -0.2], [[0.8, 0.3], [0.3, 0.6]])
    law = Product((gm3, full, gm3))
    got = sd.propagate(TABLES[0], score.exact(law))
    line, block = sd.propagate(TABLES[0], score.exact(gm3)), sd.propagate(TABLES[0], score.exact(full))
    x = law.sample(10, 0)
    assert np.abs(got.logpdf(x) - line.logpdf(x[:, :1]) - block.logpdf(x[:, 1:3]) - line.logpdf(x[:, 3:])).max() <= 1e-12
    kl = sd.kullback_leibler(law, got)
    assert abs(kl.value - 2 * sd.kullback_leibler(gm3, line).value - sd.kullback_leibler(full, block).value) <= kl.width + 1e-12
