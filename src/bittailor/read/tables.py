"""What of PyTorch is read, as tables: modules and functions, and what to say of those that are not."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from bittailor.read.functions import FUNCTIONS
from bittailor.read.recurrent import NAMES


@dataclass(frozen=True)
class Activation:
    """An activation that is an operator here.

    op       the operator's name in `OPS`
    module   its module
    names    its names as function or method
    """

    op: str
    module: type[nn.Module]
    names: tuple[str, ...]

    @property
    def options(self) -> tuple[tuple[str, float], ...]:
        """As in `FUNCTIONS`."""
        return FUNCTIONS[self.op]


ACTIVATIONS = (
    Activation("relu", nn.ReLU, ("relu",)),
    Activation("sigmoid", nn.Sigmoid, ("sigmoid", "expit")),
    Activation("tanh", nn.Tanh, ("tanh",)),
    Activation("hardtanh", nn.Hardtanh, ("hardtanh",)),
    Activation("hardsigmoid", nn.Hardsigmoid, ("hardsigmoid",)),
    Activation("softsign", nn.Softsign, ("softsign",)),
    Activation("silu", nn.SiLU, ("silu",)),
    Activation("softplus", nn.Softplus, ("softplus",)),
    Activation("elu", nn.ELU, ("elu",)),
    Activation("leaky_relu", nn.LeakyReLU, ("leaky_relu",)),
)

IGNORED_MODULES = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.AlphaDropout, nn.FeatureAlphaDropout)
"""Modules that do nothing in evaluation."""

SOFTMAX: dict[type[nn.Module], str] = {nn.Softmax: "softmax", nn.LogSoftmax: "log_softmax"}
"""Left away at the end of a network; refused elsewhere."""

SUPPORTED = (
    f"  what can be read: {NAMES}, nn.Linear, nn.Conv1d, nn.Embedding, nn.LayerNorm, nn.RMSNorm, "
    "nn.Sequential, dropout, "
    + ", ".join(a.module.__name__ for a in ACTIVATIONS)
    + ", last or mean step, +, -, *, cat (docs/reading.md)"
)

HINTS: dict[str, str] = {
    "RNN": "of PyTorch's recurrent layers nn.GRU and nn.LSTM are known; train one in its place",
    "RNNCellBase": "a cell of one step; use nn.GRU or nn.LSTM, which have the loop over the steps inside",
    "_ConvNd": "of convolutions nn.Conv1d over the steps is known; apply others to the data before the network",
    "_BatchNorm": "there is no normalisation layer; a BatchNorm next to a Linear can be folded into its "
                  "weights (torch.nn.utils.fusion)",
    "MultiheadAttention": "there is no attention",
    "PReLU": "its slope is learned; LeakyReLU(0.01) can be read",
    "ReLU6": "its upper bound is 6; Hardtanh (-1..1) and ReLU can be read",
    "GELU": "there is no operator for it; SiLU is the nearest that can be read",
    "argmax": "return the values before argmax; the metric takes the largest",
    "flip": "sequences are not turned round; bidirectional=True runs a layer from the end",
    "stack": "it makes a new axis; torch.cat on the features can be read",
    "max": "there is no maximum over steps; the last step or the mean can be read",
    "amax": "there is no maximum over steps; the last step or the mean can be read",
    "sum": "there is no sum over steps; the mean can be read",
    **dict.fromkeys(("ones", "full", "rand", "randn"), "only zeros can be made; a state starts at zero"),
    "matmul": "use nn.Linear or torch.nn.functional.linear for a product with a matrix",
    "clamp": "Hardtanh (-1..1) and ReLU can be read",
    "half": "half precision would round inside the network; leave the values in float",
    "bfloat16": "half precision would round inside the network; leave the values in float",
    "div": "there is no division; fold the factor into the weights of a layer",
    "truediv": "there is no division; fold the factor into the weights of a layer",
    "neg": "there is no negation; fold it into the weights of a layer, or use a - b",
}
"""By the name of a module's class (or of one above it), or of a function: why not, and what instead."""
