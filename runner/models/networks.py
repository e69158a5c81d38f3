"""The networks that ship with the runner.

A factory's keyword arguments are the model's hyper-parameters; their annotations say what is
allowed. ``meta`` is filled in by scikeras: ``X_shape_``, ``target_type_``, ``n_classes_``, ….
Keras is imported inside, so that a config can be checked without it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from runner.models.annotations import DropoutRate, NonNegative, Units

if TYPE_CHECKING:
    import keras

AtLeastOneUnits = Annotated[list[Units], Field(min_length=1)]
Activation = Literal[
    "celu", "elu", "exponential", "gelu", "hard_sigmoid", "hard_silu", "hard_swish", "hard_tanh",
    "leaky_relu", "linear", "log_sigmoid", "mish", "relu", "relu6", "selu", "sigmoid", "silu",
    "soft_shrink", "softplus", "softsign", "sparse_plus", "squareplus", "swish", "tanh",
]  # fmt: skip


def head(meta: dict[str, Any]) -> keras.layers.Layer:
    """The output layer that the task asks for.

    One sigmoid unit for two classes, a softmax over more, one linear unit for regression.
    """
    import keras

    if meta["target_type_"] == "binary":
        return keras.layers.Dense(1, activation="sigmoid")
    if meta["target_type_"] == "multiclass":
        return keras.layers.Dense(meta["n_classes_"], activation="softmax")
    return keras.layers.Dense(1)


def mlp(
    meta: dict[str, Any],
    hidden_layer_one: Units = 784,
    hidden_layer_two: Units = 256,
    dropout: DropoutRate = 0.2,
    activation: Activation = "relu",
) -> keras.Model:
    """Two dense layers, each with dropout; images are flattened."""
    import keras

    shape = meta["X_shape_"][1:]
    return keras.Sequential(
        [
            keras.Input(shape),
            *([keras.layers.Flatten()] if len(shape) > 1 else []),
            keras.layers.Dense(hidden_layer_one, activation=activation),
            keras.layers.Dropout(dropout),
            keras.layers.Dense(hidden_layer_two, activation=activation),
            keras.layers.Dropout(dropout),
            head(meta),
        ]
    )


def deep_mlp(
    meta: dict[str, Any],
    hidden_units: AtLeastOneUnits = [256, 128, 64],  # noqa: B006 - read only
    dropout: DropoutRate = 0.1,
    activation: Activation = "relu",
    batch_norm: bool = True,
    l2: NonNegative = 0.0,
) -> keras.Model:
    """Dense layers of the given sizes; images are flattened."""
    import keras

    shape = meta["X_shape_"][1:]
    layers: list[keras.layers.Layer] = [keras.layers.Flatten()] if len(shape) > 1 else []
    for units in hidden_units:
        penalty = keras.regularizers.L2(l2) if l2 else None
        layers.append(
            keras.layers.Dense(units, use_bias=not batch_norm, kernel_regularizer=penalty)
        )
        if batch_norm:
            layers.append(keras.layers.BatchNormalization())
        layers.append(keras.layers.Activation(activation))
        layers.append(keras.layers.Dropout(dropout))
    return keras.Sequential([keras.Input(shape), *layers, head(meta)])


def cnn(
    meta: dict[str, Any],
    filters: AtLeastOneUnits = [16, 32],  # noqa: B006 - read only
    kernel_size: Units = 3,
    dense_units: Units = 64,
    dropout: DropoutRate = 0.2,
    batch_norm: bool = False,
) -> keras.Model:
    """Convolution blocks, each halving height and width, then one dense layer; takes images."""
    import keras

    shape = tuple(meta["X_shape_"][1:])
    layers: list[keras.layers.Layer] = []
    if len(shape) == 2:
        layers.append(keras.layers.Reshape((*shape, 1)))
    for count in filters:
        layers.append(keras.layers.Conv2D(count, kernel_size, padding="same", use_bias=True))
        if batch_norm:
            layers.append(keras.layers.BatchNormalization())
        layers.append(keras.layers.Activation("relu"))
        layers.append(keras.layers.MaxPooling2D(padding="same"))
    layers += [
        keras.layers.Flatten(),
        keras.layers.Dense(dense_units, activation="relu"),
        keras.layers.Dropout(dropout),
    ]
    return keras.Sequential([keras.Input(shape), *layers, head(meta)])


cnn.takes = "images"  # type: ignore[attr-defined]
