"""Initial states that are constants: what is read of PyTorch, ONNX and arrays starts where the source starts."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import bittailor as bt
from bittailor.errors import UnsupportedNetwork

HIDDEN = 4
Forward = Callable[[Any, Tensor], Any]


class Module(nn.Module):
    """A recurrent layer with states of its own, used in any way."""

    def __init__(self, forward: Forward, kind: type[nn.RNNBase], layers: int = 1, both: bool = False) -> None:
        super().__init__()
        torch.manual_seed(3)
        rows = layers * (1 + both)
        self.rnn = kind(3, HIDDEN, layers, batch_first=True, bidirectional=both)
        self.h0, self.c0 = nn.Parameter(torch.randn(rows, 1, HIDDEN)), nn.Parameter(torch.randn(rows, 1, HIDDEN))
        self.v = nn.Parameter(torch.randn(HIDDEN) * 0.3)
        self.register_buffer("b", torch.randn(1, HIDDEN) * 0.3)
        self.does = forward

    def forward(self, x: Tensor) -> Tensor:
        return self.does(self, x)


class Streaming(nn.Module):
    """Takes the state of the call before, and gives the one for the next."""

    def __init__(self, learned: bool) -> None:
        super().__init__()
        self.rnn = nn.GRU(3, HIDDEN, batch_first=True)
        self.h0 = nn.Parameter(torch.full((1, 1, HIDDEN), 0.5)) if learned else None

    def forward(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        if state is None and self.h0 is not None:
            state = self.h0.expand(-1, x.size(0), -1)
        y, state = self.rnn(x, state)
        return y, state


def many(state: Tensor, x: Tensor) -> Tensor:
    return state.expand(-1, x.size(0), -1).contiguous()


READ: dict[str, tuple[Module, int]] = {
    "expand": (Module(lambda m, x: m.rnn(x, many(m.h0, x))[0][:, -1], nn.GRU, 2, True), 4),
    "LSTM, repeat": (Module(lambda m, x: m.rnn(x, (m.h0.repeat(1, x.shape[0], 1), m.c0.repeat(1, x.size(0), 1)))[0],
                            nn.LSTM, 2), 4),
    "LSTM, one of two": (Module(lambda m, x: m.rnn(x, (torch.zeros(1, x.size(0), HIDDEN), many(m.c0, x)))[0],
                                nn.LSTM), 1),
    "RNN, from the end": (Module(lambda m, x: m.rnn(x, many(m.h0, x))[1][1], nn.RNN, 1, True), 1),
    "a vector": (Module(lambda m, x: m.rnn(x, m.v.expand(x.size(0), -1).unsqueeze(0))[0], nn.GRU), 1),
    "a buffer": (Module(lambda m, x: m.rnn(x, m.b.expand(x.size(0), HIDDEN)[None])[0], nn.GRU), 1),
    "computed": (Module(lambda m, x: m.rnn(x, torch.tanh(m.h0).expand(1, x.size(0), HIDDEN))[0], nn.GRU), 1),
    "ones": (Module(lambda m, x: m.rnn(x, 0.5 * torch.ones(1, x.size(0), HIDDEN))[0], nn.GRU), 1),
    "full": (Module(lambda m, x: m.rnn(x, torch.full((1, x.size(0), HIDDEN), -0.3))[0], nn.GRU), 1),
    "nothing but zeros": (Module(lambda m, x: m.rnn(x, many(m.h0 * 0, x))[0], nn.GRU), 0),
}


@pytest.mark.parametrize("name", READ)
def test_a_module_starts_where_it_started(name: str) -> None:
    module, states = READ[name]
    network = bt.from_torch(module)
    assert len(network.graph.starts) == states
    x = torch.randn(5, 7, 3)
    with torch.no_grad():
        np.testing.assert_allclose(network(x.numpy()), module(x).numpy(), atol=1e-5)


@pytest.mark.parametrize("name", READ)
def test_its_onnx_file_as_well(name: str, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    module, states = READ[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(module.eval(), (torch.randn(3, 5, 3),), tmp_path / "net.onnx", dynamo=False,
                          input_names=["x"], dynamic_axes={"x": {0: "items", 1: "steps"}})
    network = bt.from_onnx(tmp_path / "net.onnx")
    assert len(network.graph.starts) == states
    x = np.random.default_rng(0).normal(size=(4, 6, 3))
    np.testing.assert_allclose(network(x), bt.from_torch(module)(x), atol=1e-6)


@pytest.mark.parametrize("learned", [False, True])
def test_a_module_that_takes_and_gives_its_state(learned: bool) -> None:
    """It is read as when it is called without; the state that it returns is carried by a program anyway."""
    module = Streaming(learned)
    network = bt.from_torch(module)
    assert list(network.graph.starts) == ["rnn0.h"] * learned
    x = torch.randn(2, 5, 3)
    with torch.no_grad():
        np.testing.assert_allclose(network(x.numpy()), module(x)[0].numpy(), atol=1e-5)


class TwoGiven(nn.Module):
    """Needs its states."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(3, HIDDEN, batch_first=True)

    def forward(self, x: Tensor, h0: Tensor, c0: Tensor) -> Tensor:
        return self.rnn(x, (h0, c0))[0]


def test_states_that_must_be_given_are_none() -> None:
    """Where the module cannot run so, the message says what was given, and what to do."""
    with pytest.raises(UnsupportedNetwork, match="given None as h0, c0: have it make what it needs") as caught:
        bt.from_torch(TwoGiven())
    assert len(str(caught.value).splitlines()) == 2


def test_arrays_with_starts() -> None:
    """Of each direction its own."""
    rng = np.random.default_rng(0)
    def direction() -> tuple[Any, ...]:
        return (rng.normal(size=(16, 3)), rng.normal(size=(16, 4)), None, None,
                {"h": rng.normal(size=4), "c": rng.normal(size=4)})

    both = direction(), direction()
    network = bt.from_arrays([("lstm", *both)])
    module = nn.LSTM(3, 4, batch_first=True, bias=False, bidirectional=True).double()
    with torch.no_grad():
        for tail, arrays in zip(("", "_reverse"), both, strict=True):
            for name, values in zip(("ih", "hh"), arrays, strict=False):
                getattr(module, f"weight_{name}_l0{tail}").copy_(torch.from_numpy(values))
        x = rng.normal(size=(2, 5, 3))
        start = tuple(torch.tensor(np.stack([each[4][state] for each in both])[:, None].repeat(2, 1)) for state in "hc")
        np.testing.assert_allclose(network(x), module(torch.from_numpy(x), start)[0].numpy(), atol=1e-12)


@pytest.mark.parametrize(("starts", "said"), [
    ({"c": np.zeros(4)}, r"the start of c has shape \(4,\); a gru has h, here of shape \(4,\)"),
    ({"h": np.zeros(3)}, r"the start of h has shape \(3,\)"), ({"h": ["a"]}, "the start of h"),
    ({"h": np.full(4, np.nan)}, "as many finite numbers"),
])
def test_starts_of_arrays_that_do_not_fit(starts: dict[str, Any], said: str) -> None:
    with pytest.raises(UnsupportedNetwork, match=said):
        bt.from_arrays([("gru", np.ones((12, 3)), np.ones((12, 4)), starts)])


@pytest.mark.parametrize(("forward", "kind", "said"), [
    (lambda m, x: m.rnn(x, m.rnn(x)[1])[0], nn.GRU, "computed from the data"),
    (lambda m, x: m.rnn(x, (many(m.h0, x),))[0], nn.LSTM, "given 1 initial states; expected h and c"),
    (lambda m, x: m.rnn(x, m.h0[..., :3].expand(1, x.size(0), 3))[0], nn.GRU, r"shape \(1, 1, 3\); expected 1 of 4"),
    (lambda m, x: m.rnn(x, torch.cat([m.h0, m.c0], 1))[0], nn.GRU, "values of their own for each of 2 items"),
])
def test_other_initial_states_are_refused(forward: Forward, kind: type[nn.RNNBase], said: str) -> None:
    with pytest.raises(UnsupportedNetwork, match=rf"'rnn' .*initial state|{said}") as caught:
        bt.from_torch(Module(forward, kind))
    assert "\n" not in str(caught.value)
    assert caught.match(said)


def test_a_state_that_leaves_its_proven_range_is_calibrated() -> None:
    """A GRU's state stays in -1..1 only if it starts there; its start is in the range that is observed."""
    module = Module(lambda m, x: m.rnn(x, torch.full((1, x.size(0), HIDDEN), 3.0))[0], nn.GRU)
    network = bt.from_torch(module)
    assert network.graph.sites["rnn0.h"].proven is None
    x = np.random.default_rng(0).normal(size=(8, 6, 3))
    calibration = bt.calibrate(network, x, settings=bt.CalibrationSettings(method="minmax"))
    assert calibration.observed["rnn0.h"].high == 3.0
    program = calibration.binder().bind(calibration.plan({s.name: 8 for s in network.graph.free}))
    fmt = program.formats["rnn0.h"]
    assert np.abs(fmt.dequantise(program.starts["rnn0.h"]) - 3.0).max() <= fmt.scale[0] / 2
