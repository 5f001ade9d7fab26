"""MOHAQ's three results on the synthetic task `phones`: compression, SiLago, Bitfusion with beacons.

    python benchmarks/mohaq.py                 # writes results/mohaq.csv; about two hours a seed on one core
    python benchmarks/mohaq.py --seeds 0 --generations 4 --epochs 1 --csv /tmp/look.csv      # a look, some minutes

The network has the shape of the paper's (Rezk et al., arXiv 2108.01192: four bidirectional SRU layers, projections),
with fewer units. Corpus and network differ from the paper's (TIMIT, 5.5 million weights), so the figures stand beside
each other for their order of size, not as a contest. Seven searches per seed, each in a folder of its own: read where
it has ended, gone on with where it was stopped (other options want another --out); the file is written after each, and
keeps what other calls gave before:

    memory             the paper's 16 genes (2, 4, 8, 16 bits), error and size, post-training
    silago             the paper's 8 genes, error, speed-up and energy, post-training
    tailored           every operator, weights of 1 to 8 bits, activations of 8 or 16; error and size, post-training
    bitfusion          the paper's 16 genes, error and speed-up, post-training, in a small SRAM
    tailored-ladder    as tailored, with a ladder of retrainings
    tailored-long      of that search, the solutions with the lowest validation error at 10 and 14 times smaller than
                       floats, retrained for longer from where they are (`bittailor retrain`)
    uniform            with that search's calibration, weights of one width throughout
    tailored-beacons   as tailored, with beacons, for as many training steps as the ladder
    bitfusion-beacons  as bitfusion, with beacons

A search looks at a share of the validation utterances, and by itself tests on a share of the test utterances, so that
it takes minutes. Its front is then judged on all of them, and solutions are chosen by their error on all validation
utterances (`by` is `validation`): what a user can do. The error of such a solution on test data is reported beside it.
Rows where `by` is `test` were chosen by their test error itself: they say what the front holds, not what anyone would
have found.
Limits are the paper's in proportion: an error of at most 7.8 points above the float network's (24 over 16.2), SRAM of
2 MiB (Bitfusion) and 6 MiB (SiLago) over 21.2 MiB of 32-bit floats. `gain` is what beacons take off the lowest error
at a speed-up at least as high.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
from command import SIZE, arguments, as_command, read_rows, write_rows

import bittailor as bt
from bittailor.cli.actions import train_task
from bittailor.cli.own import Prepared
from bittailor.common.files import write_whole
from bittailor.cost import PLATFORMS, Workload
from bittailor.engines import best_engine
from bittailor.errors import BittailorError
from bittailor.evaluate.evaluator import Evaluator
from bittailor.quantise.calibration import evenly
from bittailor.quantise.spaces import SPACES
from bittailor.runs import Run, Solution
from bittailor.runs.presets import PRESETS
from bittailor.runs.retraining import run_evaluators

FLOAT_BITS = 32
SLACK = 7.8
"""Points above the float network's error that the paper's searches allowed."""
NEAR = 3.0
"""Points above it, where a search looked, up to which a front is judged on all validation utterances."""
SHARES = {"silago": 6 / 21.2, "bitfusion": 2 / 21.2}
"""Of the float network's size: the paper's memory limits."""
INCREASES = (0.5, 1.5)
"""Points of error increase at which the paper states results."""
UNIFORM = (4, 3, 2)
BUDGET, POLISH, RUNGS = 2, 2, 4
"""Retrainings of `tailored-beacons`, in the search and after it; rungs of the ladder, for as many training steps."""
RETRAINED_SHARE = 0.4
"""Of the size of homogeneous 8 bit: what every operator's retraining is for is 10 times smaller than floats or more."""
TIMES = (10, 14)
"""Smaller than floats: what is retrained for longer, at `--long-epochs`."""
MOST_GENERATIONS = 20
CALIBRATED = 70
"""Utterances that calibrate, as many as the paper's."""
PAPER = {
    ("compression", 0.5): "8 (no significant increase)", ("compression", 1.5): "12 (v1)",
    ("speed-up", 0.5): "80 (v1), 97 (v3, minor increase)", ("energy saving", 0.5): "64 (v1), 86 (v3, minor increase)",
    ("largest gain", 0.0): "4 (v1), 4.9 (v3)", ("fastest", 0.0): "47 (v1)",
}
"""Figures of the abstracts of arXiv 2108.01192."""
COMPRESSED = {
    "memory": "the paper's genes", "tailored": "every operator", "tailored-beacons": "every operator, beacons",
    "tailored-ladder": "every operator, ladder", "tailored-long": "every operator, ladder and longer",
}
SEARCHES = {"tailored-long": "tailored-ladder", "uniform": "tailored-ladder"}
"""Where figures come from another search than that of their name."""
Row = dict[str, Any]


@dataclass(frozen=True)
class Member:
    """A solution of a front with its error on all validation utterances, and on test data."""

    solution: Solution
    valid: float
    test: float

    def value(self, name: str) -> float:
        """Of an objective."""
        return self.solution.values[name]


@dataclass(frozen=True, eq=False)
class Experiment:
    """A float network, its errors in per cent, and what searches look at."""

    prepared: Prepared
    searched: bt.Splits
    valid: float
    test: float
    select: float
    options: Mapping[str, Any]

    @classmethod
    def of(cls, prepared: Prepared, options: Mapping[str, Any]) -> Experiment:
        """With the shares of the data that the options ask for."""
        data = prepared.data
        train = data.train[evenly(len(data.train), options["train_items"] or len(data.train))]
        some, few = (part[evenly(len(part), options["select_items"])] for part in (data.valid, data.test))
        valid, test, select = (float_error(prepared, part) for part in (data.valid, data.test, some))
        return cls(prepared, bt.Splits(train, some, few), valid, test, select, options)

    @property
    def parameters(self) -> int:
        """Values of all weights, vectors and biases."""
        return sum(site.count for site in self.prepared.network.graph.free if site.kind != "activation")

    def times(self, bits: float) -> float:
        """How many times smaller than 32-bit floats."""
        return FLOAT_BITS * self.parameters / bits

    def row(self, figure: str, member: Member | None, value: float | None, unit: str, increase: float = 0.0,
            by: str = "") -> Row:
        """A row of the file. `figure` begins with the name of the paper's."""
        task = self.prepared.task
        row: Row = {
            "units": task.hidden, "seed": task.seed, "figure": figure, "increase": increase, "by": by, "unit": unit,
            "paper": PAPER.get((figure.split(",")[0], increase), ""), "value": value, "float_valid": self.valid,
            "float_test": self.test} | dict.fromkeys(("valid", "test", "size_bits", "speedup"))
        if member is not None:
            speedup = next((v for name, v in member.solution.values.items() if name.endswith(".speedup")), None)
            row |= {"valid": member.valid, "test": member.test, "size_bits": int(member.value("size")),
                    "speedup": speedup}
        return row


def float_error(prepared: Prepared, data: bt.Data) -> float:
    """The float network's error; a hundred utterances at a time, for want of memory."""
    parts = [data[start : start + 100] for start in range(0, len(data), 100)]
    outputs = np.concatenate([prepared.network(part.x, part.lengths) for part in parts])
    return prepared.metric.value(outputs, data.targets)


# --- searches ----------------------------------------------------------------------------------------------------


def spec_of(name: str, experiment: Experiment) -> bt.SearchSpec:
    """What one of the seven searches does."""
    options, network, seed = experiment.options, experiment.prepared.network, experiment.prepared.task.seed
    kind = name.partition("-")[0]
    if kind == "tailored":
        spec = bt.SearchSpec(
            space=bt.per_operator(network.graph, range(1, 9), (8, 16)), objectives=SIZE,
            beacons=retraining(name, options),
            search=bt.SearchSettings(seed=seed, offspring=20, generations=options["generations"] or MOST_GENERATIONS))
    else:
        space = kind if kind in SPACES else "bitfusion"
        paper = PRESETS["mohaq"].in_space(space)
        generations = options["generations"] or min(MOST_GENERATIONS, paper.search.generations)
        spec = replace(paper, search=replace(paper.search, seed=seed, generations=generations),
                       beacons=retraining(name, options))
    if kind == "memory":
        spec = replace(spec, objectives=SIZE)
    if kind in SHARES:
        limit = int(SHARES[kind] * FLOAT_BITS * experiment.parameters / 8)
        spec = replace(spec, constraints=(f"error<={experiment.select + SLACK:.2f}", f"size<={limit}B"))
    return replace(spec, metric=experiment.prepared.metric, task=experiment.prepared.task, workers=options["workers"],
                   roles=bt.RoleSettings(select_items=0, confirm=0),
                   calibration=bt.CalibrationSettings(items=CALIBRATED))


def retraining(name: str, options: Mapping[str, Any]) -> bt.BeaconSettings:
    """How a search retrains; the two of every operator for as many steps."""
    recipe = bt.Retraining(epochs=options["epochs"], batch=16, memory=options["memory"])
    return {
        # distances as in the paper: 5 steps over 8 matrices
        "bitfusion-beacons": bt.BeaconSettings(budget=options["beacons"], threshold=5 / 8, hopeless=1.0, recipe=recipe),
        "tailored-beacons": bt.BeaconSettings(budget=BUDGET, polish=POLISH, share=RETRAINED_SHARE, recipe=recipe),
        "tailored-ladder": bt.BeaconSettings(ladder=RUNGS, rung=(BUDGET + POLISH) / RUNGS, share=RETRAINED_SHARE,
                                             recipe=recipe),
    }.get(name, bt.BeaconSettings())


def searched(name: str, experiment: Experiment) -> Run:
    """One of the searches: read where it has ended, otherwise begun or gone on with."""
    prepared = experiment.prepared
    out = experiment.options["out"] / f"{prepared.task.hidden}-{prepared.task.seed}" / name
    if (out / "result.json").exists():
        run = Run.open(out)
        if run.network.fingerprint != prepared.network.fingerprint:
            raise BittailorError(f"{out} holds the search of another network; choose another --out")
        if not run.result["interrupted"]:
            return run
    run = bt.run_search(prepared.network, experiment.searched, out, spec_of(name, experiment),
                        resume=(out / "run.json").exists(), origin=prepared.origin)
    if run.result["interrupted"]:
        raise KeyboardInterrupt
    print(f"seed {prepared.task.seed}, {name}: {run.result['evaluations']} evaluations, {len(run.front)} on the front, "
          f"{run.result['seconds']:.0f} s", flush=True)
    return run


def judged(run: Run, experiment: Experiment, near: float) -> list[Member]:
    """The front and what the search retrained, up to so many points above the float network, on all utterances of
    validation and test. A rung or beacon may be better than the front says, for which a share of them decides."""
    about = run.result.get("beacons", {"search": [], "polish": []})
    own = [s for name, s in run.retrained.items() if name in (*about["search"], *about["polish"])]
    return measured([s for s in (*run.front, *own) if s.values["error"] <= experiment.select + near], run, experiment)


def measured(solutions: Sequence[Solution], run: Run, experiment: Experiment) -> list[Member]:
    """Solutions on all utterances of validation and test; what was measured before is kept beside the run."""
    file, data = run.path / "measured.json", experiment.prepared.data
    known = json.loads(file.read_text()) if file.exists() else {}
    names = [f"{s.key} {s.beacon}" for s in solutions]
    new = {name: s for name, s in zip(names, solutions, strict=True) if name not in known}
    if new:
        parts = [run_evaluators(run, part, tested=True).evaluate([*new.values()]) for part in (data.valid, data.test)]
        known |= {name: [v["error"], t["error"]] for name, v, t in zip(new, *parts, strict=True)}
        write_whole(file, json.dumps(known).encode())
    return [Member(s, *known[name]) for name, s in zip(names, solutions, strict=True)]


# --- rows --------------------------------------------------------------------------------------------------------


def best(members: Sequence[Member], experiment: Experiment, increase: float, by: str, good: Callable[[Member], float]
         ) -> Member | None:
    """The member with the most of something, of equals the lowest error, up to an increase on the data that choose."""
    if by == "test":
        fitting = [m for m in members if m.test <= experiment.test + increase]
    else:
        fitting = [m for m in members if m.valid <= experiment.valid + increase]
    return max(fitting, key=lambda m: (good(m), -(m.test if by == "test" else m.valid)), default=None)


def compression(name: str, runs: Mapping[str, Run], experiment: Experiment) -> list[Row]:
    """How many times smaller than 32-bit floats, at error increases on the data that choose."""
    return compressions(name, judged(runs[name], experiment, NEAR), experiment)


def compressions(name: str, members: Sequence[Member], experiment: Experiment) -> list[Row]:
    """Of these solutions."""
    rows = []
    for by in ("validation", "test"):
        for increase in INCREASES:
            found = best(members, experiment, increase, by, lambda m: -m.value("size"))
            times = None if found is None else experiment.times(found.value("size"))
            rows.append(experiment.row(f"compression, {COMPRESSED[name]}", found, times, "x", increase, by))
    return rows


def longer(name: str, runs: Mapping[str, Run], experiment: Experiment) -> list[Row]:
    """What the best of a size come to when they are retrained for longer, from the weights that they have."""
    run, options = runs[name], experiment.options
    members = judged(run, experiment, NEAR)
    starts = []
    for times in TIMES:
        small = [m for m in members if experiment.times(m.value("size")) >= times]
        if small:
            starts.append(min(small, key=lambda m: (m.valid, m.value("size"))))
    starts = list({m.solution.key: m for m in starts}.values())  # one may be the best of both
    names = {s.key: text for text, s in run.named.items()}
    made = bt.retrain_picks(
        run, experiment.searched, [names[m.solution.key] for m in starts], seed=experiment.prepared.task.seed,
        workers=options["workers"], recipe=bt.Retraining(epochs=options["long_epochs"], batch=16,
                                                         memory=options["memory"]))
    ended = [(start, m.after) for start, m in zip(starts, made, strict=True) if m.after is not None]
    after = measured([solution for _, solution in ended], run, experiment)
    for (start, _), member in zip(ended, after, strict=True):
        print(f"{experiment.times(start.value('size')):.1f} times smaller: {start.valid:.2f} / {start.test:.2f} -> "
              f"{member.valid:.2f} / {member.test:.2f}", flush=True)
    return compressions(name, [*members, *after], experiment)


def uniform(name: str, runs: Mapping[str, Run], experiment: Experiment) -> list[Row]:
    """One width for all weights, 8 bits for biases, 16 for activations: nothing was chosen, so nobody was lucky."""
    run, data, metric = runs[name], experiment.prepared.data, experiment.prepared.metric
    rows = []
    for bits in UNIFORM:
        widths = {s.name: {"weight": bits, "bias": 8, "activation": 16}[s.kind] for s in run.network.graph.free}
        valid, test = (Evaluator(run.calibration, part, metric, best_engine(), ("size",)).evaluate([widths])[0]
                       for part in (data.valid, data.test))
        member = Member(Solution("", widths, valid, None), valid["error"], test["error"])
        rows.append(experiment.row(f"weights of {bits} bits throughout", member, experiment.times(valid["size"]), "x"))
    return rows


def silago(name: str, runs: Mapping[str, Run], experiment: Experiment) -> list[Row]:
    """Shares of the highest speed-up and of the highest energy saving over 16 bits, which 4 bits throughout have."""
    run, platform = runs[name], PLATFORMS["silago"]
    space, graph = run.space, run.network.graph
    work = Workload.of(graph)
    wide, narrow = (space.widths(space.nearest(bt.homogeneous_widths(graph, bits))) for bits in (16, 4))
    speedup, energy = platform.speedup(work, narrow), platform.energy_uj(work, wide)
    saving = energy / platform.energy_uj(work, narrow)
    members, rows = judged(run, experiment, NEAR), []
    for by in ("validation", "test"):
        for increase in INCREASES:
            fast = best(members, experiment, increase, by, lambda m: m.value("silago.speedup"))
            share = None if fast is None else 100 * fast.value("silago.speedup") / speedup
            rows.append(experiment.row("speed-up, SiLago", fast, share, "% of highest", increase, by))
            thrifty = best(members, experiment, increase, by, lambda m: -m.value("silago.energy"))
            share = None if thrifty is None else 100 * energy / thrifty.value("silago.energy") / saving
            rows.append(experiment.row("energy saving, SiLago", thrifty, share, "% of highest", increase, by))
    return rows


def rival(plain: Sequence[Member], member: Member) -> Member | None:
    """Of the front without beacons, the one with the lowest validation error of at least the same speed-up."""
    fast = [r for r in plain if r.value("bitfusion.speedup") >= member.value("bitfusion.speedup")]
    return min(fast, key=lambda r: r.valid, default=None)


def bitfusion(name: str, runs: Mapping[str, Run], experiment: Experiment) -> list[Row]:
    """What beacons take off the error at equal speed-up: at most, in the mean, and on test data; the fastest."""
    plain, lit = (judged(runs[of], experiment, SLACK) for of in ("bitfusion", name))
    pairs = [(m, other) for m in lit for other in [rival(plain, m)] if other is not None]
    rows, row = list[Row](), experiment.row
    if pairs:
        most = max(pairs, key=lambda pair: pair[1].valid - pair[0].valid)
        rows += [row("largest gain, beacons", most[0], most[1].valid - most[0].valid, "points", by="validation"),
                 row("gain of the same pair on test data", most[0], most[1].test - most[0].test, "points"),
                 row("gain in the mean", None, mean(b.valid - a.valid for a, b in pairs), "points"),
                 row("gain in the mean on test data", None, mean(b.test - a.test for a, b in pairs), "points")]
    return [*rows, fastest("fastest, with beacons", lit, experiment)]


def unlit(name: str, runs: Mapping[str, Run], experiment: Experiment) -> list[Row]:
    """The fastest without beacons."""
    return [fastest("fastest without beacons", judged(runs[name], experiment, SLACK), experiment)]


def fastest(figure: str, members: Sequence[Member], experiment: Experiment) -> Row:
    """The largest speed-up within the error that the paper's searches allowed."""
    top = best(members, experiment, SLACK, "validation", lambda m: m.value("bitfusion.speedup"))
    return experiment.row(figure, top, None if top is None else top.value("bitfusion.speedup"), "x", by="validation")


REPORTS = {"memory": compression, "silago": silago, "tailored": compression, "bitfusion": unlit,
           "tailored-ladder": compression, "tailored-long": longer, "uniform": uniform, "tailored-beacons": compression,
           "bitfusion-beacons": bitfusion}
"""The searches of a seed, in order, and what makes their rows; see `SEARCHES`."""


def main() -> int:
    """Compute what is missing, then write and print."""
    parser = arguments(__doc__)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--hidden", type=int, default=128, help="units of a layer and direction")
    parser.add_argument("--cache", type=Path, help="folder for trained float networks")
    parser.add_argument("--out", type=Path, default=Path("runs/mohaq"), help="folder for the runs")
    parser.add_argument("--csv", type=Path, default=Path("results/mohaq.csv"))
    parser.add_argument("--generations", type=int, default=0, help="of every search; the paper's, at most 20")
    parser.add_argument("--select-items", type=int, default=100, help="validation utterances that a search looks at")
    parser.add_argument("--train-items", type=int, default=0, help="training utterances of a search; 0: all")
    parser.add_argument("--beacons", type=int, default=2, help="of the search on Bitfusion")
    parser.add_argument("--epochs", type=int, default=2, help="of a retraining")
    parser.add_argument("--long-epochs", type=int, default=4, help="of a retraining of `tailored-long`")
    parser.add_argument("--only", nargs="+", choices=REPORTS, default=list(REPORTS), help="searches")
    parser.add_argument("--memory", type=float, default=4.0, help="GiB that a batch of a retraining may take")
    parser.add_argument("--workers", type=int, default=0, help="as many as there are cores if not given")
    options = vars(parser.parse_args())
    if "bitfusion-beacons" in options["only"] and "bitfusion" not in options["only"]:
        parser.error("--only bitfusion-beacons needs bitfusion, with which it is compared")
    for seed in options["seeds"]:
        prepared = train_task(bt.TaskSettings("phones", "sru", options["hidden"], seed), cache=options["cache"])
        print(prepared.summary, flush=True)
        experiment, runs, rows = Experiment.of(prepared, options), dict[str, Run](), list[Row]()
        for name, report in REPORTS.items():
            if name not in options["only"]:
                continue
            runs[name] = searched(SEARCHES.get(name, name), experiment)
            rows += report(name, runs, experiment)
            write(options["csv"], rows, options["hidden"], seed)
        for row in rows:
            say(row)
    print(f"written: {options['csv']}")
    return 0


def write(file: Path, rows: Sequence[Row], units: int, seed: int) -> None:
    """Put figures of a seed in place of those that were there; others stay, which other calls (`--only`) have made."""
    made = {row["figure"] for row in rows}
    others = [row for row in read_rows(file)
              if (row["units"], row["seed"]) != (str(units), str(seed)) or row["figure"] not in made]
    write_rows(file, sorted([*others, *rows], key=lambda row: (int(row["units"]), int(row["seed"]))))


def say(row: Row) -> None:
    """A row in words."""
    value = "none" if row["value"] is None else f"{row['value']:.2f} {row['unit']}"
    errors = "" if row["valid"] is None else (f"; error {row['valid']:.2f} / {row['test']:.2f} (float "
                                              f"{row['float_valid']:.2f} / {row['float_test']:.2f})")
    at = f" at +{row['increase']} on {row['by']} data" if row["increase"] else ""
    print(f"seed {row['seed']}: {row['figure']}{at}: {value}{errors}; paper {row['paper'] or '–'}", flush=True)


if __name__ == "__main__":
    as_command(main)
