"""Exported solutions on emulated microcontrollers: the engine's integers, the promised bytes, instructions, accuracy.

    python benchmarks/firmware.py --data DIR               # writes results/firmware.csv
    python benchmarks/firmware.py --tasks digits           # one task, a few minutes on 2 cores

Per task a search (kept in --runs and resumed) and four solutions: homogeneous 8 bits; the careful pick; homogeneous 8
bits with a 16-bit state; and with weights of 1 and 2 bits in the recurrent layer. Each is exported for every family of
cores and verified on its cores as `bittailor verify` does, with test items: the whole test set on one core (--full), a
part of it on the others. A row is written only if every integer and every byte is right; the error is that of the
integers that the core computed; `flash_any` is what the same solution takes with `--core any`; `selected` and `test`
are the errors that the search has of its solutions, where they were selected and on the whole test set. Rows of the
file for other tasks are kept.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from command import arguments, as_command, read_rows, write_rows

import bittailor as bt
from bittailor.cli.actions import search_spec
from bittailor.common.data import Data
from bittailor.compile.image import image_of
from bittailor.compile.layouts import ANY, CORES
from bittailor.core.graph import Graph, Recurrence
from bittailor.errors import BittailorError
from bittailor.evaluate.metrics import Metric
from bittailor.export import export_program
from bittailor.export.targets import TARGETS, Target
from bittailor.export.verify import Directory, examine, run_engine
from bittailor.quantise.spaces import homogeneous_widths
from bittailor.runs import Run
from bittailor.tasks import TASKS

HIDDEN = {"mnist": 64, "digits": 32}
TIMEOUT = 3600.0


def solutions(run: Run) -> dict[str, Mapping[str, int]]:
    """Name -> widths."""
    graph = run.network.graph
    eight = homogeneous_widths(graph, 8)
    layers = [step for step in graph.steps if isinstance(step, Recurrence)]
    states = {state.update for layer in layers for state in layer.states}
    found: dict[str, Mapping[str, int]] = {"homogeneous 8": eight}
    if "careful" in run.picks:
        found["careful"] = run.picks["careful"].widths
    found["16-bit state"] = eight | dict.fromkeys(states, 16)
    found["1- and 2-bit weights"] = eight | dict(_narrow(graph, layers))
    return found


def _narrow(graph: Graph, layers: list[Recurrence]) -> Iterator[tuple[str, int]]:
    """Matrices of the recurrent layers: 2 bits where they read the state, 1 bit where they read the input."""
    for layer in layers:
        previous = {state.previous for state in layer.states}
        for node in layer.nodes:
            if node.op == "linear":
                yield node.params[0], 2 if graph.root(node.inputs[0]).name in {
                    graph.root(name).name for name in previous} else 1


def errors(run: Run, name: str) -> dict[str, Any]:
    """The errors that a search has of one of its solutions; empty where it never saw it."""
    known = {solution.key: solution for solution in run.homogeneous} | dict(run.picks)
    found = known.get(name)
    return {"selected": "" if found is None else round(found.values["error"], 4),
            "test": "" if found is None or found.test is None else round(found.test, 4)}


def row(task: str, name: str, directory: Directory, target: Target, test: Data, metric: Metric) -> dict[str, Any]:
    """Verify a solution on one core. BittailorError with the first thing that is wrong."""
    program = directory.program
    q = program.quantise_input(test.x)
    began = time.perf_counter()
    verdict = examine(directory, target, q, test.lengths, run_engine(program, q, test.lengths), TIMEOUT)
    if verdict.problem:
        raise BittailorError(f"{task}, {name}, {target.title}: {verdict.problem}")
    assert verdict.sizes is not None
    assert verdict.outputs is not None
    error = metric.value(program.read_output(verdict.outputs), test.targets)
    print(f"{task}, {name}, {target.title}: {len(test)} items in {time.perf_counter() - began:.0f} s", flush=True)
    return {
        "task": task, "solution": name, "core": target.name, "title": target.title, "flash": verdict.sizes.flash,
        "flash_any": image_of(program, test.x.shape[1], ANY.name).flash,
        "ram": verdict.sizes.ram, "network_code": verdict.sizes.model, "runtime_code": verdict.sizes.runtime,
        "instructions_per_step": round(verdict.counts.per_step) if verdict.counts else "",
        "instructions_read_out": round(verdict.counts.read_out) if verdict.counts else "",
        "items": len(test), "error": round(error, 4),
    }


def table(options: argparse.Namespace, task: str) -> list[dict[str, Any]]:
    """All rows of a task."""
    out = options.runs / task
    spec = bt.SearchSpec(task=bt.TaskSettings(task, hidden=HIDDEN[task], data=options.data),
                         objectives=tuple(options.objectives),
                         search=bt.SearchSettings(population=options.population, generations=options.generations))
    run = search_spec(spec, out, cache=options.cache, resume=(out / "run.json").exists())
    if run.result["interrupted"]:
        raise KeyboardInterrupt
    test = TASKS[task].load(options.data or None, 0).test
    targets = [TARGETS[name] for name in options.cores or [t.name for t in TARGETS.values() if t.emulated]]
    for target in targets:
        target.command()
    jobs = []
    with tempfile.TemporaryDirectory(prefix="bittailor-") as folder, ThreadPoolExecutor(options.workers) as pool:
        for number, (name, widths) in enumerate(solutions(run).items()):
            for target in targets:
                place = Path(folder) / f"{number}-{CORES[target.name].name}"
                if not place.exists():
                    export_program(run.program(widths), place, prefix=task, steps=test.x.shape[1], core=target.name,
                                   x=test.x, lengths=test.lengths)
                part = test if target.name == options.full else test[: options.items]
                jobs.append((name, pool.submit(row, task, name, Directory.open(place), target, part, run.metric)))
        try:
            return [job.result() | errors(run, name) for name, job in jobs]
        except BaseException:
            for _, job in jobs:
                job.cancel()
            raise


def main() -> int:
    """Measure what was asked for, then write the table."""
    parser = arguments(__doc__, data=True)
    parser.add_argument("--tasks", nargs="+", default=list(HIDDEN), choices=list(HIDDEN))
    parser.add_argument("--runs", type=Path, default=Path("runs/firmware"))
    parser.add_argument("--csv", type=Path, default=Path("results/firmware.csv"))
    parser.add_argument("--cores", nargs="+", help="names; every emulated core if not given")
    parser.add_argument("--full", default="m4", help="the core that runs the whole test set")
    parser.add_argument("--items", type=int, default=200, help="test items on the others")
    parser.add_argument("--workers", type=int, default=2, help="compilers and emulators at once")
    parser.add_argument("--objectives", nargs="+", default=["error", "size"], help="of the search")
    parser.add_argument("--population", type=int, default=60)
    parser.add_argument("--generations", type=int, default=100)
    options = parser.parse_args()
    for task in options.tasks:
        began = time.perf_counter()
        rows = table(options, task)
        old = [dict.fromkeys(rows[0], "") | r for r in read_rows(options.csv) if r["task"] != task]
        rows = sorted([*old, *rows], key=lambda r: list(HIDDEN)[::-1].index(r["task"]))
        write_rows(options.csv, rows)
        print(f"{task}: {time.perf_counter() - began:.0f} s; written: {options.csv}", flush=True)
    return 0


if __name__ == "__main__":
    as_command(main)
