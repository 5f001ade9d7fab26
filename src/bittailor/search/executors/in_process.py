"""Evaluation in this process, by one thread or by those of an engine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bittailor.search.executors.base import Batches, Executor, WorkerState, guarded
from bittailor.search.space import Genome
from bittailor.search.store import Outcome


class InProcess(Executor):
    """One batch after the other.

    threads  how many the worker uses by itself; each gets a few genomes of a batch at least
    """

    def __init__(self, threads: int = 1) -> None:
        self._least = 4 * threads

    def run(self, state: WorkerState, genomes: Sequence[Genome]) -> Iterator[Outcome]:
        batches = Batches(genomes, self._least, alone=state.alone)
        for batch in batches:
            outcomes = []
            for outcome in guarded(lambda: state.worker, batch):
                outcomes.append(outcome)
                yield outcome
            batches.took(outcomes)
