"""What the rules share that go by optimality gaps: the optima they were given, and the gaps they saw last."""

from collections.abc import Iterable, Mapping
from typing import Any

from xright.errors import UserError
from xright.strategies.selector import Selector
from xright.strategies.weights import Weighted


class Gapped(Selector):
    """A rule that knows the optima f* of these objectives, in the unit of each loss; UserError where one is missing."""

    def __init__(self, names: Iterable[str], optima: Mapping[str, float | None] | None) -> None:
        known = {name: best for name, best in (optima or {}).items() if best is not None}
        if missing := [name for name in names if name not in known]:
            example = ", ".join(f"{name}: 0.5" for name in names)
            raise UserError(
                f"{self.name} needs the optima of its objectives, {', '.join(missing)} too, but optima={optima!r}; "
                f"leave optima=auto to compute them, or give numbers: 'optima={{{example}}}'."
            )
        self.optima = {name: float(known[name]) for name in names}
        self.gaps: dict[str, float] = {}

    def observe(self, losses: Mapping[str, float]) -> None:
        """Remember f − f* of every loss told."""
        self.gaps.update({name: loss - self.optima[name] for name, loss in losses.items()})

    def state_dict(self) -> dict[str, Any]:
        return {"gaps": dict(self.gaps)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.gaps = dict(state["gaps"])


class WeightedGaps(Weighted, Gapped):
    """A rule that has weights, too. UserError for weights that are none."""

    def __init__(self, weights: Mapping[str, float | None], optima: Mapping[str, float | None] | None) -> None:
        Weighted.__init__(self, weights)
        Gapped.__init__(self, self.importance, optima)
