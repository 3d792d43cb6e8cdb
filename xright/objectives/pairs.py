"""What preference objectives share: a mean over pairs of a loss of two rewards.

p = log π_θ(y|x), r = p − log π_ref(y|x), each summed over the tokens of an answer (nats); |y| its length (tokens).
R = β r, the reward of the chosen answer (R_w) and of the rejected one (R_l), in nats; some objectives take p for r, or
divide by |y|. f is the mean over pairs of ℓ(R_w, R_l).

β > 0: strength of the pull to π_ref. Shapes: B pairs; R = 2 answers of each, chosen first.
"""

from abc import abstractmethod
from typing import NamedTuple

from torch import Tensor, nn

from xright.errors import check_number
from xright.forward.batch import Batch
from xright.forward.logprobs import response_logps
from xright.objectives.objective import Objective


class Pairs(NamedTuple):
    """A batch's log π_θ and log π_θ − log π_ref (summed, nats; the latter None where no reference is read), and
    lengths (tokens): each (2, B), chosen first."""

    logps_RB: Tensor
    log_ratios_RB: Tensor
    lengths_RB: Tensor

    @property
    def margins_B(self) -> Tensor:
        """Log-ratio of the chosen answer minus that of the rejected one, nats."""
        return self.log_ratios_RB[0] - self.log_ratios_RB[1]

    @property
    def nll_B(self) -> Tensor:
        """Negative log-likelihood of the chosen answer, nats per token of this answer.

        It is averaged over each answer's own tokens, not over those of a micro-batch, so that its sum over pairs is the
        same however a step is cut.
        """
        return -self.logps_RB[0] / self.lengths_RB[0]


class OnPairs(Objective):
    """An objective on a stream of pairs; a subclass gives the loss of each, and may give other rewards.

    beta: > 0, else UserError.
    """

    responses = 2
    unit = "nats per pair"
    needs_reference, lower_bound = True, 0.0

    def __init__(self, beta: float = 0.1, stream: str = "preference") -> None:
        self.stream = stream
        self.beta = check_beta(beta)

    @abstractmethod
    def losses(self, rewards_RB: Tensor, pairs: Pairs) -> Tensor:
        """Return ℓ per pair, (B,)."""

    def rewards(self, pairs: Pairs) -> Tensor:
        """Return R of both answers, (2, B), nats."""
        return self.beta * pairs.log_ratios_RB

    def size(self, batch: Batch) -> int:
        """Count the pairs of the batch."""
        return batch.n_rows

    def __call__(self, policy: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return (Σ ℓ over pairs, preference metrics)."""
        pairs = log_ratios(policy, batch) if self.needs_reference else log_probs(policy, batch)
        rewards_RB = self.rewards(pairs)
        return self.losses(rewards_RB, pairs).sum(), preference_metrics(pairs.logps_RB, rewards_RB)

    def __repr__(self) -> str:
        own = {name: value for name, value in vars(self).items() if name != "stream" and not hasattr(Objective, name)}
        return f"{type(self).__name__}({', '.join(f'{name}={value}' for name, value in own.items())})"


def log_probs(policy: nn.Module, batch: Batch) -> Pairs:
    """Return a batch's log-probs and lengths, for objectives without a reference."""
    logps_S, lengths_S = response_logps(policy, batch)
    logps_RB = logps_S.view(batch.responses, batch.n_rows)
    return Pairs(logps_RB, None, lengths_S.view_as(logps_RB))  # type: ignore[arg-type]


def log_ratios(policy: nn.Module, batch: Batch) -> Pairs:
    """Return a batch's log-probs, log-ratios and lengths.

    A batch without reference log-probs is a programming error, never a silent zero.
    """
    if batch.reference_logps_RB is None:
        raise RuntimeError("this batch carries no reference log-probs; attach them before training")
    pairs = log_probs(policy, batch)
    return pairs._replace(log_ratios_RB=pairs.logps_RB - batch.reference_logps_RB)


def preference_metrics(logps_RB: Tensor, rewards_RB: Tensor) -> dict[str, Tensor]:
    """Return sums over pairs of rewards (nats), accuracy (0 or 1), margins, and log-probs (nats)."""
    chosen_B, rejected_B = rewards_RB.detach()
    return {
        "rewards/chosen": chosen_B.sum(),
        "rewards/rejected": rejected_B.sum(),
        "rewards/accuracies": (chosen_B > rejected_B).float().sum(),
        "rewards/margins": (chosen_B - rejected_B).sum(),
        "logps/chosen": logps_RB[0].detach().sum(),
        "logps/rejected": logps_RB[1].detach().sum(),
    }


def check_beta(beta: float) -> float:
    """Return β as a positive finite float, else raise UserError."""
    return check_number("beta", beta, lambda x: x > 0, "a number > 0, for example 0.1")
