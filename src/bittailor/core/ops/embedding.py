"""embedding: row x of a table, for a network whose input is an index (docs/arithmetic.md, section 3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bittailor.core.arith import Floats, Ints, Rescale, make_rescale
from bittailor.core.ops.base import NO_LENGTHS, Bound, Op
from bittailor.core.ops.forms import Packed, Part, TableRows, part
from bittailor.core.qformat import QFormat
from bittailor.errors import UnsupportedNetwork


class Embedding(Op[TableRows]):
    """W [rows, features], the row of x [..., 1], an index of 0 .. rows - 1. Its options are `features` and `rows`."""

    name = "embedding"
    form = TableRows
    access = "index"
    roles = ("W",)

    def __init__(self, rows: int = 1) -> None:
        self.rows = rows

    def of(self, options: Mapping[str, Any]) -> Embedding:
        return Embedding(options["rows"])

    def features(self, inputs: Sequence[int], options: Mapping[str, Any]) -> int:
        counts = options.get("features"), options.get("rows")
        if any(isinstance(n, bool) or not isinstance(n, int) or n < 1 for n in counts) or list(inputs) != [1]:
            raise UnsupportedNetwork(f"'{self.name}' of {counts[1]} rows of {counts[0]} features is given {inputs}")
        return int(options["features"])

    def shapes(self, inputs: Sequence[int], output: int) -> dict[str, tuple[int, ...]]:
        return {"W": (self.rows, output)}

    def words(self, inputs: Sequence[str], params: Sequence[str]) -> tuple[str, ...]:
        return (f"{params[0]}[{inputs[0]}]",)

    def real(self, inputs: Sequence[Floats], params: Mapping[str, Floats], lengths: Ints = NO_LENGTHS) -> Floats:
        return np.asarray(params["W"][np.asarray(inputs[0][..., 0], np.int64)])

    def bind(self, bound: Bound) -> TableRows:
        W, wf = bound.params["W"]
        ratio, reach = np.asarray(wf.scale) / bound.output.scale[0], np.abs(W).max(axis=1)
        return TableRows(make_rescale([ratio], [reach], bound.output), Packed(W, wf.bits))

    def restore(self, parts: Mapping[str, Part]) -> TableRows:
        return TableRows(part(parts, "rescale", Rescale), part(parts, "W", Packed))

    def integers(
        self, constants: TableRows, formats: Sequence[QFormat], inputs: Sequence[Ints], lengths: Ints = NO_LENGTHS
    ) -> Ints:
        return np.asarray(constants.table[inputs[0][..., 0]])

    def work(self, inputs: Sequence[int], output: int) -> dict[str, int]:
        return {"mul": output}
