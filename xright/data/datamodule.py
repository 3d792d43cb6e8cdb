"""Feeds the training step with the rows of all its streams at once.

A CombinedLoader in `max_size_cycle` hands each step {stream: rows}; all streams advance every step, whichever
objective is updated. One *epoch* is one pass over the longest loader; a shorter stream simply begins its next
permutation (see `sampler.py`), so the loaders may have any lengths. Rows travel as token lists, made when a batch
is read (`rows.py`); tensors are built in the step, for the chosen objective only.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import lightning as L
import numpy as np
from lightning.pytorch.utilities import CombinedLoader
from torch.utils.data import DataLoader

from xright.data.rows import Row, Rows
from xright.data.sampler import Batches, BatchSize, StepBatches, TokenBatches, TokenBudget
from xright.data.stream import Stream
from xright.errors import UserError


class JointData(L.LightningDataModule):
    """Training rows by stream, served for a fixed number of steps from wherever a checkpoint left off.

    streams: {name: rows}; batch_size: of an optimizer step, per stream (rows or tokens); seed: the row order's.
    """

    def __init__(
        self, streams: Mapping[str, Sequence[Row]], batch_size: Mapping[str, BatchSize], steps: int, seed: int
    ) -> None:
        super().__init__()
        self.streams = streams
        self.samplers = {
            name: batches(name, rows, batch_size[name], steps, seed=seed) for name, rows in streams.items()
        }

    def train_dataloader(self) -> CombinedLoader:
        """Return one loader per stream; all advance together."""
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


def batches(stream: str, rows: Sequence[Row], size: BatchSize, steps: int, seed: int) -> Batches:
    """The stream's batches. UserError for a size that its rows do not allow."""
    found: Batches
    if isinstance(size, TokenBudget):
        found = TokenBatches(stream, tokens_of(rows), size, steps, seed=seed)
    else:
        found = StepBatches(stream, len(rows), size, steps, seed=seed)
    found.chances_N = getattr(rows, "chances_N", None)
    return found


def steps_per_epoch(streams: Mapping[str, Sequence[Row]], batch_size: Mapping[str, BatchSize]) -> int:
    """Batches of the longest loader: the last, partial one counts. With a token budget: as if batches were full."""
    return max(_batches_per_epoch(rows, batch_size[name]) for name, rows in streams.items())


def _batches_per_epoch(rows: Sequence[Row], size: BatchSize) -> int:
    if isinstance(size, TokenBudget):
        return -(-int(tokens_of(rows).sum()) // size.tokens)
    return -(-len(rows) // size)


def tokens_of(rows: Sequence[Row]) -> np.ndarray:
    """Tokens of each row as the packed layout counts them, (N,)."""
    if isinstance(rows, Rows):
        return rows.lengths_NS.sum(axis=1)
    return np.array([len(row.prompt) + sum(map(len, row.responses)) for row in rows])


def batch_sizes(streams: Mapping[str, Stream]) -> dict[str, BatchSize]:
    """{stream: rows, or a token budget where it has one}."""
    return {name: TokenBudget(s.batch_tokens) if s.batch_tokens else s.batch_size for name, s in streams.items()}


def check_sizes(stream: str, rows: Sequence[Row], evaluation: Sequence[Row], size: BatchSize, *, ranks: int) -> None:
    """UserError unless every rank has a row in every step and in every evaluation."""
    batches(stream, rows, size, steps=1, seed=0)
    _check_ranks(stream, rows, size, ranks)
    if len(evaluation) < ranks:
        raise UserError(f"{stream} has fewer evaluation rows than the run has processes ({ranks}).")


def _check_ranks(stream: str, rows: Sequence[Row], size: BatchSize, ranks: int) -> None:
    if isinstance(size, TokenBudget) and (needed := ranks * int(tokens_of(rows).max())) > size.tokens and ranks > 1:
        raise UserError(
            f"data.streams.{stream}.batch_tokens={size.tokens} may hold fewer rows than the {ranks} processes need; "
            f"make it at least {needed}, as many of its longest row."
        )
    if not isinstance(size, TokenBudget) and size < ranks:
        raise UserError(
            f"data.streams.{stream}.batch_size={size} is smaller than the {ranks} processes; each needs a row in every "
            "step."
        )
