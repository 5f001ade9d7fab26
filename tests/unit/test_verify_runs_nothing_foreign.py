"""`verify` compiles and runs only what this version writes; whatever else lies in a directory, it does not run."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bittailor.common.files import load_json, load_tensors, save_json, save_tensors
from bittailor.core.program import Program, bind
from bittailor.errors import BittailorError, FileError
from bittailor.export import EXPORTERS, export_program
from bittailor.export.base import ExportSettings, Samples
from bittailor.export.folder import EXPORT_FILE, EXPORT_KIND, EXPORT_VERSION, FORMER_VERSION, _digest
from bittailor.export.verify import Directory, verify
from bittailor.export.writing import SAMPLES_FILE, SAMPLES_KIND, SAMPLES_VERSION, write_export
from networks import gru_network, uniform_plan

EVIL = ('#include <stdio.h>\n__attribute__((constructor)) static void evil(void)\n'
        '{ FILE *f = fopen("%s", "w"); if (f) fclose(f); }\n')


@pytest.fixture(scope="module")
def program() -> Program:
    network = gru_network(features=3, hidden=4, out=2, seed=3)
    return bind(network, uniform_plan(network, np.random.default_rng(3).normal(size=(8, 5, 3)), 6))


@pytest.fixture(scope="module")
def exported(program: Program, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_program(program, tmp_path_factory.mktemp("export") / "gru", prefix="net").folder


@pytest.fixture
def copied(exported: Path, tmp_path: Path) -> Path:
    shutil.copytree(exported, tmp_path / "copy")
    return tmp_path / "copy"


def signed(folder: Path, change: Callable[[dict[str, object]], None] = lambda facts: None,
           version: int = EXPORT_VERSION) -> None:
    """Make a changed directory look whole, as anybody can."""
    facts = load_json(folder / EXPORT_FILE, EXPORT_KIND, EXPORT_VERSION)
    change(facts)
    facts["files"] = {name: _digest(folder / name) for name in facts["files"]}
    body = {name: value for name, value in facts.items() if name not in ("bittailor", "version", "sha256")}
    save_json(folder / EXPORT_FILE, EXPORT_KIND, version, body)


def refused(folder: Path) -> str:
    with pytest.raises(FileError) as caught:
        verify(folder, ["host"], items=2)
    assert "\n" not in str(caught.value)
    return str(caught.value)


COMPILED = ["selftest/selftest.c", "selftest/net_golden.h", "selftest/net_selftest.h", "src/net.c", "src/net.h",
            "src/bt_ops.h", "src/bt_dot.c"]


@pytest.mark.parametrize("name", COMPILED)
def test_foreign_code_with_a_right_checksum_does_not_run(name: str, copied: Path, tmp_path: Path) -> None:
    file = copied / name
    file.write_text(EVIL % (tmp_path / "ran") + file.read_text())
    signed(copied)
    assert f"{file} was changed: it is not what this bittailor (" in refused(copied)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["Makefile", "README.md", "CMakeLists.txt"])
def test_other_files_are_compared_too(name: str, copied: Path) -> None:
    (copied / name).write_text((copied / name).read_text() + "\n")
    signed(copied)
    assert f"{copied / name} was changed" in refused(copied)


def test_files_too_many_and_too_few(copied: Path, tmp_path: Path) -> None:
    """A file that nobody speaks of is not compiled; one that export.json names, and this version does not, is refused;
    one that is left out as well."""
    for name in ("src/aa.c", "src/stdint.h", "stdint.h", "selftest/stdio.h"):
        (copied / name).write_text(EVIL % (tmp_path / "ran"))
    assert verify(copied, ["host"], items=2).problem is None
    assert not (tmp_path / "ran").exists()

    def name_it(facts: dict[str, object]) -> None:
        facts["files"]["src/aa.c"] = ""  # type: ignore[index]

    signed(copied, name_it)
    assert f"{copied / 'src/aa.c'} was changed" in refused(copied)

    def leave_out(facts: dict[str, object]) -> None:
        del facts["files"]["src/aa.c"], facts["files"]["selftest/selftest.c"]  # type: ignore[attr-defined]

    signed(copied, leave_out)
    assert "selftest.c was changed" in refused(copied)


def test_links_are_compared_by_what_they_lead_to(copied: Path, tmp_path: Path) -> None:
    file = copied / "src/net.c"
    file.rename(tmp_path / "net.c")
    file.symlink_to(tmp_path / "net.c")
    assert verify(copied, ["host"], items=2).problem is None
    (tmp_path / "net.c").write_text(EVIL % (tmp_path / "ran"))
    signed(copied)
    assert "src/net.c was changed" in refused(copied)
    file.unlink()
    file.symlink_to("/dev/zero")
    assert "no plain file" in refused(copied) or "is missing" in refused(copied)
    assert not (tmp_path / "ran").exists()


def test_figures_are_compared_too(copied: Path) -> None:
    def less(facts: dict[str, object]) -> None:
        facts["ram"] = 1

    signed(copied, less)
    assert f"{EXPORT_FILE} (ram) was changed" in refused(copied)


def test_texts_of_an_export_do_not_become_code(program: Program, tmp_path: Path) -> None:
    """What somebody wrote about a network stands in comments of the C files, and stays there."""
    starts = ("x */", "*/", "\\", '"', "??/", "// \\", "*\\\n/", "#endif */")
    text = "".join(f"{start}\n{EVIL % (tmp_path / 'ran')}/*" for start in starts)
    samples = Samples(np.zeros((1, 2, 3), np.int64), np.array([2]), text)
    settings = ExportSettings("net", about=text, facts={text: text})
    write_export(program, tmp_path / "out", False, EXPORTERS["c"], settings, samples)
    assert verify(tmp_path / "out", ["host"], items=2).problem is None
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(("body", "tensors", "words"), [
    ({"words": 3}, {}, "is damaged"),
    ({"settings": 3}, {}, "is damaged"),
    ({"settings": {"core": "z80"}}, {}, "unknown"),
    ({"settings": {"core": []}}, {}, "is damaged"),
    ({"settings": {"core": "m4\nm0"}}, {}, "no name"),
    ({"settings": {"prefix": "int"}}, {}, "keyword of C"),
    ({"settings": {"prefix": "a;b"}}, {}, "no C identifier"),
    ({"settings": {"prefix": ["net"]}}, {}, "is damaged"),
    ({"settings": {"steps": -3}}, {}, "is damaged"),
    ({"settings": {"facts": {"a": 1}}}, {}, "is damaged"),
    ({"settings": {"facts": 5}}, {}, "is damaged"),
    ({}, {"q": np.zeros((0, 2, 3), np.int16)}, "is damaged"),
    ({}, {"q": np.full((1, 2, 3), 999, np.int16)}, "is damaged"),
    ({}, {"q": np.zeros((1, 2, 4), np.int16)}, "is damaged"),
    ({}, {"q": np.zeros((1, 2, 3), np.float32)}, "is damaged"),
    ({}, {"lengths": np.array([9])}, "is damaged"),
    ({}, {"lengths": np.array([0.5])}, "is damaged"),
    ({}, {"q": np.zeros((1, 2, 3), np.int16), "lengths": np.array([2])}, "was changed"),
])
def test_hostile_samples(copied: Path, body: dict[str, object], tensors: dict[str, np.ndarray], words: str) -> None:
    path = copied / SAMPLES_FILE
    old_body, old_tensors = load_tensors(path, SAMPLES_KIND, SAMPLES_VERSION)
    if isinstance(body.get("settings"), dict):
        body = {"settings": old_body["settings"] | body["settings"]}  # type: ignore[operator]
    save_tensors(path, SAMPLES_KIND, SAMPLES_VERSION, {**old_body, **body}, {**old_tensors, **tensors})
    signed(copied)
    with pytest.raises(BittailorError, match=words) as caught:
        verify(copied, ["host"], items=2)
    assert "\n" not in str(caught.value)


def test_a_directory_of_an_earlier_version(copied: Path, program: Program) -> None:
    def older(facts: dict[str, object]) -> None:
        facts["bittailor_version"] = "0.0.9"

    signed(copied, older)
    assert "is of bittailor 0.0.9: it is not what this bittailor (" in refused(copied)

    def former(facts: dict[str, object]) -> None:
        del facts["files"][SAMPLES_FILE]  # type: ignore[attr-defined]

    (copied / SAMPLES_FILE).unlink()
    signed(copied, former, FORMER_VERSION)
    assert "was exported by a bittailor that did not keep what its files can be checked by; export it again" in refused(
        copied)
    export_program(program, copied, prefix="net", force=True)
    assert verify(copied, ["host"], items=2).problem is None


@pytest.mark.parametrize("options", [
    {"steps": 7}, {"prefix": "other"}, {"items": 1}, {"items": 9, "seed": 4}, {"about": "ünïcode */ /* \"x\"\n"},
    {"facts": {"task": "a|b"}}, {"x": np.ones((3, 4, 3)), "lengths": [4, 1, 2]}, {"x": np.ones((3, 4, 3)), "steps": 2},
])
def test_whatever_export_was_asked_for_is_written_again(program: Program, tmp_path: Path, options: dict[str, object]
                                                        ) -> None:
    export_program(program, tmp_path / "out", **options)  # type: ignore[arg-type]
    again = Directory.written_again(tmp_path / "out", tmp_path / "again")
    assert (again.folder / EXPORT_FILE).read_bytes() == (tmp_path / "out" / EXPORT_FILE).read_bytes()
