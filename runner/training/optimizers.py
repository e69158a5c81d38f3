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
    """Let the optimizer update through the fused kernels, where there is one for it.

    It stays the same object, so that its state, exclusions from decay and schedule stay with it.
    """
    twin = _TWINS.get(type(optimizer))
    variant = getattr(optimizer, "amsgrad", False) or getattr(optimizer, "centered", False)
    if twin is not None and not variant and not optimizer.built:
        optimizer.__class__ = twin
    return optimizer


def _fits_kernel(gradient: Any, variable: Any) -> bool:
    dense = not isinstance(gradient, tf.IndexedSlices)
    return dense and variable.dtype in (tf.float32, "float32")


def _handle(variable: Any) -> Any:
    """The TensorFlow resource behind a Keras or TensorFlow variable."""
    return (variable.value if isinstance(variable, keras.Variable) else variable).handle


class _Fused:
    """Updates weight after weight; Keras first sums the gradients over the replicas of a strategy,
    which here is always one."""

    def _backend_update_step(
        self: Any, grads: Any, trainable_variables: Any, learning_rate: Any
    ) -> None:
        rate = tf.cast(learning_rate, tf.float32)
        for gradient, variable in zip(grads, trainable_variables, strict=True):
            self.update_step(gradient, variable, rate)


class _FusedAdamStep(_Fused):
    """Adam's update (Kingma & Ba, 2014) in one kernel; AdamW's decay is applied before it."""

    def apply(self: Any, grads: Any, trainable_variables: Any = None) -> None:
        # What every weight's update needs, computed once.
        step = tf.cast(self.iterations + 1, tf.float32)
        self._beta_1, self._beta_2 = tf.constant(self.beta_1), tf.constant(self.beta_2)
        self._beta_1_power = tf.pow(self._beta_1, step)
        self._beta_2_power = tf.pow(self._beta_2, step)
        self._epsilon = tf.constant(self.epsilon)
        super().apply(grads, trainable_variables)  # type: ignore[misc]

    def update_step(self: Any, gradient: Any, variable: Any, learning_rate: Any) -> None:
        if not _fits_kernel(gradient, variable):
            super().update_step(gradient, variable, learning_rate)  # type: ignore[misc]
            return
        index = self._get_variable_index(variable)
        tf.raw_ops.ResourceApplyAdam(
            var=_handle(variable),
            m=_handle(self._momentums[index]),
            v=_handle(self._velocities[index]),
            beta1_power=self._beta_1_power,
            beta2_power=self._beta_2_power,
            lr=learning_rate,
            beta1=self._beta_1,
            beta2=self._beta_2,
            epsilon=self._epsilon,
            grad=gradient,
        )


class FusedAdam(_FusedAdamStep, keras.optimizers.Adam):
    pass


class FusedAdamW(_FusedAdamStep, keras.optimizers.AdamW):
    pass


class FusedSGD(_Fused, keras.optimizers.SGD):
    """Stochastic gradient descent, with momentum or without, in one kernel."""

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        if not _fits_kernel(gradient, variable):
            super().update_step(gradient, variable, learning_rate)
            return
        if self.momentum == 0:
            tf.raw_ops.ResourceApplyGradientDescent(
                var=_handle(variable), alpha=learning_rate, delta=gradient
            )
            return
        tf.raw_ops.ResourceApplyKerasMomentum(
            var=_handle(variable),
            accum=_handle(self.momentums[self._get_variable_index(variable)]),
            lr=learning_rate,
            grad=gradient,
            momentum=self.momentum,
            use_nesterov=self.nesterov,
        )


class FusedRMSprop(_Fused, keras.optimizers.RMSprop):
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
            lr=learning_rate,
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
