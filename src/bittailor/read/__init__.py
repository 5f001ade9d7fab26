"""Networks of other libraries become ours: a float network is read into a `Network`; see `docs/reading.md`."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bittailor.errors import BittailorError

if TYPE_CHECKING:
    from torch import nn

    from bittailor.core.network import Network


def from_torch(module: nn.Module, input_features: int | None = None) -> Network:
    """Read a PyTorch module into a Network that computes the same function.

    module           takes a sequence as its first argument: [items, steps, features], or
                     [steps, items, features] where its recurrent layers have batch_first=False; it is not changed, and
                     may be in training mode, on another device and of any float precision
    input_features   features of a step; needed only where no layer says it
    Returns          a Network that always takes [items, steps, features] and lengths [items]; its float64
                     result is the module's in evaluation mode: [items, steps, outputs] or [items, outputs]
    Raises           UnsupportedNetwork for what cannot be read, by its path in the module and its type;
                     BittailorError without PyTorch

    >>> from torch import nn
    >>> class Last(nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.gru, self.head = nn.GRU(3, 8, batch_first=True), nn.Linear(8, 2)
    ...     def forward(self, x):
    ...         return self.head(self.gru(x)[0][:, -1])
    >>> network = from_torch(Last())
    >>> network.features, network.output, network([[[1.0, 2.0, 3.0]]]).shape
    (3, 'head.out', (1, 2))
    """
    _need("torch", "reading a PyTorch module needs PyTorch", "torch")
    from bittailor.read.torch import read

    return read(module, input_features)


def from_onnx(path: Path | str, input_features: int | None = None) -> Network:
    """Read an ONNX file into a Network that computes the same function.

    path             of the file; weights in files beside it are read too. Its first input of real numbers is the
                     sequence, [items, steps, features] or [steps, items, features]; whole numbers [items] are lengths;
                     other inputs are states, which start at zero
    input_features   features of a step; needed only where the file leaves them open
    Returns          as `from_torch`. What was read is compared with the file run by onnxruntime: on other numbers of
                     items and steps than it was made with, where it leaves them open
    Raises           UnsupportedNetwork for what cannot be read, by its operator and name; FileError for what is no
                     ONNX file; BittailorError without onnx and onnxruntime
    Warns            UserWarning where the file looks like one that its exporter is known to have written wrongly
    """
    for name in ("onnx", "onnxruntime"):
        _need(name, f"reading an ONNX file needs {name}", "onnx")
    from bittailor.read.onnx import read

    return read(path, input_features)


def from_keras(model: Any) -> Network:
    """Read a Keras 3 model, of any backend, into a Network that computes the same function.

    model     Sequential, or functional and one chain of layers, of input (items, steps, features); it is not changed
    Returns   as `from_torch`; what was read is compared with the model
    Raises    UnsupportedNetwork for what cannot be read, by its layer and class
    """
    from bittailor.read.keras import read

    return read(model)


def from_arrays(layers: Sequence[Any]) -> Network:
    """Make a Network of layers given as arrays, in torch's convention; `docs/reading.md` has a table of others.

    layers    from the input to the output, each one of

              ("gru" | "gru_cho" | "lstm", weight_ih, weight_hh[, bias_ih[, bias_hh[, weight_hr]]])
                  weight_ih [gates * units, inputs], weight_hh [gates * units, units], biases [gates * units] or None;
                  gates are r, z, n and i, f, g, o; weight_hr [outputs, units] projects the output of an lstm. Two
                  tuples of such arrays are two directions, their outputs side by side. A last {"h": [units]}, of an
                  lstm also "c", says what a direction's states start at; 0.0 without it
              ("linear", weight [outputs, inputs][, bias [outputs]])
              "last", "first", "mean"   of the steps; "final": the final state of the layer in front, in each direction
              "relu", "tanh", …         functions

    Returns   as `from_torch`
    Raises    UnsupportedNetwork for arrays that do not fit, by the place of the layer

    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> gru = ("gru", rng.normal(size=(24, 3)), rng.normal(size=(24, 8)), np.zeros(24), np.zeros(24))
    >>> network = from_arrays([gru, "last", ("linear", rng.normal(size=(2, 8)))])
    >>> network.features, network([[[1.0, 2.0, 3.0]]]).shape
    (3, (1, 2))
    """
    from bittailor.read.arrays import read

    return read(layers)


def _need(module: str, what: str, extra: str) -> None:
    """BittailorError, in one line, where a module is not installed."""
    if find_spec(module) is None:
        raise BittailorError(f"{what}; install it with: pip install 'bittailor[{extra}]'")


__all__ = ["from_arrays", "from_keras", "from_onnx", "from_torch"]
