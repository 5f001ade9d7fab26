"""export.json from elsewhere: as its form says, or refused in a line that names it; it deletes nothing else."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_hostile_files import changed, refused_in_a_line

from bittailor.core.program import Program, bind
from bittailor.errors import BittailorError, FileError
from bittailor.export import EXPORTERS, export_program
from bittailor.export.checking import opened
from bittailor.export.folder import check_target
from bittailor.export.verify import Directory
from bittailor.export.verifying import verify_folder
from networks import gru_network, uniform_plan

KINDS = tuple(EXPORTERS)


@pytest.fixture(scope="module")
def program() -> Program:
    network = gru_network(features=3, hidden=3, out=2, seed=3)
    return bind(network, uniform_plan(network, np.random.default_rng(3).normal(size=(6, 4, 3)), 6))


@pytest.fixture(scope="module")
def exported(program: Program, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One export by each exporter that is here, by name."""
    folder, found = tmp_path_factory.mktemp("exports"), {}
    for to in KINDS:
        try:
            found[to] = export_program(program, folder / to, to).folder
        except BittailorError:
            assert to.startswith("onnx")
    return found


def body_of(folder: Path) -> dict[str, Any]:
    """export.json without its checksum, as somebody leaves it who means a change."""
    body: dict[str, Any] = json.loads((folder / "export.json").read_text())
    del body["sha256"]
    return body


@settings(max_examples=120, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 2**32), to=st.sampled_from(KINDS))
def test_a_changed_account_is_refused_or_read(exported: dict[str, Path], seed: int, to: str) -> None:
    if to not in exported:
        return
    folder = exported[to]
    kept = (folder / "export.json").read_bytes()
    body = changed(body_of(folder), random.Random(seed))
    (folder / "export.json").write_text(json.dumps(body))
    try:
        with refused_in_a_line():
            check_target(folder, force=True)
        with refused_in_a_line():
            opened(folder, type(EXPORTERS[to]))
        with refused_in_a_line():
            Directory.open(folder)
        if to == "program":
            with refused_in_a_line():
                verify_folder(folder, items=1)
    finally:
        (folder / "export.json").write_bytes(kept)


@pytest.mark.parametrize(("to", "change", "words"), [
    ("c", {"flash": "1"}, "flash is '1'; expected a whole number"),
    ("c", {"ram": -1}, "ram is -1; expected a whole number, 0 or more"),
    ("c", {"most_steps": 0.5}, "most_steps is 0.5; expected a whole number"),
    ("c", {"prefix": "../x"}, "C identifier"),
    ("c", {"core": "z80"}, "unknown core 'z80'"),
    ("c", {"account": {"weights": None}}, "account.weights is None; expected a whole number"),
    ("c", {"sites": [1]}, r"sites\[0\] is 1; expected a text"),
    ("c", {"streaming": 1}, "streaming is 1; expected true or false"),
    ("c", {"more": 1}, "unknown setting 'more'"),
    ("program", {"bytes": True}, "bytes is True; expected a whole number"),
    ("program", {"items": 0}, "items is 0; expected a whole number, 1 or more"),
    *((to, change, words) for to in ("c", "program") for change, words in (
        ({"to": 1}, "to is 1; expected a text"), ({"about": None}, "about is None; expected a text"),
        ({"program": "x"}, "program is 'x'; expected 16 hexadecimal digits"),
        ({"files": ["README.md"]}, "files is .*; expected a table"),
        ({"files": {"README.md": "0"}}, r"files.README.md is '0'; expected 32 hexadecimal digits"),
        ({"bittailor_version": 3}, "bittailor_version is 3; expected a text"),
    )),
])
def test_what_is_wrong_is_named(
    exported: dict[str, Path], to: str, change: dict[str, Any], words: str, tmp_path: Path
) -> None:
    shutil.copytree(exported[to], tmp_path / "x")
    (tmp_path / "x" / "export.json").write_text(json.dumps({**body_of(exported[to]), **change}))
    with pytest.raises(FileError, match=words) as caught:
        verify_folder(tmp_path / "x", items=1)
    assert str(caught.value).startswith(str(tmp_path / "x" / "export.json"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("missing", ["to", "bittailor_version", "program", "files", "flash", "prefix", "sites"])
def test_what_is_missing_is_named(exported: dict[str, Path], missing: str, tmp_path: Path) -> None:
    shutil.copytree(exported["c"], tmp_path / "x")
    body = body_of(exported["c"])
    del body[missing]
    (tmp_path / "x" / "export.json").write_text(json.dumps(body))
    with pytest.raises(FileError, match=f"{missing} is missing"):
        verify_folder(tmp_path / "x", items=1)


@pytest.mark.parametrize("name", ["../mine.txt", "/mine.txt", "..", ".", "", "src/../../mine.txt", "./README.md",
                                  "src/", "src//x", "a\\b", "a\0b", "a\nb", "src/..", "C:x", "é"])
def test_an_export_deletes_nothing_outside(
    exported: dict[str, Path], program: Program, name: str, tmp_path: Path
) -> None:
    (tmp_path / "mine.txt").write_text("my own")
    shutil.copytree(exported["c"], tmp_path / "x")
    body = body_of(exported["c"])
    body["files"][name] = "0" * 32
    (tmp_path / "x" / "export.json").write_text(json.dumps(body))
    before = {path: path.read_bytes() for path in sorted(tmp_path.rglob("*")) if path.is_file()}
    for call in (lambda: export_program(program, tmp_path / "x", force=True), lambda: verify_folder(tmp_path / "x")):
        with pytest.raises(FileError) as caught:
            call()
        assert "\n" not in str(caught.value)
    assert {path: path.read_bytes() for path in sorted(tmp_path.rglob("*")) if path.is_file()} == before


def test_every_exporter_writes_what_its_form_says(exported: dict[str, Path]) -> None:
    for to, folder in exported.items():
        facts, _ = opened(folder, type(EXPORTERS[to]))
        assert facts["to"] == to
