"""Loops over the steps with cells of one step; layers whose forward is called by name; zeros made the old ways."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.autograd import Variable

from bittailor.core.graph import Node
from bittailor.core.program import bind
from bittailor.engines import ENGINES
from bittailor.errors import UnsupportedNetwork
from bittailor.read import from_torch
from networks import random_lengths, random_plan

Forward = Callable[[Any, Tensor], Any]


class Net(nn.Module):
    """Any forward over the same layers."""

    def __init__(self, forward: Forward) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.cell, self.above = nn.GRUCell(3, 4), nn.GRUCell(4, 5)
        self.lstm, self.rnn = nn.LSTMCell(3, 4), nn.RNNCell(3, 4, bias=False, nonlinearity="relu")
        self.pre, self.head, self.out = nn.Linear(3, 3), nn.Linear(4, 2), nn.Linear(5, 2)
        self.gru, self.h0 = nn.GRU(3, 4, batch_first=True), nn.Parameter(torch.ones(1, 4))
        self.run = forward

    def forward(self, x: Tensor) -> Any:
        return self.run(self, x)


def last_state(m: Any, x: Tensor) -> Tensor:
    h = torch.zeros(x.size(0), 4)
    for t in range(x.size(1)):
        h = m.cell(x[:, t], h)
    return m.head(h)


def head_inside(m: Any, x: Tensor) -> Tensor:
    h, outs = None, []
    for t in range(x.shape[1]):
        h = m.cell(torch.relu(m.pre(x[:, t, :])) * 0.5, h)
        outs.append(m.head(h))
    return torch.stack(outs, dim=1)


def lstm_cells(m: Any, x: Tensor) -> Tensor:
    h = c = x.new_zeros(x.size(0), 4)
    outs = []
    for step in x.unbind(1):
        h, c = m.lstm(step, (h, c))
        outs += [h.unsqueeze(1)]
    return torch.cat(outs, 1)


def two_deep(m: Any, x: Tensor) -> Tensor:
    first = second = None
    outs = []
    for t in range(x.size(1)):
        first = m.cell(x[:, t], first)
        second = m.above(first, second)
        outs.append(second)
    return m.out(torch.stack(outs, 1)).mean(1)


def steps_first(m: Any, x: Tensor) -> Tensor:
    h = None
    for step in x.transpose(0, 1):
        h = m.rnn(step, h)
    return h


def with_state(m: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    h, outs = torch.zeros(x.size(0), 4), []
    for t in range(x.size(1)):
        h = m.cell(x[:, t], h)
        outs.append(h)
    return torch.stack(outs, 1), h


def old_zeros(m: Any, x: Tensor) -> Tensor:
    weight = next(m.parameters()).data
    return m.gru(x, weight.new(1, x.size(0), 4).zero_())[0]


def learned(m: Any, x: Tensor) -> Tensor:
    h = m.h0.expand(x.size(0), 4)
    for t in range(x.size(1)):
        h = m.cell(x[:, t], h)
    return h


READ: dict[str, tuple[Forward, list[str]]] = {
    "last state": (last_state, ["gru", "last", "linear"]),
    "head inside": (head_inside, ["linear", "relu", "gru", "linear"]),
    "LSTMCell": (lstm_cells, ["lstm"]),
    "two deep": (two_deep, ["gru", "gru", "linear", "mean"]),
    "RNNCell, steps first": (steps_first, ["rnn", "last"]),
    "with its state": (with_state, ["gru"]),
    "forward by name": (lambda m, x: m.head.forward(m.gru.forward(x)[0][:, -1]), ["gru", "last", "linear"]),
    "Variable": (lambda m, x: m.gru(x, Variable(torch.zeros(1, x.size(0), 4)))[0], ["gru"]),
    "new": (lambda m, x: m.gru(x, x.new(1, x.size(0), 4).zero_())[0], ["gru"]),
    "new of a weight": (old_zeros, ["gru"]),
    "learned": (learned, ["gru", "last"]),
    "learned, of a layer": (lambda m, x: m.gru(x, m.h0[None].repeat(1, x.size(0), 1))[0], ["gru"]),
}


@pytest.mark.parametrize("name", READ)
def test_what_is_read(name: str, rng: np.random.Generator) -> None:
    """`from_torch` itself compares the network with the module, over another number of steps than was traced."""
    forward, layers = READ[name]
    module = Net(forward)
    network = from_torch(module, 3)
    assert [step.op if isinstance(step, Node) else step.cell for step in network.graph.steps] == layers
    assert not any("forward" in vars(part) for part in module.modules())
    x = rng.normal(size=(6, 9, 3))
    with torch.no_grad():
        wanted = module(torch.from_numpy(x).float())
    wanted = wanted[0] if isinstance(wanted, tuple) else wanted
    assert np.allclose(network(x), wanted.numpy(), atol=1e-5)
    program = bind(network, random_plan(network, x, rng))
    q, lengths = program.quantise_input(x), random_lengths(rng, 6, 9)
    for engine in ENGINES.values():
        if engine.available() is None:
            assert np.array_equal(engine.run(program, q, lengths), ENGINES["reference"].run(program, q, lengths))


def unlike(m: Any, x: Tensor) -> Tensor:
    h = None
    for t in range(x.size(1)):
        h = m.cell(x[:, t] * (t + 1), h)
    return h


def by_hand(m: Any, x: Tensor) -> Tensor:
    y = torch.zeros(x.size(0), 3)
    for t in range(x.size(1)):
        y = torch.tanh(m.pre(x[:, t] + y))
    return y


def from_the_second(m: Any, x: Tensor) -> Tensor:
    h = None
    for t in range(1, x.size(1)):
        h = m.cell(x[:, t], h)
    return h


def decoder(m: Any, x: Tensor) -> Tensor:
    h = m.gru(x)[0][:, -1]
    for t in range(x.size(1)):
        h = m.cell(x[:, t], h)
    return h


def some_steps(m: Any, x: Tensor) -> Tensor:
    h, outs = None, []
    for t in range(x.size(1)):
        h = m.cell(x[:, t], h)
        outs.append(h)
    return torch.stack(outs[1:], 1)


REFUSED: dict[str, tuple[Forward, str]] = {
    "not alike": (unlike, r"mul\(\).*one step of a loop"),
    "by hand": (by_hand, r"add\(\).*zeros of the data's size"),
    "from the second": (from_the_second, r"'cell' \(GRUCell\): its state must be what it gave at the step before"),
    "of the data": (decoder, r"'cell' \(GRUCell\): its first state must not depend on the data"),
    "without steps": (lambda m, x: m.cell(x[:, -1]), r"'cell' \(GRUCell\): its input must be a step of a sequence"),
    "some steps": (some_steps, r"stack\(\).*joins"),
    "not filled": (lambda m, x: m.gru(x, x.new(1, x.size(0), 4))[0], r"'gru' \(GRU\): it is given an initial state"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name: str) -> None:
    forward, message = REFUSED[name]
    with pytest.raises(UnsupportedNetwork, match=message) as caught:
        from_torch(Net(forward), 3)
    assert len(str(caught.value).splitlines()) <= 3
