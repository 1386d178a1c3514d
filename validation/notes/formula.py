"""What a formula of the notes is: two sides to compare, as printed and as corrected, and the verdict that the numbers give."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .bench import Bench

__all__ = ["VERDICTS", "Finding", "Formula", "Sides", "judge"]

VERDICTS = {None: "HOLDS", "misprint": "MISPRINT", "convention": "CONVENTION", "qualifier": "IMPRECISE"}
FAILS = "FAILS"


@dataclass(frozen=True)
class Sides:
    r"""Two sides of a formula, evaluated: they agree if |lhs - rhs| <= tolerance everywhere (relation "="), or lhs - rhs <= tolerance ("<=").

    lhs, rhs, tolerance : numbers or arrays that broadcast. ``tolerance`` is what the method of evaluation may be wrong by, no more.
    ``what`` says which numbers these are. Infinite sides agree if they are equal; NaN agrees with nothing.
    """

    lhs: Any
    rhs: Any
    tolerance: Any
    what: str = ""
    relation: str = "="

    def __post_init__(self):
        if self.relation not in ("=", "<="):
            raise ValueError(f"relation: got {self.relation!r}, allowed are '=' and '<='")
        sides = np.broadcast_arrays(*(np.asarray(s, dtype=np.float64) for s in (self.lhs, self.rhs, self.tolerance)))
        for name, side in zip(("lhs", "rhs", "tolerance"), sides, strict=True):
            object.__setattr__(self, name, np.array(side).reshape(-1))
        if not (self.tolerance >= 0).all():
            raise ValueError(f"tolerance: got {self.tolerance}, allowed are numbers >= 0")

    @property
    def gaps(self):
        """How far the sides are from the relation, entry by entry: |lhs - rhs|, or lhs - rhs for "<="; infinite where one of them is NaN."""
        with np.errstate(invalid="ignore"):
            gap = np.where(self.lhs == self.rhs, 0.0, self.lhs - self.rhs)
        gap = np.abs(gap) if self.relation == "=" else gap
        return np.where(np.isnan(gap), np.inf, gap)

    @property
    def agree(self):
        return bool(((self.gaps <= self.tolerance) & (self.gaps < np.inf)).all())

    @property
    def worst(self):
        """(lhs, rhs, gap, tolerance) at the entry that comes closest to breaking the relation, or breaks it most."""
        i = int(np.argmax(self.gaps / np.maximum(self.tolerance, 1e-300)))
        return tuple(float(x[i]) for x in (self.lhs, self.rhs, self.gaps, self.tolerance))


@dataclass(frozen=True)
class Formula:
    """A formula as it stands in the notes, and its correction where it needs one.

    id, where : such as "001-F15", "001 L495"; printed, corrected : short text, ``corrected`` empty where it holds as printed.
    as_printed, as_corrected : Bench -> Sides. ``flaw`` says what kind of change leads from one to the other: None (no change), "misprint",
    "convention" (literal reading -> stated reading), "qualifier" (unqualified claim -> the claim with its condition).
    ``expected`` is what the audit of the notes found; it is compared with the verdict at the end and takes no part in it.
    """

    id: str
    where: str
    printed: str
    corrected: str
    expected: str
    as_printed: Callable[[Bench], Sides]
    as_corrected: Callable[[Bench], Sides] | None = None
    flaw: str | None = None
    note: str = ""

    def __post_init__(self):
        if self.flaw not in VERDICTS:
            raise ValueError(f"flaw: got {self.flaw!r}, allowed are None, misprint, convention, qualifier")
        if self.expected not in VERDICTS.values():
            raise ValueError(f"expected: got {self.expected!r}, allowed are {', '.join(VERDICTS.values())}")
        if (self.flaw is None) != (self.as_corrected is None):
            raise ValueError(f"{self.id}: a flaw and a corrected form go together")


@dataclass(frozen=True)
class Finding:
    """A formula with its numbers and verdict: HOLDS, MISPRINT, CONVENTION, IMPRECISE, or FAILS (no form of it agrees, or it raised)."""

    formula: Formula
    printed: Sides | None
    corrected: Sides | None
    verdict: str
    reason: str = ""

    @property
    def as_expected(self):
        return self.verdict == self.formula.expected


def judge(formula, bench):
    """The verdict from the numbers: HOLDS if the printed sides agree; else the kind of the flaw if the corrected ones do; else FAILS."""
    printed = corrected = None
    try:
        printed = formula.as_printed(bench)
        corrected = None if formula.as_corrected is None else formula.as_corrected(bench)
    except Exception as error:  # one formula that cannot be evaluated must not hide the others; it is reported and fails the audit
        return Finding(formula, printed, corrected, FAILS, f"{type(error).__name__}: {error}")
    if corrected is not None and not corrected.agree:
        return Finding(formula, printed, corrected, FAILS, "the corrected form does not agree")
    if printed.agree:
        return Finding(formula, printed, corrected, VERDICTS[None])
    if corrected is None:
        return Finding(formula, printed, corrected, FAILS, "the printed form does not agree, and no correction is given")
    return Finding(formula, printed, corrected, VERDICTS[formula.flaw])
