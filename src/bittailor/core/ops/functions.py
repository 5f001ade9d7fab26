"""Functions of one variable, by table: sigmoid, tanh and the other usual activations. Adding one is one line."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from bittailor.core.arith import Floats, Ints, Lookup, make_lookup
from bittailor.core.ops.base import NO_LENGTHS, Bound, Op, Range
from bittailor.core.ops.forms import Part, Tabulated, part
from bittailor.core.qformat import QFormat, symmetric_unit_format, unit_format


class Function(Op[Tabulated]):
    """y = f(x), tabulated while binding.

    proven_range  a range that f cannot leave, or None
    given         bits -> the format that needs no calibration, or None
    """

    form = Tabulated

    def __init__(
        self,
        name: str,
        f: Callable[[Floats], Floats],
        proven_range: Range = None,
        given: Callable[[int], QFormat] | None = None,
    ) -> None:
        self.name = name
        self.f = f
        self._range = proven_range
        self._given = given

    def features(self, inputs: Sequence[int], options: Mapping[str, Any]) -> int:
        return inputs[0]

    def real(self, inputs: Sequence[Floats], params: Mapping[str, Floats], lengths: Ints = NO_LENGTHS) -> Floats:
        return self.f(inputs[0])

    def bind(self, bound: Bound) -> Tabulated:
        return Tabulated(make_lookup(self.f, bound.inputs[0], bound.output))

    def restore(self, parts: Mapping[str, Part]) -> Tabulated:
        return Tabulated(part(parts, "lookup", Lookup))

    def integers(
        self, constants: Tabulated, formats: Sequence[QFormat], inputs: Sequence[Ints], lengths: Ints = NO_LENGTHS
    ) -> Ints:
        return constants.lookup(inputs[0])

    def proven(self, inputs: Sequence[Range]) -> Range:
        return self._range

    def given_format(self, bits: int, inputs: Sequence[Range]) -> QFormat | None:
        return None if self._given is None else self._given(bits)

    def work(self, inputs: Sequence[int], output: int) -> dict[str, int]:
        return {"lookup": output}


def sigmoid(x: Floats) -> Floats:
    """1 / (1 + exp(-x)), without overflow."""
    e = np.exp(-np.abs(x))
    return np.asarray(np.where(x >= 0, 1.0, e) / (1.0 + e))


def _softplus(x: Floats) -> Floats:
    return np.asarray(np.log1p(np.exp(-np.abs(x))) + np.maximum(x, 0.0))


def _elu(x: Floats) -> Floats:
    return np.asarray(np.where(x > 0, x, np.expm1(np.minimum(x, 0.0))))


FUNCTIONS = (
    Function("sigmoid", sigmoid, (0.0, 1.0), unit_format),
    Function("tanh", lambda x: np.asarray(np.tanh(x)), (-1.0, 1.0), symmetric_unit_format),
    Function("hardsigmoid", lambda x: np.asarray(np.clip(x / 6.0 + 0.5, 0.0, 1.0)), (0.0, 1.0), unit_format),
    Function("hardtanh", lambda x: np.asarray(np.clip(x, -1.0, 1.0)), (-1.0, 1.0), symmetric_unit_format),
    Function("softsign", lambda x: x / (1.0 + np.abs(x)), (-1.0, 1.0), symmetric_unit_format),
    Function("silu", lambda x: x * sigmoid(x)),
    Function("softplus", _softplus),
    Function("elu", _elu),
    Function("leaky_relu", lambda x: np.asarray(np.where(x > 0, x, 0.01 * x))),
)
