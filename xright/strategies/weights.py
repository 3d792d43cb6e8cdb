"""The weights of a trade-off: how much each objective counts, {objective: weight ≥ 0}, together 1.

The paper's λ (arXiv 2410.15483, eq 10) is the weight on the first of two objectives (DPO); 1 − λ is the second's (SFT).
"""

import math
from collections.abc import Mapping

from xright.errors import UserError, check_number
from xright.strategies.selector import Selector

ROUNDING = 1e-9  # a sum this near to 1 is 1: dividing by it would change the last bits of λ and 1 − λ


def check_weights(weights: Mapping[str, float | None]) -> dict[str, float]:
    """The weights, divided by their sum; an objective whose weight is null takes no part.

    Raises UserError for a weight that is no number >= 0, and where none is > 0.

    >>> check_weights({"dpo": 1, "sft": 1, "safety": 2})
    {'dpo': 0.25, 'sft': 0.25, 'safety': 0.5}
    """
    given = {
        name: check_number(f"weights.{name}", value, lambda x: x >= 0, "a number >= 0, or null")
        for name, value in dict(weights or {}).items()
        if value is not None
    }
    total = math.fsum(given.values())
    if not total > 0:
        raise UserError(f"weights={dict(weights or {})!r} must hold a number > 0 for at least one objective.")
    return given if abs(total - 1) <= ROUNDING else {name: value / total for name, value in given.items()}


class Weighted(Selector):
    """A rule that is asked for a trade-off: `importance`, {objective: weight}. UserError for weights that are none."""

    importance: dict[str, float]

    def __init__(self, weights: Mapping[str, float | None]) -> None:
        self.importance = check_weights(weights)

    @property
    def objectives(self) -> tuple[str, ...]:
        """Those that have a weight."""
        return tuple(self.importance)

    @property
    def weighed(self) -> tuple[str, ...]:
        """Those whose weight is above 0: a rule that trains all objectives leaves out the others."""
        return tuple(name for name, weight in self.importance.items() if weight > 0)

    def __repr__(self) -> str:
        told = "".join(f", {name}={value}" for name, (value, _) in self.settings.items())
        return f"{self.name}({self.importance}{told})"


def lam_of(weights: Mapping[str, float | None] | None) -> float | None:
    """λ, where the weights are those of two objectives; else None.

    >>> lam_of({"dpo": 0.25, "sft": 0.75}), lam_of({"dpo": 0.5, "sft": 0.25, "safety": 0.25})
    (0.25, None)
    """
    given = [value for value in (weights or {}).values() if value is not None]
    return given[0] if len(given) == 2 and abs(sum(given) - 1) <= ROUNDING else None


def in_words(weights: Mapping[str, float]) -> str:
    """For labels: λ where there are two objectives, else each by its name."""
    lam = lam_of(weights)
    return f"λ={lam:g}" if lam is not None else " ".join(f"{name}={weight:.3g}" for name, weight in weights.items())
