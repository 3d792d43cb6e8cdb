"""DiscoPOP, a loss that a language model proposed (Lu et al. 2024, arXiv 2406.08414, eq 5): logistic and exponential.

m = σ(βh/τ),   ℓ = −(1−m) log σ(βh) + m exp(−βh),   mean over pairs.

h: margin of summed log-ratios to π_ref (nats); β > 0; τ in (0, 1) how sharply one goes over into the other (with τ ≥ 1
the exponential would win for pairs that are wrong by far). It is not convex in h. Shapes: B pairs.
"""

import math

import torch.nn.functional as F
from torch import Tensor

from xright.errors import check_number
from xright.objectives.pairs import OnPairs, Pairs


def discopop_loss(margins_B: Tensor, tau: float) -> Tensor:
    """Return ℓ per pair, from margins of rewards βh; m exp(−βh) is one exponential, which is finite wherever βh is.

    >>> import torch
    >>> discopop_loss(torch.tensor([0.0, 1000.0, -1000.0]), tau=0.05)  # the first: (log 2 + 1) / 2
    tensor([8.4657e-01, 0.0000e+00, 1.0000e+03])
    """
    exponential_B = (F.logsigmoid(margins_B / tau) - margins_B).exp()
    return exponential_B - (-margins_B / tau).sigmoid() * F.logsigmoid(margins_B)


class DiscoPOP(OnPairs):
    """DiscoPOP on a stream of pairs. beta: > 0. tau: in (0, 1). Raises UserError outside these."""

    label, value_at_reference = "DiscoPOP", (math.log(2) + 1) / 2

    def __init__(self, beta: float = 0.1, tau: float = 0.05, stream: str = "preference") -> None:
        super().__init__(beta, stream)
        self.tau = check_number("tau", tau, lambda x: 0 < x < 1, "a number in (0, 1), for example 0.05")

    def losses(self, rewards_RB: Tensor, pairs: Pairs) -> Tensor:
        return discopop_loss(rewards_RB[0] - rewards_RB[1], self.tau)
