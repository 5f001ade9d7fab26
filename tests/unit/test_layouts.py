"""Layouts of weights: every kernel, and the plain reader of every layout, gives the products, on the host under
sanitizers and on every core; what is proved is exact to the last weight, and mutants of the readers are noticed."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from bittailor.compile.layouts import CORES, FAMILIES, LAYOUTS
from bittailor.compile.layouts.base import CTYPES, Layout, lay_out
from bittailor.core.arith import Ints
from bittailor.engines.native_build import RUNTIME
from bittailor.export.targets import EMULATOR, STANDARD, TARGETS, Target, ToolError, build, run
from cores import EMULATED, core
from firmware_host import WARNINGS

DEVICE = RUNTIME / "device"
SANITIZE = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g", "-O1")
COLUMNS = (1, 2, 3, 4, 5, 8, 9, 27, 28, 31, 33, 64)
WITH_KERNELS = [family for family in FAMILIES.values() if family.layouts]


def top(width: int) -> int:
    """The largest weight."""
    return max(1, (1 << (width - 1)) - 1)


def ends(layout: Layout) -> tuple[int, int]:
    """The least and the largest activation."""
    return (-(1 << 15), (1 << 15) - 1) if layout.wide else (-128, 127)


def any_weights(layout: Layout, width: int) -> bool:
    """Whether it takes the largest weights of a width wherever they stand."""
    return layout.fits(np.full((layout.rows, 4), top(width)), -ends(layout)[0])


EACH = [pytest.param(layout, width, id=f"{layout.name}-{width}")
        for layout in LAYOUTS.values() for width in sorted(layout.widths) if any_weights(layout, width)]


def weights(width: int, shape: tuple[int, int], rng: np.random.Generator) -> Ints:
    """Any that binding can make."""
    if width == 1:
        return rng.choice(np.array([-1, 1]), shape)
    return rng.integers(-top(width), top(width) + 1, shape)


@dataclass(frozen=True, eq=False)
class Product:
    """A matrix in a layout, and a vector."""

    layout: Layout
    W: Ints
    x: Ints

    def text(self) -> str:
        """C that computes it, and prints what differs. Arrays have exactly the elements that may be read."""
        layout, n, words = self.layout, self.W.shape[1], self.layout.pack(self.W)
        constants = layout.row_constants(self.W)
        want = (self.W @ self.x - (0 if constants is None else constants)).astype(np.int32)
        ready = layout.preparation
        reach = max(-ends(layout)[0], ends(layout)[1])
        arguments = "".join(f"{value}u, " for value in layout.literals(self.W, reach))
        return (
            f"    {{\n        static const {layout.ctype} w[] = {{{', '.join(map(str, words.tolist()))}}};\n"
            f"        static const int{16 if layout.wide else 8}_t x[] = {{{', '.join(map(str, self.x.tolist()))}}};\n"
            f"        static const int32_t want[] = {{{', '.join(c_integer(int(v)) for v in want)}}};\n"
            f"        int32_t sums[{layout.rows}];\n"
            + (f"        {ready.ctype} to[{ready.size(n)}];\n        {ready.function}(x, {n}u, to);\n" if ready else "")
            + f"        for (size_t block = 0; block < {len(self.W) // layout.rows}u; block++) {{\n"
            f"            {layout.kernel}(w + block * {words.size * layout.rows // len(self.W)}u, "
            f"{'x, ' if ready and layout.raw else ''}{'to' if ready else 'x'}, {n}u, {arguments}sums);\n"
            f'            check("{layout.name} {n}", block * {layout.rows}u, sums, want, {layout.rows}u);\n'
            "        }\n    }\n")


def c_integer(value: int) -> str:
    """An int32_t, its least too."""
    return str(value) if value > -(1 << 31) else "(-2147483647 - 1)"


def products(layout: Layout, width: int, rng: np.random.Generator, longest: bool = True) -> Iterator[Product]:
    """Random ones; then every extreme, as long as the kernel's proof allows; the longest that it does."""
    low, high = ends(layout)
    for n in COLUMNS:
        W = weights(width, (layout.rows * (1 + (n % 2)), n), rng)
        if layout.fits(W, -low):
            yield Product(layout, W, rng.integers(low, high + 1, n))
    for w, x in ((top(width), high), (top(width), low), (-top(width), low), (-top(width), high)):
        for n in (1, 9, 33):
            W = np.full((layout.rows, n), w)
            # mixed signs beside a row of extremes: what digits share must not show
            W[1::2] = weights(width, (layout.rows // 2, n), rng)
            for one in (W, W[::-1].copy()):
                if layout.fits(one, -low):
                    yield Product(layout, one, np.full(n, x))
    if longest:
        n = longest_row(layout, width)
        for sign in (1, -1):
            yield Product(layout, np.full((layout.rows, n), sign * top(width)), np.full(n, low))


def windows(rng: np.random.Generator) -> Iterator[Product]:
    """Weights of 8 bits that are proved four at a time: what is just proved, any signs; behind it, anything."""
    layout = LAYOUTS["bt_scalar7_x8"]
    for n in (4, 8, 27, 64):
        for x in (-128, 127):
            W = rng.choice(np.array([-1, 1]), (layout.rows, n)) * np.resize([127, 1, 0, 127], n)
            W[:, n // 4 * 4:] = rng.choice(np.array([-127, 127]), n % 4)
            W[0, :4] = -127, -127, -1, 0
            assert layout.fits(W, 128)
            yield Product(layout, W, np.full(n, x))
            yield Product(layout, W, rng.choice(np.array([-128, 127]), n))
            beyond = W.copy()
            beyond[0, :4] = 127, -1, 1, 127
            assert not layout.fits(beyond, 128)


def longest_row(layout: Layout, width: int, most: int = 700) -> int:
    """The most columns, up to `most`, of largest weights that the proof allows."""
    low, high = 1, most
    while low < high:
        middle = (low + high + 1) // 2
        fits = all(layout.fits(np.full((layout.rows, middle), sign * top(width)), -ends(layout)[0]) for sign in (1, -1))
        low, high = (middle, high) if fits else (low, middle - 1)
    return low


CHECK = """#include <stdio.h>
{includes}
static int wrong;
static void check(const char *what, size_t row, const int32_t *sums, const int32_t *want, size_t rows) {{
    for (size_t r = 0; r < rows; r++)
        if (sums[r] != want[row + r]) {{
            printf("%s, row %ld: got %ld, expected %ld\\n", what, (long)(row + r), (long)sums[r], (long)want[row + r]);
            wrong++;
        }}
}}
"""


def program(cases: list[Product]) -> str:
    """One function for each product, so that stacks stay small."""
    headers = dict.fromkeys(case.layout.header for case in cases)
    parts = [CHECK.format(includes="".join(f'#include "{name}"\n' for name in headers))]
    parts += [f"static void case{i}(void)\n{{\n{case.text()}}}\n" for i, case in enumerate(cases)]
    calls = "".join(f"    case{i}();\n" for i in range(len(cases)))
    end = '    printf("%d wrong\\n", wrong);\n    return wrong != 0;\n}\n'
    return "".join(parts) + f"int main(void) {{\n{calls}{end}"


def sources(names: list[str]) -> list[Path]:
    return [DEVICE / f"bt_rows_{name}.c" for name in names]


@pytest.mark.parametrize(("layout", "width"), EACH)
def test_packing_is_undone_by_unpacking(layout: Layout, width: int, rng: np.random.Generator) -> None:
    for n in COLUMNS:
        W = weights(width, (3 * layout.rows, n), rng)
        words = layout.pack(W)
        assert words.dtype == CTYPES[layout.ctype]
        assert np.array_equal(layout.unpack(words, len(W), n), W)
        # blocks follow each other, alike
        assert np.array_equal(words[:words.size // 3], layout.pack(W[:layout.rows]))


@pytest.mark.parametrize(("layout", "width"), EACH)
def test_rows_left_over_and_columns_that_are_split(layout: Layout, width: int, rng: np.random.Generator) -> None:
    """Together they are the matrix, and every part is proved."""
    reach = -ends(layout)[0]
    for n in (5, 64, 5000):
        W = weights(width, (2 * layout.rows + layout.rows // 2, n), rng)
        laid = lay_out(layout, W, reach)
        assert laid is not None
        assert laid.rows == 2 * layout.rows
        assert [p.start for p in laid.parts[1:]] == [p.stop for p in laid.parts[:-1]]
        assert (laid.parts[0].start, laid.parts[-1].stop) == (0, n)
        for part in laid.parts:
            columns = W[:laid.rows, part.start:part.stop]
            assert np.array_equal(layout.unpack(part.words, laid.rows, part.stop - part.start), columns)
            assert part.words.size % laid.blocks == 0
            assert layout.fits(columns, reach)
        if laid.constants is not None:
            assert not laid.constants[laid.rows:].any()
    assert lay_out(layout, W[:layout.rows - 1], reach) is None


@pytest.mark.parametrize(("layout", "width"), EACH)
def test_a_last_block_is_filled_up_where_that_costs_next_to_nothing(
    layout: Layout, width: int, rng: np.random.Generator
) -> None:
    W = weights(width, (50 * layout.rows - 1, 7), rng)
    laid = lay_out(layout, W, 1)
    assert laid is not None
    assert (laid.rows, laid.blocks) == (len(W), 50)
    (part,) = laid.parts
    assert np.array_equal(layout.unpack(part.words, len(W) + 1, 7)[:-1], W)
    assert laid.constants is None or len(laid.constants) == len(W)


def test_every_emulated_core_has_a_family() -> None:
    assert {t.name for t in TARGETS.values() if t.emulated} | {"any"} == CORES.keys()
    assert sum(len(family.cores) for family in FAMILIES.values()) == len(CORES)
    assert sum(len(family.layouts) for family in FAMILIES.values()) == len(LAYOUTS)


HOST = {"gcc-sanitized": ("gcc", SANITIZE), "clang-sanitized": ("clang", SANITIZE), "gcc": ("gcc", ("-O3",)),
        "c++": ("g++", ("-O2",))}


@pytest.mark.parametrize("way", HOST)
def test_plain_readers_on_the_host(way: str, tmp_path: Path, rng: np.random.Generator) -> None:
    compiler, flags = HOST[way]
    if shutil.which(compiler) is None:
        pytest.skip(f"no {compiler}")
    cases = [case for layout in LAYOUTS.values() for width in sorted(layout.widths) if any_weights(layout, width)
             for case in products(layout, width, rng)]
    cases += windows(rng)
    done = on_host(compiler, flags, cases, sources([family.name for family in WITH_KERNELS]), tmp_path)
    assert done == "0 wrong\n", done[:500]


def on_host(compiler: str, flags: tuple[str, ...], cases: list[Product], files: list[Path], folder: Path) -> str:
    """What the program of some products prints."""
    (folder / "main.c").write_text(program(cases))
    language = ("-x", "c++", "-std=c++11") if compiler == "g++" else STANDARD
    command = [compiler, *language, *WARNINGS, *flags, f"-I{files[0].parent}", str(folder / "main.c"),
               *map(str, files), "-o", str(folder / "main")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode and "san" in done.stderr and "cannot find" in done.stderr:
        pytest.skip(f"{compiler} has no sanitizers here")
    assert done.returncode == 0, done.stderr[:2000]
    ran = subprocess.run([str(folder / "main")], capture_output=True, text=True, check=False, timeout=60)
    return ran.stdout + ran.stderr


def on_core(target: Target, cases: list[Product], files: list[Path], flags: tuple[str, ...], folder: Path) -> str:
    (folder / "main.c").write_text(program(cases))
    elf = build(target, [folder / "main.c", *files], folder / "main.elf", [files[0].parent, EMULATOR],
                flags=(*STANDARD, *WARNINGS, *flags, "-ffunction-sections", "-fdata-sections"))
    return run(target, elf, count=False, timeout=60).output


@pytest.mark.parametrize("core", EMULATED)
def test_kernels_on_cores(core: str, tmp_path: Path, rng: np.random.Generator) -> None:
    """The fast kernels where the core has them, the plain readers elsewhere."""
    for family in WITH_KERNELS:
        own = core in family.cores
        for flags in (("-O2",), ("-Os",)) if own else (("-O2",),):
            for layout in family.layouts:
                widths = [width for width in sorted(layout.widths) if any_weights(layout, width)]
                cases = [case for width in (widths if own else widths[-1:])
                         for case in products(layout, width, rng, own)]
                cases += windows(rng) if layout.name == "bt_scalar7_x8" else ()
                done = on_core(TARGETS[core], cases, sources([family.name]), flags, tmp_path)
                assert done == "0 wrong\n", (layout.name, flags, done[:500])


def mutants(text: str) -> Iterator[str]:
    """The text with one operator or number changed, outside of what only some compilers see."""
    for match in re.finditer(r"(?<= )(\+|-|<<|>>|\*|/|%|<|!=|==)(?= )|\b(\d+)u\b", text):
        line = text[text.rfind("\n", 0, match.start()) + 1:text.find("\n", match.end())]
        if line.lstrip().startswith(("#", "*", "/*")) or "//" in line:
            continue
        operator, digits = match.groups()
        other = (f"{int(digits) + 1}u" if digits is not None else
                 {"+": "-", "-": "+", "<<": ">>", ">>": "<<", "*": "+", "/": "*", "%": "/", "<": "<=", "!=": "==",
                  "==": "!="}[operator])
        yield text[:match.start()] + other + text[match.end():]


READERS = {"dsp": ("bt_rows_dsp.c",), "scalar": ("bt_rows_plain.h", "bt_rows_scalar.c"),
           "helium": ("bt_rows_helium.c",)}
"""Family -> the files of its plain reader."""
MACHINE = {"m0": "bt_rows_thumb1.h", "m3": "bt_rows_thumb2.h", "rv32": "bt_rows_riscv.h", "m55": "bt_rows_helium.c",
           "m4": "bt_rows_dsp_fast.h"}
"""Core -> where its machine code is."""
MUTANTS, NOTICED = 12, 9
"""Mutants that are tried, and how many at least are noticed: some mean the same, as what only another core reads."""
Run = Callable[[list[Product], list[Path]], str]


@pytest.mark.slow
@pytest.mark.parametrize("family", READERS)
@pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc")
def test_mutants_of_the_plain_readers_are_noticed(family: str, tmp_path: Path, rng: np.random.Generator) -> None:
    """By the tests above: one operator or number of a reader changed, and a product is wrong."""
    changed = []
    for name in READERS[family]:
        text = (DEVICE / name).read_text()
        start = text.rfind("\n#else\n") + 1 if "__attribute__((naked))" in text else 0
        changed += [(name, text[:start] + mutant) for mutant in mutants(text[start:])]

    def ran(cases: list[Product], files: list[Path]) -> str:
        return on_host("gcc", (*SANITIZE, "-Wno-error"), cases, files, files[0].parent)

    survivors(family, changed, ran, tmp_path, rng)


@pytest.mark.parametrize("name", [core(name, slow=True) for name in MACHINE])
def test_mutants_of_machine_code_are_noticed(name: str, tmp_path: Path, rng: np.random.Generator) -> None:
    """One number, register or sign of a kernel changed."""
    text = (DEVICE / MACHINE[name]).read_text()
    end = text.find("\n#else\n") if MACHINE[name].endswith(".c") else len(text)

    def ran(cases: list[Product], files: list[Path]) -> str:
        return on_core(TARGETS[name], cases, files, ("-O2",), files[0].parent)

    change = mutants if name == "m4" else machine_mutants  # what is fast there is written in C but for single lines
    changed = [(MACHINE[name], mutant + text[end:]) for mutant in change(text[:end])]
    survivors(CORES[name].name, changed, ran, tmp_path, rng)


def machine_mutants(text: str) -> Iterator[str]:
    """The text with a register, a place or an addition of machine code changed."""
    for match in re.finditer(r'(?<=")(r\d|t\d|a\d|q\d)(?=")|(?<=[(#, ])(\d+)(?=[,)\\])|\b(add)(?=s? )', text):
        line = text[text.rfind("\n", 0, match.start()) + 1:text.find("\n", match.end())]
        if line.lstrip().startswith(("*", "/*", "#if", "#include")) or "/*" in line:
            continue
        register, digits, _ = match.groups()
        other = (f"{register[0]}{int(register[1:]) ^ 1}" if register else f"{int(digits) + 1}" if digits else "sub")
        yield text[:match.start()] + other + text[match.end():]


def survivors(family: str, changed: list[tuple[str, str]], ran: Run, folder: Path, rng: np.random.Generator) -> None:
    """Try some mutants, (file, text), with products of every layout of a family; fail if too few are noticed."""
    layouts = [layout for layout in LAYOUTS.values() if layout.header == f"bt_rows_{family}.h"]
    cases = [case for layout in layouts for width in sorted(layout.widths) if any_weights(layout, width)
             for case in products(layout, width, rng, longest=False)]
    outcomes: list[tuple[bool, str]] = []
    for at in rng.permutation(len(changed)):
        name, text = changed[at]
        place = folder / str(at)
        shutil.copytree(DEVICE, place)
        (place / name).write_text(text)
        line = next(new for new, old in zip(text.splitlines(), (DEVICE / name).read_text().splitlines(), strict=True)
                    if new != old)
        try:
            outcomes.append((ran(cases, [place / f"bt_rows_{family}.c"]) != "0 wrong\n", line))
        except (AssertionError, ToolError, subprocess.TimeoutExpired) as error:
            if "compile" not in str(error) and "error:" not in str(error):
                outcomes.append((True, line))  # it does not end, or leaves its memory
        if len(outcomes) == MUTANTS:
            break
    assert sum(noticed for noticed, _ in outcomes) >= NOTICED, [line for noticed, line in outcomes if not noticed]
