"""W&B through Lightning's logger: online when a key is configured, else offline in the run folder; never a question."""

import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import wandb
from lightning.pytorch.loggers import WandbLogger

from xright.build import build


@contextmanager
def wandb_runs(nodes: Mapping[str, Any]) -> Iterator[list[WandbLogger]]:
    """The configured loggers, each with a run of its own that ends with the block, whatever happens in it.

    A run left open would be taken over by the next job of a sweep in this process.
    """
    loggers = [build(node) for node in nodes.values()]
    code = 1
    try:
        yield loggers
        code = 0
    finally:
        for logger in loggers:
            logger.experiment.finish(exit_code=code)


def wandb_logger(project: str, group: str, folder: str) -> WandbLogger:
    """One W&B run for one run folder: its id is kept in `<folder>/wandb/run_id`, so a resumed run goes on in it."""
    id_file = Path(folder) / "wandb" / "run_id"
    if not id_file.exists():
        id_file.parent.mkdir(parents=True, exist_ok=True)
        id_file.write_text(uuid.uuid4().hex[:12])
    online = _configured()
    if not online:
        os.environ["WANDB_SILENT"] = "true"  # offline it has nothing to tell but where its files are: in the folder
    logger = WandbLogger(
        project=project,
        group=group,
        name=Path(folder).name,
        save_dir=folder,
        version=id_file.read_text(),
        offline=not online,
        mode="online" if online else "offline",  # WandbLogger says it by an environment variable, and too late
        resume="allow",
        settings=wandb.Settings(console="off", silent=not online),
    )
    logger._wandb_init.pop("anonymous", None)  # Lightning passes it always, and W&B warns of it every time
    return logger


def _configured() -> bool:
    """A key is known and nobody asked for offline; found out without a prompt or a connection."""
    return wandb.Settings().mode == "online" and wandb.login(prompt=False)
