"""What does a weight cost on a microcontroller? Instructions per multiply-accumulate of whole products, bytes of code.

    python benchmarks/kernels.py                          # every core that has its tools here, some minutes
    python benchmarks/kernels.py --core m4 --core m0      # some
    python benchmarks/kernels.py --cmsis-nn DIR           # CMSIS-NN's kernels of the same products beside, a checkout

A product is y = W x: making x ready, a call per block of rows, loops, the sums in memory. Every layout of a core's
family and, beside it, `bits` (a call per row, what `--core any` exports) runs in QEMU with random weights and
activations over several numbers of inputs and rows; results are compared with NumPy first. Counts are repeatable, and
good to an instruction or two per product. They are instructions, not cycles: a core takes one to three cycles per load,
and a vector instruction of Helium takes several.

CMSIS-NN's functions end in a requantisation to 8 bits, which ours leave to what follows. It is told apart by the
slope between two numbers of inputs: what a multiply-accumulate costs, and what a row costs beside them.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cmsis_nn
import numpy as np
from command import arguments, as_command

from bittailor.common.files import write_whole
from bittailor.compile.layouts import CORES, Laid, Layout
from bittailor.compile.layouts.base import lay_out
from bittailor.core.arith import Ints, pack
from bittailor.export.artefact import linked, total
from bittailor.export.c import DEVICE
from bittailor.export.targets import OPTIMISE, STANDARD, TARGETS, Target, build, compile_object, run

SHAPES = ((28, 64), (64, 64), (128, 64))
"""(inputs, rows)."""
ACTIVATIONS = (8, 16)
WIDTHS = range(1, 9)
BITS = "bits"
ROOM = 160
"""Words that a part of at most 128 columns has for a vector that is made ready."""


@dataclass(frozen=True, eq=False)
class Product:
    """A product in a layout (None: `bits`), in as many parts of its columns as are proved; and what it must give."""

    laid: Laid | None
    bits: int
    storage: int
    W: Ints
    x: Ints

    @property
    def layout(self) -> Layout | None:
        """Its layout."""
        return self.laid.layout if self.laid else None

    @property
    def name(self) -> str:
        """Of the layout."""
        return self.layout.name if self.layout else BITS

    @property
    def array(self) -> np.ndarray[Any, Any]:
        """The weights as stored."""
        return (np.concatenate([part.words for part in self.laid.parts]) if self.laid
                else pack(self.W.ravel(), self.bits))

    @property
    def ctype(self) -> str:
        """Of an element of `array`."""
        return self.layout.ctype if self.layout else "uint8_t"

    def body(self, w: str, x: str) -> str:
        """The statements that leave the product in y."""
        rows, n = self.W.shape
        if self.laid is None:
            dot = f"bt_dot{self.bits}_x{self.storage}"
            return f"    for (size_t i = 0; i < {rows}u; i++)\n        y[i] = {dot}({w}, i * {n}u, {x}, {n}u);\n"
        layout, before, loop, at = self.laid.layout, list[str](), list[str](), 0
        for number, part in enumerate(self.laid.parts):
            columns, ready = part.stop - part.start, layout.preparation
            vectors = [f"{x} + {part.start}u"]
            if ready is not None:
                to = f"ready + {ROOM * number}u"
                before.append(f"    {ready.function}({vectors[0]}, {columns}u, ({ready.ctype} *)({to}));\n")
                vectors = [*(vectors if layout.raw else []), f"(const {ready.ctype} *)({to})"]
            words, sums = part.words.size // self.laid.blocks, "more" if number else "y + i"
            arguments = (f"{w} + {at}u + i / {layout.rows}u * {words}u", *vectors, f"{columns}u",
                         *(f"{value}u" for value in part.literals), sums)
            loop.append(f"        {layout.kernel}({', '.join(arguments)});\n")
            if number:
                loop.append(f"        for (size_t r = 0; r < {layout.rows}u; r++)\n            y[i + r] += more[r];\n")
            at += part.words.size
        head = f"    for (size_t i = 0; i < {rows}u; i += {layout.rows}u) {{\n"
        more = "        int32_t more[8];\n" if len(self.laid.parts) > 1 else ""
        return "".join((*before, head, more, *loop, "    }\n"))

    def functions(self) -> list[str]:
        """Of the runtime that it calls."""
        if self.layout is None:
            return [f"bt_dot{self.bits}_x{self.storage}"]
        return [self.layout.kernel, *([self.layout.preparation.function] if self.layout.preparation else [])]

    @property
    def want(self) -> Ints:
        """What the kernel must leave in y."""
        constants = self.laid.constants if self.laid else None
        full: Ints = self.W @ self.x - (0 if constants is None else constants)
        return full


def products(core: str, today: bool, inputs: int, rows: int, seed: int = 0) -> Iterator[Product]:
    """Random weights of every width, over their whole range: the hardest for proofs that look at them."""
    rng = np.random.default_rng(seed)
    for storage in ACTIVATIONS:
        for bits in WIDTHS:
            top, reach = (1 << (bits - 1)) - 1, 1 << (storage - 1)
            values = np.arange(-top, top + 1) if bits > 1 else np.array([-1, 1])
            W = rng.choice(values, (rows, inputs))
            x = rng.integers(-reach, reach, inputs)
            if today:
                yield Product(None, bits, storage, W, x)
                continue
            for one in CORES[core].layouts:
                if bits in one.widths and one.wide == (storage > 8):
                    whole = np.concatenate([W, W[:-rows % one.rows]])  # a last block of five or six rows is filled up
                    laid = lay_out(one, whole, reach)
                    if laid is not None:
                        yield Product(laid, bits, storage, whole, x)
                        break


def program(cases: Sequence[Product]) -> str:
    """C that leaves every product's sums and its instructions in results.bin."""
    headers = dict.fromkeys(["bt_dot.h", *(case.layout.header for case in cases if case.layout)])
    most = max(case.W.shape[1] for case in cases)
    parts = ["#include <stdio.h>\n", *(f'#include "{name}"\n' for name in headers), '#include "firmware.h"\n',
             f"static uint32_t ready[{max(4 * ROOM, 16 * -(-most // 4) + 16)}];\nstatic int32_t y[256];\n"]
    for i, case in enumerate(cases):
        parts += [f"static const {case.ctype} w{i}[] = {{{','.join(map(str, case.array.tolist()))}}};\n",
                  f"static const int{case.storage}_t x{i}[] = {{{','.join(map(str, case.x.tolist()))}}};\n",
                  f"BT_NOIPA static void product{i}(void) {{\n{case.body(f'w{i}', f'x{i}')}}}\n"]
    parts.append("static void (*const products[])(void) = {" + ", ".join(f"product{i}" for i in range(len(cases)))
                 + "};\nstatic const uint16_t rows[] = {" + ", ".join(str(len(case.W)) for case in cases) + "};\n")
    parts.append("""int main(void) {
    const int to = fw_open("results.bin", 'w');
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        int64_t count;
        count_start();
        products[i]();
        count = (int64_t)count_stop();
        (void)fw_write(to, &count, sizeof count);
        (void)fw_write(to, y, rows[i] * sizeof *y);
    }
    fw_close(to);
    return 0;
}
""")
    return "".join(parts)


@dataclass(frozen=True)
class Bench:
    """A core, a folder to build in, and the runtime, compiled for it once."""

    target: Target
    folder: Path
    runtime: tuple[Path, ...]

    @classmethod
    def of(cls, core: str, folder: Path) -> Bench:
        """For a core."""
        target = TARGETS[core]
        runtime = tuple(compile_object(target, source, folder / f"{source.stem}.o", (DEVICE,))
                        for source in sorted(DEVICE.glob("*.c")))
        return cls(target, folder, runtime)

    def counts(self, cases: Sequence[Product]) -> list[int]:
        """Instructions of each product; SystemExit if one is wrong."""
        (self.folder / "kernels.c").write_text(program(cases))
        elf = build(self.target, [self.folder / "kernels.c", *self.runtime], self.folder / "kernels.elf", [DEVICE],
                    flags=(*STANDARD, *OPTIMISE))
        data, at, found = run(self.target, elf).files["results.bin"], 0, []
        for case in cases:
            rows = len(case.W)
            found.append(int(np.frombuffer(data, np.int64, 1, at)[0]))
            if not np.array_equal(np.frombuffer(data, np.int32, rows, at + 8), case.want.astype(np.int32)):
                raise SystemExit(f"{self.target.title}: {case.name}, {case.W.shape}: wrong, so nothing is counted")
            at += 8 + 4 * rows
        return found

    def text_bytes(self, case: Product) -> int:
        """Machine code of a layout's functions and what they call of the runtime."""
        header = case.layout.header if case.layout else "bt_dot.h"
        uses = "".join(f"    used = (void *)&{name};\n" for name in case.functions())
        (self.folder / "one.c").write_text(
            f'#include "{header}"\nvoid *volatile used;\nint main(void) {{\n{uses}    return 0;\n}}\n')
        elf = build(self.target, [self.folder / "one.c", *self.runtime], self.folder / "one.elf", [DEVICE],
                    flags=OPTIMISE)
        return total(linked(elf), self.runtime).code


def measure(core: str, shapes: Sequence[tuple[int, int]]) -> Iterator[dict[str, Any]]:
    """Rows of the result file: a core's layouts, then `bits`."""
    sizes = dict[tuple[str, ...], int]()
    with tempfile.TemporaryDirectory(prefix="bittailor-") as name:
        bench = Bench.of(core, Path(name))
        for today in (False, True):
            for inputs, rows in shapes:  # a program a shape: they need not fit the smallest flash together
                cases = list(products(core, today, inputs, rows))
                for case, count in zip(cases, bench.counts(cases) if cases else [], strict=True):
                    functions = tuple(case.functions())
                    if functions not in sizes:
                        sizes[functions] = bench.text_bytes(case)
                    yield {
                        "core": core, "bits": case.bits, "activations": case.storage, "layout": case.name,
                        "inputs": inputs, "rows": rows, "instructions_per_mac": round(count / (inputs * rows), 3),
                        "text_bytes": sizes[functions], "flash_bytes": case.array.nbytes}


def show(found: Sequence[dict[str, Any]], inputs: int = 64, rows: int = 64) -> None:
    """Print instructions per multiply-accumulate of one shape."""
    for storage in ACTIVATIONS:
        print(f"\n{storage}-bit activations, {inputs} inputs, {rows} rows: instructions per multiply-accumulate")
        print(f"{'weights':12}" + "".join(f"{bits:7}" for bits in WIDTHS))
        for core in dict.fromkeys(row["core"] for row in found):
            for today in (False, True):
                line = {row["bits"]: f"{row['instructions_per_mac']:7.2f}" for row in found
                        if (row["core"], row["activations"]) == (core, storage)
                        and (row["inputs"], row["rows"]) == (inputs, rows) and (row["layout"] == BITS) == today}
                print(f"{core + (' bits' if today else ''):12}"
                      + "".join(line.get(bits, "      –") for bits in WIDTHS))


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--core", action="append", choices=[t.name for t in TARGETS.values() if t.emulated])
    parser.add_argument("--shape", action="append", type=_shape, help="INPUTSxROWS; default: several")
    parser.add_argument("--json", type=Path, default=Path("results/kernels.json"))
    parser.add_argument("--cmsis-nn", type=Path, help="a checkout of CMSIS-NN: kernels-cmsis.json beside the file")
    options = parser.parse_args()
    found: list[dict[str, Any]] = []
    wanted = options.core or [t.name for t in TARGETS.values() if t.emulated]
    if options.cmsis_nn:
        beside(wanted, options.cmsis_nn, options.json.with_name("kernels-cmsis.json"))
    for core in wanted:
        missing = TARGETS[core].missing()
        if missing:
            print(f"{TARGETS[core].title}: left out: {missing}")
            continue
        found += measure(core, options.shape or SHAPES)
    show(found)
    keep(options.json, found)


def beside(cores: Sequence[str], cmsis: Path, file: Path) -> None:
    """CMSIS-NN on those of some cores that differ."""
    for core in cores:
        if core in cmsis_nn.CORES and not TARGETS[core].missing():
            with tempfile.TemporaryDirectory(prefix="bittailor-") as name:
                found = list(cmsis_nn.measure(TARGETS[core], cmsis, Path(name)))
            for row in found:
                print(f"{core}: {row['kernel']}: {row['instructions_per_mac']:.2f}, of which {row['per_mac']:.2f} "
                      f"per multiply-accumulate and {row['per_row']:.0f} per row")
            keep(file, found)


def keep(file: Path, found: Sequence[dict[str, Any]]) -> None:
    """Write rows, beside those of other cores that the file has."""
    old = json.loads(file.read_text())["rows"] if file.exists() else []
    measured = {row["core"] for row in found}
    rows = [*(row for row in old if row["core"] not in measured), *found]
    lines = ",\n".join(json.dumps(row) for row in rows)
    write_whole(file, f'{{"flags": "{" ".join(OPTIMISE)}", "rows": [\n{lines}\n]}}\n'.encode())


def _shape(text: str) -> tuple[int, int]:
    inputs, _, rows = text.partition("x")
    return int(inputs), int(rows)


if __name__ == "__main__":
    as_command(main)
