"""Identity preference optimisation (Azar et al. 2023), in its length-averaged form.

h̄ = (log π_θ(y_w|x) − log π_ref(y_w|x))/|y_w| − (log π_θ(y_l|x) − log π_ref(y_l|x))/|y_l|
ℓ = (h̄ − 1/(2β))²,   mean over pairs.

β > 0: 1/(2β) is the margin (nats per token) aimed at. With *summed* log-probs the target would depend on the
length of the answers; averaging is what its authors confirmed.
"""

from torch import Tensor

from xright.objectives.pairs import OnPairs, Pairs


def ipo_loss(margins_B: Tensor, beta: float) -> Tensor:
    """Return ℓ per pair, from length-averaged margins h̄ (nats per token)."""
    return (margins_B - 1 / (2 * beta)) ** 2


class IPO(OnPairs):
    """IPO on a stream of pairs. beta: > 0, else UserError."""

    unit, label = "(nats per token)² per pair", "IPO"

    def __init__(self, beta: float = 0.1, stream: str = "preference") -> None:
        super().__init__(beta, stream)
        self.value_at_reference = (1 / (2 * self.beta)) ** 2

    def losses(self, rewards_RB: Tensor, pairs: Pairs) -> Tensor:
        averaged_RB = pairs.log_ratios_RB / pairs.lengths_RB
        return ipo_loss(averaged_RB[0] - averaged_RB[1], self.beta)
