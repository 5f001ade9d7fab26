"""Store: every evaluation of a run in one SQLite file; the cache of the search and what it resumes from.

Rows are only ever added, each in a transaction of its own, in the order in which the search asked for them.
The file is in write-ahead mode, so a process killed at any moment loses nothing that was put, and a report may
read while a search writes. Two searches on one file do no harm: the first result of a plan stays.

On a network file system that mode is unsafe (its shared memory does not reach other machines). There the file is in the
oldest mode, a journal that is truncated, and rows are committed once a second: a killed process may lose that second.

Every row carries a checksum. A row that does not match its own is removed when the file is opened for writing, with a
warning; the search then evaluates its plan again, and the new row takes the place of the old.
"""

from __future__ import annotations

import hashlib
import json
import logging
import sqlite3
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bittailor.common.mounts import network_filesystem
from bittailor.errors import FileError
from bittailor.search.space import Genome

SCHEMA = 3
READABLE = ("1", "2", "3")
"""Schema versions that can be read; a store of an older one is brought up to date when it is opened for writing."""
GIVEN, SEEDED = 0, -1
"""What `decide` takes for a generation before the first: the beacons given, the genomes of the first population."""
_WAIT_S = 30.0  # how long to wait for another process that is writing
_COMMIT_S = 1.0  # between two commits on a network file system, where each takes tens of milliseconds
_AT_ONCE = 500  # SQLite allows 999 variables in a statement in its oldest builds

_TABLES = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE evaluations (
    ordinal    INTEGER PRIMARY KEY,
    key        TEXT NOT NULL UNIQUE,
    genome     TEXT NOT NULL,
    vals       TEXT,
    reason     TEXT,
    seconds    REAL NOT NULL,
    generation INTEGER NOT NULL,
    beacon     TEXT,
    dropped    INTEGER,
    digest     TEXT
);
CREATE INDEX by_generation ON evaluations (generation);
""" + (_DECISIONS := """
CREATE TABLE decisions (generation INTEGER PRIMARY KEY, value TEXT NOT NULL, digest TEXT);
""")

# stores of the first two schemas have the number in their reason only: "dropped after 90 of 360 items: …"
_ADD_BOTH = """
ALTER TABLE evaluations ADD COLUMN dropped INTEGER;
UPDATE evaluations SET dropped = CAST(substr(reason, 15) AS INTEGER) WHERE reason LIKE 'dropped after %';
ALTER TABLE evaluations ADD COLUMN digest TEXT;
"""
_UPGRADES = {
    "1": f"{_ADD_BOTH} ALTER TABLE evaluations ADD COLUMN beacon TEXT; {_DECISIONS}",
    "2": f"{_ADD_BOTH} ALTER TABLE decisions ADD COLUMN digest TEXT;",
}
"""Schema version -> what brings its tables up to date; the digests follow."""

_COLUMNS = ("key", "genome", "vals", "reason", "seconds", "generation", "beacon", "dropped")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """What one evaluation gave: values, or the reason why there are none.

    values   name → value (objectives and whatever else was measured); None for a failed evaluation
    reason   why it failed, in one line; None where it did not
    seconds  how long it took
    beacon   the retrained network that gave the values (see `bittailor.train.beacons`); None for the base network
    dropped  items after which a candidate was given up (see `evaluate.racing`); its values are then estimates. None
             where it was not
    terms    what the evaluation wants to know of single items, float64 [values, items]; not stored
    """

    values: Mapping[str, float] | None
    reason: str | None = None
    seconds: float = 0.0
    beacon: str | None = None
    dropped: int | None = None
    terms: NDArray[np.float64] | None = field(default=None, compare=False, repr=False)

    @property
    def known(self) -> Mapping[str, float] | None:
        """The values, where they are not estimates."""
        return self.values if self.dropped is None else None


@dataclass(frozen=True)
class Row:
    """One stored evaluation; `ordinal` counts from 1, `generation` is the one that first asked for it."""

    ordinal: int
    key: str
    genome: Genome
    outcome: Outcome
    generation: int


class Store:
    """Evaluations by key. A context manager; `close` it otherwise.

    path      the file; made where it does not exist, or ":memory:" for one that is not kept
    identity  name → text of what the evaluations depend on (task, network, space, data, version, …); written
              into a new file and compared with an old one
    readonly  open without writing, also in a directory that cannot be written
    Raises    FileError, in one line, for a file that is missing (readonly), damaged, not a store, of another
              schema version or identity, locked by another process, or a disk that is full or read-only.
    """

    def __init__(self, path: str | Path, identity: Mapping[str, str] | None = None, *,
                 readonly: bool = False) -> None:
        self.path = str(path)
        self._closed = False
        self._commit_s, self._committed = 0.0, monotonic()
        with self._errors():
            if readonly and self.path != ":memory:" and not Path(path).is_file():
                raise FileError(f"there is no store at {self.path}; expected the evaluations of a run")
            self._db = self._connect(readonly)
            try:
                self._prepare(identity, readonly)
            except BaseException:
                self._db.close()
                raise

    @property
    def identity(self) -> dict[str, str]:
        """What the evaluations of this file depend on."""
        with self._errors():
            rows = self._db.execute("SELECT name, value FROM meta WHERE name != 'schema'")
            return dict(rows.fetchall())

    def get(self, keys: Sequence[str]) -> dict[str, Outcome]:
        """The outcomes of those keys that are stored; O(log rows) each."""
        found = {}
        with self._errors():
            for start in range(0, len(keys), _AT_ONCE):
                part = keys[start:start + _AT_ONCE]
                marks = ",".join("?" * len(part))
                for key, *outcome in self._db.execute(
                        f"SELECT key, vals, reason, seconds, {self._late} FROM evaluations WHERE key IN ({marks})",
                        part):
                    found[key] = _outcome(*outcome)
        return found

    def put(self, key: str, genome: Genome, outcome: Outcome, generation: int) -> None:
        """Add one evaluation and commit it. A key that is there already is left as it is."""
        self.put_all([(key, genome, outcome, generation)])

    def put_all(self, rows: Sequence[tuple[str, Genome, Outcome, int]]) -> None:
        """Add evaluations (key, genome, outcome, generation) in one transaction: all or none."""
        with self._errors(), self._transaction():
            self._insert(rows)

    def _insert(self, rows: Iterable[tuple[str, Genome, Outcome, int]]) -> None:
        for key, genome, outcome, generation in rows:
            vals = None if outcome.values is None else json.dumps(dict(outcome.values), allow_nan=False)
            row = (key, " ".join(map(str, genome)), vals, outcome.reason, float(outcome.seconds), generation,
                   outcome.beacon, outcome.dropped)
            place = self._vacant[0] if self._vacant else None
            added = self._db.execute(
                f"INSERT OR IGNORE INTO evaluations (ordinal, {', '.join(_COLUMNS)}, digest) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", (place, *row, _digest(*row)))
            if place is not None and added.rowcount:
                self._vacant.pop(0)

    def replace_all(self, rows: Iterable[Row]) -> None:
        """Hold these evaluations and no others, of equal keys the first."""
        with self._errors(), self._db:
            self._db.execute("DELETE FROM evaluations")
            self._vacant.clear()
            self._insert((row.key, row.genome, row.outcome, row.generation) for row in rows)

    def rows(self) -> Iterator[Row]:
        """Every evaluation, in the order in which they were put."""
        with self._errors():
            for ordinal, key, genome, generation, *outcome in self._db.execute(
                    f"SELECT ordinal, key, genome, generation, vals, reason, seconds, {self._late} "
                    "FROM evaluations ORDER BY ordinal"):
                yield Row(ordinal, key, tuple(map(int, genome.split())), _outcome(*outcome), generation)

    def decide(self, generation: int, value: Any) -> None:
        """Keep what a generation decided (a JSON value), before it acts on it. The first decision stays."""
        with self._errors(), self._db:
            row = generation, json.dumps(value)
            self._db.execute("INSERT OR IGNORE INTO decisions VALUES (?, ?, ?)", (*row, _digest(*row)))

    def decisions(self) -> dict[int, Any]:
        """What every generation decided, as far as it came; in order."""
        if self._version == "1":
            return {}
        with self._errors():
            rows = self._db.execute("SELECT generation, value FROM decisions ORDER BY generation").fetchall()
            return {generation: json.loads(value) for generation, value in rows}

    def __len__(self) -> int:
        with self._errors():
            return int(self._db.execute("SELECT count(*) FROM evaluations").fetchone()[0])

    def forget_failures(self) -> int:
        """Remove failed evaluations, so that the next search tries them again; returns how many."""
        with self._errors(), self._db:
            return self._db.execute("DELETE FROM evaluations WHERE reason IS NOT NULL").rowcount

    def close(self) -> None:
        """Close the file; a second time does nothing."""
        if not self._closed:
            if self._commit_s:
                with self._errors():
                    self._db.commit()
            self._closed = True
            self._db.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 traceback: TracebackType | None) -> None:
        self.close()

    def _connect(self, readonly: bool) -> sqlite3.Connection:
        if not readonly or self.path == ":memory:":
            return sqlite3.connect(self.path, timeout=_WAIT_S)
        address = Path(self.path).resolve().as_uri()
        # a write-ahead file needs a shared-memory file beside it; where the directory cannot be written and no
        # writer left one, only `immutable` opens it
        for mode in ("?mode=ro", "?mode=ro&immutable=1"):
            db = sqlite3.connect(address + mode, uri=True, timeout=_WAIT_S)
            try:
                db.execute("SELECT count(*) FROM sqlite_master").fetchone()
                return db
            except sqlite3.OperationalError:
                db.close()
        raise FileError(f"cannot open the store {self.path} for reading")

    def _prepare(self, identity: Mapping[str, str] | None, readonly: bool) -> None:
        tables = {row[0] for row in self._db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if not readonly:
            self._choose_mode()
        if not tables and not readonly:
            self._create(identity or {})
        elif not {"meta", "evaluations"} <= tables:
            raise FileError(f"{self.path} is not a store of evaluations; give another path")
        version = self._db.execute("SELECT value FROM meta WHERE name = 'schema'").fetchone()
        if version is not None and version[0] in _UPGRADES and not readonly:
            self._upgrade(version[0])
            version = (str(SCHEMA),)
        if version is None or version[0] not in READABLE:
            raise FileError(f"{self.path} has schema version {version and version[0]}; this bittailor reads "
                            f"version {SCHEMA}. Use the bittailor that wrote it, or start a new run")
        self._version = str(version[0])
        # columns that stores of the first schemas lack
        self._late = {"1": "NULL, NULL", "2": "beacon, NULL"}.get(self._version, "beacon, dropped")
        self._check(readonly)
        mine = self.identity
        for name, value in (identity or {}).items():
            if mine.get(name) != value:
                raise FileError(f"{self.path} belongs to another run: its {name} is {_short(mine.get(name))}, "
                                f"here it is {_short(value)}. Give another run directory")

    def _choose_mode(self) -> None:
        """How the file is written: by what it lies on."""
        kind = None if self.path == ":memory:" else network_filesystem(self.path)
        if kind is None:
            self._db.execute("PRAGMA journal_mode = WAL")
            # a killed process loses nothing with NORMAL; a power cut may lose the last rows, never the file
            self._db.execute("PRAGMA synchronous = NORMAL")
            return
        self._db.execute("PRAGMA journal_mode = TRUNCATE")
        self._db.execute("PRAGMA synchronous = FULL")
        self._commit_s = _COMMIT_S
        log.warning("the store %s lies on a network file system (%s): written in a mode that is safe there, committed "
                    "once a second", self.path, kind)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Commit what is done in it, now or with what follows within a second."""
        try:
            yield
        except BaseException:
            self._db.rollback()
            raise
        if monotonic() - self._committed >= self._commit_s:
            self._db.commit()
            self._committed = monotonic()

    def _upgrade(self, version: str) -> None:
        """From an older schema, whose rows are taken as they are."""
        self._db.executescript(f"BEGIN IMMEDIATE; {_UPGRADES[version]} COMMIT")
        with self._db:
            for table, columns in _DIGESTED.items():
                rows = self._db.execute(f"SELECT rowid, {', '.join(columns)} FROM {table}").fetchall()
                self._db.executemany(f"UPDATE {table} SET digest = ? WHERE rowid = ?",
                                     [(_digest(*row), rowid) for rowid, *row in rows])
            self._db.execute("UPDATE meta SET value = ? WHERE name = 'schema'", (str(SCHEMA),))

    def _check(self, readonly: bool) -> None:
        """Compare every row with its checksum. Bad ones are removed, so that they are evaluated again; a store that is
        only read is refused."""
        self._vacant: list[int] = []
        said = self._whole()
        if "index" in said and not readonly:
            # an index only says where rows are; with a wrong one a row is not found, and evaluated and added twice
            self._db.execute("REINDEX")
            log.warning("an index of the store %s was damaged and is made again", self.path)
            said = self._whole()
        if said != "ok":
            raise FileError(f"the store {self.path} is damaged ({said}); start a new run, or restore a copy")
        if self._version != str(SCHEMA):
            return
        for table, columns in _DIGESTED.items():
            bad = [rowid for rowid, digest, *row in self._db.execute(
                f"SELECT rowid, digest, {', '.join(columns)} FROM {table} ORDER BY rowid") if digest != _digest(*row)]
            if not bad:
                continue
            if readonly:
                raise FileError(f"{len(bad)} row(s) of the store {self.path} are damaged; "
                                "resume the search, which evaluates them again")
            with self._db:
                self._db.executemany(f"DELETE FROM {table} WHERE rowid = ?", [(rowid,) for rowid in bad])
            log.warning("%d row(s) of the store %s were damaged and are made again", len(bad), self.path)
            if table == "evaluations":
                self._vacant = bad

    def _whole(self) -> str:
        """What SQLite says of the file, indexes included, in one line; "ok" if all is right."""
        return " ".join(self._db.execute("PRAGMA integrity_check(1)").fetchone()[0].split())

    def _create(self, identity: Mapping[str, str]) -> None:
        if "schema" in identity:
            raise ValueError("'schema' is the store's own name")
        # one transaction: a process killed here leaves an empty file, which the next one fills
        try:
            self._db.executescript(f"BEGIN IMMEDIATE; {_TABLES}")
        except sqlite3.OperationalError as error:
            self._db.rollback()
            if "already exists" not in str(error):
                raise
            return  # another process made the tables since we looked
        with self._db:
            self._db.executemany("INSERT INTO meta VALUES (?, ?)",
                                 [("schema", str(SCHEMA)), *identity.items()])

    @contextmanager
    def _errors(self) -> Iterator[None]:
        if self._closed:
            raise FileError(f"the store {self.path} is closed")
        try:
            yield
        except (sqlite3.Error, json.JSONDecodeError, UnicodeDecodeError, OSError) as error:
            # of a damaged schema SQLite quotes all lines, or bytes that sqlite3 fails to decode
            text = textwrap.shorten(str(error), 160, placeholder=" …")
            for sign, meaning in _MEANINGS.items():
                if sign in text:
                    raise FileError(f"{meaning.format(path=self.path)} ({text})") from None
            raise FileError(f"the store {self.path} is damaged ({text}); "
                            f"start a new run, or restore a copy") from None


_MEANINGS = {
    "unable to open": "cannot open or make the store {path}: is its directory there, and writable?",
    "Permission denied": "cannot open the store {path}: you may not read its directory",
    "readonly": "cannot write to the store {path}: it or its directory is read-only",
    "disk is full": "no space left for the store {path}; what was stored is safe. Free some and resume",
    "locked": "the store {path} is in use by another process; wait until it ends",
    "disk I/O error": "the disk of the store {path} does not answer; what was stored before is safe",
}


_DIGESTED = {"evaluations": _COLUMNS, "decisions": ("generation", "value")}
"""Table -> the columns that its digests are of."""


def _digest(*row: object) -> str:
    """The checksum of a row: numbers and texts in the order of the columns."""
    return hashlib.sha256(json.dumps(row).encode(errors="surrogatepass")).hexdigest()[:16]


def _outcome(
    vals: str | None, reason: str | None, seconds: float, beacon: str | None, dropped: int | None
) -> Outcome:
    return Outcome(None if vals is None else json.loads(vals), reason, seconds, beacon, dropped)


def _short(text: str | None) -> str:
    if text is None:
        return "not given"
    return f"'{text}'" if len(text) <= 60 else f"'{text[:57]}...'"
