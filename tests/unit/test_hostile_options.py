"""Options of every command, drawn at random: status 0 or 2, no traceback; what is refused is refused before anything is
written, and nothing of the user's is ever written over. In this process, on one small run; nothing is searched."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_hostile_files import OWN, bittailor

import bittailor as bt
from bittailor.cli.options import SPEC_OPTIONS, read_settings, read_widths
from bittailor.runs import SearchSpec

HARD = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
DIGITS = "9" * 5000
TEXTS = ["", " ", "-1", "0", "1", "8", "2.5", "nan", "inf", "1e400", DIGITS, "-" + DIGITS, "²", "١", "٣", "1_0", "+3",
         "[/x]", "[bold]x", "\x1b[2J", "é", "\udcff", "a\nb", "x", "x=1", "=", "a=", "epochs=abc", "epochs=١",
         "share=2", "rate=inf",
         "2-8", "2-20000000000", "8-2", "8,", "error,size", "error,error", "size<=1KiB", "size<=²KiB",
         "error<=nan", "size<=" + DIGITS, "8bit", "8bitbit", "²bit", "smallest", "best", "holds", "retrained:", "0@95",
         "x@y", "../x", "own.py", "own.py:load", "own.py:", ":", "run", "mine", "mine.txt", "mine.txt/x", "missing",
         "c", "p", "yes", "None", "--", "-", "c,c", "host,z80", "*", "{}", "%s", "x" * 5000]
PLACES = ["run", "c", "p", "mine", "mine.txt", "mine.txt/x", "own.py", "missing", ".", "..", "", "é", "\udcff", "[/x]",
          "x" * 5000, "run/result.json", "p/program.safetensors", "/dev/null"]
REFUSED = [["--population", "-3"], ["--population", "x"], ["--generations", "0.5"], ["--seed", "-1"],
           ["--seed", DIGITS], ["--seed", "²"], ["--seed", "２"], ["--engine", "steam"], ["--recipe", "epochs=abc"],
           ["--recipe", "rate=inf"],
           ["--beacon-rule", "share=2"], ["--beacon-rule", "x"], ["--widths", "٣"], ["--widths", "2-20000000000"],
           ["--objectives", "error,beauty"], ["--constrain", "size<=x"], ["--guide", ""], ["--guide", "stars"],
           ["--seeding", ""], ["--seeding", "x"], ["--space", ""], ["--space", "x"], ["--metric", "x"],
           ["--optimiser", "x"], ["--cell", "gru"], ["--hidden", "3"], ["--platform", "missing"], ["--certify", "x@y"],
           ["--calibration", "x"], ["--rounding", "x"], ["--workers", "-1"], ["--confirm", "2"], ["--data", "run"],
           ["--beacons-from", "mine"], ["--spec", "mine.txt"], ["--preset", "x"], ["--select-items", "-1"],
           ["--islands", "0"], ["--nothing", "1"]]
"""Options of a search of one's own network that cannot be meant."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """own.py, a small finished run, an export of it to C and one as a program, and things of the user's own."""
    from bittailor.cli.actions import export_solution, load_own

    folder = tmp_path_factory.mktemp("options") / "made"
    for name in ("mine", "tmp"):
        (folder / name).mkdir(parents=True)
    (folder / "own.py").write_text(OWN)
    own = load_own(f"{folder / 'own.py'}:load")
    search = bt.SearchSettings(population=4, generations=1)
    spec = SearchSpec(task=own.task, metric=own.metric, search=search, workers=1)
    bt.run_search(own.network, own.data, folder / "run", spec, origin=own.origin)
    export_solution(folder / "run", folder / "c", pick="8bit")
    export_solution(folder / "run", folder / "p", pick="8bit", to="program")
    for name in ("mine.txt", "mine/index.html", "mine/front.csv", "mine/table.csv", "c/mine.txt", "run/mine.txt"):
        (folder / name).write_text("my own")
    return folder


@pytest.fixture
def place(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, as the current folder, with the folder for temporary files inside."""
    here = tmp_path / "here"
    shutil.copytree(made, here)
    monkeypatch.chdir(here)
    monkeypatch.setattr(tempfile, "tempdir", str(here / "tmp"))
    return here


def content(place: Path) -> dict[str, bytes]:
    """Every file and folder; what lies in one."""
    return {str(path.relative_to(place)): path.read_bytes() if path.is_file() else b"" for path in place.rglob("*")
            if "__pycache__" not in path.parts and path.suffix not in (".sqlite-wal", ".sqlite-shm")}


class Command:
    """Runs commands, and looks at what they left."""

    def __init__(self, place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self.place, self.capsys, self.monkeypatch = place, capsys, monkeypatch

    def __call__(self, *words: str, refused: bool = False, into: str = "") -> None:
        """What is refused changes nothing; what is not changes only the folder `into`, and nobody's own in it."""
        before = content(self.place)
        status, said = bittailor(*words, capsys=self.capsys, monkeypatch=self.monkeypatch)
        after = content(self.place)
        assert status in ((2,) if refused else (0, 2)), (words, said)
        assert "Traceback" not in said, (words, said)
        assert "\x1b[2J" not in said, (words, said)
        if status == 2:
            assert said.strip(), words
            assert after == before, (words, sorted(after.keys() ^ before.keys()))
            return
        own = {name: data for name, data in before.items() if "mine" in name or not into or not inside(name, into)}
        assert {name: after.get(name) for name in own} == own, words
        new = [name for name in after.keys() - before.keys() if not into or not inside(name, into)]
        assert new == [], words
        if after != before:
            for name in after.keys() - before.keys():
                path = self.place / name
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
            for name in before:
                if (self.place / name).is_file() and after.get(name) != before[name]:
                    (self.place / name).write_bytes(before[name])


def inside(name: str, folder: str) -> bool:
    return folder == "." or name == folder or name.startswith(f"{folder}/")


@pytest.fixture
def command(place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    return Command(place, capsys, monkeypatch)


def drawn(*flags: str, most: int = 3) -> st.SearchStrategy[list[str]]:
    """Words of some options of these, each with any text; `--x!` takes none."""
    one = st.sampled_from(flags).flatmap(
        lambda flag: st.just([flag[:-1]]) if flag.endswith("!") else st.sampled_from(TEXTS).map(lambda v: [flag, v]))
    return st.lists(one, max_size=most).map(lambda found: [word for words in found for word in words])


SPECS = tuple(o.flag or f"--{o.name.replace('_', '-')}" for o in SPEC_OPTIONS
              if o.name != "cluster" and o.type is not bool)
TASKS = st.sampled_from(["own.py:load", "digits", "own.py:", "x", "", ":", "own.py:x", "mine.txt:load", "é"])


@settings(max_examples=60, suppress_health_check=HARD)
@given(task=TASKS, options=drawn(*SPECS, "--spec", "--preset"))
def test_spec(command: Command, task: str, options: list[str]) -> None:
    command("spec", task, *options)


@settings(max_examples=60, suppress_health_check=HARD)
@given(wrong=st.sampled_from(REFUSED), options=drawn(*SPECS, "--resume!", "-q!", most=2), after=st.booleans(),
       out=st.sampled_from(["new", "deep/er", "mine", "run", "mine.txt"]))
def test_search(command: Command, wrong: list[str], options: list[str], after: bool, out: str) -> None:
    """One of the options cannot be meant: no folder is made, and no finished run changed."""
    words = [*options, *wrong] if wrong[0] not in options else wrong
    command("search", "own.py:load", "--out", out, *words, refused=True)


@settings(max_examples=20, suppress_health_check=HARD)
@given(out=st.sampled_from(["mine", "run", "c", "mine.txt", "mine.txt/x", "", "run/result.json"]),
       options=drawn("--generations", "--population", "-q!", "--seed", most=2))
def test_search_into_what_is_there(command: Command, out: str, options: list[str]) -> None:
    command("search", "own.py:load", "--out", out, *options, refused=True)


@settings(max_examples=40, suppress_health_check=HARD)
@given(run=st.sampled_from(PLACES), options=drawn("--pick"))
def test_show(command: Command, run: str, options: list[str]) -> None:
    command("show", run, *options)


@settings(max_examples=30, suppress_health_check=HARD)
@given(runs=st.lists(st.sampled_from(["run", "run", *PLACES]), min_size=1, max_size=3),
       csv=st.sampled_from([None, "new.csv", "mine.txt", "mine/table.csv", "mine", "", "run/result.json", "own.py",
                            "mine.txt/x", "é.csv"]))
def test_compare(command: Command, runs: list[str], csv: str | None) -> None:
    command("compare", *runs, *([] if csv is None else ["--csv", csv]), into=csv if csv in ("new.csv", "é.csv") else "")


@settings(max_examples=50, suppress_health_check=HARD)
@given(source=st.sampled_from(["run", "run", "run", *PLACES]),
       out=st.sampled_from(["new", "c", "p", "mine", "mine.txt", "mine.txt/x", "run", ".", "", "own.py"]),
       options=drawn("--to", "--pick", "--prefix", "--force!", "--steps", "--core", "--items", "--seed", "--data"))
def test_export(command: Command, source: str, out: str, options: list[str]) -> None:
    command("export", source, out, *options, into=out if out in ("new", "c", "p") else "")


@settings(max_examples=40, suppress_health_check=HARD)
@given(folder=st.sampled_from(["p", "p", *(place for place in PLACES if place != "c")]),
       options=drawn("--items", "--seed", "--run", "--cores", "--data"))
def test_verify(command: Command, folder: str, options: list[str]) -> None:
    command("verify", folder, *options)


@settings(max_examples=25, suppress_health_check=HARD)
@given(case=st.sampled_from([("run", out) for out in ("mine", "mine.txt", "mine.txt/x", "", "own.py")]
                            + [(run, "new") for run in PLACES if run != "run"]))
def test_report(command: Command, case: tuple[str, str]) -> None:
    pytest.importorskip("matplotlib")
    command("report", case[0], "--out", case[1], refused=True)


WRONG = [["--seed", "-1"], ["--seed", "x"], ["--epochs", "0"], ["--epochs", DIGITS], ["--recipe", "epochs=abc"],
         ["--recipe", "rate=inf"], ["--recipe", "x"], ["--recipe", "epochs=1.5"], ["--workers", "-1"], ["--pick", "²"],
         ["--pick", "x"], ["--from", "own.py:x"], ["--from", "mine.txt:load"], ["--nothing", "1"], ["--pick", DIGITS]]


@settings(max_examples=30, suppress_health_check=HARD)
@given(wrong=st.sampled_from(WRONG), options=drawn("--pick", "--epochs", "--recipe", "--seed", "--workers", most=2))
def test_retrain(command: Command, wrong: list[str], options: list[str]) -> None:
    given_twice = wrong[0] in options and wrong[0] not in ("--pick", "--recipe")
    own = [] if wrong[0] == "--from" else ["--from", "own.py:load"]
    command("retrain", "run", "--pick", "8bit", *own, *([] if given_twice else options), *wrong, refused=True)


@settings(max_examples=25, suppress_health_check=HARD)
@given(run=st.sampled_from(["run", *PLACES]),
       wrong=st.sampled_from([["--at", "²"], ["--at", "x"], ["--at", DIGITS], ["--from", "own.py:x"], ["--at", ""],
                              ["--from", "mine.txt:load"], ["--data", "missing"], ["--nothing", "1"], []]))
def test_sensitivity(command: Command, run: str, wrong: list[str]) -> None:
    """Without --from the run's own file is not run, so that this is refused as well."""
    command("sensitivity", run, *wrong, refused=True)


@pytest.mark.parametrize("pick", ["²", "١", "٣", DIGITS, "9" * 10, "-1", "1_0", "²bit", "١bit", f"{DIGITS}bit", "1.0",
                                  f"size<={DIGITS}x"])
@pytest.mark.parametrize("words", [("show", "run", "--pick"), ("export", "run", "new", "--pick"),
                                   ("sensitivity", "run", "--at"),
                                   ("retrain", "run", "--from", "own.py:load", "--pick")])
def test_picks_that_are_no_numbers(command: Command, words: tuple[str, ...], pick: str) -> None:
    command(*words, pick, refused=True)


@pytest.mark.parametrize("value", ["-1", "-" + DIGITS, str(2**32), str(2**64), DIGITS, "²", "1.5"])
@pytest.mark.parametrize("words", [("verify", "c"), ("verify", "p"), ("export", "run", "new"), ("spec", "digits"),
                                   ("export", "p/program.safetensors", "new", "--to", "program"),
                                   ("search", "own.py:load", "--out", "new"), ("train", "digits", "--cache", "new"),
                                   ("retrain", "run", "--from", "own.py:load", "--pick", "8bit")])
def test_seeds_that_are_none(command: Command, words: tuple[str, ...], value: str) -> None:
    command(*words, "--seed", value, refused=True)


@pytest.mark.parametrize("text", ["٣", "²", "2-٨", "1_0", "+3", "-3", "3-", "2-8-9", "8-2", "2,,3", "", ",", "2-99",
                                  DIGITS, "2–8", "3.0"])
def test_widths_take_the_digits_0_to_9(text: str) -> None:
    with pytest.raises(bt.BittailorError, match=r"cannot read the widths .*; write them like 2-8 or 2,4,8"):
        read_widths(text)


def test_what_widths_and_settings_are_read_as() -> None:
    assert read_widths(" 2 - 4, 8") == [2, 3, 4, 8]
    found = read_settings(["a=3", "b=1e-3", "c=٣", "d=1_0", "e=yes", "f=-2", "g=²"])
    assert found == {"a": 3, "b": 1e-3, "c": "٣", "d": "1_0", "e": True, "f": -2, "g": "²"}
