"""Networks of the zoo with convolutions over the steps, embeddings and normalisations, as their originals are."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 (what PyTorch's own pages call it)


class RnNoiseConv(nn.Module):
    """RNNoise 0.2 (2024): convolutions in front, three GRUs that are joined, gains and voice activity.

    The published training code convolves without padding and drops the first outputs of the targets; `padding` puts
    silence in front instead, as its C code begins.
    """

    def __init__(self, padding: bool = True) -> None:
        super().__init__()
        self.padding = padding
        self.conv1, self.conv2 = nn.Conv1d(13, 8, 3), nn.Conv1d(8, 12, 3)
        self.gru1, self.gru2, self.gru3 = (nn.GRU(12, 12, batch_first=True) for _ in range(3))
        self.dense_out, self.vad_dense = nn.Linear(48, 8), nn.Linear(48, 1)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        x = features.permute(0, 2, 1)
        x = torch.tanh(self.conv1(F.pad(x, (2, 0)) if self.padding else x))
        x = torch.tanh(self.conv2(F.pad(x, (2, 0)) if self.padding else x)).permute(0, 2, 1)
        g1, _ = self.gru1(x)
        g2, _ = self.gru2(g1)
        g3, _ = self.gru3(g2)
        out = torch.cat([x, g1, g2, g3], dim=-1)
        return torch.sigmoid(self.dense_out(out)), torch.sigmoid(self.vad_dense(out))


def rnnoise_valid() -> nn.Module:
    """As published."""
    return RnNoiseConv(padding=False)


class NsNet2Norm(nn.Module):
    """NSNet2 with a LayerNorm of its input and one between its layers, as copies of it have."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.fc1 = nn.LayerNorm(17), nn.Linear(17, 20)
        self.gru1, self.gru2 = nn.GRU(20, 20, batch_first=True), nn.GRU(20, 20, batch_first=True)
        self.middle = nn.LayerNorm(20)
        self.fc2, self.fc3 = nn.Linear(20, 24), nn.Linear(24, 17)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.fc1(self.norm(x)))
        x, _ = self.gru1(x)
        x, _ = self.gru2(self.middle(x))
        return torch.sigmoid(self.fc3(F.relu(self.fc2(x))))


class Gru4Rec(nn.Module):
    """Hidasi et al., GRU4Rec (2016): items of a session in, a score for each out."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.gru = nn.Embedding(60, 12), nn.GRU(12, 20, batch_first=True)
        self.out = nn.Linear(20, 60)

    def forward(self, items: Tensor) -> Tensor:
        output, _ = self.gru(self.embedding(items))
        return self.out(output[:, -1])


class Sentiment(nn.Module):
    """Words, padded with 0: an embedding, an LSTM in both directions, the last states joined."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(80, 10, padding_idx=0)
        self.lstm, self.fc = nn.LSTM(10, 9, bidirectional=True, batch_first=True), nn.Linear(18, 2)

    def forward(self, text: Tensor) -> Tensor:
        _, (hidden, _) = self.lstm(self.embedding(text))
        return self.fc(torch.cat((hidden[-2], hidden[-1]), dim=1))


class TemporalBlock(nn.Module):
    """Bai et al., temporal convolutional network (2018): padded on both sides, what is too late cut off."""

    def __init__(self, inputs: int, outputs: int, dilation: int) -> None:
        super().__init__()
        self.cut = 2 * dilation
        self.conv1 = nn.Conv1d(inputs, outputs, 3, padding=self.cut, dilation=dilation)
        self.conv2 = nn.Conv1d(outputs, outputs, 3, padding=self.cut, dilation=dilation)
        self.downsample = nn.Conv1d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.conv1(x)[:, :, : -self.cut].contiguous())
        y = F.relu(self.conv2(y)[:, :, : -self.cut].contiguous())
        return F.relu(y + self.downsample(x))


class ConvolutionsThenGru(nn.Module):
    """Two blocks of a temporal convolutional network in front of a GRU, over [items, features, steps]."""

    def __init__(self) -> None:
        super().__init__()
        self.tcn = nn.Sequential(TemporalBlock(6, 8, 1), TemporalBlock(8, 8, 2))
        self.gru, self.fc = nn.GRU(8, 12, batch_first=True), nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.gru(self.tcn(x).transpose(1, 2))[0][:, -1])


class SeparableKeyword(nn.Module):
    """Depthwise separable convolutions (DS-CNN over time) and a GRU, frames of both sides seen."""

    def __init__(self) -> None:
        super().__init__()
        self.depthwise = nn.Conv1d(10, 10, 5, padding="same", groups=10)
        self.pointwise, self.norm = nn.Conv1d(10, 16, 1), nn.BatchNorm1d(16)
        self.gru, self.fc = nn.GRU(16, 14, batch_first=True), nn.Linear(14, 12)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.pointwise(self.depthwise(x.transpose(1, 2)))))
        return self.fc(self.gru(x.transpose(1, 2))[0].mean(dim=1))


class MinGruRms(nn.Module):
    """As minGRU language models are: a table, RMSNorm in front of every layer, residuals."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.norm = nn.Embedding(50, 12), nn.RMSNorm(12, eps=1e-6)
        self.gru, self.last = nn.GRU(12, 12, batch_first=True), nn.RMSNorm(12, eps=1e-6)
        self.head = nn.Linear(12, 50, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.table(tokens)
        x = x + self.gru(self.norm(x))[0]
        return self.head(self.last(x))


class LearnedStates(nn.Module):
    """Sequence labelling whose LSTM begins, in every layer and direction, at states that are trained with it."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(10, 12, 2, batch_first=True, bidirectional=True)
        self.h0, self.c0 = nn.Parameter(torch.randn(4, 1, 12) * 0.4), nn.Parameter(torch.randn(4, 1, 12))
        self.fc = nn.Linear(24, 7)

    def forward(self, x: Tensor) -> Tensor:
        start = tuple(state.expand(-1, x.size(0), -1).contiguous() for state in (self.h0, self.c0))
        return self.fc(self.lstm(x, start)[0])


class Streaming(nn.Module):
    """A frame-wise enhancer as it is called in a stream: it takes the state of the frames before, and returns it.

    Called without one it begins at a state that was trained.
    """

    def __init__(self) -> None:
        super().__init__()
        self.gru, self.first = nn.GRU(12, 14, batch_first=True), nn.Parameter(torch.randn(1, 1, 14) * 0.5)
        self.mask = nn.Linear(14, 12)

    def forward(self, frames: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        if state is None:
            state = self.first.repeat(1, frames.shape[0], 1)
        y, state = self.gru(frames, state)
        return torch.sigmoid(self.mask(y)), state
