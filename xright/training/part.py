"""One objective's share of an optimizer step."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from torch import Tensor

from xright.forward.batch import Batch
from xright.training.means import Rows


@dataclass
class Part:
    """rows: this rank's; chunks: they, cut into micro-batches (some may be empty); batches: those, laid out. size
    (units) and tokens: over all ranks. ends: after how many batches a gradient is whole: after all, or after the first
    half, too. forwards: (Σ ℓ with its graph, metrics) per micro-batch, where a look has computed them."""

    name: str
    rows: Rows
    chunks: list[Rows]
    batches: list[Batch]
    size: float
    tokens: int
    ends: set[int]
    forwards: list[tuple[Tensor, dict]] | None = None


def micro_batches(rows: Rows, size: int | None) -> list[Rows]:
    """Return the rows in micro-batches of a size; None: all at once."""
    size = size or len(rows) or 1
    return [rows[i : i + size] for i in range(0, len(rows), size)]


def even(chunks: list[Rows], most: int) -> list[Rows]:
    """Return as many chunks as the rank with most of them has; the last ones are empty."""
    return chunks + [[]] * (most - len(chunks))


def laid_out(collate: Callable[[Rows], Batch], rows: Rows, spare: Rows | None) -> Batch | None:
    """Return rows as a batch. Without any: an idle one of `spare`, or None where there is nothing to be computed."""
    if rows:
        return collate(rows)
    return replace(collate(spare), idle=True) if spare else None


def halfway(rows: int, rank: int, ranks: int) -> int:
    """How many of a rank's rows, those at positions rank, rank + ranks, … of a step's, are in the step's first half.

    >>> halfway(7, rank=0, ranks=2), halfway(7, rank=1, ranks=2)  # 0 2 | 4 6 and 1 3 | 5
    (2, 2)
    """
    return len(range(rank, (rows + 1) // 2, ranks))
