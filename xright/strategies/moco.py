"""MoCo: MGDA's weights, learnt from running means of the gradients, which are descended in their place (Fernando et al.
2022, arXiv 2210.12624).

y_i ← y_i + β/√t (g_i − y_i);  λ ← Π(λ − γ/√t (G λ + ρ (λ − λ⁰))),  G_ij = ⟨y_i, y_j⟩;  Σ α_i y_i descends

Π projects on the simplex; t counts comparisons from 1; y starts from 0. A mean over many steps has less noise than one
step's gradient, so MGDA's bias fades as β/√t does. The means are kept by the training loop and are part of the
checkpoint: K copies of the trainable parameters. The published code also divides g_i by its length and takes a softmax
for Π; the paper and we do not. λ moves by γ ‖y‖², so γ depends on how long gradients are.

Weights: as MoDo's. State: λ and t.

>>> MoCo({"dpo": 0.5, "sft": 0.5}).combine(0, np.array([[2.0, 0.0], [0.0, 1.0]]))  # .5 − .1·1, .5 − .1·.5; and .075
{'dpo': 0.475, 'sft': 0.52...}
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from xright.errors import check_number
from xright.strategies.modo import MoDo

USUAL_BETA, USUAL_GAMMA, USUAL_RHO = 0.5, 0.1, 0.0


class MoCo(MoDo):
    """beta, gamma: the step sizes of y and of λ in the first step. rho: how strongly λ is pulled back. UserError for
    values that are none."""

    halves = False

    def __init__(
        self,
        weights: Mapping[str, float | None],
        beta: float = USUAL_BETA,
        gamma: float = USUAL_GAMMA,
        rho: float = USUAL_RHO,
        **options: Any,
    ) -> None:
        super().__init__(weights, gamma, rho, **options)
        self.beta = check_number("strategy.beta", beta, lambda x: 0 < x <= 1, "a number > 0 and <= 1")
        self.seen = 0

    @property
    def settings(self) -> dict[str, Any]:
        """How fast y and λ follow the gradients, and how strongly λ is pulled back."""
        own = {"beta": (self.beta, USUAL_BETA), "gamma": (self.gamma, USUAL_GAMMA), "rho": (self.rho, USUAL_RHO)}
        return {**super().settings, **own}

    def tracks(self, step: int) -> float:
        """β/√t of the comparison that comes."""
        return self.beta / math.sqrt(self.seen + 1)

    def alphas(self, gramian_KK: np.ndarray, weights: Mapping[str, float], step: int) -> np.ndarray:
        """Those of the λ that has learnt from this step."""
        self.seen += 1
        self.learn(gramian_KK, self.gamma / math.sqrt(self.seen))
        return self.factors_K * self.lambda_K

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "seen": self.seen}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self.seen = state["seen"]
