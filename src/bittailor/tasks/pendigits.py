"""pendigits: pen trajectories of handwritten digits; the test writers are others than the training writers."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bittailor.common import cache
from bittailor.common.data import Data
from bittailor.common.files import read_bytes
from bittailor.errors import DataError
from bittailor.tasks.base import Recipe, Task

ARCHIVE = "https://archive.ics.uci.edu/ml/machine-learning-databases/"


def _without_blanks(file: Path) -> bytes:
    return b"".join(b"".join(line.split()) + b"\n" for line in file.read_bytes().splitlines() if line.strip())


# Copies differ in the blanks between the numbers, so the checksum is of the lines without them.
SOURCES = [cache.Source(path, ARCHIVE + path, f"sha256:{sha256}", _without_blanks) for path, sha256 in [
    ("pendigits/pendigits.tra", "ecae31f7fb049bf8e43ee5bc8b817cda3b9cd3d060de9efe5627d3c91c5f8fd5"),
    ("pendigits/pendigits.tes", "70124fa8a06bc820d38591f297271c364b215174410d9711ffafcfc857ff945f"),
]]


def read(folder: Path | None) -> tuple[Data, Data]:
    train, test = cache.find("pendigits", [[source.path for source in SOURCES]], SOURCES, folder)
    return read_pen(train), read_pen(test)


def read_pen(file: Path) -> Data:
    """Trajectories of 8 points (x, y) in -1..1 and their digits, from lines of 16 integers 0..100 and a digit.

    Raises  DataError naming the file and line that is not so.
    """
    rows = []
    for number, line in enumerate(read_bytes(file).decode("utf-8", "replace").splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = [int(value) for value in line.split(",")]
        except ValueError:
            row = []
        if len(row) != 17 or not all(0 <= value <= 100 for value in row[:16]) or not 0 <= row[16] <= 9:
            raise DataError(f"{file}, line {number}: expected 16 integers 0..100 and a digit, comma separated; "
                            f"got '{line.strip()[:60]}'")
        rows.append(row)
    if not rows:
        raise DataError(f"{file} is empty; expected lines of 16 integers 0..100 and a digit")
    table = np.array(rows, np.int64)
    return Data((table[:, :16].reshape(-1, 8, 2) / 50 - 1).astype(np.float32), table[:, 16])


PENDIGITS = Task(
    name="pendigits",
    title="pen trajectories of handwritten digits (8 points of x and y); the writers of the test are new",
    metric="classification_error",
    inputs=2,
    outputs=10,
    hidden=32,
    recipe=Recipe(epochs=30, batch=128, rate=2e-2, weight_decay=0.01, noise=0.03),
    source="UCI Machine Learning Repository, pendigits.tra (30 writers) and pendigits.tes (14 others) in pendigits/",
    licence="CC BY 4.0",
    citation="E. Alpaydin, F. Alimoglu: Pen-Based Recognition of Handwritten Digits. "
             "UCI Machine Learning Repository, 1998",
    read=read,
)
