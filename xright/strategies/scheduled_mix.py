"""Scheduled Mix: weights that change over training, linearly at first and along a cosine then (CHORD, arXiv 2508.11408,
which goes from a peak to a valley of SFT).

w(t) = begin + (weights − begin) t/m  for the first m = warmup · n steps of n (begin null: no such part);
then   end + (weights − end) (1 + cos(π (t − m)/(n − m)))/2

>>> rule = ScheduledMix({"dpo": 0.0, "sft": 1.0}, end={"dpo": 1.0, "sft": 0.0})
>>> rule.phase_steps = 4
>>> [round(rule.weights(step)["sft"], 3) for step in range(4)]
[1.0, 0.854, 0.5, 0.146]
"""

import math
from collections.abc import Mapping
from typing import Any

from xright.errors import UserError, check_number
from xright.strategies.weights import Weighted, check_weights


class ScheduledMix(Weighted):
    """The weighted sum, its weights on their way. UserError for weights or a warm-up that are none."""

    name = "Scheduled Mix"

    def __init__(
        self,
        weights: Mapping[str, float | None],
        end: Mapping[str, float | None],
        begin: Mapping[str, float | None] | None = None,
        warmup: float = 0.0,
    ) -> None:
        super().__init__(weights)
        self.end = self._like("end", end)
        self.begin = self.importance if begin is None else self._like("begin", begin)
        self.warmup = check_number("strategy.warmup", warmup, lambda x: 0 <= x < 1, "a share >= 0 and < 1")
        if (begin is None) != (warmup == 0):
            raise UserError(
                f"strategy.begin={begin} and strategy.warmup={warmup} belong together: give weights to begin with and "
                "a share of the steps > 0, or neither."
            )

    @property
    def settings(self) -> dict[str, Any]:
        """Where the weights go, and where they come from."""
        told = {"end": (self._words(self.end), None)}
        return told | ({"begin": (self._words(self.begin), None)} if self.warmup else {})

    def weights(self, step: int) -> dict[str, float]:
        """Those of step t of the phase's n; an objective whose weight is 0 is not computed."""
        rising = self.warmup * self.phase_steps
        if step < rising:
            source, target, share = self.begin, self.importance, step / rising
        else:
            source, target = self.importance, self.end
            share = (1 - math.cos(math.pi * (step - rising) / (self.phase_steps - rising))) / 2
        mixed = {name: weight + (target[name] - weight) * share for name, weight in source.items()}
        return {name: weight for name, weight in mixed.items() if weight > 0}

    def _like(self, key: str, weights: Mapping[str, float | None]) -> dict[str, float]:
        if {*(weights or {})} != {*self.importance}:
            raise UserError(f"strategy.{key}={weights!r} must give a weight to each of {', '.join(self.importance)}.")
        return check_weights(weights)

    @staticmethod
    def _words(weights: Mapping[str, float]) -> str:
        return ",".join(f"{name}:{weight:g}" for name, weight in weights.items())
