"""phones: SYNTHETIC speech, made here by espeak-ng, with the time of every phone. docs/speech.md says what it is not.

Every utterance is a few random words, half of them invented (`sentences.py`), in one of espeak-ng's voices, at a
random speed and pitch, between two short silences, in noise. Voices of training, validation and test are different
ones. Everything is decided by the constants here and the version of espeakng-loader; the features are cached.
"""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from bittailor.common import cache
from bittailor.common.data import Data
from bittailor.common.files import load_tensors, save_tensors
from bittailor.errors import BittailorError, FileError
from bittailor.tasks import espeak, sentences
from bittailor.tasks.base import Recipe, Task
from bittailor.tasks.speech import BANDS, RATE_HZ, filterbanks, frame_labels, network, resampled, side_by_side

KIND, FORMAT = "synthetic phone corpus", 1
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

LANGUAGE = "en-us"
TRAIN_VOICES = (
    "Alex", "Andy", "Annie", "AnxiousAndy", "Diogo", "Gene Gene2", "Henrique", "Jacky", "Lee", "Marco", "Michael",
    "Mike mike2", "Mr serious", "Nguyen", "Reed", "RicishayMax RicishayMax2 RicishayMax3", "Storm", "Tweaky",
    "UniRobot", "adam", "anika anikaRobot", "announcer", "antonio", "aunty", "benjamin", "boris", "croak", "david",
    "ed", "f1", "fast", "grandma", "grandpa", "ian", "iven iven2 iven3 iven4", "kaukovalta",
    "klatt klatt2 klatt3 klatt4 klatt5 klatt6", "m1", "m3", "m4", "m6", "m7", "marcelo", "max", "miguel", "paul",
    "pedro", "rob robert", "robosoft robosoft2 robosoft3 robosoft4 robosoft5 robosoft6 robosoft7 robosoft8", "shelby",
    "steph steph2 steph3", "travis",
)
TEST_VOICES = (
    "Andrea", "Denis", "Hugo", "Mario", "belinda", "caleb", "edward edward2", "f4", "gustave", "john", "linda", "m2",
    "m5", "m8", "michel", "norbert", "pablo", "quincy", "zac",
)
"""Voices of espeak-ng, those that are variants of one another together: a group, which is never split.

Left out: Alicia, Demonic, f2, f3, f5, sandro, victor, whisper, whisperf: their noise is seeded by the clock."""

SPEEDS = (140, 210)  # words a minute
PITCHES = RANGES = (35, 65)
SILENCE_S = (0.05, 0.25)  # before and after
NOISE_DB = (20.0, 40.0)  # power of the speech over that of the noise
TILTS = (0.0, 0.95)  # of the noise: white to low


@dataclass(frozen=True)
class Corpus:
    """Which utterances there are.

    train, test  groups of voices
    each         utterances of each voice
    salt         what tells one task's utterances from another's
    """

    salt: ClassVar[str] = ""

    train: tuple[str, ...] = TRAIN_VOICES
    test: tuple[str, ...] = TEST_VOICES
    each: tuple[int, int] = (20, 10)
    seed: int = 0

    def requests(self) -> tuple[list[espeak.Request], list[int], int]:
        """What to say, the group of each utterance, and how many of them are training data."""
        made, groups = [], []
        parts = [(group, self.each[0]) for group in self.train] + [(group, self.each[1]) for group in self.test]
        for number, (group, each) in enumerate(parts):
            for voice in voices(group):
                random = Random(f"{self.salt}{self.seed} {voice}")
                for _ in range(each):
                    text = sentences.sentence(random)
                    made.append(espeak.Request(f"{LANGUAGE}+{voice}", text, random.randint(*SPEEDS),
                                               random.randint(*PITCHES), random.randint(*RANGES)))
                    groups.append(number)
        return made, groups, sum(group < len(self.train) for group in groups)

    def key(self) -> str:
        """Sixteen hexadecimal digits over what decides the utterances."""
        requests, groups, train = self.requests()
        parts = [FORMAT, espeak.version(), [list(vars(r).values()) for r in requests], groups, train, PHONE_SET,
                 self.seed, SILENCE_S, NOISE_DB, TILTS]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def voices(group: str) -> list[str]:
    """The voices of a group."""
    return [group] if group == "Mr serious" else group.split()


def read(folder: Path | None, corpus: Corpus | None = None) -> tuple[Data, Data]:
    """Training (to be split by groups of voices) and test data of a corpus; made once, then read from the cache."""
    corpus = corpus or Corpus()
    file = cache.user_cache() / "data" / "phones" / f"phones-{corpus.key()}.safetensors"
    utterances = _restored(file)
    if utterances is None:
        utterances = make(corpus)
        features, labels = utterances
        try:
            save_tensors(file, KIND, FORMAT, {}, {
                "lengths": np.array([len(item) for item in features]), "x": np.concatenate(features),
                "y": np.concatenate(labels).astype(np.int16)})
        except FileError as error:
            log.warning("the synthetic speech is not cached: %s", error)
    _, groups, train = corpus.requests()
    features, labels = utterances
    steps = max(map(len, features))
    return (side_by_side(features[:train], labels[:train], groups[:train], steps),
            side_by_side(features[train:], labels[train:], groups[train:], steps))


Utterances = tuple[list[NDArray[np.float32]], list[NDArray[np.int64]]]


def make(corpus: Corpus, workers: int = 0) -> Utterances:
    """Features [frames, 23] and labels [frames, 2] of every utterance; the same in every call."""
    requests = corpus.requests()[0]
    made = list(espeak.speak(requests, partial(utterance, corpus.seed), workers))
    return [features for features, _ in made], [labels for _, labels in made]


def utterance(seed: int, index: int, speech: espeak.Speech) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Features and labels of what was said: silence and noise around it, drawn by seed and index.

    Raises  BittailorError for a phoneme that the phone set does not know.
    """
    rng = np.random.default_rng([seed, index])
    sound = resampled(speech.samples / 32768, speech.rate)
    before, after = (int(RATE_HZ * rng.uniform(*SILENCE_S)) for _ in range(2))
    noise = rng.normal(size=before + len(sound) + after)
    noise[1:] += rng.uniform(*TILTS) * noise[:-1]
    power = (sound**2).mean() / 10 ** (rng.uniform(*NOISE_DB) / 10)
    noise *= np.sqrt(power / (noise**2).mean())
    noise[before : before + len(sound)] += sound
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


def _restored(file: Path) -> Utterances | None:
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
    source="made here by espeak-ng (package espeakng-loader): random words in 95 voices, in noise; voices of training, "
           "validation and test differ",
    licence="the features are made on your machine; espeak-ng itself is GPL-3.0-or-later and runs as its own process",
    citation="espeak-ng, github.com/espeak-ng/espeak-ng; labels after K.-F. Lee, H.-W. Hon: Speaker-independent phone "
             "recognition using hidden Markov models. IEEE Trans. ASSP 37(11), 1989",
    read=read,
    valid_share=0.12,
    build=network,
)
