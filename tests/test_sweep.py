"""Sweeps: every cell once, by name and source and parameters; the same bits for any number of processes; nothing lost when killed."""

import json
import math
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import scoresde as sd
from scoresde.sweeps import Sweep

ROOT = Path(sd.__file__).parent.parent


# ---- cells: module-level, as a sweep wants them ---------------------------------------------------------------------------------------


def product(x, y):
    return x * y


def third(x, y=2.0):
    return x / 3 + y


def drawn(x, seed):
    return {"seed": seed, "z": np.random.default_rng(seed).standard_normal(3), "x": x}


def odd(x):
    return {"inf": math.inf, "nan": math.nan, "tuple": (x, None), "enclosure": sd.Enclosure(0.0, x, "rigorous"), "text": "é"}


def enclosed(x):
    return sd.Enclosure.near(x, 1e-9, method="made up")


def claimed(x):
    return sd.claim_at_most(x, 2.0, name="at_most_two", parameters={"x": x})


def told(law, kernel, shift):
    return float(law.noised(kernel).mean()[0] + shift[0])


def distance(T, h, M):
    """TV between the target and the law of a chain with a score off by M."""
    target = sd.targets.gm3
    table = sd.scheme.euler_maruyama(sd.grid.uniform(T, h=h))
    return sd.total_variation(sd.propagate(table, sd.score.perturbed(sd.score.exact(target), M)), target)


def raising(x):
    if x == 3:
        raise KeyError("three")
    return x


def returning(what):
    return {"none": None, "text": "t", "list": [1.0], "array": np.zeros(2), "law": sd.targets.gm3, "set": {1}, "bool": True}[what]


def bad_entry(x):
    return {"f": print}


def named(version):
    return version


def positional(x, /):
    return x


def anything(**given):
    return sum(given.values())


class Holder:
    @staticmethod
    def cell(x):
        return x


# ---- values ---------------------------------------------------------------------------------------------------------------------------


def test_the_product_of_the_axes_the_last_one_fastest():
    result = sd.sweep(product, x=[1, 2], y=np.array([0.5, 0.25, 4.0]))
    assert result.parameters == tuple({"x": x, "y": y} for x in (1, 2) for y in (0.5, 0.25, 4.0))
    assert result.values == (0.5, 0.25, 4.0, 1.0, 0.5, 8.0) and result.computed == 6 == len(result)
    assert isinstance(result, Sweep) and type(result.parameters[0]["y"]) is float
    with pytest.raises(AttributeError):
        result.computed = 0


def test_values_are_those_of_the_plain_calls():
    for f in (third, odd, enclosed, claimed):
        for x, value in zip((0.1, 1e-300, 1 / 3), sd.sweep(f, x=(0.1, 1e-300, 1 / 3)).values, strict=True):
            assert repr(value) == repr(f(x))
    assert sd.sweep(third, x=[1], y=[5.0]).values == (third(1, 5.0),)
    assert sd.sweep(anything, a=[1, 2], b=[10]).values == (11, 12)


def test_laws_kernels_and_arrays_may_be_parameters(tmp_path):
    axes = {"law": [sd.targets.gm3, sd.standard_normal(1)], "kernel": [sd.ornstein_uhlenbeck(0.3)], "shift": [np.array([1.5]), np.array([2.5])]}
    first = sd.sweep(told, store=tmp_path / "s", **axes)
    assert first.values == tuple(told(law, axes["kernel"][0], shift) for law in axes["law"] for shift in axes["shift"])
    assert first.parameters[0]["law"] == sd.targets.gm3 and sd.sweep(told, store=tmp_path / "s", **axes).computed == 0


# ---- seeds ----------------------------------------------------------------------------------------------------------------------------


def test_a_cells_seed_depends_on_its_parameters_alone():
    alone = sd.sweep(drawn, x=[2]).values[0]
    among = sd.sweep(drawn, x=[5, 2, 1]).values
    assert among[1]["seed"] == alone["seed"] and (among[1]["z"] == alone["z"]).all()
    assert len({v["seed"] for v in sd.sweep(drawn, x=range(200)).values}) == 200
    assert {v["seed"] for v in sd.sweep(drawn, x=[2], seed=[7, 8]).values} == {7, 8}


# ---- the store ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("f", [third, odd, claimed, enclosed])
def test_what_was_kept_comes_back_with_the_same_bits(tmp_path, f):
    first = sd.sweep(f, store=tmp_path / "s", x=[0.1, 0.7])
    again = sd.sweep(f, store=str(tmp_path / "s"), x=[0.7, 0.2, 0.1])
    assert again.computed == 1 and [repr(again.values[i]) for i in (2, 0)] == [repr(v) for v in first.values]


def test_functions_and_versions_are_kept_apart(tmp_path):
    store = tmp_path / "s"
    assert sd.sweep(third, store=store, x=[1]).computed == 1
    assert sd.sweep(enclosed, store=store, x=[1]).computed == 1
    assert sd.sweep(third, store=store, version=1, x=[1]).computed == 1
    assert sd.sweep(third, store=store, x=[1]).computed == 0
    assert sd.sweep(third, store=store, x=[1.0]).computed == 1  # a function may tell 1 from 1.0


def test_the_order_of_the_axes_does_not_matter(tmp_path):
    sd.sweep(product, store=tmp_path / "s", x=[1, 2], y=[3, 4])
    again = sd.sweep(product, store=tmp_path / "s", y=[4, 3], x=[2])
    assert again.computed == 0 and again.values == (8, 6) and list(again.parameters[0]) == ["y", "x"]


MODULE = """
def cell(x):
    {body}
"""


def run(folder, body, call):
    """What a fresh process prints, whose module ``study`` holds the cell."""
    (folder / "study.py").write_text(MODULE.format(body=body))
    code = f"import scoresde as sd, study\ntry: print({call})\nexcept ValueError as e: print(e)"
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{folder}", "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, cwd=folder, env=environment, check=True)
    return done.stdout.strip()


def test_another_source_under_the_same_version_is_refused(tmp_path):
    call = "sd.sweep(study.cell, store='kept', x=[1, 2]).computed"
    assert run(tmp_path, "return x + 1", call) == "2"
    assert run(tmp_path, "return (x  +  1)  # a remark, and another layout", call) == "0"
    said = run(tmp_path, "return x + 2", call)
    assert said.startswith("version: got 0") and "study.cell" in said and "raise version= to 1" in said
    assert run(tmp_path, "return x + 2", call.replace("x=", "version=1, x=")) == "2"
    assert run(tmp_path, "return x + 1", call) == "0"  # what was kept is still there


def test_a_function_that_only_ever_raised_may_be_mended(tmp_path):
    assert run(tmp_path, "raise ValueError('no')", "sd.sweep(study.cell, store='kept', x=[1])") == "no"
    assert run(tmp_path, "return x", "sd.sweep(study.cell, store='kept', x=[1]).computed") == "1"


def test_cells_done_before_one_raised_are_kept(tmp_path):
    for workers in (1, 2):
        store = tmp_path / str(workers)
        with pytest.raises(KeyError, match="three") as raised:
            sd.sweep(raising, store=store, workers=workers, x=[1, 2, 3])
        assert "raising(x=3)" in raised.value.__notes__[0]
        assert sd.sweep(raising, store=store, x=[1, 2]).computed == 0


SCRIPT = """
import sys, time
import scoresde as sd

def slow(x):
    time.sleep(0.05)
    return {"x": x, "long": "é" * 50_000}

if __name__ == "__main__":
    print(sd.sweep(slow, store=sys.argv[1], workers=int(sys.argv[2]), x=range(int(sys.argv[3]))).computed)
"""


@pytest.mark.parametrize("workers", [1, 2])
def test_a_killed_sweep_goes_on_where_it_stopped(tmp_path, workers):
    script, store = tmp_path / "study.py", tmp_path / "kept"
    script.write_text(SCRIPT)

    def start(cells):
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-W", "error", str(script), str(store), str(workers), str(cells)]
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True)

    def kept():
        try:
            with sqlite3.connect(f"file:{store}?mode=ro", uri=True) as database:
                return [json.loads(v) for (v,) in database.execute("SELECT value FROM cells")]
        except sqlite3.OperationalError:  # not there yet
            return []

    process, deadline = start(1000), time.monotonic() + 60
    while len(kept()) < 5 and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    done = kept()
    assert 5 <= len(done) < 1000 and all(len(v["long"]) == 50_000 for v in done)
    last = len(done) + 3
    out, _ = start(last).communicate(timeout=60)
    assert int(out) == last - sum(v["x"] < last for v in done)


def test_a_file_that_is_no_store_is_refused_and_left_alone(tmp_path):
    text, other = tmp_path / "notes.txt", tmp_path / "other.db"
    text.write_text("not a database, but long enough to be read as one " * 40)
    with sqlite3.connect(other) as database:
        database.execute("CREATE TABLE mine (x)")
    database.close()
    for path in (text, other):
        before = path.read_bytes()
        with pytest.raises(ValueError, match=r"store: got .*allowed is a file that sweep has made"):
            sd.sweep(third, store=path, x=[1])
        assert path.read_bytes() == before
    with pytest.raises(FileNotFoundError, match="does not exist; create it first"):
        sd.sweep(third, store=tmp_path / "no" / "kept", x=[1])
    with pytest.raises(TypeError, match="store: got int"):
        sd.sweep(third, store=3, x=[1])


# ---- processes ------------------------------------------------------------------------------------------------------------------------


def test_the_bits_do_not_depend_on_the_number_of_processes(tmp_path):
    axes = {"T": [1.0, 2.0], "h": [0.2, 0.1], "M": [0.0, 0.3]}
    one, two = sd.sweep(distance, **axes), sd.sweep(distance, workers=2, store=tmp_path / "s", **axes)
    assert one.values == two.values and one.parameters == two.parameters and two.computed == 8
    assert sd.sweep(distance, store=tmp_path / "s", **axes).values == one.values
    assert one.values[0] == distance(1.0, 0.2, 0.0)


def test_a_process_that_dies_and_a_session_without_a_file_are_explained(tmp_path):
    script = "import sys, scoresde as sd\n{guard}print(sd.sweep(abs_of, workers=2, x=[1, 2]).values)\n"
    (tmp_path / "cells.py").write_text("def abs_of(x):\n    return abs(x)\n")
    (tmp_path / "open.py").write_text("from cells import abs_of\n" + script.format(guard=""))
    (tmp_path / "shut.py").write_text("from cells import abs_of\n" + script.format(guard="if __name__ == '__main__': "))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    run = lambda *command: subprocess.run([sys.executable, *command], capture_output=True, text=True, cwd=tmp_path, env=environment)  # noqa: E731
    assert 'put that under if __name__ == "__main__":' in run("open.py").stderr
    assert run("shut.py").stdout == "(1, 2)\n"
    typed = "import scoresde as sd\nexec(compile('def f(x): return x', 'typed', 'exec'))\nsd.sweep(f, workers=2, x=[1, 2])"
    assert "without a source file" in run("-c", typed).stderr


# ---- what is refused ------------------------------------------------------------------------------------------------------------------


def test_cells_that_cannot_be_known_again_are_refused():
    def inner(x):
        return x

    for cell in (inner, lambda x: x, Holder.cell, Holder().cell):
        with pytest.raises(TypeError, match="top level of a module"):
            sd.sweep(cell, x=[1])
    for cell in (abs, Holder, 3, None):
        with pytest.raises(TypeError, match=r"cell: got .*allowed is a function"):
            sd.sweep(cell, x=[1])
    with pytest.raises(TypeError, match="drop the /"):
        sd.sweep(positional, x=[1])


@pytest.mark.parametrize("what", ["none", "text", "list", "array", "law", "set", "bool"])
def test_other_results_are_refused(what):
    with pytest.raises(TypeError, match=rf"returning\(what='{what}'\) returned .*allowed are a number, a dict"):
        sd.sweep(returning, what=[what])


def test_an_entry_without_json_form_is_refused():
    with pytest.raises(TypeError, match=r"bad_entry\(x=1\) returned dict \(to_json: got builtins"):
        sd.sweep(bad_entry, x=[1])


@pytest.mark.parametrize(
    ("axes", "kind", "message"),
    [
        ({"x": [1]}, ValueError, "y: got no axis for this parameter of .*product, allowed is one for each of x, y; pass its values, y="),
        ({"x": [1], "z": [1], "y": [1]}, ValueError, "z: got an axis that is no parameter of .*product, allowed are x, y"),
        ({"x": 1.0, "y": [1]}, TypeError, r"x: got float 1\.0, allowed is a list.*x=\[value\]"),
        ({"x": "ab", "y": [1]}, TypeError, "x: got str 'ab'"),
        ({"x": {1, 2}, "y": [1]}, TypeError, "x: got set"),
        ({"x": np.ones((2, 2)), "y": [1]}, TypeError, r"write list\(x\) for its rows"),
        ({"x": [], "y": [1]}, ValueError, "x: got no values"),
        ({"x": [1, 2, 1], "y": [1]}, ValueError, "x: got 1 twice"),
        ({"x": [print], "y": [1]}, TypeError, "x: got <built-in function print>, allowed are values with a JSON form"),
        ({"x": [1], "y": [1], "version": -1}, ValueError, "version: got -1, allowed is an int >= 0"),
        ({"x": [1], "y": [1], "version": "2"}, TypeError, "version: got str"),
        ({"x": [1], "y": [1], "workers": 0}, ValueError, "workers: got 0, allowed is an int >= 1"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(axes, kind, message):
    with pytest.raises(kind, match=message):
        sd.sweep(product, **axes)


def test_a_parameter_with_the_name_of_an_option_is_refused():
    with pytest.raises(ValueError, match="rename it, the name is taken by sweep itself"):
        sd.sweep(named, version=1)
    with pytest.raises(ValueError, match=r"axes: got none, allowed is one for each parameter of .*anything"):
        sd.sweep(anything)


def test_json():
    first = sd.sweep(odd, x=[1.0])
    assert repr(sd.from_json(sd.to_json(first))) == repr(first)
    plain = sd.sweep(product, x=[1, 2], y=[0.5])
    assert sd.from_json(sd.to_json(plain)) == plain
