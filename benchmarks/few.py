"""What few sequences cost: the native engine with its small tiles, with the large ones alone, and float torch.nn.GRU.

    python benchmarks/few.py                    # writes results/few.json, a minute

Two layers of 400 and of 64 units, 8 bit, one thread, processor time (which a busy machine changes little), the least of
five runs; the packed program is there already. All give the reference engine's integers, which is looked at first, on
the first steps.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from command import arguments, as_command

import bittailor as bt
from bittailor.engines.native import Native
from bittailor.errors import BittailorError

CASES = ((400, 200), (64, 400))  # units, steps
SEQUENCES = (1, 2, 4, 8)
REPEATS, CHECKED_STEPS = 5, 20
SETTINGS = bt.CalibrationSettings(method="minmax", rounding="nearest")


def least_ms(work: Callable[[], object]) -> float:
    """Milliseconds of processor time of the fastest run, after one that does not count."""
    times = []
    for _ in range(REPEATS + 1):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return 1e3 * min(times[1:])


def rows_of(units: int, steps: int) -> list[dict[str, Any]]:
    """A row per number of sequences."""
    torch.manual_seed(0)
    module = torch.nn.GRU(units, units, 2, batch_first=True)
    network = bt.from_torch(module, units)
    x = np.random.default_rng(0).normal(size=(max(SEQUENCES), steps, units)).astype(np.float32)
    calibration = bt.calibrate(network, x[:2, :50], settings=SETTINGS)
    program = calibration.binder().bind(calibration.plan(bt.homogeneous_widths(network.graph, 8)))
    q, usual = program.quantise_input(x), Native(threads=1)
    large = Native(usual.runtime.name, threads=1)
    want = bt.ENGINES["reference"].run(program, q[:, :CHECKED_STEPS])
    made = []
    for n in SEQUENCES:
        for engine in (usual, large):
            if not np.array_equal(engine.run(program, q[:n, :CHECKED_STEPS]), want[:n]):
                raise BittailorError("the native engine differs from the reference engine: its time means nothing")
        with torch.no_grad():
            floats = least_ms(partial(module, torch.from_numpy(x[:n])))
        made.append({"units": units, "steps": steps, "sequences": n, "torch_ms": floats,
                     "ms": least_ms(partial(usual.run, program, q[:n])),
                     "large_tiles_ms": least_ms(partial(large.run, program, q[:n]))})
        print("  ".join(f"{name} {value:.4g}" for name, value in made[-1].items()), flush=True)
    return made


def main() -> None:
    """Measure and write."""
    parser = arguments(__doc__)
    parser.add_argument("--out", type=Path, default=Path("results/few.json"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = [row for case in CASES for row in rows_of(*case)]
    options.out.write_text(json.dumps({"variant": Native().runtime.name, "rows": rows}, indent=1) + "\n")
    print(f"written: {options.out}")


if __name__ == "__main__":
    as_command(main)
