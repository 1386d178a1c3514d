"""from_json(to_json(x)) == x bitwise; the text is strict JSON; what is wrong is refused in one line that names the place; files are whole."""

import json
import math
import os
import stat
import struct

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import scoresde as sd
from scoresde import files, serial
from scoresde.theorems.claim import Cell, Claim

modest = settings(max_examples=60, deadline=None)
numbers = st.floats(allow_nan=False)
finite = st.floats(-1e100, 1e100)
positive = st.floats(1e-100, 1e100)
levels = st.sampled_from(sd.LEVELS)


@st.composite
def enclosures(draw):
    lo, value, hi = sorted(draw(st.lists(numbers, min_size=3, max_size=3)))
    value = draw(st.sampled_from([None, value]))
    return sd.Enclosure(lo, hi, draw(levels), draw(st.floats(0, 0.9)), value, draw(st.text(max_size=8)))


@st.composite
def kernels(draw):
    if draw(st.booleans()):
        return sd.Kernel(draw(finite), draw(positive))
    n = draw(st.integers(0, 5))
    return sd.Kernel(draw(hnp.arrays(np.float64, n, elements=finite)), draw(hnp.arrays(np.float64, n, elements=positive)))


@st.composite
def mixtures(draw):
    k, d = draw(st.integers(1, 4)), draw(st.integers(1, 3))
    w = np.array(draw(st.lists(st.floats(0.01, 1), min_size=k, max_size=k)))
    means = draw(hnp.arrays(np.float64, (k, d), elements=st.floats(-1e6, 1e6)))
    shape = draw(st.sampled_from([(), (k,), (k, d)] if k != d else [(), (k,)]))
    return sd.GaussianMixture(w / w.sum(), means, draw(hnp.arrays(np.float64, shape, elements=st.floats(1e-3, 1e3))))


@st.composite
def laws(draw):
    d = draw(st.integers(1, 3))
    vector = hnp.arrays(np.float64, d, elements=st.floats(-1e6, 1e6))
    low = draw(vector)
    high = low + np.abs(low) + draw(st.floats(0.1, 10.0))
    plain = st.one_of(
        mixtures(),
        st.builds(sd.Gaussian, st.just(low), st.floats(1e-3, 1e3)),
        st.builds(sd.Gaussian, st.just(low), hnp.arrays(np.float64, d, elements=st.floats(1e-3, 1e3))),
        st.builds(sd.Empirical, hnp.arrays(np.float64, (draw(st.integers(1, 5)), d), elements=st.floats(-1e6, 1e6))),
        st.just(sd.Uniform(low, high)),
        st.builds(sd.SmoothedBox, st.just(low), st.just(high), st.floats(1e-3, 1e3)),
    )
    law = draw(plain)
    return sd.Product([law] * draw(st.integers(1, 1000)) + [draw(plain)]) if draw(st.booleans()) else law


@st.composite
def tables(draw):
    grid = sd.grid.uniform(T=draw(st.floats(0.5, 8)), steps=draw(st.integers(1, 6)))
    schemes = [sd.scheme.euler_maruyama, sd.scheme.flow_heun, sd.scheme.dpm_solver_pp_2m, sd.scheme.stochastic_heun]
    return draw(st.sampled_from(schemes))(grid)


anything = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), numbers, st.text(max_size=6), enclosures()),
    lambda x: st.one_of(st.lists(x, max_size=3), st.tuples(x, x), st.dictionaries(st.one_of(st.text(max_size=4), st.just("type")), x, max_size=3)),
    max_leaves=6,
)
mappings = st.dictionaries(st.text(max_size=6), anything, max_size=3)
cells = st.builds(Cell, mappings, enclosures(), enclosures(), st.sampled_from(["verified", "refuted"]), st.booleans())


@st.composite
def claims(draw, control=True):
    return Claim(
        draw(st.sampled_from(["inf", "nan", "villani_2009"])), "verified", "<=", draw(st.one_of(st.none(), enclosures())), draw(enclosures()),
        id="D4", slack=draw(st.floats(0, 1)), terms=draw(mappings), parameters=draw(mappings), cells=tuple(draw(st.lists(cells, max_size=2))),
        assumptions=(("I finite", True), ("d = 1", draw(st.booleans()))), statement=r"\le", reason=draw(st.text(max_size=5)),
        control=draw(st.one_of(st.none(), claims(control=False))) if control else None, seconds=draw(st.floats(0, 9)),
    )  # fmt: skip


@modest
@given(st.one_of(enclosures(), kernels(), tables(), claims(), laws()))
def test_a_value_comes_back_as_itself_from_strict_json(x):
    text = sd.to_json(x)
    json.loads(text, parse_constant=lambda token: pytest.fail(f"not strict: {token}"))
    assert sd.from_json(text) == x
    assert sd.to_json(sd.from_json(text)) == text
    assert text.count('"format"') == 1


@modest
@given(hnp.arrays(np.float64, hnp.array_shapes(max_dims=3, max_side=40), elements=st.floats()))
def test_arrays_come_back_bit_by_bit_short_ones_as_numbers_long_ones_as_base64(x):
    written = serial._write_array(x)
    assert isinstance(written, dict) == (x.size > 1000)
    back = serial._read_array(json.loads(json.dumps(written, allow_nan=False)))
    canonical = np.where(np.isnan(x), np.nan, x)  # payloads of NaN survive only in base64
    assert back.shape == x.shape and (back.tobytes() == canonical.tobytes() or (x.size > 1000 and back.tobytes() == x.tobytes()))


def test_long_arrays_are_little_endian_float64():
    means = np.arange(1001.0)[:, None]
    text = sd.to_json(sd.Empirical(means))
    points = json.loads(text)["points"]
    import base64

    assert points["shape"] == [1001, 1]
    assert struct.unpack("<1001d", base64.b64decode(points["float64"])) == tuple(range(1001))
    assert sd.from_json(text) == sd.Empirical(means)


def test_empty_arrays_keep_their_shape():
    assert serial._read_array(serial._write_array(np.zeros((3, 0, 2)))).shape == (3, 0, 2)


def test_paths_and_ledgers_come_back_number_by_number():
    path = sd.trajectories(sd.scheme.euler_maruyama(sd.grid.uniform(T=1.0, steps=2)), sd.score.exact(sd.targets.gm3), n=400, seed=0)
    ledger = sd.information.ledger(sd.targets.uni, [0.5, 0.0])  # infinite at 0
    assert np.isinf(ledger.relative_fisher).any()
    for x, names in ((path, ("times", "states")), (ledger, ("times", "relative_fisher", "fisher", "second_moment", "entropy", "mmse"))):
        back = sd.from_json(sd.to_json(x))
        assert type(back) is type(x) and all(getattr(back, k).tobytes() == getattr(x, k).tobytes() for k in names)


def test_the_forms_of_the_documentation_are_read():
    gm = sd.from_json('{"format": "scoresde/1", "type": "gaussian_mixture", "weights": [0.5, 0.5], "means": [[-1.0], [1.0]], "covs": [0.2, 0.3]}')
    assert gm == sd.GaussianMixture([0.5, 0.5], [[-1.0], [1.0]], [0.2, 0.3])
    assert sd.from_json('{"format": "scoresde/1", "type": "gaussian", "mean": [0.0], "cov": 1.0}') == sd.standard_normal(1)
    product = '{"format": "scoresde/1", "type": "product", "factors": [{"type": "uniform", "low": [-1.0], "high": [1.0]}], "repeat": [1000]}'
    assert sd.from_json(product) == sd.Product([sd.Uniform([-1.0], [1.0])] * 1000)
    e = sd.from_json(
        '{"format": "scoresde/1", "type": "enclosure", "lo": 0.13, "hi": "inf", "level": "finite-sample", "alpha": 1e-06, "value": null, '
        '"method": "held-out witness"}'
    )
    assert e == sd.Enclosure(0.13, math.inf, "finite-sample", 1e-6, None, "held-out witness")


def test_a_claim_named_inf_stays_a_name_and_a_number_inf_a_number():
    claim = Claim("inf", "verified", "<=", sd.Enclosure.exact(1.0), sd.Enclosure.exact(math.inf), parameters={"T": math.inf, "law": "inf"})
    back = sd.from_json(sd.to_json(claim))
    assert back.name == "inf" and back.rhs.lo == math.inf and back.parameters == {"T": math.inf, "law": "inf"}


GOOD = {"format": "scoresde/1", "type": "gaussian", "mean": [0.0], "cov": 1.0}
CLAIM = {"format": "scoresde/1", "type": "claim", "name": "x", "verdict": "verified", "relation": "<=", "lhs": None, "rhs": None}
BAD = [
    ("{", "not JSON"),
    ("", "not JSON"),
    ("[1]", '"format" and "type"'),
    ("[" * 100_000, "nested too deeply"),
    ('{"format": "scoresde/1", "type": "gaussian", "mean": [NaN], "cov": 1.0}', "NaN"),
    ('{"format": "scoresde/1", "type": "gaussian", "mean": [0], "cov": Infinity}', "Infinity"),
    ('{"format": "scoresde/1", "type": "gaussian", "mean": [1e400], "cov": 1}', "1e400"),
    ('{"format": "scoresde/1", "type": "gaussian", "mean": [0], "cov": 1, "cov": 2}', "twice"),
    (json.dumps({**GOOD, "cov": 10**400}), "401 digits"),
    (json.dumps({**GOOD, "format": "scoresde/2"}), '"scoresde/2", this version reads "scoresde/1"'),
    (json.dumps({k: v for k, v in GOOD.items() if k != "format"}), "format: got none"),
    (json.dumps({**GOOD, "type": "gaussain"}), "gaussain"),
    (json.dumps({**GOOD, "type": ["gaussian"]}), "type"),
    (json.dumps({**GOOD, "covariance": 1.0}), "covariance"),
    (json.dumps({"format": "scoresde/1", "type": "gaussian", "mean": [0.0]}), '"cov"'),
    (json.dumps({**GOOD, "mean": ["1.5"]}), "gaussian.mean"),
    (json.dumps({**GOOD, "mean": [True]}), "gaussian.mean"),
    (json.dumps({**GOOD, "mean": [[0.0], [0.0, 1.0]]}), "unequal length"),
    (json.dumps({**GOOD, "mean": ["inf"]}), "gaussian"),
    (json.dumps({**GOOD, "cov": -1.0}), "gaussian"),
    (json.dumps({**GOOD, "mean": {"shape": [1], "float64": "AAA="}}), "bytes"),
    (json.dumps({**GOOD, "mean": {"shape": [1], "float64": "?"}}), "base64"),
    (json.dumps({**GOOD, "mean": {"shape": [-1], "float64": ""}}), "shape"),
    (json.dumps({**GOOD, "mean": {"shape": [1], "float32": ""}}), "float64"),
    (json.dumps({"format": "scoresde/1", "type": "product", "factors": [GOOD]}), "product.factors: [0]: gaussian"),
    (json.dumps({"format": "scoresde/1", "type": "product", "factors": GOOD}), "a list"),
    (json.dumps({"format": "scoresde/1", "type": "table", "times": [1, 0], "a": 1, "b": 1, "c": 1, "state": [1]}), "table.state"),
    (json.dumps({"format": "scoresde/1", "type": "cell", "parameters": []}), "cell"),
    (json.dumps({"format": "scoresde/1", "type": "claim", "assumptions": ["d = 1"]}), "claim"),
    (json.dumps({**CLAIM, "assumptions": ["d = 1"]}), "claim.assumptions: [0]"),
    (json.dumps({**CLAIM, "terms": [1]}), "claim.terms"),
    (json.dumps({**CLAIM, "terms": {"x": {"type": "number", "value": 1, "unit": 2}}}), "claim.terms: x: number"),
    (json.dumps({"format": "scoresde/1", "type": "gaussian_mixture", "weights": [0.5, 0.4], "means": [[0], [1]], "covs": 1}), "weights"),
]


@pytest.mark.parametrize(("text", "words"), BAD)
def test_bad_text_is_refused_in_one_line_that_says_what(text, words):
    with pytest.raises(ValueError) as error:
        sd.from_json(text)
    assert words in str(error.value) and "\n" not in str(error.value)


def test_what_python_functions_are_made_of_has_no_json_form():
    for x in (sd.Density(lambda x: -(x[..., 0] ** 2), dim=1, normalized=False), sd.score.exact(sd.standard_normal(1)), object(), 1.0, np.zeros(3)):
        with pytest.raises(TypeError, match="to_json"):
            sd.to_json(x)


def test_float32_is_refused_because_it_would_not_come_back():
    with pytest.raises(TypeError, match="float64"):
        serial._write_array(np.zeros(3, dtype=np.float32))


# ---- files ----------------------------------------------------------------------------------------------------------------------------


def test_save_and_load(tmp_path):
    law = sd.targets.gm3
    sd.save(law, tmp_path / "gm3.json")
    assert sd.load(tmp_path / "gm3.json") == law
    assert os.listdir(tmp_path) == ["gm3.json"]


def test_load_names_the_file(tmp_path):
    (tmp_path / "x.json").write_text("{}")
    with pytest.raises(ValueError, match=r"x\.json: format"):
        sd.load(tmp_path / "x.json")
    (tmp_path / "y.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match=r"y\.json: not UTF-8"):
        sd.load(tmp_path / "y.json")


def test_an_interrupted_write_leaves_the_old_file_and_no_litter(tmp_path, monkeypatch):
    path = tmp_path / "x.json"
    path.write_text("old")

    def dies(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", dies)
    with pytest.raises(KeyboardInterrupt):
        sd.save(sd.standard_normal(1), path)
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["x.json"]


def test_what_cannot_be_written_leaves_the_old_file(tmp_path):
    path = tmp_path / "x.json"
    path.write_text("old")
    with pytest.raises(TypeError):
        sd.save(object(), path)
    with pytest.raises(UnicodeEncodeError):
        files.write_whole(path, "\ud800")
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["x.json"]


def test_permissions_and_links_survive(tmp_path):
    path, link = tmp_path / "x.json", tmp_path / "link.json"
    path.write_text("old")
    path.chmod(0o640)
    link.symlink_to(path)
    files.write_whole(link, "new")
    assert link.is_symlink() and path.read_text() == "new" and stat.S_IMODE(path.stat().st_mode) == 0o640
    files.write_whole(tmp_path / "fresh", "x")
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE((tmp_path / "fresh").stat().st_mode) == 0o666 & ~mask


def test_devices_are_written_directly_and_minus_is_standard_output(capsys):
    files.write_whole("/dev/null", "x")
    assert not stat.S_ISREG(os.stat("/dev/null").st_mode)
    sd.save(sd.standard_normal(1), "-")
    assert sd.from_json(capsys.readouterr().out) == sd.standard_normal(1)


def test_a_folder_or_a_missing_folder_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(OSError, match="folder"):
        files.check_writable(tmp_path)
    with pytest.raises(OSError, match="does not exist"):
        files.write_whole(tmp_path / "no" / "x.json", "x")
    assert os.listdir(tmp_path) == []


@modest
@given(st.text(max_size=20), st.text(max_size=20))
def test_from_json_never_fails_otherwise_than_with_a_value_error(a, b):
    text = json.dumps({"format": "scoresde/1", "type": "kernel", "m": a, "v": b})
    assume(a not in serial.NOT_FINITE or b not in serial.NOT_FINITE)
    with pytest.raises(ValueError):
        sd.from_json(text)
