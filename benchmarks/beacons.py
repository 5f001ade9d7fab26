"""Need neighbours of a beacon be retrained themselves? Predicted against own error, on a sample of neighbours.

    python benchmarks/beacons.py --data DIR                  # writes results/beacons.csv; about an hour of one core
    python benchmarks/beacons.py --tasks digits --neighbours 4 --epochs 2      # a look, a minute

A beacon is trained near the widths at which post-training quantisation begins to fail. Neighbours are at random
distances from it. Each is evaluated post-training from the float network, post-training from the beacon (the
prediction), and after a training of its own, as long as the beacon's. Validation data throughout. Rows in the file are
not computed again.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from command import arguments, as_command, read_rows, write_rows

import bittailor as bt
from bittailor.cli.actions import train_task
from bittailor.common.processors import processors
from bittailor.engines import best_engine
from bittailor.evaluate.evaluator import Evaluator
from bittailor.train.beacons import Trainer, distance, train_all
from bittailor.train.beacons.base import site_weights

HIDDEN = {"mnist": 64}
WEIGHT_BITS = (1, 2, 3)


def neighbour(widths: Mapping[str, int], weights: Mapping[str, float], changed: int, rng: np.random.Generator
              ) -> dict[str, int]:
    """The same widths but for some weight sites (another of WEIGHT_BITS) and twice as many activations (4..8)."""
    found = dict(widths)
    for site in rng.choice(sorted(weights), changed, replace=False):
        found[site] = int(rng.choice([b for b in WEIGHT_BITS if b != widths[site]]))
    activations = sorted(site for site, bits in widths.items() if site not in weights and bits == 8)
    for site in rng.choice(activations, min(len(activations), 2 * changed), replace=False):
        found[site] = int(rng.integers(5, 9))
    return found


def measure(task: str, options: Mapping[str, Any], folder: Path) -> list[dict[str, Any]]:
    """One beacon and its neighbours."""
    prepared = train_task(bt.TaskSettings(task, hidden=HIDDEN.get(task, 32), data=options["data"]),
                          cache=options["cache"])
    graph, data = prepared.network.graph, prepared.data
    calibration = bt.calibrate(prepared.network, data.train.x, data.train.lengths)
    recipe = bt.Retraining(epochs=options["epochs"]).shorter(options["share"], len(data.train))
    trainer = Trainer(calibration, data.train, prepared.metric, recipe, folder / task)
    weights = site_weights(bt.per_operator(graph), graph)
    center = {s.name: {"weight": 2, "bias": 8, "activation": 8}[s.kind] for s in graph.free}
    rng = np.random.default_rng(0)
    changes = np.linspace(1, len(weights), options["neighbours"]).round().astype(int)
    others = [neighbour(center, weights, int(n), rng) for n in changes]
    jobs = [trainer.job(w, 0, None, "beacon", f"sample {i}") for i, w in enumerate([center, *others])]
    beacons = train_all(trainer, jobs, options["workers"])

    def values(weights_of: bt.Calibration, widths: Mapping[str, int]) -> dict[str, float]:
        evaluator = Evaluator(weights_of, data.valid, prepared.metric, best_engine(), ("loss", "size"))
        return evaluator.evaluate([dict(widths)])[0]

    rows = []
    for i, beacon in enumerate(beacons):
        if beacon.failed is not None:
            print(f"{task} {i}: {beacon.failed}", file=sys.stderr)
            continue
        found = {"base": values(calibration, beacon.widths), "beacon": values(beacons[0].calibration, beacon.widths),
                 "own": values(beacon.calibration, beacon.widths)}
        rows.append({"task": task, "sample": i, "distance": distance(beacon.widths, center, weights),
                     "threshold": bt.BeaconSettings().threshold * len(weights),
                     "size_bits": int(found["own"]["size"]), "seconds": beacon.about["seconds"],
                     **{f"{name}_{what}": v[what] for name, v in found.items() for what in ("error", "loss")}})
        print({k: round(v, 3) if isinstance(v, float) else v for k, v in rows[-1].items()}, flush=True)
    return rows


def main() -> int:
    """Measure what is missing, then print the correlations."""
    parser = arguments(__doc__, data=True)
    parser.add_argument("--tasks", nargs="+", default=["vowels", "spoken-digits", "mnist1d", "digits"])
    parser.add_argument("--neighbours", type=int, default=40)
    parser.add_argument("--out", type=Path, help="folder for the trained networks; kept and gone on with if given")
    parser.add_argument("--epochs", type=int, default=0, help="of retraining; its default if not given")
    parser.add_argument("--share", type=float, default=0.5, help="of the recipe's length: how long each is trained")
    parser.add_argument("--workers", type=int, default=processors())
    parser.add_argument("--csv", type=Path, default=Path("results/beacons.csv"))
    options = vars(parser.parse_args())
    rows = read_rows(options["csv"])
    with tempfile.TemporaryDirectory() as folder:
        for task in options["tasks"]:
            if task not in {r["task"] for r in rows}:
                rows += measure(task, options, options["out"] or Path(folder))
                write_rows(options["csv"], rows)
    for task in dict.fromkeys(r["task"] for r in rows):
        here = [r for r in rows if r["task"] == task and int(r["sample"])]
        for what in ("error", "loss"):
            own, beacon, base = (np.array([float(r[f"{n}_{what}"]) for r in here]) for n in ("own", "beacon", "base"))
            print(f"{task}, {what}: own training {own.mean():.3f}; from the beacon {beacon.mean():.3f}, correlation "
                  f"{np.corrcoef(own, beacon)[0, 1]:.2f}; from the float network {base.mean():.3f}, correlation "
                  f"{np.corrcoef(own, base)[0, 1]:.2f}")
    print(f"written: {options['csv']}")
    return 0


if __name__ == "__main__":
    as_command(main)
