"""Kahneman-Tversky optimisation (Ethayarajh et al. 2024, arXiv 2402.01306, eq 7): from answers that are good or bad.

z = max(0, mean over the whole step of the log-ratio of mismatched answers),   without gradient
ℓ = d (1 − σ(β(r − z))) of a good answer,   ℓ = u (1 − σ(β(z − r))) of a bad one,   mean over answers.

r: summed log-ratio to π_ref of an answer (nats); β > 0; d, u > 0: how much good and bad answers count. z estimates
KL(π_θ ‖ π_ref). A mismatched answer is another row's, fixed for the data set (`Rows.with_mismatches`): its log-prob
under π_ref is kept with the row's, and neither a resume nor the cut into micro-batches and ranks changes z. It costs
one forward of the mismatched answers. Shapes: B answers.
"""

import torch
from torch import Tensor, nn

from xright.errors import check_number
from xright.forward.batch import Batch
from xright.objectives.objective import Objective
from xright.objectives.pairs import check_beta, log_ratios


def kto_loss(rewards_B: Tensor, labels_B: Tensor, desirable: float, undesirable: float) -> Tensor:
    """Return ℓ per answer, from rewards β(r − z) and labels (true: a good answer).

    >>> kto_loss(torch.tensor([0.0, 0.0]), torch.tensor([True, False]), desirable=1.0, undesirable=2.0)
    tensor([0.5000, 1.0000])
    """
    return torch.where(labels_B, desirable * (-rewards_B).sigmoid(), undesirable * rewards_B.sigmoid())


class KTO(Objective):
    """KTO on a stream of labelled rows. beta, desirable, undesirable: > 0, else UserError."""

    unit, label = "per answer", "KTO"
    labelled, anchored = True, True
    needs_reference, lower_bound = True, 0.0

    def __init__(
        self, beta: float = 0.1, desirable: float = 1.0, undesirable: float = 1.0, stream: str = "labelled"
    ) -> None:
        self.stream = stream
        self.beta = check_beta(beta)
        self.desirable = check_number("desirable", desirable, lambda x: x > 0, "a number > 0, for example 1")
        self.undesirable = check_number("undesirable", undesirable, lambda x: x > 0, "a number > 0, for example 1")
        if self.desirable == self.undesirable:
            self.value_at_reference = self.desirable / 2

    def size(self, batch: Batch) -> int:
        """Count the answers of the batch."""
        return batch.n_rows

    def anchor(self, policy: nn.Module, batch: Batch) -> Tensor:
        """Return Σ log-ratio of the mismatched answers, nats."""
        if batch.mismatched is None:
            raise RuntimeError("this batch carries no mismatched answers; KTO is for labelled rows")
        return log_ratios(policy, batch.mismatched).log_ratios_RB.sum()

    def __call__(self, policy: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return (Σ ℓ over answers, no metrics)."""
        if batch.anchor is None or batch.labels_B is None:
            raise RuntimeError("this batch carries no labels, or does not know z of its step")
        rewards_B = self.beta * (log_ratios(policy, batch).log_ratios_RB[0] - max(0.0, batch.anchor))
        return kto_loss(rewards_B, batch.labels_B, self.desirable, self.undesirable).sum(), {}

    def __repr__(self) -> str:
        return f"KTO(beta={self.beta}, desirable={self.desirable}, undesirable={self.undesirable})"
