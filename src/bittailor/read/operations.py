"""PyTorch's functions and methods that can be read, one each; the table at the end lists them.

Every one is called with a writer and the arguments that PyTorch's own has.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch.autograd import Variable
from torch.nn import functional
from torch.nn.utils import rnn

from bittailor.core.checks import MOST_VALUES
from bittailor.read import layers
from bittailor.read.arithmetic import ARITHMETIC, activation
from bittailor.read.recurrence import is_lengths, lengths_wanted
from bittailor.read.shapes import SHAPES, Operation
from bittailor.read.symbolic import (
    FEATURES,
    ITEMS,
    STEPS,
    Constant,
    Dim,
    ItemIndex,
    Opaque,
    PackedSequence,
    Refusal,
    StepIndex,
    Tensor,
    Zeros,
    permute,
)
from bittailor.read.tables import ACTIVATIONS
from bittailor.read.writer import Writer


def _same(w: Writer, x: Any, *_: Any, **__: Any) -> Any:
    return x


def _to(w: Writer, x: Any, *args: Any, **kwargs: Any) -> Any:
    kinds = [v for v in (*args, *kwargs.values()) if isinstance(v, torch.dtype)]
    if isinstance(x, Tensor) and any(kind not in (torch.float32, torch.float64) for kind in kinds):
        raise Refusal(f"a conversion to {kinds[0]} rounds inside the network; leave the values in float")
    return x


def _zeros(w: Writer, *_: Any, **__: Any) -> Zeros:
    return Zeros()


def _filled(w: Writer, value: float, size: Sequence[Any]) -> Constant:
    """A tensor of one value, as an initial state may be; axes of sizes that only the data know have a size of 1."""
    sizes = size[0] if len(size) == 1 and isinstance(size[0], tuple | list) else size
    if not all(isinstance(n, int | Dim) for n in sizes) or not isinstance(value, int | float):
        raise Refusal("its size and value must be numbers")
    known = [n if isinstance(n, int) else 1 for n in sizes]
    if math.prod(known) > MOST_VALUES:
        raise Refusal(f"it makes a constant of more than {MOST_VALUES:,} values")
    return Constant("a tensor of one value", np.full(known, float(value)))


def _ones(w: Writer, *size: Any, **_: Any) -> Constant:
    return _filled(w, 1.0, size)


def _full(w: Writer, size: Any, fill_value: Any, **_: Any) -> Constant:
    return _filled(w, fill_value, (size,))


def _unfilled(w: Writer, *_: Any, **__: Any) -> Opaque:
    return Opaque("memory that nothing has filled; torch.zeros makes a state")


def _zeroed(w: Writer, x: Any) -> Zeros:
    if not isinstance(x, Opaque | Zeros):
        raise Refusal("values of the data are not set to zero")
    return Zeros()


def _arange(w: Writer, *args: Any, **_: Any) -> ItemIndex:
    if args in ((Dim(ITEMS),), (0, Dim(ITEMS))):
        return ItemIndex()
    raise Refusal("only torch.arange(items), to pick each item's last step, can be read")


def _pack(w: Writer, x: Any, lengths: Any, batch_first: bool = False, enforce_sorted: bool = True) -> PackedSequence:
    value = w.single(x)
    if not is_lengths(value, lengths):
        raise Refusal(lengths_wanted(value))
    if value.axes != ((ITEMS, STEPS, FEATURES) if batch_first else (STEPS, ITEMS, FEATURES)):
        raise Refusal(f"with batch_first={batch_first} it is given {value.text()}")
    return PackedSequence(replace(value, axes=(ITEMS, STEPS, FEATURES)))


def _unpack(w: Writer, packed: Any, batch_first: bool = False, padding_value: float = 0.0,
            total_length: Any = None) -> tuple[Tensor, StepIndex]:
    if not isinstance(packed, PackedSequence):
        raise Refusal("it is given something that is not a packed sequence")
    value = packed.tensor
    return value if batch_first else permute(value, (1, 0, 2)), StepIndex((ITEMS,), 1, -value.late)


def _ignored(w: Writer, *_: Any, **__: Any) -> None:
    return None


OPERATIONS: dict[str, Operation] = {
    **ARITHMETIC,
    **{name: partial(activation, a.op) for a in ACTIVATIONS for name in a.names},
    "pack_padded_sequence": _pack, "pad_packed_sequence": _unpack,
    **layers.FUNCTIONS,
    **SHAPES,
    "contiguous": _same, "clone": _same, "detach": _same, "cpu": _same, "cuda": _same, "float": _same,
    "double": _same, "long": _same, "type_as": _same, "requires_grad_": _same, "to": _to,
    "zeros": _zeros, "zeros_like": _zeros, "new_zeros": _zeros, "ones": _ones, "full": _full, "arange": _arange,
    "new": _unfilled, "new_empty": _unfilled, "empty": _unfilled, "zero": _zeroed, "Variable": _same,
}
"""By name: of a function, of a method, of an operator sign."""

_SPACES = (operator, torch, torch.Tensor, functional, torch.special, rnn)
NAMES: dict[Any, str] = {
    **{f: name for space in _SPACES for name in OPERATIONS if callable(f := getattr(space, name, None))},
    **{f: name for name in ("relu", "sigmoid", "tanh", "hardtanh", "elu", "leaky_relu", "dropout")
       for space in (torch, functional) if callable(f := getattr(space, f"{name}_", None))},
    getattr: "getattr", Variable: "Variable", operator.iadd: "add", operator.isub: "sub", operator.imul: "mul",
    operator.itruediv: "div",
}
"""Function -> its name in `OPERATIONS`."""

TENSORS_MADE = (torch.zeros, torch.zeros_like, torch.arange, torch.randn, torch.rand, torch.ones, torch.full,
                torch.empty, Variable)
PACKING = (rnn.pack_padded_sequence, rnn.pad_packed_sequence)
"""Functions that a trace has to be told to record."""
