"""A search of 100,000 evaluations: time, memory, size of the store, hypervolume against evaluations.

    python benchmarks/long_run.py [--out runs/long] [--minutes 7]     writes results/long_run.csv

It stops itself after so many minutes (as Ctrl-C would) and goes on where it was when it is called again, so that it can
be done in pieces; each writes the table as far as it came. Memory is that of the process, resident, at the end of each
tenth of the evaluations, of the piece that made them.
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from pathlib import Path

from command import SIZE

import bittailor as bt
from bittailor.cli.actions import train_task
from bittailor.report import write_report
from bittailor.runs.problem import Display
from bittailor.search.loop import Progress, Status
from bittailor.search.progress import ValueDisplay

ROOT = Path(__file__).resolve().parent.parent
TASK, POPULATION, GENERATIONS = "digits", 100, 1000


class Watch(Display):
    """Notes memory and time as a search goes on, and ends a piece in time."""

    def __init__(self, notes: Path, seconds: float) -> None:
        self.notes, self.end, self.begin = notes, time.monotonic() + seconds, time.monotonic()
        self.known: dict[str, list[float]] = json.loads(notes.read_text()) if notes.exists() else {}

    def progress(self, look: ValueDisplay) -> Progress:
        return self

    def start(self, status: Status) -> None: ...

    def update(self, status: Status) -> None:
        if status.new and status.done % 10_000 == 0 and str(status.done) not in self.known:
            before = sum(seconds for _, seconds in self.known.values())
            self.known[str(status.done)] = [resident_mib(), time.monotonic() - self.begin]
            self.begin = time.monotonic()
            self.notes.write_text(json.dumps(self.known))
            print(f"{status.done} evaluations, {before + self.known[str(status.done)][1]:.0f} s", flush=True)
        if time.monotonic() > self.end:
            raise KeyboardInterrupt

    def finish(self, status: Status, message: str) -> None:
        print(message or "done", flush=True)


def resident_mib() -> float:
    """Memory of this process in MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "long")
    parser.add_argument("--minutes", type=float, default=7)
    asked = parser.parse_args()
    prepared = train_task(TASK)
    spec = bt.SearchSpec(task=prepared.task, objectives=SIZE,
                         search=bt.SearchSettings(population=POPULATION, generations=GENERATIONS))
    watch = Watch(asked.out.with_suffix(".json"), 60 * asked.minutes)
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    run = bt.run_search(prepared.network, prepared.data, asked.out, spec, resume=asked.out.exists(), display=watch,
                        origin=prepared.origin)
    write_table(run, watch.known)
    if run.result["interrupted"]:
        print("call again to go on; the table has what there is")


def write_table(run: bt.Run, known: dict[str, list[float]]) -> None:
    """results/long_run.csv: a row for the first 2,000 evaluations and for every ten thousand."""
    history = {row["evaluations"]: row for row in run.result["history"]}
    last = history[max(history)]["hypervolume"]
    with (ROOT / "results" / "long_run.csv").open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["evaluations", "hypervolume", "of_the_last_percent", "front", "best_error", "seconds_of_these",
                        "resident_mib"])
        for n in (500, 1000, 2000, *range(10_000, max(history) + 1, 10_000)):
            row = history[min(h for h in history if h >= n)]
            mib, took = known.get(str(n), [float("nan")] * 2)
            table.writerow([n, round(row["hypervolume"], 6), round(100 * row["hypervolume"] / last, 3),
                            row["front_size"], round(row["best"]["error"], 4), round(took, 1), round(mib, 1)])
    if run.result["interrupted"]:
        return
    start = time.monotonic()
    page = write_report(run)
    seconds = time.monotonic() - start
    store = (run.path / "evaluations.sqlite").stat().st_size / 2**20
    print(f"store {store:.1f} MiB; report written in {seconds:.0f} s, {page.stat().st_size / 2**20:.1f} MiB")


if __name__ == "__main__":
    main()
