"""Identity preference optimisation (Azar et al. 2023), in its length-averaged form.

h̄ = (log π_θ(y_w|x) − log π_ref(y_w|x))/|y_w| − (log π_θ(y_l|x) − log π_ref(y_l|x))/|y_l|
ℓ = (h̄ − 1/(2β))²,   mean over pairs.

β > 0: 1/(2β) is the margin (nats per token) aimed at. With *summed* log-probs the target would depend on the
length of the answers; averaging is what its authors confirmed.
"""

from torch import Tensor, nn

from xright.forward.batch import Batch
from xright.objectives.dpo import check_beta, log_ratios, preference_metrics
from xright.objectives.objective import Objective


def ipo_loss(margins_B: Tensor, beta: float) -> Tensor:
    """ℓ per pair, from length-averaged margins h̄ (nats per token)."""
    return (margins_B - 1 / (2 * beta)) ** 2


class IPO(Objective):
    """IPO on a stream of pairs. beta: > 0, else UserError."""

    responses = 2
    unit, label = "(nats per token)² per pair", "IPO"
    needs_reference, lower_bound = True, 0.0

    def __init__(self, beta: float = 0.1, stream: str = "preference") -> None:
        self.stream = stream
        self.beta = check_beta(beta)
        self.value_at_reference = (1 / (2 * beta)) ** 2

    def size(self, batch: Batch) -> int:
        return batch.n_rows

    def __call__(self, policy: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return (Σ ℓ over pairs, preference metrics)."""
        logps_RB, log_ratios_RB, lengths_RB = log_ratios(policy, batch)
        averaged_RB = log_ratios_RB / lengths_RB
        losses_B = ipo_loss(averaged_RB[0] - averaged_RB[1], self.beta)
        return losses_B.sum(), preference_metrics(logps_RB, log_ratios_RB, self.beta)

    def __repr__(self) -> str:
        return f"IPO(beta={self.beta})"
