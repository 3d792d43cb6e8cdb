"""The interface of a strategy: which objectives a step updates, and with which weights.

λ has one meaning everywhere: **lam = weight on DPO**, in [0, 1]; 1 − lam is the weight on SFT.
Steps t count optimizer steps from 0. Losses and weights are dicts keyed by objective name.

The loop asks, for step t: `looks(t)` -> losses it should see first; `weights(t)` -> the update; then tells
`observe(losses)`. Losses are averaged over the whole step and over ranks, so all ranks choose alike. A random choice is
a pure function of (seed, t): nothing to save, the same after a resume.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from xright.errors import check_number


class Selector(ABC):
    """A selection rule. Only `weights` and `label` must be given; the defaults see nothing and ask for nothing."""

    may_stop_early = True  # may a stopping rule end the run before its budget?

    @property
    @abstractmethod
    def label(self) -> str:
        """The name people read in tables and figures, with the hyper-parameters that tell runs apart."""

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

    def seen_gaps(self) -> dict[str, float]:
        """Last-seen optimality gaps, where the rule keeps any (for `steps.csv`)."""
        return {}

    def start(self) -> dict[str, float]:
        """Weights with which the optima's models are averaged into the start; {} starts from the base model."""
        return {}

    def phases(self, steps_per_epoch: int, epochs: int) -> tuple[int, ...]:
        """Length in steps of each phase; a phase begins with a fresh optimizer state and schedule."""
        return (steps_per_epoch * epochs,)

    def state_dict(self) -> dict[str, Any]:
        """What must be saved to go on exactly; empty for rules without memory."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore `state_dict()`."""


def check_lam(lam: float) -> float:
    """λ as a float in [0, 1], else UserError."""
    return check_number(
        "lam", lam, lambda x: 0 <= x <= 1, "a number in [0, 1]: the weight on DPO (0 SFT only, 1 DPO only)"
    )
