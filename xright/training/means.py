"""Exact means over rows: summed over micro-batches and ranks, then divided by how much there was of it all.

A mean of means would depend on how the rows were cut. Sums over ranks travel in fp64, in one message.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

import torch
from torch import nn

from xright.forward.batch import Batch, widest
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
    """Σ ℓ and the sums of metrics, of one objective, on this rank. They stay on their device until `means` asks: a step
    that read each as it comes would wait for the device as often."""

    def __init__(self, losses: Iterable[torch.Tensor] = ()) -> None:
        self.losses = [loss.detach() for loss in losses]
        self.metrics: dict[str, Any] = {}

    def add(self, loss: torch.Tensor, metrics: Mapping[str, Any]) -> None:
        """Add the loss and metrics of one micro-batch."""
        self.losses.append(loss.detach())
        for key, value in metrics.items():
            self.metrics[key] = self.metrics.get(key, 0.0) + value


def means(
    totals: Mapping[str, Totals], sizes: Mapping[str, float], rows: Mapping[str, Rows], sum_over_ranks: Sum, step: int
) -> dict[str, tuple[float, dict[str, float]]]:
    """f and metrics of each objective over all ranks, which have the same metrics: Σ divided by its size over all
    ranks. One transfer from the device and one message between ranks, however many objectives there are.

    Raises NonFinite, with its rows, for the first objective whose f is none.
    """
    if not totals:
        return {}
    read = iter(fetched([value for one in totals.values() for value in (*one.losses, *one.metrics.values())]))
    own = []
    for one in totals.values():
        own += [math.fsum(islice(read, len(one.losses))), *islice(read, len(one.metrics))]
    sums, found = iter(sum_over_ranks(*own)), {}
    for name, one in totals.items():
        value, *others = (total / sizes[name] for total in islice(sums, 1 + len(one.metrics)))
        if not math.isfinite(value):
            raise NonFinite(name, step, rows[name])
        found[name] = value, dict(zip(one.metrics, others, strict=True))
    return found


def fetched(values: Sequence[Any]) -> list[float]:
    """Scalars as Python floats; all that are tensors come from their device in one transfer.

    >>> fetched([torch.tensor(0.5), 2, torch.tensor([3])])
    [0.5, 2.0, 3.0]
    """
    tensors = [value.detach().to(widest(value.device)).reshape(()) for value in values if torch.is_tensor(value)]
    read = iter(torch.stack(tensors).tolist() if tensors else ())
    return [next(read) if torch.is_tensor(value) else float(value) for value in values]


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
    rows = {name: [row for chunk in chunks for row in chunk]}
    return means({name: totals}, {name: size}, rows, sum_over_ranks, step=step)[name]
