"""What every kernel has in common: it takes over bound constants, and runs over rows.

R is the kind of rows: training's hold more arrays than those of an engine.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bittailor.compile.groups import Group
from bittailor.core.ops.forms import Constants
from bittailor.core.qformat import QFormat
from bittailor.engines.torch.workspace import Rows

C = TypeVar("C", bound=Constants)
R = TypeVar("R", bound=Rows)


@dataclass(frozen=True, eq=False)
class Member(Generic[C]):
    """One operator of a group in one program: its bound integers and the formats around it.

    weight  format of its weights, where gradients will be wanted
    """

    constants: C
    inputs: tuple[QFormat, ...]
    output: QFormat
    weight: QFormat | None = None

    def same(self, other: Member[Any]) -> bool:
        """Whether nothing changed."""
        return (self.constants is other.constants and self.inputs == other.inputs and self.output == other.output)


class Kernel(ABC, Generic[C, R]):
    """One group. `take` whenever the programs change, then `forward` per step of a loop, or once for all steps.

    stacked  whether values have an axis of programs before their features, [rows, programs, features]; constants then
             are [programs, features], otherwise [features]
    """

    def __init__(self, group: Group, sites: Mapping[str, tuple[int, int]], stacked: bool, device: torch.device) -> None:
        """`sites`: site -> columns (start, width) of the output's buffer."""
        self.group, self.sites, self.stacked, self.device = group, sites, stacked, device
        self.widths = [sites[node.output][1] for node in group.nodes]
        self._taken: list[Member[C]] = []

    def take(self, programs: Sequence[Sequence[Member[C]]]) -> None:
        """Take over the constants of every program's members, unless they are those of the last time."""
        flat = [member for members in programs for member in members]
        if len(flat) != len(self._taken) or not all(map(Member.same, flat, self._taken)):
            self.prepare(programs)
        self._taken = flat

    def prepare(self, programs: Sequence[Sequence[Member[C]]]) -> None:
        """Everything that follows from the constants."""

    def hoist(self, rows: R) -> None:
        """Before the loop: what can be computed for all steps at once."""

    @abstractmethod
    def forward(self, rows: R) -> None:
        """Integers of the output."""

    def tensor(self, values: NDArray[Any]) -> Tensor:
        """One array per program, [programs, …], as a constant of this kernel."""
        return torch.from_numpy(values if self.stacked else values[0]).to(self.device)

    def vector(self, parts: Sequence[Sequence[tuple[Any, int]]], dtype: torch.dtype) -> Tensor:
        """Per program and part a number (or a row of them), repeated for the part's width."""
        kind = {torch.int32: np.int32, torch.int64: np.int64, torch.float32: np.float32}[dtype]
        if all(np.size(value) == 1 for row in parts for value, _ in row):
            values = np.array([[np.asarray(value).item() for value, _ in row] for row in parts], kind)
            return self.tensor(np.repeat(values, [width for _, width in parts[0]], axis=1))
        return self.tensor(np.stack([
            np.concatenate([np.broadcast_to(np.asarray(value, kind), (width,)) for value, width in row])
            for row in parts
        ]))
