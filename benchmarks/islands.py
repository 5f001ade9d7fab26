"""Islands against one search of the same number of evaluations: hypervolume, five seeds a task.

    python benchmarks/islands.py [--tasks digits,vowels] [--data DIR] [--minutes 7]     # to results/islands.csv

Every search has 1,600 evaluations (what exceeds them is not looked at), the same first solutions (dealt out to the
islands) and the same network; seeds are those of the search. It stops after so many minutes and goes on where it was
when it is called again.
"""

from __future__ import annotations

import csv
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from command import SIZE, arguments

import bittailor as bt
from bittailor.cli.actions import train_task
from bittailor.runs.calibrating import Calibrated, calibrate_run
from bittailor.runs.problem import QUIET, Problem
from bittailor.runs.searching import seed
from bittailor.search import Genome, SearchSettings, Store, make_executor, search
from bittailor.search.executors.base import Executor
from bittailor.search.front import make_front
from bittailor.search.islands import InTurns, IslandSettings, Ring, run_islands
from bittailor.search.loop import Result

TABLE = Path(__file__).resolve().parent.parent / "results" / "islands.csv"
HEADER = ["task", "form", "seed", "evaluations", "hypervolume"]
BUDGET, SEEDS = 1600, 5


@dataclass(frozen=True)
class Form:
    """How the evaluations are spent."""

    population: int
    generations: int
    islands: IslandSettings


NEVER = 10**6
FORMS = {
    "one search, 40 x 40": Form(40, 40, IslandSettings()),
    "4 islands, 20 x 20, every 5": Form(20, 20, IslandSettings(4, 5)),
    "4 islands, 20 x 20, no migration": Form(20, 20, IslandSettings(4, NEVER)),
    "4 islands, 40 x 10, every 3": Form(40, 10, IslandSettings(4, 3)),
}


@dataclass(frozen=True, eq=False)
class Case:
    """A task, ready to be searched."""

    problem: Problem
    ready: Calibrated
    first: list[Genome]
    executor: Executor

    def hypervolume(self, form: Form, number: int) -> tuple[int, float]:
        """Evaluations and hypervolume of one search, or of islands together."""
        rows: dict[int, list[tuple[int, int, np.ndarray]]] = {}

        def one(island: int, ring: Ring) -> Result:
            settings = SearchSettings(form.population, 0, form.islands.seed(number, island),
                                      generations=form.generations)
            with Store(":memory:") as store:
                evaluate = self.executor.evaluation(self.ready.candidates)
                found = search(self.problem.space, self.names, evaluate, settings, store,
                               seeds=form.islands.share(self.first, island), box=self.ready.box,
                               guides=self.problem.guides,
                               exchange=lambda g, front: ring.exchange(island, g, front))
                rows[island] = [(row.generation, island, np.array([row.outcome.values[n] for n in self.names]))
                                for row in store.rows() if row.outcome.values is not None]
            return found

        run_islands(form.islands, one)
        every = sorted((row for found in rows.values() for row in found), key=lambda row: row[:2])[:BUDGET]
        points = np.array([point for _, _, point in every])
        front = make_front(self.names, [(i,) for i in range(len(points))], points, [{} for _ in points])
        return len(every), self.ready.box.hypervolume(front.points)

    @property
    def names(self) -> tuple[str, ...]:
        """The objectives."""
        return self.problem.spec.objectives


def case(task: str, data: str, folder: Path, executor: Executor) -> Case:
    """A task with its network trained and calibrated; `data` is the folder of data sets that are not fetched."""
    prepared = train_task(bt.TaskSettings(task, data=data))
    spec = bt.SearchSpec(task=prepared.task, metric=prepared.metric, racing=False, objectives=SIZE)
    problem = Problem(prepared.network, prepared.data, folder, spec, QUIET, None, None)
    ready = calibrate_run(problem)
    return Case(problem, ready, seed(problem, ready), executor)


def known() -> set[tuple[str, str, str]]:
    """Task, form and seed of every row that is there."""
    if not TABLE.exists():
        return set()
    with TABLE.open(newline="") as file:
        return {(row["task"], row["form"], row["seed"]) for row in csv.DictReader(file)}


def main() -> None:
    parser = arguments(__doc__, data=True)
    parser.add_argument("--tasks", default="digits,vowels")
    parser.add_argument("--minutes", type=float, default=7)
    asked = parser.parse_args()
    end = time.monotonic() + 60 * asked.minutes
    for task in asked.tasks.split(","):
        left = [(form, number) for number in range(SEEDS) for form in FORMS
                if (task, form, str(number)) not in known()]
        if not left:
            continue
        with tempfile.TemporaryDirectory() as folder, make_executor(2, threaded=True) as executor:
            ready = case(task, asked.data, Path(folder), InTurns(executor))
            for form, number in left:
                if time.monotonic() > end:
                    print("call again to go on")
                    return
                evaluations, volume = ready.hypervolume(FORMS[form], number)
                new = not TABLE.exists()
                with TABLE.open("a", newline="") as file:
                    table = csv.writer(file, lineterminator="\n")
                    table.writerows([HEADER] if new else [])
                    table.writerow([task, form, number, evaluations, round(volume, 6)])
                print(task, form, number, evaluations, round(volume, 4), flush=True)


if __name__ == "__main__":
    main()
