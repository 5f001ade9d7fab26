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

import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import checkouts
import differences
from checkouts import environment, last_line
from command import as_command

from bittailor.errors import BittailorError

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
    exported  options of exports
    """

    name: str
    task: str
    options: tuple[str, ...] = ()
    picks: tuple[str, ...] = ("smallest", "0")
    at: str | None = None
    retrain: tuple[str, ...] = ()
    stopped: int = 0
    exported: tuple[str, ...] = ()

    def commands(self, data: Path | None) -> list[list[str]]:
        """The command lines, in a folder of their own: the run in `run`, exports beside it."""
        place = [] if data is None else ["--data", str(data)]
        search = ["search", self.task, "--out", "run", "--quiet", *SMALL, *self.options, *place]
        made = [[*search, "--generations", str(self.stopped)], [*search, "--resume"]] if self.stopped else [search]
        if self.at:
            made.append(["sensitivity", "run", "--at", self.at, *place])
        for pick in self.retrain:
            made.append(["retrain", "run", "--pick", pick, "--epochs", "2", *place])
        return made + [["export", "run", f"export-{i}", *self.export(i, data)] for i in range(len(self.picks))]

    def export(self, number: int, data: Path | None) -> list[str]:
        """The options of an export."""
        return ["--pick", self.picks[number], *self.exported, *([] if data is None else ["--data", str(data)])]


SHORT = ("--recipe", "epochs=1", "--recipe", "updates=0")
VARIANTS = (
    Variant("digits", "digits", picks=("smallest", "careful", "knee", "8bit"), at="8bit", stopped=3),
    Variant("digits, beacons and polish", "digits",
            ("--beacons", "2", "--polish", "2", "--beacon-rule", "first=2", "--beacon-rule", "every=2", *SHORT),
            picks=("smallest", "0", "retrained:8bit"), at="smallest", retrain=("8bit", "0")),
    Variant("digits, reference engine", "digits",
            ("--engine", "reference", "--workers", "2", "--cell", "ligru", "--space", "per_layer")),
    Variant("mnist, lstm, a scale per row", "mnist", ("--cell", "lstm", "--per-row"), at="8bit"),
    Variant("spoken-digits, sru, no racing", "spoken-digits", ("--cell", "sru", "--no-racing")),
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
    Variant("own network, two layers both ways", "own_network.py:load", picks=("smallest", "knee", "8bit"),
            exported=("--steps", "12")),
)


# --- running ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Version:
    """What one checkout gives: its environment, and the folder where results and caches lie."""

    environment: dict[str, str]
    folder: Path

    @classmethod
    def of(cls, checkout: Path, folder: Path) -> Version:
        """BittailorError unless Python finds the checkout's own sources."""
        folder.mkdir(parents=True, exist_ok=True)
        return cls(environment(checkout, folder / "cache"), folder)

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


def fingerprint(checkout: Path) -> str:
    """Of the sources of a checkout."""
    digest = hashlib.sha256()
    for file in sorted((checkout / "src").rglob("*")):
        if file.is_file() and "__pycache__" not in file.parts:
            digest.update(str(file.relative_to(checkout)).encode() + file.read_bytes())
    return digest.hexdigest()[:16]


# --- comparing --------------------------------------------------------------------------------------------------------


def compare(old: Path, new: Path, known: Collection[str]) -> list[str]:
    """What differs in all that a variant gave.

    known  names of exported files that may differ
    """
    before, now = (differences.read_json(place / "done.json") for place in (old, new))
    found = []
    for command, a, b in zip(before["commands"], before["ends"], now["ends"], strict=False):
        if a["status"] != b["status"]:
            found.append(f"{' '.join(command[:2])}: exit status {a['status']} {a['words']}, "
                         f"now {b['status']} {b['words']}")
    if now["ends"][0]["status"] == 0:
        found += differences.of_runs(old / "run", new / "run")
    exports = sorted(old.glob("export-*"))
    if not exports:
        found.append(f"nothing was exported, so nothing is shown: {before['ends'][-1]['words']}")
    for export in exports:
        found += differences.of_exports(export, new / export.name, known)
    return found


def opened_anew(
    new: Version, old: Path, variant: Variant, data: Path | None, known: Collection[str]
) -> list[str]:
    """What is wrong where the new version opens a run of the old one: shows it, reports it, exports a solution."""
    numbers = [i for i in range(len(variant.picks)) if (old / f"export-{i}").is_dir()][:1]
    with tempfile.TemporaryDirectory() as scratch:
        commands = [["show", "run"]]
        if variant.at:
            commands.append(["report", "run", "--out", f"{scratch}/report"])
        for i in numbers:
            commands += [["show", "run", "--pick", variant.picks[i]],
                         ["export", "run", f"{scratch}/export-{i}", *variant.export(i, data)]]
        for command in commands:
            done = new.call(command, old)
            if done.returncode:
                return [f"the old run, {' '.join(command[:2])}: {last_line(done.stderr)}"]
        return [f"the old run, {line}" for i in numbers
                for line in differences.of_exports(old / f"export-{i}", Path(scratch) / f"export-{i}", known)]


def counted(place: Path) -> str:
    """How much there was to compare."""
    result = differences.read_json(place / "run" / "result.json")
    exports = [sum(f.is_file() for f in export.rglob("*")) for export in place.glob("export-*")]
    retrained = len(differences.beacons(place / "run" / "beacons"))
    return (f"{result['evaluations']} evaluations, a front of {len(result['front'])}, "
            f"{len(result['picks'])} picks, " + (f"{retrained} retrained networks, " if retrained else "")
            + f"{len(exports)} exports of {max(exports, default=0)} files")


def judge(
    variant: Variant, old: Version, new: Version, data: Path | None, share: bool, known: Collection[str]
) -> bool | None:
    """Print the line of a variant; whether nothing differs, None where it could not be run.

    share  whether the new version begins with the old one's caches
    known  names of exported files that may differ
    """
    before = old.make(variant, data)
    done = differences.read_json(before / "done.json")
    if done["ends"][0]["status"]:
        print(f"{variant.name}: left out ({done['ends'][0]['words']})", flush=True)
        return None
    if share and (old.folder / "cache").is_dir():
        shutil.copytree(old.folder / "cache", new.folder / "cache", dirs_exist_ok=True)
    now = new.make(variant, data)
    found = compare(before, now, known) + opened_anew(new, before, variant, data, known)
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
    parser = checkouts.parser(__doc__)
    parser.add_argument("--tasks", nargs="+", help="variants whose names begin so; all if not given")
    parser.add_argument("--data", type=Path, help="folder with the data sets")
    parser.add_argument("--keep", type=Path, help="folder where the results of the old version stay")
    parser.add_argument("--share", action="store_true", help="the new version takes the old one's float networks")
    parser.add_argument("--known", nargs="+", default=[], metavar="FILE",
                        help="names of exported files that are known to differ and not compared")
    options = parser.parse_args()
    variants = [v for v in VARIANTS if options.tasks is None or v.name.startswith(tuple(options.tasks))]
    if not variants:
        raise BittailorError(f"no variant begins with {' or '.join(options.tasks)}: "
                             + "; ".join(v.name for v in VARIANTS))
    data = None if options.data is None else options.data.resolve()
    scratch = Path(tempfile.mkdtemp(prefix="bittailor-same-"))
    with checkouts.checkouts(options) as (before, now):
        old = Version.of(before, (options.keep or scratch).resolve() / fingerprint(before))
        new = Version.of(now, scratch / "new")
        good = [judge(variant, old, new, data, options.share, options.known) for variant in variants]
    print(f"{good.count(True)} of {len(good)} variants give the same, {good.count(False)} differ, "
          f"{good.count(None)} were left out" + "".join(f"; not compared: {name}" for name in options.known))
    if False in good:
        return 1
    shutil.rmtree(scratch)
    return 0


if __name__ == "__main__":
    as_command(main)
