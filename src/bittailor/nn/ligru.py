"""The Light GRU as a torch module; equations in `cells/ligru.py`."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from bittailor.nn.base import Recurrent


class LiGRU(Recurrent):
    """`weight_ih` and `weight_hh` stack z, n.

    normalise  batch normalisation of W_ih x, over items and valid steps, as its authors do; it is folded into weights
               and biases when the network is read. Without it the state of a long sequence may grow: train gently
    Initial weights: Glorot for W_ih, orthogonal for W_hh, as the authors'.
    """

    cell = "ligru"
    stacked = 2
    normalise: bool

    def __init__(self, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True,
                 batch_first: bool = True, dropout: float = 0.0, bidirectional: bool = False, *,
                 normalise: bool = True, generator: torch.Generator | None = None) -> None:
        super().__init__(input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional,
                         generator=generator, normalise=normalise)

    def _make_layer(self, layer: int) -> None:
        if self.normalise:
            self.add_module(f"norm_l{layer}", nn.BatchNorm1d(self.directions * 2 * self.hidden_size, momentum=0.05))

    def _shapes(self, layer: int) -> dict[str, tuple[int, ...]]:
        shapes = super()._shapes(layer) | {"weight_hh": (2 * self.hidden_size, self.hidden_size)}
        if self.normalise:  # which has a bias of its own
            shapes.pop("bias_ih", None)
        return shapes

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        for name, parameter in self.named_parameters():
            if name.startswith("bias"):
                nn.init.zeros_(parameter)
            elif name.startswith("weight"):
                draw = nn.init.orthogonal_ if "_hh_" in name else nn.init.xavier_uniform_
                for gate in parameter.data.chunk(2):
                    draw(gate, generator=generator)
        for module in self.children():
            cast(nn.BatchNorm1d, module).reset_parameters()

    def _products(self, layer: int, x: Tensor, valid: Tensor | None) -> Tensor:
        if not self.normalise:
            return super()._products(layer, x, valid)
        y = nn.functional.linear(x, self._joined("weight_ih", layer))
        norm = self.get_submodule(f"norm_l{layer}")
        if valid is None:
            return cast(Tensor, norm(y.flatten(0, 1))).view_as(y)
        return torch.zeros_like(y).masked_scatter(valid[:, :, None], norm(y[valid]))

    def _recur(self, layer: int, products: Tensor, own: Tensor | None) -> Tensor:
        U = self._recurrent_matrices(layer).contiguous()
        h, outputs = products.new_zeros((*products.shape[1:3], self.hidden_size)), []
        for x_t in products.unbind():
            z, n = torch.baddbmm(x_t, h, U).chunk(2, -1)
            h = torch.lerp(torch.relu(n), h, torch.sigmoid(z))
            outputs.append(h)
        return torch.stack(outputs)

    def arrays(self, layer: int, direction: int) -> dict[str, Tensor]:
        """The normalisation folded in: W_ih and b_ih of the function in evaluation mode."""
        found = super().arrays(layer, direction)
        if self.normalise:
            norm = cast(nn.BatchNorm1d, self.get_submodule(f"norm_l{layer}"))
            rows = slice(direction * 2 * self.hidden_size, (direction + 1) * 2 * self.hidden_size)
            mean, variance = cast(Tensor, norm.running_mean)[rows], cast(Tensor, norm.running_var)[rows]
            factor = norm.weight[rows] / torch.sqrt(variance + norm.eps)
            found["weight_ih"] = factor[:, None] * found["weight_ih"]
            found["bias_ih"] = norm.bias[rows] - factor * mean
        return found
