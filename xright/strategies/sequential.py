"""Sequential: T1 epochs of one objective, then T2 epochs of the other: the usual practice, which arXiv 2410.15483
shows to forget.

The optimizer state and the schedule start afresh at the switch. The authors also merge stage 1's adapter and start a
new one; we keep the adapter. There is no stopping rule: its budget is (T1, T2).
"""

from collections.abc import Sequence

from xright.errors import UserError
from xright.strategies.selector import Selector


class Sequential(Selector):
    """order: two objective names; epochs: (T1, T2), whole numbers ≥ 1. Raises UserError otherwise."""

    may_stop_early = False

    def __init__(self, first: str, epochs: Sequence[int]) -> None:
        names = ("dpo", "sft")
        if first not in names:
            raise UserError(f"strategy.first={first!r} of Sequential must be one of {', '.join(names)}.")
        if len(epochs) != 2 or not all(isinstance(count, int) and count >= 1 for count in epochs):
            raise UserError(f"strategy.epochs={list(epochs)} of Sequential must be two whole numbers >= 1: '[T1,T2]'.")
        self.first = first
        self.second = names[1 - names.index(first)]
        self.epochs = tuple(epochs)
        self._switch: int | None = None

    @property
    def objectives(self) -> tuple[str, ...]:
        """In the order they are trained."""
        return (self.first, self.second)

    @property
    def label(self) -> str:
        """Order and epochs."""
        return f"Sequential {self.first.upper()}→{self.second.upper()} ({self.epochs[0]},{self.epochs[1]})"

    def phases(self, steps_per_epoch: int, epochs: int) -> tuple[int, ...]:
        """T1 and T2 epochs in steps; the run's own `epochs` is not used."""
        self._switch = self.epochs[0] * steps_per_epoch
        return tuple(count * steps_per_epoch for count in self.epochs)

    def weights(self, step: int) -> dict[str, float]:
        """One-hot: the first objective before the switch, the second from it on."""
        if self._switch is None:
            raise RuntimeError("Sequential learns where it switches from phases(); call that first")
        return {self.first if step < self._switch else self.second: 1.0}

    def __repr__(self) -> str:
        return f"Sequential(first={self.first!r}, epochs={self.epochs})"
