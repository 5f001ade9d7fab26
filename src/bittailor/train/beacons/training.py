"""Retraining several candidates, in this process or side by side; killed in the middle, it goes on where it was.

Training data are all that it sees. PyTorch is loaded when the first training begins.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

from bittailor.common.data import Data
from bittailor.common.files import read_bytes, save_json, write_whole
from bittailor.common.log import log, visible
from bittailor.errors import BittailorError, FileError
from bittailor.evaluate.metrics import Metric
from bittailor.quantise.calibration import Calibration
from bittailor.search.executors import Executor, make_executor
from bittailor.search.space import Genome
from bittailor.search.store import Outcome
from bittailor.train.beacons.base import FILES, KIND, VERSION, Beacon
from bittailor.train.recipe import Retraining

CHECKPOINT = "checkpoint.safetensors"
EVERY_S = 10.0
_TORCH_BYTES = 600 << 20


def need_torch() -> None:
    """BittailorError where PyTorch is not installed; does not load it."""
    if find_spec("torch") is None:
        raise BittailorError("retraining needs torch, which is not installed; pip install 'bittailor[torch]'")


@dataclass(frozen=True)
class Job:
    """One training.

    name    from `Trainer.job`
    widths  site -> bits
    seed    of the training
    parent  name of the beacon that it starts from; None for the float network
    kind    why: "beacon" or "rung" (during a search), "polish" (after it) or "retrained" (asked for)
    label   what people call it: a generation, a pick
    """

    name: str
    widths: Mapping[str, int]
    seed: int
    parent: str | None
    kind: str
    label: str

    def to_json(self) -> dict[str, Any]:
        """A JSON object; `Job(**item)` reads it back."""
        return asdict(self)


@dataclass(frozen=True, eq=False)
class Trainer:
    """What all trainings of a run share; picklable.

    calibration  of the float network
    train        training data
    metric       its loss is what is lowered
    recipe       how they are trained
    folder       RUN/beacons
    shown        whether trainings say by the logger `bittailor` how far they are, in their own processes
    """

    calibration: Calibration
    train: Data
    metric: Metric
    recipe: Retraining
    folder: Path
    shown: bool = False
    _identity: dict[str, Any] = field(default_factory=dict, repr=False, init=False)

    def job(self, widths: Mapping[str, int], seed: int, parent: str | None, kind: str, label: str) -> Job:
        """A job with its name: a digest of everything that its result depends on."""
        if not self._identity:
            self._identity.update(
                network=self.calibration.network.fingerprint, data=self.train.fingerprint, metric=self.metric.key,
                calibration=asdict(self.calibration.settings), recipe=self.recipe.identity())
        whole = {**self._identity, "widths": dict(widths), "seed": seed, "parent": parent}
        name = hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()[:8]
        return Job(name, dict(widths), seed, parent, kind, label)

    def run(self, job: Job) -> None:
        """Train and write the beacon, or the reason of its failure; nothing where it is there already."""
        folder = self.folder / job.name
        if (folder / "beacon.json").is_file():
            return
        from bittailor.train.retrain import retrain

        line = self.line(job)
        start = line[-1].calibration if line and line[-1].failed is None else None
        checkpoint = folder / CHECKPOINT
        about = {**job.to_json(), "network": self.calibration.network.fingerprint, "data": self.train.fingerprint,
                 "recipe": self.recipe.identity(), "figures": {}}
        try:
            done = retrain(self.calibration, dict(job.widths), self.train, self.metric, self.recipe, seed=job.seed,
                           start=start, checkpoint=checkpoint,
                           progress=_Epochs(job.label) if self.shown and visible() else None)
        except FileError:
            raise
        except BittailorError as error:
            self.fail(job, str(error))
            return
        # fitted now for what was trained, so that the program is the same on any machine
        done.calibration.plan(job.widths)
        done.calibration.network.save(folder / "network.safetensors")
        done.calibration.save(folder / "calibration.safetensors")
        save_json(folder / "beacon.json", KIND, VERSION,
                  {**about, "failed": None, "worse": done.worse, "history": done.history, "seconds": done.seconds})
        checkpoint.unlink(missing_ok=True)

    def line(self, job: Job) -> list[Beacon]:
        """Its parent, where that failed its parent's own, and so on up to one that did not fail, the last: a training
        starts from that one's weights, from the float network's where all failed or there is none."""
        found: list[Beacon] = []
        name = job.parent
        while name:
            found.append(beacon := Beacon.open(self.folder / name))
            name = None if beacon.failed is None else beacon.about["parent"]
        return found

    @property
    def memory(self) -> int:
        """Bytes that a training takes, about: PyTorch itself, the data twice over, and a batch."""
        return _TORCH_BYTES + 2 * self.train.x.nbytes + int(self.recipe.memory * 2**30)

    def fail(self, job: Job, reason: str) -> None:
        """Note that a training failed."""
        save_json(self.folder / job.name / "beacon.json", KIND, VERSION, {
            **job.to_json(), "network": self.calibration.network.fingerprint, "data": self.train.fingerprint,
            "recipe": self.recipe.identity(), "figures": {}, "failed": reason, "history": [], "seconds": 0.0})
        (self.folder / job.name / CHECKPOINT).unlink(missing_ok=True)


class _Epochs:
    """Says how far a training is: at its first epoch, its last, and every ten seconds between."""

    def __init__(self, label: str) -> None:
        self._label, self._last = label, 0.0

    def __call__(self, done: int, total: int, loss: float) -> None:
        if done in (1, total) or perf_counter() - self._last >= EVERY_S:
            self._last = perf_counter()
            log.info("retraining %s: epoch %d/%d, loss %.4g", self._label, done, total, loss)


@dataclass(frozen=True, eq=False)
class _Factory:
    """Makes a worker of an executor: the "genome" is a job's place."""

    trainer: Trainer
    jobs: tuple[Job, ...]

    def __call__(self) -> Callable[[Sequence[Genome]], Iterator[Outcome]]:
        def work(places: Sequence[Genome]) -> Iterator[Outcome]:
            for (place,) in places:
                start = perf_counter()
                self.trainer.run(self.jobs[place])
                yield Outcome({}, None, perf_counter() - start)

        return work


@dataclass(frozen=True, eq=False)
class _Elsewhere:
    """The work of a training as a task: beacons come and go as bytes, file name -> content."""

    trainer: Trainer

    def __call__(self, item: tuple[Job, Mapping[str, bytes]]) -> dict[str, bytes]:
        job, others = item
        with TemporaryDirectory(prefix="bittailor-") as folder:
            place = Path(folder)
            for name, content in others.items():
                write_whole(place / name, content)
            replace(self.trainer, folder=place, shown=False).run(job)
            return {file.name: file.read_bytes() for file in sorted((place / job.name).iterdir())}


def _train_elsewhere(trainer: Trainer, jobs: Sequence[Job], executor: Executor) -> None:
    # of parents that failed their notes alone are there
    items = [(job, {f"{beacon.name}/{name}": read_bytes(beacon.folder / name) for beacon in trainer.line(job)
                    for name in (FILES if beacon.failed is None else FILES[-1:])}) for job in jobs]
    for job, answer in zip(jobs, executor.tasks(_Elsewhere(trainer), items, trainer.memory), strict=True):
        if answer.values is None:
            trainer.fail(job, answer.reason or "no reason was given")
        for name in FILES:  # beacon.json is last: it says that the others are there
            if name in (answer.found or {}):
                write_whole(trainer.folder / job.name / name, answer.found[name])


def train_all(
    trainer: Trainer, jobs: Sequence[Job], workers: int = 1, executor: Executor | None = None,
) -> list[Beacon]:
    """The beacons of jobs, in their order; those that are missing are trained, `workers` at a time, or as tasks of an
    executor whose workers may lie on other machines (`Executor.remote`). One that starts from another waits for it.

    Results do not depend on `workers`; those of other processors may differ, as trainings of floats do.
    A training that diverges, or whose process dies again and again, is a failed
    beacon with its reason. FileError where nothing can be written; Ctrl-C leaves checkpoints behind.
    """
    missing = [job for job in jobs if not (trainer.folder / job.name / "beacon.json").is_file()]
    for job in jobs:
        if job not in missing:  # a kill may have come just before this
            (trainer.folder / job.name / CHECKPOINT).unlink(missing_ok=True)
    missing = list({job.name: job for job in missing}.values())
    waves = _waves(missing)
    if executor is not None and executor.remote:
        for wave in waves:
            _train_elsewhere(trainer, wave, executor)
    elif waves:
        with make_executor(max(1, min(workers, max(map(len, waves))))) as executor:
            for wave in waves:
                _train_here(trainer, wave, executor)
    return [Beacon.open(trainer.folder / job.name) for job in jobs]


def _waves(jobs: Sequence[Job]) -> list[list[Job]]:
    """Jobs that can be trained side by side, each wave when those before are done: parents before what they start."""
    waves: list[list[Job]] = []
    left = list(jobs)
    while left:
        names = {job.name for job in left}
        waves.append([job for job in left if job.parent not in names])
        left = [job for job in left if job.parent in names]
    return waves


def _train_here(trainer: Trainer, jobs: Sequence[Job], executor: Executor) -> None:
    train = executor.evaluation(_Factory(trainer, tuple(jobs)))
    for job, outcome in zip(jobs, train([(i,) for i in range(len(jobs))]), strict=True):
        if outcome.values is None:
            trainer.fail(job, outcome.reason or "no reason was given")
