"""What one model is measured by, on rows: losses by prompt, how far its predictions moved, whether objectives conflict.

Shapes: C prompts, N response tokens, D hidden size, V vocabulary.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from xright.forward.batch import Batch
from xright.forward.logprobs import backbone_and_head, chunk, hidden_states
from xright.models import evaluating
from xright.objectives import Objective

Batches = Sequence[Batch]


class Losses(NamedTuple):
    """Σ ℓ over the rows of each prompt, and how many units (pairs or tokens) that is: (C,) each.

    Rows of one prompt vary together, so a prompt counts as one draw.
    """

    sums_C: np.ndarray
    units_C: np.ndarray

    def mean(self, drawn: np.ndarray | slice = slice(None)) -> float:
        """Return f over the prompts that are drawn: all, or (C,) or (draws, C) of them."""
        return self.sums_C[drawn].sum(-1) / self.units_C[drawn].sum(-1)


@torch.no_grad()
def losses(policy: nn.Module, objective: Objective, prompts: Batches) -> Losses:
    """The objective's loss on each prompt's rows. prompts: a batch for each."""
    with evaluating(policy):
        sums = [float(objective(policy, batch)[0]) for batch in prompts]
    return Losses(np.array(sums), np.array([float(objective.size(batch)) for batch in prompts]))


@torch.no_grad()
def divergence(base: nn.Module, policy: nn.Module, batches: Batches) -> float:
    """KL(base ‖ policy) of the next token, in nats, averaged over all response tokens of the batches.

    It is exact at each place: the whole vocabulary is summed over, as many logits at a time as `logprobs.chunk` says.
    """
    total, count = 0.0, 0
    with evaluating(base), evaluating(policy):
        for batch in batches:
            hidden = [hidden_states(model, batch)[batch.line_N, batch.position_N] for model in (base, policy)]
            heads = [backbone_and_head(model)[1] for model in (base, policy)]
            rows = max(1, chunk(hidden[0].device) // heads[0](hidden[0][:1]).shape[-1])
            for ours, theirs in zip(*(one.split(rows) for one in hidden), strict=True):
                p, q = (head(one).float().log_softmax(-1) for head, one in zip(heads, (ours, theirs), strict=True))
                total += float((p.exp() * (p - q)).sum(dtype=torch.float64))
            count += len(batch.token_N)
    return total / count


def gradient(policy: nn.Module, objective: Objective, prompts: Batches) -> tuple[Tensor, float]:
    """∇f over all weights, as one vector, and the cosine between the gradients of its two halves (every other prompt).

    That cosine says how well so many rows know their gradient: where it is near 0, a cosine between objectives says
    nothing. NaN for a single prompt. Needs memory for three copies of the weights.
    """
    parts = [_sum(policy, objective, prompts[start::2]) for start in range(min(2, len(prompts)))]
    halves = cosine(*parts) if len(parts) == 2 else float("nan")
    return sum(parts[1:], parts[0]), halves


def _sum(policy: nn.Module, objective: Objective, prompts: Batches) -> Tensor:
    weights = [parameter for parameter in policy.parameters() if parameter.requires_grad]
    found = [torch.zeros_like(weight) for weight in weights]
    with evaluating(policy), torch.enable_grad():
        for batch in prompts:
            loss = objective(policy, batch)[0]
            for total, part in zip(found, torch.autograd.grad(loss, weights, allow_unused=True), strict=True):
                if part is not None:
                    total += part
    return torch.cat([one.flatten() for one in found])


def cosine(left: Tensor, right: Tensor) -> float:
    """The cosine of the angle between two vectors; NaN where one is 0.

    >>> cosine(torch.tensor([1.0, 0.0]), torch.tensor([-1.0, 1.0]))
    -0.7071
    """
    lengths = left.norm() * right.norm()
    return round(float(left @ right / lengths), 4) if lengths else float("nan")
