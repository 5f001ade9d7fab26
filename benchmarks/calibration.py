"""What calibration contributes: error of narrow weights with 8-bit activations under every calibration setting.

    python benchmarks/calibration.py --data DIR        # writes results/calibration.csv, about a minute
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from command import arguments, as_command, write_rows

import bittailor as bt
from bittailor.evaluate.evaluator import Evaluator
from bittailor.quantise.calibration import with_settings

SETTINGS: dict[str, dict[str, Any]] = {
    "extremes, weights to nearest": {"method": "minmax", "rounding": "nearest"},
    "percentile, weights to nearest": {"method": "percentile", "rounding": "nearest"},
    "least squared error, weights to nearest": {"rounding": "nearest"},
    "least squared error, weights fitted to inputs (default)": {},
    "the default, with a scale per row": {"per_row": True},
}
WIDTHS = (8, 6, 5, 4, 3, 2, 1)


def main() -> int:
    """Evaluate and write."""
    parser = arguments(__doc__)
    parser.add_argument("--task", default="mnist")
    parser.add_argument("--data", default="")
    parser.add_argument("--csv", type=Path, default=Path("results/calibration.csv"))
    options = parser.parse_args()
    prepared = bt.train_task(bt.TaskSettings(options.task, data=options.data))
    network, data = prepared.network, prepared.data
    statistics = bt.calibrate(network, data.train.x, data.train.lengths)
    rows = []
    for name, changes in SETTINGS.items():
        evaluator = Evaluator(with_settings(statistics, **changes), data.valid, prepared.metric,
                              bt.best_engine(), ("size",))
        widths = [
            {s.name: {"weight": bits, "bias": 16, "activation": 8}[s.kind] for s in network.graph.free}
            for bits in WIDTHS
        ]
        errors = [values["error"] for values in evaluator.evaluate(widths)]
        rows.append({"setting": name} | {f"w{bits}": error for bits, error in zip(WIDTHS, errors, strict=True)})
        print(name, errors, flush=True)
    write_rows(options.csv, rows)
    return 0


if __name__ == "__main__":
    as_command(main)
