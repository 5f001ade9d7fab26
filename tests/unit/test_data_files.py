"""Data in one file, and a network of a user's own searched on it from the command line."""

from __future__ import annotations

import json
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

import bittailor as bt
from bittailor.cli.actions import load_own
from bittailor.cli.main import main
from bittailor.common.data_files import read_splits
from bittailor.common.own_files import load_file
from bittailor.errors import BittailorError, DataError, FileError
from bittailor.runs import TaskSettings

RNG = np.random.default_rng(2)


def arrays(items: int = 30, end: str = "", **more: Any) -> dict[str, np.ndarray]:
    x = RNG.normal(size=(items, 4, 3)).astype(np.float32)
    return {f"x{end}": x, f"y{end}": np.arange(items) % 2} | {f"{name}{end}": v for name, v in more.items()}


def written(folder: Path, values: dict[str, np.ndarray], kind: str = "npz") -> Path:
    file = folder / f"d.{kind}"
    if kind == "npz":
        np.savez(file, **values)
    else:
        save_file(values, file)
    return file


@pytest.mark.parametrize("kind", ["npz", "safetensors"])
def test_the_three_parts_with_lengths_groups_and_extras(tmp_path: Path, kind: str) -> None:
    lengths, groups = np.array([4, 2, 1, 3, 4]), np.array([7, 7, 8, 8, 9])
    values = {**arrays(5, "_train", lengths=lengths, groups=groups, noisy=np.ones((5, 2))),
              **arrays(3, "_valid", noisy=np.ones((3, 2))), **arrays(2, "_test", noisy=np.ones((2, 2)))}
    splits = read_splits(written(tmp_path, values, kind))
    assert [len(part) for part in (splits.train, splits.valid, splits.test)] == [5, 3, 2]
    np.testing.assert_array_equal(splits.train.x[0], values["x_train"][0])
    assert splits.train.lengths.tolist() == lengths.tolist()
    assert splits.train.groups.tolist() == groups.tolist()
    assert splits.test.extras.keys() == {"noisy"}
    assert splits.fingerprint == read_splits(written(tmp_path, values, kind), seed=5).fingerprint


def test_targets_that_begin_later(tmp_path: Path) -> None:
    values = arrays(20) | {"y": np.ones((20, 3, 2), np.float32), "late": np.array(1)}
    splits = read_splits(written(tmp_path, values))
    assert [part.late for part in (splits.train, splits.valid, splits.test)] == [1, 1, 1]
    for late in (np.array([1, 2]), np.array(0.5)):
        with pytest.raises(DataError, match="late is one whole number"):
            read_splits(written(tmp_path, values | {"late": late}))


@pytest.mark.parametrize(("ends", "sizes"), [
    (("",), (18, 6, 6)), (("_train",), (18, 6, 6)), (("_train", "_valid"), (24, 30, 6)),
    (("_train", "_test"), (24, 6, 30)),
])
def test_what_is_missing_is_set_aside_by_the_seed(tmp_path: Path, ends: tuple[str, ...], sizes: tuple[int, ...]
                                                  ) -> None:
    file = written(tmp_path, {name: v for end in ends for name, v in arrays(30, end).items()})
    splits = read_splits(file, 1)
    assert tuple(len(part) for part in (splits.train, splits.valid, splits.test)) == sizes
    assert read_splits(file, 1).fingerprint == splits.fingerprint != read_splits(file, 2).fingerprint
    rows = np.concatenate([part.x for part in (splits.train, splits.valid, splits.test)])
    assert len(np.unique(rows.reshape(len(rows), -1), axis=0)) == sum(sizes)
    assert {float(part.y.mean()) for part in (splits.valid, splits.test)} == {0.5}


def test_groups_stay_together_and_may_have_names(tmp_path: Path) -> None:
    names = np.repeat(["ann", "bob", "cy", "di", "ed"], 6)
    splits = read_splits(written(tmp_path, arrays(30, groups=names)))
    parts = [set(part.groups.tolist()) for part in (splits.train, splits.valid, splits.test)]
    assert sum(map(len, parts)) == len(set().union(*parts)) == 5


@pytest.mark.parametrize(("values", "error", "said"), [
    ({"a": np.ones(3)}, DataError, "holds a; expected x_train and y_train"),
    ({"x": np.ones((3, 4, 2))}, DataError, "but no y"),
    ({**arrays(5, "_train"), "x_valid": np.ones((3, 4, 3))}, DataError, "but no y_valid"),
    (arrays(5, "_test"), DataError, "expected x_train"),
    ({"x": np.ones((3, 4)), "y": np.arange(3)}, DataError, r"\[items, steps, features\]"),
    (arrays(5, lengths=np.array([9] * 5)), DataError, "lengths"),
    (arrays(1), DataError, "too few"),
    ({"x": np.array(["a"]), "y": np.arange(1)}, DataError, "cannot be read as numbers"),
    ({"x": np.array([None]), "y": np.arange(1)}, FileError, "no .npz file of numbers"),
])
def test_what_is_no_data_is_said_in_one_line(tmp_path: Path, values: dict[str, np.ndarray], error: type[Exception],
                                             said: str) -> None:
    with pytest.raises(error, match=said) as raised:
        read_splits(written(tmp_path, values))
    assert len(str(raised.value).splitlines()) == 1


def test_files_that_are_none_are_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(b"no zip")
    (tmp_path / "a.safetensors").write_bytes(b"\xff" * 30)
    (tmp_path / "a.csv").write_text("1,2")
    (tmp_path / "folder.npz").mkdir()
    with zipfile.ZipFile(tmp_path / "text.npz", "w") as archive:
        archive.writestr("x.npy", "text")
    for name in ("a.npz", "a.safetensors", "a.csv", "folder.npz", "text.npz", "none.npz"):
        with pytest.raises(BittailorError) as raised:
            read_splits(tmp_path / name)
        assert len(str(raised.value).splitlines()) == 1
        assert name in str(raised.value)


def test_a_file_that_would_fill_the_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bittailor.common.data_files.MOST_BYTES", 1000)
    with pytest.raises(FileError, match="at most 1,000 are read"):
        read_splits(written(tmp_path, arrays(30)))


@settings(max_examples=60)
@given(data=st.data())
def test_a_changed_file_is_read_or_refused(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    kind = data.draw(st.sampled_from(["npz", "safetensors"]))
    file = written(tmp_path_factory.mktemp("changed"), arrays(8), kind)
    content = bytearray(file.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    file.write_bytes(bytes(content[: data.draw(st.integers(0, len(content)))] if data.draw(st.booleans()) else content))
    try:
        read_splits(file)
    except (DataError, FileError) as error:
        said = str(error)
    else:
        said = "fine"
    assert len(said.splitlines()) == 1


# -- files of a user's own ------------------------------------------------------------


OWN = '''
from __future__ import annotations
from dataclasses import dataclass
from beside import HIDDEN

@dataclass
class Settings:
    features: int = 3

def net():
    import torch
    import bittailor as bt
    import also_beside
    torch.manual_seed(0)
    gru = torch.nn.GRU(Settings().features, HIDDEN, batch_first=True)
    p = {name: value.detach().numpy() for name, value in gru.named_parameters()}
    return bt.from_arrays([("gru", *p.values()), "last", ("linear", p["weight_hh_l0"][:2])])

def judged():
    return net(), "accuracy"

def fails():
    values = {}
    return values["nothing"]

def wrong():
    import bittailor as bt
    return bt.Data([[1.0]], [0])

def leaves():
    raise SystemExit("bye")

def nothing():
    return None

def wrongly(output, target):
    return float(output.argmax() != target)

def measured():
    import bittailor as bt
    return net(), bt.metric(wrongly)
'''


@pytest.fixture
def own(tmp_path: Path) -> Path:
    (tmp_path / "own.py").write_text(OWN)
    (tmp_path / "beside.py").write_text("HIDDEN = 4\n")
    (tmp_path / "also_beside.py").write_text("")
    written(tmp_path, arrays(40))
    for name in ("beside", "also_beside"):
        sys.modules.pop(name, None)
    return tmp_path


def test_a_file_may_import_what_lies_beside_it_and_hold_dataclasses(own: Path) -> None:
    pytest.importorskip("torch")
    before = list(sys.path)
    prepared = load_own(f"{own / 'own.py'}:net", TaskSettings("a:b", data=str(own / "d.npz")))
    assert prepared.network.features == 3
    assert prepared.metric.name == "classification_error"
    assert len(prepared.data.train) == 24
    assert sys.path == before
    judged = load_own(f"{own / 'own.py'}:judged", TaskSettings("a:b", data=str(own / "d.npz")))
    assert judged.metric.name == "accuracy"


@pytest.mark.parametrize(("function", "said"), [
    ("fails", r"own\.py:24: KeyError: 'nothing'"),
    ("wrong", r"own\.py:28: x has shape"),
    ("leaves", r"own\.py:31: it ended the program"),
    ("absent", "has no function 'absent'"),
    ("nothing", "it returned NoneType|NoneType"),
])
def test_an_error_of_its_own_has_its_file_and_line(own: Path, function: str, said: str) -> None:
    with pytest.raises(BittailorError, match=said) as error:
        load_own(f"{own / 'own.py'}:{function}", TaskSettings("a:b", data=str(own / "d.npz")))
    assert len(str(error.value).splitlines()) == 1


def test_an_error_while_loading_has_its_line_too(tmp_path: Path) -> None:
    for text, said in (("x = 1\ny = x.z\n", r"own\.py:2: AttributeError"), ("def f(:\n", r"own\.py:1: SyntaxError"),
                       ("import nowhere_at_all\n", r"own\.py:1: ModuleNotFoundError"),
                       ("import broken_beside\n", r"broken_beside\.py:2: NameError")):
        (tmp_path / "own.py").write_text(text)
        (tmp_path / "broken_beside.py").write_text("\nundefined\n")
        with pytest.raises(BittailorError, match=said):
            load_file(tmp_path / "own.py")


def bittailor(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str]:
    monkeypatch.setattr(sys, "argv", ["bittailor", *map(str, words)])
    try:
        main()
        status = 0
    except SystemExit as end:
        status = int(end.code or 0)
    return status, capsys.readouterr().err


SMALL = ("--population", 4, "--generations", 1, "--workers", 1, "--seeding", "homogeneous", "--quiet")


@pytest.fixture
def exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder, the current one, with m.onnx and d.npz."""
    pytest.importorskip("onnxruntime")
    pytest.importorskip("torch")
    archive = Path(__file__).parents[1] / "exported" / "exported.zip"
    (tmp_path / "m.onnx").write_bytes(zipfile.ZipFile(archive).read("gru_last.dynamo.onnx"))
    written(tmp_path, arrays(40))
    monkeypatch.chdir(tmp_path)
    return tmp_path


SEARCH = ("search", "m.onnx", "--data", "d.npz", "--out", "run", *SMALL)


@pytest.mark.slow
def test_a_run_of_a_file_is_retrained_and_analysed_without_any_code(
    exported: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("matplotlib")
    assert bittailor(monkeypatch, capsys, *SEARCH)[0] == 0
    assert bittailor(monkeypatch, capsys, "retrain", "run", "--pick", "smallest", "--epochs", 1)[0] == 0
    assert bt.Run.open("run").retrained.keys()
    assert bittailor(monkeypatch, capsys, "sensitivity", "run")[0] == 0


def test_an_onnx_file_is_searched_with_data_from_a_file(
    exported: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:
    status, said = bittailor(monkeypatch, capsys, "search", "m.onnx", "--out", "run")
    assert (status, len(said.splitlines())) == (2, 1)
    assert "--data FILE.npz" in said
    assert bittailor(monkeypatch, capsys, *SEARCH)[0] == 0
    config = json.loads((exported / "run" / "run.json").read_text())
    assert config["fingerprints"]["data"] == read_splits("d.npz").fingerprint
    assert bittailor(monkeypatch, capsys, *SEARCH, "--resume")[0] == 0
    written(exported, arrays(40))
    status, said = bittailor(monkeypatch, capsys, "retrain", "run", "--pick", "best", "--data", "d.npz")
    assert status == 2
    assert "these are not the data" in said


def test_a_metric_of_ones_own_is_code_that_has_to_be_named_again(
    own: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:
    """A run may come from anybody, so it does not run what it remembers."""
    pytest.importorskip("torch")
    monkeypatch.chdir(own)
    words = ("search", "own.py:measured", "--data", "d.npz", "--out", "run", *SMALL)
    assert bittailor(monkeypatch, capsys, *words)[0] == 0
    status, said = bittailor(monkeypatch, capsys, "sensitivity", "run")
    assert (status, len(said.splitlines())) == (2, 1)
    assert "the metric 'wrongly' of own.py:measured" in said
    assert "add:  --from own.py:measured" in said


def test_a_module_of_ones_own_takes_its_data_and_metric_from_the_command_line(
    own: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("torch")
    monkeypatch.chdir(own)
    words = ("--data", "d.npz", "--metric", "accuracy", "--out", "run", *SMALL)
    assert bittailor(monkeypatch, capsys, "search", "own.py:net", *words)[0] == 0
    assert bt.Run.open("run").metric.name == "accuracy"
    for more, said in ((("own.py:net", "--out", "r"), "must return"),
                       (("own.py:net", "--data", ".", "--out", "r"), "ends in .npz"),
                       (("own.py:net", "--data", "d.npz", "--cell", "lstm", "--out", "r"), "--cell"),
                       (("own.py:judged", "--data", "d.npz", "--metric", "mse", "--out", "r"), "metric")):
        status, error = bittailor(monkeypatch, capsys, "search", *more)
        assert (status, len(error.splitlines())) == (2, 1), error
        assert said in error
