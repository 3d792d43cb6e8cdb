"""Length-normalised DPO, as Tülu 3 trains (Lambert et al. 2024, arXiv 2411.15124, eq 6).

ℓ = −log σ(β(r_w/|y_w| − r_l/|y_l|)),   mean over pairs.

r: summed log-ratio to π_ref (nats), |y|: length (tokens) of the chosen and the rejected answer. β > 0 multiplies nats
per token: Tülu's is 5, where DPO's 0.1 would be fifty times too weak. Shapes: B pairs.
"""

import math

from torch import Tensor

from xright.objectives.dpo import dpo_loss
from xright.objectives.pairs import OnPairs, Pairs


class DPONorm(OnPairs):
    """Length-normalised DPO on a stream of pairs. beta: > 0, else UserError.

    >>> DPONorm()
    DPONorm(beta=5.0)
    """

    label, value_at_reference = "DPO per token", math.log(2)

    def __init__(self, beta: float = 5.0, stream: str = "preference") -> None:
        super().__init__(beta, stream)

    def rewards(self, pairs: Pairs) -> Tensor:
        """Return β times the log-ratio per token of both answers."""
        return self.beta * pairs.log_ratios_RB / pairs.lengths_RB

    def losses(self, rewards_RB: Tensor, pairs: Pairs) -> Tensor:
        return dpo_loss(rewards_RB[0] - rewards_RB[1], beta=1.0)
