"""Exported C on this machine: many networks in one shared library, every value they compute handed to Python."""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from bittailor.compile.layouts import DEFAULT_CORE
from bittailor.core.program import Program
from bittailor.export.c import device_files
from bittailor.export.c_model import Model
from bittailor.export.c_text import header, source

WARNINGS = ("-Wall", "-Wextra", "-Wconversion", "-Wpedantic", "-Werror")
STRICT = ("-std=c99", *WARNINGS)
COLLECT = """
#include <stdint.h>
int32_t *room;
long count, most;
void collect(unsigned site, unsigned feature, int32_t value);
void collect(unsigned site, unsigned feature, int32_t value) {
    if (count + 3 <= most) {
        room[count] = (int32_t)site;
        room[count + 1] = (int32_t)feature;
        room[count + 2] = value;
    }
    count += 3;
}
"""
ROOM = 1 << 21
POISON = 0x5A


def compile_c(command: Sequence[str | Path], folder: Path) -> None:
    """Run a compiler; a failure shows what it said. A compiler without its sanitizers skips the test."""
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, cwd=folder, check=False)
    if done.returncode and "cannot find" in done.stderr and "clang_rt" in done.stderr:
        pytest.skip(f"{command[0]} has no sanitizers here")
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stderr[:4000]}"


@dataclass
class Built:
    """A network in the library. State and scratch begin as garbage."""

    library: ctypes.CDLL
    model: Model
    trace_room: NDArray[np.int32]

    def __post_init__(self) -> None:
        types = {8: np.int8, 16: np.int16}
        p = self.model.program
        self.in_type, self.out_type = (types[8 if f.bits <= 8 else 16] for f in (p.input_format, p.output_format))
        self.state = np.full(self.model.image.state_bytes // 4 + 1, POISON, np.int32)
        self.scratch = np.full(self.model.image.scratch_bytes // 4 + 1, POISON, np.int32)

    def call(self, name: str, *arguments: object) -> int:
        """A function of the network."""
        function = getattr(self.library, f"{self.model.prefix}_{name}")
        return int(function(*(ctypes.c_void_p(a.ctypes.data) if isinstance(a, np.ndarray) else a for a in arguments)))

    @property
    def sizes(self) -> tuple[int, int]:
        """sizeof state and scratch."""
        return tuple((ctypes.c_ulong * 2).in_dll(self.library, f"{self.model.prefix}_sizes"))  # type: ignore[return-value]

    def run(self, q: NDArray[np.int64]) -> tuple[NDArray[np.int64], dict[str, NDArray[np.int64]]]:
        """Run one item [steps, features]: output, and every site [rows, features] in the order of steps."""
        count = ctypes.c_long.in_dll(self.library, "count")
        count.value = 0
        y = self.run_only(q)
        assert count.value <= ROOM, "more values than there is room for"
        return y, self._sites(self.trace_room[:count.value].reshape(-1, 3))

    def run_only(self, q: NDArray[np.int64]) -> NDArray[np.int64]:
        """Run one item: output."""
        x = np.ascontiguousarray(q.astype(self.in_type))
        rows = (len(q) - self.model.late,) if self.model.per_step else ()
        y = np.zeros((*rows, self.model.outputs), self.out_type)
        assert self.call("run", self.state, self.scratch, x, ctypes.c_size_t(len(q)), y) == 0
        return y.astype(np.int64)

    def step(self, q: NDArray[np.int64]) -> NDArray[np.int64]:
        """One frame [features]; scratch memory is lost before."""
        self.scratch[:] = POISON
        y = np.zeros(self.model.outputs, self.out_type)
        self.call("step", self.state, self.scratch, np.ascontiguousarray(q.astype(self.in_type)), y)
        return y.astype(np.int64)

    def _sites(self, calls: NDArray[np.int32]) -> dict[str, NDArray[np.int64]]:
        order, found = self.model.order, {}
        for i, site in enumerate(order.traced):
            mine = calls[calls[:, 0] == i]
            features = self.model.program.graph.sites[site].features
            # a value that comes twice or never is one that differs
            assert len(mine) % features == 0, (site, len(mine), features)
            rows = np.full((len(mine) // features, features), 1 << 20, np.int64)
            rows[np.cumsum(mine[:, 1] == 0) - 1, mine[:, 1]] = mine[:, 2]
            backwards = site in order.pass_of and order.passes[order.pass_of[site]].reverse
            found[site] = rows[::-1] if backwards else rows
        return found


@cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="bittailor-runtime-")


@cache
def runtime(compiler: str, flags: tuple[str, ...]) -> tuple[Path, ...]:
    """Object files of the device runtime, compiled once for all tests of a process."""
    folder = Path(tempfile.mkdtemp(dir=_folder().name))
    sources = [f for f in device_files() if f.suffix == ".c"]
    compile_c([compiler, *STRICT, *flags, "-fPIC", "-c", *sources], folder)
    return tuple(folder / f"{f.stem}.o" for f in sources)


def build(
    programs: Mapping[str, Program], steps: int, compiler: str, folder: Path, flags: Sequence[str] = ("-O1",),
    core: str = DEFAULT_CORE,
) -> dict[str, Built]:
    """Compile programs, each under its prefix, into one library. The objects of the networks stay in the folder."""
    models = {prefix: Model(program, prefix, steps, core) for prefix, program in programs.items()}
    for file in device_files():
        shutil.copy(file, folder)
    (folder / "collect.c").write_text(COLLECT + "".join(
        f'#include "{p}.h"\nextern const unsigned long {p}_sizes[2];\n'
        f"const unsigned long {p}_sizes[2] = {{sizeof({p}_state), sizeof({p}_scratch)}};\n" for p in models))
    for p, model in models.items():
        (folder / f"{p}.h").write_text(header(model, "a test"))
        (folder / f"{p}.c").write_text(source(model))
    sources = [*(f"{p}.c" for p in models), "collect.c"]
    compile_c([compiler, *STRICT, *flags, "-fPIC", "-DBT_TRACE=collect", "-c", *sources], folder)
    objects = [*(f"{Path(s).stem}.o" for s in sources), *runtime(compiler, tuple(flags))]
    compile_c([compiler, *flags, "-shared", *objects, "-o", "all.so"], folder)
    library = ctypes.CDLL(str(folder / "all.so"))
    room = np.zeros(ROOM, np.int32)
    ctypes.c_void_p.in_dll(library, "room").value = room.ctypes.data
    ctypes.c_long.in_dll(library, "most").value = ROOM
    return {p: Built(library, model, room) for p, model in models.items()}


def constants(target: Path) -> tuple[int, int]:
    """Of an object file: bytes of its read-only data sections, and of the structure of constants."""
    sections = subprocess.run(["objdump", "-h", str(target)], capture_output=True, text=True, check=True).stdout
    found = [int(size, 16) for name, size in re.findall(r"^\s*\d+ (\.\S+)\s+([0-9a-f]+)", sections, re.MULTILINE)
             if "rodata" in name]
    literals = [int(size, 16) for name, size in re.findall(r"^\s*\d+ (\.\S+)\s+([0-9a-f]+)", sections, re.MULTILINE)
                if ".cst" in name]
    symbols = subprocess.run(["nm", "-S", str(target)], capture_output=True, text=True, check=True).stdout
    rom = [int(size, 16) for size in re.findall(r"^\S+ (\S+) r rom$", symbols, re.MULTILINE)]
    # .rodata.cst<n> holds vector literals of x86 code; all constants, too, if they are n bytes
    return sum(found) - sum(literals) or (sum(rom) if sum(rom) in literals else 0), sum(rom)
