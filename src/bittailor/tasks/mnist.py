"""mnist: handwritten digits of 28 x 28 pixels, read row by row."""

from __future__ import annotations

import gzip
import io
import struct
import zlib
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bittailor.common import cache
from bittailor.common.data import Data
from bittailor.common.files import read_bytes
from bittailor.errors import DataError
from bittailor.tasks.base import Recipe, Task

TRAIN_ITEMS = 10_000  # the first of the 60,000: enough for these widths, and as many as `train10k-*` holds
MOST_BYTES = 1 << 27  # of an unpacked file: all 70,000 images take 55 million
MIRROR = "https://ossci-datasets.s3.amazonaws.com/mnist/"

SOURCES = [cache.Source(f"mnist/{name}", MIRROR + name, f"md5:{md5}") for name, md5 in [
    ("train-images-idx3-ubyte.gz", "f68b3c2dcbeaaa9fbdd348bbdeb94873"),
    ("train-labels-idx1-ubyte.gz", "d53e105ee54ea40749a09fcbcd1e9432"),
    ("t10k-images-idx3-ubyte.gz", "9fb629c4189551a2d022fa330f9573f3"),
    ("t10k-labels-idx1-ubyte.gz", "ec29112dd5afa0611ce80d1b7f02629c"),
]]
STANDARD = [source.path for source in SOURCES]
SUBSET = [path.replace("/train-", "/train10k-") for path in STANDARD]


def read(folder: Path | None) -> tuple[Data, Data]:
    files = cache.find("mnist", [SUBSET, STANDARD], SOURCES, folder)
    train_images, train_labels, test_images, test_labels = files
    return _pair(train_images, train_labels)[:TRAIN_ITEMS], _pair(test_images, test_labels)


def read_idx(file: Path, dimensions: int) -> NDArray[np.uint8]:
    """The bytes of a gzipped IDX file, in its shape.

    dimensions  how many the file must have: 3 for images, 1 for labels
    Raises      DataError if it is cut off, is no gzip or IDX file, or has other dimensions.
    Source      Y. LeCun, "The MNIST database": magic = 0, 0, 8 (unsigned byte), dimensions; sizes big endian.
    """
    try:
        with gzip.open(io.BytesIO(read_bytes(file))) as unpacked:
            content = unpacked.read(MOST_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{file} cannot be unpacked ({error}); it is damaged or cut off: fetch it again") from None
    if len(content) > MOST_BYTES:
        raise DataError(f"{file} unpacks to more than {MOST_BYTES:,} bytes")
    head = 4 + 4 * dimensions
    if len(content) < head or content[:4] != bytes([0, 0, 8, dimensions]):
        raise DataError(f"{file} is no IDX file of {dimensions} dimensions: it starts with "
                        f"{content[:4].hex(' ')}, expected {bytes([0, 0, 8, dimensions]).hex(' ')}")
    shape = struct.unpack_from(f">{dimensions}I", content, 4)
    if len(content) - head != prod(shape):
        raise DataError(f"{file} announces {shape} but holds {len(content) - head} bytes, not {prod(shape)}")
    return np.frombuffer(content, np.uint8, offset=head).reshape(shape)


def _pair(images: Path, labels: Path) -> Data:
    pixels, y = read_idx(images, 3), read_idx(labels, 1)
    if pixels.shape[1:] != (28, 28) or len(pixels) != len(y) or (len(y) and y.max() > 9):
        raise DataError(f"{images} holds images of {pixels.shape} and {labels} {len(y)} labels up to "
                        f"{y.max(initial=0)}; expected as many as images of 28 x 28, and labels 0..9")
    return Data(pixels.astype(np.float32) / np.float32(255), y.astype(np.int64))


MNIST = Task(
    name="mnist",
    title="28x28 handwritten digits, row by row (28 steps of 28 pixels); 10,000 for training, 10,000 for test",
    metric="classification_error",
    inputs=28,
    outputs=10,
    hidden=64,
    recipe=Recipe(epochs=16, batch=64, rate=1e-2, noise=0.1),
    source="MNIST, IDX files in mnist/: the first 10,000 training images, or the subset train10k-*; all test images",
    licence="commonly stated as CC BY-SA 3.0",
    citation="Y. LeCun, L. Bottou, Y. Bengio, P. Haffner: Gradient-Based Learning Applied to Document Recognition. "
             "Proceedings of the IEEE 86(11), 1998",
    read=read,
)
