"""Callbacks that see what a training finds: after each step, and in an evaluation that comes before the first one."""

from typing import Any

import lightning as L


class Watcher(L.Callback):
    """A callback with one more hook, `watch`, which the outputs of `JointModule.training_step` reach, and those of an
    evaluation that an interrupted training still owes, or that is all there is of a training without steps."""

    def watch(self, trainer: L.Trainer, pl_module: Any, outputs: Any) -> None:
        """See what was found: of a step, of an evaluation, or of both."""

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: Any, *_: Any) -> None:
        """Watch what the step found."""
        self.watch(trainer, pl_module, outputs)


def tell(trainer: L.Trainer, pl_module: Any, outputs: Any) -> None:
    """Let every watcher of a training watch."""
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, Watcher):
            callback.watch(trainer, pl_module, outputs)
