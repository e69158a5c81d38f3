"""Keras optimizers on TensorFlow's one-pass kernels: the same formulas, one operation a weight."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from runner.config.schema import Optimizer


def make_optimizer(config: Optimizer, fast: bool) -> keras.optimizers.Optimizer:
    """Build the Keras optimizer that the config describes, on fused kernels when `fast`."""
    classes = {
        "adam": keras.optimizers.Adam,
        "adamw": keras.optimizers.AdamW,
        "sgd": keras.optimizers.SGD,
        "rmsprop": keras.optimizers.RMSprop,
    }
    optimizer = classes[config.name](**config.arguments())
    return fused(optimizer) if fast else optimizer


def fused(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
    """Return the optimizer's fused twin, or itself where there is none.

    The twin is a new optimizer without state.
    """
    twin = _TWINS.get(type(optimizer))
    variant = getattr(optimizer, "amsgrad", False) or getattr(optimizer, "centered", False)
    if twin is None or variant:
        return optimizer
    return twin.from_config(optimizer.get_config())


def _fits_kernel(gradient: Any, variable: Any) -> bool:
    dense = not isinstance(gradient, tf.IndexedSlices)
    return dense and variable.dtype in (tf.float32, "float32")


def _handle(variable: Any) -> Any:
    """The TensorFlow resource behind a Keras or TensorFlow variable."""
    return (variable.value if isinstance(variable, keras.Variable) else variable).handle


class _FusedAdamStep:
    """Adam's update (Kingma & Ba, 2014) in one kernel; AdamW's decay is applied before it."""

    def update_step(self: Any, gradient: Any, variable: Any, learning_rate: Any) -> None:
        if not _fits_kernel(gradient, variable):
            super().update_step(gradient, variable, learning_rate)  # type: ignore[misc]
            return
        index = self._get_variable_index(variable)
        step = tf.cast(self.iterations.value + 1, tf.float32)
        tf.raw_ops.ResourceApplyAdam(
            var=_handle(variable),
            m=_handle(self._momentums[index]),
            v=_handle(self._velocities[index]),
            beta1_power=tf.pow(tf.constant(self.beta_1, tf.float32), step),
            beta2_power=tf.pow(tf.constant(self.beta_2, tf.float32), step),
            lr=tf.cast(learning_rate, tf.float32),
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=gradient,
        )


class FusedAdam(_FusedAdamStep, keras.optimizers.Adam):
    pass


class FusedAdamW(_FusedAdamStep, keras.optimizers.AdamW):
    pass


class FusedSGD(keras.optimizers.SGD):
    """Stochastic gradient descent, with momentum or without, in one kernel."""

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        if not _fits_kernel(gradient, variable):
            super().update_step(gradient, variable, learning_rate)
            return
        rate = tf.cast(learning_rate, tf.float32)
        if self.momentum == 0:
            tf.raw_ops.ResourceApplyGradientDescent(
                var=_handle(variable), alpha=rate, delta=gradient
            )
            return
        tf.raw_ops.ResourceApplyKerasMomentum(
            var=_handle(variable),
            accum=_handle(self.momentums[self._get_variable_index(variable)]),
            lr=rate,
            grad=gradient,
            momentum=self.momentum,
            use_nesterov=self.nesterov,
        )


class FusedRMSprop(keras.optimizers.RMSprop):
    """RMSprop (Tieleman & Hinton, 2012) in one kernel."""

    def build(self, variables: list[Any]) -> None:
        super().build(variables)
        # The kernel has a momentum slot even when momentum is 0.
        if self.momentum == 0:
            self._momentums: list[Any] = self.add_optimizer_variables(variables, "momentum")

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        if not _fits_kernel(gradient, variable):
            super().update_step(gradient, variable, learning_rate)
            return
        index = self._get_variable_index(variable)
        tf.raw_ops.ResourceApplyRMSProp(
            var=_handle(variable),
            ms=_handle(self._velocities[index]),
            mom=_handle(self._momentums[index]),
            lr=tf.cast(learning_rate, tf.float32),
            rho=self.rho,
            momentum=self.momentum,
            epsilon=self.epsilon,
            grad=gradient,
        )


_TWINS: dict[type, Any] = {
    keras.optimizers.Adam: FusedAdam,
    keras.optimizers.AdamW: FusedAdamW,
    keras.optimizers.SGD: FusedSGD,
    keras.optimizers.RMSprop: FusedRMSprop,
}
