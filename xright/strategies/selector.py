"""The interface of a rule: which objectives a step updates, and with which weights.

Steps t count the optimizer steps of the rule's phase, from 0. Losses and weights are dicts by objective name, of any
number of objectives.

The loop asks, for step t: `looks(t)` -> losses it should see first; `weights(t)` -> the update; then tells
`observe(losses)`. Losses are averaged over the whole step and over ranks, so all ranks choose alike. A random choice is
a pure function of (seed, t): nothing to save, the same after a resume.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any


class Selector(ABC):
    """A rule. Only `objectives` and `weights` must be given; the defaults see nothing and ask for nothing.

    importance: the trade-off it is asked for, {objective: weight}, where it takes one. gaps: last-seen optimality gaps,
    where it keeps any (for `steps.csv`).
    """

    importance: Mapping[str, float] | None = None
    gaps: Mapping[str, float] = {}

    @property
    def name(self) -> str:
        """What people call it in tables and figures, without its hyper-parameters."""
        return type(self).__name__

    @property
    def settings(self) -> dict[str, Any]:
        """Hyper-parameters that tell two runs of this rule apart, beside `importance`; those at their usual value stay
        out of labels, so they come as {name: (value, usual value)}."""
        return {}

    @property
    @abstractmethod
    def objectives(self) -> tuple[str, ...]:
        """Names of all objectives that may get a weight."""

    @abstractmethod
    def weights(self, step: int) -> dict[str, float]:
        """Weight per objective for this step's update; an absent objective is not even computed."""

    def looks(self, step: int) -> tuple[str, ...]:
        """Objectives whose loss the rule wants to observe before it chooses."""
        return ()

    def observe(self, losses: Mapping[str, float]) -> None:
        """Told after a look, and after each update the losses that were updated (before the update)."""

    def state_dict(self) -> dict[str, Any]:
        """What must be saved to go on exactly; empty for rules without memory."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore `state_dict()`."""
