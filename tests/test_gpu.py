"""The device engine on the processor: its matrix products are the fused engine to rounding, its Triton kernels those of torch.

Triton's kernels run on a card, or on the processor in Triton's interpreter: one test starts this file again there. What needs a card is
skipped without one.
"""

import math
import os
import subprocess
import sys
import types
from importlib.metadata import version
from importlib.util import find_spec

import numpy as np
import pytest

from scoresde import grid, propagate, scheme, score
from scoresde.engine import gpu
from scoresde.engine import simulate as front
from scoresde.engine.fused import program
from scoresde.engine.fused import run as fused
from scoresde.engine.normals import key, normals, philox
from scoresde.engine.simulate import simulate, trajectories
from scoresde.errors import NoMethod, NotTrusted
from scoresde.laws import Empirical, Gaussian, GaussianMixture, kernel_density

torch = pytest.importorskip("torch")
CUDA, INTERPRETED = torch.cuda.is_available(), os.environ.get("TRITON_INTERPRET") == "1"
TRITON = find_spec("triton") is not None
CPU = torch.device("cpu")
HERE = torch.device("cuda") if CUDA and not INTERPRETED else CPU  # where Triton's kernels run
needs_triton = pytest.mark.skipif(not (TRITON and (CUDA or INTERPRETED)), reason="Triton's kernels need a card, or its interpreter (the last test)")
needs_cuda = pytest.mark.skipif(not CUDA or INTERPRETED, reason="no CUDA device")

GM3 = GaussianMixture([0.3, 0.45, 0.25], [[-2.0], [0.4], [2.2]], [0.25, 0.16, 0.36])
KEY, START = key(0, "noise"), key(0, "start")
EPS = 2.0**-52


def mixture(d, count, kind, seed=0):
    """Covariances: one for all, one variance each, one diagonal for all, one diagonal each."""
    rng = np.random.default_rng(seed)
    weights = rng.random(count) + 0.05
    covs = {"common": 0.3, "isotropic": rng.uniform(0.1, 0.6, count), "diagonal": rng.uniform(0.1, 0.6, (count, d))}
    covs["shared"] = np.repeat(covs["diagonal"][:1], count, 0)
    return GaussianMixture(weights / weights.sum(), 2 * rng.normal(size=(count, d)), covs[kind])


CASES = [
    (1, 1, "common"), (1, 3, "isotropic"), (2, 8, "diagonal"), (2, 5, "common"), (3, 4, "shared"), (8, 9, "isotropic"), (3, 37, "diagonal"),
    (20, 9, "isotropic"), (20, 9, "diagonal"), (40, 130, "common"),
]  # fmt: skip


def both(table, s, n, dtype="float64", device_kernels=None, device=CPU, start=None):
    """All rows of the device engine, of the fused engine in dtype, and of the fused engine in float64."""
    keep = np.arange(1, table.rows + 1)
    begin = START if start is None else lambda lo, hi: start[lo:hi]
    rows = (lambda lo, hi: normals(START, hi - lo, s.dim, first=lo)) if start is None else begin
    plans = {kind: program(table, s, s.dim, kind) for kind in ("float64", dtype)}
    there = gpu.run(plans["float64"], begin, keep, table.rows + 1, KEY, n, s.dim, dtype, device, device_kernels).cpu().numpy()
    here = [fused(plans[kind], rows, keep, table.rows + 1, KEY, n, s.dim, kind)[1:] for kind in (dtype, "float64")]
    return there[1:], *here


def rounding_of_products(law, t, x, eps):
    """A bound on the rounding of one score through matrix products, entry by entry.

    With y and \\mu_k measured from the centre, a logit is a sum of d products, a constant and |y|^2 terms, all below q_k = (m |\\mu_k| + |y|)^2 /
    V_least: off by at most (d + 8) eps of q_k. A change \\delta_k of the logits moves \\sum_k r_k p_k by at most 2 \\sum_k r_k |\\delta_k| (|p_k| +
    |average|), p_k = (m \\mu_k - x) / V_k; its own terms are sums of K products of size (m |\\mu_k| + |y|) / V_k. Two computations: factor 2.
    """
    p = score.exact(law).at(t)
    lam = np.broadcast_to(p.covs.reshape(len(p.weights), -1), p.means.shape)
    centre = p.means.mean(axis=0)
    size = np.abs(p.means - centre)[:, None, :] + np.abs(x - centre)[None]
    pulls = np.abs((p.means[:, None, :] - x[None]) / lam[:, None, :])
    r = p.responsibilities(x).T
    constants = np.abs(np.log(p.weights) - 0.5 * np.log(lam).sum(-1))[:, None]
    delta = (x.shape[1] + 8) * eps * ((np.square(np.linalg.norm(size, axis=-1)) / lam.min()) + constants + 1)
    average = (r[..., None] * pulls).sum(0)
    moved = 2 * ((r * delta)[..., None] * (pulls + average[None])).sum(0)
    own = (len(r) + 8) * eps * (r[..., None] * size / lam[:, None, :]).sum(0)
    return 2 * (moved + own)


# ---- matrix products -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("t", [3.0, 0.3])
@pytest.mark.parametrize("case", CASES)
def test_one_step_is_the_loop_to_rounding(case, t, dtype):
    law, x = mixture(*case), 2 * np.random.default_rng(1).normal(size=(60, case[0]))
    x = x.astype(dtype).astype(float)
    s = score.perturbed(score.exact(law), 0.25, np.arange(1.0, case[0] + 1))
    table = scheme.Table([t, 0.0], 1.1, 0.2, 0.3)
    there = simulate(table, s, 60, seed=3, start=x, engine="fused", device="cpu", dtype=dtype)
    loop = simulate(table, s, 60, seed=3, start=x, engine="loop")
    eps = float(np.finfo(dtype).eps)
    # float32 normals are the float64 ones to 1e-6; the state, the drift of its frame, the score and the noise are rounded and added
    sizes = 1.1 * np.abs(x) + 0.2 * np.abs(s(t, x)) + 0.3 * 9 + 4 * np.abs(law.means.mean(axis=0))
    bound = 0.2 * rounding_of_products(law, t, x, eps) + 8 * eps * sizes + 0.3 * (1e-6 if dtype == np.float32 else 0.0)
    assert there.dtype == (torch.float32 if dtype == np.float32 else torch.float64)
    assert (np.abs(there.numpy() - loop) <= bound).all()
    assert (np.abs(loop - simulate(table, score.exact(law), 60, seed=3, start=x, engine="loop")) > bound).any()  # control: without the shift


TABLES = [
    scheme.euler_maruyama, scheme.stochastic_heun, scheme.flow_heun, scheme.dpm_solver_pp_2m, scheme.dpm_solver_pp_2m_sde, scheme.ancestral,
    lambda g: scheme.predictor_corrector(g, steps=2, step=0.01), lambda g: scheme.score_at_end(scheme.euler_maruyama(g)),
    lambda g: scheme.denoise_last(scheme.dpm_solver_pp_2m(g)),
]  # fmt: skip


def close(table, law, n, device_kernels=None, device=CPU):
    """The device's chain is the fused one to 4 times what rounding does to a chain, which is measured: the loop with its score moved by the
    rounding bound in random directions (the roundings are not those drawn). Another key differs by order 1."""
    exact, rng = score.exact(law), np.random.default_rng(0)

    def jittered(t, x):
        return exact(t, x) + rng.choice([-1.0, 1.0], x.shape) * (rounding_of_products(law, t, x, EPS) + EPS * np.abs(x))

    jittered.dim = law.dim
    loop, moved = (simulate(table, f, n, seed=5, engine="loop") for f in (exact, jittered))
    scale = np.abs(loop - moved).max()
    there, here, _ = both(table, exact, n, device_kernels=device_kernels, device=device)
    assert 0 < scale < 1e-7
    assert np.abs(there - here).max() <= 4 * scale
    assert np.abs(there[-1] - loop).max() > 0.1


@pytest.mark.parametrize("make", TABLES)
def test_whole_chains_are_the_fused_engine_to_amplified_rounding(make):
    close(make(grid.quadratic(4.0, 20, stop=0.01)), GM3, 200)


def test_a_table_with_memory_of_states_scores_and_noises():
    rng, rows, lags = np.random.default_rng(8), 9, 3
    mask = np.arange(lags)[None, :] <= np.arange(rows)[:, None]
    a, b, c = (rng.uniform(-0.4, 0.4, (rows, lags)) * mask for _ in range(3))
    b[4], c[5, 0] = 0, 0
    there, here, _ = both(scheme.Table(np.linspace(2, 1, rows + 1), a, b, c), score.exact(mixture(5, 7, "isotropic")), 70)
    assert np.abs(there - here).max() <= 1e-13  # a contraction (lags sum below 1.2, V >= 0.6): rounding stays at one step's times the rows


def test_blocks_growth_and_start(monkeypatch):
    table, s = scheme.euler_maruyama(grid.uniform(2.0, 8, stop=0.1)), score.exact(mixture(12, 20, "isotropic"))
    run = lambda n, **more: simulate(table, s, n, seed=0, engine="fused", device="cpu", **more).numpy()  # noqa: E731
    whole = run(200)
    monkeypatch.setattr(gpu, "_NUMBERS", 20 * 66)
    assert gpu._block(program(table, s, 12, "float64"), 200, 12) == 66
    # products may round by the number of rows; the bound is that of the chain: e^{4} of amplification, 8 steps of sums below 1e3
    assert np.abs(run(200) - whole).max() <= 8 * 60 * 30 * EPS * 1e3
    assert np.abs(run(50) - whole[:50]).max() <= 8 * 60 * 30 * EPS * 1e3
    path = trajectories(table, s, 200, seed=0, engine="fused", device="cpu")
    assert np.array_equal(path.states[-1].numpy(), run(200))
    assert np.array_equal(path.states[0].numpy(), trajectories(table, s, 200, seed=0).states[0])  # the same start, bit for bit
    begin = np.random.default_rng(0).normal(size=(9, 12))
    assert np.array_equal(trajectories(table, s, 9, seed=0, start=begin, engine="fused", device="cpu").states[0].numpy(), begin)


def test_the_law_is_that_of_propagate():
    """Kolmogorov's distance of n draws from their law is below sqrt(log(2/alpha)/(2n)) with probability 1 - alpha (Massart 1990)."""
    table, n = scheme.euler_maruyama(grid.uniform(4.0, 20)), 20_000
    x = np.sort(simulate(table, score.exact(GM3), n, seed=0, engine="fused", device="cpu", dtype=torch.float32).numpy()[:, 0].astype(float))
    steps, bound = np.arange(n + 1) / n, math.sqrt(math.log(2e6) / (2 * n))
    distance = lambda law: max(np.abs(law.cdf(x[:, None]) - steps[k : n + k]).max() for k in (0, 1))  # noqa: E731
    assert distance(propagate(table, score.exact(GM3))) <= bound
    assert distance(GM3) > bound  # control: the target itself


# ---- accuracy ------------------------------------------------------------------------------------------------------------------------


def test_logits_err_as_estimated_and_hard_rows_take_float64(monkeypatch):
    """Means far apart in d = 256, V = 0.02: halfway between two of them the responsibilities turn on digits that float32 products miss."""
    rng = np.random.default_rng(0)
    mu = (3 * rng.normal(size=(15, 256))).astype(np.float32)
    mu = np.concatenate([mu, -mu])  # the centre is 0: a start is what it is in float32
    law, table = GaussianMixture(np.full(30, 1 / 30), mu, 1e-4), scheme.Table([0.01, 0.0], 1.0, 0.01, 0.0)
    s, v = score.exact(law), 1e-4 * math.exp(-0.02) - math.expm1(-0.02)
    (estimate,), (double,) = (gpu.logit_error(program(table, s, 256, "float64"), kind) for kind in ("float32", "float64"))
    x = (math.exp(-0.01) * mu[rng.integers(30, size=400)] + math.sqrt(v) * rng.normal(size=(400, 256))).astype(np.float32)
    error = np.abs(x @ mu.T - x.astype(float) @ mu.astype(float).T).max() * math.exp(-0.01) / v
    assert 0.02 * estimate < error < estimate  # an estimate, not a bound: processors add in blocks, which errs less
    assert double < 1e-8 < gpu.TOLERANCE < estimate
    start = (math.exp(-0.01) * (mu[:14] + mu[1:15]) / 2).astype(np.float32).astype(float)
    errors = []
    for tolerance in (gpu.TOLERANCE, math.inf):
        monkeypatch.setattr(gpu, "TOLERANCE", tolerance)
        there, _, exact = both(table, s, 14, "float32", start=start)
        errors.append(np.abs(there - exact).max())
    assert errors[0] < 0.1 * errors[1]


def test_a_far_cloud_costs_no_digits():
    """Means and particles are measured from the centre: the float32 chain loses less to the place where the cloud stands."""
    law, far = mixture(12, 20, "isotropic"), 4096.0
    moved = GaussianMixture(law.weights, law.means + far, law.covs)
    table = scheme.euler_maruyama(grid.uniform(2.0, 8, stop=0.1))
    begin = (np.random.default_rng(0).normal(size=(50, 12)) + math.exp(-2.0) * far).astype(np.float32).astype(float)
    there, here, exact = both(table, score.exact(moved), 50, "float32", start=begin)
    assert np.abs(there - exact)[-1].max() < 0.25 * np.abs(here - exact)[-1].max()  # the fused engine steps the particles where they are


def test_shorter_products_are_shown(monkeypatch, recwarn):
    law = mixture(12, 20, "isotropic")
    table = scheme.euler_maruyama(grid.uniform(2.0, 4, stop=0.1))
    assert not gpu._below_float32(torch, CPU)
    monkeypatch.setattr(gpu, "_below_float32", lambda *_: True)
    with pytest.warns(UserWarning, match=r"float32 matrix products in a shorter type.* row 3 is off by up to \d"):
        simulate(table, score.exact(law), 10, seed=0, engine="fused", device="cpu", dtype=torch.float32)
    simulate(table, score.exact(law), 10, seed=0, engine="fused", device="cpu")  # float64 products: nothing to show
    assert not recwarn.list


# ---- which runs ----------------------------------------------------------------------------------------------------------------------


def test_which_scores_it_takes():
    table = scheme.Table([1.0, 0.0], 1.1, 0.2, 0.3)
    points = np.random.default_rng(0).normal(size=(30, 2))
    for law in (Gaussian([1.0], 0.5), Gaussian([1.0, 2.0], [0.5, 1.0]), GM3, Empirical(points), kernel_density(points, [0.3, 0.2])):
        s = score.perturbed(score.exact(law), 0.1)
        there, loop = simulate(table, s, 20, seed=0, engine="fused", device="cpu"), simulate(table, s, 20, seed=0, engine="loop")
        assert np.abs(there.numpy() - loop).max() <= 1e-13  # V >= 0.86: one step, points and pulls of order 10
    forward = scheme.forward_euler_maruyama(np.full(20, 0.05))
    there, loop = (simulate(forward, None, 50, seed=1, start=np.ones((50, 3)), **how) for how in ({"engine": "fused", "device": "cpu"}, {}))
    assert np.abs(there.numpy() - loop).max() <= 20 * 4 * EPS * 10  # a contraction: 20 steps of a few roundings
    full = score.exact(Gaussian([0.0, 0.0], [[1.0, 0.5], [0.5, 1.0]]))
    field = score.perturbed(score.exact(GM3), 0.1, lambda t, x: np.sin(x))
    for s in (full, field, lambda t, x: -x):
        with pytest.raises(NoMethod, match="engine: got 'fused'"):
            simulate(table, s, 5, seed=0, start=np.zeros((5, getattr(s, "dim", 1))), engine="fused", device="cpu")


def test_what_float64_products_cannot_resolve_is_not_trusted():
    law = GaussianMixture([0.5, 0.5], [[-1e8], [1e8]], 1e-4)
    with pytest.raises(NotTrusted, match="engine='loop'"):
        simulate(scheme.Table([1e-4, 0.0], 1.0, 0.1, 0.0), score.exact(law), 5, seed=0, engine="fused", device="cpu")


def test_what_does_not_fit_is_refused(monkeypatch):
    table = scheme.euler_maruyama(grid.uniform(2.0, 4, stop=0.1))
    run = lambda n: simulate(table, score.exact(GM3), n, seed=0, engine="fused", device="cpu")  # noqa: E731
    plan = program(table, score.exact(GM3), 1, "float64")
    small, large = (gpu.need(plan, n, 1, "float64", 1, CPU) for n in (100, 10_000))
    assert 100 * 8 < small < large
    monkeypatch.setattr(front, "_available_memory", lambda: 2.5 * small)
    run(100)
    with pytest.raises(ValueError, match=r"n: simulate with n = 10000.*allowed is half"):
        run(10_000)


# ---- Triton's kernels ----------------------------------------------------------------------------------------------------------------


def triton_module(*names):
    """Triton's kernels, or only some of them."""
    from scoresde.engine import triton_kernels

    return types.SimpleNamespace(**{name: getattr(triton_kernels, name) for name in names or ("draw", "weigh", "advance", "chains")})


if TRITON and (CUDA or INTERPRETED):
    import triton
    import triton.language as tl

    from scoresde.engine.triton_kernels import _signed
    from scoresde.engine.triton_kernels import philox as philox_there

    @triton.jit
    def words_kernel(out, k0, k1, first, LANES: tl.constexpr):
        i = tl.arange(0, LANES)
        c0, c1, c2, c3 = philox_there(first + i.to(tl.int64), 7, 3, k0.to(tl.uint32, bitcast=True), k1.to(tl.uint32, bitcast=True))
        tl.store(out + i, c0.to(tl.int64))
        tl.store(out + LANES + i, c1.to(tl.int64))
        tl.store(out + 2 * LANES + i, c2.to(tl.int64))
        tl.store(out + 3 * LANES + i, c3.to(tl.int64))

    @triton.jit
    def square_less_one(x):
        at = x + tl.arange(0, 2)
        u = tl.load(at)
        tl.store(at, tl.fma(u, u, -1.0))


def one_rounding():
    """Whether a multiply-add is rounded once here: on a card, and in newer interpreters."""
    x = torch.full((2,), 1 + 2.0**-12, device=HERE)
    square_less_one[(1,)](x)
    return float(x[0]) == 2.0**-11 + 2.0**-24


@needs_triton
@pytest.mark.parametrize("first", [0, 2**33 + 10])
def test_triton_words_are_those_of_the_processor_bit_for_bit(first):
    out = torch.zeros(4, 64, dtype=torch.int64, device=HERE)
    words_kernel[(1,)](out, *_signed(KEY), first, LANES=64)
    low = np.uint64(2**32 - 1)
    with np.errstate(over="ignore"):
        pairs = [philox(np.uint64(p) & low, np.uint64(7), np.uint64(3), np.uint64(p >> 32), *KEY) for p in range(first, first + 64)]
    words = (np.array(pairs) & low).T
    assert np.array_equal(out.cpu().numpy(), words.astype(np.int64))


@needs_triton
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_triton_normals_are_those_of_the_processor(dtype):
    """Bit for bit where a multiply-add is rounded once. Else the texts round differently: a few ulp of |z| < 9."""
    table = scheme.Table([1.0, 0.0], 0.0, 0.0, 1.0)  # y_1 = z_0
    plan = program(table, None, 3, "float64")
    for kernels in (triton_module(), triton_module("draw", "weigh", "advance")):
        out = gpu.run(plan, START, np.array([1]), 2, KEY, 1001, 3, dtype, HERE, kernels).cpu().numpy()
        z = normals(KEY, 1001, 3, dtype=dtype)
        assert np.abs(out[1] - z).max() <= (0 if one_rounding() else 4 * np.finfo(dtype).eps * 9)
        assert np.abs(out[0] - normals(START, 1001, 3)).max() <= (np.finfo(dtype).eps * 9)


@needs_triton
@pytest.mark.parametrize("names", [(), ("draw", "weigh", "advance")], ids=["chains", "products"])
@pytest.mark.parametrize("case", CASES[1:3] + CASES[-4:-1])
def test_triton_chains_are_the_fused_engine(case, names):
    """In float64 to what rounding grows to; in float32 the error is that of the fused engine in float32, up to a factor for its other order."""
    s, table = score.perturbed(score.exact(mixture(*case)), 0.2), scheme.dpm_solver_pp_2m_sde(grid.quadratic(3.0, 3, stop=0.05))
    there, here, _ = both(table, s, 33, "float64", triton_module(*names), HERE)
    plain, *_ = both(table, s, 33)
    assert np.abs(there - here).max() <= 20 * max(np.abs(plain - here).max(), 10 * EPS)
    there, here, exact = both(table, s, 33, "float32", triton_module(*names), HERE)
    assert np.abs(there - exact).max() <= 20 * np.abs(here - exact).max()


@needs_triton
@pytest.mark.parametrize("make", TABLES[:5])
def test_triton_chains_of_every_kind_of_table(make):
    close(make(grid.quadratic(4.0, 5, stop=0.01)), GM3, 40, triton_module(), HERE)


@needs_triton
def test_triton_chains_depend_on_seed_and_particle_alone():
    s, table = score.exact(mixture(2, 5, "isotropic")), scheme.euler_maruyama(grid.uniform(2.0, 3, stop=0.1))
    many, few = (both(table, s, n, "float32", triton_module(), HERE)[0] for n in (530, 7))
    assert np.array_equal(many[:, :7], few)


@needs_triton
def test_triton_draws_have_the_law_of_propagate():
    table, n = scheme.euler_maruyama(grid.uniform(4.0, 8)), 6000
    plan = program(table, score.exact(GM3), 1, "float64")
    keep = np.full(8, -1)
    keep[-1] = 0
    x = np.sort(gpu.run(plan, START, keep, 1, KEY, n, 1, "float32", HERE, triton_module()).cpu().numpy()[0, :, 0].astype(float))
    steps, bound = np.arange(n + 1) / n, math.sqrt(math.log(2e6) / (2 * n))
    distance = lambda law: max(np.abs(law.cdf(x[:, None]) - steps[k : n + k]).max() for k in (0, 1))  # noqa: E731
    assert distance(propagate(table, score.exact(GM3))) <= bound < distance(GM3)


@pytest.mark.skipif(not TRITON, reason="triton is not installed")
@pytest.mark.skipif(TRITON and version("triton") < "3.7", reason="the interpreter of Triton 3.6 does not know NumPy 2.4")
@pytest.mark.skipif(CUDA or INTERPRETED, reason="Triton's kernels ran here already")
def test_triton_in_its_interpreter():
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-k", "triton", "-p", "no:cacheprovider", __file__],
        env={**os.environ, "TRITON_INTERPRET": "1"}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:]
    assert " passed" in done.stdout


# ---- a card --------------------------------------------------------------------------------------------------------------------------


@needs_cuda
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", [(1, 3, "isotropic"), (2, 8, "diagonal"), (40, 130, "common"), (64, 500, "isotropic")])
def test_simulate_on_a_card_takes_the_device_engine_by_itself(case, dtype):
    s, table = score.exact(mixture(*case)), scheme.euler_maruyama(grid.quadratic(3.0, 20, stop=0.05))
    there = simulate(table, s, 1001, seed=0, device="cuda", dtype=dtype)
    here, exact = (simulate(table, s, 1001, seed=0, dtype=kind) for kind in (dtype, "float64"))
    plain = simulate(table, s, 1001, seed=0, engine="fused", device="cpu", dtype=dtype).numpy()
    assert there.device.type == "cuda"
    error = max(np.abs(here - exact).max(), np.abs(plain - exact).max())
    assert np.abs(there.cpu().numpy() - exact).max() <= 20 * error
    assert torch.equal(there[:10], simulate(table, s, 10, seed=0, device="cuda", dtype=dtype)) or case[0] > 8


@needs_cuda
def test_scores_of_other_kinds_run_in_the_loop_on_a_card():
    table = scheme.euler_maruyama(grid.uniform(2.0, 5))
    out = simulate(table, lambda t, x: -x, 50, seed=0, start=np.zeros((50, 2)), device="cuda")
    assert out.device.type == "cuda"
    assert np.abs(out.cpu().numpy() - simulate(table, lambda t, x: -x, 50, seed=0, start=np.zeros((50, 2)))).max() <= 1e-12
