"""Which operators and optimisers the search should have: at equal budgets, from the same first populations or others.

    python benchmarks/operators.py --data DIR          # writes results/operators.csv, a few minutes on 2 cores
    python benchmarks/operators.py --tasks digits --seeds 0           # a look, ten seconds
    python benchmarks/operators.py --optimisers --tasks digits mnist mnist1d --data DIR
    python benchmarks/operators.py --optimisers --tasks digits mnist mnist1d --data DIR --objectives size instructions

Every variant differs from the defaults in what its name says. A row is the hypervolume, after so many evaluations, of
the front of everything evaluated: of validation error and the other objectives (what a search returns), and of
validation loss and them (what guides it; smooth, so less a matter of luck). The evaluations that a first population
costs to make count.
Rows that are in the file already are not computed again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from command import arguments, as_command, read_rows, write_rows

import bittailor as bt
from bittailor.cli.actions import train_task
from bittailor.cli.own import Prepared
from bittailor.engines import best_engine
from bittailor.evaluate.evaluator import Evaluator
from bittailor.evaluate.family import CandidateEvaluation, OneNetwork
from bittailor.quantise.spaces import WIDTHS, homogeneous_widths
from bittailor.runs.seeding import SEEDINGS
from bittailor.search.executors import InProcess
from bittailor.search.front import ReferenceBox, nondominated
from bittailor.search.loop import search
from bittailor.search.optimisers import OPTIMISERS
from bittailor.search.optimisers.operators import CROSSOVERS, MUTATIONS
from bittailor.search.settings import SearchSettings
from bittailor.search.space import Genome
from bittailor.search.store import Outcome

HIDDEN = {"mnist": 64}
ITEMS = 500
"""Validation items at most."""
CHECKPOINTS = (150, 300, 600, 900, 1200)


@dataclass(frozen=True)
class Variant:
    """What differs from the defaults of `SearchSettings` and `run_search`."""

    name: str
    settings: Mapping[str, Any]
    seeding: str = "sensitivity"


def variants() -> list[Variant]:
    """Every crossover with every mutation; the other first populations; other rates."""
    found = [Variant(f"{c}, {m}", {"crossover": c, "mutation": m}) for c in CROSSOVERS for m in MUTATIONS]
    found += [Variant(f"seeding {s}", {}, s) for s in SEEDINGS if s != "sensitivity"]
    found += [Variant(f"{n:g} genes mutate", {"mutated_genes": n}) for n in (0.5, 2.0, 4.0)]
    found += [Variant(f"crossover probability {p:g}", {"crossover_probability": p}) for p in (0.5, 1.0)]
    return found


def optimisers() -> list[Variant]:
    """Every optimiser with the default operators."""
    return [Variant(optimiser.title, {"optimiser": name}) for name, optimiser in OPTIMISERS.items()]


class Counting:
    """An evaluator's values, noted in the order in which they were asked for."""

    def __init__(self, evaluator: Evaluator, objectives: Sequence[str]) -> None:
        self.evaluator = evaluator
        self.names = ("error", "loss", *objectives)
        self.points: list[list[float]] = []

    def note(self, outcome: Outcome) -> Outcome:
        """Keep error, loss and the other objectives."""
        self.points.append([outcome.values[name] if outcome.values else np.inf for name in self.names])
        return outcome

    def stream(self, evaluate: Callable[[Sequence[Genome]], Iterator[Outcome]]
               ) -> Callable[[Sequence[Genome]], Iterator[Outcome]]:
        """The same evaluation, noted."""
        return lambda genomes: (self.note(outcome) for outcome in evaluate(genomes))

    def attempt(self, widths: Sequence[dict[str, int]]) -> list[Any]:
        """As `Evaluator.attempt`: what making a first population evaluates is noted, too."""
        found = self.evaluator.attempt(widths)
        for values in found:
            self.note(Outcome(values if isinstance(values, dict) else None))
        return found

    def evaluate(self, widths: Sequence[dict[str, int]]) -> list[Any]:
        """As `Evaluator.evaluate`."""
        return self.attempt(widths)


def measure(prepared: Prepared, variant: Variant, seed: int, objectives: Sequence[str], evaluations: int,
            population: int, cache: dict[str, Any]) -> list[tuple[int, float, float]]:
    """(evaluations, hypervolume of error and the other objectives, of loss and them) at every checkpoint."""
    graph = prepared.network.graph
    if not cache:
        calibration = bt.calibrate(prepared.network, prepared.data.train.x, prepared.data.train.lengths)
        cache["candidates"] = CandidateEvaluation(
            bt.per_operator(graph), OneNetwork(calibration), prepared.data.valid[:ITEMS], prepared.metric,
            best_engine(), tuple(dict.fromkeys(("error", "loss", "size", *objectives))))
        cache["evaluator"] = cache["candidates"].evaluator()
        rows = cache["evaluator"].evaluate([homogeneous_widths(graph, bits) for bits in WIDTHS])
        cache["boxes"] = [ReferenceBox.around([[row[name], *(row[o] for o in objectives)] for row in rows])
                          for name in ("error", "loss")]
    evaluator: Evaluator = cache["evaluator"]
    counting = Counting(evaluator, objectives)
    space: bt.Space = cache["candidates"].space
    first = SEEDINGS[variant.seeding](space, graph, counting, lambda text: None)  # type: ignore[arg-type]
    spent = len(counting.points)
    settings = replace(SearchSettings(population=population, generations=1, seed=seed), **variant.settings)
    left = max(population, evaluations - spent)
    search(space, ("error", *objectives), counting.stream(InProcess(2).evaluation(cache["candidates"])),
           replace(settings, generations=-(-left // population)), None, (), first,
           box=cache["boxes"][0], guides={"error": "loss"})
    points = np.array(counting.points)
    found = []
    for at in [c for c in CHECKPOINTS if c <= evaluations] or [evaluations]:
        part = points[:at]
        part = part[np.isfinite(part).all(axis=1)]
        volumes = []
        for box, first_column in zip(cache["boxes"], (0, 1), strict=True):
            kept = part[:, [first_column, *range(2, part.shape[1])]]
            volumes.append(box.hypervolume(kept[nondominated(kept)]))
        found.append((at, *volumes))
    return found


def main() -> int:
    """Measure what is missing, then print the mean of every variant."""
    parser = arguments(__doc__, data=True)
    parser.add_argument("--tasks", nargs="+", default=["digits", "vowels", "mnist"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--evaluations", type=int, default=1200)
    parser.add_argument("--population", type=int, default=40)
    parser.add_argument("--optimisers", action="store_true", help="compare optimisers instead of operators")
    parser.add_argument("--objectives", nargs="+", default=["size"], help="beside the error; minimised")
    parser.add_argument("--csv", type=Path, default=Path("results/operators.csv"))
    options = parser.parse_args()
    rows = read_rows(options.csv)
    objectives = " ".join(("error", *options.objectives))
    for row in rows:
        row.setdefault("objectives", "error size")
    done = {(r["task"], int(r["seed"]), r["variant"], r["objectives"]) for r in rows}
    for task in options.tasks:
        # one float network per task; the seed is that of the search
        prepared = train_task(bt.TaskSettings(task, hidden=HIDDEN.get(task, 32), data=options.data),
                              cache=options.cache)
        cache: dict[str, Any] = {}
        for seed in options.seeds:
            for variant in optimisers() if options.optimisers else variants():
                if (task, seed, variant.name, objectives) in done:
                    continue
                began = time.perf_counter()
                found = measure(prepared, variant, seed, options.objectives, options.evaluations, options.population,
                                cache)
                rows += [{"task": task, "seed": seed, "variant": variant.name, "evaluations": at,
                          "hypervolume_error": error, "hypervolume_loss": loss, "objectives": objectives}
                         for at, error, loss in found]
                write_rows(options.csv, rows)
                print(f"{task} {seed} {variant.name}: {found[-1][1]:.4f} {found[-1][2]:.4f} "
                      f"({time.perf_counter() - began:.1f} s)", flush=True)
    print(f"written: {options.csv}")
    return 0


if __name__ == "__main__":
    as_command(main)
