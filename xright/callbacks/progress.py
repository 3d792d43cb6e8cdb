"""One bar for a whole training, with its name in front; on terminals only."""

from typing import Any

import lightning as L
from lightning.pytorch.callbacks import TQDMProgressBar
from lightning.pytorch.callbacks.progress.tqdm_progress import Tqdm


class Progress(TQDMProgressBar):
    """title: what is being trained. Lightning's own bar counts within its epoch; a run is one (see `sampler.py`)."""

    def __init__(self, title: str) -> None:
        super().__init__()
        self.title = title

    def init_train_tqdm(self) -> Tqdm:
        """Return the bar, which begins at a resumed run's step."""
        return Tqdm(
            total=self.trainer.max_steps, initial=self.trainer.global_step, desc=self.title, unit="step",
            dynamic_ncols=True, disable=None if self.is_enabled else True,
        )  # fmt: skip

    def on_train_epoch_start(self, *_: Any) -> None:
        """Leave the bar where it is: Lightning's would begin again."""

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, *_: Any) -> None:
        """Count this step on the bar."""
        self.train_progress_bar.update()

    def get_metrics(self, *_: Any) -> dict[str, Any]:
        """Return nothing to show behind the bar: loggers have it."""
        return {}

    def on_exception(self, *_: Any) -> None:
        """Leave the cursor below the bar."""
        if self._train_progress_bar is not None:
            self.on_train_end()
