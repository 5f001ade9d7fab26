"""The recurrent modules that are read, as one description: whose cell, which layers, whose parameters.

`KINDS` lists PyTorch's own; those of `bittailor.nn` describe themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from bittailor.nn import MODULES, Recurrent


@dataclass(frozen=True)
class Layer:
    """One layer.

    directions  per direction the arrays that `Cell.parameters` takes
    projection  a matrix in front of both directions, or None
    options     of the cell's `step`
    """

    directions: tuple[Mapping[str, torch.Tensor], ...]
    projection: torch.Tensor | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Layers:
    """A recurrent module.

    kind           its name for people
    cell           a name in `CELLS`
    states         the final states that it returns beside its output; "h" is the output's
    takes_lengths  its second argument are lengths, not an initial state
    """

    kind: str
    cell: str
    input_size: int
    hidden_size: int
    batch_first: bool
    states: tuple[str, ...]
    takes_lengths: bool
    each: tuple[Layer, ...]


KINDS: dict[type[nn.RNNBase], tuple[str, tuple[str, ...]]] = {nn.GRU: ("gru", ("h",)), nn.LSTM: ("lstm", ("h", "c"))}
"""PyTorch's modules: the cell, and the final states."""

_COMPUTES = ("forward", "_layers", "_products", "_own_part", "_recur")
"""What of ours a subclass may not change and still be read."""


def _name(kind: type[nn.Module]) -> str:
    return f"{'nn' if kind in KINDS else 'bittailor.nn'}.{kind.__name__}"


NAMES = ", ".join(_name(kind) for kind in MODULES.values())
"""The recurrent modules, for messages."""


def own_forward(module: nn.Module, kind: type[nn.Module]) -> bool:
    """Whether a module is of this kind and computes what the kind computes."""
    return isinstance(module, kind) and type(module).forward is kind.forward


def is_recurrent(module: nn.Module) -> str | None:
    """The name of the known recurrent module that this one is or descends from, or None."""
    known = [*KINDS, *(kind for kind in MODULES.values() if issubclass(kind, Recurrent))]
    return next((_name(kind) for kind in known if isinstance(module, kind)), None)


def layers_of(module: nn.Module) -> Layers | None:
    """The description of a module that is read; None for any other, also for a class that overrides a known one."""
    for kind, (cell, states) in KINDS.items():
        if own_forward(module, kind):
            assert isinstance(module, nn.RNNBase)
            return _of_torch(module, cell, states)
    known = next((kind for kind in MODULES.values() if isinstance(module, kind)), None)
    if isinstance(module, Recurrent) and all(getattr(type(module), n) is getattr(known, n, None) for n in _COMPUTES):
        each = tuple(
            Layer(tuple(module.arrays(layer, d) for d in range(module.directions)), module.projection(layer),
                  module.options(layer))
            for layer in range(module.num_layers))
        return Layers(type(module).__name__, module.cell, module.input_size, module.hidden_size, module.batch_first,
                      ("h",), True, each)
    return None


def _of_torch(module: nn.RNNBase, cell: str, states: tuple[str, ...]) -> Layers:
    project = module.proj_size
    kinds = ["weight_ih", "weight_hh", *(["bias_ih", "bias_hh"] if module.bias else []),
             *(["weight_hr"] if project else [])]
    suffixes = ("", "_reverse") if module.bidirectional else ("",)
    each = tuple(
        Layer(tuple({kind: getattr(module, f"{kind}_l{layer}{suffix}") for kind in kinds} for suffix in suffixes), None,
              {"project": project} if project else {})
        for layer in range(module.num_layers))
    return Layers(type(module).__name__, cell, module.input_size, module.hidden_size, module.batch_first, states, False,
                  each)
