"""The particle simulators: the recurrence as it is written, moments against closed forms, both namespaces, and every refusal."""

import math

import numpy as np
import pytest

from scoresde import grid, kernel, scheme, score
from scoresde.engine import simulate as front
from scoresde.engine.normals import key, normals
from scoresde.engine.simulate import Path, simulate, trajectories
from scoresde.errors import NotTrusted
from scoresde.laws import Gaussian, GaussianMixture, standard_normal

GM3 = GaussianMixture([0.3, 0.45, 0.25], [[-2.0], [0.4], [2.2]], [0.25, 0.16, 0.36])
EXACT = score.exact(GM3)
EM = scheme.euler_maruyama(grid.uniform(4.0, 20))
EPS = 2.0**-52
SIGMAS = 6  # two-sided level 2e-9 for a normal statistic


def noise(seed, n, d, row):
    return normals(key(seed, "simulate noise"), n, d, row=row)


def start(seed, n, d):
    return normals(key(seed, "simulate start"), n, d)


# ---- the recurrence ----------------------------------------------------------------------------------------------------------------


def tame(t, x):
    return -x / (1 + t) + 0.3 * np.cos(x)


tame.dim = 2


def test_one_row_a_step_is_the_hand_written_loop():
    times = grid.uniform(2.0, 10)
    y = start(4, 30, 2)
    for r in range(10):
        h = times[r] - times[r + 1]
        y = (1 + h) * y + 2 * h * tame(times[r], y) + math.sqrt(2 * h) * noise(4, 30, 2, r)
    got = simulate(scheme.euler_maruyama(times), tame, 30, seed=4)
    # the flow's tangent is at most prod(1 + h + 2 h (1.3)) < e^{7.2} = 1340, each step rounds a handful of terms below 100
    assert np.abs(got - y).max() <= 10 * 6 * EPS * 100 * 1340
    assert np.abs(got - simulate(scheme.euler_maruyama(times), tame, 30, seed=5)).max() > 0.1


def test_two_rows_a_step_with_memory_is_the_hand_written_loop():
    """Heun with noise: the stage and the end share one noise, the score of the start enters twice."""
    times = grid.uniform(2.0, 10)
    y, states = start(4, 30, 2), []
    for k in range(10):
        t, u, h = times[k], times[k + 1], times[k] - times[k + 1]
        states.append(y)
        z = math.sqrt(2 * h) * noise(4, 30, 2, 2 * k)
        b = y + 2 * tame(t, y)
        stage = y + h * b + z
        y = y + h / 2 * (b + stage + 2 * tame(u, stage)) + z
    states.append(y)
    path = trajectories(scheme.stochastic_heun(times), tame, 30, seed=4)
    assert np.array_equal(path.times, times)
    assert np.abs(path.states - np.array(states)).max() <= 20 * 6 * EPS * 100 * 1340  # as above


def test_a_multistep_table_is_the_hand_written_loop():
    r"""DPM-Solver++(2M): y' = (\sigma_u/\sigma_t) y - m_u (e^{-h} - 1) D, D extrapolated from the last two \hat x_0 (Lu et al. 2022)."""
    times = grid.uniform(2.0, 8, stop=0.1)
    m, sd = np.exp(-times), np.sqrt(-np.expm1(-2 * times))
    lam = np.log(m / sd)
    y, last = start(1, 30, 2), None
    for k in range(8):
        x0 = (y + sd[k] ** 2 * tame(times[k], y)) / m[k]
        h = lam[k + 1] - lam[k]
        D = x0 if last is None else x0 + h / (2 * (lam[k] - lam[k - 1])) * (x0 - last)
        y, last = sd[k + 1] / sd[k] * y - m[k + 1] * math.expm1(-h) * D, x0
    got = simulate(scheme.dpm_solver_pp_2m(times), tame, 30, seed=1)
    # one step is y -> y + O(h): the same tangent bound; 1/m <= e^2 enters the terms, hence 1000 for their size
    assert np.abs(got - y).max() <= 8 * 6 * EPS * 1000 * 1340


@pytest.mark.parametrize("engine", ["loop", "fused"])
def test_trajectories_end_where_simulate_ends(engine):
    for table in (EM, scheme.dpm_solver_2(grid.uniform(4.0, 10, stop=0.01))):
        path = trajectories(table, EXACT, 200, seed=0, engine=engine)
        assert isinstance(path, Path)
        assert path.states.shape == (len(path.times), 200, 1)
        assert len(path.times) == 1 + int(table.state.sum())
        assert np.array_equal(path.states[0], start(0, 200, 1))
        assert np.array_equal(path.states[-1], simulate(table, EXACT, 200, seed=0, engine=engine))
        assert not path.states.flags.writeable


@pytest.mark.parametrize("engine", ["loop", "fused"])
def test_growing_n_keeps_the_first_rows(engine):
    for begin in (None, standard_normal(1), GM3):
        many = simulate(EM, EXACT, 1000, seed=0, engine=engine, start=begin)
        assert np.array_equal(many[:10], simulate(EM, EXACT, 10, seed=0, engine=engine, start=begin))
        assert np.array_equal(many, simulate(EM, EXACT, 1000, seed=0, engine=engine, start=begin, batch=77))


def test_two_schemes_and_two_functions_of_one_seed_differ():
    times = grid.uniform(4.0, 20, stop=0.01)
    makers = (scheme.euler_maruyama, scheme.exponential_absolute, scheme.exponential_relative, scheme.ancestral, scheme.ddim, scheme.flow_heun)
    results = [simulate(f(times), EXACT, 50, seed=0) for f in makers]
    for i, x in enumerate(results):
        assert all(np.abs(x - y).max() > 1e-3 for y in results[:i])
    drawn = trajectories(EM, EXACT, 50, seed=0, start=GM3).states[0]
    assert not np.isin(drawn, GM3.sample(50, 0)).any()  # the start of a chain is not the user's own sample of that seed


def test_scores_are_called_once_an_evaluation_with_a_float_and_all_points():
    calls = []

    def watched(t, x):
        calls.append((t, x.shape, x.dtype))
        return -x

    table = scheme.denoise_last(scheme.flow_heun(grid.uniform(1.0, 3, stop=0.1)))
    simulate(table, watched, 7, seed=0, start=standard_normal(3))
    assert len(calls) == table.evaluations
    assert all(type(t) is float and shape == (7, 3) and kind == np.float64 for t, shape, kind in calls)
    calls.clear()
    simulate(table, watched, 7, seed=0, start=standard_normal(3), batch=3, dtype=np.float32)
    assert [shape[0] for _, shape, _ in calls[:: table.evaluations]] == [3, 3, 1]
    assert calls[0][2] == np.float32


# ---- moments -------------------------------------------------------------------------------------------------------------------------


def deviations(x, mean, var):
    """Standardised deviations of the mean and the variance of Gaussian draws (n,)."""
    n = len(x)
    return abs(x.mean() - mean) / math.sqrt(var / n), abs(((x - mean) ** 2).mean() / var - 1) / math.sqrt(2 / n)


@pytest.mark.parametrize("engine", ["loop", "fused"])
def test_the_forward_chain_has_the_moments_of_its_kernel(engine):
    n, steps = 200_000, np.full(15, 0.1)
    k = kernel.euler_maruyama(steps)
    x = simulate(scheme.forward_euler_maruyama(steps), None, n, seed=0, start=np.full((n, 1), 2.0), engine=engine)[:, 0]
    assert max(deviations(x, 2 * k.m, k.v)) < SIGMAS
    wrong = kernel.euler_maruyama(np.full(15, 0.11))
    assert max(deviations(x, 2 * wrong.m, wrong.v)) > SIGMAS


@pytest.mark.parametrize("engine", ["loop", "fused"])
@pytest.mark.parametrize("make", [scheme.euler_maruyama, scheme.stochastic_heun])
def test_a_gaussian_target_gives_the_moments_of_the_linear_recursion(make, engine):
    """For N(mu, c) the score is (m mu - x)/V: the chain is affine, and means and covariances of (y_r, y_{r-1}, s.., z..) follow by superposition."""
    n, mu, c = 200_000, 1.5, 0.3
    table = make(grid.uniform(3.0, 30))
    target = Gaussian([mu], c)
    x = simulate(table, score.exact(target), n, seed=0, engine=engine)[:, 0]

    def response(y, shock_row, with_mean):  # the chain of one number, driven by one unit noise (or none)
        ys, ss = [y], []
        for r in range(table.rows):
            k = kernel.ornstein_uhlenbeck(float(table.score_times[r]))
            ss.append((k.m * mu * with_mean - ys[-1]) / (k.m**2 * c + k.v))
            new = sum(table.a[r, j] * ys[-1 - j] + table.b[r, j] * ss[-1 - j] for j in range(min(r + 1, table.a.shape[1])))
            ys.append(new + sum(table.c[r, j] for j in range(table.c.shape[1]) if r - j == shock_row))
        return ys[-1]

    mean = response(0.0, None, 1)
    var = response(1.0, None, 0) ** 2 + sum(response(0.0, r, 0) ** 2 for r in range(table.rows))
    assert max(deviations(x, mean, var)) < SIGMAS
    other = simulate(scheme.flow_euler(grid.uniform(3.0, 30)), score.exact(target), n, seed=0)[:, 0]
    assert max(deviations(other, mean, var)) > SIGMAS


# ---- torch -----------------------------------------------------------------------------------------------------------------------------


def test_torch_is_numpy_to_rounding():
    torch = pytest.importorskip("torch")
    for make in (scheme.euler_maruyama, scheme.stochastic_heun):
        table = make(grid.uniform(2.0, 10))

        def field(t, x):
            xp = torch if isinstance(x, torch.Tensor) else np
            return -x / (1 + t) + 0.3 * xp.cos(x)

        field.dim = 2
        here, there = simulate(table, field, 40, seed=0), simulate(table, field, 40, seed=0, device="cpu", batch=9)
        assert isinstance(there, torch.Tensor)
        assert there.dtype == torch.float64
        assert np.abs(there.numpy() - here).max() <= 20 * 6 * EPS * 100 * 1340  # the tangent bound of the hand-written loops
        short = trajectories(table, field, 40, seed=0, device=torch.device("cpu"), dtype=torch.float32, start=torch.zeros(40, 2)).states
        assert short.dtype == torch.float32
        assert not short[0].any()
    assert simulate(EM, EXACT, 3, seed=0, device="cpu").shape == (3, 1)


def test_a_network_leaves_no_graph_behind():
    torch = pytest.importorskip("torch")
    layer = torch.nn.Linear(2, 2, dtype=torch.float64)
    out = simulate(EM, lambda t, x: layer(x) * 0.1 - x, 5, seed=0, start=standard_normal(2), device="cpu")
    assert not out.requires_grad


# ---- seeds and starts ------------------------------------------------------------------------------------------------------------------


def test_seeds():
    sequence = np.random.SeedSequence(3)
    assert np.array_equal(simulate(EM, EXACT, 5, seed=sequence), simulate(EM, EXACT, 5, seed=np.random.SeedSequence(3)))
    assert sequence.n_children_spawned == 0
    assert not np.isin(simulate(EM, EXACT, 5, seed=3), simulate(EM, EXACT, 5, seed=4)).any()
    points = np.linspace(-1, 1, 5)[:, None]
    flow = scheme.flow_euler(grid.uniform(2.0, 5))
    assert np.array_equal(simulate(flow, EXACT, 5, seed=None, start=points), simulate(flow, EXACT, 5, seed=9, start=points))  # nothing is drawn
    for table, begin in ((EM, points), (flow, None), (flow, standard_normal(1))):
        with pytest.raises(ValueError, match="seed: got None"):
            simulate(table, EXACT, 5, seed=None, start=begin)


def test_the_given_array_is_left_alone():
    points = np.linspace(-1, 1, 5)[:, None]
    points.setflags(write=False)
    for engine in ("loop", "fused"):
        path = trajectories(EM, EXACT, 5, seed=0, start=points, engine=engine)
        assert np.array_equal(path.states[0], points)
    assert simulate(EM, EXACT, 5, seed=0, start=[[0], [1], [2], [3], [4]]).shape == (5, 1)


# ---- refusals ----------------------------------------------------------------------------------------------------------------------------


def swapped(x, t):
    return -x


def plain(t, x):
    return -x


def too_short(t, x):
    return -x[:, 0]


REFUSALS = [
    ({"engine": "numba"}, ValueError, "engine: got 'numba', allowed are 'auto', 'loop', 'fused'"),
    ({"n": 0}, ValueError, "n: got 0"),
    ({"n": 2.0}, TypeError, "n: got float"),
    ({"batch": 0}, ValueError, "batch: got 0"),
    ({"dtype": np.int64}, ValueError, "dtype: got int64, allowed are float64 and float32"),
    ({"dtype": "half a float"}, ValueError, "dtype: got 'half a float'"),
    ({"seed": None}, ValueError, "seed: got None"),
    ({"seed": np.random.default_rng(0)}, TypeError, "seed: got Generator"),
    ({"seed": -1}, ValueError, "seed: got -1"),
    ({"table": kernel.ornstein_uhlenbeck(1.0)}, TypeError, "table: got Kernel"),
    ({"table": scheme.euler_maruyama}, TypeError, "table: got function"),
    ({"score": None}, TypeError, "score: got None"),
    ({"score": GM3}, TypeError, "score: got GaussianMixture"),
    ({"score": swapped}, TypeError, r"score: got a function of \(x, t\), allowed is s\(t, x\)"),
    ({"score": plain}, ValueError, "score: got a callable without .dim and no start"),
    ({"score": too_short, "start": standard_normal(2)}, ValueError, r"score: got shape \(4,\) back"),
    ({"start": np.zeros(4)}, ValueError, r"start: got an array of shape \(4,\).*start\[:, None\]"),
    ({"start": np.zeros((3, 1))}, ValueError, r"start: got an array of shape \(3, 1\).*n = 4"),
    ({"start": np.zeros((4, 2))}, ValueError, "start: got dimension 2 for a score of dimension 1"),
    ({"start": np.full((4, 1), np.nan)}, ValueError, "start: got nan"),
    ({"start": standard_normal(2)}, ValueError, "start: got dimension 2"),
]


@pytest.mark.parametrize("run", [simulate, trajectories])
@pytest.mark.parametrize(("change", "error", "message"), REFUSALS)
def test_wrong_arguments_are_refused(run, change, error, message):
    good = {"table": EM, "score": EXACT, "n": 4, "seed": 0}
    with pytest.raises(error, match=message):
        run(**(good | change))


def test_torch_refusals():
    torch = pytest.importorskip("torch")
    with pytest.raises(ValueError, match="device: got 'meta' with engine='fused', which runs on 'cuda' and 'cpu'"):
        simulate(EM, EXACT, 4, seed=0, device="meta", engine="fused")
    with pytest.raises(ValueError, match="device: got 'toaster'"):
        simulate(EM, EXACT, 4, seed=0, device="toaster")
    with pytest.raises(TypeError, match=r"pass device=start\.device"):
        simulate(EM, EXACT, 4, seed=0, start=torch.zeros(4, 1))
    with pytest.raises(TypeError, match="allowed is a torch tensor"):
        simulate(EM, lambda t, x: np.zeros((4, 1)), 4, seed=0, start=standard_normal(1), device="cpu")
    with pytest.raises(TypeError, match="allowed is a numpy array; pass device="):
        simulate(EM, lambda t, x: torch.zeros(4, 1), 4, seed=0, start=standard_normal(1))


def test_an_error_inside_the_score_says_how_it_was_called():
    def wrong(u, v):
        return u.sum(axis=1)

    with pytest.raises(AttributeError) as caught:
        simulate(EM, wrong, 4, seed=0, start=standard_normal(1))
    assert "time first, then points" in caught.value.__notes__[0]


def test_what_does_not_fit_is_refused_before_it_is_allocated(monkeypatch):
    monkeypatch.setattr(front, "_available_memory", lambda: 1e6)
    simulate(EM, EXACT, 4000, seed=0)
    with pytest.raises(ValueError, match=r"n: trajectories .* needs 0.000\d+ GB, allowed is half of the 0.001 GB.*simulate keeps one state of 21"):
        trajectories(EM, EXACT, 4000, seed=0)
    with pytest.raises(ValueError, match=r"n: simulate .* draw fewer"):
        simulate(EM, EXACT, 10**9, seed=0)
    monkeypatch.setattr(front, "_available_memory", lambda: None)
    simulate(EM, EXACT, 4000, seed=0)


def test_lost_particles_are_not_returned():
    def broken(t, x):
        return np.where((t < 1) & (x > 0), np.nan, -x)

    broken.dim = 1
    with pytest.raises(NotTrusted, match=r"particles are not finite. Particle \d+ is lost in row 1\d, .*the score is not finite at t = 0.8"):
        simulate(EM, broken, 100, seed=0)
    steep = scheme.Table(np.linspace(1, 0, 41), 1.0, 1.0, 0.0)
    with pytest.raises(NotTrusted, match="step too large"):
        trajectories(steep, lambda t, x: -1e10 * x, 3, seed=0, start=standard_normal(1))
    torch = pytest.importorskip("torch")
    with pytest.raises(NotTrusted, match="the score is not finite at t = 4"):
        simulate(EM, lambda t, x: x * torch.nan, 3, seed=0, start=standard_normal(1), device="cpu")
