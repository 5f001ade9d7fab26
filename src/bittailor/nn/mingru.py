"""minGRU as a torch module; equations in `cells/mingru.py`."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bittailor.nn.base import Recurrent
from bittailor.nn.sequences import blend


class MinGRU(Recurrent):
    """`weight_ih` stacks z, n. Initial weights as in nn.Linear."""

    cell = "mingru"
    stacked = 2

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        for name, parameter in self.named_parameters():
            bound = 1 / math.sqrt(self.layer_inputs(int(name.split("_l")[-1].removesuffix("_reverse"))))
            torch.nn.init.uniform_(parameter, -bound, bound, generator=generator)

    def _recur(self, layer: int, products: Tensor, own: Tensor | None) -> Tensor:
        z, n = products.chunk(2, -1)
        return blend(n, -z)  # 1 - sigmoid(z) keeps the state
