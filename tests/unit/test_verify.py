"""Exported C on this machine and on emulated cores: the integers of the engines, the promised bytes, nothing foreign;
and whatever is wrong with a directory is found and named."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bittailor.cli.show import print_verification
from bittailor.common.files import load_json, save_json
from bittailor.core.program import Program, bind
from bittailor.errors import BittailorError, FileError, RangeError, UnsupportedNetwork
from bittailor.export import export_program
from bittailor.export import verify as module
from bittailor.export.artefact import floating, foreign
from bittailor.export.folder import EXPORT_FILE, EXPORT_KIND, EXPORT_VERSION, _digest
from bittailor.export.targets import TARGETS, NoRoom, Target, ToolError, compile_object
from bittailor.export.verify import Directory, Verdict, examine, random_items, run_engine, verify
from cores import EMULATED, core
from firmware_host import WARNINGS
from networks import gru_network, random_case, uniform_plan

STEPS = 9


@pytest.fixture(scope="module")
def program() -> Program:
    network = gru_network(features=5, hidden=12, out=4, seed=3)
    rng = np.random.default_rng(3)
    return bind(network, uniform_plan(network, rng.normal(size=(8, STEPS, 5)), 6))


@pytest.fixture(scope="module")
def exported(program: Program, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_program(program, tmp_path_factory.mktemp("export") / "gru", prefix="net").folder


@pytest.fixture
def copied(exported: Path, tmp_path: Path) -> Path:
    shutil.copytree(exported, tmp_path / "copy")
    return tmp_path / "copy"


def resign(folder: Path, change: Callable[[dict[str, object]], None] = lambda facts: None) -> None:
    """Make a changed directory look whole."""
    facts = load_json(folder / EXPORT_FILE, EXPORT_KIND, EXPORT_VERSION)
    facts["files"] = {name: _digest(folder / name) for name in facts["files"]}
    change(facts)
    header = ("bittailor", "version", "sha256")
    save_json(folder / EXPORT_FILE, EXPORT_KIND, EXPORT_VERSION, {k: v for k, v in facts.items() if k not in header})


@pytest.mark.parametrize("name", [core("host"), *EMULATED])
def test_a_gru_is_as_promised(name: str, exported: Path, program: Program) -> None:
    report = verify(exported, [name], items=12)
    assert report.problem is None
    (verdict,) = report.verdicts
    assert verdict.sizes is not None
    assert (verdict.sizes.flash, verdict.sizes.ram) == (report.facts["flash"], report.facts["ram"])
    assert 0 < verdict.sizes.model < 8192
    assert 0 < verdict.sizes.runtime < 8192
    if name != "host":
        assert verdict.counts is not None
        # about 7 instructions and more for every multiplication of 3 x 12 rows, whatever the core
        assert 36 * 17 < verdict.counts.per_step < 36 * 17 * 40
        assert 0 < verdict.counts.read_out < verdict.counts.per_step


@pytest.mark.parametrize("name", [core("host"), *EMULATED])
@pytest.mark.parametrize("part", [0, pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.slow)])
def test_any_network_is_as_promised(name: str, part: int, rng: np.random.Generator, tmp_path: Path) -> None:
    while True:
        seed = int(rng.integers(1 << 31))
        try:
            case = random_case(seed)
            folder = export_program(case.program, tmp_path / "any", steps=STEPS, seed=seed).folder
        except (UnsupportedNetwork, RangeError):
            continue
        break
    assert verify(folder, [name], items=6, seed=seed).problem is None, case


def test_real_items_of_different_lengths(exported: Path, program: Program) -> None:
    rng = np.random.default_rng(1)
    x, lengths = rng.normal(size=(7, STEPS, 5)), rng.integers(1, STEPS + 1, 7)
    report = verify(exported, ["host"], x=x, lengths=lengths)
    assert report.problem is None
    assert report.words == "7 real items"
    (verdict,) = report.verdicts
    assert verdict.outputs is not None
    assert verdict.outputs.shape == (7, 4)


def problem_of(folder: Path, name: str, items: int) -> str | None:
    """What is wrong with the code that lies in a directory; `verify` itself would not run it."""
    directory = Directory.open(folder)
    q, lengths = random_items(directory.program, items, None, 0)
    return examine(directory, TARGETS[name], q, lengths, run_engine(directory.program, q, lengths)).problem


@pytest.mark.parametrize("name", [core("host"), core("m0", slow=True)])
def test_a_wrong_operator_is_named(name: str, copied: Path) -> None:
    source = copied / "src" / "net.c"
    text = source.read_text()
    start = text.index("gru0_n_reset = bt_rescale")
    end = text.index(");", start)
    # the largest output is 20 less: the others are right
    last = text.rindex(" ", start, end)
    top = int(text[last:end])
    source.write_text(f"{text[:last]} {top - 20}{text[end:]}")
    resign(copied)
    problem = problem_of(copied, name, 40)
    assert problem is not None
    assert "gru0.n.reset" in problem
    assert f"got {top - 20}, expected " in problem
    assert "\n" not in problem


def test_a_wrong_operator_is_named_beyond_the_self_test(copied: Path) -> None:
    """The self-test has four steps of every site; random items have more."""
    (copied / "selftest" / "selftest.c").write_text(
        "int main(void) { return 0; }\nvoid net_trace(unsigned, unsigned, int);\n"
        "void net_trace(unsigned a, unsigned b, int c) { (void)a, (void)b, (void)c; }\n")
    source = copied / "src" / "net.c"
    text = source.read_text()
    source.write_text(text.replace("memset(state->gru0_h, 0", "memset(state->gru0_h, 1"))
    assert text != source.read_text()
    resign(copied)
    problem = problem_of(copied, "host", 3)
    assert problem is not None
    assert problem.startswith("item ")
    assert "gru0." in problem
    assert "step 0, feature 0: got" in problem


def test_broken_promises_are_found(copied: Path) -> None:
    def more(facts: dict[str, object]) -> None:
        facts["ram"] = int(str(facts["ram"])) + 1

    resign(copied, more)
    problem = problem_of(copied, "host", 2)
    assert problem is not None
    assert problem.startswith("ram is ")
    assert problem.endswith(" were promised")


def strictly(folder: Path, name: str) -> str | None:
    """The problem of a directory on a core where warnings are errors."""
    # the start-up code of Arm's cores has function pointers among its vectors, which is beyond ISO C
    warnings = [flag for flag in WARNINGS if name == "host" or flag != "-Wpedantic"]
    target, directory = replace(TARGETS[name], flags=(*TARGETS[name].flags, *warnings)), Directory.open(folder)
    q, lengths = random_items(directory.program, 3, None, 0)
    return examine(directory, target, q, lengths, run_engine(directory.program, q, lengths)).problem


@pytest.mark.parametrize("name", [core("host"), *EMULATED])
def test_code_without_warnings(name: str, exported: Path) -> None:
    assert strictly(exported, name) is None


def test_warnings_are_errors_here_and_not_with_users(copied: Path) -> None:
    source = copied / "src" / "net.c"
    source.write_text(source.read_text() + "\nint unused(int x);\nint unused(int x) { char c = x; return c; }\n")
    resign(copied)
    problem = strictly(copied, "host")
    assert problem is not None
    assert problem.startswith("net.c does not compile for this machine: ")
    assert "\n" not in problem
    assert problem_of(copied, "host", 2) is None


@pytest.mark.parametrize(("file", "message"), [
    ("selftest/net_golden.h", r"net_golden\.h is damaged or was changed: it does not match its checksum"),
    ("src/net.c", r"net\.c is damaged or was changed"),
    ("program.safetensors", r"program\.safetensors is damaged or was changed"),
])
def test_truncated_files_are_one_clear_line(copied: Path, file: str, message: str) -> None:
    content = (copied / file).read_bytes()
    (copied / file).write_bytes(content[: len(content) // 2])
    with pytest.raises(FileError, match=message) as error:
        verify(copied)
    assert "\n" not in str(error.value)


def test_another_program_is_refused(copied: Path) -> None:
    other = gru_network(features=5, hidden=12, out=4, seed=4)
    bind(other, uniform_plan(other, np.random.default_rng(0).normal(size=(8, STEPS, 5)), 6)).save(
        copied / "program.safetensors")
    resign(copied)
    with pytest.raises(FileError, match=r"is not the program that .* was made from; export it again"):
        verify(copied)


def test_wrong_requests(exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BittailorError, match=r"unknown core 'm5'; did you mean 'm55'\?"):
        verify(exported, ["m5"])
    with pytest.raises(BittailorError, match="items is 0; expected a whole number, 1 or more"):
        verify(exported, ["host"], items=0)
    with pytest.raises(FileError, match=r"is no exported directory: it has no export\.json"):
        verify(tmp_path)
    monkeypatch.setattr("bittailor.export.targets.shutil.which", lambda name: None if "qemu" in name else name)
    with pytest.raises(ToolError, match=r"Cortex-M0 needs .*qemu-system-arm: apt-get install"):
        verify(exported, ["host", "m0"])
    report = verify(exported, items=2)
    assert [v.target.name for v in report.verdicts] == ["host"]
    assert len(report.absent) == len(TARGETS) - 1


@pytest.mark.parametrize("name", [core("m0", slow=True)])
def test_a_network_that_is_too_large_for_a_board(name: str, tmp_path: Path) -> None:
    network = gru_network(features=200, hidden=220, out=4)
    made = bind(network, uniform_plan(network, np.random.default_rng(3).normal(size=(8, 3, 200)), 8))
    folder = export_program(made, tmp_path / "large").folder
    (verdict,) = verify(folder, [name], items=1).verdicts
    assert not verdict.fits
    assert re.search(r"not link for Cortex-M0: it does not fit .*flash' overflowed by \d+ bytes", str(verdict.problem))


@pytest.mark.parametrize("name", [
    core("host"), core("m0"), core("rv32"), core("m4", slow=True), core("m55", slow=True)])
@pytest.mark.parametrize(("code", "words"), [
    ("void *malloc(unsigned long); void *f(void); void *f(void) { return malloc(3); }", "it allocates memory: malloc"),
    ("float f(float x); float f(float x) { return x * 3.0f + 1.0f; }", "float"),
    ("double f(int x); double f(int x) { return (double)x / 3.0; }", "float"),
    ("int puts(const char *); int f(void); int f(void) { return puts(\"x\"); }", "it calls puts, which is neither"),
    ("int f(int a, int b); int f(int a, int b) { return a / (b | 1); }", ""),
    ("#include <string.h>\nvoid f(char *a, int n); void f(char *a, int n) { memset(a, 3, (size_t)n); }", ""),
    ("long long f(long long a, long long b, int s); long long f(long long a, long long b, int s) "
     "{ return (a * b / (b | 1)) >> s; }", ""),
])
def test_foreign_code_is_found(name: str, code: str, words: str, tmp_path: Path) -> None:
    source = tmp_path / "f.c"
    source.write_text(code)
    made = compile_object(TARGETS[name], source, tmp_path / "f.o", flags=("-std=c99", "-O2"))
    problems = [*foreign(TARGETS[name], [made]), *floating(TARGETS[name], [made])]
    if words == "float":
        # an instruction where the core has them, a helper where it has not
        assert problems
        assert all("floating point instruction" in p or "nor a helper for integers" in p for p in problems)
    else:
        assert [p for p in problems if words in p] == problems
        assert bool(problems) == bool(words)


def test_the_command(exported: Path, copied: Path) -> None:
    def call(*arguments: str) -> tuple[int, str]:
        done = subprocess.run([sys.executable, "-m", "bittailor", "verify", *arguments], capture_output=True, text=True,
                              check=False, env={"PATH": "/usr/bin:/bin", "COLUMNS": "160"})
        return done.returncode, done.stdout + done.stderr

    status, text = call(str(exported), "--cores", "host", "--items", "3")
    assert status == 0, text
    facts = json.loads((exported / EXPORT_FILE).read_text())
    assert "this machine" in text
    assert " ok " in text
    assert str(facts["flash"]) in text
    source = copied / "src" / "net.c"
    source.write_text(source.read_text().replace("memset(state->gru0_h, 0", "memset(state->gru0_h, 1"))
    resign(copied)
    status, text = call(str(copied), "--cores", "host")
    assert (status, text.count("\n")) == (2, 1)
    assert "src/net.c was changed: it is not what this bittailor" in text
    status, text = call(str(copied / "src"))
    assert (status, text.count("\n")) == (2, 1)




def test_a_core_without_room_does_not_hide_what_others_found(
    exported: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = module.examine

    def small(directory: Directory, target: Target, *rest: Any) -> Verdict:
        if target.name == "host" and small_board:
            raise NoRoom("Cortex-M4: cannot link: it does not fit into the memory of the emulated board (RAM)")
        return plain(directory, target, *rest)

    monkeypatch.setattr(module, "examine", small)
    monkeypatch.setattr(module, "TARGETS", {"tiny": TARGETS["host"], "host": replace(TARGETS["host"], name="big")})
    small_board = True
    report = verify(exported, ["tiny", "host"], items=2)
    assert [v.problem is None for v in report.verdicts] == [False, True]
    assert not report.verdicts[0].fits
    assert "does not fit" in str(report.problem)
    print_verification(report)
    shown = capsys.readouterr().out
    assert "no room" in shown
    assert "ok" in shown
    small_board = False
    assert verify(exported, ["tiny", "host"], items=2).problem is None
