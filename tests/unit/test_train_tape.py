"""Training's compiled kernels against its torch kernels: the same integers, and gradients equal to float32 rounding."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from bittailor.core.builder import Builder
from bittailor.core.cells import CELLS, add_layer
from bittailor.core.network import Network
from bittailor.core.ops import forms
from bittailor.core.plan import Plan
from bittailor.core.program import Program
from bittailor.engines import native_build
from bittailor.engines.torch import workspace
from bittailor.errors import BittailorError
from bittailor.train import native
from bittailor.train.integer import IntegerNetwork
from networks import (
    CELL_VARIANTS,
    gru_network,
    input_integers,
    options_of,
    random_lengths,
    random_network,
    random_parameters,
    random_plan,
    sample,
    uniform_plan,
)

Rng = np.random.Generator
pytestmark = pytest.mark.skipif(native.library() is None, reason="no C compiler")
CLOSE = 1e-4
"""Of the norms of gradients: sums of float32 in another order. A scale's is a sum in which much cancels."""


def start(network: Network, native: bool = True) -> IntegerNetwork:
    """A network in training, every scale learned."""
    learned = frozenset(s.name for s in network.graph.free if s.kind == "activation" and s.role != "input")
    return IntegerNetwork(network.graph, learned, native=native)


def rebind(made: IntegerNetwork, network: Network, plan: Plan) -> Program:
    values, formats = network.parameters, plan.formats
    matrices = {name: fmt.quantise(values[name]) for name, fmt in formats.items() if fmt.kind == "weight"}
    return made.bind(plan, matrices, {n: values[n] for n, fmt in formats.items() if fmt.kind == "bias"})


def agree(network: Network, plans: list[Plan], rng: Rng, items: int = 9, steps: int = 7) -> IntegerNetwork:
    """Batch after batch, as in a training: other constants, lengths and wishes each time."""
    least = network.graph.least_steps
    compiled, plain = start(network), start(network, native=False)
    for turn, plan in enumerate(plans):
        program = rebind(compiled, network, plan)
        rebind(plain, network, plan)
        for more in (0, 1, 0):  # with room and constants of before
            most = steps + least - 1 + more
            lengths = random_lengths(rng, items, most, least)
            sizes = torch.from_numpy(np.full(items, most) if lengths is None else lengths)
            q = torch.from_numpy(input_integers(rng, program, (items, most, network.features)))
            same_batch(compiled, plain, q, sizes, turn % 2 == 0, rng)
    return compiled


def same_batch(compiled: IntegerNetwork, plain: IntegerNetwork, q: Tensor, lengths: Tensor, scales: bool,
               rng: Rng) -> None:
    """One step of both."""
    out = plain.step(q, lengths, scales).clone()
    assert torch.equal(compiled.step(q, lengths, scales), out)
    gradient = torch.from_numpy(rng.normal(size=out.shape).astype(np.float32))
    for found, wanted in zip(compiled.backward(gradient), plain.backward(gradient), strict=True):
        assert found.keys() == wanted.keys()
        whole = sum(float(value.norm()) for value in wanted.values())
        for name, value in wanted.items():
            assert float((found[name] - value).norm()) <= CLOSE * (float(value.norm()) + 0.1 * whole), name


@pytest.mark.parametrize("round_", range(16))
def test_random_networks(rng: Rng, round_: int) -> None:
    network = random_network(rng, without=["norm"])  # in whose gradient so much cancels that rounding is left
    x = sample(rng, network, 6, 6 + network.graph.least_steps)
    agree(network, [random_plan(network, x, rng, str(rng.choice(["narrow", "wide", "any"]))) for _ in range(4)], rng)


@pytest.mark.parametrize(("cell", "variant"), CELL_VARIANTS)
def test_every_cell(cell: str, variant: str, rng: Rng) -> None:
    b = Builder()
    x = b.input("input", 6)
    x = b.op("concat", "both", *(add_layer(b, CELLS[cell], f"{cell}{i}", x, 6, True, reverse=bool(i),
                                           **options_of(cell, variant)) for i in range(2)))
    graph = b.graph(b.linear("head.out", b.op("mean", "end", x), "head.W", 3, "head.b"))
    network = Network(graph, random_parameters(graph, rng))
    seen = sample(rng, network, 6, 7)
    plans = [random_plan(network, seen, rng, "narrow") for _ in range(2)]
    agree(network, [*plans, uniform_plan(network, seen, 8)], rng)


def test_a_gru_is_native_but_for_its_products(rng: Rng) -> None:
    """Its sums in 32 bits and in 64, its products in float32 and in float64, one after the other."""
    network = gru_network(hidden=300, features=5)  # wider than the columns that are computed together
    seen = sample(rng, network, 6, 7)
    for bits in ((6,) * 3, (16,) * 3, (6, 16, 6)):
        made = agree(network, [uniform_plan(network, seen, b) for b in bits], rng, items=40)
        assert made.ws is not None
        assert {g.form for g in made.schedule.groups() if not made.gradients[g.name].native} == {forms.Copied}
        kernels = made.gradients.values()
        wide = [kernel for kernel in kernels if getattr(kernel, "wide", False)]
        doubled = [kernel for kernel in kernels if getattr(kernel, "float", None) is torch.float64]
        assert bool(wide) == bool(doubled) == (bits[-1] == 16)


def test_long_sequences(monkeypatch: pytest.MonkeyPatch, rng: Rng) -> None:
    """Views of steps that are made when they are asked for."""
    monkeypatch.setattr(workspace, "PREPARED_STEPS", 5)
    network = gru_network(hidden=3)
    agree(network, [uniform_plan(network, sample(rng, network, 6, 7), 6)] * 2, rng, items=2, steps=9)


@pytest.mark.parametrize("bits", [6, 16])
def test_a_loop_without_products_is_one_call(bits: int, rng: Rng) -> None:
    """All steps in C, in both directions."""
    network = gru_network(cell="sru", hidden=6)
    made = agree(network, [uniform_plan(network, sample(rng, network, 6, 7), bits)] * 2, rng)
    assert made.ws is not None
    tapes = [t for (_, steps, _), t in made.ws._tapes.items() if not steps]
    assert len(tapes) == 2
    assert all(t._whole is not None for t in tapes)


def test_an_operator_of_many_operands(rng: Rng) -> None:
    """A concat has no native form: it stays between those that have one."""
    b = Builder()
    x = b.input("input", 4)
    b.begin()
    h = b.state("rnn.h", 3)
    both = b.op("concat", "rnn.both", x, h)
    b.op("tanh", "rnn.h", b.linear("rnn.pre", both, "rnn.W", 3, "rnn.b"))
    b.end("rnn", "rnn", ("rnn.h",))
    graph = b.graph(b.linear("head.out", b.op("mean", "end", "rnn.h"), "head.W", 2))
    network = Network(graph, random_parameters(graph, rng))
    agree(network, [random_plan(network, sample(rng, network, 6, 7), rng, "narrow") for _ in range(3)], rng)


@pytest.fixture
def _forgotten() -> Iterator[None]:
    native.library.cache_clear()
    yield
    native.library.cache_clear()


@pytest.mark.usefixtures("_forgotten")
def test_without_a_compiler_torch_serves(monkeypatch: pytest.MonkeyPatch, rng: Rng) -> None:
    def missing() -> None:
        raise BittailorError("no compiler")

    monkeypatch.setattr(native_build, "training", missing)
    network = gru_network()
    made = start(network)
    program = rebind(made, network, uniform_plan(network, sample(rng, network, 6, 7), 8))
    assert made.native is None
    q = input_integers(rng, program, (3, 4, network.features))
    assert made.step(torch.from_numpy(q), torch.full((3,), 4)).shape[0] == 3
