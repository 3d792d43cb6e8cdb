"""Binary classifier optimisation for pairs (Jung et al. 2024, arXiv 2404.04656), without its shift of rewards.

ℓ = −log σ(R_w) − log σ(−R_l),   R = β r,   mean over pairs.

r: summed log-ratio to π_ref (nats) of the chosen and the rejected answer; β > 0. It bounds DPO's loss from above.
Shapes: B pairs; R = 2 answers.
"""

import math

import torch.nn.functional as F
from torch import Tensor

from xright.objectives.pairs import OnPairs, Pairs


def bco_loss(rewards_RB: Tensor) -> Tensor:
    """Return ℓ per pair, from rewards of chosen and rejected answers.

    >>> import torch
    >>> bco_loss(torch.tensor([[0.0], [0.0]]))  # 2 log 2
    tensor([1.3863])
    """
    chosen_B, rejected_B = rewards_RB
    return -F.logsigmoid(chosen_B) - F.logsigmoid(-rejected_B)


class BCO(OnPairs):
    """BCO on a stream of pairs. beta: > 0, else UserError."""

    label, value_at_reference = "BCO", 2 * math.log(2)

    def losses(self, rewards_RB: Tensor, pairs: Pairs) -> Tensor:
        return bco_loss(rewards_RB)
