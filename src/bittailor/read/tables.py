"""What of PyTorch is read, as tables: modules and functions, and what to say of those that are not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from bittailor.read.functions import FUNCTIONS
from bittailor.read.recurrent import NAMES


@dataclass(frozen=True)
class Activation:
    """An activation that is an operator here.

    op       the function's name in `FUNCTIONS`
    module   its module
    names    its names as function or method
    """

    op: str
    module: type[nn.Module]
    names: tuple[str, ...]

    @property
    def options(self) -> tuple[tuple[str, Any], ...]:
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
    Activation("relu6", nn.ReLU6, ("relu6",)),
    Activation("gelu", nn.GELU, ("gelu",)),
    Activation("selu", nn.SELU, ("selu",)),
    Activation("hardswish", nn.Hardswish, ("hardswish",)),
    Activation("mish", nn.Mish, ("mish",)),
    Activation("logsigmoid", nn.LogSigmoid, ("logsigmoid",)),
)

IGNORED_MODULES = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.AlphaDropout, nn.FeatureAlphaDropout)
"""Modules that do nothing in evaluation."""

SOFTMAX: dict[type[nn.Module], str] = {nn.Softmax: "softmax", nn.LogSoftmax: "log_softmax"}
"""Left away at the end of a network; refused elsewhere."""

SUPPORTED = (
    f"  what can be read: {NAMES}, nn.Linear, nn.Conv1d, nn.Embedding, nn.LayerNorm, nn.RMSNorm, "
    "nn.BatchNorm1d, nn.Sequential, dropout, "
    + ", ".join(a.module.__name__ for a in ACTIVATIONS)
    + ", last or mean step, +, -, *, constants, cat (docs/reading.md)"
)

_ATTENTION = ("attention needs all steps before the first output, an exponential and a division; use the last step, "
              "the mean or the maximum over the steps")
_POOLING = "of pooling, that of all steps to one can be read: mean, sum or max over the steps, AdaptiveAvgPool1d(1)"
_COPIES = "values of one step are not copied to others; give the decoder its own input, or keep the encoder alone"
_DIVISION = "a division by values of the data; let the caller divide, or compare without it"

_STATISTICS = ("it takes the statistics of a whole sequence; normalise the data before the network, or use LayerNorm "
               "or RMSNorm over the features of a step, or BatchNorm1d")

HINTS: dict[str, str] = {
    "RNNCellBase": "a cell of one step; use nn.GRU or nn.LSTM, which have the loop over the steps inside",
    "_ConvNd": "of convolutions nn.Conv1d over the steps is known; apply others to the data before the network",
    "_BatchNorm": "only nn.BatchNorm1d over the features is known",
    **dict.fromkeys(("MultiheadAttention", "TransformerEncoderLayer", "TransformerEncoder", "bmm", "einsum",
                     "scaled_dot_product_attention"), _ATTENTION),
    **dict.fromkeys(("_AvgPoolNd", "_MaxPoolNd", "_AdaptiveAvgPoolNd", "_AdaptiveMaxPoolNd", "_LPPoolNd", "avg_pool1d",
                     "max_pool1d", "avg_pool2d", "max_pool2d", "lp_pool1d"), _POOLING),
    "Conv2d": "a convolution over two axes; apply it to the data before the network, or make it one over time of all "
              "frequencies as features",
    **dict.fromkeys(("repeat_interleave", "tile", "expand_as"), _COPIES),
    **dict.fromkeys(("norm", "normalize", "cosine_similarity"), _DIVISION),
    **dict.fromkeys(("_InstanceNorm", "GroupNorm", "instance_norm", "group_norm", "std", "var"), _STATISTICS),
    **dict.fromkeys(("log", "log1p", "log10", "log2", "exp", "sqrt", "rsqrt", "sin", "cos"),
                    "there is no operator for it; apply it to the data before the network"),
    "argmax": "return the values before argmax; the metric takes the largest",
    "flip": "sequences are not turned round; bidirectional=True runs a layer from the end",
    "stack": "it makes a new axis; torch.cat on the features can be read",
    **dict.fromkeys(("rand", "randn"), "a network computes the same for the same data; a state starts at zero, or at "
                    "values of the module's own"),
    "matmul": "one side must be a matrix of the module; two values of the data cannot be multiplied as matrices",
    "reciprocal": "a division by values of the data; dividing by constants can be read",
    "half": "half precision would round inside the network; leave the values in float",
    "bfloat16": "half precision would round inside the network; leave the values in float",
}
"""By the name of a module's class (or of one above it), or of a function: why not, and what instead."""
