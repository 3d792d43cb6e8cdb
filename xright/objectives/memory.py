"""Memory: the negative log-likelihood of what the base wrote itself (context-free synthetic data, arXiv 2505.13811).

f(θ) = H + (1/n) Σ_i [log π_base(y_i | x_i) − log π_θ(y_i | x_i)],   y_i ~ π_base(· | x_i), drawn once, before the run;
n = tokens of all y_i;   H = the base's own −log π_base per token, on the held-out samples

On these f is −(1/n) Σ log π_θ, so f* = H is known without training; over many samples f − H is KL(π_base ‖ π_θ) per
token. On a few rows, such as a step's, −log π_θ alone would mostly say how easy they are; what the base had on the same
rows is subtracted (a control variate), so that a rule sees what was forgotten. The gradient is that of −log π_θ.
With few samples f − H may fall below 0.
"""

from torch import Tensor, nn

from xright.forward.batch import Batch
from xright.objectives.sft import SFT


class Memory(SFT):
    """SFT's loss on rows of kind sampled, beside the base's. stream: of these, which carry what is added
    (`pipeline/memory.py`)."""

    label, of_base = "Memory", True

    def __init__(self, stream: str = "memory") -> None:
        super().__init__(stream)

    def __call__(self, policy: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return (Σ over the rows of log π_base − log π_θ + H per token, no metrics)."""
        if batch.reference_logps_RB is None:
            raise RuntimeError("this batch does not carry the base's log-probs; attach them before training")
        loss, metrics = super().__call__(policy, batch)
        return loss + batch.reference_logps_RB[0].sum(), metrics

    def __repr__(self) -> str:
        return f"Memory(stream={self.stream!r})"
