"""The functions and methods that can be read, one each; the table at the end lists them.

Every one is called with the reader and the arguments that PyTorch's own has.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional
from torch.nn.utils import rnn

from bittailor.read.shapes import SHAPES, Operation
from bittailor.read.tables import ACTIVATIONS
from bittailor.read.values import (
    FEATURES,
    ITEMS,
    STEPS,
    Constant,
    Dim,
    ItemIndex,
    Packed,
    Refusal,
    StepIndex,
    Tensor,
    Zeros,
    permute,
)

if TYPE_CHECKING:
    from bittailor.read.reader import Reader

# -- arithmetic ------------------------------------------------------------


def _add(r: Reader, a: Any, b: Any, alpha: float = 1) -> Any:
    return _sum(r, "add", a, b, alpha, 1)


def _sub(r: Reader, a: Any, b: Any, alpha: float = 1) -> Any:
    if alpha == 1 and _is_number(a) and a == 1 and isinstance(b, Tensor):
        return r.pointwise("one_minus", r.local_name("one_minus"), b)
    return _sum(r, "sub", a, b, alpha, -1)


def _rsub(r: Reader, a: Any, b: Any, alpha: float = 1) -> Any:
    return _sub(r, b, a, alpha)


def _sum(r: Reader, op: str, a: Any, b: Any, alpha: float, sign: int) -> Any:
    if alpha != 1:
        raise Refusal(f"alpha={alpha}; only 1 can be read")
    if isinstance(a, int) and isinstance(b, int):
        return a + sign * b
    if isinstance(a, Dim | StepIndex) and isinstance(b, int):
        return replace(a, offset=a.offset + sign * b)
    return r.pointwise(op, r.local_name(op), a, b)


def _mul(r: Reader, a: Any, b: Any) -> Any:
    if isinstance(a, int) and isinstance(b, int):
        return a * b
    if isinstance(a, Dim) and isinstance(b, Dim) and a.offset == b.offset == 0:
        return Dim(a.atoms + b.atoms)
    return r.pointwise("mul", r.local_name("mul"), a, b)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _compare(symbol: str, f: Callable[[Any, Any], bool], r: Reader, a: Any, b: Any) -> bool:
    plain = isinstance(a, int | float | str | None) and isinstance(b, int | float | str | None)
    if plain or (isinstance(a, Dim) and isinstance(b, Dim) and a.atoms == b.atoms):
        return f(a.offset, b.offset) if isinstance(a, Dim) else f(a, b)
    raise Refusal(f"the outcome of '{symbol}' depends on the data, so the module is no one network")


def _linear(r: Reader, x: Any, weight: Any, bias: Any = None) -> Tensor:
    if not isinstance(weight, Constant) or not isinstance(bias, Constant | None):
        raise Refusal("its weight and bias must be parameters of the module")
    owner, _, name = weight.path.rpartition(".")
    path = owner if name == "weight" and owner else weight.path
    return r.linear(x, r.tensor(weight), None if bias is None else r.tensor(bias), path)


def _activation(op: str, r: Reader, x: Any, *args: Any, **kwargs: Any) -> Tensor:
    names = [name for name, _ in next(a for a in ACTIVATIONS if a.op == op).options]
    options = dict(zip(names, args, strict=False)) | {k: v for k, v in kwargs.items() if k in names}
    return r.activation(op, x, options, r.local_name(op))


def _softmax(kind: str, r: Reader, x: Any, dim: int | None = None, *_: Any, **__: Any) -> Tensor:
    return r.softmax(x, dim, kind)


def _dropout(r: Reader, x: Any, p: float = 0.5, training: bool = True, *_: Any, **named: Any) -> Any:
    if named.get("train", training) and p > 0:
        raise Refusal("it drops values in evaluation too; pass training=self.training, or use nn.Dropout")
    return x


def _cat(r: Reader, tensors: Sequence[Any], dim: int = 0, axis: int | None = None) -> Tensor:
    values = [r.single(value) for value in tensors]
    first = values[0]
    if first.axes[first.axis(dim if axis is None else axis)] != FEATURES:
        raise Refusal(f"it joins along an axis of {first.text()} that is not the features")
    if any(value.axes != first.axes for value in values):
        raise Refusal("it joins " + " and ".join(value.text() for value in values) + "; the axes must agree")
    joined = r.joined(values)
    return replace(first, features=sum(value.features for value in values), sites=((joined,),))


# -- what changes nothing ------------------------------------------------------------


def _same(r: Reader, x: Any, *_: Any, **__: Any) -> Any:
    return x


def _to(r: Reader, x: Any, *args: Any, **kwargs: Any) -> Any:
    kinds = [v for v in (*args, *kwargs.values()) if isinstance(v, torch.dtype)]
    if isinstance(x, Tensor) and any(kind not in (torch.float32, torch.float64) for kind in kinds):
        raise Refusal(f"a conversion to {kinds[0]} rounds inside the network; leave the values in float")
    return x


def _zeros(r: Reader, *_: Any, **__: Any) -> Zeros:
    return Zeros()


def _arange(r: Reader, *args: Any, **_: Any) -> ItemIndex:
    if args in ((Dim(ITEMS),), (0, Dim(ITEMS))):
        return ItemIndex()
    raise Refusal("only torch.arange(items), to pick each item's last step, can be read")


def _pack(r: Reader, x: Any, lengths: Any, batch_first: bool = False, enforce_sorted: bool = True) -> Packed:
    value = r.single(x)
    if not isinstance(lengths, StepIndex) or lengths.offset:
        raise Refusal("its lengths must be the lengths that forward is given, unchanged")
    if value.axes != ((ITEMS, STEPS, FEATURES) if batch_first else (STEPS, ITEMS, FEATURES)):
        raise Refusal(f"with batch_first={batch_first} it is given {value.text()}")
    return Packed(replace(value, axes=(ITEMS, STEPS, FEATURES)))


def _unpack(r: Reader, packed: Any, batch_first: bool = False, padding_value: float = 0.0,
            total_length: Any = None) -> tuple[Tensor, StepIndex]:
    if not isinstance(packed, Packed):
        raise Refusal("it is given something that is not a packed sequence")
    value = packed.tensor
    return value if batch_first else permute(value, (1, 0, 2)), StepIndex((ITEMS,), 1)


def _ignored(r: Reader, *_: Any, **__: Any) -> None:
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
