"""crop: a sequence without its first steps, what a convolution without padding leaves (docs/arithmetic.md, section 3).

Such a convolution is a causal one whose first outputs, those of windows that are not full yet, are dropped. What reads
a cropped sequence begins with its first step: states start there, a mean counts from there, and an output has fewer
steps than the input. `Graph.late` says of every site by how many.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bittailor.core.arith import Floats, Ints
from bittailor.core.ops.base import NO_LENGTHS, Bound, Op, Range
from bittailor.core.ops.forms import Cropped, Part
from bittailor.core.qformat import QFormat
from bittailor.errors import UnsupportedNetwork

MOST_DROPPED = 1 << 16


class Crop(Op[Cropped]):
    """y[t] = x[t + steps]; its option is `steps`, how many of the first ones are dropped."""

    name = "crop"
    form = Cropped
    access = "window"
    tied = True

    def __init__(self, steps: int = 1) -> None:
        self.constants = Cropped(steps)

    @property
    def drops(self) -> int:
        return self.constants.steps

    def of(self, options: Mapping[str, Any]) -> Crop:
        return Crop(options["steps"])

    def features(self, inputs: Sequence[int], options: Mapping[str, Any]) -> int:
        steps = options.get("steps")
        if len(inputs) != 1 or isinstance(steps, bool) or not isinstance(steps, int):
            raise UnsupportedNetwork(f"'{self.name}' takes a whole number of steps; got {steps}")
        if not 1 <= steps <= MOST_DROPPED:
            raise UnsupportedNetwork(f"'{self.name}' drops 1 to {MOST_DROPPED} steps; got {steps}")
        return inputs[0]

    def words(self, inputs: Sequence[str], params: Sequence[str]) -> tuple[str, ...]:
        return (f"{self.name}({inputs[0]})",)

    def real(self, inputs: Sequence[Floats], params: Mapping[str, Floats], lengths: Ints = NO_LENGTHS) -> Floats:
        return np.asarray(inputs[0][:, self.drops :])

    def bind(self, bound: Bound) -> Cropped:
        return self.constants

    def restore(self, parts: Mapping[str, Part]) -> Cropped:
        return self.constants

    def integers(
        self, constants: Cropped, formats: Sequence[QFormat], inputs: Sequence[Ints], lengths: Ints = NO_LENGTHS
    ) -> Ints:
        return np.asarray(inputs[0][:, constants.steps :])

    def proven(self, inputs: Sequence[Range]) -> Range:
        return inputs[0]
