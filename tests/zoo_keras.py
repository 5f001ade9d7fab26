"""Networks of the zoo as they would be written in Keras: the same layers, random weights of their own."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "torch")
import keras

K = keras.layers


def _sequential(*layers: Any, features: int | None = None) -> Any:
    keras.utils.set_random_seed(1)
    shape = (None,) if features is None else (None, features)
    return keras.Sequential([keras.Input(shape), *layers])


TWINS: dict[str, Callable[[], Any]] = {
    "keyword_gru": lambda: _sequential(K.GRU(24), K.Dense(12), features=10),
    "keyword_stack": lambda: _sequential(
        K.BatchNormalization(), K.GRU(16, return_sequences=True), K.GRU(16, return_sequences=True),
        K.GlobalAveragePooling1D(), K.Dropout(0.5), K.Dense(12, activation="softmax"), features=10),
    "nsnet2": lambda: _sequential(
        K.Dense(20, activation="relu"), K.GRU(20, return_sequences=True), K.GRU(20, return_sequences=True),
        K.Dense(24, activation="relu"), K.Dense(24, activation="relu"), K.Dense(17, activation="sigmoid"), features=17),
    "nsnet2_norm": lambda: _sequential(
        K.LayerNormalization(), K.Dense(20, activation="relu"), K.GRU(20, return_sequences=True),
        K.LayerNormalization(), K.GRU(20, return_sequences=True), K.Dense(24, activation="relu"),
        K.Dense(17, activation="sigmoid"), features=17),
    "tagger": lambda: _sequential(
        K.Bidirectional(K.LSTM(12, return_sequences=True)), K.Bidirectional(K.LSTM(12, return_sequences=True)),
        K.Dense(5, activation="softmax"), features=6),
    "gru4rec": lambda: _sequential(K.Embedding(60, 12), K.GRU(20), K.Dense(60)),
    "sentiment": lambda: _sequential(K.Embedding(80, 10), K.Bidirectional(K.LSTM(9)), K.Dense(2)),
    "char_rnn": lambda: _sequential(K.SimpleRNN(16), K.Dense(5, activation="softmax"), features=12),
    "battery": lambda: _sequential(K.LSTM(16, return_sequences=True), K.Dense(1), K.ReLU(max_value=1.0), features=3),
    "separable": lambda: _sequential(
        K.Conv1D(10, 5, padding="same", groups=10), K.Conv1D(16, 1), K.BatchNormalization(), K.ReLU(),
        K.GRU(14, return_sequences=True), K.GlobalAveragePooling1D(), K.Dense(12), features=10),
}
