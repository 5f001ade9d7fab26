"""What was really built: bytes from the linker's map, and what exported code must not hold.

Sizes are those of the sections that the linker kept, so a kernel that is not used does not count, and padding between
sections is no one's. Floating point and allocation are looked for in the machine code, not in the source.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bittailor.common.files import read_bytes
from bittailor.errors import FileError
from bittailor.export.targets import Target, disassembly, symbols

_KEPT = re.compile(r"^ (\.\S+|COMMON)\s+0x([0-9a-f]+)\s+0x([0-9a-f]+)[ \t]+(\S.*)$", re.MULTILINE)
_KIND = re.compile(
    # .rodata.cst*: numbers that the compiler keeps beside its instructions, as Arm's literal pools are within .text
    r"((?P<code>\.text|\.s?rodata\.cst\d+)|(?P<constants>\.s?rodata)|(?P<data>\.s?data)|(?P<memory>\.s?bss|COMMON))(\.|$)"
)

_ALLOCATION = re.compile(r"_*(malloc|calloc|realloc|free|aligned_alloc|memalign|posix_memalign|s?brk|alloca)(_r)?")
_INTEGER_HELPERS = re.compile(
    r"(__)?mem(cpy|set|move|cmp|set_pattern\d+)(_chk)?|(__)?bzero"
    r"|__aeabi_(mem(cpy|move|set|clr)[48]?|lmul|llsl|llsr|lasr|u?lcmp|u?idiv(mod)?|u?ldivmod)"
    r"|__gnu_thumb1_case_\w+|__(mul|div|mod|udiv|umod|ashl|ashr|lshr|cmp|neg)[sd]i[23]|__clz[sd]i2"
    r"|__riscv_(save|restore)_\d+|_GLOBAL_OFFSET_TABLE_|__stack_chk_fail"
)
"""What exported code may call that it does not define: memory functions and the compiler's integer helpers."""

_FLOAT = {
    "arm": re.compile(r"\tv\w+\.[fb]\w*(?:16|32|64)\b|\t(?:vldr|vstr|vsqrt|vcvt\w*)\b"),
    "riscv": re.compile(r"\tf(?:add|sub|mul|div|sqrt|madd|msub|cvt|eq|lt|le|lw|sw|ld|sd|mv|sgnj|min|max)[.\w]*\s"),
    "aarch64": re.compile(r"\t(?:fn?m?(?:add|sub|mul|div|madd|msub)|fsqrt|fcvt\w*|[su]cvtf)\s"),
    "x86_64": re.compile(r"\tv?(?:add|sub|mul|div|sqrt|min|max|ucomi|comi|cvt\w*|fn?m(?:add|sub)\d+|round)[sp][sd]\b"
                      r"|\tf(?:ld|st|add|sub|mul|div|ild|ist)\w*\b"),
}


@dataclass(frozen=True)
class Bytes:
    """Bytes of one object in a linked program.

    code       machine code
    constants  read-only data, in flash
    data       initialised memory: flash and RAM
    memory     cleared memory: RAM
    """

    code: int = 0
    constants: int = 0
    data: int = 0
    memory: int = 0

    def __add__(self, other: Bytes) -> Bytes:
        return Bytes(self.code + other.code, self.constants + other.constants, self.data + other.data,
                     self.memory + other.memory)


@dataclass(frozen=True)
class Kept:
    """A section that the linker kept: of which object, its name and bytes."""

    owner: str
    section: str
    size: int


def kept(elf: Path) -> list[Kept]:
    """The sections in a linked program, from the linker's map beside it. FileError if there is none."""
    path = Path(f"{elf}.map")
    _, found, text = read_bytes(path).decode(errors="replace").partition("Linker script and memory map")
    if not found:
        raise FileError(f"{path} is no map of GNU ld")
    return [Kept(owner, section, int(size, 16)) for section, address, size, owner in _KEPT.findall(text)
            if int(address, 16) + int(size, 16)]


def linked(elf: Path) -> dict[str, Bytes]:
    """Object file -> its bytes in a linked program."""
    sizes: dict[str, Bytes] = {}
    for part in kept(elf):
        kind = _KIND.match(part.section)
        if kind:
            own = Bytes(**{k: part.size for k, v in kind.groupdict().items() if v})
            sizes[part.owner] = sizes.get(part.owner, Bytes()) + own
    return sizes


def total(sizes: Mapping[str, Bytes], objects: Iterable[Path]) -> Bytes:
    """Bytes of some objects together."""
    return sum((sizes.get(str(path), Bytes()) for path in objects), Bytes())


def foreign(target: Target, objects: Sequence[Path]) -> list[str]:
    """What objects need of others that exported code must not need, each as a line; empty if all is well.

    Allowed are memcpy and its kind and the compiler's helpers for integers: no heap, no floating point, no C library.
    """
    found = [s for path in objects for s in symbols(target, path)]
    defined = {s.name for s in found if s.kind != "U"}
    problems = []
    for name in sorted({s.name for s in found if s.kind == "U"} - defined):
        if _ALLOCATION.fullmatch(name):
            problems.append(f"it allocates memory: {name}")
        elif not _INTEGER_HELPERS.fullmatch(name):
            problems.append(f"it calls {name}, which is neither its own nor a helper for integers")
    return problems


def floating(target: Target, objects: Sequence[Path]) -> list[str]:
    """The floating point instructions in objects, each as a line; empty if there are none (or if this machine's
    instructions are not known here)."""
    host = platform.machine().lower()  # Linux, macOS and Windows have names of their own
    host = {"arm64": "aarch64", "amd64": "x86_64"}.get(host, host)
    family = next((name for name in ("arm", "riscv") if name in target.compiler), host)
    problems = []
    for path in objects:
        for line in disassembly(target, path).splitlines():
            if family in _FLOAT and _FLOAT[family].search(line):
                problems.append(f"{path.stem}: floating point instruction: {' '.join(line.split()[1:])}")
    return problems
