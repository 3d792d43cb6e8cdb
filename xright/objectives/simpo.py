"""Simple preference optimisation (Meng et al. 2024, arXiv 2405.14734): no reference, rewards per token, and a margin.

ℓ = −log σ(β(p_w/|y_w| − p_l/|y_l|) − γ),   γ = β · gamma_beta_ratio,   mean over pairs.

p: summed log-prob (nats), |y|: length (tokens) of the chosen and the rejected answer; β > 0, of another scale than
DPO's since it multiplies nats per token; gamma_beta_ratio ≥ 0: the margin aimed at, nats per token. Shapes: B pairs.
"""

import torch.nn.functional as F
from torch import Tensor

from xright.errors import check_number
from xright.objectives.pairs import OnPairs, Pairs


def simpo_loss(margins_B: Tensor, gamma: float) -> Tensor:
    """Return ℓ per pair, from margins of rewards.

    >>> import torch
    >>> simpo_loss(torch.tensor([1.0]), gamma=1.0)  # the margin aimed at: log 2
    tensor([0.6931])
    """
    return -F.logsigmoid(margins_B - gamma)


class SimPO(OnPairs):
    """SimPO on a stream of pairs. beta: > 0. gamma_beta_ratio: ≥ 0. Raises UserError outside these."""

    label, needs_reference = "SimPO", False

    def __init__(self, beta: float = 2.0, gamma_beta_ratio: float = 0.5, stream: str = "preference") -> None:
        super().__init__(beta, stream)
        self.gamma_beta_ratio = check_number(
            "gamma_beta_ratio", gamma_beta_ratio, lambda x: x >= 0, "a number >= 0, for example 0.5"
        )

    def rewards(self, pairs: Pairs) -> Tensor:
        """Return β times the log-prob per token of both answers."""
        return self.beta * pairs.logps_RB / pairs.lengths_RB

    def losses(self, rewards_RB: Tensor, pairs: Pairs) -> Tensor:
        return simpo_loss(rewards_RB[0] - rewards_RB[1], self.beta * self.gamma_beta_ratio)
