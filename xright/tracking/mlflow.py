"""MLflow: a run of it for each run folder, in a database beside the folders or on a server."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from lightning.pytorch.loggers import MLFlowLogger

from xright.config.dotted import flatten
from xright.machine import files


class Once(MLFlowLogger):
    """Logs each key once per step: what a start that goes on logs again is the same to the bit, and is left out."""

    def __init__(self, experiment: str, **settings: Any) -> None:
        super().__init__(experiment, **settings)
        self.there: dict[str, set[int]] = {}

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log numbers at a step, those that MLflow does not have yet."""
        super().log_metrics({key: value for key, value in metrics.items() if step not in self.steps(key)}, step)

    def steps(self, key: str) -> set[int]:
        """The steps of a key that were there when this start first logged it."""
        if key not in self.there:
            self.there[key] = {point.step for point in self.experiment.get_metric_history(self.run_id, key)}
        return self.there[key]


def mlflow_logger(experiment: str, uri: str, save_dir: str) -> Once:
    """The run of a folder: its id is kept in `<save_dir>/mlflow_run_id`, so that a resumed run goes on in it.

    experiment: its name in MLflow. uri: of the tracking store. Parameters are the settings of `config.yaml`.
    """
    logging.getLogger("mlflow").setLevel(logging.WARNING)  # else it tells how it makes its tables
    id_file, about = Path(save_dir) / "mlflow_run_id", Path(save_dir) / "config.yaml"
    if id_file.exists():
        return Once(experiment, tracking_uri=uri, run_id=id_file.read_text())
    logger = Once(experiment, tracking_uri=uri, run_name=Path(save_dir).name)
    if about.exists():
        settings = flatten(yaml.safe_load(about.read_text(encoding="utf-8")))
        logger.log_hyperparams({key: str(value) for key, value in settings.items()})
    files.write(id_file, str(logger.run_id))
    return logger
