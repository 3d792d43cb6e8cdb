"""A step's rows of one stream as tensors: what `collate.py` builds, and everything that computes reads.

Shapes: B rows, R responses per row; S = R·B sequences, response-major (all chosen responses first, then all rejected
ones); N predicted tokens over all sequences; L × T the layout's token grid (L lines).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from xright.forward.trie import Branch


@dataclass(frozen=True)
class Batch:
    """Rows of one stream as tensors. Built by `collate.py`, read by `logprobs.py`.

    input_ids_LT: S lines of one sequence each, padded on the right, with their attention_mask_LT; or one line of all
    rows, packed, with position_ids_LT (each token's place in its sequences) and branches. Its size is what a forward
    computes.
    line_N, position_N: where the hidden state stands that predicts token_N, which belongs to sequence_N.
    distinct_M: one of each that are equal (the same token after the same ones, in several sequences); which_N: for each
    the place in distinct_M of its like. None where all differ.
    lengths: predicted tokens of each sequence. responses: R. n_rows: B. n_input_tokens: tokens of all sequences,
    padding excluded, shared ones counted in each. (Plain ints, so that asking for a denominator never waits for a
    device.)
    reference_logps_RB: summed response log-probs under π_ref, fp64, or None where no objective needs them;
    of sampled rows what `Memory` adds.
    labels_B: of labelled rows, whether each response is a good one; mismatched: the same prompts with the answers of
    other rows. anchor: the mean over the whole step, all ranks and micro-batches, of what `Objective.anchor` says.
    idle: it is computed beside the batches of other ranks, who need this one for theirs, and counts for nothing.
    """

    input_ids_LT: Tensor
    attention_mask_LT: Tensor | None
    position_ids_LT: Tensor | None
    branches: Sequence[Branch] | None
    line_N: Tensor
    position_N: Tensor
    token_N: Tensor
    sequence_N: Tensor
    lengths: Sequence[int]
    responses: int
    n_rows: int
    n_input_tokens: int
    distinct_M: Tensor | None = None
    which_N: Tensor | None = None
    reference_logps_RB: Tensor | None = None
    labels_B: Tensor | None = None
    mismatched: "Batch | None" = None
    anchor: float | None = None
    idle: bool = False

    def to(self, device: torch.device) -> "Batch":
        """Return the same batch on another device."""
        tensors = {name: value for name, value in vars(self).items() if isinstance(value, Tensor)}
        if self.reference_logps_RB is not None:
            tensors["reference_logps_RB"] = self.reference_logps_RB.to(widest(device))
        moved: dict[str, Any] = {name: value.to(device, non_blocking=True) for name, value in tensors.items()}
        return replace(self, **moved, mismatched=self.mismatched and self.mismatched.to(device))


def widest(device: torch.device) -> torch.dtype:
    """The dtype of sums over tokens and of what is computed from them: fp64, but for Apple's GPUs, which have none."""
    return torch.float32 if device.type == "mps" else torch.float64
