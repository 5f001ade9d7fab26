"""The functions and methods that can be read, one each; the table at the end lists them.

Every one is called with a writer and the arguments that PyTorch's own has.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch.nn import functional
from torch.nn.utils import rnn

from bittailor.read.shapes import SHAPES, Operation
from bittailor.read.symbolic import (
    FEATURES,
    ITEMS,
    STEPS,
    Constant,
    Dim,
    ItemIndex,
    PackedSequence,
    Refusal,
    StepIndex,
    Tensor,
    Zeros,
    permute,
)
from bittailor.read.tables import ACTIVATIONS
from bittailor.read.writer import Writer

# -- arithmetic ------------------------------------------------------------


def _add(w: Writer, a: Any, b: Any, alpha: float = 1) -> Any:
    return _sum(w, "add", a, b, alpha, 1)


def _sub(w: Writer, a: Any, b: Any, alpha: float = 1) -> Any:
    if alpha == 1 and _is_number(a) and a == 1 and isinstance(b, Tensor):
        return w.pointwise("one_minus", w.local_name("one_minus"), b)
    return _sum(w, "sub", a, b, alpha, -1)


def _rsub(w: Writer, a: Any, b: Any, alpha: float = 1) -> Any:
    return _sub(w, b, a, alpha)


def _sum(w: Writer, op: str, a: Any, b: Any, alpha: float, sign: int) -> Any:
    if alpha != 1:
        raise Refusal(f"alpha={alpha}; only 1 can be read")
    if isinstance(a, int) and isinstance(b, int):
        return a + sign * b
    if isinstance(a, Dim | StepIndex) and isinstance(b, int):
        return replace(a, offset=a.offset + sign * b)
    return w.pointwise(op, w.local_name(op), a, b)


def _mul(w: Writer, a: Any, b: Any) -> Any:
    if isinstance(a, int) and isinstance(b, int):
        return a * b
    if isinstance(a, Dim) and isinstance(b, Dim) and a.offset == b.offset == 0:
        return Dim(a.atoms + b.atoms)
    return w.pointwise("mul", w.local_name("mul"), a, b)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _compare(symbol: str, f: Callable[[Any, Any], bool], w: Writer, a: Any, b: Any) -> bool:
    plain = isinstance(a, int | float | str | None) and isinstance(b, int | float | str | None)
    if plain or (isinstance(a, Dim) and isinstance(b, Dim) and a.atoms == b.atoms):
        return f(a.offset, b.offset) if isinstance(a, Dim) else f(a, b)
    raise Refusal(f"the outcome of '{symbol}' depends on the data, so the module is no one network")


def _linear(w: Writer, x: Any, weight: Any, bias: Any = None) -> Tensor:
    if not isinstance(weight, Constant) or not isinstance(bias, Constant | None):
        raise Refusal("its weight and bias must be parameters of the module")
    owner, _, name = weight.path.rpartition(".")
    path = owner if name == "weight" and owner else weight.path
    return w.linear(x, w.tensor(weight), None if bias is None else w.tensor(bias), path)


def _activation(op: str, w: Writer, x: Any, *args: Any, **kwargs: Any) -> Tensor:
    names = [name for name, _ in next(a for a in ACTIVATIONS if a.op == op).options]
    options = dict(zip(names, args, strict=False)) | {k: v for k, v in kwargs.items() if k in names}
    return w.activation(op, x, options, w.local_name(op))


def _softmax(kind: str, w: Writer, x: Any, dim: int | None = None, *_: Any, **__: Any) -> Tensor:
    return w.softmax(x, dim, kind)


def _dropout(w: Writer, x: Any, p: float = 0.5, training: bool = True, *_: Any, **named: Any) -> Any:
    if named.get("train", training) and p > 0:
        raise Refusal("it drops values in evaluation too; pass training=self.training, or use nn.Dropout")
    return x


def _cat(w: Writer, tensors: Sequence[Any], dim: int = 0, axis: int | None = None) -> Tensor:
    values = [w.single(value) for value in tensors]
    first = values[0]
    if first.axes[first.axis(dim if axis is None else axis)] != FEATURES:
        raise Refusal(f"it joins along an axis of {first.text()} that is not the features")
    if any(value.axes != first.axes for value in values):
        raise Refusal("it joins " + " and ".join(value.text() for value in values) + "; the axes must agree")
    joined = w.joined(values)
    return replace(first, features=sum(value.features for value in values), sites=((joined,),))


# -- what changes nothing ------------------------------------------------------------


def _same(w: Writer, x: Any, *_: Any, **__: Any) -> Any:
    return x


def _to(w: Writer, x: Any, *args: Any, **kwargs: Any) -> Any:
    kinds = [v for v in (*args, *kwargs.values()) if isinstance(v, torch.dtype)]
    if isinstance(x, Tensor) and any(kind not in (torch.float32, torch.float64) for kind in kinds):
        raise Refusal(f"a conversion to {kinds[0]} rounds inside the network; leave the values in float")
    return x


def _zeros(w: Writer, *_: Any, **__: Any) -> Zeros:
    return Zeros()


def _arange(w: Writer, *args: Any, **_: Any) -> ItemIndex:
    if args in ((Dim(ITEMS),), (0, Dim(ITEMS))):
        return ItemIndex()
    raise Refusal("only torch.arange(items), to pick each item's last step, can be read")


def _pack(w: Writer, x: Any, lengths: Any, batch_first: bool = False, enforce_sorted: bool = True) -> PackedSequence:
    value = w.single(x)
    if not isinstance(lengths, StepIndex) or lengths.offset:
        raise Refusal("its lengths must be the lengths that forward is given, unchanged")
    if value.axes != ((ITEMS, STEPS, FEATURES) if batch_first else (STEPS, ITEMS, FEATURES)):
        raise Refusal(f"with batch_first={batch_first} it is given {value.text()}")
    return PackedSequence(replace(value, axes=(ITEMS, STEPS, FEATURES)))


def _unpack(w: Writer, packed: Any, batch_first: bool = False, padding_value: float = 0.0,
            total_length: Any = None) -> tuple[Tensor, StepIndex]:
    if not isinstance(packed, PackedSequence):
        raise Refusal("it is given something that is not a packed sequence")
    value = packed.tensor
    return value if batch_first else permute(value, (1, 0, 2)), StepIndex((ITEMS,), 1)


def _ignored(w: Writer, *_: Any, **__: Any) -> None:
    return None


OPERATIONS: dict[str, Operation] = {
    "add": _add, "sub": _sub, "rsub": _rsub, "mul": _mul, "cat": _cat, "concat": _cat, "linear": _linear,
    **{name: partial(_activation, a.op) for a in ACTIVATIONS for name in a.names},
    "softmax": partial(_softmax, "softmax"), "log_softmax": partial(_softmax, "log_softmax"),
    "dropout": _dropout, "alpha_dropout": _dropout,
    "pack_padded_sequence": _pack, "pad_packed_sequence": _unpack,
    **SHAPES,
    "contiguous": _same, "clone": _same, "detach": _same, "cpu": _same, "cuda": _same, "float": _same,
    "double": _same, "long": _same, "type_as": _same, "requires_grad_": _same, "to": _to,
    "zeros": _zeros, "zeros_like": _zeros, "new_zeros": _zeros, "arange": _arange,
    **{f.__name__: partial(_compare, f.__name__, f) for f in (
        operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge,
    )},
}
"""By name: of a function, of a method, of an operator sign."""

_SPACES = (operator, torch, torch.Tensor, functional, torch.special, rnn)
NAMES: dict[Any, str] = {
    **{f: name for space in _SPACES for name in OPERATIONS if callable(f := getattr(space, name, None))},
    **{f: name for name in ("relu", "sigmoid", "tanh", "hardtanh", "elu", "leaky_relu", "dropout")
       for space in (torch, functional) if callable(f := getattr(space, f"{name}_", None))},
    getattr: "getattr", operator.iadd: "add", operator.isub: "sub", operator.imul: "mul",
}
"""Function -> its name in `OPERATIONS`."""

TENSORS_MADE = (torch.zeros, torch.zeros_like, torch.arange, torch.randn, torch.rand, torch.ones, torch.full)
PACKING = (rnn.pack_padded_sequence, rnn.pad_packed_sequence)
"""Functions that a trace has to be told to record."""
