"""Keras callbacks around the fast trainer: those that act between epochs."""

from __future__ import annotations

from collections.abc import Sequence

import keras

_BATCH_HOOKS = (
    "on_batch_begin",
    "on_batch_end",
    "on_train_batch_begin",
    "on_train_batch_end",
    "on_test_begin",
    "on_test_end",
    "on_test_batch_begin",
    "on_test_batch_end",
)


def acts_within_epochs(callback: keras.callbacks.Callback) -> bool:
    """Whether a callback wants to be called for every batch, which only Keras's ``fit`` does."""
    if type(callback) is keras.callbacks.TerminateOnNaN:
        # It saves the rest of an epoch; the fit fails at the epoch's end all the same.
        return False
    base = keras.callbacks.Callback
    # A hook may also be set on the object, as LambdaCallback does.
    hooks = ((getattr(callback, name), getattr(base, name)) for name in _BATCH_HOOKS)
    return any(getattr(hook, "__func__", hook) is not original for hook, original in hooks)


class EpochCallbacks:
    """Calls callbacks as ``fit`` would, batches left out.

    Parameters
    ----------
    callbacks
        None of which acts within epochs.
    model
        What they act on; a callback stops training through its ``stop_training``.
    """

    def __init__(
        self,
        callbacks: Sequence[keras.callbacks.Callback],
        model: keras.Model,
        n_epochs: int,
        n_steps: int,
    ) -> None:
        self.model = model
        self._scores: dict[str, float] = {}
        self._list = keras.callbacks.CallbackList(
            list(callbacks),
            add_history=False,
            add_progbar=False,
            model=model,
            verbose=0,
            epochs=n_epochs,
            steps=n_steps,
        )

    def begin(self) -> None:
        self.model.stop_training = False
        self._list.on_train_begin()

    def begin_epoch(self, epoch: int) -> None:
        self._list.on_epoch_begin(epoch)

    def end_epoch(self, epoch: int, scores: dict[str, float]) -> bool:
        """Tell the epoch's scores; return whether a callback asks to stop."""
        self._scores = dict(scores)
        self._list.on_epoch_end(epoch, dict(scores))
        return bool(self.model.stop_training)

    def end(self) -> None:
        self._list.on_train_end(self._scores)
