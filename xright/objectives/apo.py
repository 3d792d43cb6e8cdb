"""Anchored preference optimisation (D'Oosterlinck et al. 2024, arXiv 2408.06266, eqs 7-8).

APO-zero:   ℓ = 1 − σ(R_w) + σ(R_l),   for chosen answers that are better than what the policy says: they rise.
APO-down:   ℓ = 1 − σ(R_w − R_l) + σ(R_w),   for chosen answers that are worse: they fall, but less than rejected ones.

R = β r (nats), r the summed log-ratio to π_ref; β > 0. Mean over pairs; ℓ in (0, 2), without a unit.
Shapes: B pairs; R = 2 answers, chosen first.
"""

from torch import Tensor

from xright.objectives.pairs import OnPairs, Pairs


def apo_zero_loss(rewards_RB: Tensor) -> Tensor:
    """Return ℓ per pair, from rewards of chosen and rejected answers.

    >>> import torch
    >>> apo_zero_loss(torch.tensor([[1.0, 3.0], [1.0, 1 / 3]]).log())  # 1 − σ(log 3) = 1/4
    tensor([1.0000, 0.5000])
    """
    chosen_B, rejected_B = rewards_RB
    return (-chosen_B).sigmoid() + rejected_B.sigmoid()


def apo_down_loss(rewards_RB: Tensor) -> Tensor:
    """Return ℓ per pair, from rewards of chosen and rejected answers.

    >>> import torch
    >>> apo_down_loss(torch.tensor([[1 / 3], [1 / 9]]).log())  # 1 − σ(log 3) + σ(−log 3)
    tensor([0.5000])
    """
    chosen_B, rejected_B = rewards_RB
    return (rejected_B - chosen_B).sigmoid() + chosen_B.sigmoid()


class APOZero(OnPairs):
    """APO-zero on a stream of pairs. beta: > 0, else UserError."""

    unit, label, value_at_reference = "per pair", "APO-zero", 1.0

    def losses(self, rewards_RB: Tensor, pairs: Pairs) -> Tensor:
        return apo_zero_loss(rewards_RB)


class APODown(OnPairs):
    """APO-down on a stream of pairs. beta: > 0, else UserError."""

    unit, label, value_at_reference = "per pair", "APO-down", 1.0

    def losses(self, rewards_RB: Tensor, pairs: Pairs) -> Tensor:
        return apo_down_loss(rewards_RB)
