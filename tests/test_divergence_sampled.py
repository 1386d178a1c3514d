"""Divergences from draws of two known laws: intervals against exact values, coverage counted over random pairs, moment bounds, refusals."""

import math
import tracemalloc

import numpy as np
import pytest
from scipy import stats

import scoresde as sd
from scoresde.divergence import closed, concentration, sampled
from scoresde.divergence.moments import moments

EXACT = {
    "total_variation": sd.total_variation, "jensen_shannon": sd.jensen_shannon, "hellinger": sd.hellinger,
    "kullback_leibler": sd.kullback_leibler, "chi_squared": sd.chi_squared, "fisher_divergence": sd.fisher_divergence,
}  # fmt: skip
FINITE = [name for name in EXACT if name != "fisher_divergence"]
P = sd.GaussianMixture([0.3, 0.45, 0.25], [[-2.0], [0.4], [2.2]], [0.25, 0.16, 0.36])
Q = sd.GaussianMixture([0.35, 0.4, 0.25], [[-1.8], [0.5], [2.0]], [0.3, 0.2, 0.36])


def mixture(rng, most=3, d=1):
    count = rng.integers(1, most + 1)
    return sd.GaussianMixture(rng.dirichlet(np.ones(count)), 0.7 * rng.normal(size=(count, d)), rng.uniform(0.5, 2.0, count))


def meets(e, truth):
    return e.lo <= truth.hi and truth.lo <= e.hi


@pytest.mark.parametrize("name", EXACT)
def test_mixtures_on_the_line_against_quadrature(name):
    e, truth = getattr(sampled, name)(P, Q, n=100_000, seed=0), EXACT[name](P, Q)
    assert meets(e, truth)
    assert e.level == ("asymptotic" if name == "fisher_divergence" else "finite-sample") and e.alpha == 1e-6
    assert e.width < 0.12 * truth.value
    doubled = 2 * e  # the control: a wrong factor
    assert not meets(doubled, truth)


@pytest.mark.parametrize("name", ["total_variation", "hellinger", "kullback_leibler", "chi_squared", "fisher_divergence"])
@pytest.mark.parametrize("d", [2, 50])
def test_gaussians_in_more_dimensions_against_closed_forms(name, d):
    rng = np.random.default_rng(d)
    p, q = sd.Gaussian(np.full(d, 0.5 / math.sqrt(d)), rng.uniform(0.9, 1.1, d)), sd.Gaussian(np.zeros(d), 1.0)
    e = getattr(sampled, name)(p, q, n=20_000, seed=1)
    assert meets(e, EXACT[name](p, q)) and not meets(e, EXACT[name](p, sd.Gaussian(np.zeros(d), 0.8)))


def test_full_covariances():
    p, q = sd.Gaussian([0.3, 0.0], [[1.0, 0.4], [0.4, 0.7]]), sd.Gaussian([0.0, 0.0], [[1.1, 0.2], [0.2, 0.8]])
    for name in ("total_variation", "kullback_leibler", "chi_squared", "hellinger"):
        assert meets(getattr(sampled, name)(p, q, n=20_000, seed=0), EXACT[name](p, q))


@pytest.mark.parametrize("name", FINITE)
def test_coverage_over_random_pairs(name):
    """400 pairs at alpha = .05, 100 draws each; a count that a right procedure exceeds with probability 1e-6 only."""
    rng, repeats, missed, mutated = np.random.default_rng(7), 400, 0, 0
    allowed = stats.binom.isf(1e-6, repeats, 0.05)
    for seed in range(repeats):
        p, q = mixture(rng), mixture(rng)
        truth = EXACT[name](p, q)
        e = getattr(sampled, name)(p, q, n=100, seed=seed, alpha=0.05)
        missed += not meets(e, truth)
        if e.value is not None and math.isfinite(truth.value):  # the control: the interval shortened
            mutated += not meets(sd.Enclosure.near(e.value, e.width / 12), truth)
    assert missed <= allowed
    assert mutated > allowed


def test_the_interval_is_that_of_the_balanced_estimator():
    """Total variation of two Gaussians 2 a apart: L = 2 a x, so the mean of |tanh(a X)| over X ~ N(a, 1), by a rule that knows nothing else."""
    p, q, n = sd.Gaussian([0.5], 1.0), sd.Gaussian([-0.5], 1.0), 4000
    e = sampled.total_variation(p, q, n=n, seed=3, alpha=1e-3)
    x = np.linspace(-12, 12, 100_001)
    term, w = np.abs(np.tanh(0.5 * x)), np.exp(-0.5 * (x - 0.5) ** 2) * 24e-5 / math.sqrt(2 * math.pi)
    mean, square = w @ term, w @ term**2
    assert abs(mean - math.erf(0.5 / math.sqrt(2))) < 1e-8  # the kink at 0 is a point of the grid: h^2/12 = 5e-9
    sd_of_mean = math.sqrt(0.5 * (square - mean**2) / n)
    assert abs(e.value - mean) < 5.5 * sd_of_mean  # a normal deviate beyond 5.5: 4e-8
    assert 3.2 < 0.5 * e.width / sd_of_mean < 1.35 * math.sqrt(2 * math.log(2000))


@pytest.mark.parametrize("d", [64, 1024])
def test_high_dimension_is_neither_nan_nor_vacuous(d):
    rng = np.random.default_rng(0)
    means = rng.normal(size=(4, d))
    p, q = sd.GaussianMixture([0.25] * 4, means, 1.0), sd.GaussianMixture([0.25] * 4, means + 0.6 / math.sqrt(d), 1.0)
    truth = sd.total_variation(p.component(0), q.component(0))  # the modes are far apart and all move alike
    e = sampled.total_variation(p, q, n=2000, seed=0)
    assert meets(e, truth) and e.width < 0.1
    kl = sampled.kullback_leibler(p, q, n=2000, seed=0)
    assert 0 < kl.lo <= kl.hi < math.inf and kl.level == "finite-sample"


def test_memory_does_not_grow_with_the_dimension():
    p, q = sd.standard_normal(2000), sd.Gaussian(np.full(2000, 0.01), 1.0)
    sampled.total_variation(p, q, n=10, seed=0)
    tracemalloc.start()
    sampled.total_variation(p, q, n=5000, seed=0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100e6 < 2 * 8 * 5000 * 2000  # what is documented; the draws alone would take more


def test_growing_n_keeps_the_first_draws_and_seeds_matter():
    def draws(n, seed=0, name="total_variation"):
        return sampled._draws(name, P, Q, n, seed, np.abs)

    assert np.array_equal(draws(300)[:100], draws(100))
    assert not np.array_equal(draws(100), draws(100, seed=1)) and not np.array_equal(draws(100), draws(100, name="hellinger"))
    wide = sd.standard_normal(3000), sd.Gaussian(np.full(3000, 0.01), 1.0)  # 349 rows a block
    first = sampled._draws("x", *wide, 400, 0, np.abs)
    assert np.array_equal(first[:360], sampled._draws("x", *wide, 360, 0, np.abs)) and len(np.unique(first)) == 400
    seed = np.random.SeedSequence(5)
    assert sampled.total_variation(P, Q, n=50, seed=seed) == sampled.total_variation(P, Q, n=50, seed=seed) and seed.n_children_spawned == 0


def test_refusals():
    for name in EXACT:
        f = getattr(sampled, name)
        with pytest.raises(ValueError, match=r"n: got None.*pass n="):
            f(P, Q, n=None, seed=0)
        with pytest.raises(ValueError, match="seed: got None"):
            f(P, Q, n=100, seed=None)
        with pytest.raises(ValueError, match="average enclosures over several seeds"):
            f(P, Q, n=10**7 + 1, seed=0)
        with pytest.raises(sd.NoMethod, match="has no sample"):
            f(P, type("Own", (), {"dim": 1, "logpdf": P.logpdf, "score": P.score})(), n=100, seed=0)
    torn = sd.Density(lambda x: np.where(x[..., 0] > 0, np.nan, -0.5 * (x**2).sum(-1)), dim=2, sample=sd.standard_normal(2).sample)
    with pytest.raises(sd.NotTrusted, match="not finite at a draw of its own law"):
        sampled.total_variation(torn, sd.standard_normal(2), n=100, seed=0)


def test_averages_over_seeds_are_intervals_too():
    e = (sampled.total_variation(P, Q, n=1000, seed=0) + sampled.total_variation(P, Q, n=1000, seed=1)) / 2
    assert meets(e, sd.total_variation(P, Q)) and e.level == "finite-sample" and e.alpha == 2e-6


# ---- unbounded divergences ----------------------------------------------------------------------------------------------------------


def student(degrees):
    law = stats.multivariate_t(np.zeros(2), np.eye(2), df=degrees)
    return sd.Density(law.logpdf, dim=2, sample=lambda n, seed: law.rvs(n, random_state=np.random.default_rng(seed)))


def test_laws_without_moment_bounds_are_asymptotic_only():
    heavy, normal = student(5.0), sd.standard_normal(2)
    assert moments(heavy, normal) is None
    e = sampled.kullback_leibler(normal, heavy, n=20_000, seed=0)
    assert e.level == "asymptotic" and e.lo > 0 and e.hi < math.inf
    chi = sampled.chi_squared(normal, heavy, n=20_000, seed=0)  # one side only, nothing invented
    assert chi.level == "finite-sample" and chi.lo > 0 and chi.hi == math.inf and chi.value is None
    wild = sampled.kullback_leibler(student(1.0), normal, n=1000, seed=0)  # E X^2 is infinite, hence KL too
    assert wild.level == "heuristic" and "one draw carries" in wild.method


def test_what_q_cannot_produce_is_infinite():
    half = sd.Density(lambda x: np.where(x[..., 0] > 0, math.log(2), -np.inf) + sd.standard_normal(2).logpdf(x), dim=2,
                      sample=lambda n, seed: np.abs(sd.standard_normal(2).sample(n, seed)) * [1, -1], score=lambda x: -x)  # fmt: skip
    for name in ("kullback_leibler", "fisher_divergence"):
        assert getattr(sampled, name)(sd.standard_normal(2), half, n=100, seed=0).lo == math.inf
    assert sampled.total_variation(sd.standard_normal(2), half, n=100, seed=0).hi <= 1.0


def test_chi_squared_is_proven_infinite_where_a_tail_is_too_heavy():
    q = sd.GaussianMixture([0.5, 0.5], [[0.0, 0.0], [1.0, 0.0]], [[0.6, 1.0], [0.9, 1.0]])
    for covs, infinite in (([[1.0, 1.9]] * 2, False), ([[1.0, 2.0], [1.1, 1.0]], True), ([[1.7, 1.0]] * 2, False)):
        p = sd.GaussianMixture([0.5, 0.5], [[0.0, 0.0], [3.0, 0.0]], covs)
        e = sampled.chi_squared(p, q, n=100, seed=0)
        assert (e.lo == math.inf) == infinite
    turned = sd.Gaussian([0.0, 0.0], [[1.6, 0.6], [0.6, 1.6]])  # variances 2.2 and 1.0
    assert sampled.chi_squared(turned, sd.standard_normal(2), n=100, seed=0).lo == math.inf == sd.chi_squared(turned, sd.standard_normal(2)).lo


def test_moment_bounds_hold_against_sums_on_a_fine_grid():
    """log E_p e^{sL}, E_p (L - t)_+ and E_p[e^L; L > t] of random mixtures; equality for one component."""
    rng = np.random.default_rng(3)
    x = np.linspace(-40, 40, 40_001)
    for _ in range(30):
        p, q = mixture(rng), mixture(rng)
        known = moments(p, q)
        lp, lq = p.logpdf(x[:, None]), q.logpdf(x[:, None])
        for s, bound in zip(known.orders, known.log_moment, strict=True):
            if bound < 100:
                total = math.log(np.exp((1 + s) * lp - s * lq).sum() * 0.002)
                assert total <= bound + 1e-9  # the sum errs by its cut at 40: less than e^-100
                if len(p.weights) == len(q.weights) == 1:
                    assert abs(total - bound) <= 1e-9
        for t in (0.5, 2.0, 5.0):
            with np.errstate(over="ignore"):
                assert (np.exp(lp) * np.maximum(lp - lq - t, 0)).sum() * 0.002 <= known.excess(t) + 1e-12
                assert (np.exp(lp + np.minimum(lp - lq, 700)) * (lp - lq > t)).sum() * 0.002 <= known.tilted_tail(t) + 1e-12
        assert sd.kullback_leibler(p, q).value <= known.divergence and sd.chi_squared(p, q).lo <= known.chi_squared


def test_moment_bounds_of_one_component_are_closed_forms():
    p, q = sd.Gaussian([1.0, 0.0], [[1.0, 0.3], [0.3, 0.8]]), sd.Gaussian([0.0, 0.2], [1.2, 0.9])
    known = moments(p, q)
    assert 0 <= known.divergence - closed.kullback_leibler(p, q).value <= 1e-13
    assert 0 <= known.chi_squared - closed.chi_squared(p, q).value <= 1e-11
    same = sd.GaussianMixture([0.5, 0.5], [[0.0], [3.0]], 1.0)
    assert moments(same, sd.GaussianMixture([0.5, 0.5], [[3.0], [0.0]], 1.0)).divergence <= 1e-4  # the pairs are matched, not taken in order
    far = moments(sd.Gaussian([0.0], 1e6), sd.Gaussian([0.0], 1.0))  # beyond all orders
    assert np.isinf(far.log_moment).all() and math.isfinite(far.divergence)
    assert sampled.kullback_leibler(sd.Gaussian([0.0], 1e6), sd.Gaussian([0.0], 1.0), n=100, seed=0).level in ("asymptotic", "heuristic")
    many = sd.GaussianMixture(np.full(300, 1 / 300), np.arange(300.0)[:, None], 1.0)
    assert moments(many, many.noised(sd.Kernel(1.0, 0.1))) is None


def test_kl_stays_below_the_log_sum_bound():
    p, q = sd.standard_normal(1), sd.Gaussian([0.0], 1.01)
    e = sampled.kullback_leibler(p, q, n=50, seed=0)
    assert e.lo == 0.0 and sd.kullback_leibler(p, q).value <= e.hi <= 1.001 * sd.kullback_leibler(p, q).value


def test_normal_interval_is_the_formula():
    e = sampled.fisher_divergence(P, Q, n=500, seed=0)
    x = np.concatenate(list(sampled._blocks(P, 500, sampled.seed_words(0, "fisher_divergence: p"), 1)))
    z = ((P.score(x) - Q.score(x)) ** 2)[:, 0]
    assert e.value == np.mean(z) and abs(0.5 * e.width - concentration.normal(z, 1e-6)) <= 1e-12
