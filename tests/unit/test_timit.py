"""The reader of TIMIT, on a miniature in its layout."""

from __future__ import annotations

import io
import shutil
import wave
from pathlib import Path

import numpy as np
import pytest

import timit_corpus
from bittailor.common import cache
from bittailor.errors import DataError
from bittailor.evaluate import decode
from bittailor.tasks import TASKS
from bittailor.tasks.speech import filterbanks
from bittailor.tasks.timit import CORE_TEST, LABEL_OF, LABELS, VALIDATION, read_labels, read_sound

TIMIT = TASKS["timit"]


@pytest.fixture(autouse=True)
def empty_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    empty = tmp_path_factory.mktemp("cache")
    monkeypatch.setattr(cache, "user_cache", lambda: empty)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    timit_corpus.write(folder / "timit", {
        "TRAIN/DR1": ["FAAA0", "MBBB0"], "TRAIN/DR8": ["FCCC0"],
        "TEST/DR1": ["FAKS0", "MDAB0", "FZZZ0"],  # of the development set, of the core test set, of neither
    })
    return folder


def test_speakers_are_the_standard_ones() -> None:
    assert (len(CORE_TEST), len(VALIDATION)) == (24, 50)
    assert not CORE_TEST & VALIDATION
    # two men and a woman of each of the eight dialects
    assert sum(name.startswith("M") for name in CORE_TEST) == 16


def test_the_61_labels_are_folded_into_39() -> None:
    assert (len(LABEL_OF), len(LABELS)) == (61, 39)
    assert LABELS[0] == "sil"
    assert TIMIT.outputs == 39
    for one, other in (("ao", "aa"), ("ax-h", "ah"), ("ix", "ih"), ("ux", "uw"), ("axr", "er"), ("el", "l"),
                       ("zh", "sh"), ("hv", "hh"), ("nx", "n"), ("q", "sil"), ("tcl", "sil"), ("h#", "sil")):
        assert LABELS[LABEL_OF[one]] == other


def test_parts_are_the_standard_ones(corpus: Path) -> None:
    splits = TIMIT.load(corpus)
    # three sentences of each speaker are not SA
    assert [len(part) for part in (splits.train, splits.valid, splits.test)] == [9, 3, 3]
    assert TIMIT.load(corpus, seed=1).fingerprint == splits.fingerprint
    assert len({part.x.shape[1:] for part in (splits.train, splits.valid, splits.test)}) == 1


def test_labels_follow_the_sound(corpus: Path) -> None:
    train = TIMIT.load(corpus).train
    assert train.groups.tolist() == [0, 0, 0, 2, 2, 2, 1, 1, 1]  # in order of their names
    item = train.y[0, : train.lengths[0]]
    # segments of 100 ms are of ten frames, but for the first and the last
    assert [LABELS[label] for label in item[5::10, 0]][:6] == ["sil", "sh", "ih", "hh", "eh", "sil"]
    # q is silence like the closure before, and ao is aa: two phones, the second told apart by its segment
    text = [ord(c) - decode.FIRST for c in max(decode.transcripts(train.y), key=len)]
    whole = ["sh", "ih", "hh", "eh", "jh", "aa", "aa", "r", "er"]
    assert [LABELS[label] for label in text] == whole[: len(text)]
    assert len(text) > 6


def test_without_the_development_speakers_whole_speakers_are_held_out(tmp_path: Path) -> None:
    timit_corpus.write_without_development(tmp_path)
    splits, other = TIMIT.load(tmp_path), TIMIT.load(tmp_path, seed=1)
    assert (len(splits.train), len(splits.valid), len(splits.test)) == (27, 3, 6)
    assert not set(splits.train.groups) & set(splits.valid.groups)
    assert {*splits.train.groups, *splits.valid.groups} == set(range(10))
    assert set(splits.valid.groups) != set(other.valid.groups)


def riff(samples: np.ndarray, rate: int = 16000, channels: int = 1) -> bytes:
    stream = io.BytesIO()
    with wave.open(stream, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.astype("<i2").tobytes())
    return stream.getvalue()


def test_sound_is_the_same_from_every_kind_of_file(tmp_path: Path) -> None:
    samples = np.array([0, 16384, -32768, 5])
    for name, content in (("little.WAV", timit_corpus.sphere(samples)), ("big.WAV", timit_corpus.sphere(samples, "10")),
                          ("riff.wav", riff(samples))):
        (tmp_path / name).write_bytes(content)
        assert read_sound(tmp_path / name).tolist() == [0, 0.5, -1, 5 / 32768]


def test_layout_of_other_copies_is_read(corpus: Path, tmp_path: Path) -> None:
    expected = TIMIT.load(corpus).fingerprint
    lower = tmp_path / "data" / "timit"
    for file in (corpus / "timit").rglob("*.*"):
        copy = lower / str(file.relative_to(corpus / "timit")).lower()
        copy.parent.mkdir(parents=True, exist_ok=True)
        if file.suffix == ".WAV":
            samples = np.rint(32768 * read_sound(file)).astype(int)
            copy.with_name(f"{copy.name}.wav").write_bytes(riff(samples))
            copy.write_bytes(b"not looked at: the copy beside it is taken")
        else:
            shutil.copy(file, copy)
    assert TIMIT.load(tmp_path / "data").fingerprint == expected
    assert TIMIT.load(lower).fingerprint == expected


@pytest.mark.parametrize(("content", "said"), [
    (b"", "neither a NIST SPHERE nor a RIFF file"),
    (b"RIFF", "damaged RIFF"),
    (b"NIST_1A\n", "damaged SPHERE header"),
    (timit_corpus.sphere(np.zeros(9))[:1030], "cut off: 3 samples; its header says 9"),
    (timit_corpus.sphere(np.zeros(9), sample_coding="pcm,embedded-shorten-v2.00"), "compressed"),
    (timit_corpus.sphere(np.zeros(9), sample_rate=8000), "1 channel.* of 16 bits at 8000 Hz; expected"),
    (timit_corpus.sphere(np.zeros(0)), "no samples"),
    (riff(np.zeros(8), channels=2), r"2 channel\(s\)"),
])
def test_damaged_sound_is_named(content: bytes, said: str, tmp_path: Path) -> None:
    file = tmp_path / "SX1.WAV"
    file.write_bytes(content)
    with pytest.raises(DataError, match=said) as caught:
        read_sound(file)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("text", "said"), [
    ("", "holds no phones"),
    ("0 10 aa\n10 20\n", "line 2: '10 20'; expected first sample"),
    ("0 10 aa\n10 20 xx\n", "line 2: the phone 'xx' is none"),
    ("0 10 aa\n5 20 b\n3 9 d\n", "line 3: '3 9 d'"),
    ("<html>", "line 1"),
])
def test_damaged_labels_are_named(text: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "SX1.PHN"
    file.write_text(text)
    with pytest.raises(DataError, match=said) as caught:
        read_labels(file)
    assert str(file) in str(caught.value)


@pytest.mark.parametrize("what", ["empty", "folders", "no test", "no sound"])
def test_folder_that_is_not_the_corpus_is_said_in_a_line(what: str, tmp_path: Path) -> None:
    said = {"empty": "task 'timit' needs the TIMIT corpus .* give --data DIR",
            "folders": "is not the TIMIT corpus: .* in TRAIN", "no test": "core test set, such as MDAB0",
            "no sound": "SX1.PHN has no sound beside it"}[what]
    if what != "empty":
        for part in ("TRAIN", "TEST"):
            (tmp_path / part).mkdir()
    if what == "no test":
        timit_corpus.write(tmp_path, {"TRAIN/DR1": ["FAAA0"]}, ["SX1"])
    if what == "no sound":
        timit_corpus.write(tmp_path, {"TRAIN/DR1": ["FAAA0"]}, ["SX1"])
        (tmp_path / "TRAIN/DR1/FAAA0/SX1.WAV").unlink()
    with pytest.raises(DataError, match=said) as caught:
        TIMIT.load(tmp_path)
    assert "\n" not in str(caught.value)


def test_frames_of_25_ms_every_10() -> None:
    assert [len(filterbanks(np.ones(n))) for n in (1, 400, 559, 560, 16000)] == [1, 1, 1, 2, 98]
