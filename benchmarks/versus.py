"""Is a version slower than another? The benchmarks of two checkouts side by side, in turns, as ratios.

    python benchmarks/versus.py --old-commit fc1d24f                          # half an hour on 2 cores
    python benchmarks/versus.py --old DIR --only qat engine --rounds 3 --short

Every checkout runs its own benchmarks on its own sources: `engine.py` (one thread: milliseconds of processor time per
genome, and of it binding), `search.py` on random images (its parts, lowering and binding among them; loading pymoo is
a part of what uses it first) and `qat.py --speed` (milliseconds of processor time per update); `parts` is a script of
this file that binds and lowers fresh plans by the library's own names (milliseconds of processor time per program, of
which a tenth are faster). In every round both run, the one that goes first changing from round to round; a first
round is not counted. Printed per row: the median of each, the median, lowest and highest ratio new / old of a round,
and the same for the old version against itself in the round before: what differs no more than that is noise. Rows
that only one version has are left out.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import checkouts
from command import as_command

from bittailor.errors import BittailorError

Figures = dict[str, float]

PARTS = '''
"""Binding of fresh plans, and a run of one step of one item: lowering, and hardly anything beside it."""
import json, statistics, sys, time
import numpy as np
import torch
import bittailor as bt

class Net(torch.nn.Module):
    def __init__(self, kind, hidden, layers):
        super().__init__()
        self.body = kind(28, hidden, layers, batch_first=True)
        self.head = torch.nn.Linear(hidden, 10)

    def forward(self, x):
        return self.head(self.body(x)[0][:, -1])

torch.manual_seed(0)
torch.set_num_threads(1)
rng, found = np.random.default_rng(0), {}
for kind, hidden, layers in ((torch.nn.GRU, 64, 1), (torch.nn.GRU, 128, 2), (torch.nn.LSTM, 64, 1)):
    network = bt.from_torch(Net(kind, hidden, layers).eval(), 28)
    calibration = bt.calibrate(network, rng.normal(size=(32, 20, 28)).astype(np.float32),
                               settings=bt.CalibrationSettings(rounding="nearest"))
    binder, engine = calibration.binder(), bt.ENGINES["native"]
    times = {"binding": [], "lowering": []}
    for i in range(int(sys.argv[1])):
        widths = {s.name: int(rng.integers(8 if s.kind == "bias" else 2, 9)) for s in network.graph.free}
        plan = calibration.plan(widths)
        begun = time.process_time()
        program = binder.bind(plan)
        bound = time.process_time()
        engine.run(program, np.zeros((1, 1, 28), np.int64))
        times["lowering"].append(time.process_time() - bound)
        times["binding"].append(bound - begun)
    for part, seconds in times.items():
        found[f"{kind.__name__} {hidden} x {layers}, {part}"] = 1e3 * statistics.quantiles(seconds[2:], n=10)[0]
with open(sys.argv[3], "w") as file:
    json.dump(found, file)
'''


def of_engine(found: Any) -> Figures:
    """Milliseconds per genome, with and without what is not binding."""
    return {f"{row['case']} {row['what']}{tail}": row[key] for row in found["rows"] if "bind_ms" in row
            for tail, key in (("", "ms"), (", binding", "bind_ms"))}


def of_search(found: Any) -> Figures:
    """Milliseconds per evaluation: wall time, then the parts."""
    each = 1e3 / found["evaluations"]
    return {"wall time": found["seconds"] * each, **{part: s * each for part, s in sorted(found["parts"].items())}}


def of_qat(found: Any) -> Figures:
    """Milliseconds per update."""
    return {f"B={row['batch']} T={row['steps']} H={row['hidden']}, {name}": row[f"{name}_ms"]
            for row in found["speed"] for name in ("float", "frozen", "learned", "default")}


@dataclass(frozen=True)
class Benchmark:
    """A script of a checkout ("" for `PARTS`), its arguments (`short`: of a quick look), and how to read its figures
    in milliseconds from the JSON file that it writes."""

    script: str
    arguments: tuple[str, ...]
    short: tuple[str, ...]
    read: Callable[[Any], Figures]


BENCHMARKS = {
    "engine": Benchmark("engine.py", ("--quick", "--threads", "1", *(
        word for case in ("c1", "c2", "b1", "bi2") for word in ("--case", case))),
        ("--quick", "--threads", "1", "--case", "c1"), of_engine),
    "search": Benchmark("search.py", ("--evaluations", "2000"), ("--evaluations", "400"), of_search),
    "parts": Benchmark("", ("200",), ("30",), dict),
    "qat": Benchmark("qat.py", ("--speed",), ("--speed", "--quick"), of_qat),
}


class Side:
    """One checkout and the figures of every round."""

    def __init__(self, checkout: Path, scratch: Path) -> None:
        scratch.mkdir()
        self.checkout, self.scratch = checkout, scratch
        self.environment = checkouts.environment(checkout, scratch / "cache")
        self.rounds: list[Figures] = []

    def run(self, benchmark: Benchmark, arguments: tuple[str, ...]) -> Figures:
        """One run: its figures, and the processor time of the whole command in milliseconds."""
        file, own = self.scratch / "figures.json", self.scratch / "parts.py"
        file.unlink(missing_ok=True)
        own.write_text(PARTS)
        script = self.checkout / "benchmarks" / benchmark.script if benchmark.script else own
        before = os.times()
        done = subprocess.run([sys.executable, str(script), *arguments, "--json", str(file)], env=self.environment,
                              cwd=self.scratch, capture_output=True, text=True, check=False)
        after = os.times()
        if done.returncode:
            raise BittailorError(f"{script.name} of {self.checkout}: {checkouts.last_line(done.stderr)}")
        spent = after.children_user + after.children_system - before.children_user - before.children_system
        return {**benchmark.read(json.loads(file.read_text())), "processor time of the command": 1e3 * spent}


def spread(ratios: list[float]) -> str:
    """Median, lowest and highest."""
    return f"{statistics.median(ratios):.3f} ({min(ratios):.3f}-{max(ratios):.3f})" if ratios else "-"


def table(name: str, old: list[Figures], new: list[Figures]) -> list[str]:
    """Lines in Markdown, a row per figure that every round of both has."""
    lines = []
    for row in old[0]:
        if not all(row in figures and figures[row] > 0 for figures in (*old, *new)):
            continue
        a, b = [f[row] for f in old], [f[row] for f in new]
        ratios = [y / x for x, y in zip(a, b, strict=True)]
        itself = [y / x for x, y in pairwise(a)]
        lines.append(f"| {name}: {row} | {statistics.median(a):.4g} | {statistics.median(b):.4g} | {spread(ratios)} "
                     f"| {spread(itself)} |")
    return lines


def measure(name: str, arguments: tuple[str, ...], sides: tuple[Side, Side], rounds: int) -> None:
    """Run both in turns; the first round of each compiles what it needs and is not counted."""
    for side in sides:
        side.rounds = []
    for number in range(rounds + 1):
        for side in sides if number % 2 else sides[::-1]:
            figures = side.run(BENCHMARKS[name], arguments)
            if number:
                side.rounds.append(figures)
        print(f"{name}: round {number} of {rounds}; load {os.getloadavg()[0]:.1f}", file=sys.stderr,
              flush=True)


def main() -> None:
    """Measure and print."""
    parser = checkouts.parser(__doc__)
    parser.add_argument("--only", nargs="+", choices=BENCHMARKS, default=list(BENCHMARKS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--short", action="store_true", help="fewer cases")
    options = parser.parse_args()
    print("| milliseconds | old | new | new / old: median (lowest-highest) | old against itself |")
    print("|---|---|---|---|---|")
    with checkouts.checkouts(options) as (old, new), tempfile.TemporaryDirectory() as scratch:
        sides = Side(old, Path(scratch) / "old"), Side(new, Path(scratch) / "new")
        for name in options.only:
            benchmark = BENCHMARKS[name]
            measure(name, benchmark.short if options.short else benchmark.arguments, sides, options.rounds)
            print("\n".join(table(name, sides[0].rounds, sides[1].rounds)), flush=True)


if __name__ == "__main__":
    as_command(main)
