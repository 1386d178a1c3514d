"""The law engine for noisy chains on the line: closed recursions, known values, error estimates that cover, and laws that obey the protocol."""

import math
from itertools import pairwise

import numpy as np
import pytest
from scipy.special import ndtr

import scoresde as sd
from scoresde import grid, kernel, scheme
from scoresde.engine import line as engine
from scoresde.engine.line import propagate_line
from scoresde.laws._resolve import gauss_legendre

GM3 = sd.GaussianMixture([0.3, 0.45, 0.25], [[-2.0], [0.4], [2.2]], [0.25, 0.16, 0.36])
NORMAL = sd.standard_normal(1)
SHARP = sd.GaussianMixture([0.3, 0.45, 0.25], [[-2.0], [0.4], [2.2]], 4e-4)
SCORE = sd.score.exact(GM3)
EPS = 2.0**-52


def run(table, score=SCORE, start=NORMAL, **options):
    return propagate_line(table, score, start, **options)


def apart(p, q, lo=-15.0, hi=15.0):
    """TV distance of two smooth laws; a Riemann sum of |p - q| over a thousand nodes a unit, good to a relative 1e-3."""
    x = np.linspace(lo, hi, 30001)[:, None]
    return 0.5 * np.abs(p.pdf(x) - q.pdf(x)).sum() * (hi - lo) / 30000


def one_evaluation(name, tau, u):
    """(a, c, R) of y' = a y + c s + sqrt(R) z from tau to u: the recursions of each scheme, written out by hand."""
    h = tau - u
    sigma2 = lambda t: -math.expm1(-2 * t)  # noqa: E731
    return {
        "euler_maruyama": (1 + h, 2 * h, 2 * h),
        "exponential_relative": (2 - math.exp(-h), -2 * math.expm1(-h), -math.expm1(-2 * h)),
        "exponential_absolute": (math.exp(h), 2 * math.expm1(h), math.expm1(2 * h)),
        "beta": (math.exp(h), 2 * math.sinh(h), -math.expm1(-2 * h)),
        "posterior": (math.exp(h), 2 * math.sinh(h), -math.expm1(-2 * h) * sigma2(u) / sigma2(tau)),
    }[name]


def table_of(name, times):
    return scheme.ancestral(times, name) if name in ("beta", "posterior") else getattr(scheme, name)(times)


def gaussian_score(mu, v):
    """The exact score of N(mu, v) as a bare function: nothing tells the engine that it is affine."""

    def score(t, x):
        return -(x - math.exp(-t) * mu) / (math.exp(-2 * t) * v - math.expm1(-2 * t))

    score.dim = 1
    return score


def recursion(name, times, mu, v):
    """Mean and variance of the chain, from A = a - c / v_tau."""
    mean, var = 0.0, 1.0
    for tau, u in pairwise(times):
        a, c, R = one_evaluation(name, tau, u)
        v_tau, mu_tau = math.exp(-2 * tau) * v - math.expm1(-2 * tau), math.exp(-tau) * mu
        mean, var = (a - c / v_tau) * mean + c * mu_tau / v_tau, (a - c / v_tau) ** 2 * var + R
    return mean, var


# ---- against closed recursions and known values --------------------------------------------------------------------------------------


@pytest.mark.parametrize("mu, v", [(1.3, 0.3), (-0.5, 0.01), (0.0, 2.5)])
@pytest.mark.parametrize("name", ["euler_maruyama", "exponential_relative", "exponential_absolute", "beta", "posterior"])
def test_a_gaussian_target_gives_the_closed_recursion_out_to_twelve_standard_deviations(name, mu, v):
    times = grid.uniform(6.0, 60, stop=0.05)
    mean, var = recursion(name, times, mu, v)
    law, sd_ = run(table_of(name, times), gaussian_score(mu, v)), math.sqrt(var)
    assert abs(law.mean()[0] - mean) <= 1e-12 * sd_ and abs(law.cov()[0, 0] / var - 1) <= 1e-12
    x = mean + sd_ * np.linspace(-12, 12, 481)
    z = (x - mean) / sd_
    # a sum of positive terms; rounding of the exponents, up to 72, over 60 steps: 60 * 72 eps
    assert np.abs(law.logpdf(x[:, None]) + 0.5 * z * z + math.log(sd_ * math.sqrt(2 * math.pi))).max() <= 60 * 72 * EPS
    assert np.abs(law.score(x[:, None])[:, 0] * sd_ + z).max() <= 1e-11
    assert np.abs(law.cdf(x[:, None]) / ndtr(z) - 1).max() <= 1e-10 and np.abs(law.sf(x[:, None]) / ndtr(-z) - 1).max() <= 1e-10
    assert law.error <= 1e-12


def test_a_planted_wrong_coefficient_is_seen():
    """Negative control: one noise coefficient of sixty wrong by a relative 1e-9."""
    times = grid.uniform(6.0, 60)
    table = scheme.euler_maruyama(times)
    c = table.c[:, 0].copy()
    c[50] *= 1 + 1e-9
    wrong = sd.Table(times, table.a, table.b, c)
    var = recursion("euler_maruyama", times, 1.3, 0.3)[1]
    right = run(table, gaussian_score(1.3, 0.3)).cov()[0, 0]
    assert abs(right - var) <= 1e-14 < 1e-12 <= abs(run(wrong, gaussian_score(1.3, 0.3)).cov()[0, 0] - var)


# N = 60 and 480 by a dense trapezoidal sum in 80-bit arithmetic, the others by prototypes to the figures given
KNOWN = [
    (scheme.euler_maruyama(grid.uniform(6.0, 30)), 0.22012103248, 1e-11),
    (scheme.euler_maruyama(grid.uniform(6.0, 60)), 0.143223141992876, 5e-15),
    (scheme.euler_maruyama(grid.uniform(6.0, 120)), 0.079471066076167, 5e-15),
    (scheme.euler_maruyama(grid.uniform(6.0, 240)), 0.041088425817, 1e-12),
    (scheme.euler_maruyama(grid.uniform(6.0, 480)), 0.0207931076771824, 5e-15),
    (scheme.predictor_corrector(grid.uniform(6.0, 60), steps=1, step=0.05), 0.09645854, 6e-9),
    (scheme.predictor_corrector(grid.uniform(6.0, 60), steps=4, step=0.05), 0.04971404, 6e-9),
]


@pytest.mark.parametrize("table, truth, figures", KNOWN, ids=lambda x: f"{x.name}{x.rows}" if isinstance(x, sd.Table) else "")
def test_total_variation_of_three_components_is_the_known_value(table, truth, figures):
    law = run(table)
    tv, twins = (sd.total_variation(x, GM3).value for x in (law, law.twin))
    assert abs(tv - truth) <= figures + law.error
    assert abs(tv - twins) <= law.error <= 1e-12


def test_kullback_leibler_of_the_target_from_the_chain_is_the_known_value():
    for steps, truth in ((30, 0.141315761), (60, 0.0656328), (120, 0.0231182)):
        assert abs(sd.kullback_leibler(GM3, run(scheme.euler_maruyama(grid.uniform(6.0, steps)))).value - truth) <= 5e-8


HARD = {
    "geometric, last step 5e-6": (GM3, scheme.euler_maruyama(grid.geometric(6.0, 200, stop=1e-4))),
    "components of sd .02": (SHARP, scheme.euler_maruyama(grid.geometric(6.0, 200, stop=1e-4))),
    "sd .02, last slopes near -60": (SHARP, scheme.euler_maruyama(grid.uniform(6.0, 480))),
    "two points but for sd .001": (sd.GaussianMixture([0.5, 0.5], [[-1.0], [1.0]], 1e-6), scheme.euler_maruyama(grid.geometric(6.0, 200, stop=1e-4))),
    "first steps of 1": (GM3, scheme.euler_maruyama(grid.uniform(6.0, 6))),
}


@pytest.mark.parametrize("name", HARD)
def test_hard_chains_reach_twelve_digits_and_a_finer_run_agrees(name):
    target, table = HARD[name]
    law = run(table, sd.score.exact(target))
    finer = engine._run(table, sd.score.exact(target), NORMAL, engine.blocks_of(table), 1e-8, 0.6, "last")[-1]
    assert law.error <= 1e-12
    tv, again = (sd.total_variation(x, target).value for x in (law, finer))
    assert abs(tv - again) <= law.error + finer.error


# ---- the error estimate --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tolerance", [1e-1, 1e-2, 1e-3])
def test_the_error_estimate_covers_the_error_and_stays_below_the_tolerance(tolerance):
    targets = (GM3, sd.GaussianMixture([0.3, 0.45, 0.25], [[-2.0], [0.4], [2.2]], 0.01), sd.GaussianMixture([0.5, 0.5], [[-3.0], [3.0]], 0.05))
    tables = (
        scheme.euler_maruyama(grid.uniform(6.0, 12)),
        scheme.euler_maruyama(grid.uniform(6.0, 100)),
        scheme.ancestral(grid.uniform(4.0, 30), "beta"),
    )
    seen = []
    for target in targets:
        for table in tables:
            reference = run(table, sd.score.exact(target), tolerance=1e-9)
            law = run(table, sd.score.exact(target), tolerance=tolerance)
            true = apart(law, reference)
            assert true <= law.error + reference.error + 1e-14 and law.error <= tolerance
            assert apart(law.twin, reference) <= 1.1 * law.error + reference.error + 1e-14
            seen.append(true)
    assert max(seen) > 1e-12  # the grids were coarse enough for the estimate to be put to the test


def test_a_score_with_kinks_is_covered_or_refused():
    rng = np.random.default_rng(0)
    w, b, v = rng.normal(size=16), rng.normal(size=16), rng.normal(size=16) / 16
    kinked = lambda t, x: SCORE(t, x) + 0.3 * (np.maximum(x * w + b, 0.0) @ v)[:, None]  # noqa: E731
    table = scheme.euler_maruyama(grid.uniform(3.0, 30))
    reference, law = run(table, kinked, tolerance=1e-8), run(table, kinked, tolerance=1e-5)
    assert apart(law, reference) <= law.error + reference.error and law.error > 1e-10
    jump = lambda t, x: SCORE(t, x) + 0.1 * np.sign(x - 0.3)  # noqa: E731
    with pytest.raises(sd.NotTrusted, match=r"two resolutions .* differ by .* raise tolerance="):
        run(table, jump, tolerance=1e-9)


def test_a_score_in_single_precision_is_seen_in_the_error():
    single = lambda t, x: SCORE(t, x).astype(np.float32).astype(np.float64)  # noqa: E731
    table = scheme.euler_maruyama(grid.uniform(6.0, 60))
    law = run(table, single, tolerance=1e-6)
    assert 1e-11 <= law.error <= 1e-6
    assert apart(law, run(table)) <= 1e-6  # float32 has 24 bits; sixty steps


def test_a_score_may_fail_where_the_law_has_no_mass_and_nowhere_else():
    table = scheme.euler_maruyama(grid.uniform(6.0, 60))
    nowhere = lambda reach: lambda t, x: np.where(np.abs(x) > reach, np.nan, SCORE(t, x))  # noqa: E731
    assert apart(run(table, nowhere(11.5)), run(table)) <= 1e-13
    with pytest.raises(ValueError, match=r"score: got nan in rows .* allowed are finite values"):
        run(table, nowhere(5.0))


# ---- structure -----------------------------------------------------------------------------------------------------------------------


def test_marginals_are_the_laws_of_shorter_chains_and_restart_them():
    times = grid.uniform(6.0, 40)
    laws = run(scheme.euler_maruyama(times), keep="all")
    assert len(laws) == 41 and laws[0] is NORMAL and all(law.error <= 1e-12 for law in laws[1:])
    for k in (1, 7, 40):
        assert apart(laws[k], run(scheme.euler_maruyama(times[: k + 1]))) <= 1e-13
    restarted = run(scheme.euler_maruyama(times[20:]), start=laws[20])
    assert apart(restarted, laws[-1]) <= 1e-13 and restarted.error >= laws[20].error


def test_states_are_kept_and_stages_are_not():
    laws = run(scheme.predictor_corrector(grid.uniform(2.0, 5), steps=2, step=0.05), keep="all")
    assert len(laws) == 6
    whole = scheme.langevin(step=0.05, steps=2) @ scheme.euler_maruyama([0.4, 0.0])
    assert apart(laws[5], run(whole, start=laws[4])) <= 1e-13


def test_noise_then_map_then_noise_is_one_chain():
    first, flow, last = (
        scheme.euler_maruyama(grid.uniform(3.0, 5, stop=2.0)),
        scheme.flow_heun(grid.uniform(2.0, 5, stop=1.0)),
        scheme.euler_maruyama(grid.uniform(1.0, 5)),
    )
    laws = run(last @ flow @ first, keep="all")
    assert len(laws) == 16
    in_parts = run(last, start=run(flow, start=run(first)))
    assert apart(laws[-1], in_parts) <= laws[-1].error + in_parts.error + 1e-13
    assert apart(laws[10], run(flow, start=laws[5]), -8, 8) <= 1e-11


def test_forward_chain_without_a_score_noises_a_mixture_exactly():
    steps = [0.1, 0.3, 0.7, 0.2]
    law, exact = run(scheme.forward_euler_maruyama(steps), None, GM3), GM3.noised(kernel.euler_maruyama(steps))
    x = np.linspace(-9, 9, 301)[:, None]
    assert np.abs(law.logpdf(x) - exact.logpdf(x)).max() <= 1e-12


@pytest.mark.parametrize("start", [
    sd.Uniform([-1.0], [1.0]), sd.SmoothedBox([-1.0], [1.0], 0.01), sd.GaussianMixture([0.5, 0.5], [[-1.0], [1.0]], [1e-6, 1.0]),
    sd.Density(lambda x: -np.abs(x[..., 0]) - math.log(2.0), dim=1, name="Laplace"),
], ids=["uniform", "smoothed box", "narrow and wide", "Laplace"])  # fmt: skip
def test_any_start_is_followed(start):
    """One step of a linear chain against direct quadrature of the start: x' = .9 x + .4 z."""
    law = run(sd.Table([1.0, 0.5], 0.9, 0.0, 0.4), None, start)
    edges = start.breakpoints()
    assert law.error <= 1e-11
    for x in (-1.3, 0.2, 2.5):
        parts = [np.linspace(a, b, max(2, math.ceil((b - a) / 0.05) + 1)) for a, b in pairwise(edges)]
        y, w = gauss_legendre(np.unique(np.concatenate(parts)))
        direct = (w * start.pdf(y[:, None]) * np.exp(-((x - 0.9 * y) ** 2) / 0.32)).sum() / math.sqrt(0.32 * math.pi)
        assert law.pdf(np.array([x])) == pytest.approx(direct, rel=1e-11)


def test_point_masses_become_a_mixture_in_one_step():
    points, h = np.array([[-1.0], [0.5], [0.5], [2.0]]), 0.25
    law = run(scheme.euler_maruyama([h, 0.0]), start=sd.Empirical(points))
    images = (1 + h) * points + 2 * h * SCORE(h, points)
    mixture = sd.GaussianMixture(np.full(4, 0.25), images, 2 * h)
    x = np.linspace(-8, 8, 201)[:, None]
    assert np.abs(law.logpdf(x) - mixture.logpdf(x)).max() <= 1e-12


def test_chains_without_a_law_engine_are_refused_with_a_remedy():
    with pytest.raises(sd.NoMethod, match=r"noise enters a later score .* simulate\(table"):
        run(scheme.stochastic_heun(grid.uniform(2.0, 4)))
    with pytest.raises(sd.NotTrusted, match=r"grid of .* points .* noise of a step is too small"):
        run(sd.Table([1.0, 0.9, 0.8], 1.0, 0.1, [0.3, 1e-9]))
    with pytest.raises(ValueError, match="score: got shape"):
        run(scheme.euler_maruyama([1.0, 0.0]), lambda t, x: x[:, 0])


def test_breakpoints_resolve_the_law():
    for target, steps in ((GM3, 240), (sd.GaussianMixture([0.5, 0.5], [[-1.0], [1.0]], 1e-4), 60)):
        law = run(scheme.euler_maruyama(grid.geometric(6.0, steps, stop=1e-3)), sd.score.exact(target))
        x, w = gauss_legendre(law.breakpoints())
        q = law.pdf(x[:, None])
        assert (w * q).sum() == pytest.approx(1, abs=1e-13) and (w * q) @ x == pytest.approx(law.mean()[0], abs=1e-13)
        assert (w * q) @ x**2 == pytest.approx(law.second_moment(), rel=1e-12)
        entropy = -(w * q) @ law.logpdf(x[:, None])
        x, w = gauss_legendre(np.sort(np.append(law.breakpoints(), 0.5 * (law.breakpoints()[1:] + law.breakpoints()[:-1]))))
        assert -(w * law.pdf(x[:, None])) @ law.logpdf(x[:, None]) == pytest.approx(entropy, abs=1e-12)


def test_draws_follow_the_law_and_growing_n_keeps_them():
    law, n = run(scheme.euler_maruyama(grid.uniform(6.0, 30))), 20_000
    x = law.sample(n, seed=3)
    assert x.shape == (n, 1) and np.array_equal(law.sample(7, seed=3), x[:7])
    limit = math.sqrt(math.log(2 / 1e-6) / (2 * n))  # Dvoretzky-Kiefer-Wolfowitz with Massart's constant, level 1e-6
    order = np.sort(x, axis=0)
    distance = lambda q: np.abs(q.cdf(order) - (np.arange(n) + 0.5) / n).max() + 0.5 / n  # noqa: E731
    assert distance(law) <= limit < distance(GM3)
