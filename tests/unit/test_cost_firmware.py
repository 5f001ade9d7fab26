"""Costs of firmware: flash and RAM are the linker's, the models of cores keep the errors they state, and a search can
improve and limit all of them."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import bittailor as bt
from bittailor.compile.layouts import CORES as LAYOUT_CORES
from bittailor.compile.layouts import DEFAULT_CORE, LAYOUTS
from bittailor.compile.layouts.base import MOST_FILLED
from bittailor.core.cells import CELLS
from bittailor.core.program import Program, bind
from bittailor.cost.firmware import Core, Costs, KernelCost, cores
from bittailor.cost.listing import describe
from bittailor.errors import BittailorError, FileError, RangeError, UnsupportedNetwork
from bittailor.evaluate.evaluator import OBJECTIVES
from bittailor.export import export_program
from bittailor.export.c_model import Model
from bittailor.export.c_text import source
from bittailor.export.firmware import Firmware
from bittailor.export.targets import TARGETS
from bittailor.export.verify import Directory, random_items
from cores import EMULATED, core
from networks import gru_network, random_case, random_network, uniform_plan

STEPS = 7
CORES = cores()
READY = {layout.preparation.function for layout in LAYOUTS.values() if layout.preparation is not None}
KERNELS = rf"\b({'|'.join(layout.kernel for layout in LAYOUTS.values())})\("
PREPARATIONS = rf"\b({'|'.join(READY)})\("
BEFORE = r"\b(bt_(?:layer|rms)_norm\d+|bt_window(?:_at)?\d+)\("
"""What looks at a vector before a loop."""


def some_program(rng: np.random.Generator) -> Program:
    """Of any operators that can be exported."""
    while True:
        case = random_case(int(rng.integers(1 << 31)), random_network(rng))
        try:
            Model(case.program, "model", STEPS).image  # noqa: B018
            return case.program
        except (UnsupportedNetwork, RangeError):
            continue


def recurrent_program(rng: np.random.Generator) -> Program:
    """Of a size that somebody would search, with any cell and any widths."""
    while True:
        network = gru_network(int(rng.integers(4, 33)), int(rng.integers(12, 49)), int(rng.integers(2, 11)),
                              seed=int(rng.integers(1 << 31)), cell=str(rng.choice(list(CELLS))),
                              end=str(rng.choice(["last", "mean"])))
        try:
            return random_case(int(rng.integers(1 << 31)), network).program
        except RangeError:
            continue


def firmware(program: Program, name: str, folder: Path) -> Firmware:
    made = export_program(program, folder / "export", steps=STEPS, core=name).folder
    (folder / "build").mkdir()
    return Directory.open(made).firmware(TARGETS[name], folder / "build", STEPS)


@pytest.mark.parametrize("case", range(12))
def test_the_listing_is_that_of_the_generated_code(case: int, rng: np.random.Generator) -> None:
    """Counted in the C text itself, with the layouts of any core."""
    program, core = some_program(rng), str(rng.choice(list(LAYOUT_CORES)))
    listing, text = describe(program, core), source(Model(program, "model", STEPS, core))
    text = text[: text.index("model_quantise")]
    text = text[text.index("model_reset") :]
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
    counted = {
        "loop": len(re.findall(r"for \(size_t i = 0; i < \d+u; i\+\+", text)),
        "dot": len(re.findall(r"\bbt_dotl?\d+_x\d+\(", text)) - len(re.findall(r"\] = bt_dotl?\d+_x\d+\(", text)),
        "row left over": len(re.findall(r"\] = bt_dotl?\d+_x\d+\(", text)),
        "rows left over": text.count("for (size_t row = 0;"),
        "block": len(re.findall(KERNELS, text)),
        "preparation": len(re.findall(PREPARATIONS, text)) + len(re.findall(BEFORE, text)),
        "block test": len(re.findall(r"if \((rows_\w+)_row == \1 \+ \d+\)", text)),
        "block row": len(re.findall(r"\brows_\d+(?:_\d+)?_row\[", text)),
        "load": len(re.findall(r"const int32_t \w+ = [^;(]*\[i\];", text)),
        # those of the reset copy what states start at
        "commit": text.count("memcpy(") - text[: text.index("\n}")].count("memcpy("),
    }
    for what, number in counted.items():
        assert listing.code[what] == number, what
    called = rf"\b(bt_dotl?\d+_x\d+|bt_bits_wide|bt_bits)\(|{KERNELS}|{PREPARATIONS}|{BEFORE}"
    assert listing.runtime == {name for found in re.findall(called, text) for name in found if name}
    for call in ("bt_rescale", "bt_rescale2", "bt_rescale_wide", "bt_rescale2_wide", "bt_lookup8", "bt_knots",
                 "bt_normalised"):
        assert listing.code[call] == len(re.findall(rf"\b{call}\(", text)), call
    products = sum(n * program.constants[node.output].W.values.shape[1]  # type: ignore[attr-defined]
                   for node in program.graph.nodes() if node.op in ("linear", "grouped_linear")
                   for n in [program.graph.sites[node.output].features])
    dots = [*listing.step.dots.items(), *listing.head.dots.items()]
    rows = {layout.kernel: layout.rows for layout in LAYOUTS.values()}
    done = sum(columns * n * rows.get(name, 1) for (name, columns), n in dots
               if name not in READY and not re.match(BEFORE, f"{name}("))
    # a last block may be filled up
    assert products <= done <= products * (1 + 2 * MOST_FILLED)


@pytest.mark.parametrize("name", [p for p in EMULATED if p.id in CORES])
def test_a_model_keeps_its_stated_error(name: str, rng: np.random.Generator, tmp_path: Path) -> None:
    program = recurrent_program(rng)
    built = firmware(program, name, tmp_path)
    listing, model = describe(program, name), CORES[name]
    relaxed = 0.01 if name == "rv32" else 0  # its linker shortens jumps
    assert model.runtime_bytes(listing) == pytest.approx(built.sizes.runtime, rel=relaxed), (
        "the runtime has changed: python benchmarks/cores.py")
    costs = Costs(program, STEPS)
    image = costs.image(name)
    assert (image.flash, image.ram) == (built.sizes.flash, built.sizes.ram)
    q, lengths = random_items(program, 2, None, 0)
    _, counts = built.run(q[:, :STEPS], np.minimum(lengths, STEPS), 2)
    assert counts is not None
    # one of very many networks: it may lie further out than the worst of those that the file speaks of
    limits = {what: max(0.02 * error.most, 0.15) for what, error in model.errors.items()}
    assert costs.code(model) == pytest.approx(built.sizes.code, rel=limits["code"])
    assert costs.instructions(model) == pytest.approx(counts.per_step, rel=limits["instructions"])


@pytest.mark.parametrize("part", range(4))
def test_every_network_has_costs(part: int, rng: np.random.Generator) -> None:
    for _ in range(6):
        program = some_program(rng)
        for name, model in CORES.items():
            listing = describe(program, name)
            assert model.code_bytes(listing) > 0
            assert model.work(listing.step) >= 0
            assert model.work(listing.head) >= 0


def test_models_state_small_errors() -> None:
    assert DEFAULT_CORE in CORES
    assert CORES.keys() == {t.name for t in TARGETS.values() if t.emulated}
    for model in CORES.values():
        for error in model.errors.values():
            assert error.networks >= 20
            assert error.median < 3
            assert error.most < 12


def test_objectives_of_every_core() -> None:
    for name in CORES:
        for what in ("code", "instructions"):
            objective = OBJECTIVES[f"{what}.{name}"]
            assert str(CORES[name].errors[what]) in objective.title
        assert {f"flash.{name}", f"ram.{name}"} <= OBJECTIVES.keys()
    assert OBJECTIVES["code"].title == OBJECTIVES[f"code.{DEFAULT_CORE}"].title
    with pytest.raises(BittailorError, match=r"unknown objective 'code\.m5'; did you mean 'code\.m55'\?"):
        OBJECTIVES["code.m5"]


def test_dot_products_beyond_the_table() -> None:
    """What short rows cost says nothing of longer ones."""
    def cost(n: int) -> float:
        return 10.0 + n + n % 32 + (100 if n > 32 else 0)

    kernel = KernelCost(tuple(cost(n) for n in range(1, 65)), 1.0)
    some = (1, 2, 8, 32, 33, 63, 64, 65, 66, 97, 128, 129, 300)
    assert [kernel(n) for n in some] == [cost(n) for n in some]


def test_a_model_that_does_not_know_a_feature() -> None:
    network = gru_network(3, 4, 2)
    listing = describe(bind(network, uniform_plan(network, np.random.default_rng(0).normal(size=(3, 4, 3)), 8)))
    empty = Core("m9", "Cortex-M9", "", {}, {}, {}, {}, {})
    with pytest.raises(BittailorError, match=r"^the cost model of Cortex-M9 knows nothing of .*--cores m9$"):
        empty.code_bytes(listing)


def test_a_model_file(tmp_path: Path) -> None:
    model = CORES[DEFAULT_CORE]
    model.save(tmp_path)
    assert Core.load(DEFAULT_CORE, tmp_path) == model
    file = tmp_path / f"{DEFAULT_CORE}.json"
    file.write_text(file.read_text().replace('"more": ', '"more": 1', 1))
    with pytest.raises(FileError, match="does not match its checksum"):
        Core.load(DEFAULT_CORE, tmp_path)


@pytest.mark.parametrize("name", [core("m0")])
def test_a_search_for_firmware(name: str, rng: np.random.Generator, tmp_path: Path) -> None:
    network = gru_network(4, 6, 3, seed=5)

    def data(items: int) -> bt.Data:
        x = rng.normal(size=(items, STEPS, 4))
        return bt.Data(x.astype(np.float32), network(x).argmax(-1), np.full(items, STEPS))

    limits = ["ram<=14B", "flash<=0.5KiB", f"instructions.{name}<=9000", "code<=3KiB"]
    run = bt.run_search(network, bt.Splits(data(40), data(40), data(40)), tmp_path / "run",
                        bt.SearchSpec(objectives=("error", "flash"), constraints=limits,
                                      search=bt.SearchSettings(population=12, generations=6)))
    homogeneous = {s.key: s.values for s in run.homogeneous}
    assert homogeneous["homogeneous 8"]["flash"] > homogeneous["homogeneous 2"]["flash"]
    assert run.front
    for solution in run.front:
        assert solution.values["ram"] <= 14
        assert solution.values["flash"] <= 512
    smallest = min(run.front, key=lambda s: s.values["flash"])
    built = firmware(run.program(smallest), name, tmp_path)
    assert (built.sizes.flash, built.sizes.ram) == (smallest.values["flash"], smallest.values["ram"])
    assert smallest.values[f"instructions.{name}"] <= 9000
