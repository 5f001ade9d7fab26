"""Networks from arrays: in torch's convention, and those of others brought to it as docs/reading.md says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import bittailor as bt
from bittailor.errors import UnsupportedNetwork

RNG = np.random.default_rng(11)
H, F = 4, 3


def normal(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape)


def gru(inputs: int = F, bias: bool = True) -> tuple[Any, ...]:
    return (normal(3 * H, inputs), normal(3 * H, H), *((normal(3 * H), normal(3 * H)) if bias else ()))


def lstm(inputs: int = F) -> tuple[Any, ...]:
    return (normal(4 * H, inputs), normal(4 * H, H), normal(4 * H), normal(4 * H))


X = normal(2, 5, F)


@pytest.mark.parametrize("kind", ["GRU", "LSTM"])
def test_layers_are_those_of_torch(kind: str) -> None:
    torch = pytest.importorskip("torch")
    layer = getattr(torch.nn, kind)(F, H, num_layers=2, bidirectional=True, batch_first=True).double()
    p = {name: value.detach().numpy() for name, value in layer.named_parameters()}
    both = [(kind.lower(), *(tuple(p[f"{name}_l{i}{end}"] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
                             for end in ("", "_reverse"))) for i in range(2)]
    head = torch.nn.Linear(2 * H, 2).double()
    linear = ("linear", head.weight.detach().numpy(), head.bias.detach().numpy())
    with torch.no_grad():
        out, state = layer(torch.tensor(X))
        h = state[0] if isinstance(state, tuple) else state
        wanted = {"last": out[:, -1], "first": out[:, 0], "mean": out.mean(1), "final": torch.cat([h[2], h[3]], -1)}
        for step, value in wanted.items():
            network = bt.from_arrays([*both, step, linear, "relu"])
            np.testing.assert_allclose(network(X), torch.relu(head(value)).numpy(), atol=1e-12)
    steps = bt.from_arrays([*both, linear])
    assert steps.graph.sites[steps.output].sequence
    assert {f"{kind.lower()}0.h", f"{kind.lower()}1.rev.h", "linear.out"} <= steps.graph.sites.keys()


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def test_flax_cells_are_read_as_the_table_says() -> None:
    """flax.linen.GRUCell: kernels [in, out] ir, iz, in with biases, hr, hz without, hn with one."""
    k = {name: {"kernel": normal(F if name[0] == "i" else H, H)} for name in ("ir", "iz", "in", "hr", "hz", "hn")}
    b = {name: normal(H) for name in ("ir", "iz", "in", "hn")}
    h = np.zeros((len(X), H))
    for t in range(X.shape[1]):
        x = X[:, t]
        r = sigmoid(x @ k["ir"]["kernel"] + b["ir"] + h @ k["hr"]["kernel"])
        z = sigmoid(x @ k["iz"]["kernel"] + b["iz"] + h @ k["hz"]["kernel"])
        n = np.tanh(x @ k["in"]["kernel"] + b["in"] + r * (h @ k["hn"]["kernel"] + b["hn"]))
        h = (1 - z) * n + z * h
    weight_ih = np.concatenate([k[f"i{g}"]["kernel"].T for g in "rzn"])
    weight_hh = np.concatenate([k[f"h{g}"]["kernel"].T for g in "rzn"])
    bias_ih = np.concatenate([b[f"i{g}"] for g in "rzn"])
    bias_hh = np.concatenate([np.zeros(2 * H), b["hn"]])
    np.testing.assert_allclose(bt.from_arrays([("gru", weight_ih, weight_hh, bias_ih, bias_hh), "last"])(X), h,
                               atol=1e-12)


def test_equinox_cells_are_read_as_the_table_says() -> None:
    """equinox.nn.GRUCell: weight_ih, weight_hh [3H, .] in the order r, z, n; bias [3H], bias_n [H]."""
    weight_ih, weight_hh, bias, bias_n = normal(3 * H, F), normal(3 * H, H), normal(3 * H), normal(H)
    h = np.zeros((len(X), H))
    for t in range(X.shape[1]):
        i, g = np.split(X[:, t] @ weight_ih.T + bias, 3, -1), np.split(h @ weight_hh.T, 3, -1)
        r, z = sigmoid(i[0] + g[0]), sigmoid(i[1] + g[1])
        n = np.tanh(i[2] + r * (g[2] + bias_n))
        h = n + z * (h - n)
    given = ("gru", weight_ih, weight_hh, bias, np.concatenate([np.zeros(2 * H), bias_n]))
    np.testing.assert_allclose(bt.from_arrays([given, "last"])(X), h, atol=1e-12)


def test_forms_of_biases_and_lists_of_numbers() -> None:
    W, U, b, _ = gru()
    zero = np.zeros(3 * H)
    assert bt.from_arrays([("gru", W, U, b)])(X).tolist() == bt.from_arrays([("gru", W, U, b, zero)])(X).tolist()
    assert bt.from_arrays([("gru", W, U)]).parameters.keys() == bt.from_arrays([("gru", W, U, None)]).parameters.keys()
    assert bt.from_arrays([("gru", W.tolist(), U.tolist())])(X).tolist() == bt.from_arrays([("gru", W, U)])(X).tolist()
    assert bt.from_arrays([("gru_cho", W, U, b)]).features == F
    projected = ("lstm", normal(4 * H, F), normal(4 * H, 2), normal(4 * H), None, normal(2, H))
    assert bt.from_arrays([projected, "last"])(X).shape == (2, 2)


@pytest.mark.parametrize(("layers", "said"), [
    ([], "list of layers"),
    ("gru", "list of layers"),
    ([("gru",)], "layer 0"),
    ([("rnn", 1, 2)], "layer 0"),
    (["last"], "how wide"),
    ([("gru", normal(12, 3), normal(12, 5))], "weight_hh has shape"),
    ([("gru", normal(11, 3), normal(12, 4))], "expected"),
    ([("gru", normal(12), normal(12, 4))], r"expected \[rows, columns\]"),
    ([("gru", "x", normal(12, 4))], "cannot be read as numbers"),
    ([("gru", *gru()), ("linear", normal(2, 9))], "layer 1.*in_features=9"),
    ([("gru", *gru()), "last", "last"], "layer 2.*no steps left"),
    ([("gru", *gru()), "last", ("gru", *gru(H))], "layer 2"),
    ([("linear", normal(4, 3)), "final"], "not recurrent"),
    ([("gru_cho", *gru())], "one bias"),
    ([("gru", gru(), gru(bias=False))], "different arrays"),
    ([("gru", *gru()), "relux"], "layer 1"),
    ([("gru", *gru()[:3], gru()[3] * np.nan)], "NaN"),
])
def test_what_does_not_fit_is_said_by_layer(layers: Any, said: str) -> None:
    with pytest.raises(UnsupportedNetwork, match=said):
        bt.from_arrays(layers)
