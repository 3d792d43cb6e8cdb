"""The interface of an objective, and the batch it is computed on.

An objective is a mean of per-unit losses, f = (1/n) Σ ℓ_i, where a unit is a response token (SFT) or a pair (DPO).
An optimizer step may be cut into micro-batches and ranks, so an objective returns **sums** over the units it was
given; whoever holds the whole step divides by the whole step's n. That makes the update independent of the cut.

Shapes: S sequences, T tokens (padded), B rows, R responses per row; S = R·B, response-major
(all chosen responses first, then all rejected ones).
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Batch:
    """Rows of one stream as tensors. Built by `data/collate.py`, read by `objectives/logprobs.py`.

    input_ids_ST, attention_mask_ST: right-padded `prompt + response`; response_mask_ST: True where the token is
    to be predicted. responses: R. n_rows: B. n_tokens: response tokens, n_input_tokens: all tokens, padding
    excluded (plain ints, so that asking for a denominator never waits for a device).
    reference_logps_RB: summed response log-probs under π_ref, fp32, or None where no objective needs them.
    """

    input_ids_ST: Tensor
    attention_mask_ST: Tensor
    response_mask_ST: Tensor
    responses: int
    n_rows: int
    n_tokens: int
    n_input_tokens: int
    reference_logps_RB: Tensor | None = None

    def to(self, device: torch.device) -> "Batch":
        """The same batch on another device."""
        reference = self.reference_logps_RB
        return replace(
            self,
            input_ids_ST=self.input_ids_ST.to(device, non_blocking=True),
            attention_mask_ST=self.attention_mask_ST.to(device, non_blocking=True),
            response_mask_ST=self.response_mask_ST.to(device, non_blocking=True),
            reference_logps_RB=None if reference is None else reference.to(device, non_blocking=True),
        )


class Objective(ABC):
    """From (policy, batch) to (loss, metrics), both summed over the batch's units.

    stream: name of the data stream whose rows it takes (`"sft"` or `"preference"`).
    value_at_reference: its value when the policy equals π_ref, where that is known; checked at start-up.
    """

    stream: str
    value_at_reference: float | None = None

    @abstractmethod
    def size(self, batch: Batch) -> int:
        """Number of units n in `batch`: the denominator that turns the summed loss into f."""

    @abstractmethod
    def __call__(self, policy: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return (Σ ℓ_i as an fp32 scalar with gradient, {metric name: Σ over units, detached})."""
