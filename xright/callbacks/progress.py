"""Lightning's progress bar, with the run's own name in front and one bar for the whole run."""

from typing import Any

import lightning as L
from lightning.pytorch.callbacks import TQDMProgressBar
from lightning.pytorch.callbacks.progress.tqdm_progress import Tqdm


class Progress(TQDMProgressBar):
    """title: what is being trained."""

    def __init__(self, title: str) -> None:
        super().__init__(refresh_rate=5)
        self.title = title

    def init_train_tqdm(self) -> Tqdm:
        """The bar of the whole run; it stays on screen when done."""
        return Tqdm(desc=self.title, dynamic_ncols=True, leave=True, unit="step", disable=None)

    def on_train_epoch_start(self, trainer: L.Trainer, *_: Any) -> None:
        """One Lightning epoch is the whole run (see `data/sampler.py`): count its steps."""
        self.train_progress_bar.reset(trainer.fit_loop.max_batches)
        self.train_progress_bar.initial = trainer.global_step

    def get_metrics(self, *_: Any) -> dict[str, int | str | float | dict[str, float]]:
        """None: figures are in the CSV files and W&B."""
        return {}
