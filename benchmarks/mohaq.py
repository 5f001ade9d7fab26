"""MOHAQ's three results on the synthetic task `phones`: compression, SiLago, Bitfusion with beacons.

    python benchmarks/mohaq.py                 # writes results/mohaq.csv; about an hour on 2 cores
    python benchmarks/mohaq.py --seeds 0 --generations 4 --epochs 1 --csv /tmp/look.csv      # a look, some minutes

The network has the shape of the paper's (Rezk et al., arXiv 2108.01192: four bidirectional SRU layers, projections),
with fewer units. Corpus and network differ from the paper's (TIMIT, 5.5 million weights), so the figures stand beside
each other for their order of size, not as a contest. Five searches per seed, each in a folder of its own: read where it
has ended, gone on with where it was stopped (other options want another --out):

    memory       the paper's 16 genes (2, 4, 8, 16 bits), error and size, post-training
    tailored     every operator, weights of 1 to 8 bits, activations of 8 or 16; otherwise the same
    silago       the paper's 8 genes, error, speed-up and energy, post-training
    bitfusion    the paper's 16 genes, error and speed-up, post-training, in a small SRAM
    beacons      the same with beacons

Then some are retrained themselves: from `tailored`, the best solutions 10 and 14 times smaller than floats; from
`beacons`, one of median speed-up and a fast one.
Limits are the paper's in proportion: an error of at most 7.8 points above the float network's (24 over 16.2), SRAM of
2 MiB (Bitfusion) and 6 MiB (SiLago) over 21.2 MiB of 32-bit floats. Solutions are chosen by their validation error;
test errors are only reported. `gain` is what beacons take off the lowest error at a speed-up at least as high.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

from command import SIZE, arguments, as_command, write_rows

import bittailor as bt
from bittailor.cli.actions import Prepared, train_task
from bittailor.cost import PLATFORMS, Workload
from bittailor.engines import best_engine
from bittailor.errors import BittailorError
from bittailor.evaluate.evaluator import Evaluator
from bittailor.quantise.spaces import SPACES
from bittailor.runs import Run, Solution, retrain_picks
from bittailor.runs.presets import PRESETS

FLOAT_BITS = 32
SLACK = 7.8
"""Points above the float network's error that the paper's searches allowed."""
SHARES = {"silago": 6 / 21.2, "bitfusion": 2 / 21.2}
"""Of the float network's size: the paper's memory limits."""
INCREASES = (0.5, 1.5)
"""Points of error increase at which the paper states results."""
UNIFORM = (4, 3, 2)
RETRAINED = (10, 14)
"""How many times smaller than floats the solutions are that are retrained."""
PAPER = {
    ("compression", 0.5): "8 (no significant increase)", ("compression", 1.5): "12 (v1)",
    ("speed-up", 0.5): "80 (v1), 97 (v3, minor increase)", ("energy saving", 0.5): "64 (v1), 86 (v3, minor increase)",
    ("largest gain", 0.0): "4 (v1), 4.9 (v3)", ("fastest", 0.0): "47 (v1)",
}
"""Figures of the abstracts of arXiv 2108.01192."""


def parameters(network: bt.Network) -> int:
    """Values of all weights, vectors and biases."""
    return sum(site.count for site in network.graph.free if site.kind != "activation")


def searched(prepared: Prepared, name: str, options: Mapping[str, Any]) -> Run:
    """One of the five searches: read where it has ended, otherwise begun or gone on with."""
    network, seed, data = prepared.network, prepared.task.seed, prepared.data
    space = name if name in SPACES else "bitfusion"
    paper = PRESETS["mohaq"].in_space(space)
    out = options["out"] / str(seed) / name
    if (out / "result.json").exists():
        run = Run.open(out)
        if run.network.fingerprint != network.fingerprint:
            raise BittailorError(f"{out} holds the search of another network; choose another --out")
        if not run.result["interrupted"]:
            return run
    generations = options["generations"] or paper.search.generations
    if name == "tailored":
        spec = bt.SearchSpec(space=bt.per_operator(network.graph, range(1, 9), (8, 16)),
                             search=bt.SearchSettings(seed=seed, generations=generations), objectives=SIZE)
    else:
        spec = replace(paper, search=replace(paper.search, seed=seed, generations=generations))
    if name == "memory":
        spec = replace(spec, objectives=SIZE)
    if name not in ("memory", "tailored"):
        error = prepared.metric.value(network(data.valid.x, data.valid.lengths), data.valid.targets) + SLACK
        limit = int(SHARES[space] * FLOAT_BITS * parameters(network) / 8)
        spec = replace(spec, constraints=(f"error<={error:.2f}", f"size<={limit}B"))
    if name == "beacons":
        # distances as in the paper: 5 steps over 8 matrices
        spec = replace(spec, beacons=bt.BeaconSettings(budget=options["beacons"], threshold=5 / 8, hopeless=1.0,
                                                       recipe=recipe(options)))
    run = bt.run_search(network, data, out, replace(spec, metric=prepared.metric, task=prepared.task),
                        resume=(out / "run.json").exists(), origin=prepared.origin)
    if run.result["interrupted"]:
        raise KeyboardInterrupt
    print(f"seed {seed}, {name}: {run.result['evaluations']} evaluations, {len(run.front)} on the front, "
          f"{run.result['seconds']:.0f} s", flush=True)
    return run


def best(run: Run, increase: float, good: Callable[[Solution], float]) -> Solution | None:
    """The solution of the front with the most of something, up to an increase of the validation error."""
    highest = run.result["float"]["select"] + increase
    return max((s for s in run.front if s.values["error"] <= highest), key=good, default=None)


def line(run: Run, seed: int, figure: str, increase: float, solution: Solution | None, value: float | None, unit: str
         ) -> dict[str, Any]:
    """A row of the file. `figure` begins with the name of the paper's."""
    floats = run.result["float"]
    row: dict[str, Any] = {
        "seed": seed, "figure": figure, "increase": increase, "unit": unit,
        "paper": PAPER.get((figure.split(",")[0], increase), ""), "value": value,
        "float_valid": floats["select"], "float_test": floats["test"]}
    row |= dict.fromkeys(("valid", "test", "size_bits", "speedup"))
    if solution is not None:
        speedup = next((v for name, v in solution.values.items() if name.endswith(".speedup")), None)
        row |= {"valid": solution.values["error"], "test": solution.test, "size_bits": int(solution.values["size"]),
                "speedup": speedup}
    return row


def recipe(options: Mapping[str, Any]) -> bt.Retraining:
    """How beacons and picks are retrained."""
    return bt.Retraining(epochs=options["epochs"], batch=32, rate=options["rate"])


def compression(run: Run, seed: int, space: str) -> list[dict[str, Any]]:
    """How many times smaller than 32-bit floats, at error increases."""
    rows = []
    for increase in INCREASES:
        found = best(run, increase, lambda s: -s.values["size"])
        times = None if found is None else FLOAT_BITS * parameters(run.network) / found.values["size"]
        rows.append(line(run, seed, f"compression, {space}", increase, found, times, "x"))
    return rows


def uniform(run: Run, prepared: Prepared, seed: int) -> list[dict[str, Any]]:
    """One width for all weights, 8 bits for biases, 16 for activations: nothing was chosen, so nobody was lucky."""
    rows = []
    for bits in UNIFORM:
        widths = {s.name: {"weight": bits, "bias": 8, "activation": 16}[s.kind] for s in run.network.graph.free}
        valid, test = (Evaluator(run.calibration, part, prepared.metric, best_engine(), ("size",)).evaluate([widths])[0]
                       for part in (prepared.data.valid, prepared.data.test))
        rows.append(line(run, seed, f"weights of {bits} bits throughout", 0.0,
                         Solution("", widths, valid, test["error"]),
                         FLOAT_BITS * parameters(run.network) / valid["size"], "x"))
    return rows


def retrained(run: Run, prepared: Prepared, seed: int, options: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The best solutions of some sizes, retrained: what the paper did not try."""
    bits = FLOAT_BITS * parameters(run.network)
    picks = [f"size<={int(bits / times / 8)}B" for times in RETRAINED]
    rows = []
    found = retrain_picks(run, prepared.data, picks, recipe=recipe(options), seed=seed)
    for times, done in zip(RETRAINED, found, strict=True):
        for name, s in (("post-training", done.before), ("retrained", done.after)):
            rows.append(line(run, seed, f"every operator, {times} times smaller, {name}", 0.0, s,
                             None if s is None else bits / s.values["size"], "x"))
    return rows


def silago(run: Run, seed: int) -> list[dict[str, Any]]:
    """Shares of the highest speed-up and of the highest energy saving over 16 bits, which 4 bits throughout have."""
    space, graph, platform = run.space, run.network.graph, PLATFORMS["silago"]
    work = Workload.of(graph)
    wide, narrow = (space.widths(space.nearest(bt.homogeneous_widths(graph, bits))) for bits in (16, 4))
    speedup, energy = platform.speedup(work, narrow), platform.energy_uj(work, wide)
    saving = energy / platform.energy_uj(work, narrow)
    rows = []
    for increase in INCREASES:
        fast = best(run, increase, lambda s: s.values["silago.speedup"])
        rows.append(line(run, seed, "speed-up, SiLago", increase, fast,
                         None if fast is None else 100 * fast.values["silago.speedup"] / speedup, "% of highest"))
        thrifty = best(run, increase, lambda s: -s.values["silago.energy"])
        rows.append(line(run, seed, "energy saving, SiLago", increase, thrifty,
                         None if thrifty is None else 100 * energy / thrifty.values["silago.energy"] / saving,
                         "% of highest"))
    return rows


def rival(plain: Run, s: Solution) -> Solution | None:
    """The solution with the lowest validation error, of at least the same speed-up, of the front without beacons."""
    fast = [r for r in plain.front if r.values["bitfusion.speedup"] >= s.values["bitfusion.speedup"]]
    return min(fast, key=lambda r: r.values["error"], default=None)


def polished(plain: Run, lit: Run, prepared: Prepared, seed: int, options: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Two solutions of the front with beacons, retrained themselves, against the front without beacons."""
    if not lit.front:  # a network so small that its 16-bit vectors alone pass the limit
        return []
    order = sorted(range(len(lit.front)), key=lambda i: lit.front[i].values["bitfusion.speedup"])
    names = {"of median speed-up": order[len(order) // 2], "the fastest that has a rival": max(
        (i for i in order if rival(plain, lit.front[i])), default=order[0])}
    found = retrain_picks(lit, prepared.data, [str(i) for i in names.values()], recipe=recipe(options), seed=seed)
    rows = []
    for name, done in zip(names, found, strict=True):
        other = None if done.after is None else rival(plain, done.after)
        for part, of in (("", lambda s: s.values["error"]), (" on test data", lambda s: s.test)):
            gain = None if done.after is None or other is None else of(other) - of(done.after)
            rows.append(line(lit, seed, f"gain{part}, retrained itself, {name}", 0.0, done.after, gain, "points"))
    return rows


def bitfusion(plain: Run, lit: Run, seed: int) -> list[dict[str, Any]]:
    """What beacons take off the error at equal speed-up: at most, in the mean, and on test data; the fastest."""
    pairs = [(s, other) for s in lit.front for other in [rival(plain, s)] if other is not None]
    rows = []
    if pairs:
        valid = [b.values["error"] - a.values["error"] for a, b in pairs]
        test = [b.test - a.test for a, b in pairs if a.test is not None and b.test is not None]
        most = pairs[valid.index(max(valid))]
        rows += [line(lit, seed, "largest gain, beacons", 0.0, most[0], max(valid), "points"),
                 line(lit, seed, "gain in the mean", 0.0, None, mean(valid), "points"),
                 line(lit, seed, "gain of the same pair on test data", 0.0, most[0], test[valid.index(max(valid))],
                      "points"),
                 line(lit, seed, "gain in the mean on test data", 0.0, None, mean(test), "points")]
    for figure, run in (("fastest without beacons", plain), ("fastest, with beacons", lit)):
        top = max(run.front, key=lambda s: s.values["bitfusion.speedup"], default=None)
        rows.append(line(run, seed, figure, 0.0, top, top and top.values["bitfusion.speedup"], "x"))
    return rows


def main() -> int:
    """Compute what is missing, then write and print."""
    parser = arguments(__doc__)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--hidden", type=int, default=128, help="units of a layer and direction")
    parser.add_argument("--cache", type=Path, help="folder for trained float networks")
    parser.add_argument("--out", type=Path, default=Path("runs/mohaq"), help="folder for the runs")
    parser.add_argument("--csv", type=Path, default=Path("results/mohaq.csv"))
    parser.add_argument("--generations", type=int, default=0, help="instead of the paper's")
    parser.add_argument("--beacons", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=4, help="of a retraining")
    parser.add_argument("--rate", type=float, default=1e-2, help="of a retraining")
    options = vars(parser.parse_args())
    rows: list[dict[str, Any]] = []
    for seed in options["seeds"]:
        prepared = train_task(bt.TaskSettings("phones", "sru", options["hidden"], seed), cache=options["cache"])
        print(prepared.summary, flush=True)
        runs = {name: searched(prepared, name, options)
                for name in ("memory", "tailored", "silago", "bitfusion", "beacons")}
        rows += compression(runs["memory"], seed, "the paper's genes")
        rows += compression(runs["tailored"], seed, "every operator")
        rows += uniform(runs["tailored"], prepared, seed)
        rows += retrained(runs["tailored"], prepared, seed, options)
        rows += silago(runs["silago"], seed)
        rows += bitfusion(runs["bitfusion"], runs["beacons"], seed)
        rows += polished(runs["bitfusion"], runs["beacons"], prepared, seed, options)
    write_rows(options["csv"], rows)
    for row in rows:
        value = "none" if row["value"] is None else f"{row['value']:.2f} {row['unit']}"
        errors = "" if row["valid"] is None else (f"; error {row['valid']:.2f} / {row['test']:.2f} (float "
                                                  f"{row['float_valid']:.2f} / {row['float_test']:.2f})")
        at = f" at +{row['increase']}" if row["increase"] else ""
        print(f"seed {row['seed']}: {row['figure']}{at}: {value}{errors}; paper {row['paper'] or '–'}")
    print(f"written: {options['csv']}")
    return 0


if __name__ == "__main__":
    as_command(main)
