"""The fused engine is the reference loop, step by step; its bits depend on nothing but (seed, particle)."""

import numpy as np
import pytest
from numba import njit

from scoresde import grid, scheme, score
from scoresde.engine.fused import need, program, run
from scoresde.engine.lanes import chain, chain_py
from scoresde.engine.normals import key
from scoresde.engine.simulate import simulate, trajectories
from scoresde.engine.tiles import advance, gather, normalise, part, squares, weigh
from scoresde.errors import NoMethod, NotTrusted
from scoresde.kernel import Kernel, ornstein_uhlenbeck, variance_exploding
from scoresde.laws import Empirical, Gaussian, GaussianMixture, Product, kernel_density

KEY = key(0, "test fused")
GM3 = GaussianMixture([0.3, 0.45, 0.25], [[-2.0], [0.4], [2.2]], [0.25, 0.16, 0.36])


def mixture(d, count, kind, seed=0):
    rng = np.random.default_rng(seed)
    weights = rng.random(count) + 0.05
    covs = rng.uniform(0.1, 0.6, {"isotropic": count, "diagonal": (count, d), "full": (count, d)}[kind])
    if kind == "full":
        turn = np.linalg.qr(rng.normal(size=(count, d, d)))[0]
        covs = turn @ (covs[..., None] * turn.transpose(0, 2, 1))
        covs = (covs + covs.transpose(0, 2, 1)) / 2
    return GaussianMixture(weights / weights.sum(), 2 * rng.normal(size=(count, d)), covs)


# one component, a remainder of the four-fold loops, and more components than a tile holds
CASES = [(1, 1, "isotropic"), (1, 3, "isotropic"), (2, 8, "diagonal"), (3, 5, "isotropic"), (6, 17, "isotropic"), (4, 37, "diagonal")]
CASES += [(2, 3, "full"), (5, 19, "full")]


def rounding_of_a_score(law, forward, t, x, eps):
    """A bound on the rounding of \\sum_k r_k (m mu_k - x) / V_k at one point, entry by entry.

    Logits are sums of d + 2 rounded terms, so they are off by at most (d + 4) eps of their size; a change \\delta_k of the logits moves the
    average of p_k = (m mu_k - x) / V_k by at most \\sum_k r_k |\\delta_k| (|p_k| + |average|) (times 2 for e^\\delta), and its own terms round by
    a few eps of \\sum_k r_k |p_k|. Two computations: factor 2.
    """
    p = score.exact(law, forward).at(t)
    mix = p if isinstance(p, GaussianMixture) else GaussianMixture([1.0], p.mean()[None], np.asarray(p.covariance)[None])
    diff = mix.means[:, None, :] - x[None]
    full = mix.covs.ndim == 3
    if full:  # rotations round in norm: every coordinate as far as the whole, every variance the least, sums of d in place of one term
        lam = np.broadcast_to(np.linalg.eigvalsh(mix.covs)[:, :1], mix.means.shape)
        diff = np.broadcast_to(np.linalg.norm(diff, axis=-1, keepdims=True), diff.shape)
    else:
        lam = np.broadcast_to(mix.covs.reshape(len(mix.weights), -1), mix.means.shape)
    pulls, size = np.abs(diff / lam[:, None, :]), 0.5 * (diff**2 / lam[:, None, :]).sum(-1)
    r = mix.responsibilities(x).T
    constants = np.abs(np.log(mix.weights) - 0.5 * np.log(lam).sum(-1))[:, None]
    rounding_of_diff = np.abs(mix.means)[:, None, :] + np.abs(x)[None]  # m mu_k is rounded before the difference is
    delta = (x.shape[1] + 4) * eps * (size + constants + 1) + eps * (rounding_of_diff * pulls).sum(-1)
    average = (r[..., None] * pulls).sum(0)
    moved = 2 * ((r * delta)[..., None] * (pulls + average[None])).sum(0)
    own = (len(r) + 6) * eps * (r[..., None] * (pulls + rounding_of_diff / lam[:, None, :])).sum(0)
    return 2 * (moved + own) * (2 * x.shape[1] + 4 if full else 1)


def one_row(t, a=1.1, b=0.2, c=0.3):
    return scheme.Table([t, 0.0], a, b, c)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("t", [3.0, 0.5, 0.01])
@pytest.mark.parametrize("case", CASES)
def test_one_step_is_the_loop_to_rounding(case, t, dtype):
    law = mixture(*case)
    rng = np.random.default_rng(1)
    x = 2 * rng.normal(size=(300, case[0]))
    x = x.astype(dtype).astype(float)
    s = score.perturbed(score.exact(law), 0.25, np.arange(1.0, case[0] + 1))
    table = one_row(t)
    fused = simulate(table, s, 300, seed=3, start=x, engine="fused", dtype=dtype)
    loop = simulate(table, s, 300, seed=3, start=x, engine="loop")  # in float64: the truth for float32
    eps = float(np.finfo(dtype).eps)
    noise = np.abs(loop - 1.1 * x - 0.2 * s(t, x))
    draws = 1e-6 if dtype == np.float32 else 0.0  # a float32 draw is the float64 draw to about that
    bound = 0.2 * rounding_of_a_score(law, ornstein_uhlenbeck, t, x, eps) + 8 * eps * (1.1 * np.abs(x) + noise + 0.05) + 0.3 * draws
    assert (np.abs(fused - loop) <= bound).all()
    assert (np.abs(loop - simulate(table, score.exact(law), 300, seed=3, start=x, engine="loop")) > bound).any()  # control: without the shift


def test_the_clock_of_the_score_is_its_own():
    law = mixture(2, 3, "isotropic")
    for forward in (variance_exploding, lambda t: Kernel(-np.exp(-t), t)):
        s = score.exact(law, forward)
        x = np.random.default_rng(2).normal(size=(50, 2))
        fused = simulate(one_row(0.4), s, 50, seed=0, start=x, engine="fused")
        loop = simulate(one_row(0.4), s, 50, seed=0, start=x, engine="loop")
        assert (np.abs(fused - loop) <= 0.2 * rounding_of_a_score(law, forward, 0.4, x, 2.3e-16) + 4e-15 * (1 + np.abs(x))).all()
        assert np.abs(fused - simulate(one_row(0.4), score.exact(law), 50, seed=0, start=x)).max() > 0.01


TABLES = {
    name: getattr(scheme, name)
    for name in (
        "euler_maruyama", "exponential_absolute", "exponential_relative", "stochastic_heun", "flow_euler", "flow_heun", "dpm_solver_2",
        "dpm_solver_pp_2m", "dpm_solver_pp_2m_sde", "dpm_solver_pp_sde", "midpoint", "ancestral", "ddim",
    )
} | {
    "churned_heun": lambda g: scheme.churned_heun(g, 4.0),
    "predictor_corrector": lambda g: scheme.predictor_corrector(g, steps=2, step=0.01),
    "score_at_end": lambda g: scheme.score_at_end(scheme.euler_maruyama(g)),
    "denoise_last": lambda g: scheme.denoise_last(scheme.dpm_solver_pp_2m(g)),
    "langevin": lambda g: scheme.langevin(step=0.02, steps=40, t=0.01),
    "annealed_langevin": lambda g: scheme.annealed_langevin(ornstein_uhlenbeck_levels(g), steps=2, step=0.02),
}  # fmt: skip


def ornstein_uhlenbeck_levels(times):
    return [ornstein_uhlenbeck(t).v ** 0.5 for t in times[::4]]


def test_every_scheme_is_here():
    """But the chain without scores, which has a test of its own, and those with random times or Metropolis tests, which are for the loop."""
    others = {"RandomTable", "Table", "forward_euler_maruyama", "mala", "optimal_variance", "randomized_midpoint"}
    assert set(TABLES) | others == set(scheme.__all__)


@pytest.mark.parametrize("name", TABLES)
def test_whole_chains_are_the_loop_to_amplified_rounding(name):
    """Rounding grows along a chain by the tangent of its own flow, which differs from scheme to scheme. It is measured: the loop against
    itself, with the score moved by its rounding bound in random directions. Fused and loop may differ by 4 times that (the two roundings
    are not those drawn), while another seed differs by order 1."""
    table = TABLES[name](grid.quadratic(4.0, 40, stop=0.01))
    exact, rng = score.exact(GM3), np.random.default_rng(0)

    def jittered(t, x):
        return exact(t, x) + rng.choice([-1.0, 1.0], x.shape) * rounding_of_a_score(GM3, ornstein_uhlenbeck, t, x, 2.3e-16)

    jittered.dim = 1
    fused, loop, moved = (trajectories(table, s, 400, seed=5, engine=e).states for s, e in ((exact, "fused"), (exact, "loop"), (jittered, "loop")))
    scale = np.abs(moved - loop).max()
    assert 0 < scale < 1e-8
    assert np.abs(fused - loop).max() <= 4 * scale
    assert np.abs(simulate(table, exact, 400, seed=6) - loop[-1]).max() > 0.1


def test_a_table_with_memory_of_states_scores_and_noises():
    """Three lags of everything, by hand-made coefficients: the ring buffers hold what the recurrence asks for."""
    rng = np.random.default_rng(8)
    rows, lags = 9, 3
    mask = np.arange(lags)[None, :] <= np.arange(rows)[:, None]
    a, b, c = (rng.uniform(-0.4, 0.4, (rows, lags)) * mask for _ in range(3))
    b[4] = 0
    c[5, 0] = 0
    law = mixture(5, 7, "isotropic")
    table = scheme.Table(np.linspace(2, 1, rows + 1), a, b, c, state=rng.random(rows) < 2)
    fused, loop = (trajectories(table, score.exact(law), 70, seed=0, engine=e).states for e in ("fused", "loop"))
    # the map is a contraction here (lags sum below 1.2, V >= 0.6), so rounding stays at its one-step size times the number of rows
    assert np.abs(fused - loop).max() <= 1e-13
    assert np.abs(np.diff(loop, axis=0)).min() > 0


def test_a_forward_chain_is_fused_too():
    table = scheme.forward_euler_maruyama(np.full(20, 0.05))
    x = np.random.default_rng(1).normal(size=(500, 3))
    fused, loop = (simulate(table, None, 500, seed=1, start=x, engine=e) for e in ("fused", "loop"))
    assert np.abs(fused - loop).max() <= 20 * 4 * 2.3e-16 * np.abs(x).max() * 2  # a contraction: 20 steps of a few roundings


# ---- the bits ------------------------------------------------------------------------------------------------------------------------


def test_bits_do_not_depend_on_number_threads_blocks_or_batch():
    law = mixture(2, 5, "isotropic")
    table, s = scheme.euler_maruyama(grid.uniform(3.0, 12)), score.exact(law)
    whole = simulate(table, s, 1000, seed=0)
    for n in (1, 10, 255, 257, 999):
        assert np.array_equal(whole[:n], simulate(table, s, n, seed=0))
    assert np.array_equal(whole, simulate(table, s, 1000, seed=0, batch=7))
    plan, keep = program(table, s, 2, "float64"), np.full(12, -1)
    keep[-1] = 0
    x = np.random.default_rng(0).normal(size=(40_000, 2))
    one, two, three = (run(plan, lambda lo, hi: x[lo:hi], keep, 1, KEY, len(x), 2, "float64", threads=k) for k in (1, 2, 3))
    assert np.array_equal(one, two)
    assert np.array_equal(one, three)
    for lanes in (64, 128, 192, 512):
        out = np.empty((1, 700, 2))
        chain(out, 700, x[:700].copy(), *KEY, keep, *KEY, 0, lanes, *plan.table, *plan.compact)
        assert np.array_equal(out[0], one[0, :700])


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(("d", "count", "kind"), [(5, 18, "isotropic"), (2, 2, "diagonal"), (2, 18, "diagonal"), (3, 2, "full"), (2, 17, "full")])
def test_the_compiled_kernel_is_its_python_text_bit_for_bit(d, count, kind, dtype):
    table = scheme.stochastic_heun(grid.uniform(1.0, 1, stop=0.1))
    plan = program(table, score.exact(mixture(d, count, kind)), d, dtype)
    x = np.random.default_rng(0).normal(size=(3, d)).astype(dtype)
    slow, fast = np.zeros((1, 68, d), dtype), np.zeros((1, 68, d), dtype)
    with np.errstate(over="ignore", invalid="ignore"):  # unsigned arithmetic wraps on purpose
        chain_py(slow, 3, x, *KEY, np.array([-1, 0]), *KEY, 64, 32, *plan.table, *plan.compact)
    chain(fast, 3, x, *KEY, np.array([-1, 0]), *KEY, 64, 64, *plan.table, *plan.compact)
    assert np.array_equal(slow, fast)
    assert not fast[0, :64].any()  # these particles belong to another call
    assert fast[0, 64:67].all()


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_tiles_are_their_python_text_bit_for_bit(dtype):
    """Whole tiles and remainders, sums begun and continued, with and without weights."""

    def everything(q, x, centres, weights, out, total, shift, top, weight, fade):
        squares(q, x, centres, None, 0, 6, 0, 5, 7, 128)
        squares(q, x, centres, None, 1, 5, 5, 7, 7, 128)
        squares(part(q, 128, 256), x, centres, weights, 0, 1, 0, 7, 7, 128)
        weigh(q, top, total, weight, fade, shift, shift, weights, 4, 128, True)
        weigh(part(q, 128, 512), top, total, weight, fade, shift, weights, weights, 3, 128, False)
        gather(out, q, centres, 6, 0, 7, 7, 128, True)
        gather(part(out, 256, 896), q, weights, 3, 2, 7, 7, 128, False)
        normalise(out, x, total, q, 0, shift, 7, 128)
        normalise(out, x, total, q, 128, shift, 6, 128)
        advance(out, x, out, q, weights, 5, 0, 7, 7, 128, total, weight, shift, x.dtype.type(0.5), x.dtype.type(2), x.dtype.type(3))

    rng = np.random.default_rng(0)
    sizes = (6 * 128, 7 * 128, 42, 42, 7 * 128, 128, 7, 128, 128, 128)
    slow = [rng.uniform(0.5, 2.0, size).astype(dtype) for size in sizes]
    slow[0][:] = np.nan  # what was there is not read
    fast = [x.copy() for x in slow]
    with np.errstate(over="ignore"):  # unsigned arithmetic wraps on purpose
        everything(*slow)
    njit(everything)(*fast)
    assert all(np.array_equal(x, y) for x, y in zip(slow, fast, strict=True))
    assert np.isfinite(slow[4]).all()
    u = slow[1].reshape(7, 128).astype(float) - slow[2].reshape(6, 7).astype(float)[5][:, None]
    assert slow[0].reshape(6, 128)[5] == pytest.approx((u**2).sum(axis=0), rel=16 * float(np.finfo(dtype).eps))  # 7 terms, 3 roundings each at most


# ---- which scores ----------------------------------------------------------------------------------------------------------------------


def test_which_scores_it_takes():
    table = one_row(1.0)
    yes = [
        Gaussian([1.0], 0.5), Gaussian([1.0], [[0.5]]), Gaussian([1.0, 2.0], [0.5, 1.0]), GM3, Empirical([[0.0, 1.0], [2.0, 3.0]]),
        kernel_density(np.random.default_rng(0).normal(size=(30, 2)), [0.3, 0.2]), Gaussian([0.0, 0.0], [[1.0, 0.5], [0.5, 1.0]]),
    ]  # fmt: skip
    for law in yes:
        s = score.perturbed(score.perturbed(score.exact(law), 0.1), 0.2, np.ones(law.dim))
        fused, loop = (simulate(table, s, 20, seed=0, engine=e) for e in ("fused", "loop"))
        assert np.abs(fused - loop).max() <= 1e-13  # V >= 0.86 at t = 1: one step, points and pulls of order 10
    product = Product([GM3, GM3])
    for s in (score.exact(product), score.perturbed(score.exact(product), 0.1), lambda t, x: -x):
        start = np.zeros((5, getattr(s, "dim", 1)))
        assert np.array_equal(simulate(table, s, 5, seed=0, start=start), simulate(table, s, 5, seed=0, start=start, engine="loop"))
        with pytest.raises(NoMethod, match="engine: got 'fused'"):
            simulate(table, s, 5, seed=0, start=start, engine="fused")


def sines(t, x):
    return np.sin((3 + t) * x) / np.sqrt(x.shape[-1])


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("case", [(1, 3, "isotropic"), (3, 18, "diagonal"), (2, 4, "full")])
def test_fields_go_with_the_compiled_score(case, dtype):
    law, d = mixture(*case), case[0]
    s = score.perturbed(score.perturbed(score.perturbed(score.exact(law), 0.25, sines), 0.5, np.ones(d)), 0.1, lambda t, x: -sines(t, x))
    x = (2 * np.random.default_rng(1).normal(size=(300, d))).astype(dtype).astype(float)
    fused = simulate(one_row(0.5), s, 300, seed=3, start=x, engine="fused", dtype=dtype)
    loop = simulate(one_row(0.5), s, 300, seed=3, start=x, engine="loop")
    eps = float(np.finfo(dtype).eps)
    noise = np.abs(loop - 1.1 * x - 0.2 * s(0.5, x))
    draws = 1e-6 if dtype == np.float32 else 0.0
    field = 0.35 * (8 * eps + 4 * eps * np.abs(x))  # sine of a rounded argument
    bound = 0.2 * (rounding_of_a_score(law, ornstein_uhlenbeck, 0.5, x, eps) + field) + 8 * eps * (1.1 * np.abs(x) + noise + 0.2) + 0.3 * draws
    assert (np.abs(fused - loop) <= bound).all()
    plain = score.perturbed(score.exact(law), 0.5, np.ones(d))
    assert (np.abs(simulate(one_row(0.5), plain, 300, seed=3, start=x) - loop) > bound).any()  # control: without the fields


def test_fields_in_a_table_with_memory_and_stages_and_their_bits():
    """The recurrence with fields is the reference's own, over blocks; a field by rows makes the bits independent of their number."""
    s = score.perturbed(score.exact(mixture(2, 5, "isotropic")), 0.3, sines)
    for make in (scheme.dpm_solver_pp_2m, scheme.stochastic_heun, scheme.euler_maruyama):
        table = make(grid.uniform(2.0, 6, stop=0.2))
        whole = trajectories(table, s, 40_000, seed=1).states  # more than a block
        assert np.array_equal(whole[-1, :70], simulate(table, s, 70, seed=1))
        assert np.array_equal(whole[-1], simulate(table, s, 40_000, seed=1, batch=900))
        # the flow's tangent and the steps' amplify a rounding: V >= 0.4, six steps, 12 evaluations at most of slope below 1/V + 1.5
        assert np.abs(whole - trajectories(table, s, 40_000, seed=1, engine="loop").states).max() <= 1e-11


def test_a_field_is_checked_like_a_score():
    s = score.perturbed(score.exact(GM3), 0.3, lambda t, x: np.ones(3))
    with pytest.raises(ValueError, match="shape"):
        simulate(one_row(0.5), s, 5, seed=0)


def test_constants_that_do_not_fit_are_refused_before_they_are_made(monkeypatch):
    """Every row has a constant for each component, unless all covariances are the same; a full covariance has its eigenvectors."""
    table = scheme.euler_maruyama(grid.uniform(2.0, 1000))
    spread, alike, full = mixture(2, 1000, "isotropic"), Empirical(np.random.default_rng(0).normal(size=(1000, 2))), mixture(100, 3, "full")
    assert 1000 * 1000 * 16 < need(table, score.exact(spread), 2, "float64") < 1000 * 1000 * 16 + 4e6
    assert need(table, score.exact(alike), 2, "float64") < 4e6
    assert need(table, score.exact(full), 100, "float64") > 3 * 3 * 100**2 * 8
    monkeypatch.setattr("scoresde.engine.simulate._available_memory", lambda: 16e6)
    with pytest.raises(ValueError, match=r"n: simulate with n = 5.* the constants of the components in every row take most of it"):
        simulate(table, score.exact(spread), 5, seed=0)
    simulate(scheme.euler_maruyama(grid.uniform(2.0, 10)), score.exact(spread), 5, seed=0)


def test_a_law_without_a_density_at_a_score_time_is_refused_only_if_the_score_is_used_there():
    points = Empirical([[0.0], [1.0]])
    with pytest.raises(ValueError, match="variance 0"):
        simulate(one_row(0.0), score.exact(points), 5, seed=0)
    simulate(one_row(0.0, b=0.0), score.exact(points), 5, seed=0)


def test_extreme_weights_means_and_points_give_no_nan():
    law = GaussianMixture([1 - 1e-300, 1e-300], [[-1e8], [1e8]], [0.1, 0.2])
    x = np.array([[-1e8], [1e8], [0.0], [1e-8], [1e100], [-1e100], [3.0], [1e8 + 0.5]])
    for t in (1e-9, 0.5):
        fused, loop = (simulate(one_row(t), score.exact(law), len(x), seed=0, start=x, engine=e) for e in ("fused", "loop"))
        assert np.isfinite(fused).all()
        assert (np.abs(fused - loop) <= 0.2 * rounding_of_a_score(law, ornstein_uhlenbeck, t, x, 2.3e-16) + 1e-15 * (10 + np.abs(x))).all()
    far = Empirical(np.array([[1e8], [1e8 + 1]]))  # a far cloud: differences are taken first
    x = np.exp(-0.1) * np.array([[1e8 + 0.3], [1e8 + 0.6]])
    s = simulate(one_row(0.1, a=0.0, b=1.0, c=0.0), score.exact(far), 2, seed=0, start=x, engine="fused")
    # x itself is known to 1e-8, the score has slope at most 1/v (1 + m^2/(4 v)) = 11.8
    near = score.exact(Empirical(np.array([[0.0], [1.0]])))(0.1, np.exp(-0.1) * np.array([[0.3], [0.6]]))
    assert np.abs(s - near).max() <= 11.8 * 4 * np.spacing(1e8)


def test_zero_weights_and_many_components():
    rng = np.random.default_rng(0)
    law = GaussianMixture([0.0, 0.5, 0.5], [[9.0], [0.0], [1.0]], 0.1)
    same = GaussianMixture([0.5, 0.5], [[0.0], [1.0]], 0.1)
    assert np.array_equal(simulate(one_row(0.1), score.exact(law), 50, seed=0), simulate(one_row(0.1), score.exact(same), 50, seed=0))
    cloud = Empirical(rng.normal(size=(2000, 2)))
    x = rng.normal(size=(40, 2))
    fused, loop = (simulate(one_row(0.02), score.exact(cloud), 40, seed=0, start=x, engine=e) for e in ("fused", "loop"))
    assert (np.abs(fused - loop) <= 0.2 * rounding_of_a_score(cloud, ornstein_uhlenbeck, 0.02, x, 2.3e-16) + 4e-15).all()


def test_a_lost_particle_does_not_spoil_another_block():
    """Row 0 uses no score, row 1 does: what the score of a lost particle left behind must not be read by the next 256."""
    table = scheme.Table([1.0, 0.5, 0.0], 1.0, [0.0, 0.1], 0.0)
    x = np.zeros((600, 1))
    x[3] = 1e200  # squared distances overflow
    with pytest.raises(NotTrusted, match=r"1 of 600 particles are not finite. Particle 3 .* squared distances overflow"):
        simulate(table, score.exact(GM3), 600, seed=0, start=x, engine="fused")


def test_a_chain_that_explodes_is_not_trusted():
    table = scheme.Table(np.linspace(1, 0.9, 2001), 4.0, 0.0, 1.0)
    with pytest.raises(NotTrusted, match=r"20 of 20 particles are not finite. Particle 0 is lost in row \d+"):
        simulate(table, score.exact(GM3), 20, seed=0)
