"""timit: phones of read American English, for users who have the corpus (LDC93S1); nothing is fetched.

Read where it lies, in the corpus' own layout, upper or lower case: TRAIN and TEST / DR1..DR8 / speaker / *.PHN with a
.WAV (NIST SPHERE) or .wav (RIFF) beside each, also as *.WAV.wav.
"""

from __future__ import annotations

import io
import re
import wave
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bittailor.common import cache
from bittailor.common.data import Data
from bittailor.common.files import read_bytes
from bittailor.errors import DataError
from bittailor.tasks.base import Recipe, Task
from bittailor.tasks.speech import BANDS, RATE_HZ, filterbanks, frame_labels, network, side_by_side

PHONE_SET: dict[str, str] = {
    "sil": "h# pau epi pcl tcl kcl bcl dcl gcl q",
    "aa": "aa ao", "ae": "ae", "ah": "ah ax ax-h", "aw": "aw", "ay": "ay", "eh": "eh", "er": "er axr", "ey": "ey",
    "ih": "ih ix", "iy": "iy", "ow": "ow", "oy": "oy", "uh": "uh", "uw": "uw ux",
    "b": "b", "ch": "ch", "d": "d", "dh": "dh", "dx": "dx", "f": "f", "g": "g", "hh": "hh hv", "jh": "jh", "k": "k",
    "l": "l el", "m": "m em", "n": "n en nx", "ng": "ng eng", "p": "p", "r": "r", "s": "s", "sh": "sh zh", "t": "t",
    "th": "th", "v": "v", "w": "w", "y": "y", "z": "z",
}
"""The 39 labels and the 61 of the corpus folded into them: K.-F. Lee, H.-W. Hon (1989). The glottal stop q, which they
remove, counts as silence; "sil" is label 0, and no transcript counts it."""
LABELS = tuple(PHONE_SET)
LABEL_OF = {name: label for label, names in enumerate(PHONE_SET.values()) for name in names.split()}

CORE_SPEAKERS = """
MDAB0 MWBT0 FELC0 MTAS1 MWEW0 FPAS0 MJMP0 MLNT0 FPKT0 MLLL0 MTLS0 FJLM0 MBPM0 MKLT0 FNLP0 MCMJ0 MJDH0 FMGD0 MGRT0 MNJM0
FDHC0 MJLN0 MPAM0 FMLD0
"""
"""The 24 speakers of the core test set: the corpus' TESTSET.DOC."""
VALIDATION_SPEAKERS = """
FAKS0 FDAC1 FJEM0 MGWT0 MJAR0 MMDB1 MMDM2 MPDF0 FCMH0 FKMS0 MBDG0 MBWM0 MCSH0 FADG0 FDMS0 FEDW0 MGJF0 MGLB0 MRTK0 MTAA0
MTDT0 MTHC0 MWJG0 FNMR0 FREW0 FSEM0 MBNS0 MMJR0 MDLS0 MDLF0 MDVC0 MERS0 FMAH0 FDRW0 MRCS0 MRJM4 FCAL1 MMWH0 FJSJ0 MAJC0
MJSW0 MREB0 FGJD0 FJMG0 MROA0 MTEB0 MJFC0 MRJR0 FMML0 MRWS1
"""
"""The 50 speakers of the development set, from TEST and not in the core: A. Halberstadt, PhD thesis, MIT, 1998."""
CORE_TEST, VALIDATION = frozenset(CORE_SPEAKERS.split()), frozenset(VALIDATION_SPEAKERS.split())

SAMPLE = re.compile(r"[0-9]{1,18}")
SPEAKER = re.compile(r"[MF][A-Z0-9]{4}", re.IGNORECASE)
HEADER = b"NIST_1A"


@dataclass(frozen=True)
class Utterance:
    """Files of an utterance, and who speaks."""

    labels: Path
    sound: Path
    speaker: str
    part: str


def find_corpus(folder: Path | None) -> Path:
    """The folder that holds TRAIN and TEST: `folder` itself, its `timit`, or the same below the user's cache.

    Raises  DataError, in a line, where none does.
    """
    places = [*([] if folder is None else [folder]), cache.user_cache() / "data"]
    tried = [place / name for place in places for name in (".", "timit", "TIMIT", "timit/TIMIT", "TIMIT/TIMIT")]
    for path in tried:
        if path.is_dir() and {"TRAIN", "TEST"} <= {item.name.upper() for item in path.iterdir() if item.is_dir()}:
            return path
    raise DataError("task 'timit' needs the TIMIT corpus (LDC93S1, under its own licence): no folder with TRAIN and "
                    f"TEST in {' nor in '.join(map(str, places))} or its timit/; give --data DIR")


def utterances(corpus: Path) -> Iterator[Utterance]:
    """All but the SA sentences, which everybody reads, in order of part, dialect, speaker and sentence.

    Raises  DataError for an utterance without sound.
    """
    files = sorted((file for file in corpus.rglob("*") if file.suffix.upper() == ".PHN"), key=_order)
    for file in files:
        *_, part, dialect, speaker, name = file.parts
        known = part.upper() in ("TRAIN", "TEST") and dialect.upper().startswith("DR") and SPEAKER.fullmatch(speaker)
        if not known or name.upper().startswith("SA"):
            continue
        beside = {item.name.upper(): item for item in file.parent.iterdir()}
        stem = name.upper().removesuffix(".PHN")
        sound = beside.get(f"{stem}.WAV.WAV", beside.get(f"{stem}.WAV"))
        if sound is None:
            raise DataError(f"{file} has no sound beside it: expected {file.with_suffix('.WAV').name}")
        yield Utterance(file, sound, speaker.upper(), part.upper())


def _order(file: Path) -> tuple[str, ...]:
    return tuple(part.upper() for part in file.parts[-4:])


def read(folder: Path | None) -> tuple[Data, ...]:
    """Training, validation and core test data; without validation where its speakers are not there."""
    corpus = find_corpus(folder)
    parts: dict[str, list[Utterance]] = {"train": [], "valid": [], "test": []}
    for utterance in utterances(corpus):
        if utterance.part == "TRAIN":
            parts["train"].append(utterance)
        elif utterance.speaker in CORE_TEST:
            parts["test"].append(utterance)
        elif utterance.speaker in VALIDATION:
            parts["valid"].append(utterance)
    for name, what in (("train", "TRAIN"), ("test", "TEST by a speaker of the core test set, such as MDAB0")):
        if not parts[name]:
            raise DataError(f"{corpus} is not the TIMIT corpus: it has no DR1/SPEAKER/*.PHN in {what}")
    features = {name: [_features(utterance) for utterance in part] for name, part in parts.items()}
    steps = max(len(item) for part in features.values() for item, _ in part)
    made = []
    for name, part in parts.items():
        if part:
            speakers = {speaker: i for i, speaker in enumerate(sorted({utterance.speaker for utterance in part}))}
            made.append(side_by_side([item for item, _ in features[name]], [label for _, label in features[name]],
                                     [speakers[utterance.speaker] for utterance in part], steps))
    return tuple(made)


def _features(utterance: Utterance) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    sound = filterbanks(read_sound(utterance.sound))
    starts, labels = read_labels(utterance.labels)
    return sound, frame_labels(starts, labels, len(sound))


def read_labels(file: Path) -> tuple[list[int], list[int]]:
    """First sample and label of each segment of a .PHN file; silence before the first.

    Raises  DataError naming the file and line: not `START END PHONE`, out of order, an unknown phone; or no line.
    """
    starts, labels, last = [0], [0], 0
    for number, line in enumerate(read_bytes(file).decode("ascii", "replace").splitlines(), 1):
        match line.split():
            case []:
                continue
            case [start, end, phone] if SAMPLE.fullmatch(start) and SAMPLE.fullmatch(end) and (
                    last <= int(start) <= int(end)):
                last = int(start)
            case _:
                raise DataError(f"{file}, line {number}: '{line[:40]}'; expected first sample, last sample and phone, "
                                "in order of time")
        if phone not in LABEL_OF:
            raise DataError(f"{file}, line {number}: the phone '{phone[:10]}' is none of the corpus' 61")
        starts.append(last)
        labels.append(LABEL_OF[phone])
    if len(starts) == 1:
        raise DataError(f"{file} holds no phones")
    return starts, labels


def read_sound(file: Path) -> NDArray[np.float64]:
    """Samples in -1..1 of a NIST SPHERE or RIFF file.

    Raises  DataError naming the file, unless it is mono, 16 bits, 16 kHz and not compressed, and holds a sample.
    """
    content = read_bytes(file)
    if content.startswith(HEADER):
        samples = _sphere(content, file)
    elif content.startswith(b"RIFF"):
        samples = _riff(content, file)
    else:
        raise DataError(f"{file} is neither a NIST SPHERE nor a RIFF file: it starts with {content[:8]!r}")
    if not len(samples):
        raise DataError(f"{file} holds no samples")
    return np.asarray(samples / 32768)


def _sphere(content: bytes, file: Path) -> NDArray[np.int16]:
    """Source  the header of NIST's SPHERE 2: two lines, the second its size; then `name -type value`; `end_head`."""
    try:
        size = int(content.split(b"\n", 2)[1])
        lines = content[:size].decode("ascii").split("end_head")[0].splitlines()[2:]
        fields = {parts[0]: parts[2] for line in lines if len(parts := line.split(None, 2)) == 3}
        count = int(fields["sample_count"])
        form = (int(fields.get("channel_count", 1)), 8 * int(fields["sample_n_bytes"]), int(fields["sample_rate"]))
    except (ValueError, IndexError, KeyError) as error:
        raise DataError(f"{file} has a damaged SPHERE header ({type(error).__name__}: {error})") from None
    coding = fields.get("sample_coding", "pcm")
    if coding != "pcm":
        raise DataError(f"{file} is compressed ({coding}); write it as plain PCM first, with NIST's w_decode or "
                        "sph2pipe")
    _check_form(form, file)
    kind = ">i2" if fields.get("sample_byte_format", "01") == "10" else "<i2"
    body = content[size : size + 2 * count]
    if len(body) < 2 * count:
        raise DataError(f"{file} is cut off: {len(body) // 2} samples; its header says {count}")
    return np.frombuffer(body, kind).astype(np.int16)


def _riff(content: bytes, file: Path) -> NDArray[np.int16]:
    try:
        with wave.open(io.BytesIO(content)) as sound:
            form = (sound.getnchannels(), 8 * sound.getsampwidth(), sound.getframerate())
            frames = sound.readframes(sound.getnframes())
    except (wave.Error, EOFError, RuntimeError, ValueError) as error:  # the last two where sizes in it contradict
        raise DataError(f"{file} is a damaged RIFF file: {str(error) or 'it is cut off'}") from None
    _check_form(form, file)
    return np.frombuffer(frames[: len(frames) // 2 * 2], "<i2").astype(np.int16)


def _check_form(form: tuple[int, int, int], file: Path) -> None:
    if form != (1, 16, RATE_HZ):
        raise DataError(f"{file} has {form[0]} channel(s) of {form[1]} bits at {form[2]} Hz; "
                        f"expected 1 channel of 16 bits at {RATE_HZ} Hz")


TIMIT = Task(
    name="timit",
    title="phones of read speech (TIMIT, by licence; 23 filterbanks a step of 10 ms); a label per step",
    metric="per",
    inputs=BANDS,
    outputs=len(LABELS),
    hidden=128,
    recipe=Recipe(epochs=24, batch=16, rate=5e-3, weight_decay=0.01, noise=0.2),
    source="TIMIT Acoustic-Phonetic Continuous Speech Corpus (LDC93S1) in DIR/timit/{TRAIN,TEST}/DR*/; without the SA "
           "sentences; validation: the 50-speaker development set, test: the 24-speaker core test set",
    licence="of the Linguistic Data Consortium; nothing of it comes with bittailor",
    citation="J. S. Garofolo et al.: TIMIT Acoustic-Phonetic Continuous Speech Corpus. Linguistic Data Consortium, "
             "1993",
    read=read,
    valid_share=0.1,
    build=network,
)
