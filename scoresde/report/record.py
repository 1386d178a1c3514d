"""The last verdict of every theorem, kept from one run of the command to the next in a small database of the user's."""

import os
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from .. import __version__
from .table import SIGNS

__all__ = ["Last", "keep", "last", "path"]

_SCHEMA = "CREATE TABLE IF NOT EXISTS verdicts (theorem, target, verdict, as_expected, at, version, way, PRIMARY KEY (theorem, target))"
_WORST_FIRST = ("refuted", "inconclusive", "verified", "not applicable")


@dataclass(frozen=True)
class Last:
    """What the last run of a theorem found: verdicts per target; when, by which version, in which way ("", "quick" or "rigorous")."""

    verdicts: dict
    as_expected: bool
    at: str
    version: str
    way: str

    @property
    def word(self):
        """One word for all targets: the worst verdict, sign first."""
        worst = next(v for v in _WORST_FIRST if v in self.verdicts.values())
        return f"{SIGNS[worst]} {worst}"

    @property
    def line(self):
        """All of it in a sentence."""
        by_verdict = {v: [t for t, found in self.verdicts.items() if found == v] for v in _WORST_FIRST}
        found = "; ".join(f"{v} on {', '.join(targets)}" for v, targets in by_verdict.items() if targets)
        way = f", {self.way}" if self.way else ""
        return f"{found} ({self.at[:16].replace('T', ' ')}, version {self.version}{way})" + ("" if self.as_expected else ", against expectation")


def path():
    """Where it is kept: scoresde/verdicts.sqlite in XDG_STATE_HOME, else LOCALAPPDATA, else ~/.local/state."""
    home = os.environ.get("XDG_STATE_HOME") or os.environ.get("LOCALAPPDATA") or Path.home() / ".local" / "state"
    return Path(home) / "scoresde" / "verdicts.sqlite"


def keep(claims, way=""):
    """Record the claims of a run, each with its target's name in its parameters, in place of what earlier runs found.

    Raises OSError if the folder cannot be made, sqlite3.Error if the database cannot be written.
    """
    at = datetime.now().astimezone().isoformat(timespec="seconds")
    rows = [(c.name, c.parameters["target"], c.verdict, c.as_expected, at, __version__, way) for c in claims]
    path().parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path())) as database, database:  # the inner one commits all of it or nothing
        database.execute(_SCHEMA)
        database.executemany("DELETE FROM verdicts WHERE theorem = ?", {(c.name,) for c in claims})
        database.executemany("INSERT OR REPLACE INTO verdicts VALUES (?, ?, ?, ?, ?, ?, ?)", rows)


def last():
    """{function name: Last} of all theorems that were ever run; empty where nothing was, or the record cannot be read."""
    if not path().is_file():
        return {}
    try:
        with closing(sqlite3.connect(f"{path().as_uri()}?mode=ro", uri=True)) as database:
            rows = database.execute("SELECT theorem, target, verdict, as_expected, at, version, way FROM verdicts ORDER BY rowid").fetchall()
    except sqlite3.Error:
        return {}
    found = {}
    for theorem, target, verdict, as_expected, at, version, way in rows:
        before = found.get(theorem, Last({}, True, at, version, way))
        found[theorem] = Last(before.verdicts | {target: verdict}, before.as_expected and bool(as_expected), at, version, way)
    return found
