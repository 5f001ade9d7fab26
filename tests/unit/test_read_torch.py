"""from_torch: what is read computes what the module computes; what is not read is refused by name."""

from __future__ import annotations

import copy
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F  # noqa: N812 (what PyTorch's own pages call it)
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from bittailor import nn as own
from bittailor.core.ops import OPS
from bittailor.errors import UnsupportedNetwork
from bittailor.read import from_torch
from bittailor.read.functions import operator_of
from bittailor.read.operations import OPERATIONS
from bittailor.read.tables import ACTIVATIONS, HINTS, IGNORED_MODULES, SOFTMAX
from bittailor.tasks.network import LastStepNetwork

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


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 3), st.integers(1, 2), st.booleans(), st.booleans(), st.integers(0, 99))
def test_gru_of_any_kind(layers, directions, bias, batch_first, seed):
    torch.manual_seed(seed)
    layer = gru(layers, directions, batch_first, bias=bias)
    network = from_torch(layer)
    x = data(seed=seed)
    want = run(layer, x, not batch_first)
    want = want if batch_first else want.swapaxes(0, 1)
    np.testing.assert_allclose(network(x), want, rtol=1e-12, atol=1e-12)

    packed = pack_padded_sequence(torch.tensor(x), torch.tensor(LENGTHS), batch_first=True)
    layer = copy.deepcopy(layer).double()
    layer.batch_first = True
    with torch.no_grad():
        want, _ = pad_packed_sequence(layer(packed)[0], batch_first=True)
    np.testing.assert_allclose(network(x, LENGTHS), want.numpy(), rtol=1e-12, atol=1e-12)

    weights = layer.weight_hh_l0.detach().numpy()
    np.testing.assert_array_equal(network.parameters["gru0.W_hn"], weights[2 * HIDDEN:])
    assert ("gru0.b_hn" in network.parameters) == bias


NET = {"gru": gru(), "head": head()}
ONE = {"gru": gru(), "head": nn.Linear(HIDDEN, 1)}
BOTH = {"gru": gru(2, 2), "head": head(2 * HIDDEN)}
DENSE = {"a": head(IN), "b": head(IN), "c": head(IN)}
READ = {
    "last step": (NET, lambda m, x: m.head(m.gru(x)[0][:, -1])),
    "last step, all features": (NET, lambda m, x: m.head(m.gru(x)[0][:, -1, :])),
    "last step, counted": (NET, lambda m, x: m.head(m.gru(x)[0][:, x.shape[1] - 1])),
    "last step, kept": (NET, lambda m, x: m.head(m.gru(x)[0][:, -1:]).squeeze(1)),
    "last step, dots": (NET, lambda m, x: m.head(m.gru(x)[0][..., -1, :])),
    "select": (NET, lambda m, x: m.head(m.gru(x)[0].select(1, -1))),
    "torch.select": (NET, lambda m, x: m.head(torch.select(m.gru(x)[0], 1, -1))),
    "narrow": (NET, lambda m, x: m.head(m.gru(x)[0].narrow(1, -1, 1)).flatten(1)),
    "first step": (NET, lambda m, x: m.head(m.gru(x)[0][:, 0])),
    "mean": (NET, lambda m, x: m.head(m.gru(x)[0].mean(1))),
    "mean dim": (NET, lambda m, x: m.head(m.gru(x)[0]).mean(dim=1)),
    "torch.mean": (NET, lambda m, x: torch.mean(m.head(m.gru(x)[0]), (-2,))),
    "mean kept": (NET, lambda m, x: m.gru(x)[0].mean(1, keepdim=True)[:, 0]),
    "mean of the input": (DENSE, lambda m, x: m.a(x.mean(1))),
    "sequence out": (NET, lambda m, x: m.head(m.gru(x)[0])),
    "h_n": ({**NET, "gru": gru(2)}, lambda m, x: m.head(m.gru(x)[1][-1])),
    "h_n[0]": ({**NET, "gru": gru(2)}, lambda m, x: m.head(m.gru(x)[1][0])),
    "h_n squeezed": (NET, lambda m, x: m.head(m.gru(x)[1].squeeze(0))),
    "h_n squeezed of all": (NET, lambda m, x: m.head(m.gru(x)[1].squeeze())),
    "h_n viewed": (NET, lambda m, x: m.head(m.gru(x)[1].view(-1, HIDDEN))),
    "h_n kept": (NET, lambda m, x: m.head(m.gru(x)[1]).squeeze(0)),
    "called twice": (BOTH, lambda m, x: m.head(torch.cat([m.gru(x)[1][-2], m.gru(x)[1][-1]], 1))),
    "h_n of both": (BOTH, lambda m, x: m.head(both(m.gru(x)[1]))),
    "h_n joined": (BOTH, lambda m, x: m.head(m.gru(x)[1][-2:].transpose(0, 1).reshape(x.size(0), -1))),
    "h_n all joined": ({"gru": gru(2, 2), "head": head(4 * HIDDEN)},
                       lambda m, x: m.head(m.gru(x)[1].permute(1, 0, 2).flatten(1))),
    "h_n by layer": (BOTH, lambda m, x: m.gru(x)[1].view(2, 2, -1, HIDDEN)[-1][1]),
    "h_n by direction": (BOTH, lambda m, x: m.gru(x)[1].view(2, 2, x.size(0), HIDDEN)[:, 1][0]),
    "directions' ends": (BOTH, lambda m, x: m.head(ends(m.gru(x)[0]))),
    "directions' sum": (BOTH, lambda m, x: sum_of(m.gru(x)[0].chunk(2, -1))),
    "directions' product": (BOTH, lambda m, x: product(m.gru(x)[0].split(HIDDEN, 2))),
    "two GRUs": ({"a": gru(1, 2), "b": gru(inputs=2 * HIDDEN)}, lambda m, x: m.b(torch.relu(m.a(x)[0]))[0]),
    "gates by hand": (DENSE, lambda m, x: gated(m.a(x), m.b(x).tanh(), torch.sigmoid(m.c(x)))),
    "torch's arithmetic": (DENSE, lambda m, x: torch.mul(torch.sub(m.a(x), m.b(x)), torch.rsub(m.c(x), 1))),
    "added in place": (DENSE, lambda m, x: added(m.a(x), m.b(x))),
    "residual": ({"a": nn.Linear(IN, IN)}, lambda m, x: m.a(x) + x),
    "dropout": ({"gru": gru(2, dropout=0.5), "drop": nn.Dropout(0.3)},
                lambda m, x: F.dropout(m.drop(m.gru(x)[0]), 0.5, m.training)),
    "no-ops": (DENSE, lambda m, x: m.a(x.contiguous().clone().detach().view(x.shape).to(x.device))),
    "time distributed": (NET, lambda m, x: m.head(m.gru(x)[0].reshape(-1, HIDDEN)).view(*x.shape[:2], -1)),
    "turned twice": ({"g": gru(batch_first=False)}, lambda m, x: m.g(x.permute(1, 0, 2))[0].transpose(0, 1)),
    "zero state": (NET, lambda m, x: m.gru(x, x.new_zeros(1, x.size(0), HIDDEN))[0]),
    "one output": (ONE, lambda m, x: m.head(m.gru(x)[0][:, -1]).squeeze(-1)),
    "one output per step": (ONE, lambda m, x: m.head(m.gru(x)[0])[..., 0]),
    "with states": (NET, lambda m, x: (m.head(m.gru(x)[0]), m.gru(x)[1])),
    "no bias": ({"head": nn.Linear(IN, 2, bias=False)}, lambda m, x: m.head(x)),
    "F.linear": (DENSE, lambda m, x: F.linear(x, m.a.weight, m.a.bias)),
    "unused layers": ({**DENSE, "d": nn.RNN(3, 4), "e": nn.Conv1d(1, 1, 1)}, lambda m, x: m.b(x)),
    "conditions on shapes": (DENSE, lambda m, x: m.a(x if checked(x) else x.flip(1))),
    "LSTM": ({"l": lstm(2, 2), "head": head(2 * HIDDEN)}, lambda m, x: m.head(m.l(x)[0][:, -1])),
    "LSTM's h_n": ({"l": lstm(2), "head": head()}, lambda m, x: m.head(m.l(x)[1][0][-1])),
    "LSTM's c_n": ({"l": lstm(2, 2), "head": head()}, lambda m, x: m.head(m.l(x)[1][1][-1])),
    "LSTM's h and c": ({"l": lstm(proj_size=2)}, lambda m, x: torch.cat([s[-1] for s in m.l(x)[1]], -1)),
    "LSTM's states alone": ({"l": lstm()}, lambda m, x: m.l(x)[1]),
    "LSTM's zeros": ({"l": lstm()}, lambda m, x: m.l(x, (x.new_zeros(1, 3, 4), x.new_zeros(1, 3, 4)))[0]),
    "LSTM with states": ({"l": lstm(2)}, lambda m, x: m.l(x)),
    "LSTM unpacked": ({"l": lstm()}, lambda m, x: unpacked(*m.l(x))),
    "SRU": ({"s": sru(3, 2, projection=2), "head": head(2 * HIDDEN)}, lambda m, x: m.head(m.s(x)[0].mean(1))),
    "SRU's h_n": ({"s": sru(2, 2), "head": head(2 * HIDDEN)}, lambda m, x: m.head(both(m.s(x)[1]))),
    "SRU of SRU": ({"a": sru(1, 2), "b": sru(inputs=2 * HIDDEN)}, lambda m, x: m.b(m.a(x)[0])[0]),
    "LiGRU": ({"l": own.LiGRU(IN, HIDDEN, 2, bidirectional=True)}, lambda m, x: m.l(x)[0]),
    "minGRU": ({"l": own.MinGRU(IN, HIDDEN, 2)}, lambda m, x: m.l(x)[1][-1]),
    "Cho's GRU": ({"l": own.GRUCho(IN, HIDDEN, batch_first=False)},
                  lambda m, x: m.l(x.transpose(0, 1))[0].transpose(0, 1)),
    "RNN": ({"r": nn.RNN(IN, HIDDEN, 2, bidirectional=True, batch_first=True)}, lambda m, x: m.r(x)[0]),
    "RNN of relus": ({"r": nn.RNN(IN, HIDDEN, 2, "relu", batch_first=True)}, lambda m, x: m.r(x)[1][-1]),
    "sum": (NET, lambda m, x: m.head(m.gru(x)[0].sum(1))),
    "torch.sum": (NET, lambda m, x: torch.sum(m.gru(x)[0], dim=1, keepdim=True)[:, 0]),
    "max": (NET, lambda m, x: m.head(m.gru(x)[0].max(1)[0])),
    "max values": (NET, lambda m, x: m.head(torch.max(m.gru(x)[0], dim=1).values)),
    "amax": (NET, lambda m, x: m.gru(x)[0].amax(1)),
    "adaptive pooling": (NET, lambda m, x: m.head(F.adaptive_max_pool1d(m.gru(x)[0].transpose(1, 2), 1).squeeze(-1))),
    "adaptive mean": (NET, lambda m, x: m.head(F.adaptive_avg_pool1d(m.gru(x)[0].transpose(1, 2), 1).flatten(1))),
    "all in a row": ({"a": lstm(), "b": own.LiGRU(HIDDEN, 5), "c": own.MinGRU(5, 3), "d": sru()},
                     lambda m, x: m.d(m.c(m.b(m.a(x)[0])[0])[0])[0]),
    "flatten_parameters": (NET, lambda m, x: (m.gru.flatten_parameters(), m.gru(x)[0])[1]),
}


def unpacked(out, states):
    h, c = states
    return torch.relu(out[:, -1]) + h[-1] * c[0]


def both(h):
    return torch.cat((h[-2, :, :], h[-1, :, :]), dim=-1)


def ends(out):
    return torch.cat([out[:, -1, :HIDDEN], out[:, 0, HIDDEN:]], dim=1)


def sum_of(parts):
    return (parts[0] + parts[1])[:, -1]


def product(parts):
    return (parts[0] * parts[1]).mean(1)


def gated(a, b, z):
    return (1 - z) * a + z * b


def added(a, b):
    a += b
    return a


def checked(x):
    assert x.ndim == 3
    if x.dim() not in (2, 3) or x.size(-1) != IN:
        raise ValueError("a wrong shape")
    items, steps, _ = x.shape
    return x.shape[1] == steps and x.size(0) == items


@pytest.mark.filterwarnings("ignore:LSTM with projections")  # torch's own, in single precision
@pytest.mark.parametrize("name", READ)
def test_what_is_read_equals_the_module(name):
    layers, forward = READ[name]
    assert_equal(Net(forward, **layers))


@pytest.mark.parametrize("forward", [
    lambda m, x: m.head(m.gru(x)[0][-1]),
    lambda m, x: m.head(m.gru(x)[0].mean(0)),
    lambda m, x: m.head(m.gru(x)[1][-1]),
    lambda m, x: m.head(m.gru(x)[0]),
])
def test_steps_first(forward):
    network = assert_equal(Net(forward, gru=gru(batch_first=False), head=head()), steps_first=True)
    assert network.graph.inputs == ("input",)


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=lambda a: a.op)
def test_every_activation(activation):
    assert operator_of(activation.op, {})[0] in OPS
    assert_equal(Net(lambda m, x: m.act(m.head(x)), head=head(IN), act=activation.module()))
    for name in activation.names:
        for space in (F, torch, torch.special):
            if f := getattr(space, name, None):
                network = assert_equal(Net(lambda m, x, f=f: f(m.head(x)), head=head(IN)))
                assert network.output == activation.names[0]
        if hasattr(torch.Tensor, name):
            assert_equal(Net(lambda m, x, name=name: getattr(m.head(x), name)(), head=head(IN)))


def test_names():
    inner = nn.Sequential(nn.Linear(2 * HIDDEN, 5), nn.ReLU(), nn.Linear(5, 2))
    module = Net(lambda m, x: m.head(F.relu(torch.relu(m.act(m.gru(x)[0][:, -1])))),
                 gru=gru(2, 2), act=nn.Tanh(), head=inner)
    network = assert_equal(module)
    outer = [step.name if hasattr(step, "cell") else step.output for step in network.graph.steps]
    assert outer == ["gru0", "gru0.rev", "gru0.out", "gru1", "gru1.rev", "gru1.out", "last", "act", "relu",
                     "relu_1", "head.0.linear.out", "head.1.relu", "head.2.linear.out"]
    assert {"head.0.linear.W", "head.0.linear.b", "gru1.rev.W_hn", "gru0.rev.b_r"} <= set(network.parameters)
    assert network.features == IN


def test_names_that_end_in_digits_and_nesting():
    class Encoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.gru2 = gru()

        def forward(self, x):
            return torch.tanh(self.gru2(x)[0])

    network = assert_equal(Net(lambda m, x: m.encoder(x), encoder=Encoder()))
    assert network.output == "encoder.tanh"
    assert network.graph.steps[0].name == "encoder.gru2.l0"


def test_a_layer_called_twice_is_read_twice():
    module = Net(lambda m, x: m.gru(m.act(m.gru(m.act(m.a(m.a(x))))[0]))[0], gru=gru(inputs=4), act=nn.ReLU(),
                 a=nn.Linear(4, 4))
    network = assert_equal(module, features=4)
    assert {"a.W", "a_1.W", "gru0.W_ir", "gru_1.l0.W_ir"} <= set(network.parameters)
    assert {"act", "act_1"} <= set(network.graph.sites)


def test_only_what_the_output_needs_is_kept():
    module = Net(lambda m, x: m.gru(x)[1][-2], gru=gru(2, 2))
    network = assert_equal(module)
    names = set(network.graph.sites)
    assert "gru1.W_ir" in names
    assert not any(name.startswith("gru1.rev") or name == "gru1.out" for name in names)
    assert set(network.parameters) <= names


def test_softmax_at_the_end_is_left_away():
    module = Net(lambda m, x: m.head(m.gru(x)[0][:, -1]), gru=gru(), head=head())
    plain = from_torch(module)(data())
    ends = [lambda m, y: m.end(y)] * 2 + [lambda m, y: F.softmax(y, dim=1), lambda m, y: y.log_softmax(-1)]
    for end, layer in zip(ends, [nn.Softmax(-1), nn.LogSoftmax(1), None, None], strict=True):
        network = from_torch(Net(lambda m, x, end=end: end(m, m.head(m.gru(x)[0][:, -1])), gru=module.gru,
                                 head=module.head, end=layer))
        np.testing.assert_array_equal(network(data()), plain)
        assert network.output == "head.out"


def test_code_that_makes_single_precision_tensors():
    def forward(m, x):
        h = torch.zeros(1, x.size(0), HIDDEN).to(x.device).requires_grad_()
        return m.head(m.gru(x.float(), h)[0][:, -1])

    module = Net(forward, gru=gru(), head=head())
    want = run(module, data(), dtype=torch.float32)
    np.testing.assert_allclose(from_torch(module)(data()), want, atol=1e-5)


class Pick(nn.Module):
    """What people put behind a GRU in nn.Sequential."""

    def forward(self, pair):
        out, _ = pair
        return out[:, -1]


def test_modules_as_people_write_them():
    assert_equal(nn.Sequential(gru(), Pick(), nn.Linear(HIDDEN, 5), nn.Dropout(), nn.ReLU(), nn.Linear(5, 2)))
    assert_equal(nn.Sequential(nn.Sequential(nn.Linear(IN, 5), nn.SiLU()), nn.Identity()))
    assert_equal(nn.Linear(IN, 2))
    layers = nn.ModuleList([gru(), gru(inputs=HIDDEN), gru(inputs=HIDDEN)])

    def stacked(m, x):
        for i, layer in enumerate(m.layers):
            y, _ = layer(x)
            x = y + x if i else y
        return m.head(x.mean(dim=1))

    network = assert_equal(Net(stacked, layers=layers, head=head()))
    assert [step.name for step in network.graph.steps if hasattr(step, "cell")] == [
        "layers.0.gru0", "layers.1.gru0", "layers.2.gru0"]
    normed = nn.utils.parametrizations.weight_norm(nn.Linear(IN, 2))
    assert_equal(Net(lambda m, x: m.head(x), head=normed))
    assert_equal(torch.nn.DataParallel(nn.Linear(IN, 2)).module)


def last_valid(m, x, lengths):
    return m.head(m.gru(x)[0][torch.arange(x.size(0)), lengths - 1])


def gathered(m, x, lengths):
    out = m.gru(x)[0]
    return m.head(out.gather(1, (lengths - 1).view(-1, 1, 1).expand(-1, 1, out.size(2))).squeeze(1))


def along(m, x, lengths):
    return m.head(torch.take_along_dim(m.gru(x)[0], (lengths - 1)[:, None, None], dim=1)[:, 0])


def packed_states(m, x, lengths):
    h = m.gru(pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False))[1]
    return m.head(torch.cat([h[-2], h[-1]], 1))


def packed_sequence(m, x, lengths):
    packed = pack_padded_sequence(x, lengths, batch_first=True)
    out, _ = pad_packed_sequence(m.gru(packed)[0], batch_first=True)
    return m.head(out)


def last_or_gathered(m, x, lengths):
    out, _ = m.gru(x)
    return m.head(out[:, -1] if lengths is None else out[torch.arange(len(x)), lengths - 1])


def states_or_packed(m, x, lengths):
    if lengths is not None:
        x = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    return m.head(both(m.gru(x)[1]))


def given_lengths(m, x, lengths):
    return m.head(both(m.gru(x, lengths)[1]))


@pytest.mark.parametrize("layer", [own.GRUCho, own.LiGRU, own.MinGRU, own.SRU])
@pytest.mark.parametrize("forward", [packed_states, packed_sequence, given_lengths])
def test_lengths_of_other_cells(layer, forward):
    module = WithLengths(forward, gru=layer(IN, HIDDEN, 2, bidirectional=True), head=head(2 * HIDDEN))
    network = from_torch(module)
    want, got = run(module, data(), lengths=torch.tensor(LENGTHS)), network(data(), LENGTHS)
    if got.ndim == 3:
        mask = np.arange(6)[None, :] < LENGTHS[:, None]
        want, got = want[mask], got[mask]
    np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-12)


def test_an_lstm_over_packed_sequences():
    def forward(m, x, lengths):
        packed = pack_padded_sequence(x, lengths, batch_first=True)
        return torch.cat([m.l(packed)[1][0][-1], m.l(packed)[1][1][-2]], -1)

    module = WithLengths(forward, l=lstm(2, 2, proj_size=3))
    want = run(module, data(), lengths=torch.tensor(LENGTHS))
    np.testing.assert_allclose(from_torch(module)(data(), LENGTHS), want, rtol=1e-12, atol=1e-12)


def test_a_state_that_nobody_reads_stays_inside():
    network = from_torch(Net(lambda m, x: m.l(x)[0], l=lstm()))
    assert network.graph.steps[0].outputs == ("l0.h",)
    network = from_torch(Net(lambda m, x: m.l(x)[1][1][-1], l=lstm()))
    assert network.graph.steps[0].outputs == ("l0.c",)


@pytest.mark.parametrize(("kind", "forward", "directions"), [
    (WithLengths, last_valid, 1), (WithLengths, gathered, 1), (WithLengths, along, 1),
    (WithLengths, packed_states, 2), (WithLengths, packed_sequence, 2),
    (MaybeLengths, last_valid, 1), (MaybeLengths, last_or_gathered, 1), (MaybeLengths, states_or_packed, 2),
    (WithLengths, states_or_packed, 2),
])
def test_lengths(kind, forward, directions):
    module = kind(forward, gru=gru(1, directions), head=head(directions * HIDDEN))
    network = from_torch(module)
    want = run(module, data(), lengths=torch.tensor(LENGTHS))
    got = network(data(), LENGTHS)
    if got.ndim == 3:  # beyond an item's length nothing is promised
        mask = np.arange(6)[None, :] < LENGTHS[:, None]
        want, got = want[mask], got[mask]
    np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-12)


def test_the_network_of_the_tasks():
    module = LastStepNetwork(IN, HIDDEN, 2)
    network = assert_equal(module)
    want = run(module, data(), lengths=torch.tensor(LENGTHS))
    np.testing.assert_allclose(network(data(), LENGTHS), want, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_the_module_stays_as_it_is(dtype):
    layers = {"gru": gru(2, dropout=0.5), "drop": nn.Dropout(), "head": head()}
    module = Net(lambda m, x: m.head(m.drop(m.gru(x)[0])), **layers)
    module.to(dtype).train()
    module.drop.eval()
    before = {name: values.clone() for name, values in module.state_dict().items()}
    state = torch.get_rng_state()
    network = from_torch(module)
    assert torch.equal(torch.get_rng_state(), state)
    assert module.training
    assert not module.drop.training
    assert all(torch.equal(values, before[name]) for name, values in module.state_dict().items())
    assert all(values.dtype == dtype for values in module.parameters())
    np.testing.assert_allclose(network(data()), run(module, data()), rtol=1e-12, atol=1e-12)


def loop(m, x):
    h = torch.rand(x.size(0), HIDDEN)
    for t in range(x.size(1)):
        h = m.cell(x[:, t], h)
    return h


def on_values(m, x):
    return m.a(x) if x.sum() > 0 else m.b(x)


def late(m, x):
    y = m.a(x)
    y.relu_()
    return y


class OwnGRU(nn.GRU):
    def forward(self, x, hx=None):
        return super().forward(2 * x, hx)


class ChangedSRU(own.SRU):
    def _recur(self, layer, products, own):
        return 2 * super()._recur(layer, products, own)


LAYERS = {
    **DENSE, "gru": gru(), "two": gru(2), "wide": gru(1, 2), "late": gru(batch_first=False, inputs=HIDDEN),
    "head": head(), "lstm": lstm(), "rnn": nn.RNN(IN, HIDDEN), "own": OwnGRU(IN, HIDDEN), "sru": own.SRU(IN, HIDDEN),
    "changed": ChangedSRU(IN, HIDDEN),
    "emb": nn.Embedding(9, IN), "conv": nn.Conv1d(IN, IN, 3), "norm": nn.BatchNorm1d(IN),
    "layer": nn.GroupNorm(1, IN),
    "gelu": nn.GELU(), "leaky": nn.LeakyReLU(0.2), "relu6": nn.ReLU6(), "cell": nn.GRUCell(IN, HIDDEN),
    "seven": nn.Linear(7, 2), "mu": nn.Parameter(torch.zeros(IN)),
}
REFUSED = {
    "own SRU": (lambda m, x: m.changed(x)[0], r"'changed' \(ChangedSRU\).*forward of its own; only bittailor.nn.SRU's"),
    "LSTM's state": (lambda m, x: m.lstm(x, m.lstm(x)[1])[0], r"'lstm' \(LSTM\): .*initial state"),
    "SRU's lengths": (lambda m, x: m.sru(x, m.sru(x)[1])[0], r"'sru' \(SRU\): its lengths must be"),
    "own GRU": (lambda m, x: m.own(x)[0], r"'own' \(OwnGRU\).*forward of its own"),
    "embedding": (lambda m, x: m.gru(m.emb(x))[0], r"'emb' \(Embedding\)"),
    "group norm": (lambda m, x: m.layer(x), r"'layer' \(GroupNorm\).*normalise the data before"),
    "loop": (loop, r"rand\(\).*at zero"),
    "values": (on_values, r"cannot decide a condition at test_read_torch"),
    "in place": (late, r"relu_\(\) at .*changes a tensor in place"),
    "initial state": (lambda m, x: m.gru(x, torch.rand(1, x.size(0), HIDDEN))[0], r"rand\(\).*at zero"),
    "state of another": (lambda m, x: m.gru(x, m.gru(x)[1])[0], r"'gru' \(GRU\): .*initial state"),
    "hidden size": (lambda m, x: m.seven(m.gru(x)[0]),
                    r"'seven' \(Linear\): in_features=7, but its input 'gru0.h' has 4 features"),
    "GRU's input": (lambda m, x: m.gru(m.wide(x)[0])[0],
                    r"'gru' \(GRU\): input_size=3, but its input 'wide0.out' has 8 features"),
    "other step": (lambda m, x: m.gru(x)[0][:, 2], r"getitem\(\).*\[2\] on the steps"),
    "some steps": (lambda m, x: m.gru(x[:, 1:-1])[0], r"\[1:-1\] on the steps"),
    "statistics": (lambda m, x: m.a(x.std(1)), r"std\(\).*normalise the data before"),
    "logarithm": (lambda m, x: m.a(torch.log(x)), r"log\(\).*apply it to the data before"),
    "mean off each step": (lambda m, x: m.a(x - x.mean(1, keepdim=True)), r"sub\(\).*cannot meet each step"),
    "an item": (lambda m, x: m.gru(x)[0][-1], r"\[-1\] picks from the items"),
    "mixed layouts": (lambda m, x: m.late(m.gru(x)[0])[0], r"batch_first=.* takes \[.*\] but is given"),
    "mean of all": (lambda m, x: m.gru(x)[0].mean(), r"mean\(\).*the mean over steps"),
    "mean of features": (lambda m, x: m.gru(x)[0].mean(-1), r"mean\(\).*dim=-1"),
    "flattened": (lambda m, x: m.head(m.gru(x)[0].flatten(1)), r"flatten\(\).*last step"),
    "maximum of features": (lambda m, x: m.gru(x)[0].max(-1)[0], r"max\(\).*dim=-1"),
    "which step": (lambda m, x: m.a(m.gru(x)[0].max(1)[1]), r"Linear.*argmax"),
    "flip": (lambda m, x: m.gru(x.flip(1))[0], r"flip\(\).*bidirectional=True"),
    "broadcast": (lambda m, x: m.gru(x)[0] * m.gru(x)[0][:, -1:], r"nothing is broadcast"),
    "states at once": (lambda m, x: m.head(m.two(x)[1]), r"2 final states.*h_n\[-1\]"),
    "states out": (lambda m, x: m.two(x)[1], r"2 final states"),
    "pair": (lambda m, x: m.head(m.gru(x)), r"'head' \(Linear\).*the pair"),
    "a text beside it": (lambda m, x: (m.a(x), "out"), r"returns \(Tensor, str\)"),
    "dict": (lambda m, x: {"out": m.a(x), "kind": 1}, r"returns dict;"),
    "softmax inside": (lambda m, x: F.softmax(m.a(x), -1) + x, r"add\(\).*softmax"),
    "softmax over steps": (lambda m, x: F.softmax(m.a(x), 1), r"softmax\(\).*over the steps is attention"),
    "always dropping": (lambda m, x: m.a(F.dropout(x, 0.5)), r"dropout\(\).*training=self.training"),
    "argmax": (lambda m, x: m.a(x).argmax(-1), r"argmax\(\).*before argmax"),
    "half": (lambda m, x: m.a(x).to(torch.float16), r"to\(\).*rounds"),
    "nothing": (lambda m, x: x, r"returns its input"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name):
    forward, message = REFUSED[name]
    with pytest.raises(UnsupportedNetwork) as caught:
        from_torch(Net(forward, **LAYERS), IN)
    text = str(caught.value)
    assert re.search(message, text, re.DOTALL), text
    assert len(text.splitlines()) <= 3, text
    assert caught.value.__cause__ is None


def test_modules_that_cannot_be_read():
    module = Net(lambda m, x: m.head(x), head=head(IN))
    module.head.weight.data[0, 1] = np.nan
    with pytest.raises(UnsupportedNetwork, match=r"head.W holds 1 NaN"):
        from_torch(module)
    with pytest.raises(UnsupportedNetwork, match="is not initialised"):
        from_torch(nn.Sequential(nn.LazyLinear(3)))
    with pytest.raises(UnsupportedNetwork, match="meta device"):
        from_torch(nn.Linear(3, 2, device="meta"))
    with pytest.raises(UnsupportedNetwork, match=r"expected a torch.nn.Module; got Tensor"):
        from_torch(torch.zeros(3))
    with pytest.raises(UnsupportedNetwork, match="input_features="):
        from_torch(nn.Sequential(nn.ReLU()))
    with pytest.raises(UnsupportedNetwork, match="input_size=3, but its input 'input' has 5"):
        from_torch(gru(), input_features=5)
    module = Net(lambda m, x: m.head(x), head=head(IN))
    module.head.register_forward_hook(lambda m, x, y: 2 * y)
    with pytest.raises(UnsupportedNetwork, match="differs from it by"):
        from_torch(module)
    assert from_torch(nn.Sequential(nn.ReLU()), input_features=2).output == "0.relu"


def test_padding_that_leaks_is_refused():
    module = MaybeLengths(last_or_gathered, gru=gru(1, 2), head=head(2 * HIDDEN))
    with pytest.raises(UnsupportedNetwork, match=r"with sequences of different lengths"):
        from_torch(module)


def test_the_page_lists_what_the_tables_hold():
    page = (Path(__file__).parents[2] / "docs" / "reading.md").read_text()
    words = {a.module.__name__ for a in ACTIVATIONS} | {name for a in ACTIVATIONS for name in a.names}
    words |= set(OPERATIONS) | set(HINTS) | {m.__name__ for m in (*IGNORED_MODULES, *SOFTMAX)}
    missing = {word for word in words if f"`{word}`" not in page}
    assert not missing


def test_without_torch_importing_stays_light():
    code = "import sys, bittailor.read; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
