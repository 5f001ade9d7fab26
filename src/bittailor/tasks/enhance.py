"""enhance: take the noise out of SYNTHETIC speech, frame by frame; what it is not stands in docs/enhance.md.

Speech is that of espeak-ng's voices (`voices.py`), two seconds of it, in noise at 0 to 15 dB. Voices of training,
validation and test are different ones, and so are the kinds of noise in training and test. Everything is decided by the
constants here and the version of espeakng-loader; the speech is cached, the noise made anew.

The network sees the logarithm of the noisy spectrum's power in every frame and gives a mask, a factor 0 .. 1 for every
bin, without looking ahead.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bittailor.common import cache
from bittailor.common.data import Data
from bittailor.common.files import load_tensors, save_tensors
from bittailor.errors import FileError
from bittailor.evaluate.masks import NOISY, RATE, spectra
from bittailor.tasks import espeak, sentences
from bittailor.tasks.base import Recipe, Task
from bittailor.tasks.speech import RATE_HZ, resampled
from bittailor.tasks.voices import LANGUAGE, TEST, TRAIN, VALIDATION, voices

if TYPE_CHECKING:
    from torch import nn

KIND, FORMAT = "synthetic clean speech", 1
log = logging.getLogger(__name__)

Signal = NDArray[np.float64]
Rng = np.random.Generator

SAMPLES = 2 * RATE_HZ
FRAME = 512
"""Samples of a frame, 32 ms; frames overlap by half. A mask has FRAME // 2 + 1 bins."""
RATIOS_DB = (0.0, 15.0)  # power of the speech over that of the noise
LEVELS_DB = (-32.0, -20.0)  # of the speech, below full scale
TALKERS = 6  # of a babble
FLOOR = 1e-6  # added to a bin's power (full scale 1) before the logarithm
CENTRE, SPREAD = -1.0, 2.0  # about the mean and deviation of its decimal logarithm, on training data


SPEEDS = (140, 210)  # words a minute
PITCHES = RANGES = (35, 65)


@dataclass(frozen=True)
class Corpus:
    """Which utterances there are.

    train, test  families of voices
    each         utterances of each voice
    """

    train: tuple[str, ...] = tuple(sorted(TRAIN + VALIDATION))
    test: tuple[str, ...] = TEST
    each: tuple[int, int] = (8, 6)
    seed: int = 0

    def requests(self) -> tuple[list[espeak.Request], list[int], int]:
        """What to say, the family of each utterance, and how many of them are training data."""
        made, families = [], []
        parts = [(family, self.each[0]) for family in self.train] + [(family, self.each[1]) for family in self.test]
        for number, (family, each) in enumerate(parts):
            for voice in voices(family):
                random = Random(f"enhance {self.seed} {voice}")
                for _ in range(each):
                    text = sentences.sentence(random)
                    made.append(espeak.Request(f"{LANGUAGE}+{voice}", text, random.randint(*SPEEDS),
                                               random.randint(*PITCHES), random.randint(*RANGES)))
                    families.append(number)
        return made, families, sum(family < len(self.train) for family in families)

    def key(self) -> str:
        """Sixteen hexadecimal digits over what decides the utterances."""
        requests, families, train = self.requests()
        parts = [FORMAT, espeak.version(), [list(vars(r).values()) for r in requests], families, train, SAMPLES]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def read(folder: Path | None, corpus: Corpus | None = None) -> tuple[Data, Data]:
    """Training (to be split by groups of voices) and test data."""
    corpus = corpus or Corpus()
    speech = _speech(corpus)
    _, groups, train = corpus.requests()
    return (mixed(speech[:train], groups[:train], NOISES, corpus.seed),
            mixed(speech[train:], groups[train:], TEST_NOISES, corpus.seed + 1))


def mixed(speech: NDArray[np.int16], groups: Sequence[int], noises: Sequence[Noise], seed: int) -> Data:
    """Clean speech [items, SAMPLES] and noise as `Data`: see `masks.MaskedSiSdr` for its targets and extras."""
    clean, noisy = np.empty((2, *speech.shape), np.float32)
    for i in range(len(speech)):
        rng = np.random.default_rng([seed, i])
        voice = speech[i] / 32768.0
        noise = noises[i % len(noises)](rng, speech)
        voice *= 10 ** (rng.uniform(*LEVELS_DB) / 20) / np.sqrt((voice**2).mean())
        wanted = (voice**2).mean() / 10 ** (rng.uniform(*RATIOS_DB) / 10)
        clean[i], noisy[i] = voice, voice + noise * np.sqrt(wanted / (noise**2).mean())
    spectrum = spectra(noisy, FRAME)
    return Data(features(spectrum), clean, groups=np.asarray(groups, np.int64),
                extras={NOISY: spectrum, RATE: np.full(len(speech), RATE_HZ)})


def features(spectrum: NDArray[np.complex64]) -> NDArray[np.float32]:
    """The network's input: the decimal logarithm of the power of every bin, about -1 .. 1."""
    power = spectrum.real.astype(np.float64) ** 2 + spectrum.imag.astype(np.float64) ** 2
    return np.asarray((np.log10(power + FLOOR) - CENTRE) / SPREAD, np.float32)


# --- speech ------------------------------------------------------------------------------------------------------


def _speech(corpus: Corpus) -> NDArray[np.int16]:
    """Two seconds of every utterance, [items, SAMPLES]; made once, then read from the cache."""
    file = cache.user_cache() / "data" / "enhance" / f"speech-{corpus.key()}.safetensors"
    if file.exists():
        try:
            found: NDArray[np.int16] = load_tensors(file, KIND, FORMAT)[1]["speech"]
            return found
        except (FileError, KeyError) as error:
            log.warning("cached speech not used, making it again: %s", str(error).splitlines()[0])
    requests = corpus.requests()[0]
    made = np.stack(list(espeak.speak(requests, lambda i, speech: _cut(corpus.seed, i, speech))))
    try:
        save_tensors(file, KIND, FORMAT, {}, {"speech": made})
    except FileError as error:
        log.warning("the synthetic speech is not cached: %s", error)
    return made


def _cut(seed: int, index: int, speech: espeak.Speech) -> NDArray[np.int16]:
    """SAMPLES of what was said, from a place drawn by seed and index; zeros around what is shorter."""
    rng = np.random.default_rng([seed, index])
    sound = np.round(resampled(speech.samples.astype(np.float64), speech.rate))
    spare = len(sound) - SAMPLES
    if spare < 0:
        before = int(rng.integers(0, 1 - spare))
        sound = np.concatenate([np.zeros(before), sound, np.zeros(-spare - before)])
        spare = 0
    start = int(rng.integers(0, spare + 1))
    return np.clip(sound[start : start + SAMPLES], -32768, 32767).astype(np.int16)


# --- noise -------------------------------------------------------------------------------------------------------

Noise = Callable[[Rng, NDArray[np.int16]], Signal]
"""(generator, the speech of this part) -> samples, of any power."""


def coloured(rng: Rng, speech: NDArray[np.int16]) -> Signal:
    """Noise whose power falls (or rises) steadily with frequency, from violet to brown."""
    return _shaped(rng, _hertz() ** (-rng.uniform(-0.5, 2.0) / 2))


def babble(rng: Rng, speech: NDArray[np.int16]) -> Signal:
    """Others who talk at a time, backwards, so that no word is heard twice."""
    return np.asarray(speech[rng.integers(0, len(speech), TALKERS), ::-1].sum(axis=0), np.float64)


def hum(rng: Rng, speech: NDArray[np.int16]) -> Signal:
    """A mains hum with its harmonics, and hiss."""
    at = np.arange(SAMPLES) / RATE_HZ
    base, phases = rng.uniform(48, 62), rng.uniform(0, 2 * np.pi, 24)
    tones = sum(np.sin(2 * np.pi * base * n * at + phase) / n for n, phase in enumerate(phases, 1))
    return np.asarray(tones / np.std(tones) + rng.uniform(0.2, 1.0) * rng.normal(size=SAMPLES))


def engine(rng: Rng, speech: NDArray[np.int16]) -> Signal:
    """A band of noise that swells and fades several times a second."""
    centre, width = rng.uniform(200, 2000), rng.uniform(0.3, 1.0)
    band = _shaped(rng, np.exp(-0.5 * (np.log(_hertz() / centre) / width) ** 2))
    at = np.arange(SAMPLES) / RATE_HZ
    return np.asarray(band * (1.2 + np.sin(2 * np.pi * rng.uniform(2, 12) * at + rng.uniform(0, 2 * np.pi))))


def crackle(rng: Rng, speech: NDArray[np.int16]) -> Signal:
    """Short bursts at random moments, each of its own length and colour, over faint coloured noise."""
    noise = coloured(rng, speech)
    noise *= rng.uniform(0.05, 0.5) / np.std(noise)
    for start in rng.integers(0, SAMPLES, rng.integers(5, 400)):
        length = np.arange(min(int(rng.uniform(0.002, 0.15) * RATE_HZ), SAMPLES - start))
        tone = np.sin(2 * np.pi * rng.uniform(100, 6000) * length / RATE_HZ)
        burst = rng.normal(size=len(length)) if rng.random() < 0.5 else tone
        noise[start : start + len(length)] += rng.exponential() * burst * np.exp(-4 * length / max(1, len(length)))
    return noise


def rain(rng: Rng, speech: NDArray[np.int16]) -> Signal:
    """Drops at random moments, each a short burst of its own pitch, in faint hiss."""
    noise = 0.1 * rng.normal(size=SAMPLES + RATE_HZ // 100)
    length = np.arange(RATE_HZ // 100)
    for start in rng.integers(0, SAMPLES, rng.integers(100, 600)):
        tone = np.sin(2 * np.pi * rng.uniform(800, 6000) * length / RATE_HZ) * np.exp(-length / rng.uniform(10, 40))
        noise[start : start + len(length)] += rng.exponential() * tone
    return np.asarray(noise[:SAMPLES])


def fan(rng: Rng, speech: NDArray[np.int16]) -> Signal:
    """Low noise with a few steady tones of blades and bearings."""
    at = np.arange(SAMPLES) / RATE_HZ
    low = _shaped(rng, 1 / (1 + (_hertz() / rng.uniform(150, 500)) ** 2))
    tones = sum(rng.uniform(0.1, 0.5) * np.sin(2 * np.pi * f * at) for f in rng.uniform(80, 1200, 5))
    return np.asarray(low / np.std(low) + tones)


def workshop(rng: Rng, speech: NDArray[np.int16]) -> Signal:
    """Blows that ring, over a broad roar."""
    noise = _shaped(rng, 1 / (1 + _hertz() / 600))
    noise /= np.std(noise)
    ring = np.arange(RATE_HZ // 5)
    for start in rng.integers(0, SAMPLES, rng.integers(3, 12)):
        blow = rng.normal(size=len(ring)) * np.exp(-ring / 300)
        blow += sum(np.sin(2 * np.pi * f * ring / RATE_HZ) * np.exp(-ring / 900) for f in rng.uniform(500, 5000, 3))
        end = min(SAMPLES, start + len(ring))
        noise[start:end] += rng.uniform(1, 4) * blow[: end - start]
    return np.asarray(noise)


def _hertz() -> Signal:
    """The frequencies of the bins of a whole signal; the first is that of a period of two seconds, too."""
    return np.asarray(np.maximum(np.fft.rfftfreq(SAMPLES, 1 / RATE_HZ), RATE_HZ / SAMPLES))


def _shaped(rng: Rng, gain: Signal) -> Signal:
    return np.asarray(np.fft.irfft(np.fft.rfft(rng.normal(size=SAMPLES)) * gain, SAMPLES))


NOISES: tuple[Noise, ...] = (coloured, babble, hum, engine, crackle)
TEST_NOISES: tuple[Noise, ...] = (rain, babble, fan, workshop)
"""Kinds that training never heard, and a babble of other voices."""


def network(inputs: int, hidden: int, outputs: int, seed: int, cell: str) -> nn.Module:
    """The untrained float network."""
    from bittailor.tasks.per_step import MaskNetwork

    return MaskNetwork(inputs, hidden, outputs, seed, cell)


ENHANCE = Task(
    name="enhance",
    title="noise out of SYNTHETIC speech (espeak-ng; 257 bins a step of 16 ms); a mask per step, no look-ahead",
    metric="masked_si_sdr",
    inputs=FRAME // 2 + 1,
    outputs=FRAME // 2 + 1,
    hidden=64,
    recipe=Recipe(epochs=25, batch=16, rate=8e-3, weight_decay=0.02, noise=0.2),
    source="made here by espeak-ng (package espeakng-loader): random words in 95 voices, in noise of 0 to 15 dB; "
           "voices and kinds of noise of training and test differ",
    licence="the features are made on your machine; espeak-ng itself is GPL-3.0-or-later and runs as its own process",
    citation="espeak-ng, github.com/espeak-ng/espeak-ng; network in the manner of S. Braun, I. Tashev: Data "
             "augmentation and loss normalization for deep noise suppression (NSNet2). SPECOM 2020, arXiv 2008.06412",
    read=read,
    build=network,
)
