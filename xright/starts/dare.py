"""DARE: most changes are dropped at random, and what is left is made larger by as much (Yu et al. 2024, arXiv
2311.03099).

τ̂_i = m_i τ_i / density, where each entry of m_i is 1 with probability `density`, else 0;   then their weighted sum, or
with elect=true TIES's election of signs

The expected sum is that of task arithmetic. The draws are a function of the run's seed.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from xright.errors import UserError
from xright.starts.merge import Merge
from xright.starts.task_arithmetic import weighted_sum
from xright.starts.ties import check_density, elected

USUAL_DENSITY = 0.2


class DARE(Merge):
    """density: the share of entries that are kept. elect: put together as TIES does. UserError for values that are
    none."""

    name = "DARE"

    def __init__(
        self,
        weights: Mapping[str, float | None],
        density: float = USUAL_DENSITY,
        elect: bool = False,
        scale: float = 1.0,
    ) -> None:
        super().__init__(weights, scale)
        if not isinstance(elect, bool):
            raise UserError(f"start.elect={elect!r} must be true or false.")
        self.density, self.elect = check_density(density), elect

    @property
    def settings(self) -> dict[str, Any]:
        """Also the density, and how it is put together."""
        return {"density": (self.density, USUAL_DENSITY), "elect": (self.elect, False), **super().settings}

    def added(self, vectors: Sequence[Tensor], weights: Sequence[float], draw: torch.Generator) -> Tensor:
        """Drop, enlarge, and put together."""
        kept = [vector * (torch.rand(vector.shape, generator=draw) < self.density) / self.density for vector in vectors]
        return (elected if self.elect else weighted_sum)(kept, weights)
