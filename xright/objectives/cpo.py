"""Contrastive preference optimisation (Xu et al. 2024, arXiv 2401.08417): DPO with a uniform reference, and NLL.

ℓ = −log σ(β(p_w − p_l)) − α p_w/|y_w|,   mean over pairs.

p: summed log-prob (nats) of the chosen and the rejected answer; |y_w|: length (tokens) of the chosen one; β > 0; α ≥ 0.
The second term is averaged over the tokens of each answer, so that it does not depend on the cut (see `rpo.py`).
Shapes: B pairs.
"""

from torch import Tensor

from xright.errors import check_number
from xright.objectives.pairs import OnPairs, Pairs
from xright.objectives.rpo import rpo_loss


class CPO(OnPairs):
    """CPO on a stream of pairs. beta: > 0. alpha: ≥ 0. Raises UserError outside these.

    >>> CPO(alpha=0.5).needs_reference
    False
    """

    label, needs_reference = "CPO", False

    def __init__(self, beta: float = 0.1, alpha: float = 1.0, stream: str = "preference") -> None:
        super().__init__(beta, stream)
        self.alpha = check_number("alpha", alpha, lambda x: x >= 0, "a number >= 0, for example 1")

    def rewards(self, pairs: Pairs) -> Tensor:
        """Return β times the log-prob of both answers."""
        return self.beta * pairs.logps_RB

    def losses(self, rewards_RB: Tensor, pairs: Pairs) -> Tensor:
        return rpo_loss(rewards_RB[0] - rewards_RB[1], pairs.nll_B, self.alpha)
