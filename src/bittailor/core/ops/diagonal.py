"""diagonal: y = v * x + b, a weight of its own for every feature (docs/arithmetic.md, section 3).

A linear operator whose matrix is diagonal: the recurrence vectors of an SRU. Bound as `linear` is, row by row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bittailor.core.arith import Floats, Ints, make_rescale
from bittailor.core.ops.base import NO_LENGTHS, Bound, RescaledOp
from bittailor.core.ops.forms import DiagonalProduct, Packed, Part
from bittailor.core.ops.linear import packed_offsets, weighted_parts, with_offsets
from bittailor.core.qformat import QFormat
from bittailor.errors import UnsupportedNetwork


class Diagonal(RescaledOp[DiagonalProduct]):
    """W [features, 1] times x [..., features], feature by feature, plus b [features]."""

    name = "diagonal"
    form = DiagonalProduct
    roles = ("W", "b")

    def features(self, inputs: Sequence[int], options: Mapping[str, Any]) -> int:
        if "features" in options and options["features"] != inputs[0]:
            raise UnsupportedNetwork(f"'{self.name}' has {options['features']} weights for {inputs[0]} features")
        return inputs[0]

    def shapes(self, inputs: Sequence[int], output: int) -> dict[str, tuple[int, ...]]:
        return {"W": (output, 1), "b": (output,)}

    def words(self, inputs: Sequence[str], params: Sequence[str]) -> tuple[str, ...]:
        return (params[0], "*", inputs[0], *(word for b in params[1:] for word in ("+", b)))

    def real(self, inputs: Sequence[Floats], params: Mapping[str, Floats], lengths: Ints = NO_LENGTHS) -> Floats:
        y = inputs[0] * params["W"][:, 0]
        return y + params["b"] if "b" in params else y

    def bind(self, bound: Bound) -> DiagonalProduct:
        (x,) = bound.inputs
        W, wf = bound.params["W"]
        v = W[:, 0]
        bias = bound.params["b"][0] if "b" in bound.params else np.zeros(len(v), np.int64)
        reach = np.abs(v) * x.reach + np.abs(bias)
        rescale = make_rescale(
            [np.asarray(wf.scale) * x.scale[0] / bound.output.scale[0]],
            [reach],
            bound.output,
            # before and after the offsets are added
            accumulator=max(int(np.abs(v).max()) * max(-x.qmin, x.qmax), int(reach.max())),
        )
        offsets = bias - x.zero_point * v
        return DiagonalProduct(rescale, Packed(W, wf.bits), packed_offsets(offsets))

    def restore(self, parts: Mapping[str, Part]) -> DiagonalProduct:
        return DiagonalProduct(*weighted_parts(parts))

    def operands(
        self, constants: DiagonalProduct, formats: Sequence[QFormat], inputs: Sequence[Ints]
    ) -> tuple[Ints, ...]:
        return (with_offsets(inputs[0] * constants.W.values[:, 0], constants.offsets),)

    def work(self, inputs: Sequence[int], output: int) -> dict[str, int]:
        return {"mul": output}
