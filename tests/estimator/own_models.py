"""Model factories as users write them, each with something that a trainer could get wrong."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from runner.models.annotations import DropoutRate
from runner.models.networks import head


def stack(meta: dict[str, Any], *layers: keras.layers.Layer) -> keras.Sequential:
    return keras.Sequential([keras.Input(meta["X_shape_"][1:]), *layers, head(meta)])


# Layers ---------------------------------------------------------------------------------------


class Centred(keras.layers.Layer):
    """Subtracts a running mean, adds noise and asks for small activations."""

    def __init__(self, noise: float = 0.1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.noise = noise
        self.seed_generator = keras.random.SeedGenerator(7)

    def build(self, shape: Any) -> None:
        self.mean = self.add_weight(shape=(shape[-1],), initializer="zeros", trainable=False)

    def call(self, inputs: Any, training: bool = False) -> Any:
        if training:
            self.mean.assign(0.9 * self.mean + 0.1 * keras.ops.mean(inputs, axis=0))
            shape = keras.ops.shape(inputs)
            inputs = inputs + self.noise * keras.random.normal(shape, seed=self.seed_generator)
        self.add_loss(0.01 * keras.ops.mean(keras.ops.square(inputs)))
        return inputs - self.mean


def own_layer(meta: dict[str, Any], noise: float = 0.1) -> keras.Model:
    return stack(meta, keras.layers.Dense(8, "relu"), Centred(noise))


def batch_norm(meta: dict[str, Any]) -> keras.Model:
    # Without a bias, whose gradient would be nothing but rounding.
    dense = keras.layers.Dense(8, use_bias=False)
    return stack(meta, dense, keras.layers.BatchNormalization(momentum=0.8))


class Hidden(keras.layers.Layer):
    """Counts its calls where Keras does not look."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = tf.Variable(0.0, trainable=False)

    def call(self, inputs: Any) -> Any:
        return inputs * (1.0 + 0.01 * self.calls.assign_add(1.0))


class Careless(keras.layers.Layer):
    """Draws random numbers without a seed generator of its own."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.source = source

    def call(self, inputs: Any, training: bool = False) -> Any:
        if not training:
            return inputs
        if self.source == "keras":
            return inputs + keras.random.normal(keras.ops.shape(inputs))
        return inputs + tf.random.normal(tf.shape(inputs))


def hidden_state(meta: dict[str, Any], what: str = "variable") -> keras.Model:
    return stack(meta, Hidden() if what == "variable" else Careless(what))


def weights_of_tensorflow(meta: dict[str, Any], how: str = "eager") -> keras.Model:
    """Initial weights that TensorFlow draws, not Keras."""
    draw = {
        "eager": lambda shape, dtype: tf.random.normal(shape, dtype=dtype),
        "with a seed": lambda shape, dtype: tf.random.normal(shape, dtype=dtype, seed=3),
        "in a graph": lambda shape, dtype: tf.function(lambda: tf.random.normal(shape))(),
    }
    return stack(meta, keras.layers.Dense(16, "relu", kernel_initializer=draw[how]))


class Block(keras.layers.Layer):
    """Dropout out of the trainer's sight."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.dropout = keras.layers.Dropout(rate)

    def call(self, inputs: Any, training: bool = False) -> Any:
        return self.dropout(inputs, training=training)


def nested_dropout(meta: dict[str, Any], rate: DropoutRate = 0.1) -> keras.Model:
    return stack(meta, keras.layers.Dense(16, "relu"), keras.layers.Dropout(rate), Block(rate))


def two_dropouts(
    meta: dict[str, Any], first: DropoutRate = 0.0, second: DropoutRate = 0.0
) -> keras.Model:
    drop = keras.layers.Dropout
    return stack(
        meta, keras.layers.Dense(16, "relu"), drop(first), keras.layers.Dense(8), drop(second)
    )


# Inputs ---------------------------------------------------------------------------------------


def two_inputs(
    meta: dict[str, Any], n_left: int = 2, n_right: int = 2, named: bool = False
) -> keras.Model:
    """A branch for the first columns, and one for the others."""
    left, right = keras.Input((n_left,), name="left"), keras.Input((n_right,), name="right")
    joined = keras.layers.concatenate(
        [keras.layers.Dense(4, "relu")(left), keras.layers.Dense(6, "tanh")(right)]
    )
    inputs = {"left": left, "right": right} if named else [left, right]
    return keras.Model(inputs, head(meta)(joined))


def codes(meta: dict[str, Any], n_codes: int = 3) -> keras.Model:
    """The first column numbers a category, which is embedded."""
    code = keras.Input((), dtype="int32")
    rest = keras.Input((meta["X_shape_"][1] - 1,))
    joined = keras.layers.concatenate([keras.layers.Embedding(n_codes, 2)(code), rest])
    return keras.Model([code, rest], head(meta)(joined))


# Compiled models ------------------------------------------------------------------------------


def smoothed(y_true: Any, y_pred: Any) -> Any:
    """Cross-entropy with the labels smoothed."""
    labels = keras.ops.one_hot(keras.ops.cast(y_true, "int32"), y_pred.shape[-1])
    return keras.losses.categorical_crossentropy(
        keras.ops.reshape(labels, keras.ops.shape(y_pred)), y_pred, label_smoothing=0.1
    )


class Confidence(keras.metrics.Metric):
    """Mean of the highest probability."""

    def __init__(self) -> None:
        super().__init__(name="confidence")
        self.total = self.add_weight(initializer="zeros")
        self.count = self.add_weight(initializer="zeros")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        self.total.assign_add(keras.ops.sum(keras.ops.max(y_pred, axis=-1)))
        self.count.assign_add(keras.ops.cast(keras.ops.shape(y_pred)[0], "float32"))

    def result(self) -> Any:
        return self.total / (self.count + 1e-7)


def compiled(
    meta: dict[str, Any], optimizer: str = "adam", learning_rate: float = 0.01, **settings: Any
) -> keras.Model:
    model = stack(meta, keras.layers.Dense(8, "relu"))
    made = keras.optimizers.get(
        {"class_name": optimizer, "config": {"learning_rate": learning_rate, **settings}}
    )
    model.compile(made, smoothed, metrics=["accuracy", Confidence()], weighted_metrics=["accuracy"])
    return model


def spared_from_decay(meta: dict[str, Any]) -> keras.Model:
    """Weight decay on biases alone, and a learning rate that falls from step to step."""
    model = stack(meta, keras.layers.Dense(8, "relu"))
    rate = keras.optimizers.schedules.ExponentialDecay(0.02, 10, 0.9)
    optimizer = keras.optimizers.AdamW(rate, weight_decay=0.5)
    optimizer.exclude_from_weight_decay(var_names=["kernel"])
    model.compile(optimizer, "sparse_categorical_crossentropy")
    return model


# Training steps -------------------------------------------------------------------------------


class Contrasted(keras.Sequential):
    """Trains on each batch twice, the second time turned round, and reports what it likes."""

    reported = "metrics"

    def train_step(self, data: Any) -> dict[str, Any]:
        x, y, weight = keras.utils.unpack_x_y_sample_weight(data)
        with tf.GradientTape() as tape:
            plain, turned = self(x, training=True), self(-x, training=True)
            loss = self.compute_loss(x, y, plain, weight)
            loss += 0.1 * tf.reduce_mean(tf.square(plain - turned))
        gradients = tape.gradient(loss, self.trainable_weights)
        self.optimizer.apply(gradients, self.trainable_weights)
        if self.reported == "metrics":
            for metric in self.metrics:
                if metric.name == "loss":
                    metric.update_state(loss)
                else:
                    metric.update_state(y, plain)
            return {metric.name: metric.result() for metric in self.metrics}
        return {"loss": loss, "norm": tf.linalg.global_norm(gradients)}


def own_train_step(meta: dict[str, Any], reported: str = "metrics") -> keras.Model:
    model = Contrasted(stack(meta, keras.layers.Dense(8, "relu")).layers)
    model.reported = reported
    model.build((None, *meta["X_shape_"][1:]))
    return model


class Plain(keras.Model):
    """Subclassed, and its ``call`` knows nothing of training."""

    def __init__(self, output: keras.layers.Layer) -> None:
        super().__init__()
        self.hidden = keras.layers.Dense(8, "relu")
        self.answer = output

    def call(self, inputs: Any) -> Any:
        return self.answer(self.hidden(inputs))


def subclassed(meta: dict[str, Any]) -> keras.Model:
    return Plain(head(meta))


# What only Keras's own fit does ---------------------------------------------------------------


class Eager(Contrasted):
    def train_step(self, data: Any) -> dict[str, Any]:
        results = super().train_step(data)
        assert float(results["loss"].numpy()) >= 0
        return results


def eager(meta: dict[str, Any]) -> keras.Model:
    model = Eager(stack(meta, keras.layers.Dense(8, "relu")).layers)
    model.build((None, *meta["X_shape_"][1:]))
    model.compile("adam", "sparse_categorical_crossentropy", run_eagerly=True)
    return model


def replicated(meta: dict[str, Any], compiled: bool = False) -> keras.Model:
    with tf.distribute.MirroredStrategy().scope():
        model = stack(meta, keras.layers.Dense(8, "relu"))
        if compiled:
            model.compile("adam", "sparse_categorical_crossentropy")
    return model


class Paired(Contrasted):
    """Needs to know the size of a batch, which in a graph for all batches is open."""

    def train_step(self, data: Any) -> dict[str, Any]:
        tf.eye(data[0].shape[0])
        return super().train_step(data)


def paired(meta: dict[str, Any]) -> keras.Model:
    model = Paired(stack(meta, keras.layers.Dense(8, "relu")).layers)
    model.build((None, *meta["X_shape_"][1:]))
    return model


# Callbacks ------------------------------------------------------------------------------------


class CountBatches(keras.callbacks.Callback):
    batches = 0

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        CountBatches.batches += 1
