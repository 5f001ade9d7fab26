"""Networks: the float walk is torch's; data, parameters and files that do not fit are refused."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch

import networks
from bittailor.core.builder import Builder
from bittailor.core.cells import CELLS, add_layer
from bittailor.core.network import Network
from bittailor.errors import DataError, FileError, UnsupportedNetwork


def from_gru(gru: torch.nn.GRU) -> Network:
    """The network of a torch GRU with batch_first."""
    b = Builder()
    x = b.input("input", gru.input_size)
    parameters = {}
    for i in range(gru.num_layers):
        outs = []
        for suffix, p in (("", f"gru{i}"), ("_reverse", f"gru{i}.rev"))[: 2 if gru.bidirectional else 1]:
            outs.append(add_layer(b, CELLS["gru"], p, x, gru.hidden_size, gru.bias, bool(suffix)))
            names = ["weight_ih", "weight_hh", *(["bias_ih", "bias_hh"] if gru.bias else [])]
            arrays = {name: getattr(gru, f"{name}_l{i}{suffix}").detach().numpy() for name in names}
            parameters |= CELLS["gru"].parameters(p, arrays)
        x = b.op("concat", f"gru{i}.out", *outs) if gru.bidirectional else outs[0]
    return Network(b.graph(x), parameters)


@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("layers", [1, 3])
def test_the_float_walk_is_torch(layers: int, bidirectional: bool, bias: bool, ragged: bool) -> None:
    torch.manual_seed(layers)
    gru = torch.nn.GRU(3, 5, layers, bias=bias, batch_first=True, bidirectional=bidirectional).double()
    x = torch.randn(4, 7, 3, dtype=torch.float64)
    lengths = torch.tensor([7, 2, 5, 1]) if ragged else torch.tensor([7] * 4)
    packed = torch.nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    with torch.no_grad():
        wanted, _ = torch.nn.utils.rnn.pad_packed_sequence(gru(packed)[0], batch_first=True)
    got = from_gru(gru)(x.numpy(), lengths.numpy())
    assert np.abs(got - wanted.numpy()).max() < 1e-12


def test_what_stands_beyond_a_length_does_not_matter() -> None:
    for seed in range(5):
        rng = np.random.default_rng(seed)
        network = networks.random_network(rng)
        x = rng.normal(size=(3, 6, network.features))
        lengths = np.array([2, 6, 4])
        first = network(x, lengths)
        x[0, 2:] = 9.0
        assert np.array_equal(network(x, lengths), first)


@pytest.mark.parametrize(("x", "lengths", "message"), [
    (np.zeros((2, 3)), None, r"takes \[items, steps, 5\]; got shape \(2, 3\)"),
    (np.zeros((2, 3, 4)), None, r"takes \[items, steps, 5\]"),
    (np.zeros((0, 3, 5)), None, "it is empty"),
    (np.zeros((2, 0, 5)), None, "it is empty"),
    ([[["a"] * 5]], None, "cannot be read as numbers"),
    (np.zeros((2, 3, 5)), [1], "lengths must be 2 integers"),
    (np.zeros((2, 3, 5)), [1.0, 2.0], "lengths must be 2 integers"),
    (np.zeros((2, 3, 5)), [0, 2], r"lengths must lie in 1..3; got 0..2"),
    (np.zeros((2, 3, 5)), [1, 4], r"lengths must lie in 1..3; got 1..4"),
])
def test_input_that_does_not_fit(x: object, lengths: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        networks.gru_network()(x, lengths)


def test_parameters_that_do_not_fit() -> None:
    network = networks.gru_network()
    parameters = dict(network.parameters)
    for change, message in (
        ({"head.W": np.full((3, 16), np.nan)}, r"head.W holds 48 NaN or infinite value\(s\)"),
        ({"head.W": np.zeros((3, 17))}, r"head.W has shape \(3, 17\); expected \(3, 16\)"),
    ):
        with pytest.raises(UnsupportedNetwork, match=message):
            Network(network.graph, parameters | change)
    del parameters["gru0.b_r"]
    with pytest.raises(UnsupportedNetwork, match=r"gru0.b_r has no values"):
        Network(network.graph, parameters)


def test_save_and_load(tmp_path: Path) -> None:
    for seed in range(5):
        rng = np.random.default_rng(seed)
        network = networks.random_network(rng)
        network.save(tmp_path / "n")
        again = Network.load(tmp_path / "n")
        assert again.graph == network.graph
        assert again.fingerprint == network.fingerprint
        x = rng.normal(size=(2, 4, network.features))
        assert np.array_equal(again(x), network(x))


def test_the_fingerprint_sees_graph_and_parameters() -> None:
    a, b, c = networks.gru_network(), networks.gru_network(seed=1), networks.gru_network(end="mean")
    assert len({n.fingerprint for n in (a, b, c)}) == 3
    assert networks.gru_network().fingerprint == a.fingerprint


def test_damaged_files(tmp_path: Path) -> None:
    path = tmp_path / "n"
    network = networks.gru_network(2, 3, 2)
    network.save(path)
    whole = path.read_bytes()
    rnd = random.Random(1)
    noticed = 0
    for _ in range(200):
        data = bytearray(whole)
        data[rnd.randrange(len(data))] ^= 1 << rnd.randrange(8)
        path.write_bytes(data if rnd.random() < 0.8 else data[: rnd.randrange(len(data))])
        try:
            again = Network.load(path)
        except FileError:
            noticed += 1
        else:
            assert again.fingerprint == network.fingerprint
    assert noticed > 100
