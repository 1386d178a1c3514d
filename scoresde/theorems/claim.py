"""A claim: two enclosures, a relation, and a verdict that only strong enough numbers may decide."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise

from .._arrays import finite
from ..enclosure import LEVELS, Enclosure, enclose
from ..errors import NotVerified

__all__ = [
    "VERDICTS", "Cell", "Claim", "Statement", "claim_at_most", "claim_equal", "claim_exists", "claim_over", "claim_rate", "not_applicable", "states",
]  # fmt: skip

VERDICTS = ("verified", "refuted", "inconclusive", "not applicable")
DECIDING = LEVELS[:-1]  # what ``decides`` may be: a heuristic number never decides


@dataclass(frozen=True)
class Statement:
    """What a theorem says: ``id`` of the catalogue, title, source, the statement in LaTeX, what it assumes, and its caveat."""

    id: str
    title: str
    reference: str
    statement: str
    assumptions: tuple[str, ...] = ()
    caveat: str = ""


def states(info):
    """Attach a Statement to a theorem: ``f.info``."""

    def attach(f):
        f.info = info
        return f

    return attach


@dataclass(frozen=True)
class Cell:
    """One point of a sweep: its parameters, both sides, its verdict, and whether the right side says nothing (vacuous)."""

    parameters: Mapping
    lhs: Enclosure
    rhs: Enclosure
    verdict: str
    vacuous: bool = False

    @property
    def ratio(self):
        return _ratio(self.lhs, self.rhs)


@dataclass(frozen=True)
class Claim:
    """``lhs relation rhs`` and what came of it.

    verdict : verified, refuted, inconclusive, or not applicable (``reason`` says which assumption fails). ``expected`` is refuted for
    statements known to be false. ``slack`` is the declared numerical allowance, ``cells`` the points of a sweep (lhs and rhs are then
    those of the worst one), ``vacuous`` says that the right side exceeds the trivial bound, ``control`` is the mutated claim, fixed
    beforehand, that must be refuted. ``bool`` raises: ask for the verdict.
    """

    name: str
    verdict: str
    relation: str
    lhs: Enclosure | None
    rhs: Enclosure | None
    expected: str = "verified"
    id: str = ""
    slack: float = 0.0
    terms: Mapping = field(default_factory=dict)
    parameters: Mapping = field(default_factory=dict)
    cells: tuple[Cell, ...] = ()
    assumptions: tuple[tuple[str, bool], ...] = ()
    statement: str = ""
    reference: str = ""
    caveat: str = ""
    vacuous: bool = False
    reason: str = ""
    control: "Claim | None" = None
    seconds: float = 0.0

    def __bool__(self):
        raise TypeError("a Claim is not a truth value: compare claim.verdict, or call claim.require()")

    @property
    def ratio(self):
        """lhs / rhs at the point estimates (None if either is unknown)."""
        return None if self.lhs is None or self.rhs is None else _ratio(self.lhs, self.rhs)

    @property
    def alpha(self):
        """The verdict is wrong with at most this probability: the sum over all numbers in it, an Enclosure that cells share counted once."""
        sides = [e for c in self.cells or (self,) for e in (c.lhs, c.rhs) if e is not None]
        return sum({id(e): e.alpha for e in sides}.values())

    @property
    def as_expected(self):
        """Does the verdict not contradict what is expected, and is the control, if any, refuted?"""
        opposite = {"verified": "refuted", "refuted": "verified"}[self.expected]
        return self.verdict != opposite and (self.control is None or self.control.verdict == "refuted")

    def require(self, allow=()):
        """Returns self if the verdict is ``expected`` or in ``allow``, else raises NotVerified with both sides and the reason."""
        if self.verdict == self.expected or self.verdict in allow:
            return self
        raise NotVerified(f"{self}; expected {self.expected}")

    def __str__(self):
        sides = f"{self.lhs} {self.relation} {self.rhs}" if self.lhs is not None else ""
        return " ".join(filter(None, [f"{self.id or self.name}: {self.verdict}", sides and f"({sides})", self.reason and f"[{self.reason}]"]))


def claim_at_most(
    lhs, rhs, *, name, statement="", reference="", terms=None, parameters=None, assumptions=(), decides="finite-sample", slack=0.0,
    trivial=math.inf, expected="verified", caveat="", control=None, id="",
):  # fmt: skip
    """lhs <= rhs: verified if (lhs - rhs).hi <= slack, refuted if (lhs - rhs).lo > slack, else inconclusive.

    lhs, rhs : Enclosure or number; decides : the weakest level that may decide (asymptotic must be asked for, heuristic never decides);
    slack : declared numerical allowance >= 0, printed; trivial : a bound that always holds (1 for TV): a right side beyond it is vacuous, and
    never counts as verified.
    An assumption (text, False) makes the claim not applicable. Raises ValueError for an unknown level or a negative slack.
    """
    lhs, rhs, slack = _side("lhs", lhs), _side("rhs", rhs), _slack(slack)
    vacuous = rhs.lo >= trivial
    if lhs.lo == math.inf and rhs.hi < math.inf:
        verdict, reason = "refuted", "the left side is infinite"
    elif rhs.lo == math.inf:
        verdict, reason = "inconclusive", "vacuous: the right side is infinite"
        vacuous = True
    else:
        gap = lhs - rhs
        verdict, reason = "inconclusive", f"the difference lies in [{gap.lo:.3g}, {gap.hi:.3g}]"
        if gap.hi <= slack:
            verdict, reason = "verified", ""
        elif gap.lo > slack:
            verdict, reason = "refuted", ""
    if vacuous and verdict == "verified":
        verdict, reason = "inconclusive", f"vacuous: the right side is not below the trivial bound {trivial:g}"
    return _decided(
        name=name, relation="<=", lhs=lhs, rhs=rhs, verdict=verdict, reason=reason, decides=decides, slack=slack, terms=terms or {},
        parameters=parameters or {}, assumptions=assumptions, statement=statement, reference=reference, caveat=caveat, expected=expected,
        control=control, vacuous=vacuous, id=id,
    )  # fmt: skip


def claim_equal(
    lhs, rhs, *, within, name, statement="", reference="", terms=None, parameters=None, assumptions=(), decides="finite-sample",
    slack=0.0, expected="verified", caveat="", control=None, id="",
):  # fmt: skip
    """lhs = rhs to the tolerance ``within``: verified if all of (lhs - rhs) ± slack lies in [-within, within], refuted if none of it does.

    A wide interval that contains 0 is not verified. Raises ValueError if within is not > 0.
    """
    lhs, rhs, slack, within = _side("lhs", lhs), _side("rhs", rhs), _slack(slack), float(finite("within", within))
    if within <= 0:
        raise ValueError(f"within: got {within}, allowed is a tolerance > 0")
    if lhs.lo == lhs.hi == rhs.lo == rhs.hi and math.isinf(lhs.lo):
        verdict, reason = "verified", "both sides are infinite"
    else:
        gap = lhs - rhs
        verdict, reason = "inconclusive", f"the difference lies in [{gap.lo:.3g}, {gap.hi:.3g}], not inside ±{within:.1e}"
        if -within <= gap.lo - slack and gap.hi + slack <= within:
            verdict, reason = "verified", ""
        elif gap.lo - slack > within or gap.hi + slack < -within:
            verdict, reason = "refuted", ""
    return _decided(
        name=name, relation="=", lhs=lhs, rhs=rhs, verdict=verdict, reason=reason, decides=decides, slack=slack, terms=terms or {},
        parameters={**(parameters or {}), "within": within}, assumptions=assumptions, statement=statement, reference=reference, caveat=caveat,
        expected=expected, control=control, id=id,
    )  # fmt: skip


def claim_rate(h, errors, *, order, relation, within, name, decides="finite-sample", parameters=None, **about):
    r"""error(h) ~ h^r with r = order ("=", to ``within``) or r >= order - within (">=").

    h : decreasing positive numbers, at least 3; errors : Enclosures with lo > 0, which hold simultaneously. The finest local slope decides; it
    has settled if the last two local slopes differ by at most ``within`` whatever the errors are in their intervals, else the claim is
    inconclusive. "=" and ">=" are different claims.
    """
    if relation not in ("=", ">="):
        raise ValueError(f"relation: got {relation!r}, allowed are '=' and '>='")
    if len(h) < 3 or len(h) != len(errors) or any(b >= a for a, b in pairwise(h)) or min(h) <= 0:
        raise ValueError(f"h: got {list(h)} with {len(errors)} errors, allowed are at least 3 decreasing positive steps and as many errors")
    if not finite("within", within) > 0:
        raise ValueError(f"within: got {within}, allowed is a tolerance > 0")
    parameters = {**(parameters or {}), "h": list(map(float, h)), "within": within}
    if any(e.lo <= 0 for e in errors):
        slope = Enclosure(-math.inf, math.inf, max((e.level for e in errors), key=LEVELS.index))
        reason = "an error is not bounded away from 0"
    else:
        steps = [(Enclosure.exact(x) / y).log() for x, y in pairwise(h)]
        before, slope = ((a.log() - b.log()) / step for (a, b), step in list(zip(pairwise(errors), steps))[-2:])
        change = slope - before
        reason = "" if -within <= change.lo and change.hi <= within else f"not settled: the last slopes are {before}, {slope}"
    rhs = Enclosure.exact(float(order))
    if relation == "=":
        claim = claim_equal(slope, rhs, within=within, name=name, decides=decides, parameters=parameters, **about)
    else:
        claim = claim_at_most(rhs - within, slope, name=name, decides=decides, parameters=parameters, **about)
        claim = replace(claim, relation=">=", lhs=slope, rhs=rhs)
    return replace(claim, verdict="inconclusive", reason=reason) if reason and claim.verdict != "not applicable" else claim


def claim_over(claims, *, name, parameters=None, reason="", **about):
    """One claim over a sweep: any refuted cell refutes; vacuous cells are counted and never verify; the worst cell's sides are shown.

    claims : claims of the same relation, one per cell; their parameters become the cells'. Verified needs every cell that is neither vacuous
    nor out of scope verified, and one such cell.
    """
    claims = list(claims)
    if not claims:
        raise ValueError("claims: got none, allowed is at least one cell")
    if len({c.relation for c in claims}) > 1:
        raise ValueError(f"claims: got relations {sorted({c.relation for c in claims})}, allowed is one relation in a sweep")
    if failing := _failing(about.get("assumptions", ())):
        return replace(claims[0], name=name, verdict="not applicable", reason=failing, **about)
    cells = tuple(Cell(c.parameters, c.lhs, c.rhs, c.verdict, c.vacuous) for c in claims if c.lhs is not None)
    solid = [c for c in claims if not c.vacuous and c.verdict != "not applicable"]
    verdicts = [c.verdict for c in claims]
    if "refuted" in verdicts:
        verdict = "refuted"
        reason = reason or f"{verdicts.count('refuted')} of {len(claims)} cells are refuted"
        pool = [c for c in claims if c.verdict == "refuted"]
    elif solid and all(c.verdict == "verified" for c in solid):
        verdict, pool = "verified", solid
    elif not solid and all(v == "not applicable" for v in verdicts):
        return replace(claims[0], name=name, **about)
    else:
        verdict, pool = "inconclusive", [c for c in solid or claims if c.verdict == "inconclusive"]
        reason = reason or (pool[0].reason if solid else "every cell is vacuous")
    worst = max(pool, key=_badness)
    counts = {"cells": len(claims), "vacuous": sum(c.vacuous for c in claims)}
    if absent := verdicts.count("not applicable"):
        counts["not applicable"] = absent
    return replace(
        worst, name=name, verdict=verdict, reason=reason, cells=cells, vacuous=not solid,
        parameters={**(parameters or {}), **counts, "worst": dict(worst.parameters)}, **about,
    )  # fmt: skip


def claim_exists(fit, judge, *, calibration, held_out, name, terms=None, parameters=None, **about):
    """There are constants with which the claim holds in every cell: constants = fit(calibration), judged in the cells ``held_out``.

    fit(cells) -> mapping of names to numbers; judge(constants, cell) -> Claim, one cell of a sweep. Constants that were chosen to fit cannot
    be refuted where they were fitted: a cell that is in both lists raises ValueError. The constants are among the terms.
    """
    calibration, held_out = list(calibration), list(held_out)
    if not calibration or (seen := [cell for cell in held_out if cell in calibration]):
        what = f"{seen[0]!r} in both lists" if calibration else "no calibration cells"
        raise ValueError(f"held_out: got {what}, allowed are cells to fit to, and others to judge by")
    constants = dict(fit(calibration))
    cells = [judge(constants, cell) for cell in held_out]
    parameters = {**(parameters or {}), "calibration cells": len(calibration)}
    return claim_over(cells, name=name, terms={**constants, **(terms or {})}, parameters=parameters, **about)


def not_applicable(name, reason, *, assumptions=(), relation="<=", **about):
    """The claim does not apply here; ``reason`` says which assumption fails."""
    return Claim(name, "not applicable", relation, None, None, reason=reason, assumptions=tuple(assumptions), **about)


def _decided(*, verdict, reason, decides, assumptions, **fields):
    if decides not in DECIDING:
        raise ValueError(f"decides: got {decides!r}, allowed are {', '.join(DECIDING)}; a heuristic number never decides")
    assumptions = tuple((str(text), bool(holds)) for text, holds in assumptions)
    level = max((fields["lhs"].level, fields["rhs"].level), key=LEVELS.index)
    if failing := _failing(assumptions):
        verdict, reason = "not applicable", failing
    elif verdict in ("verified", "refuted") and LEVELS.index(level) > LEVELS.index(decides):
        verdict, reason = "inconclusive", f"the numbers are {level}, and only {decides} or stronger may decide"
    return Claim(verdict=verdict, reason=reason, assumptions=assumptions, **fields)


def _failing(assumptions):
    failing = [text for text, holds in assumptions if not holds]
    return "fails here: " + "; ".join(failing) if failing else ""


def _ratio(lhs, rhs):
    if lhs.value is None or rhs.value is None:
        return None
    if rhs.value == 0 or math.isinf(lhs.value):
        return 1.0 if lhs.value == rhs.value else math.inf
    return lhs.value / rhs.value


def _badness(claim):
    """How close a cell is to failing, or how far it fails: the larger the worse."""
    if claim.lhs is None or claim.rhs is None:
        return -math.inf
    if claim.relation == "=":
        gap = (claim.lhs - claim.rhs).value
        return -math.inf if gap is None else abs(gap) / claim.parameters.get("within", 1.0)
    ratio = _ratio(claim.lhs, claim.rhs)
    return -math.inf if ratio is None else -ratio if claim.relation == ">=" else ratio


def _side(name, x):
    enclosure = enclose(x)
    if enclosure is NotImplemented:
        raise TypeError(f"{name}: got {type(x).__name__}, allowed is an Enclosure or a number (an exact constant)")
    return enclosure


def _slack(slack):
    slack = float(finite("slack", slack))
    if slack < 0:
        raise ValueError(f"slack: got {slack}, allowed is >= 0")
    return slack
