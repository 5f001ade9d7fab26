"""Networks of the zoo over series of values and labels: forecasts, sensors, text."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 (what PyTorch's own pages call it)

from bittailor import nn as own


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
