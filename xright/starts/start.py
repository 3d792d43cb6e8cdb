"""The interface of a start: the model that a run begins with."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch import nn

if TYPE_CHECKING:
    from xright.pipeline.stages import Stages


class Start(ABC):
    """name: what people call it. importance: the trade-off it is asked for, {objective: weight}, where it takes one.
    is_reference: is it the model that `reference=base` names? Then a loss that is known there is checked.
    takes_adapter: can it be trained through an adapter (`model.lora.r` > 0)? Not where its weights are in no folder
    that the adapter could name."""

    name: str
    importance: Mapping[str, float] | None = None
    is_reference = False
    takes_adapter = True

    @property
    def settings(self) -> dict[str, Any]:
        """Hyper-parameters that tell two starts of a kind apart, {name: (value, usual value)}."""
        return {}

    @abstractmethod
    def policy(self, stages: Stages, seed: int) -> nn.Module:
        """A fresh model to train. stages: what runs share; seed: the run's."""
