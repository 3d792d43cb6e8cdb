"""PCD, priority-constrained descent: the first objective's direction, changed as little as it takes for every other
objective to make some progress (arXiv 2606.29521; TorchJD). The cleanest statement of "no forgetting".

ĝ_i = g_i / √v̂_i, v̂ the bias-corrected moving average of ‖g_i‖²;
d = argmin ½ ‖d − ĝ_1‖²  subject to  ⟨ĝ_j, d⟩ ≥ τ ‖ĝ_j‖² for every other j;   rescaled to ‖g_1‖

τ in [0, 1]. It says what comes first, not how much: weights only name who takes part. d = ĝ_1 + Σ ν_j ĝ_j, where ν ≥ 0
solves the dual, a non-negative least squares problem. Where no d satisfies all constraints (gradients that are opposed
to rounding), the dual has no end; constraints are then met as far as a ridge of 1e-9 lets them.

State: the moving averages.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import scipy

from xright.errors import UserError, check_number
from xright.strategies.compared import Compared

USUAL_TAU = 0.02
RIDGE = 1e-9


class PCD(Compared):
    """primary: the objective that comes first; null: the table's first. tau: the share of its own steepest descent that
    every other objective gets. ema: decay of the average of squared norms."""

    def __init__(
        self,
        weights: Mapping[str, float | None],
        primary: str | None = None,
        tau: float = USUAL_TAU,
        ema: float = 0.999,
        **options: Any,
    ) -> None:
        super().__init__(weights, **options)
        self.tau = check_number("strategy.tau", tau, lambda x: 0 <= x <= 1, "a number in [0, 1]")
        self.ema = check_number("strategy.ema", ema, lambda x: 0 <= x < 1, "a number >= 0 and < 1")
        self.primary = self.names[0] if primary is None else primary
        if self.primary not in self.names:
            raise UserError(f"strategy.primary={primary!r} must be one of {', '.join(self.names)}.")
        self.names = (self.primary, *(name for name in self.names if name != self.primary))
        self.squares: dict[str, float] = dict.fromkeys(self.names, 0.0)
        self.seen = 0

    @property
    def settings(self) -> dict[str, Any]:
        """Who comes first, and τ."""
        return {"primary": (self.primary, self.weighed[0]), "tau": (self.tau, USUAL_TAU), **super().settings}

    def combine(self, step: int, gramian_KK: np.ndarray) -> dict[str, float]:
        """Average the squared norms, then solve."""
        self.seen += 1
        self.squares = {
            name: self.ema * self.squares[name] + (1 - self.ema) * float(square)
            for name, square in zip(self.names, np.diag(gramian_KK), strict=True)
        }
        return super().combine(step, gramian_KK)

    def alphas(self, gramian_KK: np.ndarray, weights: Mapping[str, float], step: int) -> np.ndarray:
        """No update where the first objective has no gradient to follow."""
        if self.primary not in weights:
            return np.zeros(len(weights))
        scales_K = np.sqrt((1 - self.ema**self.seen) / np.array([self.squares[name] for name in weights]))
        own_KK = gramian_KK * np.outer(scales_K, scales_K)
        made_K = np.concatenate([[1.0], dual(own_KK, self.tau)])
        length = made_K @ own_KK @ made_K
        return made_K * scales_K * np.sqrt(gramian_KK[0, 0] / length)

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "squares": dict(self.squares), "seen": self.seen}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self.squares, self.seen = dict(state["squares"]), state["seen"]


def dual(gramian_KK: np.ndarray, tau: float) -> np.ndarray:
    """ν ≥ 0 (K − 1,) that minimises ½ νᵀ G' ν − νᵀ (τ diag G' − G_1), where G' is G without the first objective."""
    others_JJ = gramian_KK[1:, 1:] + RIDGE * np.diag(np.diag(gramian_KK)[1:])
    wanted_J = tau * np.diag(gramian_KK)[1:] - gramian_KK[0, 1:]
    if not len(wanted_J):
        return wanted_J
    lower_JJ = np.linalg.cholesky(others_JJ)
    return scipy.optimize.nnls(lower_JJ.T, np.linalg.solve(lower_JJ, wanted_J))[0]
