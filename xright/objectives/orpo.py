"""Odds-ratio preference optimisation (Hong et al. 2024; the baseline of fig 5 in arXiv 2410.15483).

log p(y|x) = (1/|y|) Σ_t log π_θ(y_t | …)           length-averaged
ℓ = −log p(y_w|x) + w · (−log σ(log odds(y_w) − log odds(y_l))),   odds(y) = p / (1 − p)

w ≥ 0: weight of the odds-ratio term. Reference-free. Both terms are means over pairs, so one denominator serves both
and w does not change with accumulation.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xright.errors import check_number
from xright.forward.batch import Batch
from xright.forward.logprobs import response_logps
from xright.objectives.objective import Objective


def orpo_loss(mean_logps_RB: Tensor, weight: float) -> Tensor:
    """Return ℓ per pair, from length-averaged log-probs (2, B): chosen, rejected; all < 0."""
    log_odds_RB = mean_logps_RB - torch.log1p(-mean_logps_RB.exp())
    return -mean_logps_RB[0] - weight * F.logsigmoid(log_odds_RB[0] - log_odds_RB[1])


class ORPO(Objective):
    """ORPO on a stream of pairs. weight: ≥ 0, else UserError."""

    responses = 2
    unit, label = "nats per pair", "ORPO"
    lower_bound, surrogate = 0.0, True

    def __init__(self, weight: float = 0.1, stream: str = "preference") -> None:
        self.stream = stream
        self.weight = check_number("weight", weight, lambda x: x >= 0, "a number >= 0, for example 0.1")

    def size(self, batch: Batch) -> int:
        return batch.n_rows

    def __call__(self, policy: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return (Σ ℓ over pairs, {})."""
        logps_S, lengths_S = response_logps(policy, batch)
        mean_logps_RB = (logps_S / lengths_S).view(batch.responses, batch.n_rows)
        return orpo_loss(mean_logps_RB, self.weight).sum(), {}

    def __repr__(self) -> str:
        return f"ORPO(weight={self.weight})"
