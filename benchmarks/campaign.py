"""Does anything ever differ? Random programs through everything that computes, killed searches, flipped bits.

    python benchmarks/campaign.py --minutes 60 --seed 1          # goes on from results/campaign.json
    python benchmarks/campaign.py --minutes 5 --parts programs   # programs, kills, flips; all if not given

programs  Random programs, every cell in turn, each with many input sequences: the reference engine against every
          variant of the native engine, the other engines, the torch module, ONNX in onnxruntime (where installed), and
          C exported and compiled for this machine (a batch of programs to one compilation, every third batch under a
          sanitizer). A pair is a program with one sequence; it counts once, when everything has given the integers of
          the reference.
kills     A search in a process of its own is killed (-9) at random moments and resumed until it ends, every fourth with
          beacons; the run must hold what an undisturbed one holds: result, every evaluation, calibrations.
flips     One bit of one file of a finished run is turned. Opening the run with its programs, and resuming its search,
          are each either refused in one line, or give what they gave before.

Counts are written as it goes, and added to those that the file holds; a second call with the same seed draws what the
first did not. Exit status 1 if anything differed: what did is listed in the file, with the seed to repeat it.
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

import bittailor as bt  # noqa: E402
from bittailor.common.files import write_whole  # noqa: E402
from bittailor.core.builder import Builder  # noqa: E402
from bittailor.core.cells import CELLS, add_layer  # noqa: E402
from bittailor.core.network import Network  # noqa: E402
from bittailor.core.program import Program  # noqa: E402
from bittailor.engines import ENGINES, Native  # noqa: E402
from bittailor.engines.native_build import find_compiler, runnable  # noqa: E402
from bittailor.errors import BittailorError  # noqa: E402
from bittailor.export import fingerprint  # noqa: E402
from firmware_host import Built, build  # noqa: E402
from networks import (  # noqa: E402
    CELL_VARIANTS,
    gru_network,
    options_of,
    random_case,
    random_integers,
    random_lengths,
    random_parameters,
)

BATCH, ITEMS, STEPS = 16, 2048, 11
FEWER = {"onnx": 128, "torch module": 256}
"""Sequences of a program, where running all takes too long (onnxruntime), or is done by an engine anyway."""
TRACED = 2
"""Items of a program of which every site is compared in the exported C."""
SANITIZED = ("-O1", "-fsanitize=undefined", "-fno-sanitize-recover=all")
PARTS = {"programs": 0.7, "kills": 0.2, "flips": 0.1}
"""Part -> its share of the time."""
MOST_FINDINGS = 50

Ints = Any
Run = Callable[[Program, Ints, Ints], Ints]


@dataclass
class Campaign:
    """What was counted, and what differed, in this call and the ones before.

    former  the content of the file when this call began
    """

    out: Path
    seed: int
    call: int
    former: dict[str, Any]
    counts: Counter[str] = field(default_factory=Counter)
    findings: list[dict[str, Any]] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)
    written: float = 0.0

    @classmethod
    def at(cls, out: Path, seed: int) -> Campaign:
        """Begin, or go on with a file."""
        former = json.loads(out.read_text()) if out.exists() else {"sessions": [], "counts": {}, "findings": []}
        return cls(out, seed, sum(s["seed"] == seed for s in former["sessions"]), former)

    def rng(self, part: str, number: int) -> np.random.Generator:
        """Random numbers of one try: of this seed, this call, this part."""
        return np.random.default_rng([self.seed, self.call, list(PARTS).index(part), number])

    def found(self, what: str, **where: Any) -> None:
        """Something differed."""
        self.counts["differences"] += 1
        self.findings.append({"what": what, "seed": self.seed, "call": self.call, **where})
        print(f"DIFFERS: {what} {where}", flush=True)
        self.write()

    def write(self, least_s: float = 0.0) -> None:
        """Write the counts, if the last time is `least_s` ago."""
        now = time.monotonic()
        if now - self.written < least_s:
            return
        self.written = now
        session = {"seed": self.seed, "call": self.call, "commit": commit(), "seconds": round(now - self.began),
                   "counts": dict(sorted(self.counts.items()))}
        total = Counter(self.former["counts"]) + self.counts
        body = {"counts": {"differences": 0, **dict(sorted(total.items()))},
                "seconds": sum(s["seconds"] for s in self.former["sessions"]) + session["seconds"],
                "findings": [*self.former["findings"], *self.findings][:MOST_FINDINGS],
                "sessions": [*self.former["sessions"], session]}
        write_whole(self.out, json.dumps(body, indent=1).encode() + b"\n")


def commit() -> str:
    """Of the working tree; with a mark if it was changed."""
    def git(*words: str) -> str:
        command = ["git", "-C", str(ROOT), *words]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()

    return git("rev-parse", "--short=12", "HEAD") + ("+" if git("status", "--porcelain", "-uno", "src") else "")


# --- programs ----------------------------------------------------------------------------------------------------


def ways() -> dict[str, Run]:
    """Name -> what runs a program, besides the reference and exported C: all that is installed here."""
    found: dict[str, Run] = {}
    if find_compiler():
        # ragged pieces over threads are a matter of tests; here every core computes one program
        found |= {f"native {name}": Native(name).run for name in runnable()}
    for name, engine in ENGINES.items():
        if name not in ("reference", "native") and engine.available() is None:
            found[name] = engine.run
    if ENGINES["torch"].available() is None:
        found["torch module"] = _by_module
    if find_spec("onnx") and find_spec("onnxruntime"):
        found["onnx"] = _by_onnx
    return found


def _by_module(program: Program, q: Ints, lengths: Ints) -> Ints:
    import torch

    from bittailor.export.torch import module

    y: Ints = module(program)(torch.from_numpy(q), torch.from_numpy(lengths)).numpy()
    return y


def _by_onnx(program: Program, q: Ints, lengths: Ints) -> Ints:
    from bittailor.export.onnx.files import run_model
    from bittailor.export.onnx.running import Session, run

    return run(Session(run_model(program, "a campaign"), "the model"), program, q, lengths)


def cell_network(cell: str, variant: str, rng: np.random.Generator) -> Network:
    """One or two layers of a cell, of any width, direction and end."""
    b = Builder()
    x = b.input("input", int(rng.integers(1, 20)))
    for layer in range(int(rng.integers(1, 3))):
        x = add_layer(b, CELLS[cell], f"l{layer}", x, int(rng.integers(1, 36)), bool(rng.random() < 0.7),
                      bool(rng.random() < 0.3), **options_of(cell, variant))
    end = str(rng.choice(["last", "mean", "first", "sequence"]))
    x = x if end == "sequence" else b.op(end, "end", x)
    graph = b.graph(b.linear("head.out", x, "head.W", int(rng.integers(1, 12)), "head.b"))
    return Network(graph, random_parameters(graph, rng))


@dataclass(frozen=True, eq=False)
class Tried:
    """A program, its inputs, and what the reference makes of them."""

    seed: int
    cell: str
    program: Program
    q: Ints
    lengths: Ints
    want: Ints


def draw(number: int, rng: np.random.Generator) -> Tried:
    """A program of any network (every second time), or of the next cell."""
    seed = int(rng.integers(2**31))
    cell, variant = CELL_VARIANTS[number // 2 % len(CELL_VARIANTS)]
    network = cell_network(cell, variant, rng) if number % 2 else None
    program = random_case(seed, network).program
    steps = int(rng.integers(1, STEPS + 1))
    features = program.graph.sites[program.graph.inputs[0]].features
    parts = [random_integers(rng, program.input_format, (ITEMS // 8, steps, features)) for _ in range(8)]
    q = np.concatenate(parts)
    lengths = random_lengths(rng, ITEMS, steps)
    lengths = np.full(ITEMS, steps) if lengths is None else lengths
    q[np.arange(steps) >= lengths[:, None]] = 0
    want = ENGINES["reference"].run(program, q, lengths)
    return Tried(seed, f"{cell} {variant}".strip() if network else "any", program, q, lengths, want)


def programs(campaign: Campaign, number: int, engines: dict[str, Run], folder: Path) -> None:
    """One batch of programs through everything."""
    rng = campaign.rng("programs", number)
    batch = [draw(number * BATCH + i, rng) for i in range(BATCH)]
    right = [True] * len(batch)
    for i, tried in enumerate(batch):
        for name, run in engines.items():
            count = FEWER.get(name, ITEMS)
            got = run(tried.program, tried.q[:count], tried.lengths[:count])
            if not np.array_equal(_valid(got, tried), _valid(tried.want[:count], tried)):
                right[i] = False
                campaign.found(f"{name}: another output", cell=tried.cell, case=tried.seed, batch=number)
            campaign.counts[f"pairs: {name}"] += count
    if find_compiler():
        _exported(campaign, number, batch, right, folder)
    for tried, good in zip(batch, right, strict=True):
        campaign.counts["programs"] += good
        campaign.counts["pairs"] += ITEMS * good
        campaign.counts["values"] += tried.want.size * good
        campaign.counts[f"programs: {tried.cell}"] += good


def _valid(y: Ints, tried: Tried) -> Ints:
    """The outputs within an item's length."""
    return y[np.arange(y.shape[1]) < tried.lengths[: len(y), None]] if y.ndim == 3 else y


def _exported(campaign: Campaign, number: int, batch: list[Tried], right: list[bool], folder: Path) -> None:
    flags = SANITIZED if number % 3 == 2 else ("-O2",)
    name = f"exported C{', sanitized' if number % 3 == 2 else ''}"
    place = Path(tempfile.mkdtemp(dir=folder))
    try:
        named = {f"p{i}": tried.program for i, tried in enumerate(batch)}
        built = build(named, STEPS, str(find_compiler()), place, flags)
        for i, tried in enumerate(batch):
            wrong = next(_differences(built[f"p{i}"], tried), None)
            if wrong is not None:
                right[i] = False
                campaign.found(f"{name}: {wrong}", cell=tried.cell, case=tried.seed, batch=number)
            campaign.counts[f"pairs: {name}"] += ITEMS
    finally:
        shutil.rmtree(place)


def _differences(built: Built, tried: Tried) -> Iterator[str]:
    per_step = built.model.per_step
    reference: Any = ENGINES["reference"]
    sites = reference.trace(tried.program, tried.q[:TRACED], tried.lengths[:TRACED])
    graph = tried.program.graph
    for item, n in enumerate(tried.lengths.tolist()):
        if item < TRACED:
            y, traced = built.run(tried.q[item, :n])
            for site in built.model.order.traced:
                expected = sites[site][item, :n] if graph.sites[site].sequence else sites[site][item][None]
                if not np.array_equal(traced[site], expected):
                    yield f"item {item}, site {site}"
        else:
            y = built.run_only(tried.q[item, :n])
        if not np.array_equal(y, tried.want[item, :n] if per_step else tried.want[item]):
            yield f"item {item}, output"


# --- kills -------------------------------------------------------------------------------------------------------


def search(folder: Path, seed: int, beacons: bool) -> bt.Run:
    """A small search that everything follows from a seed; goes on with what is in the folder."""
    rng = np.random.default_rng(seed)
    network = gru_network(3, 5, 3, seed=seed)
    x = rng.normal(size=(90, 5, 3)).astype(np.float32)
    y = network(x).argmax(axis=1)
    splits = bt.Splits(bt.Data(x[:40], y[:40]), bt.Data(x[40:70], y[40:70]), bt.Data(x[70:], y[70:]))
    recipe = bt.Retraining(epochs=1)
    settings = bt.BeaconSettings(budget=2, polish=1, first=2, every=1, hopeless=1.0, threshold=0.0, share=1.0,
                                 recipe=recipe) if beacons else bt.BeaconSettings()
    spec = bt.SearchSpec(search=bt.SearchSettings(population=10, generations=6, seed=seed), beacons=settings, workers=1)
    return bt.run_search(network, splits, folder, spec, resume=(folder / "run.json").exists())


def content(run: bt.Run) -> dict[str, Any]:
    """All of a run that does not tell when it was made."""
    result = {name: value for name, value in run.result.items() if name not in ("finished", "seconds")}
    for generation in result["history"]:
        generation.pop("new", None), generation.pop("cached", None)
    if "beacons" in result:
        result["beacons"] = {name: value for name, value in result["beacons"].items() if name != "seconds"}
    with run.store() as store:
        rows = [(row.ordinal, row.key, row.genome, row.outcome.values, row.outcome.reason, row.outcome.beacon)
                for row in store.rows()]
    picks = {name: fingerprint(run.program(solution)) for name, solution in run.picks.items()}
    kept = {str(path.relative_to(run.path)): path.read_bytes().hex()
            for path in sorted(run.path.rglob("*.safetensors"))}
    found: dict[str, Any] = json.loads(json.dumps({"result": result, "rows": rows, "programs": picks, "kept": kept}))
    return found


def kills(campaign: Campaign, number: int, folder: Path) -> None:
    """One search, killed up to four times, against an undisturbed one."""
    rng = campaign.rng("kills", number)
    seed, beacons = int(rng.integers(2**31)), number % 4 == 3
    command = [sys.executable, __file__, "--child", str(seed), *(["--beacons"] if beacons else [])]
    kind = "with beacons" if beacons else "plain"

    def start(place: Path) -> subprocess.Popen[str]:
        return subprocess.Popen([*command, "--out", str(place)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                                text=True)

    began = time.monotonic()
    first = start(folder / "whole")
    _, said = first.communicate()
    if first.returncode:
        campaign.found(f"a search failed: {said[-300:]}", number=number, search=seed)
        return
    took, place = time.monotonic() - began, folder / "killed"
    for _ in range(int(rng.integers(1, 5))):
        process = start(place)
        try:
            process.wait(rng.uniform(0.2, 1) * took)
        except subprocess.TimeoutExpired:
            process.kill()
            campaign.counts[f"kills: {kind}"] += 1
        _, said = process.communicate()
        if process.returncode not in (0, -9):
            campaign.found(f"a resumed search failed: {said[-300:]}", number=number, search=seed)
            return
    last = start(place)
    _, said = last.communicate()
    if last.returncode:
        campaign.found(f"a resumed search failed: {said[-300:]}", number=number, search=seed)
        return
    campaign.counts[f"resumed searches: {kind}"] += 1
    whole, other = (content(bt.Run.open(path)) for path in (folder / "whole", place))
    for name in whole:
        if whole[name] != other[name]:
            campaign.found(f"a killed and resumed search has other {name} ({kind})", number=number, search=seed)


# --- flips -------------------------------------------------------------------------------------------------------


def flips(campaign: Campaign, number: int, folder: Path) -> None:
    """Ten flips in the files of one finished run."""
    rng = campaign.rng("flips", number)
    seed = int(rng.integers(2**31))
    whole = search(folder / "whole", seed, beacons=False).path
    before = content(bt.Run.open(whole))
    for _ in range(10):
        place = folder / "flipped"
        shutil.copytree(whole, place)
        files = sorted(path for path in place.rglob("*") if path.is_file() and path.stat().st_size)
        file = files[rng.integers(len(files))]
        data = bytearray(file.read_bytes())
        bit = int(rng.integers(8 * len(data)))
        data[bit // 8] ^= 1 << bit % 8
        file.write_bytes(data)
        where = {"number": number, "search": seed, "file": file.name, "bit": bit}
        for what, use in (("opened", lambda p=place: bt.Run.open(p)),
                          ("resumed", lambda p=place: search(p, seed, beacons=False))):
            campaign.counts["flips: " + _after(campaign, what, use, before, where)] += 1
        campaign.counts["flips"] += 1
        shutil.rmtree(place)


def _after(
    campaign: Campaign, what: str, use: Callable[[], bt.Run], before: dict[str, Any], where: dict[str, Any]
) -> str:
    """What came of using a run: refused, equal, or something that must not be."""
    try:
        after = content(use())
    except BittailorError as error:
        if "\n" in str(error):
            campaign.found(f"{what}: more than a line", **where)
        return f"{what}, refused"
    except Exception as error:
        campaign.found(f"{what}: {type(error).__name__}: {error}", **where)
        return f"{what}, failed"
    if after != before:
        campaign.found(f"{what}: other {', '.join(name for name in before if before[name] != after[name])}", **where)
        return f"{what}, another"
    return f"{what}, equal"


# --- all of it ---------------------------------------------------------------------------------------------------


@contextmanager
def quiet() -> Iterator[None]:
    """Warnings of stores whose damaged rows are made again are what is wanted here."""
    logging.disable(logging.WARNING)
    yield
    logging.disable(logging.NOTSET)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0, help="how long, about")
    parser.add_argument("--seed", type=int, default=None, help="of all that is random; a fresh one if not given")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="what is tried")
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "campaign.json", help="the file of counts")
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--beacons", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child is not None:
        search(options.out, options.child, options.beacons)
        return 0
    seed = random.SystemRandom().randrange(2**31) if options.seed is None else options.seed
    campaign, engines = Campaign.at(options.out, seed), ways()
    print(f"seed {seed}, {options.minutes:g} minutes: reference against {', '.join(engines)}, exported C", flush=True)
    spent, number = dict.fromkeys(options.parts, 0.0), dict.fromkeys(options.parts, 0)
    with quiet():
        while time.monotonic() - campaign.began < 60 * options.minutes:
            part = min(options.parts, key=lambda name: spent[name] / PARTS[name])
            start = time.monotonic()
            with tempfile.TemporaryDirectory(prefix="campaign-") as folder:
                if part == "programs":
                    programs(campaign, number[part], engines, Path(folder))
                else:
                    {"kills": kills, "flips": flips}[part](campaign, number[part], Path(folder))
            number[part] += 1
            spent[part] += time.monotonic() - start
            campaign.write(least_s=20)
    campaign.write()
    print(json.dumps(campaign.counts, indent=1, sort_keys=True))
    return bool(campaign.counts["differences"])


if __name__ == "__main__":
    sys.exit(main())
