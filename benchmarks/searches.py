"""The searches that the tables of picks, of the ladder and of the headline are made from: each is made once.

RUNS/TASK-SEED/METHOD is one search; a benchmark that needs it takes it from there, begins it or goes on with it. What
they are compared in is the size of weights and biases, as in the papers; only `flash` is a search of flash.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from command import SIZE, arguments

import bittailor as bt
from bittailor.cli.actions import train_task
from bittailor.cli.own import Prepared
from bittailor.engines import best_engine
from bittailor.evaluate.certify import Comparison, differences
from bittailor.evaluate.evaluator import Evaluator
from bittailor.runs import Run, Solution
from bittailor.runs.retraining import run_evaluators
from bittailor.search.loop import MakeOptimiser

HIDDEN = {"mnist": 64, "phones": 64}
SEEDS: dict[str, Sequence[int]] = {"vowels": range(5, 10), "pendigits": range(5, 10), "spoken-digits": range(5, 10),
                                  "mnist1d": range(3, 8), "phones": (0, 3, 4)}
"""Seeds by which no rule was chosen; tasks that are not here have `OTHER_SEEDS`. Rules and recipes were chosen on
lower ones (docs/search.md), none on phones."""
OTHER_SEEDS = range(3, 6)
HEADLINE_SEEDS = {"mnist": range(8, 16), "spoken-digits": range(10, 13), "vowels": range(10, 15),
                  "mnist1d": range(10, 15)}
"""Run after the rule of a pick within a budget had been chosen with figures of `SEEDS` in view (docs/results.md)."""
WIDTHS = tuple(range(1, 9))
SHARES = (0.15, 0.2, 0.25, 0.3, 0.4)
"""Of the size of homogeneous 8 bit: where fronts are compared."""
USUAL = bt.BeaconSettings.usual()
RUNGS, LONG = USUAL.ladder, USUAL.polish
BUDGET = round(RUNGS * USUAL.rung + LONG)
"""Retrainings of the whole recipe that a method may spend, as the usual retraining does."""


def methods(recipe: bt.Retraining) -> dict[str, bt.BeaconSettings]:
    """How each method retrains; those that do take as many training steps."""
    return {
        "post-training": bt.BeaconSettings(),
        "flash": bt.BeaconSettings(),
        "beacons": bt.BeaconSettings(budget=BUDGET - 4, polish=4, recipe=recipe),
        "ladder": bt.BeaconSettings(ladder=RUNGS, rung=BUDGET / RUNGS, recipe=recipe),
        "ladder-long": bt.BeaconSettings.usual(recipe),
    }


def search_arguments(about: str | None) -> argparse.ArgumentParser:
    """The arguments of a benchmark that makes such searches."""
    parser = arguments(about, data=True)
    parser.add_argument("--runs", type=Path, default=Path("runs/benchmarks"), help="folder for the runs")
    parser.add_argument("--population", type=int, default=50)
    parser.add_argument("--generations", type=int, default=50)
    parser.add_argument("--epochs", type=int, default=0, help="of retraining; its default if not given")
    parser.add_argument("--workers", type=int, default=0, help="of a search; as many as there are cores if not given")
    return parser


def task_of(task: str, seed: int, options: Mapping[str, Any]) -> Prepared:
    """A task with its trained float network."""
    settings = bt.TaskSettings(task, hidden=HIDDEN.get(task, 32), seed=seed, data=options["data"])
    return train_task(settings, cache=options["cache"])


def recipe_of(options: Mapping[str, Any]) -> bt.Retraining:
    """How a benchmark retrains."""
    return bt.Retraining(epochs=options["epochs"])


def folder_of(prepared: Prepared, method: str, options: Mapping[str, Any]) -> Path:
    """Where the search of one method lies."""
    runs: Path = options["runs"]
    return runs / f"{prepared.task.name}-{prepared.task.seed}" / method


def searched(
    prepared: Prepared, method: str, options: Mapping[str, Any], beacons: bt.BeaconSettings | None = None,
    optimiser: MakeOptimiser | None = None,
) -> Run:
    """The search of one method: read, gone on with or made. As of the command line, its seed is that of everything.

    beacons    how it retrains, where it is none of `methods`
    optimiser  another one than the default
    """
    seed = prepared.task.seed
    folder = folder_of(prepared, method, options)
    if (folder / "result.json").exists() and not (run := Run.open(folder)).result["interrupted"]:
        return run
    spec = bt.SearchSpec(
        metric=prepared.metric, task=prepared.task, workers=options["workers"],
        objectives=("error", "flash") if method == "flash" else SIZE,
        space=bt.per_operator(prepared.network.graph, WIDTHS), beacons=beacons or methods(recipe_of(options))[method],
        search=bt.SearchSettings(population=options["population"], generations=options["generations"], seed=seed),
        roles=bt.RoleSettings(seed=seed))
    run = bt.run_search(prepared.network, prepared.data, folder, spec, resume=(folder / "run.json").exists(),
                        origin=prepared.origin, optimiser=optimiser)
    if run.result["interrupted"]:
        raise KeyboardInterrupt
    return run


def smallest_error(front: Sequence[Solution], size: float) -> Solution | None:
    """The solution with the lowest validation error up to a size."""
    return min((s for s in front if s.values["size"] <= size), default=None,
               key=lambda s: (s.values["error"], s.values["size"]))


def within(run: Run, prepared: Prepared, share: float) -> Solution:
    """What `--pick` takes within this share of the size of homogeneous 8 bit, with its error on test data."""
    found = run.pick(f"size<={int(share * run.baseline(8).values['size'])}bit")
    return run_evaluators(run, prepared.data.test, tested=True).tested([found])[0]


def retrained_8bit(run: Run, prepared: Prepared, options: Mapping[str, Any]) -> Solution | None:
    """Homogeneous 8 bit retrained by the same recipe: what a retrained solution is fairly compared with."""
    (made,) = bt.retrain_picks(run, prepared.data, ["8bit"], recipe=recipe_of(options), seed=prepared.task.seed,
                               workers=1)
    return made.after


def paired(prepared: Prepared, a: tuple[Run, Solution | None], b: tuple[Run, Solution | None]) -> Comparison | None:
    """By how much one solution of a run is worse than one of another run on the test items, item by item."""
    test = prepared.data.test
    costs = []
    for run, solution in (a, b):
        if solution is None:
            return None
        ((_, found),) = run_evaluators(run, test, tested=True).measured([solution])
        if found is None:
            return None
        costs.append(found)
    return Comparison.of("test", b[1].key if b[1] else "", differences(a[0].metric, costs[0], costs[1], test))


def flash_of(run: Run, prepared: Prepared, solution: Solution) -> int:
    """Bytes of constants of the firmware of a solution."""
    evaluator = Evaluator(run.calibration_of(solution), prepared.data.valid[:1], run.metric, best_engine(), ("flash",))
    return int(evaluator.evaluate([dict(solution.widths)])[0]["flash"])
