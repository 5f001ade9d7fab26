"""What a cluster costs: overhead per evaluation and efficiency, with workers that wait instead of computing.

    python benchmarks/cluster.py waiting [--milliseconds 2,20,200] [--workers 1,2,4,8,16,32]   results/cluster.csv
    python benchmarks/cluster.py real        the real thing with 2 processes, against the same in this process
    python benchmarks/cluster.py real --task phones --metric per_beam --threads 2    the same where a metric is long
    python benchmarks/cluster.py simulate    results/cluster_simulated.csv: what a thousand machines would need

Waiting: an evaluation sleeps, so that a few cores can carry many workers: threads of two Dask processes, since to
Dask's scheduler and to this process a thread is a worker. Scheduler, this process and the store share the machine. Each
row is a whole search by NSGA-II with its selection and its store in a file. Efficiency is what the sleeping alone
takes, divided among the workers, over what the search took. The front is compared with that of a search without a
cluster before anything is written. `load` is the machine's load before the row was measured: other work costs
efficiency. `cpu` is what this process, which holds Dask's scheduler here, computed for an evaluation; it depends little
on other work.
"""

from __future__ import annotations

import argparse
import csv
import heapq
import logging
import os
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import bittailor as bt
from bittailor.search import Genome, Outcome, SearchSettings, Space, Store, WidthGene, search
from bittailor.search.executors import Executor
from bittailor.search.executors.base import Batches
from bittailor.search.executors.cluster import CUT, SHORTEST_S
from bittailor.search.executors.connecting import ClusterSettings

RESULTS = Path(__file__).resolve().parent.parent / "results"
TABLE, SIMULATED = RESULTS / "cluster.csv", RESULTS / "cluster_simulated.csv"
HEADER = ["evaluation_ms", "workers", "population", "evaluations", "seconds", "ideal_seconds", "efficiency_percent",
          "overhead_ms_per_evaluation", "cpu_ms_per_evaluation", "load"]
GENES = 40
SPACE = Space("waiting", tuple(WidthGene(f"g{i}", (f"s{i}",), tuple(range(1, 9))) for i in range(GENES)), {})
OBJECTIVES = ("error", "size")


def values(genome: Genome) -> dict[str, float]:
    """Error falls and size grows with every width."""
    return {"error": sum((1 + i % 5) * 2.0 ** -index for i, index in enumerate(genome)),
            "size": float(sum((1 + i % 3) * (index + 1) for i, index in enumerate(genome)))}


def make_waiting(seconds: float) -> Callable[[Sequence[Genome]], Iterator[Outcome]]:
    """A worker whose evaluation waits."""
    def run(genomes: Sequence[Genome]) -> Iterator[Outcome]:
        for genome in genomes:
            time.sleep(seconds)
            yield Outcome(values(genome), None, seconds)

    return run


def waiting(milliseconds: list[int], workers: list[int], target_s: float) -> None:
    """A row for each duration and number of workers that the table lacks."""
    known = {(row["evaluation_ms"], row["workers"]) for row in read(TABLE)}
    for n in workers:
        left = [ms for ms in milliseconds if (str(ms), str(n)) not in known]
        if not left:
            continue
        with cluster_of(n) as cluster:
            for ms in left:
                row = measured(cluster, ms / 1000, n, target_s)
                add(TABLE, HEADER, row)
                print(dict(zip(HEADER, row, strict=True)), flush=True)


@contextmanager
def cluster_of(workers: int) -> Iterator[Executor]:
    """So many workers, as threads of one or two processes."""
    from distributed import Client, LocalCluster

    from bittailor.search.executors.cluster import Cluster

    processes = min(2, workers)
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    with (LocalCluster(n_workers=processes, threads_per_worker=workers // processes, dashboard_address=None,
                       silence_logs=logging.CRITICAL) as local,
          Client(local, set_as_default=False) as client, Cluster(client) as cluster):
        yield cluster


def measured(cluster: Executor, seconds: float, workers: int, target_s: float) -> list[Any]:
    """One search of about so long: generations of 40 evaluations a worker, from 40 to 800 in all."""
    population = min(800, max(40, 40 * workers))
    generations = max(3, round(target_s * workers / seconds / population))
    settings = SearchSettings(population=population, generations=generations)
    evaluate = cluster.evaluation(partial(make_waiting, seconds))
    list(evaluate(SPACE.random(np.random.default_rng(1), 4 * workers)))  # every worker has the state, and is awake
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder, Store(Path(folder) / "s.sqlite", {"task": "waiting"}) as store:
        start, cpu = time.perf_counter(), time.process_time()
        found = search(SPACE, OBJECTIVES, evaluate, settings, store)
        took, cpu = time.perf_counter() - start, time.process_time() - cpu
    expected = search(SPACE, OBJECTIVES, lambda genomes: iter([Outcome(values(g)) for g in genomes]), settings)
    assert found.front.to_dict() == expected.front.to_dict(), "the cluster's front is another"
    ideal = found.evaluations * seconds / workers
    overhead = 1000 * (took - ideal) * workers / found.evaluations
    return [round(1000 * seconds), workers, population, found.evaluations, round(took, 2), round(ideal, 2),
            round(100 * ideal / took, 1), round(overhead, 2),
            round(1000 * cpu / found.evaluations, 3), round(load, 1)]


def real(task: str, metric: str, population: int, generations: int, workers: int) -> None:
    """A search on processes, against the same by threads of this process: equal, and how long each took."""
    from bittailor.cli.actions import train_task

    prepared = train_task(task, metric=metric)
    spec = bt.SearchSpec(task=prepared.task, metric=prepared.metric, workers=workers,
                         search=bt.SearchSettings(population=population, generations=generations))
    took: dict[str, float] = {}
    runs: dict[str, bt.Run] = {}
    for name, place in {"this process": "", "local:1": "local:1", "local:2": "local:2"}.items():
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            run = bt.run_search(prepared.network, prepared.data, Path(folder) / "run",
                                bt.SearchSpec(**{**vars_of(spec), "cluster": ClusterSettings(place)}))
            took[name] = time.perf_counter() - start
            runs[name] = run
            assert run.front == runs["this process"].front, name
            print(f"{name}: {took[name]:.1f} s for {run.result['evaluations']} evaluations, start and end included; "
                  f"load {os.getloadavg()[0]:.1f}", flush=True)


def vars_of(spec: bt.SearchSpec) -> dict[str, Any]:
    """The fields of a spec."""
    return {name: getattr(spec, name) for name in spec.__dataclass_fields__}


# --- a thousand machines, on paper -------------------------------------------------------------------------------

SCHEDULER_S = 0.0003
"""What a task costs the scheduler, coming and going each."""
COORDINATOR_S = 0.0008
"""What a batch costs the coordinator, coming and going each."""
ROW_S = 0.0001
"""What a row costs the store."""
SELECT_S = 2e-8
"""What a generation costs the optimiser, times parents and children squared: non-dominated sorting."""
SPREAD = 0.3
"""Standard deviation of an evaluation's duration, as a share of its mean."""
Action = Callable[[float], None]


def simulate() -> None:
    """Generations on many workers: batches as `Batches` cuts them, one scheduler, one coordinator, a barrier."""
    SIMULATED.unlink(missing_ok=True)
    header = ["evaluation_ms", "workers", "population", "islands", "efficiency_percent", "tasks_a_second",
              "scheduler_busy_percent", "coordinator_busy_percent", "rows_a_second"]
    for ms in (20, 200, 2000):
        for workers in (16, 100, 1000):
            for population, islands in ((200, 1), (1000, 1), (5000, 1), (1000, 10)):
                row = Simulation(ms / 1000, workers, population, islands).go()
                add(SIMULATED, header, [ms, workers, population, islands, *row])
                print(dict(zip(header, [ms, workers, population, islands, *row], strict=True)), flush=True)


class Server:
    """Does one thing after the other."""

    def __init__(self) -> None:
        self.free = self.busy = 0.0

    def serve(self, now: float, seconds: float) -> float:
        """When something that comes now is done."""
        self.free, self.busy = max(now, self.free) + seconds, self.busy + seconds
        return self.free


class Simulation:
    """Events in the order of time: a generation begins, a task arrives at the workers, a task is done."""

    def __init__(self, seconds: float, workers: int, population: int, islands: int, generations: int = 4) -> None:
        self.seconds, self.workers, self.population = seconds, workers, population
        self.islands, self.generations = islands, generations
        self.rng = np.random.default_rng(0)
        self.coordinator, self.scheduler = Server(), Server()
        self.idle, self.queue = workers, deque[tuple[int, int]]()
        self.open, self.over = [0] * islands, [0] * islands
        self.events: list[tuple[float, int, Action]] = []
        self.tasks = self.made = 0

    def go(self) -> list[float]:
        """Efficiency, tasks a second, how busy scheduler and coordinator are, rows a second."""
        now = 0.0
        for island in range(self.islands):
            self.at(0.0, lambda t, island=island: self.begin(t, island))  # type: ignore[misc]
        while self.events:
            now, _, action = heapq.heappop(self.events)
            action(now)
        evaluations = self.generations * self.population * self.islands
        return [round(float(x), 1) for x in (
            100 * evaluations * self.seconds / self.workers / now, self.tasks / now, 100 * self.scheduler.busy / now,
            100 * self.coordinator.busy / now, evaluations / now)]

    def at(self, time_s: float, action: Action) -> None:
        """Do something then."""
        self.made += 1
        heapq.heappush(self.events, (time_s, self.made, action))

    def begin(self, now: float, island: int) -> None:
        """Send a generation."""
        least = max(1, round(SHORTEST_S / self.seconds))
        sizes = [len(b) for b in Batches([(0,)] * self.population, least, CUT * self.workers, self.seconds)]
        self.open[island] = len(sizes)
        for size in sizes:
            there = self.scheduler.serve(self.coordinator.serve(now, COORDINATOR_S), SCHEDULER_S)
            self.at(there, lambda t, size=size: self.arrive(t, island, size))  # type: ignore[misc]

    def arrive(self, now: float, island: int, size: int) -> None:
        """A task for whoever is idle."""
        self.tasks += 1
        self.queue.append((island, size))
        self.start(now)

    def start(self, now: float) -> None:
        while self.idle and self.queue:
            island, size = self.queue.popleft()
            self.idle -= 1
            takes = np.maximum(0.1 * self.seconds, self.rng.normal(self.seconds, SPREAD * self.seconds, size)).sum()
            self.at(now + takes, lambda t, i=island, n=size: self.end(t, i, n))  # type: ignore[misc]

    def end(self, now: float, island: int, size: int) -> None:
        """A task is done; the last of a generation lets the next begin."""
        self.idle += 1
        self.start(now)
        back = self.coordinator.serve(self.scheduler.serve(now, SCHEDULER_S), COORDINATOR_S + ROW_S * size)
        self.open[island] -= 1
        if not self.open[island]:
            self.over[island] += 1
            back = self.coordinator.serve(back, SELECT_S * (2 * self.population) ** 2)
            again = self.begin if self.over[island] < self.generations else (lambda _t, _island: None)
            self.at(back, lambda t: again(t, island))


def read(path: Path) -> list[dict[str, str]]:
    """Rows of a table, none where it is not there."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def add(path: Path, header: list[str], row: Sequence[Any]) -> None:
    """A row more, under the header where it is the first."""
    new = not path.exists()
    with path.open("a", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        if new:
            table.writerow(header)
        table.writerow(row)


def numbers(text: str) -> list[int]:
    """"1,2" as numbers."""
    return [int(part) for part in text.split(",")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("waiting", "real", "simulate"))
    parser.add_argument("--milliseconds", type=numbers, default=[2, 20, 200])
    parser.add_argument("--workers", type=numbers, default=[1, 2, 4, 8, 16, 32])
    parser.add_argument("--seconds", type=float, default=6.0, help="that a row should take, about")
    parser.add_argument("--task", default="digits", help="of `real`")
    parser.add_argument("--metric", default="", help="of `real`; the task's own if not given")
    parser.add_argument("--population", type=int, default=40)
    parser.add_argument("--generations", type=int, default=25)
    parser.add_argument("--threads", type=int, default=1, help="of this process, in `real`")
    asked = parser.parse_args()
    if asked.what == "waiting":
        waiting(asked.milliseconds, asked.workers, asked.seconds)
    elif asked.what == "real":
        real(asked.task, asked.metric, asked.population, asked.generations, asked.threads)
    else:
        simulate()


if __name__ == "__main__":
    main()
