"""Windows and grouped matrices in training: gradients go back to the frames, and to the weights that there are."""

from __future__ import annotations

from torch import Tensor

from bittailor.core.ops import forms
from bittailor.core.ops.grouped import gathered
from bittailor.engines.torch.kernels import windows
from bittailor.train.kernels.base import Trainable, TrainingRows
from bittailor.train.kernels.rescaling import MatMul


class Windows(Trainable[forms.Windowed], windows.Windows[TrainingRows]):
    """A frame gets the gradients of all windows that it stands in."""

    arrays = ()

    def backward(self, rows: TrainingRows) -> None:
        if not self.trainable[0]:
            return
        ws, target = rows.workspace, self.gradient_of_all_steps(rows)
        valid = ws.valid.expand(target.shape)
        back = self.taps(ws.cube("grads", self.group.out))
        for k, (there, here) in enumerate(self.overlaps(target.shape[0])):
            target[there] += back[here, ..., k] * valid[there]


class Crop(Trainable[forms.Cropped], windows.Crop[TrainingRows]):
    """The steps that are left get their gradient, those that were dropped none."""

    arrays = ()

    def backward(self, rows: TrainingRows) -> None:
        if not self.trainable[0]:
            return
        ws, (node,) = rows.workspace, self.group.nodes
        ws.settle(self.group.late - node.operator.drops)
        self.gradient_of_all_steps(rows)
        ws.settle(self.group.late)
        ws.cube("grads", self.group.ins[0]).add_(ws.cube("grads", self.group.out))


class GroupedMatMul(MatMul[forms.GroupedProduct], windows.GroupedMatMul[TrainingRows]):
    """Of a whole matrix's gradient what lies inside the groups."""

    def cut(self, W: Tensor) -> Tensor:
        (member,) = self._taken
        found: Tensor = gathered(W, member.constants.groups)
        return found
