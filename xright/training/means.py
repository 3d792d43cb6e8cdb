"""Exact means over rows: summed over micro-batches and ranks, then divided by how much there was of it all.

A mean of means would depend on how the rows were cut. Sums over ranks travel in fp64, in one message.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from xright.forward.batch import Batch
from xright.objectives import Objective

Rows = Sequence[Any]
Sum = Callable[..., tuple[float, ...]]  # over ranks, of each of its arguments


class NonFinite(Exception):
    """A loss or a gradient became NaN or infinite. objective, step (from 0) and this rank's rows."""

    def __init__(self, objective: str, step: int, rows: Rows, what: str = "loss") -> None:
        super().__init__(f"the {objective} {what} of step {step} is not finite")
        self.objective, self.step, self.rows, self.what = objective, step, rows, what


class Interrupted(Exception):
    """A pass over the rows was asked to end before its time."""


class Totals:
    """Σ ℓ and the sums of metrics, of one objective, on this rank; `means` divides by the size over all ranks."""

    def __init__(self, losses: Iterable[torch.Tensor] = ()) -> None:
        self.losses = [float(loss.detach()) for loss in losses]
        self.metrics: dict[str, Any] = {}

    def add(self, loss: torch.Tensor, metrics: Mapping[str, Any]) -> None:
        """Add the loss and metrics of one micro-batch."""
        self.losses.append(float(loss.detach()))
        for key, value in metrics.items():
            self.metrics[key] = self.metrics.get(key, 0.0) + value

    def means(
        self, size: float, sum_over_ranks: Sum, name: str, step: int, rows: Rows
    ) -> tuple[float, dict[str, float]]:
        """f and metrics over all ranks; NonFinite where f is none. All ranks have the same metrics."""
        sums = sum_over_ranks(math.fsum(self.losses), *(float(found) for found in self.metrics.values()))
        value, *means = (total / size for total in sums)
        if not math.isfinite(value):
            raise NonFinite(name, step, rows)
        return value, dict(zip(self.metrics, means, strict=True))


def summed(objective: Objective, policy: nn.Module, batch: Batch) -> tuple[torch.Tensor, dict[str, Any]]:
    """Return an objective's Σ ℓ and metrics on a batch; zeros with the same graph where the batch is idle."""
    loss, metrics = objective(policy, batch)
    return (0 * loss, {key: 0 * value for key, value in metrics.items()}) if batch.idle else (loss, metrics)


@torch.no_grad()
def anchor_of(objective: Objective, policy: nn.Module, batches: Iterable[Batch], sum_over_ranks: Sum) -> float | None:
    """Return the mean over a whole step, given as this rank's batches, of what each loss has to know of it; None where
    a loss needs no such thing. All ranks ask at once."""
    if not objective.anchored:
        return None
    found = [
        (float(anchor), objective.size(batch))
        for batch in batches
        if (anchor := objective.anchor(policy, batch)) is not None and not batch.idle
    ]
    total, size = sum_over_ranks(math.fsum(value for value, _ in found), sum(units for _, units in found))
    return total / size


def anchored(objective: Objective, policy: nn.Module, batches: Sequence[Batch], sum_over_ranks: Sum) -> list[Batch]:
    """Return the batches of a whole step, which know what their losses have to know of it."""
    if not objective.anchored:
        return list(batches)
    anchor = anchor_of(objective, policy, batches, sum_over_ranks)
    return [replace(batch, anchor=anchor) for batch in batches]


@torch.no_grad()
def exact_means(
    name: str,
    objective: Objective,
    policy: nn.Module,
    chunks: Sequence[Rows],
    lay_out: Callable[[Rows], Batch | None],
    sum_over_ranks: Sum,
    step: int,
    asked_to_stop: Callable[[], bool] = lambda: False,
) -> tuple[float, dict[str, float]]:
    """f and metrics of an objective over chunks of rows, without gradient and dropout.

    chunks: this rank's; where ranks ask each other whether to stop, as many on every rank (some may be empty). Raises
    Interrupted if so. lay_out: gives None where an empty chunk needs no forward.
    """
    totals, units = Totals(), 0
    policy.eval()
    try:
        batches = (batch for chunk in chunks if (batch := lay_out(chunk)))
        anchor = anchor_of(objective, policy, batches, sum_over_ranks)
        for chunk in chunks:
            if asked_to_stop():
                raise Interrupted
            if batch := lay_out(chunk):
                totals.add(*summed(objective, policy, replace(batch, anchor=anchor)))
                units += 0 if batch.idle else objective.size(batch)
    finally:
        policy.train()
    (size,) = sum_over_ranks(units)
    return totals.means(size, sum_over_ranks, name, step, rows=[row for chunk in chunks for row in chunk])
