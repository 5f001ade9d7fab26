"""Exported C, compiled and run on this machine: every site of many networks equals the reference engine, with ==."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from bittailor.compile.image import image_of
from bittailor.compile.layouts import CORES, DEFAULT_CORE
from bittailor.core.builder import Builder
from bittailor.core.network import Network
from bittailor.core.ops.time import MEAN_MOST_STEPS
from bittailor.core.program import Program, bind
from bittailor.engines import Reference
from bittailor.engines.streaming import carried, stream
from bittailor.export import export_program
from bittailor.export.artefact import floating, foreign
from bittailor.export.c import device_files
from bittailor.export.c_fixed import Fixed
from bittailor.export.c_model import Model
from bittailor.export.c_text import source
from bittailor.export.targets import TARGETS
from firmware_host import STRICT, Built, build, compile_c, constants, runtime
from networks import (
    Case,
    gru_network,
    index_network,
    random_case,
    random_integers,
    random_parameters,
    random_plan,
    uniform_plan,
)

REFERENCE = Reference()
COMPILERS = [pytest.param(name, marks=pytest.mark.skipif(shutil.which(name) is None, reason=f"no {name}"))
             for name in ("gcc", "clang")]
needs_gcc = pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc")
TOOLS = pytest.mark.skipif(shutil.which("objdump") is None or shutil.which("nm") is None, reason="no binutils")


def chosen(seed: int) -> list[Case]:
    """What random networks may miss: each a GRU with something special."""
    rng = np.random.default_rng(seed)
    found = []

    def add(network: Network, bits: int = 8, per_row: bool = False, **widths: int) -> None:
        x = rng.normal(size=(4, 6, network.features))
        plan = random_plan(network, x, rng) if per_row else uniform_plan(network, x, bits, **widths)
        program = bind(network, plan)
        shape = (3, int(rng.integers(1, 8)), network.features)
        found.append(Case(seed, program, random_integers(rng, program.input_format, shape), None))

    one_bit = {f"W_{a}{b}": 1 for a in "ih" for b in "rzn"}
    add(gru_network(5, 9, 3), 8, **one_bit)
    add(gru_network(5, 9, 3), 8, **dict.fromkeys(one_bit, 2), h=16)
    add(gru_network(9, 33, 3, layers=2), 16)
    add(gru_network(4, 8, 3, bidirectional=True), 4)
    add(gru_network(4, 8, 3, layers=2, bidirectional=True, end="mean"), 6)
    add(gru_network(4, 8, 3, layers=2, end="sequence"), 5)
    add(gru_network(3, 7, 2, layers=2, bidirectional=True, bias=False, end="sequence"), per_row=True)
    add(gru_network(40, 12, 1, end="mean"), per_row=True)
    add(gru_network(4, 8, 3, layers=2, bidirectional=True, end="sum"), 6)
    add(gru_network(4, 8, 3, layers=2, bidirectional=True, end="max"), 6)
    add(gru_network(4, 8, 3, end="max", cell="rnn"), 16)
    add(gru_network(5, 8, 3, end="sum"), per_row=True)
    return found


def cases(rng: np.random.Generator, count: int) -> list[Case]:
    """The chosen ones and random ones."""
    seed = int(rng.integers(2**31))
    return [*chosen(seed), random_case(seed, index_network(np.random.default_rng(seed))),
            *(random_case(seed + i) for i in range(count))]


def check(built: Built, case: Case) -> None:
    """Every site of every item, and the outputs of a stream after every frame."""
    program, graph = case.program, case.program.graph
    items, steps = case.q.shape[:2]
    lengths = np.full(items, steps) if case.lengths is None else case.lengths
    want = REFERENCE.trace(program, case.q, lengths)
    for item, n in enumerate(lengths):
        y, sites = built.run(case.q[item, :n])
        for site in built.model.order.traced:
            own = n - graph.late[site]
            expected = want[site][item, :own] if graph.sites[site].sequence else want[site][item][None]
            assert np.array_equal(sites[site], expected), (case, built.model.prefix, item, site)
        expected = want[graph.outputs[0]][item]
        assert np.array_equal(y, expected[: n - built.model.late] if built.model.per_step else expected), (case, item)
    if built.model.order.streaming:
        late = built.model.late
        begun = REFERENCE.run(program, np.repeat(case.q[:1], steps - late, axis=0), np.arange(late + 1, steps + 1))
        built.call("reset", built.state)
        for t in range(steps):
            got, at = built.step(case.q[0, t]), t - late
            expected = np.zeros(len(got)) if at < 0 else begun[at, at] if built.model.per_step else begun[at]
            assert np.array_equal(got, expected), (case, t)


def fuzz(rng: np.random.Generator, compiler: str, folder: Path, count: int, *flags: str) -> None:
    found = {f"net{i}": case for i, case in enumerate(cases(rng, count))}
    longest = max(case.q.shape[1] for case in found.values())
    core = str(rng.choice(list(CORES)))
    built = build({p: case.program for p, case in found.items()}, longest, compiler, folder, flags, core)
    for p, case in found.items():
        firmware = built[p].model.image
        assert built[p].sizes == (firmware.state_bytes, firmware.scratch_bytes), case
        # a sanitiser adds constants of its own
        if shutil.which("objdump") and not any("sanitize" in flag for flag in flags):
            assert constants(folder / f"{p}.o") == (firmware.flash, firmware.flash), case
        check(built[p], case)


@pytest.mark.parametrize("compiler", COMPILERS)
def test_every_site_of_many_networks(compiler: str, rng: np.random.Generator, tmp_path: Path) -> None:
    """Strict warnings, equal integers, promised bytes: narrow, wide, per row, 1 to 16 bits, any layers and ends,
    laid out for any core."""
    fuzz(rng, compiler, tmp_path, 8, "-O1")


@pytest.mark.slow
@pytest.mark.parametrize("flags", ["-O0", "-O2", "-O3", "-Os", "-O1 -fsanitize=undefined -fno-sanitize-recover=all"])
@needs_gcc
def test_every_site_of_more_networks(flags: str, rng: np.random.Generator, tmp_path: Path) -> None:
    fuzz(rng, "gcc", tmp_path, 60, *flags.split())


# --- the shipped self-test ------------------------------------------------------------------------------------------


def joined(folder: Path, programs: dict[str, Program], steps: int, compile_: list[str], link: list[str]) -> str:
    """Export programs, compile each self-test, link all into one program, run it: what it prints."""
    objects: list[Path] = []
    shared = [f.name for f in device_files(DEFAULT_CORE) if f.suffix == ".c"]
    for p, program in programs.items():
        export_program(program, folder / p, prefix=p, steps=steps, items=2)
        files = [f"{p}/src/{p}.c", f"{p}/selftest/selftest.c"]
        for file in files + [f"{p}/src/{name}" for name in shared if not objects]:
            out = folder / f"{p}_{Path(file).stem}.o"
            compile_c([*compile_, f"-DBT_TRACE={p}_trace", "-DBT_SELFTEST_NO_MAIN", f"-I{p}/src", f"-I{p}/selftest",
                       "-c", file, "-o", out], folder)
            objects.append(out)
    includes = "".join(f'#include "{p}/selftest/{p}_selftest.h"\n' for p in programs)
    calls = "".join(f"    {p}_report {p}_r;\n    bad |= {p}_selftest(&{p}_r);\n"
                    f'    printf("{p} %lu %lu %s %s\\n", {p}_r.outputs, {p}_r.values,\n'
                    f'           {p}_r.what ? {p}_r.what : "ok", {p}_r.site);\n' for p in programs)
    (folder / "main.c").write_text(f"#include <stdio.h>\n{includes}int main(void) {{\n    int bad = 0;\n{calls}"
                                   "    return bad != 0;\n}\n")
    compile_c([*compile_, "-c", "main.c", "-o", "main.o"], folder)
    compile_c([*link, *objects, "main.o", "-o", "joined"], folder)
    done = subprocess.run([str(folder / "joined")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    return done.stdout


def some(rng: np.random.Generator, count: int) -> dict[str, Program]:
    """Programs for several networks in one firmware."""
    seed = int(rng.integers(2**31))
    found = chosen(seed)[3:7:3] + [random_case(seed + i) for i in range(count)]
    return {f"net{i}": case.program for i, case in enumerate(found)}


@pytest.mark.skipif(shutil.which("clang") is None, reason="no clang")
def test_several_networks_in_one_firmware_are_clean_under_sanitizers(rng: np.random.Generator, tmp_path: Path) -> None:
    sanitize = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    programs = some(rng, 4)
    text = joined(tmp_path, programs, 16, ["clang", *STRICT, "-O1", *sanitize], ["clang", *sanitize])
    assert [line.split()[3] for line in text.splitlines()] == ["ok"] * len(programs), text
    assert all(int(n) > 0 for line in text.splitlines() for n in line.split()[1:3]), text


@pytest.mark.skipif(shutil.which("g++") is None, reason="no g++")
def test_as_cpp(rng: np.random.Generator, tmp_path: Path) -> None:
    flags = ["-std=c++11", "-Wall", "-Wextra", "-Wconversion", "-Wpedantic", "-Werror", "-O1"]
    text = joined(tmp_path, some(rng, 1), 16, ["g++", "-x", "c++", *flags], ["g++"])
    assert all(" ok" in line for line in text.splitlines()), text


@pytest.fixture(scope="module")
def gru() -> Program:
    network = gru_network(5, 12, 3)
    x = np.random.default_rng(0).normal(size=(4, 6, 5))
    return bind(network, uniform_plan(network, x, 8, W_hr=3, n=16))


def make(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = ["make", "-s", "-C", str(folder), "CFLAGS=-O0", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@needs_gcc
@pytest.mark.skipif(shutil.which("make") is None, reason="no make")
def test_make_and_what_the_selftest_says(gru: Program, tmp_path: Path) -> None:
    """A fresh export passes; damaged golden vectors are noticed; a wrong weight is named by the first site it changes.
    """
    folder = tmp_path / "out"
    export_program(gru, folder, x=np.random.default_rng(1).normal(size=(3, 5, 5)), lengths=np.array([5, 1, 3]))
    done = make(folder, "test")
    assert done.returncode == 0, done.stdout + done.stderr
    # r.x .. h of 4 steps, the last step and the head
    assert "ok, 9 outputs of 3 items and 876 values of 19 sites" in done.stdout

    golden, code = folder / "selftest/model_golden.h", folder / "src/model.c"
    kept = golden.read_text(), code.read_text()
    golden.write_text(re.sub(r"(model_golden_y\[\] = \{\n\s+)(-?\d+)", lambda m: f"{m[1]}{int(m[2]) ^ 1}", kept[0]))
    done = make(folder, "test")
    assert "FAILED, model_golden.h is damaged: export the network again\n" in done.stdout
    for part in (0.4, 0.9):
        golden.write_text(kept[0][:int(len(kept[0]) * part)])
        done = make(folder, "test")
        assert "model_golden.h is truncated: export the network again" in done.stderr, done.stderr

    golden.write_text(kept[0])
    at = kept[1].index("/* gru0_W_hz */")
    code.write_text(kept[1][:at] + re.sub(r"0x(..)", lambda m: f"0x{int(m[1], 16) ^ 0x40:02x}", kept[1][at:], count=1))
    done = make(folder, "test")
    assert done.returncode != 0
    # the state is zero in the first step, so the weight shows in the second
    assert re.search(r"FAILED, a site differs: gru0\.z\.h, item 0, step 1, feature \d+: got -?\d+, expected -?\d+\n",
                     done.stdout), done.stdout


@needs_gcc
@pytest.mark.skipif(shutil.which("cmake") is None, reason="no cmake")
def test_cmake(gru: Program, tmp_path: Path) -> None:
    export_program(gru, tmp_path / "out", prefix="digits")
    for command in (["cmake", "-S", "out", "-B", "build"], ["cmake", "--build", "build"],
                    ["ctest", "--test-dir", "build"]):
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    assert "100% tests passed" in done.stdout


# --- the object -----------------------------------------------------------------------------------------------------


@TOOLS
@pytest.mark.parametrize("compiler", COMPILERS)
def test_no_heap_no_float_no_library(compiler: str, rng: np.random.Generator, tmp_path: Path) -> None:
    """Of the network's object and of the runtime's; and the constants are the promised bytes at every optimisation."""
    case = chosen(int(rng.integers(2**31)))[4]
    model = Model(case.program, "model", 9)
    build({"model": case.program}, 9, compiler, tmp_path)
    objects = []
    for level in ("-O0", "-O2", "-O3", "-Os"):
        objects.append(tmp_path / f"model{level}.o")
        compile_c([compiler, *STRICT, level, "-c", "model.c", "-o", objects[-1]], tmp_path)
        assert constants(objects[-1])[1] == model.image.flash
    for target in objects:
        files = [target, *runtime(compiler, ("-O1",))]
        assert foreign(TARGETS["host"], files) == []
        assert floating(TARGETS["host"], files) == []


def text_bytes(target: Path) -> int:
    out = subprocess.run(["size", str(target)], capture_output=True, text=True, check=True).stdout
    return int(out.splitlines()[1].split()[0])


@TOOLS
@needs_gcc
def test_code_does_not_grow_with_the_number_of_steps(rng: np.random.Generator, tmp_path: Path) -> None:
    network = gru_network(3, 6, 2, layers=2, bidirectional=True)
    program = bind(network, uniform_plan(network, rng.normal(size=(4, 6, 3)), 8))
    sizes, ram = [], []
    for steps in (1000, 30000):
        folder = tmp_path / str(steps)
        folder.mkdir()
        build({"model": program}, steps, "gcc", folder, ("-Os",))
        sizes.append(text_bytes(folder / "model.o"))
        ram.append(image_of(program, steps).scratch_bytes)
    assert sizes[0] == sizes[1]
    assert ram[1] > 29 * ram[0]
    stream = bind(gru_network(), uniform_plan(gru_network(), rng.normal(size=(4, 6, 5)), 8))
    assert source(Model(stream, "model", 5)) == source(Model(stream, "model", 5000))


# --- numbers at the ends ----------------------------------------------------------------------------------------------


@needs_gcc
def test_fixed_point_in_and_out(rng: np.random.Generator, tmp_path: Path) -> None:
    """The C helpers equal the package's, and are within a step of the real rounding, all 65,536 numbers considered."""
    programs = {}
    for i, bits in enumerate((2, 5, 8, 9, 16)):
        network = gru_network(1, 3, 1, seed=i, end="last")
        x = rng.normal(size=(4, 6, 1)) * 10.0 ** rng.integers(-4, 5) + rng.normal()
        programs[f"net{bits}"] = bind(network, uniform_plan(network, x, bits))
    every = np.arange(-(1 << 15), 1 << 15)
    for prefix, built in build(programs, 1, "gcc", tmp_path).items():
        program, fixed = programs[prefix], Fixed.of(programs[prefix])
        got = np.zeros(1, built.in_type)
        x = np.zeros(1, np.int16)
        values = fixed.quantise(every)
        for f, q in zip(every[::17].tolist(), values[::17].tolist(), strict=True):
            x[0] = f
            built.call("quantise", x, got)
            assert got[0] == q
        exact = program.quantise_input(every[:, None] * 2.0 ** -fixed.input_places)[:, 0]
        assert np.abs(exact - values).max() <= 1
        assert (exact == values).mean() > 0.99
        y = program.output_format
        integers = np.arange(y.qmin, y.qmax + 1)
        read = fixed.read(integers)
        for q, f in zip(integers[::7].tolist(), read[::7].tolist(), strict=True):
            got_y = np.array([q], built.out_type)
            built.call("read", got_y, x)
            assert x[0] == f
        assert np.abs(read * 2.0 ** -fixed.output_places - y.dequantise(integers)).max() <= 2.0 ** -fixed.output_places
        # the 16 bits are used: one place more would not do
        assert max(-y.low, y.high) * 2.0 ** (fixed.output_places + 1) > (1 << 15) - 1


@needs_gcc
def test_a_mean_runs_over_the_first_65535_frames(rng: np.random.Generator, tmp_path: Path) -> None:
    b = Builder()
    y = b.op("mean", "end", b.op("requantise", "wide", b.input("input", 1)))
    network = Network(b.graph(y), {})
    x = rng.normal(size=(1, MEAN_MOST_STEPS, 1))
    program = bind(network, uniform_plan(network, x, 16))
    built = build({"model": program}, 1, "gcc", tmp_path, ("-O2",))["model"]
    q = np.full((1, MEAN_MOST_STEPS, 1), program.input_format.qmin)
    q[0, ::5] = program.input_format.qmax
    want = REFERENCE.run(program, q)[0]
    built.call("reset", built.state)
    for frame in q[0]:
        y = built.step(frame)
    assert np.array_equal(y, want)
    for _ in range(5):
        y = built.step(np.array([program.input_format.qmax]))
    assert np.array_equal(y, want)
    again, _ = built.run(q[0])
    assert np.array_equal(again, want)
    long = np.zeros((MEAN_MOST_STEPS + 1, 1), np.int16)
    assert built.call("run", built.state, built.scratch, long, MEAN_MOST_STEPS + 1, None) == -1
    assert built.call("run", built.state, built.scratch, long, 0, None) == -1


@needs_gcc
def test_a_stream_may_start_in_any_state(gru: Program, rng: np.random.Generator, tmp_path: Path) -> None:
    """What is written into a state behind `reset` is where the stream begins, as the engines' `stream` has it."""
    built = build({"model": gru}, 1, "gcc", tmp_path)["model"]
    (state,) = carried(gru)
    fmt = gru.formats[state.name]
    before = rng.integers(fmt.qmin, fmt.qmax + 1, (1, state.features))
    q = random_integers(rng, gru.input_format, (1, 4, gru.graph.sites[gru.graph.inputs[0]].features))
    wanted, _ = stream(gru, q, [before])
    built.call("reset", built.state)
    members = built.state.view(np.int8 if fmt.bits <= 8 else np.int16)
    members[: state.features] = before[0]
    for frame in q[0]:
        y = built.step(frame)
    assert np.array_equal(y, wanted[0] if wanted.ndim == 2 else wanted[0, -1])


@needs_gcc
def test_output_and_head_may_be_left_out(gru: Program, rng: np.random.Generator, tmp_path: Path) -> None:
    built = build({"model": gru}, 1, "gcc", tmp_path)["model"]
    q = random_integers(rng, gru.input_format, (1, 6, 5))
    want, _ = built.run(q[0])
    built.call("reset", built.state)
    for frame in q[0, :-1]:
        built.call("step", built.state, built.scratch, np.ascontiguousarray(frame.astype(np.int8)), None)
    assert np.array_equal(built.step(q[0, -1]), want)


def test_names_cannot_break_the_code(rng: np.random.Generator, tmp_path: Path) -> None:
    """Sites called like keywords, macros, variables of the generated code, or like each other."""
    b = Builder()
    x = b.input("0.in*/", 2)
    for name in ("int", "NULL", "state", "bt_dot8_x8", "a.b", "a_b", "INT8_MAX", "x", 'quote"\\', "size_t", "ünï", "_T",
                 "y", "class", "TRACE", "linux"):
        x = b.op("requantise", name, x)
    graph = b.graph(b.linear("main", b.op("last", "memcpy", x), "rom", 2))
    network = Network(graph, random_parameters(graph, rng))
    program = bind(network, uniform_plan(network, rng.normal(size=(4, 6, 2)), 8))
    for compiler in ("gcc", "clang"):
        if shutil.which(compiler):
            folder = tmp_path / compiler
            folder.mkdir()
            built = build({"model": program}, 1, compiler, folder)["model"]
            q = random_integers(rng, program.input_format, (2, 3, 2))
            check(built, Case(0, program, q, None))
