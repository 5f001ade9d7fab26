"""Small torch modules as people export them to ONNX, and what each exporter is asked for.

Widths differ from each other and from the numbers of items and steps, so that no axis is taken for another.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

FEATURES, HIDDEN, OUTPUTS, ITEMS, STEPS = 3, 7, 4, 2, 5


class Network(nn.Module):
    """One recurrent layer, what is taken of it, and a linear layer."""

    def __init__(self, kind: type[nn.RNNBase] = nn.GRU, take: str = "last", **options: Any) -> None:
        super().__init__()
        options = {"batch_first": True, **options}
        self.layer, self.take = kind.__name__.lower(), take
        self.add_module(self.layer, kind(FEATURES, HIDDEN, **options))
        width = (options.get("proj_size") or HIDDEN) * (2 if options.get("bidirectional") else 1)
        self.head = nn.Linear(width, OUTPUTS)

    def forward(self, x: Tensor) -> Tensor:
        out, state = self.get_submodule(self.layer)(x)
        h = state[0] if isinstance(state, tuple) else state
        if self.take == "steps":
            return self.head(out)
        if self.take == "sum":
            return self.head(out.sum(1))
        if self.take == "mean":
            return self.head(out.mean(1))
        if self.take == "first axis":
            return self.head(out[-1])
        if self.take == "h_n":
            return self.head(h[-1])
        if self.take == "both h_n":
            return self.head(torch.cat([h[-2], h[-1]], -1))
        return self.head(out[:, -1])


class GivenState(nn.Module):
    """Streaming: a state comes in and goes out."""

    def __init__(self) -> None:
        super().__init__()
        self.gru, self.head = nn.GRU(FEATURES, HIDDEN, batch_first=True), nn.Linear(HIDDEN, OUTPUTS)

    def forward(self, x: Tensor, h0: Tensor) -> tuple[Tensor, Tensor]:
        out, h = self.gru(x, h0)
        return self.head(out), h


class Packed(nn.Module):
    """Sequences of different lengths, packed."""

    def __init__(self) -> None:
        super().__init__()
        self.gru, self.head = nn.GRU(FEATURES, HIDDEN, batch_first=True), nn.Linear(HIDDEN, OUTPUTS)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        return self.head(self.gru(packed)[1][-1])


class Picked(nn.Module):
    """Each item's last valid step, by index."""

    def __init__(self, gather: bool = False) -> None:
        super().__init__()
        self.gru, self.head = nn.GRU(FEATURES, HIDDEN, batch_first=True), nn.Linear(HIDDEN, OUTPUTS)
        self.gather = gather

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        out = self.gru(x)[0]
        if self.gather:
            at = (lengths - 1).view(-1, 1, 1).expand(-1, 1, HIDDEN)
            return self.head(out.gather(1, at).squeeze(1))
        return self.head(out[torch.arange(out.shape[0]), lengths - 1])


class Cells(nn.Module):
    """A loop over the steps, written by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.head = nn.GRUCell(FEATURES, HIDDEN), nn.Linear(HIDDEN, OUTPUTS)

    def forward(self, x: Tensor) -> Tensor:
        h = x.new_zeros(x.shape[0], HIDDEN)
        for t in range(x.shape[1]):
            h = self.cell(x[:, t], h)
        return self.head(h)


class Around(nn.Module):
    """Layers and functions in front of and behind the recurrent one, in blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.front = nn.Sequential(nn.Linear(FEATURES, 6), nn.ReLU(), nn.Dropout(0.5))
        self.gru = nn.GRU(6, HIDDEN, batch_first=True)
        self.back = nn.Sequential(nn.Linear(HIDDEN, 6), nn.LeakyReLU(), nn.Linear(6, OUTPUTS), nn.Softmax(-1))

    def forward(self, x: Tensor) -> Tensor:
        return self.back(torch.sigmoid(self.gru(torch.tanh(self.front(x)))[0][:, -1]))


class Causal(nn.Module):
    """A causal convolution and one that looks ahead, in front of the recurrent layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv1d(FEATURES, 6, 3, dilation=2), nn.Conv1d(6, 6, 3, padding=1, groups=2)
        self.gru, self.head = nn.GRU(6, HIDDEN, batch_first=True), nn.Linear(HIDDEN, OUTPUTS)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.first(nn.functional.pad(x.transpose(1, 2), (4, 0))))
        return self.head(self.gru(self.second(x).transpose(1, 2))[0])


class Normalised(nn.Module):
    """Normalisations around the recurrent layer."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.after = nn.LayerNorm(FEATURES), nn.LayerNorm(HIDDEN)
        self.gru, self.head = nn.GRU(FEATURES, HIDDEN, batch_first=True), nn.Linear(HIDDEN, OUTPUTS)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.after(self.gru(self.before(x))[0]))


class Looked(nn.Module):
    """Indices."""

    def __init__(self) -> None:
        super().__init__()
        self.emb, self.gru = nn.Embedding(11, FEATURES), nn.GRU(FEATURES, HIDDEN, batch_first=True)
        self.head = nn.Linear(HIDDEN, OUTPUTS)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.gru(self.emb(x))[0][:, -1])


class Batched(nn.Module):
    """Batch normalisation over the features, constants, and a maximum over the steps."""

    def __init__(self) -> None:
        super().__init__()
        self.gru, self.norm = nn.GRU(FEATURES, HIDDEN, batch_first=True), nn.BatchNorm1d(HIDDEN)
        self.head = nn.Linear(HIDDEN, OUTPUTS)
        self.register_buffer("mean", torch.randn(FEATURES))
        for buffer in (self.norm.running_mean, self.norm.running_var):
            buffer.copy_(torch.rand(HIDDEN) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        out = self.gru((x - self.mean) * 0.5)[0]
        return self.head(self.norm(out.transpose(1, 2)).transpose(1, 2).amax(1))


@dataclass(frozen=True)
class Exported:
    """A module with what it is exported from.

    make    the module
    inputs  name -> what its axes are, in the order of forward's arguments
    outputs names of what it returns
    """

    make: Callable[[], nn.Module]
    inputs: dict[str, tuple[str, ...]] = field(default_factory=lambda: {"x": ("items", "steps", "features")})
    outputs: tuple[str, ...] = ("y",)


X = ("items", "steps", "features")
MODULES: dict[str, Exported] = {
    "gru_last": Exported(Network),
    "gru_mean": Exported(lambda: Network(take="mean")),
    "gru_steps": Exported(lambda: Network(take="steps")),
    "gru_no_bias": Exported(lambda: Network(bias=False)),
    "gru_two_layers": Exported(lambda: Network(take="h_n", num_layers=2)),
    "gru_two_layers_both": Exported(lambda: Network(take="both h_n", num_layers=2, bidirectional=True)),
    "lstm_last": Exported(lambda: Network(nn.LSTM)),
    "lstm_both_steps": Exported(lambda: Network(nn.LSTM, "steps", bidirectional=True)),
    "gru_time_major": Exported(lambda: Network(take="first axis", batch_first=False),
                               {"x": ("steps", "items", "features")}),
    "gru_given_state": Exported(GivenState, {"x": X, "h0": ("layers", "items", "hidden")}, ("y", "h")),
    "lstm_projected": Exported(lambda: Network(nn.LSTM, proj_size=6)),
    "gru_packed": Exported(Packed, {"x": X, "lengths": ("items",)}),
    "gru_cells": Exported(Cells),
    "picked": Exported(Picked, {"x": X, "lengths": ("items",)}),
    "gathered": Exported(lambda: Picked(gather=True), {"x": X, "lengths": ("items",)}),
    "around": Exported(Around),
    "causal": Exported(Causal),
    "normalised": Exported(Normalised),
    "looked_up": Exported(Looked, {"x": ("items", "steps")}),
    "batch_normalised": Exported(Batched),
    "rnn_last": Exported(lambda: Network(nn.RNN)),
    "rnn_both_sum": Exported(lambda: Network(nn.RNN, "sum", bidirectional=True, nonlinearity="relu")),
}
SIZES = {"items": ITEMS, "steps": STEPS, "features": FEATURES, "layers": 1, "hidden": HIDDEN}
DYNAMIC = ("items", "steps")


def example(known: Exported) -> tuple[Tensor, ...]:
    """What the exporters are shown."""
    shapes = {name: tuple(SIZES[axis] for axis in axes) for name, axes in known.inputs.items()}
    return tuple(torch.tensor([STEPS, STEPS - 2]) if name == "lengths"
                 else torch.randn(shape) if len(shape) == 3 else torch.randint(9, shape)
                 for name, shape in shapes.items())
