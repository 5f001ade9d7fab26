"""Platforms: files and their errors, costs against a count by hand, and platforms in a search, its store and report."""

from __future__ import annotations

import copy
import pickle
import re
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from search_toy import SEEDS, SETTINGS, SPACE, summary
from search_toy import values as toy_values
from test_mohaq_paper import speech_network

import bittailor as bt
from bittailor.core.builder import Builder
from bittailor.cost import FIGURES, PLATFORMS, Platform, Workload, load_platform, mohaq, parse_platform
from bittailor.cost.platform_file import PlatformError
from bittailor.errors import BittailorError, FileError, FormatError, RangeError, UnknownName
from bittailor.evaluate.evaluator import OBJECTIVES, objectives_with, of_platform
from bittailor.quantise.spaces import SPACES
from bittailor.quantise.spaces import of_platform as platform_space
from bittailor.search import Outcome, search
from bittailor.search.front import ReferenceBox, make_front, signs
from small import small_network

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "hardware.md").read_text()
CHIP = re.findall(r"```toml\n(.*?)```", PAGE, re.S)[0]


def chip(**changes: Any) -> Platform:
    """The platform of the page, with other values at dotted keys; None takes one out."""
    return parse_platform(changed(changes), "chip.toml")


def changed(changes: dict[str, Any]) -> dict[str, Any]:
    document: dict[str, Any] = tomllib.loads(CHIP)
    for path, value in changes.items():
        *tables, key = path.replace("__", ".").split(".")
        table = document
        for name in tables:
            table = table[name]
        if value is None:
            del table[key]
        else:
            table[key] = value
    return document


@pytest.mark.parametrize("name", PLATFORMS)
def test_every_platform_of_the_package(name: str) -> None:
    platform = PLATFORMS[name]
    assert platform.name == name
    r = platform.reference
    work, widest = mohaq.WORK, dict.fromkeys(mohaq.decode([16] * 16), r)
    assert platform.product_cost(r, r).cycles == 1
    assert platform.cycles(work, widest) == work.operations
    for figure in FIGURES.values():
        if figure.has(platform):
            assert OBJECTIVES[f"{name}.{figure.name}"].maximise == (figure.name == "speedup")
    # narrower is never slower, nor does it cost more
    pairs = sorted(platform.products)
    for w, a in pairs:
        for w2, a2 in pairs:
            if w <= w2 and a <= a2:
                assert platform.product_cost(w, a).cycles <= platform.product_cost(w2, a2).cycles
                assert platform.product_cost(w, a).energy_pj <= platform.product_cost(w2, a2).energy_pj
    again = pickle.loads(pickle.dumps(platform))
    assert (again.products, again.memory) == (platform.products, platform.memory)
    assert name in SPACES


def test_costs_against_a_count_by_hand(tmp_path: Path) -> None:
    """One GRU of 5 units on 3 inputs and a head of 3, on the chip of the page."""
    (tmp_path / "chip.toml").write_text(CHIP)
    platform, graph = load_platform(tmp_path / "chip.toml"), small_network().graph
    work = Workload.of(graph)
    macs = 3 * 5 * 3 + 3 * 5 * 5 + 5 * 3
    # r: 1 sum; z: 1; n: 1 product, 1 sum; h: 1 complement, 2 products, 1 sum; 3 functions; all of 5 units
    adds, muls, lookups = 5 * 5, 3 * 5, 3 * 5
    assert work.macs == macs
    assert {kind: sum(s.count for s in work.elementwise if s.kind == kind) for kind in ("add", "mul", "lookup")} == {
        "add": adds, "mul": muls, "lookup": lookups}
    widths = bt.homogeneous_widths(graph, 8)
    bits = 8 * (macs) + 16 * (4 * 5 + 3)
    assert platform.cycles(work, widths) == macs + adds + muls + 4 * lookups
    assert platform.energy_uj(work, widths) == pytest.approx(
        (0.05 * bits + 0.5 * macs + 0.2 * (adds + muls)) / 1e6, rel=1e-12)
    assert platform.speedup(work, widths) == 1.0
    # 3-bit weights run as 4, inputs of 3 as 8; sums of 9 bits as 16
    narrow = widths | {name: 3 for name in widths if ".W" in name or name == "input"} | {"gru0.r.pre": 9}
    assert platform.cycles(work, narrow) == 0.5 * macs + adds + muls + 4 * lookups + 5
    assert platform.speedup(work, narrow) == platform.cycles(work, widths) / platform.cycles(work, narrow)
    # what does not fit the SRAM costs time and energy
    small = chip(memory__sram_bytes=32)
    beyond = bits - 8 * 32
    assert small.outside(work, widths) == beyond
    assert small.cycles(work, widths) == platform.cycles(work, widths) + 0.125 * beyond
    assert small.energy_uj(work, widths) == pytest.approx(platform.energy_uj(work, widths) + 2e-6 * beyond, rel=1e-12)
    mean = chip(speedup="mean")
    assert mean.speedup(work, narrow) == 2 * macs / (macs + adds + muls + lookups)


@given(st.integers(1, 16), st.integers(1, 16))
def test_a_width_that_is_not_there_runs_as_the_cheapest_wider_one(w: int, a: int) -> None:
    for platform in PLATFORMS.values():
        wider = [cost for (pw, pa), cost in platform.products.items() if pw >= w and pa >= a]
        assert platform.product_cost(w, a).cycles == min(cost.cycles for cost in wider)


def test_what_is_too_wide_is_refused() -> None:
    platform = chip()
    with pytest.raises(RangeError, match="cannot multiply 4-bit weights by 9-bit inputs; it has weights of up to 8 and "
                                         "inputs of up to 8 bits"):
        platform.product_cost(4, 9)
    with pytest.raises(RangeError, match="my_chip has no 'lookup' of 12 bits; its widest has 8"):
        chip(lookup__widths=[8]).elementwise_cost("lookup", 12)


def test_rules() -> None:
    product = chip(product__cycles=None, product__speedup={"rule": "inverse product", "most": 1.5})
    assert [1 / product.product_cost(w, 8).cycles for w in (4, 8)] == [1.5, 1.0]
    widest = chip(product__activations=[4, 8], product__cycles=None, product__energy_pj=None,
                  product__speedup={"rule": "inverse widest"})
    assert [1 / widest.product_cost(*pair).cycles for pair in ((4, 4), (4, 8), (8, 8))] == [2.0, 1.0, 1.0]


@pytest.mark.parametrize(("changes", "message"), [
    ({"format": 2}, "format is 2; this bittailor reads 1"),
    ({"source": None}, "'source' is missing"),
    ({"source": " "}, "'source' must be a text that is not empty; got ' '"),
    ({"name": "My Chip"}, "name is 'My Chip'; use small letters"),
    ({"speed": 3}, "unknown key at the top: 'speed'; did you mean 'speedup'"),
    ({"speedup": "median"}, "speedup is 'median'; choose mean or time"),
    ({"reference": 16}, "the reference is 16 bits, but product has no 16x16"),
    ({"reference": "8"}, "reference holds '8'; a width is 1..16 bits"),
    ({"product": None}, "'product' is missing"),
    ({"product": 3}, r"'product' is 3; expected a table: \[product\]"),
    ({"product.cycle": 1}, r"unknown key in \[product\]: 'cycle'; did you mean 'cycles'"),
    ({"product.cycles": None}, r"\[product\] needs either speedup or cycles; it has neither"),
    ({"product.speedup": 1}, r"\[product\] needs either speedup or cycles; it has speedup and cycles"),
    ({"product.cycles": {"8x8": 1}}, "product.cycles says nothing about 4x8"),
    ({"product.cycles": {"4x8": 1, "8x8": 1, "8x4": 1}}, "product.cycles has '8x4', which its widths do not make; "
                                                         "they make 4x8, 8x8"),
    ({"product.cycles.4x8": -1}, "product.cycles of 4x8 is -1; expected a number, 0 or more"),
    ({"product.cycles.4x8": 0}, "product.cycles of 4x8 is 0; expected more than 0"),
    ({"product.cycles.4x8": "fast"}, "product.cycles of 4x8 is 'fast'; expected a number"),
    ({"product.cycles.4x8": True}, "product.cycles of 4x8 is True; expected a number"),
    ({"product.cycles.4x8": float("inf")}, "product.cycles of 4x8 is inf; expected a number"),
    ({"product.cycles": {"rule": "inverse product"}}, "product.cycles cannot be a rule"),
    ({"product.energy_pj.4x8": -0.1}, "product.energy_pj of 4x8 is -0.1; expected a number, 0 or more"),
    ({"product.cycles": None, "product.speedup": {"4x8": 2, "8x8": 2}}, "speedup of 8x8, the reference, must be 1"),
    ({"product.cycles": None, "product.speedup": {"rule": "inverse prod"}}, "unknown rule 'inverse prod'; did you"),
    ({"product.same_width": "yes"}, "product.same_width is 'yes'; expected true or false"),
    ({"product.weights": []}, r"product.weights is \[\]; expected a list of widths"),
    ({"product.weights": 8}, "product.weights is 8; expected a list of widths"),
    ({"product.weights": [4, 32]}, "product.weights holds 32; a width is 1..16 bits"),
    ({"product.weights": [8, 8]}, "product.weights names a width twice"),
    ({"elementwise": None}, r"there is neither \[elementwise\] nor \[add\]"),
    ({"elementwise.widths": None}, "elementwise.widths is None; expected a list"),
    ({"memory.sram_bytes": -1}, "memory.sram_bytes is -1; expected a number, 0 or more"),
    ({"memory.sram": 1}, r"unknown key in \[memory\]: 'sram'. There are: load_pj_per_bit"),
    ({"space.output_activations": [16]}, r"output_activations is \[16\]; product.activations has only \[8\]"),
])
def test_a_file_that_is_wrong_says_where_in_one_line(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(PlatformError, match=message) as caught:
        parse_platform(changed(changes), "chip.toml")
    assert str(caught.value).startswith("chip.toml: ")
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_toml_or_not_there(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_text("name = ")
    with pytest.raises(FileError, match=r"x.toml is not TOML: "):
        load_platform(tmp_path / "x.toml")
    with pytest.raises(BittailorError, match=r"cannot read .*nothing\.toml: No such file"):
        load_platform(tmp_path / "nothing.toml")
    with pytest.raises(BittailorError, match="there is a platform called 'silago' already"):
        objectives_with([chip(name="silago")])


def test_which_objectives_a_platform_has() -> None:
    assert [o.name for o in of_platform(chip())] == [f"my_chip.{f}" for f in ("speedup", "cycles", "energy", "outside")]
    plain = chip(memory=None, product__energy_pj=None)
    assert [o.name for o in of_platform(plain)] == ["my_chip.speedup", "my_chip.cycles"]
    with pytest.raises(UnknownName, match=r"did you mean 'silago\.speedup'"):
        OBJECTIVES["silago.speed"]


def test_spaces_of_other_networks() -> None:
    gru = small_network().graph
    space = SPACES["bitfusion"](gru)
    assert [gene.name for gene in space.genes] == ["W:gru0", "W:gru0.h", "A:gru0", "A:gru0.h", "W:head"]
    assert space.genes[3].widths == (4, 8, 16), "the state is the head's input as well"
    assert [gene.name for gene in SPACES["silago"](gru).genes] == ["gru0", "gru0.h"]
    own = platform_space(gru, platform=chip())
    assert [gene.widths for gene in own.genes] == [(4, 8), (4, 8), (8,), (8,), (4, 8)]
    b = Builder()
    x = b.op("relu", "hidden.post", b.linear("hidden", b.input("input", 3), "hidden.W", 4))
    dense = b.graph(b.linear("head.out", x, "head.W", 2))
    assert [gene.name for gene in SPACES["silago"](dense).genes] == ["hidden", "head"]
    with pytest.raises(FormatError, match="bitfusion has no 3 bits; choose of 2, 4, 8, 16"):
        SPACES["bitfusion"](gru, widths=(2, 3))
    with pytest.raises(FormatError, match="takes outputs' inputs of 4, 8, 16 bits only"):
        SPACES["bitfusion"](gru, activations=(2,))


def test_the_page_says_what_is_counted() -> None:
    work = Workload.of(speech_network(real=True))
    counted = (work.macs, work.operations - work.macs, work.operations, sum(work.parameters.values()))
    assumed = (mohaq.WORK.macs, mohaq.ELEMENTWISE, mohaq.WORK.operations, sum(mohaq.WORK.parameters.values()))
    for paper, here in zip(assumed, counted, strict=True):
        assert f"| {paper:,} | {here:,} |" in PAGE
    low = mohaq.decode([2] * 15 + [4])
    bitfusion = PLATFORMS["bitfusion"]
    assert f"`mean` says {bitfusion.speedup(mohaq.WORK, low):.1f}x" in PAGE
    clock = bitfusion.cycles(mohaq.WORK, dict.fromkeys(low, 16)) / bitfusion.cycles(mohaq.WORK, low)
    assert f"`time` {clock:.1f}x" in PAGE


# ---- more is better: in the search, the front, the box


def test_maximising_is_minimising_the_negative() -> None:
    def speed(genomes: Any) -> Any:
        for genome in genomes:
            values = toy_values(genome)
            yield Outcome(values | {"speed": 100 - values["size"]})

    def size(genomes: Any) -> Any:
        for genome in genomes:
            yield Outcome(toy_values(genome))

    fast = search(SPACE, ("error", "speed"), speed, SETTINGS, seeds=SEEDS, maximised={"speed"})
    slim = search(SPACE, ("error", "size"), size, SETTINGS, seeds=SEEDS)
    assert fast.front.genomes == slim.front.genomes
    assert fast.front.points[:, 1].tolist() == (100 - slim.front.points[:, 1]).tolist()
    assert [g.hypervolume for g in fast.history] == pytest.approx([g.hypervolume for g in slim.history])
    for one, other in zip(fast.history, slim.history, strict=True):
        assert one.best == {"error": other.best["error"], "speed": 100 - other.best["size"]}
        assert one.points[:, 1].tolist() == (100 - other.points[:, 1]).tolist()
    assert fast.front.knee() == slim.front.knee()
    limit = 2 * fast.front.points[:, 0].min()
    assert fast.front.smallest_within("error", limit, "speed") == slim.front.smallest_within("error", limit, "size")
    assert fast.front.smallest_within("speed", 60.0, "error") == slim.front.smallest_within("size", 40.0, "error")
    assert summary(fast) != summary(slim)


def test_a_box_lies_the_other_way_where_more_is_better() -> None:
    box = ReferenceBox.around([[1.0, 2.0], [5.0, 8.0]], signs(("error", "speed"), {"speed"}))
    assert box.ideal == (1.0, 8.0)
    assert box.reference == pytest.approx((5.4, 1.4))
    assert box.hypervolume([[1.0, 8.0]]) == pytest.approx(1.0)
    assert box.hypervolume([[1.0, 1.4]]) == 0.0
    assert box.hypervolume([[5.4, 20.0]]) == 0.0
    points = [[1.0, 1.0], [3.0, 2.0], [2.0, 2.0]]
    front = make_front(("speed", "error"), [(0,), (1,), (2,)], points, [{}] * 3, {"speed"})
    assert front.genomes == ((1,), (0,)), "the best first"
    assert front.best == {"speed": 3.0, "error": 1.0}


def test_the_document_is_not_changed_by_reading() -> None:
    document = changed({})
    before = copy.deepcopy(document)
    assert np.isfinite(parse_platform(document).memory.sram_bytes)
    assert document == before
