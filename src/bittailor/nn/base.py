"""What our recurrent modules share: the interface of `torch.nn.GRU`, sequences of different lengths, parameters."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from bittailor.errors import BittailorError
from bittailor.nn.sequences import rearranged


class Recurrent(nn.Module, ABC):
    """Stacked layers of one cell, in one or both directions; states start at zero.

    input_size, hidden_size   features of a step, units per layer and direction
    num_layers, bias, batch_first, dropout, bidirectional   as in `torch.nn.GRU`, but for batch_first=True
    generator                 of the initial weights; torch's global one where None

    Parameters are those of one layer and direction each, named as in nn.GRU: `weight_ih_l0`, `weight_ih_l0_reverse`, …,
    their gates stacked along the first axis.
    """

    cell: ClassVar[str]
    """Its name in `bittailor.core.cells.CELLS`."""
    stacked: ClassVar[int]
    """How many matrices `weight_ih` stacks."""

    def __init__(self, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True,
                 batch_first: bool = True, dropout: float = 0.0, bidirectional: bool = False, *,
                 generator: torch.Generator | None = None, **options: Any) -> None:
        super().__init__()
        if min(input_size, hidden_size, num_layers) < 1:
            raise BittailorError(f"{type(self).__name__}: input_size {input_size}, hidden_size {hidden_size} and "
                                 f"num_layers {num_layers} must each be at least 1")
        if not 0 <= dropout < 1:
            raise BittailorError(f"{type(self).__name__}: dropout is {dropout}; expected 0 up to, not including, 1")
        self.input_size, self.hidden_size, self.num_layers = input_size, hidden_size, num_layers
        self.bias, self.batch_first, self.dropout, self.bidirectional = bias, batch_first, dropout, bidirectional
        self.directions = 2 if bidirectional else 1
        for name, value in options.items():
            setattr(self, name, value)
        for layer in range(num_layers):
            self._make_layer(layer)
            for direction in range(self.directions):
                for kind, shape in self._shapes(layer).items():
                    self.register_parameter(kind + _suffix(layer, direction), nn.Parameter(torch.empty(shape)))
        self.reset_parameters(generator)

    # -- what a cell says --------------------------------------------------------------------------------------

    def _make_layer(self, layer: int) -> None:
        """Parameters that both directions of a layer share; none by default."""

    def _shapes(self, layer: int) -> dict[str, tuple[int, ...]]:
        """Kind -> shape of a direction's parameters."""
        shapes: dict[str, tuple[int, ...]] = {
            "weight_ih": (self.stacked * self.hidden_size, self.layer_inputs(layer))}
        if self.bias:
            shapes["bias_ih"] = (self.stacked * self.hidden_size,)
        return shapes

    @abstractmethod
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw the initial weights anew."""

    @abstractmethod
    def _recur(self, layer: int, products: Tensor, own: Tensor | None) -> Tensor:
        """The outputs [steps, directions, items, hidden] of a layer.

        products  W_ih x + b_ih [steps, directions, items, stacked * hidden]; a reversed direction runs forward here
        own       what `_own_part` says, [steps, directions, items, …]
        """

    def _products(self, layer: int, x: Tensor, valid: Tensor | None) -> Tensor:
        """W_ih x + b_ih of all directions at once, [items, steps, directions * stacked * hidden].

        valid  bool [items, steps], or None where all are
        """
        return nn.functional.linear(x, self._joined("weight_ih", layer),
                                    self._joined("bias_ih", layer) if self.bias else None)

    def _own_part(self, layer: int, x: Tensor) -> Tensor | None:
        """What a layer's directions use of its input besides the products, [items, steps, directions * n]; see SRU."""
        return None

    # -- what reading asks -------------------------------------------------------------------------------------

    def arrays(self, layer: int, direction: int) -> dict[str, Tensor]:
        """The parameters of one layer and direction as `Cell.parameters` takes them."""
        return {kind: self._get(kind, layer, direction) for kind in self._shapes(layer)}

    def options(self, layer: int) -> dict[str, Any]:
        """Options of the cell's `step` in this layer."""
        return {}

    def projection(self, layer: int) -> Tensor | None:
        """The matrix in front of a layer, of both directions, or None."""
        return None

    def layer_inputs(self, layer: int) -> int:
        """Columns of `weight_ih`."""
        return self.hidden_size * self.directions if layer else self.input_size

    # -- running -----------------------------------------------------------------------------------------------

    def forward(self, input: Tensor | PackedSequence, lengths: Tensor | None = None) -> tuple[Any, Tensor]:
        """(output, h_n) as `torch.nn.GRU` gives them.

        input    [items, steps, input_size] (batch_first), [steps, items, input_size], or a packed sequence
        lengths  int64 [items], 1..steps: a reversed direction begins at each item's own last step, outputs beyond are 0
        output   [items, steps, directions * hidden] or as the input is laid out
        h_n      [layers * directions, items, hidden]: each direction's output after its last step
        """
        if isinstance(input, PackedSequence):
            x, sizes = pad_packed_sequence(input, batch_first=True)
            y, h_n = self._layers(x, sizes.to(x.device))
            return pack_padded_sequence(y, sizes, batch_first=True, enforce_sorted=False), h_n
        x = input if self.batch_first else input.transpose(0, 1)
        if x.ndim != 3 or x.shape[2] != self.input_size:
            raise BittailorError(f"{type(self).__name__} takes [items, steps, {self.input_size}] with "
                                 f"batch_first={self.batch_first}; got {tuple(input.shape)}")
        y, h_n = self._layers(x, lengths)
        return (y if self.batch_first else y.transpose(0, 1)), h_n

    def _layers(self, x: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor]:
        items, steps = x.shape[:2]
        valid = turned = None
        if lengths is not None:
            if lengths.shape != (items,) or int(lengths.min()) < 1 or int(lengths.max()) > steps:
                raise BittailorError(f"lengths must be {items} integers in 1..{steps}")
            at = torch.arange(steps, device=x.device)[None, :]
            valid = at < lengths[:, None]
            turned = torch.where(valid, lengths[:, None] - 1 - at, at)
        ends = []
        for layer in range(self.num_layers):
            if layer and self.dropout:
                x = nn.functional.dropout(x, self.dropout, self.training)
            products = self._products(layer, self._projected(layer, x), valid)
            own = self._own_part(layer, x)
            y = self._recur(layer, self._arranged(products, turned),
                            None if own is None else self._arranged(own, turned))
            rows = torch.arange(items, device=x.device)
            ends.append(y[-1] if lengths is None else y[lengths - 1, :, rows].transpose(0, 1))
            x = self._turned(y.permute(2, 0, 1, 3), turned).flatten(2)
            if valid is not None:
                x = x * valid[:, :, None]
        return x, torch.cat(ends)

    def _projected(self, layer: int, x: Tensor) -> Tensor:
        matrix = self.projection(layer)
        return x if matrix is None else nn.functional.linear(x, matrix)

    def _arranged(self, x: Tensor, turned: Tensor | None) -> Tensor:
        """[items, steps, directions * n] -> [steps, directions, items, n], the reversed direction turned round."""
        parts = x.reshape(x.shape[0], x.shape[1], self.directions, -1)
        return self._turned(parts, turned).permute(1, 2, 0, 3).contiguous()

    def _turned(self, parts: Tensor, turned: Tensor | None) -> Tensor:
        """[items, steps, directions, n] with the second direction turned round, inside each item's length."""
        if not self.bidirectional:
            return parts
        forth, back = parts.unbind(2)
        return torch.stack([forth, back.flip(1) if turned is None else rearranged(back, turned)], dim=2)

    # -- parameters --------------------------------------------------------------------------------------------

    def _get(self, kind: str, layer: int, direction: int) -> Tensor:
        found: Tensor = getattr(self, kind + _suffix(layer, direction))
        return found

    def _joined(self, kind: str, layer: int) -> Tensor:
        """A kind of parameter of all directions, one after the other."""
        found = [self._get(kind, layer, direction) for direction in range(self.directions)]
        return found[0] if len(found) == 1 else torch.cat(found)

    def _recurrent_matrices(self, layer: int) -> Tensor:
        """weight_hh transposed, [directions, hidden, stacked * hidden]."""
        return torch.stack([self._get("weight_hh", layer, d).T for d in range(self.directions)])

    def extra_repr(self) -> str:
        named = {"num_layers": 1, "bias": True, "batch_first": True, "dropout": 0.0, "bidirectional": False}
        changed = [f"{k}={getattr(self, k)}" for k, default in named.items() if getattr(self, k) != default]
        return ", ".join([str(self.input_size), str(self.hidden_size), *changed])


def _suffix(layer: int, direction: int) -> str:
    return f"_l{layer}" + ("_reverse" if direction else "")
