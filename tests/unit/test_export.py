"""Exporting beyond the C itself (`test_export_c.py`): names, memory, bytes, picking, the command line."""

from __future__ import annotations

import subprocess
import sys
import time
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import bittailor as bt
from bittailor.cli.actions import export_solution
from bittailor.compile.image import SIZES, image_of
from bittailor.compile.layouts import CORES
from bittailor.compile.liveness import liveness_of
from bittailor.compile.order import order_of
from bittailor.core.arith import pack
from bittailor.core.builder import Builder
from bittailor.core.cells import CELLS, add_layer
from bittailor.core.graph import Graph
from bittailor.core.network import Network
from bittailor.core.ops.forms import Tabulated
from bittailor.core.program import Program, bind
from bittailor.cost import account
from bittailor.errors import BittailorError, FileError, UnsupportedNetwork
from bittailor.export import c_ops, check_files, export_program
from bittailor.export.c_model import Model
from bittailor.export.c_names import KEYWORDS, check_prefix, identifier, plain
from bittailor.export.c_text import source
from networks import gru_network, random_case, random_network, random_parameters, uniform_plan


def program_of(network: Network, bits: int = 8, **widths: int) -> Program:
    x = np.random.default_rng(0).normal(size=(4, 6, network.features))
    return bind(network, uniform_plan(network, x, bits, **widths))


# --- names ----------------------------------------------------------------------------------------------------------


@given(st.lists(st.text(max_size=12), max_size=30))
def test_identifiers_are_identifiers_and_unique(names: list[str]) -> None:
    used: set[str] = set()
    found = [identifier(name, used) for name in names]
    assert len(set(found)) == len(names)
    for name in found:
        assert name.isascii()
        assert name.isidentifier()
        assert name not in KEYWORDS
        assert not name.startswith(("_", "bt_"))
        assert "__" not in name


@given(st.text())
def test_plain_text_ends_no_comment_and_no_string(text: str) -> None:
    safe = plain(text)
    assert safe.isascii()
    assert safe.isprintable()
    assert not any(trap in safe for trap in ("*/", "/*", "??", "\\", '"'))


@pytest.mark.parametrize(("prefix", "words"), [
    ("1st", "no C identifier"), ("", "no C identifier"), ("my-net", "no C identifier"), ("größe", "no C identifier"),
    ("a b", "no C identifier"), ("while", "keyword"), ("template", "keyword"), ("_net", "reserved"),
    ("bt_x", "reserved"), ("a__b", "reserved"), ("main", "reserved"), ("n" * 41, "41 characters"),
])
def test_bad_prefixes(prefix: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(BittailorError, match=words) as caught:
        export_program(program_of(gru_network()), tmp_path / "out", prefix=prefix)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_good_prefixes() -> None:
    for prefix in ("model", "Model2", "a", "net_1", "selftests"):
        check_prefix(prefix)


# --- order and memory -----------------------------------------------------------------------------------------------


def test_a_gru_keeps_only_its_state_and_the_next() -> None:
    live = liveness_of(gru_network(5, 16, 3).graph)
    order = live.order
    assert order.streaming
    assert list(live.vectors) == ["gru0.h"]
    assert order.alias == {"end": "gru0.h"}
    found = image_of(program_of(gru_network(5, 16, 3)), core="any")
    assert (found.state_bytes, found.scratch_bytes, found.ram, found.peak) == (16, 16, 32, 32 + 5 + 3)
    assert image_of(program_of(gru_network(5, 16, 3), h=12), core="any").ram == 64


def test_vectors_that_kernels_want_ready_are_counted() -> None:
    """On cores with DSP instructions: the sum of a vector and pairs of 16 bits, of the input and of the state, in use
    together; a head made ready after them shares their memory."""
    found = image_of(program_of(gru_network(5, 16, 8)), core="m4")
    assert [ready.size for ready in found.blocks.ready] == [1 + 3, 1 + 8, 1 + 8]
    assert found.scratch_bytes == 16 + 4 * (1 + 3) + 4 * (1 + 8)


def test_layers_share_their_scratch() -> None:
    one, three = (image_of(program_of(gru_network(5, 16, 3, layers=n)), core="any") for n in (1, 3))
    assert three.state_bytes == 3 * one.state_bytes
    assert three.scratch_bytes == one.scratch_bytes


def test_a_state_that_nothing_else_reads_is_written_in_place() -> None:
    b = Builder()
    h = add_layer(b, CELLS["mingru"], "mingru0", b.input("input", 3), 8)
    graph = b.graph(b.linear("out", b.op("last", "end", h), "W", 2))
    network = Network(graph, random_parameters(graph, np.random.default_rng(0)))
    assert liveness_of(network.graph).in_place
    assert image_of(program_of(network), core="any").scratch == ()


def test_two_directions_and_their_last_steps_need_no_sequence() -> None:
    live = liveness_of(gru_network(5, 8, 3, bidirectional=True).graph)
    order = live.order
    assert not order.streaming
    assert [p.reverse for p in order.passes] == [False, True]
    assert not live.sequences
    export = Model(program_of(gru_network(5, 8, 3, bidirectional=True)), "model")
    assert export.limit is None


def test_sequences_between_passes_need_the_longest(tmp_path: Path) -> None:
    program = program_of(gru_network(5, 8, 3, layers=2, bidirectional=True))
    with pytest.raises(BittailorError, match="give the number of steps") as caught:
        export_program(program, tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert image_of(program, 40).scratch_bytes - image_of(program, 20).scratch_bytes == 20 * 24
    with pytest.raises(BittailorError, match="at most 65535"):
        image_of(program_of(gru_network(5, 8, 3, layers=2, bidirectional=True, end="mean")), 65536)


@pytest.mark.parametrize("seed", range(40))
def test_vectors_that_share_memory_are_never_alive_together(seed: int) -> None:
    program, core = random_case(seed).program, list(CORES)[seed % len(CORES)]
    live = liveness_of(program.graph)
    spans = {**{(s, False): t for s, t in live.vectors.items()}, **{(s, True): t for s, t in live.sequences.items()}}
    found = image_of(program, 7, core)
    spans |= {(ready.name, False): ready.span for ready in found.blocks.ready}
    assert sum(len(slot.vectors) for slot in found.scratch) == len(spans)
    for slot in found.scratch:
        for a, b in combinations(slot.vectors, 2):
            (first_a, last_a), (first_b, last_b) = spans[a.site, a.steps > 0], spans[b.site, b.steps > 0]
            assert last_a < first_b or last_b < first_a, (a, b)
    # widest first, so that no member is padded
    for widths in ([SIZES[v.ctype] for v in found.state], [slot.align for slot in found.scratch],
                   [SIZES[a.ctype] for a in found.arrays]):
        assert widths == sorted(widths, reverse=True)


@pytest.mark.parametrize("seed", range(40))
def test_every_loop_comes_after_what_it_reads(seed: int) -> None:
    graph = random_network(np.random.default_rng(seed)).graph
    order, done = order_of(graph), {graph.inputs[0]}
    previous = set(order.states.values())
    for phase in order.phases:
        for ins in phase.body:
            for name in ins.reads:
                assert name in done | phase.made | previous | set(order.alias) | set(order.kept), (seed, name)
        done |= phase.made
    assert {s.name for s in graph.sites.values() if s.kind == "activation"} == (
        done | previous | set(order.alias) | set(order.kept))


def test_what_cannot_be_exported_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    graph = gru_network().graph
    with pytest.raises(UnsupportedNetwork, match="more than one input"):
        order_of(Graph(graph.sites, graph.steps, (*graph.inputs, "other"), graph.outputs))
    monkeypatch.setattr(c_ops, "EMITTERS", {f: emit for f, emit in c_ops.EMITTERS.items() if f is not Tabulated})
    with pytest.raises(UnsupportedNetwork, match="has no form for operator sigmoid, tanh"):
        export_program(program_of(gru_network()), tmp_path / "out")
    assert not (tmp_path / "out").exists()


# --- bytes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(30))
def test_the_image_is_the_account_without_duplicates(seed: int) -> None:
    program = random_case(seed).program
    found, stored = image_of(program, 7, "any"), account(program)
    contents = [(a.ctype, a.bits, a.values.tobytes()) for a in found.arrays]
    assert len(set(contents)) == len(contents)
    assert sum(len(a.owners) for a in found.arrays) == len(list(program.stored()))
    for item in ("weights", "offsets", "multipliers", "tables"):
        uses = sum(a.nbytes for a in found.arrays for _, use in a.owners if use == item)
        if item != "offsets":  # those lie in their own way: test_offsets.py
            assert uses == getattr(stored, item)
        assert found.items[item] == sum(a.nbytes for a in found.arrays if a.item == item)
    offsets = sum(a.nbytes for a in found.arrays for _, use in a.owners if use == "offsets")
    assert found.flash <= stored.total - stored.offsets + offsets + 3
    assert found.items["padding"] < 4
    for a in found.arrays:
        assert a.nbytes == a.count * SIZES[a.ctype] == pack(a.values, a.bits).size


def test_identical_arrays_are_stored_once() -> None:
    network = gru_network(5, 16, 3)
    parameters = {**network.parameters, "gru0.W_iz": network.parameters["gru0.W_ir"]}
    program = program_of(Network(network.graph, parameters), 4)
    found = image_of(program, core="any")
    shared = [a for a in found.arrays if ("gru0.r.x", "weights") in a.owners]
    assert shared[0].owners == (("gru0.r.x", "weights"), ("gru0.z.x", "weights"))
    assert found.flash < account(program).total
    text = source(Model(program, "model", core="any"))
    assert text.count("gru0_W_ir, i * 5u") == 2
    assert "4-bit weights: gru0.r.x, gru0.z.x" in text
    text = source(Model(program, "model", core="m4"))
    assert text.count("bt_dsp4_x8(rom.gru0_W_ir + ") == 2
    assert "weights in layout bt_dsp4_x8: gru0.r.x, gru0.z.x" in text


def test_a_search_can_ask_for_every_candidate() -> None:
    """The image of a GRU of 64 units within a few milliseconds (a tenth of one on an idle machine)."""
    program = program_of(gru_network(28, 64, 10))
    image_of(program)
    times = []
    for _ in range(20):
        start = time.perf_counter()
        _ = image_of(program).flash + image_of(program).ram
        times.append(time.perf_counter() - start)
    assert min(times) < 4e-3


# --- from runs and programs -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> bt.Run:
    """A small search on data that the float network labelled."""
    rng = np.random.default_rng(0)
    network = gru_network(3, 5, 3)

    def part() -> bt.Data:
        x = rng.normal(size=(40, 6, 3)).astype(np.float32)
        return bt.Data(x, network(x).argmax(-1))

    return bt.run_search(network, bt.Splits(part(), part(), part()), tmp_path_factory.mktemp("run") / "run",
                         bt.SearchSpec(search=bt.SearchSettings(population=12, generations=2, seed=1), workers=1))


def test_pick_within_a_flash_bound(run: bt.Run) -> None:
    flash = [image_of(run.program(s)).flash for s in run.front]
    bound = sorted(flash)[len(flash) // 2]
    picked = run.pick(f"flash<={bound}B")
    within = [s for s, size in zip(run.front, flash, strict=True) if size <= bound]
    assert picked in within
    assert picked.values["error"] == min(s.values["error"] for s in within)
    assert image_of(run.program(run.pick("ram<=1KiB"))).ram <= 1024
    assert image_of(run.program(run.pick("flash.m0<=1KiB")), core="m0").flash <= 1024
    with pytest.raises(BittailorError, match=f"no solution has a flash that low; the lowest is {min(flash)}"):
        run.pick("flash<=1B")


def test_pick_within_a_bound_of_what_was_evaluated(run: bt.Run) -> None:
    with run.store() as store:
        rows = [r.outcome.values for r in store.rows() if r.outcome.values is not None]
    bound = float(np.median([v["stored"] for v in rows]))
    picked = run.pick(f"stored<={bound:.0f}B")
    assert picked.values["stored"] <= bound
    assert picked.values["error"] == min(v["error"] for v in rows if v["stored"] <= bound)
    with pytest.raises(BittailorError, match="unknown value 'flahs'; did you mean 'flash'"):
        run.pick("flahs<=8KiB")
    with pytest.raises(BittailorError, match="cannot pick 'flash>=8KiB'"):
        run.pick("flash>=8KiB")


def test_export_of_a_run_and_of_a_program(run: bt.Run, tmp_path: Path) -> None:
    exported = export_solution(run.path, tmp_path / "a", pick="best", prefix="tiny")
    assert exported.facts["prefix"] == "tiny"
    assert exported.facts["flash"] == image_of(run.program(run.pick("best"))).flash
    readme = (tmp_path / "a/README.md").read_text()
    assert "| selection error | 0 % |" in readme or "| selection error |" in readme
    assert "tiny_step(&state, &scratch, x, y)" in readme
    assert "random integers, seed 0" in readme
    again = export_solution(tmp_path / "a/program.safetensors", tmp_path / "b", prefix="tiny")
    assert again.facts["program"] == exported.facts["program"]
    assert (tmp_path / "b/src/tiny.c").read_bytes() == (tmp_path / "a/src/tiny.c").read_bytes()
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == [
        "CMakeLists.txt", "Makefile", "README.md", "examples", "export.json", "library.json", "library.properties",
        "program.safetensors", "samples.safetensors", "selftest", "src", "zephyr"]
    with pytest.raises(FileError, match="is no run directory"):
        export_solution(tmp_path / "nothing", tmp_path / "c")
    with pytest.raises(FileError, match=r"README\.md is damaged: not a safetensors file"):
        export_solution(tmp_path / "a/README.md", tmp_path / "c")


def test_what_a_killed_export_left_behind_is_in_no_ones_way(run: bt.Run, tmp_path: Path) -> None:
    (tmp_path / "a/.export-x1y2").mkdir(parents=True)
    (tmp_path / "a/.export-x1y2/half.c").write_text("int")
    export_solution(run.path, tmp_path / "a", pick="best")
    check_files(tmp_path / "a")
    assert not list((tmp_path / "a").glob(".export*"))


def test_real_inputs_where_they_are_at_hand(tmp_path: Path) -> None:
    """A run of a task that was searched without --data has them in reach; sequences are cut to the longest there is."""
    from bittailor.tasks import TASKS

    data = TASKS["digits"].load(None, 2)
    network = gru_network(8, 4, 10)
    small = bt.Splits(data.train[:60], data.valid[:40], data.test[:40])
    bt.run_search(network, small, tmp_path / "run",
                  bt.SearchSpec(search=bt.SearchSettings(population=4, generations=1), workers=1,
                                task=bt.TaskSettings("digits", seed=2)))
    exported = export_solution(tmp_path / "run", tmp_path / "out", pick="8bit", items=2, steps=5)
    program = Program.load(tmp_path / "out/program.safetensors")
    q = program.quantise_input(data.valid.x[:2, :5]).ravel()
    text = (tmp_path / "out/selftest/model_golden.h").read_text()
    values = text[text.index("model_golden_x[] = {") :].partition("{")[2].partition("}")[0].replace(",", " ").split()
    assert [int(v) for v in values] == q.tolist()
    assert "2 real items" in text
    assert exported.facts["about"] == "task digits, solution 8bit"


def test_the_command_line(run: bt.Run, tmp_path: Path) -> None:
    def bittailor(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-m", "bittailor", *words], capture_output=True, text=True,
                              cwd=tmp_path, check=False)

    done = bittailor("export", str(run.path), "out", "--pick", "best", "--to", "c")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0].startswith("out: ")
    assert done.stdout.splitlines()[1] == "next:  bittailor verify out"
    done = bittailor("export", str(run.path), "out", "--pick", "best")
    assert done.returncode == 2
    assert done.stderr == ("FileError: out holds an export already; add --force to replace it, "
                           "or choose another directory\n")
    done = bittailor("export", str(run.path), "out", "--pick", "best", "--prefix", "int", "--force")
    assert done.returncode == 2
    assert "keyword of C or C++" in done.stderr


def test_replacing_an_export_never_leaves_its_folder(tmp_path: Path) -> None:
    """A link in the place of a folder of the export would have its files deleted elsewhere."""
    program, out, other = program_of(gru_network()), tmp_path / "out", tmp_path / "other"
    export_program(program, out)
    (out / "src").rename(other)
    (out / "src").symlink_to(other)
    before = sorted(p.name for p in other.iterdir())
    with pytest.raises(FileError, match=r"leads elsewhere: the folder of .* is a link"):
        export_program(program, out, force=True)
    assert sorted(p.name for p in other.iterdir()) == before
    # the folder itself may be reached through a link
    (tmp_path / "alias").symlink_to(tmp_path / "fine")
    export_program(program, tmp_path / "fine")
    export_program(program, tmp_path / "alias", force=True)


def test_the_same_program_is_exported_to_the_same_bytes(tmp_path: Path) -> None:
    program = program_of(gru_network())
    for name in ("a", "b"):
        export_program(program, tmp_path / name)
    files = sorted(p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*") if p.is_file())
    for file in files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes(), file
