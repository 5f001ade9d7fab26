"""The golden vectors: made by plain Python that shares nothing with the engines; every engine must give them."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bittailor.core.arith import Lookup, Rescale
from bittailor.core.program import Program, bind
from bittailor.core.rsqrt import Gain
from bittailor.engines import ENGINES, Reference
from golden import make_golden
from golden.cases import golden_network, golden_plan

HERE = Path(__file__).parent


def load(name: str) -> dict[str, Any]:
    return json.loads((HERE / f"{name}.json").read_text())


def program_of(case: dict[str, Any]) -> Program:
    return bind(golden_network(case), golden_plan(case))


@pytest.mark.parametrize("name", make_golden.CASES)
def test_vectors_are_what_the_maker_makes(name: str) -> None:
    made = make_golden.text(make_golden.make_case(**make_golden.CASES[name]))
    assert made == (HERE / f"{name}.json").read_text(), "run: python tests/golden/make_golden.py"


@pytest.mark.parametrize(("file", "more"), [("by_hand.py", set()), ("make_golden.py", {"golden", "sys"})])
def test_maker_shares_nothing(file: str, more: set[str]) -> None:
    tree = ast.parse((HERE / file).read_text())
    imported = {
        name.split(".")[0]
        for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names])
    }
    assert imported <= {"__future__", "json", "math", "random", "fractions", "pathlib", "typing"} | more


@pytest.mark.parametrize("name", make_golden.CASES)
def test_the_cell_is_the_makers_equations(name: str) -> None:
    case = load(name)
    assert golden_network(case).graph.to_json()["steps"] == case["graph"]["steps"]


@pytest.mark.parametrize("name", make_golden.CASES)
def test_binding_gives_the_vectors_constants(name: str) -> None:
    case = load(name)
    program = program_of(case)
    assert program.constants.keys() == case["constants"].keys()
    for owner, wanted in case["constants"].items():
        got = program.constants[owner].parts()
        for role, constant in got.items():
            if isinstance(constant, Rescale):
                item = wanted[role]
                assert [m.tolist() for m in constant.multipliers] == item["M"], owner
                assert (constant.shift, constant.offset, constant.wide) == (item["S"], item["c"], item["wide"]), owner
            elif isinstance(constant, Lookup):
                table = wanted["table"]
                assert constant.entries.tolist() == table["entries"], owner
                assert (constant.step, constant.guard) == (table["step"], table["guard"]), owner
            elif isinstance(constant, Gain):
                found = constant.multiplier, constant.shift, constant.epsilon
                assert found == (wanted["G"], wanted["t"], wanted["E"])
            else:
                assert constant.values.tolist() == wanted["W" if role == "W" else "k"], owner
        if "k" in wanted and any(wanted["k"]):
            assert "offsets" in got, owner


@pytest.mark.parametrize("name", make_golden.CASES)
def test_input_integers(name: str) -> None:
    case = load(name)
    q = program_of(case).quantise_input(case["x"])
    for i, item in enumerate(case["sites"]):
        assert q[i, : len(item["input"])].tolist() == item["input"]


@pytest.mark.parametrize("name", make_golden.CASES)
def test_every_site_of_the_first_steps(name: str) -> None:
    case = load(name)
    program = program_of(case)
    sites = Reference().trace(program, program.quantise_input(case["x"]), case["lengths"])
    for i, item in enumerate(case["sites"]):
        assert item.keys() == sites.keys()
        for site, wanted in item.items():
            got = sites[site][i]
            assert (got[: len(wanted)] if got.ndim > 1 else got).tolist() == wanted, (site, i)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", make_golden.CASES)
def test_every_engine_gives_the_output(name: str, engine: str) -> None:
    missing = ENGINES[engine].available()
    if missing:
        pytest.skip(missing)
    case = load(name)
    program = program_of(case)
    output = ENGINES[engine].run(program, program.quantise_input(case["x"]), np.asarray(case["lengths"]))
    for got, wanted in zip(output, case["output"], strict=True):
        assert (got[: len(wanted)] if got.ndim > 1 else got).tolist() == wanted


def test_the_vectors_reach_what_they_should() -> None:
    """Narrow and wide operators, full and interpolated tables, weights of 1 and 16 bits are all in there."""
    cases = [load(name) for name in make_golden.CASES]
    rescales = [c["rescale"] for case in cases for c in case["constants"].values() if "rescale" in c]
    assert {r["wide"] for r in rescales} == {True, False}
    assert any(len(r["M"][0]) > 1 for r in rescales)
    steps = {c["table"]["step"] for case in cases for c in case["constants"].values() if "table" in c}
    assert {0, 8} <= steps
    widths = {f["bits"] for case in cases for f in case["plan"].values() if f["kind"] == "weight"}
    assert {1, 2, 8, 16} <= widths
