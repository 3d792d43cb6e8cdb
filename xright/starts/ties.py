"""TIES: the small changes are dropped, a sign is elected for every entry, and those that have it are averaged (Yadav et
al. 2023, arXiv 2306.01708).

of every parameter: keep the `density` largest of |τ_i|, 0 elsewhere;   sign = sgn Σ w_i τ_i;
θ = θ_0 + s (mean of the kept τ_i whose sign it is, weighted by w)
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from xright.errors import check_number
from xright.starts.merge import Merge

USUAL_DENSITY = 0.2


class TIES(Merge):
    """density: the share of entries that each task vector keeps. UserError for values that are none."""

    name = "TIES"

    def __init__(self, weights: Mapping[str, float | None], density: float = USUAL_DENSITY, scale: float = 1.0) -> None:
        super().__init__(weights, scale)
        self.density = check_density(density)

    @property
    def settings(self) -> dict[str, Any]:
        return {"density": (self.density, USUAL_DENSITY), **super().settings}

    def added(self, vectors: Sequence[Tensor], weights: Sequence[float], draw: torch.Generator) -> Tensor:
        """Trim, elect, and average what agrees."""
        return elected([trimmed(vector, self.density) for vector in vectors], weights)


def check_density(density: float) -> float:
    """The density, or UserError where it is no share of entries that can be kept."""
    return check_number("start.density", density, lambda x: 0 < x <= 1, "a number in (0, 1]")


def trimmed(vector: Tensor, density: float) -> Tensor:
    """The vector with all but its largest entries set to 0; at least one stays.

    >>> trimmed(torch.tensor([0.1, -3.0, 0.2, 2.0]), density=0.5)
    tensor([ 0., -3.,  0.,  2.])
    """
    count = max(1, int(density * vector.numel()))
    kept = torch.zeros(vector.numel(), dtype=torch.bool)
    kept[vector.abs().flatten().topk(count).indices] = True
    return torch.where(kept.view_as(vector), vector, torch.zeros_like(vector))


def elected(vectors: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """The weighted mean of the entries that have the sign of the weighted sum; 0 where none has.

    >>> elected([torch.tensor([3.0, -1.0]), torch.tensor([-1.0, -3.0])], [0.5, 0.5])
    tensor([ 3., -2.])
    """
    shares = torch.tensor(weights).view(-1, *[1] * vectors[0].dim())
    stacked = torch.stack([*vectors])
    agrees = torch.sign(stacked) == torch.sign((shares * stacked).sum(0))
    agrees &= stacked != 0
    return (shares * stacked * agrees).sum(0) / (shares * agrees).sum(0).clamp(min=1e-12)
