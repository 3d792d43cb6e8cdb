"""Feeds the training step with the rows of all its streams at once.

A CombinedLoader in `max_size_cycle` hands each step {stream: rows}; both streams advance every step, whichever
objective is updated. One *epoch* is one pass over the longer loader; the shorter stream simply begins its next
permutation (see `sampler.py`), so the loaders may have any two lengths. Rows travel as token lists: tensors are built
in the step, for the chosen objective only.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import lightning as L
from lightning.pytorch.utilities import CombinedLoader
from torch.utils.data import DataLoader

from xright.data.prompts import Row
from xright.data.sampler import StepBatches
from xright.errors import UserError


class JointData(L.LightningDataModule):
    """Training rows by stream, served for a fixed number of steps from wherever a checkpoint left off.

    streams: {name: rows}; batch_size: rows per optimizer step and stream, over all ranks; seed: the row order's.
    """

    def __init__(
        self, streams: Mapping[str, Sequence[Row]], batch_size: Mapping[str, int], steps: int, seed: int
    ) -> None:
        super().__init__()
        self.streams = streams
        self.samplers = {
            name: StepBatches(name, len(rows), batch_size[name], steps, seed) for name, rows in streams.items()
        }

    def train_dataloader(self) -> CombinedLoader:
        """One loader per stream, advancing together."""
        trainer = self.trainer
        assert trainer is not None
        for sampler in self.samplers.values():
            sampler.start = trainer.global_step
            sampler.rank, sampler.world_size = trainer.global_rank, trainer.world_size
        loaders: dict[str, DataLoader] = {
            name: DataLoader(rows, batch_sampler=self.samplers[name], collate_fn=list)  # type: ignore[arg-type]
            for name, rows in self.streams.items()
        }
        return CombinedLoader(loaders, mode="max_size_cycle")

    def transfer_batch_to_device(self, batch: Any, device: Any, dataloader_idx: int) -> Any:
        """Nothing to move: rows are Python lists, and saying so saves Lightning from walking through them."""
        return batch


def steps_per_epoch(streams: Mapping[str, Sequence[Row]], batch_size: Mapping[str, int]) -> int:
    """Batches of the longer loader: the last, partial one counts."""
    return max(-(-len(rows) // batch_size[name]) for name, rows in streams.items())


def check_batch_size(batch_size: Mapping[str, Any]) -> None:
    """UserError unless every batch size is a whole number ≥ 1."""
    if not isinstance(batch_size, Mapping):
        raise UserError(f"data.batch_size={batch_size!r} must be given by stream, for example data.batch_size.sft=8.")
    for stream, size in batch_size.items():
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise UserError(f"data.batch_size.{stream}={size!r} must be a whole number of rows >= 1.")
