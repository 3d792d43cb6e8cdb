"""The ε-constraint: one objective is minimised while the others' gaps stay below ε (a Lagrangian with multipliers that
follow the violation, as in Safe RLHF's PPO-Lag, Dai et al. 2024, arXiv 2310.12773).

min f_p  subject to  d_j = f_j − f_j* ≤ ε_j:     log ν_j ← log ν_j + η (d_j − ε_j) ν_j;     α = (1, ν_j) / (1 + Σ ν)

ν_j stays within [1/ν_max, ν_max], at first 1. ε in the unit of the loss (nats), one for all or one for each. State: ν.

>>> rule = Constrained("sft", 0.5, optima={"dpo": 0.0, "sft": 0.0}, eta=1.0986123)
>>> rule.observe({"dpo": 1.5, "sft": 2.0})  # d_dpo is 1 too large
>>> {name: round(weight, 6) for name, weight in rule.weights(step=0).items()}
{'sft': 0.25, 'dpo': 0.75}
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from xright.errors import UserError, check_number
from xright.strategies.gapped import Gapped

USUAL_ETA = 0.1
USUAL_MOST = 100.0


class Constrained(Gapped):
    """primary: the objective that is minimised. epsilon: of the others, which are those of `optima`. UserError for
    values that are none."""

    def __init__(
        self,
        primary: str,
        epsilon: float | Mapping[str, float],
        optima: Mapping[str, float | None] | None,
        eta: float = USUAL_ETA,
        nu_max: float = USUAL_MOST,
    ) -> None:
        names = [primary, *(name for name in optima or {} if name != primary)]
        super().__init__(names, optima)
        self.primary, self.others = primary, names[1:]
        given = epsilon if isinstance(epsilon, Mapping) else dict.fromkeys(self.others, epsilon)
        if given.keys() != set(self.others):
            raise UserError(
                f"strategy.epsilon={dict(given)!r} must be a number, or one for each of {', '.join(self.others)}."
            )
        self.promised = self.epsilon = {
            name: check_number(f"strategy.epsilon.{name}", value, lambda x: x >= 0, "a number >= 0")
            for name, value in given.items()
        }
        self.eta = check_number("strategy.eta", eta, lambda x: x > 0, "a number > 0")
        self.most = check_number("strategy.nu_max", nu_max, lambda x: x > 1, "a number > 1")
        self.nu = dict.fromkeys(self.others, 1.0)
        self.asked = -1

    @property
    def objectives(self) -> tuple[str, ...]:
        """The one that is minimised, and those with a bound."""
        return (self.primary, *self.others)

    @property
    def settings(self) -> dict[str, Any]:
        """What is minimised, below which gaps of the others, and how fast ν follows."""
        told = [*self.epsilon.values()]
        epsilon = told[0] if len(set(told)) == 1 else ",".join(map(str, told))
        return {"primary": (self.primary, None), "epsilon": (epsilon, None), "eta": (self.eta, USUAL_ETA)}

    def looks(self, step: int) -> tuple[str, ...]:
        """All: they are all trained, so a look costs nothing."""
        return self.objectives

    def weights(self, step: int) -> dict[str, float]:
        """(1, ν) over their sum, after this step's gaps: asked twice about a step, it answers the same."""
        if step != self.asked:
            self.asked, bound = step, np.log(self.most)
            for name, nu in self.nu.items():
                raised = np.log(nu) + self.eta * (self.gaps[name] - self.epsilon[name]) * nu
                self.nu[name] = float(np.exp(np.clip(raised, -bound, bound)))
        total = 1 + sum(self.nu.values())
        return {self.primary: 1 / total, **{name: nu / total for name, nu in self.nu.items()}}

    def state_dict(self) -> dict[str, Any]:
        """Also ν, and the step it is of."""
        return {**super().state_dict(), "nu": dict(self.nu), "asked": self.asked}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self.nu, self.asked = dict(state["nu"]), state["asked"]
