"""The benchmarks are fair: every peer simulates the same law, a wrong one is noticed, intervals cover, the dense matrix agrees with the engine."""

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest

import scoresde as sd
from benchmarks import engines, laws, peers, scaling, timing

NUMPY = [peer for peer in peers.PEERS if peer[0] == "numpy, blocked"]


@pytest.fixture
def threads():
    """torch's and Numba's numbers of threads, put back afterwards."""
    from numba import config

    torch, before = pytest.importorskip("torch"), config.NUMBA_NUM_THREADS
    count = torch.get_num_threads()
    yield
    torch.set_num_threads(count)
    config.NUMBA_NUM_THREADS = before


# ---- peers ----------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("d", [2, 6])
def test_the_arrays_given_to_peers_are_those_of_the_exact_score(d):
    case = peers.problem(d, 3, steps=5)
    x = np.random.default_rng(0).standard_normal((20, d))
    for r, t in enumerate(case.table.score_times):
        u = case.m[r] * case.law.means - x[:, None, :]
        q = case.offset[r] - 0.5 * (u * u).sum(-1) * case.inverse[r]
        w = np.exp(q - q.max(axis=1, keepdims=True))
        s = np.einsum("nk,nkd->nd", w / w.sum(axis=1, keepdims=True) * case.inverse[r], u)
        np.testing.assert_allclose(s, sd.score.exact(case.law)(float(t), x), rtol=0, atol=1e-13)  # 1e3 roundings of numbers below 10
    grow, pull, spread = case.factors
    table = case.table
    np.testing.assert_allclose([table.a[0, 0], table.b[0, 0], table.c[0, 0]], [grow, pull, spread], rtol=1e-14)  # h is a difference of times


@pytest.mark.parametrize("name", [name for name, *_ in peers.PEERS if name != "torch.compile"])  # that one runs the same step, a compilation later
@pytest.mark.parametrize(("d", "dtype"), [(2, "float64"), (6, "float32")])
def test_every_peer_simulates_the_same_law(name, d, dtype, threads):
    module, make = next((module, make) for other, module, make, _ in peers.PEERS if other == name)
    pytest.importorskip(module)
    case = peers.problem(d, 3, steps=6)
    x = make(case, dtype, 1000)(10_000, seed=1)
    assert x.shape == (10_000, d) and x.dtype == dtype
    assert engines.same_law(x, engines.ours(case, dtype, 1)(100_000, 2)) < engines.FALSE_ALARM


@pytest.mark.parametrize("wrong", [{"h": 1.1}, {"inverse": 0.7}, {"offset": 3.0}])
def test_a_peer_of_another_law_is_noticed(wrong):
    """A step, a score or weights that are off."""
    case = peers.problem(2, 3, steps=6)
    (field, factor), *_ = wrong.items()
    other = dataclasses.replace(case, **{field: factor * getattr(case, field)})
    x, y = peers.numpy_make(other, "float64", 5000)(20_000, 1), engines.ours(case, "float64", 1)(100_000, 2)
    assert engines.same_law(x, y) > engines.FALSE_ALARM
    assert engines.same_law(np.full((10, 2), np.nan), y) == math.inf


def test_a_column_is_measured_and_drawn(threads, tmp_path):
    report = {"processor": "a processor", "threads": 2, "columns": [engines.column(1, 3, kind, NUMPY, 3, 1e-3) for kind in engines.GOALS]}
    for row in report["columns"]:
        assert not row["wrong_law"] and row["best_peer"] == "numpy, blocked" and set(row["nanoseconds"]) == {*row["standard_errors"]}
        assert row["reached"] == (row["ratio"]["numpy, blocked"][0] >= row["goal"])
        assert any("numpy, blocked" in line for line in engines.show(row))
    timing.write(tmp_path / "r.json", report)
    timing.paint(tmp_path / "r.png", engines.figure(json.loads((tmp_path / "r.json").read_text())))
    assert (tmp_path / "r.png").read_bytes().startswith(b"\x89PNG")


def test_a_peer_of_another_law_is_not_timed(threads):
    def make(problem, dtype, batch):
        return peers.numpy_make(dataclasses.replace(problem, h=2 * problem.h), dtype, batch)

    row = engines.column(1, 3, "float64", [("cheat", "numpy", make, (2**12,))], 2, 1e-3)
    assert row["wrong_law"] == ["cheat"] and "cheat" not in row["ratio"] and row["best_peer"] is None
    assert any("WRONG LAW" in line for line in engines.show(row))


# ---- laws and scaling -----------------------------------------------------------------------------------------------------------------


def test_the_dense_matrix_agrees_with_the_engine():
    ours = laws.law(60)
    x, q = laws.dense(60, 0.25 * math.sqrt(12 / 60))
    # trapezoidal sums of q_k(y) N(x; a_k(y), R), which is analytic: at a quarter of sqrt(R), and slopes of a_k below 4, one part in 1e8
    assert 0.5 * np.abs(ours.pdf(x[:, None]) - q).sum() * (x[1] - x[0]) < 1e-7
    coarse, rough = laws.dense(60, 2 * math.sqrt(12 / 60))
    assert 0.5 * np.abs(ours.pdf(coarse[:, None]) - rough).sum() * (coarse[1] - coarse[0]) > 1e-4


def test_cost_is_measured_along_an_axis(threads, tmp_path):
    axes = [scaling.grown("n", (64, 128, 256), 2), scaling.grown("steps of the law", (8, 16, 32), 2)]
    report = {"processor": "a processor", "axes": axes, "threads": scaling.threads(2, particles=256)}
    assert report["threads"][0]["faster"][0] == 1.0
    timing.paint(tmp_path / "s.png", scaling.figure(report))
    rows = [{"steps": n, "seconds": 1e-4 * n, "dense_seconds": 1e-6 * n**2} for n in (10, 100)]
    timing.paint(tmp_path / "l.png", laws.figure({"processor": "a processor", "beside": rows, "rows": [{"what": "10 000 steps", "got": 1000.0}]}))


# ---- what they share ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 5, 7, 9, 30])
def test_the_interval_of_a_median_covers_it_as_often_as_it_says(n):
    """Order statistics, by their ranks: of n uniform numbers the k-th is below 1/2 if at least k are."""
    median, lo, hi, covers = timing.spread(np.arange(n, dtype=float))
    k = int(lo) + 1
    assert hi == n - k and median == (n - 1) / 2
    assert covers == pytest.approx(sum(math.comb(n, i) for i in range(k, n - k + 1)) / 2**n, abs=1e-15)
    narrower = sum(math.comb(n, i) for i in range(k + 1, n - k)) / 2**n
    assert (covers >= 0.95 and narrower < 0.95) or k == 1


def test_rounds_run_every_call_once_from_another_one_on():
    order = []
    times = timing.rounds({name: lambda name=name: order.append(name) for name in "abc"}, 4)
    assert "".join(order) == "abcbcacababc" and all(len(t) == 4 for t in times.values())


def test_the_slope_of_a_power():
    x = np.array([1.0, 2.0, 5.0, 30.0])
    assert timing.slope(x, 7e-3 * x**1.3) == pytest.approx(1.3, abs=1e-12)


def test_labels_keep_their_distance():
    heights = [h for h, _ in engines.apart([(0.0, "a"), (0.1, "b"), (5.0, "c"), (0.05, "d")], 1.0)]
    assert heights == [0.0, 1.0, 2.0, 5.0]


def test_versions_say_what_is_missing():
    assert timing.versions(("numpy", "no-such-package")) == timing.versions(()) | {"numpy": np.__version__, "no-such-package": None}


# ---- what is written down --------------------------------------------------------------------------------------------------------------


def test_the_table_of_the_readme_is_the_stored_result():
    root = Path(__file__).parent.parent
    columns = json.loads((root / "benchmarks/results/engines.json").read_text())["columns"]
    lines = [line.strip("| \n").split(" | ") for line in (root / "README.md").read_text().splitlines() if " | × " in line]
    shown = {tuple(map(int, cells[0].split(", "))): [(float(cells[i]), float(cells[i + 2].strip("× "))) for i in (1, 4)] for cells in lines}
    for row in columns:
        time, ratio = shown[row["d"], row["K"]][row["dtype"] == "float32"]
        assert time == pytest.approx(row["nanoseconds"]["scoresde"][0], rel=0.005)  # three digits
        assert ratio == pytest.approx(row["ratio"][row["best_peer"]][0], abs=0.051)  # one decimal
    assert len(columns) == 2 * len(shown)
