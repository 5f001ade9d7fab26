"""Operations that compute: sums, products, matrices, functions, joins; the table at the end lists them.

Every one is called with a writer and the arguments that PyTorch's own has; whoever reads another format brings its
operations to these.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from bittailor.read.functions import FUNCTIONS
from bittailor.read.shapes import Operation
from bittailor.read.symbolic import FEATURES, Constant, Dim, Refusal, StepIndex, Tensor
from bittailor.read.writer import Writer


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


def activation(op: str, w: Writer, x: Any, *args: Any, **kwargs: Any) -> Tensor:
    names = [name for name, _ in FUNCTIONS[op]]
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


ARITHMETIC: dict[str, Operation] = {
    "add": _add, "sub": _sub, "rsub": _rsub, "mul": _mul, "cat": _cat, "concat": _cat, "linear": _linear,
    "softmax": partial(_softmax, "softmax"), "log_softmax": partial(_softmax, "log_softmax"),
    "dropout": _dropout, "alpha_dropout": _dropout,
    **{f.__name__: partial(_compare, f.__name__, f) for f in (
        operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge,
    )},
}
"""By the name of a function or method."""
