"""The audit of the lecture notes: on three targets it finds the 30 misprints, 17 unqualified claims and 14 conventions, and nothing else."""

import json
from dataclasses import replace

import numpy as np
import pytest

import scoresde as sd
from validation import lecture_notes
from validation.notes import FORMULAS, Bench, Formula, Sides, judge, mixture

FLAWS = {
    "MISPRINT": """
        001-F05 001-F11 001-F15 001-F17 001-F23 001-F24 001-F26 001-F34 001-F48
        002-F07 002-F08 002-F10 002-F11 002-F13 002-F14 002-F16 002-F17 002-F19 002-F25
        003-F07 003-F08 003-F12 003-F24 003-F25 003-F36 003-F38 003-F42 003-F43
        004-F01 004-F03
    """,
    "IMPRECISE": """
        000-F01 000-F08 000-F10 001-F40 001-F47 001-F55 002-F01 002-F02 002-F04 002-F30 002-F31 002-F32 003-F20 003-F37 003-F48 004-F08 004-F10
    """,
    "CONVENTION": """
        000-F05 000-F07 001-F04 001-F18 001-F30 001-F31 001-F32 001-F37 001-F49 002-F24 003-F06 003-F32 003-F50 004-F06
    """,
}


def _random_mixture():
    rng = np.random.default_rng(20)
    return sd.GaussianMixture(rng.dirichlet(np.ones(3)), rng.uniform(-4, 4, (3, 1)), rng.uniform(0.2, 1.5, 3) ** 2)


TARGETS = {
    "gm3": sd.targets.gm3,
    "the notes' own": sd.GaussianMixture([0.35, 0.65], [[-1.2], [1.5]], [0.25, 0.64]),
    "random": _random_mixture(),
}


@pytest.fixture(scope="module", params=TARGETS)
def findings(request):
    return lecture_notes.audit(TARGETS[request.param])


def _with(name, **changes):
    """The one formula with this id, changed."""
    return replace(next(f for f in FORMULAS if f.id == name), **changes)


def test_the_verdicts_are_those_of_the_audit(findings):
    found = {f.formula.id: f.verdict for f in findings}
    for verdict, ids in FLAWS.items():
        assert sorted(i for i, v in found.items() if v == verdict) == ids.split()
    assert sum(v == "HOLDS" for v in found.values()) == 98
    assert all(f.as_expected for f in findings), [f"{f.formula.id}: {f.verdict} {f.reason}" for f in findings if not f.as_expected]


def test_every_number_could_have_decided_otherwise(findings):
    """An equality that agrees no longer does when a side is changed by 30 % and 0.02 (orders and zeros included); no inequality holds reversed."""
    for f in findings:
        sides = f.printed if f.verdict == "HOLDS" else f.corrected
        other = replace(sides, lhs=1.3 * sides.lhs + 0.02) if sides.relation == "=" else replace(sides, lhs=sides.rhs, rhs=sides.lhs)
        assert sides.agree and not other.agree, f.formula.id


def test_all_159_formulas_are_there_once():
    assert len(FORMULAS) == len({f.id for f in FORMULAS}) == 159
    assert all(f.id[:3] == f.where[:3] and f.where[3:5] == " L" for f in FORMULAS)
    assert all(bool(f.corrected) == (f.flaw is not None) for f in FORMULAS)
    notes = [f.id[:3] for f in FORMULAS]
    assert [notes.count(n) for n in ("000", "001", "002", "003", "004")] == [11, 57, 32, 50, 9]


# ---- controls -------------------------------------------------------------------------------------------------------------------------


def _run(monkeypatch, capsys, formula, *arguments):
    monkeypatch.setattr(lecture_notes, "FORMULAS", (formula,))
    status = lecture_notes.main([*arguments])
    return status, capsys.readouterr().out


def test_a_broken_correction_is_reported(monkeypatch, capsys):
    good = _with("001-F15")
    status, out = _run(monkeypatch, capsys, replace(good, as_corrected=good.as_printed))
    assert status == 1
    assert "001-F15 is FAILS, expected MISPRINT (the corrected form does not agree)" in out


def test_a_misprint_that_is_not_seen_is_reported(monkeypatch, capsys):
    good = _with("001-F26")
    status, out = _run(monkeypatch, capsys, replace(good, as_printed=good.as_corrected))
    assert status == 1
    assert "001-F26 is HOLDS, expected MISPRINT" in out


def test_a_formula_that_should_hold_and_does_not_is_reported(monkeypatch, capsys):
    good = _with("001-F25")
    status, out = _run(monkeypatch, capsys, replace(good, as_printed=lambda bench: Sides(1.0, 2.0, 0.1)))
    assert status == 1
    assert "001-F25 is FAILS, expected HOLDS (the printed form does not agree, and no correction is given)" in out


def test_a_formula_that_raises_hides_no_other(monkeypatch, capsys):
    def raises(bench):
        raise ZeroDivisionError("nothing there")

    good = _with("001-F25")
    status, out = _run(monkeypatch, capsys, replace(good, as_printed=raises))
    assert status == 1
    assert "ZeroDivisionError: nothing there" in out


# ---- sides ----------------------------------------------------------------------------------------------------------------------------


def test_sides_agree_within_their_tolerance_only():
    assert Sides([1.0, 2.0], [1.0, 2.1], 0.2).agree
    assert not Sides([1.0, 2.0], [1.0, 2.1], [0.2, 0.05]).agree
    assert Sides(3.0, 5.0, 0.0, relation="<=").agree
    assert not Sides(5.0, 3.0, 1.0, relation="<=").agree
    assert Sides(np.inf, np.inf, 0.0).agree
    assert Sides(1.0, np.inf, 0.0, relation="<=").agree
    assert not Sides(np.nan, np.nan, np.inf).agree
    assert not Sides(np.nan, 1.0, np.inf, relation="<=").agree
    assert Sides([1.0, 4.0], [1.0, 2.0], [1e-9, 1.0]).worst == (4.0, 2.0, 2.0, 1.0)


def test_wrong_sides_and_formulas_are_refused():
    with pytest.raises(ValueError, match="relation: got '<'"):
        Sides(1, 2, 0.1, relation="<")
    with pytest.raises(ValueError, match="tolerance"):
        Sides(1, 2, -0.1)
    with pytest.raises(ValueError, match="a flaw and a corrected form go together"):
        Formula("001-F99", "001 L1", "a = b", "", "HOLDS", lambda bench: Sides(1, 1, 0), flaw="misprint")
    with pytest.raises(ValueError, match="expected: got 'TRUE'"):
        _with("001-F25", expected="TRUE")


@pytest.mark.parametrize("law", [sd.targets.uni, sd.targets.ring8, sd.targets.student5])
def test_targets_without_closed_forms_on_the_line_are_refused(law):
    with pytest.raises(ValueError, match="allowed is a Gaussian or a GaussianMixture on the line"):
        mixture(law)


def test_a_gaussian_is_a_mixture_of_one():
    bench = Bench(mixture(sd.Gaussian([0.5], 2.0)))
    assert (bench.mean, bench.var) == (0.5, 2.0)
    assert judge(_with("001-F25"), bench).verdict == "HOLDS"


# ---- the command line -----------------------------------------------------------------------------------------------------------------


def test_one_formula_on_a_target_from_a_file_as_strict_json(tmp_path, capsys):
    target, report = tmp_path / "law.json", tmp_path / "report.json"
    sd.save(TARGETS["random"], target)
    assert lecture_notes.main(["--target", str(target), "--only", "001-F15,001-f23", "--json", str(report)]) == 0
    out = capsys.readouterr().out
    assert "001-F15   001 L495, line 4" in out and "2 formulas in" in out and "2 MISPRINT" in out

    def refuse(token):
        raise AssertionError(token)

    data = json.loads(report.read_text(), parse_constant=refuse)
    first, second = data["formulas"]
    assert data["as_expected"] and data["summary"] == {"MISPRINT": 2}
    assert first["printed_sides"]["agree"] is False and first["corrected_sides"]["agree"] is True
    assert second["printed_sides"]["lhs"] == "nan"  # the loss at k = 0 does not exist


def test_json_to_standard_output_leaves_the_table_to_standard_error(capsys):
    assert lecture_notes.main(["--only", "001-F25", "--json", "-"]) == 0
    seen = capsys.readouterr()
    assert json.loads(seen.out)["summary"] == {"HOLDS": 1}
    assert "001-F25" in seen.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--target", "gm4"], "--target: got 'gm4', allowed are gm3"),
        (["--target", "nowhere.json"], "nowhere.json"),
        (["--target", "uni"], "allowed is a Gaussian or a GaussianMixture on the line"),
        (["--only", "001-F99"], "--only: got '001-f99', allowed are ids such as 000-F01"),
        (["--seed", "-1"], "--seed: got -1"),
        (["--json", "/nowhere/at/all.json"], "does not exist"),
        (["--verbose"], "unrecognized arguments"),
    ],
)
def test_bad_input_is_said_in_one_line(arguments, said, capsys):
    assert lecture_notes.main(arguments) == 2
    err = capsys.readouterr().err
    assert said in err and err.count("\n") == 1
