"""Graphs: names, ties, proven ranges, JSON, and what a builder refuses."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

import networks
from bittailor.core.builder import Builder
from bittailor.core.graph import Graph
from bittailor.errors import BittailorError, FileError, UnknownName


def small() -> Graph:
    return networks.gru_network(features=3, hidden=4, out=2, layers=2, bidirectional=True).graph


def test_sites_of_a_gru_are_those_of_the_architecture() -> None:
    graph = networks.gru_network(3, 4, 2).graph
    names = [site.name.removeprefix("gru0.") for site in graph.free if site.name.startswith("gru0.")]
    weights = ["W_ir", "W_hr", "W_iz", "W_hz", "W_in", "W_hn"]
    biases = ["b_r", "b_z", "b_in", "b_hn"]
    results = ["r.x", "r.h", "z.x", "z.h", "n.x", "n.h", "r.pre", "z.pre", "n.pre", "r.post", "z.post", "n.post",
               "n.reset", "z.not", "h.new", "h.kept", "h"]
    assert sorted(names) == sorted(weights + biases + results)
    assert graph.sites["gru0.h"].role == "state"
    assert graph.root("gru0.h.prev").name == "gru0.h"
    assert graph.sites["head.W"].count == 8


def test_json_round_trip() -> None:
    for seed in range(10):
        graph = networks.random_network(np.random.default_rng(seed)).graph
        assert Graph.from_json(json.loads(json.dumps(graph.to_json()))) == graph


def test_a_network_without_biases_has_none() -> None:
    graph = networks.gru_network(bias=False).graph
    assert not [site for site in graph.sites.values() if site.role == "bias"]


def test_given_formats_are_for_proven_ranges_only() -> None:
    graph = small()
    assert graph.given_format("gru0.h", 8).low == -1.0
    assert graph.given_format("gru0.h.prev", 8) == graph.given_format("gru0.h", 8)
    assert graph.given_format("gru0.r.post", 4).low == 0.0
    assert graph.given_format("gru0.z.not", 4) == graph.given_format("gru0.z.post", 4)
    for name in ("input", "gru0.r.pre", "gru0.n.h", "head.out"):
        assert graph.given_format(name, 8) is None
    b = Builder()
    y = b.op("one_minus", "y", b.input("input", 1))
    assert b.graph(y).given_format("y", 8) is None  # 1 - anything is not in [0, 1]
    b = Builder()
    y = b.op("one_minus", "y", b.op("tanh", "t", b.input("input", 1)))
    assert b.graph(y).given_format("y", 8) is None


def test_proven_ranges_hold_on_random_networks() -> None:
    for seed in range(15):
        rng = np.random.default_rng(seed)
        network = networks.random_network(rng)
        trace = network.trace(rng.normal(size=(3, 6, network.features)) * 3)
        for name, values in trace.items():
            proven = network.graph.sites[name].proven
            if proven is not None:
                assert proven[0] - 1e-9 <= values.min() <= values.max() <= proven[1] + 1e-9, (seed, name)


def test_sequence_or_single_value() -> None:
    graph = networks.gru_network(end="mean").graph
    assert graph.sites["gru0.h"].sequence
    assert not graph.sites["end"].sequence
    assert not graph.sites["head.out"].sequence


def test_last_shares_the_format_of_what_it_copies() -> None:
    graph = networks.gru_network(end="last").graph
    assert graph.root("end").name == "gru0.h"
    assert "end" not in [site.name for site in graph.free]


def test_consumers_follow_ties() -> None:
    graph = networks.gru_network().graph
    readers = [node.output for node in graph.consumers["gru0.h"]]
    assert {"gru0.r.h", "gru0.z.h", "gru0.n.h", "gru0.h.kept", "end"} <= set(readers)
    assert graph.producer["gru0.r.pre"].op == "add"


def test_unknown_site() -> None:
    with pytest.raises(UnknownName, match=r"there is no site 'gru0.q'; near it: gru0"):
        small().site("gru0.q")


def test_two_sites_of_one_name() -> None:
    b = Builder()
    x = b.input("input", 1)
    b.op("relu", "y", x)
    with pytest.raises(BittailorError, match="two sites are called 'y'"):
        b.op("relu", "y", x)


def test_unknown_operator() -> None:
    b = Builder()
    with pytest.raises(UnknownName, match="did you mean 'relu'"):
        b.op("rellu", "y", b.input("input", 1))


def damaged(change: Any) -> Any:
    item = small().to_json()
    change(item)
    return item


@pytest.mark.parametrize("item", [
    None, [], 3, {}, {"version": 99},
    damaged(lambda g: g.pop("sites")),
    damaged(lambda g: g["sites"][0].pop("name")),
    damaged(lambda g: g.update(steps=3)),
    damaged(lambda g: g.update(steps=[3])),
    damaged(lambda g: g["steps"][0].update(states=[["one"]])),
    damaged(lambda g: g["steps"][0]["nodes"][0].update(op="quantum")),
    damaged(lambda g: g["steps"][0]["nodes"][0].update(op=[])),
    damaged(lambda g: g["steps"][0]["nodes"][0].update(options=7)),
])
def test_damaged_graphs(item: Any) -> None:
    with pytest.raises(FileError):
        Graph.from_json(item)
