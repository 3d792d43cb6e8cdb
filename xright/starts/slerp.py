"""SLERP: between two models along the arc of a circle, in the place of the line (Shoemake 1985; as in mergekit).

for each parameter, ω the angle between θ_1 and θ_2, and t the weight of the second:
θ = sin((1 − t) ω)/sin ω · θ_1 + sin(t ω)/sin ω · θ_2;      along the line where |cos ω| > .9995
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from xright import models
from xright.errors import UserError
from xright.starts.start import Start
from xright.strategies.weights import check_weights

if TYPE_CHECKING:
    from xright.pipeline.stages import Stages

STRAIGHT = 0.9995


class SLERP(Start):
    """The models are those of the optima's stages of two objectives. UserError for weights that are not of two."""

    name = "SLERP"
    takes_adapter = False
    importance: dict[str, float]

    def __init__(self, weights: Mapping[str, float | None]) -> None:
        self.importance = check_weights(weights)
        if len(self.importance) != 2:
            raise UserError(f"start=slerp lies between two models, and weights={dict(weights)} name another number.")

    def policy(self, stages: Stages, seed: int) -> nn.Module:
        """The point on the arc; all parameters are trained, where any are."""
        settings = stages.settings.model
        code = settings.trust_remote_code
        first, second = (stages.solved(name).load_merged(code) for name in self.importance)
        _, share = self.importance.values()
        with torch.no_grad():
            for parameter, (other,) in models.side_by_side(first, [second]):
                parameter.copy_(slerp(parameter, other, share))
        return models.trainable(first, models.FULL, settings.gradient_checkpointing, seed)


def slerp(first: Tensor, second: Tensor, share: float) -> Tensor:
    """The point at this share of the arc from the first to the second tensor.

    >>> slerp(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0]), 0.5)
    tensor([0.7071, 0.7071])
    """
    cosine = torch.nn.functional.cosine_similarity(first.flatten().double(), second.flatten().double(), dim=0)
    if abs(cosine) > STRAIGHT or not first.any() or not second.any():
        return first.lerp(second, share)
    angle = torch.arccos(cosine)
    ends = torch.sin((1 - share) * angle), torch.sin(share * angle)
    return ((ends[0] * first + ends[1] * second) / torch.sin(angle)).to(first.dtype)
