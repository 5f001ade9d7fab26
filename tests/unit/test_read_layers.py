"""Convolutions over the steps, embeddings and normalisations: read from PyTorch, calibrated, searched, exported."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence

import bittailor as bt
from bittailor.core.network import Network
from bittailor.core.program import Program
from bittailor.engines import ENGINES
from bittailor.errors import DataError, UnsupportedNetwork
from bittailor.export import export_program
from bittailor.export.verify import verify
from bittailor.quantise.calibration import calibrate
from bittailor.quantise.spaces import SPACES, homogeneous_widths
from cores import core
from networks import sample

FEATURES, ROWS = 4, 30


class Module(nn.Module):
    """A forward of one line, with some layers."""

    def __init__(self, forward: Callable[..., Any], **layers: nn.Module) -> None:
        super().__init__()
        self._forward = forward
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x: Tensor) -> Tensor:
        return self._forward(self, x)


class Chomp(nn.Module):
    """Frames off the end."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :, : -self.count].contiguous()


def over_steps(m: nn.Module, x: Tensor) -> Tensor:
    return m.net(x.transpose(1, 2)).transpose(1, 2)


CONVOLUTIONS = {
    "pad": (Module(lambda m, x: m.c(functional.pad(x.transpose(1, 2), (4, 0))).transpose(1, 2),
                   c=nn.Conv1d(FEATURES, 5, 3, dilation=2)), 0),
    "constant pad": (Module(over_steps, net=nn.Sequential(nn.ConstantPad1d((2, 0), 0.0),
                                                          nn.Conv1d(FEATURES, 5, 3))), 0),
    "zero pad": (Module(over_steps, net=nn.Sequential(nn.ZeroPad1d((1, 2)), nn.Conv1d(FEATURES, 5, 4, bias=False))), 2),
    "chomp": (Module(over_steps, net=nn.Sequential(nn.Conv1d(FEATURES, 5, 3, padding=2), Chomp(2))), 0),
    "size": (Module(lambda m, x: m.c(x.transpose(1, 2))[..., : x.shape[1]].transpose(1, 2),
                    c=nn.Conv1d(FEATURES, 5, 3, padding=2)), 0),
    "same": (Module(over_steps, net=nn.Conv1d(FEATURES, 5, 4, padding="same")), 2),
    "both sides": (Module(over_steps, net=nn.Conv1d(FEATURES, 5, 3, padding=1)), 1),
    "groups": (Module(over_steps, net=nn.Conv1d(FEATURES, 6, 3, padding=1, groups=2)), 1),
    "depthwise": (Module(lambda m, x: functional.conv1d(functional.pad(x.transpose(1, 2), (2, 0)), m.c.weight, m.c.bias,
                                               groups=FEATURES).transpose(1, 2),
                         c=nn.Conv1d(FEATURES, FEATURES, 3, groups=FEATURES)), 0),
    "steps padded first": (Module(lambda m, x: m.c(functional.pad(x, (0, 0, 2, 0)).transpose(1, 2)).transpose(1, 2),
                                  c=nn.Conv1d(FEATURES, 5, 3)), 0),
    "one tap": (Module(over_steps, net=nn.Conv1d(FEATURES, 5, 1)), None),
}
"""Name -> module, and how far it looks ahead (None: there is no window)."""


def agrees(module: nn.Module, network: Network, x: np.ndarray) -> None:
    with torch.no_grad():
        wanted = module.double()(torch.tensor(x)).numpy()
    assert np.abs(network(x) - wanted).max() < 1e-9


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_a_convolution(name: str, rng: np.random.Generator) -> None:
    module, ahead = CONVOLUTIONS[name]
    network = bt.from_torch(module)
    windows = [node.options["ahead"] for node in network.graph.nodes() if node.op == "window"]
    assert windows == ([] if ahead is None else [ahead])
    agrees(module, network, rng.normal(size=(3, 9, FEATURES)))


@pytest.mark.parametrize(("net", "why"), [
    (nn.Conv1d(FEATURES, 5, 3, stride=2, padding=1), r"stride=2"),
    (nn.Conv1d(FEATURES, 5, 3, padding=1, padding_mode="reflect"), r"padding_mode='reflect'"),
    (nn.Sequential(nn.Conv1d(FEATURES, 5, 3, padding=2), nn.ReLU()), r"2 steps more than the sequence has"),
    (nn.Sequential(nn.ConstantPad1d((2, 0), 1.0), nn.Conv1d(FEATURES, 5, 3)), r"only zeros can be padded"),
    (nn.Sequential(nn.ZeroPad1d((4, -2)), nn.Conv1d(FEATURES, 5, 3)), r"begins 4 steps late"),
])
def test_a_convolution_that_is_refused(net: nn.Module, why: str) -> None:
    with pytest.raises(UnsupportedNetwork, match=why):
        bt.from_torch(Module(over_steps, net=net))


def sequence(m: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """As `over_steps`, then a bidirectional GRU."""
    return m.gru(m.net(x.transpose(1, 2)).transpose(1, 2))[0]


VALID = {
    "plain": (Module(over_steps, net=nn.Conv1d(FEATURES, 5, 3)), 2),
    "dilated, in groups": (Module(over_steps, net=nn.Conv1d(FEATURES, 6, 3, dilation=3, groups=2)), 6),
    "half padded": (Module(over_steps, net=nn.Sequential(nn.ZeroPad1d((1, 0)), nn.Conv1d(FEATURES, 5, 4))), 2),
    "looking ahead": (Module(over_steps, net=nn.Sequential(nn.ZeroPad1d((0, 1)), nn.Conv1d(FEATURES, 5, 4))), 2),
    "two": (Module(over_steps, net=nn.Sequential(nn.Conv1d(FEATURES, 5, 3), nn.ReLU(), nn.Conv1d(5, 4, 2))), 3),
    "then causal": (Module(over_steps, net=nn.Sequential(nn.Conv1d(FEATURES, 5, 3), nn.ConstantPad1d((2, 0), 0.0),
                                                         nn.Conv1d(5, 4, 3))), 2),
    "states": (Module(sequence, net=nn.Conv1d(FEATURES, 5, 3),
                      gru=nn.GRU(5, 4, batch_first=True, bidirectional=True)), 2),
    "mean": (Module(lambda m, x: m.head(over_steps(m, x).mean(1)), net=nn.Conv1d(FEATURES, 5, 3), head=nn.Linear(5, 2)),
             2),
    "first": (Module(lambda m, x: sequence(m, x)[:, 0], net=nn.Conv1d(FEATURES, 5, 3),
                     gru=nn.GRU(5, 4, batch_first=True, bidirectional=True)), 2),
    "residual": (Module(lambda m, x: over_steps(m, x) + x[:, 4:], net=nn.Conv1d(FEATURES, FEATURES, 3, dilation=2)), 4),
    "of a sequence": (Module(lambda m, x: m.gru(x)[0][:, 3:], gru=nn.GRU(FEATURES, 4, batch_first=True)), 3),
    "narrow": (Module(lambda m, x: m.gru(x.narrow(1, 2, x.size(1) - 2))[1][0],
                      gru=nn.GRU(FEATURES, 4, batch_first=True)), 2),
}
"""Name -> module without padding, and how many steps its network drops."""


@pytest.mark.parametrize("name", VALID)
def test_a_convolution_without_padding(name: str, rng: np.random.Generator) -> None:
    module, dropped = VALID[name]
    network = bt.from_torch(module)
    assert network.graph.least_steps == dropped + 1
    agrees(module, network, rng.normal(size=(3, 9, FEATURES)))
    agrees(module, network, rng.normal(size=(2, dropped + 1, FEATURES)))
    with pytest.raises(DataError, match=f"drops the first {dropped} steps, so it needs {dropped + 1} or more"):
        network(np.zeros((1, dropped, FEATURES)))


class Packed(nn.Module):
    """A convolution without padding, then final states of sequences of different lengths."""

    def __init__(self, less: int) -> None:
        super().__init__()
        self.less, self.net = less, nn.Conv1d(FEATURES, 5, 3)
        self.gru, self.head = nn.GRU(5, 4, batch_first=True, bidirectional=True), nn.Linear(8, 2)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        y = pack_padded_sequence(over_steps(self, x), lengths - self.less, batch_first=True, enforce_sorted=False)
        states = self.gru(y)[1]
        return self.head(torch.cat([states[0], states[1]], 1))


def test_lengths_behind_a_convolution_without_padding(rng: np.random.Generator) -> None:
    module = Packed(2)
    network, x, lengths = bt.from_torch(module), rng.normal(size=(3, 9, FEATURES)), np.array([9, 3, 5])
    with torch.no_grad():
        wanted = module.double()(torch.tensor(x), torch.tensor(lengths)).numpy()
    assert np.abs(network(x, lengths) - wanted).max() < 1e-9
    with pytest.raises(UnsupportedNetwork, match="lengths that forward is given, less 2"):
        bt.from_torch(Packed(0))
    with pytest.raises(DataError, match=r"must lie in 3\.\.9 \(the network drops the first 2\); got 2\.\.9"):
        network(x, [9, 2, 5])


@pytest.mark.parametrize(("forward", "why"), [
    (lambda m, x: over_steps(m, x) + x, r"lack 0 and 2 of the sequence's first steps; .*x\[:, 2:\]"),
    (lambda m, x: torch.cat([over_steps(m, x), x], -1), r"lack 0 and 2 of the sequence's first steps"),
    (lambda m, x: (over_steps(m, x), x), r"lack 0 and 2 of the sequence's first steps"),
    (lambda m, x: over_steps(m, x) + x[:, 1:-1], r"\[1:-1\] on the steps"),
])
def test_values_that_begin_at_different_steps(forward: Callable[..., Any], why: str) -> None:
    with pytest.raises(UnsupportedNetwork, match=why):
        bt.from_torch(Module(forward, net=nn.Conv1d(FEATURES, FEATURES, 3)))


@pytest.mark.parametrize("norm", [
    nn.LayerNorm(FEATURES), nn.LayerNorm(FEATURES, bias=False), nn.LayerNorm(FEATURES, 1e-2, elementwise_affine=False),
    nn.RMSNorm(FEATURES, 1e-4), nn.RMSNorm(FEATURES, 1e-3, elementwise_affine=False),
], ids=str)
def test_a_normalisation(norm: nn.Module, rng: np.random.Generator) -> None:
    module = Module(lambda m, x: m.norm(x), norm=norm)
    with torch.no_grad():
        for values in module.parameters():
            values.copy_(torch.rand_like(values) + 0.5)
    agrees(module, bt.from_torch(module, FEATURES), rng.normal(size=(3, 5, FEATURES)))


def test_functional_normalisations(rng: np.random.Generator) -> None:
    module = Module(lambda m, x: functional.rms_norm(functional.layer_norm(x, (FEATURES,), m.n.weight), [FEATURES]),
                    n=nn.LayerNorm(FEATURES))
    network = bt.from_torch(module, FEATURES)
    x = rng.normal(size=(3, 5, FEATURES))
    with torch.no_grad():  # in float32, whose smallest difference is the eps of an RMSNorm that is given none
        assert np.abs(network(x) - module(torch.tensor(x, dtype=torch.float32)).numpy()).max() < 1e-5
    with pytest.raises(UnsupportedNetwork, match="only the features can be normalised"):
        bt.from_torch(Module(lambda m, x: functional.layer_norm(x, (5, FEATURES))), FEATURES)


def words() -> nn.Module:
    """As GRU4Rec: items in, a score for each out."""
    return Module(lambda m, x: m.head(m.gru(m.table(x))[0][:, -1]), table=nn.Embedding(ROWS, 6, padding_idx=0),
                  gru=nn.GRU(6, 8, batch_first=True), head=nn.Linear(8, ROWS))


def noise() -> nn.Module:
    """As RNNoise of today: causal convolutions, a normalisation, a recurrent layer, a gain a band."""
    return Module(
        lambda m, x: torch.sigmoid(m.head(m.gru(m.norm(torch.tanh(m.b(functional.pad(
            torch.tanh(m.a(functional.pad(x.transpose(1, 2), (2, 0)))), (2, 0)))).transpose(1, 2)))[0])),
        a=nn.Conv1d(FEATURES, 6, 3), b=nn.Conv1d(6, 6, 3, groups=6), norm=nn.LayerNorm(6),
        gru=nn.GRU(6, 7, batch_first=True), head=nn.Linear(7, 3))


def same_bits(network: Network, rng: np.random.Generator, bits: int) -> Program:
    """A program, the same in every engine on sequences of any lengths."""
    calibration = calibrate(network, sample(rng, network, 16, 8))
    program = bt.bind(network, calibration.plan(homogeneous_widths(network.graph, bits)), calibration.integers)
    x, lengths = sample(rng, network, 9, 8), rng.integers(1, 9, 9)
    q = program.quantise_input(x)
    results = [engine.run(program, q, lengths) for engine in ENGINES.values() if engine.available() is None]
    assert all(np.array_equal(results[0], other) for other in results)
    return program


@pytest.mark.parametrize("make", [words, noise])
def test_networks_whole(make: Callable[[], nn.Module], rng: np.random.Generator) -> None:
    torch.manual_seed(0)
    network = bt.from_torch(make())
    for bits in (4, 8, 16):
        same_bits(network, rng, bits)
    for space in ("per_operator", "per_layer", "homogeneous"):
        found = SPACES[space](network.graph)
        chosen = {site for gene in found.width_genes for site in gene.sites}
        assert chosen | found.fixed.keys() == {site.name for site in network.graph.free}
        assert ("input" in chosen) == (make is noise)


def test_indices(rng: np.random.Generator) -> None:
    network = bt.from_torch(words())
    x = rng.integers(0, ROWS, (4, 6))
    assert np.array_equal(network(x), network(x[:, :, None].astype(float)))
    program = same_bits(network, rng, 8)
    assert np.array_equal(program.quantise_input(x), x[:, :, None])
    assert program.input_range == (0, ROWS - 1)
    for wrong in (x + 0.5, x - ROWS, x + ROWS):
        with pytest.raises(DataError, match=rf"no index; indices are 0\.\.{ROWS - 1}"):
            program.quantise_input(wrong)
    for engine in ENGINES.values():
        if engine.available() is None:
            with pytest.raises(DataError, match=rf"outside 0\.\.{ROWS - 1}"):
                engine.run(program, np.full((1, 1, 1), ROWS))
    with pytest.raises(UnsupportedNetwork, match=r"'table' \(Embedding\)"):
        bt.from_torch(Module(lambda m, x: m.table(m.first(x)), first=nn.Embedding(5, 2), table=nn.Embedding(5, 2)))


@pytest.mark.parametrize(("make", "sites"), [(noise, {"a.W", "b.W", "norm.norm"}), (words, {"table.W"})])
def test_a_search_and_its_retraining(
    make: Callable[[], nn.Module], sites: set[str], rng: np.random.Generator, tmp_path: Path
) -> None:
    """Every step of a run; an index gets no noise in training."""
    module = make().eval()
    network = bt.from_torch(module)

    def part() -> bt.Data:
        x = sample(rng, network, 24, 6)
        return bt.Data(x.astype(np.float32), network(x))

    settings = bt.SearchSettings(population=8, generations=2, seed=1)
    splits = bt.Splits(part(), part(), part())
    objectives = ("error", "flash", "instructions")
    run = bt.run_search(network, splits, tmp_path / "run",
                        bt.SearchSpec(search=settings, metric="mse", objectives=objectives))
    assert sites <= run.front[0].widths.keys()
    (found,) = bt.retrain_picks(run, splits, ["4bit"], recipe=bt.Retraining(epochs=1), workers=1)
    assert found.after is not None
    assert np.isfinite(found.after.values["error"])


@pytest.mark.parametrize("make", [words, noise])
@pytest.mark.parametrize("name", [core("host"), core("m4")])
def test_exported_c(make: Callable[[], nn.Module], name: str, rng: np.random.Generator, tmp_path: Path) -> None:
    """Every integer, and every byte of flash and RAM, as promised."""
    torch.manual_seed(0)
    program = same_bits(bt.from_torch(make()), rng, 8)
    report = verify(export_program(program, tmp_path / "firmware").folder, [name], 6)
    assert report.problem is None
    (verdict,) = report.verdicts
    assert verdict.sizes is not None
    assert (verdict.sizes.flash, verdict.sizes.ram) == (report.facts["flash"], report.facts["ram"])
