"""One gradient per objective of an optimizer step: compared, then put together.

The gradient of an objective's mean over the whole step stands in `.grad` when all its micro-batches have gone backward
and the ranks have exchanged it; it is taken from there, so a step keeps one gradient per objective where others keep
one, of the trainable parameters only. The last one taken is what the combination is made in.

A rule that compares halves has each half's share of that mean taken: two gradients per objective. A rule that tracks
has running means take the place of the gradients; they live as long as the phase, in fp32.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from xright.training.means import NonFinite, Rows, Sum

Gradient = list[Tensor | None]
Means = dict[str, Gradient]


class Gradients:
    """The gradients of one step. parameters: of the policy; those that are not trained are left out. share: of these
    gradients in `means`, by objective, which take their place; None: they stand for themselves."""

    def __init__(
        self, parameters: Iterable[nn.Parameter], means: Means | None = None, share: float | None = None
    ) -> None:
        self.parameters = [parameter for parameter in parameters if parameter.requires_grad]
        self.means, self.share = {} if means is None else means, share
        self.taken: dict[str, list[Gradient]] = {}

    def take(self, name: str) -> None:
        """The gradient that stands in `.grad` is this objective's, or its next half's; the next one starts from
        nothing."""
        found: Gradient = [parameter.grad for parameter in self.parameters]
        for parameter in self.parameters:
            parameter.grad = None
        if self.share is not None:
            before = self.means.get(name, [None] * len(found))
            devices = [parameter.device for parameter in self.parameters]  # a checkpoint's means are elsewhere
            found = [_followed(*own, share=self.share) for own in zip(before, found, devices, strict=True)]
            self.means[name] = found
        self.taken.setdefault(name, []).append(found)

    def gramian(
        self, preconditioner: torch.optim.Optimizer | None = None, sum_over_ranks: Sum = lambda *sums: sums
    ) -> np.ndarray:
        """G_ij = ⟨g_i, D⁻¹ g_j⟩ (K, K) in the order of taking; D = √v̂ + ε of an Adam that is given, else 1. Where there
        are halves, g_i is twice the first one's share of the mean, and g_j twice the second one's.

        Products are summed within a parameter in fp32, over parameters in fp64; and over ranks, where each has its part
        of every gradient.
        """
        scales = adam_scales(preconditioner, self.parameters) if preconditioner else None
        first, second = ([parts[place] for parts in self.taken.values()] for place in (0, -1))
        halved = first[0] is not second[0]
        pairs = [(i, j) for i in range(len(first)) for j in range(len(first) if halved else i + 1)]
        products = []
        for place, parameter in enumerate(self.parameters):
            if any(gradient[place] is not None for gradient in (*first, *second)):  # else no objective uses it
                left = [_flat(gradient[place], parameter) for gradient in first]
                right = [_flat(gradient[place], parameter) for gradient in second] if halved else left
                left = [gradient * _flat(scales[place], parameter) for gradient in left] if scales else left
                products += [torch.dot(left[i], right[j]) for i, j in pairs]
        sums: Sequence[float] = torch.stack(products).view(-1, len(pairs)).double().sum(dim=0).tolist()
        if any(isinstance(parameter, DTensor) for parameter in self.parameters):
            sums = sum_over_ranks(*sums)
        gramian_KK = np.zeros((len(first), len(first)))
        for (i, j), value in zip(pairs, sums, strict=True):
            gramian_KK[i, j] = value
        return 4 * gramian_KK if halved else np.tril(gramian_KK) + np.tril(gramian_KK, -1).T

    def put(self, weights: Mapping[str, float]) -> None:
        """Σ α_i g_i into `.grad`. What was taken is used up, but for means; an objective without a weight adds
        nothing."""
        for place, parameter in enumerate(self.parameters):
            terms = [(part[place], weights.get(name, 0.0)) for name, parts in self.taken.items() for part in parts]
            used = [(gradient, weight) for gradient, weight in terms if gradient is not None]
            if used:
                *others, (made, own) = used
                made = made.mul_(own) if self.share is None else made * own
                for gradient, weight in others:
                    if weight:
                        made.add_(gradient, alpha=weight)
                parameter.grad = made.to(parameter.dtype)
        self.taken.clear()


def check_finite(gramian_KK: np.ndarray, names: Sequence[str], step: int, rows: Mapping[str, Rows]) -> None:
    """NonFinite for the first objective whose gradient is not, though its loss may be: no rule can weigh it."""
    for name, square in zip(names, np.diag(gramian_KK), strict=True):
        if not np.isfinite(square):
            raise NonFinite(name, step, rows[name], what="gradient")


def adam_scales(optimizer: torch.optim.Optimizer, parameters: Iterable[nn.Parameter]) -> list[Tensor] | None:
    """1 / (√v̂ + ε) of each parameter, from the optimizer's second moments v; None before its first step."""
    settings = {p: (group["betas"][1], group["eps"]) for group in optimizer.param_groups for p in group["params"]}
    scales = []
    for parameter in parameters:
        state = optimizer.state.get(parameter)
        if not state:
            return None
        beta, eps = settings[parameter]
        scales.append(1 / ((state["exp_avg_sq"].float() / (1 - beta ** float(state["step"]))).sqrt() + eps))
    return scales


def _followed(mean: Tensor | None, gradient: Tensor | None, device: torch.device, share: float) -> Tensor | None:
    """The mean y + share (g − y), in place, from y = 0; None where there was no gradient yet."""
    if mean is None:
        return None if gradient is None else share * gradient.float()
    mean = mean.to(device).mul_(1 - share)
    return mean if gradient is None else mean.add_(gradient, alpha=share)


def _flat(gradient: Tensor | None, parameter: nn.Parameter) -> Tensor:
    found = (torch.zeros_like(parameter) if gradient is None else gradient).detach()
    return (found.to_local() if isinstance(found, DTensor) else found).float().flatten()
