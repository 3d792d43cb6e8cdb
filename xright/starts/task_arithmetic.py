"""Task arithmetic: what was learnt for each objective is added up (Ilharco et al. 2023, arXiv 2212.04089).

θ = θ_0 + s Σ w_i τ_i          s = 1: the weighted average of the models, `start=average`

With one weight it is WiSE-FT (Wortsman et al. 2022, arXiv 2109.01903): (1 − s) θ_0 + s θ_i.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from xright.starts.merge import Merge


class TaskArithmetic(Merge):
    """The sum of the weighted task vectors. UserError for weights or a scale that are none."""

    name = "Task arithmetic"

    def added(self, vectors: Sequence[Tensor], weights: Sequence[float], draw: torch.Generator) -> Tensor:
        return weighted_sum(vectors, weights)


def weighted_sum(vectors: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """The sum Σ w τ.

    >>> weighted_sum([torch.tensor([1.0, 2.0]), torch.tensor([4.0, 0.0])], [0.5, 0.25])
    tensor([1.5000, 1.0000])
    """
    total = torch.zeros_like(vectors[0])
    for vector, weight in zip(vectors, weights, strict=True):
        total.add_(vector, alpha=weight)
    return total
