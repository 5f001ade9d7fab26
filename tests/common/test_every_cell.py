"""Every cell of the table, and any network made of cells: the reference engine against plain Python integers, every
gene matters, reading and writing changes nothing."""

from __future__ import annotations

import json
import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import networks
from bittailor.core.builder import Builder
from bittailor.core.cells import CELLS, add_layer
from bittailor.core.graph import Graph
from bittailor.core.network import Network
from bittailor.core.plan import Plan
from bittailor.core.program import Binder, bind
from bittailor.core.qformat import QFormat
from bittailor.engines import Reference
from bittailor.errors import RangeError
from bittailor.quantise.spaces import per_operator
from golden import by_hand
from golden.cases import golden_network, golden_plan, random_golden

REFERENCE = Reference()


every_cell = pytest.mark.parametrize(("cell", "variant"), networks.CELL_VARIANTS)


def layer(cell: str, variant: str, features: int, hidden: int, bias: bool, reverse: bool, seed: int = 0) -> Network:
    b = Builder()
    options = networks.options_of(cell, variant)
    y = add_layer(b, CELLS[cell], "cell", b.input("input", features), hidden, bias, reverse, **options)
    graph = b.graph(y)
    return Network(graph, networks.random_parameters(graph, np.random.default_rng(seed)))


def check_against_plain(network: Network, plan: Plan, q: np.ndarray, lengths: np.ndarray) -> None:
    """Every integer at every site of every valid step, and the rest beyond."""
    graph = network.graph.to_json()
    formats = {name: fmt.to_json() for name, fmt in plan.formats.items()}
    parameters = {name: values.tolist() for name, values in network.parameters.items()}
    try:
        constants = by_hand.bind_all(graph, formats, parameters)
    except ValueError:
        with pytest.raises(RangeError):
            bind(network, plan)
        return
    program = bind(network, plan)
    sites = REFERENCE.trace(program, q, lengths)
    output = REFERENCE.run(program, q, lengths)
    for i, length in enumerate(lengths):
        wanted = by_hand.run(graph, formats, constants, q[i, :length].tolist())
        assert wanted.keys() == sites.keys()
        for name, values in wanted.items():
            got = sites[name][i]
            if isinstance(values[0], list):
                own = length - network.graph.late[name]
                assert got[:own].tolist() == values, (name, i)
                assert (got[own:] == program.formats[name].zero_point).all(), (name, i)
            else:
                assert got.tolist() == values, (name, i)
    assert np.array_equal(output, sites[network.output])


@settings(max_examples=60)
@given(seed=st.integers(0, 2**32))
def test_whole_layers_are_what_plain_integers_give(seed: int) -> None:
    """Any cell, one or two layers and directions, ragged, with and without biases, per tensor, per row, 1..16 bits."""
    case = random_golden(seed)
    network, plan = golden_network(case), golden_plan(case)
    program = bind(network, plan)
    check_against_plain(network, plan, program.quantise_input(case["x"]), np.array(case["lengths"]))


@settings(max_examples=12)
@given(seed=st.integers(0, 2**32))
def test_any_network_is_what_plain_integers_give(seed: int) -> None:
    """Cells of no name: several states, projections and concats inside a step, joins, ops on single values."""
    rng = np.random.default_rng(seed)
    network = networks.random_network(rng, int(rng.integers(1, 5)), without=())
    style = str(rng.choice(["narrow", "wide", "any"]))
    least = network.graph.least_steps
    plan = networks.random_plan(network, rng.normal(size=(4, 4 + least, network.features)), rng, style)
    q = networks.random_integers(rng, plan.formats["input"], (2, 2 + least, network.features))
    check_against_plain(network, plan, q, rng.integers(least, 3 + least, 2))


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@every_cell
@settings(max_examples=6)
@given(seed=st.integers(0, 2**32))
def test_every_cell(cell: str, variant: str, bias: bool, reverse: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    network = layer(cell, variant, int(rng.integers(1, 4)), int(rng.integers(1, 5)), bias, reverse, seed)
    plan = networks.random_plan(network, rng.normal(size=(4, 5, network.features)), rng)
    q = networks.random_integers(rng, plan.formats["input"], (3, 4, network.features))
    check_against_plain(network, plan, q, rng.integers(1, 5, 3))


@pytest.mark.parametrize("features", [3, 8])
@pytest.mark.parametrize("reverse", [False, True])
@every_cell
def test_many_bits_come_close_to_floats(cell: str, variant: str, reverse: bool, features: int) -> None:
    network = layer(cell, variant, features, 8, True, reverse)
    x = np.random.default_rng(1).normal(size=(5, 12, features))
    lengths = np.array([12, 7, 1, 3, 12])
    program = bind(network, networks.uniform_plan(network, x, 16, lengths))
    got, wanted = program.read_output(REFERENCE.run(program, program.quantise_input(x), lengths)), network(x, lengths)
    assert np.abs(got - wanted).max() < 2e-3 * max(1.0, np.abs(wanted).max())  # a step is 3e-5 of the largest


@pytest.mark.parametrize("zero", [-20, -1, 7, 31])
@every_cell
def test_a_state_starts_at_its_zero_point(cell: str, variant: str, zero: int) -> None:
    network = layer(cell, variant, 2, 3, False, True)
    x = np.random.default_rng(0).normal(size=(3, 4, 2))
    plan = networks.uniform_plan(network, x, 6)
    states = {s.name: QFormat("activation", 6, (0.05,), zero) for s in network.graph.free if s.role == "state"}
    plan = Plan({**plan.formats, **states})
    check_against_plain(network, plan, plan.formats["input"].quantise(x), np.array([4, 1, 2]))


@every_cell
@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("hidden", [1, 2])
@pytest.mark.parametrize("bits", [2, 8, 16])
def test_smallest_shapes(cell: str, variant: str, steps: int, hidden: int, bits: int) -> None:
    network = layer(cell, variant, 1, hidden, True, False)
    x = np.random.default_rng(0).normal(size=(1, steps, 1))
    plan = networks.uniform_plan(network, x, bits)
    check_against_plain(network, plan, plan.formats["input"].quantise(x), np.array([steps]))


@every_cell
def test_every_gene_changes_an_integer(cell: str, variant: str) -> None:
    """Changing one gene of per_operator from its largest to its smallest width must change a site's integers."""
    network = layer(cell, variant, 6, 6, True, False, seed=3)
    rng = np.random.default_rng(3)
    x = rng.normal(size=(6, 8, 6))
    space = per_operator(network.graph)
    top = tuple(space.levels - 1)
    ranges = networks.calibrate(network, x)
    binder = Binder(network)

    def integers(genome: tuple[int, ...]) -> dict[str, Any]:
        program = binder.bind(networks.plan_of(network, ranges, space.widths(genome)))
        q = program.quantise_input(x)
        return REFERENCE.trace(program, q) | {"input": q}

    base = integers(top)
    for i, gene in enumerate(space.genes):
        changed = integers((*top[:i], 0, *top[i + 1 :]))
        assert any(not np.array_equal(base[name], changed[name]) for name in base), gene.name


@every_cell
def test_graph_json_and_names(cell: str, variant: str) -> None:
    graph = layer(cell, variant, 3, 4, True, True).graph
    assert Graph.from_json(json.loads(json.dumps(graph.to_json()))) == graph
    assert all(name.startswith("cell.") or name == "input" for name in graph.sites)
    assert CELLS[cell].name == cell
    assert CELLS[cell].title


@every_cell
def test_items_do_not_meet(cell: str, variant: str) -> None:
    """An item's integers do not depend on who is beside it, nor on what stands beyond its length."""
    network = layer(cell, variant, 2, 3, True, True)
    rng = random.Random(0)
    x = np.random.default_rng(2).normal(size=(4, 6, 2))
    plan = networks.uniform_plan(network, x, 6)
    program = bind(network, plan)
    q, lengths = program.quantise_input(x), np.array([6, 1, 3, 5])
    together = REFERENCE.run(program, q, lengths)
    for i, length in enumerate(lengths):
        alone = REFERENCE.run(program, q[i : i + 1, :length])
        assert np.array_equal(together[i, :length], alone[0])
        q[i, length:] = rng.randint(-5, 5)
    assert np.array_equal(REFERENCE.run(program, q, lengths), together)
