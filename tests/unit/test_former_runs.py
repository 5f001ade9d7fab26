"""A run that commit fc1d24f wrote: a search of digits with two hidden units, and one retrained member of its front.

It was made, in an empty folder with an empty folder `data` in it, by

    bittailor search digits --hidden 2 --out digits --data data --population 6 --generations 3 --quiet --space per_layer
    --widths 2,4,8 --polish 1 --recipe epochs=1 --recipe updates=0 --constrain 'size<=1KiB'
"""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

import bittailor as bt
from bittailor.cli.main import app
from bittailor.quantise.calibration import CalibrationSettings
from bittailor.runs import SpaceSettings
from bittailor.runs.folder import begin
from bittailor.train.recipe import Retraining

FORMER = Path(__file__).parents[1] / "former" / "digits.zip"


@pytest.fixture
def former(tmp_path: Path) -> Path:
    with zipfile.ZipFile(FORMER) as file:
        file.extractall(tmp_path)
    return tmp_path / "digits"


def command(*words: str) -> str:
    done = CliRunner().invoke(app, list(words))
    if done.exception is not None:
        raise done.exception
    return done.output


def test_what_was_asked_for_is_read_as_a_spec(former: Path) -> None:
    run = bt.Run.open(former)
    spec = run.spec
    assert (spec.task.name, spec.task.hidden, spec.task.data) == ("digits", 2, "data")
    assert (spec.constraints, spec.objectives, spec.guide) == (("size<=1KiB",), ("error", "size"), "loss")
    assert (spec.search.population, spec.search.offspring, spec.search.generations) == (6, 0, 3)
    assert (spec.beacons.budget, spec.beacons.polish, spec.beacons.recipe) == (0, 1, Retraining(epochs=1, updates=0))
    assert spec.calibration == CalibrationSettings()
    assert spec.space == run.space
    assert spec.make_space(run.network.graph).name == "per_layer"
    assert run.origin.command.startswith("bittailor search digits --hidden 2")
    assert "digits" in run.title
    assert bt.SearchSpec.from_dict(spec.to_dict()) == spec


def test_it_opens_everywhere(former: Path, tmp_path: Path) -> None:
    assert "digits" in command("show", str(former))
    assert "gru0.W_hn" in command("show", str(former), "--pick", "smallest")
    assert "8bit" in command("compare", str(former))
    command("export", str(former), str(tmp_path / "c"), "--pick", "8bit")
    again = tmp_path / "again.toml"
    again.write_text(command("spec", "--spec", str(former)))
    assert "polish = 1" in again.read_text()


def test_it_is_retrained_and_analysed(former: Path) -> None:
    before = bt.Run.open(former).retrained
    command("retrain", str(former), "--pick", "8bit", "--workers", "1")
    assert len(bt.Run.open(former).retrained) == len(before) + 1
    assert "gru0" in command("sensitivity", str(former))


def test_it_is_reported(former: Path) -> None:
    pytest.importorskip("matplotlib")
    pytest.importorskip("sklearn")
    command("report", str(former))
    page = (former / "report" / "index.html").read_text("utf-8")
    assert "bittailor search digits --hidden 2" in page


def test_the_same_search_goes_on_with_it(former: Path) -> None:
    run = bt.Run.open(former)
    asked = bt.SearchSpec.from_dict({**run.spec.to_dict(), "space": {"name": "per_layer", "widths": [2, 4, 8]}})
    assert asked.space == SpaceSettings("per_layer", (2, 4, 8))
    config = {**run.config, "spec": asked.to_dict()}
    config.pop("version", None)
    begin(former, config, resume=True)
    assert bt.Run.open(former).spec == asked
    with pytest.raises(bt.BittailorError, match="its guide is \"loss\", now it is \"error\""):
        begin(former, {**config, "spec": {**asked.to_dict(), "guide": "error"}}, resume=True)
