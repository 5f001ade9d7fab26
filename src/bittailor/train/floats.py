"""Float training: a task's network, from seed and recipe to weights, cached on disk.

The weights after the last epoch are the result. No epoch is chosen by its validation error, so that the validation
data are still unseen when a search begins to choose by them; the learning rate ends at zero, which makes the last
epoch as good as any.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bittailor.common.aside import sweep
from bittailor.common.cache import user_cache
from bittailor.common.data import Data, Splits, Targets
from bittailor.common.files import load_tensors, save_tensors
from bittailor.common.processors import algebra_threads
from bittailor.errors import BittailorError, DataError, FileError
from bittailor.evaluate.metrics import Metric, metric_of
from bittailor.train.distil import distilled

KIND = "float network"
FORMAT = 1  # of the cache file and of what this module computes; a new one trains everything anew
THREADS = 1  # a second one gains a tenth at most here, waits for a busy neighbour core, and may change the sums
STEPS_AT_ONCE = 32_768
"""Of all items that are evaluated together: a network of 256 units in both directions holds some 30 kB of each."""

WIDEST = 2
"""Times a task's own units up to which its rate stays: at twice, 128 units, that of `phones` trains well."""

log = logging.getLogger(__name__)


class RecipeLike(Protocol):
    """What `train` reads of `tasks.Recipe`, which says what each means; a dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def epochs(self) -> int: ...
    @property
    def batch(self) -> int: ...
    @property
    def rate(self) -> float: ...
    @property
    def weight_decay(self) -> float: ...
    @property
    def clip(self) -> float: ...
    @property
    def noise(self) -> float: ...


class TrainableTask(Protocol):
    """What `train` needs of a task; `tasks.Task` is one."""

    @property
    def name(self) -> str: ...
    @property
    def metric(self) -> str | Metric: ...
    @property
    def hidden(self) -> int: ...
    @property
    def recipe(self) -> RecipeLike: ...
    @property
    def network(self) -> Callable[[int | None, int, str], nn.Module]: ...


@dataclass(frozen=True, eq=False)
class Trained:
    """A trained float network and how it came about.

    module      in evaluation mode, on the CPU
    valid       the task's metric on the validation data
    seconds     what training took when it was done
    cached      whether the weights were read from `file`
    file        where the weights are cached; None if the folder could not be written
    key         fingerprint of everything the weights depend on, 16 hexadecimal digits
    """

    module: nn.Module
    valid: float
    seconds: float
    cached: bool
    file: Path | None
    key: str


@dataclass(frozen=True, eq=False)
class Teacher:
    """A float network to learn from (see `train.distil`).

    module       takes what the student takes
    weight       of its outputs in the loss, 0 .. 1
    temperature  at which the outputs of a classifier are compared
    """

    module: nn.Module
    weight: float = 0.7
    temperature: float = 1.0


class _Listening(nn.Module):
    """The student; what its teacher says of the same input is kept in `asked`."""

    def __init__(self, student: nn.Module, teacher: nn.Module) -> None:
        super().__init__()
        self.student, self.teacher = student, teacher
        self.asked: Tensor | None = None

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        with torch.no_grad():
            self.asked = self.teacher(x) if lengths is None else self.teacher(x, lengths)
        outputs: Tensor = self.student(x) if lengths is None else self.student(x, lengths)
        return outputs


def train(
    task: TrainableTask,
    splits: Splits,
    hidden: int | None = None,
    seed: int = 0,
    cache: Path | None = None,
    progress: Callable[[int, int, float], None] | None = None,
    cell: str = "gru",
    teacher: Teacher | None = None,
) -> Trained:
    """The task's float network, trained on `splits.train`, or read from the cache if it was trained before.

    hidden    units of a recurrent layer; the task's default where None
    seed      decides initial weights, order of the items, noise and dropout; equal seeds give equal weights on one
              machine
    cache     the folder of cached weights; the user's cache where None
    progress  called after each epoch with (epochs done, epochs, mean training loss)
    cell      of the recurrent layer, a name in `CELLS`
    teacher   a larger float network, whose outputs the training asks for, too
    Raises    DataError if the data do not fit the network; BittailorError if the loss is no longer finite.
    A damaged cache file, or a folder that cannot be written, costs a warning and the time to train again.
    """
    hidden = task.hidden if hidden is None else hidden
    metric = metric_of(task.metric)
    module, recipe = task.network(hidden, seed, cell), recipe_for(task, hidden)
    key = fingerprint(task, splits, hidden, seed, cell, teacher)
    folder = user_cache() / "floats" if cache is None else Path(cache)
    kind = "" if cell == "gru" else f"-{cell}"
    path = folder / f"{task.name}{kind}-h{hidden}-s{seed}-{key}.safetensors"
    file: Path | None = path
    seconds = _restore(module, path, key)
    cached = seconds is not None
    if seconds is None:
        sweep(folder)
        with _threads(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)  # dropout draws from the global generator
            began = time.perf_counter()
            _fit(module, metric, recipe, splits.train, seed, progress, task.name, teacher)
            seconds = time.perf_counter() - began
        about = {"key": key, "task": task.name, "cell": cell, "hidden": hidden, "seed": seed,
                 "seconds": round(seconds, 3), "recipe": asdict(recipe), "torch": torch.__version__}
        try:
            save_tensors(path, KIND, FORMAT, about, {name: w.numpy() for name, w in module.state_dict().items()})
        except FileError as error:
            log.warning("the trained weights are not cached: %s", error)
            file = None
    module.eval()
    outputs = evaluate_module(module, splits.valid)
    fitted = metric.fitted(splits.train.targets, lambda: outputs, splits.valid.targets)
    return Trained(module, fitted.value(outputs, splits.valid.targets), seconds, cached, file, key)


def recipe_for(task: TrainableTask, hidden: int) -> RecipeLike:
    """The task's recipe for so many units: beyond `WIDEST` times the task's own, the rate falls in proportion.

    At one rate, a step of Adam moves the outputs of a layer the further the more columns it has. SRU of 256 units on
    `phones` ends at a phone error rate of 28.0 % at its recipe's rate, at 19.2 % at half of it and 20.6 % at a quarter
    (validation data of seed 0, the task handed to `train` with these recipes); no other task was tried.
    Source  G. Yang, E. J. Hu et al.: Tensor Programs V (2022, arXiv 2203.03466), table 3: hidden weights under Adam.
    """
    rate = task.recipe.rate * min(1.0, WIDEST * task.hidden / hidden)
    return replace(task.recipe, rate=rate)


def fingerprint(
    task: TrainableTask, splits: Splits, hidden: int, seed: int, cell: str = "gru", teacher: Teacher | None = None
) -> str:
    """Sixteen hexadecimal digits over everything trained weights depend on."""
    # metrics that are trained for alike share their weights
    loss = metric_of(task.metric).loss_for(splits.train.targets).key
    parts = {"format": FORMAT, "torch": torch.__version__, "task": task.name, "metric": loss, "hidden": hidden,
             "seed": seed, "recipe": asdict(recipe_for(task, hidden)), "data": splits.train.fingerprint}
    if cell != "gru":  # the first cell there was: what was trained then is still what it would be now
        parts["cell"] = cell
    if teacher is not None:
        weights = b"".join(value.numpy().tobytes() for value in teacher.module.state_dict().values())
        parts["teacher"] = [hashlib.sha256(weights).hexdigest(), teacher.weight, teacher.temperature]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def evaluate_module(module: nn.Module, data: Data, batch: int = 0) -> NDArray[np.float32]:
    """Float outputs [items, (steps,) outputs] of a module, without gradients.

    batch  items at a time; 0: as many as `STEPS_AT_ONCE` allows

    The module gets x [items, steps, features], and the lengths as a second argument where they differ from the
    number of steps. Its training mode is left as it was.
    """
    training = module.training
    module.eval()
    x, lengths = torch.from_numpy(data.x), _lengths(data)
    batch = batch or max(1, STEPS_AT_ONCE // x.shape[1])
    try:
        with torch.no_grad(), _threads():
            parts = [_call(module, x, lengths, slice(start, start + batch)) for start in range(0, len(x), batch)]
    finally:
        module.train(training)
    if parts[0].ndim == 3:  # a part has as many steps as its longest item
        parts = [nn.functional.pad(part, (0, 0, 0, x.shape[1] - part.shape[1])) for part in parts]
    outputs: NDArray[np.float32] = torch.cat(parts).numpy()
    return outputs


def _fit(
    module: nn.Module,
    metric: Metric,
    recipe: RecipeLike,
    data: Data,
    seed: int,
    progress: Callable[[int, int, float], None] | None,
    name: str,
    teacher: Teacher | None = None,
) -> None:
    x, targets, lengths = torch.from_numpy(data.x), tensors(data.targets), _lengths(data)
    _check(module, metric, data, name)
    generator = torch.Generator().manual_seed(seed)
    updates_per_epoch = math.ceil(len(x) / recipe.batch)
    total = recipe.epochs * updates_per_epoch
    optimizer = torch.optim.AdamW(module.parameters(), lr=recipe.rate, weight_decay=recipe.weight_decay, fused=True)
    module.train()
    listening: nn.Module = module
    weight, temperature = (0.0, 1.0) if teacher is None else (teacher.weight, teacher.temperature)
    loss_of = distilled(metric.loss_for(data.targets), weight, temperature)
    if teacher is not None:
        listening = _Listening(module, teacher.module.eval())
    update = 0
    for epoch in range(recipe.epochs):
        order, loss_sum = torch.randperm(len(x), generator=generator), torch.zeros(())
        for items in torch.split(order, recipe.batch):
            for group in optimizer.param_groups:
                group["lr"] = recipe.rate * one_cycle(update / total)
            outputs = _call(listening, x, lengths, items, recipe.noise, generator)
            loss = loss_of(outputs, targets[items], listening.asked if isinstance(listening, _Listening) else None)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(module.parameters(), recipe.clip)
            optimizer.step()
            loss_sum += loss.detach() * len(items)
            update += 1
        mean = float(loss_sum) / len(x)
        if not (math.isfinite(mean) and all(bool(torch.isfinite(weight).all()) for weight in module.parameters())):
            raise BittailorError(f"training '{name}' diverged: the loss is {mean:g} in epoch {epoch + 1} of "
                                 f"{recipe.epochs}. Lower the recipe's learning rate ({recipe.rate:g})")
        if progress is not None:
            progress(epoch + 1, recipe.epochs, mean)


def one_cycle(share: float) -> float:
    """The learning rate after `share` (0..1) of the updates, as a share of the highest one.

    A linear rise over the first tenth, then half a cosine down to zero.
    Source  L. N. Smith, N. Topin: Super-Convergence (2018), with the cosine of the later implementations.
    """
    warm = 0.1
    if share < warm:
        return 0.1 + 0.9 * share / warm
    return 0.5 * (1 + math.cos(math.pi * (share - warm) / (1 - warm)))


def _call(
    module: nn.Module,
    x: Tensor,
    lengths: Tensor | None,
    items: Tensor | slice,
    noise: float = 0.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """The outputs for some items; steps that none of them uses are not computed."""
    if lengths is None:
        batch, valid = x[items], None
    else:
        valid = lengths[items]
        batch = x[items][:, : int(valid.max())]
    if noise:
        batch = batch + noise * torch.randn(batch.shape, generator=generator)
    outputs: Tensor = module(batch) if valid is None else module(batch, valid)
    return outputs


def tensors(targets: Targets) -> Targets:
    """Targets as torch tensors, for `Loss.train`."""
    return Targets(torch.from_numpy(targets.y), torch.from_numpy(targets.lengths),
                   {name: torch.from_numpy(values) for name, values in targets.extras.items()})


def _lengths(data: Data) -> Tensor | None:
    full = bool((data.lengths == data.x.shape[1]).all())
    return None if full else torch.from_numpy(data.lengths)


def _check(module: nn.Module, metric: Metric, data: Data, name: str) -> None:
    """One item through the network: data of another shape than the task's fail here, with a sentence."""
    try:
        with torch.no_grad():
            outputs = _call(module, torch.from_numpy(data.x), _lengths(data), slice(0, 1))
    except RuntimeError as error:
        raise DataError(f"the network of '{name}' cannot read items of shape {data.x.shape[1:]}: "
                        f"{str(error).splitlines()[0]}") from None
    try:
        metric.check(data.targets, outputs.shape[-1], outputs.ndim == 3)
    except DataError as error:
        raise DataError(f"'{name}': {error}") from None


def _restore(module: nn.Module, file: Path, key: str) -> float | None:
    """Load cached weights into the module; the seconds training took, or None where there is nothing to load."""
    if not file.exists():
        return None
    try:
        about, weights = load_tensors(file, KIND, FORMAT)
        if about.get("key") != key:
            raise FileError(f"{file} holds the weights of other data or another recipe")
        module.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()})
        return float(about["seconds"])
    except (FileError, KeyError, TypeError, ValueError, RuntimeError) as error:
        log.warning("cached weights not used, training again: %s", str(error).splitlines()[0])
        return None


@contextmanager
def _threads() -> Iterator[None]:
    """THREADS for torch and for the linear algebra of numpy, which in a neighbour's way is several times slower."""
    before = torch.get_num_threads()
    torch.set_num_threads(min(THREADS, before))
    try:
        with algebra_threads(THREADS):
            yield
    finally:
        torch.set_num_threads(before)
