"""Store: what is put comes back, every kind of bad file has a clear line, and growth stays flat."""

from __future__ import annotations

import os
import sqlite3
import stat
from pathlib import Path
from time import perf_counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bittailor.errors import FileError
from bittailor.search import Outcome, Store
from bittailor.search.store import SCHEMA

GOOD = Outcome({"error": 0.1 + 0.2, "size": 1e300}, None, 0.25)
BAD = Outcome(None, "ValueError: π", 0.5)


def filled(path: Path, n: int = 3) -> Path:
    with Store(path, {"task": "digits", "space": "s"}) as store:
        store.put_all([(f"{i} {i}", (i, i), GOOD, 1 + i // 10) for i in range(n)])
        store.put("bad", (9, 9), BAD, 2)
    return path


def one_line(error: pytest.ExceptionInfo[FileError], path: Path) -> str:
    text = str(error.value)
    assert "\n" not in text
    assert str(path) in text
    return text


def test_round_trip(tmp_path: Path) -> None:
    path = filled(tmp_path / "s.sqlite")
    for readonly in (False, True):
        with Store(path, {"task": "digits"}, readonly=readonly) as store:
            assert store.get(["1 1", "bad", "unknown"]) == {"1 1": GOOD, "bad": BAD}
            assert [row.ordinal for row in store.rows()] == [1, 2, 3, 4]
            assert [(row.key, row.genome, row.outcome, row.generation) for row in store.rows()][-1] == (
                "bad", (9, 9), BAD, 2)
            assert len(store) == 4
            assert store.identity == {"task": "digits", "space": "s"}
            assert store.get([]) == {}


@given(st.dictionaries(st.text(min_size=1), st.floats(allow_nan=False, allow_infinity=False)))
def test_floats_come_back_to_the_bit(values: dict[str, float]) -> None:
    with Store(":memory:") as store:
        store.put("k", (1,), Outcome(values), 1)
        assert store.get(["k"])["k"].values == values


def test_more_keys_than_a_statement_takes() -> None:
    with Store(":memory:") as store:
        store.put_all([(str(i), (i,), GOOD, 1) for i in range(3000)])
        assert len(store.get([str(i) for i in range(1000, 5000)])) == 2000


def test_the_first_outcome_of_a_key_stays() -> None:
    with Store(":memory:") as store:
        store.put("k", (1,), GOOD, 1)
        store.put("k", (1,), BAD, 2)
        assert store.get(["k"]) == {"k": GOOD}


def test_forgets_failures(tmp_path: Path) -> None:
    with Store(filled(tmp_path / "s.sqlite")) as store:
        assert store.forget_failures() == 1
        assert store.get(["bad"]) == {}
        assert len(store) == 3


def test_belongs_to_another_run(tmp_path: Path) -> None:
    path = filled(tmp_path / "s.sqlite")
    with pytest.raises(FileError, match="its task is 'digits', here it is 'mnist'") as error:
        Store(path, {"task": "mnist"})
    one_line(error, path)
    with pytest.raises(FileError, match="its seed is not given"):
        Store(path, {"seed": "3"})
    with Store(path) as store:
        assert len(store) == 4


def test_another_schema(tmp_path: Path) -> None:
    path = filled(tmp_path / "s.sqlite")
    db = sqlite3.connect(path)
    db.execute("UPDATE meta SET value = '99' WHERE name = 'schema'")
    db.commit()
    db.close()
    with pytest.raises(FileError, match=f"schema version 99; this bittailor reads version {SCHEMA}") as error:
        Store(path)
    one_line(error, path)


def test_files_that_are_no_store(tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("not a database, but rather long\n" * 100)
    other = tmp_path / "other"
    db = sqlite3.connect(other)
    db.execute("CREATE TABLE t (x)")
    db.close()
    (tmp_path / "folder").mkdir()
    for path, message in [(text, "damaged"), (other, "not a store"), (tmp_path / "folder", "cannot open or make"),
                          (tmp_path / "no" / "such" / "folder", "cannot open or make")]:
        with pytest.raises(FileError, match=message) as error:
            Store(path)
        one_line(error, path)
    with pytest.raises(FileError, match="there is no store at") as error:
        Store(tmp_path / "missing", readonly=True)
    one_line(error, tmp_path / "missing")
    assert not (tmp_path / "missing").exists()


def test_damaged_in_the_middle(tmp_path: Path) -> None:
    path = filled(tmp_path / "s.sqlite", 2000)
    data = bytearray(path.read_bytes())
    data[8192:-4096] = os.urandom(len(data) - 8192 - 4096)
    path.write_bytes(data)
    with pytest.raises(FileError, match="damaged") as error, Store(path) as store:
        store.get([f"{i} {i}" for i in range(2000)])
    one_line(error, path)


def test_cut_off(tmp_path: Path) -> None:
    path = filled(tmp_path / "s.sqlite", 2000)
    path.write_bytes(path.read_bytes()[:20_000])
    with pytest.raises(FileError, match="damaged") as error, Store(path) as store:
        list(store.rows())
    one_line(error, path)


def test_full_disk_keeps_what_is_stored(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    with Store(path) as store:
        store.put("first", (1,), GOOD, 1)
        pages = store._db.execute("PRAGMA page_count").fetchone()[0]
        store._db.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(FileError, match="no space left") as error:
            store.put_all([(str(i), (i,), GOOD, 1) for i in range(1000)])
        one_line(error, path)
        assert len(store) == 1
    with Store(path) as store:
        assert store.get(["first"]) == {"first": GOOD}


def test_read_only_directory(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    path = filled(tmp_path / "run" / "s.sqlite")
    for item in (path, path.parent):
        item.chmod(item.stat().st_mode & ~(stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH))
    try:
        with Store(path, readonly=True) as store:
            assert len(store) == 4
            with pytest.raises(FileError, match="read-only"):
                store.put("new", (1,), GOOD, 1)
        if not os.access(path.parent, os.W_OK):  # root may write everywhere
            with pytest.raises(FileError, match=r"read-only|cannot open or make"):
                Store(path).put("new", (1,), GOOD, 1)
    finally:
        path.parent.chmod(0o755)


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs a directory that nobody can write")
def test_unwritable_directory() -> None:
    with pytest.raises(FileError, match="cannot open or make"):
        Store("/proc/self/s.sqlite")


def test_locked_by_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bittailor.search.store._WAIT_S", 0.05)
    path = filled(tmp_path / "s.sqlite")
    other = sqlite3.connect(path)
    other.execute("BEGIN IMMEDIATE")
    try:
        with Store(path) as store:
            assert len(store) == 4  # reading does not wait
            with pytest.raises(FileError, match="in use by another process"):
                store.put("new", (1,), GOOD, 1)
    finally:
        other.close()


def test_closed(tmp_path: Path) -> None:
    store = Store(tmp_path / "s.sqlite")
    store.close()
    store.close()
    with pytest.raises(FileError, match="is closed"):
        len(store)


def test_reads_are_searches_not_scans(tmp_path: Path) -> None:
    with Store(":memory:") as store:
        for question in ("SELECT key, vals, reason, seconds FROM evaluations WHERE key IN (?, ?)",
                         "SELECT * FROM evaluations WHERE generation = ? AND 2 = ?"):
            plan = store._db.execute("EXPLAIN QUERY PLAN " + question, (1, 2)).fetchall()
            assert "SCAN" not in str(plan), plan


def test_speed_with_100_000_rows(tmp_path: Path) -> None:
    key = " 8" * 60
    with Store(tmp_path / "s.sqlite") as store:
        store.put_all([(f"{i}{key}", (i,), GOOD, i // 40) for i in range(100_000)])
        start = perf_counter()
        for i in range(1000):
            store.put(f"x{i}{key}", (i,), GOOD, 1)
        # a tenth of what is measured on a quiet machine, so that a busy one does not fail
        assert 1000 / (perf_counter() - start) > 1000
        start = perf_counter()
        for i in range(100):
            assert len(store.get([f"{i * 997 + j}{key}" for j in range(40)])) == 40
        assert (perf_counter() - start) / 100 < 0.01
