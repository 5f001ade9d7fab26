"""Other systems, as far as they can be played here: compilers for them, and this one without what they lack."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bittailor.common import cache, processors
from bittailor.engines import native_build
from bittailor.engines.native import Native
from bittailor.engines.native_build import CPU, RUNTIME, TRAINING, VARIANTS, Variant, find_compiler, library
from bittailor.export import artefact, targets
from bittailor.export.targets import TARGETS
from firmware_host import WARNINGS

needs_compiler = pytest.mark.skipif(find_compiler() is None, reason="no C compiler")

LEVELS = {
    2: {"ssse3", "sse4_1", "sse4_2", "popcnt", "cx16", "lahf_lm"},
    3: {"avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "movbe", "abm"},
    4: {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl", "avx512_vnni", "avx512vbmi"},
}
"""What each level adds, in the words of Linux."""


@needs_compiler
@pytest.mark.skipif(not Path("/proc/cpuinfo").exists(), reason="no second source on processors")
def test_the_processor_says_what_the_kernel_says() -> None:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    flags = next((set(line.split(":", 1)[1].split()) for line in lines if line.startswith("flags")), set())
    expected = 0
    for level, names in LEVELS.items():
        if not names <= flags:
            break
        expected = level
    assert library(CPU).bt_cpu() == expected


@needs_compiler
@pytest.mark.parametrize(("level", "best"), [(0, "plain"), (2, "x86-64-v2"), (3, "avx2"), (4, "avx512vnni")])
def test_the_level_chooses_the_variant(level: int, best: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Library:
        def bt_cpu(self) -> int:
            return level

    monkeypatch.setattr(native_build, "library", lambda variant: Library())
    assert native_build.runnable()[0] == best


@pytest.mark.skipif(shutil.which("gcc") is None or os.name != "posix", reason="no gcc, or no shell scripts")
def test_a_compiler_older_than_the_processor(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    old = tmp_path / "old-cc"
    old.write_text("#!/bin/sh\ncase \"$*\" in *x86-64-v*) echo 'error: bad value for -march' >&2; exit 1;; esac\n"
                   "exec gcc \"$@\"\n")
    old.chmod(0o755)
    monkeypatch.setenv("CC", str(old))
    monkeypatch.setattr(native_build, "user_cache", lambda: tmp_path / "cache")
    assert Native().available() is None
    assert Native().runtime.name == "plain"


@pytest.mark.skipif(shutil.which("x86_64-w64-mingw32-gcc") is None, reason="no compiler for Windows")
@pytest.mark.parametrize("variant", [*VARIANTS.values(), CPU, *TRAINING], ids=lambda v: v.name)
def test_the_runtime_compiles_for_windows(variant: Variant, tmp_path: Path) -> None:
    dll = tmp_path / "x.dll"
    flags = [*(flag for flag in native_build.FLAGS if flag != "-fPIC"), *WARNINGS, *variant.flags]
    command = ["x86_64-w64-mingw32-gcc", *flags, str(RUNTIME / variant.source), "-o", str(dll)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    command = ["x86_64-w64-mingw32-objdump", "-p", str(dll)]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    exported = {line.split()[-1] for line in text.splitlines() if line.strip().startswith("[") and "bt_" in line}
    assert exported == set(variant.functions)
    needed = {line.split()[-1].lower() for line in text.splitlines() if "DLL Name" in line}
    assert needed <= {"kernel32.dll", "msvcrt.dll"}, "a library that Windows does not have"


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    for name in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for system, place in (("linux", ".cache/bittailor"), ("darwin", "Library/Caches/bittailor"),
                          ("win32", "AppData/Local/bittailor/Cache")):
        monkeypatch.setattr(cache.sys, "platform", system)
        assert cache.user_cache() == tmp_path / place
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    assert cache.user_cache() == tmp_path / "local" / "bittailor" / "Cache"


def test_processors_where_affinity_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert processors.processors() == os.cpu_count()
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert processors.processors() == 1


def test_code_of_a_mac(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mach-O puts an underscore before names of C, clang calls bzero there, and the processor is called arm64."""
    monkeypatch.setattr(targets.sys, "platform", "darwin")
    monkeypatch.setattr(targets, "_call", lambda command, wrong: "0000 0000 T _step\n U _bzero\n U _memset_pattern16\n"
                                                                 " U ___memcpy_chk\n U _step\n")
    assert artefact.foreign(TARGETS["host"], [Path("a.o")]) == []
    assert targets.symbols(TARGETS["host"], Path("a.o"))[0] == targets.Symbol("step", "T", 0)
    monkeypatch.setattr(artefact.platform, "machine", lambda: "arm64")
    monkeypatch.setattr(artefact, "disassembly", lambda target, path: "0: \tfadd\ts0, s1, s2\n4: \tadd\tx0, x1, x2")
    assert artefact.floating(TARGETS["host"], [Path("a.o")]) == ["a: floating point instruction: fadd s0, s1, s2"]


ELSEWHERE = """
import builtins, io, os, runpy, sys
real = builtins.open
def ours(path):
    caller = sys._getframe(2)
    while caller.f_globals["__name__"] in ("pathlib", "io"):
        caller = caller.f_back
    if str(path).startswith(("/proc", "/sys")) and caller.f_globals["__name__"].startswith("bittailor"):
        raise FileNotFoundError(2, "there is no such file on this system", str(path))
def open_file(file, *words, **more):
    ours(file)
    return real(file, *words, **more)
builtins.open = io.open = open_file
del os.sched_getaffinity
if __name__ == "__main__":
    sys.argv = ["bittailor", *sys.argv[1:]]
    runpy.run_module("bittailor", run_name="__main__")
"""


@needs_compiler
@pytest.mark.slow
def test_a_search_without_what_other_systems_lack(tmp_path: Path) -> None:
    (tmp_path / "elsewhere.py").write_text(ELSEWHERE)
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    for words in (["search", "digits", "--out", "run", "--population", "4", "--generations", "1", "--workers", "2"],
                  ["show", "run"], ["export", "run", "c", "--pick", "best"], ["verify", "c", "--cores", "host"]):
        done = subprocess.run([sys.executable, "elsewhere.py", *words], cwd=tmp_path, env=environment,
                              capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
