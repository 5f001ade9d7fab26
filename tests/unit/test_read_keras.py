"""Keras 3 models, on torch's backend: each layer against Keras itself, twins of torch modules, and what is refused."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

os.environ.setdefault("KERAS_BACKEND", "torch")
keras = pytest.importorskip("keras")
torch = pytest.importorskip("torch")

import bittailor as bt  # noqa: E402
from bittailor.errors import UnsupportedNetwork  # noqa: E402
from bittailor.read.keras import LAYERS  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras' own variables
K = keras.layers


def model_of(*layers: Any, steps: int | None = None, batch: int | None = None) -> Any:
    """A Sequential of 3 features, its weights random, biases too."""
    keras.utils.set_random_seed(3)
    features = () if layers and isinstance(layers[0], K.Embedding) else (3,)
    first = keras.Input(batch_shape=(batch, steps, *features)) if batch else keras.Input((steps, *features))
    model = keras.Sequential([first, *layers])
    rng = np.random.default_rng(5)
    variances = [v.path.endswith("moving_variance") for v in model.weights]
    values = [rng.normal(size=w.shape).astype(np.float32) * 0.6 for w in model.get_weights()]
    model.set_weights([np.abs(v) + 0.5 if positive else v for v, positive in zip(values, variances, strict=True)])
    return model


READ: dict[str, Callable[[], tuple[Any, ...]]] = {
    "GRU": lambda: (K.GRU(4),),
    "GRU reset before": lambda: (K.GRU(4, reset_after=False),),
    "GRU no bias": lambda: (K.GRU(4, use_bias=False),),
    "GRU reset before, no bias": lambda: (K.GRU(4, reset_after=False, use_bias=False),),
    "GRU steps": lambda: (K.GRU(4, return_sequences=True), K.Dense(2)),
    "GRU backwards": lambda: (K.GRU(4, go_backwards=True), K.Dense(2)),
    "LSTM": lambda: (K.LSTM(4, return_sequences=True), K.LSTM(5)),
    "LSTM no bias": lambda: (K.LSTM(4, use_bias=False),),
    "Bidirectional steps": lambda: (K.Bidirectional(K.GRU(4, return_sequences=True)), K.GRU(3), K.Dense(2)),
    "Bidirectional ends": lambda: (K.Bidirectional(K.LSTM(4)), K.Dense(2, activation="softmax")),
    "Bidirectional sum": lambda: (K.Bidirectional(K.GRU(4, return_sequences=True), merge_mode="sum"), K.GRU(3)),
    "Bidirectional mul": lambda: (K.Bidirectional(K.GRU(4), merge_mode="mul"), K.Dense(2)),
    "Dense first": lambda: (K.Dense(6, activation="relu"), K.Dropout(0.5), K.GaussianNoise(0.1), K.GRU(4), K.Dense(2)),
    "TimeDistributed": lambda: (K.GRU(4, return_sequences=True), K.TimeDistributed(K.Dense(2))),
    "mean": lambda: (K.GRU(4, return_sequences=True), K.GlobalAveragePooling1D(), K.Dense(2)),
    "functions": lambda: (K.GRU(4), K.ReLU(), K.Dense(4), K.ELU(), K.Dense(4), K.LeakyReLU(negative_slope=0.01),
                          K.Dense(3), K.Activation("sigmoid")),
    "Conv1D": lambda: (K.Conv1D(6, 3, dilation_rate=2, padding="causal", activation="relu"), K.GRU(4), K.Dense(2)),
    "Conv1D groups": lambda: (K.Conv1D(6, 4, padding="same", groups=3, use_bias=False), K.GRU(4), K.Dense(2)),
    "Conv1D valid": lambda: (K.Conv1D(6, 3), K.GRU(4, return_sequences=True), K.Dense(2)),
    "Cropping1D": lambda: (K.GRU(4, return_sequences=True), K.Cropping1D((2, 0)), K.Dense(2)),
    "Embedding": lambda: (K.Embedding(9, 3), K.GRU(4), K.Dense(2)),
    "LayerNormalization": lambda: (K.GRU(4, return_sequences=True), K.LayerNormalization(), K.Dense(2)),
    "LayerNormalization bare": lambda: (K.GRU(4), K.LayerNormalization(center=False, scale=False), K.Dense(2)),
    "LayerNormalization bias": lambda: (K.GRU(4), K.LayerNormalization(scale=False), K.Dense(2)),
    "RMSNormalization": lambda: (K.GRU(4), K.RMSNormalization(), K.Dense(2)),
    "SimpleRNN": lambda: (K.SimpleRNN(4, return_sequences=True), K.SimpleRNN(3, activation="relu", go_backwards=True)),
    "BatchNormalization": lambda: (K.GRU(4, return_sequences=True), K.BatchNormalization(), K.Dense(2)),
    "BatchNormalization bare": lambda: (K.BatchNormalization(center=False, scale=False), K.GRU(4), K.Dense(2)),
    "Rescaling": lambda: (K.Rescaling(0.5, offset=-1.0), K.GRU(4), K.Dense(2)),
    "max": lambda: (K.GRU(4, return_sequences=True), K.GlobalMaxPooling1D(), K.Dense(2)),
    "slopes": lambda: (K.GRU(4), K.Dense(4), K.LeakyReLU(), K.Dense(4), K.ReLU(max_value=3.0), K.Dense(4), K.ELU(2.0)),
    "Softmax": lambda: (K.GRU(4), K.Dense(3), K.Softmax()),
    **{name: (lambda name=name: (K.GRU(4), K.Dense(3, activation=name))) for name in (
        "sigmoid", "tanh", "hard_sigmoid", "softsign", "silu", "softplus", "elu", "hard_tanh", "log_softmax",
        "gelu", "relu6", "selu", "mish", "hard_silu", "log_sigmoid", "leaky_relu")},
}


@pytest.mark.parametrize("name", READ)
def test_what_is_read_is_what_keras_computes(name: str) -> None:
    """from_keras compares both itself; here with other values, at 1e-6 of float32."""
    model = model_of(*READ[name]())
    network = bt.from_keras(model)
    x = np.random.default_rng(1).normal(size=(4, 9, 3))
    x = x if name != "Embedding" else np.abs(x[:, :, 0] * 4).astype(int).clip(0, 8).astype(float)
    expected = keras.ops.convert_to_numpy(model(x.astype(np.float32), training=False))
    got = network(x)
    if "softmax" in name.lower() or name == "Bidirectional ends":
        got = np.exp(got - got.max(-1, keepdims=True))
        got = got / got.sum(-1, keepdims=True)
        got = np.log(got) if name == "log_softmax" else got
    np.testing.assert_allclose(got, expected, atol=3e-6)


def test_the_table_of_layers_is_tested() -> None:
    used = {type(layer).__name__ for make in READ.values() for layer in make()}
    assert LAYERS.keys() <= used, LAYERS.keys() - used


def test_a_functional_chain_is_read_and_branches_are_refused() -> None:
    x = keras.Input((None, 3))
    h = K.GRU(4, return_sequences=True, name="low")(x)
    top = K.Dense(2, name="head")(K.GRU(5, name="top")(h))
    network = bt.from_keras(keras.Model(x, top))
    assert {"low0.h", "top0.h", "head.out"} <= network.graph.sites.keys()
    branched = K.Add()([h, K.Dense(4)(h)])
    with pytest.raises(UnsupportedNetwork, match="one chain of layers"):
        bt.from_keras(keras.Model(x, branched))
    with pytest.raises(UnsupportedNetwork, match="2 outputs"):
        bt.from_keras(keras.Model(x, [top, h]))


def test_nested_models_fixed_steps_and_batches_are_read() -> None:
    inner = keras.Sequential([keras.Input((5, 3)), K.GRU(4)])
    assert bt.from_keras(model_of(inner, K.Dense(2), steps=5)).features == 3
    assert bt.from_keras(model_of(K.GRU(4), K.Dense(2), steps=1, batch=1)).features == 3


@pytest.mark.parametrize(("layers", "said"), [
    (lambda: (K.Masking(), K.GRU(4)), "Masking.*lengths"),
    (lambda: (K.GRU(4, return_sequences=True), K.Cropping1D((1, 2))), r"cropping=\(1, 2\)"),
    (lambda: (K.Conv1D(4, 3, strides=2), K.GRU(4)), "strides=2"),
    (lambda: (K.Embedding(4, 3, mask_zero=True), K.GRU(4)), "mask_zero"),
    (lambda: (K.RNN(K.GRUCell(4)),), "cells of your own"),
    (lambda: (K.SimpleRNN(4, activation="sigmoid"),), "activation=sigmoid"),
    (lambda: (K.BatchNormalization(axis=1), K.GRU(4)), "axis=1"),
    (lambda: (K.GRU(4, activation="relu"),), "activation=relu"),
    (lambda: (K.LSTM(4, recurrent_activation="hard_sigmoid"),), "recurrent_activation=hard_sigmoid"),
    (lambda: (K.GRU(4, stateful=True),), "stateful"),
    (lambda: (K.GRU(4, return_sequences=True, go_backwards=True),), "turns the sequence round"),
    (lambda: (K.Bidirectional(K.GRU(4), merge_mode="ave"),), "merge_mode=ave"),
    (lambda: (K.GRU(4, return_sequences=True), K.Flatten()), "steps and features"),
    (lambda: (K.GRU(4), K.Dense(2, activation="exponential")), "activation is exponential"),
    (lambda: (K.GRU(4), K.Dense(2, activation="softmax"), K.Dense(2)), "only read at the end"),
    (lambda: (K.GRU(4), K.ReLU(threshold=3.0)), "threshold"),
    (lambda: (K.GRU(4), K.Lambda(lambda x: x * 2)), "function of your own"),
])
def test_what_is_refused_names_layer_and_reason(layers: Callable[[], tuple[Any, ...]], said: str) -> None:
    given = layers()
    model = model_of(*given, steps=5, batch=2)
    with pytest.raises(UnsupportedNetwork, match=said):
        bt.from_keras(model)


def test_what_is_no_model_is_refused() -> None:
    with pytest.raises(UnsupportedNetwork, match="Keras 3 model"):
        bt.from_keras(torch.nn.Linear(2, 2))
    with pytest.raises(UnsupportedNetwork, match="Keras 3 model"):
        bt.from_keras(None)
    with pytest.raises(UnsupportedNetwork, match="call it once on data"):
        bt.from_keras(keras.Sequential([K.GRU(3)]))


class Twin(torch.nn.Module):
    """The torch module of a Keras GRU with a linear layer."""

    def __init__(self, weights: list[np.ndarray]) -> None:
        super().__init__()
        self.gru, self.head = torch.nn.GRU(3, 6, batch_first=True), torch.nn.Linear(6, 4)
        kernel, recurrent, bias, head, b = weights
        order = (1, 0, 2)  # z, r, h
        rows = [np.concatenate([np.split(part, 3)[i] for i in order]) for part in (kernel.T, recurrent.T, *bias)]
        names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
        self.load_state_dict({**{f"gru.{n}": torch.tensor(v) for n, v in zip(names, rows, strict=True)},
                              "head.weight": torch.tensor(head.T), "head.bias": torch.tensor(b)})

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.gru(x)[0][:, -1])


def test_a_twin_of_a_torch_module_has_its_bits() -> None:
    model = model_of(K.GRU(6, name="gru"), K.Dense(4, name="head"))
    network, twin = bt.from_keras(model), bt.from_torch(Twin(model.get_weights()))
    assert network.fingerprint == twin.fingerprint
