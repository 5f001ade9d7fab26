"""Libraries that come with the package: found first, replaced when they do not fit, right on other processors too."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bittailor.compile.segments import NotLowered
from bittailor.engines import native_build
from bittailor.engines.lowering import Lowering
from bittailor.engines.lowering_numbers import Layout
from bittailor.engines.native import Native
from bittailor.engines.native_build import (
    CPU,
    FLAGS,
    ORIGINS,
    RUNTIME,
    VARIANTS,
    find_compiler,
    library,
    prebuilt_name,
)
from bittailor.engines.reference import Reference
from networks import random_case

needs_compiler = pytest.mark.skipif(find_compiler() is None, reason="no C compiler")


def build(folder: Path, *names: str, compiler: str | None = None) -> Path:
    """Libraries as `tools/wheels.py` puts them into a wheel."""
    folder.mkdir()
    for variant in (CPU, *(VARIANTS[name] for name in names)):
        subprocess.run([compiler or str(find_compiler()), *FLAGS, *variant.flags, str(RUNTIME / variant.source), "-o",
                        str(folder / prebuilt_name(variant))], check=True)
    return folder


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package that came with `plain`, and an empty cache."""
    folder = build(tmp_path / "prebuilt", "plain")
    monkeypatch.setattr(native_build, "PREBUILT", folder)
    monkeypatch.setattr(native_build, "user_cache", lambda: tmp_path / "cache")
    return folder


@needs_compiler
def test_what_came_with_the_package_is_taken_first(
    shipped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(native_build, "find_compiler", lambda: None)
    engine = Native("plain")
    assert engine.available() is None
    assert engine.words == "native (plain, prebuilt)"
    assert not (tmp_path / "cache").exists()
    assert capfd.readouterr().err == ""
    best = Native()  # the better variants did not come along, and nothing can compile them
    assert best.available() is None
    assert best.words == "native (plain, prebuilt)"


@needs_compiler
def test_then_the_cache_then_the_compiler_then_nothing(
    shipped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in ("plain", "one-lane"):
        library(VARIANTS[name])
        assert ORIGINS[name] == ("prebuilt" if name == "plain" else "compiled now")
    assert capfd.readouterr().err.count("compiling the native engine (one-lane)") == 1
    library(VARIANTS["one-lane"])
    assert ORIGINS["one-lane"] == "from the cache"
    monkeypatch.setattr(native_build, "find_compiler", lambda: None)
    shutil.rmtree(shipped)
    assert "install gcc or clang" in str(Native("plain").available())


@needs_compiler
def test_one_of_another_source_is_not_taken(
    shipped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(native_build, "FLAGS", FLAGS)
    library(VARIANTS["plain"])
    assert ORIGINS["plain"] == "prebuilt"
    changed = Path(shutil.copytree(RUNTIME, tmp_path / "runtime"))
    (changed / "bt_kernels.h").write_text(f"{(changed / 'bt_kernels.h').read_text()}/* changed */\n")
    monkeypatch.setattr(native_build, "RUNTIME", changed)
    library(VARIANTS["plain"])
    assert ORIGINS["plain"] == "compiled now"


@needs_compiler
@pytest.mark.parametrize("content", [b"no library", b""])
def test_one_that_cannot_be_loaded_is_said_and_replaced(
    content: bytes, shipped: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (shipped / prebuilt_name(VARIANTS["plain"])).write_bytes(content)
    assert Native("plain").available() is None
    assert ORIGINS["plain"] == "compiled now"
    said = capfd.readouterr().err.splitlines()
    assert len([line for line in said if "cannot be used" in line]) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="for Linux alone")
@pytest.mark.parametrize(("compiler", "runner", "variant"), [
    ("cc", (), "plain"),
    ("aarch64-linux-gnu-gcc", ("qemu-aarch64", "-L", "/usr/aarch64-linux-gnu"), "plain"),
    ("aarch64-linux-gnu-gcc", ("qemu-aarch64", "-L", "/usr/aarch64-linux-gnu"), "one-lane"),
])
def test_libraries_of_other_processors(
    compiler: str, runner: tuple[str, ...], variant: str, tmp_path: Path
) -> None:
    missing = [tool for tool in (compiler, *runner[:1]) if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"{missing[0]} is not installed")
    shipped = build(tmp_path / "prebuilt", variant, compiler=compiler) / prebuilt_name(VARIANTS[variant])
    program = tmp_path / "run"
    subprocess.run([compiler, "-std=c11", "-O1", "-D_GNU_SOURCE", str(Path(__file__).parent / "prebuilt_run.c"), "-ldl",
                    "-o", str(program)], check=True)

    def said(*words: str) -> str:
        return subprocess.run([*runner, str(program), str(shipped), *words], capture_output=True, text=True,
                              check=False).stdout

    lowering = Lowering(Layout(*map(int, said().split())))
    ran = 0
    for seed in range(30):
        case = random_case(seed)
        try:
            code = lowering(case.program)
        except NotLowered:
            continue
        q = np.ascontiguousarray(case.q, np.int8 if case.program.input_format.bits <= 8 else np.int16)
        want = Reference().run(case.program, case.q, case.lengths)
        ragged = case.lengths is not None
        parts = [np.array([code.nbytes, q.nbytes, q.itemsize, *q.shape[:2], want.size, ragged, 0], np.uint64), code, q,
                 *([case.lengths.astype(np.int32)] if case.lengths is not None else []), want.astype(np.int64)]
        job = tmp_path / "job"
        job.write_bytes(b"".join(part.tobytes() for part in parts))
        assert said(str(job)) == f"status 0, 0 of {want.size} differ\n", case
        ran += 1
    assert ran >= 25
