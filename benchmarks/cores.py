"""The cost models of cores: compiled sizes and emulator counts, measured and fitted.

    python benchmarks/cores.py                    # every core whose tools are here: src/bittailor/cost/cores/*.json
    python benchmarks/cores.py --cores m4         # one core, a minute or two
    python benchmarks/cores.py --add              # only what the files do not know of: new functions and operators

To be run anew when the device runtime or the generated code has changed; tests say so.

Per core: every function of the device runtime is linked alone, for its bytes; every dot product and block of rows is
counted for 1 to 64 columns and beyond; random networks of every cell, shape and width (and some that are nothing but
single operators) are exported, compiled and run, and what the kernels do not account for is fitted by bounded least
squares of relative errors. Every fourth network is kept out of the fit; the recurrent ones among those give the errors
that the file states and docs/tables/firmware.py tabulates.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from command import arguments, as_command

from bittailor.compile.layouts import CORES, Layout
from bittailor.compile.order import order_of
from bittailor.core.cells import CELLS, add_layer
from bittailor.core.graph import Builder, Recurrence
from bittailor.core.network import Network
from bittailor.core.ops.functions import FUNCTIONS
from bittailor.core.program import Program, bind
from bittailor.core.qformat import EXACT_BIAS_BITS
from bittailor.cost.firmware import CORES_FOLDER, PERIOD, Core, Error, KernelCost
from bittailor.cost.listing import Listing, Work, describe
from bittailor.errors import BittailorError
from bittailor.export.artefact import kept
from bittailor.export.c import DEVICE, device_files
from bittailor.export.c_model import Model
from bittailor.export.c_text import header, source
from bittailor.export.firmware import Firmware
from bittailor.export.targets import OPTIMISE, TARGETS, Target, build, compile_object, run
from bittailor.quantise.calibration import CalibrationSettings, calibrate

Rng = np.random.Generator

COLUMNS = 2 * PERIOD
"""Columns for which kernels are counted one by one: rows shorter than a pattern are no measure for longer ones."""
ROWS = 8
"""Rows over which they are counted: a row begins anywhere in a byte."""
STEPS = 5
HELD_OUT = 4
SMALL = 2000.0
"""Instructions below which a share matters less than what it is a share of."""
RELAXED = 0.01
"""How much of the runtime's bytes may depend on where the linker puts it."""
LARGEST = {"m0": 180_000}
"""Bytes of constants that a core's flash should have room for, beside the runner."""


# --- random networks ---------------------------------------------------------------------------------------------


def random_network(rng: Rng) -> Network:
    """A chain of layers over steps, an end, layers on single values; operators of every kind."""
    b = Builder()
    x = b.input("input", int(rng.integers(1, 65)))
    layers = int(rng.choice([0, 1, 2], p=[0.15, 0.6, 0.25]))
    for i in range(layers):
        x = _recurrent(b, rng, x, f"r{i}")
    # some networks are nothing but these, so that what they cost is not lost beside matrices
    for i in range(int(rng.integers(1, 5)) if layers == 0 else int(rng.random() < 0.3)):
        x = _single(b, rng, x, f"s{i}")
    # of a network that is nothing but operators, the first step would be the only one that is computed
    end = str(rng.choice(["last", "first", "mean", ""], p=[0.5, 0.1, 0.25, 0.15] if layers else [0.6, 0, 0.25, 0.15]))
    if end:
        x = b.op(end, "end", x)
    for i in range(int(rng.choice([0, 1, 2], p=[0.5, 0.3, 0.2]))):
        x = _single(b, rng, x, f"v{i}")
    if rng.random() < 0.9:
        x = b.linear("head.out", x, "head.W", int(rng.integers(1, 33)), "head.b" if rng.random() < 0.8 else None)
    graph = b.graph(x)
    scale = {s.name: 1 / np.sqrt(s.shape[-1]) if s.role == "weight" else 0.3 for s in graph.sites.values()}
    return Network(graph, {s.name: rng.normal(size=s.shape) * scale[s.name] for s in graph.sites.values()
                           if s.role in ("weight", "bias")})


def _recurrent(b: Builder, rng: Rng, x: str, p: str) -> str:
    cell = CELLS[str(rng.choice(list(CELLS)))]
    options = dict(cell.variants[str(rng.choice(list(cell.variants)))]) if cell.variants and rng.random() < 0.4 else {}
    hidden, bias = int(rng.integers(2, 81)), bool(rng.random() < 0.8)
    if options.get("scaled") or options.get("skip", "") is None:
        hidden = b.features(x) if options.get("scaled") else hidden
    outs = [add_layer(b, cell, p, x, hidden, bias, bool(rng.random() < 0.1), **options)]
    if rng.random() < 0.15:
        outs.append(add_layer(b, cell, f"{p}.rev", x, hidden, bias, True, **options))
    return b.op("concat", f"{p}.out", *outs) if len(outs) > 1 else outs[0]


def _single(b: Builder, rng: Rng, x: str, p: str) -> str:
    kind = str(rng.choice(["linear", "diagonal", "function", "relu", "requantise", "one_minus", "mul", "sub", "add",
                           "concat", "norm", *["convolution"] * b.is_sequence(x)]))
    bias = f"{p}.b" if rng.random() < 0.5 else None
    if kind == "norm":
        return b.op(str(rng.choice(["layer_norm", "rms_norm"])), f"{p}.norm", x, features=b.features(x), eps=1e-5)
    if kind == "convolution":
        return _convolution(b, rng, x, p, bias)
    if kind == "linear":
        return b.linear(f"{p}.linear", x, f"{p}.W", int(rng.integers(1, 65)), bias)
    if kind == "diagonal":
        return b.diagonal(f"{p}.diagonal", x, f"{p}.v", bias)
    if kind == "function":
        return b.op(str(rng.choice([f.name for f in FUNCTIONS])), f"{p}.function", x)
    if kind in ("mul", "sub", "add"):
        return b.op(kind, f"{p}.{kind}", x, b.op("tanh", f"{p}.tanh", x))
    if kind == "concat":
        return b.op("concat", f"{p}.concat", x, b.op("relu", f"{p}.relu", x))
    return b.op(kind, f"{p}.{kind}", x)


def _convolution(b: Builder, rng: Rng, x: str, p: str, bias: str | None) -> str:
    """Causal or looking ahead, of all features or of each alone."""
    taps, dilation, width = int(rng.integers(2, 6)), int(rng.integers(1, 3)), b.features(x)
    ahead = int(rng.integers(1, taps)) if rng.random() < 0.2 else 0
    window = b.op("window", f"{p}.window", x, taps=taps, dilation=dilation, ahead=ahead)
    if width > 1 and rng.random() < 0.4:
        return b.grouped_linear(f"{p}.depthwise", window, f"{p}.W", width, width, bias)
    return b.linear(f"{p}.linear", window, f"{p}.W", int(rng.integers(1, 33)), bias)


def random_program(rng: Rng) -> Program:
    """A random network at random widths."""
    while True:
        network = random_network(rng)
        x = rng.normal(size=(4, STEPS, network.features))
        settings = CalibrationSettings(method="minmax", rounding="nearest", per_row=bool(rng.random() < 0.3))
        try:
            return bind(network, calibrate(network, x, None, settings).plan(_widths(network, rng)))
        except BittailorError:
            continue  # random scales may not be bindable


def _widths(network: Network, rng: Rng) -> dict[str, int]:
    style = rng.choice(["narrow", "any", "wide", "homogeneous"], p=[0.4, 0.25, 0.1, 0.25])
    same = int(rng.choice([2, 3, 4, 5, 6, 8, 16]))
    low, high = {"narrow": (2, 8), "any": (2, 16), "wide": (9, 16), "homogeneous": (same, same)}[str(style)]
    widths = {}
    for site in network.graph.free:
        bits = int(rng.integers(low, high + 1))
        if site.kind == "weight":
            bits = 1 if low == 2 and rng.random() < 0.1 else bits
        elif site.kind == "bias":
            bits = int(rng.choice([4, 8, 16, EXACT_BIAS_BITS]))
        widths[site.name] = bits
    return widths


# --- measuring ------------------------------------------------------------------------------------------------------


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


def link_functions(target: Target, runtime: Sequence[Path], names: Sequence[str], folder: Path) -> dict[str, Any]:
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


# --- fitting --------------------------------------------------------------------------------------------------------


def fit(rows: Sequence[Mapping[str, int]], values: Sequence[float], weights: Sequence[float]) -> dict[str, float]:
    """Coefficients that minimise the sum of ((A c - values) / weights) squared: none is negative but that of calling a
    dot product, of which the measured counts hold more than generated code takes."""
    from scipy.optimize import lsq_linear

    names = sorted({name for row in rows for name, amount in row.items() if amount})
    A = np.array([[row.get(name, 0) / weight for name in names] for row, weight in zip(rows, weights, strict=True)])
    size = np.abs(A).max(axis=0)
    lowest = [-np.inf if name == "dot" else 0.0 for name in names]
    found = lsq_linear(A / size, np.asarray(values) / np.asarray(weights), (lowest, np.inf), method="bvls").x
    return {name: float(f"{c:.6g}") for name, c in zip(names, found / size, strict=True)}


def error(predicted: Sequence[float], measured: Sequence[float]) -> Error:
    """Relative errors in percent."""
    off = 100 * np.abs(np.asarray(predicted) / np.asarray(measured) - 1)
    return Error(round(float(np.median(off)), 2), round(float(off.max()), 2), len(off))


def model_core(target: Target, programs: Sequence[Program], workers: int, seed: int) -> Core:
    """Measure and fit one core."""
    version = subprocess.run([*target.command(), "-dumpfullversion"], capture_output=True, text=True, check=True)
    flags = (flag for flag in target.flags if not flag.startswith("-DFW"))
    compiler = " ".join((target.compiler, version.stdout.strip(), *flags, OPTIMISE[0]))
    with tempfile.TemporaryDirectory(prefix="bittailor-") as name:
        folder = Path(name)
        runtime = _runtime(target, folder)
        dots, public = runtime_names(target)
        kernels = count_kernels(target, runtime, dots, folder)
        functions = link_functions(target, runtime, public, folder)

        def one(i: int) -> Measured | None:
            if describe_bytes(programs[i]) > LARGEST.get(target.name, 1 << 30):
                return None
            return measure(programs[i], target, runtime, np.random.default_rng([seed, i]))

        with ThreadPoolExecutor(workers) as pool:
            found = [m for m in pool.map(one, range(len(programs))) if m is not None]
    core = Core(target.name, target.title, compiler, functions, kernels, {}, {}, {})
    for m in found:
        # RISC-V's linker shortens jumps according to where things lie
        if abs(core.runtime_bytes(describe(m.program, core.name)) - m.runtime) > RELAXED * m.runtime:
            raise BittailorError(f"{target.title}: the runtime's functions do not add up to what the linker kept; was "
                                 "it changed meanwhile?")
    return _fitted(core, found)


def describe_bytes(program: Program) -> int:
    """Bytes of constants."""
    return sum(s.nbytes for s in program.stored())


def _runtime(target: Target, folder: Path) -> list[Path]:
    return [compile_object(target, file, folder / f"runtime-{file.stem}.o", [DEVICE])
            for file in device_files() if file.suffix == ".c"]


def grown(target: Target, programs: Sequence[Program], workers: int, seed: int) -> Core:
    """The model of a core as it is, and what it does not know of: functions of the runtime, and coefficients that are
    fitted to what the known ones leave of the networks that have them."""
    core = Core.load(target.name)
    with tempfile.TemporaryDirectory(prefix="bittailor-") as name:
        folder = Path(name)
        runtime = _runtime(target, folder)
        _, public = runtime_names(target)
        functions = link_functions(target, runtime, [n for n in public if n not in core.functions], folder)
        kernels = count_vectors(target, runtime, folder)
        core = replace(core, functions={**core.functions, **functions}, kernels={**core.kernels, **kernels})
        listings = [describe(program, core.name) for program in programs]
        chosen = [i for i, x in enumerate(listings) if set(x.code) - core.code.keys()]

        def one(i: int) -> Measured:
            return measure(programs[i], target, runtime, np.random.default_rng([seed, i]))

        with ThreadPoolExecutor(workers) as pool:
            found = dict(zip(chosen, pool.map(one, chosen), strict=True))
    code = _rest([listings[i].code for i in found], core.code, [m.model for m in found.values()],
                 [m.model + m.runtime for m in found.values()])
    works = [pair for i, m in found.items() for pair in ((listings[i].step, m.step), (listings[i].head, m.head))]
    works = [(work, count) for work, count in works if count > 0 and set(work.amounts) - core.instructions.keys()]
    more = _rest([work.amounts for work, _ in works], core.instructions,
                 [count - core.dots(work) for work, count in works], [count + SMALL for _, count in works])
    return replace(core, code={**core.code, **code}, instructions={**core.instructions, **more})


def _rest(
    rows: Sequence[Mapping[str, int]], known: Mapping[str, float], values: Sequence[float], weights: Sequence[float]
) -> dict[str, float]:
    """Coefficients of what is not known, from what the known leaves."""
    left = [value - sum(known.get(name, 0.0) * amount for name, amount in row.items())
            for row, value in zip(rows, values, strict=True)]
    return fit([{name: n for name, n in row.items() if name not in known} for row in rows], left, weights)


def _fitted(core: Core, found: Sequence[Measured]) -> Core:
    """The core with its coefficients and their errors."""
    listings = [describe(m.program, core.name) for m in found]
    training = [i for i in range(len(found)) if i % HELD_OUT]
    code = fit([listings[i].code for i in training], [found[i].model for i in training],
               [found[i].model + found[i].runtime for i in training])
    rows: list[Mapping[str, int]] = []
    values: list[float] = []
    weights: list[float] = []
    for i in training:
        for work, count in found[i].works(listings[i]):
            if count > 0 and any(work.amounts.values()):
                rows.append(work.amounts)
                values.append(count - core.dots(work))
                weights.append(count + SMALL)
    instructions = fit(rows, values, weights)
    core = Core(core.name, core.title, core.compiler, core.functions, core.kernels, code, instructions, {})
    unknown: Counter[str] = Counter()
    out: dict[str, list[tuple[float, float]]] = {"code": [], "instructions": []}
    for i in range(0, len(found), HELD_OUT):
        x, m = listings[i], found[i]
        if not any(isinstance(step, Recurrence) for step in m.program.graph.steps):
            continue  # there to be learned from; nobody searches them
        missing = (set(+x.code) - code.keys()) | (set(+x.step.amounts) - instructions.keys())
        if missing:
            unknown.update(missing)
            continue
        out["code"].append((core.code_bytes(x), m.model + m.runtime))
        work, count = m.works(x)[0]
        out["instructions"].append((core.work(work), count))
    if unknown:
        print(f"{core.name}: held-out networks use what no other does: {', '.join(unknown)}")
    errors = {k: error([p for p, _ in v], [m for _, m in v]) for k, v in out.items()}
    return Core(core.name, core.title, core.compiler, core.functions, core.kernels, code, instructions, errors)


def main() -> int:
    """Model the cores that were asked for."""
    parser = arguments(__doc__)
    parser.add_argument("--cores", nargs="+", help="names; every emulated core whose tools are here if not given")
    parser.add_argument("--networks", type=int, default=240, help="random networks")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1, help="compilers and emulators at once")
    parser.add_argument("--add", action="store_true", help="keep what the files say, and add what they lack")
    parser.add_argument("--out", type=Path, default=CORES_FOLDER, help="where to write; the package if not given")
    options = parser.parse_args()
    targets = [TARGETS[name] for name in options.cores or [t.name for t in TARGETS.values() if t.emulated]]
    rng = np.random.default_rng(options.seed)
    programs = [random_program(rng) for _ in range(options.networks)]
    for target in targets:
        reason = target.missing()
        if reason:
            print(reason if not options.cores else f"error: {reason}", file=sys.stderr)
            continue
        make = grown if options.add else model_core
        core = make(target, programs, options.workers, options.seed)
        core.save(options.out)
        print(f"{target.name}: code {core.errors['code']}, instructions {core.errors['instructions']} "
              f"({core.errors['code'].networks} networks not in the fit)", flush=True)
    return 0


if __name__ == "__main__":
    as_command(main)
