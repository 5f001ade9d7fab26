"""One elastic network, and widths by gradient, against the ladder: fronts at equal sizes, after as many training steps.

    python benchmarks/elastic.py --data DIR      # writes results/elastic.csv, half an hour a task and seed
    python benchmarks/elastic.py --data DIR --seeds 0 --methods post-training ladder gradient    # of other seeds, say
    python benchmarks/elastic.py --tasks digits --seeds 0 --generations 6 --epochs 2 --csv look.csv    # a look

Rows and columns are those of `ladder.py`, and so are the searches behind `post-training`, `beacons` and `ladder`: those
in RUNS are read. A method spends as many passes of training as these, seven retrainings of the whole recipe:

    elastic            all of them on one set of weights for all widths (`elastic_training.ElasticRetrainer`); a search
                       judges every candidate from these and from the float network's, and the better one counts
    elastic + ladder   three on such weights, with which the first rungs of a ladder begin; four on its rungs
    gradient           three on widths by gradient (`elastic_training.WidthRetrainer`): twelve genomes, which are in the
                       first population of a search in which nothing else is retrained
    gradient + rungs   four more on these genomes, each retrained from the weights that it was found with; these are the
                       beacons of a search whose first population has the genomes, too
    longer             post-training, with eight times as many generations: at least the time of `gradient`, about
"""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from command import as_command, read_rows
from elastic_training import ElasticRetrainer, WidthRetrainer, recipe_for, train
from ladder import METHODS as LADDER_METHODS
from ladder import add_missing, front_rows, place, rows_of
from searches import BUDGET, LONG, RUNGS, folder_of, recipe_of, search_arguments, searched, task_of

import bittailor as bt
from bittailor.cli.own import Prepared
from bittailor.common.files import save_json
from bittailor.quantise.calibration import Calibration
from bittailor.runs import Run
from bittailor.search.optimisers import OPTIMISERS
from bittailor.search.optimisers.base import Optimiser
from bittailor.search.settings import SearchSettings
from bittailor.search.space import Genome, Space
from bittailor.train.beacons import Beacon, Trainer, read_beacons, train_all
from bittailor.train.beacons.base import FILES, KIND, VERSION

TASKS = ("vowels", "mnist1d", "spoken-digits")
OWN = ("elastic", "elastic + ladder", "gradient", "gradient + rungs", "longer")
METHODS = (*LADDER_METHODS, *OWN)
FIRST = LONG
"""Retrainings of the whole recipe that go into elastic weights, or widths by gradient, where rungs follow."""
LONGER = 8
"""Times as many generations: of mnist1d, vowels and spoken-digits about the time of widths by gradient and a search."""
MIDDLE = 3
"""Where elastic weights are said to lie, in bits: beacons serve those that are near."""


def trainer_of(prepared: Prepared, folder: Path, recipe: bt.Retraining) -> Trainer:
    """What trains and names beacons; statistics as a search takes them."""
    data = prepared.data.train
    return Trainer(bt.calibrate(prepared.network, data.x, data.lengths), data, prepared.metric, recipe, folder)


def keep(trainer: Trainer, made: Calibration, widths: Mapping[str, int], seed: int, kind: str, seconds: float) -> None:
    """Write weights as a beacon at these widths, named after what they come from."""
    plain = trainer.job(widths, seed, None, kind, kind)
    name = hashlib.sha256(f"{kind} {plain.name}".encode()).hexdigest()[:8]
    folder = trainer.folder / name
    made.plan(widths)
    made.network.save(folder / FILES[0])
    made.save(folder / FILES[1])
    save_json(folder / FILES[2], KIND, VERSION, {
        **replace(plain, name=name).to_json(), "network": trainer.calibration.network.fingerprint,
        "data": trainer.train.fingerprint, "recipe": trainer.recipe.identity(), "figures": {}, "failed": None,
        "history": [], "seconds": seconds})


def elastic_weights(prepared: Prepared, share: int, options: Mapping[str, Any]) -> Path:
    """The folder of the beacon that elastic weights are, after `share` retrainings' worth of passes."""
    folder, seed, items = folder_of(prepared, f"elastic-{share}", options), prepared.task.seed, len(prepared.data.train)
    if not read_beacons(folder):
        trainer = trainer_of(prepared, folder, recipe_for(recipe_of(options), share, ElasticRetrainer.PASSES, items))
        began = time.perf_counter()
        made = train(ElasticRetrainer(prepared, trainer.calibration, trainer.recipe, seed))
        graph = prepared.network.graph
        where = {site.name: MIDDLE if site.kind == "weight" else bits for site in graph.free
                 for bits in [bt.homogeneous_widths(graph, 8, bias=8)[site.name]]}
        keep(trainer, made, where, seed, "elastic", time.perf_counter() - began)
    return folder


def relaxed_widths(prepared: Prepared, options: Mapping[str, Any]) -> Path:
    """The folder of the genomes that widths by gradient gave, as beacons with the weights that they were found with."""
    folder, seed = folder_of(prepared, f"gradient-{FIRST}", options), prepared.task.seed
    if not (folder / "prices.json").exists():
        trainer = trainer_of(prepared, folder, recipe_for(
            recipe_of(options), FIRST, WidthRetrainer.PASSES, len(prepared.data.train)))
        began = time.perf_counter()
        retrainer = WidthRetrainer(prepared, trainer.calibration, trainer.recipe, seed, RUNGS)
        train(retrainer)
        seconds = time.perf_counter() - began
        for widths, made, _ in retrainer.kept:  # all together took as long as one training
            keep(trainer, made, widths, seed, "gradient", seconds / len(retrainer.kept))
        save_json(folder / "prices.json", "prices", 1, {"prices": [price for _, _, price in retrainer.kept]})
    return folder


def rungs_of(prepared: Prepared, options: Mapping[str, Any]) -> Path:
    """The folder of these genomes, each retrained as shortly as a rung."""
    found = relaxed_widths(prepared, options)
    folder = folder_of(prepared, f"gradient-{FIRST}-rungs", options)
    recipe = recipe_of(options).shorter((BUDGET - FIRST) / RUNGS, len(prepared.data.train))
    trainer = trainer_of(prepared, found.with_name(f"{found.name}-all"), recipe)
    starts = read_beacons(found)
    shutil.copytree(found, trainer.folder, dirs_exist_ok=True)
    jobs = [trainer.job(start.widths, prepared.task.seed, name, "rung", name) for name, start in starts.items()]
    for beacon in train_all(trainer, jobs, options["workers"] or 1):
        shutil.copytree(beacon.folder, folder / beacon.name, dirs_exist_ok=True)
    return folder


def seeded(
    genomes: Sequence[Mapping[str, int]], space: Space, settings: SearchSettings, seeds: Sequence[Genome],
    objectives: int,
) -> Optimiser:
    """The usual optimiser, whose first population holds some genomes more."""
    own = [space.nearest(widths) for widths in genomes]
    return OPTIMISERS[settings.optimiser](space, settings, list(dict.fromkeys([*own, *seeds])), objectives)


def search_of(prepared: Prepared, method: str, options: Mapping[str, Any]) -> tuple[Run, list[Beacon]]:
    """The search of one of `OWN`, and what was trained for it before it began."""
    recipe = recipe_of(options)
    if method.startswith("elastic"):
        alone = method == "elastic"
        given = elastic_weights(prepared, BUDGET if alone else FIRST, options)
        settings = bt.BeaconSettings(given=(str(given),), recipe=recipe)
        if not alone:
            settings = replace(settings, ladder=RUNGS, rung=(BUDGET - FIRST) / RUNGS)
        return searched(prepared, method, options, settings), list(read_beacons(given).values())
    if method == "longer":
        return searched(prepared, method, {**options, "generations": LONGER * options["generations"]},
                        bt.BeaconSettings()), []
    found = relaxed_widths(prepared, options)
    trained = list(read_beacons(found).values())
    optimiser = partial(seeded, [beacon.widths for beacon in trained])
    settings = bt.BeaconSettings()
    if method == "gradient + rungs":
        rungs = rungs_of(prepared, options)
        settings = bt.BeaconSettings(given=(str(rungs),), recipe=recipe)
        trained += read_beacons(rungs).values()
    return searched(prepared, method, options, settings, optimiser), trained


def own_rows(task: str, seed: int, method: str, options: Mapping[str, Any]) -> list[dict[str, Any]]:
    """All sizes of one front of `OWN`."""
    run, before = search_of(task_of(task, seed, options), method, options)
    about = run.result.get("beacons", {"retrainings": 0, "seconds": 0.0})
    # one training, of which several beacons were kept, counts once
    number = len({b.about["kind"] for b in before if b.about["kind"] != "rung"})
    number += sum(b.about["kind"] == "rung" for b in before) + about["retrainings"]
    seconds = about["seconds"] + sum(float(b.about["seconds"]) for b in before)
    return front_rows(run, {"task": task, "seed": seed, "method": method},
                      {"retrainings": number, "training_seconds": round(seconds, 1)}, "+" in method)


def any_rows(task: str, seed: int, method: str, options: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Of a method of `METHODS`."""
    return (own_rows if method in OWN else rows_of)(task, seed, method, options)


def main() -> int:
    """Compute what is missing, then print the test errors."""
    parser = search_arguments(__doc__)
    parser.add_argument("--tasks", nargs="+", default=list(TASKS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[1])
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(OWN))
    parser.add_argument("--csv", type=Path, default=Path("results/elastic.csv"))
    parser.add_argument("--minutes", type=float, help="stop after so long, as Ctrl-C does; the same command goes on")
    options = vars(parser.parse_args())
    add_missing(any_rows, lambda r: (place(str(r["method"]), METHODS), float(r["at_percent"])), options)
    show(read_rows(options["csv"]))
    print(f"written: {options['csv']}")
    return 0


def show(rows: Sequence[Mapping[str, Any]]) -> None:
    """Test errors by size, and their mean."""
    for key in dict.fromkeys((r["task"], r["seed"], r["method"]) for r in rows):
        errors = [float(r["error_test"]) for r in rows if (r["task"], r["seed"], r["method"]) == key]
        print(*key, *(f"{e:.2f}" for e in errors), f"mean {sum(errors) / len(errors):.2f}", sep="  ")


if __name__ == "__main__":
    as_command(main)
