"""Data sets, models of cores and checkpoints from elsewhere, or damaged: read, or refused in a line; never a traceback,
never half of one."""

from __future__ import annotations

import gzip
import io
import json
import random
import shutil
import tarfile
import wave
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_hostile_files import bittailor, changed, refused_in_a_line

from bittailor.cost.firmware import CORES_FOLDER, Core, cores
from bittailor.tasks import mnist
from bittailor.tasks.mnist import read_idx
from bittailor.tasks.pendigits import read_pen
from bittailor.tasks.speech import frame_labels
from bittailor.tasks.spoken_digits import read_wav, recordings
from bittailor.tasks.timit import HEADER, read_labels, read_sound
from bittailor.tasks.vowels import read_ts

Read = Callable[[Path], Any]
OLD = HealthCheck.function_scoped_fixture
WORDS = [b"", b"0", b"-1", b"1e999", b"nan", b"9" * 5000, b"\xff\xfe", b"\0", b"\n", b"\r", b":", b",", b"1_0",
         b"@data", "²".encode(), "２".encode(), b"-9223372036854775809", b"4294967295", b"-2147483649"]


def sound(rate: int, samples: int = 40) -> bytes:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setparams((1, 2, rate, 0, "NONE", ""))
        file.writeframes(bytes(range(2 * samples)))
    return buffer.getvalue()


def archive() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as file:
        for name in ("fsdd/recordings/7_jackson_32.wav", "fsdd/recordings/1_theo_0.wav", "fsdd/README"):
            member = tarfile.TarInfo(name)
            content = sound(8000)
            member.size = len(content)
            file.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def idx(images: int = 3) -> bytes:
    return gzip.compress(bytes([0, 0, 8, 3]) + b"".join(n.to_bytes(4, "big") for n in (images, 4, 4)) + bytes(48))


SPHERE = HEADER + (b"\n   1024\nsample_count -i 3\nsample_n_bytes -i 2\nsample_rate -i 16000\nchannel_count -i 1\n"
                   b"end_head\n")
READERS: dict[str, tuple[bytes, Read]] = {
    "idx": (idx(), lambda file: read_idx(file, 3)),
    "idx unpacked": (gzip.decompress(idx()), lambda file: read_idx(_packed(file), 3)),
    "ts": (b"# x\n@problemName x\n@classLabel true a b\n@data\n1,2,3:4,5,6:a\n-1.5,0:2,1e-3:b\n",
           lambda file: read_ts(file, 2)),
    "pen": (b" 1, 2,3,4,5,6,7,8,9,10,11,12,13,14,15,16, 7\n" * 3, read_pen),
    "wav": (sound(8000), lambda file: read_wav(file.read_bytes(), str(file))),
    "tar": (archive(), lambda file: [read_wav(content, name) for name, content in recordings(file)]),
    "tar unpacked": (gzip.decompress(archive()), lambda file: list(recordings(file))),
    "riff": (sound(16000), read_sound),
    "sphere": (SPHERE + bytes(1024 - len(SPHERE)) + bytes(range(6)), read_sound),
    "phones": (b"0 100 h#\n100 300 sh\n300 640 iy\n", lambda file: frame_labels(*read_labels(file), 3)),
}
"""Name -> a good file, what reads it."""


def _packed(file: Path) -> Path:
    packed = file.with_suffix(".gz")
    packed.write_bytes(gzip.compress(file.read_bytes(), 1))
    return packed


def damaged(good: bytes, rng: random.Random) -> bytes:
    """One to three changes: bytes flipped, cut, doubled, replaced; a number or word replaced."""
    data = bytearray(good)
    for _ in range(rng.randint(1, 3)):
        at, n = rng.randrange(len(data) + 1), rng.choice([1, 1, 2, 4, 8, 64])
        how = rng.randrange(6)
        if how == 0 and at < len(data):
            data[at] ^= 1 << rng.randrange(8)
        elif how == 1:
            del data[at:]
        elif how == 2:
            del data[at:at + n]
        elif how == 3:
            data[at:at + n] = rng.choice(WORDS)
        elif how == 4:
            data[at:at + n] = rng.choice([b"\0", b"\xff", b"\x7f", b"\x80"]) * n
        else:
            data[at:at] = data[at:at + n] * rng.choice([1, 3])
        if not data:
            break
    return bytes(data)


@pytest.mark.parametrize("name", READERS)
def test_good_ones_are_read(name: str, tmp_path: Path) -> None:
    good, read = READERS[name]
    (tmp_path / "x").write_bytes(good)
    assert len(read(tmp_path / "x"))


@pytest.mark.parametrize("name", READERS)
@settings(max_examples=150, suppress_health_check=[OLD, HealthCheck.too_slow])
@given(seed=st.integers(0, 2**32))
def test_damaged_ones_are_read_or_refused(name: str, seed: int, tmp_path: Path) -> None:
    good, read = READERS[name]
    (tmp_path / "x").write_bytes(damaged(good, random.Random(seed)))
    with refused_in_a_line():
        read(tmp_path / "x")


@pytest.mark.parametrize(("name", "content"), [
    ("sphere", SPHERE.replace(b"1024", b"-3  ")),
    ("sphere", SPHERE.replace(b"sample_count -i 3", b"sample_count -i -519")),
    ("sphere", SPHERE.replace(b"sample_count -i 3", b"sample_count -i " + b"9" * 5000)),
    ("phones", b"0 " + b"9" * 5000 + b" h#\n"),
    ("phones", b"0 100 h#\n" + b"9" * 30 + b" " + b"9" * 30 + b" sh\n"),
    ("ts", b"@classLabel true a\n@data\n1e39,2:3,4:a\n"),
    ("ts", b"@classLabel true a\n@data\n:,:a\n"),
    ("pen", b"9" * 5000 + b"\n"),
    ("idx", gzip.compress(bytes([0, 0, 8, 3]) + b"\xff" * 12, mtime=0)),
    ("idx", gzip.compress(bytes(1 << 29), 1, mtime=0)),
])
def test_what_would_need_too_much_or_too_little(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(content)
    with refused_in_a_line():
        found = READERS[name][1](tmp_path / "x")
        assert np.isfinite(found[0][0]).all()


def test_a_command_says_it_in_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And leaves nothing behind."""
    (tmp_path / "data" / "mnist").mkdir(parents=True)
    for path in mnist.SUBSET:
        (tmp_path / "data" / path).write_bytes(idx())
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    before = sorted(tmp_path.rglob("*"))
    status, said = bittailor("search", "mnist", "--data", tmp_path / "data", "--out", tmp_path / "run",
                             "--cache", tmp_path / "cache", capsys=capsys, monkeypatch=monkeypatch)
    assert status == 2
    assert len(said.strip().splitlines()) == 1, said
    assert [path for path in sorted(tmp_path.rglob("*")) if "cache" not in path.parts] == before


# --- models of cores -------------------------------------------------------------------------------------------------


def core_bodies() -> Iterator[dict[str, Any]]:
    for name in list(cores())[:2]:
        body = json.loads((CORES_FOLDER / f"{name}.json").read_text())
        del body["sha256"]
        for table in ("functions", "kernels", "code", "instructions"):
            body[table] = dict(list(body[table].items())[:3])  # so that changes meet every part
        yield body


BODIES = list(core_bodies())


@settings(max_examples=200, suppress_health_check=[OLD, HealthCheck.too_slow])
@given(seed=st.integers(0, 2**32))
def test_a_changed_model_of_a_core_is_refused_or_read(seed: int, tmp_path: Path) -> None:
    rng = random.Random(seed)
    (tmp_path / "x.json").write_text(json.dumps(changed(rng.choice(BODIES), rng)))
    with refused_in_a_line():
        core = Core.load("x", tmp_path)
        assert [kernel(40) for kernel in core.kernels.values()]
        assert str(core.errors["code"])
        core.save(tmp_path)
        assert Core.load("x", tmp_path) == core
    shutil.rmtree(tmp_path)
    tmp_path.mkdir()
