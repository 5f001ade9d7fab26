"""The recurrent modules of torch that are read, described as `Layers`.

`KINDS` lists PyTorch's own; those of `bittailor.nn` describe themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from bittailor.core.arith import Floats
from bittailor.nn import MODULES, Recurrent
from bittailor.read.recurrence import Layer, Layers

KINDS: dict[type[nn.RNNBase], tuple[str, tuple[str, ...]]] = {
    nn.GRU: ("gru", ("h",)), nn.LSTM: ("lstm", ("h", "c")), nn.RNN: ("rnn", ("h",)),
}
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
            Layer(tuple(_arrays(module.arrays(layer, d)) for d in range(module.directions)),
                  None if (projection := module.projection(layer)) is None else array(projection),
                  module.options(layer))
            for layer in range(module.num_layers))
        return Layers(type(module).__name__, module.cell, module.input_size, module.hidden_size, module.batch_first,
                      ("h",), True, each)
    return None


def _of_torch(module: nn.RNNBase, cell: str, states: tuple[str, ...]) -> Layers:
    project = module.proj_size
    kinds = ["weight_ih", "weight_hh", *(["bias_ih", "bias_hh"] if module.bias else []),
             *(["weight_hr"] if project else [])]
    options: dict[str, Any] = {"project": project} if project else {}
    if isinstance(module, nn.RNN) and module.nonlinearity != "tanh":
        options["activation"] = module.nonlinearity
    suffixes = ("", "_reverse") if module.bidirectional else ("",)
    each = tuple(
        Layer(tuple(_arrays({kind: getattr(module, f"{kind}_l{layer}{suffix}") for kind in kinds})
                    for suffix in suffixes), None, options)
        for layer in range(module.num_layers))
    return Layers(type(module).__name__, cell, module.input_size, module.hidden_size, module.batch_first, states, False,
                  each)


def _arrays(tensors: Mapping[str, torch.Tensor]) -> dict[str, Floats]:
    return {kind: array(values) for kind, values in tensors.items()}


def array(values: torch.Tensor) -> Floats:
    """A parameter as float64."""
    result: Floats = values.detach().double().numpy().copy()
    return result
