"""The audit of the lecture notes: every formula evaluated as printed and as corrected, with the verdict that the numbers give.

python -m validation.lecture_notes [--target NAME|FILE.json] [--only ID[,ID]] [--json FILE] [--seed N]

Exit status: 0 every verdict is the one the audit of the notes found; 1 one is not (a corrected form that fails, a misprint that is not
seen); 2 bad input, said in one line.
"""

import argparse
import json
import math
import os
import sys
import textwrap
import time
from collections import Counter

from scoresde import load, targets
from scoresde.files import check_writable, is_regular, write_whole

from .notes import FORMULAS, Bench, judge, mixture

__all__ = ["audit", "main", "report"]

OPPOSITE, BAD_INPUT = 1, 2
ORDER = ("HOLDS", "MISPRINT", "IMPRECISE", "CONVENTION", "FAILS")
WIDTH = 132


def audit(target, formulas=FORMULAS, *, seed=0):
    """[Finding, ...] of these formulas on ``target``, a Gaussian or a GaussianMixture on the line."""
    bench = Bench(mixture(target), seed)
    return [judge(formula, bench) for formula in formulas]


# ---- input ----------------------------------------------------------------------------------------------------------------------------


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        raise ValueError(message)


def _arguments(argv):
    parser = _Parser(prog="validation.lecture_notes", description=__doc__.split("\n")[0], allow_abbrev=False)
    parser.add_argument("--target", default="gm3", metavar="NAME|FILE.json", help="a built-in target on the line, or a law in JSON (default gm3)")
    parser.add_argument("--only", metavar="ID[,ID]", help="these formulas only, such as 001-F15; 001 is all of that note")
    parser.add_argument("--json", metavar="FILE", help="the same as strict JSON; - or a pipe: written there, the text goes to standard error")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the few draws (default 0)")
    args = parser.parse_args(argv)
    if args.json is not None:
        check_writable(args.json)
    if args.seed < 0:
        raise ValueError(f"--seed: got {args.seed}, allowed is a whole number >= 0")
    return args


def _target(name):
    if name in targets.ALL:
        return mixture(targets.ALL[name])
    if name.endswith(".json"):
        return mixture(load(name))
    raise ValueError(f"--target: got {name!r}, allowed are {', '.join(targets.ALL)}, or a file whose name ends in .json")


def _chosen(only):
    if only is None:
        return FORMULAS
    wanted = [word.strip().lower() for word in only.split(",") if word.strip()]
    for word in wanted:
        if not any(_is(f, word) for f in FORMULAS):
            raise ValueError(f"--only: got {word!r}, allowed are ids such as {FORMULAS[0].id}, or a note's number such as {FORMULAS[0].id[:3]}")
    return tuple(f for f in FORMULAS if any(_is(f, word) for word in wanted))


def _is(formula, word):
    return word in (formula.id.lower(), formula.id[:3])


# ---- output ---------------------------------------------------------------------------------------------------------------------------


def _block(finding):
    """The lines of one formula: place and verdict, then each form with the numbers of its two sides where they are furthest apart."""
    f = finding.formula
    verdict = finding.verdict if finding.as_expected else f"{finding.verdict} (expected {f.expected})"
    yield f"{f.id:<10}{f.where:<{WIDTH - 10 - len(verdict)}}{verdict}"
    for name, text, sides in (("printed", f.printed, finding.printed), ("corrected", f.corrected, finding.corrected)):
        if sides is None and name != "printed":
            continue
        yield from _paragraph(f"  {name:<11}", text)
        if sides is not None:
            yield from _paragraph(" " * 13, _numbers(sides))
    if f.note:
        yield from _paragraph("  note       ", f.note)
    if finding.reason:
        yield from _paragraph("  failed     ", finding.reason)


def _numbers(sides):
    lhs, rhs, gap, tolerance = sides.worst
    outcome = "agree" if sides.agree else "DIFFER"
    what = f"   [{sides.what}]" if sides.what else ""
    sign = "≤" if sides.relation == "<=" else "="
    return f"{lhs:.10g} {sign} {rhs:.10g}   {outcome}: off by {gap:.1e}, allowed {tolerance:.1e}{what}"


def _paragraph(head, text):
    yield from textwrap.wrap(text, WIDTH, initial_indent=head, subsequent_indent=" " * len(head), break_long_words=False)


def _summary(findings, seconds):
    count = Counter(f.verdict for f in findings)
    yield f"{len(findings)} formulas in {seconds:.1f} s: " + ", ".join(f"{count[v]} {v}" for v in ORDER if count[v] or v != "FAILS")
    for f in findings:
        if not f.as_expected:
            yield f"not as expected: {f.formula.id} is {f.verdict}, expected {f.formula.expected}" + (f" ({f.reason})" if f.reason else "")


def report(name, findings, seconds=0.0):
    """The findings as a dictionary for strict JSON; numbers that are not finite are strings."""
    return {
        "format": "scoresde/1", "command": "lecture_notes", "target": name, "formulas": [_entry(f) for f in findings],
        "summary": dict(Counter(f.verdict for f in findings)), "as_expected": all(f.as_expected for f in findings), "seconds": round(seconds, 3),
    }  # fmt: skip


def _entry(finding):
    f = finding.formula
    sides = {"printed_sides": finding.printed, "corrected_sides": finding.corrected}
    return {
        "id": f.id, "where": f.where, "printed": f.printed, "corrected": f.corrected, "flaw": f.flaw, "note": f.note,
        "verdict": finding.verdict, "expected": f.expected, "reason": finding.reason,
        **{name: None if s is None else _plain(s) for name, s in sides.items()},
    }  # fmt: skip


def _plain(sides):
    names = ("lhs", "rhs", "difference", "tolerance")
    numbers = {name: x if math.isfinite(x) else str(x) for name, x in zip(names, sides.worst, strict=True)}
    return numbers | {"relation": sides.relation, "agree": sides.agree, "what": sides.what}


def main(argv=None):
    """Run the audit; returns the exit status."""
    try:
        args = _arguments(argv)
        target, formulas = _target(args.target), _chosen(args.only)
    except (ValueError, TypeError, OSError) as error:
        print(f"lecture_notes: {' '.join(str(error).split())}", file=sys.stderr)
        return BAD_INPUT
    out = sys.stdout if args.json is None or is_regular(args.json) else sys.stderr
    began = time.perf_counter()
    bench, findings = Bench(target, args.seed), []
    for formula in formulas:
        findings.append(judge(formula, bench))
        print("\n".join(_block(findings[-1])), end="\n\n", file=out)
    seconds = time.perf_counter() - began
    print("\n".join(_summary(findings, seconds)), file=out)
    if args.json is not None:
        write_whole(args.json, json.dumps(report(args.target, findings, seconds), allow_nan=False, ensure_ascii=False, indent=1) + "\n")
    return 0 if all(f.as_expected for f in findings) else OPPOSITE


if __name__ == "__main__":
    try:
        status = main()
        sys.stdout.flush()
    except BrokenPipeError:  # the reader (head, say) has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 141
    sys.exit(status)
