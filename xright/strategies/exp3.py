"""EXP3: a bandit that trains one objective a step, more often what it sees to have a large weighted gap (online data
mixing, Albalak et al. 2023, arXiv 2312.02406; Auer et al. 2002).

draw i with π_i = (1 − γ) v_i / Σ v + γ/K;   then   v_i ← v_i exp(η r_i / (π_i K)),   r_i = w_i (f_i − f_i*)

It costs what ALRIGHT costs: only the drawn objective is computed. γ in (0, 1]; η > 0. Draw t is a pure function of
(seed, t) and v. State: log v.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import scipy

from xright.errors import check_number
from xright.strategies.gapped import WeightedGaps

USUAL_GAMMA, USUAL_ETA = 0.1, 0.3


class EXP3(WeightedGaps):
    """The adversarial bandit. UserError for weights, optima, γ or η that are none."""

    def __init__(
        self,
        weights: Mapping[str, float | None],
        optima: Mapping[str, float | None] | None,
        seed: int,
        gamma: float = USUAL_GAMMA,
        eta: float = USUAL_ETA,
    ) -> None:
        super().__init__(weights, optima)
        self.seed = seed
        self.gamma = check_number("strategy.gamma", gamma, lambda x: 0 < x <= 1, "a number in (0, 1]")
        self.eta = check_number("strategy.eta", eta, lambda x: x > 0, "a number > 0")
        self.logits = dict.fromkeys(self.weighed, 0.0)

    @property
    def settings(self) -> dict[str, Any]:
        return {"gamma": (self.gamma, USUAL_GAMMA), "eta": (self.eta, USUAL_ETA)}

    @property
    def chances(self) -> dict[str, float]:
        shares = (1 - self.gamma) * scipy.special.softmax([*self.logits.values()]) + self.gamma / len(self.logits)
        return dict(zip(self.logits, shares.tolist(), strict=True))

    def weights(self, step: int) -> dict[str, float]:
        """One-hot on the drawn objective."""
        drawn = np.random.default_rng((self.seed, step)).choice(len(self.logits), p=[*self.chances.values()])
        return {[*self.logits][drawn]: 1.0}

    def observe(self, losses: Mapping[str, float]) -> None:
        """What was trained is rewarded by its weighted gap before the update."""
        super().observe(losses)
        chances = self.chances
        for name in losses:
            reward = self.importance[name] * self.gaps[name]
            self.logits[name] += self.eta * reward / (chances[name] * len(chances))

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "logits": dict(self.logits)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self.logits = dict(state["logits"])
