"""The law of a chain while no noise enters: probability-flow schemes, multistep memory, noise-free last steps; folds are refused."""

import math
from itertools import pairwise

import numpy as np
import pytest
from scipy.special import ndtr

import scoresde as sd
from scoresde import grid, kernel, scheme
from scoresde.engine.chain import evolve
from scoresde.engine.line import propagate_line
from scoresde.laws import monotone
from scoresde.laws._resolve import chebyshev, gauss_legendre
from scoresde.laws.line import Line
from scoresde.laws.monotone import Monotone

GM3 = sd.GaussianMixture([0.3, 0.45, 0.25], [[-2.0], [0.4], [2.2]], [0.25, 0.16, 0.36])
NORMAL = sd.standard_normal(1)
SCORE = sd.score.exact(GM3)
FLOWS = {
    "flow_euler": scheme.flow_euler(grid.uniform(6.0, 60)),
    "flow_heun": scheme.flow_heun(grid.uniform(6.0, 30)),
    "dpm_solver_pp_2m": scheme.dpm_solver_pp_2m(grid.log_snr(6.0, 20, stop=0.01)),
    "ddim": scheme.ddim(grid.uniform(6.0, 60)),
}


def run(table, score=SCORE, start=NORMAL, **options):
    return propagate_line(table, score, start, **options)


def gaussian_score(mu, v):
    """The exact score of N(mu, v) as a bare function: nothing tells the engine that it is affine."""

    def score(t, x):
        return -(x - math.exp(-t) * mu) / (math.exp(-2 * t) * v - math.expm1(-2 * t))

    score.dim = 1
    return score


# ---- against closed recursions and known values --------------------------------------------------------------------------------------


def heun(tau, u, mu, v):
    """(A, B) of y' = A y + B for the probability-flow Heun step with the score of N(mu, v)."""
    h = tau - u
    (mt, vt), (mu_u, vu) = ((math.exp(-t) * mu, math.exp(-2 * t) * v - math.expm1(-2 * t)) for t in (tau, u))
    a, b = 1 + h - h / vt, h * mt / vt
    return 1 + 0.5 * h * ((1 - 1 / vt) + (1 - 1 / vu) * a), 0.5 * h * (mt / vt + (1 - 1 / vu) * b + mu_u / vu)


def ddim(tau, u, mu, v):
    h, st, su = tau - u, math.sqrt(-math.expm1(-2 * tau)), math.sqrt(-math.expm1(-2 * u))
    vt = math.exp(-2 * tau) * v + st * st
    c = math.exp(h) * st * st - st * su
    return math.exp(h) - c / vt, c * math.exp(-tau) * mu / vt


def euler(tau, u, mu, v):
    h, vt = tau - u, math.exp(-2 * tau) * v - math.expm1(-2 * tau)
    return 1 + h - h / vt, h * math.exp(-tau) * mu / vt


@pytest.mark.parametrize("mu, v", [(1.3, 0.3), (-0.5, 0.02), (0.0, 2.5)])
@pytest.mark.parametrize("name, step", [("flow_heun", heun), ("ddim", ddim), ("flow_euler", euler)])
def test_a_gaussian_target_gives_the_closed_recursion(name, step, mu, v):
    times = grid.uniform(6.0, 60)
    slope, mean = 1.0, 0.0
    for tau, u in pairwise(times):
        a, b = step(tau, u, mu, v)
        slope, mean = a * slope, a * mean + b
    law, scale = run(getattr(scheme, name)(times), gaussian_score(mu, v)), abs(slope)
    assert abs(law.mean()[0] - mean) <= 1e-12 and abs(law.cov()[0, 0] / slope**2 - 1) <= 1e-12
    z = np.linspace(-12, 12, 241)
    x = (mean + scale * z)[:, None]
    # F is a fit to values that are rounded; its derivative amplifies that by the degree squared over the range of F on a panel
    assert np.abs(law.logpdf(x) + 0.5 * z * z + math.log(scale * math.sqrt(2 * math.pi))).max() <= 1e-11
    assert np.abs(law.cdf(x) / ndtr(z) - 1).max() <= 1e-11 and np.abs(law.sf(x) / ndtr(-z) - 1).max() <= 1e-11
    assert np.abs(law.score(x)[:, 0] * scale + z).max() <= 1e-8 and np.abs(law.score_jacobian(x)[:, 0, 0] * scale**2 + 1).max() <= 1e-6
    u = np.array([1e-9, 0.2, 0.5, 0.999])
    assert np.abs(law.quantile(u)[:, 0] - mean - scale * NORMAL.quantile(u)[:, 0]).max() <= 1e-11
    assert law.error <= 1e-11


@pytest.mark.parametrize("name, truth", [("flow_euler", 0.0914369910355), ("flow_heun", 0.0957306261242)])
def test_total_variation_of_the_probability_flow_is_the_known_value(name, truth):
    law = run(FLOWS[name])
    tv, twins = (sd.total_variation(x, GM3).value for x in (law, law.twin))
    assert abs(tv - truth) <= 6e-14 + law.error and abs(tv - twins) <= law.error <= 1e-11


def test_a_multistep_scheme_carries_its_memory():
    law, target = run(FLOWS["dpm_solver_pp_2m"]), GM3.noised(kernel.ornstein_uhlenbeck(0.01))
    assert abs(sd.total_variation(law, target).value - 0.0124103425491) <= 6e-14 + law.error
    forgetful = scheme.ddim(grid.log_snr(6.0, 20, stop=0.01))  # control: the same grid and parametrisation without the memory
    assert abs(sd.total_variation(run(forgetful), target).value - 0.0124103425491) > 1e-2


def test_a_planted_wrong_coefficient_is_seen():
    """Negative control: one of sixty coefficients wrong by a relative 1e-10 moves the median by more than the error that is stated."""
    table = FLOWS["flow_euler"]
    b = table.b[:, 0].copy()
    b[40] *= 1 + 1e-10
    wrong = run(sd.Table(table.times, table.a, b, table.c))
    u = np.array([0.2, 0.5, 0.8])
    moved = evolve(table, SCORE, 0, table.rows, NORMAL.quantile(u)[:, 0])[-1]
    assert np.abs(run(table).quantile(u)[:, 0] - moved).max() <= 1e-13
    assert np.abs(wrong.quantile(u)[:, 0] - moved).max() > 1e-12


# ---- the law is the image of the start ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FLOWS)
def test_distribution_function_and_density_are_those_of_the_image(name):
    table, law = FLOWS[name], run(FLOWS[name])
    x = np.linspace(-6.3, 6.1, 1001)
    y = evolve(table, SCORE, 0, table.rows, x)[-1]
    assert np.abs(law.cdf(y[:, None]) / ndtr(x) - 1).max() <= 1e-12 and np.abs(law.sf(y[:, None]) / ndtr(-x) - 1).max() <= 1e-12
    # the density integrates to the distribution function over any interval
    nodes, w = gauss_legendre(np.union1d(law.breakpoints(), [-1.0, 1.0]))
    w = w * law.pdf(nodes[:, None])
    inside = (nodes > -1) & (nodes < 1)
    assert w.sum() == pytest.approx(1, abs=1e-11) and w[inside].sum() == pytest.approx(np.diff(law.cdf(np.array([[-1.0], [1.0]])))[0], abs=1e-11)
    assert w @ nodes == pytest.approx(law.mean()[0], abs=1e-11) and w @ nodes**2 == pytest.approx(law.second_moment(), abs=1e-11)
    # scores are the derivatives: fourth-order differences at a step of 1e-3, error h^4/30 |f^(5)|
    z, h = law.quantile(np.linspace(0.05, 0.95, 19)), 1e-3
    for f, g in ((law.logpdf, lambda q: law.score(q)[:, 0]), (lambda q: law.score(q)[:, 0], lambda q: law.score_jacobian(q)[:, 0, 0])):
        slope = (8 * (f(z + h) - f(z - h)) - (f(z + 2 * h) - f(z - 2 * h))) / (12 * h)
        assert np.abs(slope - g(z)).max() <= 1e-5 * (1 + np.abs(g(z)).max())


def test_a_law_on_the_way_is_the_law_of_the_shorter_chain():
    for name in ("flow_heun", "dpm_solver_pp_2m"):
        table = FLOWS[name]
        laws = run(table, keep="all")
        assert len(laws) == len(table.states) and laws[0] is NORMAL and max(law.error for law in laws[1:]) <= 1e-11
        x = np.linspace(-5, 5, 401)
        ys = evolve(table, SCORE, 0, table.rows, x)
        for k in (1, len(laws) // 2, len(laws) - 1):
            y = ys[table.states[k] - 1]
            assert np.abs(laws[k].cdf(y[:, None]) - ndtr(x)).max() <= 1e-13


@pytest.mark.parametrize("table", [
    scheme.ancestral(grid.uniform(6.0, 60), "beta", last_noise=False), scheme.ancestral(grid.uniform(6.0, 60), "posterior"),
    scheme.denoise_last(scheme.euler_maruyama(grid.uniform(6.0, 60, stop=0.05))),
], ids=["last_noise=False", "posterior to 0", "denoised"])  # fmt: skip
def test_a_noise_free_last_step_pushes_the_noisy_chain_forward(table):
    laws = run(table, keep="all")
    before, law = laws[-2], laws[-1]
    assert before.flow is None and law.flow is not None and before.error <= 1e-13 and law.error <= 1e-11
    x = before.quantile(np.linspace(1e-6, 1 - 1e-6, 401))
    y = evolve(table, SCORE, table.rows - 1, table.rows, x[:, 0])[-1]
    assert np.abs(law.cdf(y[:, None]) - before.cdf(x)).max() <= 1e-13
    assert abs(sd.total_variation(law, GM3).value - sd.total_variation(law.twin, GM3).value) <= law.error


def test_ancestral_without_last_noise_has_the_closed_law_of_a_gaussian_target():
    mu, v, times = 1.3, 0.3, grid.uniform(6.0, 60)
    mean, var = 0.0, 1.0
    for k, (tau, u) in enumerate(pairwise(times)):
        h, vt = tau - u, math.exp(-2 * tau) * v - math.expm1(-2 * tau)
        A = math.exp(h) - 2 * math.sinh(h) / vt
        mean, var = A * mean + 2 * math.sinh(h) * math.exp(-tau) * mu / vt, A * A * var - math.expm1(-2 * h) * (k < 59)
    law = run(scheme.ancestral(times, "beta", last_noise=False), gaussian_score(mu, v))
    z = np.linspace(-10, 10, 101)
    x = (mean + math.sqrt(var) * z)[:, None]
    assert np.abs(law.logpdf(x) + 0.5 * z * z + 0.5 * math.log(2 * math.pi * var)).max() <= 1e-11


def test_a_decreasing_map_mirrors_the_law():
    law = run(sd.Table([1.0, 0.5], -0.5, 0.0, 0.0), None, GM3)
    mirrored = sd.GaussianMixture([0.25, 0.45, 0.3], [[-1.1], [-0.2], [1.0]], [0.09, 0.04, 0.0625])
    x = np.linspace(-5, 5, 301)[:, None]
    assert np.abs(law.logpdf(x) - mirrored.logpdf(x)).max() <= 1e-11 and np.abs(law.score(x) - mirrored.score(x)).max() <= 1e-9
    assert np.abs(law.cdf(x) - mirrored.cdf(x)).max() <= 1e-14 and np.abs(law.sf(x) - mirrored.sf(x)).max() <= 1e-14
    u = np.array([0.0, 1e-3, 0.4, 0.999, 1.0])
    assert np.allclose(law.quantile(u), mirrored.quantile(u), rtol=1e-11)
    half = law.noised(kernel.Kernel(-0.5, 0.0))
    assert half.cdf(-0.5 * x) == pytest.approx(law.sf(x), abs=1e-14)
    noisy = run(sd.Table([1.0, 0.5, 0.4], [1.0, -0.5], 0.0, [0.3, 0.0]), None, GM3)  # a cloud, then the mirror
    assert noisy.quantile([0.9]) == pytest.approx(-0.5 * GM3.noised(kernel.Kernel(1.0, 0.09)).quantile([0.1]), abs=1e-12)


def test_noising_and_denoising_an_image_are_its_integrals():
    law, k = run(FLOWS["flow_heun"]), kernel.Kernel(0.9, 0.04)
    edges = law.breakpoints()
    x, w = gauss_legendre(np.sort(np.append(edges, 0.5 * (edges[1:] + edges[:-1]))))
    w = w * law.pdf(x[:, None])
    y = np.linspace(-4, 4, 81)
    joint = w * np.exp(-((y[:, None] - 0.9 * x) ** 2) / 0.08) / math.sqrt(0.08 * math.pi)
    q = joint.sum(1)
    mean, square = joint @ x / q, joint @ x**2 / q
    noised = law.noised(k)
    assert np.abs(noised.pdf(y[:, None]) - q).max() <= 1e-11 and noised.error == law.error and noised.twin is not None
    assert np.abs(law.denoise(y[:, None], k)[:, 0] - mean).max() <= 1e-10
    assert np.abs(law.denoise_cov(y[:, None], k)[:, 0, 0] - (square - mean**2)).max() <= 1e-10


def test_draws_are_images_of_the_start_s_draws():
    law, n = run(FLOWS["flow_euler"]), 20_000
    x = law.sample(n, seed=5)
    assert np.array_equal(law.sample(9, seed=5), x[:9])
    order, limit = np.sort(x, axis=0), math.sqrt(math.log(2 / 1e-6) / (2 * n))  # Dvoretzky-Kiefer-Wolfowitz, level 1e-6
    distance = lambda q: np.abs(q.cdf(order) - (np.arange(n) + 0.5) / n).max() + 0.5 / n  # noqa: E731
    assert distance(law) <= limit < distance(GM3)


def test_point_masses_stay_point_masses():
    points = np.array([[-1.0], [0.5], [2.0]])
    table = scheme.flow_heun(grid.uniform(1.0, 10))
    laws = run(table, start=sd.Empirical(points, [0.2, 0.3, 0.5]), keep="all")
    assert len(laws) == 11 and all(isinstance(law, sd.Empirical) for law in laws)
    assert np.array_equal(laws[-1].points[:, 0], evolve(table, SCORE, 0, table.rows, points[:, 0])[-1])


def test_a_bounded_start_stays_bounded():
    law = run(FLOWS["flow_heun"], start=sd.Uniform([-1.0], [1.0]))
    ends = evolve(FLOWS["flow_heun"], SCORE, 0, FLOWS["flow_heun"].rows, np.array([-1.0, 1.0]))[-1]
    assert law.pdf(np.array([[ends[0] - 1e-6], [ends[1] + 1e-6]])).tolist() == [0.0, 0.0]
    assert np.allclose(law.breakpoints()[[0, -1]], ends, atol=1e-12)
    x, w = gauss_legendre(law.breakpoints())
    assert (w * law.pdf(x[:, None])).sum() == pytest.approx(1, abs=1e-11)


# ---- what is hard, and what is refused ------------------------------------------------------------------------------------------------


def test_a_gap_that_no_mass_crosses_is_bridged():
    """Two points but for standard deviation .001: F jumps from -1 to 1 within the spacing of doubles."""
    target, table = sd.GaussianMixture([0.5, 0.5], [[-1.0], [1.0]], 1e-6), scheme.flow_heun(grid.geometric(6.0, 60, stop=1e-3))
    law = run(table, sd.score.exact(target))
    assert law.error <= 1e-9 and law.cdf(np.array([[0.0]]))[0] == pytest.approx(0.5, abs=1e-9)
    x = np.concatenate([np.linspace(-5, -0.01, 200), np.linspace(0.01, 5, 200)])
    y = evolve(table, sd.score.exact(target), 0, table.rows, x)[-1]
    assert np.abs(law.cdf(y[:, None]) - ndtr(x)).max() <= 1e-11


def test_folds_are_refused_with_the_remedy():
    for steps in (6, 12):
        with pytest.raises(sd.NotTrusted, match=r"folds: its map turns back between x = .* more, smaller steps"):
            run(scheme.flow_heun(grid.uniform(6.0, steps)))
    with pytest.raises(sd.NotTrusted, match="folds"):
        run(sd.Table([1.0, 0.5], 0.0, 1.0, 0.0), lambda t, x: x * x)


def test_scores_with_jumps_rounding_or_holes_are_refused():
    table = scheme.flow_euler(grid.uniform(6.0, 20))
    with pytest.raises(sd.NotTrusted, match=r"kinks or jumps|two resolutions"):
        run(table, lambda t, x: SCORE(t, x) + 0.05 * np.sin(1e6 * x))
    single = lambda t, x: SCORE(t, x).astype(np.float32).astype(np.float64)  # noqa: E731
    with pytest.raises(sd.NotTrusted, match="two resolutions of flow_euler differ"):
        run(table, single)
    law = run(table, single, tolerance=1e-3)
    x = np.linspace(-3, 3, 101)
    y = evolve(table, single, 0, table.rows, x)[-1]
    assert 1e-9 <= law.error <= 1e-3 and np.abs(law.cdf(y[:, None]) - ndtr(x)).max() <= law.error
    hole = lambda reach: lambda t, x: np.where(np.abs(x) > reach, np.nan, SCORE(t, x))  # noqa: E731
    y = evolve(table, SCORE, 0, table.rows, x)[-1]
    assert np.abs(run(table, hole(12.5)).cdf(y[:, None]) - ndtr(x)).max() <= 1e-12
    with pytest.raises(ValueError, match="score: the noise-free part of the chain started at x"):
        run(table, hole(3.0))


# ---- the map ---------------------------------------------------------------------------------------------------------------------------


def test_chebyshev_coefficients_reproduce_polynomials():
    t, matrix = chebyshev(7)
    c = np.random.default_rng(0).normal(size=8)
    assert np.abs(np.polynomial.chebyshev.chebval(t, c) @ matrix.T - c).max() <= 1e-14


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_monotone_map_its_derivatives_and_its_inverse(sign):
    edges = np.array([-2.0, 0.5, 1.0, 4.0])
    t, matrix = chebyshev(20)
    nodes = 0.5 * (edges[1:] + edges[:-1])[:, None] + 0.5 * np.diff(edges)[:, None] * t
    f = lambda x: x + 0.5 * np.sin(x)  # noqa: E731
    values = np.append(f(edges[:-1]), f(edges[-1]))
    F = Monotone(edges, f(nodes) @ matrix.T, values, 1 + 0.5 * np.cos(edges[[0, -1]]), sign)
    x = np.linspace(-2, 4, 301)
    y = F.at(x)
    for k, exact in enumerate((f(x), 1 + 0.5 * np.cos(x), -0.5 * np.sin(x), -0.5 * np.cos(x))):
        # each derivative amplifies rounding by the degree squared over half a panel's length: Markov's inequality
        assert np.abs(y[k] - sign * exact).max() <= 20 * 2.0**-52 * 4 * (20**2 / 0.25) ** k
    assert np.abs(F.inverse(y[0]) - x).max() <= 1e-14
    beyond = np.array([-5.0, 7.0])
    line = sign * (f(edges[[0, -1]]) + (1 + 0.5 * np.cos(edges[[0, -1]])) * (beyond - edges[[0, -1]]))
    assert np.allclose(F.at(beyond)[0], line, rtol=1e-13) and np.allclose(F.inverse(line), beyond, rtol=1e-13)
    assert np.allclose(F.scaled(-3.0).at(x)[0], -3 * y[0], rtol=1e-13) and np.allclose(F.scaled(-3.0).inverse(-3 * y[0]), x, atol=1e-13)
    # the plain functions say what the compiled ones do
    plain, compiled = np.empty((4, 303)), np.empty((4, 303))
    z = np.append(x, beyond)
    arguments = (F.edges, F.coefficients, F.values, F.slopes)
    monotone.evaluate_py(z, *arguments, plain)
    monotone.evaluate(z, *arguments, compiled)
    assert np.allclose(plain, compiled, rtol=1e-12, atol=1e-12)
    back = np.empty(303), np.empty(303)
    monotone.invert_py(plain[0], *arguments, back[0])
    monotone.invert(plain[0], *arguments, back[1])
    assert np.allclose(*back, rtol=1e-13, atol=1e-13)
    c = F.coefficients[0]
    assert np.allclose(monotone.series_py(c, 0.3), monotone.series(c, 0.3), rtol=1e-12)
    assert np.allclose(monotone.value_py(c, 0.3), monotone.series_py(c, 0.3)[:2], rtol=1e-12)


def test_a_law_without_breakpoints_is_a_start_like_any_other():
    class Logistic:
        dim = 1

        def logpdf(self, x):
            return -np.abs(x[..., 0]) - 2 * np.log1p(np.exp(-np.abs(x[..., 0])))

        def mean(self):
            return np.zeros(1)

        def cov(self):
            return np.full((1, 1), math.pi**2 / 3)

        def cdf(self, x):
            return 1 / (1 + np.exp(-x[..., 0]))

    law = run(sd.Table([1.0, 0.5], 2.0, 0.0, 0.0), None, Logistic())
    assert isinstance(law, Line)
    x = np.array([[-3.0], [0.5]])
    assert np.abs(law.cdf(x) - 1 / (1 + np.exp(-x[:, 0] / 2))).max() <= 1e-14
    assert law.pdf(x) == pytest.approx(np.exp(Logistic().logpdf(x / 2)) / 2, rel=1e-11)
    assert law.second_moment() == pytest.approx(4 * math.pi**2 / 3, rel=1e-7)  # the tails beyond 14 standard deviations
