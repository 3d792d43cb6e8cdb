"""What the rules share that compare gradients: when they do, and what they do in between.

Each gives α from the Gramian G of the step's gradients (`alphas`); the update descends Σ α_i g_i. The price is Mix's,
and K − 1 gradients more in memory. Two ways to pay less: G every `k` steps only, α kept in between; and `sample`, one
objective a step in between, drawn with probability α_i / Σα and given the weight Σα, which leaves the expected
direction as it is and costs what ALRIGHT costs.

How the weights enter is each rule's affair; equal ones leave the published rule as it is. An objective of weight 0
takes no part.
"""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np

from xright.errors import UserError, check_number
from xright.strategies.schedule import is_count
from xright.strategies.weights import Weighted, check_weights

METRICS = ("euclid", "adam")


class Compared(Weighted):
    """k: steps between comparisons. sample: draw one objective in between. metric: of G (`selector.py`). seed: of the
    draws. UserError for weights that are none, and for any other value that is none."""

    def __init__(
        self,
        weights: Mapping[str, float | None],
        *,
        k: int = 1,
        sample: bool = False,
        metric: str = "euclid",
        seed: int = 0,
    ) -> None:
        super().__init__(weights)
        self.k = int(check_number("strategy.k", k, is_count, "a whole number of steps >= 1"))
        if metric not in METRICS:
            raise UserError(f"strategy.metric={metric!r} must be one of {', '.join(METRICS)}.")
        if not isinstance(sample, bool):
            raise UserError(f"strategy.sample={sample!r} must be true or false.")
        if sample and k == 1:
            raise UserError(
                "strategy.sample=true draws an objective in the steps between comparisons, and strategy.k=1 leaves "
                "none; give a larger strategy.k, such as 10."
            )
        self.sample, self.metric, self.seed = sample, metric, seed
        self.names = self.weighed
        self.alpha: dict[str, float] = {}

    @abstractmethod
    def alphas(self, gramian_KK: np.ndarray, weights: Mapping[str, float], step: int) -> np.ndarray:
        """α (K,) from G (K, K), positive on the diagonal, of the objectives whose weights these are, in G's order."""

    @property
    def settings(self) -> dict[str, Any]:
        """How often it compares, what it does in between, and by which inner product."""
        return {"k": (self.k, 1), "sample": (self.sample, False), "metric": (self.metric, "euclid")}

    def compares(self, step: int) -> tuple[str, ...]:
        """All objectives every k steps, where there are several."""
        return self.names if len(self.names) > 1 and step % self.k == 0 else ()

    def combine(self, step: int, gramian_KK: np.ndarray) -> dict[str, float]:
        """α; of an objective whose gradient is zero, its weight: it changes nothing."""
        self.alpha = {name: self.importance[name] for name in self.names}
        if len(alive := np.flatnonzero(np.diag(gramian_KK) > 0)):
            weights = check_weights({self.names[i]: self.importance[self.names[i]] for i in alive})
            found_K = self.alphas(gramian_KK[np.ix_(alive, alive)], weights, step)
            self.alpha |= zip(weights, found_K.tolist(), strict=True)
        return dict(self.alpha)

    def weights(self, step: int) -> dict[str, float]:
        """Between comparisons: the last α, or one objective drawn by it."""
        if len(self.names) == 1:
            return {self.names[0]: 1.0}
        used = {name: alpha for name, alpha in self.alpha.items() if alpha > 0} or dict(self.alpha)
        total = sum(used.values())
        if not self.sample or len(used) == 1 or not total:
            return used
        drawn = np.random.default_rng((self.seed, step)).choice(len(used), p=np.array([*used.values()]) / total)
        return {[*used][drawn]: total}

    def state_dict(self) -> dict[str, Any]:
        return {"alpha": dict(self.alpha)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.alpha = dict(state["alpha"])


def factors(weights: Mapping[str, float]) -> np.ndarray:
    """K w_i (K,): 1 for equal weights."""
    return len(weights) * np.array([*weights.values()])
