"""The torch modules of the cells: each equals its paper's equations, written here once more step by step."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from bittailor.core.cells import CELLS
from bittailor.core.graph import Recurrence
from bittailor.errors import BittailorError
from bittailor.nn import MODULES, SRU, GRUCho, LiGRU, MinGRU, Recurrent
from bittailor.nn.sequences import blend, delayed, rearranged
from bittailor.read import from_torch

OWN = [kind for kind in MODULES.values() if issubclass(kind, Recurrent)]
IN, HIDDEN, STEPS = 3, 4, 6
LENGTHS = [6, 4, 1]
KINDS: dict[str, tuple[Any, dict[str, Any]]] = {
    "gru_cho": (GRUCho, {}), "ligru": (LiGRU, {}), "ligru without": (LiGRU, {"normalise": False}),
    "mingru": (MinGRU, {}), "sru": (SRU, {}), "sru plain": (SRU, {"skip": False}),
    "sru tanh": (SRU, {"activation": "tanh", "rescale": False}),
    "sru projected": (SRU, {"projection": 2, "highway_bias": -1.0}),
    "lstm": (torch.nn.LSTM, {}), "lstm projected": (torch.nn.LSTM, {"proj_size": 2}), "gru": (torch.nn.GRU, {}),
}
Arrays = dict[str, np.ndarray]


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def gates(w: Arrays, x: np.ndarray, count: int) -> list[np.ndarray]:
    y = w["weight_ih"] @ x + w.get("bias_ih", 0.0)
    return np.split(y, count)


def gru_cho(w: Arrays, x: np.ndarray, s: Arrays, **_: Any) -> np.ndarray:
    r, z, n = gates(w, x, 3)
    U_r, U_z, U_n = np.split(w["weight_hh"], 3)
    r, z = sigmoid(r + U_r @ s["h"]), sigmoid(z + U_z @ s["h"])
    s["h"] = (1 - z) * np.tanh(n + U_n @ (r * s["h"])) + z * s["h"]
    return s["h"]


def ligru(w: Arrays, x: np.ndarray, s: Arrays, **_: Any) -> np.ndarray:
    y = w["weight_ih"] @ x
    if "gamma" in w:
        y = (y - w["mean"]) / np.sqrt(w["var"] + 1e-5) * w["gamma"] + w["beta"]
    else:
        y = y + w.get("bias_ih", 0.0)
    z, n = np.split(y + w["weight_hh"] @ s["h"], 2)
    s["h"] = sigmoid(z) * s["h"] + (1 - sigmoid(z)) * np.maximum(n, 0)
    return s["h"]


def mingru(w: Arrays, x: np.ndarray, s: Arrays, **_: Any) -> np.ndarray:
    z, n = gates(w, x, 2)
    s["h"] = (1 - sigmoid(z)) * s["h"] + sigmoid(z) * n
    return s["h"]


def sru(w: Arrays, x: np.ndarray, s: Arrays, own: np.ndarray, module: SRU) -> np.ndarray:
    u = w["weight_proj"] @ x if "weight_proj" in w else x
    u = w["weight_ih"] @ u
    hidden = len(s["h"])
    v_f, v_r = np.split(w["weight_c"], 2)
    b_f, b_r = np.split(w["bias_ih"], 2) if "bias_ih" in w else (0.0, 0.0)
    f = sigmoid(u[hidden:2 * hidden] + v_f * s["h"] + b_f)
    r = sigmoid(u[2 * hidden:3 * hidden] + v_r * s["h"] + b_r)
    s["h"] = f * s["h"] + (1 - f) * u[:hidden]
    shown = r * (np.tanh(s["h"]) if module.activation else s["h"])
    if not module.skip:
        return shown
    source = u[3 * hidden:] if len(u) > 3 * hidden else own
    alpha = np.sqrt(1 + 2 * np.exp(module.highway_bias)) if module.rescale else 1.0
    return shown + (1 - r) * source * alpha


def lstm(w: Arrays, x: np.ndarray, s: Arrays, **_: Any) -> np.ndarray:
    y = w["weight_ih"] @ x + w["weight_hh"] @ s["h"] + w.get("bias_ih", 0.0) + w.get("bias_hh", 0.0)
    i, f, g, o = np.split(y, 4)
    s.setdefault("c", np.zeros(len(i)))
    s["c"] = sigmoid(f) * s["c"] + sigmoid(i) * np.tanh(g)
    s["h"] = sigmoid(o) * np.tanh(s["c"])
    if "weight_hr" in w:
        s["h"] = w["weight_hr"] @ s["h"]
    return s["h"]


def gru(w: Arrays, x: np.ndarray, s: Arrays, **_: Any) -> np.ndarray:
    r, z, n = gates(w, x, 3)
    h_r, h_z, h_n = np.split(w["weight_hh"] @ s["h"] + w.get("bias_hh", 0.0), 3)
    z = sigmoid(z + h_z)
    s["h"] = (1 - z) * np.tanh(n + sigmoid(r + h_r) * h_n) + z * s["h"]
    return s["h"]


STEP = {"GRU": gru, "LSTM": lstm, "GRUCho": gru_cho, "LiGRU": ligru, "MinGRU": mingru, "SRU": sru}


def plainly(module: Any, x: np.ndarray) -> np.ndarray:
    """The outputs for one item [steps, features], from the equations."""
    values = {name: v.detach().double().numpy() for name, v in (*module.named_parameters(), *module.named_buffers())}
    parts = ["", "_reverse"][: 1 + module.bidirectional]
    for layer in range(module.num_layers):
        outs = []
        for d, suffix in enumerate(parts):
            ending = f"_l{layer}{suffix}"
            w = {n.removesuffix(ending): v for n, v in values.items() if n.endswith(ending)}
            if f"weight_proj_l{layer}" in values:
                w["weight_proj"] = values[f"weight_proj_l{layer}"]
            size = module.hidden_size
            if f"norm_l{layer}.weight" in values:
                own = {"gamma": "weight", "beta": "bias", "mean": "running_mean", "var": "running_var"}
                rows = slice(d * 2 * size, (d + 1) * 2 * size)
                w |= {short: values[f"norm_l{layer}.{name}"][rows] for short, name in own.items()}
            state = {"h": np.zeros(getattr(module, "proj_size", 0) or size)}
            ys = []
            for x_t in x[::-1] if d else x:
                extra = {"own": np.array_split(x_t, len(parts))[d], "module": module} if type(module) is SRU else {}
                ys.append(STEP[type(module).__name__](w, x_t, state, **extra))
            outs.append(np.stack(ys[::-1] if d else ys))
        x = np.concatenate(outs, axis=1)
    return x


def make(name: str, layers: int, bidirectional: bool, bias: bool = True, inputs: int = IN) -> Any:
    kind, options = KINDS[name]
    torch.manual_seed(7)
    module = kind(inputs, HIDDEN, layers, bias=bias, batch_first=True, bidirectional=bidirectional, **options).double()
    for parameter in module.parameters():  # biases and factors that are not what they start as
        parameter.data += 0.1 * torch.randn(parameter.shape, dtype=torch.float64)
    if kind is LiGRU:
        for _ in range(3):
            module(torch.randn(5, STEPS, inputs).double() * 2 + 1)
    return module.eval()


def data(inputs: int = IN) -> np.ndarray:
    return np.random.default_rng(3).normal(size=(len(LENGTHS), STEPS, inputs))


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """Products this small only wait for a second thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.filterwarnings("ignore:LSTM with projections")
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("layers", "bidirectional"), [(1, False), (3, False), (1, True), (3, True)])
@pytest.mark.parametrize("name", KINDS)
def test_module_and_network_are_the_equations(name: str, layers: int, bidirectional: bool, bias: bool) -> None:
    for inputs in (IN, HIDDEN):
        module, x = make(name, layers, bidirectional, bias, inputs), data(inputs)
        with torch.no_grad():
            packed = pack_padded_sequence(torch.tensor(x), torch.tensor(LENGTHS), batch_first=True)
            got = pad_packed_sequence(module(packed)[0], batch_first=True)[0].numpy()
        network = from_torch(module)
        walked = network(x, np.array(LENGTHS))
        for i, length in enumerate(LENGTHS):
            wanted = plainly(module, x[i, :length])
            np.testing.assert_allclose(got[i, :length], wanted, rtol=1e-12, atol=1e-12)
            np.testing.assert_allclose(walked[i, :length], wanted, rtol=1e-9, atol=1e-9)
            assert (got[i, length:] == 0).all()


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("kind", OWN)
def test_lengths_packing_and_layout(kind: Any, bidirectional: bool) -> None:
    """Lengths, a packed sequence and each item alone are the same; so are steps first."""
    options = {"projection": 2} if kind is SRU else {}
    module = kind(IN, HIDDEN, 2, bidirectional=bidirectional, **options).double().eval()
    x, lengths = torch.tensor(data()), torch.tensor(LENGTHS)
    out, h_n = module(x, lengths)
    order = [2, 0, 1]  # not sorted
    packed = pack_padded_sequence(x[order], lengths[order], batch_first=True, enforce_sorted=False)
    packed_out, packed_h = module(packed)
    unpacked, sizes = pad_packed_sequence(packed_out, batch_first=True)
    torch.testing.assert_close(unpacked, out[order])
    torch.testing.assert_close(packed_h, h_n[:, order])
    assert sizes.tolist() == lengths[order].tolist()
    for i, length in enumerate(LENGTHS):
        alone, h_alone = module(x[i:i + 1, :length])
        torch.testing.assert_close(out[i, :length], alone[0])
        torch.testing.assert_close(h_n[:, i], h_alone[:, 0])
        last, first = alone[0, -1, :HIDDEN], alone[0, 0, HIDDEN:]
        torch.testing.assert_close(h_alone[-1, 0], first if bidirectional else last)
    module.batch_first = False
    torch.testing.assert_close(module(x.transpose(0, 1), lengths)[0].transpose(0, 1), out)


@pytest.mark.parametrize("kind", OWN)
def test_initial_weights_follow_the_generator(kind: Any) -> None:
    before = torch.get_rng_state()
    a, b, c = (kind(IN, HIDDEN, 2, bidirectional=True, generator=torch.Generator().manual_seed(s)) for s in (1, 1, 2))
    assert torch.equal(before, torch.get_rng_state())
    pairs = list(zip(a.state_dict().values(), b.state_dict().values(), c.state_dict().values(), strict=True))
    assert all(torch.equal(p, q) for p, q, _ in pairs)
    assert any(not torch.equal(p, r) for p, _, r in pairs)
    assert all(torch.isfinite(p).all() for p, _, _ in pairs)


@pytest.mark.parametrize("vector", [True, False])
def test_the_gradient_of_the_element_wise_recurrence(vector: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    u, a = (torch.randn(5, 2, 3, 4, generator=generator, dtype=torch.float64).requires_grad_() for _ in range(2))
    v = torch.randn(2, 1, 4, generator=generator, dtype=torch.float64).requires_grad_() if vector else None
    assert torch.autograd.gradcheck(blend, (u, a, v))
    assert torch.autograd.gradcheck(blend, (u[:1], a[:1], v))


def test_a_step_later_and_steps_turned_round() -> None:
    x = torch.randn(3, 5, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64).requires_grad_()
    order = torch.tensor([[4, 3, 2, 1, 0], [1, 0, 2, 3, 4], [0, 1, 2, 3, 4]])
    turned = rearranged(x, order)
    assert all(torch.equal(turned[i, t], x[i, order[i, t]]) for i in range(3) for t in range(5))
    assert torch.equal(delayed(x), torch.cat([torch.zeros_like(x[:1]), x[:-1]]))
    assert torch.autograd.gradcheck(lambda x: rearranged(x, order), x)
    assert torch.autograd.gradcheck(delayed, x)
    assert torch.autograd.gradcheck(delayed, x[:1])


@pytest.mark.parametrize("name", [name for name, (kind, _) in KINDS.items() if kind in OWN])
def test_gradients_reach_every_parameter_from_valid_steps_only(name: str) -> None:
    module = make(name, 2, True)
    x = torch.tensor(data(), requires_grad=True)
    y = module(x, torch.tensor(LENGTHS))[0]
    (y * torch.randn(y.shape, generator=torch.Generator().manual_seed(0), dtype=y.dtype)).sum().backward()
    for parameter_name, parameter in module.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.abs().max() > 0, parameter_name
    for i, length in enumerate(LENGTHS):
        assert (x.grad[i, :length].abs().amax(-1) > 0).all()
        assert (x.grad[i, length:] == 0).all()


def test_normalisation_counts_valid_steps_only() -> None:
    module = LiGRU(IN, HIDDEN)
    x = torch.tensor(data(), dtype=torch.float32)
    module(x, torch.tensor(LENGTHS))
    seen = module.norm_l0.running_mean.clone()
    x[1, 4:], x[2, 1:] = 1e3, -1e3
    module.norm_l0.reset_running_stats()
    module(x, torch.tensor(LENGTHS))
    torch.testing.assert_close(module.norm_l0.running_mean, seen)


def test_the_speech_network_of_the_mohaq_paper() -> None:
    """4 x 550 bidirectional, projections of 256: the weights that its shapes give (the paper counts 3 sub-matrices in
    layer 0 and half of the vectors)."""
    module = SRU(23, 550, 4, projection=256, bidirectional=True, highway_bias=-1.0)
    counts = {name.removesuffix("_reverse"): 0 for name, _ in module.named_parameters()}
    for name, parameter in module.named_parameters():
        counts[name.removesuffix("_reverse")] += parameter.numel()
    assert counts["weight_ih_l0"] == 23 * 4400
    for layer in (1, 2, 3):
        assert counts[f"weight_ih_l{layer}"] == 256 * 3300 == 844_800
        assert counts[f"weight_proj_l{layer}"] == 281_600
    assert sum(counts[f"weight_c_l{i}"] + counts[f"bias_ih_l{i}"] for i in range(4)) == 17_600
    graph = from_torch(module).graph
    loops = [step for step in graph.steps if isinstance(step, Recurrence)]
    assert [loop.name for loop in loops] == [f"sru{i}{d}" for i in range(4) for d in ("", ".rev")]
    assert graph.sites["sru2.W_proj"].shape == (256, 1100)
    assert loops[3].inputs == ("sru1.proj", "sru0.rev.h")
    products = {loop.name: sum(graph.sites[node.params[0]].count for node in loop.nodes if node.op == "linear")
                for loop in loops}
    assert products["sru0"] + products["sru0.rev"] == 101_200
    assert products["sru3"] + products["sru3.rev"] == 844_800


def test_every_cell_has_a_module() -> None:
    assert set(MODULES) == set(CELLS)
    for kind in OWN:
        assert MODULES[kind.cell] is kind
        assert "bidirectional=True" in repr(kind(2, 3, bidirectional=True))


@pytest.mark.parametrize("kind", OWN)
def test_wrong_use(kind: Any) -> None:
    with pytest.raises(BittailorError, match="at least 1"):
        kind(3, 0)
    with pytest.raises(BittailorError, match="dropout is 1"):
        kind(3, 4, dropout=1.0)
    module = kind(3, 4)
    with pytest.raises(BittailorError, match=r"takes \[items, steps, 3\]"):
        module(torch.zeros(2, 5, 4))
    with pytest.raises(BittailorError, match=r"2 integers in 1\.\.5"):
        module(torch.zeros(2, 5, 3), torch.tensor([1, 6]))


def test_wrong_options() -> None:
    with pytest.raises(BittailorError, match="projection is -1"):
        SRU(3, 4, projection=-1)
    with pytest.raises(BittailorError, match="activation is 'relu'"):
        SRU(3, 4, activation="relu")


def test_the_modules_are_public_names() -> None:
    import bittailor
    import bittailor.nn

    assert bittailor.nn is bittailor.__getattr__("nn")
    assert "nn" in dir(bittailor)
