"""The interface of an objective.

An objective is a mean of per-unit losses, f = (1/n) Σ ℓ_i, where a unit is a response token (SFT) or a pair (DPO).
An optimizer step may be cut into micro-batches and ranks, so an objective returns **sums** over the units it was
given; whoever holds the whole step divides by the whole step's n. That makes the update independent of the cut.
"""

import math
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping

from torch import Tensor, nn

from xright.forward.batch import Batch


class Objective(ABC):
    """Maps (policy, batch) to (loss, metrics), both summed over the batch's units.

    stream: name of the data stream whose rows it takes. responses: answers to a prompt that it needs. unit: of f.
    label: what people call it.
    labelled: does it learn from rows with a label? (Then only from such, and no other does.)
    of_base: does it learn what the base wrote itself (a stream of kind sampled)? Then f* is the base's own value.
    anchored: does each loss depend on a mean over the whole step (`anchor`)?
    needs_reference: does it read the rows' log-probs under π_ref?
    lower_bound: what f cannot fall below, as far as is known. value_at_reference: f where policy and π_ref agree, if
    that is known; checked at start-up.
    surrogate: is it trained in the place of other objectives (ORPO)? Then it is recorded and evaluated, but is no goal:
    it has no optimum, and no axis in objective space.
    """

    stream: str
    responses: int = 1
    labelled: bool = False
    of_base: bool = False
    anchored: bool = False
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

    def anchor(self, policy: nn.Module, batch: Batch) -> Tensor:
        """Return the sum over units of what each loss has to know the mean of, over the whole step (KTO's z).

        Where an objective is `anchored` it is asked for it without gradient, in all micro-batches, before any loss of
        the step; the mean over them and all ranks is then `batch.anchor`.
        """
        raise NotImplementedError


def labels(objectives: Mapping[str, Objective]) -> dict[str, str]:
    """Return what people call each objective of a run: its label; where several share one, the name that the run gives
    it."""
    shared = Counter(objective.label for objective in objectives.values())
    return {
        name: objective.label
        if objective.label and (shared[objective.label] == 1 or objective.label.lower() == name.lower())
        else name
        for name, objective in objectives.items()
    }
