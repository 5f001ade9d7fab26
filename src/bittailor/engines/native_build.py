"""Builds the C runtime at first use and loads it: one shared library per instruction set, in the user's cache.

A wheel carries the C source, not a binary: the machine that runs it has the compiler that knows it. The cache key is
the source, the compiler and its flags, so a changed one builds anew and an old one never serves; a library appears
under its final name only when it is complete, so processes that start together cannot see half of one.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from bittailor.common.cache import user_cache
from bittailor.engines.lowering_numbers import Layout
from bittailor.errors import BittailorError

RUNTIME = Path(__file__).resolve().parent.parent / "runtime"
SOURCES = ("bittailor.c", "bittailor.h", "bt_kernels.h", "bt_vector.h")
FLAGS = ("-std=c99", "-O3", "-Wall", "-Wextra", "-Wconversion", "-Werror", "-fPIC", "-shared")
COMPILERS = ("cc", "gcc", "clang")


@dataclass(frozen=True)
class Variant:
    """One way to compile the runtime.

    flags   instruction set and tile
    needs   CPU features, as the kernel names them (/proc/cpuinfo); all must be there
    x86     only on x86-64
    """

    name: str
    flags: tuple[str, ...]
    needs: frozenset[str] = frozenset()
    x86: bool = True


def _tile(lanes: int, items: int) -> tuple[str, str]:
    return f"-DBT_LANES={lanes}", f"-DBT_ITEMS={items}"


_V2 = frozenset({"ssse3", "sse4_1", "sse4_2", "popcnt"})
_V3 = _V2 | {"avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "movbe"}
_V4 = _V3 | {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}

VARIANTS: dict[str, Variant] = {v.name: v for v in (
    Variant("avx512vnni", ("-march=x86-64-v4", "-mavx512vnni", "-mavx512vbmi", "-mprefer-vector-width=512",
                           *_tile(16, 8)), _V4 | {"avx512_vnni", "avx512vbmi"}),
    Variant("avx2", ("-march=x86-64-v3", *_tile(8, 8)), _V3),
    Variant("x86-64-v2", ("-march=x86-64-v2", *_tile(4, 8)), _V2),
    Variant("plain", _tile(4, 8), x86=False),
    Variant("one-lane", _tile(1, 1), x86=False),
)}
"""Best first. `plain` runs everywhere; `one-lane` is the kernel of microcontrollers, here to be tested."""


@lru_cache(1)
def cpu_features() -> frozenset[str]:
    """What this CPU can do, in the kernel's words; empty where that cannot be found out."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return frozenset()
    for line in text.splitlines():
        if line.startswith("flags"):
            return frozenset(line.split(":", 1)[1].split())
    return frozenset()


def runnable() -> list[str]:
    """The variants that this machine can run, best first."""
    x86 = platform.machine().lower() in ("x86_64", "amd64")
    return [v.name for v in VARIANTS.values() if (x86 or not v.x86) and v.needs <= cpu_features()]


def find_compiler() -> str | None:
    """The C compiler: $CC, cc, gcc or clang; None if there is none."""
    for name in (os.environ.get("CC", ""), *COMPILERS):
        if name and (found := shutil.which(name)):
            return found
    return None


MISSING = ("the native engine needs a C compiler, and there is none: install gcc or clang (for example "
           "'apt-get install gcc'), or name one in CC; until then a slower one serves")


@lru_cache(4)
def _compiler_version(compiler: str) -> str:
    done = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=False)
    return done.stdout


def library(variant: Variant, folder: Path | None = None) -> Path:
    """The built library of a variant, building it if need be. Raises BittailorError if it cannot be built."""
    compiler = find_compiler()
    if compiler is None:
        raise BittailorError(MISSING)
    digest = hashlib.sha256("\0".join((compiler, _compiler_version(compiler), *FLAGS, *variant.flags)).encode())
    for name in SOURCES:
        digest.update((RUNTIME / name).read_bytes())
    target = (folder or user_cache() / "runtime") / f"{variant.name}-{digest.hexdigest()[:20]}.so"
    if not target.exists():
        _compile(compiler, variant, target)
    return target


def _compile(compiler: str, variant: Variant, target: Path) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=".build-", suffix=".so")
    except OSError as error:
        raise BittailorError(f"the native engine cannot write to {target.parent}: {error.strerror}") from None
    os.close(handle)
    print(f"bittailor: compiling the native engine ({variant.name}), once; a second or two", file=sys.stderr)
    try:
        command = [compiler, *FLAGS, *variant.flags, str(RUNTIME / "bittailor.c"), "-o", name]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            first = next((line for line in done.stderr.splitlines() if "error" in line), done.stderr.strip()[:200])
            raise BittailorError(f"the native engine's {variant.name} variant does not compile with {compiler}:\n"
                                 f"  {first}\n  the other engines still serve")
        os.replace(name, target)
    finally:
        Path(name).unlink(missing_ok=True)


class Runtime:
    """A loaded variant: the C functions and the layout they want."""

    def __init__(self, variant: Variant, folder: Path | None = None) -> None:
        self.name = variant.name
        self.c = ctypes.CDLL(str(library(variant, folder)))
        size, pointer = ctypes.c_size_t, ctypes.c_void_p
        self.c.bt_check.argtypes = [pointer, size]
        self.c.bt_scratch.argtypes = [pointer, size, size]
        self.c.bt_scratch.restype = size
        self.c.bt_run.argtypes = [pointer, size, pointer, size, ctypes.c_uint, pointer, size, size, size, size,
                                  pointer, size, pointer, size]
        values = (ctypes.c_uint32 * 4)()
        self.c.bt_layout.argtypes = [pointer]
        self.c.bt_layout.restype = None
        self.c.bt_layout(ctypes.addressof(values))
        self.layout = Layout(*values)
