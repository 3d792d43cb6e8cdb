"""Dynamic fine-tuning (Wu et al. 2025, arXiv 2508.05629): SFT in which a token counts by its own probability.

f = (1/n) Σ_t (1 − p_t),   p_t = π_θ(y_t | x, y_<t),   n = response tokens of the whole optimizer step.

The gradient is the paper's: −∇p_t = −sg(p_t) ∇log p_t, with sg: held constant. The paper writes the loss as
−sg(p_t) log p_t, whose value is no measure of progress: it is 0 where p_t = 0 as it is where p_t = 1. A gap needs a
function that the steps lower, which is 1 − p_t: the share of tokens that a sample would miss.
"""

from torch import Tensor, nn

from xright.forward.batch import Batch
from xright.forward.logprobs import response_token_logps
from xright.objectives.sft import SFT


def dft_loss(logps_N: Tensor) -> Tensor:
    """Return 1 − p per token, from log-probs (nats).

    >>> import torch
    >>> dft_loss(torch.tensor([0.0, 0.25]).log())
    tensor([1.0000, 0.7500])
    """
    return 1 - logps_N.exp()


class DFT(SFT):
    """DFT on each row's first response. stream: of completions."""

    unit, label = "missed per token", "DFT"

    def __call__(self, policy: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return (Σ (1 − p) over the first responses' tokens, no metrics)."""
        logps_N = response_token_logps(policy, batch)
        return dft_loss(logps_N[batch.sequence_N < batch.n_rows]).sum(), {}

    def __repr__(self) -> str:
        return f"DFT(stream={self.stream!r})"
