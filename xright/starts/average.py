"""Model averaging: the weights Σ w_i·θ_i of the models that were trained on one objective each ("Model Avg." in figs 3
and 8 of arXiv 2410.15483: λ·θ_DPO + (1−λ)·θ_SFT)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from torch import nn

from xright import models
from xright.models.pretrained import Pretrained
from xright.starts.start import Start
from xright.strategies.weights import check_weights

if TYPE_CHECKING:
    from xright.pipeline.stages import Stages


class Average(Start):
    """The models are those of the optima's stages, adapters merged; all parameters of their average are trained, where
    any are. UserError for weights that are none."""

    name = "Model average"
    takes_adapter = False
    importance: dict[str, float]

    def __init__(self, weights: Mapping[str, float]) -> None:
        self.importance = check_weights(weights)

    def policy(self, stages: Stages, seed: int) -> nn.Module:
        """Return the average of the models; the seed decides nothing."""
        settings = stages.settings.model
        shares: dict[Pretrained, float] = {}
        for name, weight in self.importance.items():
            shares[stages.solved(name)] = shares.get(stages.solved(name), 0.0) + weight
        averaged = models.average(shares, trust_remote_code=settings.trust_remote_code)
        return models.trainable(averaged, models.FULL, settings.gradient_checkpointing, seed)
