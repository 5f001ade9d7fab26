"""The post-training table: four tasks, several seeds, float against homogeneous 8 bits against the found solution.

    python benchmarks/ptq.py --data DIR                    # writes results/ptq.csv, a quarter of an hour on 2 cores
    python benchmarks/ptq.py --tasks digits --seeds 0      # one row, under a minute

One row per task and seed; sizes are weights and biases times their widths, in bits. `smallest` and `careful` are the
picks of `Run.picks`, both no worse than homogeneous 8 bits; test errors are measured once, afterwards. A second file
beside the table, *_widths.csv, holds the width of every site of both. The searches are those of the other tables
(`searches.searched`), and an interrupted table goes on where it stopped.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from command import as_command, write_rows
from searches import HEADLINE_SEEDS, search_arguments, searched, task_of

from bittailor.cli.show import print_comparison, summary_row
from bittailor.runs import Run


def main() -> int:
    """Run what is missing, then write the table."""
    parser = search_arguments(__doc__)
    parser.add_argument("--tasks", nargs="+", default=list(HEADLINE_SEEDS))
    parser.add_argument("--seeds", nargs="+", type=int, help="default: those by which no rule was chosen")
    parser.add_argument("--csv", type=Path, default=Path("results/ptq.csv"))
    options = vars(parser.parse_args())
    runs: list[Run] = []
    rows: list[dict[str, Any]] = []
    widths: list[dict[str, Any]] = []
    for task in options["tasks"]:
        for seed in options["seeds"] or HEADLINE_SEEDS.get(task, range(3)):
            run = searched(task_of(task, seed, options), "post-training", options)
            runs.append(run)
            rows.append(summary_row(run))
            write_rows(options["csv"], rows)
            widths += [
                {"task": task, "seed": seed, "pick": pick, "site": site, "bits": bits}
                for pick, solution in run.picks.items() for site, bits in solution.widths.items()
            ]
            write_rows(options["csv"].with_name(f"{options['csv'].stem}_widths.csv"), widths)
            print_comparison([run])
    print_comparison(runs)
    print(f"written: {options['csv']}")
    return 0


if __name__ == "__main__":
    as_command(main)
