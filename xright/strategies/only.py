"""Only: one objective, every step. Serves `strategy=only`, `sft`, `dpo` and `orpo`, the phases of Sequential, and the
stages that train a base, a reference, or find an objective's optimum f*.

>>> Only("sft").weights(step=3)
{'sft': 1.0}
"""

from xright.strategies.selector import Selector


class Only(Selector):
    """A single objective by its name."""

    def __init__(self, objective: str) -> None:
        self.objective = objective

    @property
    def name(self) -> str:
        """The objective's name in capitals."""
        return f"{self.objective.upper()} only"

    @property
    def objectives(self) -> tuple[str, ...]:
        return (self.objective,)

    def weights(self, step: int) -> dict[str, float]:
        """Weight 1 on the objective."""
        return {self.objective: 1.0}

    def __repr__(self) -> str:
        return f"Only({self.objective!r})"
