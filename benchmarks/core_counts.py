"""What kernels and networks take on an emulated core: instructions, and bytes as the linker keeps them (cores.py)."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from random_networks import STEPS, Rng

from bittailor.compile.layouts import CORES, Layout
from bittailor.compile.order import order_of
from bittailor.core.program import Program
from bittailor.cost.firmware import PERIOD, KernelCost
from bittailor.cost.listing import Listing, Work
from bittailor.export.artefact import kept
from bittailor.export.c import DEVICE, device_files
from bittailor.export.c_model import Model
from bittailor.export.c_text import header, source
from bittailor.export.firmware import Firmware
from bittailor.export.targets import OPTIMISE, Target, build, compile_object, run

COLUMNS = 2 * PERIOD
"""Columns for which kernels are counted one by one: rows shorter than a pattern are no measure for longer ones."""
ROWS = 8
"""Rows over which they are counted: a row begins anywhere in a byte."""


@dataclass(frozen=True)
class Measured:
    """What one network takes on one core."""

    program: Program
    model: int
    runtime: int
    step: float
    head: float

    def works(self, listing: Listing) -> list[tuple[Work, float]]:
        """What was counted together: a step and reading the output; of a network that does not stream, all of both."""
        if order_of(self.program.graph).streaming:
            return [(listing.step, self.step), (listing.head, self.head)]
        both = [*[listing.step] * STEPS, listing.head]
        whole = Work(sum((work.amounts for work in both), Counter()), sum((work.dots for work in both), Counter()))
        return [(whole, self.step * STEPS)]


def measure(program: Program, target: Target, runtime: Sequence[Path], rng: Rng) -> Measured:
    """Compile and run a network."""
    with tempfile.TemporaryDirectory(prefix="bittailor-") as name:
        folder = Path(name)
        model = Model(program, "model", STEPS, target.name)
        (folder / "model.h").write_text(header(model, "a random network"))
        (folder / "model.c").write_text(source(model))
        firmware = Firmware(program, "model", [folder / "model.c", *runtime], target, folder, STEPS, (DEVICE,))
        fmt = program.input_format
        q = rng.integers(fmt.qmin, fmt.qmax + 1, (2, STEPS, model.features))
        _, counts = firmware.run(q, np.full(2, STEPS), 2)
        assert counts is not None
        return Measured(program, firmware.sizes.model, firmware.sizes.runtime, counts.per_step, counts.read_out)


COUNTING = r"""
#include <stdio.h>
#include "bt_dot.h"
#include "firmware.h"
static uint8_t w[(%(rows)d * %(most)d * 16) / 8 + 8];
static int8_t x8[%(most)d];
static int16_t x16[%(most)d];
static volatile int64_t kept;
#define COUNT(kernel, x)                                                       \
    for (unsigned i = 0; i < sizeof columns / sizeof *columns; i++) {          \
        unsigned long all = 0;                                                 \
        for (size_t row = 0; row < %(rows)d; row++) {                          \
            count_start();                                                     \
            const int64_t y = kernel(w, row * columns[i], x, columns[i]);      \
            all += (unsigned long)count_stop();                                \
            kept = y;                                                          \
        }                                                                      \
        printf(#kernel " %%u %%lu\n", columns[i], all);                        \
    }
int main(void) {
    static const unsigned columns[] = {%(columns)s};
    for (size_t i = 0; i < sizeof w; i++) w[i] = (uint8_t)(i * 37u + 11u);
    for (size_t i = 0; i < %(most)d; i++) { x8[i] = (int8_t)(i * 53u); x16[i] = (int16_t)(i * 3571u); }
%(calls)s
    return 0;
}
"""


BLOCKS = r"""
#include <stdio.h>
%(includes)s
#include "firmware.h"
static int8_t x8[%(most)d];
static int16_t x16[%(most)d];
static uint32_t to[%(ready)d];
static int32_t sums[32];
#define COUNT(name, columns, call)                                             \
    count_start();                                                             \
    call;                                                                      \
    printf(name " %%u %%lu\n", columns, (unsigned long)count_stop() * %(rows)du)
int main(void) {
    for (size_t i = 0; i < %(most)d; i++) { x8[i] = (int8_t)(i * 53u); x16[i] = (int16_t)(i * 3571u); }
%(calls)s
    return 0;
}
"""


VECTORS = r"""
#include <stdio.h>
#include "bt_norm.h"
#include "bt_window.h"
#include "firmware.h"
static int8_t x8[%(most)d], y8[%(most)d], ring8[%(most)d];
static int16_t x16[%(most)d], y16[%(most)d], ring16[%(most)d];
static uint16_t at;
static volatile unsigned kept;
#define COUNT(name, call)                                                      \
    at = 0;                                                                    \
    count_start();                                                             \
    call;                                                                      \
    printf(name " %%u %%lu\n", n, (unsigned long)count_stop() * %(rows)du)
#define NORM(name, x) COUNT(#name, kept = name(x, n, 3, 1 << 30, 20u, 1000).shift)
int main(void) {
    static const unsigned columns[] = {%(columns)s};
    for (size_t i = 0; i < %(most)d; i++) { x8[i] = (int8_t)(i * 53u); x16[i] = (int16_t)(i * 3571u); }
    for (size_t i = 0; i < sizeof columns / sizeof *columns; i++) {
        const unsigned n = columns[i], half = (n + 1u) / 2u;
        NORM(bt_layer_norm8, x8);
        NORM(bt_layer_norm16, x16);
        NORM(bt_rms_norm8, x8);
        NORM(bt_rms_norm16, x16);
        COUNT("bt_window8", bt_window8(ring8, &at, x8, half, 2u, 1u, y8));
        COUNT("bt_window16", bt_window16(ring16, &at, x16, half, 2u, 1u, y16));
        COUNT("bt_window_at8", bt_window_at8(x8, 1u, 0u, half, 2u, 1u, 1u, 0, y8));
        COUNT("bt_window_at16", bt_window_at16(x16, 1u, 0u, half, 2u, 1u, 1u, 0, y16));
    }
    return 0;
}
"""


MOST = 2 * COLUMNS
COUNTED = (*range(1, COLUMNS + 1), MOST)


def count_kernels(target: Target, runtime: Sequence[Path], names: Sequence[str], folder: Path) -> dict[str, KernelCost]:
    """Instructions of every dot product, and of the core's blocks of rows and preparations of vectors, by columns."""
    programs = [COUNTING % {
        "rows": ROWS, "most": MOST, "columns": ", ".join(f"{n}u" for n in COUNTED),
        "calls": "\n".join(f"    COUNT({name}, {'x8' if name.endswith('_x8') else 'x16'})" for name in names)}]
    programs += [BLOCKS % {
        "includes": f'#include "{layout.header}"', "most": MOST, "ready": 8 * MOST, "rows": ROWS,
        "calls": "\n".join(_block_calls(layout, COUNTED))} for layout in CORES[target.name].layouts]
    return _counted(target, runtime, programs, folder) | count_vectors(target, runtime, folder)


def count_vectors(target: Target, runtime: Sequence[Path], folder: Path) -> dict[str, KernelCost]:
    """Instructions of what looks at a vector before a loop, by its features."""
    text = VECTORS % {"rows": ROWS, "most": MOST, "columns": ", ".join(f"{n}u" for n in COUNTED)}
    return _counted(target, runtime, [text], folder)


def _counted(
    target: Target, runtime: Sequence[Path], programs: Sequence[str], folder: Path
) -> dict[str, KernelCost]:
    counts: dict[str, dict[int, float]] = {}
    for text in programs:
        program = folder / "counting.c"
        program.write_text(text)
        ran = run(target, build(target, [program, *runtime], folder / "counting.elf", [DEVICE]))
        for line in ran.output.splitlines():
            name, n, total = line.split()
            counts.setdefault(name, {})[int(n)] = int(total) / ROWS
    return {name: KernelCost(tuple(c[n] for n in range(1, COLUMNS + 1)), (c[MOST] - c[COLUMNS]) / (MOST - COLUMNS))
            for name, c in counts.items()}


def _block_calls(layout: Layout, columns: Sequence[int]) -> Iterator[str]:
    """C that counts a block of a layout, and its preparation, for numbers of columns."""
    x, ready = "x16" if layout.wide else "x8", layout.preparation
    to = "" if ready is None else f"({ready.ctype} *)(void *)to"
    vectors = ", ".join(([x] if ready is None or layout.raw else []) + ([to] if to else []))
    for n in columns:
        W = np.ones((layout.rows, n), np.int64)
        words = ", ".join(map(str, layout.pack(W).tolist()))
        literals = "".join(f"{value}u, " for value in layout.literals(W, 1))
        yield f"    {{ static const {layout.ctype} w[] = {{{words}}};"
        if ready is not None:
            yield f'    COUNT("{ready.function}", {n}u, {ready.function}({x}, {n}u, {to}));'
        yield f'    COUNT("{layout.kernel}", {n}u, {layout.kernel}(w, {vectors}, {n}u, {literals}sums)); }}'


def link_functions(
    target: Target, runtime: Sequence[Path], names: Sequence[str], folder: Path
) -> dict[str, dict[str, int]]:
    """Function of the runtime -> its sections and those of what it calls, with their bytes."""
    found = {}
    includes = "".join(f'#include "{name}"\n' for name in _headers(target))
    for name in names:
        program = folder / "one.c"
        program.write_text(f'{includes}void *volatile used;\nint main(void) {{ used = (void *)&{name}; '
                          "return 0; }\n")
        elf = build(target, [program, *runtime], folder / "one.elf", [DEVICE], flags=(*OPTIMISE,))
        found[name] = {part.section: part.size for part in kept(elf)
                       if part.owner in {str(path) for path in runtime} and part.section.startswith(".text")}
    return found


def _headers(target: Target) -> list[str]:
    """What declares the functions that a core's networks call."""
    layouts = dict.fromkeys(layout.header for layout in CORES[target.name].layouts)
    return ["bt_dot.h", "bt_norm.h", "bt_window.h", *layouts]


def runtime_names(target: Target) -> tuple[list[str], list[str]]:
    """The dot products, and every public function that a core's networks call, as the headers declare them."""
    text = "".join(subprocess.run(["cc", "-E", "-P", str(DEVICE / name)], capture_output=True, text=True,
                                  check=True).stdout for name in _headers(target))
    names = list(dict.fromkeys(re.findall(r"\b(bt_\w+)\([^()]*\);", text)))
    return [n for n in names if n.startswith("bt_dot")], [n for n in names if n != "bt_needs_arithmetic_shifts"]


def compile_runtime(target: Target, folder: Path) -> list[Path]:
    """The objects of the device runtime."""
    return [compile_object(target, file, folder / f"runtime-{file.stem}.o", [DEVICE])
            for file in device_files() if file.suffix == ".c"]
