"""Noise contrastive alignment for pairs (Chen et al. 2024, arXiv 2402.05369).

ℓ = −log σ(R_w) − ½ log σ(−R_w) − ½ log σ(−R_l),   R = β r,   mean over pairs.

r: summed log-ratio to π_ref (nats) of the chosen and the rejected answer; β > 0. It asks for absolute rewards, σ(R_w) =
⅔ and R_l → −∞, so that the chosen answer's log-prob does not fall as it does with DPO. Shapes: B pairs; R = 2 answers.
"""

import math

import torch.nn.functional as F
from torch import Tensor

from xright.objectives.pairs import OnPairs, Pairs


def nca_loss(rewards_RB: Tensor) -> Tensor:
    """Return ℓ per pair, from rewards of chosen and rejected answers.

    >>> import torch
    >>> nca_loss(torch.tensor([[0.0], [0.0]]))  # 2 log 2
    tensor([1.3863])
    """
    chosen_B, rejected_B = rewards_RB
    return -F.logsigmoid(chosen_B) - (F.logsigmoid(-chosen_B) + F.logsigmoid(-rejected_B)) / 2


class NCA(OnPairs):
    """NCA on a stream of pairs. beta: > 0, else UserError."""

    label, value_at_reference = "NCA", 2 * math.log(2)
    lower_bound = math.log(3 / 2) + math.log(3) / 2  # at σ(R_w) = 2/3, R_l = −∞

    def losses(self, rewards_RB: Tensor, pairs: Pairs) -> Tensor:
        return nca_loss(rewards_RB)
