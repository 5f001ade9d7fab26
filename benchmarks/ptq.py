"""The post-training table: four tasks, several seeds, float against homogeneous 8 bits against the found solution.

    python benchmarks/ptq.py --data DIR                    # writes results/ptq.csv, a quarter of an hour on 2 cores
    python benchmarks/ptq.py --tasks digits --seeds 0      # one row, under a minute

One row per task and seed; sizes are weights and biases times their widths, in bits. `smallest` and `careful` are the
picks of `Run.picks`, both no worse than homogeneous 8 bits; test errors are measured once, afterwards. A second file
beside the table, *_widths.csv, holds the width of every site of both. Runs are kept in --runs and resumed, so an
interrupted table goes on where it stopped.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from command import SIZE, arguments, as_command, write_rows

import bittailor as bt
from bittailor.cli.actions import search_spec
from bittailor.cli.show import print_comparison, summary_row
from bittailor.runs import Run

HIDDEN = {"mnist": 64, "spoken-digits": 32, "vowels": 32, "mnist1d": 32, "digits": 32, "pendigits": 32}


def main() -> int:
    """Run what is missing, then write the table."""
    parser = arguments(__doc__, data=True)
    parser.add_argument("--tasks", nargs="+", default=["mnist", "spoken-digits", "vowels", "mnist1d"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--runs", type=Path, default=Path("runs/ptq"))
    parser.add_argument("--csv", type=Path, default=Path("results/ptq.csv"))
    parser.add_argument("--population", type=int, default=60)
    parser.add_argument("--generations", type=int, default=100)
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--seeding", default="templates", help="what results/ptq.csv was measured with")
    options = parser.parse_args()
    runs: list[Run] = []
    rows: list[dict[str, Any]] = []
    widths: list[dict[str, Any]] = []
    for task in options.tasks:
        for seed in options.seeds:
            out = options.runs / f"{task}-{seed}"
            settings = bt.SearchSettings(population=options.population, generations=options.generations, seed=seed)
            spec = bt.SearchSpec(task=bt.TaskSettings(task, hidden=HIDDEN.get(task, 0), seed=seed, data=options.data),
                                 search=settings, seeding=options.seeding, engine=options.engine,
                                 workers=options.workers, objectives=SIZE)
            run = search_spec(spec, out, cache=options.cache, resume=(out / "run.json").exists())
            if run.result["interrupted"]:
                print("stopped; the same command goes on", file=sys.stderr)
                return 130
            runs.append(run)
            rows.append(summary_row(run))
            write_rows(options.csv, rows)
            widths += [
                {"task": task, "seed": seed, "pick": pick, "site": site, "bits": bits}
                for pick, solution in run.picks.items() for site, bits in solution.widths.items()
            ]
            write_rows(options.csv.with_name(f"{options.csv.stem}_widths.csv"), widths)
            print_comparison([run])
    print_comparison(runs)
    print(f"written: {options.csv}")
    return 0


if __name__ == "__main__":
    as_command(main)
