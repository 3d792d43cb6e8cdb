"""One objective's share of an optimizer step."""

from dataclasses import dataclass

from torch import Tensor

from xright.forward.batch import Batch
from xright.training.means import Rows


@dataclass
class Part:
    """rows: this rank's; batches: they, laid out in micro-batches. size (units) and tokens: over all ranks. forwards:
    (Σ ℓ with its graph, metrics) per micro-batch, where a look has computed them."""

    name: str
    rows: Rows
    batches: list[Batch]
    size: float
    tokens: int
    forwards: list[tuple[Tensor, dict]] | None = None
