"""TensorBoard's event files, in a run's folder."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import TensorBoardLogger


class Events(TensorBoardLogger):
    """Writes `<save_dir>/tensorboard/`. A start that goes on tells TensorBoard from which step on what a former one
    wrote is void (its `purge_step`), so that every point is there once."""

    def __init__(self, save_dir: str) -> None:
        super().__init__(save_dir, name="tensorboard", version="", flush_secs=1)

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log numbers at a step; the first of a start is the first that comes again."""
        self._go_on(step)
        super().log_metrics(dict(metrics), step)

    def save(self) -> None:
        """Put on the disk what has been logged, if anything has."""
        if self._experiment is not None:
            self._experiment.flush()

    def _go_on(self, step: int | None) -> None:
        settings: dict[str, Any] = self._kwargs
        if self._experiment is None and any(Path(self.log_dir).glob("events.*")):
            settings["purge_step"] = step
