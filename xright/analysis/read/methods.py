"""What result.json says a run is: its table of objectives, and its method. Nothing is read from a label.

    objectives   {name: {"label", "unit", "surrogate", …}}, in the order of the table
    method       {"family": "sequential" | "joint" | "merge" | "single", "name": of the rule, "weights": {objective: w}
                 or null, "phases": [{"rule", "objectives": [names], "epochs", "steps"}], "start", "variant": its name
                 with what is unusual about it, but its weights; and the rule's own settings}

A surrogate is a loss that is trained on in the place of others: it has its columns, but is no axis of objective space.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

FAMILIES = ("sequential", "joint", "merge", "single")  # in the order of every table and figure
KNOWN = ("Mix", "ALRIGHT", "MAXRIGHT", "Model average")  # of their family the first; others follow by name
NO_SETTING = ("family", "name", "variant", "weights", "phases")


@dataclass(frozen=True)
class Objective:
    """One entry of the table of objectives: its name in columns, its name and unit for people."""

    name: str
    label: str
    unit: str
    surrogate: bool = False


@dataclass(frozen=True)
class Method:
    """How a run was trained. `name`: in tables and figures. `weights` and `settings` may be empty.

    phases: {"objectives", "epochs", "steps"} each. trained: the same in words, ["DPO", "SFT"] or ["DPO+SFT"].
    place: see `place_of`.
    """

    family: str
    name: str
    variant: str
    weights: dict[str, float]
    phases: list[dict[str, Any]]
    settings: dict[str, Any]
    trained: list[str]
    place: tuple[int, int]

    @property
    def first(self) -> str:
        """The objective that a sequential run begins with; "" for other families."""
        return self.phases[0]["objectives"][0] if self.family == "sequential" else ""

    @property
    def front(self) -> str:
        """Return what has one Pareto front, over weights or splits of the epochs: the variant without its split."""
        return f"{self.name} {'→'.join(self.trained)}" if self.family == "sequential" else self.variant


def read_objectives(found: Any) -> dict[str, Objective]:
    """The table of objectives. ValueError, TypeError, KeyError or AttributeError where it is none."""
    if not found:
        raise ValueError("there is no objective")
    return {
        name: Objective(name, _text(about["label"]), _text(about["unit"]), about["surrogate"] is True)
        for name, about in found.items()
    }


def read_method(found: Any, objectives: Mapping[str, Objective]) -> Method:
    """The method of a run with these objectives. Raises like `read_objectives`."""
    family, name, variant = (_text(found[key]) for key in ("family", "name", "variant"))
    phases = list(found["phases"])
    trained = ["+".join(_label(_text(one), objectives) for one in phase["objectives"]) for phase in phases]
    if family == "sequential":
        sum(phase["epochs"] for phase in phases) / len(phases)
    if family == "single":  # the objective names it; from the last of the table to the first
        name = f"{trained[0]} only"
    weights = {_text(one): float(weight) for one, weight in (found["weights"] or {}).items()}
    settings = {key: value for key, value in found.items() if key not in NO_SETTING}
    place = place_of(family, name, objectives)
    return Method(family, name, variant, weights, phases=phases, settings=settings, trained=trained, place=place)


def place_of(family: str, name: str, objectives: Mapping[str, Objective]) -> tuple[int, int]:
    """What sorts methods as they stand in every table; a single objective's from the last to the first."""
    singles = [f"{one.label} only" for one in objectives.values()]
    place = -[*singles, name].index(name) if family == "single" else [*KNOWN, name].index(name)
    return [*FAMILIES, family].index(family), place


def weighting(weights: Mapping[str, float], lam: float) -> str:
    """Weights as text: "λ=0.25" where λ says them (no NaN), "" without any.

    >>> weighting({"dpo": 0.25, "sft": 0.75}, 0.25), weighting({"dpo": 0.5, "sft": 0.3, "safety": 0.2}, math.nan)
    ('λ=0.25', 'dpo=0.5 sft=0.3 safety=0.2')
    """
    return f"λ={lam:g}" if not math.isnan(lam) else " ".join(f"{name}={weight:.3g}" for name, weight in weights.items())


def _label(name: str, objectives: Mapping[str, Objective]) -> str:
    return objectives[name].label if name in objectives else name.upper()


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r:.40} is no text")
    return value
