"""The float network of the tasks: one recurrent layer, its last valid step, one linear layer."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bittailor.nn import MODULES


class LastStepNetwork(nn.Module):
    """Recurrent layer -> output after the last valid step -> linear.

    inputs, hidden, outputs   features of one step, units of the layer, width of the output
    seed                      decides the initial weights; the global generator of torch is left as it was
    cell                      a name in `bittailor.nn.MODULES`; the layer is the attribute of that name

    A module of the ordinary kind: `gru` is nn.GRU(batch_first=True), `head` is nn.Linear, and torch.fx can trace it
    (`lengths` fixed to None: concrete_args={"lengths": None}).
    """

    def __init__(self, inputs: int, hidden: int, outputs: int, seed: int = 0, cell: str = "gru") -> None:
        super().__init__()
        self.cell = cell
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.add_module(cell, MODULES[cell](inputs, hidden, batch_first=True))
            self.head = nn.Linear(hidden, outputs)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Outputs [items, outputs] of x [items, steps, inputs].

        lengths   int64 [items], 1..steps: the valid steps of each item; None means all of them
        """
        out, _ = self.get_submodule(self.cell)(x)
        last = out[:, -1] if lengths is None else out.take_along_dim((lengths - 1)[:, None, None], dim=1)[:, 0]
        outputs: Tensor = self.head(last)
        return outputs
