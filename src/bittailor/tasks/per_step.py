"""The float networks of tasks with an output per step."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from bittailor.nn import MODULES


class PerStepNetwork(nn.Module):
    """Bidirectional recurrent layers -> linear, at every step.

    inputs, hidden, outputs   features of one step, units per layer and direction, labels
    seed                      decides the initial weights; the global generator of torch is left as it was
    cell                      a name in `bittailor.nn.MODULES`; the layers are the attribute of that name
    layers                    how many
    options                   of the cell's module

    A module of the ordinary kind, which `bittailor.read` reads.
    """

    def __init__(self, inputs: int, hidden: int, outputs: int, seed: int = 0, cell: str = "gru", layers: int = 2,
                 **options: Any) -> None:
        super().__init__()
        self.cell = cell
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            made = MODULES[cell](inputs, hidden, layers, batch_first=True, bidirectional=True, **options)
            self.add_module(cell, made)
            self.head = nn.Linear(2 * hidden, outputs)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Outputs [items, steps, outputs] of x [items, steps, inputs].

        lengths   int64 [items], 1..steps: the valid steps of each item; None means all of them. Outputs beyond mean
                  nothing
        """
        layers = self.get_submodule(self.cell)
        if lengths is None:
            out, _ = layers(x)
        else:
            packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
            out, _ = pad_packed_sequence(layers(packed)[0], batch_first=True, total_length=x.shape[1])
        outputs: Tensor = self.head(out)
        return outputs


class MaskNetwork(nn.Module):
    """Linear, ReLU -> recurrent layers in the direction of time -> linear, ReLU -> linear, sigmoid, at every step.

    inputs, hidden, outputs   features of one step, units of every layer between, bins of the mask
    seed, cell, layers        as of `PerStepNetwork`
    """

    def __init__(self, inputs: int, hidden: int, outputs: int, seed: int = 0, cell: str = "gru",
                 layers: int = 2) -> None:
        super().__init__()
        self.cell = cell
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.before = nn.Linear(inputs, hidden)
            self.add_module(cell, MODULES[cell](hidden, hidden, layers, batch_first=True))
            self.after = nn.Linear(hidden, hidden)
            self.head = nn.Linear(hidden, outputs)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Masks [items, steps, outputs], 0 .. 1, of x [items, steps, inputs]; `lengths` change nothing within them."""
        out, _ = self.get_submodule(self.cell)(torch.relu(self.before(x)))
        return torch.sigmoid(self.head(torch.relu(self.after(out))))


def mohaq_network(outputs: int = 1904, seed: int = 0, *, inputs: int = 23, hidden: int = 550) -> PerStepNetwork:
    """The recogniser of P2, untrained: four bidirectional SRU layers of 550 with projections of 256, 23 inputs; or a
    smaller one in the same proportions.

    outputs  1904 context-dependent states as in the paper; 39 for the labels of `timit`, 43 for those of `phones`
    hidden   units of a layer and direction
    Source   N. Rezk et al., arXiv 2108.01192: 5.5 million weights with its 1904 outputs.
    """
    return PerStepNetwork(inputs, hidden, outputs, seed, "sru", 4, projection=max(1, round(hidden * 256 / 550)),
                          rescale=True, highway_bias=-1.0, dropout=0.2)
