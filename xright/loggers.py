"""W&B through Lightning's logger: online when a key is configured, else offline inside the run folder, never a question."""

import uuid
from pathlib import Path

import wandb
from lightning.pytorch.loggers import WandbLogger


def wandb_logger(project: str, group: str, folder: str) -> WandbLogger:
    """One W&B run for one run folder: its id is kept in `<folder>/wandb/run_id`, so a resumed run goes on in it."""
    id_file = Path(folder) / "wandb" / "run_id"
    if not id_file.exists():
        id_file.parent.mkdir(parents=True, exist_ok=True)
        id_file.write_text(uuid.uuid4().hex[:12])
    return WandbLogger(
        project=project,
        group=group,
        name=Path(folder).name,
        save_dir=folder,
        version=id_file.read_text(),
        offline=wandb.Settings().mode == "offline" or not wandb.api.api_key,
        resume="allow",
        settings=wandb.Settings(console="off", silent=True),
    )
