"""The contract of a task: data, float network, metric and the recipe the network is trained with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bittailor.common.data import Data, Splits
from bittailor.common.roles import holdout
from bittailor.errors import BittailorError, DataError

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Recipe:
    """How a task's float network is trained: Adam under a one-cycle learning rate, clipped gradients.

    epochs          passes over the training data
    batch           items per update
    rate            the highest learning rate; it is reached after a tenth of the updates, then falls to zero. Of wide
                    networks it is lower: `train.floats.recipe_for`
    weight_decay    decoupled (AdamW)
    clip            largest norm of the gradient
    noise           standard deviation of Gaussian noise on the inputs of each batch, in input units
    """

    epochs: int
    batch: int
    rate: float
    weight_decay: float = 0.0
    clip: float = 1.0
    noise: float = 0.0


@dataclass(frozen=True)
class Task:
    """A data set with a float network to be quantised for it.

    name        as written on the command line
    title       one line for `bittailor tasks`
    metric      a name in `metrics.METRICS`
    inputs      features of one step
    outputs     classes, or regression targets
    hidden      the units of the recurrent layer where none are asked for
    recipe      how the float network is trained
    source      where the data come from
    licence     under which terms
    citation    whom to cite
    read        data folder or None -> (training data, test data), in the official order, the same in every call, or
                (training, validation, test data) where validation data are official too.
                Raises DataError where a file is missing or not what it claims
    valid_share the share of the training data that is set aside as validation data
    build       (inputs, hidden, outputs, seed, cell) -> the float network; None for one layer, its last step, a linear
                layer
    """

    name: str
    title: str
    metric: str
    inputs: int
    outputs: int
    hidden: int
    recipe: Recipe
    source: str
    licence: str
    citation: str
    read: Callable[[Path | None], tuple[Data, ...]]
    valid_share: float = 0.2
    build: Callable[[int, int, int, int, str], nn.Module] | None = None

    def load(self, folder: Path | str | None = None, seed: int = 0) -> Splits:
        """Training, validation and test data.

        folder  the user's data folder, one sub-folder per data set; the user's cache and then the public source
                follow where it lacks the files. Generated and built-in tasks read nothing from it
        seed    decides which items of the official training data are validation data (stratified by class; whole
                groups where the data have groups) and in which order both stand; the test data, and validation data
                that are official, never depend on it
        Raises  DataError if the folder does not exist, or if a file is missing or not what it claims.
        """
        folder = None if folder is None else Path(folder)
        if folder is not None and not folder.is_dir():
            raise DataError(f"the data folder {folder} does not exist or is not a folder; give --data an existing one")
        pool, *official, test = self.read(folder)
        if official:
            return Splits(pool, official[0], test)
        rest, held = holdout(pool.y, round(self.valid_share * len(pool)), seed, pool.groups)
        return Splits(pool[rest], pool[held], test)

    def network(self, hidden: int | None = None, seed: int = 0, cell: str = "gru") -> nn.Module:
        """An untrained float network of `hidden` units (the task's default where None).

        A `torch.nn.Module` with `gru` (nn.GRU, batch first) and `head` (nn.Linear): `LastStepNetwork`, or what the task
        builds instead.
        seed    decides the initial weights
        cell    a name in `CELLS`; the layer is then the attribute of that name
        Raises  DataError if hidden is below 1; UnknownName for a cell; BittailorError where torch is not installed.
        """
        need("torch", "torch")
        from bittailor.tasks.network import LastStepNetwork

        hidden = self.hidden if hidden is None else hidden
        if hidden < 1:
            raise DataError(f"hidden is {hidden}; a layer needs at least 1 unit "
                            f"(task '{self.name}' uses {self.hidden})")
        if self.build is not None:
            return self.build(self.inputs, hidden, self.outputs, seed, cell)
        return LastStepNetwork(self.inputs, hidden, self.outputs, seed, cell)


def need(module: str, extra: str) -> None:
    """Raises BittailorError naming the extra to install where `module` is not there; does not import it."""
    from importlib.util import find_spec

    if find_spec(module) is None:
        raise BittailorError(f"this needs {module}, which is not installed; pip install 'bittailor[{extra}]'")
