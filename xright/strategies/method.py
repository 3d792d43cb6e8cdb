"""What a run's method is, as data for `result.json`, and in words for tables and figures. Nothing reads the words back.

family: `joint` (one phase that trains several objectives), `sequential` (several phases), `single` (one phase, one
objective) or `merge` (no phase: the run is where it starts).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from xright.strategies.only import Only
from xright.strategies.schedule import Phase, Schedule
from xright.strategies.weights import in_words

BASE = "base"


@dataclass(frozen=True)
class Method:
    """name: of the rule, without hyper-parameters. weights: the trade-off asked for, where there is one. phases: each
    phase's rule, objectives, epochs and steps. start: where it begins. settings: of the rule, {name: value}. variant:
    the label without the weights. label: all that tells two runs apart, but for their seed."""

    family: str
    name: str
    weights: Mapping[str, float] | None
    phases: list[dict[str, Any]]
    start: str
    variant: str
    label: str
    settings: Mapping[str, Any] = field(default_factory=dict)

    def as_data(self) -> dict[str, Any]:
        """For `result.json`: the settings stand beside the rest."""
        own = {key: value for key, value in vars(self).items() if key not in ("label", "settings")}
        return {**own, **self.settings}


def method_of(
    schedule: Schedule,
    steps_per_epoch: int,
    epochs: int,
    *,
    start: str,
    start_weights: Mapping[str, float] | None = None,
    start_settings: Mapping[str, tuple[Any, Any]] | None = None,
    labels: Mapping[str, str] | None = None,
) -> Method:
    """The method of a run of so many epochs. start: what its starting point is called, and its weights and settings.
    labels: what people call the objectives; None: their names in capitals."""
    phases = [
        {
            "rule": rule.name, "objectives": list(rule.objectives), "epochs": own or epochs,
            "steps": (own or epochs) * steps_per_epoch,
        }
        for rule, own in schedule.phases
    ]  # fmt: skip
    rules = [phase.rule for phase in schedule.phases]
    if len(rules) == 1:
        (rule,) = rules
        family, name = "joint" if len(rule.objectives) > 1 else "single", rule.name
        if isinstance(rule, Only):
            name = f"{_called(rule.objective, labels)} only"
        weights, unusual = rule.importance, _unusual(rule.settings)
        settings = {key: value for key, (value, _) in rule.settings.items()}
    else:
        family, name = "sequential" if rules else "merge", schedule.name if rules else start
        weights, unusual, settings = None if rules else start_weights, _order(schedule.phases, labels), {}
    own = _unusual(start_settings or {})
    if not rules:
        unusual, settings = own, {key: value for key, (value, _) in (start_settings or {}).items()}
    words = " ".join(filter(None, (start, in_words(start_weights) if start_weights else "", own)))
    origin = "" if start == BASE or not rules else f"from {words}" if start_weights else words
    variant = " ".join(filter(None, (name, unusual, origin)))
    label = " ".join(filter(None, (name, in_words(weights) if weights else "", unusual, origin)))
    return Method(family, name, weights, phases, start=start, variant=variant, label=label, settings=settings)


def _unusual(settings: Mapping[str, tuple[Any, Any]]) -> str:
    """Settings that are not at their usual value."""
    return " ".join(f"{key}={value}" for key, (value, usual) in settings.items() if value != usual)


def _called(objective: str, labels: Mapping[str, str] | None) -> str:
    return (labels or {}).get(objective, objective.upper())


def _order(phases: tuple[Phase, ...], labels: Mapping[str, str] | None) -> str:
    """ "DPO→SFT (3,3)": what each phase trains, and for how many epochs."""
    if not phases:
        return ""
    names = [
        _called(rule.objectives[0], labels)
        if len(rule.objectives) == 1
        else " ".join(filter(None, (rule.name, in_words(rule.importance or {}), _unusual(rule.settings))))
        for rule, _ in phases
    ]
    return f"{'→'.join(names)} ({','.join('all' if epochs is None else str(epochs) for _, epochs in phases)})"
