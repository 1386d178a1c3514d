"""The file that keeps the values of cells: one SQLite database, each cell a transaction of its own, written by one process."""

import contextlib
import os
import sqlite3

from ..files import check_writable

__all__ = ["opened"]

_MARK = 0x53434F52  # "SCOR": says that the file is ours
_FORMAT = 1
_TABLES = """
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS sources (name TEXT, version INTEGER, source TEXT NOT NULL, PRIMARY KEY (name, version)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS cells (name TEXT, version INTEGER, parameters TEXT, value TEXT NOT NULL, PRIMARY KEY (name, version, parameters))
    WITHOUT ROWID;
PRAGMA application_id = {mark};
PRAGMA user_version = {format};
COMMIT;
"""


class _Kept:
    """The values of one function under one version."""

    def __init__(self, database, identity, version):
        self.database, self.which, self.source = database, (identity.name, version), identity.source

    def found(self):
        """{parameters: value}, both JSON text."""
        return dict(self.database.execute("SELECT parameters, value FROM cells WHERE name = ? AND version = ?", self.which))

    def keep(self, parameters, value):
        if self.source is not None:  # with the first value, not before: a function that only ever raised may be mended under the same version
            self.database.execute("INSERT OR REPLACE INTO sources VALUES (?, ?, ?)", (*self.which, self.source))
            self.source = None
        self.database.execute("INSERT OR IGNORE INTO cells VALUES (?, ?, ?, ?)", (*self.which, parameters, value))


class _Nowhere:
    """In place of a store where there is none."""

    def found(self):
        return {}

    def keep(self, parameters, value):
        pass


@contextlib.contextmanager
def opened(path, identity, version):
    """What a store holds of a function; ValueError if the file is something else, or if another source has been kept under this version."""
    if path is None:
        yield _Nowhere()
        return
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"store: got {type(path).__name__}, allowed is the name of a file, or None")
    check_writable(path)
    with contextlib.closing(sqlite3.connect(os.fspath(path), timeout=60.0, isolation_level=None)) as database:
        try:
            _prepare(database, path)
        except sqlite3.DatabaseError as error:
            raise ValueError(f"store: got {os.fspath(path)}, allowed is a file that sweep has made, or a new one ({error})") from None
        kept = _Kept(database, identity, version)
        row = database.execute("SELECT source FROM sources WHERE name = ? AND version = ?", kept.which).fetchone()
        if row is not None and row[0] != identity.source and kept.found():
            (used,) = database.execute("SELECT max(version) FROM sources WHERE name = ?", kept.which[:1]).fetchone()
            raise ValueError(
                f"version: got {version}, under which {os.fspath(path)} holds values of another source of {identity.name}, allowed is one source per "
                f"version; raise version= to {used + 1}, or take another store"
            )
        yield kept


def _prepare(database, path):
    (mark,), (form,) = (database.execute(f"PRAGMA {name}").fetchone() for name in ("application_id", "user_version"))
    (tables,) = database.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if mark == 0 and tables == 0:
        database.executescript(_TABLES.format(mark=_MARK, format=_FORMAT))
    elif mark != _MARK:
        raise ValueError(f"store: got {os.fspath(path)}, a database of something else, allowed is a file that sweep has made, or a new one")
    elif form != _FORMAT:
        raise ValueError(f"store: got {os.fspath(path)} of format {form}, allowed is {_FORMAT}; use the version of scoresde that wrote it")
