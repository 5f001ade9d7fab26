"""Networks of the zoo that listen: keywords, enhancement, speech and speakers."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 (what PyTorch's own pages call it)

from bittailor import nn as own


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


class SpeakerEncoder(nn.Module):
    """Wan et al., GE2E (2018), as in Real-Time-Voice-Cloning: the embedding is divided by its length."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.linear = nn.LSTM(8, 12, 3, batch_first=True), nn.Linear(12, 12)

    def forward(self, x: Tensor) -> Tensor:
        _, (hidden, _) = self.lstm(x)
        raw = F.relu(self.linear(hidden[-1]))
        return raw / (torch.norm(raw, dim=1, keepdim=True) + 1e-5)
