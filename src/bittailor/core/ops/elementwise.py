"""Element-wise sums and products: add, sub, mul, one_minus. One rounding each, two multipliers, one shift."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bittailor.core.arith import Floats, Ints, make_rescale
from bittailor.core.ops.base import Bound, Constants, Op, centred, rescale_of
from bittailor.core.qformat import QFormat, unit_format
from bittailor.errors import UnsupportedNetwork


class Pointwise(Op):
    """Two operands of equal features; `combine` says which integers are rescaled."""

    def features(self, inputs: Sequence[int], options: Mapping[str, Any]) -> int:
        if len(set(inputs)) > 1:
            raise UnsupportedNetwork(f"'{self.name}' takes operands of equal features; got {inputs}")
        return inputs[0]


class Add(Pointwise):
    """y = a + b."""

    name = "add"

    def real(self, *inputs: Floats, params: Mapping[str, Floats], options: Mapping[str, Any]) -> Floats:
        return inputs[0] + inputs[1]

    def bind(self, bound: Bound) -> Constants:
        return {"rescale": make_rescale(
            [f.scale[0] / bound.output.scale[0] for f in bound.inputs],
            [f.reach for f in bound.inputs],
            bound.output,
        )}

    def integers(self, constants: Constants, formats: Sequence[QFormat], *inputs: Ints, **kwargs: Any) -> Ints:
        a, b = (centred(q, f) for q, f in zip(inputs, formats, strict=True))
        return rescale_of(constants)(a, b)

    def work(self, inputs: Sequence[int], output: int) -> dict[str, int]:
        return {"add": output}


class Sub(Add):
    """y = a - b; the second operand enters with its sign turned."""

    name = "sub"

    def real(self, *inputs: Floats, params: Mapping[str, Floats], options: Mapping[str, Any]) -> Floats:
        return inputs[0] - inputs[1]

    def integers(self, constants: Constants, formats: Sequence[QFormat], *inputs: Ints, **kwargs: Any) -> Ints:
        a, b = (centred(q, f) for q, f in zip(inputs, formats, strict=True))
        return rescale_of(constants)(a, -b)


class Mul(Pointwise):
    """y = a * b."""

    name = "mul"

    def real(self, *inputs: Floats, params: Mapping[str, Floats], options: Mapping[str, Any]) -> Floats:
        return inputs[0] * inputs[1]

    def bind(self, bound: Bound) -> Constants:
        a, b = bound.inputs
        reach = a.reach * b.reach
        return {"rescale": make_rescale(
            [a.scale[0] * b.scale[0] / bound.output.scale[0]], [reach], bound.output, accumulator=reach
        )}

    def integers(self, constants: Constants, formats: Sequence[QFormat], *inputs: Ints, **kwargs: Any) -> Ints:
        a, b = (centred(q, f) for q, f in zip(inputs, formats, strict=True))
        return rescale_of(constants)(a * b)

    def proven(self, inputs: Sequence[tuple[float, float] | None]) -> tuple[float, float] | None:
        a, b = inputs
        if a is None or b is None:
            return None
        corners = [p * q for p in a for q in b]
        return min(corners), max(corners)

    def work(self, inputs: Sequence[int], output: int) -> dict[str, int]:
        return {"mul": output}


class OneMinus(Pointwise):
    """y = 1 - a; exact where both sides share a power-of-two scale."""

    name = "one_minus"

    def real(self, *inputs: Floats, params: Mapping[str, Floats], options: Mapping[str, Any]) -> Floats:
        return 1.0 - inputs[0]

    def bind(self, bound: Bound) -> Constants:
        (a,) = bound.inputs
        scale = bound.output.scale[0]
        return {"rescale": make_rescale([a.scale[0] / scale], [a.reach], bound.output, constant=1.0 / scale)}

    def integers(self, constants: Constants, formats: Sequence[QFormat], *inputs: Ints, **kwargs: Any) -> Ints:
        return rescale_of(constants)(-centred(inputs[0], formats[0]))

    def proven(self, inputs: Sequence[tuple[float, float] | None]) -> tuple[float, float] | None:
        return None if inputs[0] is None else (1.0 - inputs[0][1], 1.0 - inputs[0][0])

    def given_format(self, bits: int) -> QFormat | None:
        # the complement of a gate lives where the gate lives
        return unit_format(bits)

    def work(self, inputs: Sequence[int], output: int) -> dict[str, int]:
        return {"add": output}
