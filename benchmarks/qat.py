"""Retraining: how long a training step takes, and what retraining takes off the error.

    python benchmarks/qat.py                        # both parts; the second takes about a minute a row
    python benchmarks/qat.py --speed                # training steps only, two minutes
    python benchmarks/qat.py --tasks vowels --data DIR --seeds 0 1 2

Speed: one update of a retraining (binding, forward, backward, optimizer) against one of the float module with the same
head (torch.nn.GRU, bittailor.nn.SRU), interleaved, on one thread; as it is, and with the torch kernels that serve where
no compiler is. Ratios are of medians of processor time, which a busy machine hardly changes.
Errors: validation and test, homogeneous 8 bits, and weights of 2, 3 and 4 bits and a mixture (`mixed`) with 8-bit
activations and biases, post-training and retrained without and with the float network as a teacher. Sizes are weights
and biases times their widths against the homogeneous baseline's, whose biases have 16 bits. Rows that the JSON file
already holds are not made again.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from command import arguments, as_command

from bittailor.common.data import Data, Splits
from bittailor.common.files import write_whole
from bittailor.core.graph import Graph
from bittailor.cost import parameter_bits
from bittailor.engines import best_engine
from bittailor.evaluate.evaluator import Evaluator
from bittailor.quantise.calibration import Calibration, calibrate
from bittailor.quantise.spaces import homogeneous_widths
from bittailor.read import from_torch
from bittailor.tasks.network import LastStepNetwork
from bittailor.train.recipe import Retraining
from bittailor.train.retrain import _Retrainer, retrain

HIDDEN = {"mnist": 64}
SMALL = 32
ROUNDS, TOGETHER = 5, 8
"""Rounds of updates that are timed; updates in a round, as many as the teacher is asked about at a time."""
STYLES = ("8 bit", "mixed", "2 bit", "3 bit", "4 bit")
HOW: dict[str, dict[str, Any] | None] = {"post-training": None, "retrained": {"distil": 0.0}, "distilled": {}}
CASES = [("gru", 8, 64, 28, 28, 64), ("gru", 8, 128, 28, 28, 64), ("gru", 8, 256, 28, 28, 64),
         ("gru", 8, 64, 40, 1, 32), ("gru", 8, 64, 100, 40, 128),
         ("gru", 16, 64, 28, 28, 64), ("gru", 16, 64, 100, 40, 128),
         ("sru", 8, 64, 100, 40, 128), ("sru", 16, 64, 100, 40, 128)]
"""(cell, bits of activations, batch, steps, inputs, hidden) of the timed training steps."""


# --- speed ---------------------------------------------------------------------------------------------------------


def timed(functions: dict[str, Callable[[], object]], rounds: int = ROUNDS) -> dict[str, float]:
    """Median milliseconds of processor time of an update of each, interleaved, after a round to warm up."""
    seen: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(rounds + 1):
        for name, function in functions.items():
            begin = time.process_time()
            function()
            seen[name].append((time.process_time() - begin) * 1e3 / TOGETHER)
    return {name: statistics.median(values[1:]) for name, values in seen.items()}


def speed(cell: str, activations: int, batch: int, steps: int, inputs: int, hidden: int) -> dict[str, Any]:
    """One case: milliseconds per update and ratios to plain float training."""
    module = LastStepNetwork(inputs, hidden, 10, cell=cell)
    network = from_torch(module, inputs)
    rng = np.random.default_rng(0)
    several = TOGETHER * batch
    data = Data(rng.normal(size=(several, steps, inputs)).astype(np.float32), rng.integers(0, 10, several))
    calibration = calibrate(network, data.x)
    widths = {s.name: {"weight": 2, "bias": 8, "activation": activations}[s.kind] for s in network.graph.free}
    x, y = torch.from_numpy(data.x[:batch]), torch.from_numpy(data.y[:batch])
    optimizer = torch.optim.AdamW(module.parameters(), fused=True)

    def plain() -> None:
        loss = torch.nn.functional.cross_entropy(module(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    def plainly() -> None:
        for _ in range(TOGETHER):
            plain()

    def update(compiled: bool = True, **changes: Any) -> Callable[[], object]:
        settings = Retraining(batch=batch, **changes)
        made = _Retrainer(calibration, widths, data, "error", settings, 0, None, calibration, None, None)
        if not compiled:
            made.network.native = None

        def run() -> None:
            for i, met in enumerate(made._batches(torch.arange(several).split(batch))):
                made._update(met, i % settings.scale_every == 0)
        return run

    found = timed({"float": plainly, "frozen": update(ranges="frozen", distil=0.0, noise=0.0),
                   "learned": update(distil=0.0, noise=0.0), "default": update(), "torch": update(compiled=False)})
    row: dict[str, Any] = {"cell": cell, "activations": activations, "batch": batch, "steps": steps, "inputs": inputs,
                           "hidden": hidden}
    row |= {f"{name}_ms": round(value, 2) for name, value in found.items()}
    row |= {f"{name}_ratio": round(found[name] / found["float"], 2) for name in found if name != "float"}
    print(f"{cell} {activations} bit B={batch} T={steps} I={inputs} H={hidden}: float {found['float']:.1f} ms; "
          f"times as long: frozen {row['frozen_ratio']}, learned {row['learned_ratio']}, "
          f"all defaults {row['default_ratio']}, the same without compiled kernels {row['torch_ratio']}",
          flush=True)
    return row


# --- errors --------------------------------------------------------------------------------------------------------


def style_widths(graph: Graph, style: str) -> dict[str, int]:
    """Site -> bits. `mixed`: 2 bits, but 4 for the head, 6 for matrices of less than a twentieth of the weights."""
    if style == "8 bit":
        return homogeneous_widths(graph, 8)
    bits = 2 if style == "mixed" else int(style.split()[0])
    widths = {s.name: bits if s.kind == "weight" else 8 for s in graph.free}
    if style == "mixed":
        matrices = [s for s in graph.free if s.kind == "weight"]
        total = sum(s.count for s in matrices)
        widths |= {s.name: 4 if s.name == "head.W" else 6 if s.count < total / 20 else 2 for s in matrices}
    return widths


def errors(calibration: Calibration, widths: dict[str, int], data: Splits, metric: str) -> tuple[float, float]:
    """The metric on validation and test data."""
    engine = best_engine()
    found = [Evaluator(calibration, part, metric, engine, ()).evaluate([widths])[0]["error"]
             for part in (data.valid, data.test)]
    return found[0], found[1]


def recover(task_name: str, seed: int, options: argparse.Namespace, save: Callable[[dict[str, Any]], None],
            known: set[tuple[Any, ...]]) -> None:
    """All rows of one task and seed."""
    from bittailor.tasks import TASKS
    from bittailor.train.floats import train

    task = TASKS[task_name]
    splits = task.load(options.data, seed)
    trained = train(task, splits, HIDDEN.get(task_name, SMALL), seed, options.cache)
    network = from_torch(trained.module, task.inputs)
    calibration = calibrate(network, splits.train.x, splits.train.lengths)
    graph = network.graph
    baseline = parameter_bits(graph, calibration.plan(homogeneous_widths(graph, 8)))
    for style in options.styles:
        widths = style_widths(graph, style)
        size = parameter_bits(graph, calibration.plan(widths)) / baseline
        for how in options.how:
            key, changes = (task_name, seed, style, how), HOW[how]
            if key in known:
                continue
            settings = None if changes is None else Retraining(**{**options.settings, **changes})
            begin = time.process_time()
            made = calibration if settings is None else retrain(
                calibration, widths, splits.train, task.metric, settings, seed=seed).calibration
            seconds = time.process_time() - begin
            valid, test = errors(made, widths, splits, task.metric)
            save({"task": task_name, "seed": seed, "style": style, "how": how, "valid": valid, "test": test,
                  "smaller_percent": round(100 * (1 - size), 1), "seconds": round(seconds, 1)})
            print(f"{task_name} {seed} {style:6s} {how:14s} {100 * (1 - size):5.1f} % smaller: "
                  f"{valid:.2f} / {test:.2f}, {seconds:.0f} s", flush=True)


def main() -> int:
    """Time, retrain, write."""
    parser = arguments(__doc__, data=True)
    parser.add_argument("--speed", action="store_true", help="training steps only")
    parser.add_argument("--quick", action="store_true", help="time one case only")
    parser.add_argument("--tasks", nargs="+", default=["mnist", "spoken-digits", "vowels", "mnist1d"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--styles", nargs="+", default=list(STYLES), choices=STYLES)
    parser.add_argument("--how", nargs="+", default=list(HOW), choices=HOW)
    parser.add_argument("--set", nargs="+", default=[], metavar="NAME=VALUE", help="settings of the retraining")
    parser.add_argument("--json", type=Path, default=Path("results/qat.json"))
    options = parser.parse_args()
    options.settings = {name: json.loads(value) for name, value in (text.split("=", 1) for text in options.set)}
    torch.set_num_threads(1)
    result: dict[str, Any] = {"speed": [], "rows": []}
    if options.json.exists():
        result |= json.loads(options.json.read_text())
    settings = Retraining(**options.settings).identity()
    if result.get("settings") != settings:
        result["rows"] = []  # of another recipe
    result |= {"settings": settings, "torch": torch.__version__}

    def write() -> None:
        write_whole(options.json, (json.dumps(result, indent=1) + "\n").encode())

    def save(row: dict[str, Any]) -> None:
        result["rows"].append(row)
        write()

    if options.speed or not result["speed"]:
        result["speed"] = [speed(*case) for case in (CASES[3:4] if options.quick else CASES)]
        write()
    if not options.speed:
        known = {(r["task"], r["seed"], r["style"], r["how"]) for r in result["rows"]}
        for task in options.tasks:
            for seed in options.seeds:
                recover(task, seed, options, save, known)
    print(f"written: {options.json}")
    return 0


if __name__ == "__main__":
    as_command(main)
