"""Windows over a sequence, sequences that begin later, and matrices of groups of features, multiplied as whole ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from bittailor.core.arith import Ints
from bittailor.core.ops import forms
from bittailor.core.ops.grouped import spread
from bittailor.engines.torch.kernels.base import Kernel, Member, R
from bittailor.engines.torch.kernels.rescaling import MatMul


class Windows(Kernel[forms.Windowed, R]):
    """The frames around every step; 0, which is the zero-point, beyond an item's ends."""

    def prepare(self, programs: Sequence[Sequence[Member[forms.Windowed]]]) -> None:
        self.window = programs[0][0].constants

    def forward(self, rows: R) -> None:
        ws = rows.workspace
        x = ws.cube("ints", self.group.ins[0])
        # what lies beyond an item's end was computed from nothing
        x = x * ws.valid.to(x.dtype)
        out = self.taps(ws.cube("ints", self.group.out))
        out.zero_()
        for k, (there, here) in enumerate(self.overlaps(x.shape[0])):
            out[here, ..., k] = x[there]
        if rows.real is not None:
            rows.real.copy_(rows.out)

    def taps(self, y: Tensor) -> Tensor:
        """[steps, items, (programs,) features, taps]: a view."""
        return y.view(*y.shape[:-1], -1, self.window.taps)

    def overlaps(self, steps: int) -> list[tuple[slice, slice]]:
        """Per tap: the steps that are read, and those that read them."""
        found = []
        for k in range(self.window.taps):
            shift = self.window.dilation * k - self.window.past
            first, last = max(0, -shift), max(0, min(steps, steps - shift))
            last = max(first, last)
            found.append((slice(first + shift, last + shift) if last > first else slice(0, 0), slice(first, last)))
        return found


class Crop(Kernel[forms.Cropped, R]):
    """The same steps, but for the first ones: rows stay where they are."""

    def forward(self, rows: R) -> None:
        ws = rows.workspace
        ws.cube("ints", self.group.out).copy_(ws.cube("ints", self.group.ins[0]))
        if rows.real is not None:
            rows.real.copy_(rows.out)


class GroupedMatMul(MatMul[forms.GroupedProduct, R]):
    """A matrix that is zero outside its groups."""

    def weights_of(self, member: Member[forms.GroupedProduct]) -> Ints:
        return np.asarray(spread(member.constants.W.values, member.constants.groups))
