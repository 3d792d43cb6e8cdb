"""Efficient exact optimisation for pairs (Ji et al. 2024, arXiv 2402.00856, eq 16): the KL of DPO the other way round.

q = (σ(βh), σ(−βh)) what the policy says of the pair, p = (1−ε, ε) what its label says.
ℓ = KL(q ‖ p) = Σ q log(q/p),   mean over pairs.

h: margin of summed log-ratios to π_ref (nats); β > 0; ε in (0, 0.5) probability that a label is flipped: with ε = 0 the
loss would be infinite. Shapes: B pairs.
"""

import math

import torch.nn.functional as F
from torch import Tensor

from xright.errors import check_number
from xright.objectives.pairs import OnPairs, Pairs


def exo_loss(margins_B: Tensor, label_smoothing: float) -> Tensor:
    """Return ℓ per pair, from margins of rewards βh and ε.

    >>> import math, torch
    >>> exo_loss(torch.tensor([0.0, math.log(3)]), label_smoothing=0.25).abs() < 1e-6  # σ(log 3) = 3/4 = 1 − ε
    tensor([False,  True])
    """
    kept_B = margins_B.sigmoid() * (F.logsigmoid(margins_B) - math.log1p(-label_smoothing))
    flipped_B = (-margins_B).sigmoid() * (F.logsigmoid(-margins_B) - math.log(label_smoothing))
    return kept_B + flipped_B


class EXO(OnPairs):
    """EXO on a stream of pairs. beta: > 0. label_smoothing: ε in (0, 0.5). Raises UserError outside these."""

    label = "EXO"

    def __init__(self, beta: float = 0.1, label_smoothing: float = 1e-3, stream: str = "preference") -> None:
        super().__init__(beta, stream)
        domain = "a probability in (0, 0.5), of a flipped label: with 0 the loss is infinite"
        self.label_smoothing = check_number("label_smoothing", label_smoothing, lambda x: 0 < x < 0.5, domain)
        self.value_at_reference = -math.log(4 * self.label_smoothing * (1 - self.label_smoothing)) / 2

    def losses(self, rewards_RB: Tensor, pairs: Pairs) -> Tensor:
        return exo_loss(rewards_RB[0] - rewards_RB[1], self.label_smoothing)
