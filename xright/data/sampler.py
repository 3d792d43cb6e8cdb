"""Which rows make up step t: a pure function of (seed, t).

A stream of n rows is read as one endless sequence of epochs, epoch e in the order of the permutation drawn from
(seed, e); step t takes positions [t·b, (t+1)·b) of it, and rank r of w every w-th of these. So every batch is full,
streams may have any lengths, a resumed run and a run on another number of ranks see the same global batches, and there
is no loader state to save.
"""

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
from torch.utils.data import Sampler

from xright.errors import UserError


class StepBatches(Sampler[list[int]]):
    """Row indices of steps start … steps−1. Its length is always `steps`: Lightning counts batches from step 0.

    Raises UserError when a batch would need the same row twice.
    """

    def __init__(self, stream: str, n_rows: int, batch_size: int, steps: int, seed: int) -> None:
        if batch_size > n_rows:
            raise UserError(
                f"batch_size.{stream}={batch_size} is larger than the {n_rows} rows of that stream; "
                "give more rows or a smaller batch."
            )
        self.n_rows, self.batch_size, self.steps, self.seed = n_rows, batch_size, steps, seed
        self.start, self.rank, self.world_size = 0, 0, 1

    def batch(self, step: int) -> list[int]:
        """This rank's share of the rows of one step."""
        positions = range(step * self.batch_size, (step + 1) * self.batch_size)
        rows = [int(_permutation(self.n_rows, self.seed, p // self.n_rows)[p % self.n_rows]) for p in positions]
        return rows[self.rank :: self.world_size]

    def __iter__(self) -> Iterator[list[int]]:
        return (self.batch(step) for step in range(self.start, self.steps))

    def __len__(self) -> int:
        return self.steps


@lru_cache(maxsize=8)  # a batch touches at most two epochs of each stream
def _permutation(n_rows: int, seed: int, epoch: int) -> np.ndarray:
    return np.random.default_rng((seed, epoch)).permutation(n_rows)
