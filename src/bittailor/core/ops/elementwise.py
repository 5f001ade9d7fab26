"""Element-wise sums and products: add, sub, mul, one_minus, affine, relu, requantise. One rounding each, one shift."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bittailor.core.arith import Floats, Ints, Rescale, make_rescale
from bittailor.core.ops.base import NO_LENGTHS, Bound, Range, RescaledOp, centred, chosen
from bittailor.core.ops.forms import Affine, Part, Product, part
from bittailor.core.qformat import QFormat, unit_format
from bittailor.errors import UnsupportedNetwork


def equal_features(name: str, inputs: Sequence[int], count: int) -> int:
    """The number of features that all of `count` operands have."""
    if len(inputs) != count:
        raise UnsupportedNetwork(f"'{name}' takes {count} operands; got {len(inputs)}")
    if len(set(inputs)) > 1:
        raise UnsupportedNetwork(f"'{name}' takes operands of equal features; got {inputs}")
    return inputs[0]


class AffineOp(RescaledOp[Affine]):
    """A sum of operands, each times a number, and perhaps a constant: y = sum_i g_i x_i + constant."""

    form = Affine
    gains: tuple[float, ...]
    constant: float = 0.0
    unsigned: bool = False
    """Clamped from zero up."""

    @property
    def signs(self) -> tuple[int, ...]:
        """1 or -1 for each gain."""
        return tuple(-1 if gain < 0 else 1 for gain in self.gains)

    def features(self, inputs: Sequence[int], options: Mapping[str, Any]) -> int:
        return equal_features(self.name, inputs, len(self.gains))

    @abstractmethod
    def real(self, inputs: Sequence[Floats], params: Mapping[str, Floats], lengths: Ints = NO_LENGTHS) -> Floats: ...

    def bind(self, bound: Bound) -> Affine:
        scale = bound.output.scale[0]
        return Affine(make_rescale(
            [abs(gain) * f.scale[0] / scale for gain, f in zip(self.gains, bound.inputs, strict=True)],
            [f.reach for f in bound.inputs],
            bound.output,
            constant=self.constant / scale,
            unsigned=self.unsigned,
        ), self.signs)

    def restore(self, parts: Mapping[str, Part]) -> Affine:
        return Affine(part(parts, "rescale", Rescale), self.signs)

    def operands(self, constants: Affine, formats: Sequence[QFormat], inputs: Sequence[Ints]) -> tuple[Ints, ...]:
        return tuple(s * centred(q, f) for s, q, f in zip(constants.signs, inputs, formats, strict=True))

    def work(self, inputs: Sequence[int], output: int) -> dict[str, int]:
        return {"add": output}


class Add(AffineOp):
    """y = a + b."""

    name = "add"
    gains = (1.0, 1.0)

    def words(self, inputs: Sequence[str], params: Sequence[str]) -> tuple[str, ...]:
        return (inputs[0], "+", inputs[1])

    def real(self, inputs: Sequence[Floats], params: Mapping[str, Floats], lengths: Ints = NO_LENGTHS) -> Floats:
        return inputs[0] + inputs[1]


class Sub(AffineOp):
    """y = a - b."""

    name = "sub"
    gains = (1.0, -1.0)

    def words(self, inputs: Sequence[str], params: Sequence[str]) -> tuple[str, ...]:
        return (inputs[0], "-", inputs[1])

    def real(self, inputs: Sequence[Floats], params: Mapping[str, Floats], lengths: Ints = NO_LENGTHS) -> Floats:
        return inputs[0] - inputs[1]


class OneMinus(AffineOp):
    """y = 1 - a; exact where both sides share a power-of-two scale."""

    name = "one_minus"
    gains = (-1.0,)
    constant = 1.0

    def words(self, inputs: Sequence[str], params: Sequence[str]) -> tuple[str, ...]:
        return ("1", "-", inputs[0])

    def real(self, inputs: Sequence[Floats], params: Mapping[str, Floats], lengths: Ints = NO_LENGTHS) -> Floats:
        return 1.0 - inputs[0]

    def proven(self, inputs: Sequence[Range]) -> Range:
        return None if inputs[0] is None else (1.0 - inputs[0][1], 1.0 - inputs[0][0])

    def given_format(self, bits: int, inputs: Sequence[Range]) -> QFormat | None:
        # the complement of a gate lives where the gate lives; that of anything else does not
        return unit_format(bits) if inputs[0] == (0.0, 1.0) else None


class Requantise(AffineOp):
    """y = x, in another format."""

    name = "requantise"
    gains = (1.0,)

    def words(self, inputs: Sequence[str], params: Sequence[str]) -> tuple[str, ...]:
        return (inputs[0],)

    def real(self, inputs: Sequence[Floats], params: Mapping[str, Floats], lengths: Ints = NO_LENGTHS) -> Floats:
        return inputs[0]

    def proven(self, inputs: Sequence[Range]) -> Range:
        return inputs[0]


class ScaleShift(AffineOp):
    """y = factor x + shift, two numbers: a requantisation with another ratio and a constant. Nothing is stored."""

    name = "affine"
    options = ("factor", "shift")

    def __init__(self, factor: float = 1.0, shift: float = 0.0) -> None:
        self.gains, self.constant = (factor,), shift

    def of(self, options: Mapping[str, Any]) -> ScaleShift:
        numbers = chosen(self.name, options, self.options)
        if numbers.get("factor", 1.0) == 0:
            raise UnsupportedNetwork(f"'{self.name}' with a factor of 0 is a constant")
        return ScaleShift(**numbers) if options else self

    def words(self, inputs: Sequence[str], params: Sequence[str]) -> tuple[str, ...]:
        return (f"{self.gains[0]:.6g}", "*", inputs[0], "+", f"{self.constant:.6g}")

    def real(self, inputs: Sequence[Floats], params: Mapping[str, Floats], lengths: Ints = NO_LENGTHS) -> Floats:
        return self.gains[0] * inputs[0] + self.constant

    def proven(self, inputs: Sequence[Range]) -> Range:
        if inputs[0] is None:
            return None
        ends = [self.gains[0] * end + self.constant for end in inputs[0]]
        return min(ends), max(ends)


class Relu(AffineOp):
    """y = max(x, 0): a requantisation that saturates at the zero-point."""

    name = "relu"
    gains = (1.0,)
    unsigned = True
    clips_below = True

    def real(self, inputs: Sequence[Floats], params: Mapping[str, Floats], lengths: Ints = NO_LENGTHS) -> Floats:
        return np.asarray(np.maximum(inputs[0], 0.0))

    def proven(self, inputs: Sequence[Range]) -> Range:
        return None if inputs[0] is None else (max(inputs[0][0], 0.0), max(inputs[0][1], 0.0))


class Mul(RescaledOp[Product]):
    """y = a * b."""

    name = "mul"
    form = Product

    def features(self, inputs: Sequence[int], options: Mapping[str, Any]) -> int:
        return equal_features(self.name, inputs, 2)

    def words(self, inputs: Sequence[str], params: Sequence[str]) -> tuple[str, ...]:
        return (inputs[0], "*", inputs[1])

    def real(self, inputs: Sequence[Floats], params: Mapping[str, Floats], lengths: Ints = NO_LENGTHS) -> Floats:
        return inputs[0] * inputs[1]

    def bind(self, bound: Bound) -> Product:
        a, b = bound.inputs
        reach = a.reach * b.reach
        return Product(make_rescale(
            [a.scale[0] * b.scale[0] / bound.output.scale[0]], [reach], bound.output, accumulator=reach
        ))

    def restore(self, parts: Mapping[str, Part]) -> Product:
        return Product(part(parts, "rescale", Rescale))

    def operands(self, constants: Product, formats: Sequence[QFormat], inputs: Sequence[Ints]) -> tuple[Ints, ...]:
        a, b = (centred(q, f) for q, f in zip(inputs, formats, strict=True))
        return (a * b,)

    def proven(self, inputs: Sequence[Range]) -> Range:
        a, b = inputs
        if a is None or b is None:
            return None
        corners = [p * q for p in a for q in b]
        return min(corners), max(corners)

    def work(self, inputs: Sequence[int], output: int) -> dict[str, int]:
        return {"mul": output}
