"""SRU as a torch module; equations in `cells/sru.py`.

The network of Rezk et al. (arXiv 2108.01192) on speech: `SRU(23, 550, 4, projection=256, bidirectional=True,
highway_bias=-1.0, rescale=True)`.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from bittailor.errors import BittailorError
from bittailor.nn.base import Recurrent
from bittailor.nn.sequences import blend, delayed


class SRU(Recurrent):
    """`weight_ih` stacks x, f, r and, where the skip term needs a matrix, s; `weight_c` and `bias_ih` stack f, r.

    projection    features of a low-rank projection in front of a layer, shared by its directions, wherever that is
                  smaller than what the layer is given and what it gives; 0 for none
    skip          the highway term. It is the input of the layer itself, before the projection, each direction taking
                  its own direction's output of the layer below; a matrix where the first layer's features do not fit
    rescale       multiply the skip term by sqrt(1 + 2 exp(highway_bias)): it keeps the variance from layer to layer
    highway_bias  initial bias of the gate r
    activation    "tanh" for h = r * tanh(c) + …; None for h = r * c + …

    Initial weights as in section 3.2 of its paper: every entry of variance 1 / inputs.
    """

    cell = "sru"
    projection_size: int
    skip: bool
    rescale: bool
    highway_bias: float
    activation: str | None

    def __init__(self, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True,
                 batch_first: bool = True, dropout: float = 0.0, bidirectional: bool = False, *, projection: int = 0,
                 skip: bool = True, rescale: bool = True, highway_bias: float = 0.0, activation: str | None = None,
                 generator: torch.Generator | None = None) -> None:
        if projection < 0:
            raise BittailorError(f"SRU: projection is {projection}; expected a number of features, or 0 for none")
        if activation not in (None, "tanh"):
            raise BittailorError(f"SRU: activation is {activation!r}; expected None or 'tanh'")
        super().__init__(input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional,
                         generator=generator, projection_size=projection, skip=skip, rescale=rescale,
                         highway_bias=highway_bias, activation=activation)

    @property
    def scale(self) -> float:
        """The constant factor of the skip term."""
        return math.sqrt(1 + 2 * math.exp(self.highway_bias)) if self.skip and self.rescale else 1.0

    def _full_inputs(self, layer: int) -> int:
        return self.hidden_size * self.directions if layer else self.input_size

    def layer_inputs(self, layer: int) -> int:
        """Columns of `weight_ih`: the projection's rows where there is one."""
        return self.projection_size if self._projects(layer) else self._full_inputs(layer)

    def _projects(self, layer: int) -> bool:
        return 0 < self.projection_size < min(self._full_inputs(layer), self.hidden_size * self.directions)

    def _skip_matrix(self, layer: int) -> bool:
        """Whether the skip term of a layer is W_s x."""
        return self.skip and layer == 0 and (self.bidirectional or self.input_size != self.hidden_size)

    def _make_layer(self, layer: int) -> None:
        if self._projects(layer):
            matrix = nn.Parameter(torch.empty(self.projection_size, self._full_inputs(layer)))
            self.register_parameter(f"weight_proj_l{layer}", matrix)

    def _shapes(self, layer: int) -> dict[str, tuple[int, ...]]:
        H = self.hidden_size
        shapes: dict[str, tuple[int, ...]] = {
            "weight_ih": ((4 if self._skip_matrix(layer) else 3) * H, self.layer_inputs(layer)), "weight_c": (2 * H,)}
        return shapes | ({"bias_ih": (2 * H,)} if self.bias else {})

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        H = self.hidden_size
        for name, parameter in self.named_parameters():
            if name.startswith("bias"):
                parameter.data[:H], parameter.data[H:] = 0.0, self.highway_bias
                continue
            bound = math.sqrt(3.0 / (1 if name.startswith("weight_c") else parameter.shape[1]))
            nn.init.uniform_(parameter, -bound, bound, generator=generator)
            # a gate is the sum of two products: half the variance each
            if name.startswith("weight_c"):
                parameter.data *= math.sqrt(0.5)
            elif name.startswith("weight_ih"):
                parameter.data[H : 3 * H] *= math.sqrt(0.5)

    def _products(self, layer: int, x: Tensor, valid: Tensor | None) -> Tensor:
        """Without biases, which do not go with all of the stacked matrices."""
        return nn.functional.linear(x, self._joined("weight_ih", layer))

    def _own_part(self, layer: int, x: Tensor) -> Tensor | None:
        return x if self.skip and not self._skip_matrix(layer) else None

    def _recur(self, layer: int, products: Tensor, own: Tensor | None) -> Tensor:
        candidate, f, r, *rest = torch.split(products, self.hidden_size, -1)
        v_f, v_r = self._per_direction("weight_c", layer).chunk(2, -1)
        if self.bias:
            b_f, b_r = self._per_direction("bias_ih", layer).chunk(2, -1)
            f, r = f + b_f, r + b_r
        c = blend(candidate, f, v_f)
        r = torch.sigmoid(torch.addcmul(r, v_r, delayed(c)))
        shown = r * (torch.tanh(c) if self.activation else c)
        source = rest[0] if rest else own
        return shown if source is None else shown + (1 - r) * (self.scale * source)

    def _per_direction(self, kind: str, layer: int) -> Tensor:
        return self._joined(kind, layer).view(self.directions, 1, -1)

    def arrays(self, layer: int, direction: int) -> dict[str, Tensor]:
        """Also `scale`, that of the skip term."""
        return super().arrays(layer, direction) | {"scale": torch.tensor(self.scale, dtype=torch.float64)}

    def options(self, layer: int) -> dict[str, Any]:
        """Where the skip term comes from."""
        kind = None if not self.skip else "matrix" if self._skip_matrix(layer) else "input"
        return {"skip": kind, "scaled": self.scale != 1.0, "activation": self.activation}

    def projection(self, layer: int) -> Tensor | None:
        """weight_proj of the layer, where it has one."""
        found: Tensor | None = getattr(self, f"weight_proj_l{layer}", None)
        return found

    def extra_repr(self) -> str:
        named = {"projection_size": 0, "skip": True, "rescale": True, "highway_bias": 0.0, "activation": None}
        changed = [f"{k.removesuffix('_size')}={getattr(self, k)}" for k, v in named.items() if getattr(self, k) != v]
        return ", ".join([super().extra_repr(), *changed])
