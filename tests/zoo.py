"""Networks as their public originals are written, small: what of them is read, and that it runs everywhere alike.

A new one is a class (in `zoo_sound.py`, `zoo_series.py` or `zoo_layers.py`) and a line in `ZOO`. The classes follow the
forward of the published code or paper that is named, at a fraction of its size and with random weights. `python
tests/zoo.py` writes results/zoo.csv, from which docs/reading.md is made; `tests/common/test_every_network.py` tests the
same and that the file is up to date.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 (what PyTorch's own pages call it)

from bittailor.core.graph import Node
from bittailor.core.network import Network
from bittailor.errors import UnsupportedNetwork
from bittailor.read import from_torch
from zoo_layers import (
    ConvolutionsThenGru,
    Gru4Rec,
    LearnedStates,
    MinGruRms,
    NsNet2Norm,
    RnNoiseConv,
    Sentiment,
    SeparableKeyword,
    Streaming,
    rnnoise_valid,
)
from zoo_series import (
    Activity,
    Attention,
    Autoencoder,
    BatteryCharge,
    CellLoop,
    CharRnn,
    DeepAr,
    Ecg,
    Elman,
    EventCount,
    Forecaster,
    MinGruStack,
    ProjectedLstm,
    Residual,
    SruClassifier,
    Tagger,
)
from zoo_sound import (
    DeepSpeech2,
    DeepSpeech2Conv,
    KeywordGru,
    KeywordStack,
    LightGru,
    NsNet,
    NsNet2,
    RnNoise,
    SpeakerEncoder,
    VoiceActivity,
)

RESULT = Path(__file__).resolve().parents[1] / "results" / "zoo.csv"
ITEMS, STEPS = 6, 12


@dataclass(frozen=True)
class Entry:
    """A network of the zoo.

    title     what people call it
    make      builds the module
    features  of its input; None where a layer says it
    layout    of its input, the axes of [items, steps, features] in their order; two of one feature
    refused   what the message says, for one that is not read
    data      makes [items, steps, features] of random numbers; those themselves if not given
    softmax   what stands behind its outputs and is left away
    onnx      why its file, by torch's exporter, is not read as the module is; empty where it is
    keras     whether `zoo_keras.py` has it, too, read as the module is
    """

    title: str
    make: Callable[[], nn.Module]
    features: int | None = None
    layout: tuple[int, ...] = (0, 1, 2)
    refused: str = ""
    data: Callable[[np.ndarray], np.ndarray] | None = None
    softmax: Callable[..., Tensor] | None = None
    onnx: str = ""
    keras: bool = False


UNROLLED, TAKEN_APART = "its loop is unrolled", "its layers are taken apart"
NOT_WRITTEN = "the exporter refuses it"
FEATURES_FIRST, STEPS_FIRST = (0, 2, 1), (1, 0, 2)
ZOO: dict[str, Entry] = {
    "keyword_gru": Entry("keyword spotting, GRU", KeywordGru, keras=True),
    "keyword_stack": Entry("keyword spotting, BatchNorm1d, 2 layers, mean", KeywordStack, layout=FEATURES_FIRST,
                           softmax=F.softmax, keras=True),
    "rnnoise": Entry("RNNoise (2018), gains and voice activity", RnNoise),
    "nsnet2": Entry("NSNet2", NsNet2, keras=True),
    "nsnet": Entry("NSNet, statistics as buffers", NsNet),
    "deepspeech2": Entry("DeepSpeech2, summed directions, BatchNorm1d", DeepSpeech2, softmax=F.log_softmax),
    "deepar": Entry("DeepAR, mean and deviation", DeepAr),
    "forecaster": Entry("forecaster of one series, LSTM", Forecaster, 1, (0, 1)),
    "residual": Entry("forecaster of a change, GRU", Residual),
    "tagger": Entry("sequence labelling, bidirectional LSTM", Tagger, softmax=F.log_softmax, keras=True),
    "projected_lstm": Entry("LSTM with projection", ProjectedLstm, onnx=NOT_WRITTEN),
    "sru": Entry("SRU, maximum over steps", SruClassifier, onnx=TAKEN_APART),
    "mingru": Entry("minGRU, residuals, GELU", MinGruStack, onnx=TAKEN_APART),
    "ecg": Entry("ECG, mean and maximum, PReLU", Ecg),
    "activity": Entry("human activity, 2 LSTMs, steps first", Activity),
    "elman": Entry("system identification, nn.RNN of ReLUs", Elman, data=lambda x: 20.0 + 10.0 * x),
    "char_rnn": Entry("names of languages, nn.RNN", CharRnn, layout=STEPS_FIRST, softmax=F.log_softmax, keras=True),
    "battery": Entry("state of charge, LSTM, clamp", BatteryCharge, keras=True),
    "vad": Entry("voice activity, [items, features, steps], ReLU6", VoiceActivity, layout=FEATURES_FIRST),
    "cell_loop": Entry("time sequence prediction, LSTMCells in a loop", CellLoop, 1, (0, 1), onnx=UNROLLED),
    "ligru": Entry("light GRU, phones", LightGru, onnx=TAKEN_APART),
    "event_count": Entry("counting events, sum over steps", EventCount),
    "rnnoise_conv": Entry("RNNoise 0.2, Conv1d with silence in front", RnNoiseConv),
    "rnnoise_valid": Entry("RNNoise 0.2 as published, Conv1d without padding", rnnoise_valid),
    "nsnet2_norm": Entry("NSNet2 with LayerNorm", NsNet2Norm, keras=True),
    "gru4rec": Entry("GRU4Rec, Embedding", Gru4Rec, layout=(0, 1), data=lambda x: indices(x, 60), keras=True),
    "sentiment": Entry("sentiment, Embedding, both directions", Sentiment, layout=(0, 1),
                       data=lambda x: indices(x, 80), keras=True),
    "tcn_gru": Entry("TCN blocks and a GRU", ConvolutionsThenGru, layout=FEATURES_FIRST),
    "separable": Entry("keyword spotting, depthwise separable Conv1d", SeparableKeyword, keras=True),
    "mingru_rms": Entry("language model, Embedding, RMSNorm, residual", MinGruRms, layout=(0, 1),
                        data=lambda x: indices(x, 50), onnx=NOT_WRITTEN),
    "learned_states": Entry("sequence labelling, LSTM with learned initial states", LearnedStates),
    "streaming": Entry("enhancement in a stream, state in and out, learned start", Streaming),
    "deepspeech2_conv": Entry("DeepSpeech2 with Conv2d", DeepSpeech2Conv, 13, refused=r"'conv' \(Conv2d\)"),
    "attention": Entry("GRU with attention over steps", Attention, refused="a softmax over the steps is attention"),
    "speaker": Entry("speaker encoder GE2E", SpeakerEncoder, refused="a division by values"),
    "autoencoder": Entry("LSTM autoencoder", Autoencoder, refused="values of one step are not copied"),
}


def indices(x: np.ndarray, rows: int) -> np.ndarray:
    """Row numbers out of random numbers."""
    return np.floor(np.abs(x) * 997) % rows


def made(name: str) -> nn.Module:
    """The module, with random weights and statistics."""
    torch.manual_seed(sum(map(ord, name)))
    module = ZOO[name].make()
    for part in module.modules():
        if isinstance(part, nn.BatchNorm1d):
            for values in (part.running_mean, part.weight.data, part.bias.data):
                values.copy_(torch.randn(part.num_features) * 0.3 + 0.5)
            part.running_var.copy_(torch.rand(part.num_features) + 0.5)
    return module.eval()


def inputs(name: str, network: Network, seed: int = 0) -> np.ndarray:
    """Random sequences for it."""
    x = np.random.default_rng(seed).normal(size=(ITEMS, STEPS, network.features))
    data = ZOO[name].data
    return x if data is None else data(x)


def float_difference(name: str, network: Network) -> float:
    """The largest difference from the module in float32, as a share of the largest output."""
    entry, x = ZOO[name], torch.from_numpy(inputs(name, network)).float()
    given = x[:, :, 0] if len(entry.layout) == 2 else x.permute(entry.layout)
    index = network.graph.sites[network.graph.inputs[0]].role == "index"
    with torch.no_grad():
        wanted = made(name)(given.long() if index else given)
    got, worst = torch.from_numpy(network(x.numpy())), 0.0
    columns = list(network.parts.values()) or [slice(None)]
    outputs = wanted[: len(columns)] if isinstance(wanted, tuple) else (wanted,)  # without states behind them
    for part, there in zip(columns, outputs, strict=True):
        mine = got[..., part] if entry.softmax is None else entry.softmax(got[..., part], dim=-1)
        worst = max(worst, float((mine.reshape(there.shape) - there).abs().max() / there.abs().max()))
    return worst


def read_as(network: Network) -> str:
    """Its operators and layers, in order."""
    return " ".join(step.op if isinstance(step, Node) else step.cell for step in network.graph.steps)


def row(name: str) -> dict[str, str]:
    """What the table says of it; the integers of engines and exported C are what the test compares."""
    entry = ZOO[name]
    try:
        network = from_torch(made(name), entry.features)
    except UnsupportedNetwork as error:
        message = re.sub(r" at zoo\w*\.py:\d+", "", str(error).splitlines()[0])
        return {"name": name, "network": entry.title, "read": "no", "as": message, "difference": "", "onnx": "",
                "keras": ""}
    difference = float_difference(name, network)
    bound = next(bound for bound in ("1e-06", "1e-05", "1e-04", "1") if difference <= float(bound))
    return {"name": name, "network": entry.title, "read": "yes", "as": read_as(network), "difference": bound,
            "onnx": entry.onnx or "alike", "keras": "alike" if entry.keras else ""}


def main() -> None:
    """Write results/zoo.csv."""
    rows = [row(name) for name in ZOO]
    with RESULT.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    print(RESULT)


if __name__ == "__main__":
    main()
