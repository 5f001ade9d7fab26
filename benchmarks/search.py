"""A whole search, and where its time goes: 10,000 evaluations on MNIST rows, H = 64, 2,000 validation items.

    python benchmarks/search.py --data DIR             # the real thing, about two minutes on 2 cores
    python benchmarks/search.py --evaluations 1000     # without data: the same shapes, random images
    python benchmarks/search.py --growth growth.json   # time against items, steps, hidden units, stored evaluations

It first checks that some of the programs it evaluated give the reference engine's outputs, then prints wall time and
the share of every part, measured in the run itself, and the process' memory at a tenth and at the end of the search.
Shares of kernel and lowering are of the threads' time (they run side by side), the others of the wall time.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from command import SIZE, arguments, as_command

import bittailor as bt
from bittailor.common.processors import processors
from bittailor.core.builder import Builder
from bittailor.core.cells import CELLS, add_layer
from bittailor.core.program import Binder
from bittailor.engines import Native, best_engine
from bittailor.engines.lowering import Lowering
from bittailor.errors import BittailorError
from bittailor.evaluate.evaluator import Evaluator
from bittailor.runs.problem import Display
from bittailor.search.loop import Status
from bittailor.search.optimisers.nsga2 import Nsga2
from bittailor.search.progress import ValueDisplay
from bittailor.search.store import Outcome, Store


class Clock:
    """Seconds by part, over all threads."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._lock = threading.Lock()

    def wrap(self, owner: Any, name: str, part: str) -> None:
        """Count the time of a method as `part`."""
        plain: Callable[..., Any] = getattr(owner, name)

        def timed(*args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            try:
                return plain(*args, **kwargs)
            finally:
                with self._lock:
                    self.seconds[part] += time.perf_counter() - start

        setattr(owner, name, timed)


class Memory(Display):
    """A progress display that only notes the resident memory."""

    def __init__(self) -> None:
        self.at: list[tuple[int, float]] = []

    def progress(self, look: ValueDisplay) -> Memory:
        """Itself."""
        return self

    def start(self, status: Status) -> None:
        """Nothing to show."""

    def update(self, status: Status) -> None:
        """Note the memory every 500 evaluations."""
        if status.done % 500 == 0:
            self.at.append((status.done, resident_mib()))

    def finish(self, status: Status, message: str) -> None:
        """Nothing to show."""


def resident_mib() -> float:
    """Resident memory of this process now (its peak where the system does not tell)."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * resource.getpagesize() / 2**20
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def random_network(inputs: int, hidden: int, outputs: int, seed: int = 0) -> bt.Network:
    """A GRU with the weights of a fresh torch module."""
    rng = np.random.default_rng(seed)
    b = Builder()
    h = add_layer(b, CELLS["gru"], "gru0", b.input("input", inputs), hidden)
    graph = b.graph(b.linear("head.out", b.op("last", "last", h), "head.W", outputs, "head.b"))
    spread = hidden**-0.5
    parameters = {
        s.name: rng.uniform(-spread, spread, s.shape) for s in graph.sites.values() if s.kind in ("weight", "bias")
    }
    return bt.Network(graph, parameters)


def random_splits(network: bt.Network, items: int, steps: int, seed: int = 0) -> bt.Splits:
    """Random sequences with the float network's own answers as labels."""
    rng = np.random.default_rng(seed)

    def part(n: int) -> bt.Data:
        x = rng.uniform(0, 1, (n, steps, network.features)).astype(np.float32)
        return bt.Data(x, network(x).argmax(-1))

    return bt.Splits(part(min(items, 256)), part(items), part(16))


@contextmanager
def timed(clock: Clock) -> Iterator[None]:
    """Count the parts of a search while it runs."""
    parts = [(Native, "_call", "kernel"), (Lowering, "__call__", "lowering"), (Binder, "bind", "binding"),
             (Evaluator, "program", "plan and binding"), (Evaluator, "evaluate", "evaluation"),
             (Nsga2, "ask", "genetic operators"), (Nsga2, "tell", "genetic operators"),
             (Store, "get", "store"), (Store, "put", "store")]
    plain = [(owner, name, getattr(owner, name)) for owner, name, _ in parts]
    try:
        for owner, name, part in parts:
            clock.wrap(owner, name, part)
        yield
    finally:
        for owner, name, method in plain:
            setattr(owner, name, method)


def check(run: bt.Run, data: bt.Data, engine: str) -> None:
    """Some evaluated programs, engine against reference, before any time is believed."""
    few = data[: min(len(data), 64)]
    reference = bt.ENGINES["reference"]
    for solution in [*run.front[:3], *run.homogeneous[::3]]:
        program = run.program(solution)
        q = program.quantise_input(few.x)
        if not (bt.ENGINES[engine].run(program, q, few.lengths) == reference.run(program, q, few.lengths)).all():
            raise BittailorError(f"{engine} differs from the reference on {solution.key}: no time is worth printing")


def whole(options: argparse.Namespace) -> None:
    """One search with its account of time."""
    engine = best_engine() if options.engine == "auto" else options.engine
    if options.data:
        prepared = bt.train_task(bt.TaskSettings("mnist", hidden=64, data=options.data))
        network, splits = prepared.network, prepared.data
    else:
        network = random_network(28, 64, 10)
        splits = random_splits(network, 2000, 28)
    population = 100
    settings = bt.SearchSettings(population=population, generations=options.evaluations // population, seed=0)
    clock, memory = Clock(), Memory()
    with tempfile.TemporaryDirectory() as folder, timed(clock):
        start = time.perf_counter()
        run = bt.run_search(network, splits, Path(folder) / "run",
                            bt.SearchSpec(search=settings, engine=engine, objectives=SIZE), display=memory)
        wall = time.perf_counter() - start
        s = dict(clock.seconds)
        check(run, splits.valid, engine)
        done = run.result["evaluations"]
        threads = processors()
        print(f"{done} evaluations with '{engine}' on {threads} cores: {wall:.1f} s, "
              f"{1e3 * wall / done:.2f} ms each, calibration and test of the front included")
        for part in ("kernel", "lowering"):
            print(f"  {part:18} {100 * s.get(part, 0) / threads / wall:5.1f} % of the threads' time")
        for part in ("plan and binding", "genetic operators", "store"):
            print(f"  {part:18} {100 * s.get(part, 0) / wall:5.1f} % of the wall time")
        if memory.at:
            (first, early), (last, late) = memory.at[0], memory.at[-1]
            print(f"  memory: {early:.0f} MiB after {first} evaluations, {late:.0f} MiB after {last}")
        if options.json:
            Path(options.json).write_text(json.dumps({
                "evaluations": done, "seconds": wall, "threads": threads, "engine": engine, "parts": s,
                "memory_mib": memory.at,
            }, indent=1) + "\n")


def growth(path: Path, engine: str) -> None:
    """Milliseconds per genome against items, steps and hidden units; store time against rows already there."""
    engine = best_engine() if engine == "auto" else engine
    rows: list[dict[str, Any]] = []

    def evaluate(items: int, steps: int, hidden: int, genomes: int = 24) -> float:
        network = random_network(28, hidden, 10)
        splits = random_splits(network, items, steps)
        calibration = bt.calibrate(network, splits.train.x[:64])
        space = bt.per_operator(network.graph)
        evaluator = Evaluator(calibration, splits.valid, "error", engine, ("size",))
        widths = [space.widths(g) for g in space.random(np.random.default_rng(0), genomes)]
        evaluator.evaluate(widths)  # formats, tables and the library itself are warm now, as in a search
        times = []
        for _ in range(5):
            start = time.perf_counter()
            evaluator.evaluate(widths)
            times.append(time.perf_counter() - start)
        return 1e3 * float(np.median(times)) / len(widths)

    base = {"items": 500, "steps": 28, "hidden": 64}
    for axis, values in (("items", (125, 250, 500, 1000, 2000, 4000)), ("steps", (7, 14, 28, 56, 112, 224)),
                         ("hidden", (8, 16, 32, 64, 128, 256)),
                         ("genomes", (1, 2, 4, 8, 16, 32, 64))):
        for value in values:
            ms = evaluate(**{**base, axis: value})
            rows.append({"axis": axis, "value": value, "ms_per_genome": ms})
            print(f"{axis:8} {value:6}  {ms:8.3f} ms per genome", flush=True)
    for count in (100, 1000, 10_000, 100_000):
        with tempfile.TemporaryDirectory() as folder, Store(Path(folder) / "s.sqlite") as store:
            make = [(f"{i}", (i,), Outcome({"error": 1.0, "size": float(i)}), 1) for i in range(count)]
            store.put_all(make)
            start = time.perf_counter()
            for i in range(400):
                store.put(f"new{i}", (i,), Outcome({"error": 1.0, "size": 1.0}), 2)
            put = (time.perf_counter() - start) / 400
            keys = [str(i * count // 40) for i in range(40)]
            start = time.perf_counter()
            for _ in range(50):
                store.get(keys)
            get = (time.perf_counter() - start) / 50
        rows.append({"axis": "stored", "value": count, "put_ms": 1e3 * put, "get40_ms": 1e3 * get})
        print(f"{count:7} stored  put {1e3 * put:.3f} ms, get 40 {1e3 * get:.3f} ms", flush=True)
    path.write_text(json.dumps(rows, indent=1) + "\n")


def main() -> int:
    """Parse and run."""
    parser = arguments(__doc__)
    parser.add_argument("--data", default="", help="folder with mnist/; random images of the same shape without it")
    parser.add_argument("--evaluations", type=int, default=10_000)
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--json", help="also write the figures to this file")
    parser.add_argument("--growth", type=Path, help="measure growth instead, and write it to this file")
    options = parser.parse_args()
    if options.growth:
        growth(options.growth, options.engine)
    else:
        whole(options)
    return 0


if __name__ == "__main__":
    as_command(main)
