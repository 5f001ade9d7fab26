"""What an executor is: it evaluates genomes with a state that each worker holds, in batches, and keeps their order."""

from __future__ import annotations

import hashlib
import pickle
import threading
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from math import ceil
from pathlib import Path
from time import perf_counter
from types import TracebackType
from typing import Any, Self, TypeAlias

from bittailor.errors import BittailorError
from bittailor.search.space import Genome
from bittailor.search.store import Outcome

# outcomes of genomes, in their order; each as soon as it is there, or all at once
Worker: TypeAlias = Callable[[Sequence[Genome]], Iterable[Outcome]]
MakeWorker: TypeAlias = Callable[[], Worker]

BATCH_SECONDS = 1.0
"""How long a batch may take, about: long beside what sending it costs, and what a killed process loses at most."""
TRIES = 3
"""How often a genome may be lost, alone, before it counts as failed."""
AHEAD = 4
"""Batches sent ahead of the oldest unfinished one, per worker."""
_KEPT = 4  # workers that a thread keeps: of the networks of a run, of runs that share an executor


@dataclass(frozen=True)
class Answer(Outcome):
    """What a task gave (`found`), or the reason why there is nothing (`reason`; `values` is None then)."""

    found: Any = None


class WorkerState:
    """What workers hold: `make` builds one. Where workers are other processes it must be picklable: a function at the
    top of a module, a `functools.partial` of one, an object with `__call__`. It goes to each process once.

    alone  every genome is long, and goes as a batch of its own
    """

    def __init__(self, make: MakeWorker, alone: bool = False) -> None:
        self.make, self.alone = make, alone

    @cached_property
    def worker(self) -> Worker:
        """The worker of this process."""
        return self.make()

    @cached_property
    def blob(self) -> bytes:
        """`make` as bytes; TypeError where it cannot be pickled."""
        try:
            return pickle.dumps(self.make, pickle.HIGHEST_PROTOCOL)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise TypeError(f"make_worker cannot be sent to another process ({error}); use a function at the top "
                            f"of a module, or a functools.partial of one") from None

    @cached_property
    def fingerprint(self) -> str:
        """A name by which processes know it again."""
        return hashlib.sha256(self.blob).hexdigest()


class Executor(ABC):
    """Evaluates genomes somewhere. A context manager; `close` it otherwise.

    Outcomes come in the order of the genomes and do not depend on the number of workers or the size of batches. What a
    worker raises is kept apart: a BittailorError ends the search with its message; any other exception, and a genome
    that kills its process again and again, is a failed Outcome with a reason.
    """

    remote: bool = False
    """Whether workers may lie on other machines. They then do whatever is long, not only evaluations, and return what
    they made: they see none of this machine's files."""

    @abstractmethod
    def run(self, state: WorkerState, genomes: Sequence[Genome]) -> Iterator[Outcome]:
        """The outcomes of genomes, in their order, each as soon as it and those before it are ready."""

    def evaluation(self, make: MakeWorker) -> Callable[[Sequence[Genome]], Iterator[Outcome]]:
        """`run` with a state of its own: the `evaluate` of a search."""
        return partial(self.run, WorkerState(make))

    def tasks(self, work: Callable[[Any], Any], items: Sequence[Any], memory: int = 0) -> Iterator[Answer]:
        """`work` of each item, in their order, each a task of its own: trainings, fits of weights.

        work    picklable, as the items and what it returns
        memory  bytes that one task takes, about; an executor of several machines sends it where there are so many
        """
        make = partial(_task_worker, work, tuple(items))
        for answer in self.run(WorkerState(make, alone=True), [(place,) for place in range(len(items))]):
            yield answer if isinstance(answer, Answer) else Answer(None, answer.reason, answer.seconds)

    def standing(self) -> str:
        """Who is at work, in a few words, for a display; empty where there is nothing to say."""
        return ""

    def close(self) -> None:  # noqa: B027 - not every executor has something to stop
        """Stop whatever is still at work, for good. A second time does nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 traceback: TracebackType | None) -> None:
        self.close()


class Batches:
    """Genomes cut into batches of about BATCH_SECONDS, smaller towards the end, so that workers finish together.

    least    genomes in a batch at least, and in those before the first outcome
    ahead    batches that are out at a time
    seconds  what an evaluation takes, where that is known
    alone    one genome in each
    """

    def __init__(self, genomes: Sequence[Genome], least: int = 1, ahead: int = 1, seconds: float | None = None,
                 alone: bool = False) -> None:
        self._left, self._least, self._ahead, self._alone = list(genomes), least, ahead, alone
        self._size = least if seconds is None else int(BATCH_SECONDS / max(seconds, 1e-6))

    def __iter__(self) -> Iterator[list[Genome]]:
        return self

    def __next__(self) -> list[Genome]:
        if not self._left:
            raise StopIteration
        size = 1 if self._alone else max(self._least, min(self._size, ceil(len(self._left) / self._ahead)))
        batch, self._left = self._left[:size], self._left[size:]
        return batch

    def took(self, outcomes: Sequence[Outcome]) -> None:
        """Learn from a batch how long the next may be."""
        seconds = sum(outcome.seconds for outcome in outcomes) / len(outcomes)
        self._size = int(BATCH_SECONDS / max(seconds, 1e-6))


def guarded(ready: Callable[[], Worker], genomes: Sequence[Genome]) -> Iterator[Outcome]:
    """A worker's outcomes; an exception that is not for the user becomes the reason of a failed one.

    Which of several genomes it was, and whether others suffer, shows when each is alone.
    """
    start, done = perf_counter(), 0
    try:
        for outcome in ready()(genomes):
            done += 1
            yield outcome
        if done != len(genomes):
            raise RuntimeError(f"a worker gave {done} outcomes for {len(genomes)} genomes")
    except BittailorError:
        raise
    except Exception as error:
        if len(genomes) == 1:
            yield Outcome(None, said(error), perf_counter() - start)
        else:
            for genome in genomes[done:]:
                yield from guarded(ready, [genome])


def _task_worker(work: Callable[[Any], Any], items: Sequence[Any]) -> Worker:
    """The worker of tasks: a "genome" is an item's place."""
    def run(places: Sequence[Genome]) -> Iterator[Outcome]:
        for (place,) in places:
            start = perf_counter()
            found = work(items[place])
            yield Answer({}, None, perf_counter() - start, found=found)

    return run


_made = threading.local()  # per thread, because a worker need not be safe to share between threads


def run_batch(fingerprint: str, source: bytes | Path | None, genomes: Sequence[Genome]) -> list[Outcome] | None:
    """A batch, in another process or thread; it builds the worker at the first.

    source   a state's blob, or the file where it lies
    Returns  None where there is no source and this thread has no such worker: send the blob.
    """
    cache: OrderedDict[str, Worker] = _made.__dict__.setdefault("workers", OrderedDict())
    if fingerprint not in cache and source is None:
        return None

    def ready() -> Worker:
        if fingerprint not in cache:
            blob = source.read_bytes() if isinstance(source, Path) else source
            cache[fingerprint] = pickle.loads(blob or b"")()
            while len(cache) > _KEPT:
                cache.popitem(last=False)
        cache.move_to_end(fingerprint)
        return cache[fingerprint]

    return list(guarded(ready, genomes))


def said(error: BaseException) -> str:
    """An exception in one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def bare(error: BittailorError) -> BittailorError:
    """The error without the other process's traceback, which is text."""
    error.__cause__ = None
    return error
