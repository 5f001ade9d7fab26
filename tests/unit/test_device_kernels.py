"""The kernels of exported networks give the package's integers, on the host and on every core, in every variant."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from bittailor.compile.device import ELEMENT_BITS
from bittailor.core import arith
from bittailor.core.arith import Lookup, Rescale, pack, unpack
from bittailor.core.ops import OPS
from bittailor.core.ops.forms import Averaged
from bittailor.core.qformat import QFormat
from bittailor.engines.native_build import RUNTIME
from bittailor.export.targets import EMULATOR, STANDARD, TARGETS, build, compile_object, run, symbols
from cores import EMULATED
from firmware_host import WARNINGS
from values import edges

DEVICE = RUNTIME / "device"
DRIVER = Path(__file__).parent / "device_kernels.c"
SOURCES = [DEVICE / "bt_dot.c", DRIVER]
WIDTHS, STORAGES = range(1, 17), (8, 16)
FIRST, LONGEST = 15, 40
DOT, OPERATIONS = 0, 1
CALLS = ("rescale", "rescale2", "rescale_wide", "rescale2_wide", "lookup8", "lookup16", "knots", "mean", "bits",
         "bits_wide", "element")
SANITIZE = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g", "-O1")
Ints = NDArray[np.int64]


@dataclass
class Cases:
    """What the driver is given, and what it must return: a line that says what it is, and the integer."""

    data: bytearray = field(default_factory=bytearray)
    names: list[str] = field(default_factory=list)
    want: list[int] = field(default_factory=list)

    def head(self, *numbers: int) -> None:
        self.data += np.array(numbers, np.int32).tobytes()

    def dots(self, bits: int, storage: int, weights: Ints, x: Ints, first: int, shortest: int, longest: int) -> None:
        """All dot products from 0..first of shortest..longest weights."""
        packed = pack(weights, bits)
        assert np.array_equal(unpack(packed, bits, weights.shape), weights)
        self.head(DOT, bits, storage, packed.size, x.size, first, shortest, longest)
        self.data += x.astype(np.int16).tobytes() + packed.tobytes()
        for start in range(first + 1):
            sums = np.concatenate([[0], np.cumsum(weights[start:start + longest] * x[:longest])])
            for n in range(shortest, longest + 1):
                name = f"{bits}_x{storage}(w, {start}, x, {n})"
                self.names += [f"bt_dot{name}", f"bt_dotl{name}"]
                self.want += [int(sums[n].astype(np.int32)), int(sums[n])]

    def operations(self, data: bytes, records: list[tuple[str, tuple[int, ...], int]]) -> None:
        """(call, operands, result), where tables and packed integers are `data`."""
        self.head(OPERATIONS, 0, 0, len(data), len(records), 0, 0, 0)
        rows = np.zeros((len(records), 9), np.int64)
        for row, (call, operands, result) in zip(rows, records, strict=True):
            row[0] = CALLS.index(call)
            row[1:1 + len(operands)] = operands
            self.names.append(f"bt_{call}{operands}")
            self.want.append(int(result))
        self.data += data + rows.tobytes()

    def check(self, results: bytes) -> None:
        """Name the first difference."""
        got = np.frombuffer(results, np.int64)
        assert got.size == len(self.want)
        wrong = np.flatnonzero(got != np.array(self.want))
        assert wrong.size == 0, f"{wrong.size} differ; {self.names[wrong[0]]}: {got[wrong[0]]}, {self.want[wrong[0]]}"


def weights_of(bits: int, rng: np.random.Generator, count: int) -> Ints:
    if bits == 1:
        return rng.choice(np.array([-1, 1]), count)
    # the lowest integer is no weight, but a kernel may meet it and must not mind
    return rng.integers(-(1 << (bits - 1)), 1 << (bits - 1), count)


def dot_cases(rng: np.random.Generator) -> Cases:
    """Random ones at every offset and length; then extremes, and rows longer than a 32-bit sum can be."""
    cases, count = Cases(), FIRST + LONGEST
    for bits in WIDTHS:
        most = max(1, (1 << (bits - 1)) - 1)
        for storage in STORAGES:
            low, high = -(1 << (storage - 1)), (1 << (storage - 1)) - 1
            x = rng.integers(low, high + 1, LONGEST)
            cases.dots(bits, storage, weights_of(bits, rng, count), x, FIRST, 0, LONGEST)
            for w, a in ((most, high), (most, low), (-most, low), (-most, high)):
                cases.dots(bits, storage, np.full(count, w), np.full(LONGEST, a), 1, LONGEST - 8, LONGEST)
            # one weight at a time: the wrong place names itself
            for k in (*range(9), LONGEST - 1):
                x = np.where(np.arange(LONGEST) == k, high, 0)
                cases.dots(bits, storage, weights_of(bits, rng, count), x, 7, LONGEST, LONGEST)
            for w, a in ((most, low), (-most, low)):
                cases.dots(bits, storage, np.full(605, w), np.full(600, a), 5, 600, 600)
    return cases


def bits_cases(rng: np.random.Generator) -> Cases:
    cases = Cases()
    for bits in range(1, 63):
        if bits == 1:
            values = rng.choice(np.array([-1, 1]), 20)
        else:
            ends = np.array([-(1 << (bits - 1)), (1 << (bits - 1)) - 1, 0, -1])
            values = np.concatenate([ends, rng.integers(ends[0], ends[1], 16, endpoint=True)])
        calls = ["bits_wide"] if bits > 32 else ["bits", "bits_wide"]
        cases.operations(pack(values, bits).tobytes(), [
            (call, (i, bits), int(v)) for call in calls for i, v in enumerate(values)])
        for count in range(1, 21) if 1 < bits <= ELEMENT_BITS else ():
            packed = pack(values[:count], bits)
            if packed.size >= max((i * bits % 8 + bits + 7) // 8 for i in range(8)):
                cases.operations(packed.tobytes(), [
                    ("element", (i, bits, packed.size), int(v)) for i, v in enumerate(values[:count])])
    return cases


def rescale_cases(rng: np.random.Generator) -> Cases:
    """Against arith.Rescale, with all that it proves: operands as large as the sums allow."""
    cases = Cases()
    records: list[tuple[str, tuple[int, ...], int]] = []
    for _ in range(400):
        wide = bool(rng.integers(2))
        limit, word = (63, 48) if wide else (31, 30)
        shift = int(rng.integers(0, arith.WIDEST_SHIFT[wide] + 1))
        lo, hi = sorted(int(v) for v in rng.integers(-(1 << 15), 1 << 15, 2))
        multipliers = [int(rng.integers(0, 1 << int(rng.integers(1, 31)))) for _ in range(2)]
        offset = int(rng.integers(-(1 << (limit - 2)), 1 << (limit - 2)))
        room = [((1 << (limit - 2)) - 1) // max(m, 1) for m in multipliers]
        reach = [min(r, (1 << word) - 1) for r in room]
        pair_reach = [min(r, (1 << 31) - 1) for r in room]
        for ends in (1, -1, 0):
            one = ends * reach[0] or int(rng.integers(-reach[0], reach[0], endpoint=True))
            two = [ends * r or int(rng.integers(-r, r, endpoint=True)) for r in pair_reach]
            single = Rescale((np.array([multipliers[0]]),), shift, offset, wide, lo, hi)
            double = Rescale(tuple(np.array([m]) for m in multipliers), shift, offset, wide, lo, hi)
            tail = "_wide" if wide else ""
            records.append((f"rescale{tail}", (one, multipliers[0], offset, shift, lo, hi),
                            int(single(np.array([one]))[0])))
            records.append((f"rescale2{tail}", (two[0], multipliers[0], two[1], multipliers[1], offset, shift, lo, hi),
                            int(double(*(np.array([v]) for v in two))[0])))
    cases.operations(b"", records)
    return cases


def lookup_cases(rng: np.random.Generator) -> Cases:
    """Tables and knots of every pair of widths, at every integer (knots: around each knot and at the ends)."""
    cases = Cases()
    for source_bits in range(2, 17):
        for out_bits in range(2, 17):
            source = QFormat("activation", source_bits, (2.0 ** (3 - source_bits),), 0)
            scale, zero = 2.0 ** (1 - out_bits), 0 if out_bits > 8 else int(rng.integers(-1, 2))
            out = QFormat("activation", out_bits, (scale,), zero)
            lookup: Lookup = arith.make_lookup(np.tanh, source, out)
            if lookup.step == 0:
                q = np.arange(source.qmin, source.qmax + 1)
            else:
                places = edges(source.qmin, source.qmax) + rng.integers(source.qmin, source.qmax, 20).tolist()
                q = np.array(sorted(set(places)))
            y = lookup(q)
            if lookup.step:
                call, kind, more = "knots", np.int16, (lookup.step, lookup.guard, lookup.lo, lookup.hi)
            else:
                call, kind, more = ("lookup8", np.int8, ()) if out_bits <= 8 else ("lookup16", np.int16, ())
            entries = lookup.entries.astype(kind)
            assert np.array_equal(entries, lookup.entries)
            cases.operations(entries.tobytes(), [(call, (int(a), lookup.qmin, *more), int(b))
                                                 for a, b in zip(q, y, strict=True)])
    return cases


def mean_cases(rng: np.random.Generator) -> Cases:
    """Against the operator, by sequences of one repeated value and a rest."""
    cases = Cases()
    records: list[tuple[str, tuple[int, ...], int]] = []
    op = OPS["mean"]
    for bits in (2, 8, 9, 16):
        for _ in range(30):
            zero = int(rng.integers(-(1 << (bits - 1)), 1 << (bits - 1))) if bits <= 8 else 0
            x = QFormat("activation", bits, (float(rng.uniform(0.01, 1)),), zero)
            y = QFormat("activation", int(rng.integers(2, 17)), (float(rng.uniform(0.01, 1)),), 0)
            rescale = arith.make_rescale([x.scale[0] / y.scale[0]], [x.reach], y, sum_bits=46)
            for steps in (1, 2, 3, int(rng.integers(4, 100)), 65535):
                ends = (x.qmin, x.qmax, None)[int(rng.integers(3))]
                q = (rng.integers(x.qmin, x.qmax, steps, endpoint=True) if ends is None
                     else np.full(steps, ends))
                want = op.integers(Averaged(rescale), (x,), [q[None, :, None]], np.array([steps]))
                records.append(("mean", (int((q - zero).sum()), steps, int(rescale.multipliers[0][0]), rescale.offset,
                                         rescale.shift, rescale.lo, rescale.hi), int(want[0, 0])))
    cases.operations(b"", records)
    return cases


KINDS = {"dots": dot_cases, "bits": bits_cases, "rescale": rescale_cases, "lookup": lookup_cases, "mean": mean_cases}


def all_cases(rng: np.random.Generator) -> Cases:
    whole = Cases()
    for make in KINDS.values():
        cases = make(rng)
        whole.data += cases.data
        whole.names += cases.names
        whole.want += cases.want
    return whole


HOST = {
    # every call is given arrays of exactly the bytes that it may read, and the sanitizers watch
    "gcc-sanitized": ("gcc", STANDARD, SANITIZE),
    "clang-sanitized": ("clang", STANDARD, SANITIZE),
    "c++": ("g++", ("-x", "c++", "-std=c++11"), ("-O2",)),
    "gcc": ("gcc", STANDARD, ("-O2",)),
    "clang": ("clang", STANDARD, ("-O3",)),
    "unoptimised": ("gcc", STANDARD, ("-O0",)),
}
LATER = {"gcc", "clang", "unoptimised"}


@pytest.mark.parametrize("way", [pytest.param(w, marks=[pytest.mark.slow] if w in LATER else []) for w in HOST])
def test_on_the_host(way: str, tmp_path: Path, rng: np.random.Generator) -> None:
    compiler, standard, flags = HOST[way]
    if shutil.which(compiler) is None:
        pytest.skip(f"no {compiler}")
    elf, cases, includes = tmp_path / "kernels", all_cases(rng), (f"-I{DEVICE}", f"-I{EMULATOR}")
    kernels, rest = tmp_path / "kernels.o", [tmp_path / "driver.o", tmp_path / "host.o"]
    library = "g++" if compiler == "g++" else compiler
    driver = "gcc" if compiler == "g++" else compiler
    commands = [
        [compiler, *standard, *WARNINGS, *flags, *includes, "-c", str(DEVICE / "bt_dot.c"), "-o", str(kernels)],
        [driver, *STANDARD, *WARNINGS, *flags, *includes, "-DEXACT", "-c", str(DRIVER), "-o", str(rest[0])],
        [driver, "-std=gnu99", *includes, "-c", str(EMULATOR / "host.c"), "-o", str(rest[1])],
        [library, *flags, str(kernels), *map(str, rest), "-o", str(elf)],
    ]
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if flags is SANITIZE and command is commands[-1] and done.returncode and "san" in done.stderr:
            pytest.skip(f"{compiler} has no sanitizers here")
        assert done.returncode == 0, done.stderr
    ran = run(TARGETS["host"], elf, {"cases.bin": bytes(cases.data)}, count=False)
    assert ran.status == 0, ran.output
    cases.check(ran.files["results.bin"])


VARIANTS: dict[str, tuple[tuple[str, ...], set[str]]] = {
    "best": (("-O2",), {t.name for t in TARGETS.values() if t.emulated}),
    "small": (("-Os",), {"m0", "m4", "m55", "rv32"}),
    "plain": (("-O2", "-DBT_PLAIN"), {"m4", "m33", "m55"}),
    "no-helium": (("-O2", "-DBT_NO_HELIUM"), {"m55"}),
    "aligned": (("-O2", "-mno-unaligned-access"), {"m4"}),
    "unoptimised": (("-O0",), {"m4", "m55"}),
}
"""Flags, and the cores on which they make a difference."""


def on_cores() -> list[object]:
    """(core, variant): the best on two cores always, everything else as slow."""
    found = []
    for variant, (_, names) in VARIANTS.items():
        for name in names:
            (param,) = [p for p in EMULATED if p.id == name]
            marks = list(param.marks) + ([] if variant == "best" else [pytest.mark.slow])
            found.append(pytest.param(name, variant, id=f"{name}-{variant}", marks=marks))
    return sorted(found, key=lambda p: str(p.id))


@pytest.mark.parametrize(("core", "variant"), on_cores())
def test_on_a_core(core: str, variant: str, tmp_path: Path, rng: np.random.Generator) -> None:
    cases = all_cases(rng)
    flags = (*STANDARD, *WARNINGS, *VARIANTS[variant][0], "-ffunction-sections")
    elf = build(TARGETS[core], SOURCES, tmp_path / "kernels.elf", includes=[DEVICE], flags=flags)
    ran = run(TARGETS[core], elf, {"cases.bin": bytes(cases.data)}, count=False)
    assert ran.status == 0, ran.output
    cases.check(ran.files["results.bin"])


@pytest.mark.parametrize("core", EMULATED)
def test_only_what_is_called_is_linked(core: str, tmp_path: Path) -> None:
    """One kernel brings itself and what handles ragged rows; nothing of the others, no data, no library but memcpy."""
    target, main = TARGETS[core], tmp_path / "main.c"
    main.write_text('#include "bt_dot.h"\n'
                    "static const uint8_t w[8] = {1};\nint main(void) {\n"
                    "    volatile int8_t x[8] = {1};\n    const int8_t y[8] = {x[0]};\n"
                    "    return bt_dot5_x8(w, 0, y, 8) + bt_bits(w, 1, 3);\n}\n")
    elf = build(target, [DEVICE / "bt_dot.c", main], tmp_path / "one.elf", includes=[DEVICE])
    linked = {s.name for s in symbols(target, elf) if s.name.startswith("bt_")}
    assert {"bt_dot5_x8", "bt_bits"} <= linked <= {"bt_dot5_x8", "bt_bits", "bt_few_x8", "bt_ragged_x8"}
    made = compile_object(target, DEVICE / "bt_dot.c", tmp_path / "bt_dot.o")
    assert {s.name for s in symbols(target, made) if s.kind == "U"} <= {"memcpy"}
    assert not [s for s in symbols(target, made) if s.kind in "dDbBrR" and s.size]
