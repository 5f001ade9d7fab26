"""Readers, features and generators of the tasks, on values that can be checked by eye."""

from __future__ import annotations

import gzip
import hashlib
import io
import random
import tarfile
import wave
from pathlib import Path

import numpy as np
import pytest

from bittailor.common import cache
from bittailor.common.roles import holdout
from bittailor.errors import DataError
from bittailor.tasks import TASKS
from bittailor.tasks.adding import generate
from bittailor.tasks.mnist import read_idx
from bittailor.tasks.pendigits import read_pen
from bittailor.tasks.spoken_digits import BANDS, HOP, RATE_HZ, WINDOW, log_mel, mel_filters, read_wav, recordings
from bittailor.tasks.vowels import read_ts


@pytest.mark.parametrize("size", [1, 7, 50, 99])
def test_holdout_is_a_partition_and_gives_each_class_its_share(size: int) -> None:
    y = np.repeat([0, 1, 2, 5], [60, 20, 15, 5])
    rest, held = holdout(y, size, seed=3)
    assert sorted([*rest, *held]) == list(range(100))
    assert len(held) == size
    counts = np.array([(y[held] == label).sum() for label in (0, 1, 2, 5)])
    assert (abs(counts - size * np.array([60, 20, 15, 5]) / 100) <= 1).all()


def test_holdout_shuffles_both_parts() -> None:
    rest, held = holdout(np.repeat(np.arange(10), 30), 60, seed=0)
    assert (np.diff(rest) < 0).any()
    assert (np.diff(held) < 0).any()


def test_holdout_of_targets_is_plain_random() -> None:
    rest, held = holdout(np.linspace(0, 1, 20)[:, None], 5, seed=0)
    assert sorted([*rest, *held]) == list(range(20))


@pytest.mark.parametrize("size", [0, 10, 11])
def test_holdout_refuses_an_empty_part(size: int) -> None:
    with pytest.raises(DataError, match="at least one item"):
        holdout(np.zeros(10, int), size, seed=0)


def test_network_of_no_units_is_refused() -> None:
    with pytest.raises(DataError, match="hidden is 0"):
        TASKS["digits"].network(0)


def test_network_takes_the_last_valid_step() -> None:
    import torch

    network = TASKS["digits"].network(4)
    x = torch.randn(2, 6, 8, generator=torch.Generator().manual_seed(0))
    both = network(x, torch.tensor([6, 2]))
    assert torch.allclose(both[0], network(x)[0])
    assert torch.allclose(both[1], network(x[:, :2])[1])


def test_network_is_read_by_torch_fx() -> None:
    import torch
    from torch.fx import symbolic_trace

    network = TASKS["digits"].network(4)
    x = torch.randn(2, 6, 8)
    assert torch.equal(symbolic_trace(network, concrete_args={"lengths": None})(x, None), network(x))


def test_read_idx_gives_bytes_in_order(tmp_path: Path) -> None:
    file = tmp_path / "a.gz"
    file.write_bytes(gzip.compress(bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 8, 9])))
    assert read_idx(file, 1).tolist() == [7, 8, 9]


@pytest.mark.parametrize(("content", "said"), [
    (b"plain text", "cannot be unpacked"),
    (gzip.compress(bytes(20), mtime=0)[:-9], "cannot be unpacked"),
    (gzip.compress(bytes([0, 0, 8, 3, 0, 0, 0, 3, 7, 8, 9]), mtime=0), "of 1 dimensions: it starts with 00 00 08 03"),
    (gzip.compress(bytes([0, 0, 8, 1, 0, 0, 0, 4, 7, 8, 9]), mtime=0), "holds 3 bytes, not 4"),
    (gzip.compress(b"", mtime=0), "no IDX file"),
], ids=["plain", "truncated", "images", "short", "empty"])
def test_read_idx_refuses(tmp_path: Path, content: bytes, said: str) -> None:
    file = tmp_path / "a.gz"
    file.write_bytes(content)
    with pytest.raises(DataError, match=said) as caught:
        read_idx(file, 1)
    assert str(file) in str(caught.value)


def test_read_pen_scales_to_one(tmp_path: Path) -> None:
    file = tmp_path / "p.tra"
    file.write_text(" 0,100, " + ", ".join(["50"] * 14) + ", 7\n\n")
    data = read_pen(file)
    assert data.x[0].tolist() == [[-1, 1]] + [[0, 0]] * 7
    assert data.y.tolist() == [7]


@pytest.mark.parametrize("line", ["1,2,3", ",".join(["0"] * 16) + ",10", ",".join(["101"] * 16) + ",1", "x" * 17])
def test_read_pen_names_the_line(tmp_path: Path, line: str) -> None:
    file = tmp_path / "p.tra"
    file.write_text(",".join(["0"] * 17) + "\n" + line + "\n")
    with pytest.raises(DataError, match=r"p\.tra, line 2"):
        read_pen(file)


TS = "@univariate false\n@classLabel true b a\n@data\n"


def test_read_ts_gives_items_of_their_own_lengths(tmp_path: Path) -> None:
    file = tmp_path / "v.ts"
    file.write_text("# note\n" + TS + "1,2:3,4:a\n5:6:b\n")
    items, y = read_ts(file, 2)
    assert [item.tolist() for item in items] == [[[1, 3], [2, 4]], [[5, 6]]]
    assert y.tolist() == [1, 0]


@pytest.mark.parametrize(("text", "said"), [
    ("", "no .ts file with data"),
    ("<html>", "no .ts file with data"),
    (TS, "no .ts file with data"),
    ("@data\n1:2:a\n", "line 2: the class label 'a' is not in the header's list"),
    (TS + "1:2:c\n", "line 4: the class label 'c'"),
    (TS + "1:a\n", "line 4: 1 channels; expected 2"),
    (TS + "1,2:3:a\n", "line 4: channels must be equally many numbers"),
    (TS + "1,x:3,4:a\n", "line 4: channels must be equally many numbers"),
    (TS + "1,?:3,4:a\n", "line 4: channels must be"),
    (TS + "1,nan:3,4:a\n", "line 4: a value is not finite"),
])
def test_read_ts_refuses(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "v.ts"
    file.write_text(text)
    with pytest.raises(DataError, match=said) as caught:
        read_ts(file, 2)
    assert str(file) in str(caught.value)


def wav(samples: np.ndarray, channels: int = 1, rate: int = RATE_HZ, width: int = 2) -> bytes:
    stream = io.BytesIO()
    with wave.open(stream, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(samples.astype("<i2").tobytes())
    return stream.getvalue()


def test_read_wav_is_one_at_full_scale() -> None:
    assert read_wav(wav(np.array([-32768, 0, 16384])), "a.wav").tolist() == [-1, 0, 0.5]


@pytest.mark.parametrize(("content", "said"), [
    (b"", "no WAV file"),
    (b"RIFF", "no WAV file"),
    (wav(np.zeros(8), rate=16_000), "16000 Hz; expected 1 channel of 16 bits at 8000 Hz"),
    (wav(np.zeros(8), channels=2), "2 channel"),
    (wav(np.zeros(8), width=1), "8 bits"),
    (wav(np.zeros(0)), "no samples"),
])
def test_read_wav_refuses(content: bytes, said: str) -> None:
    with pytest.raises(DataError, match=said) as caught:
        read_wav(content, "7_theo_1.wav")
    assert "7_theo_1.wav" in str(caught.value)


@pytest.mark.parametrize(("samples", "frames"), [(1, 1), (WINDOW, 1), (WINDOW + 1, 2), (WINDOW + HOP, 2)])
def test_log_mel_has_a_frame_every_hop(samples: int, frames: int) -> None:
    assert log_mel(np.ones(samples)).shape == (frames, BANDS)


def test_log_mel_of_a_tone_is_loudest_in_its_band() -> None:
    bins = np.arange(WINDOW // 2 + 1) * RATE_HZ / WINDOW
    for band, weights in enumerate(mel_filters()):
        tone = np.sin(2 * np.pi * bins[weights.argmax()] / RATE_HZ * np.arange(2000))
        assert (log_mel(tone)[:10].argmax(axis=1) == band).all()


def test_log_mel_of_silence_is_finite() -> None:
    assert np.isfinite(log_mel(np.zeros(500))).all()


def test_recordings_are_the_same_from_a_folder_and_an_archive(tmp_path: Path) -> None:
    folder = tmp_path / "recordings"
    folder.mkdir()
    for name in ("1_theo_3.wav", "0_lucas_12.wav", "notes.txt"):
        (folder / name).write_bytes(name.encode())
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as archive:
        archive.add(folder, "free-spoken-digit-dataset-26eb9aaf/recordings")
        archive.add(folder / "1_theo_3.wav", "elsewhere/1_theo_9.wav")
    assert list(recordings(tmp_path / "a.tar.gz")) == list(recordings(folder))
    assert [name for name, _ in recordings(folder)] == ["0_lucas_12.wav", "1_theo_3.wav"]


def test_spoken_digits_need_takes_of_both_parts(tmp_path: Path) -> None:
    folder = tmp_path / "fsdd" / "recordings"
    folder.mkdir(parents=True)
    (folder / "1_theo_3.wav").write_bytes(wav(np.zeros(300)))
    with pytest.raises(DataError, match=r"0 recordings for training .* and 1 for test"):
        TASKS["spoken-digits"].load(tmp_path)


def test_adding_sums_the_two_marked_values() -> None:
    data = generate(50, seed=4, steps=10)
    value, mark = data.x[..., 0], data.x[..., 1]
    assert (mark[:, :5].sum(axis=1) == 1).all()
    assert (mark[:, 5:].sum(axis=1) == 1).all()
    for item in range(50):
        assert data.y[item, 0] == pytest.approx(value[item][mark[item] == 1].sum(), rel=1e-6)


def test_mnist1d_leaves_the_global_generators_alone() -> None:
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    expected = random.Random(1).random(), np.random.RandomState(1).rand()
    TASKS["mnist1d"].load()
    assert (random.random(), np.random.rand()) == expected  # noqa: NPY002


def served(content: bytes) -> type:
    class Server:
        """Stands for pooch.HTTPDownloader."""

        def __init__(self, **settings: object) -> None: ...

        def __call__(self, url: str, output_file: str, pooch: object) -> None:
            Path(output_file).write_bytes(content)

    return Server


@pytest.fixture
def user_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(cache, "user_cache", lambda: tmp_path / "cache")
    return tmp_path / "cache"


def source(content: bytes) -> cache.Source:
    return cache.Source("set/file.txt", "https://example.org/file.txt", f"sha256:{hashlib.sha256(content).hexdigest()}")


def test_find_fetches_checks_and_keeps(user_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pooch.HTTPDownloader", served(b"right"))
    found, = cache.find("t", [["set/file.txt"]], [source(b"right")], None)
    assert found == user_cache / "data" / "set" / "file.txt"
    assert found.read_bytes() == b"right"
    assert [file.name for file in found.parent.iterdir()] == ["file.txt"]
    monkeypatch.setattr("pooch.HTTPDownloader", served(b"not asked again"))
    assert cache.find("t", [["set/file.txt"]], [source(b"right")], None) == [found]


def test_find_keeps_nothing_of_another_checksum(user_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pooch.HTTPDownloader", served(b"wrong"))
    with pytest.raises(DataError, match=r"https://example.org/file.txt gave .* expected .* --data DIR"):
        cache.find("t", [["set/file.txt"]], [source(b"right")], None)
    assert not list((user_cache / "data" / "set").iterdir())


def test_find_says_what_a_folder_lacks(tmp_path: Path, user_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(**settings: object) -> None:
        raise TimeoutError

    monkeypatch.setattr("pooch.HTTPDownloader", offline)
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "other.txt").touch()
    with pytest.raises(DataError, match=r"it lacks set/file.txt\)"):
        cache.find("t", [["set/file.txt", "set/other.txt"]], [source(b"")], tmp_path)
