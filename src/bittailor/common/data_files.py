"""Data of a user's in one file, .npz or .safetensors: arrays whose names say what they are and whose part they are.

    x_train, y_train, lengths_train, groups_train     as `Data` has them; lengths and groups where there are any
    x_valid, …, x_test, …                             the same of the other parts
    ANY_train, ANY_valid, ANY_test                    an extra called ANY
    x, y, lengths, groups, ANY                        of one part, as whose every name lacks its ending
    late                                              a number, `Data.late` of all parts; 0 where it is not there

What a file lacks of validation and test data is set aside from its training data, a fifth of them each, by the seed;
whole groups stay together, classes keep their shares.
"""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bittailor.common.data import Data, Splits, whole_numbers
from bittailor.common.files import MOST_BYTES, read_bytes
from bittailor.common.roles import holdout
from bittailor.errors import BittailorError, DataError, FileError

Arrays = dict[str, NDArray[Any]]
PARTS = ("train", "valid", "test")
SUFFIXES = (".npz", ".safetensors")
SHARE = 0.2
"""Of the training data, for each part that a file lacks."""


def read_splits(path: Path | str, seed: int = 0) -> Splits:
    """Training, validation and test data from a file.

    seed    decides what is set aside of the training data where a part is missing
    Raises  FileError where it cannot be read, DataError, with the names of arrays, where they are no data.
    """
    arrays = _arrays(Path(path))
    late = _late(path, arrays.pop("late", np.zeros((), np.int64)))
    found = {part: _part(path, part, arrays, late) for part in PARTS if _names(part, arrays)}
    if not found and _names("", arrays):
        found = {"train": _part(path, "", arrays, late)}
    if "train" not in found:
        raise DataError(f"{path} holds {', '.join(sorted(arrays)[:8]) or 'no arrays'}; expected x_train and y_train "
                        "(and x_valid, y_valid, x_test, y_test), or x and y")
    missing = [part for part in PARTS if part not in found]
    total = len(found["train"])
    for i, part in enumerate(missing):
        held = found["train"]
        try:
            rest, aside = holdout(held.y, max(1, round(SHARE * total)), seed + i, held.groups)
        except DataError as error:
            raise DataError(f"{path} has no {part} data, and its training data are too few to set some aside: "
                            f"{error}") from None
        found["train"], found[part] = held[rest], held[aside]
    return Splits(*(found[part] for part in PARTS))


def _names(part: str, arrays: Arrays) -> dict[str, str]:
    """Name within a part -> name in the file."""
    ends = {f"_{each}" for each in PARTS}
    if part:
        return {name.removesuffix(f"_{part}"): name for name in arrays if name.endswith(f"_{part}")}
    return {name: name for name in arrays if not any(name.endswith(end) for end in ends)} if "x" in arrays else {}


def _late(path: Path | str, value: NDArray[Any]) -> int:
    if value.size != 1 or value.dtype.kind not in "iu":
        raise DataError(f"{path}: late is one whole number; got {value.dtype} {value.shape}")
    return int(value.reshape(()))


def _part(path: Path | str, part: str, arrays: Arrays, late: int) -> Data:
    named = _names(part, arrays)
    end = f"_{part}" if part else ""
    given = {name: arrays[where] for name, where in named.items()}
    for name in ("x", "y"):
        if name not in given:
            raise DataError(f"{path} has {', '.join(sorted(named.values())[:4])} but no {name}{end}")
    extras = {name: value for name, value in given.items() if name not in ("x", "y", "lengths", "groups")}
    none = np.empty(0, np.int64)
    try:
        return Data(given["x"], given["y"], whole_numbers(given.get("lengths", none), "lengths"),
                    _numbered(given.get("groups", none)), extras, late)
    except BittailorError as error:
        raise DataError(f"{path}, {part or 'x and y'}: {error}") from None


def _numbered(groups: NDArray[Any]) -> NDArray[np.int64]:
    """Groups by number; names of speakers or writers are numbered in their order."""
    if groups.dtype.kind in "US" and groups.ndim == 1:
        return np.unique(groups, return_inverse=True)[1].astype(np.int64)
    return whole_numbers(groups, "groups")


def _arrays(path: Path) -> Arrays:
    if path.suffix not in SUFFIXES:
        raise FileError(f"cannot read data from {path}: expected a file that ends in {' or '.join(SUFFIXES)}")
    return _of_numpy(path) if path.suffix == ".npz" else _of_safetensors(path)


def _of_safetensors(path: Path) -> Arrays:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    data = read_bytes(path)
    try:
        return dict(load(data))
    except (SafetensorError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise FileError(f"{path} is no safetensors file: {_line(error)}") from None


def _of_numpy(path: Path) -> Arrays:
    try:
        if not path.is_file():
            raise FileError(f"cannot read {path}: there is no such file" if not os.path.lexists(path) else
                            f"cannot read {path}: it is no plain file")
        with zipfile.ZipFile(path) as archive:
            size = sum(info.file_size for info in archive.infolist())
            if size > MOST_BYTES:
                raise FileError(f"cannot read {path}: its arrays have {size:,} bytes; at most {MOST_BYTES:,} are read")
        with np.load(path, allow_pickle=False) as held:
            values: Mapping[str, Any] = {name: held[name] for name in held.files}
    except BittailorError:
        raise
    except OSError as error:
        raise FileError(f"cannot read {path}: {error.strerror or error}") from None
    except (zipfile.BadZipFile, ValueError, KeyError, EOFError, TypeError, MemoryError,
            RuntimeError, SyntaxError, zlib.error) as error:
        raise FileError(f"{path} is no .npz file of numbers: {_line(error)}") from None
    wrong = next((name for name, value in values.items() if not isinstance(value, np.ndarray)), None)
    if wrong is not None:
        raise FileError(f"{path} is no .npz file of numbers: '{wrong}' is no array")
    return dict(values)


def _line(error: Exception) -> str:
    return " ".join((str(error).strip() or type(error).__name__).split())[:160]
