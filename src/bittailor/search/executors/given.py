"""Evaluation on any `concurrent.futures.Executor`: a pool of threads, a Dask cluster's `client.get_executor()`, …"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import BrokenExecutor, CancelledError, Future
from concurrent.futures import Executor as FuturesExecutor
from pathlib import Path
from time import perf_counter
from typing import TypeAlias

from bittailor.errors import BittailorError
from bittailor.search.executors.base import AHEAD, TRIES, Batches, Executor, WorkerState, bare, run_batch, said
from bittailor.search.space import Genome
from bittailor.search.store import Outcome

Found: TypeAlias = "Future[list[Outcome] | None]"


class Given(Executor):
    """Evaluates on an executor that someone else owns; it is not shut down.

    A state goes with the first batches, one for each worker. Later batches name it, and a worker that lacks it (it came
    late, or got none of the first) says so and is sent it, once. A batch that the executor itself loses (a machine that
    went away) is sent again, genome by genome, a few times.

    workers  how many it has, about
    ahead    how many batches to send at most before the oldest is finished
    """

    def __init__(self, executor: FuturesExecutor, workers: int = 16, ahead: int | None = None) -> None:
        self._executor, self._ahead = executor, ahead or AHEAD * workers
        self._first = min(workers, self._ahead)
        self._spread: set[str] = set()  # fingerprints of states that workers have

    def source(self, state: WorkerState) -> bytes | Path | None:
        """What goes with a batch: the state's blob, the file where workers find it, or nothing if they have it. A
        subclass may bring states to workers in another way."""
        return None if state.fingerprint in self._spread else state.blob

    def run(self, state: WorkerState, genomes: Sequence[Genome]) -> Iterator[Outcome]:
        waiting: deque[tuple[list[Genome], Found]] = deque()
        batches = Batches(genomes, ahead=self._ahead, alone=state.alone)
        try:
            while True:
                most = self._ahead if state.fingerprint in self._spread else self._first
                while len(waiting) < most and (batch := next(batches, None)) is not None:
                    waiting.append((batch, self._send(state, batch, self.source(state))))
                if not waiting:
                    return
                outcomes = self._result(state, *waiting.popleft())
                self._spread.add(state.fingerprint)
                batches.took(outcomes)
                yield from outcomes
        finally:
            for _, future in waiting:
                future.cancel()

    def _send(self, state: WorkerState, genomes: Sequence[Genome], source: bytes | Path | None) -> Found:
        try:
            return self._executor.submit(run_batch, state.fingerprint, source, genomes)
        except RuntimeError as error:  # broken, or shut down
            raise BittailorError(f"the executor takes no work: {error}. What is finished is stored; "
                                 f"give a working one and resume") from None

    def _result(self, state: WorkerState, genomes: Sequence[Genome], future: Found) -> list[Outcome]:
        start, lost, reason = perf_counter(), 0, ""
        while lost < TRIES:
            try:
                outcomes = future.result()
                if outcomes is not None:
                    return outcomes
                future = self._send(state, genomes, state.blob)
            except BittailorError as error:
                raise bare(error) from None
            except BrokenExecutor as error:
                raise BittailorError(f"the executor broke: {error}. What is finished is stored; "
                                     f"give a working one and resume") from None
            except (Exception, CancelledError) as error:
                if len(genomes) > 1:  # any of them may be to blame
                    alone = [([genome], self._send(state, [genome], self.source(state))) for genome in genomes]
                    return [outcome for batch, sent in alone for outcome in self._result(state, batch, sent)]
                lost, reason = lost + 1, said(error)
                future = self._send(state, genomes, self.source(state))
        future.cancel()
        return [Outcome(None, f"lost {TRIES} times, the last because of {reason}", perf_counter() - start)]
