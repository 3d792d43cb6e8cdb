"""DPO + NLL of the chosen answer: iterative reasoning PO (Pang et al. 2024, arXiv 2404.19733), RPO (2405.16436).

ℓ = −log σ(βh) − α p_w/|y_w|,   mean over pairs.

h: margin of summed log-ratios to π_ref (nats); p_w: summed log-prob (nats), |y_w|: length (tokens) of the chosen
answer; β > 0; α > 0. The second term keeps the chosen answers' log-probs from falling. It is averaged over the tokens
of each answer, so that it too is a sum over pairs: a mean over the tokens of a micro-batch would depend on the cut.
Shapes: B pairs.
"""

from torch import Tensor

from xright.errors import check_number
from xright.objectives.dpo import dpo_loss
from xright.objectives.pairs import OnPairs, Pairs


def rpo_loss(margins_B: Tensor, nll_B: Tensor, alpha: float) -> Tensor:
    """Return ℓ per pair, from margins of rewards βh and the chosen answers' NLL per token.

    >>> import torch
    >>> rpo_loss(torch.tensor([0.0]), torch.tensor([2.0]), alpha=0.5)  # log 2 + 1
    tensor([1.6931])
    """
    return dpo_loss(margins_B, beta=1.0) + alpha * nll_B


class RPO(OnPairs):
    """DPO + NLL on a stream of pairs. beta, alpha: > 0, else UserError."""

    label = "RPO"

    def __init__(self, beta: float = 0.1, alpha: float = 1.0, stream: str = "preference") -> None:
        super().__init__(beta, stream)
        self.alpha = check_number("alpha", alpha, lambda x: x > 0, "a number > 0 (with 0 this were objective=dpo)")

    def losses(self, rewards_RB: Tensor, pairs: Pairs) -> Tensor:
        return rpo_loss(rewards_RB[0] - rewards_RB[1], pairs.nll_B, self.alpha)
