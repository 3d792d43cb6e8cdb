"""Self-play preference optimisation with hard labels (Wu et al. 2024, arXiv 2405.00675, eq 4.7 with P = 1 and 0).

ℓ = (r_w − 1/(2β))² + (r_l + 1/(2β))²,   mean over pairs.

r: summed log-ratio to π_ref (nats) of the chosen and the rejected answer; β > 0: 1/(2β) is what it aims at for each.
One round of it, on the pairs of a data set: the game of several rounds needs answers that the policy samples.
Shapes: B pairs; R = 2 answers.
"""

from torch import Tensor

from xright.objectives.pairs import OnPairs, Pairs


def sppo_loss(log_ratios_RB: Tensor, beta: float) -> Tensor:
    """Return ℓ per pair, from log-ratios of chosen and rejected answers.

    >>> import torch
    >>> sppo_loss(torch.tensor([[0.0, 5.0], [0.0, -4.0]]), beta=0.1)  # 1/(2β) = 5
    tensor([50.,  1.])
    """
    chosen_B, rejected_B = log_ratios_RB
    return (chosen_B - 1 / (2 * beta)) ** 2 + (rejected_B + 1 / (2 * beta)) ** 2


class SPPO(OnPairs):
    """SPPO on a stream of pairs. beta: > 0, else UserError."""

    unit, label = "nats² per pair", "SPPO"

    def __init__(self, beta: float = 0.1, stream: str = "preference") -> None:
        super().__init__(beta, stream)
        self.value_at_reference = 1 / (2 * self.beta**2)

    def losses(self, rewards_RB: Tensor, pairs: Pairs) -> Tensor:
        return sppo_loss(pairs.log_ratios_RB, self.beta)
