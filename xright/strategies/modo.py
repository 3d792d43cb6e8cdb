"""MoDo: MGDA's weights, learnt from two independent halves of every step (Chen, Fernando et al. 2023, arXiv
2305.20057).

α of λ descends;  then  λ ← Π(λ − γ (G λ + ρ (λ − λ⁰))),  G_ij = ⟨g_i of the step's first half, g_j of its second⟩

Π projects on the simplex. The Gramian of one batch is too large by the gradients' noise, that of two is not. The paper
descends by a third batch; here both halves are descended, by the λ of before, which has not seen them either. γ = 0 is
Mix, a larger γ follows the gradients of the moment; λ moves by γ ‖g‖², so γ depends on how long gradients are.

Weights: as for MGDA, g_i is divided by w_i; times s = Σ w_i², so that equal ones change nothing. So α_i = s λ_i / w_i.
λ starts from λ⁰_i = w_i² / s, where α = w, and ρ pulls it back there. Equal weights leave the published rule: Π takes
no notice of what is added to all alike.

State: λ.

>>> rule = MoDo({"dpo": 0.5, "sft": 0.5}, gamma=0.1, rho=0.0)
>>> rule.combine(0, np.array([[2.0, 0.0], [0.0, 1.0]]))
{'dpo': 0.5, 'sft': 0.5}
>>> rule.combine(1, np.zeros((2, 2)))  # .5 − .1·1 and .5 − .1·.5, and .075 to each
{'dpo': 0.475, 'sft': 0.52...}
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from xright.errors import check_number
from xright.strategies.compared import Compared

USUAL_GAMMA, USUAL_RHO = 1e-3, 0.1


class MoDo(Compared):
    """gamma: the step size of λ. rho: how strongly it is pulled back. UserError for values that are none."""

    halves = True

    def __init__(
        self,
        weights: Mapping[str, float | None],
        gamma: float = USUAL_GAMMA,
        rho: float = USUAL_RHO,
        **options: Any,
    ) -> None:
        super().__init__(weights, **options)
        self.gamma = check_number("strategy.gamma", gamma, lambda x: x >= 0, "a number >= 0")
        self.rho = check_number("strategy.rho", rho, lambda x: x >= 0, "a number >= 0")
        w_K = np.array([self.importance[name] for name in self.names])
        self.factors_K, self.start_K = w_K @ w_K / w_K, w_K**2 / (w_K @ w_K)
        self.lambda_K = self.start_K

    @property
    def settings(self) -> dict[str, Any]:
        """How fast λ follows the gradients, and how strongly it is pulled back."""
        return {"gamma": (self.gamma, USUAL_GAMMA), "rho": (self.rho, USUAL_RHO), **super().settings}

    def combine(self, step: int, gramian_KK: np.ndarray) -> dict[str, float]:
        """α of all objectives: a gradient that is zero needs no care here."""
        found_K = self.alphas(gramian_KK, self.importance, step)
        self.alpha = dict(zip(self.names, found_K.tolist(), strict=True))
        return dict(self.alpha)

    def alphas(self, gramian_KK: np.ndarray, weights: Mapping[str, float], step: int) -> np.ndarray:
        """Those of the λ of before, which then learns from this step."""
        found_K = self.factors_K * self.lambda_K
        self.learn(gramian_KK, self.gamma)
        return found_K

    def learn(self, gramian_KK: np.ndarray, gamma: float) -> None:
        """Move λ down the slope of ½ λᵀ G λ + ½ ρ ‖λ − λ⁰‖², by a step of size gamma."""
        slope_K = gramian_KK * np.outer(self.factors_K, self.factors_K) @ self.lambda_K
        self.lambda_K = on_simplex(self.lambda_K - gamma * (slope_K + self.rho * (self.lambda_K - self.start_K)))

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "lambda": self.lambda_K.tolist()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self.lambda_K = np.array(state["lambda"])


def on_simplex(point_K: np.ndarray) -> np.ndarray:
    """The nearest point (K,) with entries >= 0 and sum 1: all entries less the same, cut off at 0."""
    sorted_K = np.sort(point_K)[::-1]
    less_K = (np.cumsum(sorted_K) - 1) / np.arange(1, len(point_K) + 1)  # where the 1, 2, … largest stay above 0
    return np.maximum(point_K - less_K[np.flatnonzero(sorted_K > less_K)[-1]], 0)
