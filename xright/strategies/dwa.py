"""DWA, dynamic weight average: more weight on what fell least from one window of steps to the next (Liu et al. 2019,
arXiv 1803.10704).

α_i = w_i K softmax_i(r / T),   r_i = mean of f_i over the last window / mean over the one before;   r = 1 at first

window: steps; T > 0: temperature. Equal weights give the published rule divided by K. State: the means.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import scipy

from xright.errors import check_number
from xright.strategies.schedule import is_count
from xright.strategies.weights import Weighted

USUAL_T, USUAL_WINDOW = 2.0, 20


class DWA(Weighted):
    """Weights that follow the rates at which losses fall. UserError for weights, T or a window that are none."""

    def __init__(
        self, weights: Mapping[str, float | None], temperature: float = USUAL_T, window: int = USUAL_WINDOW
    ) -> None:
        super().__init__(weights)
        self.temperature = check_number("strategy.temperature", temperature, lambda x: x > 0, "a number > 0")
        self.window = int(check_number("strategy.window", window, is_count, "a whole number of steps >= 1"))
        self.names = self.weighed
        self.sums = dict.fromkeys(self.names, 0.0)
        self.count = 0
        self.means: list[dict[str, float]] = []  # of the last two windows

    @property
    def settings(self) -> dict[str, Any]:
        return {"temperature": (self.temperature, USUAL_T), "window": (self.window, USUAL_WINDOW)}

    def weights(self, step: int) -> dict[str, float]:
        rates = np.ones(len(self.names))
        if len(self.means) == 2:
            before, last = self.means
            rates = np.array([last[name] / before[name] for name in self.names])
        shares = len(rates) * scipy.special.softmax(rates / self.temperature)
        return {name: self.importance[name] * float(share) for name, share in zip(self.names, shares, strict=True)}

    def observe(self, losses: Mapping[str, float]) -> None:
        """Every step trains all objectives, so a step is a full row of losses."""
        self.sums = {name: total + losses[name] for name, total in self.sums.items()}
        self.count += 1
        if self.count == self.window:
            self.means = [*self.means[-1:], {name: total / self.window for name, total in self.sums.items()}]
            self.sums, self.count = dict.fromkeys(self.names, 0.0), 0

    def state_dict(self) -> dict[str, Any]:
        """The sums of this window, and the means of the last two."""
        return {"sums": dict(self.sums), "count": self.count, "means": [dict(mean) for mean in self.means]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.sums, self.count = dict(state["sums"]), state["count"]
        self.means = [dict(mean) for mean in state["means"]]
