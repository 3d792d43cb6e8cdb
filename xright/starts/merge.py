"""What merges share: they are made of the base θ_0 and of the models θ_i that were trained on one objective each,
through the task vectors τ_i = θ_i − θ_0, one parameter at a time."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from xright import models
from xright.errors import check_number
from xright.starts.start import Start
from xright.strategies.weights import check_weights

if TYPE_CHECKING:
    from xright.pipeline.stages import Stages


class Merge(Start):
    """A start of zero steps, from models that are cached already: the base, and those of the optima's stages, adapters
    merged. scale: of what is added to the base. UserError for weights or a scale that are none."""

    takes_adapter = False
    importance: dict[str, float]

    def __init__(self, weights: Mapping[str, float | None], scale: float = 1.0) -> None:
        given = check_weights(weights)
        self.importance = {name: weight for name, weight in given.items() if weight > 0}
        self.scale = check_number("start.scale", scale, lambda x: x > 0, "a number > 0")

    @property
    def settings(self) -> dict[str, Any]:
        """The scale, and what else a merge may add."""
        return {"scale": (self.scale, 1.0)}

    @abstractmethod
    def added(self, vectors: Sequence[Tensor], weights: Sequence[float], draw: torch.Generator) -> Tensor:
        """What is added to one parameter of the base, before it is scaled. vectors: τ_i of this parameter, fp32, in the
        order of the weights, whose sum is 1. draw: what random choices are drawn from, a function of the run's seed."""

    def policy(self, stages: Stages, seed: int) -> nn.Module:
        """θ_0 + scale · `added`; all parameters are trained, where any are."""
        settings, draw = stages.settings.model, torch.Generator().manual_seed(seed)
        code = settings.trust_remote_code
        tasks = [stages.solved(name).load_merged(code) for name in self.importance]
        merged = models.merged(stages.base.load("float32", code), stages.base.path)
        with torch.no_grad():
            for parameter, trained in models.side_by_side(merged, tasks):
                vectors = [theirs - parameter for theirs in trained]
                parameter.add_(self.added(vectors, [*self.importance.values()], draw), alpha=self.scale)
        return models.trainable(merged, models.FULL, settings.gradient_checkpointing, seed)
