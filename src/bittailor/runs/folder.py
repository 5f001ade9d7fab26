"""Making a run directory, or finding that one belongs to the same search."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bittailor.common.aside import sweep
from bittailor.common.data import Data
from bittailor.common.files import save_json
from bittailor.core.network import Network
from bittailor.errors import FileError
from bittailor.quantise.calibration import Calibration, CalibrationSettings, calibrate
from bittailor.runs.opened import RUN_KIND, RUN_VERSION
from bittailor.runs.run import Run
from bittailor.runs.spec import SearchSpec
from bittailor.search.store import GIVEN, Store
from bittailor.train.beacons import Beacon, given_beacons, read_beacons

NOT_COMPARED = {"engine", "workers", "search.generations", "task.data"}
"""What may differ where a search is resumed: results do not depend on it. More generations only make the same search
longer."""


def begin(folder: Path, config: Mapping[str, Any], resume: bool) -> None:
    """Write run.json, or check that an earlier one asked for the same search."""
    file = folder / "run.json"
    sweep_run(folder)
    if not file.exists():
        if resume:
            raise FileError(f"nothing to resume: {folder} has no run.json; leave out --resume to begin")
        if folder.is_dir() and any(folder.iterdir()):
            raise FileError(f"{folder} is not empty and no run directory; choose another --out")
        save_json(file, RUN_KIND, RUN_VERSION, config)
        return
    run = Run.open(folder)
    was, now = _compared(run.config, run.spec), _compared(_plain(config), SearchSpec.from_dict(config["spec"]))
    for name in {**now, **was}:
        if was.get(name) != now.get(name):
            raise FileError(f"{folder} belongs to another search: its {name} is {_short(was.get(name))}, "
                            f"now it is {_short(now.get(name))}; choose another --out")
    if not resume:
        raise FileError(f"{folder} holds this search already; add --resume to go on, or choose another --out")
    _check_length(run, SearchSpec.from_dict(config["spec"]).search.generations)
    version = run.config["bittailor_version"]
    if version != config["bittailor_version"]:
        raise FileError(f"{folder} was begun by bittailor {version}; this is {config['bittailor_version']}: its "
                        "evaluations may differ. Choose another --out")
    save_json(file, RUN_KIND, RUN_VERSION, config)


def sweep_run(folder: Path) -> None:
    """Remove the half-written files that a killed process left in a run directory."""
    sweep(folder, folder / "report", folder / "sensitivity", *folder.glob("beacons/*"))


def _check_length(run: Run, generations: int) -> None:
    """FileError where a resumed search would be shorter than it was, or has lost its evaluations."""
    was = run.spec.search.generations
    if generations < was:
        raise FileError(f"{run.path} was searched for {was} generations and cannot be made shorter; give --generations "
                        f"{was} or more, or choose another --out")
    file = run.path / "evaluations.sqlite"
    if not file.exists() and (made := _counted(run)):
        raise FileError(f"{file} is missing, but result.json counts {made} evaluations; restore it, or choose another "
                        "--out")


def check_store(folder: Path, store: Store) -> None:
    """FileError where a store holds nothing though the run's result counts evaluations."""
    if not len(store) and (made := _counted(Run.open(folder))):
        raise FileError(f"{store.path} holds no evaluation, but result.json counts {made}; restore it, or choose "
                        "another --out")


def _counted(run: Run) -> int:
    """The evaluations that a run's result counts; 0 where there is none, or one that resuming makes again."""
    try:
        return int(run.result["evaluations"])
    except FileError:
        return 0


def _compared(config: Mapping[str, Any], spec: SearchSpec) -> dict[str, Any]:
    """Name -> value of everything that a search's results depend on."""
    found = {name: value for name, value in _flat(spec.to_dict()).items()
             if name not in NOT_COMPARED and not name.startswith(("space.", "cluster."))}
    return {**found, **_flat(config.get("fingerprints", {}), "fingerprints."), "space": config["space"]}


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in values.items():
        found |= _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return found


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value))


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 90 else f"{text[:87]}…"


def calibrated(folder: Path, network: Network, train: Data, settings: CalibrationSettings) -> Calibration:
    """The run's frozen statistics: read where they are, otherwise made and kept."""
    network.save(folder / "network.safetensors")
    file = folder / "calibration.safetensors"
    if file.exists():
        return Calibration.load(file, network)
    statistics = calibrate(network, train.x, train.lengths, settings)
    statistics.save(file)
    return statistics


def take_beacons(
    store: Store, places: Sequence[Path | str], network: str, data: str, target: Path
) -> list[Beacon]:
    """The beacons of other runs that serve a search from its start: those it began with, where it began before."""
    names = store.decisions().get(GIVEN)
    if names is None:
        names = given_beacons(places, network, data, target)
        store.decide(GIVEN, names)
    known = read_beacons(target)
    for name in names:
        if name not in known:
            raise FileError(f"{target} lacks the beacon {name}, which this search began with; restore its folder")
    return [known[name] for name in names]
