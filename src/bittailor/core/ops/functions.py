"""Functions of one variable, by table: sigmoid, tanh and the other usual activations. Adding one is one line."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from bittailor.core.arith import Floats, Ints, Lookup, make_lookup
from bittailor.core.ops.base import NO_LENGTHS, Bound, Op, Range, chosen
from bittailor.core.ops.forms import Part, Tabulated, part
from bittailor.core.qformat import QFormat, symmetric_unit_format, unit_format


class Function(Op[Tabulated]):
    """y = f(x), tabulated while binding.

    f             of an array and, by name, of the options that a node may have; each has a default
    proven_range  a range that f cannot leave, or None; a function of the options given where it depends on them
    given         bits -> the format that needs no calibration, or None; with its default options only
    """

    form = Tabulated

    def __init__(
        self,
        name: str,
        f: Callable[..., Floats],
        proven_range: Range | Callable[..., Range] = None,
        given: Callable[[int], QFormat] | None = None,
        options: Mapping[str, float] | None = None,
    ) -> None:
        self.name = name
        self.options = options or {}
        self._function = f
        self._range = proven_range
        self._given = given

    def f(self, x: Floats) -> Floats:
        """The function itself."""
        return self._function(x, **self.options)

    @property
    def known(self) -> tuple[str, ...]:
        """The names of its options."""
        return tuple(inspect.signature(self._function).parameters)[1:]

    def of(self, options: Mapping[str, Any]) -> Function:
        if not options:
            return self
        return Function(self.name, self._function, self._range, None, chosen(self.name, options, self.known))

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
        return self._range(**self.options) if callable(self._range) else self._range

    def given_format(self, bits: int, inputs: Sequence[Range]) -> QFormat | None:
        return None if self._given is None else self._given(bits)

    def words(self, inputs: Sequence[str], params: Sequence[str]) -> tuple[str, ...]:
        return (f"{self.name}({', '.join([inputs[0], *(f'{o}={v:g}' for o, v in self.options.items())])})",)

    def work(self, inputs: Sequence[int], output: int) -> dict[str, int]:
        return {"lookup": output}


def sigmoid(x: Floats) -> Floats:
    """1 / (1 + exp(-x)), without overflow."""
    if x.dtype == np.float32:  # no table is made of these: what a teacher computes takes a third of the time
        y = np.tanh(x * 0.5)
        y *= 0.5
        y += 0.5
        return np.asarray(y)
    e = np.exp(-np.abs(x))
    return np.asarray(np.where(x >= 0, 1.0, e) / (1.0 + e))


def _softplus(x: Floats, beta: float = 1.0, threshold: float = math.inf) -> Floats:
    return np.asarray(np.where(beta * x > threshold, x, _ln_1_exp(beta * x) / beta))


def _ln_1_exp(x: Floats) -> Floats:
    return np.asarray(np.log1p(np.exp(-np.abs(x))) + np.maximum(x, 0.0))


def _elu(x: Floats, alpha: float = 1.0) -> Floats:
    return np.asarray(np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0.0))))


def _selu(x: Floats) -> Floats:
    return 1.0507009873554805 * _elu(x, 1.6732632423543772)


def _leaky_relu(x: Floats, slope: float = 0.01) -> Floats:
    return np.asarray(np.where(x > 0, x, slope * x))


def _gelu(x: Floats) -> Floats:
    erf = np.frompyfunc(math.erf, 1, 1)  # NumPy has none
    return np.asarray(0.5 * x * (1.0 + np.asarray(erf(x * math.sqrt(0.5)), np.float64)))


def _gelu_tanh(x: Floats) -> Floats:
    return np.asarray(0.5 * x * (1.0 + np.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x**3))))


def _clamp(x: Floats, low: float = -math.inf, high: float = math.inf) -> Floats:
    return np.asarray(np.minimum(np.maximum(x, low), high))


def _clamp_range(low: float = -math.inf, high: float = math.inf) -> Range:
    return (min(low, high), high) if math.isfinite(low) and math.isfinite(high) else None


FUNCTIONS = (
    Function("sigmoid", sigmoid, (0.0, 1.0), unit_format),
    Function("tanh", lambda x: np.asarray(np.tanh(x)), (-1.0, 1.0), symmetric_unit_format),
    Function("hardsigmoid", lambda x: np.asarray(np.clip(x / 6.0 + 0.5, 0.0, 1.0)), (0.0, 1.0), unit_format),
    Function("hardtanh", lambda x: np.asarray(np.clip(x, -1.0, 1.0)), (-1.0, 1.0), symmetric_unit_format),
    Function("softsign", lambda x: x / (1.0 + np.abs(x)), (-1.0, 1.0), symmetric_unit_format),
    Function("silu", lambda x: x * sigmoid(x)),
    Function("softplus", _softplus),
    Function("elu", _elu),
    Function("leaky_relu", _leaky_relu),
    Function("clamp", _clamp, _clamp_range),
    Function("gelu", _gelu),
    Function("gelu_tanh", _gelu_tanh),
    Function("selu", _selu),
    Function("hardswish", lambda x: x * np.clip(x / 6.0 + 0.5, 0.0, 1.0)),
    Function("mish", lambda x: x * np.tanh(_ln_1_exp(x))),
    Function("logsigmoid", lambda x: -_ln_1_exp(-x)),
    Function("abs", lambda x: np.asarray(np.abs(x))),
)
