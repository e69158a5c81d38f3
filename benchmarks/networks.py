"""The networks as people write them in plain Keras; the same layers as the runner's own."""

from __future__ import annotations

from typing import Any

import keras


def build(
    model: str, shape: tuple[int, ...], n_classes: int, learning_rate: float, **arguments: Any
) -> keras.Model:
    """Build and compile; `model` is mlp or cnn."""
    layers = _mlp(**arguments) if model == "mlp" else _cnn(shape, **arguments)
    head = (
        keras.layers.Dense(1, activation="sigmoid")
        if n_classes == 2
        else keras.layers.Dense(n_classes, activation="softmax")
    )
    network = keras.Sequential([keras.Input(shape), *layers, head])
    loss = "binary_crossentropy" if n_classes == 2 else "sparse_categorical_crossentropy"
    network.compile(keras.optimizers.Adam(learning_rate), loss, metrics=["accuracy"])
    return network


def _mlp(hidden_layer_one: int, hidden_layer_two: int, dropout: float) -> list[Any]:
    return [
        keras.layers.Flatten(),
        keras.layers.Dense(hidden_layer_one, activation="relu"),
        keras.layers.Dropout(dropout),
        keras.layers.Dense(hidden_layer_two, activation="relu"),
        keras.layers.Dropout(dropout),
    ]


def _cnn(shape: tuple[int, ...], filters: list[int], dense_units: int, dropout: float) -> list[Any]:
    layers: list[Any] = [keras.layers.Reshape((*shape, 1))]
    for count in filters:
        layers += [
            keras.layers.Conv2D(count, 3, padding="same", activation="relu"),
            keras.layers.MaxPooling2D(padding="same"),
        ]
    return [
        *layers,
        keras.layers.Flatten(),
        keras.layers.Dense(dense_units, activation="relu"),
        keras.layers.Dropout(dropout),
    ]
