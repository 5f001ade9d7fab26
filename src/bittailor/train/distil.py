"""Knowledge distillation: a loss that asks the student for its teacher's outputs, softened by a temperature.

Source: Hinton, Vinyals, Dean, arXiv 1503.02531: (1 - w) cross-entropy with the labels + w T^2 cross-entropy with the
teacher's probabilities at temperature T. For a regression the teacher's outputs are targets beside the given ones.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from bittailor.common.data import Targets
from bittailor.errors import BittailorError
from bittailor.evaluate.losses import Loss

Distilled = Callable[[Tensor, Targets, Tensor | None], Tensor]


def distilled(loss: Loss, weight: float, temperature: float) -> Distilled:
    """The loss of (outputs, targets, the teacher's outputs or None).

    Outputs are [items, outputs] or [items, steps, outputs]; of the latter only steps within the lengths count.
    weight       0 (labels alone) .. 1 (teacher alone)
    temperature  above 0; for classes only
    """
    if not 0 <= weight <= 1:
        raise BittailorError(f"the weight of distillation is {weight}; expected 0..1")
    if not temperature > 0:
        raise BittailorError(f"the temperature of distillation is {temperature}; expected more than 0")

    def of(outputs: Tensor, targets: Targets, teacher: Tensor | None) -> Tensor:
        if teacher is None or weight == 0:
            return loss.train(outputs, targets)
        soft = _soft(_valid(outputs, targets.lengths), _valid(teacher, targets.lengths))
        return soft if weight == 1 else (1 - weight) * loss.train(outputs, targets) + weight * soft

    def _soft(outputs: Tensor, teacher: Tensor) -> Tensor:
        if not loss.scores:
            return nn.functional.mse_loss(outputs, teacher)
        return temperature**2 * nn.functional.kl_div(
            torch.log_softmax(outputs / temperature, dim=1), torch.log_softmax(teacher / temperature, dim=1),
            reduction="batchmean", log_target=True)

    return of


def _valid(values: Tensor, lengths: Tensor) -> Tensor:
    """[rows, outputs]: items, or the valid steps of all items."""
    if values.dim() == 2:
        return values
    return values[torch.arange(values.shape[1])[None, :] < lengths[:, None]]
