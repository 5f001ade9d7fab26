"""phones: SYNTHETIC speech, made here by espeak-ng, with the time of every phone. docs/speech.md says what it is not.

A speaker is one of espeak-ng's voices with a speed, a pitch and a room of its own; an utterance is a few random words,
half of them invented (`sentences.py`), between two short silences, in noise. Voices of training, validation and test
are different ones (`voices.py`). Everything is decided by the constants here and the version of espeakng-loader; the
features are cached.
"""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random

import numpy as np
from numpy.typing import NDArray

from bittailor.common import cache
from bittailor.common.data import Data
from bittailor.common.files import load_tensors, save_tensors
from bittailor.errors import BittailorError, FileError
from bittailor.tasks import espeak, sentences
from bittailor.tasks.base import Recipe, Task
from bittailor.tasks.rooms import Room
from bittailor.tasks.speech import BANDS, RATE_HZ, filterbanks, frame_labels, network, resampled, side_by_side
from bittailor.tasks.voices import LANGUAGE, TEST, TRAIN, VALIDATION, voices

KIND, FORMAT = "synthetic phone corpus", 2
log = logging.getLogger(__name__)

PHONE_SET: dict[str, str] = {
    "sil": "_ _: _:: _! _^_ _| ?",
    "aa": "A: A 0 O O: O2 O#", "ae": "a aa", "ah": "V @ @2 @5 @- a#", "aw": "aU", "ay": "aI aI@ aI3", "eh": "E",
    "er": "3 3:", "ey": "eI", "ih": "I I2 I#", "iy": "i: i", "ow": "oU", "oy": "OI", "uh": "U", "uw": "u: u",
    "ar": "A@", "or": "O@ o@ U@", "air": "e@", "ear": "i@ i@3",
    "b": "b", "ch": "tS", "d": "d", "dh": "D", "dx": "t#", "f": "f", "g": "g", "hh": "h", "jh": "dZ", "k": "k x",
    "l": "l @L", "m": "m m-", "n": "n n-", "ng": "N", "p": "p", "r": "r r-", "s": "s", "sh": "S Z", "t": "t t2",
    "th": "T", "v": "v", "w": "w", "y": "j", "z": "z",
}
"""Label and, for each, the phonemes of espeak-ng's American English that it stands for, without marks of stress.

The 39 labels of Lee and Hon (1989), with their foldings (ao with aa, ax with ah, el with l, zh with sh, the glottal
stop with silence), and four vowels coloured by an r, which espeak-ng gives as one phoneme. "sil" is label 0."""
LABELS = tuple(PHONE_SET)
LABEL_OF = {name: label for label, names in enumerate(PHONE_SET.values()) for name in names.split()}
MARKS = "',%=|"  # of stress, in front of a phoneme
IGNORED = ";"  # makes the phoneme before it palatal; it has no sound of its own

SPEEDS = (140, 210)  # words a minute of a speaker
HASTE = 15  # by how many an utterance may differ from it
PITCHES = RANGES = (30, 70)
SILENCE_S = (0.05, 0.25)  # before and after
NOISE_DB = (15.0, 40.0)  # power of the speech over that of the noise
TILTS = (0.0, 0.95)  # of the noise: white to low
REVERBERATION_S = (0.1, 0.5)
DIRECT_DB = (3.0, 25.0)  # energy of the direct sound over that of its reflections


@dataclass(frozen=True)
class Speaker:
    """A voice with a speed, a pitch and its range of its own, in a room of its own."""

    voice: str
    speed: int
    pitch: int
    range: int
    room: Room

    @classmethod
    def drawn(cls, voice: str, random: Random) -> Speaker:
        """Somebody with this voice."""
        return cls(f"{LANGUAGE}+{voice}", random.randint(*SPEEDS), random.randint(*PITCHES), random.randint(*RANGES),
                   Room(random.uniform(*REVERBERATION_S), random.uniform(*DIRECT_DB), random.getrandbits(32)))

    def says(self, random: Random) -> espeak.Request:
        """Some words."""
        return espeak.Request(self.voice, sentences.sentence(random), self.speed + random.randint(-HASTE, HASTE),
                              self.pitch, self.range)


@dataclass(frozen=True)
class Utterance:
    """Who says what, the number of the voice's family, and the part of the data: 0 training, 1 validation, 2 test."""

    speaker: Speaker
    request: espeak.Request
    family: int
    part: int


@dataclass(frozen=True)
class Corpus:
    """Which utterances there are.

    train, valid, test  families of voices
    speakers            of each voice, in the three parts
    each                utterances of each speaker
    """

    train: tuple[str, ...] = TRAIN
    valid: tuple[str, ...] = VALIDATION
    test: tuple[str, ...] = TEST
    speakers: tuple[int, int, int] = (5, 10, 5)
    each: int = 5
    seed: int = 0

    def utterances(self) -> list[Utterance]:
        """All of them, part by part, family by family."""
        made: list[Utterance] = []
        families = [(part, family) for part, of in enumerate((self.train, self.valid, self.test)) for family in of]
        for number, (part, family) in enumerate(families):
            for voice in voices(family):
                for person in range(self.speakers[part]):
                    random = Random(f"{self.seed} {voice} {person}")
                    speaker = Speaker.drawn(voice, random)
                    made += [Utterance(speaker, speaker.says(random), number, part) for _ in range(self.each)]
        return made

    def key(self) -> str:
        """Sixteen hexadecimal digits over what decides the utterances."""
        parts = [FORMAT, espeak.version(), [asdict(u) for u in self.utterances()], PHONE_SET, self.seed, SILENCE_S,
                 NOISE_DB, TILTS]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def read(folder: Path | None, corpus: Corpus | None = None) -> tuple[Data, ...]:
    """Training, validation and test data of a corpus; made once, then read from the cache."""
    corpus = corpus or Corpus()
    file = cache.user_cache() / "data" / "phones" / f"phones-{corpus.key()}.safetensors"
    made = _restored(file)
    if made is None:
        made = make(corpus)
        features, labels = made
        try:
            save_tensors(file, KIND, FORMAT, {}, {
                "lengths": np.array([len(item) for item in features]), "x": np.concatenate(features),
                "y": np.concatenate(labels).astype(np.int16)})
        except FileError as error:
            log.warning("the synthetic speech is not cached: %s", error)
    features, labels = made
    steps = max(map(len, features))
    utterances = corpus.utterances()
    parts = ([i for i, u in enumerate(utterances) if u.part == part] for part in range(3))
    return tuple(side_by_side([features[i] for i in part], [labels[i] for i in part],
                              [utterances[i].family for i in part], steps) for part in parts)


Made = tuple[list[NDArray[np.float32]], list[NDArray[np.int64]]]


def make(corpus: Corpus, workers: int = 0) -> Made:
    """Features [frames, 23] and labels [frames, 2] of every utterance; the same in every call."""
    utterances = corpus.utterances()

    def use(index: int, speech: espeak.Speech) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        return heard(np.random.default_rng([corpus.seed, index]), speech, utterances[index].speaker.room)

    made = list(espeak.speak([u.request for u in utterances], use, workers))
    return [features for features, _ in made], [labels for _, labels in made]


def heard(
    rng: np.random.Generator, speech: espeak.Speech, room: Room
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Features and labels of what was said in a room: silence and noise around it; labels go by the direct sound.

    Raises  BittailorError for a phoneme that the phone set does not know.
    """
    sound = resampled(speech.samples / 32768, speech.rate)
    before, after = (int(RATE_HZ * rng.uniform(*SILENCE_S)) for _ in range(2))
    noise = rng.normal(size=before + len(sound) + after)
    noise[1:] += rng.uniform(*TILTS) * noise[:-1]
    echoing = room.heard(sound)[: len(sound) + after]
    power = (echoing**2).sum() / len(sound) / 10 ** (rng.uniform(*NOISE_DB) / 10)
    noise *= np.sqrt(power / (noise**2).mean())
    noise[before : before + len(echoing)] += echoing
    starts, labels = [0], [0]
    for at, name in speech.events:
        name = name.lstrip(MARKS)
        if name == IGNORED:
            continue
        if name not in LABEL_OF:
            raise BittailorError(f"espeak-ng says the phoneme '{name}', which the phone set of 'phones' does not know; "
                                 f"install another espeakng-loader than {espeak.version()}")
        starts.append(before + round(at * RATE_HZ / speech.rate))
        labels.append(LABEL_OF[name])
    features = filterbanks(noise)
    return features, frame_labels(np.maximum.accumulate(starts), labels, len(features))


def _restored(file: Path) -> Made | None:
    if not file.exists():
        return None
    try:
        _, tensors = load_tensors(file, KIND, FORMAT)
        ends = np.cumsum(tensors["lengths"])[:-1]
        return np.split(tensors["x"], ends), [item.astype(np.int64) for item in np.split(tensors["y"], ends)]
    except (FileError, KeyError, ValueError) as error:
        log.warning("cached speech not used, making it again: %s", str(error).splitlines()[0])
        return None


PHONES = Task(
    name="phones",
    title="phones of SYNTHETIC speech (espeak-ng; 23 filterbanks a step of 10 ms); a label per step",
    metric="per",
    inputs=BANDS,
    outputs=len(LABELS),
    hidden=64,
    recipe=Recipe(epochs=8, batch=32, rate=1.2e-2, weight_decay=0.01, noise=0.2),
    source="made here by espeak-ng (package espeakng-loader): random words by 575 speakers of 95 voices, in "
           "rooms and noise; voices of training, validation and test differ",
    licence="the features are made on your machine; espeak-ng itself is GPL-3.0-or-later and runs as its own process",
    citation="espeak-ng, github.com/espeak-ng/espeak-ng; labels after K.-F. Lee, H.-W. Hon: Speaker-independent phone "
             "recognition using hidden Markov models. IEEE Trans. ASSP 37(11), 1989",
    read=read,
    build=network,
)
