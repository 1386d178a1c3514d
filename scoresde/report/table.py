"""Claims as rows of text that appear one by one: wide on one line, narrow on two, never with a truncated id."""

import math
import re
import textwrap
import time

from rich.cells import cell_len
from rich.text import Text

__all__ = ["Progress", "header", "number", "row", "summary"]

SIGNS = {"verified": "✓", "refuted": "✗", "inconclusive": "?", "not applicable": "–"}
RELATIONS = {"<=": "≤", ">=": "≥"}
ONE_LINE = 108  # columns from which a row stands on one line
HOW = 22  # columns for how the numbers were obtained
PIPE = 120  # columns assumed where there is no terminal


# ---- cells ----------------------------------------------------------------------------------------------------------------------------


def number(x, digits=4):
    """A number, or what an Enclosure says: the value, or a one-sided bound with its sign."""
    if x is None:
        return "–"
    if hasattr(x, "lo"):
        if x.value is not None or x.lo == x.hi:
            return number(x.lo if x.value is None else x.value, digits)
        if math.isinf(x.hi) and not math.isinf(x.lo):
            return f"≥ {number(x.lo, digits)}"
        if math.isinf(x.lo) and not math.isinf(x.hi):
            return f"≤ {number(x.hi, digits)}"
        return f"{number(x.lo, 3)}…{number(x.hi, 3)}"
    x = float(x)
    if math.isinf(x):
        return "∞" if x > 0 else "−∞"
    return f"{x:.{digits}g}".replace("e-0", "e-").replace("e+0", "e").replace("e+", "e").replace("-", "−") if x else "0"


def how(claim):
    """How the numbers of the two sides were obtained, and their level where it is weaker than deterministic."""
    sides = [s for s in (claim.lhs, claim.rhs) if s is not None]
    if not sides:
        return "–"
    texts = (re.sub(r"\b(sqrt|exp|log|max|min)(?=\()|[()]", "", s.method) for s in sides)  # what was done to a number is not how it was got
    methods = dict.fromkeys(m for text in texts for m in text.split(", ") if m and m != "exact")
    alpha = sum(s.alpha for s in sides)
    levels = {s.level for s in sides} - {"rigorous", "deterministic"}
    return ", ".join([*methods] or ["exact"]) + "".join(f"; {level}" for level in sorted(levels)) + (f" {alpha:.0e}" if alpha else "")


def notes(claim, width=PIPE):
    """Lines for what does not fit the row: what was compared where, what the bound is made of, what contradicts."""
    p = claim.parameters
    said = [f"on the {p['axis']} axis"] if "axis" in p else []
    if claim.cells:
        said.append(_count(p.get("cells", len(claim.cells)), "cell") + (f", {p['vacuous']} vacuous" if p.get("vacuous") else ""))
        said.append("worst: " + ", ".join(_place(p.get("worst", {}))))
    elif "within" in p:
        said.append(f"to within {number(p['within'], 2)}")
    if claim.slack:
        said.append(f"slack {number(claim.slack, 2)}")
    yield from filled(said, width)
    terms = [f"{k}: {number(v)}" for k, v in claim.terms.items() if isinstance(v, (int, float)) or hasattr(v, "lo")]
    lines, shown = list(filled(terms, width)), len(terms)
    while len(lines) > (2 if width >= ONE_LINE - 8 else 3):  # the report has all terms
        shown -= 1
        lines = list(filled([*terms[:shown], f"{len(terms) - shown} more in the JSON"], width))
    yield from lines
    if {claim.verdict, claim.expected} == {"verified", "refuted"}:
        yield f"expected: {claim.expected}"
    elif claim.verdict == claim.expected == "refuted":
        yield from textwrap.wrap("as expected: the statement is known to be false", width)
    if claim.reason:
        yield from textwrap.wrap(claim.reason, width)
    if claim.control is not None and claim.control.verdict != "refuted":
        yield from textwrap.wrap(f"negative control {claim.control.verdict}, expected: refuted ({claim.control.name})", width)


def filled(parts, width, between=" · "):
    """Lines of parts, broken between them; only a part that is longer than a line is broken inside."""
    line = ""
    for part in parts:
        if line and cell_len(line) + len(between) + cell_len(part) > width >= cell_len(part):
            yield line
            line = ""
        line = f"{line}{between}{part}" if line else part
        if cell_len(line) > width:
            *before, line = textwrap.wrap(line, width)
            yield from before
    if line:
        yield line


def _place(worst):
    for k, v in worst.items():
        if isinstance(v, (list, tuple, dict)):
            continue
        v = number(v, 3) if isinstance(v, float) else str(v)
        yield {"of": v, "within": f"to within {v}"}.get(k, f"{k} = {v}")


def _count(n, word):
    return f"{n} {word}" + "s" * (n != 1)


# ---- rows -----------------------------------------------------------------------------------------------------------------------------


def _pad(text, width, right=False):
    blank = " " * max(0, width - cell_len(text))
    return blank + text if right else text + blank


def _style(claim):
    if not claim.as_expected:
        return "bold red"
    return {"verified": "green", "refuted": "green", "inconclusive": "yellow"}.get(claim.verdict, "dim")


def _room(width):
    """Columns for the statement where a row stands on one line."""
    return width - 63 - HOW


def header(width):
    """The line above the rows, or nothing where a row takes two lines."""
    if width < ONE_LINE:
        return None
    line = f" {'':5} {'':{_room(width)}} {'left':>10} {'right':>10} {'ratio':>6}  {'how':<{HOW}} {'verdict':<16} {'s':>4}"
    return Text(line, style="dim")


def row(claim, title, width):
    """The lines of one claim: id, statement, left, right, ratio, how, verdict, seconds; then its notes."""
    left, right, ratio = number(claim.lhs), number(claim.rhs), number(claim.ratio, 3)
    verdict = f"{SIGNS[claim.verdict]} {claim.verdict}"
    seconds = f"{claim.seconds:.1f}"
    ident = claim.id or claim.name
    if width >= ONE_LINE:
        room = _room(width)
        titles, hows = textwrap.wrap(title, room) or [""], textwrap.wrap(how(claim), HOW)
        if len(hows) > max(len(titles), 2):
            hows = textwrap.wrap(how(claim), HOW, max_lines=max(len(titles), 2), placeholder=" …")
        first = Text(f" {_pad(ident, 5)} {_pad(titles[0], room)} {left:>10} {right:>10} {ratio:>6}  {_pad(hows[0], HOW)} ")
        first.append(_pad(verdict, 16), _style(claim))
        first.append(f" {seconds:>4}")
        yield first
        for i in range(1, max(len(titles), len(hows))):
            more = f" {'':5} {_pad(titles[i] if i < len(titles) else '', room)} {'':10} {'':10} {'':6}  {hows[i] if i < len(hows) else ''}"
            yield Text(more.rstrip())
    else:
        room = max(20, width - 24)
        titles = textwrap.wrap(title, room) or [""]
        first = Text(f" {_pad(ident, 5)} {_pad(titles[0], room)} ")
        first.append(verdict, _style(claim))
        yield first
        yield from (Text(f" {'':5} {line}") for line in titles[1:])
        sides = f"{left} {RELATIONS.get(claim.relation, claim.relation)} {right}"
        parts = [sides, f"ratio {ratio}", f"{seconds} s", how(claim)]
        yield from (Text(f"       {line}", style="dim") for line in filled(parts, max(20, width - 8), "   "))
    yield from (Text(f"       {line}", style="dim") for line in notes(claim, max(20, width - 8)))


def summary(claims, seconds):
    """(counts, line): what the whole run found. A control counts where it was run and refuted."""
    counts = {word: sum(c.verdict == word for c in claims) for word in SIGNS}
    counts["controls_refuted"] = sum(c.control is not None and c.control.verdict == "refuted" for c in claims)
    known = sum(c.verdict == c.expected == "refuted" for c in claims)
    refuted = f"{counts['refuted']} refuted" + (f" ({known} known to be false)" if known else "")
    line = f"{counts['verified']} verified · {refuted} · {counts['inconclusive']} inconclusive"
    if counts["not applicable"]:
        line += f" · {counts['not applicable']} not applicable"
    line += f" · {counts['controls_refuted']} negative controls refuted · {seconds:.0f}\N{NO-BREAK SPACE}s"
    return {k.replace(" ", "_"): v for k, v in counts.items()}, line


# ---- progress -------------------------------------------------------------------------------------------------------------------------


class Progress:
    """One line on a terminal with what is done and what remains, wiped before each row; silent elsewhere."""

    def __init__(self, stream, total):
        self.stream, self.total, self.done, self.start = stream, total, 0, time.monotonic()
        self.live = stream.isatty()

    def wipe(self):
        if self.live:
            self.stream.write("\r\x1b[2K")
            self.stream.flush()

    def show(self, done=0, what=""):
        self.done += done
        if self.live and self.done < self.total:
            passed = time.monotonic() - self.start
            left = f" · about {passed / self.done * (self.total - self.done):.0f} s left" if self.done else ""
            self.stream.write(f"\r\x1b[2K {self.done} of {self.total} done{left}{what and ' · ' + what}")
            self.stream.flush()
