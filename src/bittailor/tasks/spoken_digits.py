"""spoken-digits: the words zero to nine by six speakers, as log-mel spectra; sequences of different lengths."""

from __future__ import annotations

import hashlib
import io
import lzma
import re
import tarfile
import wave
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bittailor.common import cache
from bittailor.common.data import Data
from bittailor.common.files import read_bytes
from bittailor.errors import DataError
from bittailor.tasks.base import Recipe, Task

RATE_HZ = 8_000
WINDOW = 256  # samples: 32 ms
HOP = 160  # samples: 20 ms
BANDS = 16
LOWEST_HZ = 100.0
FLOOR = 1e-6  # added to a band's energy (full scale = 1) before the logarithm; digital silence would give -inf
MAX_STEPS = 48  # longer recordings are cut here: 0.96 s
TEST_TAKES = range(5)  # the official split: takes 0..4 of every speaker and digit

MOST_BYTES = 1 << 24  # of one recording: seventeen minutes

NAME = re.compile(r"([0-9])_([a-z]+)_([0-9]+)\.wav")


def recordings(path: Path) -> Iterator[tuple[str, bytes]]:
    """(file name, content) of the recordings in a folder or a tar archive, compressed or not, in sorted order.

    Files of other names, and of other folders than `recordings` inside an archive, are passed over.
    Raises  DataError if the archive is damaged or cut off.
    """
    if path.is_dir():
        for file in sorted(path.iterdir()):
            if NAME.fullmatch(file.name):
                yield file.name, read_bytes(file)
        return
    found = {}
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                *_, folder, name = ["", *member.name.split("/")]
                if member.isfile() and folder == "recordings" and NAME.fullmatch(name):
                    if member.size > MOST_BYTES:
                        raise DataError(f"{path}: {name} has {member.size:,} bytes; at most {MOST_BYTES:,} are read")
                    stream = archive.extractfile(member)
                    assert stream is not None
                    found[name] = stream.read()
    except (OSError, EOFError, ValueError, tarfile.TarError, lzma.LZMAError, zlib.error) as error:
        said = str(error).split("\n", 1)[0].rstrip(":")  # of some errors a line for every kind of archive
        raise DataError(f"{path} cannot be unpacked ({said}); it is damaged or cut off: fetch it again") from None
    yield from sorted(found.items())


def _content(path: Path) -> bytes:
    lines = (f"{name} {hashlib.sha256(content).hexdigest()}\n" for name, content in recordings(path))
    return "".join(lines).encode()


# The source packs its archives anew at every request, so the checksum is over the recordings inside.
SOURCES = [cache.Source(
    "fsdd/free-spoken-digit-dataset.tar.gz",
    "https://github.com/Jakobovski/free-spoken-digit-dataset/archive/26eb9aaf.tar.gz",
    "sha256:dbd573d7cafe79c4b49f65718115e1304e24e067fa39eff18a660dc6cb9c360f",
    _content,
)]
LAYOUTS = [["fsdd/recordings"], ["fsdd/fsdd-recordings.tar.xz"], [SOURCES[0].path]]


def read(folder: Path | None) -> tuple[Data, Data]:
    path, = cache.find("spoken-digits", LAYOUTS, SOURCES, folder)
    spectra: dict[bool, list[NDArray[np.float64]]] = {False: [], True: []}
    labels: dict[bool, list[int]] = {False: [], True: []}
    for name, content in recordings(path):
        match = NAME.fullmatch(name)
        assert match is not None
        test = int(match[3]) in TEST_TAKES
        spectra[test].append(log_mel(read_wav(content, f"{path}/{name}"))[:MAX_STEPS])
        labels[test].append(int(match[1]))
    if not spectra[False] or not spectra[True]:
        raise DataError(f"{path} holds {len(spectra[False])} recordings for training (takes 5 and up) and "
                        f"{len(spectra[True])} for test (takes 0-4), like 7_jackson_32.wav; expected some of both")
    # One mean and one deviation per band, of the official training part: constants that a device can hold.
    frames = np.concatenate(spectra[False])
    mean, deviation = frames.mean(axis=0), np.maximum(frames.std(axis=0), FLOOR)
    train, test_data = (
        _padded([(item - mean) / deviation for item in spectra[test]], labels[test]) for test in (False, True))
    return train, test_data


def read_wav(content: bytes, name: str) -> NDArray[np.float64]:
    """Samples in -1..1 of a WAV file.

    Raises  DataError, with `name`, unless it is mono, 16 bits and 8 kHz, and holds a sample.
    """
    try:
        with wave.open(io.BytesIO(content)) as file:
            form = (file.getnchannels(), 8 * file.getsampwidth(), file.getframerate())
            frames = file.readframes(file.getnframes())
    except (wave.Error, EOFError, RuntimeError, ValueError) as error:  # the last two where sizes in it contradict
        raise DataError(f"{name} is no WAV file: {str(error) or 'it is cut off'}") from None
    if form != (1, 16, RATE_HZ):
        raise DataError(f"{name} has {form[0]} channel(s) of {form[1]} bits at {form[2]} Hz; "
                        f"expected 1 channel of 16 bits at {RATE_HZ} Hz")
    samples = np.frombuffer(frames[: len(frames) // 2 * 2], "<i2")
    if not len(samples):
        raise DataError(f"{name} holds no samples")
    return samples / 32768


def log_mel(samples: NDArray[np.float64]) -> NDArray[np.float64]:
    """Natural logarithms of mel band energies, [frames, 16], one frame every 20 ms.

    samples   8 kHz, -1..1, any length from 1; a short or last incomplete window is filled with zeros
    Hann windows of 32 ms, power spectrum, triangular bands of equal width in mel from 100 Hz to 4 kHz.
    """
    frames = 1 + max(0, -(-(len(samples) - WINDOW) // HOP))
    padded = np.zeros(WINDOW + (frames - 1) * HOP)
    padded[: len(samples)] = samples
    windows = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP]
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)
    power = np.abs(np.fft.rfft(windows * hann)) ** 2 / WINDOW
    energies: NDArray[np.float64] = np.log(power @ mel_filters().T + FLOOR)
    return energies


def mel_filters() -> NDArray[np.float64]:
    """Weights [bands, WINDOW // 2 + 1] of the triangular bands over the bins of the power spectrum.

    Source  mel = 2595 log10(1 + f / 700): D. O'Shaughnessy, Speech Communication, 1987.
    """
    lowest, highest = (2595 * np.log10(1 + hertz / 700) for hertz in (LOWEST_HZ, RATE_HZ / 2))
    corners = 700 * (10 ** (np.linspace(lowest, highest, BANDS + 2) / 2595) - 1)
    bins = np.arange(WINDOW // 2 + 1) * RATE_HZ / WINDOW
    left, centre, right = corners[:-2, None], corners[1:-1, None], corners[2:, None]
    weights: NDArray[np.float64] = np.clip(
        np.minimum((bins - left) / (centre - left), (right - bins) / (right - centre)), 0, None)
    return weights


def _padded(items: list[NDArray[np.float64]], labels: list[int]) -> Data:
    x = np.zeros((len(items), MAX_STEPS, BANDS), np.float32)
    for row, item in zip(x, items, strict=True):
        row[: len(item)] = item
    return Data(x, np.array(labels), np.array([len(item) for item in items]))


SPOKEN_DIGITS = Task(
    name="spoken-digits",
    title="spoken digits of six speakers (up to 48 steps of 16 log-mel bands); real speech",
    metric="classification_error",
    inputs=BANDS,
    outputs=10,
    hidden=32,
    recipe=Recipe(epochs=40, batch=64, rate=1.5e-2, weight_decay=0.01, noise=0.2),
    source="Free Spoken Digit Dataset at commit 26eb9aaf: fsdd/fsdd-recordings.tar.xz or fsdd/recordings/*.wav; "
           "official split: takes 0-4 are the test",
    licence="CC BY-SA 4.0",
    citation="Z. Jackson and contributors: Free Spoken Digit Dataset, github.com/Jakobovski/free-spoken-digit-dataset",
    read=read,
)
