"""Which rows make up step t: a pure function of (seed, t).

A stream of n rows is read as one endless sequence of epochs, epoch e in the order of the permutation drawn from
(seed, e); of rows with unequal chances it is a draw of n rows, each as often as its chance says, rounded up or down by
chance. Step t takes a range of positions of it, and rank r of w every w-th of these. So streams may have any
lengths, a resumed run and a run on another number of ranks see the same global batches, and there is no loader state to
save.

- `StepBatches`: positions [t·b, (t+1)·b), so that every batch is full.
- `TokenBatches`: from where step t−1 ended, as many rows as have at most `budget` tokens together: steps of equal work.
"""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from torch.utils.data import Sampler

from xright.errors import UserError


class TokenBudget(NamedTuple):
    """A batch size in tokens, as packed rows are counted one by one: their prompt once."""

    tokens: int


BatchSize = int | TokenBudget  # rows, or tokens, of an optimizer step, over all micro-batches and ranks


class Batches(Sampler[list[int]]):
    """Row indices of steps start … steps−1. Its length is always `steps`: Lightning counts batches from step 0."""

    def __init__(self, n_rows: int, steps: int, seed: int) -> None:
        self.n_rows, self.steps, self.seed = n_rows, steps, seed
        self.start, self.rank, self.world_size = 0, 0, 1
        self.chances_N: np.ndarray | None = None
        self._drawn: dict[int, np.ndarray] = {}

    def order(self, epoch: int) -> np.ndarray:
        """Return the rows of an epoch, in its order."""
        if self.chances_N is None:
            return _permutation(self.n_rows, self.seed, epoch)
        if epoch not in self._drawn:
            self._drawn = {known: rows for known, rows in self._drawn.items() if known + 1 == epoch}
            self._drawn[epoch] = _draw(self.chances_N, self.seed, epoch)
        return self._drawn[epoch]

    @abstractmethod
    def positions(self, step: int) -> range:
        """Return the positions of a step's rows in the endless sequence of permutations."""

    def batch(self, step: int) -> list[int]:
        """This rank's share of the rows of one step."""
        n = self.n_rows
        rows = [int(self.order(p // n)[p % n]) for p in self.positions(step)]
        return rows[self.rank :: self.world_size]

    def __iter__(self) -> Iterator[list[int]]:
        return (self.batch(step) for step in range(self.start, self.steps))

    def __len__(self) -> int:
        return self.steps


class StepBatches(Batches):
    """batch_size rows per step. Raises UserError when a batch would need the same row twice."""

    def __init__(self, stream: str, n_rows: int, batch_size: int, steps: int, seed: int) -> None:
        if batch_size > n_rows:
            raise UserError(
                f"data.streams.{stream}.batch_size={batch_size} is larger than the {n_rows} rows of that stream; "
                "give more rows or a smaller batch."
            )
        super().__init__(n_rows, steps, seed)
        self.batch_size = batch_size

    def positions(self, step: int) -> range:
        """Return the positions of a step's rows in the endless sequence of permutations: b of them."""
        return range(step * self.batch_size, (step + 1) * self.batch_size)


class TokenBatches(Batches):
    """tokens: of each row, (rows,). Raises UserError where one row exceeds the budget, or all together do not."""

    def __init__(
        self, stream: str, tokens: Sequence[int] | np.ndarray, budget: TokenBudget, steps: int, seed: int
    ) -> None:
        self.tokens, self.budget = np.asarray(tokens, dtype=np.int64), budget.tokens
        if (longest := int(self.tokens.max())) > self.budget:
            raise UserError(
                f"data.streams.{stream}.batch_tokens={self.budget} is less than the {longest} tokens of that stream's "
                "longest row; raise it, or lower data.max_length."
            )
        if (total := int(self.tokens.sum())) < self.budget:
            raise UserError(
                f"data.streams.{stream}.batch_tokens={self.budget} is more than the {total} tokens of all its rows; "
                "lower it."
            )
        super().__init__(len(self.tokens), steps, seed)
        self._ends = [0]  # where the steps so far known end

    def positions(self, step: int) -> range:
        """Return the positions of a step's rows: as many as fit into the token budget."""
        while len(self._ends) <= step + 1:
            self._extend()
        return range(self._ends[step], self._ends[step + 1])

    def _extend(self) -> None:
        """The steps that begin in the epoch in which the last known one ends; the last may reach into the next."""
        epoch, first = divmod(self._ends[-1], self.n_rows)
        order = np.concatenate([self.order(e) for e in (epoch, epoch + 1)])
        before = np.concatenate([[0], self.tokens[order].cumsum()])  # tokens before each position
        while first < self.n_rows:
            first = int(np.searchsorted(before, before[first] + self.budget, side="right")) - 1
            self._ends.append(epoch * self.n_rows + first)


def _draw(chances_N: np.ndarray, seed: int, epoch: int) -> np.ndarray:
    """N rows in random order, each as often as its chance says of N: systematic sampling (Madow 1949)."""
    n, random = len(chances_N), np.random.default_rng((seed, epoch))
    ends = chances_N.cumsum() / chances_N.sum()
    rows = np.searchsorted(ends, (random.random() + np.arange(n)) / n, side="right")
    return random.permutation(rows.clip(max=n - 1))


@lru_cache(maxsize=8)  # a batch touches at most two epochs of each stream
def _permutation(n_rows: int, seed: int, epoch: int) -> np.ndarray:
    return np.random.default_rng((seed, epoch)).permutation(n_rows)
