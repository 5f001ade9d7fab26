"""Networks of other libraries become ours: a float network is read into a `Network`; see `docs/reading.md`."""

from __future__ import annotations

from typing import TYPE_CHECKING

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
    try:
        import torch  # noqa: F401
    except ImportError:
        raise BittailorError(
            "reading a PyTorch module needs PyTorch; install it with: pip install 'bittailor[torch]'"
        ) from None
    from bittailor.read.torch import read

    return read(module, input_features)


__all__ = ["from_torch"]
