"""Signals to listen to: what noisy items are, and what a run's networks make of them, as WAV files beside the run."""

from __future__ import annotations

import io
import wave
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bittailor.common.data import Data
from bittailor.common.files import formed, load_json, save_json, write_whole
from bittailor.evaluate.masks import RATE
from bittailor.evaluate.speech_quality import speech_quality

FOLDER = "sounds"
HEARD = 3
"""Items of the test data that are written, from its beginning."""
JUDGED = 40
"""Items of the test data of which PESQ and STOI are taken, from its beginning."""
QUALITY_KIND, QUALITY_VERSION = "sound quality", 1
LOUD = 0.7
"""The largest sample of an item's loudest signal, of full scale."""


@dataclass(frozen=True)
class Sound:
    """One signal.

    item  its place in the test data
    name  what it is of: "noisy", "clean", "float", "8 bit", or the name of a pick
    """

    item: int
    name: str
    wav: bytes


@dataclass(frozen=True)
class Quality:
    """RUN/sounds/quality.json: what signals are worth to an ear, means over the first `items` of the test data.

    values  name as of a `Sound` -> measure -> value; None where no item has one
    """

    items: int
    values: Mapping[str, Mapping[str, float | None]]


def write_quality(folder: Path, data: Data, signals: Mapping[str, NDArray[np.floating]]) -> None:
    """Judge signals [items, samples], the clean ones among them, and write RUN/sounds/quality.json."""
    rates = [int(rate) for rate in data.extras[RATE]]
    values = {name: speech_quality(signals["clean"], signal, rates)
              for name, signal in signals.items() if name != "clean"}
    save_json(folder / FOLDER / "quality.json", QUALITY_KIND, QUALITY_VERSION, {"items": len(data), "values": values})


def quality(folder: Path) -> Quality | None:
    """What `write_quality` wrote; None where it did not."""
    file = folder / FOLDER / "quality.json"
    return formed(file, Quality, load_json(file, QUALITY_KIND, QUALITY_VERSION)) if file.exists() else None


def write_sounds(folder: Path, data: Data, signals: Mapping[str, NDArray[np.floating]]) -> None:
    """Write RUN/sounds/ITEM-NAME.wav of every item, all of one item with the same gain.

    data     whose extras say how many samples a second has
    signals  name -> [items, samples]
    """
    for item in range(len(data)):
        gain = LOUD / max(1e-9, *(np.abs(signal[item]).max() for signal in signals.values()))
        for name, signal in signals.items():
            content = wav(signal[item] * gain, int(data.extras[RATE][item]))
            write_whole(folder / FOLDER / f"{item}-{name}.wav", content)


def wav(signal: NDArray[np.floating], rate: int) -> bytes:
    """A WAV file of 16-bit samples; of samples -1 .. 1, at `rate` Hz."""
    content = io.BytesIO()
    with wave.open(content, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.clip(np.round(signal * 32767), -32768, 32767).astype("<i2").tobytes())
    return content.getvalue()


def sounds(folder: Path) -> list[Sound]:
    """What `write_sounds` wrote, in order of items; of each as it was written."""
    found: Iterable[Path] = sorted((folder / FOLDER).glob("[0-9]*-*.wav"), key=lambda p: (p.stat().st_mtime_ns, p.name))
    made = [Sound(int(item), name, path.read_bytes())
            for path in found for item, _, name in [path.stem.partition("-")] if item.isdigit()]
    return sorted(made, key=lambda s: s.item)
