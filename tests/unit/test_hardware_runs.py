"""Platforms in a search, its store, its report and on the command line."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from test_hardware import CHIP, chip

import bittailor as bt
from bittailor.cost import PLATFORMS, Workload
from bittailor.cost.platform_file import PlatformError
from bittailor.errors import BittailorError, UnknownName
from bittailor.evaluate.evaluator import of_platform
from bittailor.quantise.spaces import of_platform as platform_space
from small import small_data, small_network


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> bt.Run:
    network = small_network()
    platform = chip(memory__sram_bytes=64)
    return bt.run_search(network, small_data(network), tmp_path_factory.mktemp("hardware") / "run",
                         bt.SearchSpec(
        platforms=(platform,), space=platform_space(network.graph, platform=PLATFORMS["bitfusion"]), guide="error",
        seeding="homogeneous", objectives=("error", "bitfusion.speedup", "silago.energy"),
        constraints=("silago.speedup>=1.5x",),
        search=bt.SearchSettings(population=12, offspring=6, generations=6, crossover="sbx", mutation="pm")))


def test_a_run_keeps_natural_values_and_its_limits(run: bt.Run) -> None:
    again = bt.Run.open(run.path)
    assert again.objectives["bitfusion.speedup"].maximise
    work, space = Workload.of(run.network.graph), again.space
    assert len(again.front) > 1
    for solution in [*again.front, *again.homogeneous]:
        assert solution.values["bitfusion.speedup"] == PLATFORMS["bitfusion"].speedup(work, solution.widths)
        assert solution.values["silago.energy"] == PLATFORMS["silago"].energy_uj(work, solution.widths)
    assert all(s.values["silago.speedup"] >= 1.5 for s in again.front)
    names = again.result["objectives"]
    costs = again.costs([s.values for s in again.front])
    assert (costs[:, 1] < 0).all()
    for i, one in enumerate(costs):
        assert not any((other <= one).all() and (other < one).any() for j, other in enumerate(costs) if i != j)
    with again.store() as store:
        stored = [row.outcome.values for row in store.rows() if row.outcome.values]
    assert all(row["bitfusion.speedup"] > 0 for row in stored)
    kept = [row for row in stored if row["silago.speedup"] >= 1.5]
    best = max(row["bitfusion.speedup"] for row in kept)
    assert again.result["history"][-1]["best"]["bitfusion.speedup"] == best
    ideal, reference = (again.result["hypervolume"][k] for k in ("ideal", "reference"))
    assert ideal[names.index("bitfusion.speedup")] > reference[names.index("bitfusion.speedup")]
    assert again.result["hypervolume"]["front"] > 0
    assert again.pick("knee") in again.front
    assert space.name == "bitfusion"


def test_a_platform_of_ones_own_lives_in_the_run(tmp_path: Path) -> None:
    network = small_network()
    data, platform = small_data(network), chip(memory__sram_bytes=64)
    options: dict[str, Any] = {
        "space": platform_space(network.graph, widths=(4, 8), activations=(8,), platform=platform),
        "objectives": ("error", "my_chip.energy"), "constraints": ["my_chip.outside<=0.5KiB"],
        "search": bt.SearchSettings(population=8, generations=2)}
    with pytest.raises(UnknownName, match=r"unknown objective 'my_chip\.energy'"):
        bt.run_search(network, data, tmp_path / "none", bt.SearchSpec(**options))
    bt.run_search(network, data, tmp_path / "run", bt.SearchSpec(platforms=[platform], **options))
    opened = bt.Run.open(tmp_path / "run")
    assert opened.config["spec"]["platforms"] == [json.loads(json.dumps(platform.document))]
    assert opened.platforms[0].products == platform.products
    assert {s.key for s in opened.homogeneous} == {f"homogeneous {b}" for b in range(2, 9)}, "it has no 16 x 16"
    assert all(s.values["my_chip.outside"] <= 4096 for s in opened.front)
    other = chip(memory__sram_bytes=65)
    with pytest.raises(BittailorError, match="belongs to another search: its platforms"):
        bt.run_search(network, data, tmp_path / "run", bt.SearchSpec(platforms=[other], **options), resume=True)
    again = bt.run_search(network, data, tmp_path / "run", bt.SearchSpec(platforms=[platform], **options), resume=True)
    assert again.front


def test_a_candidate_that_a_platform_cannot_run_costs_only_itself(tmp_path: Path) -> None:
    network = small_network()
    run = bt.run_search(network, small_data(network), tmp_path / "run",
                        bt.SearchSpec(
        platforms=[chip()], space=bt.per_operator(network.graph, widths=(4, 8), activations=(8, 16)),
        objectives=("error", "my_chip.cycles"), search=bt.SearchSettings(population=12, generations=3)))
    with run.store() as store:
        reasons = {row.outcome.reason for row in store.rows() if row.outcome.values is None}
    assert any(reason and reason.startswith("my_chip cannot multiply") for reason in reasons)
    assert run.front


def test_workers_get_the_platforms(tmp_path: Path) -> None:
    network = small_network()
    options: dict[str, Any] = {"platforms": [chip(memory=None)], "objectives": ("error", "my_chip.speedup"),
                               "space": bt.per_operator(network.graph, widths=(4, 8)), "engine": "reference",
                               "search": bt.SearchSettings(population=6, generations=2)}
    one, two = (bt.run_search(network, small_data(network), tmp_path / str(n), bt.SearchSpec(workers=n, **options))
                for n in (1, 2))
    assert one.front == two.front


def test_the_report_has_all_objectives_together(run: bt.Run, tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    from matplotlib.image import imread

    from bittailor.report import facts as made
    from bittailor.report import write_report

    page = write_report(run, tmp_path / "report")
    for name in ("pairs", "parallel"):
        assert imread(page.parent / f"{name}.png")[..., :3].std() > 0.02
    text = page.read_text()
    assert 'id="parallel"' in text
    assert "bitfusion speed-up [x], more is better" in text
    facts = made.gather(run)
    axis = facts.axes["bitfusion.speedup"]
    assert [axis.cost(s) for s in run.front] == [-s.values["bitfusion.speedup"] for s in run.front]
    cheapest = made.by_size(facts)[0]
    assert axis.of(cheapest) == max(axis.of(s) for s in facts.mixed)
    assert facts.axes["silago.energy"].unit == "µJ"
    header = (page.parent / "front.csv").read_text().splitlines()[0].split(",")
    assert {"bitfusion.speedup_x", "silago.energy_uj"} <= set(header)


# ---- the preset, and a file named on the command line


def asked(*words: str) -> bt.SearchSpec:
    """What a command line asks for; nothing is searched."""
    from typer.testing import CliRunner

    from bittailor.cli.main import app
    from bittailor.runs.spec import layered

    done = CliRunner().invoke(app, ["spec", *words])
    if done.exception is not None:
        raise done.exception
    return layered(tomllib.loads(done.stdout))


def test_a_preset_gives_what_is_not_given() -> None:
    spec = asked("digits", "--preset", "mohaq", "--space", "silago", "--seed", "3")
    settings = spec.search
    assert (settings.population, settings.offspring, settings.generations, settings.seed) == (40, 10, 15, 3)
    assert (settings.crossover, settings.mutation, spec.guide) == ("sbx", "pm", "error")
    assert spec.objectives == ("error", "silago.speedup", "silago.energy")
    assert spec.space == bt.SpaceSettings("silago")
    spec = asked("digits", "--preset", "mohaq", "--space", "bitfusion", "--generations", "7", "--offspring", "5",
                 "--guide", "loss", "--objectives", "error,size", "--widths", "4,8")
    assert (spec.search.generations, spec.search.offspring, spec.guide) == (7, 5, "loss")
    assert spec.objectives == ("error", "size")
    assert {gene.widths for gene in spec.make_space(small_network().graph).genes} == {(4, 8)}
    spec = asked("digits", "--preset", "mohaq")
    assert (spec.space, spec.search.generations, spec.objectives) == (
        bt.SpaceSettings("per_layer"), 60, ("error", "size"))
    spec = asked("digits")
    assert spec.search == bt.SearchSettings()
    assert (spec.space, spec.objectives, spec.guide) == (bt.SpaceSettings("per_operator"), ("error", "flash"), "loss")
    with pytest.raises(UnknownName, match="unknown preset 'mohack'; did you mean 'mohaq'"):
        asked("digits", "--preset", "mohack")


def test_a_file_brings_objectives_and_a_space(tmp_path: Path) -> None:
    file = tmp_path / "chip.toml"
    file.write_text(CHIP)
    spec = asked("digits", "--platform", str(file), "--space", "my_chip", "--objectives", "error,my_chip.cycles")
    assert spec.make_space(small_network().graph).name == "my_chip"
    assert [p.name for p in spec.platforms] == ["my_chip"]
    with pytest.raises(UnknownName, match="unknown space 'my_chip'"):
        asked("digits", "--space", "my_chip")
    with pytest.raises(UnknownName, match=r"unknown objective 'my_chip\.speed'; did you mean 'my_chip\.speedup'"):
        asked("digits", "--platform", str(file), "--objectives", "error,my_chip.speed")


def test_platforms_are_listed_and_a_file_is_checked(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from bittailor.cli.main import app

    listed = CliRunner().invoke(app, ["platforms"])
    assert listed.exit_code == 0
    for name, platform in PLATFORMS.items():
        assert f"{name}: {platform.title}" in listed.stdout
        for objective in of_platform(platform):
            assert objective.name in listed.stdout
    (tmp_path / "chip.toml").write_text(CHIP.replace("cycles = 4", "cycles = -4"))
    wrong = CliRunner().invoke(app, ["platforms", str(tmp_path / "chip.toml")])
    assert isinstance(wrong.exception, PlatformError)
    assert "lookup.cycles is -4; expected a number, 0 or more" in str(wrong.exception)


@pytest.mark.slow
def test_the_chart_of_all_objectives_works_in_a_browser(run: bt.Run, tmp_path: Path) -> None:
    looked_at = pytest.importorskip("test_report_browser")
    from bittailor.report import write_report

    page = write_report(run, tmp_path / "report")
    with looked_at.Browser() as browser:
        seen = browser.open(page, 1400, 900)
        beside = {s.key for s in run.picks.values()} - {s.key for s in run.front}
        shown = len(run.front) + len(run.homogeneous) + len(beside)
        assert seen.value("document.querySelectorAll('#parallel path.line').length") == shown
        # a line of the parallel axes is clicked
        seen.value("document.querySelector('#parallel path[data-id=s1] + .catch').dispatchEvent(new Event('click'))")
        assert seen.value("document.getElementById('pick').value") == "s1"
        # a stretch of an axis is a limit: the upper half of the first one
        x, y = seen.middle("#parallel .grip")
        height = seen.value("document.querySelector('#parallel .grip').getBoundingClientRect().height")
        seen.drag((x, y), (x, y + height / 2 - 1))
        kept = seen.value(f"{looked_at.ROWS}.length")
        assert 0 < kept < len(run.front)
        assert seen.value("document.getElementById('passing').textContent").startswith(f"{kept} of ") or beside
        assert seen.problems == []
