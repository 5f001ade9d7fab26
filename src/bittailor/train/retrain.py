"""Retraining: quantisation-aware, of exactly the network that is shipped, with or without a teacher.

It starts from a calibration's solution, and what comes out is a calibration again: the trained weights as its network,
formats and integers for the trained widths pinned to what was trained, statistics for neighbours of other widths.
"""

from __future__ import annotations

import copy
import hashlib
import json
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from bittailor.common.data import Data
from bittailor.core.arith import Floats
from bittailor.core.graph import Recurrence
from bittailor.core.network import Network
from bittailor.core.program import Program
from bittailor.engines import ENGINES, best_engine
from bittailor.engines.torch.runner import Runner
from bittailor.errors import BittailorError, RangeError
from bittailor.evaluate.metrics import Measure, Metric, metric_of
from bittailor.quantise.calibration import Calibration, calibrate
from bittailor.train.augment import Augmentation
from bittailor.train.checkpoint import FORMAT, GENERATOR, Checkpoint, read_checkpoint
from bittailor.train.distil import distilled
from bittailor.train.floats import _threads, one_cycle, tensors
from bittailor.train.integer import IntegerNetwork
from bittailor.train.masters import MasterWeights, learnable
from bittailor.train.recipe import RATE, REACH, Retraining
from bittailor.train.teacher import ASKED, Batch, Teacher, padded

JUDGED = 512
"""Training items, at most, on which the end is compared with the beginning."""
BACK_OFF, MOST_OFF = 0.25, 4
"""What is left of the rates when an epoch diverges and is begun anew; how often, at most."""

log = logging.getLogger(__name__)
Progress = Callable[[int, int, float], None]


@dataclass(frozen=True, eq=False)
class Retrained:
    """A retrained network.

    calibration  of the trained weights; `calibration.binder().bind(calibration.plan(widths))` is what was trained
    history      per epoch: loss and metric on the training items as they were met, seconds, and `valid` if asked for
    seconds      what the retraining took, over all interruptions
    worse        None; or in a sentence that it ended worse than it began, on training data: then the calibration is
                 that of the start
    """

    calibration: Calibration
    widths: Mapping[str, int]
    history: list[dict[str, Any]]
    seconds: float
    worse: str | None = None


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


def retrain(
    calibration: Calibration,
    widths: Mapping[str, int],
    train: Data,
    metric: str | Metric | Measure,
    settings: Retraining | None = None,
    *,
    seed: int = 0,
    valid: Data | None = None,
    start: Calibration | None = None,
    checkpoint: Path | None = None,
    progress: Progress | None = None,
) -> Retrained:
    """Retrain a network at given widths.

    calibration  of the float network, which is the teacher and, unless `start` is given, where training begins
    widths       site -> bits for every free site
    train        training data; nothing else decides anything
    metric       a name in `METRICS`, or a metric (`metrics.metric_of`)
    valid        only to report its metric in the history
    start        begin at this calibration's solution instead: a beacon's
    checkpoint   a file written after every epoch; if it holds this same retraining, that goes on where it stopped
    progress     called after each epoch with (epochs done, epochs, mean training loss)
    Raises       BittailorError if the loss is no longer finite, at a fraction of the rates too; RangeError if scales
                 cannot be bound.
    An epoch that diverges is begun anew at a quarter of the rates. What ends with both a higher loss and a worse metric
    on training data than it began with is not kept (`Retrained.worse`).
    Equal seeds give equal results on one machine.
    """
    with _threads():
        return _Retrainer(calibration, widths, train, metric, settings or Retraining(), seed, valid,
                          start or calibration, checkpoint, progress).run()


class _Retrainer:
    def __init__(
        self, calibration: Calibration, widths: Mapping[str, int], train: Data, metric: str | Metric | Measure,
        settings: Retraining, seed: int, valid: Data | None, start: Calibration, checkpoint: Path | None,
        progress: Progress | None,
    ) -> None:
        self.calibration, self.widths, self.train = calibration, dict(widths), train
        self.metric = metric_of(metric)
        self.settings, self.seed = settings, seed
        self.valid, self.start, self.checkpoint, self.progress = valid, start, checkpoint, progress
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
        self.generator = torch.Generator().manual_seed(seed)
        self.rate = settings.rate or usual_rate(calibration)
        scale_rate = settings.scale_rate * (1.0 if settings.rate else self.rate / RATE)
        self.optimizer = torch.optim.AdamW([
            {"params": [self.masters.weights], "weight_decay": settings.weight_decay, "peak": self.rate},
            {"params": [self.masters.logs, self.masters.ranges], "weight_decay": 0.0, "peak": scale_rate},
        ], lr=self.rate, fused=True)
        self.masters.weights.grad = self.masters.gradient
        self.masters.logs.grad = self.masters.log_gradient
        self.epochs = settings.epochs_for(len(train))
        self.done, self.seconds, self.history = 0, 0.0, list[dict[str, Any]]()
        self.moved = False
        self.backed_off = 0
        self.begun = self._state()
        self.key = self._key()
        self.targets, self.lengths = tensors(train.targets), torch.from_numpy(train.lengths)
        self.steps = train.x.shape[1] - self.graph.late[self.graph.outputs[0]]  # of an output per step
        self.augmentation = self._augmentation()
        self.most = max(1, int(settings.memory * 2**30 / self.network.item_bytes(train.x.shape[1])))
        self.teacher = Teacher(calibration.network, bool(settings.distil), self.hidden_site, self.most)
        self.lessons: Batch | None = None

    def _augmentation(self) -> Augmentation:
        if self.settings.shift and self.train.targets.per_step:
            raise BittailorError("shift moves inputs in time, but these data have a target per step, which stays where "
                                 "it is; leave shift at 0")
        if self.graph.sites[self.graph.inputs[0]].role == "index":
            # an index is one or another: there is nothing near it, and no mean
            return Augmentation(0.0, 0.0, self.settings.shift, torch.zeros(1))
        seen = self.train.x[np.arange(self.train.x.shape[1]) < self.train.lengths[:, None]]
        mean = torch.from_numpy(seen.mean(axis=0, dtype=np.float64).astype(np.float32))
        return Augmentation(self.settings.noise * float(seen.std()), self.settings.mask, self.settings.shift, mean)

    def run(self) -> Retrained:
        """All epochs, and what comes of them."""
        self._resume()
        began = time.perf_counter() - self.seconds
        while self.done < self.epochs:
            loss, metric = self._held_epoch()
            self.done += 1
            row: dict[str, Any] = {"epoch": self.done, "loss": loss, "train": metric}
            if self.valid is not None:
                row["valid"] = self._measure(self.outputs(self.valid), self.valid.targets)
            self.seconds = time.perf_counter() - began
            self.history.append(row | {"seconds": round(self.seconds, 3)})
            self._save()
            if self.progress is not None:
                self.progress(self.done, self.epochs, loss)
        worse = self._worse() if self.epochs else None
        return Retrained(self._result(), self.widths, self.history, self.seconds, worse)

    def _worse(self) -> str | None:
        """Compare the end with the beginning; where it is worse, go back there and say so."""
        ended, end = self._state(), self._judged()
        self._restore(self.begun)
        begin = self._judged()
        if end[0] <= begin[0] or end[1] <= begin[1]:
            self._restore(ended)
            return None
        said = (f"it ended worse than it began (loss on training data {begin[0]:.3g} -> {end[0]:.3g}), so that nothing "
                f"was changed; lower the rate ({self.rate:.2g})")
        log.warning("retraining: %s", said)
        return said

    def _judged(self) -> tuple[float, float]:
        """The loss that is trained for and the metric, less being better, on the first training items, altered as in
        training: on items as they are, a network that knows them by heart beats one that has learnt more."""
        some = self.train[:JUDGED]
        generator = torch.Generator().manual_seed(self.seed)
        x = self.augmentation(torch.from_numpy(some.x), self.lengths[:JUDGED], generator)
        some = replace(some, x=x.numpy())
        outputs = torch.from_numpy(np.asarray(self.outputs(some), np.float32))
        teacher = None
        if self.settings.distil:
            teacher = self.teacher.about(some).outputs
        loss = float(self.loss(outputs, tensors(some.targets), teacher))
        metric = self._measure(outputs.numpy(), some.targets)
        return (loss if math.isfinite(loss) else math.inf), metric if self.metric.learns else self.metric.cost(metric)

    # --- training ------------------------------------------------------------------------------------------------

    def _held_epoch(self) -> tuple[float, float]:
        """An epoch; one that diverges is begun anew at lower rates."""
        before = self._state()
        while True:
            try:
                return self._epoch()
            except Diverged as error:
                if self.backed_off == MOST_OFF:
                    raise
                self.backed_off += 1
                log.info("%s; the epoch is begun anew at rate %.2g", error, self.rate * BACK_OFF**self.backed_off)
                self._restore(before)

    def _state(self) -> dict[str, Any]:
        """All that an epoch changes."""
        return {"moving": {name: value.clone() for name, value in self._moving().items()},
                "formats": dict(self.masters.formats), "generator": self.generator.get_state(),
                "optimizer": copy.deepcopy(self.optimizer.state_dict())}

    def _restore(self, state: Mapping[str, Any]) -> None:
        for name, value in self._moving().items():
            value.copy_(state["moving"][name])
        self.masters.formats = dict(state["formats"])
        self.generator.set_state(state["generator"])
        self.optimizer.load_state_dict(copy.deepcopy(state["optimizer"]))

    def _epoch(self) -> tuple[float, float]:
        settings, items = self.settings, len(self.train)
        if settings.ranges == "recalibrated" and self.done:
            self._recalibrate()
        order = torch.randperm(items, generator=self.generator)
        batches = torch.split(order, settings.batch)
        total, met = 0.0, []
        for i, batch in enumerate(self._batches(batches)):
            share = (self.done * len(batches) + i) / (self.epochs * len(batches))
            for group in self.optimizer.param_groups:
                group["lr"] = group["peak"] * one_cycle(share) * BACK_OFF**self.backed_off
            loss, real = self._update(batch, i % settings.scale_every == 0)
            met.append(real)
            total += loss * len(batch)
        mean = total / items
        if not math.isfinite(mean):
            raise self._diverged(f"the mean loss is {mean:g}")
        return mean, self._measure(padded(met, self.steps).numpy(), self.train.targets[order.numpy()])

    def _batches(self, batches: Sequence[Tensor]) -> Iterator[Batch]:
        """What each update meets. Of altered items, the teacher is asked about several batches at a time."""
        if self.lessons is None:
            quiet = Teacher(self.calibration.network, False, "") if self.augmentation.alters else self.teacher
            self.lessons = quiet.about(self.train)  # of items as they are once for all
        together = max(1, ASKED // self.settings.batch)
        for start in range(0, len(batches), together):
            group = batches[start : start + together]
            whole = self.lessons.part(torch.cat(list(group)))
            if self.augmentation.alters:
                x = self.augmentation(whole.x, self.lengths[whole.items], self.generator)
                whole = self.teacher.batch(whole.items, x, self.lengths[whole.items])
            end = 0
            for batch in group:
                yield whole.part(slice(end, end := end + len(batch)))

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

    def _diverged(self, what: str) -> Diverged:
        return Diverged(f"the retraining diverged in epoch {self.done + 1} of {self.epochs}: {what}. "
                        f"Lower its rate ({self.rate:g})")

    def _bind(self) -> tuple[dict[str, NDArray[np.int64]], Program]:
        integers = self.masters.integers()
        return integers, self.network.bind(self.masters.plan(), integers, self.masters.biases())

    def _quantised(self, x: Tensor) -> NDArray[np.int64]:
        return self.network.formats[self.graph.inputs[0]].quantise(x.numpy())

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

    def _hidden_site(self) -> str:
        for step in reversed(self.graph.steps):
            if isinstance(step, Recurrence):
                return step.outputs[0]
        raise BittailorError("hidden_match needs a recurrent layer; this network has none")

    def _recalibrate(self) -> None:
        """Ranges from the network as it is now."""
        integers = self.masters.integers()
        present = Network(self.graph, self.masters.dequantised(integers))
        seen = calibrate(present, self.train.x, self.train.lengths, self.calibration.settings)
        self.masters.restart({name: seen.format(name, self.widths[name]) for name in self.learned})

    def outputs(self, data: Data) -> Floats:
        """Real outputs of the integer network on data, [items, outputs]."""
        _, program = self._bind()
        return program.read_output(ENGINES[best_engine()].run(program, program.quantise_input(data.x), data.lengths))

    # --- what stays ----------------------------------------------------------------------------------------------

    def _result(self) -> Calibration:
        """A calibration of the trained weights, pinned at the trained widths.

        Its network holds what the integers stand for, not the master weights behind them: those are only where the
        optimizer was, and neighbours fitted to them are no better than untrained ones (docs/training.md).
        """
        self.network.release()  # a batch in training takes several times the room of one that runs
        integers, program = self._bind()
        network = Network(self.graph, self.masters.dequantised(integers))
        settings = self.calibration.settings
        runner = Runner(self.graph)
        runner.take([program])
        running = _Running(self.graph, network.parameters, runner, program)
        seen = calibrate(running, self.train.x, self.train.lengths, settings)
        runner.release()
        pinned = {(name, fmt.bits): fmt for name, fmt in self.masters.formats.items()}
        fitted = {(name, self.masters.formats[name]): q for name, q in integers.items()}
        return Calibration(network, settings, seen.observed, seen.moments, pinned, fitted)

    def _key(self) -> str:
        formats = {name: fmt.to_json() for name, fmt in self.masters.formats.items()}
        parts = {"format": FORMAT, "torch": torch.__version__, "settings": self.settings.identity(), "seed": self.seed,
                 "metric": self.metric.name, "widths": self.widths, "formats": formats,
                 "teacher": self.calibration.network.fingerprint, "start": self.start.network.fingerprint,
                 "data": self.train.fingerprint,
                 "weights": hashlib.sha256(self.masters.weights.numpy().tobytes()).hexdigest()}
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]

    def _moving(self) -> dict[str, Tensor]:
        return {"weights": self.masters.weights, "logs": self.masters.logs, "ranges": self.masters.ranges}

    def _save(self) -> None:
        if self.checkpoint is None:
            return
        tensors: dict[str, Tensor] = {GENERATOR: self.generator.get_state(), **self._moving()}
        for name, param in self._moving().items():
            tensors |= {f"{name}/{key}": value for key, value in self.optimizer.state[param].items()}
        formats = {name: fmt.to_json() for name, fmt in self.masters.formats.items()}
        Checkpoint(self.key, self.done, self.seconds, tuple(self.history), self.backed_off, formats).write(
            self.checkpoint, {name: value.detach() for name, value in tensors.items()})

    def _resume(self) -> None:
        if self.checkpoint is None or not Path(self.checkpoint).exists():
            return
        moving = self._moving()
        try:
            found, tensors, formats = read_checkpoint(
                self.checkpoint, self.key, self.epochs, moving, self.masters.formats)
        except BittailorError as error:
            log.warning("checkpoint not used, retraining from the start: %s", str(error).splitlines()[0])
            return
        for name, param in moving.items():
            param.copy_(tensors[name])
            own = f"{name}/"
            state = {key.removeprefix(own): value for key, value in tensors.items() if key.startswith(own)}
            if state:
                self.optimizer.state[param] = state
        self.generator.set_state(tensors[GENERATOR])
        self.masters.formats = formats
        self.done, self.seconds, self.history = found.done, found.seconds, [dict(row) for row in found.history]
        self.backed_off = found.backed_off


@dataclass(frozen=True, eq=False)
class _Running(Network):
    """A network whose trace is that of a program, as real values: what neighbours of the trained widths are
    calibrated on."""

    runner: Runner
    program: Program

    def trace(self, x: ArrayLike, lengths: ArrayLike | None = None, keep: bool = True) -> dict[str, Floats]:
        values, sizes = self.check_input(x, lengths)
        q = torch.from_numpy(self.program.quantise_input(values))
        self.runner.forward([q], torch.from_numpy(sizes), keep=True)
        return {name: self.program.formats[name].dequantise(q) for name, q in self.runner.trace().items()}


__all__ = ["Retrained", "retrain"]
