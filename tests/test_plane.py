"""The law engine for noisy chains in the plane: closed recursions, products, symmetry, particles, error estimates that cover, and its divergences."""

import math

import numpy as np
import pytest

import scoresde as sd
from scoresde import grid, kernel, scheme
from scoresde.engine.gaussian import propagate_gaussian
from scoresde.engine.plane import propagate_plane

NORMAL = sd.standard_normal(2)
TILTED = sd.Gaussian([1.0, -0.5], [[0.6, 0.3], [0.3, 0.4]])
RING = sd.targets.ring8
PAIR = sd.Product([sd.targets.gm3, sd.targets.g1])
EULER = scheme.euler_maruyama(grid.uniform(4.0, 20))


def run(table, score, start=NORMAL, **options):
    return propagate_plane(table, score, start, **options)


def bare(law):
    """The exact score as a bare function: nothing tells an engine what it belongs to."""
    exact = sd.score.exact(law)
    return lambda t, x: exact(t, x)


def apart(p, q, reach=8.0, n=161):
    """TV distance of two laws within a square: a Riemann sum at a spacing of 0.1."""
    axis = np.linspace(-reach, reach, n)
    x = np.stack(np.meshgrid(axis, axis), axis=-1)
    return 0.5 * np.abs(p.pdf(x) - q.pdf(x)).sum() * (axis[1] - axis[0]) ** 2


def shells(law, *sizes):
    """Points on the ellipses of that many standard deviations of a law."""
    angle = np.linspace(0, 2 * math.pi, 24, endpoint=False)
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return np.concatenate([law.mean() + r * circle @ np.linalg.cholesky(law.cov()).T for r in sizes])


@pytest.fixture(scope="module")
def ring():
    return run(EULER, sd.score.exact(RING))


@pytest.fixture(scope="module")
def pair():
    return run(EULER, bare(PAIR)), sd.propagate(EULER, sd.score.exact(PAIR))


# ---- against closed recursions ---------------------------------------------------------------------------------------------------------


TABLES = {
    "euler_maruyama": EULER,
    "exponential_relative": scheme.exponential_relative(grid.uniform(4.0, 15, stop=0.05)),
    "ancestral": scheme.ancestral(grid.uniform(4.0, 15, stop=0.05), "beta"),
    "shrinking steps": scheme.euler_maruyama(grid.geometric(4.0, 25, stop=0.02)),
    "a map without noise in between": scheme.euler_maruyama(grid.uniform(1.0, 5))
    @ scheme.flow_heun(grid.uniform(2.0, 4, stop=1.0))
    @ scheme.euler_maruyama(grid.uniform(3.0, 5, stop=2.0)),
}


@pytest.mark.parametrize("name", TABLES)
def test_a_gaussian_target_gives_the_closed_recursion(name):
    truth, law = propagate_gaussian(TABLES[name], sd.score.exact(TILTED), NORMAL), run(TABLES[name], bare(TILTED))
    assert law.error <= 1e-9  # what is asked of the twin, added up
    # the law itself is finer than its twin by a factor 1.2 in the spacing: its error is about the 1.2 th power of the twin's
    assert np.abs(law.mean() - truth.mean()).max() <= 1e-11 and np.abs(law.cov() - truth.cov()).max() <= 1e-11
    x = shells(truth, 0, 1, 3, 5, 7, 8)
    assert (truth.logpdf(x) > law.trusted()).all()
    assert np.abs(law.logpdf(x) - truth.logpdf(x)).max() <= 1e-9  # what ``trusted`` promises
    assert np.abs(law.score(x) - truth.score(x)).max() <= 1e-8


def test_a_planted_wrong_coefficient_is_seen():
    """Negative control: one noise coefficient of twenty wrong by a relative 1e-9."""
    c = EULER.c[:, 0].copy()
    c[-2] *= 1 + 1e-9
    wrong = sd.Table(EULER.times, EULER.a, EULER.b, c)
    truth = propagate_gaussian(EULER, sd.score.exact(TILTED), NORMAL).cov()
    right, off = (np.abs(run(table, bare(TILTED)).cov() - truth).max() for table in (EULER, wrong))
    assert right <= 1e-12 < 1e-11 <= off


def test_two_independent_coordinates_give_the_product_of_two_lines(pair):
    law, truth = pair
    x = shells(truth, 0, 0.5, 1, 2, 3, 4)
    assert np.abs(law.logpdf(x) - truth.logpdf(x)).max() <= 1e-9
    assert apart(law, truth) <= law.error <= 1e-9
    line = truth.expanded()[0]
    y = np.linspace(-4, 4, 41)[:, None]
    assert np.abs(law.projected([1.0, 0.0]).cdf(y) - line.cdf(y)).max() <= 1e-10


def test_a_ring_stays_a_ring(ring):
    x = np.random.default_rng(0).normal(size=(200, 2)) * 1.8
    turn = lambda k: x @ np.array([[math.cos(k), -math.sin(k)], [math.sin(k), math.cos(k)]]).T  # noqa: E731
    for k in range(1, 8):
        assert np.abs(ring.logpdf(turn(k * math.pi / 4)) - ring.logpdf(x)).max() <= 1e-9
    assert np.abs(ring.logpdf(turn(math.pi / 8)) - ring.logpdf(x)).max() > 1e-2
    assert np.abs(ring.mean()).max() <= 1e-12 and np.abs(ring.cov() - 0.5 * ring.second_moment() * np.eye(2)).max() <= 1e-12


def test_particles_follow_the_law(ring):
    n = 200_000
    x = sd.simulate(EULER, sd.score.exact(RING), n=n, seed=5)
    limit = math.sqrt(math.log(2 / 1e-6) / (2 * n))  # Dvoretzky-Kiefer-Wolfowitz with Massart's constant, level 1e-6
    for u in ([1.0, 0.0], [0.6, 0.8]):
        order = np.sort(x @ np.array(u))
        distance = lambda cdf: np.abs(cdf - (np.arange(n) + 0.5) / n).max() + 0.5 / n  # noqa: E731
        target = sd.GaussianMixture(RING.weights, RING.means @ np.array(u)[:, None], 0.1)
        assert distance(ring.projected(u).cdf(order[:, None])) <= limit < distance(target.cdf(order[:, None]))
    radius = (x**2).sum(axis=1)
    assert abs(radius.mean() - ring.second_moment()) <= 5 * radius.std() / math.sqrt(n)


# ---- the error estimate ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tolerance", [1e-1, 1e-3])
def test_the_error_estimate_covers_the_error_and_stays_below_the_tolerance(ring, tolerance):
    law = run(EULER, sd.score.exact(RING), tolerance=tolerance)
    assert apart(law, ring) <= law.error + ring.error and law.error <= tolerance
    assert apart(law.twin, ring) <= law.error + ring.error
    assert apart(law.twin, ring) > 1e-10  # coarse enough for the estimate to be put to the test


def test_a_score_with_kinks_is_covered_or_refused():
    kinked = lambda t, x: sd.score.exact(TILTED)(t, x) + 0.2 * np.maximum(x @ np.array([[0.8], [0.6]]), 0.3)  # noqa: E731
    table = scheme.euler_maruyama(grid.uniform(2.0, 6))
    reference, law = run(table, kinked, tolerance=1e-4), run(table, kinked, tolerance=1e-2)
    assert apart(law, reference) <= law.error + reference.error and law.error > 1e-10
    jump = lambda t, x: sd.score.exact(TILTED)(t, x) + np.sign(x - 0.3)  # noqa: E731
    with pytest.raises(sd.NotTrusted, match="raise tolerance="):
        run(scheme.euler_maruyama([1.0, 0.5]), jump, tolerance=1e-8)


def test_a_score_may_fail_where_the_law_has_no_mass_and_nowhere_else():
    table = scheme.euler_maruyama(grid.uniform(1.0, 3))
    nowhere = lambda reach: lambda t, x: np.where(np.abs(x) > reach, np.nan, sd.score.exact(TILTED)(t, x))  # noqa: E731
    assert apart(run(table, nowhere(10.5)), run(table, bare(TILTED))) <= 1e-12
    with pytest.raises(ValueError, match=r"score: got .* in rows .* allowed are finite values"):
        run(table, nowhere(4.0))


# ---- structure -------------------------------------------------------------------------------------------------------------------------


def test_marginals_are_the_laws_of_shorter_chains_and_restart_them(ring):
    short = scheme.euler_maruyama(EULER.times[:11])
    laws = sd.marginals(short, sd.score.exact(RING))
    assert len(laws) == 11 and laws[0] == NORMAL and all(law.error <= 1e-9 for law in laws[1:])
    rest = run(scheme.euler_maruyama(EULER.times[10:]), sd.score.exact(RING), laws[-1])
    assert apart(rest, ring) <= rest.error + ring.error and rest.error >= laws[-1].error


def test_the_front_door_takes_scores_that_are_neither_affine_nor_a_product():
    table = scheme.euler_maruyama(grid.uniform(1.0, 4))
    assert isinstance(sd.propagate(table, sd.score.exact(RING)), sd.Plane)
    bent = sd.score.perturbed(sd.score.exact(TILTED), 0.1, lambda t, x: np.sin(x) / math.sqrt(2))
    assert isinstance(sd.propagate(table, bent), sd.Plane)


def test_a_mixture_that_is_only_noised_and_point_masses_stay_mixtures():
    steps = [0.1, 0.3, 0.2]
    law, truth = sd.propagate(scheme.forward_euler_maruyama(steps), None, start=RING), RING.noised(kernel.euler_maruyama(steps))
    x = shells(truth, 0, 1, 2, 3, 4)
    assert np.abs(law.logpdf(x) - truth.logpdf(x)).max() <= 1e-10
    points = np.array([[0.0, 1.0], [2.0, -1.0], [2.0, -1.0]])
    law = sd.propagate(scheme.euler_maruyama([0.25, 0.0]), sd.score.exact(RING), start=sd.Empirical(points))
    truth = sd.GaussianMixture(np.full(3, 1 / 3), 1.25 * points + 0.5 * sd.score.exact(RING)(0.25, points), 0.5)
    assert np.abs(law.logpdf(x) - truth.logpdf(x)).max() <= 1e-10


def test_chains_without_a_law_engine_are_refused_with_a_remedy():
    score = sd.score.exact(RING)
    with pytest.raises(sd.NoMethod, match=r"ends without noise in rows .* simulate\(table"):
        run(scheme.flow_euler(grid.uniform(2.0, 4)), score)
    with pytest.raises(sd.NoMethod, match=r"noise enters a later score .* simulate\(table"):
        run(scheme.stochastic_heun(grid.uniform(2.0, 4)), score)
    mixed = scheme.euler_maruyama(grid.uniform(1.0, 2)) @ scheme.flow_euler(grid.uniform(2.0, 2, stop=1.0))
    with pytest.raises(sd.NoMethod, match=r"some states of .* carry no fresh noise"):
        run(mixed, score, keep="all")
    with pytest.raises(sd.NotTrusted, match=r"grid of .* points .* noise of a step is too small"):
        run(sd.Table([1.0, 0.9, 0.8], 1.0, 0.1, [0.3, 1e-5]), score)
    with pytest.raises(ValueError, match="score: got shape"):
        run(EULER, lambda t, x: x[:, 0])


# ---- the law as a law ------------------------------------------------------------------------------------------------------------------


MIXTURE = sd.GaussianMixture(
    [0.5, 0.3, 0.2], [[0.0, 0.0], [1.5, 1.0], [-1.0, 2.0]], [[[0.3, 0.1], [0.1, 0.2]], [[0.2, 0.0], [0.0, 0.5]], [[0.4, -0.1], [-0.1, 0.3]]]
)


@pytest.fixture(scope="module")
def known():
    """A mixture, once in closed form and once from the engine: (X + Z/2) of the mixture."""
    return run(sd.Table([1.0, 0.5], 1.0, 0.0, 0.5), None, MIXTURE), MIXTURE.noised(sd.Kernel(1.0, 0.25))


def test_it_knows_what_a_law_knows(known):
    law, truth = known
    x = shells(truth, 0, 1, 2, 3, 4).reshape(5, 24, 2)
    for name in ("logpdf", "pdf", "score", "score_jacobian"):
        assert np.abs(getattr(law, name)(x) - getattr(truth, name)(x)).max() <= 1e-9, name
    assert np.abs(law.mean() - truth.mean()).max() <= 1e-12 and np.abs(law.cov() - truth.cov()).max() <= 1e-12
    assert law.second_moment() == pytest.approx(truth.second_moment(), abs=1e-12)
    for m, v in ((0.7, 0.4), (-0.5, 0.01), (1e-2, 1.0), (0.0, 0.3)):
        k = sd.Kernel(m, v)
        y = m * truth.mean() + (x - truth.mean()) * math.sqrt(m * m + v)
        assert np.abs(law.noised(k).logpdf(y) - truth.noised(k).logpdf(y)).max() <= 1e-9
        for name in ("denoise", "denoise_cov"):
            assert np.abs(getattr(law, name)(y, k) - getattr(truth, name)(y, k)).max() <= 1e-9, name
    assert np.abs(law.noised(sd.Kernel(-2.0, 0.0)).logpdf(-2 * x) - truth.logpdf(x) + 2 * math.log(2)).max() <= 1e-9


def test_it_answers_everywhere_and_in_the_type_of_the_question(known):
    law, truth = known
    far = law.logpdf(np.array([[30.0, 40.0], [1e6, 0.0], [np.inf, 0.0]]))
    assert far[0] < -500 and far[1] < -1e10 and far[2] == -math.inf and np.isnan(law.logpdf(np.array([np.nan, 0.0])))
    x = truth.sample(5, seed=1)
    assert law.logpdf(x.astype(np.float32)).dtype == np.float32 and law.score(x[0]).shape == (2,)
    low, high, scale = law.window()
    assert (low < truth.mean() - 5).all() and (high > truth.mean() + 5).all() and 0.3 < scale < 0.8
    with pytest.raises(ValueError, match="last axis"):
        law.pdf(x[:, :1])
    for call in (law.cdf, law.quantile):
        with pytest.raises(sd.NoMethod, match="project it onto an axis"):
            call(x)
    with pytest.raises(ValueError, match=r"u: got .* allowed is a direction"):
        law.projected([0.0, 0.0])


def test_draws_follow_the_law_and_growing_n_keeps_them(known):
    law, n = known[0], 20_000
    x = law.sample(n, seed=3)
    assert x.shape == (n, 2) and np.array_equal(law.sample(7, seed=3), x[:7])
    limit = math.sqrt(math.log(2 / 1e-6) / (2 * n))
    u = np.array([0.6, -0.8])
    order = np.sort(x @ u)[:, None]
    distance = lambda q: np.abs(q.cdf(order) - (np.arange(n) + 0.5) / n).max() + 0.5 / n  # noqa: E731
    assert distance(law.projected(u)) <= limit < distance(law.projected(-u))


# ---- divergences -----------------------------------------------------------------------------------------------------------------------


DIVERGENCES = [sd.total_variation, sd.kullback_leibler, sd.jensen_shannon, sd.hellinger, sd.fisher_divergence]


@pytest.mark.parametrize("f", [*DIVERGENCES, sd.chi_squared], ids=lambda f: f.__name__)
def test_divergences_enclose_those_of_the_closed_form(known, f):
    law, truth = known
    wide, near = sd.Gaussian(truth.mean(), 1.2 * truth.cov()), MIXTURE.noised(sd.Kernel(1.0, 0.3))
    for p, q in ((law, wide), (near, law), (law, near), (wide, law))[: 3 if f is sd.chi_squared else 4]:  # the last one is infinite there
        e, exact = f(p, q), f(*(truth if x is law else x for x in (p, q))).value
        assert e.level == "deterministic" and e.lo <= exact <= e.hi
        assert e.width <= 1e-5 * exact  # not by being wide


def test_total_variation_is_accurate_and_moves_with_the_law(known):
    law, truth = known
    for shift, factor in ((1e-5, 1.0), (0.0, 1 + 1e-6)):
        other = sd.GaussianMixture(truth.weights, truth.means + shift, factor * truth.covs)
        e, exact = sd.total_variation(law, other), sd.total_variation(truth, other)
        assert abs(e.value - exact.value) <= 2e-12 < 1e-9 < exact.value
    assert sd.total_variation(law, truth).hi <= 1e-11 and sd.total_variation(law, law).value == 0


def test_tails_that_are_not_known_are_not_trusted(known):
    narrow = sd.Gaussian(known[1].mean(), 0.2)
    with pytest.raises(sd.NotTrusted, match=r"chi_squared: .* depend on tails .* use total_variation or hellinger"):
        sd.chi_squared(known[0], narrow)  # infinite


def test_the_distance_of_a_chain_to_its_target(ring):
    """Both ways of slicing, both twins, and the bounds between divergences."""
    tv, h = sd.total_variation(ring, RING), sd.hellinger(ring, RING)
    assert tv.width <= 1e-9 and h.value**2 <= tv.value <= h.value * math.sqrt(2 - h.value**2)
    assert tv.value == pytest.approx(apart(ring, RING), abs=1e-3)
    turned = sd.GaussianMixture(RING.weights, RING.means @ np.array([[0.6, 0.8], [-0.8, 0.6]]), 0.1)
    assert sd.total_variation(ring, turned).value > tv.value + 1e-3
    assert sd.wasserstein2(ring, RING).lo >= 0
