"""Networks as their public originals are written, small: what of them is read, and that it runs everywhere alike.

A new one is a class and a line in `ZOO`. The classes follow the forward of the published code or paper that is named,
at a fraction of its size and with random weights. `python tests/zoo.py` writes results/zoo.csv, from which
docs/reading.md is made; `tests/common/test_every_network.py` tests the same and that the file is up to date.
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

from bittailor import nn as own
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

RESULT = Path(__file__).resolve().parents[1] / "results" / "zoo.csv"
ITEMS, STEPS = 6, 12


class KeywordGru(nn.Module):
    """Zhang et al., Hello Edge (2017): a GRU over MFCC frames, scores from its last state."""

    def __init__(self) -> None:
        super().__init__()
        self.gru, self.fc = nn.GRU(10, 24, batch_first=True), nn.Linear(24, 12)

    def forward(self, x: Tensor) -> Tensor:
        _, h = self.gru(x)
        return self.fc(h.squeeze(0))


class KeywordStack(nn.Module):
    """Features before steps, two layers, dropout, the mean over steps, softmax."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.gru = nn.BatchNorm1d(10), nn.GRU(10, 16, 2, batch_first=True, dropout=0.2)
        self.fc, self.drop = nn.Linear(16, 12), nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(x).transpose(1, 2)
        return F.softmax(self.fc(self.drop(self.gru(x)[0].mean(dim=1))), dim=-1)


class RnNoise(nn.Module):
    """Valin, RNNoise (2018): three GRUs, gains of bands and voice activity."""

    def __init__(self) -> None:
        super().__init__()
        self.dense, self.vad_gru = nn.Linear(14, 8), nn.GRU(8, 8, batch_first=True)
        self.noise_gru, self.denoise_gru = nn.GRU(30, 16, batch_first=True), nn.GRU(38, 24, batch_first=True)
        self.gains, self.vad = nn.Linear(24, 6), nn.Linear(8, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        d = torch.tanh(self.dense(x))
        v, _ = self.vad_gru(d)
        n, _ = self.noise_gru(torch.cat([d, F.relu(v), x], dim=-1))
        g, _ = self.denoise_gru(torch.cat([F.relu(v), F.relu(n), x], dim=-1))
        return torch.sigmoid(self.gains(F.relu(g))), torch.sigmoid(self.vad(v))


class NsNet2(nn.Module):
    """Braun et al., NSNet2 (DNS challenge baseline, 2021), without the normalisation layer that some copies have."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(17, 20)
        self.gru1, self.gru2 = nn.GRU(20, 20, batch_first=True), nn.GRU(20, 20, batch_first=True)
        self.fc2, self.fc3, self.fc4 = nn.Linear(20, 24), nn.Linear(24, 24), nn.Linear(24, 17)

    def forward(self, x: Tensor) -> Tensor:
        x, _ = self.gru1(F.relu(self.fc1(x)))
        x, _ = self.gru2(x)
        x = F.relu(self.fc3(F.relu(self.fc2(x))))
        return torch.sigmoid(self.fc4(x))


class NsNet(nn.Module):
    """NSNet (2020): the data's mean and deviation are buffers of the module."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.linspace(-3, 2, 17))
        self.register_buffer("std", torch.linspace(0.5, 2, 17))
        self.gru, self.mask = nn.GRU(17, 16, 3, batch_first=True), nn.Linear(16, 17)

    def forward(self, x: Tensor) -> Tensor:
        return torch.sigmoid(self.mask(self.gru((x - self.mean) / (self.std + 1e-8))[0]))


class SequenceNorm(nn.Module):
    """deepspeech.pytorch's SequenceWise: steps and items on one axis, for a BatchNorm1d."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> Tensor:
        t, n = x.size(0), x.size(1)
        return self.module(x.view(t * n, -1)).view(t, n, -1)


class BatchRnn(nn.Module):
    """A layer of deepspeech.pytorch: normalisation, both directions, their sum."""

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.batch_norm = SequenceNorm(nn.BatchNorm1d(inputs))
        self.rnn = nn.LSTM(inputs, hidden, bidirectional=True, bias=True)

    def forward(self, x: Tensor) -> Tensor:
        x, _ = self.rnn(self.batch_norm(x))
        return x.view(x.size(0), x.size(1), 2, -1).sum(2).view(x.size(0), x.size(1), -1)


class DeepSpeech2(nn.Module):
    """Amodei et al. (2015) as in deepspeech.pytorch, behind its convolutions: steps first, log-probabilities."""

    def __init__(self) -> None:
        super().__init__()
        self.rnns = nn.Sequential(BatchRnn(13, 16), BatchRnn(16, 16))
        self.fc = nn.Sequential(SequenceNorm(nn.Sequential(nn.BatchNorm1d(16), nn.Linear(16, 9, bias=False))))

    def forward(self, x: Tensor) -> Tensor:
        x = x.transpose(0, 1).contiguous()
        x = self.fc(self.rnns(x))
        return F.log_softmax(x.transpose(0, 1), dim=-1)


class DeepSpeech2Conv(DeepSpeech2):
    """The same with a convolution over time and frequency in front."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.conv(x.unsqueeze(1)).squeeze(1))


class DeepAr(nn.Module):
    """Salinas et al., DeepAR (2017): mean and deviation of the next value, at every step."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(5, 20, 2, batch_first=True, dropout=0.1)
        self.mu, self.presigma, self.sigma = nn.Linear(20, 1), nn.Linear(20, 1), nn.Softplus()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h, _ = self.lstm(x)
        h = F.relu(h)
        return self.mu(h).squeeze(-1), self.sigma(self.presigma(h)).squeeze(-1)


class Forecaster(nn.Module):
    """The LSTM of many tutorials: one series [items, steps], the next value."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.linear = nn.LSTM(1, 16, batch_first=True), nn.Linear(16, 1)

    def forward(self, x: Tensor) -> Tensor:
        h0 = torch.zeros(1, x.size(0), 16)
        out, _ = self.lstm(x.unsqueeze(-1), (h0, h0))
        return self.linear(out[:, -1, :])


class Residual(nn.Module):
    """A forecaster that predicts the change, in units of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.gru, self.head = nn.GRU(3, 16, batch_first=True), nn.Linear(16, 3)
        self.register_buffer("scale", torch.tensor([0.5, 2.0, 4.0]))

    def forward(self, x: Tensor) -> Tensor:
        y, _ = self.gru(x / 4.0)
        return x[:, -1] + self.head(y[:, -1]) * self.scale - 0.25


class Tagger(nn.Module):
    """A bidirectional LSTM that labels every step, as for segmentation of gait or strokes."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(6, 12, 2, batch_first=True, bidirectional=True)
        self.out = nn.Linear(24, 5)

    def forward(self, x: Tensor) -> Tensor:
        return F.log_softmax(self.out(self.lstm(x)[0]), dim=2)


class ProjectedLstm(nn.Module):
    """Sak et al. (2014): LSTM with a recurrent projection."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.out = nn.LSTM(8, 24, 2, batch_first=True, proj_size=8), nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.lstm(x)[0])


class SruClassifier(nn.Module):
    """Lei et al., SRU (2018), both directions, maximum over the steps."""

    def __init__(self) -> None:
        super().__init__()
        self.sru, self.out = own.SRU(8, 12, 2, bidirectional=True, projection=6), nn.Linear(24, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.sru(x)[0].max(dim=1)[0])


class MinGruStack(nn.Module):
    """Feng et al., Were RNNs All We Needed? (2024): minGRU with residuals and GELU."""

    def __init__(self) -> None:
        super().__init__()
        self.inp, self.rnn = nn.Linear(4, 12), own.MinGRU(12, 12)
        self.up, self.down, self.out = nn.Linear(12, 24), nn.Linear(24, 12), nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.inp(x)
        x = x + self.rnn(x)[0]
        x = x + self.down(F.gelu(self.up(x)))
        return self.out(x[:, -1])


class Ecg(nn.Module):
    """Both directions of a GRU, mean and maximum over the steps side by side, PReLU."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(2, 10, batch_first=True, bidirectional=True)
        self.fc, self.act, self.norm, self.out = nn.Linear(40, 12), nn.PReLU(12), nn.BatchNorm1d(12), nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        y, _ = self.gru(x)
        pooled = torch.cat([torch.mean(y, 1), torch.amax(y, 1)], dim=1)
        return self.out(self.act(self.norm(self.fc(pooled))))


class Activity(nn.Module):
    """The LSTM of Human Activity Recognition (Chevalier, 2016): steps first, a ReLU layer before two LSTMs."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.lstm, self.out = nn.Linear(9, 16), nn.LSTM(16, 16, 2), nn.Linear(16, 6)

    def forward(self, x: Tensor) -> Tensor:
        x = x.permute(1, 0, 2)
        steps, items, features = x.shape
        x = F.relu(self.hidden(x.reshape(-1, features))).view(steps, items, -1)
        y, _ = self.lstm(x)
        return self.out(y[-1])


class Elman(nn.Module):
    """Identification of a system with nn.RNN: inputs and outputs in physical units."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.out = nn.RNN(2, 12, num_layers=2, nonlinearity="relu", batch_first=True), nn.Linear(12, 1)

    def forward(self, u: Tensor) -> Tensor:
        y, _ = self.rnn((u - 20.0) / 10.0)
        return self.out(y) * 7.5 + 101.3


class CharRnn(nn.Module):
    """The names of PyTorch's tutorial, as nn.RNN over one-hot letters."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.h2o, self.softmax = nn.RNN(12, 16), nn.Linear(16, 5), nn.LogSoftmax(dim=1)

    def forward(self, line: Tensor) -> Tensor:
        _, hidden = self.rnn(line)
        return self.softmax(self.h2o(hidden[0]))


class BatteryCharge(nn.Module):
    """State of charge by an LSTM (Chemali et al., 2017): clamped to what there can be."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.fc = nn.LSTM(3, 16, batch_first=True), nn.Linear(16, 1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.clamp(self.fc(self.lstm(x)[0]), 0.0, 1.0)


class VoiceActivity(nn.Module):
    """A small detector of speech on [items, features, steps]: GRU, ReLU6, sigmoid per step."""

    def __init__(self) -> None:
        super().__init__()
        self.pre = nn.Sequential(nn.Linear(8, 12), nn.ReLU6())
        self.gru, self.out = nn.GRU(12, 12, batch_first=True), nn.Linear(12, 1)

    def forward(self, x: Tensor) -> Tensor:
        y, _ = self.gru(self.pre(x.transpose(1, 2)))
        return torch.sigmoid(self.out(y)).squeeze(-1)


class LightGru(nn.Module):
    """Ravanelli et al. (2018): light GRUs over frames, a score of phones at every step."""

    def __init__(self) -> None:
        super().__init__()
        self.gru, self.out = own.LiGRU(8, 12, 2, bidirectional=True), nn.Linear(24, 9)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.gru(x)[0])


class EventCount(nn.Module):
    """How often something happens in a sequence: a sum of probabilities."""

    def __init__(self) -> None:
        super().__init__()
        self.gru, self.event = nn.GRU(4, 12, batch_first=True), nn.Linear(12, 2)

    def forward(self, x: Tensor) -> Tensor:
        return torch.sigmoid(self.event(self.gru(x)[0])).sum(dim=1)


class Attention(nn.Module):
    """Bahdanau's pooling: softmax over the steps, a weighted sum."""

    def __init__(self) -> None:
        super().__init__()
        self.gru, self.score, self.out = nn.GRU(4, 8, batch_first=True), nn.Linear(8, 1), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        y, _ = self.gru(x)
        weights = F.softmax(self.score(y), dim=1)
        return self.out((weights * y).sum(dim=1))


class SpeakerEncoder(nn.Module):
    """Wan et al., GE2E (2018), as in Real-Time-Voice-Cloning: the embedding is divided by its length."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.linear = nn.LSTM(8, 12, 3, batch_first=True), nn.Linear(12, 12)

    def forward(self, x: Tensor) -> Tensor:
        _, (hidden, _) = self.lstm(x)
        raw = F.relu(self.linear(hidden[-1]))
        return raw / (torch.norm(raw, dim=1, keepdim=True) + 1e-5)


class Autoencoder(nn.Module):
    """Malhotra et al. (2016): the last state of one LSTM is every input of another."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = nn.LSTM(3, 8, batch_first=True), nn.LSTM(8, 3, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        _, (h, _) = self.encoder(x)
        return self.decoder(h[-1].unsqueeze(1).repeat(1, x.size(1), 1))[0]


class CellLoop(nn.Module):
    """The LSTM of PyTorch's time_sequence_prediction example: two cells in a loop, one series, an output a step."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm1, self.lstm2, self.linear = nn.LSTMCell(1, 12), nn.LSTMCell(12, 12), nn.Linear(12, 1)

    def forward(self, x: Tensor) -> Tensor:
        outputs = []
        h1 = c1 = h2 = c2 = torch.zeros(x.size(0), 12)
        for step in x.split(1, dim=1):
            h1, c1 = self.lstm1(step, (h1, c1))
            h2, c2 = self.lstm2(h1, (h2, c2))
            outputs += [self.linear(h2)]
        return torch.cat(outputs, dim=1)


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
        message = re.sub(r" at zoo.py:\d+", "", str(error).splitlines()[0])
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
