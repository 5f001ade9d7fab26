"""Store: what is put comes back, every kind of bad file has a clear line, and growth stays flat."""

from __future__ import annotations

import os
import sqlite3
import stat
from contextlib import closing
from pathlib import Path
from time import perf_counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bittailor.common import mounts
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


@pytest.mark.parametrize("readonly", [True, False])
@pytest.mark.parametrize("schema", [b"CREATE TABL\xd9", b"CREATE TABLE `"])
def test_a_damaged_schema(schema: bytes, readonly: bool, tmp_path: Path) -> None:
    """What SQLite quotes of it cannot be decoded, or has many lines."""
    path = filled(tmp_path / "s.sqlite", 3)
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    data = path.read_bytes()
    assert b"CREATE TABLE" in data
    path.write_bytes(data.replace(b"CREATE TABLE ev", schema.ljust(len("CREATE TABLE ev"), b"x")))
    with pytest.raises(FileError, match="damaged") as error:
        Store(path, readonly=readonly)
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


@pytest.fixture
def on_nfs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that the table of mounts says is on NFS."""
    table, folder = tmp_path / "mounts", tmp_path / "home of all"
    folder.mkdir()
    table.write_text("/dev/vda / ext4 rw 0 0\nhost:/home " + str(folder).replace(" ", "\\040") + " nfs4 rw 0 0\n")
    monkeypatch.setattr(mounts, "TABLE", table)
    return folder


def test_what_a_path_lies_on(on_nfs: Path) -> None:
    assert mounts.network_filesystem(on_nfs / "runs" / "s.sqlite") == "nfs4"
    assert mounts.network_filesystem(on_nfs.parent) is None
    for kind, found in {"fuse.sshfs": "fuse.sshfs", "fuse.glusterfs": "fuse.glusterfs", "fuse.portal": None,
                        "tmpfs": None, "overlay": None, "lustre": "lustre"}.items():
        mounts.TABLE.write_text(f"none / {kind} rw 0 0\n")
        assert mounts.network_filesystem(on_nfs) == found, kind


def test_on_a_network_file_system_the_mode_is_another_and_is_said(
    on_nfs: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = on_nfs / "s.sqlite"
    with Store(path) as store:
        assert store._db.execute("PRAGMA journal_mode").fetchone() == ("truncate",)
        store.put("a", (1,), Outcome({"x": 1.0}), 1)
        assert len(store) == 1
        with Store(path, readonly=True) as other:  # not committed yet: a second has not gone by
            assert len(other) == 0
        monkeypatch.setattr(store, "_committed", store._committed - 2)
        store.put("b", (2,), Outcome({"x": 1.0}), 1)
        with Store(path, readonly=True) as other:
            assert len(other) == 2
        store.put("c", (3,), Outcome({"x": 1.0}), 1)
    assert not list(on_nfs.glob("*-wal"))
    (line,) = caplog.messages
    assert "lies on a network file system (nfs4)" in line
    with Store(path, readonly=True) as store:
        assert [row.key for row in store.rows()] == ["a", "b", "c"]
    assert len(caplog.messages) == 1  # reading says nothing


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


def _three(path: Path) -> None:
    with Store(path) as store:
        for i in range(3):
            store.put(f"k{i}", (i,), Outcome({"error": i + 0.5}, None, 0.1, "beac" if i == 1 else None), 1)
        store.decide(2, ["a"])


@pytest.mark.parametrize(("column", "value"), [
    ("key", "k7"), ("genome", "9"), ("vals", '{"error": 1.25}'), ("vals", "{"), ("reason", "no"), ("seconds", 7.0),
    ("generation", 5), ("beacon", "other"), ("digest", None),
])
def test_a_damaged_row_is_evaluated_again_in_its_place(tmp_path: Path, column: str, value: Any,
                                                       caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "s"
    _three(file)
    with Store(file) as store:
        want = list(store.rows())
    with closing(sqlite3.connect(file)) as db, db:
        db.execute(f"UPDATE evaluations SET {column} = ? WHERE ordinal = 2", (value,))
    with pytest.raises(FileError, match=r"1 row\(s\) of the store \S+ are damaged; resume the search"):
        Store(file, readonly=True)
    with Store(file) as store:
        assert "1 row(s) of the store" in caplog.text
        assert [row.key for row in store.rows()] == ["k0", "k2"]
        assert store.get(["k1"]) == {}
        store.put("k0", (0,), Outcome({"error": 9.0}), 1)  # there already: takes no place
        store.put("k1", (1,), want[1].outcome, 1)
        store.put("k3", (3,), Outcome({"error": 3.5}), 2)
        assert list(store.rows())[:3] == want
        assert [row.ordinal for row in store.rows()] == [1, 2, 3, 4]


def test_a_damaged_decision_is_made_again(tmp_path: Path) -> None:
    file = tmp_path / "s"
    _three(file)
    with closing(sqlite3.connect(file)) as db, db:
        db.execute("UPDATE decisions SET value = '[\"b\"]'")
    with Store(file) as store:
        assert store.decisions() == {}
        store.decide(2, ["a"])
        assert store.decisions() == {2: ["a"]}


@pytest.mark.parametrize("version", ["1", "2"])
def test_an_older_store_is_brought_up_to_date(tmp_path: Path, version: str) -> None:
    file = tmp_path / "s"
    _three(file)
    with closing(sqlite3.connect(file)) as db, db:
        for table in ("evaluations", "decisions"):
            db.execute(f"ALTER TABLE {table} DROP COLUMN digest")
        db.execute("ALTER TABLE evaluations DROP COLUMN dropped")
        db.execute("UPDATE evaluations SET vals = NULL, reason = 'dropped after 90 of 360 items: certainly dominated' "
                   "WHERE key = 'k1'")
        if version == "1":
            db.execute("ALTER TABLE evaluations DROP COLUMN beacon")
            db.execute("DROP TABLE decisions")
        db.execute("UPDATE meta SET value = ? WHERE name = 'schema'", (version,))
    with Store(file, readonly=True) as store:
        old = [row.key for row in store.rows()]
    with Store(file) as store:
        assert [row.key for row in store.rows()] == old == ["k0", "k1", "k2"]
        assert [row.outcome.dropped for row in store.rows()] == [None, 90, None]
        assert store.decisions() == ({2: ["a"]} if version == "2" else {})
    Store(file).close()  # with digests now, none of them wrong


@pytest.mark.parametrize("letter", [b"9", b"x"])
def test_a_damaged_index_is_made_again(letter: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """With a wrong entry a stored evaluation is not found; it would be made and added again."""
    path = tmp_path / "s.sqlite"
    with Store(path) as store:
        store.put_all([(f"key-{i:04}", (i,), Outcome({"error": float(i)}), 1) for i in range(300)])
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    content = path.read_bytes()
    places = [at for at in range(len(content)) if content.startswith(b"key-0123", at)]
    assert len(places) == 2  # in its row and in the index
    healed, refused = 0, []
    for at in places:
        path.write_bytes(content[: at + 6] + letter + content[at + 7 :])
        caplog.clear()
        try:
            with Store(path) as store:
                again = Outcome({"error": 123.0})
                if "key-0123" not in store.get(["key-0123"]):
                    store.put("key-0123", (123,), again, 1)
                assert [row.key for row in store.rows()] == [f"key-{i:04}" for i in range(300)]
                assert store.get(["key-0123"]) == {"key-0123": again}
            healed += "an index of the store" in caplog.text
        except FileError as error:
            refused.append(str(error))
    assert healed >= 1
    # a row that got another one's key: nothing can be told apart
    assert len(refused) == (letter == b"9")
    assert all("is damaged" in words and "\n" not in words for words in refused)
