"""Files from elsewhere, or damaged: whatever is in them, a command ends with status 0 or 2, in one line, without a
traceback, and writes over nothing. Status 1, which the last catch of `main` gives, is a failure here."""

from __future__ import annotations

import json
import random
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import bittailor as bt
from bittailor.cli.actions import make_spec
from bittailor.cli.main import main
from bittailor.common.files import load_tensors, read_values, save_tensors
from bittailor.core.plan import Plan
from bittailor.cost import parse_platform
from bittailor.cost.platform_file import shipped
from bittailor.errors import BittailorError
from bittailor.evaluate.sensitivity import Sensitivity
from bittailor.quantise.calibration import CALIBRATION_KIND, CALIBRATION_VERSION, Calibration
from bittailor.runs import Run, SearchSpec
from bittailor.search.store import Store
from bittailor.train.beacons import given_beacons

PLATFORMS = Path(bt.__file__).parent / "cost" / "platforms"
OWN = '''
import numpy as np, torch
import bittailor as bt

def load():
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    part = lambda: bt.Data(rng.normal(size=(12, 4, 3)).astype(np.float32), np.arange(12) % 2)
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.gru, self.head = torch.nn.GRU(3, 2, batch_first=True), torch.nn.Linear(2, 2)
        def forward(self, x):
            return self.head(self.gru(x)[0][:, -1])
    return Net(), bt.Splits(part(), part(), part())
'''
ODD = [0, 1, -1, 2, 8, 17, 255, -(2**31), 2**62, 2**64, 10**400, 1e308, 1.5, float("nan"), float("inf"), True, False,
       None, "", "x", "[/x]", "\x1b[2J", "\ud800", "\0", "../x", "size", "error", [], [1], {}, {"a": 1}, [[]]]
OLD = HealthCheck.function_scoped_fixture


def bittailor(*words: object, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> tuple[int, str]:
    """The command line in this process: its status, and what it said on standard error."""
    monkeypatch.setattr(sys, "argv", ["bittailor", *map(str, words)])
    try:
        main()
        status = 0
    except SystemExit as end:
        status = int(end.code or 0)
    return status, capsys.readouterr().err


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with own.py, a small finished run with one retrained solution and one analysis, and a program."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "own.py").write_text(OWN)
    from bittailor.cli.actions import load_own

    own = load_own(f"{folder / 'own.py'}:load")
    spec = SearchSpec(task=own.task, metric=own.metric, search=bt.SearchSettings(population=6, generations=2),
                      beacons=bt.BeaconSettings(polish=1, recipe=bt.Retraining(epochs=1)), workers=1)
    run = bt.run_search(own.network, own.data, folder / "run", spec, origin=own.origin)
    bt.run_sensitivity(run, own.data, "8bit").save(run.path / "sensitivity" / "8bit.json")
    run.program(run.baseline(8)).save(folder / "program.safetensors")
    run.plan(run.baseline(8)).save(folder / "plan.json")
    return folder


@pytest.fixture
def copy(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path / "made")
    return tmp_path / "made"


def places(item: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths of everything in a JSON value."""
    yield at
    inner = item.items() if isinstance(item, dict) else enumerate(item) if isinstance(item, list) else ()
    for key, value in inner:
        yield from places(value, (*at, key))


def changed(body: Any, rng: random.Random) -> Any:
    """A JSON value with something replaced, removed, doubled or added, the upper levels as often as the lower."""
    body = json.loads(json.dumps(body))
    found = list(places(body))[1:]
    depth = rng.choice(sorted({len(path) for path in found}))
    path = rng.choice([path for path in found if len(path) == depth])
    holder = body
    for key in path[:-1]:
        holder = holder[key]
    how, last = rng.random(), path[-1]
    if how < 0.2:
        del holder[last]
    elif how < 0.3 and isinstance(holder, list):
        holder.insert(last, holder[last])
    elif how < 0.35 and isinstance(holder, dict):
        holder[rng.choice(["x", "[/x]", "size"])] = rng.choice(ODD)
    else:
        holder[last] = rng.choice(ODD)
    return body


def rewrite(file: Path, rng: random.Random) -> None:
    """Change a JSON file of ours and leave out its checksum, as somebody who means it would."""
    body = json.loads(file.read_text())
    body.pop("sha256")
    file.write_text(json.dumps(changed(body, rng)))


@contextmanager
def refused_in_a_line() -> Iterator[None]:
    """What is inside goes well, or is refused with an error that a user can read."""
    try:
        yield
    except BittailorError as error:
        said = str(error)
    else:
        return
    assert len(said.splitlines()) == 1, said
    assert len(said) < 1200, said


def look(run: Path) -> None:
    """Read all of a run that reading it can reach, as `show`, `compare`, `export` and `report` do."""
    opened = Run.open(run)
    _ = opened.title, opened.spec.to_toml(), opened.costs([s.values for s in opened.front]), opened.limits
    for solution in (*opened.picks.values(), *opened.front, *opened.retrained.values()):
        opened.program(solution)
    with opened.store() as store:
        for row in store.rows():
            opened.space.widths(row.genome)
    for file in (run / "sensitivity").glob("*.json"):
        found = Sensitivity.load(file)
        found.rows(), found.ranking(4)


FILES = ("result.json", "run.json", "beacon.json", "8bit.json")


@settings(max_examples=60, suppress_health_check=[OLD, HealthCheck.too_slow])
@given(seed=st.integers(0, 2**32), name=st.sampled_from(FILES))
def test_a_changed_file_of_a_run_is_refused_or_read(copy: Path, made: Path, seed: int, name: str) -> None:
    rng = random.Random(seed)
    (file,) = (copy / "run").rglob(name)
    (good,) = (made / "run").rglob(name)
    shutil.copyfile(good, file)
    rewrite(file, rng)
    with refused_in_a_line():
        look(copy / "run")
    shutil.copyfile(good, file)


@settings(max_examples=15, suppress_health_check=[OLD, HealthCheck.too_slow])
@given(seed=st.integers(0, 2**32), name=st.sampled_from(FILES),
       command=st.sampled_from([("show",), ("show", "--pick", "smallest"), ("compare",), ("spec", "own.py:load")]))
def test_commands_say_it_in_one_line(copy: Path, made: Path, seed: int, name: str, command: tuple[str, ...],
                                     capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(copy)
    (file,), (good,) = (copy / "run").rglob(name), (made / "run").rglob(name)
    shutil.copyfile(good, file)
    rewrite(file, random.Random(seed))
    words = [command[0], "--spec", "run", command[1]] if command[0] == "spec" else [command[0], "run", *command[1:]]
    status, said = bittailor(*words, capsys=capsys, monkeypatch=monkeypatch)
    shutil.copyfile(good, file)
    assert status in (0, 2), said
    assert "Traceback" not in said
    assert len(said.strip().splitlines()) <= 2, said
    assert "\x1b" not in said


READERS = {
    "spec.json": lambda path: SearchSpec.from_dict(json.loads(path.read_text())),
    "plan.json": Plan.load,
    "space.json": lambda path: bt.Space.from_dict(json.loads(path.read_text())),
    "platform.json": lambda path: parse_platform(json.loads(path.read_text()), "x"),
}


def bodies(made: Path) -> dict[str, Any]:
    run = Run.open(made / "run")
    plan = json.loads((made / "plan.json").read_text())
    plan.pop("sha256")
    return {"spec.json": run.spec.to_dict(), "plan.json": plan, "space.json": run.space.to_dict(),
            "platform.json": dict(shipped()["silago"].document)}


@settings(max_examples=80, suppress_health_check=[OLD, HealthCheck.too_slow])
@given(seed=st.integers(0, 2**32), name=st.sampled_from(sorted(READERS)))
def test_what_people_write_is_refused_or_read(made: Path, tmp_path: Path, seed: int, name: str) -> None:
    rng = random.Random(seed)
    body = changed(bodies(made)[name], rng)
    (tmp_path / name).write_text(json.dumps(changed(body, rng) if rng.random() < 0.3 and len(body) > 1 else body))
    with refused_in_a_line():
        READERS[name](tmp_path / name)


LITERALS = ["0", "-1", "1.5", "nan", "-inf", "true", '""', "'x'", '"[/x]"', '"""\n"""', "[]", "[[]]", "{}", "[1, 'a']",
            "9" * 5000, "0x" + "f" * 40, "1979-05-27", "07:32:00", "1e400", "２", "x", "", "=", "[" * 2000,
            "{a = " * 300, '"\\u0000"', '"\ud800"', "[search]", "# x", "\0"]
"""What may stand in a TOML file where a value should."""


def changed_toml(text: str, rng: random.Random) -> bytes:
    """A TOML file with lines left out, doubled, moved, given other values or names; now and then a byte changed."""
    lines = [line for line in text.splitlines() if not line.startswith("#") or rng.random() < 0.2]
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(lines))
        how = rng.randrange(6)
        if how == 0 and len(lines) > 1:
            del lines[at]
        elif how == 1:
            lines.insert(rng.randrange(len(lines)), lines[at])
        elif how == 2:
            lines.insert(at, rng.choice(["[x]", "[search]", "[[search]]", "[search.x]", "x = 1", "seed = 1", "'' = 2"]))
        elif how == 3:
            lines[at] = f"{rng.choice(['x', 'a.b', '[/x]', 'name', 'objectives'])} = {rng.choice(LITERALS)}"
        else:
            lines[at] = f"{lines[at].split('=')[0]}= {rng.choice(LITERALS)}"
    data = bytearray("\n".join(lines).encode("utf-8", "surrogatepass"))
    if data and rng.random() < 0.15:
        data[rng.randrange(len(data))] = rng.randrange(256)
    return bytes(data)


@settings(max_examples=150, suppress_health_check=[OLD, HealthCheck.too_slow])
@given(seed=st.integers(0, 2**32), preset=st.sampled_from([None, "mohaq"]))
def test_a_changed_specification_is_refused_or_read(made: Path, tmp_path: Path, seed: int, preset: str | None) -> None:
    """As TOML, which people write; what was read is written again, and read alike."""
    (tmp_path / "x.toml").write_bytes(changed_toml(Run.open(made / "run").spec.to_toml(), random.Random(seed)))
    with refused_in_a_line():
        spec = make_spec({}, file=tmp_path / "x.toml", preset=preset)
        (tmp_path / "again.toml").write_text(spec.to_toml(), "utf-8")
        assert make_spec({}, file=tmp_path / "again.toml") == spec


@settings(max_examples=100, suppress_health_check=[OLD, HealthCheck.too_slow])
@given(seed=st.integers(0, 2**32), name=st.sampled_from(["silago", "bitfusion"]))
def test_a_changed_platform_is_refused_or_read(tmp_path: Path, seed: int, name: str) -> None:
    text = (PLATFORMS / f"{name}.toml").read_text("utf-8")
    (tmp_path / "x.toml").write_bytes(changed_toml(text, random.Random(seed)))
    with refused_in_a_line():
        parse_platform(read_values(tmp_path / "x.toml"), "x.toml")


@settings(max_examples=40, suppress_health_check=[OLD, HealthCheck.too_slow])
@given(seed=st.integers(0, 2**32), kind=st.sampled_from(["network", "calibration"]))
def test_changed_networks_and_calibrations(made: Path, tmp_path: Path, seed: int, kind: str) -> None:
    rng = random.Random(seed)
    version = CALIBRATION_VERSION if kind == CALIBRATION_KIND else 1
    body, tensors = load_tensors(made / "run" / f"{kind}.safetensors", kind, version)
    if rng.random() < 0.5:
        body = changed(body, rng)
    else:
        name = rng.choice(sorted(tensors))
        array = tensors[name]
        if rng.random() < 0.5:
            tensors[name] = array.astype(rng.choice([np.float32, np.int8, np.int64]))
        elif rng.random() < 0.5:
            tensors[name] = np.full(array.shape, rng.choice([np.nan, np.inf, -1.0, 1e300, 70000.0]))
        else:
            tensors[rng.choice([name + "x", "counts/x", "fitted/x/4", "x"])] = tensors.pop(name)
    save_tensors(tmp_path / "x", kind, version, body, tensors)
    with refused_in_a_line():
        if kind == "network":
            found = bt.Network.load(tmp_path / "x")
            found(np.zeros((1, 2, found.features)))
        else:
            network = bt.Network.load(made / "run" / "network.safetensors")
            calibration = Calibration.load(tmp_path / "x", network)
            widths = {site.name: 8 for site in network.graph.free}
            calibration.binder().bind(calibration.plan(widths))


@pytest.mark.parametrize("name", ["../evil", "../../evil", "/nowhere/evil", "..", ".", "", "x/../../evil", "evil",
                                  "evil\n", "..\\evil"])
def test_the_name_of_a_beacon_leads_nowhere(copy: Path, name: str) -> None:
    """A name is a folder of the run that takes the beacon over; a foreign one says another than its folder's."""
    (file,) = (copy / "run").rglob("beacon.json")
    body = json.loads(file.read_text())
    del body["sha256"]
    fitting = body["network"], body["data"]
    target = copy / "deep" / "er" / "beacons"
    target.mkdir(parents=True)
    assert given_beacons([copy / "run"], *fitting, target) == [body["name"]]  # as it is, it is taken over
    shutil.rmtree(target / body["name"])
    before = sorted(copy.rglob("*"))
    file.write_text(json.dumps({**body, "name": name}))
    for call in (lambda: given_beacons([copy / "run"], *fitting, target), lambda: look(copy / "run"),
                 lambda: Run.open(copy / "run").pick(f"retrained:{name}")):
        with pytest.raises(BittailorError, match="expected that of its folder") as caught:
            call()
        assert str(caught.value).startswith(str(file))
    assert sorted(copy.rglob("*")) == before


@pytest.mark.parametrize("name", ["../evil", "/nowhere/evil", "..", "."])
def test_a_solution_of_a_beacon_that_leads_elsewhere(copy: Path, name: str) -> None:
    """result.json names beacons, too: a network that lies elsewhere is not read, even where there is one."""
    (beacon,) = (copy / "run" / "beacons").iterdir()
    shutil.copytree(beacon, copy / "run" / "evil")
    file = copy / "run" / "result.json"
    body = json.loads(file.read_text())
    del body["sha256"]
    for solution in (*body["front"], *body["picks"].values()):
        solution["beacon"] = name
    file.write_text(json.dumps(body))
    with pytest.raises(BittailorError) as caught:
        Run.open(copy / "run").program(Run.open(copy / "run").front[0])
    assert "\n" not in str(caught.value)


FLIPPED = ("run.json", "result.json", "network.safetensors", "calibration.safetensors", "evaluations.sqlite",
           "beacon.json", "8bit.json")


def snapshot(run: Path, name: str) -> Any:
    """All that a run says with the help of a file."""
    opened = Run.open(run)
    if name == "run.json":
        return opened.spec, opened.origin, opened.space
    if name == "evaluations.sqlite":
        with opened.store() as store:
            return [(r.key, r.genome, r.outcome.values, r.outcome.beacon) for r in store.rows()]
    if name == "8bit.json":
        return Sensitivity.load(run / "sensitivity" / "8bit.json")
    if name == "beacon.json":
        return opened.retrained, opened.picks
    if name == "result.json":
        return opened.result
    solution = next(iter(opened.retrained.values())) if "beacons" in name else opened.baseline(8)
    return opened.program(solution).to_bytes()


def flips(made: Path, copy: Path, count: int, seed: int) -> tuple[int, int]:
    """Flip bits anywhere in a run's files; returns how many were refused, and how many were harmless."""
    with Run.open(made / "run").store() as store:  # all in one file
        assert len(store)
    rng, refused = random.Random(seed), 0
    files = [file for name in FLIPPED for file in (made / "run").rglob(name)]
    names = {file: f"beacons/{file.name}" if file.suffix == ".safetensors" and "beacons" in file.parts else file.name
             for file in files}
    want = {name: snapshot(made / "run", name) for name in names.values()}
    for i in range(count):
        good = files[i % len(files)]
        file = copy / good.relative_to(made)
        data = bytearray(good.read_bytes())
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        file.write_bytes(data)
        refused += 1
        with refused_in_a_line():
            found = snapshot(copy / "run", names[good])
            assert found == want[names[good]], f"flip {i} of {good.name} changed a result without a word"
            refused -= 1
        shutil.copyfile(good, file)
    return refused, count - refused


def test_flipped_bits_are_refused_or_harmless(made: Path, copy: Path) -> None:
    refused, _ = flips(made, copy, 500, 0)
    assert refused > 300


@pytest.mark.slow
def test_flipped_bits_at_length(made: Path, copy: Path, rng: np.random.Generator) -> None:
    flips(made, copy, 5000, int(rng.integers(2**31)))


@pytest.mark.parametrize("text", [b"", b"\0", b"[" * 50_000, b"a = " + b"9" * 5000, b"a = " + b"[" * 50_000, b"\xff",
                                  b"format = 1\nname = [1]", b"1979-05-27"])
def test_texts_that_are_no_settings(tmp_path: Path, text: bytes, capsys: pytest.CaptureFixture[str],
                                    monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("x.toml", "x.json"):
        (tmp_path / name).write_bytes(text)
        for words in (("platforms", tmp_path / name), ("spec", "digits", "--spec", tmp_path / name),
                      ("spec", "digits", "--platform", tmp_path / name)):
            status, said = bittailor(*words, capsys=capsys, monkeypatch=monkeypatch)
            assert status in (0, 2), said
            assert len(said.strip().splitlines()) <= 2


@pytest.mark.parametrize("text", ["def load(): return 7", "raise ValueError", "load = 3", "x =", "\0",
                                  "def load():\n    import sys\n    raise RecursionError", "load = lambda x: x"])
@pytest.mark.parametrize("name", ["own.py", "own.txt"])
def test_own_files(tmp_path: Path, text: str, name: str, capsys: pytest.CaptureFixture[str],
                   monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / name).write_text(text)
    status, said = bittailor("search", f"{tmp_path / name}:load", "--out", tmp_path / "run", capsys=capsys,
                             monkeypatch=monkeypatch)
    assert status == 2, said
    assert not (tmp_path / "run").exists()


def test_a_store_of_something_else(copy: Path) -> None:
    for content in (b"", b"x" * 5000, b"SQLite format 3\0" + b"\0" * 100):
        (copy / "other.sqlite").write_bytes(content)
        with pytest.raises(BittailorError):
            Store(copy / "other.sqlite", readonly=True)


def test_a_search_is_not_made_shorter_and_its_evaluations_not_forgotten(copy: Path) -> None:
    from bittailor.cli.actions import load_own

    run = Run.open(copy / "run")
    own = load_own(f"{copy / 'own.py'}:load")
    before = (copy / "run" / "result.json").read_bytes()
    shorter = replace(run.spec, search=replace(run.spec.search, generations=1))
    with pytest.raises(BittailorError, match="cannot be made shorter; give --generations 2 or more"):
        bt.run_search(own.network, own.data, copy / "run", shorter, resume=True)
    for content in (None, b""):
        for file in (copy / "run").glob("evaluations.sqlite*"):
            file.unlink()
        if content is not None:
            (copy / "run" / "evaluations.sqlite").write_bytes(content)
        with pytest.raises(BittailorError, match=r"result.json counts \d+"):
            bt.run_search(own.network, own.data, copy / "run", run.spec, resume=True)
    assert (copy / "run" / "result.json").read_bytes() == before


def test_nothing_of_a_users_is_written_over(copy: Path, capsys: pytest.CaptureFixture[str],
                                            monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    mine = copy / "mine"
    mine.mkdir()
    for name, command in (("index.html", "report"), ("front.csv", "report"), ("table.csv", "compare")):
        (mine / name).write_text("my own")
        words = (["report", copy / "run", "--out", mine] if command == "report" else
                 ["compare", copy / "run", "--csv", mine / name])
        status, said = bittailor(*words, capsys=capsys, monkeypatch=monkeypatch)
        assert status == 2, said
        assert "is not overwritten" in said
        assert (mine / name).read_text() == "my own"
        (mine / name).unlink()
    for _ in range(2):  # its own it replaces
        status, said = bittailor("compare", copy / "run", "--csv", mine / "t.csv", capsys=capsys,
                                 monkeypatch=monkeypatch)
        assert status == 0, said


@pytest.mark.parametrize("name", ["run [/x]", "[bold]x", ":smile:", "a\x1b[2Jb"])
def test_names_are_printed_as_they_are(copy: Path, name: str, capsys: pytest.CaptureFixture[str],
                                       monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    body = json.loads((copy / "run" / "run.json").read_text())
    body.pop("sha256")
    body["origin"]["title"] = f"title {name}"
    (copy / "run" / "run.json").write_text(json.dumps(body))
    place = copy / name.replace("/", "")
    (copy / "run").rename(place)
    monkeypatch.setattr(sys, "argv", ["bittailor", "show", str(place)])
    main_status = 0
    try:
        main()
    except SystemExit as end:
        main_status = int(end.code or 0)
    out = re.sub(r"\s+", " ", capsys.readouterr().out)
    assert main_status == 0
    shown = name.replace("\x1b", "\\x1b")
    assert f"title {shown}" in out
    assert "\x1b[2J" not in out


def test_the_last_catch_names_a_log(tmp_path: Path, capsys: pytest.CaptureFixture[str],
                                    monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bittailor.cli.lists.print_objectives", lambda: 1 / 0)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    status, said = bittailor("objectives", capsys=capsys, monkeypatch=monkeypatch)
    assert status == 1
    (log,) = tmp_path.glob("bittailor-*.log")
    assert str(log) in said
    assert len(said.strip().splitlines()) == 1
    assert "ZeroDivisionError" in log.read_text()
