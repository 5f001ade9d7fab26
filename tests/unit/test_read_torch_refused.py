"""from_torch: what is not read is refused by name, in a few lines."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 (what PyTorch's own pages call it)

from bittailor import nn as own
from bittailor.errors import UnsupportedNetwork
from bittailor.read import from_torch
from torch_models import DENSE, HIDDEN, IN, Net, gru, head, lstm


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
