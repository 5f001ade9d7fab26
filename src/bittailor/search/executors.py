"""Executors: evaluate genomes in this process, in worker processes, or on any `concurrent.futures.Executor`.

Everywhere the evaluation itself is a *worker*: a function genome → Outcome that holds what it needs (data, a
network). `make_worker` builds one and must be picklable: a function at the top of a module, or a
`functools.partial` of one with small arguments (a path rather than an array). Each process builds its worker
once, when it gets its first genome.

Outcomes come in the order of the genomes, so a search does not depend on the number of workers. What a worker
raises is kept apart: a BittailorError ends the search with its message; any other exception, and a genome that
kills its process again and again, is a failed Outcome with a reason.
"""

from __future__ import annotations

import contextlib
import hashlib
import multiprocessing
import os
import pickle
import signal
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future, ProcessPoolExecutor
from dataclasses import dataclass
from itertools import islice
from multiprocessing.connection import wait
from time import perf_counter
from types import TracebackType
from typing import Protocol, TypeAlias

from bittailor.errors import BittailorError
from bittailor.search.space import Genome
from bittailor.search.store import Outcome

Worker: TypeAlias = Callable[[Genome], Outcome]
MakeWorker: TypeAlias = Callable[[], Worker]

_TRIES = 3  # how often a genome may kill its process, alone in it, before it counts as failed
_AHEAD = 4  # genomes sent ahead of the oldest unfinished one, per worker
_KEPT = 4  # workers that a thread keeps, for runs that share an executor


class Evaluator(Protocol):
    """What `make_evaluate` returns: callable as a search's `evaluate`, a context manager, closed at the end."""

    def __call__(self, genomes: Sequence[Genome]) -> Iterator[Outcome]: ...

    def close(self) -> None: ...

    def __enter__(self) -> Evaluator: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 traceback: TracebackType | None) -> None: ...


def make_evaluate(make_worker: MakeWorker, workers: int = 1, executor: Executor | None = None) -> Evaluator:
    """An `evaluate` for a search; use it as a context manager, or `close` it.

    workers   1 for this process, more for as many worker processes
    executor  runs the evaluations instead (a Dask cluster's `client.get_executor()`, …); it is not shut down
    Raises    BittailorError for fewer than 1 worker, TypeError where `make_worker` cannot be pickled.
    """
    if executor is not None:
        return Given(make_worker, executor)
    if isinstance(workers, bool) or not isinstance(workers, int) or workers < 1:
        raise BittailorError(f"workers is {workers!r}; expected a whole number, 1 or more")
    return InProcess(make_worker) if workers == 1 else Processes(make_worker, workers)


class _Closing:
    def close(self) -> None:
        """Stop whatever is still at work. A second time does nothing."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 traceback: TracebackType | None) -> None:
        self.close()


class InProcess(_Closing):
    """Evaluates here, one genome after the other."""

    def __init__(self, make_worker: MakeWorker) -> None:
        self._make = make_worker
        self._worker: Worker | None = None

    def __enter__(self) -> InProcess:
        return self

    def __call__(self, genomes: Sequence[Genome]) -> Iterator[Outcome]:
        for genome in genomes:
            yield _guarded(self._ready, genome)

    def _ready(self) -> Worker:
        if self._worker is None:
            self._worker = self._make()
        return self._worker


class Given(_Closing):
    """Evaluates on an executor that someone else owns. Every task is self-contained.

    ahead  how many genomes to send at most before the oldest is finished
    A task that the executor itself loses (a machine that went away) is sent again, a few times.
    """

    def __init__(self, make_worker: MakeWorker, executor: Executor, ahead: int = 256) -> None:
        self._recipe, self._executor, self._ahead = _Recipe(make_worker), executor, ahead

    def __enter__(self) -> Given:
        return self

    def __call__(self, genomes: Sequence[Genome]) -> Iterator[Outcome]:
        waiting: deque[tuple[Genome, Future[Outcome]]] = deque()
        todo = iter(genomes)
        try:
            while True:
                while len(waiting) < self._ahead and (genome := next(todo, None)) is not None:
                    waiting.append((genome, self._send(genome)))
                if not waiting:
                    return
                genome, future = waiting.popleft()
                yield self._result(genome, future)
        finally:
            for _, future in waiting:
                future.cancel()

    def _send(self, genome: Genome) -> Future[Outcome]:
        try:
            return self._executor.submit(_run, self._recipe.key, self._recipe.blob, genome)
        except RuntimeError as error:  # broken, or shut down
            raise BittailorError(f"the executor takes no work: {error}. What is finished is stored; "
                                 f"give a working one and resume") from None

    def _result(self, genome: Genome, future: Future[Outcome]) -> Outcome:
        start = perf_counter()
        for _ in range(_TRIES):
            try:
                return future.result()
            except BittailorError as error:
                raise _bare(error) from None
            except BrokenExecutor as error:
                raise BittailorError(f"the executor broke: {error}. What is finished is stored; "
                                     f"give a working one and resume") from None
            except (Exception, CancelledError) as error:
                reason = f"lost {_TRIES} times, the last because of {_said(error)}"
                future = self._send(genome)
        future.cancel()
        return Outcome(None, reason, perf_counter() - start)


@dataclass
class _Slot:
    """A genome on its way through the pool."""

    genome: Genome
    future: Future[Outcome] | None = None
    suspect: bool = False  # it was at work when a process died
    deaths: int = 0  # how often a process died with it alone


class Processes(_Closing):
    """Evaluates in worker processes of this machine.

    A process that dies costs a retry of the genomes at work. They are then run one at a time, so that the one to
    blame is known if it happens again; a genome that kills its process three times alone is failed.
    """

    def __init__(self, make_worker: MakeWorker, workers: int) -> None:
        self._recipe, self._workers = _Recipe(make_worker), workers
        self._pool: ProcessPoolExecutor | None = None
        self._greeted = self._ever = False  # whether a process ever started, and ever finished an evaluation
        self._lost = 0  # genomes failed because their processes died

    def __enter__(self) -> Processes:
        return self

    def __call__(self, genomes: Sequence[Genome]) -> Iterator[Outcome]:
        slots = deque(_Slot(genome) for genome in genomes)
        suspects = 0
        try:
            while slots:
                # a suspect runs alone, so that a death is its own
                for slot in islice(slots, 1 if suspects else _AHEAD * self._workers):
                    slot.future = slot.future or self._send(slot.genome)
                    if slot.future is None:
                        break
                head = slots[0]
                outcome = self._result(head, alone=suspects > 0)
                if outcome is None:
                    suspects = self._start_over(slots)
                    continue
                suspects -= head.suspect
                slots.popleft()
                yield outcome
        finally:
            if slots:  # stopped early: what is still at work is not wanted
                self.close()

    def close(self) -> None:
        pool, self._pool = self._pool, None
        if pool is None:
            return
        # nothing still at work is wanted, and it may be long: end it rather than wait. No future is cancelled,
        # since a pool that finds its processes gone cannot cope with that (CPython 3.11)
        for process in list((getattr(pool, "_processes", None) or {}).values()):
            with contextlib.suppress(Exception):
                process.terminate()
        pool.shutdown(wait=True)

    def _result(self, slot: _Slot, alone: bool) -> Outcome | None:
        """The outcome of a slot, waited for; None where its process died and it should be tried again."""
        try:
            if slot.future is None:  # the pool broke before it could be sent
                return None
            outcome = slot.future.result()
        except BittailorError as error:
            raise _bare(error) from None
        except BrokenExecutor:
            slot.deaths += alone
            if slot.deaths < _TRIES:
                return None
            self._lost += 1
            if not self._ever and self._lost == _TRIES:
                raise BittailorError(f"worker processes died on each of the first {_TRIES} genomes, {_TRIES} times "
                                     f"each; if memory is short, use fewer workers") from None
            self.close()
            return Outcome(None, f"its process died {_TRIES} times while evaluating genome "
                                 f"{' '.join(map(str, slot.genome))} (out of memory?)")
        except Exception as error:  # such as an outcome that cannot be pickled
            return Outcome(None, _said(error))
        self._ever = True
        return outcome

    def _start_over(self, slots: Iterable[_Slot]) -> int:
        """Drop the broken pool, keep what it finished; returns how many genomes were at work in it."""
        self.close()
        for slot in slots:
            if slot.future is not None and (slot.future.cancelled() or slot.future.exception() is not None):
                slot.future, slot.suspect = None, True
        return sum(slot.suspect for slot in slots)

    def _send(self, genome: Genome) -> Future[Outcome] | None:
        """Send a genome; None where the pool turns out to be broken."""
        if self._pool is None:
            # spawn: worker processes inherit neither threads nor locks of this one. Not under `_no_sigint`, since
            # the first pool starts multiprocessing's resource tracker, and that unblocks SIGINT
            spawn = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(self._workers, spawn, _start_process)
        # processes start in submit; with SIGINT blocked they never see a Ctrl-C, not even while they start
        with _no_sigint():
            try:
                greeting = None if self._greeted else self._pool.submit(_hello)
                future = self._pool.submit(_run, self._recipe.key, self._recipe.blob, genome)
            except BrokenExecutor:
                return None
        if greeting is not None:
            try:
                self._greeted = greeting.result()
            except BrokenExecutor:
                raise BittailorError("worker processes cannot start; if this is a script, put what it does under "
                                     "`if __name__ == \"__main__\":`, or use one worker") from None
        return future


class _Recipe:
    """`make_worker` as bytes, and a key by which processes know it again."""

    def __init__(self, make_worker: MakeWorker) -> None:
        try:
            self.blob = pickle.dumps(make_worker)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise TypeError(f"make_worker cannot be sent to another process ({error}); use a function at the top "
                            f"of a module, or a functools.partial of one") from None
        self.key = hashlib.sha256(self.blob).hexdigest()


_made = threading.local()  # per thread, because a worker need not be safe to share between threads


def _run(key: str, blob: bytes, genome: Genome) -> Outcome:
    """One evaluation, in a worker process; builds the worker at the first."""
    cache: OrderedDict[str, Worker] = _made.__dict__.setdefault("workers", OrderedDict())

    def ready() -> Worker:
        if key not in cache:
            cache[key] = pickle.loads(blob)()
            while len(cache) > _KEPT:
                cache.popitem(last=False)
        cache.move_to_end(key)
        return cache[key]

    return _guarded(ready, genome)


def _guarded(ready: Callable[[], Worker], genome: Genome) -> Outcome:
    """The worker's outcome; an exception that is not for the user becomes the reason of a failed one."""
    start = perf_counter()
    try:
        return ready()(genome)
    except BittailorError:
        raise
    except Exception as error:
        return Outcome(None, _said(error), perf_counter() - start)


def _hello() -> bool:
    return True


def _start_process() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        # a worker waits on a queue that it holds open itself, so it would outlive a parent that is killed
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)


@contextlib.contextmanager
def _no_sigint() -> Iterator[None]:
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _said(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _bare(error: BittailorError) -> BittailorError:
    error.__cause__ = None  # the other process's traceback, as text
    return error
