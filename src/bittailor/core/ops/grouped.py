"""grouped_linear: a matrix for every group of features, as in a grouped or depthwise convolution (section 3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bittailor.core.arith import Floats, Ints, exact_matmul
from bittailor.core.ops.base import NO_LENGTHS, Bound, RescaledOp
from bittailor.core.ops.forms import GroupedProduct, Part
from bittailor.core.ops.linear import Linear, weighted_parts, with_offsets
from bittailor.core.qformat import QFormat
from bittailor.errors import UnsupportedNetwork

LINEAR = Linear()


class GroupedLinear(RescaledOp[GroupedProduct]):
    """W [out, in / groups] by x [..., in], plus b [out]: the rows of group g multiply the features of group g.

    Its options are `features` and `groups`. Bound as `linear` is: a row has the columns of its group, and no others.
    """

    name = "grouped_linear"
    form = GroupedProduct
    access = "grouped"
    roles = ("W", "b")

    def __init__(self, groups: int = 1) -> None:
        self.groups = groups

    def of(self, options: Mapping[str, Any]) -> GroupedLinear:
        return GroupedLinear(options["groups"])

    def features(self, inputs: Sequence[int], options: Mapping[str, Any]) -> int:
        groups, rows = options.get("groups"), options.get("features")
        if isinstance(groups, bool) or not isinstance(groups, int) or groups < 1 or not isinstance(rows, int):
            raise UnsupportedNetwork(f"'{self.name}' has {groups} groups of {rows} features; they are whole numbers")
        if inputs[0] % groups or rows % groups:
            raise UnsupportedNetwork(f"'{self.name}' of {inputs[0]} and {rows} features cannot have {groups} groups")
        return rows

    def shapes(self, inputs: Sequence[int], output: int) -> dict[str, tuple[int, ...]]:
        return {"W": (output, inputs[0] // self.groups), "b": (output,)}

    def words(self, inputs: Sequence[str], params: Sequence[str]) -> tuple[str, ...]:
        return LINEAR.words(inputs, params)

    def real(self, inputs: Sequence[Floats], params: Mapping[str, Floats], lengths: Ints = NO_LENGTHS) -> Floats:
        return LINEAR.real(inputs, {**params, "W": spread(params["W"], self.groups)})

    def bind(self, bound: Bound) -> GroupedProduct:
        product = LINEAR.bind(bound)
        return GroupedProduct(product.rescale, product.W, product.offsets, self.groups)

    def restore(self, parts: Mapping[str, Part]) -> GroupedProduct:
        return GroupedProduct(*weighted_parts(parts), self.groups)

    def operands(
        self, constants: GroupedProduct, formats: Sequence[QFormat], inputs: Sequence[Ints]
    ) -> tuple[Ints, ...]:
        accumulator = exact_matmul(inputs[0], spread(constants.W.values, constants.groups))
        return (with_offsets(accumulator, constants.offsets),)

    def work(self, inputs: Sequence[int], output: int) -> dict[str, int]:
        return {"mac": inputs[0] * output // self.groups}


def spread(W: Any, groups: int) -> Any:
    """[rows, columns] of one group -> [rows, columns * groups], zero where a row has no weight."""
    rows, columns = W.shape
    whole = np.zeros((groups, rows // groups, groups, columns), W.dtype)
    at = np.arange(groups)
    whole[at, :, at] = W.reshape(groups, rows // groups, columns)
    return whole.reshape(rows, groups * columns)


def gathered(W: Any, groups: int) -> Any:
    """The inverse of `spread`, of NumPy arrays or of tensors."""
    rows, columns = W.shape[0], W.shape[1] // groups
    blocks = W.reshape(groups, rows // groups, groups, columns)
    at = np.arange(groups)
    return blocks[at, :, at].reshape(rows, columns)
