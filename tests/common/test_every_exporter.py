"""What every exporter must do: whole folders, nothing overwritten, one clear line for what cannot be exported."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bittailor.core.ops import OPS
from bittailor.core.program import Program, bind
from bittailor.errors import BittailorError, FileError
from bittailor.export import EXPORTERS, check_files, export_program, fingerprint, read_export
from bittailor.export.c_ops import missing
from networks import gru_network, random_case, uniform_plan

EVERY = pytest.mark.parametrize("to", list(EXPORTERS))


@pytest.fixture(scope="module")
def program() -> Program:
    network = gru_network(4, 6, 3)
    return bind(network, uniform_plan(network, np.random.default_rng(0).normal(size=(4, 6, 4)), 6))


@EVERY
def test_a_folder_is_whole_and_says_what_it_holds(to: str, program: Program, tmp_path: Path) -> None:
    exported = export_program(program, tmp_path / "out", to)
    facts = check_files(tmp_path / "out")
    assert facts.items() >= exported.facts.items()
    assert facts["to"] == to
    assert facts["program"] == fingerprint(program)
    assert str(tmp_path / "out") in exported.summary
    assert {p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*") if p.is_file()} == {
        *facts["files"], "export.json"}
    assert [p.name for p in tmp_path.iterdir()] == ["out"], "something was left beside it"


@EVERY
def test_the_same_program_gives_the_same_files(to: str, program: Program, tmp_path: Path) -> None:
    first, second = (export_program(program, tmp_path / name, to, seed=3).facts for name in ("a", "b"))
    program.save(tmp_path / "program")
    third = export_program(Program.load(tmp_path / "program"), tmp_path / "c", to, seed=3).facts
    # safetensors orders its header as it likes
    for facts in (first, second, third):
        facts["files"].pop("program.safetensors", None)
    assert first == second == third


@EVERY
def test_nothing_is_overwritten_unasked(to: str, program: Program, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    export_program(program, folder, to)
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    with pytest.raises(FileError, match="holds an export already; add --force"):
        export_program(program, folder, to)
    assert {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()} == before
    (folder / "notes.txt").write_text("mine")
    export_program(random_case(1).program, folder, to, force=True, steps=11)
    assert check_files(folder)["program"] == fingerprint(random_case(1).program)
    assert (folder / "notes.txt").read_text() == "mine"
    (folder / "export.json").unlink()
    for force in (False, True):
        with pytest.raises(FileError, match=r"is not empty .*choose another directory"):
            export_program(program, folder, to, force=force)
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(FileError, match="is a file"):
        export_program(program, file, to)


@EVERY
def test_an_interrupted_export_leaves_nothing(
    to: str, program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export_program(program, tmp_path / "old", to)
    kind = type(EXPORTERS[to])
    write = kind.write

    def stop(*arguments: Any) -> None:
        write(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(kind, "write", stop)
    with pytest.raises(KeyboardInterrupt):
        export_program(program, tmp_path / "new", to)
    assert [p.name for p in tmp_path.iterdir()] == ["old"]
    with pytest.raises(KeyboardInterrupt):
        export_program(program, tmp_path / "old", to, force=True)
    check_files(tmp_path / "old")


@EVERY
def test_damage_is_named(to: str, program: Program, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    name = next(iter(export_program(program, folder, to).facts["files"]))
    kept = (folder / name).read_bytes()
    (folder / name).write_bytes(kept[: len(kept) // 2])
    with pytest.raises(FileError, match=f"{name} is damaged or was changed"):
        check_files(folder)
    (folder / name).unlink()
    with pytest.raises(FileError, match=f"{name} is missing"):
        check_files(folder)
    text = (folder / "export.json").read_text()
    (folder / "export.json").write_text(text.replace(fingerprint(program), "0" * 16))
    with pytest.raises(FileError, match="does not match its checksum"):
        read_export(folder)
    with pytest.raises(FileError, match="is no exported directory"):
        read_export(tmp_path)


@EVERY
def test_wrong_requests(to: str, program: Program, tmp_path: Path) -> None:
    for change, words in (({"items": 0}, "items is 0"), ({"steps": 0}, "steps is 0"),
                          ({"x": np.zeros((1, 2, 9))}, "2, 9")):
        with pytest.raises(BittailorError, match=words) as caught:
            export_program(program, tmp_path / "out", to, **change)  # type: ignore[arg-type]
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


@EVERY
@pytest.mark.parametrize(("site", "bits", "words"), [
    ("gru0.r.x", 4, r"gives -32\.\.31, but 4 bits hold -8\.\.7"), ("gru0.r.pre", 7, r"its table begins at -32"),
    ("end", 5, "another format"),
])
def test_a_plan_that_does_not_fit(
    to: str, program: Program, site: str, bits: int, words: str, tmp_path: Path
) -> None:
    wrong = replace(program, formats={**program.formats, site: replace(program.formats[site], bits=bits, zero_point=0)})
    with pytest.raises(BittailorError, match=f"the plan does not fit the program at .*{words}"):
        export_program(wrong, tmp_path / "out", to)
    assert not (tmp_path / "out").exists()


@EVERY
def test_into_the_current_folder_and_through_a_link(
    to: str, program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    export_program(program, ".", to)
    assert check_files(".") == check_files(tmp_path / "link")
    export_program(program, tmp_path / "link", to, force=True)
    assert not [p for p in (tmp_path / "here").iterdir() if p.name.startswith(".")]
    export_program(program, tmp_path / "deep" / "er", to)
    with pytest.raises(FileError, match="cannot write"):
        export_program(program, tmp_path / "here" / "export.json" / "x", to)


def test_unknown_exporter(program: Program, tmp_path: Path) -> None:
    with pytest.raises(BittailorError, match=r"unknown exporter 'c99'.*There are: c"):
        export_program(program, tmp_path / "out", "c99")


def test_exported_c_has_a_form_for_every_operator() -> None:
    assert not missing(OPS)
