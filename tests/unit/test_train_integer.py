"""The integer network in training: the engines' integers at every site, and the gradients of the float network."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from bittailor.core.arith import knots, make_lookup
from bittailor.core.builder import Builder
from bittailor.core.cells import CELLS, add_layer
from bittailor.core.graph import Graph, Node, Recurrence
from bittailor.core.network import Network
from bittailor.core.ops import OPS, forms
from bittailor.core.ops.functions import FUNCTIONS, Function
from bittailor.core.plan import Plan
from bittailor.core.program import Program, bind
from bittailor.core.qformat import QFormat
from bittailor.engines import Reference
from bittailor.engines.torch.kernels import KERNELS
from bittailor.errors import UnsupportedNetwork
from bittailor.train import kernels
from bittailor.train.integer import IntegerNetwork
from bittailor.train.kernels import GRADIENTS
from bittailor.train.kernels.tables import tangent
from networks import (
    CELL_VARIANTS,
    calibrate,
    gru_network,
    index_network,
    input_integers,
    options_of,
    plan_of,
    random_lengths,
    random_network,
    random_parameters,
    random_plan,
    same_constants,
    sample,
    uniform_plan,
)

Rng = np.random.Generator
REAL = {
    "sigmoid": torch.sigmoid, "tanh": torch.tanh, "softsign": torch.nn.functional.softsign,
    "hardsigmoid": lambda x: torch.clip(x / 6 + 0.5, 0, 1), "hardtanh": lambda x: torch.clip(x, -1, 1),
    "silu": torch.nn.functional.silu, "softplus": torch.nn.functional.softplus,
    "elu": lambda x, alpha=1.0: torch.nn.functional.elu(x, alpha),
    "leaky_relu": lambda x, slope=0.01: torch.nn.functional.leaky_relu(x, slope),
    "clamp": lambda x, low=-math.inf, high=math.inf: x.clamp(low, high), "gelu": torch.nn.functional.gelu,
    "gelu_tanh": lambda x: torch.nn.functional.gelu(x, approximate="tanh"), "selu": torch.selu,
    "hardswish": torch.nn.functional.hardswish, "mish": torch.nn.functional.mish,
    "logsigmoid": torch.nn.functional.logsigmoid, "abs": torch.abs,
}


def bind_step(trained: IntegerNetwork, network: Network, plan: Plan) -> Program:
    """Bind the training form to a plan, with weights to nearest."""
    values = network.parameters
    matrices = {name: fmt.quantise(values[name]) for name, fmt in plan.formats.items() if fmt.kind == "weight"}
    biases = {name: values[name] for name, fmt in plan.formats.items() if fmt.kind == "bias"}
    return trained.bind(plan, matrices, biases)


def set_up(network: Network, plan: Plan, learned: frozenset[str] = frozenset()) -> IntegerNetwork:
    """The training form, bound."""
    trained = IntegerNetwork(network.graph, learned)
    bind_step(trained, network, plan)
    return trained


def same_everywhere(network: Network, plan: Plan, rng: Rng) -> None:
    """The same integers as the reference engine at every site, on random inputs and lengths."""
    program = bind(network, plan)
    least = network.graph.least_steps
    items, steps = int(rng.choice([1, 2, 7, 16])), int(rng.choice([1, 2, 5, 9])) + least - 1
    q = input_integers(rng, program, (items, steps, network.features))
    lengths = random_lengths(rng, items, steps, least)
    full = np.full(items, steps) if lengths is None else lengths
    wanted = Reference().trace(program, q, lengths)
    trained = set_up(network, plan)
    # what earlier batches of fewer or more steps left behind must not matter
    others = [int(n) for n in rng.integers(least, 11 + least, 2)]
    earlier = [(input_integers(rng, program, (items, n, q.shape[2])), np.full(items, n)) for n in others]
    for x, sizes in (*earlier, (q, full)):
        out = trained.step(torch.from_numpy(x), torch.from_numpy(sizes), keep=True)
        trained.backward(torch.ones_like(out))
    found = trained.trace()
    assert found.keys() == wanted.keys()
    for site, values in wanted.items():
        assert np.array_equal(found[site], values), site


@pytest.mark.parametrize("round_", range(12))
def test_integers_of_random_networks(rng: Rng, round_: int) -> None:
    network = random_network(rng, without=())
    style = str(rng.choice(["narrow", "wide", "any"]))
    plan = random_plan(network, sample(rng, network, 6, 6 + network.graph.least_steps), rng, style)
    same_everywhere(network, plan, rng)


@pytest.mark.parametrize(("cell", "variant"), CELL_VARIANTS)
def test_integers_of_every_cell(cell: str, variant: str, rng: Rng) -> None:
    """Two layers, the second in both directions, a mean over time."""
    b = Builder()
    options = options_of(cell, variant)
    x = add_layer(b, CELLS[cell], "a", b.input("input", 6), 6, True, **options)
    sides = [add_layer(b, CELLS[cell], f"b{i}", x, 6, bool(i), reverse=bool(i), **options) for i in range(2)]
    y = b.linear("head.out", b.op("mean", "end", b.op("concat", "both", *sides)), "head.W", 3, "head.b")
    graph = b.graph(y)
    network = Network(graph, random_parameters(graph, rng))
    plan = random_plan(network, rng.normal(size=(6, 7, 6)), rng, str(rng.choice(["narrow", "wide", "any"])))
    same_everywhere(network, plan, rng)


def test_every_operator_can_be_trained() -> None:
    forms_used = {op.form for op in OPS.values()}
    assert GRADIENTS.keys() == KERNELS.keys() == forms_used
    for form in forms_used:
        assert issubclass(GRADIENTS[form], KERNELS[form]), "what is trained is what the engine computes"


def test_an_operator_that_cannot_be_trained_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    b = Builder()
    x = b.input("input", 2)
    graph = b.graph(b.op("add", "a.y", x, x))
    monkeypatch.setattr(kernels, "GRADIENTS", {forms.MatrixProduct: GRADIENTS[forms.MatrixProduct]})
    with pytest.raises(UnsupportedNetwork, match=r"a.y: the operator 'add' cannot be trained; its form Affine has no"):
        IntegerNetwork(graph)


@pytest.mark.parametrize("round_", range(4))
def test_a_step_binds_what_a_program_binds(rng: Rng, round_: int) -> None:
    """Also when only some formats have changed since the step before."""
    network = random_network(rng)
    x = rng.normal(size=(6, 7, network.features))
    plan, other = random_plan(network, x, rng), random_plan(network, x, rng)
    mixed = Plan({name: other.formats[name] if rng.random() < 0.3 else fmt for name, fmt in plan.formats.items()})
    trained = IntegerNetwork(network.graph)
    for some in (plan, mixed):
        same_constants(bind_step(trained, network, some), bind(network, some))


def test_work_that_does_not_recur_is_done_once() -> None:
    """Of a GRU: one product for all steps' inputs, one for all gates' states."""
    trained = IntegerNetwork(gru_network().graph)
    matmuls = [(g.phase, len(g.nodes)) for g in trained.schedule.groups() if g.form is forms.MatrixProduct]
    assert matmuls == [("before", 3), ("loop", 3), ("outer", 1)]


# --- gradients -----------------------------------------------------------------------------------------------------


def torch_walk(graph: Graph, x: Tensor, lengths: Tensor, p: Mapping[str, Tensor]) -> Tensor:
    """The float network in differentiable form, plainly."""
    values, rows = {graph.inputs[0]: x}, torch.arange(len(x))
    for step in graph.steps:
        if isinstance(step, Node):
            values[step.output] = torch_op(step, [values[n] for n in step.inputs], p,
                                           lengths - graph.late[step.inputs[0]])
            continue
        late = graph.late[step.inputs[0]]
        own, steps = lengths - late, x.shape[1] - late
        order = torch.stack([
            torch.where(t < own, own - 1 - t if step.reverse else torch.full_like(own, t), t)
            for t in range(steps)
        ], 1)
        now = {s.previous: x.new_zeros(len(x), graph.sites[s.update].features) + torch.tensor(s.start or 0.0)
               for s in step.states}
        seen: dict[str, list[Tensor]] = {name: [] for name in step.outputs}
        for t in range(steps):
            now |= {name: values[name][rows, order[:, t]] for name in step.inputs}
            for node in step.nodes:
                now[node.output] = torch_op(node, [now[n] for n in node.inputs], p, own)
            now |= {s.previous: now[s.update] for s in step.states}
            for name in step.outputs:
                seen[name].append(now[name])
        for name, parts in seen.items():
            y = torch.stack(parts, 1)
            values[name] = y.gather(1, order[:, :, None].expand(-1, -1, y.shape[2]))
    return values[graph.outputs[0]]


def torch_op(node: Node, x: list[Tensor], parameters: Mapping[str, Tensor], lengths: Tensor) -> Tensor:
    p = [parameters[name] for name in node.params]
    if node.op in ("linear", "diagonal"):
        y = x[0] @ p[0].T if node.op == "linear" else x[0] * p[0][:, 0]
        return y + p[1] if len(p) > 1 else y
    if node.op == "last":
        return x[0][torch.arange(len(lengths)), lengths - 1]
    if node.op == "mean":
        valid = (torch.arange(x[0].shape[1])[None] < lengths[:, None])[:, :, None]
        return (x[0] * valid).sum(1) / lengths[:, None]
    if node.op == "embedding":
        return torch.nn.functional.embedding(x[0][..., 0].long(), p[0])
    if node.op == "grouped_linear":
        groups = node.options["groups"]
        y = torch.nn.functional.conv1d(x[0].transpose(1, 2), p[0][:, :, None], p[1] if len(p) > 1 else None,
                                       groups=groups)
        return y.transpose(1, 2)
    if node.op == "crop":
        return x[0][:, node.options["steps"] :]
    if node.op == "window":
        span, ahead = (node.options["taps"] - 1) * node.options["dilation"], node.options["ahead"]
        valid = torch.arange(x[0].shape[1])[None] < lengths[:, None]
        padded = torch.nn.functional.pad(x[0] * valid[:, :, None], (0, 0, span - ahead, ahead))
        frames = [padded[:, at : at + x[0].shape[1]] for at in range(0, span + 1, node.options["dilation"])]
        return torch.stack(frames, -1).flatten(2)
    if node.op in ("layer_norm", "rms_norm"):
        centred = x[0] - x[0].mean(-1, keepdim=True) if node.op == "layer_norm" else x[0]
        return centred / torch.sqrt((centred * centred).mean(-1, keepdim=True) + node.options["eps"])
    if node.op in ("sum", "max"):
        valid = (torch.arange(x[0].shape[1])[None] < lengths[:, None])[:, :, None]
        return (x[0] * valid).sum(1) if node.op == "sum" else torch.where(valid, x[0], -torch.inf).max(1).values
    plain = {
        "add": lambda: x[0] + x[1], "sub": lambda: x[0] - x[1], "mul": lambda: x[0] * x[1],
        "one_minus": lambda: 1 - x[0], "relu": lambda: torch.relu(x[0]), "requantise": lambda: x[0],
        "concat": lambda: torch.cat(x, -1), "first": lambda: x[0][:, 0],
        "affine": lambda: node.options["factor"] * x[0] + node.options["shift"],
    }
    return plain[node.op]() if node.op in plain else REAL[node.op](x[0], **node.options)


def gradients_agree(network: Network, rng: Rng) -> None:
    """At 16 bits and with roomy ranges, straight-through gradients are those of the float network."""
    least, late = network.graph.least_steps, network.graph.late[network.output]
    steps = 5 + least
    x = sample(rng, network, 8, steps)
    lengths = random_lengths(rng, 8, steps, least)
    sizes = torch.from_numpy(np.full(8, steps) if lengths is None else lengths)
    ranges = {k: (min(1.5 * a, -0.1), max(1.5 * b, 0.1)) for k, (a, b) in calibrate(network, x, sizes.numpy()).items()}
    plan = plan_of(network, ranges, {s.name: 32 if s.kind == "bias" else 16 for s in network.graph.free})
    trained = set_up(network, plan)
    if not trained.trainable:
        return
    parameters = {k: torch.tensor(v, requires_grad=True) for k, v in network.parameters.items()}
    out = torch_walk(network.graph, torch.from_numpy(x), sizes, parameters)
    weights = torch.from_numpy(rng.normal(size=out.shape))
    sequence = out.dim() == 3
    if sequence:
        weights *= (torch.arange(steps - late)[None] < sizes[:, None] - late)[:, :, None]
    (out * weights).sum().backward()
    trained.step(torch.from_numpy(plan.formats[network.graph.inputs[0]].quantise(x)), sizes)
    given = weights.float()
    found, _ = trained.backward(given.transpose(0, 1)[: int(sizes.max()) - late] if sequence else given)
    wanted = {k: p.grad for k, p in parameters.items() if p.grad is not None}
    missing = torch.cat([(found[name] - gradient).ravel() for name, gradient in wanted.items()])
    whole = torch.cat([gradient.ravel() for gradient in wanted.values()])
    # knots lie 2**8 steps apart: a table's derivative is good to about a hundredth
    assert float(missing.norm()) <= 0.1 * float(whole.norm()) + 1e-9


@pytest.mark.parametrize("round_", range(6))
def test_gradients_of_random_networks(rng: Rng, round_: int) -> None:
    gradients_agree(begun_near(random_network(rng, without=["norm"])), rng)  # a norm of silence has no end of slope


def begun_near(network: Network) -> Network:
    """Its states begin within what they reach later: far beyond it ranges are wide, and a table's steps coarse."""
    steps = tuple(
        replace(step, states=tuple(replace(s, start=tuple(0.2 * v for v in s.start)) for s in step.states))
        if isinstance(step, Recurrence) else step for step in network.graph.steps)
    return Network(replace(network.graph, steps=steps), network.parameters)


def test_gradients_of_an_embedding(rng: Rng) -> None:
    gradients_agree(index_network(rng), rng)
    network = index_network(rng)
    same_everywhere(network, uniform_plan(network, sample(rng, network, 6, 7), 5), rng)


@pytest.mark.parametrize("op", ["layer_norm", "rms_norm"])
def test_gradients_of_normalisations(op: str, rng: Rng) -> None:
    """Over steps, of a state inside a step, and of a single value."""
    b = Builder()
    x = b.linear("in.out", b.input("input", 4), "in.W", 6, "in.b")
    x = b.diagonal("norm0.out", b.op(op, "norm0", x, features=6, eps=1e-5), "norm0.W", "norm0.b")
    b.begin()
    h = b.state("rnn.h", 5)
    pre = b.op("add", "rnn.pre", b.linear("rnn.x", x, "rnn.U", 5), b.linear("rnn.y", h, "rnn.V", 5))
    out = b.op("tanh", "rnn.h", b.op(op, "rnn.norm", pre, features=5, eps=1e-2))
    b.end("rnn", "odd", (out,))
    last = b.op(op, "norm1", b.op("last", "end", out), features=5, eps=1e-3)
    graph = b.graph(b.linear("head.out", last, "head.W", 2))
    gradients_agree(Network(graph, random_parameters(graph, rng)), rng)


@pytest.mark.parametrize("cell", list(CELLS))
def test_gradients_of_every_cell(cell: str, rng: Rng) -> None:
    for bidirectional in (False, True):
        gradients_agree(gru_network(cell=cell, layers=2, bidirectional=bidirectional, hidden=8), rng)


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.name)
def test_every_function_has_its_derivative(function: Function) -> None:
    """At every entry of a table, by automatic differentiation; at a corner either side's or what lies between."""
    source, out = QFormat("activation", 8, (1 / 16,), 5), QFormat("activation", 16, (1 / 1024,))
    found, _ = tangent(function, source, out, make_lookup(function.f, source, out), False)
    x = torch.tensor(knots(source), requires_grad=True)
    REAL[function.name](x).sum().backward()
    assert x.grad is not None
    smooth = np.abs(np.subtract.outer(x.detach().numpy(), [-3.0, -1.0, 0.0, 1.0, 3.0])).min(axis=1) > 1e-9
    assert np.allclose(found[smooth], x.grad.numpy()[smooth], atol=1e-6)
    assert ((found >= -1.1) & (found <= 1.8)).all()


def one_linear(scale: float) -> tuple[Network, Plan, frozenset[str]]:
    b = Builder()
    graph = b.graph(b.op("last", "end", b.linear("y", b.input("input", 3), "W", 2)))
    network = Network(graph, {"W": np.array([[1.0, 0.5, 0.25], [-0.75, 0.5, 1.0]])})
    formats = {"input": QFormat("activation", 8, (1 / 64,)), "W": QFormat("weight", 8, (1 / 64,)),
               "y": QFormat("activation", 4, (scale,))}
    return network, Plan(formats), frozenset({"y"})


def test_a_clamp_stops_the_gradient_and_answers_its_scale(rng: Rng) -> None:
    """Against the formulas of LSQ, written out for one product."""
    scale = 0.1
    network, plan, learned = one_linear(scale)
    x = rng.normal(size=(40, 1, 3))
    q = plan.formats["input"].quantise(x)
    exact = (q[:, 0] / 64) @ np.round(network.parameters["W"] * 64).T / 64
    trained = set_up(network, plan, learned)
    out = trained.step(torch.from_numpy(q), torch.ones(40, dtype=torch.int64), scales=True)
    gradient = rng.normal(size=(40, 2))
    weights, scales = trained.backward(torch.from_numpy(gradient.astype(np.float32)))
    rounded = np.floor(exact / scale + 0.5)
    inside = (rounded >= -8) & (rounded <= 7)
    assert 5 < inside.sum() < 75
    assert np.array_equal(out.numpy(), np.clip(rounded, -8, 7))
    assert np.allclose(weights["W"], (gradient * inside).T @ (q[:, 0] / 64), atol=1e-4)
    answer = np.where(inside, rounded - exact / scale, np.clip(rounded, -8, 7))
    assert float(scales["y"]) == pytest.approx(float((gradient * answer).sum()), rel=1e-3)


def test_nothing_to_train() -> None:
    b = Builder()
    graph = b.graph(b.op("last", "end", b.op("tanh", "y", b.input("input", 2))))
    assert not IntegerNetwork(graph).trainable
    assert not any(isinstance(step, Recurrence) for step in graph.steps)
