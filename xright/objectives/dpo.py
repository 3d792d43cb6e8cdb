"""Direct preference optimisation (Rafailov et al. 2023; arXiv 2410.15483, eqs 1-2) and its smoothed form, cDPO.

h = (log π_θ(y_w|x) − log π_ref(y_w|x)) − (log π_θ(y_l|x) − log π_ref(y_l|x))
ℓ = −(1−ε) log σ(βh) − ε log σ(−βh),   f_DPO = mean of ℓ over pairs (nats per pair)

β > 0 strength of the pull to π_ref; ε in [0, 0.5) probability that a label is flipped (0: plain DPO). Log-probs are
summed over response tokens. Both chosen and rejected log-probs usually *fall* during DPO; what rises is their margin.
Shapes: B pairs.
"""

import math

import torch.nn.functional as F
from torch import Tensor, nn

from xright.errors import check_number
from xright.forward.batch import Batch
from xright.forward.logprobs import response_logps
from xright.objectives.objective import Objective


def dpo_loss(margins_B: Tensor, beta: float, label_smoothing: float = 0.0) -> Tensor:
    """ℓ per pair, from margins h in nats.

    >>> import torch
    >>> dpo_loss(torch.tensor([0.0]), beta=0.1)  # policy = reference: log 2
    tensor([0.6931])
    """
    scaled_B = beta * margins_B
    return -(1 - label_smoothing) * F.logsigmoid(scaled_B) - label_smoothing * F.logsigmoid(-scaled_B)


def preference_metrics(logps_RB: Tensor, log_ratios_RB: Tensor, beta: float) -> dict[str, Tensor]:
    """Sums over pairs of implicit rewards β·log-ratio (nats), accuracy (0 or 1), margins, and log-probs (nats)."""
    chosen_B, rejected_B = beta * log_ratios_RB.detach()
    return {
        "rewards/chosen": chosen_B.sum(),
        "rewards/rejected": rejected_B.sum(),
        "rewards/accuracies": (chosen_B > rejected_B).float().sum(),
        "rewards/margins": (chosen_B - rejected_B).sum(),
        "logps/chosen": logps_RB[0].detach().sum(),
        "logps/rejected": logps_RB[1].detach().sum(),
    }


class DPO(Objective):
    """DPO on a stream of pairs; π_ref enters as log-probs stored with the rows.

    beta: > 0. label_smoothing: ε in [0, 0.5). Raises UserError outside these.
    """

    responses = 2
    unit, label = "nats per pair", "DPO"
    needs_reference, lower_bound, value_at_reference = True, 0.0, math.log(2)

    def __init__(self, beta: float = 0.1, label_smoothing: float = 0.0, stream: str = "preference") -> None:
        self.stream = stream
        self.beta = check_beta(beta)
        self.label_smoothing = check_number(
            "label_smoothing", label_smoothing, lambda x: 0 <= x < 0.5, "a probability in [0, 0.5): of a flipped label"
        )

    def size(self, batch: Batch) -> int:
        """Count the pairs of the batch."""
        return batch.n_rows

    def __call__(self, policy: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return (Σ ℓ over pairs, preference metrics)."""
        logps_RB, log_ratios_RB, _ = log_ratios(policy, batch)
        losses_B = dpo_loss(log_ratios_RB[0] - log_ratios_RB[1], self.beta, self.label_smoothing)
        return losses_B.sum(), preference_metrics(logps_RB, log_ratios_RB, self.beta)

    def __repr__(self) -> str:
        return f"DPO(beta={self.beta}, label_smoothing={self.label_smoothing})"


def log_ratios(policy: nn.Module, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """Each (2, B), chosen then rejected: log π_θ, log π_θ − log π_ref (summed, nats), and response lengths (tokens).

    A batch without reference log-probs is a programming error, never a silent zero.
    """
    if batch.reference_logps_RB is None:
        raise RuntimeError("this batch carries no reference log-probs; attach them before training")
    logps_S, lengths_S = response_logps(policy, batch)
    logps_RB = logps_S.view(batch.responses, batch.n_rows)
    return logps_RB, logps_RB - batch.reference_logps_RB, lengths_S.view_as(logps_RB)


def check_beta(beta: float) -> float:
    """Return β as a positive finite float, else raise UserError."""
    return check_number("beta", beta, lambda x: x > 0, "a number > 0, for example 0.1")
