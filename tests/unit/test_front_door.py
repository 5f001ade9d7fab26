"""README and docs/python.md: numbers come from results/, terms are explained where they are first used, recipes run."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

import bittailor as bt
from bittailor.cli.main import app
from small import small_data, small_network

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
BLOCK = re.compile(r"<!-- table:[^\n]*? -->\n.*?<!-- end -->", re.S)
VALUE = re.compile(r"<!-- value:[^\n]*? -->.*?<!-- / -->", re.S)
CODE = re.compile(r"```.*?```|`[^`\n]*`", re.S)
MEASURED = re.compile(r"\d[\d.,]*\s*(?:%|points|bytes|[KM]i?B|seconds|minutes|hours|times|instructions|s\b)")
"""A number with a unit: what a measurement looks like."""


def written_by_hand(page: str) -> str:
    """A page without what is generated, and without code."""
    return CODE.sub("", VALUE.sub("", BLOCK.sub("", page)))


def test_every_measured_number_of_the_readme_is_generated() -> None:
    # what is wished for, and the level of intervals, are no results
    text = re.sub(r"at most 0\.5 points worse|95 %\s+confidence", "", written_by_hand(README))
    assert MEASURED.findall(text) == [], [m.group() for m in MEASURED.finditer(text)]


def test_the_check_of_numbers_finds_one() -> None:
    assert MEASURED.search(written_by_hand("It is 52 % smaller."))
    assert not MEASURED.search(written_by_hand("`--certify 1 %` and <!-- value:x -->52 %<!-- / -->"))


def test_generated_parts_of_the_readme_hold_something() -> None:
    for part in [*BLOCK.findall(README), *VALUE.findall(README)]:
        assert re.search(r"\d", re.sub(r"<!--.*?-->", "", part)), part


def test_tables_of_the_readme_are_narrow() -> None:
    rows = [line for line in README.splitlines() if line.startswith("|")]
    assert rows
    assert max(row.count("|") - 1 for row in rows) <= 6


@pytest.mark.parametrize(("term", "explained"), [
    ("`careful`", r"`careful` is the smallest"),
    ("`holds`", r"`holds` is the pick to ship"),
    ("ladder", r"a ladder of narrower and\s+narrower networks"),
    ("`smallest`", r"`smallest` \(no worse"),
])
def test_terms_are_explained_where_they_are_first_used(term: str, explained: str) -> None:
    text = BLOCK.sub("", re.sub(r"```.*?```", "", README, flags=re.S))
    first = text.index(term)
    near = re.search(explained, text)
    assert near is not None
    assert abs(near.start() - first) < 250, text[first - 50:first + 50]


@pytest.mark.parametrize("page", ["README.md", "docs/python.md"])
def test_every_command_shown_is_one(page: str) -> None:
    """Each `bittailor WORD` in a page is a command, and its options exist."""
    known = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    code = re.findall(r"```sh\n(.*?)```|`([^`\n]*)`", (ROOT / page).read_text(), re.S)
    text = re.sub(r"#.*", "", "\n".join(block + span for block, span in code))
    for name, rest in re.findall(r"bittailor ([a-z]+)([^\n]*)", text):
        assert name in known, name
        said = CliRunner().invoke(app, [name, "--help"], env={"COLUMNS": "200", "NO_COLOR": "1"}).output
        for option in re.findall(r"(?<!\w)--[a-z-]+", rest.split(" bittailor ")[0]):
            assert option in said, f"{name} {option}"


def recipe(word: str) -> str:
    """The block of docs/python.md that imports a module, searching little."""
    (block,) = [b for b in re.findall(r"```python\n(.*?)```", (ROOT / "docs/python.md").read_text(), re.S)
                if f"import {word}" in b]
    short = "bt.SearchSpec(search=bt.SearchSettings(population=8, generations=3), workers=1)"
    return block.replace('"runs/mine", on_generation', f'"runs/mine", {short}, on_generation')


class Context:
    def __enter__(self) -> Context:
        return self

    def __exit__(self, *error: object) -> None:
        return None


@pytest.mark.parametrize("tracker", ["mlflow", "wandb"])
def test_the_recipes_of_trackers_give_a_number_a_generation(tracker: str, tmp_path: Path,
                                                            monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    logged: list[tuple[dict[str, Any], int | None]] = []

    def log(values: dict[str, Any], step: int | None = None) -> None:
        logged.append((values, step))

    fake = SimpleNamespace(
        log_metrics=log, log=log, start_run=Context, init=lambda project: Context(), log_params=lambda values: None,
        log_artifact=lambda path: Path(path).read_bytes(), Table=lambda dataframe: len(dataframe))
    monkeypatch.setitem(sys.modules, tracker, fake)
    network = small_network()
    exec(recipe(tracker), {"bt": bt, "network": network, "data": small_data(network)})
    assert [step for _, step in logged] == [1, 2, 3, None]
    for values, _ in logged[:3]:
        assert set(values) == {*(f"best {name}" for name in bt.SearchSpec().objectives), "hypervolume", "front"}
        assert all(isinstance(value, int | float) for value in values.values())


def test_clean_keeps_what_its_help_says() -> None:
    text = (ROOT / "Makefile").read_text()
    (line,) = re.findall(r"^clean: ##(.*)\n\t(.*)", text, re.M)
    assert "runs/" in line[0]
    assert not {"runs", "results"} & set(line[1].split())
