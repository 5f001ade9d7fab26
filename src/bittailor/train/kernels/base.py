"""What every kernel in training has in common: a way back."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bittailor.compile.groups import Group
from bittailor.engines.torch.kernels.base import C, Kernel, Member
from bittailor.engines.torch.workspace import Rows
from bittailor.train.native import Op


@dataclass(slots=True, eq=False)
class TrainingRows(Rows):
    """Further views, [rows, features]; only those exist that the kernel asks for.

    in_grads   gradients of the operands
    grad       gradient of the output
    mask       1 where the clamp did not bind
    error      the answer of the output to its scale, and `gathered`, the sum of its gradient over a loop
    kept       the gradient behind the clamp, of all steps: the weights' gradient needs it
    slope      derivative of a function at its input
    scratch, zeros  room
    whole      whether these are all steps
    """

    in_grads: list[Tensor]
    grad: Tensor
    mask: Tensor
    error: Tensor
    gathered: Tensor | None
    kept: Tensor
    slope: Tensor
    scratch: Tensor
    zeros: Tensor
    whole: bool

    def doubles(self) -> Tensor:
        """Room for a product in float64."""
        return self.workspace.room("product", torch.float64, self.out, self.whole)


class Trainable(Kernel[C, TrainingRows]):
    """`backward` per step of the loop (or once for all steps) in the other order of time, then `finish` once."""

    arrays: tuple[str, ...] = ("mask",)
    """What it notes going forward, for every step; see `TrainingRows`."""
    multiplies = False
    """Whether a product of matrices comes before its native form, and after that of the way back."""

    def __init__(
        self, group: Group, sites: Mapping[str, tuple[int, int]], learned: bool, trainable: Sequence[bool]
    ) -> None:
        """
        learned    whether the output's scale is trained; while `collects` is set, the gradient of the scale is
                   gathered in `scale_gradient`, [features]
        trainable  per operand: whether anything upstream wants its gradient
        """
        super().__init__(group, sites, False, torch.device("cpu"))
        self.learned, self.trainable = learned, tuple(trainable)
        self.collects = False
        self.scale_gradient: Tensor | None = None
        self.parameter_gradients: dict[str, Tensor] = {}
        self.version = 0

    def prepare(self, programs: Sequence[Sequence[Member[C]]]) -> None:
        super().prepare(programs)
        self.version += 1  # tapes look at it

    # --- the native form, of those that have one ----------------------------------------------------------------

    @property
    def native(self) -> bool:
        """Whether the present constants have a native form. Where not, `forward` and `backward` run, and nobody calls
        the next four; those that multiply define the last two."""
        return False

    def describe(self, op: Op, backwards: bool) -> None:
        """Set kind and constants of the native form."""
        raise NotImplementedError

    def product(self, rows: TrainingRows) -> Tensor:
        """Where the product of matrices goes."""
        return rows.product

    def multiply(self, rows: TrainingRows) -> None:
        """That product."""
        raise NotImplementedError

    def multiply_back(self, rows: TrainingRows) -> None:
        """The operand's gradient from `rows.kept`."""
        raise NotImplementedError

    # --- the way back -------------------------------------------------------------------------------------------

    def collect(self, rows: TrainingRows) -> None:
        """Add to the gradient of the output's scale."""
        if rows.gathered is None:
            self.scale_gradient = (rows.grad * rows.error).sum(dim=0)
        else:
            rows.gathered.addcmul_(rows.grad, rows.error)

    def gradient_of_all_steps(self, rows: TrainingRows) -> Tensor:
        """Where the first operand's gradient goes, [steps, items, features]; emptied by whoever is first to add."""
        target = rows.workspace.cube("grads", self.group.ins[0])
        if self.group.writes[0]:
            target.zero_()
        return target

    @abstractmethod
    def backward(self, rows: TrainingRows) -> None:
        """Gradients of the operands from that of the output."""

    def finish(self, rows: TrainingRows) -> None:
        """After the loop: the gradients of parameters."""
