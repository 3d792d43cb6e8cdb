"""Supervised fine-tuning: negative log-likelihood of the response given the prompt (arXiv 2410.15483, eq 4).

f_SFT(θ) = −(1/n) Σ_i log π_θ(y_i | x_i),  n = response tokens of the whole optimizer step (nats per token).
"""

from torch import Tensor, nn

from xright.forward.batch import Batch
from xright.forward.logprobs import response_logps
from xright.objectives.objective import Objective


class SFT(Objective):
    """Token-mean NLL of each row's first response.

    stream: of completions; the reference stage uses the chosen responses of one of pairs, the base stage whole texts.
    """

    unit, label, lower_bound = "nats per token", "SFT", 0.0

    def __init__(self, stream: str = "sft") -> None:
        self.stream = stream

    def size(self, batch: Batch) -> int:
        """Count the tokens of the first responses."""
        return sum(batch.lengths[: batch.n_rows])

    def __call__(self, policy: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return (−Σ log π over the first responses' tokens, no metrics)."""
        logps_S, _ = response_logps(policy, batch)
        return -logps_S[: batch.n_rows].sum(), {}

    def __repr__(self) -> str:
        return f"SFT(stream={self.stream!r})"
