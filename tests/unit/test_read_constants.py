"""Constants, normalisation, activations with options, other layouts: read, and folded where they can be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 (what PyTorch's own pages call it)

from bittailor.core.network import Network
from bittailor.core.program import Program, bind
from bittailor.engines import ENGINES
from bittailor.errors import UnsupportedNetwork
from bittailor.read import from_torch
from networks import random_lengths, random_plan

Forward = Callable[[Any, Tensor], Any]


def normalised(features: int) -> nn.BatchNorm1d:
    """A batch normalisation that has seen data."""
    norm = nn.BatchNorm1d(features)
    for values in (norm.running_mean, norm.weight.data, norm.bias.data):
        values.copy_(torch.randn(features))
    norm.running_var.copy_(torch.rand(features) + 0.5)
    return norm


class Net(nn.Module):
    """Any forward over the same layers."""

    def __init__(self, forward: Forward, features: int = 3) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.gru, self.late = nn.GRU(features, 4, batch_first=True), nn.GRU(features, 4)
        self.a, self.b, self.head = nn.Linear(features, 3), nn.Linear(features, 3), nn.Linear(4, 3)
        self.bn, self.bn4 = normalised(3), normalised(4)
        self.one, self.three = nn.PReLU(), nn.PReLU(3, 0.3)
        self.register_buffer("mean", torch.randn(3))
        self.register_buffer("std", torch.rand(3) + 0.5)
        self.W, self.g = nn.Parameter(torch.randn(3, 3)), nn.Parameter(torch.rand(1))
        self.late_mean = torch.full((1, 1, 3), 0.25)
        self.conv = nn.Conv1d(features, 3, 3)
        self.run = forward

    def forward(self, x: Tensor) -> Any:
        return self.run(self, x)


def layers(network: Network) -> list[str]:
    """What the network computes outside of recurrent layers."""
    return [step.op for step in network.graph.steps if hasattr(step, "op")]


def convolved(m: Any, x: Tensor, padding: int = 0) -> Tensor:
    return m.conv(F.pad(x.transpose(1, 2), (padding, 0))).transpose(1, 2)


READ: dict[str, tuple[Forward, list[str]]] = {
    "buffers and a convolution": (lambda m, x: convolved(m, (x - m.mean) / m.std), ["window", "crop", "linear"]),
    "a factor and padding": (lambda m, x: convolved(m, x / m.std, 2), ["window", "linear"]),
    "a shift and padding": (lambda m, x: convolved(m, x - m.mean, 2), ["diagonal", "window", "linear"]),
    "a shift and half of the padding": (lambda m, x: convolved(m, x - m.mean, 1),
                                        ["diagonal", "window", "crop", "linear"]),
    "a number": (lambda m, x: m.gru(x * 0.5)[0], []),
    "a quotient": (lambda m, x: m.gru(x / 255)[0], []),
    "mean and deviation": (lambda m, x: m.gru((x - m.mean) / (m.std + 1e-5))[0], []),
    "an attribute": (lambda m, x: m.gru(x - m.late_mean)[0], []),
    "behind a linear": (lambda m, x: 3 - m.a(x) / 2, ["linear"]),
    "a factor of each feature": (lambda m, x: m.a(x) * m.mean + m.b(x), ["linear", "linear", "add"]),
    "alpha": (lambda m, x: torch.sub(m.a(x), m.b(x), alpha=0.5), ["linear", "linear", "sub"]),
    "nowhere to fold": (lambda m, x: 2 * torch.tanh(m.a(x) / 2) - 1, ["linear", "tanh", "affine"]),
    "of each feature, nowhere to fold": (lambda m, x: m.std * torch.tanh(m.a(x)), ["linear", "tanh", "diagonal"]),
    "negative": (lambda m, x: -x + m.a(x), ["affine", "linear", "add"]),
    "a parameter": (lambda m, x: torch.tanh(m.a(x) * torch.exp(m.g)), ["linear", "tanh"]),
    "square": (lambda m, x: torch.tanh(m.a(x)) ** 2 / 4, ["linear", "tanh", "mul", "affine"]),
    "matrix": (lambda m, x: x @ m.W.T + m.mean, ["linear"]),
    "a masked matrix": (lambda m, x: F.linear(x, m.W * 2, m.mean), ["linear"]),
    "behind the last step": (lambda m, x: (m.a(x)[:, -1] - 1) * 2, ["linear", "last"]),
    "behind the mean": (lambda m, x: m.a(x).mean(1) * m.std, ["linear", "mean"]),
    "norm before a layer": (lambda m, x: m.gru(m.bn(x.transpose(1, 2)).transpose(1, 2))[0], []),
    "norm behind a layer": (lambda m, x: m.head(m.bn4(m.gru(x)[0][:, -1])), ["last", "linear"]),
    "norm of a linear": (lambda m, x: m.bn(m.a(x).transpose(1, 2)), ["linear"]),
    "norm of all steps": (lambda m, x: m.bn(m.a(x).reshape(-1, 3)).view(x.size(0), -1, 3), ["linear"]),
    "norm alone": (lambda m, x: m.bn(torch.tanh(m.a(x)[:, -1])), ["linear", "last", "tanh", "diagonal"]),
    "PReLU": (lambda m, x: m.one(m.a(x)), ["linear", "leaky_relu"]),
    "PReLU of each feature": (lambda m, x: m.three(m.a(x)[:, -1]),
                              ["linear", "last", "relu", "sub", "diagonal", "add"]),
    "GELU": (lambda m, x: F.gelu(m.a(x)), ["linear", "gelu"]),
    "GELU by tanh": (lambda m, x: F.gelu(m.a(x), approximate="tanh"), ["linear", "gelu_tanh"]),
    "clamp": (lambda m, x: m.a(x).clamp(0, 6), ["linear", "clamp"]),
    "clamp from below": (lambda m, x: torch.clamp(m.a(x), min=-0.1), ["linear", "clamp"]),
    "clamp at zero": (lambda m, x: m.a(x).clamp(min=0), ["linear", "relu"]),
    "ReLU6": (lambda m, x: F.relu6(m.a(x)), ["linear", "clamp"]),
    "Hardtanh": (lambda m, x: F.hardtanh(m.a(x), 0, 4), ["linear", "clamp"]),
    "ELU": (lambda m, x: F.elu(m.a(x), 2.0), ["linear", "elu"]),
    "LeakyReLU": (lambda m, x: F.leaky_relu(m.a(x), 0.2, inplace=True), ["linear", "leaky_relu"]),
    "Softplus": (lambda m, x: F.softplus(m.a(x), 2, 1.5), ["linear", "softplus"]),
    "absolute": (lambda m, x: torch.abs(m.a(x)), ["linear", "abs"]),
    "features before steps": (lambda m, x: m.gru(x.transpose(1, 2))[0].transpose(1, 2), []),
    "features first, steps first": (lambda m, x: m.late(x.permute(2, 0, 1))[1][0], ["last"]),
    "norm of the input": (lambda m, x: m.gru(m.bn(x).transpose(1, 2))[0].mean(1), ["mean"]),
}


def same_everywhere(network: Network, seed: int = 0) -> Program:
    """A program of it at any widths; every engine gives the reference's integers."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(8, 7, network.features))
    program = bind(network, random_plan(network, x, rng, "any"))
    q, lengths = program.quantise_input(x), random_lengths(rng, 8, 7, network.graph.least_steps)
    wanted = ENGINES["reference"].run(program, q, lengths)
    for name, engine in ENGINES.items():
        if engine.available() is None:
            assert np.array_equal(engine.run(program, q, lengths), wanted), name
    return program


@pytest.mark.parametrize("name", READ)
def test_what_is_read(name: str) -> None:
    """`from_torch` itself compares the network with the module; here: what it is made of, and that it runs."""
    forward, ops = READ[name]
    module = Net(forward)
    before = {key: values.clone() for key, values in module.state_dict().items()}
    network = from_torch(module, 3)
    assert layers(network) == ops
    assert all(torch.equal(values, before[key]) for key, values in module.state_dict().items())
    program = same_everywhere(network)
    assert Program.from_bytes(program.to_bytes()).graph == program.graph


@pytest.mark.parametrize("forward", [
    lambda m, x: m.head(m.gru(x.unsqueeze(-1))[0][:, -1]), lambda m, x: m.head(m.gru(x[:, :, None])[0]).sigmoid(),
    lambda m, x: m.gru(x.view(x.size(0), x.size(1), 1))[0], lambda m, x: m.gru(x.unsqueeze(2) * 0.1)[1][-1],
], ids=["unsqueeze", "index", "view", "scaled"])
def test_an_input_without_features(forward: Forward) -> None:
    """[items, steps]: one feature."""
    same_everywhere(from_torch(Net(forward, 1), 1))


def test_a_norm_that_cannot_be_read() -> None:
    module = nn.Sequential(nn.BatchNorm1d(3, track_running_stats=False))
    with pytest.raises(UnsupportedNetwork, match=r"'0' \(BatchNorm1d\): track_running_stats=False"):
        from_torch(module)
    with pytest.raises(UnsupportedNetwork, match="num_features=3, but its input 'input' has 4"):
        from_torch(nn.Sequential(nn.BatchNorm1d(3)), 4)


REFUSED: dict[str, tuple[Forward, str]] = {
    "factor 0": (lambda m, x: m.a(x) * 0, "a factor of 0 leaves a constant"),
    "by a value": (lambda m, x: m.a(x) / m.b(x), r"truediv\(\).*only a division by a constant"),
    "for each step": (lambda m, x: m.a(x) + torch.arange(6.0).view(1, 2, 3), r"has the shape \[1, 2, 3\] and meets"),
    "cube": (lambda m, x: m.a(x) ** 3, r"of powers the square can be read"),
    "bounds of the data": (lambda m, x: torch.clamp(m.a(x), m.mean), "its bounds must be numbers"),
    "product of values": (lambda m, x: m.a(x) @ m.b(x).transpose(1, 2), "cannot be multiplied as matrices"),
    "slopes of steps": (lambda m, x: m.three(m.a(x)), r"it has 3 slopes, for axis 1 of \[items, steps, features\]"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name: str) -> None:
    forward, message = REFUSED[name]
    with pytest.raises(UnsupportedNetwork, match=message) as caught:
        from_torch(Net(forward), 3)
    assert len(str(caught.value).splitlines()) <= 3
