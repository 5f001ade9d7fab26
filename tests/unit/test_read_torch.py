"""from_torch: what is read computes what the module computes."""

from __future__ import annotations

import copy
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
from bittailor.read import from_torch
from bittailor.read.functions import operator_of
from bittailor.read.operations import OPERATIONS
from bittailor.read.tables import ACTIVATIONS, HINTS, IGNORED_MODULES, SOFTMAX
from bittailor.tasks.network import LastStepNetwork
from torch_models import DENSE, HIDDEN, IN, LENGTHS, Net, assert_equal, both, data, gru, head, lstm, run, sru


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


def test_a_state_that_nobody_reads_stays_inside():
    network = from_torch(Net(lambda m, x: m.l(x)[0], l=lstm()))
    assert network.graph.steps[0].outputs == ("l0.h",)
    network = from_torch(Net(lambda m, x: m.l(x)[1][1][-1], l=lstm()))
    assert network.graph.steps[0].outputs == ("l0.c",)


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


def test_the_page_lists_what_the_tables_hold():
    page = (Path(__file__).parents[2] / "docs" / "reading.md").read_text()
    words = {a.module.__name__ for a in ACTIVATIONS} | {name for a in ACTIVATIONS for name in a.names}
    words |= set(OPERATIONS) | set(HINTS) | {m.__name__ for m in (*IGNORED_MODULES, *SOFTMAX)}
    missing = {word for word in words if f"`{word}`" not in page}
    assert not missing


def test_without_torch_importing_stays_light():
    code = "import sys, bittailor.read; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
