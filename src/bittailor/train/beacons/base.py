"""What a beacon is, where it lies, and how far it is from a candidate."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import inf, log2
from pathlib import Path
from typing import Any

from bittailor.common.files import formed, load_json, reading, save_json
from bittailor.common.records import check
from bittailor.core.graph import Graph
from bittailor.core.network import Network
from bittailor.errors import BittailorError, FileError
from bittailor.evaluate.certify import Comparison
from bittailor.quantise.calibration import Calibration
from bittailor.search.space import Space
from bittailor.train.recipe import Retraining

KIND, VERSION = "beacon", 1
FILES = ("network.safetensors", "calibration.safetensors", "beacon.json")


@dataclass(frozen=True)
class BeaconSettings:
    """When a candidate becomes a beacon, and how it is retrained. The rules follow from a run's baselines, so they
    fit any task.

    budget      candidates retrained during the search, 0 or more
    polish      members of the final front retrained after it, 0 or more
    ladder      rungs: members along the front so far, from wide to narrow, each retrained shortly from the nearest
                before it; 0 or more. Beacons of their own, beside those of the budget
    climb       the generation in which the rungs are trained; in shorter searches, half-way
    rung        length of a rung's training, as a share of the recipe's
    share       the region: at most this share of the size of homogeneous 8 bit. What is larger is not evaluated
                from beacons either
    hopeless    the region: an error at most this far from homogeneous 8 bit (0) towards its worst baseline (1).
                Candidates as good as homogeneous 8 bit in error and loss need no retraining
    threshold   a candidate farther than this from every beacon becomes one: in steps of log2(bits) per gene of
                weights, so that networks of any depth compare. MOHAQ: 5 over 8 matrices, 0.63
    weighted    count a gene by its parameters instead of all genes alike
    first       the generation that may have the first beacons, from 2
    every       generations from one that may have beacons to the next
    together    beacons at most in one generation. They are retrained side by side where there are cores
    warm_start  begin from the nearest beacon's weights instead of the float network's
    given       runs, or folders of beacons, of the same network and data, whose beacons serve from the start
    recipe      how they are retrained
    """

    budget: int = 0
    polish: int = 0
    ladder: int = 0
    climb: int = 20
    rung: float = 0.32
    share: float = 0.5
    hopeless: float = 0.5
    threshold: float = 0.4
    weighted: bool = False
    first: int = 8
    every: int = 6
    together: int = 2
    warm_start: bool = True
    given: tuple[str, ...] = ()
    recipe: Retraining = field(default_factory=Retraining)

    def __post_init__(self) -> None:
        check(self, budget=0, polish=0, ladder=0, climb=1, first=2, every=1, together=1)
        for name in ("share", "hopeless"):
            if not 0 <= getattr(self, name) <= 1:
                raise BittailorError(f"{name} is {getattr(self, name)}; expected a share, 0..1")
        if not 0 < self.rung < inf:
            raise BittailorError(f"rung is {self.rung}; expected a share of the recipe's epochs, more than 0")
        if self.threshold < 0:
            raise BittailorError(f"threshold is {self.threshold}; expected 0 or more")

    @classmethod
    def usual(cls, recipe: Retraining | None = None) -> BeaconSettings:
        """What `--retrain` asks for: twelve short rungs, then three long trainings, together as many steps as seven
        whole ones. What it reaches is in docs/results.md."""
        return cls(ladder=12, rung=1 / 3, polish=3, recipe=recipe or Retraining())

    @property
    def used(self) -> bool:
        """Whether anything is retrained, or beacons are given."""
        return bool(self.budget or self.polish or self.ladder or self.given)

    def climbs(self, generations: int) -> int:
        """The generation in which the rungs are trained, in a search of so many; 0: none."""
        return min(self.climb, -(-generations // 2)) if self.ladder else 0

    def offers(self, generation: int) -> bool:
        """Whether candidates of a generation may become beacons."""
        return generation >= self.first and (generation - self.first) % self.every == 0


@dataclass(frozen=True)
class FiguresForm:
    """What a beacon is worth on validation data, before and after its training, and on test data; and how it compares
    there, and on the items that confirm, with homogeneous 8 bit and the float network."""

    before: Mapping[str, float] = field(default_factory=dict)
    after: Mapping[str, float] | None = None
    test_before: float | None = None
    test: float | None = None
    compared: tuple[Comparison, ...] = ()


@dataclass(frozen=True)
class EpochForm:
    """An epoch of a training: mean loss, and the metric on the training items as they were met, where it has one."""

    epoch: int
    loss: float
    seconds: float = 0.0
    train: float | None = None
    valid: float | None = None


@dataclass(frozen=True)
class BeaconForm:
    """beacon.json: the job (see `training.Job`), what it was trained on, and what came of it."""

    name: str
    widths: Mapping[str, int]
    seed: int
    parent: str | None
    kind: str
    label: str
    network: str
    data: str
    recipe: Mapping[str, Any]
    figures: FiguresForm
    failed: str | None
    history: tuple[EpochForm, ...]
    seconds: float
    worse: str | None = None


@dataclass(frozen=True, eq=False)
class Beacon:
    """A retrained network, or the note of a training that failed.

    folder  where it lies
    about   the content of its beacon.json
    """

    folder: Path
    about: Mapping[str, Any]

    @classmethod
    def open(cls, folder: Path) -> Beacon:
        """Read one; FileError if it is damaged."""
        file = folder / "beacon.json"
        about = load_json(file, KIND, VERSION)
        form = formed(file, BeaconForm, about)
        with reading(file):
            if form.name != folder.name:  # a name is a folder, also where a run takes the beacon over
                raise BittailorError(f"name is '{form.name}'; expected that of its folder")
        return cls(folder, about)

    @property
    def name(self) -> str:
        """Its name, eight hexadecimal digits."""
        return str(self.about["name"])

    @property
    def widths(self) -> Mapping[str, int]:
        """Site -> bits, as it was trained."""
        return dict(self.about["widths"])

    @property
    def failed(self) -> str | None:
        """Why the training failed; None where it did not."""
        return None if self.about["failed"] is None else str(self.about["failed"])

    @property
    def worse(self) -> str | None:
        """That the training ended worse than it began and was not kept; None where it was."""
        return self.about.get("worse")  # beacons of earlier versions do not say

    @cached_property
    def calibration(self) -> Calibration:
        """Master weights and statistics; what was trained is pinned, other widths follow post-training."""
        network = Network.load(self.folder / FILES[0])
        return Calibration.load(self.folder / FILES[1], network)

    @property
    def compared(self) -> tuple[Comparison, ...]:
        """Its comparisons with homogeneous 8 bit and the float network, item by item; none where nobody looked."""
        return tuple(Comparison(**c) for c in self.about["figures"].get("compared", ()))

    def noted(self, **figures: Any) -> Beacon:
        """The same beacon with more figures, written to its file."""
        about = {**self.about, "figures": {**self.about["figures"], **figures}}
        save_json(self.folder / "beacon.json", KIND, VERSION, about)
        return Beacon(self.folder, about)


def read_beacons(folder: Path) -> dict[str, Beacon]:
    """Name -> beacon, of all in a folder (RUN/beacons), failed ones too, by name; none where it does not exist."""
    found = [Beacon.open(path.parent) for path in sorted(folder.glob("*/beacon.json"))]
    return {beacon.name: beacon for beacon in found}


def fitting_beacons(place: Path, network: str, data: str) -> list[Beacon]:
    """The beacons in a run directory, or in a folder of beacons, that are of this network and these training data
    (fingerprints). FileError where there are none."""
    folder = place / "beacons" if (place / "run.json").is_file() else place
    if not folder.is_dir():
        raise FileError(f"{place} holds no beacons; give a run that was searched with beacons, or its folder "
                        "of beacons")
    found = [beacon for beacon in read_beacons(folder).values()
             if beacon.about["network"] == network and beacon.about["data"] == data and beacon.failed is None]
    if not found:
        raise FileError(f"{place} holds no beacon of this network and these training data")
    return found


def given_beacons(places: Sequence[Path | str], network: str, data: str, target: Path) -> list[str]:
    """Take over the beacons of other runs: copies those that fit into `target`; returns their names, sorted.

    places   run directories, or folders of beacons
    network  fingerprint of the float network; `data` of the training data
    Raises   FileError where a place is neither, or holds none that fits.
    """
    names = set()
    for place in map(Path, places):
        for beacon in fitting_beacons(place, network, data):
            names.add(beacon.name)
            copy = target / beacon.name
            if not (copy / "beacon.json").exists():
                copy.mkdir(parents=True, exist_ok=True)
                for name in FILES:
                    try:
                        shutil.copyfile(beacon.folder / name, copy / name)
                    except OSError as error:
                        raise FileError(f"cannot copy {beacon.folder / name}: {error.strerror or error}") from None
    return sorted(names)


def site_weights(space: Space, graph: Graph, weighted: bool = False) -> dict[str, float]:
    """Weight site of a gene -> how much it counts in a distance: 1 for each gene that has weights, as MOHAQ counts
    its matrices, shared by the gene's sites; or in proportion to their parameters, with a mean of 1 for a gene."""
    count = {site.name: site.count for site in graph.free if site.kind == "weight"}
    genes = [[site for site in gene.sites if site in count] for gene in space.width_genes]
    genes = [sites for sites in genes if sites]
    mean = sum(count[site] for sites in genes for site in sites) / max(1, len(genes))
    return {site: count[site] / mean if weighted else 1 / len(sites) for sites in genes for site in sites}


def distance(a: Mapping[str, int], b: Mapping[str, int], weights: Mapping[str, float]) -> float:
    """Sum over weight sites of |log2 bits - log2 bits|, each times its weight (`site_weights`); activations and biases
    do not count.

    >>> distance({"W": 2, "U": 8, "h": 8}, {"W": 4, "U": 4, "h": 2}, {"W": 1.0, "U": 1.0})
    2.0
    """
    return sum(weight * abs(log2(a[site]) - log2(b[site])) for site, weight in weights.items())


def nearest(
    widths: Mapping[str, int], beacons: Iterable[Beacon], weights: Mapping[str, float],
) -> tuple[Beacon | None, float]:
    """The nearest beacon (the first of equals) and its distance; None and infinity where there is none."""
    best: tuple[Beacon | None, float] = (None, float("inf"))
    for beacon in beacons:
        far = distance(widths, beacon.widths, weights)
        if far < best[1]:
            best = beacon, far
    return best
