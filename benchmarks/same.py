"""Do two versions of bittailor give the same? The same searches by both, and what differs in all they write.

    python benchmarks/same.py --old-commit fc1d24f --data DIR            # against a commit
    python benchmarks/same.py --old ../other/checkout --tasks digits     # against another checkout, one task
    python benchmarks/same.py --old DIR --keep /tmp/kept --share         # what OLD gave is kept for the next time

For every variant (see `VARIANTS`: every task, every cell, beacons, limits, platforms, both engines, a search that was
stopped and resumed) each checkout runs its own command line on its own sources: train the float network, search,
analyse, retrain, export. `differences.py` says what is compared. The new version also opens the run of the old one
and exports a solution of it. One line per variant; exit status 1 where anything differs, with the first differences
and the folders that hold both.

Tasks whose data are not at hand are left out, and said to be. Without --share each version trains its own float
networks and these are compared too; with it the new version takes those of the old.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import differences
from command import arguments, as_command

from bittailor.errors import BittailorError

HERE = Path(__file__).resolve().parents[1]
SMALL = ("--hidden", "8", "--population", "12", "--generations", "6")
SHOWN = 5

OWN_NETWORK = '''
import numpy as np
import torch
from torch import nn
import bittailor as bt


class Net(nn.Module):
    """Two layers, both ways."""

    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(3, 5, 2, batch_first=True, bidirectional=True)
        self.head = nn.Linear(10, 4)

    def forward(self, x):
        return self.head(self.gru(x)[0].mean(1))


def load():
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    net = Net().eval()

    def part(n):
        x = rng.normal(size=(n, 9, 3)).astype(np.float32)
        return bt.Data(x, net(torch.from_numpy(x)).argmax(-1).numpy())

    return net, bt.Splits(part(80), part(60), part(40))
'''


@dataclass(frozen=True)
class Variant:
    """A search and what is done with it.

    task      a task's name, or FILE.py:FUNCTION
    options   of the search, beside `SMALL`
    picks     solutions that are exported; one that does not exist has to be missing in both versions
    at        where the sensitivity is analysed, None for not at all
    retrain   solutions that are retrained after the search
    stopped   generations after which the search is stopped and resumed, 0 for a search in one go
    """

    name: str
    task: str
    options: tuple[str, ...] = ()
    picks: tuple[str, ...] = ("smallest", "0")
    at: str | None = None
    retrain: tuple[str, ...] = ()
    stopped: int = 0

    def commands(self, data: Path | None) -> list[list[str]]:
        """The command lines, in a folder of their own: the run in `run`, exports beside it."""
        place = [] if data is None else ["--data", str(data)]
        search = ["search", self.task, "--out", "run", "--quiet", *SMALL, *self.options, *place]
        made = [[*search, "--generations", str(self.stopped)], [*search, "--resume"]] if self.stopped else [search]
        if self.at:
            made.append(["sensitivity", "run", "--at", self.at, *place])
        for pick in self.retrain:
            made.append(["retrain", "run", "--pick", pick, "--recipe", "epochs=1", "--recipe", "updates=20", *place])
        return made + [["export", "run", f"export-{i}", "--pick", pick, *place] for i, pick in enumerate(self.picks)]


SHORT = ("--recipe", "epochs=1", "--recipe", "updates=20")
VARIANTS = (
    Variant("digits", "digits", picks=("smallest", "careful", "knee", "8bit"), at="8bit", stopped=3),
    Variant("digits, beacons and polish", "digits",
            ("--beacons", "2", "--polish", "2", "--beacon-rule", "first=2", "--beacon-rule", "every=2", *SHORT),
            picks=("smallest", "0", "retrained:8bit"), at="smallest", retrain=("8bit", "0")),
    Variant("digits, reference engine", "digits",
            ("--engine", "reference", "--workers", "2", "--cell", "ligru", "--space", "per_layer")),
    Variant("mnist, lstm, a scale per row", "mnist", ("--cell", "lstm", "--per-row"), at="8bit"),
    Variant("spoken-digits, sru, early stopping", "spoken-digits", ("--cell", "sru", "--early-stop")),
    Variant("vowels, gru_cho, three objectives and limits", "vowels",
            ("--cell", "gru_cho", "--objectives", "error,size,instructions", "--constrain", "ram<=1KiB",
             "--constrain", "error<=40", "--constrain", "flash<=2KiB"), picks=("smallest", "0", "flash<=1KiB")),
    Variant("mnist1d, mingru, MOHAQ on Bit Fusion", "mnist1d",
            ("--cell", "mingru", "--preset", "mohaq", "--space", "bitfusion")),
    Variant("pendigits, gru, MOHAQ on SiLago", "pendigits", ("--preset", "mohaq", "--space", "silago")),
    Variant("pendigits, lstm, widths", "pendigits",
            ("--cell", "lstm", "--widths", "2,4,8", "--activations", "4-8", "--biases", "8,16", "--objectives",
             "error,stored,code,instructions.m0"), at="0"),
    Variant("adding, templates, plain calibration", "adding",
            ("--calibration", "minmax", "--rounding", "nearest", "--guide", "error", "--seeding", "templates")),
    Variant("phones", "phones", ("--seeding", "homogeneous")),
    Variant("timit, beam search", "timit", ("--metric", "per_beam")),
    Variant("timit, CTC, sru", "timit", ("--metric", "per_ctc", "--cell", "sru")),
    Variant("own network, two layers both ways", "own_network.py:load", picks=("smallest", "knee", "8bit"), at="8bit"),
)


# --- running ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Version:
    """A checkout, and the folder where what it gives lies."""

    checkout: Path
    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        """With its own sources, and caches of its own."""
        return {**os.environ, "PYTHONPATH": str(self.checkout / "src"), "XDG_CACHE_HOME": str(self.folder / "cache")}

    def check(self) -> None:
        """BittailorError unless its own sources are what Python finds."""
        done = subprocess.run([sys.executable, "-c", "import bittailor; print(bittailor.__file__)"],
                              env=self.environment, cwd=self.folder, capture_output=True, text=True, check=False)
        if not Path(done.stdout.strip()).is_relative_to(self.checkout / "src"):
            raise BittailorError(f"{self.checkout} is no checkout of bittailor: Python finds "
                                 f"{done.stdout.strip() or 'none'} {last_line(done.stderr)}")

    def call(self, command: list[str], place: Path) -> subprocess.CompletedProcess[str]:
        """Its command line, run in a folder."""
        return subprocess.run([sys.executable, "-m", "bittailor", *command], env=self.environment, cwd=place,
                              capture_output=True, text=True, check=False)

    def make(self, variant: Variant, data: Path | None) -> Path:
        """The folder with all that a variant gives; taken as it is where it is complete."""
        commands = variant.commands(data)
        place = self.folder / "".join(c if c.isalnum() else "-" for c in variant.name)
        if (differences.read_json(place / "done.json") or {}).get("commands") == commands:
            return place
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        (place / "own_network.py").write_text(OWN_NETWORK)
        begun, ends = time.monotonic(), []
        for command in commands:
            done = self.call(command, place)
            ends.append({"status": done.returncode, "words": last_line(done.stderr) if done.returncode else ""})
            if done.returncode and command[0] == "search":
                break
        (place / "done.json").write_text(json.dumps(
            {"commands": commands, "ends": ends, "seconds": time.monotonic() - begun}, indent=1))
        return place


def last_line(text: str) -> str:
    """What an error says at its end."""
    return text.strip().splitlines()[-1] if text.strip() else ""


def fingerprint(checkout: Path) -> str:
    """Of the sources of a checkout."""
    digest = hashlib.sha256()
    for file in sorted((checkout / "src").rglob("*")):
        if file.is_file() and "__pycache__" not in file.parts:
            digest.update(str(file.relative_to(checkout)).encode() + file.read_bytes())
    return digest.hexdigest()[:16]


@contextmanager
def old_checkout(options: argparse.Namespace) -> Iterator[Path]:
    """--old, or the files of --old-commit in a folder that is gone afterwards."""
    if options.old is not None:
        yield options.old.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="bittailor-old-") as folder:
        archive = subprocess.run(["git", "-C", str(HERE), "archive", options.old_commit, "src", "benchmarks"],
                                 capture_output=True, check=False)
        if archive.returncode:
            raise BittailorError(f"git does not give {options.old_commit}: {last_line(archive.stderr.decode())}")
        subprocess.run(["tar", "-x", "-C", folder], input=archive.stdout, check=True)
        yield Path(folder)


# --- comparing --------------------------------------------------------------------------------------------------------


def compare(old: Path, new: Path) -> list[str]:
    """What differs in all that a variant gave."""
    before, now = (differences.read_json(place / "done.json") for place in (old, new))
    found = []
    for command, a, b in zip(before["commands"], before["ends"], now["ends"], strict=False):
        if a["status"] != b["status"]:
            found.append(f"{' '.join(command[:2])}: exit status {a['status']} {a['words']}, "
                         f"now {b['status']} {b['words']}")
    if now["ends"][0]["status"] == 0:
        found += differences.of_runs(old / "run", new / "run")
    for export in sorted(old.glob("export-*")):
        found += differences.of_exports(export, new / export.name)
    return found


def opened_anew(new: Version, old: Path, variant: Variant, data: Path | None) -> list[str]:
    """What is wrong where the new version opens a run of the old one: shows it, exports a solution of it."""
    place = [] if data is None else ["--data", str(data)]
    with tempfile.TemporaryDirectory() as scratch:
        for i, pick in enumerate(variant.picks):
            if not (old / f"export-{i}").is_dir():
                continue
            again = Path(scratch) / f"export-{i}"
            for command in (["show", "run"], ["show", "run", "--pick", pick],
                            ["export", "run", str(again), "--pick", pick, *place]):
                done = new.call(command, old)
                if done.returncode:
                    return [f"the old run, {' '.join(command[:2])}: {last_line(done.stderr)}"]
            return [f"of the old run, {line}" for line in differences.of_exports(old / f"export-{i}", again)]
    return []


def counted(place: Path) -> str:
    """How much there was to compare."""
    result = differences.read_json(place / "run" / "result.json")
    exports = [sum(f.is_file() for f in export.rglob("*")) for export in place.glob("export-*")]
    retrained = len(differences.beacons(place / "run" / "beacons"))
    return (f"{result['evaluations']} evaluations, a front of {len(result['front'])}, "
            f"{len(result['picks'])} picks, " + (f"{retrained} retrained networks, " if retrained else "")
            + f"{len(exports)} exports of {max(exports, default=0)} files")


def judge(variant: Variant, old: Version, new: Version, data: Path | None) -> bool:
    """Print the line of a variant; whether nothing differs."""
    before = old.make(variant, data)
    done = differences.read_json(before / "done.json")
    if done["ends"][0]["status"]:
        print(f"{variant.name}: left out ({done['ends'][0]['words']})", flush=True)
        return True
    now = new.make(variant, data)
    found = compare(before, now) + opened_anew(new, before, variant, data)
    seconds = [round(differences.read_json(place / "done.json")["seconds"]) for place in (before, now)]
    print(f"{variant.name}: {'DIFFERS' if found else 'same'}: {counted(before)} ({seconds[0]} s, {seconds[1]} s)",
          flush=True)
    for line in found[:SHOWN]:
        print(f"    {line}", flush=True)
    if found:
        print(f"    {len(found)} differences; see {before} and {now}", flush=True)
    return not found


def main() -> int:
    """Compare all; 1 where something differs."""
    parser = arguments(__doc__)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--old", type=Path, help="a checkout")
    which.add_argument("--old-commit", default="HEAD", help="a commit of this repository; HEAD if not given")
    parser.add_argument("--new", type=Path, default=HERE, help="a checkout; this one if not given")
    parser.add_argument("--tasks", nargs="+", help="variants whose names begin so; all if not given")
    parser.add_argument("--data", type=Path, help="folder with the data sets")
    parser.add_argument("--keep", type=Path, help="folder where the results of the old version stay")
    parser.add_argument("--share", action="store_true", help="the new version takes the old one's float networks")
    options = parser.parse_args()
    variants = [v for v in VARIANTS if options.tasks is None or v.name.startswith(tuple(options.tasks))]
    if not variants:
        raise BittailorError(f"no variant begins with {' or '.join(options.tasks)}: "
                             + "; ".join(v.name for v in VARIANTS))
    data = None if options.data is None else options.data.resolve()
    scratch = Path(tempfile.mkdtemp(prefix="bittailor-same-"))
    with old_checkout(options) as checkout:
        old = Version(checkout, (options.keep or scratch).resolve() / fingerprint(checkout))
        new = Version(options.new.resolve(), scratch / "new")
        for version in (old, new):
            version.folder.mkdir(parents=True, exist_ok=True)
            version.check()
        good = []
        for variant in variants:
            good.append(run_one(variant, old, new, data, options.share))
    print(f"{sum(good)} of {len(good)} variants give the same")
    if all(good):
        shutil.rmtree(scratch)
    return 0 if all(good) else 1


def run_one(variant: Variant, old: Version, new: Version, data: Path | None, share: bool) -> bool:
    """`judge`, with the old version's caches where they are shared."""
    if share:
        old.make(variant, data)
        if (old.folder / "cache").is_dir():
            shutil.copytree(old.folder / "cache", new.folder / "cache", dirs_exist_ok=True)
    return judge(variant, old, new, data)


if __name__ == "__main__":
    as_command(main)
