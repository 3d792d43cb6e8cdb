"""A schedule: phases one after another, each with its own rule and length. A rule alone is a schedule of one phase.

Each phase begins with a fresh optimizer state and learning-rate schedule. A schedule without phases trains nothing: its
run is where it starts (`starts/`).
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from xright.errors import UserError, check_number
from xright.strategies.selector import Selector


class Phase(NamedTuple):
    """epochs: passes over the longest stream; None: as many as the run has (`epochs=`)."""

    rule: Selector
    epochs: int | None = None


class Schedule:
    """phases: `Phase`s, or mappings with their `rule` and `epochs`. name: what people call it.

    Raises UserError for a phase without a rule, or with another number of epochs than a whole one ≥ 1.
    """

    name = "Schedule"

    def __init__(self, phases: Sequence[Phase | Mapping[str, Any]]) -> None:
        for phase in phases:
            if not isinstance(phase, Phase) and not (isinstance(phase, Mapping) and {*phase} <= {*Phase._fields}):
                raise UserError(f"strategy.phases: a phase is {{rule: …, epochs: …}}, not {phase!r}.")
        made = [phase if isinstance(phase, Phase) else Phase(**{"rule": None, **phase}) for phase in phases]
        for phase in made:
            if not isinstance(phase.rule, Selector):
                raise UserError(f"strategy.phases: a phase's rule must be one of strategies/, not {phase.rule!r}.")
            if phase.epochs is not None:
                check_number("strategy.epochs", phase.epochs, is_count, "a whole number >= 1 for each phase")
        self.phases = tuple(made)

    @classmethod
    def of(cls, method: "Selector | Schedule") -> "Schedule":
        """As a schedule, whatever `conf/strategy` describes."""
        return method if isinstance(method, Schedule) else cls([Phase(method)])

    @property
    def objectives(self) -> tuple[str, ...]:
        """Names of all objectives that may be trained, in the order of the phases."""
        return tuple(dict.fromkeys(name for phase in self.phases for name in phase.rule.objectives))

    def __repr__(self) -> str:
        return f"{self.name}({', '.join(f'{rule}: {epochs}' for rule, epochs in self.phases)})"

    def steps(self, steps_per_epoch: int, epochs: int) -> list[tuple[Selector, int]]:
        """Each phase's rule, told its length, and that length: optimizer steps in a run of `epochs` epochs."""
        for phase in self.phases:
            phase.rule.phase_steps = (phase.epochs or epochs) * steps_per_epoch
        return [(phase.rule, phase.rule.phase_steps) for phase in self.phases]


class Current(NamedTuple):
    """The phase that a step belongs to: its rule, the step it begins with, and its length in steps."""

    rule: Selector
    start: int
    steps: int


def current(schedule: Sequence[tuple[Selector, int]], step: int) -> Current:
    """Where `step` lies in a list of rules and their lengths; IndexError for one behind the last."""
    start = 0
    for rule, steps in schedule:
        if step < start + steps:
            return Current(rule, start, steps)
        start += steps
    raise IndexError(f"step {step} lies behind the {start} steps of the schedule")


def is_count(value: object) -> bool:
    """Whether it is a whole number ≥ 1."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
