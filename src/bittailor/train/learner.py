"""What learns in a retraining: master weights, the integer network made from them, and one update of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bittailor.common.data import Data
from bittailor.core.arith import Floats
from bittailor.core.graph import Recurrence
from bittailor.core.program import Program
from bittailor.engines import ENGINES, best_engine
from bittailor.errors import BittailorError, RangeError
from bittailor.evaluate.metrics import Measure, Metric, metric_of
from bittailor.quantise.calibration import Calibration
from bittailor.train.distil import distilled
from bittailor.train.floats import tensors
from bittailor.train.integer import IntegerNetwork
from bittailor.train.masters import MasterWeights, learnable
from bittailor.train.recipe import RATE, REACH, Retraining
from bittailor.train.teacher import Batch, padded


class Diverged(BittailorError):
    """A loss or a weight is no longer finite, or the scales can no longer be bound."""


def usual_rate(calibration: Calibration) -> float:
    """The highest learning rate for a network: RATE, or less where its products are wide.

    Adam moves every weight by about the rate in each step, and in one row often in the same sense; an element of the
    product W x then moves by the rate times the sum of |x|. As a share of what it is (root mean squares, from the
    second moments of the calibration) that may be no more than RATE times REACH in any matrix.
    """
    graph, reach = calibration.network.graph, REACH
    for node in graph.nodes():
        moment = calibration.moments.get(graph.vector(node.inputs[0]).name) if node.params else None
        if moment is None or node.operator.access != "whole":
            continue
        weights = calibration.network.parameters[node.params[0]]
        size = math.sqrt(float(np.mean(((weights @ moment) * weights).sum(axis=1))))
        if size > 0:
            reach = max(reach, float(np.sqrt(np.diagonal(moment)).sum()) / size)
    return RATE * REACH / reach


class Learner:
    """The network at its widths, in training.

    calibration  of the float network
    widths       site -> bits for every free site
    start        the calibration at whose solution training begins
    """

    def __init__(
        self, calibration: Calibration, widths: Mapping[str, int], train: Data, metric: str | Metric | Measure,
        settings: Retraining, start: Calibration,
    ) -> None:
        self.calibration, self.widths, self.train = calibration, dict(widths), train
        self.metric, self.settings, self.start = metric_of(metric), settings, start
        self.graph = calibration.network.graph
        self.learned = learnable(self.graph, calibration, widths) if settings.ranges != "frozen" else frozenset()
        moving = self.learned if settings.ranges == "learned" and settings.scale_rate else frozenset()
        self.masters = MasterWeights(start, widths, [s.name for s in self.graph.free if s.name in moving])
        self.hidden_site = self._hidden_site() if settings.hidden_match else ""
        self.network = IntegerNetwork(self.graph, moving, (self.hidden_site,) if self.hidden_site else ())
        self.sequence = self.graph.sites[self.graph.outputs[0]].sequence
        loss = self.metric.loss_for(train.targets)
        # a metric that must learn first is not for a history
        self._measure = loss.of if self.metric.learns else self.metric.value
        self._amount = loss.amount
        self.loss = distilled(loss, settings.distil, settings.temperature)
        self.rate = settings.rate or usual_rate(calibration)
        scale_rate = settings.scale_rate * (1.0 if settings.rate else self.rate / RATE)
        self.optimizer = torch.optim.AdamW([
            {"params": [self.masters.weights], "weight_decay": settings.weight_decay, "peak": self.rate},
            {"params": [self.masters.logs, self.masters.ranges], "weight_decay": 0.0, "peak": scale_rate},
        ], lr=self.rate, fused=True)
        self.masters.weights.grad = self.masters.gradient
        self.masters.logs.grad = self.masters.log_gradient
        self.epochs, self.done = settings.epochs_for(len(train)), 0
        self.moved = False
        self.targets, self.lengths = tensors(train.targets), torch.from_numpy(train.lengths)
        self.steps = train.x.shape[1] - self.graph.late[self.graph.outputs[0]]  # of an output per step
        self.most = max(1, int(settings.memory * 2**30 / self.network.item_bytes(train.x.shape[1])))

    def _update(self, batch: Batch, scales: bool) -> tuple[float, Tensor]:
        """One step of the optimiser; the loss, and the outputs before it."""
        settings, masters = self.settings, self.masters
        try:
            integers, _ = self._bind()
        except RangeError as error:
            if not self.moved:
                raise
            raise self._diverged(str(error)) from None
        total, reals = 0.0, []
        parameters, steps = dict[str, Tensor](), dict[str, Tensor]()
        for part, share in self._parts(batch):
            loss, real, gradients = self._gradients(part, scales, share)
            total += loss
            reals.append(real)
            for sums, found in zip((parameters, steps), gradients, strict=True):
                for name, value in found.items():
                    sums[name] = sums[name] + value if name in sums else value.clone() if share < 1 else value
        if not math.isfinite(total):
            raise self._diverged(f"the loss is {total:g}")
        masters.set_gradients(parameters, steps, integers)
        # the optimizer leaves alone what has no gradient
        masters.ranges.grad = masters.range_gradient if scales else None
        norm = float(masters.gradient.norm())
        if norm > settings.clip:
            masters.gradient.mul_(settings.clip / norm)
        self.optimizer.step()
        if not bool(torch.isfinite(masters.weights).all()):
            raise self._diverged("a weight is no longer finite")
        masters.refresh()
        masters.confine()
        self.moved = True
        return total, padded(reals, self.steps) if len(reals) > 1 else reals[0]

    def _parts(self, batch: Batch) -> list[tuple[Batch, float]]:
        """A batch in parts that memory holds, each with its share of the mean: of items, or of steps or phones."""
        if len(batch) <= self.most:
            return [(batch, 1.0)]
        ends = np.linspace(0, len(batch), -(-len(batch) // self.most) + 1).astype(int)
        parts = [batch.part(slice(i, j)) for i, j in pairwise(ends)]
        amounts = [self._amount(self.train.targets[part.items.numpy()]) for part in parts]
        return [(part, amount / sum(amounts)) for part, amount in zip(parts, amounts, strict=True)]

    def _gradients(
        self, batch: Batch, scales: bool, share: float
    ) -> tuple[float, Tensor, tuple[dict[str, Tensor], dict[str, Tensor]]]:
        """`share` times the loss of a batch; its outputs; the gradients of parameters and learned scales."""
        targets, lengths, teacher = self.targets[batch.items], self.lengths[batch.items], batch.outputs
        x = batch.x[:, : int(lengths.max())]
        out = self.network.step(torch.from_numpy(self._quantised(x)), lengths, scales)
        scale = self.network.formats[self.graph.outputs[0]].scale[0]
        real = ((out.transpose(0, 1) if self.sequence else out) * scale).requires_grad_()
        if teacher is not None and self.sequence:
            teacher = teacher[:, : real.shape[1]]
        loss = self.loss(real, targets, teacher)
        if share < 1:
            loss = loss * share
        (gradient,) = torch.autograd.grad(loss, real)
        gradient = gradient.transpose(0, 1) if self.sequence else gradient
        total = float(loss.detach())
        extra: dict[str, Tensor] = {}
        if batch.hidden is not None:
            more, extra[self.hidden_site] = self._match(batch.hidden, share)
            total += more
        return total, real.detach(), self.network.backward(gradient, extra)

    def _match(self, hidden: Tensor, share: float) -> tuple[float, Tensor]:
        """Loss and gradient of the hidden states against the teacher's, [items, steps, features]."""
        ws = self.network.ws
        assert ws is not None
        ws.settle(self.graph.late[self.hidden_site])
        ref = self.network.schedule.outside[self.hidden_site]
        scale = self.network.formats[self.hidden_site].scale[0]
        valid = ws.valid
        difference = (ws.cube("ints", ref) * scale - hidden[:, : ws.steps].transpose(0, 1)) * valid
        weight = share * self.settings.hidden_match / (float(valid.sum()) * ref.width)
        return float((difference**2).sum()) * weight, difference * (2 * weight)

    def _bind(self) -> tuple[dict[str, NDArray[np.int64]], Program]:
        integers = self.masters.integers()
        return integers, self.network.bind(self.masters.plan(), integers, self.masters.biases())

    def _quantised(self, x: Tensor) -> NDArray[np.int64]:
        return self.network.formats[self.graph.inputs[0]].quantise(x.numpy())

    def _diverged(self, what: str) -> Diverged:
        return Diverged(f"the retraining diverged in epoch {self.done + 1} of {self.epochs}: {what}. "
                        f"Lower its rate ({self.rate:g})")

    def _hidden_site(self) -> str:
        for step in reversed(self.graph.steps):
            if isinstance(step, Recurrence):
                return step.outputs[0]
        raise BittailorError("hidden_match needs a recurrent layer; this network has none")

    def outputs(self, data: Data) -> Floats:
        """Real outputs of the integer network on data, [items, outputs]."""
        _, program = self._bind()
        return program.read_output(ENGINES[best_engine()].run(program, program.quantise_input(data.x), data.lengths))
