"""Rows of a table in training: every row gets the gradients of the steps that it was taken for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from bittailor.core.ops import forms
from bittailor.engines.torch.kernels import indexing
from bittailor.engines.torch.kernels.base import Member
from bittailor.train.kernels.base import Trainable, TrainingRows


class Rows(Trainable[forms.TableRows], indexing.Rows[TrainingRows]):
    """A clamp stops the gradient where it binds; the answer to the output's scale is LSQ's (arXiv 1902.08153)."""

    arrays = ("mask", "kept")

    def prepare(self, programs: Sequence[Sequence[Member[forms.TableRows]]]) -> None:
        super().prepare(programs)
        ((member,),) = programs
        constants, weight = member.constants, member.weight
        assert weight is not None
        real = constants.W.values * np.asarray(weight.scale)[:, None] / member.output.scale[0]
        u = constants.table - member.output.zero_point
        low, high = (end - member.output.zero_point for end in (member.output.qmin, member.output.qmax))
        inside = (np.floor(real + 0.5) >= low) & (np.floor(real + 0.5) <= high)
        self.inside = torch.from_numpy(inside.astype(np.float32))
        self.errors = torch.from_numpy((u - inside * real).astype(np.float32))

    def forward(self, rows: TrainingRows) -> None:
        super().forward(rows)
        at = self.index(rows)
        torch.index_select(self.inside, 0, at, out=rows.mask)
        if self.collects:
            torch.index_select(self.errors, 0, at, out=rows.error)

    def backward(self, rows: TrainingRows) -> None:
        if self.collects:
            self.collect(rows)
        torch.mul(rows.grad, rows.mask, out=rows.kept)

    def finish(self, rows: TrainingRows) -> None:
        found = torch.zeros_like(self.inside).index_add_(0, self.index(rows).to(torch.int64), rows.kept)
        self.parameter_gradients[self.group.nodes[0].params[0]] = found
