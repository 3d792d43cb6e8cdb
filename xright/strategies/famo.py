"""FAMO: all losses shall fall at the same rate; a loss that fell little gets more weight (Liu et al. 2023, arXiv
2306.03792).

z = softmax(v);   α_i = c z_i / (f_i − b_i),   c = 1 / Σ z_i / (f_i − b_i);
after the step, on the same rows:   δ_i = log(f_i − b_i) before − after;   v takes an Adam step along (∂z/∂v)ᵀ δ

At first v = log w, which for equal weights is the published start. b: lower bounds of the losses (0). lr and decay: of
v's Adam. One forward more than Mix. State: v and its moments.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import scipy

from xright.errors import check_number
from xright.strategies.weights import Weighted

USUAL_LR, USUAL_DECAY = 0.025, 1e-3
BETAS, EPS = (0.9, 0.999), 1e-8


class FAMO(Weighted):
    """Fast adaptive multitask optimization. bounds: b by objective; null: 0. UserError for values that are none."""

    def __init__(
        self,
        weights: Mapping[str, float | None],
        bounds: Mapping[str, float | None] | None = None,
        lr: float = USUAL_LR,
        decay: float = USUAL_DECAY,
    ) -> None:
        super().__init__(weights)
        self.lr = check_number("strategy.lr", lr, lambda x: x >= 0, "a number >= 0")
        self.decay = check_number("strategy.decay", decay, lambda x: x >= 0, "a number >= 0")
        self.names = self.weighed
        self.bounds = {name: float((bounds or {}).get(name) or 0.0) for name in self.names}
        self.v_K = np.log([self.importance[name] for name in self.names])
        self.moments_2K = np.zeros((2, len(self.names)))
        self.steps = 0
        self.logs_K = np.zeros(len(self.names))  # log(f − b) before the update

    @property
    def settings(self) -> dict[str, Any]:
        """The learning rate of v, and its decay."""
        return {"lr": (self.lr, USUAL_LR), "decay": (self.decay, USUAL_DECAY)}

    def looks(self, step: int) -> tuple[str, ...]:
        """All that have a weight: they are all trained, so a look costs nothing."""
        return self.names

    def observe(self, losses: Mapping[str, float]) -> None:
        """The losses before the update."""
        self.logs_K = self._logs(losses)

    def weights(self, step: int) -> dict[str, float]:
        """c z / (f − b)."""
        shares_K = scipy.special.softmax(softmax_log(self.v_K) - self.logs_K)
        return dict(zip(self.names, shares_K.tolist(), strict=True))

    def reviews(self, step: int) -> tuple[str, ...]:
        return self.names

    def review(self, losses: Mapping[str, float]) -> None:
        """Adam's step on v, with decay as a part of the gradient."""
        fell_K, z_K = self.logs_K - self._logs(losses), scipy.special.softmax(self.v_K)
        slope_K = z_K * (fell_K - z_K @ fell_K) + self.decay * self.v_K
        self.steps += 1
        for moment_K, value_K, beta in zip(self.moments_2K, (slope_K, slope_K**2), BETAS, strict=True):
            moment_K += (1 - beta) * (value_K - moment_K)
        first_K, second_K = (m / (1 - b**self.steps) for m, b in zip(self.moments_2K, BETAS, strict=True))
        self.v_K = self.v_K - self.lr * first_K / (np.sqrt(second_K) + EPS)

    def state_dict(self) -> dict[str, Any]:
        """v, its moments, and how many steps it took."""
        return {"v": self.v_K.tolist(), "moments": self.moments_2K.tolist(), "steps": self.steps}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.v_K, self.moments_2K = np.array(state["v"]), np.array(state["moments"])
        self.steps = state["steps"]

    def _logs(self, losses: Mapping[str, float]) -> np.ndarray:
        """log(f − b), of a loss at or below its bound log EPS."""
        return np.log([max(losses[name] - self.bounds[name], EPS) for name in self.names])


def softmax_log(v_K: np.ndarray) -> np.ndarray:
    """The logarithm of softmax(v), without overflow."""
    return v_K - np.logaddexp.reduce(v_K)
