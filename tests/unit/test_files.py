"""Files: whole or not at all, of the right kind and version, and never silently damaged."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path

import numpy as np
import pytest

from bittailor.common.files import load_json, load_tensors, read_bytes, save_json, save_tensors, write_whole
from bittailor.errors import FileError

BODY = {"b": [1, 2.5, None], "a": {"x": 0.1, "10": "ü", "9": []}, 3: "keys become text"}
TENSORS = {
    "w": np.arange(6, dtype=np.int32).reshape(2, 3), "v": np.array([0.1, -2.0]), "none": np.zeros((0, 2), np.uint8),
}


def test_json_round_trip(tmp_path: Path) -> None:
    save_json(tmp_path / "deep" / "a.json", "plan", 1, BODY)
    item = load_json(tmp_path / "deep" / "a.json", "plan", 1)
    assert {k: v for k, v in item.items() if k in BODY or k == "3"} == json.loads(json.dumps(BODY))


def test_tensors_round_trip(tmp_path: Path) -> None:
    save_tensors(tmp_path / "a.st", "network", 2, {"k": [1]}, TENSORS)
    body, tensors = load_tensors(tmp_path / "a.st", "network", 2)
    assert body == {"k": [1]}
    assert tensors.keys() == TENSORS.keys()
    for name, value in TENSORS.items():
        assert tensors[name].dtype == value.dtype
        assert np.array_equal(tensors[name], value)


def test_wrong_kind_version_or_nothing(tmp_path: Path) -> None:
    save_json(tmp_path / "a.json", "plan", 1, {})
    save_tensors(tmp_path / "a.st", "network", 1, {}, TENSORS)
    for load, name in ((load_json, "a.json"), (load_tensors, "a.st")):
        path = tmp_path / name
        with pytest.raises(FileError, match=r"is no bittailor program but a (plan|network)"):
            load(path, "program", 1)
        kind = "plan" if load is load_json else "network"
        with pytest.raises(FileError, match=rf"is a {kind} of version 1; this bittailor reads version 2"):
            load(path, kind, 2)
        with pytest.raises(FileError, match=r"cannot read .*No such file"):
            load(tmp_path / "nothing", kind, 1)
        with pytest.raises(FileError, match=r"cannot read .*Is a directory"):
            load(tmp_path, kind, 1)
    for text in (b"", b"{", b"[]", b"17", b"null", b'"plan"', b"\xff\xfe", b"[" * 100_000):
        (tmp_path / "b").write_bytes(text)
        with pytest.raises(FileError):
            load_json(tmp_path / "b", "plan", 1)
        with pytest.raises(FileError):
            load_tensors(tmp_path / "b", "network", 1)


def test_an_edit_by_hand_is_refused_until_the_checksum_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    save_json(path, "plan", 1, {"bits": 8})
    lines = path.read_text().replace('"bits": 8', '"bits": 4').splitlines()
    path.write_text("\n".join(lines))
    with pytest.raises(FileError, match='remove its "sha256" line'):
        load_json(path, "plan", 1)
    path.write_text("\n".join(line for line in lines if "sha256" not in line))
    assert load_json(path, "plan", 1)["bits"] == 4


@pytest.mark.parametrize("kind", ["json", "tensors"])
def test_damage_is_noticed_or_harmless(tmp_path: Path, kind: str) -> None:
    """Flip a bit anywhere, or cut the file anywhere: FileError, or what was saved."""
    path = tmp_path / "a"
    if kind == "json":
        save_json(path, "plan", 1, {"b": [1, 2.5, None], "c": "text"})
    else:
        save_tensors(path, "plan", 1, {"k": [1, 2.5]}, TENSORS)
    load = load_json if kind == "json" else load_tensors
    whole = path.read_bytes()
    wanted = load(path, "plan", 1)
    rnd = random.Random(0)
    damages = [whole[:n] for n in range(len(whole))]
    for i in range(len(whole)):
        bit = 1 << rnd.randrange(8)
        damages.append(whole[:i] + bytes([whole[i] ^ bit]) + whole[i + 1 :])
    noticed = 0
    for data in damages:
        path.write_bytes(data)
        try:
            got = load(path, "plan", 1)
        except FileError:
            noticed += 1
            continue
        if kind == "json":
            assert {k: got[k] for k in wanted if k in got} == wanted
        else:
            assert got[0] == wanted[0]
            assert all(np.array_equal(got[1][name], value) for name, value in wanted[1].items())
    assert noticed > 0.9 * len(damages)


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a"
    write_whole(path, b"old")

    def fail(*_args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(FileError, match=r"cannot write .*: No space left on device"):
        write_whole(path, b"new")
    assert read_bytes(path) == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError, match="cannot write"):
        write_whole(tmp_path / "file" / "a", b"")


def test_equal_content_is_equal_bytes(tmp_path: Path) -> None:
    tensors = {f"t{i}": np.arange(i + 1) for i in range(5)}
    written = set()
    for i in range(20):
        save_tensors(tmp_path / str(i), "thing", 1, {"a": 1, "ß": "…"}, tensors)
        written.add((tmp_path / str(i)).read_bytes())
    assert len(written) == 1
    body, back = load_tensors(tmp_path / "0", "thing", 1)
    assert body == {"a": 1, "ß": "…"}
    assert all(np.array_equal(back[name], tensors[name]) for name in tensors)


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="no endless device")
def test_what_never_ends_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/dev/zero")
    for load in (load_json, load_tensors):
        with pytest.raises(FileError, match="it is no plain file"):
            load(tmp_path / "link", "thing", 1)


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "large").write_bytes(b"{}" * 100)
    monkeypatch.setattr("bittailor.common.files.MOST_BYTES", 100)
    with pytest.raises(FileError, match="it has 200 bytes; at most 100 are read"):
        load_json(tmp_path / "large", "thing", 1)


def test_deep_nesting_is_refused(tmp_path: Path) -> None:
    deep = "[" * 100_000 + "]" * 100_000
    (tmp_path / "j").write_text(deep)
    with pytest.raises(FileError, match="is damaged: not JSON"):
        load_json(tmp_path / "j", "thing", 1)
    header = ('{"__metadata__":{"bittailor":"thing"},"x":' + deep + "}").encode()
    (tmp_path / "t").write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(FileError, match="is damaged"):
        load_tensors(tmp_path / "t", "thing", 1)
