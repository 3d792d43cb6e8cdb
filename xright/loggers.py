"""W&B through Lightning's logger: online when a key is configured, else offline in the run folder; never a question."""

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
    offline = not _configured()
    return WandbLogger(
        project=project,
        group=group,
        name=Path(folder).name,
        save_dir=folder,
        version=id_file.read_text(),
        offline=offline,
        mode="offline" if offline else "online",  # WandbLogger sets an environment variable that comes too late
        resume="allow",
        settings=wandb.Settings(console="off", silent=True),
    )


def _configured() -> bool:
    """A key is known and nobody asked for offline; found out without a prompt or a connection."""
    if wandb.Settings().mode != "online":
        return False
    return wandb.login(prompt=False)
