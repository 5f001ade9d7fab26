"""Evaluation in worker processes of this machine."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import shutil
import signal
import sys
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from tempfile import TemporaryDirectory

from bittailor.errors import BittailorError, FileError
from bittailor.search.executors.base import AHEAD, TRIES, Batches, Executor, WorkerState, bare, run_batch, said
from bittailor.search.space import Genome
from bittailor.search.store import Outcome


@dataclass
class _Slot:
    """A batch on its way through the pool."""

    genomes: list[Genome]
    future: Future[list[Outcome] | None] | None = None
    suspect: bool = False  # it was at work when a process died
    deaths: int = 0  # how often a process died with it alone

    def apart(self, suspect: bool) -> list[_Slot]:
        """Its genomes each alone, to be sent again."""
        if len(self.genomes) > 1:
            return [_Slot([genome], suspect=suspect) for genome in self.genomes]
        self.future, self.suspect = None, suspect
        return [self]


class Processes(Executor):
    """Evaluates in worker processes, which read a state from a file when they first need it.

    A process that dies costs a retry of the batches at work. Their genomes are then run one at a time, so that the one
    to blame is known if it happens again; a genome that kills its process three times alone is failed.
    """

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._pool: ProcessPoolExecutor | None = None
        self._folder: TemporaryDirectory[str] | None = None
        self._greeted = self._ever = False  # whether a process ever started, and ever finished an evaluation
        self._starts = 0  # how often processes died before one had started
        self._lost = 0  # genomes failed because their processes died
        self._closed = False

    def run(self, state: WorkerState, genomes: Sequence[Genome]) -> Iterator[Outcome]:
        batches = Batches(genomes, ahead=AHEAD * self._workers, alone=state.alone)
        slots: deque[_Slot] = deque()
        try:
            while not self._closed and self._fill(state, slots, batches):
                head = slots[0]
                # a suspect runs alone, so that a death is its own
                outcomes = self._result(head, alone=any(slot.suspect for slot in slots))
                if outcomes is None:
                    self._start_over(slots)
                    continue
                slots.popleft()
                batches.took(outcomes)
                yield from outcomes
        finally:
            if slots:  # stopped early: what is still at work is not wanted
                self._end_pool()

    def close(self) -> None:
        self._closed = True
        self._end_pool()
        folder, self._folder = self._folder, None
        if folder is not None:
            folder.cleanup()

    def _fill(self, state: WorkerState, slots: deque[_Slot], batches: Batches) -> bool:
        """Send what may be at work now; False where nothing is left."""
        suspects = any(slot.suspect for slot in slots)
        while not suspects and len(slots) < AHEAD * self._workers and (batch := next(batches, None)) is not None:
            slots.append(_Slot(batch))
        for slot in list(slots)[: 1 if suspects else None]:
            slot.future = slot.future or self._send(state, slot.genomes)
            if slot.future is None:
                break
        return bool(slots)

    def _end_pool(self) -> None:
        pool, self._pool = self._pool, None
        if pool is None:
            return
        # nothing still at work is wanted, and it may be long: end it rather than wait. No future is cancelled,
        # since a pool that finds its processes gone cannot cope with that (CPython 3.11)
        for process in _processes(pool):
            with contextlib.suppress(Exception):
                process.terminate()
        pool.shutdown(wait=True)

    def _result(self, slot: _Slot, alone: bool) -> list[Outcome] | None:
        """The outcomes of a batch, waited for; None where its genomes should be tried again."""
        try:
            outcomes = None if slot.future is None else slot.future.result()
        except BittailorError as error:
            raise bare(error) from None
        except BrokenExecutor:
            slot.deaths += alone
            if slot.deaths < TRIES:
                return None
            self._lost += 1
            if not self._ever and self._lost == TRIES:
                raise BittailorError(f"worker processes died on each of the first {TRIES} genomes, {TRIES} times "
                                     f"each; if memory is short, use fewer workers") from None
            self._end_pool()
            return [Outcome(None, f"its process died {TRIES} times while evaluating genome "
                                  f"{' '.join(map(str, slot.genomes[0]))} (out of memory?)")]
        except Exception as error:  # such as an outcome that cannot be pickled
            return None if len(slot.genomes) > 1 else [Outcome(None, said(error))]
        self._ever = self._ever or outcomes is not None
        return outcomes

    def _start_over(self, slots: deque[_Slot]) -> None:
        """Drop the broken pool and keep what it finished; what was at work in it is suspect."""
        self._end_pool()
        again = [slot.apart(True) if slot.future is not None and _failed(slot.future) else [slot] for slot in slots]
        slots.clear()
        slots.extend(slot for apart in again for slot in apart)

    def _source(self, state: WorkerState) -> Path:
        """The file of a state, written when it is first asked for."""
        try:
            if self._folder is None:
                self._folder = TemporaryDirectory(prefix="bittailor-", ignore_cleanup_errors=True)
            file = Path(self._folder.name) / state.fingerprint
            if not file.exists():
                file.write_bytes(state.blob)
        except OSError as error:
            raise FileError(f"cannot keep {len(state.blob):,} bytes for worker processes among temporary files: "
                            f"{error.strerror or error}; set TMPDIR to a folder with room, or use one worker") from None
        return file

    def _send(self, state: WorkerState, genomes: Sequence[Genome]) -> Future[list[Outcome] | None] | None:
        """Send a batch; None where the pool turns out to be broken."""
        source = self._source(state)
        if self._pool is None:
            # spawn: worker processes inherit neither threads nor locks of this one. Not under `_no_sigint`, since
            # the first pool starts multiprocessing's resource tracker, and that unblocks SIGINT
            spawn = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(self._workers, spawn, _start_process, (str(source.parent),))
        # processes start in submit; with SIGINT blocked they never see a Ctrl-C, not even while they start
        with _no_sigint():
            try:
                greeting = None if self._greeted else self._pool.submit(_hello)
                future = self._pool.submit(run_batch, state.fingerprint, source, genomes)
            except BrokenExecutor:
                return None
            except OSError as error:
                if error.errno is not None:
                    raise
                return None  # its pipes were closed meanwhile, as it was found to be broken (CPython)
        if greeting is not None:
            try:
                self._greeted = greeting.result()
            except BrokenExecutor:
                self._not_started()
                return None
        return future

    def _not_started(self) -> None:
        """Processes died before one had started: killed, which may be chance a few times, or by what they ran into."""
        processes = [] if self._pool is None else _processes(self._pool)
        self._end_pool()
        if any((process.exitcode or 0) > 0 for process in processes):
            raise BittailorError("worker processes cannot start; if this is a script, put what it does under "
                                 "`if __name__ == \"__main__\":`, or use one worker")
        self._starts += 1
        if self._starts == TRIES:
            raise BittailorError(f"worker processes were killed while they started, {TRIES} times; if memory is short, "
                                 "use fewer workers, or one")


def _processes(pool: ProcessPoolExecutor) -> list[BaseProcess]:
    return list((getattr(pool, "_processes", None) or {}).values())


def _failed(future: Future[list[Outcome] | None]) -> bool:
    return future.cancelled() or future.exception() is not None


def _hello() -> bool:
    return True


def _start_process(folder: str) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        # a worker waits on a queue that it holds open itself, so it would outlive a parent that is killed
        threading.Thread(target=_end_with, args=(parent.sentinel, folder), daemon=True).start()


def _end_with(sentinel: int, folder: str) -> None:
    wait([sentinel])
    shutil.rmtree(folder, ignore_errors=True)  # a process that is killed cannot
    os._exit(1)


@contextlib.contextmanager
def _no_sigint() -> Iterator[None]:
    if sys.platform == "win32":
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
