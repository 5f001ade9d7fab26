"""A space and an evaluation of a few microseconds, for the tests of the search; also a script to disturb.

    python search_toy.py STORE WORKERS DELAY_S     searches and prints the result as one JSON line
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from bittailor.errors import DataError
from bittailor.search import (
    Executor,
    Genome,
    Outcome,
    Result,
    SearchSettings,
    Space,
    Store,
    WidthGene,
    make_executor,
    search,
)

GENES = 12
SPACE = Space("toy", tuple(WidthGene(f"g{i}", (f"s{i}", f"t{i}"), tuple(range(2, 9))) for i in range(GENES)), {"b": 16})
SEEDS = [(level,) * GENES for level in range(7)]
SETTINGS = SearchSettings(population=20, generations=20, seed=3)
OBJECTIVES = ("error", "size")


def values(genome: Genome) -> dict[str, float]:
    """Error falls and size grows with every width; genes weigh differently, so mixed widths win."""
    error = sum((1 + i % 5) * 2.0 ** -index for i, index in enumerate(genome))
    size = sum((1 + i % 3) * (index + 2) for i, index in enumerate(genome))
    return {"error": error, "size": float(size)}


def evaluate(genomes: Sequence[Genome]) -> Iterator[Outcome]:
    for genome in genomes:
        yield Outcome(values(genome))


def each(work: Callable[..., Outcome], *settings: Any) -> Callable[[Sequence[Genome]], Iterator[Outcome]]:
    """A worker from a function of one genome."""
    return lambda genomes: (work(*settings, genome) for genome in genomes)


@contextmanager
def evaluation(make: Callable[[], Any], workers: int = 1, executor: Executor | None = None
               ) -> Iterator[Callable[[Sequence[Genome]], Iterator[Outcome]]]:
    """An `evaluate` for a search."""
    with executor or make_executor(workers) as made:
        yield made.evaluation(make)


def _work(delay_s: float, genome: Genome) -> Outcome:
    if delay_s:
        time.sleep(delay_s)
    return Outcome(values(genome), None, delay_s)


def make_toy(delay_s: float = 0.0) -> Any:
    return each(_work, delay_s)


def _fragile(folder: str, once: Sequence[Genome], always: Sequence[Genome], genome: Genome) -> Outcome:
    mark = Path(folder) / " ".join(map(str, genome))
    with mark.open("a") as tries:
        tries.write("x")
    if genome in always or (genome in once and mark.stat().st_size == 1):
        os.kill(os.getpid(), signal.SIGKILL)
    return Outcome(values(genome))


def make_fragile(folder: str, once: Sequence[Genome] = (), always: Sequence[Genome] = ()) -> Any:
    """Workers whose process is killed at some genomes, the first time or every time."""
    return each(_fragile, folder, once, always)


def _raising(user: bool, genome: Genome) -> Outcome:
    if genome[0] == 0:
        raise DataError("the data is empty") if user else ValueError("gene 0 is\n0")
    return Outcome(values(genome))


def make_raising(user: bool) -> Any:
    """Workers that raise where gene 0 is 0: a BittailorError, or something unexpected."""
    return each(_raising, user)


def make_broken() -> Any:
    raise OSError("no such device")


def run(path: str | None, workers: int = 1, delay_s: float = 0.0, settings: SearchSettings = SETTINGS,
        **options: Any) -> Result:
    store = None if path is None else Store(path, {"task": "toy"})
    try:
        with evaluation(partial(make_toy, delay_s), workers) as worker:
            return search(SPACE, OBJECTIVES, worker, settings, store, seeds=SEEDS, **options)
    finally:
        if store is not None:
            store.close()


def summary(result: Result) -> dict[str, Any]:
    """All of a result that must not depend on when, where and after which disturbance it was computed."""
    history = [generation.to_dict() for generation in result.history]
    for generation in history:
        del generation["new"], generation["cached"]
    return {"front": result.front.to_dict(), "history": history, "evaluations": result.evaluations}


def main() -> None:
    path, workers, delay_s = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    result = run(path, workers, delay_s)
    print(json.dumps({"interrupted": result.interrupted, "new": result.new, **summary(result)}))


if __name__ == "__main__":
    main()
