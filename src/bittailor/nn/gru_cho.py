"""The GRU whose reset gate stands before the recurrent matrix, as a torch module; equations in `cells/gru_cho.py`."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bittailor.nn.base import Recurrent


class GRUCho(Recurrent):
    """`weight_ih` and `weight_hh` stack r, z, n; one bias a gate, `bias_ih`. Initial weights as in nn.GRU."""

    cell = "gru_cho"
    stacked = 3

    def _shapes(self, layer: int) -> dict[str, tuple[int, ...]]:
        return super()._shapes(layer) | {"weight_hh": (3 * self.hidden_size, self.hidden_size)}

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        bound = 1 / math.sqrt(self.hidden_size)
        for parameter in self.parameters():
            torch.nn.init.uniform_(parameter, -bound, bound, generator=generator)

    def _recur(self, layer: int, products: Tensor, own: Tensor | None) -> Tensor:
        U = self._recurrent_matrices(layer)
        H = self.hidden_size
        gates, candidate = U[:, :, : 2 * H].contiguous(), U[:, :, 2 * H :].contiguous()
        h, outputs = products.new_zeros((*products.shape[1:3], H)), []
        for x_t, n_t in zip(products[..., : 2 * H].unbind(), products[..., 2 * H :].unbind(), strict=True):
            r, z = torch.sigmoid(torch.baddbmm(x_t, h, gates)).chunk(2, -1)
            n = torch.tanh(torch.baddbmm(n_t, r * h, candidate))
            h = torch.lerp(n, h, z)
            outputs.append(h)
        return torch.stack(outputs)
