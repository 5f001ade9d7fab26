"""What README shows: a first session with its output and times, and one network before and after.

    python benchmarks/front_door.py session              # the first session alone: a minute
    python benchmarks/front_door.py network --data DIR   # the network alone: some minutes
    python benchmarks/front_door.py --data DIR           # both; writes results/front_door.json
    python benchmarks/front_door.py network --data DIR --keep runs      # the run stays in runs/mnist, for
    python docs/screenshots.py runs/digits --front runs/mnist           # README's picture

The session is what a newcomer types, in an empty folder, with the command line of this interpreter and an empty cache
of float networks. Times are of this machine: `seconds` by the clock, `busy` of its processors, which other work on the
machine hardly changes. The network is mnist's, seed 0, searched with the defaults but for what
SEARCH says; `before` is homogeneous 8 bit, `after` the pick that holds. Test data are used once, after the search;
instructions are counted by emulators, on the cores whose tools are here.
"""

from __future__ import annotations

import json
import os
import resource
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from time import monotonic
from typing import Any

from command import arguments, as_command

from bittailor.cli.actions import export_solution, verify_export
from bittailor.common.files import write_whole
from bittailor.common.processors import processors
from bittailor.export.targets import TARGETS
from bittailor.export.verify import Report
from bittailor.runs import Run

FILE = Path(__file__).resolve().parents[1] / "results" / "front_door.json"
SESSION = ("bittailor search digits --out runs/digits", "bittailor report runs/digits",
           "bittailor export runs/digits firmware", "bittailor verify firmware --cores host,m4")
SEARCH = "bittailor search mnist --hidden 64 --out runs/mnist --widths 1-8 --population 50 --generations 50"
CORES = ("m0", "m4", "rv32")


def typed(command: str, folder: Path, *more: str) -> dict[str, Any]:
    """A command run in a folder as it would be typed there: its output and its seconds."""
    start, before = monotonic(), _busy()
    done = subprocess.run([sys.executable, "-m", "bittailor", *shlex.split(command)[1:], *more], cwd=folder,
                          capture_output=True, text=True, check=True,
                          env={**os.environ, "PYTHONPATH": str(FILE.parents[1] / "src"), "COLUMNS": "80"})
    return {"command": command, "seconds": monotonic() - start, "busy": _busy() - before,
            "output": done.stdout.splitlines()}


def _busy() -> float:
    """Seconds of processors that finished child processes have taken."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def session() -> dict[str, Any]:
    """The first session, command by command."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cache = ("--cache", str(folder / "cache"))
        found = [typed(command, folder, *(cache if " search " in command else ())) for command in SESSION]
        where = f"file://{folder}"
        for part in found:
            part["output"] = [line.replace(where, "file://…").replace(f"{folder}/", "") for line in part["output"]]
    return {"cores": processors(), "commands": found}


def figures(run: Run, pick: str, folder: Path) -> dict[str, Any]:
    """One solution as firmware: bytes, and instructions per step of every core."""
    solution = run.pick(pick)
    found: dict[str, Any] = {"test": solution.test, "bits": [solution.narrowest, max(solution.widths.values())],
                             "size_bits": solution.values["size"], "cores": {}}
    for core in CORES:
        if TARGETS[core].missing() is None:
            place = folder / f"{pick}-{core}"
            export_solution(run.path, place, pick=pick, core=core)
            report = verify_export(place, cores=[core], items=8)
            assert isinstance(report, Report)
            (verdict,) = report.verdicts
            if report.problem or verdict.sizes is None or verdict.counts is None:
                raise AssertionError(report.problem)
            found["cores"][core] = {"flash": verdict.sizes.flash, "ram": verdict.sizes.ram,
                                    "code": verdict.sizes.model + verdict.sizes.runtime,
                                    "instructions": verdict.counts.per_step}
    return found


def network(data: str, cache: Path | None, keep: Path | None) -> dict[str, Any]:
    """One network before and after; its run stays where `keep` says."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if keep is not None:
            (folder / "runs").symlink_to(keep.resolve(), target_is_directory=True)
            keep.mkdir(parents=True, exist_ok=True)
        more = [*(("--data", str(Path(data).resolve())) if data else ()),
                *(("--cache", str(cache.resolve())) if cache else ())]
        made = typed(SEARCH, folder, *more)
        run = Run.open(folder / "runs" / "mnist")
        compared = run.pick("holds").against("8bit", "test")
        assert compared is not None
        return {"command": SEARCH, "seconds": made["seconds"], "busy": made["busy"], "cores": processors(),
                "holds": run.holds, "items": compared.items, "unit": run.metric.unit,
                "difference": [compared.difference, compared.low, compared.high],
                "float": run.result["float"]["test"], "evaluations": run.result["evaluations"],
                "before": figures(run, "8bit", folder), "after": figures(run, "holds", folder)}


def main() -> None:
    """Measure what is asked for, and write it beside what is there."""
    parser = arguments(__doc__, data=True)
    parser.add_argument("what", nargs="?", choices=("session", "network", "both"), default="both")
    parser.add_argument("--keep", type=Path, help="folder in which the network's run stays, such as for its picture")
    given = parser.parse_args()
    found: dict[str, Any] = json.loads(FILE.read_text()) if FILE.exists() else {}
    if given.what != "network":
        found["session"] = session()
    if given.what != "session":
        found["network"] = network(given.data, given.cache, given.keep)
    write_whole(FILE, (json.dumps(found, indent=1, ensure_ascii=False) + "\n").encode())
    print(f"written: {FILE}")


if __name__ == "__main__":
    as_command(main)
