"""Every task: what being in the table promises. Tasks of files are tried on miniatures in the real layout."""

from __future__ import annotations

import gzip
import importlib.util
import io
import struct
import subprocess
import sys
import tarfile
import wave
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import timit_corpus
from bittailor.common import cache
from bittailor.common.data import Data, Splits
from bittailor.errors import BittailorError, DataError
from bittailor.evaluate.metrics import METRICS
from bittailor.tasks import TASKS, Task, enhance, phones, voices


def idx(array: np.ndarray) -> bytes:
    return gzip.compress(bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes())


def wav(samples: np.ndarray) -> bytes:
    stream = io.BytesIO()
    with wave.open(stream, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(samples.astype("<i2").tobytes())
    return stream.getvalue()


def write_mnist(folder: Path) -> None:
    rng = np.random.default_rng(0)
    for part, items in (("train10k", 60), ("t10k", 20)):
        images = rng.integers(0, 256, (items, 28, 28)).astype(np.uint8)
        (folder / f"{part}-images-idx3-ubyte.gz").write_bytes(idx(images))
        (folder / f"{part}-labels-idx1-ubyte.gz").write_bytes(idx((np.arange(items) % 10).astype(np.uint8)))


def write_fsdd(folder: Path) -> None:
    rng = np.random.default_rng(0)
    with tarfile.open(folder / "fsdd-recordings.tar.xz", "w:xz") as archive:
        for digit in range(10):
            for take in (0, 4, 5, 6, 7, 49):
                content = wav(rng.integers(-9999, 9999, 1000 + 400 * take))
                member = tarfile.TarInfo(f"recordings/{digit}_theo_{take}.wav")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))


def write_vowels(folder: Path) -> None:
    rng = np.random.default_rng(0)
    for part, items in (("TRAIN", 27), ("TEST", 12)):
        lines = ["#a comment", "@problemName tiny", "@univariate false", "@classLabel true 1 2 3 4 5 6 7 8 9", "@data"]
        for item in range(items):
            channels = rng.normal(size=(12, 7 + item)).round(4)
            lines.append(":".join(",".join(map(str, channel)) for channel in channels) + f":{item % 9 + 1}")
        (folder / f"JapaneseVowels_{part}.ts").write_text("\n".join(lines) + "\n")


def write_pendigits(folder: Path) -> None:
    rng = np.random.default_rng(0)
    for name, items in (("tra", 50), ("tes", 20)):
        rows = [[*rng.integers(0, 101, 16), item % 10] for item in range(items)]
        (folder / f"pendigits.{name}").write_text("".join(", ".join(map(str, row)) + "\n" for row in rows))


MINIATURES = {"mnist": ("mnist", write_mnist), "spoken-digits": ("fsdd", write_fsdd),
              "vowels": ("vowels", write_vowels), "pendigits": ("pendigits", write_pendigits)}


NO_SPEECH = pytest.mark.skipif(importlib.util.find_spec("espeakng_loader") is None,
                               reason="espeakng-loader is not installed: pip install 'bittailor[speech]'")
LOADED = [pytest.param(name, marks=[NO_SPEECH] if name in ("phones", "enhance") else []) for name in TASKS]
"""The tasks, to be loaded."""


@pytest.fixture(scope="module", autouse=True)
def few_voices(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The synthetic speech of a few voices instead of all, and away from the user's cache."""
    made = tmp_path_factory.mktemp("cache")
    train, valid, test = voices.TRAIN[:8], voices.VALIDATION[:2], voices.TEST[:2]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(phones, "Corpus", partial(phones.Corpus, train, valid, test, (1, 1, 1), 2))
        patch.setattr(enhance, "Corpus", partial(enhance.Corpus, train + valid, test, (2, 2)))
        patch.setattr(cache, "user_cache", lambda: made)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("data")
    for name, write in MINIATURES.values():
        (made / name).mkdir()
        write(made / name)
    timit_corpus.write_without_development(made / "timit")
    return made


@pytest.fixture(scope="module")
def splits(folder: Path, few_voices: None) -> dict[str, Splits]:
    here = {param.values[0] for param in LOADED if not any(mark.args[0] for mark in param.marks)}
    return {name: task.load(folder) for name, task in TASKS.items() if name in here}


def rows(data: Data) -> set[bytes]:
    return {row.tobytes() for row in data.x}


@pytest.mark.parametrize("name", TASKS)
def test_is_listed_under_its_name_with_all_that_is_said_about_it(name: str) -> None:
    task = TASKS[name]
    assert task.name == name
    assert task.metric in METRICS
    assert all(text and "\n" not in text for text in (task.title, task.source, task.licence, task.citation))


@pytest.mark.parametrize("name", LOADED)
def test_splits_have_the_shapes_and_labels_it_announces(name: str, splits: dict[str, Splits]) -> None:
    task = TASKS[name]
    parts = splits[name]
    for data in (parts.train, parts.valid, parts.test):
        assert data.x.shape[2] == task.inputs
        assert data.x.shape[1] == parts.train.x.shape[1]
        if task.metric == "classification_error":
            assert data.y.dtype == np.int64
            assert data.y.min() >= 0
            assert data.y.max() < task.outputs
        elif task.metric == "masked_si_sdr":
            assert data.y.shape == (len(data), enhance.SAMPLES)
            METRICS[task.metric].check(data.targets, task.outputs, True)
        elif METRICS[task.metric].loss.per_step:
            assert data.y.shape == (len(data), data.x.shape[1], 2)
            assert data.y[:, :, 0].max() < task.outputs
        else:
            assert data.y.shape[1] == task.outputs
    pool = len(parts.train) + len(parts.valid)
    share = round(task.valid_share * pool)
    groups = parts.valid.groups
    if groups.size:  # whole ones: no more of them than needed
        assert not set(groups) & set(parts.train.groups)
        assert 0 <= len(parts.valid) - share < np.bincount(groups).max()
    else:
        assert len(parts.valid) == share


@pytest.mark.parametrize("name", LOADED)
def test_parts_share_no_item(name: str, splits: dict[str, Splits]) -> None:
    parts = splits[name]
    train, valid, test = map(rows, (parts.train, parts.valid, parts.test))
    assert not train & valid
    assert not (train | valid) & test


@pytest.mark.parametrize("name", LOADED)
def test_seed_changes_validation_and_never_the_test(name: str, folder: Path, splits: dict[str, Splits]) -> None:
    again, other = TASKS[name].load(folder, seed=0), TASKS[name].load(folder, seed=1)
    assert again.fingerprint == splits[name].fingerprint
    if len(TASKS[name].read(folder)) == 3:  # validation data of their own
        assert (other.train.fingerprint, other.valid.fingerprint) == (again.train.fingerprint, again.valid.fingerprint)
    else:
        assert rows(other.valid) != rows(again.valid)
    assert rows(other.valid) | rows(other.train) == rows(again.valid) | rows(again.train)
    assert other.test.fingerprint == again.test.fingerprint


@pytest.mark.parametrize("name", [name for name, task in TASKS.items() if task.metric == "classification_error"])
def test_validation_is_stratified(name: str, splits: dict[str, Splits]) -> None:
    parts, classes = splits[name], TASKS[name].outputs
    held = np.bincount(parts.valid.y, minlength=classes)
    pool = held + np.bincount(parts.train.y, minlength=classes)
    assert (abs(held - pool * len(parts.valid) / pool.sum()) <= 1).all()


@pytest.mark.parametrize("name", LOADED)
def test_network_reads_a_batch_and_repeats_with_its_seed(name: str, splits: dict[str, Splits]) -> None:
    import torch

    task, data = TASKS[name], splits[name].test[:3]
    assert len(data) == 3
    state = torch.random.get_rng_state()
    first, same, other = task.network(4, seed=5), task.network(4, seed=5), task.network(4, seed=6)
    assert torch.equal(state, torch.random.get_rng_state())
    x, lengths = torch.from_numpy(data.x), torch.from_numpy(data.lengths)
    assert first(x, lengths).shape[-1] == task.outputs
    assert first(x, lengths).shape[:-1] == ((3, x.shape[1]) if METRICS[task.metric].loss.per_step else (3,))
    assert torch.equal(first(x, lengths), same(x, lengths))
    assert not torch.equal(first(x, lengths), other(x, lengths))
    assert task.network().gru.hidden_size == task.hidden


@pytest.mark.parametrize("name", TASKS)
def test_folder_that_does_not_exist_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere does not exist .* --data"):
        TASKS[name].load(tmp_path / "nowhere")


@pytest.mark.parametrize("name", MINIATURES)
def test_without_files_and_network_it_says_what_to_type(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    import pooch

    def offline(url: str, output_file: str, pooch: object) -> None:
        raise ConnectionError("HTTPSConnectionPool(host=…): Max retries exceeded …")

    monkeypatch.setattr(cache, "user_cache", lambda: tmp_path / "cache")
    monkeypatch.setattr(pooch, "HTTPDownloader", lambda **settings: offline)
    with pytest.raises(DataError) as caught:
        TASKS[name].load(tmp_path)
    lines = str(caught.value).splitlines()
    assert len(lines) <= 4
    assert f"task '{name}' needs" in lines[0]
    assert str(tmp_path / "cache") in lines[0]
    assert "https://" in lines[1]
    assert "--data DIR" in lines[-1]
    assert capfd.readouterr() == ("", "")
    assert not [file for file in (tmp_path / "cache").rglob("*") if file.is_file()]


@pytest.mark.parametrize("name", MINIATURES)
def test_files_in_the_cache_are_found(
    name: str, folder: Path, splits: dict[str, Splits], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").symlink_to(folder)
    monkeypatch.setattr(cache, "user_cache", lambda: tmp_path)
    empty = tmp_path / "empty"
    empty.mkdir()
    assert TASKS[name].load().fingerprint == splits[name].fingerprint
    assert TASKS[name].load(empty).fingerprint == splits[name].fingerprint


def damaged() -> list[tuple[str, str]]:
    return [(name, how) for name in MINIATURES for how in ("cut", "other", "empty")]


@pytest.mark.parametrize(("name", "how"), damaged())
def test_damaged_file_is_named(name: str, how: str, tmp_path: Path) -> None:
    below, write = MINIATURES[name]
    here = tmp_path / below
    here.mkdir()
    write(here)
    for file in sorted(here.iterdir()):
        whole = file.read_bytes()
        # the miniatures are always the same, and this cuts those of text inside a line
        file.write_bytes({"cut": whole[: 2 * len(whole) // 3 - 4], "other": b"<html>", "empty": b""}[how])
        with pytest.raises(BittailorError, match=file.name.replace(".", r"\.")):
            TASKS[name].load(tmp_path)
        file.write_bytes(whole)
    TASKS[name].load(tmp_path)


def test_table_lists_without_heavy_imports() -> None:
    code = ("import sys; from bittailor.tasks import TASKS; [task.title for task in TASKS.values()]; "
            "print([m for m in ('torch', 'sklearn', 'scipy', 'pooch', 'mnist1d', 'matplotlib') if m in sys.modules])")
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


def test_miniatures_cover_the_tasks_of_files() -> None:
    def reads_files(task: Task) -> bool:
        return "SOURCES" in task.read.__globals__

    assert {name for name, task in TASKS.items() if reads_files(task)} == set(MINIATURES)
