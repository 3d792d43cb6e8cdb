"""Trackio: a run of it for each run folder, in a folder beside them, on a Space or a server (TRACKIO_SPACE_ID, …)."""

import io
import os
from argparse import Namespace
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import yaml
from lightning.pytorch.loggers import Logger

from xright.config.dotted import flatten
from xright.errors import UserError
from xright.machine import files


class Once(Logger):
    """Logs each key once per step: what a start that goes on logs again is the same to the bit, and is left out.

    Trackio writes twice a second, so that a kill may cost it what was logged just before; the CSV files have it.
    """

    def __init__(self, project: str, name: str, resume: str, config: Mapping[str, Any]) -> None:
        import trackio
        from trackio.sqlite_storage import SQLiteStorage

        super().__init__()
        self.project, self.trackio, self.open = project, trackio, True
        with redirect_stdout(io.StringIO()):  # it tells how to open its dashboard, at every start
            self.experiment = trackio.init(
                project, name, resume=resume, config=dict(config), embed=False, auto_log_gpu=False, auto_log_cpu=False
            )  # what a device does is logged by `callbacks/device.py`
        before = SQLiteStorage.get_logs(project, name, run_id=self.experiment.id) if resume != "never" else []
        self.there = {(key, point["step"]) for point in before for key in point}

    @property
    def name(self) -> str:
        """Return the name of the project."""
        return self.project

    @property
    def version(self) -> str:
        """The run's name: that of its folder."""
        return str(self.experiment.name)

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *_: Any, **__: Any) -> None:
        """Leave out what Lightning finds: the settings are there since the start."""

    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Log numbers at a step, those that Trackio does not have yet."""
        if fresh := {key: value for key, value in metrics.items() if (key, step) not in self.there}:
            self.experiment.log(fresh, step=step)

    def log_rows(self, key: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], step: int) -> None:
        """Log a table at a step."""
        table = self.trackio.Table(columns=list(columns), data=[list(row) for row in rows], allow_mixed_types=True)
        self.log_metrics({key: table}, step)

    def finalize(self, status: str) -> None:
        """Wait until all of it is written, at the end of a training, whatever its end."""
        if self.open:
            self.open = False
            with redirect_stdout(io.StringIO()):
                self.trackio.finish()


def trackio_logger(project: str, folder: str, save_dir: str) -> Once:
    """The run of a folder; `<save_dir>/trackio_run` tells that it has begun, so that a resumed run goes on in it.

    project: its name in Trackio. folder: where Trackio keeps its databases, unless TRACKIO_DIR says it. The config of
    the run is `config.yaml`. Raises UserError where trackio is not installed.
    """
    os.environ["TRACKIO_DIR"] = os.environ.get("TRACKIO_DIR") or str(Path(folder).resolve())  # read at its import
    try:
        import trackio  # noqa: F401
    except ImportError as error:
        raise UserError("logger=trackio needs a package that is not installed: pip install trackio.") from error
    mark, about = Path(save_dir) / "trackio_run", Path(save_dir) / "config.yaml"
    settings = flatten(yaml.safe_load(about.read_text(encoding="utf-8"))) if about.exists() else {}
    resume = "allow" if mark.exists() else "never"
    logger = Once(project, Path(save_dir).name, resume, config={key: str(value) for key, value in settings.items()})
    files.write(mark, logger.version)
    return logger
