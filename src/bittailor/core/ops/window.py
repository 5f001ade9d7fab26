"""window: the frames around a step side by side, what a convolution multiplies (docs/arithmetic.md, section 3).

A convolution is a window and a `linear` (in groups a `grouped_linear`): one rounding, and weights packed as one matrix.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bittailor.core.arith import Floats, Ints
from bittailor.core.ops.base import NO_LENGTHS, Bound, Op, Range
from bittailor.core.ops.forms import Part, Windowed
from bittailor.core.qformat import QFormat
from bittailor.errors import UnsupportedNetwork

MOST_TAPS, MOST_SPAN = 1 << 12, 1 << 16


class Window(Op[Windowed]):
    """y[t, c taps + k] = x[t + ahead - (taps - 1 - k) dilation, c]; 0.0 before the first step and beyond the last.

    Its options are `taps`, `dilation` and `ahead`, 0 .. (taps - 1) dilation: how much later than t the last frame is.
    """

    name = "window"
    form = Windowed
    access = "window"
    tied = True

    def __init__(self, taps: int = 2, dilation: int = 1, ahead: int = 0) -> None:
        self.constants = Windowed(taps, dilation, ahead)

    def of(self, options: Mapping[str, Any]) -> Window:
        return Window(options["taps"], options["dilation"], options["ahead"])

    def features(self, inputs: Sequence[int], options: Mapping[str, Any]) -> int:
        given = [options.get(name) for name in ("taps", "dilation", "ahead")]
        if len(inputs) != 1 or any(isinstance(n, bool) or not isinstance(n, int) for n in given):
            raise UnsupportedNetwork(f"'{self.name}' takes whole numbers of taps, dilation and ahead; got {given}")
        taps, dilation, ahead = (int(options[name]) for name in ("taps", "dilation", "ahead"))
        span = (taps - 1) * dilation
        if not (2 <= taps <= MOST_TAPS and 1 <= dilation <= MOST_SPAN and 0 <= ahead <= span <= MOST_SPAN):
            raise UnsupportedNetwork(f"'{self.name}' of {taps} taps, dilation {dilation} and {ahead} steps ahead")
        return inputs[0] * taps

    def words(self, inputs: Sequence[str], params: Sequence[str]) -> tuple[str, ...]:
        return (f"{self.name}({inputs[0]})",)

    def real(self, inputs: Sequence[Floats], params: Mapping[str, Floats], lengths: Ints = NO_LENGTHS) -> Floats:
        return np.asarray(windowed(self.constants, inputs[0], 0.0))

    def bind(self, bound: Bound) -> Windowed:
        return self.constants

    def restore(self, parts: Mapping[str, Part]) -> Windowed:
        return self.constants

    def integers(
        self, constants: Windowed, formats: Sequence[QFormat], inputs: Sequence[Ints], lengths: Ints = NO_LENGTHS
    ) -> Ints:
        return np.asarray(windowed(constants, inputs[0], formats[0].zero_point))

    def proven(self, inputs: Sequence[Range]) -> Range:
        return inputs[0]


def windowed(window: Windowed, x: Any, zero: float) -> Any:
    """[items, steps, features] -> [items, steps, features * taps]; frames beyond the ends are `zero`."""
    items, steps, features = x.shape
    padded = np.full((items, steps + window.span, features), zero, x.dtype)
    padded[:, window.past : window.past + steps] = x
    taps = [padded[:, window.dilation * k : window.dilation * k + steps] for k in range(window.taps)]
    return np.stack(taps, axis=3).reshape(items, steps, features * window.taps)
