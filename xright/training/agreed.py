"""What the ranks of a training tell each other while it goes on, in the group and on the device that it works in."""

from contextlib import nullcontext
from typing import Any

import lightning as L
import torch


class Agreed(L.LightningModule):
    """A module whose ranks each have a share of the rows."""

    def sum_over_ranks(self, *values: float) -> tuple[float, ...]:
        """Return the sum of each value over ranks, in fp64."""
        if self.trainer.world_size == 1:
            return values
        return tuple(self._reduced(values, torch.float64, "sum").tolist())

    def most_over_ranks(self, count: int) -> int:
        """Return the largest count of any rank."""
        return int(self._reduced(count, torch.int64, "max"))

    def no_exchange(self) -> Any:
        """In this context gradients stay on their rank, where a strategy knows how."""
        return getattr(self.trainer.strategy, "block_backward_sync", nullcontext)()

    def _reduced(self, value: Any, dtype: torch.dtype, how: str) -> torch.Tensor:
        return self.trainer.strategy.reduce(torch.tensor(value, dtype=dtype, device=self.device), reduce_op=how)
