"""Size: the paper's figure by hand, and the account against the very bytes."""

from __future__ import annotations

import math

import numpy as np
import pytest

import networks
from bittailor.core.arith import Lookup
from bittailor.core.ops import Packed
from bittailor.core.program import bind
from bittailor.cost import account, parameter_bits

X = np.random.default_rng(0).normal(size=(3, 4, 5))


def test_parameter_bits_by_hand() -> None:
    """GRU 5 -> 16 with merged r and z biases: 3·16·5 + 3·16·16 weights, 4·16 biases; head 3·16 and 3."""
    network = networks.gru_network(5, 16, 3)
    assert parameter_bits(network.graph, networks.uniform_plan(network, X, 8)) == (240 + 768 + 48) * 8 + (64 + 3) * 16
    plan = networks.uniform_plan(network, X, 8, W_hr=3, W=1, b_hn=4)
    assert parameter_bits(network.graph, plan) == (240 + 512) * 8 + 256 * 3 + 48 * 1 + (48 + 3) * 16 + 16 * 4


def test_parameter_bits_without_biases_and_with_two_directions() -> None:
    network = networks.gru_network(5, 4, 3, bidirectional=True, bias=False)
    assert parameter_bits(network.graph, networks.uniform_plan(network, X, 2)) == (2 * (60 + 48) + 24) * 2


@pytest.mark.parametrize("seed", range(15))
def test_the_account_is_the_bytes(seed: int) -> None:
    program = networks.random_case(seed).program
    found = account(program)
    stored = list(program.stored())
    assert found.total == sum(s.data.nbytes for s in stored)
    assert found.total == found.weights + found.offsets + found.multipliers + found.tables + found.starts
    for item in ("weights", "offsets", "multipliers", "tables", "starts"):
        assert getattr(found, item) == sum(s.data.nbytes for s in stored if s.item == item)
    weights = tables = offsets = 0
    for owner, constants in program.constants.items():
        for role, c in constants.parts().items():
            if isinstance(c, Packed):
                size = math.ceil(c.values.size * c.bits / 8)
                weights += size if role == "W" else 0
                offsets += size if role == "offsets" else 0
            elif isinstance(c, Lookup):
                wide = len(c.entries) == 257 or program.formats[owner].bits > 8
                tables += len(c.entries) * (2 if wide else 1)
    assert (found.weights, found.tables, found.offsets) == (weights, tables, offsets)


def test_weights_are_what_the_plan_says() -> None:
    network = networks.gru_network(5, 16, 3)
    plan = networks.uniform_plan(network, X, 8, W_ir=3, W_hn=1, W=5)
    program = bind(network, plan)
    wanted = sum(
        math.ceil(site.count * plan.formats[site.name].bits / 8)
        for site in network.graph.free if site.kind == "weight"
    )
    assert account(program).weights == wanted


def test_stored_bytes_of_tables_and_multipliers_read_back() -> None:
    network = networks.gru_network(5, 4, 3)
    ranges, widths = networks.calibrate(network, X), networks.uniform_plan(network, X, 8).widths
    program = bind(network, networks.plan_of(network, ranges, widths, per_row=["gru0.W_ir"]))
    by_owner = {(s.item, s.owner): s.data for s in program.stored()}
    m = program.constants["gru0.r.x"].rescale.multipliers[0]
    assert by_owner["multipliers", "gru0.r.x"].view(np.int32).tolist() == m.tolist()
    entries = program.constants["gru0.r.post"].lookup.entries
    assert by_owner["tables", "gru0.r.post"].view(np.int8).tolist() == entries.tolist()
