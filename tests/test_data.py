"""A data file is read as it says, refused in one line that names the place, and turned into a target whose cost is stated and true."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import scoresde as sd
from scoresde.data import CELLS, COST, as_target, merge, merging_cost, read_points

WANTED = np.array([[1.0, 2.5], [-3e2, 4.0], [0.0, -0.5]])


def _file(tmp_path, text, name="x.csv", encoding="utf-8"):
    path = tmp_path / name
    path.write_bytes(text.encode(encoding) if isinstance(text, str) else text)
    return path


@pytest.mark.parametrize("sign", [",", ";", "\t", " ", "   ", ", "])
@pytest.mark.parametrize("header", ["", "height{0}weight\n", "# a comment\n\n", '"a 1"{0}"b"\n'])
@pytest.mark.parametrize("end", ["\n", "\r\n", ""])
def test_csv_with_any_separator_and_with_or_without_header(tmp_path, sign, header, end):
    if header.startswith('"a 1"') and sign.isspace() and sign != "\t":
        header = "a{0}b\n"  # blanks inside a name cannot be told from separators
    body = (end or "\n").join(sign.join(repr(float(x)) for x in row) for row in WANTED) + end
    points, said = read_points(_file(tmp_path, header.format(sign) + body))
    assert np.array_equal(points, WANTED) and points.dtype == np.float64
    assert "3 rows × 2 columns" in said and ("header" in said)
    assert ("first line taken as a header" in said) == (header != "" and not header.startswith("#"))


def test_one_number_a_line(tmp_path):
    points, said = read_points(_file(tmp_path, "height\n1\n2\n4\n"))
    assert np.array_equal(points, [[1.0], [2.0], [4.0]]) and "3 rows × 1 column (height)" in said and "one number a line" in said


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "latin-1"])
def test_encodings_of_spreadsheets(tmp_path, encoding):
    points, _ = read_points(_file(tmp_path, "Größe;Höhe\n1;2\n3;5\n", encoding=encoding))
    assert np.array_equal(points, [[1.0, 2.0], [3.0, 5.0]])


@pytest.mark.parametrize(("dtype", "shape"), [("<f8", (5, 2)), (">f4", (5,)), ("<i2", (5, 1)), ("<u8", (5,)), ("<f2", (5, 3))])
def test_npy_of_any_real_type(tmp_path, dtype, shape):
    x = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    np.save(tmp_path / "x.npy", x)
    points, said = read_points(tmp_path / "x.npy")
    assert np.array_equal(points, x.reshape(5, -1)) and points.dtype == np.float64 and "5 rows" in said


BAD = [
    ("x.csv", "", "no rows"),
    ("x.csv", "\n  \n# nothing\n", "no rows"),
    ("x.csv", "a,b\n", "a header and no rows"),
    ("x.csv", "a,b\n1,2\n", "at least 2 rows"),
    ("x.csv", "1,2\n3,4\n5\n", "line 3 has 1 cell, line 1 has 2"),
    ("x.csv", "a,b\n\n1,2\n3,4,5\n", "line 4 has 3 cells, line 3 has 2"),
    ("x.csv", "a,b\n1,2\n3,four\n", "line 3, column 2: got 'four'"),
    ("x.csv", "1,2\n3,\n", "line 2, column 2: the cell is empty"),
    ("x.csv", "1,two\n3,4\n", "line 1, column 2: got 'two'"),
    ("x.csv", "1,2\n3,NA\n", "line 2, column 2: got 'NA'"),
    ("x.csv", "1,2\n3,1_000\n", "line 2, column 2: got '1_000'"),
    ("x.csv", "1,2\n3,nan\n", "line 2, column 2: got 'nan'"),
    ("x.csv", "1,2\n-inf,5\n", "line 2, column 1: got '-inf'"),
    ("x.csv", "1,2\n1e200,5\n", "line 2, column 1: got '1e200'"),
    ("x.csv", "1,5;2,5\n3,5;4,5\n", "line 2, column 1: got '3,5', allowed is a number like -1.5e3; write the decimal sign as a point"),
    ("x.csv", "a,b\n1,7\n3,7\n", "column 2 (b) is constant (7)"),
    ("x.csv", "1\n1\n", "column 1 is constant (1)"),
    ("x.csv", b"\x00\x01\x02\xff" * 20, "x.csv"),
    ("x.txt", "1\n2\n", "suffix '.txt', allowed are .csv and .npy"),
    ("x", "1\n2\n", "suffix ''"),
    ("x.npy", b"", "not a .npy file"),
    ("x.npy", b"\x93NUMPY\x01\x00", "not a .npy file"),
    ("x.npy", "1,2\n3,4\n", "not a .npy file"),
]


@pytest.mark.parametrize(("name", "text", "words"), BAD)
def test_bad_files_are_refused_in_one_line_that_names_the_place(tmp_path, name, text, words):
    with pytest.raises(ValueError) as error:
        read_points(_file(tmp_path, text, name))
    assert words in str(error.value) and "\n" not in str(error.value) and str(tmp_path) in str(error.value)


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((2, 2), dtype=complex), "complex128"),
        (np.zeros((2, 2), dtype=bool), "bool"),
        (np.array(["1", "2"]), "<U1"),
        (np.array([{}, 1], dtype=object), "without objects"),
        (np.zeros((2, 2, 2)), "shape (2, 2, 2)"),
        (np.float64(1), "shape ()"),
        (np.zeros((0, 3)), "not empty"),
        (np.zeros((3, 0)), "not empty"),
        (np.array([[1.0, 2.0], [3.0, np.nan]]), "row 1, column 1 (from 0): got nan"),
        (np.array([[1.0, 2.0], [1.0, 3.0]]), "column 1 is constant"),
        (np.array([3.0]), "at least 2 rows"),
    ],
)
def test_bad_arrays_are_refused(tmp_path, array, words):
    np.save(tmp_path / "x.npy", array)
    with pytest.raises(ValueError) as error:
        read_points(tmp_path / "x.npy")
    assert words in str(error.value) and "\n" not in str(error.value)


def test_a_missing_file_and_a_folder(tmp_path):
    with pytest.raises(OSError, match="no such file"):
        read_points(tmp_path / "x.csv")
    (tmp_path / "d.csv").mkdir()
    with pytest.raises(OSError, match="folder"):
        read_points(tmp_path / "d.csv")


# ---- a target -------------------------------------------------------------------------------------------------------------------------


def test_a_target_is_the_kernel_estimate_of_the_points_centred_and_divided_by_one_number():
    x = np.random.default_rng(0).normal(170, [[8.0, 2.0]], (200, 2))
    law, said = as_target(x)
    scaled = (x - said.centre) / said.scale
    assert law == sd.kernel_density(scaled)
    # the mean is 0 and the mean variance 1, both up to rounding: n terms of size |x| / scale
    rounding = 200 * np.finfo(float).eps * np.abs(x).max() / said.scale
    assert np.abs(scaled.mean(axis=0)).max() < rounding and abs(scaled.var(axis=0).mean() - 1) < 2 * rounding
    assert said.cells == 200 and said.tv_cost == 0
    text = " ".join(said.lines)
    assert "--raw" in text and "Silverman" in text and f"{said.scale:.4g}" in text


def test_raw_points_are_used_as_they_are():
    x = np.random.default_rng(0).normal(170, 8.0, (50, 1))
    law, said = as_target(x, raw=True)
    assert law == sd.kernel_density(x) and said.scale == 1 and said.centre == (0.0,) and "used as they are" in " ".join(said.lines)


@pytest.mark.parametrize("kind", ["normal", "heavy tails", "far outlier"])
def test_merging_costs_at_most_what_is_stated_and_keeps_the_mean(kind):
    rng = np.random.default_rng(1)
    normal = rng.normal(size=3000)
    x = {"normal": normal, "heavy tails": rng.standard_t(1.5, 3000), "far outlier": np.append(normal, 1e4)}[kind]
    law, said = as_target(x[:, None])
    full = sd.kernel_density((x[:, None] - said.centre) / said.scale)
    assert said.cells == len(law.weights) <= CELLS
    b = said.bandwidth[0]
    centres = np.sort(full.means[:, 0])
    # cells of b / 32 within 10 b of a point; at a change of sign the trapezoid rule errs by at most 1/32^2 of a cell's height: 1e-3 in all
    near = np.unique(np.round(centres / b))[:, None] * 32 + np.arange(-320, 321)
    grid = np.unique(near) * (b / 32)
    tv = 0.5 * np.abs(law.pdf(grid[:, None]) - full.pdf(grid[:, None])).sum() * b / 32
    assert tv <= said.tv_cost * (1 + 1e-3) and said.tv_cost <= COST
    assert abs(law.mean()[0] - full.mean()[0]) < 1e-12 * np.abs(centres).max()


def test_merging_cost_is_sharp_for_one_pair_moved_apart():
    # two points at distance 2 delta merged: both bounds are above the truth, erf within a factor for large delta, phi(1) delta^2 for small
    for delta in (0.01, 0.1, 1.0, 5.0):
        pair = sd.GaussianMixture([0.5, 0.5], [[-delta], [delta]], 1.0)
        grid = np.arange(-20, 20, 0.01)[:, None]
        tv = 0.5 * np.abs(pair.pdf(grid) - sd.standard_normal(1).pdf(grid)).sum() * 0.01
        cost = merging_cost(np.array([[-delta], [delta]]), np.array([0, 0]))
        assert tv <= cost * (1 + 1e-9)  # the trapezoid rule
        assert cost <= 2.5 * tv if delta < 1 else cost <= 2.5 * max(tv, 0.2)
    assert merging_cost(np.array([[9.0]]), np.array([0])) == pytest.approx(math.erf(9 / math.sqrt(8)))


@settings(max_examples=50, deadline=None)
@given(hnp.arrays(np.float64, st.tuples(st.integers(1, 40), st.integers(1, 3)), elements=st.floats(-1e3, 1e3)), st.integers(1, 20))
def test_cells_are_few_none_is_empty_and_equal_points_stay_together(points, count):
    cell = merge(points, count)
    if len(points) <= count:
        assert np.array_equal(cell, np.arange(len(points)))
        return
    assert cell.min() == 0 and set(cell) == set(range(cell.max() + 1)) and cell.max() < count
    for k in range(cell.max() + 1):
        others = points[cell != k]
        for p in points[cell == k]:
            assert not (others == p).all(axis=1).any()


def test_merging_stops_at_the_cost_allowed_or_at_the_cells_allowed():
    x = np.random.default_rng(4).normal(size=(4000, 2))
    for allowed in (0.1, 0.01, 0.001):
        cell = merge(x, 512, allowed)
        means = np.stack([np.bincount(cell, x[:, j]) for j in range(2)], axis=1) / np.bincount(cell)[:, None]
        assert merging_cost(x - means[cell], cell) <= allowed or cell.max() == 511
        assert (cell.max() < 511) == (allowed > 0.001)  # in the plane 1e-3 needs cells of side 0.15: thousands


def test_many_equal_points_are_merged_at_no_cost():
    x = np.random.default_rng(2).integers(150, 155, (5000, 1)).astype(float)
    said = as_target(x)[1]
    assert said.cells == len(np.unique(x)) and said.tv_cost < 1e-15
    assert "equal points only" in " ".join(said.lines)


def test_uneven_columns_are_pointed_out():
    x = np.random.default_rng(3).normal(size=(50, 2)) * [1.0, 1e4]
    assert "factor of" in " ".join(as_target(x)[1].lines)
    assert "factor of" not in " ".join(as_target(x[:, :1])[1].lines)
