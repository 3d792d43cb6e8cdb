"""The interface of an objective, and the batch it is computed on.

An objective is a mean of per-unit losses, f = (1/n) Σ ℓ_i, where a unit is a response token (SFT) or a pair (DPO).
An optimizer step may be cut into micro-batches and ranks, so an objective returns **sums** over the units it was
given; whoever holds the whole step divides by the whole step's n. That makes the update independent of the cut.

Shapes: B rows, R responses per row; S = R·B sequences, response-major (all chosen responses first, then all rejected
ones); N predicted tokens over all sequences; L × T the layout's token grid (L lines).
"""

import math
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn


class Group(NamedTuple):
    """A row inside a packed line: from `start`, `prompt` tokens, then each response's tokens, one after the other.

    Every response attends to the prompt and to itself.
    """

    start: int
    prompt: int
    responses: tuple[int, ...]


@dataclass(frozen=True)
class Batch:
    """Rows of one stream as tensors. Built by `forward/collate.py`, read by `forward/logprobs.py`.

    input_ids_LT: S lines of one sequence each, padded on the right, with their attention_mask_LT; or one line of all
    rows, packed, with position_ids_LT (they restart with each sequence) and groups.
    line_N, position_N: where the hidden state stands that predicts token_N, which belongs to sequence_N.
    lengths: predicted tokens of each sequence. responses: R. n_rows: B. n_input_tokens: tokens of all sequences,
    padding excluded. (Plain ints, so that asking for a denominator never waits for a device.)
    reference_logps_RB: summed response log-probs under π_ref, fp64, or None where no objective needs them.
    """

    input_ids_LT: Tensor
    attention_mask_LT: Tensor | None
    position_ids_LT: Tensor | None
    groups: Sequence[Group] | None
    line_N: Tensor
    position_N: Tensor
    token_N: Tensor
    sequence_N: Tensor
    lengths: Sequence[int]
    responses: int
    n_rows: int
    n_input_tokens: int
    reference_logps_RB: Tensor | None = None

    def to(self, device: torch.device) -> "Batch":
        """The same batch on another device."""
        tensors = {name: value for name, value in vars(self).items() if isinstance(value, Tensor)}
        if self.reference_logps_RB is not None:
            tensors["reference_logps_RB"] = self.reference_logps_RB.to(widest(device))
        return replace(self, **{name: value.to(device, non_blocking=True) for name, value in tensors.items()})  # type: ignore[arg-type]


def widest(device: torch.device) -> torch.dtype:
    """The dtype of sums over tokens and of what is computed from them: fp64, but for Apple's GPUs, which have none."""
    return torch.float32 if device.type == "mps" else torch.float64


class Objective(ABC):
    """From (policy, batch) to (loss, metrics), both summed over the batch's units.

    stream: name of the data stream whose rows it takes. responses: answers to a prompt that it needs. unit: of f.
    label: what people call it.
    needs_reference: does it read the rows' log-probs under π_ref?
    lower_bound: what f cannot fall below, as far as is known. value_at_reference: f where policy and π_ref agree, if
    that is known; checked at start-up.
    surrogate: is it trained in the place of other objectives (ORPO)? Then it is recorded and evaluated, but is no goal:
    it has no optimum, and no axis in objective space.
    """

    stream: str
    responses: int = 1
    unit: str = "nats"
    label: str = ""
    needs_reference: bool = False
    lower_bound: float = -math.inf
    value_at_reference: float | None = None
    surrogate: bool = False

    @abstractmethod
    def size(self, batch: Batch) -> int:
        """Number of units n in `batch`: the denominator that turns the summed loss into f."""

    @abstractmethod
    def __call__(self, policy: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return (Σ ℓ_i as a scalar with gradient, {metric name: Σ over units, detached})."""


def labels(objectives: Mapping[str, Objective]) -> dict[str, str]:
    """What people call each objective of a run: its label; where several share one, the name that the run gives it."""
    shared = Counter(objective.label for objective in objectives.values())
    return {
        name: objective.label
        if objective.label and (shared[objective.label] == 1 or objective.label.lower() == name.lower())
        else name
        for name, objective in objectives.items()
    }
