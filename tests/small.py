"""A small random network, and data on which it makes no error: what tests of runs search in a second."""

from __future__ import annotations

import numpy as np

import bittailor as bt
from bittailor.core.builder import Builder
from bittailor.core.cells import CELLS, add_layer


def small_network(seed: int = 0, inputs: int = 3, hidden: int = 5, outputs: int = 3) -> bt.Network:
    rng = np.random.default_rng(seed)
    b = Builder()
    h = add_layer(b, CELLS["gru"], "gru0", b.input("input", inputs), hidden)
    y = b.linear("head.out", b.op("last", "last", h), "head.W", outputs, "head.b")
    graph = b.graph(y)
    parameters = {s.name: rng.normal(size=s.shape) for s in graph.sites.values() if s.kind in ("weight", "bias")}
    return bt.Network(graph, parameters)


def small_data(network: bt.Network, seed: int = 0, items: int = 60) -> bt.Splits:
    """Data whose labels are what the float network says, so that its error is 0."""
    rng = np.random.default_rng(seed)

    def part() -> bt.Data:
        x = rng.normal(size=(items, 6, network.features)).astype(np.float32)
        lengths = rng.integers(1, 7, items)
        return bt.Data(x, network(x, lengths).argmax(-1), lengths)

    return bt.Splits(part(), part(), part())
