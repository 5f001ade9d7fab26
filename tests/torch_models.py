"""Torch modules of a few layers with any forward, and how they are compared with what is read of them."""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import nn

from bittailor import nn as own
from bittailor.read import from_torch

IN, HIDDEN = 3, 4
LENGTHS = np.array([6, 4, 1])


class Net(nn.Module):
    """Any forward over any layers."""

    def __init__(self, forward, **layers):
        super().__init__()
        torch.manual_seed(1)
        for name, layer in layers.items():
            setattr(self, name, layer)
        self.run = forward

    def forward(self, x):
        return self.run(self, x)


class WithLengths(Net):
    def forward(self, x, lengths):
        return self.run(self, x, lengths)


class MaybeLengths(Net):
    def forward(self, x, lengths=None):
        return self.run(self, x, lengths)


def gru(layers=1, directions=1, batch_first=True, inputs=IN, **options):
    return nn.GRU(inputs, HIDDEN, layers, bidirectional=directions == 2, batch_first=batch_first, **options)


def lstm(layers=1, directions=1, inputs=IN, **options):
    return nn.LSTM(inputs, HIDDEN, layers, bidirectional=directions == 2, batch_first=True, **options)


def sru(layers=1, directions=1, inputs=IN, **options):
    return own.SRU(inputs, HIDDEN, layers, bidirectional=directions == 2, **options)


def head(inputs=HIDDEN):
    return nn.Linear(inputs, 2)


def run(module, x, steps_first=False, dtype=torch.float64, **given):
    """The module's own output, on a copy in evaluation mode."""
    module = copy.deepcopy(module).eval().to("cpu", dtype)
    x = torch.tensor(x, dtype=dtype)
    with torch.no_grad():
        y = module(x.swapaxes(0, 1) if steps_first else x, **given)
    return (y[0] if isinstance(y, tuple) else y).double().numpy()


def data(features=IN, items=3, steps=6, seed=0):
    return np.random.default_rng(seed).normal(size=(items, steps, features))


def assert_equal(module, steps_first=False, features=IN):
    """The network equals the module in double and, as it is, in single precision."""
    network = from_torch(module, features)
    x = data(features)
    got = network(x)
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-5)):
        want = run(module, x, steps_first, dtype)
        want = want.swapaxes(0, 1) if steps_first and want.ndim == 3 else want
        np.testing.assert_allclose(got, want.reshape(got.shape), rtol=tolerance, atol=tolerance)
    return network


def both(h):
    return torch.cat((h[-2, :, :], h[-1, :, :]), dim=-1)


DENSE = {"a": head(IN), "b": head(IN), "c": head(IN)}
