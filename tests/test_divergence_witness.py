"""Lower bounds from samples, the two-sample Kolmogorov distance, Rao–Blackwellised chains, and the estimates that are heuristic only."""

import math

import numpy as np
import pytest
from scipy import stats

import scoresde as sd
from scoresde.divergence import quadrature, sampled, witness
from scoresde.divergence.plug_in import histogram_total_variation, neighbour_kullback_leibler
from scoresde.divergence.view import Pair, view
from scoresde.engine.rao_blackwell import MESH, chain_total_variation, smoothed, smoothed_total_variation

EXACT = {
    "total_variation": sd.total_variation, "jensen_shannon": sd.jensen_shannon, "hellinger": sd.hellinger,
    "kullback_leibler": sd.kullback_leibler, "chi_squared": sd.chi_squared,
}  # fmt: skip
HIGH = {"total_variation": 1.0, "hellinger": 1.0, "jensen_shannon": math.log(2), "kullback_leibler": math.inf, "chi_squared": math.inf}
PI = sd.GaussianMixture([0.3, 0.45, 0.25], [[-2.0], [0.4], [2.2]], [0.25, 0.16, 0.36])
TABLE = sd.scheme.euler_maruyama(sd.grid.uniform(T=6.0, steps=60))
SCORE = sd.score.exact(PI)
ALLOWED = stats.binom.isf(1e-6, 400, 0.05)  # misses in 400 repetitions at alpha = .05, exceeded with probability 1e-6


@pytest.fixture(scope="module")
def particles():
    return sd.simulate(TABLE, SCORE, n=100_000, seed=0)


@pytest.fixture(scope="module")
def law():
    return sd.propagate(TABLE, SCORE)


def test_particles_of_a_chain_against_its_target(particles, law):
    e, truth = witness.total_variation(particles, PI), sd.total_variation(law, PI)
    assert (e.level, e.alpha, e.hi, e.value) == ("finite-sample", 1e-6, 1.0, None)
    assert 0.125 < e.lo <= truth.value  # 0.1432; a fair coin's bound is 5.0 * 0.5 / sqrt(66667) = 0.0097 below it
    two = witness.total_variation(particles, PI.sample(100_000, seed=5))
    assert 0.11 < two.lo <= truth.value
    assert witness.total_variation(particles, law).lo == 0.0
    assert witness.total_variation(particles, sd.simulate(TABLE, SCORE, n=50_000, seed=9)).lo == 0.0


@pytest.mark.parametrize("name", EXACT)
def test_every_divergence_is_bounded_below_by_two_cells(name, particles, law):
    f, few = getattr(witness, name), particles[:30_000]
    for pair, exact in (((few, PI), (law, PI)), ((PI, few), (PI, law)), ((few, PI.sample(30_000, seed=1)), (law, PI))):
        e, truth = f(*pair), EXACT[name](*exact).value
        assert 0.2 * truth < e.lo <= truth and e.hi == HIGH[name] and e.level == "finite-sample"


def normal(shift, n, seed, d=1):
    return sd.Gaussian(np.append(shift, np.zeros(d - 1)), 1.0).sample(n, seed)


def against_a_law(seed):
    return witness.total_variation(normal(0.3, 60, seed), sd.standard_normal(1), alpha=0.05).lo


def two_samples(seed):
    return witness.total_variation(normal(0.3, 60, seed), normal(0.0, 90, seed + 10_000), alpha=0.05).lo


def in_the_plane(seed):
    return witness.total_variation(normal(0.3, 60, seed, 2), normal(0.0, 90, seed + 10_000, 2), alpha=0.05).lo


def drawn_law(seed):
    return witness.total_variation(normal(0.3, 60, seed, 2), sd.standard_normal(2), alpha=0.05, n=80, seed=seed).lo


@pytest.mark.parametrize("bound", [against_a_law, two_samples, in_the_plane, drawn_law])
def test_coverage_and_what_fails_without_held_out_draws(bound, monkeypatch):
    truth = math.erf(0.3 / math.sqrt(8))
    assert sum(bound(seed) > truth for seed in range(400)) <= ALLOWED
    monkeypatch.setattr(witness, "_parts", lambda x: (x, x))  # the control: the draws that choose the set also weigh it
    monkeypatch.setattr(witness, "clopper_pearson_lower", lambda k, n, alpha: k / n)
    assert sum(bound(seed) > truth for seed in range(100)) > stats.binom.isf(1e-6, 100, 0.05)


def test_power_in_several_dimensions():
    """Lower bounds reach most of the truth: moved means, changed variances seen through the law's own density, changed weights of modes."""
    rng = np.random.default_rng(0)
    means = 3 * rng.normal(size=(4, 3))
    p = sd.GaussianMixture([0.25] * 4, means, 1.0)
    moved = sd.Gaussian(np.full(3, 1 / math.sqrt(3)), 1.0)
    reweighed = sd.GaussianMixture([0.55, 0.15, 0.15, 0.15], means, 1.0)
    for q, r in ((moved, sd.standard_normal(3)), (reweighed, p)):
        truth = sampled.total_variation(q, r, n=20_000, seed=2)
        e = witness.total_variation(q.sample(10_000, 0), r.sample(10_000, 1))
        assert 0.5 * truth.lo < e.lo <= truth.hi
    wide, centre = sd.Gaussian(np.zeros(100), 1.2), sd.standard_normal(100)
    assert 0.35 < witness.total_variation(wide.sample(3000, 0), centre, n=3000, seed=1).lo <= sd.total_variation(wide, centre).value
    disjoint = witness.kullback_leibler(np.zeros((500, 2)) + 40, normal(0.0, 500, 0, 2))
    assert disjoint.lo > 2 and disjoint.hi == math.inf


def test_a_spike_and_an_atom_are_found():
    spike = sd.GaussianMixture([0.9, 0.1], [[0.0], [1.0]], [1.0, 1e-8])
    assert 0.05 < witness.total_variation(spike.sample(5000, 0), sd.standard_normal(1)).lo <= sd.total_variation(spike, sd.standard_normal(1)).value
    rounded = np.round(normal(0.0, 5000, 0), 1)  # TV = 1: its law is discrete
    assert witness.total_variation(rounded, sd.standard_normal(1)).lo > 0.5


def test_order_of_the_draws_type_and_seed_do_not_matter_to_the_truth(particles, law):
    truth = sd.total_variation(law, PI).value
    assert 0.1 < witness.total_variation(np.sort(particles[:20_000], axis=0), PI).lo <= truth
    assert witness.total_variation(np.sort(particles[:5000], axis=0), law).lo == 0.0
    torch = pytest.importorskip("torch")
    x = particles[:1000].copy()
    assert witness.total_variation(torch.from_numpy(x), PI) == witness.total_variation(x, PI)


def test_refusals(particles):
    x, plane = particles[:100], np.zeros((50, 2))
    for f in (witness.total_variation, witness.kolmogorov):
        with pytest.raises(ValueError, match="same draws"):
            f(x, x.copy())
        with pytest.raises(ValueError, match="same draws"):
            f(particles[:100], particles[50:150])
        with pytest.raises(ValueError, match="dimension"):
            f(x, plane)
        with pytest.raises(ValueError, match=r"write p\[:, None\]"):
            f(x[:, 0], plane)
    with pytest.raises(ValueError, match=r"n: got None.*pass n="):
        witness.total_variation(plane, sd.standard_normal(2))
    with pytest.raises(ValueError, match="seed: got None"):
        witness.total_variation(plane, sd.standard_normal(2), n=100)
    with pytest.raises(ValueError, match="1 GB"):
        witness.total_variation(plane, sd.standard_normal(2), n=10**9, seed=0)
    with pytest.raises(ValueError, match="dimension"):
        witness.total_variation(x, sd.standard_normal(2))
    with pytest.raises(ValueError, match="at least 4"):
        witness.total_variation(x[:3], PI)
    with pytest.raises(ValueError, match="allowed is 1"):
        witness.kolmogorov(plane, plane + 1)


@pytest.mark.parametrize("n", [4, 5, 7, 12])
def test_few_or_degenerate_draws_give_trivial_bounds(n):
    assert witness.total_variation(normal(0.0, n, 0), sd.standard_normal(1)).lo == 0.0
    assert witness.total_variation(normal(0.0, n, 0, 3), normal(0.0, 4, 1, 3)).lo == 0.0
    assert witness.chi_squared(np.zeros((n, 3)), np.ones((n, 3)) * [1, 0, 0]).lo >= 0.0
    assert witness.hellinger(np.full((n, 2), 1e200), np.zeros((n, 2))).lo >= 0.0


def test_kolmogorov_of_two_samples():
    truth = math.erf(0.5 / math.sqrt(8))  # of a shift by .5
    missed = narrow = 0
    for seed in range(400):
        e = witness.kolmogorov(normal(0.5, 60, seed), normal(0.0, 90, seed + 10_000), alpha=0.05)
        assert e.value == pytest.approx(stats.ks_2samp(normal(0.5, 60, seed)[:, 0], normal(0.0, 90, seed + 10_000)[:, 0]).statistic, abs=1e-15)
        missed += truth not in e
        narrow += truth not in sd.Enclosure.near(e.value, 0.25 * (e.value - e.lo))
    assert missed <= ALLOWED < narrow


# ---- the last step of a chain ---------------------------------------------------------------------------------------------------------


def test_a_chain_seen_before_its_last_noise(law):
    truth = sd.total_variation(law, PI).value
    for n, half in ((2000, 0.065), (100_000, 0.0095)):
        e = chain_total_variation(PI, TABLE, SCORE, n=n, seed=0)
        assert truth in e and e.level == "finite-sample" and e.alpha == 1e-6
        assert 0.5 * e.width < half  # sqrt(log(2e6)/(2n)) = .0602, .0085, and the distance of n smoothed points from their law
    other = sd.propagate(sd.scheme.euler_maruyama(sd.grid.uniform(T=6.0, steps=40)), SCORE)
    assert sd.total_variation(other, PI).value not in e  # the control: another chain
    assert e == chain_total_variation(PI, TABLE, SCORE, n=100_000, seed=0)


def test_another_scheme_against_its_exact_law():
    table = sd.scheme.ancestral(sd.grid.uniform(T=4.0, steps=12, stop=0.05))
    truth = sd.total_variation(sd.propagate(table, SCORE), PI).value
    assert truth in chain_total_variation(PI, table, SCORE, n=20_000, seed=0)


def test_coverage_of_smoothed_draws():
    """Y ~ N(0, 1), P = N(0, 1.25), against N(.2, 1): both sides together."""
    target, missed, mutated = sd.Gaussian([0.2], 1.0), 0, 0
    truth = sd.total_variation(sd.Gaussian([0.0], 1.25), target).value
    for seed in range(60):
        y = np.random.default_rng(seed).normal(size=50)
        missed += truth not in smoothed_total_variation(y, 0.25, target, alpha=0.05)
        plug_in = sd.total_variation(smoothed(y, 0.25), target)  # the control: no correction at all
        mutated += truth not in plug_in
    assert missed <= stats.binom.isf(1e-6, 60, 0.05) < mutated


def test_the_grid_costs_what_is_stated():
    y = np.random.default_rng(0).normal(size=40)
    whole, gridded = sd.GaussianMixture(np.full(40, 1 / 40), y[:, None], 0.3), smoothed(y, 0.3)
    e = quadrature.total_variation(Pair(view(whole), view(gridded)))
    assert 0 < e.value <= gridded.error == 0.0605 * MESH**2
    x = np.linspace(-12, 12, 200_001)
    curvature = np.abs(x**2 - 1) * np.exp(-0.5 * x**2) / math.sqrt(2 * math.pi)
    assert 0.5 / 8 * curvature.sum() * 12e-5 <= 0.0605  # the constant


def test_chain_refusals():
    with pytest.raises(sd.NoMethod, match="no fresh noise"):
        chain_total_variation(PI, sd.scheme.flow_euler(sd.grid.uniform(T=6.0, steps=60)), SCORE, n=100, seed=0)
    plane = sd.standard_normal(2)
    with pytest.raises(sd.NoMethod, match="the line"):
        chain_total_variation(plane, TABLE, sd.score.exact(plane), n=100, seed=0)
    with pytest.raises(ValueError, match="seed: got None"):
        chain_total_variation(PI, TABLE, SCORE, n=100, seed=None)
    for means, var in ((np.zeros((20, 1)), 1.0), (np.zeros(20), 0.0), (np.full(20, np.nan), 1.0)):
        with pytest.raises(ValueError, match=r"means|var"):
            smoothed_total_variation(means, var, PI)


# ---- heuristics ---------------------------------------------------------------------------------------------------------------------


def test_histogram_shows_its_noise_floor():
    """Equal laws: the estimate is positive, on average the floor that it states (to 5 standard errors of 40 repetitions), and never decides."""
    for other in (lambda seed: normal(0.0, 3000, seed + 1000), lambda seed: sd.standard_normal(1)):
        all_ = [histogram_total_variation(normal(0.0, 2000, seed), other(seed), bins=50) for seed in range(40)]
        values = np.array([e.value for e in all_])
        floor = all_[0].hi - all_[0].value
        assert abs(values.mean() / floor - 1) < 5 * values.std() / floor / math.sqrt(40) + 0.02  # .02: the normal approximation of counts of 40
        assert all(e.level == "heuristic" and "noise floor" in e.method for e in all_)
    e = histogram_total_variation(normal(1.0, 20_000, 0), sd.standard_normal(1))
    assert math.erf(1 / math.sqrt(8)) in e
    with pytest.raises(sd.NoMethod, match="allowed is 1"):
        histogram_total_variation(normal(0.0, 10, 0, 2), sd.standard_normal(2))


def test_neighbours_refuse_ties_and_show_their_noise_floor():
    x, y = normal(1.0, 4000, 0, 2), normal(0.0, 4000, 1, 2)
    e = neighbour_kullback_leibler(x, y)
    assert e.level == "heuristic" and "noise floor" in e.method and 0.3 < e.value < 0.6  # 1/2 for the laws; the bias is known to be downward
    assert 0.3 < neighbour_kullback_leibler(sd.Gaussian([1.0, 0.0], 1.0), sd.standard_normal(2), n=4000, seed=0).value < 0.6
    assert neighbour_kullback_leibler(y, normal(0.0, 4000, 2, 2)).lo == 0.0
    with pytest.raises(sd.NotTrusted, match="distance 0"):
        neighbour_kullback_leibler(np.round(x, 1), np.round(y, 1))
    with pytest.raises(ValueError, match="fewer than either"):
        neighbour_kullback_leibler(x[:5], y)
    with pytest.raises(ValueError, match=r"n: got None.*pass n="):
        neighbour_kullback_leibler(x, sd.standard_normal(2))
    with pytest.raises(ValueError, match="same draws"):
        neighbour_kullback_leibler(x, x.copy())
