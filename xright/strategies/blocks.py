"""Blocks: so many steps of one objective, then so many of the next, over and over (Lisa, Huang et al. 2024, arXiv
2405.18641: 100 of alignment, 900 of finetuning).

>>> rule = Blocks({"dpo": 1, "sft": 2})
>>> ["".join(rule.weights(step)) for step in range(4)]
['dpo', 'sft', 'sft', 'dpo']
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from xright.errors import UserError, check_number
from xright.strategies.schedule import is_count
from xright.strategies.selector import Selector


class Blocks(Selector):
    """steps: {objective: length of its block}, in their order. UserError for lengths that are none."""

    def __init__(self, steps: Mapping[str, int]) -> None:
        if not steps:
            raise UserError("strategy.steps must give the length of each objective's block: {NAME: 100, OTHER: 900}.")
        self.steps = {
            name: int(check_number(f"strategy.steps.{name}", count, is_count, "a whole number of steps >= 1"))
            for name, count in steps.items()
        }

    @property
    def settings(self) -> dict[str, Any]:
        return {"steps": (",".join(f"{name}:{count}" for name, count in self.steps.items()), None)}

    @property
    def objectives(self) -> tuple[str, ...]:
        """Those that have a block."""
        return tuple(self.steps)

    def weights(self, step: int) -> dict[str, float]:
        """One-hot on the block that t lies in."""
        place = step % sum(self.steps.values())
        ends = np.cumsum([*self.steps.values()])
        return {[*self.steps][int(np.searchsorted(ends, place, side="right"))]: 1.0}

    def __repr__(self) -> str:
        return f"Blocks({self.steps})"
