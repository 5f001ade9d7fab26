"""linear: y = W x + b, integer multiply-accumulate and one rounding (docs/arithmetic.md, section 3)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bittailor.core.arith import Floats, Ints, Rescale, exact_matmul, make_rescale, round_half_up, signed_bits
from bittailor.core.ops.base import NO_LENGTHS, Bound, RescaledOp
from bittailor.core.ops.forms import MatrixProduct, Packed, Part, part
from bittailor.core.qformat import EXACT_BIAS_BITS, QFormat
from bittailor.errors import RangeError


class Linear(RescaledOp[MatrixProduct]):
    """W [out, in] by x [..., in], plus b [out]."""

    name = "linear"
    form = MatrixProduct
    access = "whole"
    roles = ("W", "b")

    def features(self, inputs: Sequence[int], options: Mapping[str, Any]) -> int:
        return int(options["features"])

    def shapes(self, inputs: Sequence[int], output: int) -> dict[str, tuple[int, ...]]:
        return {"W": (output, inputs[0]), "b": (output,)}

    def words(self, inputs: Sequence[str], params: Sequence[str]) -> tuple[str, ...]:
        return (params[0], inputs[0], *(word for b in params[1:] for word in ("+", b)))

    def real(self, inputs: Sequence[Floats], params: Mapping[str, Floats], lengths: Ints = NO_LENGTHS) -> Floats:
        y = inputs[0] @ params["W"].T
        return y + params["b"] if "b" in params else y

    def bind(self, bound: Bound) -> MatrixProduct:
        (x,) = bound.inputs
        W, wf = bound.params["W"]
        step = np.asarray(wf.scale) * x.scale[0]
        bias = bound.params["b"][0] if "b" in bound.params else np.zeros(len(W), np.int64)
        row_sums = np.abs(W).sum(axis=1)
        reach = row_sums * x.reach + np.abs(bias)
        rescale = make_rescale(
            [step / bound.output.scale[0]],
            [reach],
            bound.output,
            # before and after the offsets are added
            accumulator=max(int(row_sums.max()) * max(-x.qmin, x.qmax), int(reach.max())),
        )
        offsets = bias - x.zero_point * W.sum(axis=1)
        return MatrixProduct(rescale, Packed(W, wf.bits), packed_offsets(offsets))

    def restore(self, parts: Mapping[str, Part]) -> MatrixProduct:
        return MatrixProduct(*weighted_parts(parts))

    def operands(
        self, constants: MatrixProduct, formats: Sequence[QFormat], inputs: Sequence[Ints]
    ) -> tuple[Ints, ...]:
        """sum_k W[o, k] (x[k] - z_x) + bias, exactly."""
        return (with_offsets(exact_matmul(inputs[0], constants.W.values), constants.offsets),)

    def work(self, inputs: Sequence[int], output: int) -> dict[str, int]:
        return {"mac": inputs[0] * output}


def packed_offsets(offsets: Ints) -> Packed | None:
    """Offsets at the least width that holds them; None where all are zero."""
    return Packed(offsets, signed_bits(offsets)) if offsets.any() else None


def with_offsets(accumulator: Ints, offsets: Packed | None) -> Ints:
    """The accumulator plus the offsets, if there are any."""
    return accumulator if offsets is None else np.asarray(accumulator + offsets.values)


def weighted_parts(parts: Mapping[str, Part]) -> tuple[Rescale, Packed, Packed | None]:
    """Rescaling, weights and offsets of a weighted operator."""
    offsets = part(parts, "offsets", Packed) if "offsets" in parts else None
    return part(parts, "rescale", Rescale), part(parts, "W", Packed), offsets


def quantise_bias(bias: Floats, bits: int, weight: QFormat, x: QFormat) -> Ints:
    """The bias in steps of the accumulator, s_w * s_x (per row where the weight's scale is).

    Its own `bits` bits hold q; the value is q * 2**e with the least e >= 0 for which all q fit.
    Raises RangeError for a bias of 2**62 steps or more.
    """
    step = np.asarray(weight.scale) * x.scale[0]
    if not (np.abs(bias) < step * 2.0**62).all():
        raise RangeError(
            f"a bias of {np.abs(bias).max():.3g} is more than 2**62 steps of its accumulator ({step.min():.3g} each): "
            "the weights or the input they multiply are almost zero; recalibrate with data that excites the input"
        )
    exact = bias / step
    if bits == EXACT_BIAS_BITS:
        return round_half_up(exact).astype(np.int64)
    low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    # below this e the largest magnitude cannot fit; from here on it takes a step or two
    e = max(0, math.frexp(float(np.abs(exact).max(initial=0.0)))[1] - bits - 1)
    while True:
        q = round_half_up(exact / 2.0**e).astype(np.int64)
        if q.min() >= low and q.max() <= high:
            return np.asarray(q << e)
        e += 1
