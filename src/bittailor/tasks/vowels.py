"""vowels: nine speakers told apart by how each says the Japanese vowels /ae/; sequences of 7 to 29 steps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bittailor.common import cache
from bittailor.common.data import Data
from bittailor.common.files import read_bytes
from bittailor.errors import DataError
from bittailor.tasks.base import Recipe, Task

CHANNELS = 12
RELEASE = "v1.6.0"  # of aeon, whose copy of the archive's files is fetched
FOLDER = f"https://raw.githubusercontent.com/aeon-toolkit/aeon/{RELEASE}/aeon/datasets/data/JapaneseVowels/"

SOURCES = [cache.Source(f"vowels/{name}", FOLDER + name, f"sha256:{sha256}") for name, sha256 in [
    ("JapaneseVowels_TRAIN.ts", "68a430eabd919cc77f40b1f5f3bc0dcafacc1486bca9260785aeb7d262cc78cd"),
    ("JapaneseVowels_TEST.ts", "b3d41d6a0ca3bcad3afb9ca7d4365382aa51341e2e58bae2a574babdda5b9462"),
]]


def read(folder: Path | None) -> tuple[Data, Data]:
    train, test = cache.find("vowels", [[source.path for source in SOURCES]], SOURCES, folder)
    (train_items, train_y), (test_items, test_y) = (read_ts(file, CHANNELS) for file in (train, test))
    steps = max(len(item) for item in train_items + test_items)
    return _padded(train_items, train_y, steps), _padded(test_items, test_y, steps)


def read_ts(file: Path, channels: int) -> tuple[list[NDArray[np.float32]], NDArray[np.int64]]:
    """Items of shape [their steps, channels] and class labels 0.. in the order in which the header names them.

    channels  how many each item must have
    Raises    DataError naming the file and line: no `@data`, no `@classLabel true …`, an unknown label, channels
              of different lengths, a value that is no finite number.
    Source    the .ts format of the UEA & UCR archive: a header of `@key value` and `#` lines, then one item a line,
              channels separated by colons, their values by commas, the label last.
    """
    labels: list[str] = []
    items: list[NDArray[np.float32]] = []
    y: list[int] = []
    in_data = False
    for number, line in enumerate(read_bytes(file).decode("utf-8", "replace").splitlines(), 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        if not in_data:
            key, *values = text.split()
            if key.lower() == "@classlabel" and values[:1] == ["true"]:
                labels = values[1:]
            elif key.lower() == "@data":
                in_data = True
            elif not key.startswith("@"):
                break
            continue
        *series, label = text.split(":")
        if label.strip() not in labels:
            raise DataError(f"{file}, line {number}: the class label '{label.strip()[:20]}' is not in the header's "
                            f"list ({' '.join(labels) or 'which is missing'})")
        if len(series) != channels:
            raise DataError(f"{file}, line {number}: {len(series)} channels; expected {channels}")
        try:
            values_of = [[float(value) for value in channel.split(",")] for channel in series]
            with np.errstate(over="ignore"):  # what is too large is not finite, which is seen below
                item = np.array(values_of, np.float32).T
        except ValueError as error:
            said = str(error)[:80]
            raise DataError(f"{file}, line {number}: channels must be equally many numbers each ({said})") from None
        if not np.isfinite(item).all():
            raise DataError(f"{file}, line {number}: a value is not finite")
        items.append(np.ascontiguousarray(item))
        y.append(labels.index(label.strip()))
    if not items or not labels:
        raise DataError(f"{file} is no .ts file with data: expected '@classLabel true …', '@data' and a line per item")
    return items, np.array(y, np.int64)


def _padded(items: list[NDArray[np.float32]], y: NDArray[np.int64], steps: int) -> Data:
    x = np.zeros((len(items), steps, CHANNELS), np.float32)
    for row, item in zip(x, items, strict=True):
        row[: len(item)] = item
    return Data(x, y, np.array([len(item) for item in items]))


VOWELS = Task(
    name="vowels",
    title="nine speakers by their Japanese vowels (7-29 steps of 12 cepstral coefficients); 370 test items",
    metric="classification_error",
    inputs=CHANNELS,
    outputs=9,
    hidden=32,
    recipe=Recipe(epochs=60, batch=16, rate=1e-2, weight_decay=0.05, noise=0.2),
    source="JapaneseVowels of the UEA & UCR time series archive, JapaneseVowels_{TRAIN,TEST}.ts in vowels/ "
           "(aeon carries the same files)",
    licence="CC BY 4.0 (UCI Machine Learning Repository)",
    citation="M. Kudo, J. Toyama, M. Shimbo: Multidimensional Curve Classification Using Passing-Through Regions. "
             "Pattern Recognition Letters 20(11-13), 1999",
    read=read,
    valid_share=1 / 3,  # of 270: a fifth would be 54 items, too few to choose by
)
