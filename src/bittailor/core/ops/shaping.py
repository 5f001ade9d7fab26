"""Operators that move values from one format or place to another: relu, requantise, concat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bittailor.core.arith import Floats, Ints, make_rescale
from bittailor.core.ops.base import Bound, Constants, Op, centred, rescale_of
from bittailor.core.qformat import QFormat


class Requantise(Op):
    """y = x, in another format."""

    name = "requantise"

    def features(self, inputs: Sequence[int], options: Mapping[str, Any]) -> int:
        return inputs[0]

    def real(self, *inputs: Floats, params: Mapping[str, Floats], options: Mapping[str, Any]) -> Floats:
        return inputs[0]

    def bind(self, bound: Bound) -> Constants:
        (x,) = bound.inputs
        return {"rescale": make_rescale([x.scale[0] / bound.output.scale[0]], [x.reach], bound.output)}

    def integers(self, constants: Constants, formats: Sequence[QFormat], *inputs: Ints, **kwargs: Any) -> Ints:
        return rescale_of(constants)(centred(inputs[0], formats[0]))

    def proven(self, inputs: Sequence[tuple[float, float] | None]) -> tuple[float, float] | None:
        return inputs[0]

    def work(self, inputs: Sequence[int], output: int) -> dict[str, int]:
        return {"add": output}


class Relu(Requantise):
    """y = max(x, 0): a requantisation that saturates at the zero-point."""

    name = "relu"
    clips_below = True

    def real(self, *inputs: Floats, params: Mapping[str, Floats], options: Mapping[str, Any]) -> Floats:
        return np.asarray(np.maximum(inputs[0], 0.0))

    def bind(self, bound: Bound) -> Constants:
        (x,) = bound.inputs
        return {"rescale": make_rescale(
            [x.scale[0] / bound.output.scale[0]], [x.reach], bound.output, unsigned=True
        )}

    def proven(self, inputs: Sequence[tuple[float, float] | None]) -> tuple[float, float] | None:
        return None if inputs[0] is None else (max(inputs[0][0], 0.0), max(inputs[0][1], 0.0))


class Concat(Op):
    """y = (x_0, x_1, …), each brought to the common format."""

    name = "concat"

    def features(self, inputs: Sequence[int], options: Mapping[str, Any]) -> int:
        return sum(inputs)

    def real(self, *inputs: Floats, params: Mapping[str, Floats], options: Mapping[str, Any]) -> Floats:
        return np.concatenate(inputs, axis=-1)

    def bind(self, bound: Bound) -> Constants:
        scale = bound.output.scale[0]
        return {
            f"rescale{i}": make_rescale([x.scale[0] / scale], [x.reach], bound.output)
            for i, x in enumerate(bound.inputs)
        }

    def integers(self, constants: Constants, formats: Sequence[QFormat], *inputs: Ints, **kwargs: Any) -> Ints:
        parts = [
            rescale_of(constants, f"rescale{i}")(centred(q, f))
            for i, (q, f) in enumerate(zip(inputs, formats, strict=True))
        ]
        return np.concatenate(parts, axis=-1)

    def proven(self, inputs: Sequence[tuple[float, float] | None]) -> tuple[float, float] | None:
        known = [r for r in inputs if r is not None]
        if len(known) < len(inputs):
            return None
        return min(r[0] for r in known), max(r[1] for r in known)

    def work(self, inputs: Sequence[int], output: int) -> dict[str, int]:
        return {"add": output}
