"""ALRIGHT: each step is a DPO step with probability λ, else an SFT step (arXiv 2410.15483, alg 2, eq 10).

i_t ~ Categorical(w),   θ_{t+1} = θ_t − α_t ∇f_{i_t}(θ_t)          two objectives: w = (λ, 1 − λ)

In expectation a step of the mixture Σ w_i f_i, at the price of one gradient. weights: w ≥ 0; seed: the draws' seed;
draw t is a pure function of (seed, t).

>>> ALRIGHT({"dpo": 1.0, "sft": 0.0}, seed=0).weights(step=7)
{'dpo': 1.0}
"""

from collections.abc import Mapping

import numpy as np

from xright.strategies.weights import Weighted


class ALRIGHT(Weighted):
    """The stateless draw. Raises UserError for weights that are none."""

    def __init__(self, weights: Mapping[str, float], seed: int) -> None:
        super().__init__(weights)
        self.seed = seed

    def weights(self, step: int) -> dict[str, float]:
        """One-hot: objective i with probability w_i."""
        drawn, reached = np.random.default_rng((self.seed, step)).random(), 0.0
        for name, weight in self.importance.items():
            reached += weight
            if drawn < reached:
                return {name: 1.0}
        return {[name for name, weight in self.importance.items() if weight][-1]: 1.0}  # the sum is 1, but for rounding
