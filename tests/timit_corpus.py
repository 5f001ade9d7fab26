"""A miniature in the layout of TIMIT, made of noise: SPHERE headers, .PHN files, speakers of every part."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

PHONES = ("h#", "sh", "ix", "hv", "eh", "dcl", "jh", "q", "ao", "aa", "r", "axr", "h#")
SAMPLES = 1600  # of each phone: 100 ms
SENTENCES = ("SA1", "SI648", "SX42", "SX312")


def sphere(samples: np.ndarray, order: str = "01", **fields: object) -> bytes:
    """A file of NIST SPHERE."""
    values = {"channel_count": 1, "sample_count": len(samples), "sample_rate": 16000, "sample_n_bytes": 2,
              "sample_byte_format": order, "sample_coding": "pcm"} | fields
    lines = ["NIST_1A", "   1024"]
    for name, value in values.items():
        lines.append(f"{name} -i {value}" if isinstance(value, int) else f"{name} -s{len(str(value))} {value}")
    header = "\n".join([*lines, "end_head", ""]).encode()
    return header.ljust(1024) + samples.astype("<i2" if order == "01" else ">i2").tobytes()


def labels(phones: Iterable[str] = PHONES, samples: int = SAMPLES) -> str:
    """A .PHN file."""
    return "".join(f"{i * samples} {(i + 1) * samples} {phone}\n" for i, phone in enumerate(phones))


def write(folder: Path, speakers: dict[str, Iterable[str]], sentences: Iterable[str] = SENTENCES) -> None:
    """speakers   part and dialect, e.g. "TRAIN/DR1" -> its speakers."""
    rng = np.random.default_rng(0)
    for place, names in speakers.items():
        for name in names:
            here = folder / place / name
            here.mkdir(parents=True)
            for sentence in sentences:
                count = int(rng.integers(6, len(PHONES) + 1))
                (here / f"{sentence}.PHN").write_text(labels(PHONES[:count]))
                sound = rng.integers(-999, 999, count * SAMPLES)
                (here / f"{sentence}.WAV").write_bytes(sphere(sound))


def write_without_development(folder: Path) -> None:
    """Ten speakers for training, two of the core test set."""
    write(folder, {"TRAIN/DR1": [f"FAAA{i}" for i in range(5)], "TRAIN/DR2": [f"MBBB{i}" for i in range(5)],
                   "TEST/DR1": ["MDAB0"], "TEST/DR2": ["FPAS0"]})
