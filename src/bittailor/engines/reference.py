"""The reference engine: `docs/arithmetic.md` in executable form. Not fast on purpose.

int64 throughout; every bound that the arithmetic relies on is checked while it runs. It also tells what no fast
engine needs to tell: the value of every site at every step, and how often and how far values were saturated.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bittailor.common.records import expect, shown
from bittailor.core.arith import Ints
from bittailor.core.graph import Node
from bittailor.core.network import check_lengths
from bittailor.core.ops.base import R, RescaledOp
from bittailor.core.program import Program
from bittailor.core.qformat import QFormat
from bittailor.core.walk import walk
from bittailor.engines.base import Engine
from bittailor.errors import DataError


@dataclass(frozen=True)
class Saturation:
    """Clamped values of one site: how many of how many, and the furthest, in output steps."""

    clamped: int
    total: int
    furthest: int

    def __add__(self, other: Saturation) -> Saturation:
        return Saturation(self.clamped + other.clamped, self.total + other.total, max(self.furthest, other.furthest))


def expect_program(program: Program) -> None:
    """BittailorError for what is no program; an engine says it before it looks into one."""
    expect(program, Program, "program", "run.program(pick) makes one")


def check_integers(
    program: Program, q: ArrayLike, lengths: ArrayLike | None, kind: type[np.integer[Any]] = np.int64,
    whole: bool = True,
) -> tuple[NDArray[Any], Ints]:
    """Input integers as `kind` (wide enough for the input format) and lengths as int64, checked against the
    program; used by every engine. `whole` sequences have the steps that the network drops, and one more."""
    expect_program(program)
    try:
        values = np.asarray(q)
    except (TypeError, ValueError):  # lists of different lengths
        raise DataError(f"an engine takes one array of integers, got {shown(q)}; "
                        "use program.quantise_input(x)") from None
    features = program.graph.sites[program.graph.inputs[0]].features
    if values.dtype.kind not in "iu":
        raise DataError(f"an engine takes integers, got {values.dtype}; use program.quantise_input(x) first")
    if values.ndim != 3 or values.shape[2] != features or 0 in values.shape:
        raise DataError(f"the program takes [items, steps, {features}]; got shape {values.shape}")
    low, high = program.input_range
    if values.min() < low or values.max() > high:
        raise DataError(f"input integers {values.min()}..{values.max()} are outside {low}..{high}")
    least = program.graph.least_steps if whole else 1
    return values.astype(kind, copy=False), check_lengths(lengths, len(values), values.shape[1], least)


class Reference(Engine):
    """NumPy, int64."""

    name = "reference"

    def available(self) -> str | None:
        return None

    def run(self, program: Program, q: ArrayLike, lengths: ArrayLike | None = None) -> Ints:
        values, sizes = check_integers(program, q, lengths)
        return self._walk(program, values, sizes, False, None)[program.graph.outputs[0]]

    def trace(self, program: Program, q: ArrayLike, lengths: ArrayLike | None = None) -> dict[str, Ints]:
        """The integers of every activation site: [items, steps, features] (steps beyond a length hold the
        zero-point), or [items, features] after a last step or mean."""
        values, sizes = check_integers(program, q, lengths)
        return self._walk(program, values, sizes, True, None)

    def saturation(
        self, program: Program, q: ArrayLike, lengths: ArrayLike | None = None
    ) -> dict[str, Saturation]:
        """Per rescaled site, how many values were clamped and how far."""
        values, sizes = check_integers(program, q, lengths)
        counts: dict[str, Saturation] = {}
        for length in np.unique(sizes):  # steps beyond an item's length are not counted
            items = sizes == length
            self._walk(program, values[items, :length], sizes[items], False, counts)
        return counts

    def _walk(
        self, program: Program, q: Ints, lengths: Ints, keep: bool, counts: dict[str, Saturation] | None
    ) -> dict[str, NDArray[np.int64]]:
        def apply(node: Node, inputs: list[Ints], own: Ints) -> Ints:
            op, constants = node.operator, program.constants[node.output]
            formats = [program.formats[name] for name in node.inputs]
            if counts is not None and isinstance(op, RescaledOp):
                saturation = self._saturation(op, constants, formats, inputs)
                counts[node.output] = saturation + counts.get(node.output, Saturation(0, 0, 0))
            return op.integers(constants, formats, inputs, own)

        def rest(site: str) -> int:
            return program.formats[site].zero_point

        return walk(program.graph, {program.graph.inputs[0]: q}, lengths, apply, rest, program.starts, keep)

    @staticmethod
    def _saturation(op: RescaledOp[R], constants: R, formats: list[QFormat], inputs: list[Ints]) -> Saturation:
        """What one application of an operator clamps."""
        rescale = constants.rescale
        raw = rescale.unclamped(*op.operands(constants, formats, inputs))
        below = 0 if op.clips_below else rescale.lo - raw
        beyond = np.maximum(np.maximum(below, raw - rescale.hi), 0)
        return Saturation(int((beyond > 0).sum()), raw.size, int(beyond.max(initial=0)))


__all__ = ["Reference", "Saturation", "check_integers"]
