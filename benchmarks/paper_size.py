"""MOHAQ's network at its own size: what one candidate costs, and a short search of it, with random weights.

    python benchmarks/paper_size.py            # writes results/paper_size.json; some ten minutes on 2 cores

Four bidirectional SRU layers of 550, projections of 256, 23 inputs, 1904 outputs (Rezk et al., arXiv 2108.01192), on 70
utterances of the synthetic task `phones`, as many as the paper's statistics took. The weights are as the module draws
them: the errors mean nothing here, time and memory do. The native engine is first held against the reference engine on
a part of an utterance. A candidate is a fresh random genome of the space `bitfusion` each time: binding, lowering and
running it on all utterances. The float module computes the same utterances, packed, with as many threads; both take
turns, and the ratio is that of the medians. The search is `--preset mohaq` with a smaller population.
"""

from __future__ import annotations

import json
import resource
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from command import arguments, as_command

import bittailor as bt
from bittailor.common.processors import processors
from bittailor.engines import ENGINES
from bittailor.errors import BittailorError
from bittailor.evaluate.evaluator import Evaluator
from bittailor.quantise.spaces import SPACES
from bittailor.runs.presets import PRESETS
from bittailor.tasks import TASKS
from bittailor.tasks.per_step import mohaq_network

CHECKED_STEPS = 30


def peak_mib() -> float:
    """The most memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def check(evaluator: Evaluator, widths: dict[str, int], x: np.ndarray[Any, Any]) -> None:
    """The native engine against the reference engine on a part of an utterance."""
    _, program = evaluator.program(widths)
    q = program.quantise_input(x[:1, :CHECKED_STEPS])
    if not np.array_equal(ENGINES["native"].run(program, q), ENGINES["reference"].run(program, q)):
        raise BittailorError("the native engine differs from the reference engine: its time means nothing")


def candidates(evaluator: Evaluator, module: torch.nn.Module, data: bt.Data, space: bt.Space, repeats: int
               ) -> dict[str, Any]:
    """Seconds of a candidate and of the float module, side by side."""
    rng = np.random.default_rng(0)
    x, lengths = torch.from_numpy(data.x), torch.from_numpy(data.lengths)
    native, floats = [], []
    for _ in range(repeats):
        widths = space.widths(tuple(int(rng.integers(n)) for n in space.levels))
        evaluator.calibration.plan(widths)  # weights are fitted once per width in a search, not once per candidate
        start = time.perf_counter()
        evaluator.evaluate([widths])
        native.append(time.perf_counter() - start)
        start = time.perf_counter()
        with torch.no_grad():
            module(x, lengths)
        floats.append(time.perf_counter() - start)
    return {"native_s": native, "float_s": floats,
            "ratio": statistics.median(native) / statistics.median(floats)}


def searched(network: bt.Network, splits: bt.Splits, population: int, offspring: int, generations: int
             ) -> dict[str, Any]:
    """A search with the paper's operators: its time, parts of it, and memory."""
    paper = PRESETS["mohaq"].in_space("bitfusion")
    settings = replace(paper.search, population=population, offspring=offspring, generations=generations)
    spec = replace(paper, metric="per", search=settings, calibration=bt.CalibrationSettings(items=len(splits.train)))
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        run = bt.run_search(network, splits, Path(folder) / "run", spec)
        seconds = time.perf_counter() - start
        with run.store() as store:
            evaluated = [row.outcome.seconds for row in store.rows()]
        file = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file()) / 2**20
        return {"population": population, "offspring": offspring, "generations": generations, "seconds": seconds,
                "evaluations": len(evaluated), "front": len(run.front), "run_directory_mib": file}


def main() -> None:
    """Measure, print and write."""
    parser = arguments(__doc__)
    parser.add_argument("--utterances", type=int, default=70)
    parser.add_argument("--hidden", type=int, default=550, help="fewer for a look")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--population", type=int, default=12)
    parser.add_argument("--offspring", type=int, default=6)
    parser.add_argument("--generations", type=int, default=4)
    parser.add_argument("--out", type=Path, default=Path("results/paper_size.json"))
    options = parser.parse_args()
    threads = processors()
    torch.set_num_threads(threads)
    data = TASKS["phones"].load()
    valid, train = data.valid[: options.utterances], data.train[: options.utterances]
    module = mohaq_network(hidden=options.hidden).eval()
    network = bt.from_torch(module, valid.x.shape[2])
    space = SPACES["bitfusion"](network.graph)
    start = time.perf_counter()
    calibration = bt.calibrate(network, train.x, train.lengths)
    calibrated = time.perf_counter() - start
    print(f"calibrated on {len(train)} utterances in {calibrated:.1f} s, peak {peak_mib():.0f} MiB", flush=True)
    evaluator = Evaluator(calibration, valid, "per", "native", ("loss", "size", "bitfusion.speedup"))
    start = time.perf_counter()
    for bits in (2, 4, 8, 16):
        calibration.plan(space.widths(space.nearest(bt.homogeneous_widths(network.graph, bits))))
    fitted = time.perf_counter() - start
    print(f"weights fitted at 2, 4, 8 and 16 bits in {fitted:.1f} s", flush=True)
    check(evaluator, space.widths(space.nearest(bt.homogeneous_widths(network.graph, 4))), valid.x)
    found = candidates(evaluator, module, valid, space, options.repeats)
    print(f"one candidate on {len(valid)} utterances, {int(valid.lengths.sum())} frames, {threads} threads: native "
          f"{statistics.median(found['native_s']):.2f} s, float module {statistics.median(found['float_s']):.2f} s, "
          f"ratio {found['ratio']:.3f}; peak {peak_mib():.0f} MiB", flush=True)
    del evaluator, calibration
    search = searched(network, bt.Splits(train, valid, data.test[: options.utterances]), options.population,
                      options.offspring, options.generations)
    print(f"a search of {search['evaluations']} evaluations, {search['generations']} generations: "
          f"{search['seconds']:.0f} s with calibration, fitting, baselines and test; peak {peak_mib():.0f} MiB")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps({
        "utterances": len(valid), "frames": int(valid.lengths.sum()), "threads": threads,
        "parameters": int(sum(s.count for s in network.graph.free if s.kind != "activation")),
        "calibration_s": calibrated, "fitting_s": fitted, **found, "search": search, "peak_mib": peak_mib(),
    }, indent=1) + "\n")
    print(f"written: {options.out}")


if __name__ == "__main__":
    as_command(main)
