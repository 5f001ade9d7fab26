"""Fixed point at the two ends: 16-bit integers with a fixed number of binary places, in and out, by one rescaling each.

A caller without floats has samples and wants numbers: an int16_t `f` with n places stands for f * 2**-n. The places are
chosen so that the network's own range just fits. The same integers come from `Fixed` here and from the exported C.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from bittailor.core.arith import Ints, Rescale, make_rescale
from bittailor.core.program import Program
from bittailor.core.qformat import QFormat
from bittailor.export.c_ops import number

FIXED_BITS = 16


@dataclass(frozen=True, eq=False)
class Conversion:
    """One format to another: y = clamp(((q - zero_point) M + c) >> S)."""

    zero_point: int
    rescale: Rescale

    def __call__(self, q: ArrayLike) -> Ints:
        """Apply to integers."""
        return self.rescale(np.asarray(q, np.int64) - self.zero_point)

    def text(self, value: str) -> str:
        """As a C expression of `value`."""
        r, m = self.rescale, int(self.rescale.multipliers[0][0])
        call = "bt_rescale_wide" if r.wide else "bt_rescale"
        constant = number(r.offset - self.zero_point * m)
        return f"{call}({value}, {m}, {constant}, {r.shift}u, {number(r.lo)}, {number(r.hi)})"


@dataclass(frozen=True, eq=False)
class Fixed:
    """The fixed-point formats of a program's ends.

    input_places, output_places  n: a fixed-point integer f stands for f * 2**-n
    quantise  fixed point -> input integers; `read` output integers -> fixed point
    """

    input_places: int
    output_places: int
    quantise: Conversion
    read: Conversion

    @classmethod
    def of(cls, program: Program) -> Fixed:
        """The formats of a program."""
        x, y = program.input_format, program.output_format
        n, m = _places(x), _places(y)
        top = 1 << (FIXED_BITS - 1)
        quantise = make_rescale([2.0**-n / x.scale[0]], [top], x)
        read = make_rescale([y.scale[0] * 2.0**m], [y.reach], QFormat("activation", FIXED_BITS, (2.0**-m,)))
        return cls(n, m, Conversion(0, quantise), Conversion(y.zero_point, read))


def _places(fmt: QFormat) -> int:
    """The most binary places with which every value of a format fits 16 bits."""
    return math.floor(math.log2(((1 << (FIXED_BITS - 1)) - 1) / max(-fmt.low, fmt.high)))
