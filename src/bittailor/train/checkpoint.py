"""A checkpoint: how far a retraining has come. It is read whole and found fitting, or not used at all."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bittailor.common.files import formed, load_tensors, reading, save_tensors
from bittailor.common.records import check, plain
from bittailor.core.qformat import QFormat
from bittailor.errors import BittailorError, FileError

KIND, FORMAT = "retraining", 1
GENERATOR = "generator"
MOMENTS = ("exp_avg", "exp_avg_sq")
"""What Adam keeps of a parameter, in its shape; and the number of its updates, `step`."""


@dataclass(frozen=True)
class Checkpoint:
    """The text of a checkpoint.

    key         of the retraining
    done        epochs that are done
    seconds     that they took
    history     a row for each
    backed_off  how often the rates were lowered
    formats     site -> see `QFormat.to_json`
    """

    key: str
    done: int
    seconds: float
    history: tuple[Mapping[str, Any], ...]
    backed_off: int
    formats: Mapping[str, Mapping[str, Any]]

    def __post_init__(self) -> None:
        check(self, done=0, backed_off=0)
        numbers = all(isinstance(value, int | float) for row in self.history for value in row.values())
        if len(self.history) != self.done or not numbers or not all(math.isfinite(row.get("loss", math.nan))
                                                                    for row in self.history):
            raise BittailorError(f"history is not a row of numbers for each of {self.done} epochs")

    def write(self, file: Path, tensors: Mapping[str, Tensor]) -> None:
        """Write it, with parameters, what the optimiser keeps of them (name/key) and the generator's state."""
        save_tensors(file, KIND, FORMAT, plain(self), {name: value.numpy() for name, value in tensors.items()})


def read_checkpoint(
    file: Path, key: str, epochs: int, parameters: Mapping[str, Tensor], formats: Mapping[str, QFormat]
) -> tuple[Checkpoint, dict[str, Tensor], dict[str, QFormat]]:
    """What `Checkpoint.write` wrote, with its formats.

    key, epochs, parameters, formats  of the retraining that shall go on: its tensors and widths
    Raises  FileError unless the file is whole, of this retraining, and of its tensors and formats.
    """
    body, arrays = load_tensors(file, KIND, FORMAT)
    if body.get("key") != key:
        raise FileError(f"{file} holds another retraining")
    found = formed(file, Checkpoint, body)
    with reading(file):
        if found.done > epochs:
            raise BittailorError(f"done is {found.done}; of {epochs} epochs")
        read = {name: QFormat.from_json(item) for name, item in found.formats.items()}
        if {n: (f.kind, f.bits) for n, f in read.items()} != {n: (f.kind, f.bits) for n, f in formats.items()}:
            raise BittailorError("its formats are of other sites or widths")
        wanted = {name: tuple(value.shape) for name, value in parameters.items()}
        moved = [name for name in parameters if f"{name}/step" in arrays]
        wanted |= {f"{name}/{kind}": wanted[name] for name in moved for kind in MOMENTS}
        wanted |= {f"{name}/step": (1,) for name in moved}  # one number, written as an array of one
        numbers = {name: array for name, array in arrays.items() if name != GENERATOR}
        if {name: array.shape for name, array in numbers.items()} != wanted:
            raise BittailorError("its tensors are of another retraining")
        if not all(array.dtype.kind == "f" and np.isfinite(array).all() for array in numbers.values()):
            raise BittailorError("its tensors are no finite numbers")
        tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
        try:
            torch.Generator().set_state(tensors[GENERATOR])
        except (KeyError, TypeError, RuntimeError):
            raise BittailorError("it holds no state of a generator") from None
    return found, tensors, read
