"""STCH, smooth Tchebycheff: descend a smooth maximum of the weighted gaps (Lin et al. 2024, arXiv 2402.19078).

min μ log Σ_i exp(w_i d_i / μ),  d_i = f_i − f_i*        α_i = w_i softmax_i(w d / μ)

μ > 0 in nats: small, and nearly all weight is on the objective that MAXRIGHT would choose, but with its w_i as step
length; large, and it is Mix with weights w_i / K. The paper tries μ of .01, .1, .5 and 1.

>>> rule = STCH({"dpo": 0.5, "sft": 0.5}, optima={"dpo": 0.0, "sft": 0.0}, mu=0.5)
>>> rule.observe({"dpo": 1.0, "sft": 1.0})
>>> rule.weights(step=0)
{'dpo': 0.25, 'sft': 0.25}
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import scipy

from xright.errors import check_number
from xright.strategies.gapped import WeightedGaps

USUAL_MU = 0.1


class STCH(WeightedGaps):
    """Both losses of every step decide its weights. UserError for weights, optima or a μ that are none."""

    def __init__(
        self,
        weights: Mapping[str, float | None],
        optima: Mapping[str, float | None] | None,
        mu: float = USUAL_MU,
    ) -> None:
        super().__init__(weights, optima)
        self.mu = check_number("strategy.mu", mu, lambda x: x > 0, "a number > 0")

    @property
    def settings(self) -> dict[str, Any]:
        return {"mu": (self.mu, USUAL_MU)}

    def looks(self, step: int) -> tuple[str, ...]:
        """All that have a weight: they are all trained, so a look costs nothing."""
        return self.weighed

    def weights(self, step: int) -> dict[str, float]:
        """w_i times the softmax of the weighted gaps."""
        names = self.looks(step)
        shares = scipy.special.softmax(np.array([self.importance[name] * self.gaps[name] for name in names]) / self.mu)
        return {name: self.importance[name] * float(share) for name, share in zip(names, shares, strict=True)}
