"""Base: the run begins with the base model, trained in full or through a fresh adapter."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from xright.starts.start import Start

if TYPE_CHECKING:
    from xright.pipeline.stages import Stages


class Base(Start):
    """The run begins with the base model, as in the paper."""

    name = "base"
    is_reference = True

    def policy(self, stages: Stages, seed: int) -> nn.Module:
        """The base, and where there is an adapter, one started from the seed."""
        return stages.policy(seed)
