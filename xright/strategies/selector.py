"""The interface of a rule: which objectives a step updates, and with which weights.

Steps t count the optimizer steps of the rule's phase, from 0. Losses and weights are dicts by objective name, of any
number of objectives.

The loop asks, for step t: `looks(t)` -> losses it should see first; `weights(t)` -> the update; then tells
`observe(losses)`. Losses are averaged over the whole step and over ranks, so all ranks choose alike. A random choice is
a pure function of (seed, t): nothing to save, the same after a resume.

Two more questions cost nothing where they are not asked. `compares(t)` -> objectives whose gradients the rule compares:
then it is asked `combine(t, gramian)` in the place of `weights(t)`, and before that `tracks(t)` -> the share of these
gradients in running means that take their place, or None. `reviews(t)` -> objectives whose loss it wants to know after
the update, on the same rows: it is told `review(losses)`.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np


class Selector(ABC):
    """A rule. Only `objectives` and `weights` must be given; the defaults see nothing and ask for nothing.

    importance: the trade-off it is asked for, {objective: weight}, where it takes one. gaps: last-seen optimality gaps,
    where it keeps any (for `steps.csv`). metric: of the inner products it is given: `euclid`, or `adam`, those after
    AdamW's preconditioner, ⟨g_i, D⁻¹ g_j⟩ with D = √v̂ + ε. halves: they are of g_i of the first half of the step's rows
    and g_j of the second half. phase_steps: the length of its phase, told before its first step. promised: ε of the
    gaps that it means to end below, {objective: ε}, in the unit of each loss; the run says whether they do.
    """

    importance: Mapping[str, float] | None = None
    gaps: Mapping[str, float] = {}
    metric: str = "euclid"
    halves: bool = False
    phase_steps: int = 0
    promised: Mapping[str, float] = {}

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

    def compares(self, step: int) -> tuple[str, ...]:
        """Objectives whose gradients the rule compares in this step; each of them is computed."""
        return ()

    def tracks(self, step: int) -> float | None:
        """β, in (0, 1], of the means y_i ← y_i + β (g_i − y_i), from 0, that are compared and descended in the place of
        the compared gradients g_i; None: of no means."""
        return None

    def combine(self, step: int, gramian_KK: np.ndarray) -> dict[str, float]:
        """Weight per objective for this step's update, from G_ij = ⟨g_i, g_j⟩ in the order of `compares(step)`; g_i is
        the gradient of f_i over the whole optimizer step and all ranks."""
        raise NotImplementedError

    def reviews(self, step: int) -> tuple[str, ...]:
        """Objectives whose loss the rule wants to know after this step's update, on the step's rows."""
        return ()

    def review(self, losses: Mapping[str, float]) -> None:
        """Told what the reviewed losses are after the update."""

    def state_dict(self) -> dict[str, Any]:
        """What must be saved to go on exactly; empty for rules without memory."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up the memory that `state_dict` has saved."""
