"""The headline: how small a network may become that is no worse than homogeneous 8 bit, with retraining.

    python benchmarks/headline.py --data DIR              # writes results/headline.csv, an hour and a half on 2 cores
    python benchmarks/headline.py --tasks digits --seeds 0 --generations 6 --epochs 2   # a look, a few minutes

One row per task and seed. Each has two searches of equal settings, one post-training, one with beacons and a polish;
and homogeneous 8 bit retrained by the same recipe, so that the comparison is fair. Test errors are measured once, when
a search has ended; nothing is chosen by them. `final` is the run's pick `retrained` (no worse than homogeneous 8 bit in
validation error and loss), or `careful` where no retrained solution is. Rows that are in the file already are not
computed again, and an interrupted row goes on where it stopped. `jobs` rows are computed side by side, each on a core
of its own; results do not depend on that.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from statistics import mean
from typing import Any

from command import SIZE, arguments, as_command, read_rows, write_rows

import bittailor as bt
from bittailor.cli.actions import train_task
from bittailor.cli.show import smaller
from bittailor.common.processors import processors
from bittailor.runs import Run, Solution, retrain_picks
from bittailor.runs.retraining import run_evaluators

HIDDEN = {"mnist": 64}
TASKS = ("mnist", "spoken-digits", "vowels", "mnist1d")
SHARES = (0.15, 0.2, 0.25, 0.3, 0.4)
"""Of the size of homogeneous 8 bit: where the two fronts are compared."""
WIDTHS = tuple(range(1, 9))


def searched(prepared: Any, out: Path, options: Mapping[str, Any], beacons: bt.BeaconSettings) -> Run:
    """A search of one row, begun or gone on with."""
    settings = bt.SearchSettings(population=options["population"], generations=options["generations"],
                                 seed=prepared.task.seed)
    run = bt.run_search(prepared.network, prepared.data, out,
                        bt.SearchSpec(metric=prepared.metric, task=prepared.task, search=settings, beacons=beacons,
                                      space=bt.per_operator(prepared.network.graph, WIDTHS), workers=1,
                                      objectives=SIZE),
                        resume=(out / "run.json").exists(), origin=prepared.origin)
    if run.result["interrupted"]:
        raise KeyboardInterrupt
    return run


def described(name: str, solution: Solution | None, base: Solution, flash: float | None) -> dict[str, Any]:
    """The columns of one solution."""
    columns: dict[str, Any] = dict.fromkeys(
        [f"{name}_{c}" for c in ("size_bits", "smaller_percent", "flash_bytes", "valid", "loss", "test")])
    if solution is not None:
        v = solution.values
        columns |= {f"{name}_size_bits": int(v["size"]), f"{name}_smaller_percent": smaller(solution, base),
                    f"{name}_flash_bytes": int(flash or 0), f"{name}_valid": v["error"], f"{name}_loss": v["loss"],
                    f"{name}_test": solution.test}
    return columns


def smallest_error(front: Sequence[Solution], size: float) -> Solution | None:
    """The solution with the lowest validation error up to a size."""
    return min((s for s in front if s.values["size"] <= size), default=None,
               key=lambda s: (s.values["error"], s.values["size"]))


def within(run: Run, share: float) -> Solution | None:
    """Of the retrained solutions of at most this share of the 8-bit size that are as good as homogeneous 8 bit in
    validation error and loss, the one with the lowest loss: what one would take under a flash budget."""
    base = run.baseline(8).values
    good = [s for s in run.retrained.values()
            if s.values["size"] <= share * base["size"] and run.metric.stands(s.values, base)]
    return min(good, default=None, key=lambda s: (s.values["loss"], s.values["size"], s.key))


def gains(plain: Run, lit: Run) -> dict[str, Any]:
    """Error of the post-training front minus error of the front with beacons, at equal size, on both data."""
    base = plain.baseline(8).values["size"]
    found: dict[str, Any] = {}
    valid, test = [], []
    for share in SHARES:
        a, b = (smallest_error(run.front, share * base) for run in (plain, lit))
        gain = None if a is None or b is None else a.values["error"] - b.values["error"]
        found[f"gain_at_{100 * share:.0f}_percent"] = gain
        if a and b and gain is not None and a.test is not None and b.test is not None:
            valid.append(gain)
            test.append(a.test - b.test)
    return found | {"gain_valid": mean(valid) if valid else None, "gain_test": mean(test) if test else None}


def row(task: str, seed: int, options: Mapping[str, Any]) -> dict[str, Any]:
    """All of one task and seed."""
    prepared = train_task(bt.TaskSettings(task, hidden=HIDDEN.get(task, 32), seed=seed, data=options["data"]),
                          cache=options["cache"])
    recipe = bt.Retraining(epochs=options["epochs"])
    folder = options["out"] / f"{task}-{seed}"
    plain = searched(prepared, folder / "post-training", options, bt.BeaconSettings())
    lit = searched(prepared, folder / "beacons", options,
                   bt.BeaconSettings(budget=options["beacons"], polish=options["polish"], recipe=recipe))
    (again,) = retrain_picks(lit, prepared.data, ["8bit"], recipe=recipe, seed=seed, workers=1)
    base, about = lit.baseline(8), lit.result["beacons"]
    final = lit.picks.get("retrained") or lit.picks.get("careful")
    chosen = {"int8": base, "int8_retrained": again.after, "ptq_smallest": plain.picks.get("smallest"),
              "ptq_careful": plain.picks.get("careful"), "beacons_careful": lit.picks.get("careful"),
              "retrained": lit.picks.get("retrained"), "final": final, "at_30": within(lit, 0.3)}
    counted = run_evaluators(lit, prepared.data.valid[:1])
    flash: dict[str, float] = {}
    for name, solution in chosen.items():
        if solution is not None:
            evaluator = counted.of(solution.beacon)
            plan, program = evaluator.program(dict(solution.widths))
            flash[name] = evaluator.candidate(plan, program, evaluator.outputs([program])[0]).costs.image.flash
    columns: dict[str, Any] = {
        "task": task, "hidden": HIDDEN.get(task, 32), "seed": seed, "metric": prepared.metric.name,
        "evaluations": lit.result["evaluations"], "float_valid": lit.result["float"]["select"],
        "float_test": lit.result["float"]["test"],
    }
    for name, solution in chosen.items():
        columns |= described(name, solution, base, flash.get(name))
    columns["final_is"] = None if final is None else "retrained" if "retrained" in lit.picks else "careful"
    return columns | gains(plain, lit) | {
        "beacons": len(about["search"]), "polished": len(about["polish"]), "failed": about["failed"],
        "training_seconds": about["seconds"], "hypervolume_post_training": plain.result["hypervolume"]["front"],
        "hypervolume_beacons": lit.result["hypervolume"]["front"],
    }


def alone(cores: Any) -> None:
    """Keep a worker process on a core of its own."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {cores.get()})


def main() -> int:
    """Compute what is missing, then print the means."""
    parser = arguments(__doc__, data=True)
    parser.add_argument("--tasks", nargs="+", default=list(TASKS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=Path("runs/headline"), help="folder for the runs")
    parser.add_argument("--csv", type=Path, default=Path("results/headline.csv"))
    parser.add_argument("--population", type=int, default=50)
    parser.add_argument("--generations", type=int, default=50)
    parser.add_argument("--beacons", type=int, default=3)
    parser.add_argument("--polish", type=int, default=4)
    parser.add_argument("--epochs", type=int, default=0, help="of retraining; its default if not given")
    parser.add_argument("--jobs", type=int, default=min(2, processors()))
    options = vars(parser.parse_args())
    rows = read_rows(options["csv"])
    done = {(r["task"], int(r["seed"])) for r in rows}
    order = {(task, seed): i for i, (task, seed) in enumerate((t, s) for t in TASKS for s in range(100))}
    # the longest first, so that no core waits for it at the end
    missing = [(t, s) for t in options["tasks"] for s in options["seeds"] if (t, s) not in done]
    context = get_context("spawn")
    cores = context.Queue()
    available = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(processors()))
    for i in range(options["jobs"]):
        cores.put(available[i % len(available)])
    if missing:
        with ProcessPoolExecutor(options["jobs"], context, alone, (cores,)) as pool:
            waiting = {pool.submit(row, task, seed, options): (task, seed) for task, seed in missing}
            try:
                for future in as_completed(waiting):
                    rows.append(future.result())
                    rows.sort(key=lambda r: order.get((r["task"], int(r["seed"])), len(order)))
                    write_rows(options["csv"], rows)
                    print(f"{waiting[future]}: done", flush=True)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    for task in dict.fromkeys(r["task"] for r in rows):
        here = [r for r in rows if r["task"] == task]

        def average(name: str, here: list[dict[str, Any]] = here) -> str:
            values = [float(r[name]) for r in here if r[name] not in (None, "")]
            return f"{mean(values):.2f}" if values else "–"

        print(f"{task} ({len(here)} seeds): final {average('final_smaller_percent')} % smaller; validation "
              f"{average('final_valid')} against {average('int8_valid')}, test {average('final_test')} against "
              f"{average('int8_test')}; beacons take {average('gain_valid')} points off (test {average('gain_test')})")
    print(f"written: {options['csv']}")
    return 0


if __name__ == "__main__":
    as_command(main)
