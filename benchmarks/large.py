"""The whole road with a speech-enhancement network of 2.8 million weights: time and memory of every step.

    python benchmarks/large.py                  # writes results/large.json; an hour or two on 2 cores
    python benchmarks/large.py --minutes 9      # stops after so long; the same command goes on
    python benchmarks/large.py --only sensitivity report            # some steps, which need the search before them
    python benchmarks/large.py --population 8 --generations 3 --folder runs/look --out look.json    # a look

257 -> 400 -> two GRU layers of 400 -> 600 -> 600 -> 257, a mask for every frame, as public networks of this kind have
them; trained briefly here, so that errors mean little, while time and memory do not depend on them. Few and short
items (those of the task `enhance`, a second each): a candidate costs what its frames cost.

Every step is a command of `bittailor` in a process of its own, as a user would type it: its seconds (of all pieces
where it was stopped and resumed), those of its processors, and the most memory it had, as the system counts them.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from command import AGAIN, arguments, as_command
from torch import Tensor, nn

import bittailor as bt
from bittailor.common.files import write_whole
from bittailor.errors import BittailorError
from bittailor.evaluate.masks import NOISY
from bittailor.evaluate.metrics import METRICS
from bittailor.tasks import TASKS
from bittailor.train.floats import tensors

METRIC = "masked_si_sdr"
FRAMES = 62
ITEMS = {"train": 32, "valid": 4, "test": 4}
UPDATES, RATE = 24, 5e-4
FOLDER_NAME = "BITTAILOR_LARGE"
"""Environment variable: where the trained network lies, for `material`."""


class Large(nn.Module):
    """The network; `lengths` change nothing within them."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.gru = nn.Linear(257, 400), nn.GRU(400, 400, 2, batch_first=True)
        self.first, self.second, self.head = nn.Linear(400, 600), nn.Linear(600, 600), nn.Linear(600, 257)

    def forward(self, x: Tensor) -> Tensor:
        """Masks [items, frames, 257]."""
        out, _ = self.gru(torch.relu(self.before(x)))
        return torch.sigmoid(self.head(torch.relu(self.second(torch.relu(self.first(out))))))


def splits() -> bt.Splits:
    """A second of some items of the task `enhance`."""
    data = TASKS["enhance"].load()
    cut = {}
    for name, items in ITEMS.items():
        part = getattr(data, name)[:items]
        cut[name] = bt.Data(part.x[:, :FRAMES], part.y[:, : 256 * (FRAMES + 1)],
                            extras={**part.extras, NOISY: part.extras[NOISY][:, :FRAMES]})
    return bt.Splits(**cut)


def prepare(folder: Path) -> None:
    """Train the network for a moment and keep it."""
    torch.manual_seed(0)
    module, train = Large(), splits().train
    loss = METRICS[METRIC].loss_for(train.targets)
    x, targets = torch.from_numpy(train.x), tensors(train.targets)
    optimizer = torch.optim.Adam(module.parameters(), RATE)
    for _ in range(UPDATES):
        optimizer.zero_grad()
        value = loss.train(module(x), targets)
        value.backward()
        optimizer.step()
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(module.state_dict(), folder / "network.pt")


def material() -> tuple[nn.Module, bt.Splits, str]:
    """What `bittailor search benchmarks/large.py:material` searches."""
    module = Large()
    module.load_state_dict(torch.load(Path(os.environ[FOLDER_NAME]) / "network.pt", weights_only=True))
    return module, splits(), METRIC


@dataclass(frozen=True)
class Step:
    """What a step took, so far.

    seconds    of the clock; `processor_s` of all processors
    peak_mib   the most memory of a process of it
    pieces     how often it was begun or gone on with
    """

    seconds: float = 0.0
    processor_s: float = 0.0
    peak_mib: float = 0.0
    pieces: int = 0
    done: bool = False


def measured(command: list[str], before: Step, folder: Path, seconds: float) -> Step:
    """Run a command, for so many seconds at most: then it is interrupted as by Ctrl-C, twice if need be."""
    began = time.monotonic()
    paths = [str(Path(__file__).parent), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]  # this file imports one
    process = subprocess.Popen(
        command, env={**os.environ, FOLDER_NAME: str(folder), "PYTHONPATH": os.pathsep.join(filter(None, paths))},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler))
    deadline, pid = began + seconds, 0
    while not pid:
        time.sleep(0.05)
        pid, status, used = os.wait4(process.pid, os.WNOHANG)
        if not pid and time.monotonic() > deadline:
            process.send_signal(signal.SIGINT)
            deadline = time.monotonic() + AGAIN
    code = process.returncode = os.waitstatus_to_exitcode(status)
    if code not in (0, 130):
        raise BittailorError(f"{' '.join(command)} ended with {code}")
    return Step(before.seconds + time.monotonic() - began, before.processor_s + used.ru_utime + used.ru_stime,
                max(before.peak_mib, used.ru_maxrss / 1024), before.pieces + 1, code == 0)


def commands(folder: Path, population: int, generations: tuple[int, int], widths: str) -> dict[str, list[str]]:
    """Step -> its command, in order."""
    this = f"{Path(__file__)}:material"
    run, row, firmware = (str(folder / name) for name in ("operator", "row", "firmware"))
    made = {"training, briefly": [sys.executable, __file__, "--prepare", "--folder", str(folder)]}
    cli = [sys.executable, "-m", "bittailor"]
    for name, out, rounds, extra in (("search", run, generations[0], []),
                                     ("search, a scale per row", row, generations[1], ["--per-row"])):
        resumed = ["--resume"] if (Path(out) / "run.json").exists() else []
        made[name] = [*cli, "search", this, "--out", out, "--population", str(population), "--generations",
                      str(rounds), "--widths", widths, *extra, *resumed]
    made["sensitivity"] = [*cli, "sensitivity", run, "--from", this]
    made["report"] = [*cli, "report", run]
    made["export"] = [*cli, "export", run, firmware, "--pick", "smallest"]
    made["verify on the host"] = [*cli, "verify", firmware, "--cores", "host"]
    return made


def facts(folder: Path) -> dict[str, Any]:
    """What the searches did, and how large the network is."""
    network = bt.from_torch(Large(), 257)
    found: dict[str, Any] = {"parameters": sum(s.count for s in network.graph.free if s.kind != "activation"),
                             "frames": FRAMES, "items": ITEMS}
    for name in ("operator", "row"):
        if (folder / name / "result.json").exists():
            run = bt.Run.open(folder / name)
            with run.store() as store:
                seconds = [row.outcome.seconds for row in store.rows()]
            found[name] = {"widths": sorted({bits for gene in run.space.width_genes for bits in gene.widths}),
                           "evaluations": len(seconds), "mean_s": sum(seconds) / max(1, len(seconds)),
                           "population": run.spec.search.population, "generations": run.spec.search.generations}
    return found


def main() -> int:
    """Take the steps that are missing."""
    parser = arguments(__doc__)
    parser.add_argument("--folder", type=Path, default=Path("runs/large"))
    parser.add_argument("--out", type=Path, default=Path("results/large.json"))
    parser.add_argument("--population", type=int, default=40)
    parser.add_argument("--generations", type=int, nargs=2, default=(40, 40), help="per operator, and per row")
    parser.add_argument("--widths", default="1-8")
    parser.add_argument("--only", nargs="+", default=(), help="take these steps alone, by name")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop after so long")
    parser.add_argument("--prepare", action="store_true", help="train the network, nothing else")
    options = parser.parse_args()
    if options.prepare:
        prepare(options.folder)
        return 0
    steps = {}
    if options.out.exists():
        steps = {name: Step(**step) for name, step in json.loads(options.out.read_text())["steps"].items()}
    deadline = time.monotonic() + 60 * options.minutes
    for name, command in commands(options.folder, options.population, tuple(options.generations),
                                  options.widths).items():
        before = steps.get(name, Step())
        if before.done or (options.only and name not in options.only):
            continue
        steps[name] = step = measured(command, before, options.folder, deadline - time.monotonic())
        body = {"steps": {each: asdict(s) for each, s in steps.items()}, **facts(options.folder)}
        write_whole(options.out, (json.dumps(body, indent=1) + "\n").encode())
        print(f"{name}: {step.seconds:.0f} s, of processors {step.processor_s:.0f} s, {step.peak_mib:.0f} MiB"
              f"{'' if step.done else ', so far'}", flush=True)
        if not step.done:
            return 130
    return 0


if __name__ == "__main__":
    as_command(main)
