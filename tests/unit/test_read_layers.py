"""Convolutions over the steps, embeddings and normalisations: read from PyTorch, calibrated, searched, exported."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

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

    def __init__(self, forward: Callable[[nn.Module, Tensor], Tensor], **layers: nn.Module) -> None:
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
    (nn.Conv1d(FEATURES, 5, 3), r"2 steps fewer .* functional\.pad\(x, \(2, 0\)\)"),
    (nn.Conv1d(FEATURES, 5, 3, stride=2, padding=1), r"stride=2"),
    (nn.Conv1d(FEATURES, 5, 3, padding=1, padding_mode="reflect"), r"padding_mode='reflect'"),
    (nn.Sequential(nn.Conv1d(FEATURES, 5, 3, padding=2), nn.ReLU()), r"2 steps more than the sequence has"),
    (nn.Sequential(nn.ConstantPad1d((2, 0), 1.0), nn.Conv1d(FEATURES, 5, 3)), r"only zeros can be padded"),
    (nn.Sequential(nn.ZeroPad1d((4, -2)), nn.Conv1d(FEATURES, 5, 3)), r"begins 4 steps late"),
])
def test_a_convolution_that_is_refused(net: nn.Module, why: str) -> None:
    with pytest.raises(UnsupportedNetwork, match=why):
        bt.from_torch(Module(over_steps, net=net))


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
