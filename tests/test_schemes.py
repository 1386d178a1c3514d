"""The schemes of second order and with random times: formulas step by step, orders measured on exact laws, laws against particles."""

import math
from itertools import pairwise

import numpy as np
import pytest

import scoresde as sd
from scoresde import RandomTable, Table, grid, scheme
from scoresde.engine.normals import key, uniforms
from scoresde.engine.randomized import propagate_randomized

PI = sd.targets.gm3
SCORE = sd.score.exact(PI)
G = grid.uniform(1.0, 4, stop=0.1)
V, M = -np.expm1(-2 * G), np.exp(-G)
SIGMA, LAM = np.sqrt(V), np.log(M / np.sqrt(V))


def s(t, y):
    return np.sin(y) - t * y


def run(table, y, z):
    """The recurrence as it is written, row by row, with noises z (rows,)."""
    ys, ss = [y], []
    for r in range(table.rows):
        ss.append(s(table.score_times[r], ys[r]))
        new = sum(table.a[r, j] * ys[r - j] + table.b[r, j] * ss[r - j] for j in range(table.a.shape[1]) if r >= j)
        ys.append(new + sum(table.c[r, l] * z[r - l] for l in range(table.c.shape[1]) if r >= l))
    return ys[-1]


def x0(t, y):
    return (y - np.expm1(-2 * t) * s(t, y)) * np.exp(t)


def by_midpoints(u, z):
    y = 0.3
    for k in range(4):
        h, t, (z1, z2) = G[k] - G[k + 1], G[k], z[2 * k : 2 * k + 2]
        stage = y + u[k] * h * (y + 2 * s(t, y)) + math.sqrt(2 * h * u[k]) * z1
        drift = stage + 2 * s(t - u[k] * h, stage)
        y = y + h * drift + math.sqrt(2 * h) * (math.sqrt(u[k]) * z1 + math.sqrt(1 - u[k]) * z2)
    return y


def by_2m_sde(z):
    y, D = 0.3, []
    for k in range(4):
        D.append(x0(G[k], y))
        H = LAM[k + 1] - LAM[k]
        d = D[k] if k == 0 else D[k] + 0.5 * H / (LAM[k] - LAM[k - 1]) * (D[k] - D[k - 1])
        y = SIGMA[k + 1] / SIGMA[k] * math.exp(-H) * y - M[k + 1] * math.expm1(-2 * H) * d + SIGMA[k + 1] * math.sqrt(-math.expm1(-2 * H)) * z[k]
    return y


def by_pp_sde(z):
    y = 0.3
    for k in range(4):
        H, (z1, z2) = LAM[k + 1] - LAM[k], z[2 * k : 2 * k + 2]
        m = 1 / math.sqrt(1 + math.exp(-LAM[k] - LAM[k + 1]))  # m/sigma at the middle is e^{(lam + lam')/2}
        sigma = math.sqrt(1 - m * m)
        half = math.sqrt(-math.expm1(-H))
        stage = sigma / SIGMA[k] * math.exp(-H / 2) * y - m * math.expm1(-H) * x0(G[k], y) + sigma * half * z1
        noise = SIGMA[k + 1] * half * (math.exp(-H / 2) * z1 + z2)
        y = SIGMA[k + 1] / SIGMA[k] * math.exp(-H) * y - M[k + 1] * math.expm1(-2 * H) * x0(-math.log(m), stage) + noise
    return y


def by_churned_heun(churn, z):
    y, flow = 0.3, lambda t, y: y + s(t, y)
    for k in range(4):
        ratio = (1 + min(churn / 4, math.sqrt(2) - 1)) * SIGMA[k] / M[k]  # of sigma to m after the churn
        up = 0.5 * math.log1p(ratio**2)
        m = math.exp(G[k] - up)
        y = m * y + math.sqrt(1 - m * m) * z[3 * k]
        h = up - G[k + 1]
        stage = y + h * flow(up, y)
        y = y + h / 2 * (flow(up, y) + flow(G[k + 1], stage))
    return y


def test_each_scheme_is_its_formula():
    z = np.random.default_rng(0).standard_normal(12)
    u = np.array([0.1, 0.9, 0.4, 0.6])
    random = scheme.randomized_midpoint(G).at(u[:, None]).particle(0)
    for table, want in (
        (scheme.midpoint(G), by_midpoints(np.full(4, 0.5), z)),
        (random, by_midpoints(u, z)),
        (scheme.dpm_solver_pp_2m_sde(G), by_2m_sde(z)),
        (scheme.dpm_solver_pp_sde(G), by_pp_sde(z)),
        (scheme.churned_heun(G, 0.5), by_churned_heun(0.5, z)),
        (scheme.churned_heun(G, 40.0), by_churned_heun(40.0, z)),
    ):
        assert run(table, 0.3, z) == pytest.approx(want, rel=1e-12), table  # about 50 operations of numbers below 10
    assert run(scheme.churned_heun(G, 0.0), 0.3, z) == pytest.approx(run(scheme.flow_heun(G), 0.3, z), rel=1e-14)


@pytest.mark.parametrize(
    ("make", "least", "most"),
    [
        (scheme.midpoint, 1.9, 2.3),
        (scheme.stochastic_heun, 1.9, 2.1),
        (scheme.dpm_solver_2, 1.9, 2.1),
        (scheme.dpm_solver_pp_2m, 1.8, 2.3),
        (scheme.dpm_solver_pp_2m_sde, 1.8, 2.3),
        (scheme.dpm_solver_pp_sde, 1.9, 2.1),
        (lambda g: scheme.churned_heun(g, 2.0), 1.9, 2.1),
        (scheme.euler_maruyama, 0.9, 1.1),
        (lambda g: scheme.churned_heun(g, 0.2 * (len(g) - 1)), 0.4, 1.1),  # a churn that grows with N, of \sigma in each step, never averages out
    ],
)
def test_measured_orders(make, least, most):
    """W2 of the propagated Gaussian chain, started at p_T, on grids uniform in \\lambda: doubling the steps divides the error by 2^order."""
    pi = sd.Gaussian([1.3], 0.3)
    ends = [np.log(np.exp(-t) / np.sqrt(-np.expm1(-2 * t))) for t in (3.0, 0.1)]
    errors = []
    for steps in (80, 160):
        lam = np.linspace(*ends, steps + 1)
        times = 0.5 * np.log1p(np.exp(-2 * lam))
        start, end = (pi.noised(sd.ornstein_uhlenbeck(t)) for t in times[[0, -1]])
        errors.append(sd.wasserstein2(sd.propagate(make(times), sd.score.exact(pi), start=start), end).value)
    assert least < math.log2(errors[0] / errors[1]) < most, errors


def test_a_last_step_to_the_data_is_the_denoiser():
    """At 0 the noise of DPM-Solver++ 2M SDE is gone and its mean is the prediction of the data."""
    table = scheme.dpm_solver_pp_2m_sde(grid.uniform(1.0, 1))
    assert run(table, 0.3, [7.0]) == pytest.approx(x0(1.0, 0.3), rel=1e-14) and table.order is None


# ---- the law engine where noise enters a later score -----------------------------------------------------------------------------------


def test_midpoint_reaches_the_published_total_variation():
    """The value of an independent engine (Fourier coefficients of the law, 512 modes): .0907937833118 at N = 30, T = 6 on gm3."""
    law = sd.propagate(scheme.midpoint(grid.uniform(6.0, 30)), SCORE)
    tv = sd.total_variation(law, PI)
    assert abs(tv.value - 0.0907937833118) < 1e-11 and 0.0907937833118 in tv and law.error < 1e-8


@pytest.mark.parametrize("make", [scheme.midpoint, scheme.dpm_solver_pp_sde])
def test_inner_noise_on_the_line_agrees_with_the_gaussian_recursion(make):
    table, g = make(grid.uniform(3.0, 20, stop=0.1)), sd.Gaussian([1.3], 0.3)
    one = sd.propagate(table, sd.score.exact(sd.GaussianMixture([1.0], [[1.3]], [0.3])))  # not told to be Gaussian
    assert isinstance(one, sd.Line)
    assert sd.total_variation(sd.propagate(table, sd.score.exact(g)), one).hi < 1e-12
    laws = sd.marginals(table, sd.score.exact(sd.GaussianMixture([1.0], [[1.3]], [0.3])))
    assert len(laws) == 21 and sd.total_variation(laws[-1], one).hi < 1e-12


def test_particles_follow_the_law_with_inner_noise():
    table = scheme.dpm_solver_pp_sde(grid.geometric(6.0, 12, stop=0.05))
    x = sd.simulate(table, SCORE, n=20_000, seed=1)
    assert sd.kolmogorov(x, sd.propagate(table, SCORE)).lo == 0.0
    assert sd.kolmogorov(x, sd.propagate(scheme.euler_maruyama(table.times[::2]), SCORE)).lo > 0.0  # control


def test_tables_without_fresh_noise_are_refused():
    for table in (scheme.stochastic_heun(G), scheme.dpm_solver_pp_2m_sde(G)):
        with pytest.raises(sd.NoMethod, match="noise enters a later score inside rows"):
            sd.propagate(table, SCORE)


# ---- random times ----------------------------------------------------------------------------------------------------------------------


def test_a_particle_of_a_random_table_is_the_table_of_its_uniforms():
    random = scheme.randomized_midpoint(G)
    u = np.random.default_rng(0).random((4, 5))
    tables, one = random.at(u), scheme.randomized_midpoint(G).at(u[:, 2:3]).particle(0)
    assert tables.particle(2) == one and tables.evaluations == random.evaluations == 8 and np.array_equal(random.states, [0, 2, 4, 6, 8])
    assert "RandomTable('randomized_midpoint', uniforms=4" in repr(random)


def test_simulate_draws_the_uniforms_of_the_particle():
    """Particle i alone, with its own table, its own normals and its own start, is row i."""
    random, x = scheme.randomized_midpoint(G), np.linspace(-2, 2, 7)[:, None]
    out = sd.simulate(random, SCORE, n=7, seed=3, start=x)
    u = np.stack([uniforms(key(3, "simulate noise"), 7, row=j) for j in range(4)])
    for i in (0, 6):
        fixed = random.at(np.repeat(u[:, i : i + 1], 7, axis=1)).particle(0)
        assert out[i] == pytest.approx(sd.simulate(fixed, SCORE, n=7, seed=3, start=x, engine="loop")[i], rel=1e-13)
    assert np.array_equal(out[:3], sd.simulate(random, SCORE, n=3, seed=3, start=x[:3])) and np.array_equal(
        out, sd.simulate(random, SCORE, n=7, seed=3, start=x, batch=2)
    )
    path = sd.trajectories(random, SCORE, n=7, seed=3, start=x)
    assert np.array_equal(path.states[-1], out) and np.array_equal(path.times, G)


def test_the_law_of_random_times():
    """Against particles, and against the midpoint, which has another law; at the tolerance that is reached."""
    random = scheme.randomized_midpoint(grid.uniform(1.5, 2, stop=0.3))
    law = sd.propagate(random, SCORE, tolerance=1e-2)
    assert 0 < law.error < 1e-3
    x = sd.simulate(random, SCORE, n=40_000, seed=1)
    fixed = sd.propagate(scheme.midpoint(grid.uniform(1.5, 2, stop=0.3)), SCORE)
    assert sd.kolmogorov(x, law).lo == 0.0 < sd.kolmogorov(x, fixed).lo
    # of a Gaussian the first two moments have a closed recursion: given u the step is affine
    g = sd.Gaussian([1.3], 0.3)
    mean, square = _moments(grid.uniform(1.5, 2, stop=0.3), 1.3, 0.3)
    law = sd.propagate(random, sd.score.exact(g), tolerance=1e-2)
    assert abs(law.mean()[0] - mean) < 1e-4 and abs(law.second_moment() - square) < 1e-3


def _moments(times, mu, v):
    """(E Y, E Y^2) of the randomized midpoint from N(0, 1): E over u of the affine step's coefficients and of their products, by Gauss's rule."""
    t, w = np.polynomial.legendre.leggauss(20)
    u, w = 0.5 * (t + 1), 0.5 * w
    first, second = 0.0, 1.0
    for now, then in pairwise(times):
        h = now - then
        line = lambda t: (1 - 2 / (np.exp(-2 * t) * v - np.expm1(-2 * t)), 2 * np.exp(-t) * mu / (np.exp(-2 * t) * v - np.expm1(-2 * t)))  # noqa: E731
        (g, f), (G_u, F_u) = line(now), line(now - u * h)
        a, b = 1 + h * G_u * (1 + u * h * g), h * (G_u * u * h * f + F_u)
        noise = 2 * h * (u * (1 + h * G_u) ** 2 + 1 - u)
        first, second = float(w @ (a * first + b)), float(w @ (a**2 * second + 2 * a * b * first + b**2 + noise))
    return first, second


def test_errors():
    random = scheme.randomized_midpoint(G)
    with pytest.raises(sd.NotTrusted, match=r"pass tolerance=1e-3"):
        sd.propagate(random, SCORE)
    with pytest.raises(sd.NoMethod, match="random times in dimension 2"):
        sd.propagate(random, sd.score.exact(sd.standard_normal(2)))
    with pytest.raises(sd.NoMethod, match="point masses"):
        sd.propagate(random, SCORE, start=sd.Empirical([[0.0]]), tolerance=1e-2)
    with pytest.raises(sd.NoMethod, match="Metropolis tests or random times"):
        sd.simulate(random, SCORE, n=3, seed=0, engine="fused")
    shared = RandomTable(1, lambda u: scheme.randomized_midpoint(G).given(np.repeat(u, 4, axis=0)))
    with pytest.raises(sd.NoMethod, match="depends on several uniforms"):
        propagate_randomized(shared, SCORE, PI, tolerance=1e-2)
    with pytest.raises(TypeError, match="given: got ndarray back"):
        sd.simulate(RandomTable(1, lambda u: u), SCORE, n=3, seed=0)
    with pytest.raises(ValueError, match="times of shape"):
        sd.simulate(RandomTable(1, lambda u: scheme.midpoint(G)), SCORE, n=3, seed=0)
    with pytest.raises(TypeError, match="given: got int"):
        RandomTable(1, 3)
    with pytest.raises(TypeError, match="differ between particles"):
        sd.simulate(random.at(np.full((4, 3), 0.5)), SCORE, n=3, seed=0)
    with pytest.raises(ValueError, match="churn: got -1"):
        scheme.churned_heun(G, -1)
    with pytest.raises(ValueError, match="infinite at the data"):
        scheme.dpm_solver_pp_sde(grid.uniform(1.0, 3))
    with pytest.raises(ValueError, match=r"a: got shape \(3,\), allowed is a number, \(2, 5\) or \(2, lags, 5\)"):
        Table(np.ones((3, 5)), a=[1.0, 1.0, 1.0], b=1.0, c=1.0)
