"""Rows of a table, by an index."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from bittailor.core.ops import forms
from bittailor.engines.torch.kernels.base import Kernel, Member, R


class Rows(Kernel[forms.TableRows, R]):
    """What comes out is worked out for the whole table beforehand."""

    def prepare(self, programs: Sequence[Sequence[Member[forms.TableRows]]]) -> None:
        tables = [member.constants.table - member.output.zero_point for (member,) in programs]
        self.table = self.tensor(np.stack(tables).astype(np.int32))

    def forward(self, rows: R) -> None:
        at = self.index(rows)
        if self.stacked:
            rows.out.copy_(self.table[torch.arange(len(self.table), device=self.device), at])
        else:
            torch.index_select(self.table, 0, at, out=rows.out)
        if rows.real is not None:
            rows.real.copy_(rows.out)

    def index(self, rows: R) -> Tensor:
        """[rows] or [rows, programs]."""
        return rows.ins[0][..., 0]
