"""Hinge loss on the reward margin: SLiC (Zhao et al. 2023, arXiv 2305.10425) with rewards as in DPO, as RSO has it
(Liu et al. 2024, arXiv 2309.06657).

ℓ = max(0, 1 − β(r_w − r_l)),   mean over pairs.

r: summed log-ratio to π_ref (nats) of the chosen and the rejected answer; β > 0. A pair whose margin is 1/β nats is
done: its gradient is zero. Shapes: B pairs.
"""

from torch import Tensor

from xright.objectives.pairs import OnPairs, Pairs


def hinge_loss(margins_B: Tensor) -> Tensor:
    """Return ℓ per pair, from margins of rewards.

    >>> import torch
    >>> hinge_loss(torch.tensor([-1.0, 0.0, 0.25, 2.0]))
    tensor([2.0000, 1.0000, 0.7500, 0.0000])
    """
    return (1 - margins_B).clamp(min=0)


class Hinge(OnPairs):
    """The hinge loss on a stream of pairs. beta: > 0, else UserError."""

    label, value_at_reference = "Hinge", 1.0

    def losses(self, rewards_RB: Tensor, pairs: Pairs) -> Tensor:
        return hinge_loss(rewards_RB[0] - rewards_RB[1])
