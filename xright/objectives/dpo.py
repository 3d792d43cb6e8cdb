"""Direct preference optimisation (Rafailov et al. 2023; arXiv 2410.15483, eqs 1-2) and its smoothed form, cDPO.

h = (log π_θ(y_w|x) − log π_ref(y_w|x)) − (log π_θ(y_l|x) − log π_ref(y_l|x))
ℓ = −(1−ε) log σ(βh) − ε log σ(−βh),   f_DPO = mean of ℓ over pairs (nats per pair)

β > 0 strength of the pull to π_ref; ε in [0, 0.5) probability that a label is flipped (0: plain DPO). Log-probs are
summed over response tokens. Both chosen and rejected log-probs usually *fall* during DPO; what rises is their margin.
Shapes: B pairs.
"""

import math

import torch.nn.functional as F
from torch import Tensor

from xright.errors import check_number
from xright.objectives.pairs import OnPairs, Pairs


def dpo_loss(margins_B: Tensor, beta: float, label_smoothing: float = 0.0) -> Tensor:
    """Return ℓ per pair, from margins h in nats.

    >>> import torch
    >>> dpo_loss(torch.tensor([0.0]), beta=0.1)  # policy = reference: log 2
    tensor([0.6931])
    """
    scaled_B = beta * margins_B
    return -(1 - label_smoothing) * F.logsigmoid(scaled_B) - label_smoothing * F.logsigmoid(-scaled_B)


class DPO(OnPairs):
    """DPO on a stream of pairs; π_ref enters as log-probs stored with the rows.

    beta: > 0. label_smoothing: ε in [0, 0.5). Raises UserError outside these.
    """

    label = "DPO"
    value_at_reference = math.log(2)

    def __init__(self, beta: float = 0.1, label_smoothing: float = 0.0, stream: str = "preference") -> None:
        super().__init__(beta, stream)
        self.label_smoothing = check_smoothing(label_smoothing)

    def losses(self, rewards_RB: Tensor, pairs: Pairs) -> Tensor:
        return dpo_loss(pairs.margins_B, self.beta, self.label_smoothing)


def check_smoothing(label_smoothing: float) -> float:
    """Return ε as a float in [0, 0.5), else raise UserError."""
    return check_number(
        "label_smoothing", label_smoothing, lambda x: 0 <= x < 0.5, "a probability in [0, 0.5): of a flipped label"
    )
