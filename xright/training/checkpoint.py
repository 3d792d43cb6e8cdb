"""Checkpoints from which a run goes on as if nothing had happened: `last.ckpt`, and the one before it.

A checkpoint is written beside its place, flushed to the disk together with the rows it counts on (all that is in the
run folder), and renamed: a kill or a power cut at any moment leaves a whole `last.ckpt`, or a whole `previous.ckpt` and
none or a half-written `writing.ckpt` that nobody reads. A damaged
`last.ckpt` (a full or failing disk) is named and `previous.ckpt` used in its place. Each holds the identity of what it
belongs to; one of something else is refused.

Holds trainable parameters, optimizer, step, selector, callbacks. Rows and draws are functions of (seed, step): there is
no state of theirs to save.
"""

import logging
import shutil
import zipfile
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Checkpoint as Last  # Lightning calls callbacks of this type after all others
from lightning.pytorch.plugins.io import TorchCheckpointIO

from xright.errors import UserError
from xright.machine import files, preemption
from xright.machine.ranks import barrier, first, is_first
from xright.tracking.watcher import Watcher
from xright.training import parts

log = logging.getLogger(__name__)


class Straight(TorchCheckpointIO):
    """Writes where it is told; Lightning's own goes through memory and $TMPDIR, both of which may be too small."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Serialise a checkpoint with torch.save, straight into the file."""
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        torch.save(checkpoint, path)

    def load_checkpoint(self, path: Any, *_: Any, **__: Any) -> dict[str, Any]:
        """Read a checkpoint; what ranks wrote in parts is whole again."""
        return parts.whole(Path(path))


class Checkpoint(Watcher, Last):
    """folder: where they go. every: steps between two. identity: of the run; rows and settings are part of it.

    Also ends a training that was asked to go, right after saving it.
    """

    def __init__(self, folder: str | Path, every: int, identity: str | None = None) -> None:
        self.folder, self.every, self.identity = Path(folder), every, identity
        self.saved_at, self.interrupted = -1, False

    def latest(self) -> Path | None:
        """The checkpoint to go on from, or None. Raises UserError where none can be read, or one is foreign."""
        return first(self._latest)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """From here on signals are ours: Lightning has just installed its own handlers."""
        preemption.listen()

    def watch(self, trainer: L.Trainer, pl_module: Any, outputs: Any) -> None:
        """Save after every so many steps, and when asked to go."""
        self.interrupted = outputs.get("interrupted", False)
        if "step" in outputs and (self.interrupted or trainer.global_step % self.every == 0):
            self._save(trainer)
        trainer.should_stop |= self.interrupted

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """The end is worth a checkpoint, too: what follows a training may be interrupted. Saved in this place it stands
        for a finished training, so not for one that was asked to go."""
        if not self.interrupted and self.saved_at != trainer.global_step:
            self._save(trainer)

    def state_dict(self) -> dict[str, Any]:
        """Return the identity of the training, by which a foreign checkpoint is told."""
        return {"identity": self.identity}

    def _save(self, trainer: L.Trainer) -> None:
        """Save on all ranks; rank 0 writes."""
        writing, last, previous = (self.folder / f"{name}.ckpt" for name in ("writing", "last", "previous"))
        trainer.save_checkpoint(writing)
        if is_first():
            for logger in trainer.loggers:
                logger.save()  # what it has gathered counts as logged
            files.sync_all(self.folder.parent)
            if last.exists():
                _replace(last, previous)
            _replace(writing, last)
            files.sync(self.folder)
        barrier()
        self.saved_at = trainer.global_step

    def _latest(self) -> Path | None:
        found = [path for name in ("last", "previous") if (path := self.folder / f"{name}.ckpt").exists()]
        for path in found:
            if _is_whole(path):
                self._check_ours(path)
                return path
            log.warning("%s is damaged (truncated, or not a checkpoint); looking for the one before it", path)
        if found:
            raise UserError(
                f"no checkpoint in {self.folder} can be read ({', '.join(path.name for path in found)}: truncated, or "
                "not a checkpoint); delete that folder to train from the beginning."
            )
        return None

    def _check_ours(self, path: Path) -> None:
        try:
            theirs = parts.stored(path)["callbacks"][self.state_key]["identity"]
        except Exception as error:  # whatever pickle or a stranger's layout may raise
            reason = str(error).strip().split("\n")[0]
            raise UserError(f"{path} is no checkpoint of xright's ({reason}); move it away.") from error
        if theirs != self.identity:
            raise UserError(
                f"{path} belongs to another run, or the data or model have changed since ({theirs} there, "
                f"{self.identity} here); move it away, or give another name= or overwrite=true to start afresh."
            )


def _is_whole(path: Path) -> bool:
    """Every byte as written, by the checksums of torch's zip format."""
    found = parts.files_of(path)
    try:
        for file in found:
            with zipfile.ZipFile(file) as archive:
                if archive.testzip() is not None:
                    return False
    except (zipfile.BadZipFile, OSError, EOFError):
        return False
    return bool(found)


def _replace(source: Path, target: Path) -> None:
    """Rename; a checkpoint in parts is a folder, and a folder replaces nothing."""
    if target.is_dir():
        shutil.rmtree(target)
    elif source.is_dir():
        target.unlink(missing_ok=True)
    source.replace(target)
