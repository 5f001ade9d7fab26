"""What the command line prints: tables that lose nothing, JSON, panels, completion, hints, the doctor."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import bittailor as bt
from bittailor.cli import doctor, ending, lists, show, tables
from bittailor.cli.main import app
from bittailor.cli.options import PANELS, SPEC_OPTIONS
from bittailor.cli.tables import Grid
from bittailor.common.console import console
from small import small_data, small_network

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> bt.Run:
    network = small_network()
    spec = bt.SearchSpec(search=bt.SearchSettings(population=12, generations=3), workers=1,
                         objectives=("error", "size", "flash", "instructions", "silago.speedup"))
    return bt.run_search(network, small_data(network), tmp_path_factory.mktemp("cli-surface") / "run", spec)


def command(*words: str) -> str:
    done = CliRunner().invoke(app, list(words), env={"COLUMNS": "80", "NO_COLOR": "1"})
    assert done.exit_code == 0, done.output
    return done.output


def on_a_terminal(monkeypatch: pytest.MonkeyPatch, width: int = 80) -> None:
    """Have what `show` and `lists` print come out as on a terminal."""
    for module in (tables, show, lists, doctor):
        monkeypatch.setattr(module, "console", lambda **how: console(
            force_terminal=True, width=width, color_system=None, **how))


# --- tables ------------------------------------------------------------------------------------------------------


def grid(columns: int = 12) -> Grid:
    made = Grid("name", *(f"value\n[{i}]" for i in range(columns)), "words", fold=columns + 1, title="a title " * 12)
    made.add("one", *(f"{i}.123456789" for i in range(columns)), "lorem ipsum " * 9, style="red")
    made.section()
    made.add("two", "3")
    return made


@pytest.mark.parametrize("width", [30, 40, 80, 200])
def test_a_table_fits_a_terminal_and_nothing_is_cut(width: int) -> None:
    lines = [text for text, _ in grid().lines(width)]
    assert max(map(len, lines)) <= width
    whole = "\n".join(lines)
    for i in range(12):
        assert f"{i}.123456789" in whole
        assert f"[{i}]" in whole
    assert whole.count("lorem") == whole.count("ipsum") == 9
    assert "…" not in whole


def test_a_piped_table_has_a_line_a_row() -> None:
    lines = [text for text, _ in grid().lines(None)]
    assert len(lines) == 5
    assert lines[1].split()[:3] == ["name", "value", "[0]"]
    assert re.split(r" {2,}", lines[2])[:3] == ["one", "0.123456789", "1.123456789"]


def test_columns_of_numbers_stand_to_the_right() -> None:
    made = Grid("a", "b", "c", text=(2,))
    made.add("x", "1", "one")
    made.add("yy", "100", "t")
    assert [text for text, _ in made.lines(None)] == ["a     b  c", "x     1  one", "yy  100  t"]


def test_a_run_and_a_solution_fit_80_columns(run: bt.Run, capsys: pytest.CaptureFixture[str],
                                             monkeypatch: pytest.MonkeyPatch) -> None:
    on_a_terminal(monkeypatch)
    show.print_run(run)
    show.print_solution(run, run.pick("holds"))
    show.print_comparison([run, run])
    lists.print_tasks()
    lists.print_objectives()
    doctor.print_findings([doctor.Finding("x" * 20, False, "words " * 40, "more " * 40)])
    out = capsys.readouterr().out
    assert max(len(line) for line in out.splitlines() if str(run.path) not in line) <= 80
    assert "…" not in out.replace(" …", "")  # a scale a row
    assert not re.search(r"\d(\.\d+)?e\+\d", out)
    for solution in run.front:
        assert f"{solution.values['flash']:.0f}" in out
        assert show.units.number(solution.values["silago.speedup"]) in out


def test_show_marks_picks_and_says_larger_where_it_is(run: bt.Run) -> None:
    said = command("show", str(run.path))
    rows = {line.split()[0]: line for line in said.splitlines() if line.strip()}
    for name, solution in run.picks.items():
        place = next(place for place, s in run.named.items() if (s.key, s.beacon) == (solution.key, solution.beacon))
        assert name in rows[place]
    assert f"{run.holds} = holds" in said
    assert show.size_words(run.baseline(16), run.baseline(8), "size").endswith("% larger")
    assert show.size_words(run.baseline(4), run.baseline(8), "size").endswith("% smaller")
    assert "-" not in show.size_words(run.baseline(16), run.baseline(8), "size")


def test_tasks_and_objectives_are_short(run: bt.Run, capsys: pytest.CaptureFixture[str],
                                        monkeypatch: pytest.MonkeyPatch) -> None:
    on_a_terminal(monkeypatch)
    lists.print_tasks()
    assert len(capsys.readouterr().out.splitlines()) <= 2.5 * len(bt.TASKS)
    lists.print_objectives()
    assert len(capsys.readouterr().out.splitlines()) <= 40
    assert "CC BY" in command("tasks", "digits")


# --- JSON --------------------------------------------------------------------------------------------------------


def test_json_has_every_digit(run: bt.Run) -> None:
    whole = json.loads(command("show", str(run.path), "--json"))
    assert whole["solutions"].keys() == run.named.keys()
    assert whole["holds"] == run.holds
    assert whole["metric"]["unit"] == "%"
    for name, solution in run.named.items():
        assert whole["solutions"][name]["values"] == dict(solution.values)
        assert whole["solutions"][name]["widths"] == dict(solution.widths)
    for pick, place in whole["picks"].items():
        assert dict(run.pick(place).widths) == dict(run.pick(pick).widths)
    one = json.loads(command("show", str(run.path), "--pick", "holds", "--json"))
    plan = run.plan(run.pick("holds"))
    assert {name: site["bits"] for name, site in one["sites"].items()} == plan.widths
    assert one["stored"]["total"] == run.pick("holds").values["stored"]


def test_json_of_lists_and_comparisons(run: bt.Run, tmp_path: Path) -> None:
    assert [o["name"] for o in json.loads(command("objectives", "--json"))] == list(bt.OBJECTIVES)
    assert [t["name"] for t in json.loads(command("tasks", "--json"))] == list(bt.TASKS)
    assert [t["name"] for t in json.loads(command("tasks", "vowels", "--json"))] == ["vowels"]
    (row,) = json.loads(command("compare", str(run.path), "--json", "--csv", str(tmp_path / "table.csv")))
    assert row == show.summary_row(run)
    assert (tmp_path / "table.csv").read_text().startswith("task,hidden,seed,")


# --- help, completion, hints ---------------------------------------------------------------------------------------


def test_help_has_panels_in_order_and_no_wall() -> None:
    said = command("search", "--help")
    places = [said.index(f"─ {head} ─") for head in PANELS.values()]
    assert places == sorted(places)
    ungrouped = re.findall(r"╭─ Options ─.*?╰", said, re.S)
    assert all("--help" in panel and panel.count("│ ") <= 4 for panel in ungrouped)


def completed(words: str, last: str) -> list[str]:
    """What bash is offered after `words`, where `last` is being typed."""
    env = {**os.environ, "_BITTAILOR_COMPLETE": "complete_bash", "COMP_WORDS": f"{words} {last}",
           "COMP_CWORD": str(len(words.split()))}
    code = "import sys; sys.argv = ['bittailor']; from bittailor.__main__ import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=False)
    assert "Traceback" not in done.stderr
    return done.stdout.split()


def test_the_shell_completes_commands_tasks_lists_and_picks(run: bt.Run) -> None:
    assert completed("bittailor", "sea") == ["search"]
    assert completed("bittailor search", "mnist") == ["mnist", "mnist1d"]
    assert "error,flash.m0" in completed("bittailor search digits --objectives", "error,flash.m")
    assert completed(f"bittailor show {run.path} --pick", "care") == ["careful"]
    assert "0" in completed(f"bittailor show {run.path} --pick", "")
    assert "c" in completed("bittailor export x y --to", "")


def test_every_name_that_is_completed_exists() -> None:
    for option in SPEC_OPTIONS:
        if option.names is not None:
            assert list(option.names()), option.name


def test_each_step_says_what_is_next(run: bt.Run, tmp_path: Path) -> None:
    said = command("export", str(run.path), str(tmp_path / "firmware"))
    assert f"next:  bittailor verify {tmp_path / 'firmware'}" in said
    said = command("verify", str(tmp_path / "firmware"), "--cores", "host", "--items", "2")
    assert re.search(r"next:  read .*README\.md", said)


# --- the doctor ----------------------------------------------------------------------------------------------------


def test_the_doctor_looks_at_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {f["what"]: f for f in json.loads(command("doctor", "--json"))}
    assert {"bittailor", "Python", "C compiler", "native variants", "cache", "core host", "core m4"} <= found.keys()
    assert {f"engine {name}" for name in bt.ENGINES} <= found.keys()
    monkeypatch.setattr(doctor, "find_compiler", lambda: None)
    monkeypatch.setattr(doctor, "prebuilt", lambda variant: None)
    monkeypatch.setattr(doctor, "_wanted", lambda: {"report": ["no-such-distribution"]})
    lacking = {f.what: f for f in doctor.examine() if not f.fine}
    assert "install gcc" in lacking["C compiler"].costs
    assert "pip install 'bittailor[report]'" in lacking["extra report"].costs
    assert "missing" in command("doctor")


def test_the_doctor_knows_every_extra() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    composed = {"all", "dev", "docs"}
    assert set(doctor.COSTS) == set(extras) - composed
    (whole,) = extras["all"]
    compiled_when_installed = {"enhance"}  # pesq has no wheels: no part of `all`, see docs/dependencies.md
    for extra in set(doctor.COSTS) - compiled_when_installed:
        assert re.search(rf"[\[,]{extra}[\],]", whole), f"[all] lacks {extra}"


# --- ends ----------------------------------------------------------------------------------------------------------


def ended(monkeypatch: pytest.MonkeyPatch, error: BaseException, *words: str) -> int:
    """The status of a command that raises."""
    def fails() -> Any:
        raise error

    monkeypatch.setattr(sys, "argv", ["bittailor", *words])
    with pytest.raises(SystemExit) as end:
        ending.run(fails)
    return int(end.value.code or 0)


@pytest.fixture
def logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("bittailor.common.interrupts.install", lambda: None)
    monkeypatch.setattr("bittailor.common.interrupts.ending", lambda status: None)
    monkeypatch.setattr("bittailor.common.interrupts.at_work", lambda: None)
    monkeypatch.setattr("bittailor.common.interrupts._said", False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def test_a_bug_is_one_line_and_a_private_log(logs: Path, capfd: pytest.CaptureFixture[str],
                                             monkeypatch: pytest.MonkeyPatch) -> None:
    assert ended(monkeypatch, ValueError("so\nand so"), "show", "x") == 1
    (log,) = logs.glob("bittailor-*.log")
    if os.name == "posix":
        assert stat.S_IMODE(log.stat().st_mode) == 0o600
    assert "ValueError: so\nand so" in log.read_text()
    assert "bittailor show x" in log.read_text()
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("this is a bug: ValueError: so and so. Please report it with ")


def test_where_no_log_can_be_written_it_is_still_one_line(logs: Path, capfd: pytest.CaptureFixture[str],
                                                          monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: Any, **how: Any) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("bittailor.cli.ending.tempfile.NamedTemporaryFile", full)
    assert ended(monkeypatch, ValueError("so"), "show", "x") == 1
    (line,) = capfd.readouterr().err.splitlines()
    assert re.search(r"in fails \(test_cli_surface\.py:\d+\); no log could be written", line)


@pytest.mark.parametrize(("error", "status"), [
    (SystemExit(3), 3), (SystemExit(), 0), (MemoryError(), 1), (bt.BittailorError("x"), 2), (OSError(5, "x"), 2),
])
def test_other_ends_keep_their_status(logs: Path, error: BaseException, status: int,
                                      monkeypatch: pytest.MonkeyPatch) -> None:
    assert ended(monkeypatch, error, "show") == status


@pytest.mark.parametrize(("words", "said"), [
    (["search", "digits", "--out", "a b"], "go on with:  bittailor search digits --out 'a b' --resume   "),
    (["search", "digits", "--resume", "--out", "r"], "go on with:  bittailor search digits --out r --resume   "),
    (["retrain", "r", "--pick", "8bit"], "go on with:  bittailor retrain r --pick 8bit   (what is trained is kept)"),
    (["report", "r"], "go on with:  bittailor report r   (it begins anew)"),
    ([], "go on with:  bittailor   "),
])
def test_ctrl_c_says_how_to_go_on(logs: Path, capfd: pytest.CaptureFixture[str], words: list[str], said: str,
                                  monkeypatch: pytest.MonkeyPatch) -> None:
    assert ended(monkeypatch, KeyboardInterrupt(), *words) == 130
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("stopped; ")
    assert said in line
