"""Finds the C runtime, one shared library per instruction set: with the package, in the user's cache, or built now.

Wheels for a platform carry libraries (`make dist`), the others the C source alone. Names of libraries hold a digest of
source and flags, in the cache of the compiler too, so a changed one builds anew and an old one never serves
(`native_cache.py` has who may write there, and how damage is found).
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from bittailor.common.cache import user_cache
from bittailor.engines.lowering_numbers import Layout
from bittailor.engines.native_cache import SUFFIX, Unusable, add, candidates, discard, load_checked, say, usable_folder
from bittailor.errors import BittailorError

RUNTIME = Path(__file__).resolve().parent.parent / "runtime"
FLAGS = ("-std=c99", "-O3", "-shared", *(() if sys.platform == "win32" else ("-fPIC",)))
COMPILERS = ("cc", "gcc", "clang")
PREBUILT = RUNTIME / "prebuilt"
"""Libraries that came with the package. They are trusted as its Python code is."""


@dataclass(frozen=True)
class Variant:
    """One way to compile the runtime.

    flags      instruction set and tile
    level      what the processor must be capable of, at least (`enum bt_cpu_level`)
    source     the C file; what it includes of the runtime belongs to it (`files_of`)
    functions  what it must have
    """

    name: str
    flags: tuple[str, ...] = ()
    level: int = 0
    source: str = "bittailor.c"
    functions: tuple[str, ...] = ("bt_check", "bt_scratch", "bt_run", "bt_layout")


_AVX512 = ("-march=x86-64-v4", "-mavx512vnni", "-mavx512vbmi", "-mprefer-vector-width=512")


def _tile(lanes: int, items: int) -> tuple[str, str]:
    return f"-DBT_LANES={lanes}", f"-DBT_ITEMS={items}"


VARIANTS: dict[str, Variant] = {v.name: v for v in (
    Variant("avx512vnni", (*_AVX512, *_tile(16, 8)), 4),
    Variant("avx2", ("-march=x86-64-v3", *_tile(8, 8)), 3),
    Variant("x86-64-v2", ("-march=x86-64-v2", *_tile(4, 8)), 2),
    Variant("plain", _tile(4, 8)),
    Variant("one-lane", _tile(1, 1)),
    Variant("avx512vnni-few", (*_AVX512, *_tile(16, 2)), 4),
    Variant("avx2-few", ("-march=x86-64-v3", *_tile(8, 2)), 3),
    Variant("plain-few", _tile(4, 2)),
)}
"""Best first. `plain` runs everywhere, in the vectors that every processor of its kind has (SSE2, NEON); `one-lane` is
scalar C, here to be tested; those for few sequences (`few_of`) do not compute tiles that are mostly empty."""

TRAINING = tuple(
    Variant(f"train-{name}", flags, level, "bt_train.c", ("bt_train", "bt_train_size"))
    for name, flags, level in (("avx512", _AVX512, 4), ("avx2", ("-march=x86-64-v3",), 3), ("plain", (), 0)))
"""Ways to compile what training computes (`train/native.py`), best first."""

ORIGINS: dict[str, str] = {}
"""Variant -> where the library came from that was loaded last."""

CPU = Variant("cpu", source="bt_cpu.c", functions=("bt_cpu",))


def runnable() -> list[str]:
    """The variants that this machine can run, best first. BittailorError where its compiler fails."""
    level = int(library(CPU).bt_cpu()) if can_run() else 0
    return [v.name for v in VARIANTS.values() if v.level <= level]


def training() -> ctypes.CDLL:
    """The best library for training that this machine runs and that builds. Raises the first BittailorError."""
    level, errors = int(library(CPU).bt_cpu()), []
    for variant in TRAINING:
        if variant.level <= level:
            try:
                return library(variant)
            except BittailorError as error:
                errors.append(error)
    raise errors[0]


def few_of(name: str) -> str | None:
    """The variant with the same instructions whose tiles hold fewer sequences; None where there is none."""
    few = f"{name}-few"
    return few if few in VARIANTS else None


def can_run() -> bool:
    """Whether there is a library for this machine, or a compiler for one."""
    return prebuilt(CPU) is not None or find_compiler() is not None


def prebuilt(variant: Variant) -> Path | None:
    """The library of a variant that came with the package, if one did for just this source."""
    path = PREBUILT / prebuilt_name(variant)
    return path if path.is_file() else None


def prebuilt_name(variant: Variant) -> str:
    """What a library that comes with the package is called."""
    return f"{variant.name}-{_digest(*variant.flags, source=variant.source)}{SUFFIX}"


def find_compiler() -> str | None:
    """The C compiler: $CC, cc, gcc or clang; None if there is none."""
    for name in (os.environ.get("CC", ""), *COMPILERS):
        if name and (found := shutil.which(name)):
            return found
    return None


_HOW = {"win32": "those of MinGW-w64; Microsoft's cl will not do", "darwin": "xcode-select --install"}
MISSING = ("the native engine needs a C compiler, and there is none: install gcc or clang "
           f"({_HOW.get(sys.platform, 'with apt-get install gcc')}), or name one in CC")


@lru_cache(4)
def _compiler_version(compiler: str) -> str:
    done = subprocess.run([compiler, "--version"], capture_output=True, text=True, errors="replace", check=False)
    return done.stdout


def library(variant: Variant, folder: Path | None = None) -> ctypes.CDLL:
    """A loaded variant; `ORIGINS` then says where it came from: with the package (unless a `folder` is given), from the
    cache, or compiled now. A file in the cache that is not what was put there is built again, which is said. Raises
    BittailorError if there is none and it cannot be built."""
    ready = prebuilt(variant) if folder is None else None
    if ready is not None:
        try:
            ORIGINS[variant.name] = "prebuilt"
            return _checked(ctypes.CDLL(str(ready)), variant)
        except (OSError, Unusable) as reason:
            say(f"the library {ready} cannot be used ({reason}); one is compiled")
    compiler = find_compiler()
    if compiler is None:
        raise BittailorError(MISSING)
    place, stem = usable_folder(folder or user_cache() / "runtime"), _stem(compiler, variant)
    found = list(candidates(place, stem))
    ORIGINS[variant.name] = "from the cache"
    for path in found:
        try:
            return _with_functions(path, variant)
        except Unusable as reason:
            say(f"the compiled engine {path} {reason}; it is compiled again")
            discard(path)
    if variant is not CPU and not found:
        say(f"compiling the native engine ({variant.name}), once; a second or two")
    ORIGINS[variant.name] = "compiled now"
    made = add(place, stem, lambda target: _compile(compiler, variant, target))
    try:
        return _with_functions(made, variant)
    except Unusable as reason:
        discard(made)
        raise BittailorError(f"what {compiler} made of the native engine's {variant.name} variant {reason}") from None


def _stem(compiler: str, variant: Variant) -> str:
    """What a built library depends on, as the beginning of its name."""
    words = compiler, _compiler_version(compiler), *FLAGS, *variant.flags
    return f"{variant.name}-{_digest(*words, source=variant.source)}"


_INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*"([^"]+)"', re.MULTILINE)


def files_of(source: str) -> tuple[Path, ...]:
    """What a library is made of: a C file and every file of ours that it includes, under whatever condition."""
    found = [RUNTIME / source]
    for path in found:  # grows meanwhile
        names = dict.fromkeys(_INCLUDE.findall(path.read_text(encoding="utf-8")))
        found += [path.parent / name for name in names if path.parent / name not in found]
    return tuple(found)


def _digest(*words: str, source: str) -> str:
    digest = hashlib.sha256("\0".join(words).encode())
    for path in files_of(source):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:20]


def _with_functions(path: Path, variant: Variant) -> ctypes.CDLL:
    return _checked(load_checked(path), variant)


def _checked(c: ctypes.CDLL, variant: Variant) -> ctypes.CDLL:
    missing = [name for name in variant.functions if not hasattr(c, name)]
    if missing:
        raise Unusable(f"has no function {missing[0]}")
    return c


def _compile(compiler: str, variant: Variant, target: Path) -> None:
    command = [compiler, *FLAGS, *variant.flags, str(RUNTIME / variant.source), "-o", str(target)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode or not target.exists():
        first = next((line for line in done.stderr.splitlines() if "error" in line), done.stderr.strip()[:200])
        raise BittailorError(f"the native engine's {variant.name} variant does not compile with {compiler}: "
                             f"{first or 'it wrote nothing'}")


def load(names: Sequence[str]) -> Runtime:
    """The first of some variants that builds: a compiler may be older than the processor. Raises the first error."""
    errors = []
    for name in names:
        try:
            return Runtime(VARIANTS[name])
        except BittailorError as error:
            errors.append(error)
    raise errors[0]


class Runtime:
    """A loaded variant: the C functions and the layout they want."""

    def __init__(self, variant: Variant, folder: Path | None = None) -> None:
        self.name = variant.name
        self.c = library(variant, folder)
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
