"""Speech enhancement: how small the network of the task `enhance` may become, in dB.

    python benchmarks/enhance.py                # writes results/enhance.csv, about an hour on 2 cores
    python benchmarks/enhance.py --minutes 9    # in pieces: stops after so long; again until it is done
    python benchmarks/enhance.py --so-far       # rows of searches that are not finished: no retraining, no careful pick
    python benchmarks/enhance.py --seeds 0 --generations 4 --epochs 2 --csv look.csv --runs runs/look   # a look

One row per seed and solution: `float`; `int8`, homogeneous 8 bit; `post-training`, the pick that is recommended
without retraining (`certified`, else `careful`); `retrained`, the smallest retrained network that is as good as int8
on the items that select (the pick of that name); and `smallest`, the smallest found without retraining. Test data are
used once, at the end: `diff_test` is by how many dB a solution is better than int8 (negative: worse), with a paired 95
% interval by bootstrap over voices. `pesq` and `stoi` are means over the test items, where the extra `enhance` is
installed. `seconds` are those of all evaluations and trainings of the search, summed. A seed decides the division of
voices, the float network and the search. Rows that are there are not computed again, and an interrupted search goes
on.

Retraining is short and gentle (batches as small as in float training, a quarter of its rate): a training step takes
all 125 frames of an item through the integer network, and an epoch a quarter of a minute.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from command import SIZE, arguments, as_command, read_rows, stop_after, write_rows

import bittailor as bt
from bittailor.cli.actions import train_task
from bittailor.cli.show import smaller
from bittailor.evaluate.certify import differences, item_costs
from bittailor.evaluate.family import CandidateEvaluation, OneNetwork
from bittailor.evaluate.masks import RATE as RATE_OF
from bittailor.evaluate.speech_quality import EXTRA, MEASURES, installed, speech_quality
from bittailor.runs import Run, Solution
from bittailor.runs.choice import SolutionEvaluators
from bittailor.runs.retraining import as_trained

TASK = "enhance"
CORE = "m4"
RATE = 2e-3
"""The highest learning rate of retraining."""


def searched(prepared: Any, out: Path, options: Mapping[str, Any]) -> Run:
    """The search of one seed, begun or gone on with."""
    if (out / "result.json").exists():
        run = Run.open(out)
        if not run.result["interrupted"]:
            return run
    settings = bt.SearchSettings(population=options["population"], generations=options["generations"],
                                 seed=prepared.task.seed)
    recipe = bt.Retraining(epochs=options["epochs"], batch=16, rate=RATE)
    beacons = bt.BeaconSettings(polish=options["polish"], recipe=recipe)
    run = bt.run_search(prepared.network, prepared.data, out,
                        bt.SearchSpec(metric=prepared.metric, task=prepared.task, search=settings, beacons=beacons,
                                      objectives=SIZE),
                        resume=(out / "run.json").exists(), origin=prepared.origin)
    if run.result["interrupted"]:
        raise KeyboardInterrupt
    return run


def chosen(run: Run) -> dict[str, Solution | None]:
    """The solutions of the table, by name; None for the float network."""
    picks = run.picks
    found: dict[str, Solution | None] = {"float": None, "int8": run.baseline(8)}
    for name, options in (("post-training", ("certified", "careful")), ("retrained", ("retrained",)),
                          ("smallest", ("smallest",))):
        solution = next((picks[option] for option in options if option in picks), None)
        if solution is not None:
            found[name] = solution
    return found


def chosen_so_far(run: Run, data: bt.Splits) -> dict[str, Solution | None]:
    """What a search that is not finished has: homogeneous 8 bit, the smallest evaluated that is no worse, and the
    smallest retrained one of which the same holds."""
    on_select = evaluators(run, run.spec.divide(data).select, ("loss", "size"))
    widths = bt.homogeneous_widths(run.network.graph, 8)
    (values,) = on_select.of(None).evaluate([widths])
    base = Solution("homogeneous 8", widths, values, None)
    with run.store() as store:
        rows = [(known["size"], row.key, row) for row in store.rows() for known in [row.outcome.known]
                if known is not None and run.metric.cost(known["error"]) <= run.metric.cost(values["error"])]
    found: dict[str, Solution | None] = {"float": None, "int8": base}
    if rows:
        _, key, row = min(rows, key=lambda one: one[:2])
        found["smallest"] = Solution(key, run.space.widths(row.genome), dict(row.outcome.known or {}), None)
    trained = [as_trained(beacon) for beacon in run.beacons.values() if beacon.failed is None]
    for solution in trained:
        (known,) = on_select.of(solution.beacon).evaluate([dict(solution.widths)])
        smallest = found.get("retrained")
        if run.metric.stands(known, values) and (smallest is None or known["size"] < smallest.values["size"]):
            found["retrained"] = replace(solution, values=known)
    return found


def evaluators(run: Run, part: bt.Data, names: tuple[str, ...] = ()) -> SolutionEvaluators:
    """Evaluators of solutions on a part of the data."""
    return SolutionEvaluators(lambda beacon: CandidateEvaluation(
        run.space, OneNetwork(run.calibration if beacon is None else run.beacons[beacon].calibration), part, run.metric,
        "native", names).evaluator())


def seconds_of(run: Run) -> float:
    """What the evaluations and trainings of a run took, over all interruptions."""
    with run.store() as store:
        trained = sum(float(beacon.about["seconds"]) for beacon in run.beacons.values())
        return sum(row.outcome.seconds for row in store.rows()) + trained


def rows_of(seed: int, options: Mapping[str, Any]) -> list[dict[str, Any]]:
    """All rows of one seed."""
    prepared = train_task(bt.TaskSettings(TASK, seed=seed), cache=options["cache"])
    folder = options["runs"] / str(seed)
    if options["so_far"]:
        run = Run.open(folder)
        picked = chosen_so_far(run, prepared.data)
    else:
        run = searched(prepared, folder, options)
        picked = chosen(run)
    base = picked["int8"]
    assert base is not None
    return judged(seed, prepared, run, picked, base)


def judged(seed: int, prepared: Any, run: Run, picked: Mapping[str, Solution | None], base: Solution
           ) -> list[dict[str, Any]]:
    """Solutions on test data, as rows."""
    metric, test = run.metric, prepared.data.test
    on_test = evaluators(run, test)
    costs: dict[str, Any] = {}
    quality: dict[str, dict[str, Any]] = {}
    firmware: dict[str, dict[str, Any]] = {}

    def judge(name: str, outputs: np.ndarray[Any, Any]) -> None:
        costs[name] = item_costs(metric, outputs, test.targets)
        clean, heard = metric.references(test.targets)["clean"], metric.heard(outputs, test.targets)
        found = speech_quality(clean, heard, test.extras[RATE_OF]) if installed() else {}
        quality[name] = {measure.lower(): found.get(measure) for measure in MEASURES}

    for name, solution in picked.items():
        if solution is None:
            judge(name, prepared.network(test.x, test.lengths))
            continue
        evaluator = on_test.of(solution.beacon)
        plan, program = evaluator.program(dict(solution.widths))
        (outputs,) = evaluator.outputs([program])
        judge(name, outputs)
        objectives = run.objectives
        candidate = evaluator.candidate(plan, program, outputs)
        firmware[name] = {"flash_bytes": int(objectives["flash"].of(candidate)),
                          "instructions_per_frame": round(objectives[f"instructions.{CORE}"].of(candidate))}
    select = run.spec.divide(prepared.data).select
    real = metric.value(prepared.network(select.x, select.lengths), select.targets)
    made = []
    for name, solution in picked.items():
        found = differences(metric, costs[name], costs["int8"], test)
        low, high = found.interval()
        made.append({
            "seed": seed, "solution": name,
            "si_sdr_valid": real if solution is None else solution.values["error"],
            "si_sdr_test": -float(np.mean(costs[name])),
            "diff_test": -found.mean, "diff_low": -high, "diff_high": -low,
            "smaller_percent": None if solution is None else smaller(solution, base),
            **quality[name], "flash_bytes": None, "instructions_per_frame": None, **firmware.get(name, {}),
            "seconds": round(seconds_of(run)),
        })
    return made


def main() -> int:
    """Compute what is missing."""
    parser = arguments(__doc__, data=True)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--runs", type=Path, default=Path("runs/enhance"))
    parser.add_argument("--csv", type=Path, default=Path("results/enhance.csv"))
    parser.add_argument("--population", type=int, default=32)
    parser.add_argument("--generations", type=int, default=25)
    parser.add_argument("--polish", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=10, help="of each retraining")
    parser.add_argument("--minutes", type=float, help="stop after so long, as Ctrl-C does; the same command goes on")
    parser.add_argument("--so-far", action="store_true", help="rows of searches that are not finished")
    options = vars(parser.parse_args())
    if options["minutes"]:
        stop_after(60 * options["minutes"])
    if not installed():
        print(EXTRA)
    rows = read_rows(options["csv"])
    for seed in options["seeds"]:
        if any(int(row["seed"]) == seed and row["solution"] == "post-training" for row in rows):
            continue
        made = rows_of(seed, options)
        others = [row for row in read_rows(options["csv"]) if int(row["seed"]) != seed]  # those so far give way
        rows = sorted([*others, *made], key=lambda row: int(row["seed"]))
        write_rows(options["csv"], rows)
        for row in made:
            print("  ".join(f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
                            for name, value in row.items()), flush=True)
    print(f"written: {options['csv']}")
    return 0


if __name__ == "__main__":
    as_command(main)
