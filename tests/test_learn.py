"""Learned scores: the linear part is exact, training lowers the loss and the error, and the result is a score like the exact one."""

import copy
import math
import os
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
import torch

import scoresde as sd
from scoresde import learn

GM3 = sd.GaussianMixture([0.3, 0.45, 0.25], [[-2.0], [0.4], [2.2]], [0.25, 0.16, 0.36])
EPS = np.finfo(float).eps
STEPS = {"seed": 0, "steps": 640, "batch": 128}
X = np.random.default_rng(0).normal(size=(60, 1)) * 2
Z6 = 4.9  # two-sided normal quantile of the level 1e-6


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Small networks gain nothing from threads, and lose much where other work shares the cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def learned():
    return learn.train(GM3, **STEPS)


@pytest.fixture(scope="module")
def untrained():
    """The same draws at a rate that moves nothing: F = 0, the score of N(mean, cov)."""
    return learn.train(GM3, rate=1e-30, **STEPS)


def run(code):
    return subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": "."})


# ---- the linear part --------------------------------------------------------------------------------------------------------------------


def test_without_training_the_score_is_that_of_the_gaussian_with_the_moments_of_the_data():
    law = sd.Gaussian([1.0, -2.0, 0.5], [[2.0, 0.5, 0.0], [0.5, 0.3, 0.1], [0.0, 0.1, 1.0]])
    s, exact = learn.train(law, seed=0, steps=1, batch=2, rate=1e-30), sd.score.exact(law)
    x = law.sample(50, 1)
    for t in (0.01, 0.3, 2.0, 6.0):
        condition = 2.5 / -math.expm1(-2 * t)  # largest variance over the least possible one: what the eigenvectors' rounding costs
        assert np.abs(s(t, x) - exact(t, x)).max() <= 1e3 * EPS * condition * np.abs(exact(t, x)).max()


def test_a_direction_without_spread_has_the_score_of_a_point():
    x0 = np.column_stack([np.random.default_rng(1).normal(size=200), np.full(200, 3.0)])
    s = learn.train(x0, seed=0, steps=64, batch=16)
    for t in (0.01, 1.0):
        got, want = s(t, x0)[:, 1], -(3.0 - math.exp(-t) * 3.0) / -math.expm1(-2 * t)
        assert np.abs(got - want).max() <= 64 * EPS * 3.0 / -math.expm1(-2 * t)


def test_the_error_of_the_untrained_score_is_the_excess_of_the_fisher_information(untrained):
    # s = -(x - m mu)/w in place of grad log p_t: by Stein's identity the squared error is F(p_t) - 1/w
    for t in (0.05, 0.5):
        w = math.exp(-2 * t) * GM3.cov()[0, 0] - math.expm1(-2 * t)
        gap = sd.score.l2_error(untrained, GM3, [t]) - (sd.information.fisher(GM3, t).value - 1 / w) ** 0.5
        assert abs(gap.value) <= gap.width + 1e-9  # F = 0 up to 640 steps of Adam at rate 1e-30; quadratures of about 1e-12


# ---- training ---------------------------------------------------------------------------------------------------------------------------


def test_the_loss_starts_at_the_variance_of_its_target_and_falls(learned, untrained):
    # whitened, the target has variance 1 at every t, so that F = 0 costs E k(t), k = cos(phi)/sigma; pair means have variance <= 2 if Gaussian
    law, n = sd.Gaussian([1.0], 4.0), 64 * 256
    t = np.exp(np.linspace(math.log(0.01), math.log(6.0), 100001))
    k = np.exp(-t) * 2 / np.sqrt(np.exp(-2 * t) * 4 - np.expm1(-2 * t)) / np.sqrt(-np.expm1(-2 * t))
    first = learn.train(law, seed=0, steps=64, batch=256, stop=0.01, rate=1e-30).losses[0]
    assert abs(first - k.mean()) <= Z6 * math.sqrt(2 * (k**2).mean() / n) < k.mean() / 10
    fall = untrained.losses - learned.losses  # common draws
    assert len(fall) == 10 and fall[5:].mean() > Z6 * fall[5:].std(ddof=1) / math.sqrt(5)


def test_training_brings_the_error_below_what_the_bound_needs(learned, untrained):
    # D4 at T = 2, h = 0.1 says something if sqrt(hK) + M sqrt(T) < sqrt(2 - KL(p_T|gamma)); K <= 4.3, KL <= 0.03
    allowed = (math.sqrt(1.97) - math.sqrt(0.43)) / math.sqrt(2.0)
    times = [0.1, 0.2, 0.5, 1.0, 2.0]
    assert sd.score.l2_error(learned, GM3, times).hi < allowed < sd.score.l2_error(untrained, GM3, times).lo


def test_equal_seeds_give_equal_bits_and_nothing_global_moves():
    few = {"steps": 70, "batch": 16, "width": 8}
    before, numpys = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    threads = torch.get_num_threads()
    with torch.no_grad():
        one, two, other = (learn.train(GM3, seed=seed, **few) for seed in (5, 5, 6))
    bits = [torch.cat([p.flatten() for p in s.module.parameters()]) for s in (one, two, other)]
    assert torch.equal(bits[0], bits[1]) and not torch.equal(bits[0], bits[2]) and np.array_equal(one.losses, two.losses)
    assert torch.get_num_threads() == threads and torch.equal(before, torch.get_rng_state()) and np.array_equal(numpys, np.random.get_state()[1])  # noqa: NPY002
    assert not any(p.requires_grad for p in one.module.parameters()) and one.losses.shape == (2,) and one.dtype == torch.float64


def test_a_time_budget_and_progress():
    seen = []
    s = learn.train(GM3, seed=0, seconds=0.2, batch=8, width=8, progress=lambda done, loss: seen.append((done, loss)))
    assert seen[-1] == (1.0, pytest.approx(seen[-1][1])) and all(a[0] <= b[0] for a, b in pairwise(seen)) and len(s.losses) >= 1


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({}, ValueError, "exactly one"),
        ({"steps": 1, "seconds": 1.0}, ValueError, "exactly one"),
        ({"steps": 0}, ValueError, "int >= 1"),
        ({"seconds": -1.0}, ValueError, "seconds"),
        ({"steps": 1, "stop": 0.0}, ValueError, "stop"),
        ({"steps": 1, "stop": 2.0, "T": 1.0}, ValueError, "0 < stop < T"),
        ({"steps": 1, "threads": 0}, ValueError, "threads"),
        ({"steps": 1, "width": 2.5}, TypeError, "width"),
        ({"steps": 1, "seed": None}, ValueError, "seed"),
        ({"steps": 1, "target": X[:, 0]}, ValueError, r"x\[:, None\]"),
        ({"steps": 1, "target": [[np.nan], [1.0]]}, ValueError, "finite"),
        ({"steps": 1, "target": lambda t, x: x}, TypeError, "a Law, or data"),
    ],
)
def test_training_refuses(change, error, match):
    with pytest.raises(error, match=match):
        learn.train(**{"target": GM3, "seed": 0, **change})


# ---- a score like any other -------------------------------------------------------------------------------------------------------------


def test_numpy_and_torch_shapes_and_dtypes(learned):
    want = learned(0.3, X)
    frozen = X[::-1].copy()[::-1].reshape(5, 12, 1)  # read-only, and laid out backwards
    frozen.setflags(write=False)
    assert want.dtype == np.float64 and learned.dim == 1 and learned.law is None
    assert np.array_equal(learned(0.3, torch.from_numpy(X)).numpy(), want) and np.array_equal(learned(0.3, frozen).reshape(60, 1), want)
    assert learned(0.3, X.astype(np.float32)).dtype == np.float32 and learned(0.3, torch.zeros(2, 1)).dtype == torch.float32
    assert learned(1, np.zeros((0, 1))).shape == (0, 1) and learned.jacobian(1, np.zeros((0, 1))).shape == (0, 1, 1)
    x = torch.from_numpy(X).requires_grad_(True)
    learned(0.3, x).sum().backward()
    assert np.array_equal(x.grad.numpy()[:, :, None], learned.jacobian(0.3, X))


def test_one_time_per_row_is_the_loop_over_rows(learned):
    t = np.resize([0.01, 0.7, 6.0], 60)
    rows = np.concatenate([learned(float(u), x[None]) for u, x in zip(t, X)])
    # sums of 64 terms in another order, three layers, magnified by cot(phi)/sqrt(v) <= 50 at t = 0.01
    assert np.abs(learned(t, X) - rows).max() <= 3 * 64 * 50 * EPS * max(1, np.abs(rows).max())


@pytest.mark.parametrize("t", [0.02, 0.5, 4.0])
def test_the_jacobian_is_the_limit_of_difference_quotients(t):
    s = learn.train(sd.Product([GM3, sd.Gaussian([0.0], 2.0)]), seed=0, steps=64, batch=64, width=16)
    x = np.random.default_rng(3).normal(size=(20, 2)) * 2

    def quotient(h):
        return np.stack([(s(t, x + h * e) - s(t, x - h * e)) / (2 * h) for e in np.eye(2)], axis=-1)

    h, got = 1e-4, s.jacobian(t, x)
    rounding = 1e3 * EPS * max(1, np.abs(s(t, x)).max()) / h
    # the error of the quotient grows fourfold from h to 2h, so it is a third of their difference
    assert got.shape == (20, 2, 2) and (np.abs(got - quotient(h)) <= np.abs(quotient(2 * h) - quotient(h)) + rounding).all()


@pytest.mark.parametrize(
    ("t", "x", "error", "match"),
    [
        (0.0005, X, ValueError, "trained on"),
        (7.0, X, ValueError, "trained on"),
        (math.nan, X, ValueError, "trained on"),
        (X, 0.3 * X, TypeError, r"s\(t, x\)"),
        (np.full(3, 0.5), X, ValueError, "one time per row"),
        (0.5, X[:, 0], ValueError, r"x\[:, None\]"),
    ],
)
def test_evaluation_refuses(learned, t, x, error, match):
    for f in (learned, learned.jacobian):
        with pytest.raises(error, match=match):
            f(t, x)


def test_a_module_of_ones_own():
    inner = torch.nn.Linear(2, 2, dtype=torch.float32)

    class Own(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = inner

        def forward(self, t, x):
            return self.inner(x) * t[:, None]

    s = learn.score(Own(), dim=2)
    x = np.random.default_rng(0).normal(size=(4, 2))
    A, b = (p.detach().double().numpy().copy() for p in inner.parameters())
    with torch.no_grad():
        inner.weight.zero_()  # later training does not change a score that was made
    assert np.abs(s(0.5, x) - 0.5 * (x @ A.T + b)).max() <= 16 * EPS and np.abs(s.jacobian(0.5, x) - 0.5 * A).max() <= 16 * EPS
    assert (s.stop, s.T) == (0.0, math.inf) and inner.weight.dtype == torch.float32
    single = learn.score(s, dim=2, dtype=torch.float32)
    assert 0 < np.abs(single(0.5, x) - s(0.5, x)).max() <= 32 * np.finfo(np.float32).eps
    assert np.array_equal(learn.score(lambda t, x: -x, dim=2)(1.0, x), -x)
    with pytest.raises(ValueError, match="shape of x"):
        learn.score(lambda t, x: x[:, :1], dim=2)(0.5, x)
    with pytest.raises(ValueError, match="equal dimensions"):
        learn.score(s, dim=3)
    with pytest.raises(TypeError, match="torch function or module"):
        learn.score(3.0, dim=1)
    with pytest.raises(TypeError, match=r"torch\.float64"):
        learn.score(s, dim=2, dtype="float32")


def test_the_chain_of_a_learned_score_has_the_propagated_law(learned):
    table = sd.scheme.euler_maruyama(sd.grid.uniform(1.0, h=0.1))
    law, x = sd.propagate(table, learned), sd.simulate(table, learned, n=20_000, seed=0)
    assert law.error <= 1e-8
    assert sd.kolmogorov(x, law, alpha=1e-6).lo == 0.0 < sd.kolmogorov(x, GM3, alpha=1e-6).lo  # the target is not the chain's law


def test_the_measured_error_enters_de_bortoli(learned, untrained):
    table = sd.scheme.euler_maruyama(sd.grid.uniform(2.0, h=0.1))
    claim = sd.theorems.de_bortoli_2021_total_variation(GM3, table=table, score=learned)
    assert claim.verdict == "verified" and not claim.vacuous and claim.lhs.lo > 0
    assert sd.theorems.de_bortoli_2021_total_variation(GM3, table=table, score=untrained).verdict != "verified"  # its M makes the bound say nothing


# ---- files ------------------------------------------------------------------------------------------------------------------------------


def test_save_and_load_is_the_identity_bit_by_bit(learned, tmp_path):
    for s in (learned, learn.score(learned, dim=1, dtype=torch.float32)):
        learn.save(s, tmp_path / "s.safetensors")
        again = learn.load(tmp_path / "s.safetensors")
        assert np.array_equal(again(0.2, X), s(0.2, X)) and np.array_equal(again.losses, s.losses)
        assert (again.dim, again.stop, again.T, again.dtype) == (s.dim, s.stop, s.T, s.dtype)
        assert all(torch.equal(a, b) for a, b in zip(again.module.state_dict().values(), s.module.state_dict().values(), strict=True))


def test_a_file_is_written_whole_or_not_at_all(learned, tmp_path, monkeypatch):
    path = tmp_path / "s.safetensors"
    path.write_bytes(b"old")
    with monkeypatch.context() as m, pytest.raises(OSError, match="disk"):
        m.setattr(os, "replace", lambda *a: (_ for _ in ()).throw(OSError("disk")))
        learn.save(learned, path)
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["s.safetensors"]
    with pytest.raises(FileNotFoundError, match="folder"):
        learn.save(learned, tmp_path / "no" / "s")
    with pytest.raises(OSError, match="regular file"):
        learn.save(learned, os.devnull)
    with pytest.raises(TypeError, match="what learn"):
        learn.save(learn.score(lambda t, x: -x, dim=1), path)


def test_wrong_files_are_refused(learned, tmp_path):
    import safetensors.torch

    path = tmp_path / "s.safetensors"
    learn.save(learned, path)
    whole, state = path.read_bytes(), learned.module.state_dict()
    about = '{"dim": 1, "width": 64, "depth": 3, "stop": 0.01, "T": 6.0}'
    good = {**{k: v.contiguous() for k, v in state.items()}, "losses": torch.zeros(1, dtype=torch.float64)}
    nan = {**copy.deepcopy(good), "mean": torch.tensor([math.nan], dtype=torch.float64)}

    def packed(tensors, **metadata):
        return safetensors.torch.save(tensors, {"format": "scoresde-score/1", "network": about, **metadata})

    for data, match in (
        (whole[:-8], "not a safetensors file"),
        (b"", "not a safetensors file"),
        (safetensors.torch.save(good), "format None"),
        (packed(good, format="scoresde-score/9"), "scoresde-score/9"),
        (packed(good, network=about.replace("64", "1000000000")), "disagree"),
        (packed(good, network=about.replace("64", '"64"')), "disagree"),
        (packed(good, network="{"), "disagree"),
        (packed({"mean": good["mean"]}), "disagree"),
        (packed(nan), "not finite"),
    ):
        path.write_bytes(data)
        with pytest.raises(ValueError, match=match):
            learn.load(path)
    for missing in (tmp_path / "none", tmp_path):
        with pytest.raises(OSError):
            learn.load(missing)


def test_torch_is_optional():
    assert "True" in run("import sys, scoresde as sd; sd.GaussianMixture, sd.simulate, sd.propagate; print('torch' not in sys.modules)").stdout
    for name in ("torch", "safetensors"):
        message = run(f"import sys; sys.modules[{name!r}] = None; import scoresde as sd; sd.learn").stderr
        assert "ImportError" in message and "pip install 'scoresde[learn]'" in message
