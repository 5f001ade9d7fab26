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
from bittailor.read.scaling import is_constant, prelu, scaled
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
    if alpha == 1 and _is_number(a) and _is_number(b):
        return a + sign * b
    if alpha == 1 and isinstance(a, Dim | StepIndex) and isinstance(b, int):
        return replace(a, offset=a.offset + sign * b)
    if is_constant(a):
        return scaled(w, b, sign * alpha, a, op)
    if is_constant(b):
        return scaled(w, a, 1.0, _times(w, b, sign * alpha), op)
    return w.pointwise(op, w.local_name(op), a, b if alpha == 1 else scaled(w, b, alpha, 0.0, "mul"))


def _times(w: Writer, value: Any, factor: float) -> Any:
    """A constant times a number."""
    return Constant(value.path, w.tensor(value) * factor) if isinstance(value, Constant) else value * factor


def _mul(w: Writer, a: Any, b: Any) -> Any:
    if _is_number(a) and _is_number(b):
        return a * b
    if isinstance(a, Dim) and isinstance(b, Dim) and a.offset == b.offset == 0:
        return Dim(a.atoms + b.atoms)
    if is_constant(a) or is_constant(b):
        return scaled(w, b, a, 0.0, "mul") if is_constant(a) else scaled(w, a, b, 0.0, "mul")
    return w.pointwise("mul", w.local_name("mul"), a, b)


def _div(w: Writer, a: Any, b: Any, rounding_mode: Any = None) -> Any:
    if rounding_mode is not None or not is_constant(b) or (_is_number(b) and b == 0):
        raise Refusal("only a division by a constant other than 0, without rounding, can be read")
    if _is_number(a):
        return a / b
    return scaled(w, a, Constant(b.path, 1 / w.tensor(b)) if isinstance(b, Constant) else 1 / b, 0.0, "div")


def _neg(w: Writer, x: Any) -> Any:
    return -x if _is_number(x) else scaled(w, x, -1.0, 0.0, "neg")


def _pow(w: Writer, x: Any, exponent: Any) -> Any:
    if exponent != 2:
        raise Refusal(f"of powers the square can be read; got an exponent of {exponent}")
    return x**2 if _is_number(x) else w.pointwise("mul", w.local_name("square"), x, x)


def _square(w: Writer, x: Any) -> Any:
    return _pow(w, x, 2)


def _matmul(w: Writer, a: Any, b: Any) -> Tensor:
    if not isinstance(b, Constant) or w.tensor(b).ndim != 2:
        raise Refusal("it must be x @ a matrix of the module; two values of the data cannot be multiplied as matrices")
    return w.linear(a, w.tensor(b).T, None, w.local_name("matmul"))


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
    path = w.local_name("linear") if weight.values is not None else path
    return w.linear(x, w.tensor(weight), None if bias is None else w.tensor(bias), path)


def activation(op: str, w: Writer, x: Any, *args: Any, **kwargs: Any) -> Tensor:
    names = [name for name, _ in FUNCTIONS[op]]
    options = dict(zip(names, args, strict=False)) | {k: v for k, v in kwargs.items() if k in names}
    return w.activation(op, x, options, w.local_name(op))


def _clamp(w: Writer, x: Any, min: Any = None, max: Any = None) -> Any:
    if isinstance(x, StepIndex):
        return x  # lengths lie in 1..steps
    bounds = {name: bound for name, bound in (("low", min), ("high", max)) if bound is not None}
    if not bounds or not all(map(_is_number, bounds.values())):
        raise Refusal("its bounds must be numbers")
    if bounds == {"low": 0}:
        return w.pointwise("relu", w.local_name("clamp"), x)
    value = w.single(x)
    return w.replaced_site(value, w.builder.op("clamp", w.name(w.local_name("clamp")), w.site(value), **bounds))


def _clamp_max(w: Writer, x: Any, max: Any) -> Any:
    return _clamp(w, x, None, max)


def _prelu(w: Writer, x: Any, weight: Any) -> Tensor:
    return prelu(w, x, weight, w.local_name("prelu"))


def _abs(w: Writer, x: Any) -> Tensor:
    return w.pointwise("abs", w.local_name("abs"), x)


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
    "multiply": _mul, "subtract": _sub, "div": _div, "divide": _div, "true_divide": _div, "truediv": _div, "neg": _neg,
    "negative": _neg, "pow": _pow, "square": _square, "matmul": _matmul, "clamp": _clamp, "clip": _clamp,
    "clamp_min": _clamp, "clamp_max": _clamp_max, "prelu": _prelu, "abs": _abs,
    "softmax": partial(_softmax, "softmax"), "log_softmax": partial(_softmax, "log_softmax"),
    "dropout": _dropout, "alpha_dropout": _dropout,
    **{f.__name__: partial(_compare, f.__name__, f) for f in (
        operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge,
    )},
}
"""By the name of a function or method."""
