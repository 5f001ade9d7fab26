"""A report of 100,000 evaluations: how long it takes to write, how large the page is, how fast a browser opens it.

    python benchmarks/report_speed.py runs/digits [--evaluations 100000]     writes results/report_speed.json

A copy of the run gets so many evaluations: random genomes of its space, with values of its own evaluations moved at
random, and a history of a thousand generations. What the page holds is compared with the run before it is opened: every
solution of the front with its values, the number of evaluations, and how many are drawn. Opening is timed in Chromium
from the call to the moment that the page's script has ended, the median of five. On a machine that does other things,
too, the seconds of the processor say more than those of the clock.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import bittailor as bt
from bittailor.common.files import load_json, save_json
from bittailor.report import write_report
from bittailor.runs.opened import RESULT_KIND, RESULT_VERSION
from bittailor.search.store import Outcome, Store

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))
from browser import Browser, found  # noqa: E402

GENERATIONS, OPENED = 1000, 5


def grown(run: bt.Run, folder: Path, count: int) -> bt.Run:
    """A copy of a run with so many evaluations."""
    shutil.copytree(run.path, folder, ignore=shutil.ignore_patterns("report"))
    rng, genes = np.random.default_rng(0), run.space.width_genes
    with run.store() as store:
        known = [row.outcome.values for row in store.rows() if row.outcome.values is not None]
    rows = []
    for i in range(len(known), count):
        genome = tuple(int(rng.integers(len(gene.widths))) for gene in genes)
        values = {name: value * float(rng.uniform(0.9, 1.4)) for name, value in known[i % len(known)].items()}
        rows.append((f"grown {i}", genome, Outcome(values, seconds=0.002), 1 + i * GENERATIONS // count))
    with Store(folder / "evaluations.sqlite") as store:
        store.put_all(rows)
    result = load_json(folder / "result.json", RESULT_KIND, RESULT_VERSION)
    body: dict[str, Any] = {k: v for k, v in result.items() if k not in ("bittailor", "version", "sha256")}
    history = body["history"]
    body["history"] = [{**history[min(n, len(history) - 1)], "number": n + 1,
                        "evaluations": (n + 1) * count // GENERATIONS} for n in range(GENERATIONS)]
    body["evaluations"] = count
    save_json(folder / "result.json", RESULT_KIND, RESULT_VERSION, body)
    return bt.Run.open(folder)


def checked(run: bt.Run, page: Path, count: int) -> dict[str, Any]:
    """What the page holds, compared with the run."""
    text = page.read_text()
    data = json.loads(text.split('id="data">')[1].split("</script>")[0])
    front = [s for s in data["solutions"] if s["id"].startswith("s")]
    assert len(front) == len(run.front)
    for shown, solution in zip(front, run.front, strict=True):
        assert {**solution.values, "test": solution.test} == shown["values"]
        assert shown["widths"] == [solution.widths[site["name"]] for site in data["sites"]]
    with run.store() as store:
        assert data["cloud"]["total"] == len(store) == count
    lines = (page.parent / "evaluations.csv").read_text().count("\n")
    assert lines == count + 1, "every evaluation stands in the CSV file"
    return {"drawn": data["cloud"]["shown"], "page_kib": round(page.stat().st_size / 1024)}


def opened(page: Path) -> float:
    """Seconds until the page's script has ended, the median."""
    times = []
    with Browser() as browser:
        browser.open(page, 1400, 900).close()
        for _ in range(OPENED):
            start = time.monotonic()
            seen = browser.open(page, 1400, 900)
            seen.wait("document.documentElement.dataset.ready === 'yes'")
            times.append(time.monotonic() - start)
            assert not seen.problems
            seen.close()
    return statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--evaluations", type=int, default=100_000)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        run = grown(bt.Run.open(asked.run), Path(scratch) / "grown", asked.evaluations)
        write_report(bt.Run.open(asked.run), Path(scratch) / "warm")
        start, busy = time.monotonic(), time.process_time()
        page = write_report(bt.Run.open(run.path))
        row = {"evaluations": asked.evaluations, "seconds_to_write": round(time.monotonic() - start, 2),
               "processor_seconds_to_write": round(time.process_time() - busy, 2),
               **checked(run, page, asked.evaluations)}
        row["seconds_to_open"] = round(opened(page), 2) if found() else None
    (ROOT / "results" / "report_speed.json").write_text(json.dumps(row, indent=1) + "\n")
    print(json.dumps(row))


if __name__ == "__main__":
    main()
