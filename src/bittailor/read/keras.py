"""from_keras from end to end: the chain of layers, each read from its configuration and weights, then both run.

Keras 3 stacks the gates of a GRU as z, r, h and of an LSTM as i, f, c, o, matrices as [inputs, gates]; the model that
is given brings Keras itself: https://keras.io/api/layers/recurrent_layers/gru/
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from importlib import import_module
from typing import Any

import numpy as np

from bittailor.core.arith import Floats
from bittailor.core.network import Network
from bittailor.errors import UnsupportedNetwork
from bittailor.read.arithmetic import ARITHMETIC, activation
from bittailor.read.convolving import convolved, dropped, same_padding
from bittailor.read.embedding import embedded
from bittailor.read.finishing import compare, pruned
from bittailor.read.folding import fold
from bittailor.read.normalising import normalised
from bittailor.read.recurrence import Layer, Layers, numbered, recurrent
from bittailor.read.scaling import scaled, weighted
from bittailor.read.shapes import SHAPES
from bittailor.read.symbolic import FEATURES, ITEMS, STEPS, Refusal, SiteRef, Tensor
from bittailor.read.writer import Writer

_TOLERANCE = 1e-4
"""Of what Keras computes in float32."""
_LENGTHS = (7, 4)
"""Steps of the sequences that both are compared on, where the model does not fix them."""


def read(model: Any) -> Network:
    """See `bittailor.read.from_keras`."""
    if not _of_keras(model) or not hasattr(model, "layers") or not hasattr(model, "get_weights"):
        raise UnsupportedNetwork(f"expected a Keras 3 model; got {type(model).__module__}.{type(model).__name__}")
    layers = list(_chain(model))
    w = Writer({})
    value = _input(w, model, layers)
    for layer in layers:
        try:
            value = _layer(w, layer, value)
        except Refusal as error:
            raise UnsupportedNetwork(f"cannot read '{layer.name}' ({type(layer).__name__}): {error}") from None
    if value.each()[0].site == "input":
        raise UnsupportedNetwork("the model has no layer that computes anything")
    bare = replace(value, softmax="")
    network = Network(*fold(*pruned(w.builder.graph(w.site(bare)), w.parameters)))
    _check(model, network, value)
    return network


def _of_keras(value: Any) -> bool:
    return type(value).__module__.split(".")[0] == "keras" or any(
        base.__module__.split(".")[0] == "keras" for base in type(value).__mro__)


def _chain(model: Any) -> Iterator[Any]:
    """The layers in the order of their work; UnsupportedNetwork unless each one's input is the output before."""
    if not hasattr(model, "inputs") or model.inputs is None:
        raise UnsupportedNetwork("only Sequential and functional models can be read, built: call it once on data, or "
                                 "begin with keras.Input((None, features))")
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise UnsupportedNetwork(f"the model has {len(model.inputs)} inputs and {len(model.outputs)} outputs; one of "
                                 "each can be read")
    at = model.inputs[0]
    for layer in model.layers:
        if type(layer).__name__ == "InputLayer":
            continue
        if hasattr(layer, "layers") and not hasattr(layer, "forward_layer"):
            yield from _chain(layer)
        else:
            yield layer
        if type(model).__name__ == "Sequential":
            continue
        nodes = [node for node in layer._inbound_nodes if any(t is at for t in node.input_tensors)]
        if len(nodes) != 1 or len(nodes[0].input_tensors) != 1 or len(nodes[0].output_tensors) != 1:
            raise UnsupportedNetwork(f"'{layer.name}' is not the only one that takes what stands in front of it, or "
                                     "takes more; a functional model must be one chain of layers")
        at = nodes[0].output_tensors[0]
    if type(model).__name__ != "Sequential" and at is not model.outputs[0]:
        raise UnsupportedNetwork("the model's output is not its last layer's; a functional model must be one chain of "
                                 "layers")


def _input(w: Writer, model: Any, layers: Sequence[Any]) -> Tensor:
    """The sequence: features of steps or, below an embedding, indices."""
    shape = model.inputs[0].shape
    if len(shape) == 2 and layers and type(layers[0]).__name__ == "Embedding":
        return Tensor((ITEMS, STEPS), 1, ((SiteRef(w.builder.index("input", int(layers[0].input_dim))),),))
    if len(shape) != 3 or shape[2] is None:
        raise UnsupportedNetwork(f"the model takes {tuple(shape)}; expected (items, steps, features), the features "
                                 "fixed")
    features = int(shape[2])
    return Tensor((ITEMS, STEPS, FEATURES), features, ((SiteRef(w.builder.input("input", features)),),))


def _layer(w: Writer, layer: Any, x: Tensor) -> Tensor:
    kind = type(layer)
    if not kind.__module__.startswith("keras."):
        raise Refusal("it is a layer of your own; only Keras' own are known")
    if kind.__name__ in _IGNORED:
        return x
    if kind.__name__ not in LAYERS:
        raise Refusal(f"{_HINTS.get(kind.__name__, 'there is no operator for it')}\n{SUPPORTED}")
    w.path = ""
    return LAYERS[kind.__name__](w, layer, x)


# -- layers ------------------------------------------------------------


def _dense(w: Writer, layer: Any, x: Tensor) -> Tensor:
    kernel, *bias = _weights(layer)
    if STEPS not in x.axes and x.axes[-1:] != (FEATURES,):
        raise Refusal(f"it is given {x.text()}")
    out = w.linear(x, kernel.T, bias[0] if bias else None, layer.name)
    return _activated(w, layer, out)


def _activated(w: Writer, layer: Any, x: Tensor) -> Tensor:
    """A layer's own activation, on top of it."""
    name = layer.get_config()["activation"]
    if not isinstance(name, str):
        raise Refusal("its activation is a function of your own")
    if name == "linear":
        return x
    if name in ("softmax", "log_softmax"):
        return w.softmax(x, -1, name)
    op, options = _ACTIVATIONS.get(name, ("", {}))
    if not op:
        raise Refusal(f"its activation is {name}; {', '.join(_ACTIVATIONS)} and softmax can be read")
    found: Tensor = activation(op, w, x, **options)
    return found


def _function(op: str, *names: str) -> Callable[[Writer, Any, Tensor], Tensor]:
    """A layer that is a function; `names` are Keras' of the function's options, in their order."""

    def read(w: Writer, layer: Any, x: Tensor) -> Tensor:
        config = layer.get_config()
        found: Tensor = activation(op, w, x, *(round(float(config[name]), 7) for name in names))
        return found

    return read


def _relu(w: Writer, layer: Any, x: Tensor) -> Tensor:
    config = layer.get_config()
    if config["negative_slope"] or config["threshold"]:
        raise Refusal("it has a slope or a threshold; ReLU with or without a largest value can be read")
    if config["max_value"] is None:
        plain: Tensor = activation("relu", w, x)
        return plain
    found: Tensor = ARITHMETIC["clamp"](w, x, 0, float(config["max_value"]))
    return found


def _softmax(w: Writer, layer: Any, x: Tensor) -> Tensor:
    axis = layer.get_config()["axis"]
    return w.softmax(x, axis if isinstance(axis, int) else None, "softmax")


def _pooled(op: str) -> Callable[[Writer, Any, Tensor], Tensor]:
    """A mean or a maximum over the steps."""

    def read(w: Writer, layer: Any, x: Tensor) -> Tensor:
        config = layer.get_config()
        if config.get("data_format", "channels_last") != "channels_last":
            raise Refusal("data_format=channels_first is about the features")
        found: Tensor = SHAPES[op](w, x, 1, bool(config["keepdims"]))
        return found

    return read


def _batch_norm(w: Writer, layer: Any, x: Tensor) -> Tensor:
    """With the statistics of training: a factor and a shift for each feature."""
    config = layer.get_config()
    axis = config["axis"][0] if isinstance(config["axis"], list) else config["axis"]
    if x.axis(axis) != len(x.axes) - 1:
        raise Refusal(f"axis={config['axis']}: only the features, the last axis, can be normalised")
    weights = _weights(layer)
    *scales, mean, variance = weights
    factor = 1.0 / np.sqrt(variance + config["epsilon"]) * (scales[0] if config["scale"] else 1.0)
    return weighted(w, x, factor, (scales[-1] if config["center"] else 0.0) - mean * factor, layer.name)


def _rescaling(w: Writer, layer: Any, x: Tensor) -> Tensor:
    config = layer.get_config()
    if not all(isinstance(config[name], int | float) for name in ("scale", "offset")):
        raise Refusal("its scale and offset must be numbers")
    return scaled(w, x, float(config["scale"]), float(config["offset"]), layer.name)


def _convolution(w: Writer, layer: Any, x: Tensor) -> Tensor:
    config = layer.get_config()
    taps, apart, stride = (config[name][0] for name in ("kernel_size", "dilation_rate", "strides"))
    if stride != 1 or config["data_format"] != "channels_last":
        raise Refusal(f"strides={stride}, data_format={config['data_format']}; a network has an output for every step, "
                      "the features last")
    span = (taps - 1) * apart
    ends = {"causal": (span, 0), "same": same_padding(taps, apart)}.get(config["padding"], (0, 0))
    kernel, *bias = _weights(layer)
    turned = SHAPES["transpose"](w, x, 1, 2)
    done = convolved(w, turned, kernel.transpose(2, 1, 0), bias[0] if bias else None, layer.name, ends, apart,
                     config["groups"])
    back: Tensor = SHAPES["transpose"](w, w.single(done), 1, 2)
    return _activated(w, layer, back)


def _cropping(w: Writer, layer: Any, x: Tensor) -> Tensor:
    first, last = layer.get_config()["cropping"]
    if last:
        raise Refusal(f"cropping={(first, last)}: of the steps only first ones can be left away")
    return dropped(w, x, first) if first else x


def _embedding(w: Writer, layer: Any, x: Tensor) -> Tensor:
    if layer.get_config()["mask_zero"]:
        raise Refusal("mask_zero: a network takes the lengths of sequences beside them; make it without")
    return embedded(w, x, _weights(layer)[0], layer.name)


def _norm(op: str) -> Callable[[Writer, Any, Tensor], Tensor]:
    def read(w: Writer, layer: Any, x: Tensor) -> Tensor:
        config = layer.get_config()
        axis = config["axis"][0] if isinstance(config["axis"], list) else config["axis"]
        if x.axis(axis) != len(x.axes) - 1 or config.get("rms_scaling"):
            raise Refusal(f"axis={config['axis']}: only the features, the last axis, can be normalised")
        weights = _weights(layer)
        scaled = config.get("scale", True)
        weight = weights[0] if scaled else np.ones(x.features) if weights else None
        bias = weights[-1] if op == "layer_norm" and config["center"] else None
        return normalised(w, op, x, config["epsilon"], weight, bias, layer.name)

    return read


def _wrapped(w: Writer, layer: Any, x: Tensor) -> Tensor:
    """TimeDistributed: a layer applied to every step, which a layer here is anyway."""
    if type(layer.layer).__name__ not in ("Dense", "Activation", *_IGNORED):
        raise Refusal(f"it wraps {type(layer.layer).__name__}; Dense and Activation can be read in it")
    return _layer(w, layer.layer, x)


def _recurrent(w: Writer, layer: Any, x: Tensor) -> Tensor:
    backwards = bool(layer.get_config()["go_backwards"])
    if backwards and layer.return_sequences:
        raise Refusal("go_backwards with return_sequences turns the sequence round; Bidirectional can be read")
    return _run(w, layer, [layer], x, backwards, layer.return_sequences)


def _bidirectional(w: Writer, layer: Any, x: Tensor) -> Tensor:
    both = (layer.forward_layer, layer.backward_layer)
    if type(both[0]) is not type(both[1]) or type(both[0]).__name__ not in _CELLS:
        raise Refusal(f"it wraps {type(both[0]).__name__} and {type(both[1]).__name__}; a recurrent layer twice can be "
                      "read")
    if layer.merge_mode not in ("concat", "sum", "mul"):
        raise Refusal(f"merge_mode={layer.merge_mode}; concat, sum and mul can be read")
    return _run(w, layer, both, x, False, both[0].return_sequences)


_CELLS: dict[str, tuple[int, tuple[int, ...], tuple[str, ...]]] = {
    "SimpleRNN": (1, (0,), ("h",)), "GRU": (3, (1, 0, 2), ("h",)), "LSTM": (4, (0, 1, 2, 3), ("h", "c"))}
"""Class -> number of gates, their places in our order, the states."""


def _run(w: Writer, layer: Any, each: Sequence[Any], x: Tensor, backwards: bool, sequences: bool) -> Tensor:
    kind, after = type(each[0]).__name__, getattr(each[0], "reset_after", True)
    cell, states = {"SimpleRNN": "rnn"}.get(kind, kind.lower()) if after else "gru_cho", _CELLS[kind][2]
    if len({getattr(one, "reset_after", True) for one in each}) > 1:
        raise Refusal("its two directions are GRUs of different kinds (reset_after)")
    arrays = tuple(_arrays(one, cell) for one in each)
    width, units = arrays[0]["weight_ih"].shape[1], int(each[0].units)
    activations = {direction.get_config()["activation"] for direction in each}
    if len(activations) > 1:
        raise Refusal("its two directions have different activations")
    options = {"activation": "relu"} if activations == {"relu"} else {}
    one = Layer(arrays, options=options, backwards=backwards)
    layers = Layers(kind, cell, width, units, True, states, False, (one,))
    _, finals = recurrent(w, layer.name, layers, x, None, [numbered(w, layer.name, cell)])
    state: Tensor = finals[0] if isinstance(finals, tuple) else finals
    axes = (ITEMS, STEPS, FEATURES) if sequences else (ITEMS, FEATURES)
    parts = [replace(state, axes=axes, sites=((SiteRef(ref.site) if sequences else ref,),)) for ref in state.each()]
    if len(parts) == 1:
        return parts[0]
    if layer.merge_mode == "concat":
        joined: Tensor = ARITHMETIC["cat"](w, parts, -1)
        return joined
    merged: Tensor = ARITHMETIC[{"sum": "add", "mul": "mul"}[layer.merge_mode]](w, *parts)
    return merged


def _arrays(layer: Any, cell: str) -> dict[str, Floats]:
    """Arrays of one direction, as `Cell.parameters` takes them."""
    gates, order, _ = _CELLS[type(layer).__name__]
    config = layer.get_config()
    for option, expected in (("activation", "tanh"), ("recurrent_activation", "sigmoid")):
        if config.get(option, expected) != expected and not (gates == 1 and config[option] == "relu"):
            raise Refusal(f"{option}={config[option]}; only {expected} can be read")
    if config["return_state"]:
        raise Refusal("return_state: it returns several values; leave the final states away")
    if config["stateful"]:
        raise Refusal("stateful: a state starts at zero; make the model with stateful=False")
    kernel, recurrent_kernel, *bias = _weights(layer)
    found = {"weight_ih": _ordered(kernel.T, gates, order), "weight_hh": _ordered(recurrent_kernel.T, gates, order)}
    if not bias:
        return found
    halves = [_ordered(half, gates, order) for half in np.atleast_2d(bias[0])]
    found["bias_ih"] = halves[0]
    return found if cell == "gru_cho" else {**found, "bias_hh": halves[1] if len(halves) == 2 else halves[0] * 0.0}


def _ordered(stacked: Floats, gates: int, order: Sequence[int]) -> Floats:
    parts = np.split(stacked, gates)
    return np.concatenate([parts[place] for place in order])


def _weights(layer: Any) -> list[Floats]:
    return [np.asarray(values, np.float64) for values in layer.get_weights()]


_ACTIVATIONS: dict[str, tuple[str, dict[str, float]]] = {
    "relu": ("relu", {}), "sigmoid": ("sigmoid", {}), "tanh": ("tanh", {}), "hard_sigmoid": ("hardsigmoid", {}),
    "softsign": ("softsign", {}), "silu": ("silu", {}), "swish": ("silu", {}), "softplus": ("softplus", {}),
    "relu6": ("relu6", {}), "gelu": ("gelu", {}), "selu": ("selu", {}), "mish": ("mish", {}),
    "hard_silu": ("hardswish", {}), "hard_swish": ("hardswish", {}), "log_sigmoid": ("logsigmoid", {}),
    "elu": ("elu", {}), "hard_tanh": ("hardtanh", {}), "leaky_relu": ("leaky_relu", {"negative_slope": 0.2}),
}
"""Name in Keras -> operator and its options where Keras' own default is another."""

_IGNORED = ("Dropout", "SpatialDropout1D", "GaussianNoise", "GaussianDropout", "AlphaDropout", "ActivityRegularization",
            "Identity", "InputLayer")
"""Layers that do nothing in use."""

LAYERS: dict[str, Callable[[Writer, Any, Tensor], Tensor]] = {
    "GRU": _recurrent, "LSTM": _recurrent, "SimpleRNN": _recurrent, "Bidirectional": _bidirectional, "Dense": _dense,
    "TimeDistributed": _wrapped, "Activation": _activated, "ReLU": _relu, "Softmax": _softmax,
    "ELU": _function("elu", "alpha"), "LeakyReLU": _function("leaky_relu", "negative_slope"),
    "GlobalAveragePooling1D": _pooled("mean"), "GlobalMaxPooling1D": _pooled("amax"),
    "BatchNormalization": _batch_norm, "Rescaling": _rescaling, "Conv1D": _convolution,
    "Cropping1D": _cropping, "Embedding": _embedding,
    "LayerNormalization": _norm("layer_norm"), "RMSNormalization": _norm("rms_norm"),
}
"""By the name of the class."""

_HINTS: dict[str, str] = {
    "Masking": "a network takes the lengths of sequences beside them, and never sees steps beyond; leave it away",
    "RNN": "cells of your own are not known; use GRU or LSTM",
    "MultiHeadAttention": "there is no attention; read the part in front of it",
    "Attention": "there is no attention; read the part in front of it",
    "Conv2D": "there is no convolution in two dimensions; apply it to the data before the network",
    "Flatten": "steps and features cannot stand on one axis; take the last step or the mean first",
    "RepeatVector": "steps cannot be made",
    "Lambda": "a function of your own cannot be looked into; use layers",
}
"""By the name of the class: why not, and what instead."""

SUPPORTED = f"  what can be read: {', '.join([*LAYERS, *_IGNORED[:-1]])} (docs/reading.md)"


# -- check ------------------------------------------------------------


def _check(model: Any, network: Network, out: Tensor) -> None:
    """Refuse a network that does not compute what the model computes, on random sequences."""
    ops = import_module("keras").ops
    items, steps, *features = model.inputs[0].shape
    rng = np.random.default_rng(0)
    proven = network.graph.sites[network.graph.inputs[0]].proven
    for length in [n + network.graph.least_steps - 1 for n in _LENGTHS] if steps is None else [steps]:
        shape = (items or 3, length)
        x = rng.normal(size=(*shape, network.features)) if features else rng.integers(
            0, int(proven[1]) + 1 if proven else 1, shape).astype(np.float64)
        given = ops.convert_to_tensor(x.astype(np.float32 if features else np.int32))
        expected = ops.convert_to_numpy(model(given, training=False))
        what = compare(network, x, np.full(len(x), length), out, expected, _TOLERANCE)
        if what:
            raise UnsupportedNetwork(f"what was read {what} in Keras on random data; the model does something that its "
                                     "layers do not show, or computes with few bits (mixed precision)")
