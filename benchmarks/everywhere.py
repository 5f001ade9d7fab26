"""Random programs through exported ONNX and through the torch module: how many integers are not the reference's.

    python benchmarks/everywhere.py equal --seeds 0:1000 --other /path/to/another/python   # adds to results/onnx.json
    python benchmarks/everywhere.py equal --seeds 0:20 --out /tmp/some.json                # a look
    python benchmarks/everywhere.py solutions runs/demo mnist --data DIR   # on whole test sets
    python benchmarks/everywhere.py times                                  # beside the native engine and torch's floats

Programs are those of `tests/networks.py`: any cells, operators, functions and widths, reversed layers, ragged lengths.
Every program is run whole (run.onnx) and, unless a layer runs backwards, frame by frame with its states (step.onnx), in
this Python's onnxruntime and in those of other Pythons (numpy and onnxruntime suffice); as a torch module eager,
compiled (`fullgraph`, AOT autograd; every 25th with inductor) and exported with dynamic items and steps. What
was compared is kept by blocks of seeds, so that it can be done in pieces.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

import bittailor as bt
from bittailor.compile.image import image_of
from bittailor.core.program import Program, bind
from bittailor.engines import ENGINES
from bittailor.engines.native import Native
from bittailor.engines.streaming import carried, reversed_layers, start, stream
from bittailor.export.onnx.files import run_model, step_model
from bittailor.export.onnx.running import Session, run, stepped
from bittailor.export.plain import carried_kind
from bittailor.export.torch import module
from networks import Case, gru_network, random_case, random_widths, uniform_plan

HERE = Path(__file__).resolve().parent
RESULTS = HERE.parent / "results" / "onnx.json"
BLOCK, INDUCTOR = 25, 25


def lengths_of(case: Case) -> np.ndarray:
    return np.full(len(case.q), case.q.shape[1]) if case.lengths is None else case.lengths


def write(case: Case, folder: Path, want: np.ndarray) -> None:
    """The files that `everywhere_other.py` reads."""
    program, name = case.program, f"{case.seed:06d}"
    data: dict[str, np.ndarray] = {"x": case.q.astype(np.int32), "lengths": lengths_of(case), "y": want}
    (folder / f"{name}.run.onnx").write_bytes(run_model(program, ""))
    if not reversed_layers(program.graph):
        (folder / f"{name}.step.onnx").write_bytes(step_model(program, ""))
        state = start(program, len(case.q))
        for i, (item, value) in enumerate(zip(carried(program), state, strict=True)):
            data[f"start{i}"] = value.astype(carried_kind(item))
        for t in range(case.q.shape[1]):
            y, state = stream(program, case.q[:, t : t + 1], state)
            data[f"out{t}"] = y.reshape(len(y), -1)
            data |= {f"state{t}.{i}": value for i, value in enumerate(state)}
    np.savez(folder / f"{name}.npz", allow_pickle=False, **data)


def through_torch(case: Case, want: np.ndarray, all_ways: bool) -> dict[str, int]:
    """How the module was run -> integers that differ."""
    found = module(case.program)
    q, lengths = torch.from_numpy(case.q), torch.from_numpy(lengths_of(case))
    if not all_ways:
        return {"eager": int((found(q, lengths).numpy() != want).sum())}
    backends = ["aot_eager"] + (["inductor"] if case.seed % INDUCTOR == 0 else [])
    ways: dict[str, Any] = {"eager": found}
    for backend in backends:
        ways[f"compiled, {backend}"] = torch.compile(found, fullgraph=True, backend=backend)
    items, steps = torch.export.Dim.AUTO, torch.export.Dim.AUTO
    shapes = {"x": {0: items, 1: steps}, "lengths": {0: items}}
    exported = torch.export.export(found, (q, lengths), dynamic_shapes=shapes)
    ways["exported"] = exported.module()
    wrong = {way: int((run(q, lengths).numpy() != want).sum()) for way, run in ways.items()}
    torch._dynamo.reset()
    return wrong


def block(seeds: range, others: list[str], all_ways: bool) -> dict[str, Any]:
    """What was compared for some seeds."""
    reference = ENGINES["reference"]
    found: dict[str, Any] = {"seeds": [seeds.start, seeds.stop], "programs": len(seeds), "integers": 0,
                             "with a step": 0, "ragged": 0, "runtimes": {}, "torch": {}}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for seed in seeds:
            case = random_case(seed)
            want = reference.run(case.program, case.q, case.lengths)
            write(case, folder, want)
            found["integers"] += want.size
            found["with a step"] += not reversed_layers(case.program.graph)
            found["ragged"] += case.lengths is not None
            for way, wrong in through_torch(case, want, all_ways).items():
                count, bad = found["torch"].get(way, (0, 0))
                found["torch"][way] = (count + 1, bad + (wrong > 0))
        for python in (sys.executable, *others):
            done = subprocess.run([python, str(HERE / "everywhere_other.py"), place], capture_output=True, text=True,
                                  check=True)
            answer = json.loads(done.stdout)
            found["runtimes"][answer["version"]] = {k: v for k, v in answer.items() if k != "version"}
    return found


def total(blocks: list[dict[str, Any]]) -> dict[str, Any]:
    """Sums over all blocks."""
    runtimes: dict[str, dict[str, int]] = {}
    ways: dict[str, dict[str, int]] = {}
    for one in blocks:
        for version, answer in one["runtimes"].items():
            row = runtimes.setdefault(version, {"programs": 0, "compared": 0, "different": 0})
            row["programs"] += one["programs"]
            row["compared"] += answer["compared"]
            row["different"] += answer["different"]
        for way, (count, bad) in one["torch"].items():
            row = ways.setdefault(way, {"programs": 0, "different": 0})
            row["programs"] += count
            row["different"] += bad
    names = ("programs", "integers", "with a step", "ragged")
    return {**{name: sum(one[name] for one in blocks) for name in names}, "runtimes": runtimes, "torch": ways}


def equal(arguments: argparse.Namespace) -> None:
    """Compare, block by block."""
    path = Path(arguments.out)
    kept = json.loads(path.read_text()) if path.is_file() else {"equal": {"blocks": []}}
    first, last = map(int, arguments.seeds.split(":"))
    for at in range(first, last, BLOCK):
        seeds = range(at, min(at + BLOCK, last))
        blocks = kept["equal"]["blocks"]
        if any(one["seeds"] == [seeds.start, seeds.stop] for one in blocks):
            continue
        blocks.append(block(seeds, arguments.other, not arguments.eager))
        kept["equal"] = {"blocks": blocks, "total": total(blocks)}
        path.write_text(json.dumps(kept, indent=1) + "\n")
        print(f"{seeds.stop - first} programs: {json.dumps(kept['equal']['total'])}", flush=True)
    wrong = [row for part in ("runtimes", "torch") for row in kept["equal"]["total"][part].values() if row["different"]]
    sys.exit(bool(wrong))


TIMED = {"512 sequences": (512, 28), "1 sequence": (1, 28), "1 step": (1, 1)}


def seconds(run: Any, most: float = 5.0) -> float:
    """The fastest run of five seconds' worth, at least three: on a busy machine one of them is not interrupted."""
    times: list[float] = []
    while len(times) < 3 or sum(times) < most:
        begun = time.perf_counter()
        run()
        times.append(time.perf_counter() - begun)
    return min(times)


def timed_program(bits: int) -> tuple[Any, torch.nn.GRU, torch.nn.Linear]:
    """A GRU 28 -> 64 with a head of 10 at a width, and torch's own of that size."""
    network = gru_network(28, 64, 10)
    program = bind(network, uniform_plan(network, np.random.default_rng(0).normal(size=(8, 28, 28)), bits))
    return program, torch.nn.GRU(28, 64, batch_first=True), torch.nn.Linear(64, 10)


def _floats(gru: torch.nn.GRU, head: torch.nn.Linear, x: torch.Tensor) -> torch.Tensor:
    y: torch.Tensor = head(gru(x)[0][:, -1])
    return y


def _first_step(step: Session, program: Program, q: np.ndarray) -> np.ndarray:
    y: np.ndarray = next(stepped(step, program, q))[0]
    return y


def times(arguments: argparse.Namespace) -> None:
    """Time one thread of each; the answers are compared first. And what the files weigh."""
    torch.set_num_threads(1)
    program, gru, head = timed_program(8)
    native, found = Native(threads=1), module(program)
    model = Session(run_model(program, ""), threads=1)
    step = Session(step_model(program, ""), threads=1)
    rows = {}
    for name, (items, steps) in TIMED.items():
        x = np.random.default_rng(1).normal(size=(items, steps, 28)).astype(np.float32)
        q, lengths, real = program.quantise_input(x), np.full(items, steps), torch.from_numpy(x)
        narrow, want = q.astype(np.int8), native.run(program, q)
        assert np.array_equal(run(model, program, q, lengths), want)
        assert np.array_equal(found(torch.from_numpy(q)).numpy(), want)
        ways = {"native": partial(native.run, program, narrow), "torch float": partial(_floats, gru, head, real),
                "torch module": partial(found, real), "run.onnx": partial(run, model, program, q, lengths)}
        if steps == 1:
            assert np.array_equal(next(stepped(step, program, q))[0], want)
            ways["step.onnx"] = partial(_first_step, step, program, q)
        with torch.no_grad():
            rows[name] = {way: seconds(go) for way, go in ways.items()}
        print(name, {way: f"{1e3 * value:.3g} ms" for way, value in rows[name].items()}, flush=True)
    kept = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    kept["times"] = rows
    kept["sizes"] = {str(bits): sizes(timed_program(bits)[0]) for bits in (2, 4, 8)}
    RESULTS.write_text(json.dumps(kept, indent=1) + "\n")


def sizes(program: Any) -> dict[str, int]:
    """Bytes of the files of a program, beside flash."""
    return {"flash": image_of(program).flash, "program.safetensors": len(program.to_bytes()),
            "run.onnx": len(run_model(program, "")), "step.onnx": len(step_model(program, ""))}


def solutions(arguments: argparse.Namespace) -> None:
    """Whole test sets: programs of a task's float network, homogeneous and at random widths, or of a run's picks."""
    kept = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    rows = kept.setdefault("test sets", {})
    for name in arguments.of:
        found = of_run(Path(name), arguments.data) if Path(name).is_dir() else of_task(name, arguments.data)
        task, programs, data = found
        for label, program in programs.items():
            q = program.quantise_input(data.x)
            lengths = np.full(len(q), q.shape[1]) if data.lengths is None else data.lengths
            want = ENGINES["reference"].run(program, q, lengths)
            got = run(Session(run_model(program, "")), program, q, lengths)
            mine = module(program)(torch.from_numpy(q), torch.from_numpy(lengths)).numpy()
            rows[f"{task}, {label}"] = {"items": len(q), "integers": int(want.size),
                                        "run.onnx different": int((got != want).sum()),
                                        "module different": int((mine != want).sum())}
            print(task, label, rows[f"{task}, {label}"], flush=True)
            RESULTS.write_text(json.dumps(kept, indent=1) + "\n")


def of_run(folder: Path, data: str | None) -> tuple[str, dict[str, Any], Any]:
    """The task, the picks of a run, and its test data."""
    opened = bt.Run.open(folder)
    task = opened.spec.task
    picks = {f"pick {name}": opened.program(solution) for name, solution in opened.picks.items()}
    return task.name, picks, bt.TASKS[task.name].load(data or None, task.seed).test


def of_task(name: str, data: str | None) -> tuple[str, dict[str, Any], Any]:
    """Programs of a task's float network: 4 and 8 bits, and two of random widths."""
    prepared = bt.train_task(bt.TaskSettings(name, data=data or ""))
    calibration = bt.calibrate(prepared.network, prepared.data.train.x[:500])
    plans = {f"{bits} bits": bt.homogeneous_widths(prepared.network.graph, bits) for bits in (4, 8)}
    for seed in range(2):
        plans[f"random widths, seed {seed}"] = random_widths(prepared.network, np.random.default_rng(seed), "narrow")
    binder = calibration.binder()
    return name, {label: binder.bind(calibration.plan(widths)) for label, widths in plans.items()}, prepared.data.test


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    one = commands.add_parser("equal")
    one.add_argument("--seeds", default="0:1000")
    one.add_argument("--other", action="append", default=[], help="another Python, with numpy and onnxruntime")
    one.add_argument("--out", default=str(RESULTS))
    one.add_argument("--eager", action="store_true", help="of the torch module eager calls alone: a third of the time")
    one.set_defaults(run=equal)
    two = commands.add_parser("times")
    two.set_defaults(run=times)
    three = commands.add_parser("solutions")
    three.add_argument("of", nargs="+", help="a run directory, or a task")
    three.add_argument("--data", help="the task's data folder")
    three.set_defaults(run=solutions)
    arguments = parser.parse_args()
    arguments.run(arguments)


if __name__ == "__main__":
    main()
