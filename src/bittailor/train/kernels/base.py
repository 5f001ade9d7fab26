"""What every kernel has in common: it takes over bound constants, and runs forward and backward over rows."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bittailor.compile.groups import Group
from bittailor.core.ops import Constants
from bittailor.core.qformat import QFormat
from bittailor.train.workspace import Rows


@dataclass(frozen=True, eq=False)
class Prepared:
    """What a node's kernel is set up with in one training step: its bound integers and the formats around it."""

    constants: Constants
    inputs: tuple[QFormat, ...]
    output: QFormat
    weight: QFormat | None = None


class Kernel(ABC):
    """Base: one group. `prepare` once per training step, then `forward` and `backward` per step of the loop (or once
    for all steps), `finish` once; `rows` are made by the workspace and hold the views this kernel needs."""

    buffer_sites: Mapping[str, tuple[int, int]]
    """Site -> columns of the output's buffer."""

    def __init__(self, group: Group, learned: bool, trainable: Sequence[bool]) -> None:
        """
        learned    whether the output's scale is trained; while `collects` is set, the gradient of the scale is
                   gathered in `scale_gradient`, [features]
        trainable  per operand: whether anything upstream wants its gradient
        """
        self.group, self.learned, self.trainable = group, learned, tuple(trainable)
        self.collects = False
        self._taken: Sequence[Prepared] | None = None
        self.scale_gradient: Tensor | None = None
        self.parameter_gradients: dict[str, Tensor] = {}

    def take(self, nodes: Sequence[Prepared]) -> None:
        """Take over the constants of this training step, if they are not those of the step before."""
        if self._taken is None or any(
            new.constants is not old.constants or new.inputs != old.inputs or new.output != old.output
            for new, old in zip(nodes, self._taken, strict=True)
        ):
            self.prepare(nodes)
        self._taken = nodes

    def prepare(self, nodes: Sequence[Prepared]) -> None:  # noqa: B027 - a hook: most operators need none
        """Everything that follows from the constants."""

    def collect(self, rows: Rows) -> None:
        """Add to the gradient of the output's scale."""
        assert rows.error is not None
        if rows.gathered is None:
            self.scale_gradient = (rows.grad * rows.error).sum(dim=0)
        else:
            rows.gathered.addcmul_(rows.grad, rows.error)

    def hoist(self, rows: Rows) -> None:  # noqa: B027 - a hook: most operators need none
        """Before the loop: what can be computed for all steps at once."""

    @abstractmethod
    def forward(self, rows: Rows) -> None:
        """Integers of the output, and what `backward` will need."""

    @abstractmethod
    def backward(self, rows: Rows) -> None:
        """Gradients of the operands from that of the output."""

    def finish(self, rows: Rows) -> None:  # noqa: B027 - a hook: most operators need none
        """After the loop: the gradients of parameters."""


def vector(parts: Sequence[tuple[Any, int]], dtype: torch.dtype) -> Tensor:
    """[features]: each part's number (or row of numbers) for its width."""
    kind = np.int64 if dtype == torch.int64 else np.int32
    if all(np.size(value) == 1 for value, _ in parts):
        values = np.array([np.asarray(value).item() for value, _ in parts], kind)
        return torch.from_numpy(np.repeat(values, [width for _, width in parts]))
    whole = np.concatenate([np.broadcast_to(np.asarray(value, kind), (width,)) for value, width in parts])
    return torch.from_numpy(whole)
