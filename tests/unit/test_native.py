"""The native engine beyond equality (`common/test_every_engine.py`): building, wrong use, threads, memory."""

from __future__ import annotations

import gc
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from bittailor.common.lru import LruCache
from bittailor.compile.segments import NotLowered, arrange
from bittailor.core.graph import Graph
from bittailor.core.program import Binder, Program, bind
from bittailor.engines import Reference, bytecode, native_build
from bittailor.engines.lowering import Lowering
from bittailor.engines.lowering_numbers import Layout
from bittailor.engines.native import FEW, STATUS, Native
from bittailor.engines.native_build import (
    CPU,
    FLAGS,
    RUNTIME,
    TRAINING,
    VARIANTS,
    Runtime,
    Variant,
    find_compiler,
    library,
    runnable,
)
from bittailor.errors import BittailorError, RangeError
from firmware_host import WARNINGS
from networks import calibrate, gru_network, plan_of, random_plan, random_widths, uniform_plan

needs_compiler = pytest.mark.skipif(find_compiler() is None, reason="no C compiler")


# --- building -----------------------------------------------------------------------------------------------------


def test_no_compiler_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native_build, "find_compiler", lambda: None)
    message = Native().available()
    assert message is not None
    assert "\n" not in message
    assert "install gcc or clang" in message


@needs_compiler
def test_a_compiler_that_fails_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "broken-cc"
    broken.write_text("#!/bin/sh\necho 'error: this compiler is broken' >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("CC", str(broken))
    with pytest.raises(BittailorError, match="this compiler is broken"):
        library(VARIANTS["plain"], tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


@needs_compiler
def test_a_library_is_built_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library(VARIANTS["plain"], tmp_path)
    monkeypatch.setattr(native_build, "_compile", lambda *a: pytest.fail("compiled again"))
    library(VARIANTS["plain"], tmp_path)
    assert len(list(tmp_path.iterdir())) == 1


@needs_compiler
def test_processes_that_start_together_share_one_library(tmp_path: Path) -> None:
    code = ("import sys; from pathlib import Path; from bittailor.engines.native_build import Runtime, VARIANTS; "
            "print(Runtime(VARIANTS['plain'], Path(sys.argv[1])).layout.lanes)")

    def start(_: int) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)

    with ThreadPoolExecutor(6) as pool:
        results = list(pool.map(start, range(6)))
    assert [r.stdout.strip() for r in results] == ["4"] * 6, results
    assert len(list(tmp_path.iterdir())) == 1


@needs_compiler
@pytest.mark.parametrize("compiler", ["gcc", "clang"])
@pytest.mark.parametrize("variant", [*VARIANTS.values(), CPU, *TRAINING], ids=lambda v: v.name)
def test_no_warnings(compiler: str, variant: Variant, tmp_path: Path) -> None:
    if shutil.which(compiler) is None:
        pytest.skip(f"no {compiler}")
    if variant.level > int(library(CPU).bt_cpu()):
        pytest.skip("another processor family")
    command = [compiler, *FLAGS, *WARNINGS, *variant.flags, str(RUNTIME / variant.source), "-o", str(tmp_path / "x.so")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


@needs_compiler
@pytest.mark.parametrize("variant", [*VARIANTS.values(), CPU, *TRAINING], ids=lambda v: v.name)
def test_every_file_that_a_library_is_made_of_is_known(variant: Variant) -> None:
    if variant.level > int(library(CPU).bt_cpu()):
        pytest.skip("another processor family")
    command = [str(find_compiler()), *FLAGS, *variant.flags, "-MM", str(RUNTIME / variant.source)]
    rule = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    named = {Path(word).resolve() for word in rule.replace("\\\n", " ").partition(": ")[2].split()}
    known = native_build.files_of(variant.source)
    assert len(set(known)) == len(known)
    assert set(known) == named


def test_a_change_of_any_file_changes_the_library_s_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native_build, "RUNTIME", Path(shutil.copytree(RUNTIME, tmp_path / "runtime")))
    for variant in (VARIANTS["plain"], CPU, TRAINING[0]):
        names = {native_build.prebuilt_name(variant)}
        files = native_build.files_of(variant.source)
        for path in files:
            path.write_text(f"{path.read_text()}/* changed */\n")
            names.add(native_build.prebuilt_name(variant))
        assert len(names) == 1 + len(files)


def test_the_contract_names_the_files() -> None:
    contract = (RUNTIME / "bittailor.h").read_text()
    for path in (*native_build.files_of(VARIANTS["plain"].source), *native_build.files_of(CPU.source)):
        assert path.name in contract or path.parent.name == "device", path


@needs_compiler
def test_the_runtime_needs_no_heap_no_float_no_library(tmp_path: Path) -> None:
    """Only memcpy, memmove and memset may come from outside."""
    target = tmp_path / "x.o"
    flags = [flag for flag in FLAGS if flag != "-shared"]
    subprocess.run([str(find_compiler()), *flags, *VARIANTS["one-lane"].flags, "-c",
                    str(RUNTIME / VARIANTS["one-lane"].source), "-o", str(target)], check=True)
    symbols = subprocess.run(["nm", "-u", str(target)], capture_output=True, text=True, check=True).stdout.split()
    assert set(symbols) - {"U"} <= {"memcpy", "memmove", "memset", "_GLOBAL_OFFSET_TABLE_", "__stack_chk_fail"}


def test_an_unknown_variant_is_refused() -> None:
    message = Native("avx1024").available()
    assert message is not None
    assert "avx1024" in message


# --- wrong use of the C functions ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def simple() -> tuple[Runtime, np.ndarray, np.ndarray, Program]:
    if find_compiler() is None:
        pytest.skip("no C compiler")
    network = gru_network(5, 9, 3)
    x = np.random.default_rng(0).normal(size=(10, 6, 5))
    program = bind(network, uniform_plan(network, x, 8))
    runtime = Runtime(VARIANTS[runnable()[0]])
    return runtime, Lowering(runtime.layout)(program), program.quantise_input(x).astype(np.int8), program


def _call(simple, **changes):  # type: ignore[no-untyped-def]
    runtime, code, q, _ = simple
    need = runtime.c.bt_scratch(code.ctypes.data, code.nbytes, 6)
    out, scratch = np.zeros((10, 3), np.int64), np.zeros(need, np.uint8)
    lengths = np.full(10, 6, np.int32)
    a = {"program": code.ctypes.data, "bytes": code.nbytes, "input": q.ctypes.data, "input_bytes": q.nbytes,
         "input_size": 1, "lengths": lengths.ctypes.data, "items": 10, "steps": 6, "first": 0, "last": 10,
         "output": out.ctypes.data, "output_bytes": out.nbytes, "scratch": scratch.ctypes.data,
         "scratch_bytes": scratch.nbytes}
    if "length" in changes:
        lengths[3] = changes.pop("length")
    return runtime.c.bt_run(*(a | changes).values())


WRONG = {
    "null or unaligned": [{"program": None}, {"input": None}, {"output": None}, {"scratch": None}, {"program": 12345}],
    "damaged program": [{"bytes": 0}, {"bytes": 100}, {"bytes": 200}],
    "too short": [{"input_bytes": 299}, {"output_bytes": 239}, {"scratch_bytes": 1000}, {"scratch_bytes": 0},
                  {"items": 11}, {"steps": 7}, {"steps": 0}, {"steps": 2**40}, {"items": 2**62}, {"last": 11},
                  {"first": 9, "last": 8}, {"input_size": 3}, {"input_size": 2}, {"input_size": 0}],
    "length": [{"length": 0}, {"length": 7}, {"length": -1}],
}
CODES = {"null or unaligned": 1, "damaged program": 2, "too short": 3, "length": 4}


def test_right_use_is_accepted(simple) -> None:  # type: ignore[no-untyped-def]
    assert _call(simple) == 0
    assert _call(simple, lengths=None) == 0
    assert _call(simple, first=3, last=3) == 0


@pytest.mark.parametrize(("kind", "change"), [(k, c) for k, changes in WRONG.items() for c in changes])
def test_wrong_use_gives_a_status(simple, kind: str, change: dict[str, int]) -> None:  # type: ignore[no-untyped-def]
    assert _call(simple, **change) == CODES[kind]
    assert CODES[kind] in STATUS


def test_input_out_of_range_gives_a_status(simple) -> None:  # type: ignore[no-untyped-def]
    runtime, _, q, _program = simple
    network = gru_network(5, 9, 3)
    narrow = bind(network, uniform_plan(network, np.random.default_rng(0).normal(size=(10, 6, 5)), 3))
    code = Lowering(runtime.layout)(narrow)
    assert _call((runtime, code, q, narrow)) == 5


def test_a_program_for_other_lanes_is_refused(simple) -> None:  # type: ignore[no-untyped-def]
    runtime, _, q, program = simple
    other = Layout(runtime.layout.lanes * 2, runtime.layout.items, runtime.layout.widths8, runtime.layout.split)
    assert _call((runtime, Lowering(other)(program), q, program)) == 2


# --- the engine ---------------------------------------------------------------------------------------------------


@needs_compiler
def test_threads_do_not_change_results(rng: np.random.Generator) -> None:
    network = gru_network(6, 20, 4, bidirectional=True)
    x = rng.normal(size=(50, 7, 6))
    ranges = calibrate(network, x)
    programs = []
    for _ in range(9):
        widths = random_widths(network, rng, "narrow") | {"input": 8}
        programs.append(bind(network, plan_of(network, ranges, widths)))
    q, lengths = programs[0].quantise_input(x), rng.integers(1, 8, 50)
    want = [Reference().run(p, q, lengths) for p in programs]
    for threads in (1, 2, 3, 8):
        engine = Native(threads=threads)
        for many in (programs, programs[:1], programs[:3]):
            for got, expected in zip(engine.run_many(many, q, lengths), want, strict=False):
                assert np.array_equal(got, expected)


@needs_compiler
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("items", range(1, FEW + 3))
def test_few_sequences_in_smaller_tiles(items: int, bits: int, rng: np.random.Generator) -> None:
    network = gru_network(6, 20, 4, bidirectional=True)
    x = rng.normal(size=(items, 7, 6))
    program = bind(network, uniform_plan(network, x, bits))
    q, lengths = program.quantise_input(x), rng.integers(1, 8, items)
    engine = Native(threads=2)
    if native_build.few_of(engine.runtime.name) is None:
        pytest.skip("this machine has no such variant")
    assert engine._for(items)[0].layout.items == (2 if items <= FEW else 8)
    assert np.array_equal(engine.run(program, q, lengths), Reference().run(program, q, lengths))
    assert Native("one-lane").few is None  # one that was asked for runs everything


@needs_compiler
def test_an_error_in_a_thread_reaches_the_caller(rng: np.random.Generator) -> None:
    network = gru_network(2, 3, 2, end="mean")
    x = rng.normal(size=(2, 3, 2))
    program = bind(network, uniform_plan(network, x, 8))
    with pytest.raises(RangeError, match="at most 65535"):
        Native().run_many([program] * 3, np.zeros((1, 65536, 2), np.int8))


@needs_compiler
def test_what_cannot_be_lowered_runs_on_the_reference(rng: np.random.Generator, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    network = gru_network(3, 4, 2)
    x = rng.normal(size=(5, 4, 3))
    program = bind(network, uniform_plan(network, x, 8))
    q = program.quantise_input(x)
    engine = Native()

    def refuse(program: Program) -> None:
        raise NotLowered("an operator of the future")

    monkeypatch.setattr(engine, "lowering", refuse)
    assert np.array_equal(engine.run(program, q), Reference().run(program, q))


def test_unknown_structure_is_not_lowered() -> None:
    graph = gru_network(3, 4, 2).graph
    two = Graph(graph.sites, graph.steps, (*graph.inputs, "other"), graph.outputs)
    with pytest.raises(NotLowered):
        arrange(two)


def test_the_cache_forgets_the_oldest() -> None:
    memory: LruCache[int, str] = LruCache(10, len)
    memory.put(1, "aaaa")
    memory.put(2, "bbbb")
    assert memory.get(1) == "aaaa"
    memory.put(3, "cccc")
    assert memory.get(2) is None
    assert memory.get(1) == "aaaa"
    memory.put(1, "a" * 50)
    assert len(memory) == 1


@needs_compiler
@pytest.mark.slow
def test_memory_stays_flat(rng: np.random.Generator) -> None:
    """4,000 programs with constants of their own, as a search makes them, leave no more than the bounded caches."""
    import resource

    network = gru_network(8, 32, 4)
    x = rng.normal(size=(16, 8, 8))
    engine = Native()
    sizes: list[int] = []
    for _ in range(4):
        for _ in range(1000):
            program = bind(network, random_plan(network, x, rng, "narrow"))
            engine.run(program, program.quantise_input(x))
        gc.collect()
        sizes.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    assert sizes[3] - sizes[0] < 96 << 10, sizes  # KiB
    assert sizes[3] - sizes[2] < 16 << 10, sizes


@needs_compiler
def test_preparation_is_fast(rng: np.random.Generator) -> None:
    """Well under 1 ms per genome once its operators have been seen (the benchmark has the exact figures)."""
    import time

    network = gru_network(28, 64, 10)
    ranges = calibrate(network, rng.normal(size=(4, 5, 28)))
    plans = [plan_of(network, ranges, random_widths(network, rng, "narrow")) for _ in range(30)]
    binder, lowering = Binder(network), Native().lowering
    for plan in plans:
        lowering(binder.bind(plan))
    start = time.thread_time()
    for plan in plans:
        lowering(binder.bind(plan))
    assert (time.thread_time() - start) / len(plans) < 1e-3


@needs_compiler
def test_the_format_in_python_is_the_format_in_c(tmp_path: Path) -> None:
    structs = ("header", "buffer", "segment", "phase", "instr")
    names = (
        "SEQUENCE", "STEP", "STATE", "LOOP", "ONCE", "LAST", "FIRST", "MEAN", "LOAD8", "LOAD16", "STORE8",
        "STORE16", "LINEAR8", "LINEAR8W", "LINEAR16", "LINEAR16W", "LINEAR64W", "ADD", "ADDW", "SCALE",
        "SCALEW", "MUL", "MULW", "LOOKUP8", "LOOKUP16", "KNOTS", "MAGIC", "VERSION", "NONE",
    )
    prints = [f'printf("%lu\\n", (unsigned long)sizeof(bt_{s}));' for s in structs]
    prints += [f'printf("%lu\\n", (unsigned long)BT_{n});' for n in names]
    (tmp_path / "f.c").write_text('#include <stdio.h>\n#include "bittailor.h"\nint main(void) {'
                                  + "\n".join(prints) + "return 0; }")
    subprocess.run([str(find_compiler()), f"-I{RUNTIME}", "-o", str(tmp_path / "f"), str(tmp_path / "f.c")], check=True)
    out = subprocess.run([str(tmp_path / "f")], capture_output=True, text=True, check=True).stdout.split()
    expected = [getattr(bytecode, s.upper()).size for s in structs] + [getattr(bytecode, n) for n in names]
    assert [int(word) for word in out] == expected


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_children_forked_while_threads_compute_do_not_hang() -> None:
    script = Path(__file__).parent / "fork_while_computing.py"
    done = subprocess.run([sys.executable, "-W", "ignore", str(script)], capture_output=True, text=True, timeout=300,
                          check=False)
    assert done.stdout == "0 of 12 children hang\n", done.stderr
