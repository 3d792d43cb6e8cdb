"""GroupDRO: weights that grow where the gap is large, by exponentiated gradient ascent on the worst case (Sagawa et al.
2020, arXiv 1911.08731).

q_i ← q_i exp(η w_i d_i),  divided by their sum;  α = q;  d_i = f_i − f_i*;  at first q_i = 1/K

η > 0. State: q.

>>> rule = GroupDRO({"dpo": 0.5, "sft": 0.5}, optima={"dpo": 0.0, "sft": 0.0}, eta=2.1972246)
>>> rule.observe({"dpo": 1.0, "sft": 0.0})
>>> {name: round(weight, 6) for name, weight in rule.weights(step=0).items()}  # 3 to 1
{'dpo': 0.75, 'sft': 0.25}
"""

from collections.abc import Mapping
from typing import Any

import scipy

from xright.errors import check_number
from xright.strategies.gapped import WeightedGaps

USUAL_ETA = 0.01


class GroupDRO(WeightedGaps):
    """The adversary's weights. UserError for weights, optima or an η that are none."""

    def __init__(
        self,
        weights: Mapping[str, float | None],
        optima: Mapping[str, float | None] | None,
        eta: float = USUAL_ETA,
    ) -> None:
        super().__init__(weights, optima)
        self.eta = check_number("strategy.eta", eta, lambda x: x > 0, "a number > 0")
        self.logits = dict.fromkeys(self.weighed, 0.0)
        self.asked = -1

    @property
    def settings(self) -> dict[str, Any]:
        return {"eta": (self.eta, USUAL_ETA)}

    def looks(self, step: int) -> tuple[str, ...]:
        """All that have a weight: they are all trained, so a look costs nothing."""
        return tuple(self.logits)

    def weights(self, step: int) -> dict[str, float]:
        """q, after this step's gaps: asked twice about a step, it answers the same."""
        if step != self.asked:
            self.asked = step
            raised = {name: x + self.eta * self.importance[name] * self.gaps[name] for name, x in self.logits.items()}
            most = max(raised.values())
            self.logits = {name: x - most for name, x in raised.items()}
        return dict(zip(self.logits, scipy.special.softmax([*self.logits.values()]).tolist(), strict=True))

    def state_dict(self) -> dict[str, Any]:
        """Also log q, up to a constant, and the step it is of."""
        return {**super().state_dict(), "logits": dict(self.logits), "asked": self.asked}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self.logits, self.asked = dict(state["logits"]), state["asked"]
