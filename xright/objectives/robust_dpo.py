"""Robust DPO (Ray Chowdhury et al. 2024, arXiv 2403.00409): unbiased where labels are flipped with a known rate.

ℓ = [−(1−ε) log σ(βh) + ε log σ(−βh)] / (1−2ε),   mean over pairs.

h: margin of summed log-ratios to π_ref (nats); β > 0; ε in [0, 0.5) the rate of flipped labels. Its mean over flips is
DPO's loss on the true labels; for a single pair it has no lower bound (where ε > 0, ℓ → −∞ with h → ∞).
Shapes: B pairs.
"""

import math

import torch.nn.functional as F
from torch import Tensor

from xright.objectives.dpo import check_smoothing
from xright.objectives.pairs import OnPairs, Pairs


def robust_dpo_loss(margins_B: Tensor, label_smoothing: float) -> Tensor:
    """Return ℓ per pair, from margins of rewards βh and ε.

    >>> import torch
    >>> robust_dpo_loss(torch.tensor([0.0, 8.0]), label_smoothing=0.1)
    tensor([ 0.6931, -0.9997])
    """
    kept_B, flipped_B = F.logsigmoid(margins_B), F.logsigmoid(-margins_B)
    return (label_smoothing * flipped_B - (1 - label_smoothing) * kept_B) / (1 - 2 * label_smoothing)


class RobustDPO(OnPairs):
    """Robust DPO on a stream of pairs. beta: > 0. label_smoothing: ε in [0, 0.5). Raises UserError outside these."""

    label, value_at_reference = "Robust DPO", math.log(2)

    def __init__(self, beta: float = 0.1, label_smoothing: float = 0.1, stream: str = "preference") -> None:
        super().__init__(beta, stream)
        self.label_smoothing = check_smoothing(label_smoothing)
        self.lower_bound = -math.inf if self.label_smoothing else 0.0

    def losses(self, rewards_RB: Tensor, pairs: Pairs) -> Tensor:
        return robust_dpo_loss(rewards_RB[0] - rewards_RB[1], self.label_smoothing)
