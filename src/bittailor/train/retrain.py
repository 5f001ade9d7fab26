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
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bittailor.common.data import Data
from bittailor.core.network import Network
from bittailor.errors import BittailorError
from bittailor.evaluate.metrics import Measure, Metric
from bittailor.quantise.calibration import Calibration, calibrate
from bittailor.train.augment import Augmentation
from bittailor.train.checkpoint import FORMAT, GENERATOR, Checkpoint, read_checkpoint
from bittailor.train.floats import _threads, one_cycle, tensors
from bittailor.train.learner import Diverged, Learner
from bittailor.train.outcome import trained_calibration
from bittailor.train.recipe import Retraining
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


class _Retrainer(Learner):
    def __init__(
        self, calibration: Calibration, widths: Mapping[str, int], train: Data, metric: str | Metric | Measure,
        settings: Retraining, seed: int, valid: Data | None, start: Calibration, checkpoint: Path | None,
        progress: Progress | None,
    ) -> None:
        super().__init__(calibration, widths, train, metric, settings, start)
        self.seed, self.valid, self.checkpoint, self.progress = seed, valid, checkpoint, progress
        self.generator = torch.Generator().manual_seed(seed)
        self.seconds, self.history = 0.0, list[dict[str, Any]]()
        self.backed_off = 0
        self.begun = self._state()
        self.key = self._key()
        self.augmentation = self._augmentation()
        self.teacher = self._teacher(bool(settings.distil), self.hidden_site)
        self.lessons: Batch | None = None

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
        result = trained_calibration(self.network, self.masters, self.calibration, self.train)
        return Retrained(result, self.widths, self.history, self.seconds, worse)

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

    # --- epochs ------------------------------------------------------------------------------------------------------

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
            quiet = self._teacher(False, "") if self.augmentation.alters else self.teacher
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

    def _teacher(self, outputs: bool, hidden: str) -> Teacher:
        """The float network; it may take a quarter of what a batch may."""
        return Teacher(self.calibration.network, outputs, hidden, self.settings.memory * 2**30 / 4)

    def _recalibrate(self) -> None:
        """Ranges from the network as it is now."""
        integers = self.masters.integers()
        present = Network(self.graph, self.masters.dequantised(integers))
        seen = calibrate(present, self.train.x, self.train.lengths, self.calibration.settings)
        self.masters.restart({name: seen.format(name, self.widths[name]) for name in self.learned})

    # --- the checkpoint ----------------------------------------------------------------------------------------------

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


__all__ = ["Retrained", "retrain"]
