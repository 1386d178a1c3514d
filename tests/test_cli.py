"""The command line: every bad input is one line and status 2, verdicts decide the status, JSON is strict and whole, a pipe gets plain text."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

import scoresde as sd
from scoresde import cli, theorems
from scoresde.report import unicode
from scoresde.report.table import ONE_LINE, Progress, how, notes, number, row
from scoresde.theorems.claim import Claim, Statement, claim_at_most, claim_over, not_applicable, states

REFUTED = Claim("control", "refuted", "<=", sd.Enclosure.exact(2.0), sd.Enclosure.exact(1.0))
CLAIM = claim_at_most(
    sd.Enclosure.near(0.123456, 1e-9, method="quadrature"), 1.0, name="first", statement=r"\mathrm{TV} \le 1", id="D4", control=REFUTED
)
SWEEP = claim_over([replace(CLAIM, parameters={"h": h, "T": 6.0}) for h in (0.1, 0.2)], name="second", id="A8", control=REFUTED)
VERDICTS = {
    "good": CLAIM,
    "sweep": SWEEP,
    "known false": replace(CLAIM, verdict="refuted", expected="refuted"),
    "wrong": replace(CLAIM, verdict="refuted"),
    "wrongly true": replace(CLAIM, expected="refuted"),
    "blind control": replace(CLAIM, control=replace(REFUTED, verdict="verified")),
    "open": replace(CLAIM, verdict="inconclusive", reason="the difference lies in [-1, 1]"),
    "elsewhere": not_applicable("first", "fails here: I(π|γ) finite", id="D4", control=REFUTED),
}


def _pretend(monkeypatch, *kinds):
    """The catalogue holds these claims and nothing else."""
    functions = []
    for i, kind in enumerate(kinds):

        def theorem(target, *, seed=None, _claim=VERDICTS[kind], _name=f"theorem_{i}"):
            """Both sides are written down."""
            return replace(_claim, name=_name)

        theorem.__name__ = f"theorem_{i}"
        functions.append(states(Statement(VERDICTS[kind].id + "x" * i, r"\mathrm{TV} \le 1", "Nobody 1900", r"\le", ("d = 1",), "none"))(theorem))
    monkeypatch.setattr(theorems, "ALL", tuple(functions))


def _run(capsys, *argv):
    status = cli.main([*map(str, argv)])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


# ---- bad input ------------------------------------------------------------------------------------------------------------------------

BAD = [
    ([], "got no command, allowed are verify, list, explain, doctor"),
    (["verfy"], "did you mean verify?"),
    (["verify", "--jason", "x"], "did you mean --json?"),
    (["--jason"], "--jason"),
    (["--verison"], "did you mean --version?"),
    (["verify", "gm3"], "extra word 'gm3'"),
    (["verify", "--target", "gm4"], "did you mean gm3?"),
    (["verify", "--target", "nothing.json"], "nothing.json"),
    (["verify", "--data", "nothing.csv"], "no such file"),
    (["verify", "--data", "x.csv", "--target", "gm3"], "give --data or --target, not both"),
    (["verify", "--raw"], "--raw: only with --data"),
    (["verify", "--all", "--quick"], "--all: got it with --quick, which asks for less; give one of them"),
    (["verify", "--all", "--only", "D4"], "--all: got it with --only, which asks for less; give one of them"),
    (["verify", "--only", "D44"], "did you mean D4?"),
    (["verify", "--only", ","], "--only: got ','"),
    (["verify", "--seed", "-1"], "allowed is a whole number >= 0"),
    (["verify", "--seed", "1.5"], "allowed is a whole number >= 0"),
    (["verify", "--alpha", "0"], "between 0 and 1"),
    (["verify", "--alpha", "nan"], "between 0 and 1"),
    (["verify", "--alpha", "few"], "between 0 and 1"),
    (["verify", "--json"], "--json"),
    (["verify", "--json", "/no/such/folder/x.json"], "does not exist"),
    (["verify", "--json", "."], "folder"),
    (["explain"], "ID"),
    (["explain", "Z9"], "explain: got 'Z9'"),
]


@pytest.mark.parametrize(("argv", "words"), BAD)
def test_bad_arguments_get_one_line_and_status_2(capsys, monkeypatch, argv, words):
    _pretend(monkeypatch, "good")
    status, out, err = _run(capsys, *argv)
    assert status == 2 and out == ""
    assert err.startswith("scoresde: ") and err.count("\n") == 1 and words in err


LAWS = [
    ({"type": "gaussian_mixture", "weights": [0.5, 0.6], "means": [[0], [1]], "covs": 1}, "weights"),
    ({"type": "gaussian_mixture", "weights": [0.5, 0.5], "means": [["inf"], [1]], "covs": 1}, "means"),
    ({"type": "gaussian_mixture", "weights": [0.5, 0.5], "means": [[0], [1]], "covs": [1, -1]}, "covs"),
    ({"type": "gaussian", "mean": [0, 0], "cov": [[1, 2], [2, 1]]}, "cov"),
    ({"type": "gaussian", "mean": [0, 0], "cov": [1, 1, 1]}, "cov"),
    ({"type": "uniform", "low": [1], "high": [0]}, "high"),
    ({"type": "kernel", "m": 1, "v": 1}, "holds a Kernel, allowed is a law"),
    ({"type": "table", "times": [0, 1], "a": 1, "b": 1, "c": 1}, "allowed is a law"),
    ({"type": "kernel", "m": 1, "v": -1}, "variance >= 0"),
]


@pytest.mark.parametrize(("law", "words"), LAWS)
def test_a_law_that_is_none_gets_one_line_with_the_file_and_the_parameter(capsys, monkeypatch, tmp_path, law, words):
    _pretend(monkeypatch, "good")
    (tmp_path / "law.json").write_text(json.dumps({"format": "scoresde/1", **law}))
    status, out, err = _run(capsys, "verify", "--target", tmp_path / "law.json", "--json", tmp_path / "report.json")
    assert status == 2 and out == "" and err.count("\n") == 1 and "law.json" in err and words in err
    assert os.listdir(tmp_path) == ["law.json"]


# ---- verdicts -------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kinds", "options", "status"),
    [
        (["good", "sweep", "known false", "elsewhere"], [], 0),
        (["good", "wrong"], [], 1),
        (["wrongly true"], [], 1),
        (["blind control"], [], 1),
        (["good", "open"], [], 0),
        (["good", "open"], ["--strict"], 3),
        (["open", "wrong"], ["--strict"], 1),
        (["good"], ["--strict"], 0),
    ],
)
def test_the_status_says_whether_every_verdict_is_as_expected(capsys, monkeypatch, kinds, options, status):
    _pretend(monkeypatch, *kinds)
    got, out, err = _run(capsys, "verify", "--target", "gm3", *options)
    assert got == status and err == ""
    words = [VERDICTS[k].verdict for k in kinds]
    known = sum(VERDICTS[k].verdict == VERDICTS[k].expected == "refuted" for k in kinds)
    refuted = f"{words.count('refuted')} refuted" + (f" ({known} known to be false)" if known else "")
    assert f"{words.count('verified')} verified · {refuted} · {words.count('inconclusive')} inconclusive" in out


def test_each_target_is_introduced_and_each_claim_has_a_row(capsys, monkeypatch):
    _pretend(monkeypatch, "good", "sweep", "open")
    status, out, _ = _run(capsys, "verify", "--quick")
    assert status == 0
    first = next(iter(sd.targets.DEFAULTS))
    assert f"target {first}" in out and "KL(π‖γ) = 0.60" in out and "I(π‖γ) = 4.179" in out
    assert re.search(r"^ D4 +TV ≤ 1 .* 0\.1235 .*quadrature +✓ verified", out, re.M)
    assert "2 cells · worst: h = 0.1, T = 6" in out
    assert "? inconclusive" in out and "the difference lies in [-1, 1]" in out
    _, out, _ = _run(capsys, "verify")
    assert all(f"target {name}" in out for name in sd.targets.DEFAULTS)


def test_only_selects_by_id_in_any_case(capsys, monkeypatch):
    _pretend(monkeypatch, "good", "sweep")
    _, out, _ = _run(capsys, "verify", "--target", "gm3", "--only", "d4")
    assert "1 verified · 0 refuted · 0 inconclusive · 1 negative controls refuted" in out


def test_the_report_is_strict_json_and_its_claims_come_back(capsys, monkeypatch, tmp_path):
    _pretend(monkeypatch, "good", "sweep", "elsewhere")
    sd.save(sd.targets.gm3, tmp_path / "mine.json")
    status, _, err = _run(capsys, "verify", "--target", tmp_path / "mine.json", "--json", tmp_path / "report.json", "--seed", "7")
    assert status == 0 and err == ""
    report = json.loads((tmp_path / "report.json").read_text(), parse_constant=pytest.fail)
    assert report["format"] == "scoresde/1" and report["command"] == "verify" and report["seed"] == 7 and report["alpha"] == 1e-6
    assert report["summary"] == {"verified": 2, "refuted": 0, "inconclusive": 0, "not_applicable": 1, "controls_refuted": 3}
    assert sd.from_json(json.dumps({"format": "scoresde/1", **report["target"]["mine.json"]})) == sd.targets.gm3
    back = [sd.from_json(json.dumps({"format": "scoresde/1", **c})) for c in report["claims"]]
    assert [c.verdict for c in back] == ["verified", "verified", "not applicable"] and back[0].parameters["target"] == "mine.json"
    assert sorted(os.listdir(tmp_path)) == ["mine.json", "report.json"]


def test_json_on_standard_output_sends_the_text_to_standard_error(capsys, monkeypatch):
    _pretend(monkeypatch, "good")
    for argv in (["verify", "--target", "gm3"], ["list"], ["explain", "D4"]):
        status, out, err = _run(capsys, *argv, "--json", "-")
        assert status == 0 and json.loads(out)
        assert (argv == ["list"]) or "TV ≤ 1" in err
    status, out, err = _run(capsys, "verify", "--target", "gm3", "--json", "/dev/null")
    assert status == 0 and out == "" and "verified" in err


def test_an_error_inside_leaves_the_old_report_and_is_not_called_bad_input(capsys, monkeypatch, tmp_path):
    _pretend(monkeypatch, "good")

    def broken(*_, **__):
        raise ValueError("inside")

    monkeypatch.setattr("scoresde.report.verify.verify", broken)
    (tmp_path / "report.json").write_text("old")
    status, _, err = _run(capsys, "verify", "--target", "gm3", "--json", tmp_path / "report.json")
    assert status == 70 and "inside" in err and (tmp_path / "report.json").read_text() == "old"

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("scoresde.report.verify.verify", interrupted)
    status, _, err = _run(capsys, "verify", "--target", "gm3", "--json", tmp_path / "report.json")
    assert status == 130 and "interrupted" in err and os.listdir(tmp_path) == ["report.json"]


def test_data_is_introduced_with_what_was_assumed(capsys, monkeypatch, tmp_path):
    _pretend(monkeypatch, "good")
    x = np.random.default_rng(0).normal([170, 70], [10, 8], (100, 2))
    np.savetxt(tmp_path / "heights.csv", x, delimiter=",", header="height,weight", comments="")
    status, out, _ = _run(capsys, "verify", "--data", tmp_path / "heights.csv")
    assert status == 0
    assert "read 100 rows × 2 columns (height, weight) from heights.csv" in out and "divided by" in out and "bandwidth" in out
    assert "target heights.csv" in out and "principal axis" in out
    _, raw, _ = _run(capsys, "verify", "--data", tmp_path / "heights.csv", "--raw")
    assert "divided by" not in raw


# ---- list and explain -----------------------------------------------------------------------------------------------------------------


def test_list_shows_every_id_once_and_as_one_json_array(capsys):
    status, out, _ = _run(capsys, "list")
    assert status == 0 and all(f.info.id in out for f in theorems.ALL)
    _, out, _ = _run(capsys, "list", "--json", "-")
    ids = [x["id"] for x in json.loads(out)]
    assert ids == list(dict.fromkeys(f.info.id for f in theorems.ALL))


@pytest.mark.parametrize("f", theorems.ALL, ids=lambda f: f.info.id)
def test_every_theorem_is_explained_without_latex(capsys, f):
    status, out, _ = _run(capsys, "explain", f.info.id)
    assert status == 0 and f.info.id in out and f"scoresde verify --only {f.info.id}" in out
    assert not re.search(r"\\|[_^]\{|\$|``", out), out


@pytest.mark.parametrize(
    ("latex", "text"),
    [
        (r"\mathrm{TV} \le B e^{-T} + C\,(M + \sqrt{h})\, e^{DT}", "TV ≤ B e^(−T) + C (M + √h) e^(DT)"),
        (r"\frac{1 - (1-h)^{2k}}{1-h/2}", "(1 − (1−h)^(2k))/(1−h/2)"),
        (r"W_2(p_t,\gamma) \le e^{-t}\left(\sqrt{E|X|^2}+\sqrt d\right)", "W₂(p_t,γ) ≤ e^(−t)(√(E|X|²)+√d)"),
        (r"\mathrm{KL}(\pi\,\|\,\gamma) = \int_0^\infty I_t\,dt", "KL(π ‖ γ) = ∫₀^∞ I_t dt"),
        (r"|\bar m| / \sqrt{2\pi}", "|m̄| / √(2π)"),
        (r"\sup_t \lVert s_\theta - \nabla\log p_t\rVert_\infty \le M", "sup_t ‖s_θ − ∇log p_t‖_∞ ≤ M"),
        (r"\begin{aligned} a &= b \\ c &= d \end{aligned}", "a = b; c = d"),
        (r"KL <= \tfrac12 I, d>=1", "KL ≤ 1/2 I, d ≥ 1"),
        (r"{a}_{}", "a_()"),
        (r"_{{a}", "_a"),
        ("plain text - 'quoted'", "plain text - 'quoted'"),
    ],
)
def test_formulas_in_unicode(latex, text):
    assert unicode.plain(latex) == text


# ---- rows -----------------------------------------------------------------------------------------------------------------------------


def test_numbers():
    assert [number(x) for x in (0.0, 0.143223141, 1e-9, 123456.0, -2.5, float("inf"), None)] == [
        "0", "0.1432", "1e−9", "1.235e5", "−2.5", "∞", "–",
    ]  # fmt: skip
    assert number(sd.Enclosure(0.128, np.inf, "finite-sample", 1e-6)) == "≥ 0.128"
    assert number(sd.Enclosure(-np.inf, 2.0, "heuristic")) == "≤ 2"
    assert number(sd.Enclosure(1.0, 2.0, "heuristic")) == "1…2"
    assert number(sd.Enclosure.exact(np.inf)) == "∞"


def test_how_names_methods_and_any_level_below_deterministic():
    sampled = sd.Enclosure(0.1, 0.2, "finite-sample", 1e-6, method="held-out witness")
    assert how(replace(CLAIM, rhs=sampled)) == "quadrature, held-out witness; finite-sample 1e-06"
    assert how(CLAIM) == "quadrature"


@pytest.mark.parametrize("width", [50, 60, 80, ONE_LINE, 120, 200])
@pytest.mark.parametrize("kind", VERDICTS)
def test_rows_fit_the_width_and_keep_id_and_verdict_whole(width, kind):
    title = r"TV ≤ { ½ [KL(p_T‖γ) + (√(h K) + M √T)²] }^½ for every sequence of steps, and more words than fit on one line of a wide terminal"
    lines = [line.plain for line in row(VERDICTS[kind], title, width)]
    assert all(len(line) <= width for line in lines)
    assert VERDICTS[kind].id in lines[0] and VERDICTS[kind].verdict in lines[0]
    squeezed = "".join("".join(lines).split())
    assert all(word in squeezed for word in ("sequence", "terminal"))


def test_notes_print_the_declared_allowance_and_what_the_bound_is_made_of():
    claim = claim_at_most(0.1, 0.2, name="x", slack=1e-9, terms={"discretisation": sd.Enclosure.exact(0.15), "D": 1.0, "list": [1]})
    assert list(notes(claim)) == ["slack 1e−9", "discretisation: 0.15 · D: 1"]
    many = replace(claim, slack=0.0, terms={f"a term with a long name {i}": float(i) for i in range(30)})
    lines = list(notes(many, 72))
    assert len(lines) == 3 and lines[-1].endswith("more in the JSON") and all(len(line) <= 72 for line in lines)
    vacuous = replace(SWEEP, parameters={**SWEEP.parameters, "vacuous": 1})
    assert "2 cells, 1 vacuous" in "".join(notes(vacuous))
    assert list(notes(replace(CLAIM, parameters={"within": 1e-3, "axis": "first principal"}))) == ["on the first principal axis · to within 0.001"]


def test_notes_say_what_contradicts():
    assert list(notes(VERDICTS["wrong"])) == ["expected: verified"]
    assert "known to be false" in "".join(notes(VERDICTS["known false"]))
    assert "negative control verified" in "".join(notes(VERDICTS["blind control"]))


def test_progress_is_silent_in_a_pipe_and_wiped_on_a_terminal():
    class Stream(list):
        def __init__(self, tty):
            self.tty = tty

        def isatty(self):
            return self.tty

        write = list.append

        def flush(self):
            pass

    for tty in (False, True):
        stream = Stream(tty)
        progress = Progress(stream, 2)
        progress.show()
        progress.wipe()
        progress.show(done=1)
        progress.wipe()
        progress.show(done=1)
        assert bool(stream) == tty
    assert "0 of 2" in stream[0] and "1 of 2 done · about 0 s left" in stream[2] and stream[-1] == "\r\x1b[2K"


# ---- the process ----------------------------------------------------------------------------------------------------------------------


def _process(*argv, **env):
    code = "import sys; from scoresde.cli import main; sys.exit(main())"
    environment = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "FORCE_COLOR")} | env
    return subprocess.run([sys.executable, "-W", "error", "-c", code, *argv], capture_output=True, env=environment, timeout=60)


def test_help_and_version_load_nothing_heavy():
    code = (
        "import sys, scoresde.cli as c\n"
        "assert c.main(['--help']) == 0 and c.main(['verify', '--help']) == 0 and c.main(['--version']) == 0\n"
        "heavy = {'numpy', 'scipy', 'numba', 'torch', 'rich', 'matplotlib'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr.decode()


def test_a_pipe_gets_whole_ids_and_no_escape_codes():
    done = _process("list", TERM="xterm-256color")
    assert done.returncode == 0 and b"\x1b" not in done.stdout + done.stderr
    assert all(f.info.id in done.stdout.decode() for f in theorems.ALL)


def test_a_terminal_without_unicode_still_gets_the_words():
    done = _process("list", PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert done.returncode == 0 and done.stdout.isascii()


def test_a_closed_pipe_is_no_error_message():
    code = "import sys; from scoresde.cli import main; sys.exit(main())"
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([sys.executable, "-c", code, "list"], stdout=writer, stderr=subprocess.PIPE, timeout=60)
    os.close(writer)
    assert done.returncode == 141 and done.stderr == b""


def test_the_doctor_finds_this_installation_sound(capsys, tmp_path):
    status, out, _ = _run(capsys, "doctor", "--json", tmp_path / "d.json")
    found = json.loads((tmp_path / "d.json").read_text())
    assert status == 0 and found["ok"] and len(found["checks"]) == 2 and "all checks passed" in out
    assert found["versions"]["numpy"] == np.__version__


def test_the_doctor_says_what_is_missing_and_how_to_get_it_and_a_failed_check(capsys, monkeypatch):
    from scoresde import doctor

    needs = ["numpy", "torch>=2; extra == 'learn'", "no-such-package>=1; extra == 'ot'", 'pytest; extra == "test"']
    monkeypatch.setattr(doctor.metadata, "requires", lambda name: needs)
    monkeypatch.setattr(doctor, "_installed", lambda name: name != "no-such-package")

    def breaks():
        raise ImportError("no compiler")

    monkeypatch.setattr(doctor, "CHECKS", (("a check", breaks),))
    status, out, _ = _run(capsys, "doctor")
    assert status == 1 and "pip install 'scoresde[ot]'" in out and "✓ learn" in out and "✓ test" in out
    assert "✗ a check: ImportError: no compiler" in out and "FAILED" in out

    def not_installed(name):
        raise doctor.metadata.PackageNotFoundError

    monkeypatch.setattr(doctor.metadata, "requires", not_installed)
    assert "not installed" in _run(capsys, "doctor")[1]


# ---- the last verdicts ----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state"


def test_list_and_explain_show_the_last_verdict(monkeypatch, capsys, home):
    _pretend(monkeypatch, "good", "wrong", "elsewhere")
    assert "No verdicts yet" in _run(capsys, "list")[1]
    assert _run(capsys, "verify", "--target", "gm3")[0] == cli.OPPOSITE
    lines = _run(capsys, "list")[1].splitlines()
    assert [line.split("TV")[0].split()[1:] for line in lines] == [["✓", "verified"], ["✗", "refuted"], ["–", "not", "applicable"]]
    assert "Last verdict: verified on gm3 (" in _run(capsys, "explain", "D4")[1]
    assert "Last verdict: refuted on gm3 (" in (explained := _run(capsys, "explain", "D4x")[1]) and "against expectation" in explained
    kept = json.loads(_run(capsys, "list", "--json", "-")[1])[0]["last"]
    assert kept["verdicts"] == {"gm3": "verified"} and kept["as_expected"] is True


def test_a_new_run_replaces_the_verdicts_of_the_old_one(monkeypatch, capsys, home):
    _pretend(monkeypatch, "good")
    _run(capsys, "verify")
    assert "verified on gm3, g1, gm2sym (" in _run(capsys, "explain", "D4")[1]
    _run(capsys, "verify", "--quick", "--target", "g1")
    assert "verified on g1 (" in (explained := _run(capsys, "explain", "D4")[1]) and ", quick)" in explained


def test_a_record_that_cannot_be_kept_costs_a_line_and_nothing_else(monkeypatch, capsys, home):
    _pretend(monkeypatch, "good")
    home.write_text("a file where the folder should be")
    status, out, err = _run(capsys, "verify", "--target", "gm3")
    assert status == 0 and "1 verified" in out and "were not kept" in err
    assert "No verdicts yet" in _run(capsys, "list")[1]


def test_a_spoilt_record_is_no_record(monkeypatch, capsys, home):
    (home / "scoresde").mkdir(parents=True)
    (home / "scoresde" / "verdicts.sqlite").write_text("not a database, and longer than the header of one" * 40)
    _pretend(monkeypatch, "good")
    assert "No verdicts yet" in _run(capsys, "list")[1]
    status, _, err = _run(capsys, "verify", "--target", "gm3")
    assert status == 0 and "were not kept" in err


def test_all_is_what_no_option_means(monkeypatch, capsys, home):
    _pretend(monkeypatch, "good", "good")
    texts = [re.sub(r"[\d.]+ s", "", _run(capsys, "verify", *options)[1]) for options in ([], ["--all"])]
    assert texts[0] == texts[1] and "6 verified" in texts[0]


@pytest.mark.parametrize("word, ids", [("d4", ["D4"]), ("D6", ["D6a", "D6b", "D6c", "D6d", "D6e"]), ("G", ["G1", "G2", "G3", "G4"])])
def test_a_beginning_stands_for_all_ids_that_begin_so(word, ids):
    assert [f.info.id for f in theorems.family(word)] == ids


@pytest.mark.parametrize("word", ["", "D44", "H", "D1 "])
def test_no_beginning_of_an_id_is_refused(word):
    with pytest.raises(ValueError, match="scoresde list shows them all"):
        theorems.family(word)
