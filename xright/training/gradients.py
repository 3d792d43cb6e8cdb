"""One gradient per objective of an optimizer step: compared, then put together.

The gradient of an objective's mean over the whole step stands in `.grad` when all its micro-batches have gone backward
and the ranks have exchanged it; it is taken from there, so a step keeps one gradient per objective where others keep
one, of the trainable parameters only. The last one taken is what the combination is made in.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from xright.training.means import NonFinite, Rows

Gradient = list[Tensor | None]


class Gradients:
    """The gradients of one step. parameters: of the policy; those that are not trained are left out."""

    def __init__(self, parameters: Iterable[nn.Parameter]) -> None:
        self.parameters = [parameter for parameter in parameters if parameter.requires_grad]
        self.taken: dict[str, Gradient] = {}

    def take(self, name: str) -> None:
        """The gradient that stands in `.grad` is this objective's; the next one starts from nothing."""
        self.taken[name] = [parameter.grad for parameter in self.parameters]
        for parameter in self.parameters:
            parameter.grad = None

    def gramian(self, preconditioner: torch.optim.Optimizer | None = None) -> np.ndarray:
        """G_ij = ⟨g_i, D⁻¹ g_j⟩ (K, K) in the order of taking; D = √v̂ + ε of an Adam that is given, else 1.

        Products are summed within a parameter in fp32, over parameters in fp64.
        """
        scales = adam_scales(preconditioner, self.parameters) if preconditioner else None
        pairs = [(i, j) for i in range(len(self.taken)) for j in range(i + 1)]
        products = []
        for place, own in enumerate(zip(*self.taken.values(), strict=True)):
            used = [gradient for gradient in own if gradient is not None]
            if used:  # else it is a parameter that no objective uses
                full = [torch.zeros_like(used[0]) if gradient is None else gradient for gradient in own]
                flat = [gradient.float().flatten() for gradient in full]
                scaled = [gradient * scales[place].flatten() for gradient in flat] if scales else flat
                products += [torch.dot(scaled[i], flat[j]) for i, j in pairs]
        sums = torch.stack(products).view(-1, len(pairs)).double().sum(dim=0).tolist()
        gramian_KK = np.zeros((len(self.taken), len(self.taken)))
        for (i, j), value in zip(pairs, sums, strict=True):
            gramian_KK[i, j] = gramian_KK[j, i] = value
        return gramian_KK

    def put(self, weights: Mapping[str, float]) -> None:
        """Σ α_i g_i into `.grad`. What was taken is used up; an objective without a weight adds nothing."""
        for place, parameter in enumerate(self.parameters):
            terms = [(gradients[place], weights.get(name, 0.0)) for name, gradients in self.taken.items()]
            used = [(gradient, weight) for gradient, weight in terms if gradient is not None]
            if used:
                *others, (made, own) = used
                made.mul_(own)
                for gradient, weight in others:
                    if weight:
                        made.add_(gradient, alpha=weight)
                parameter.grad = made
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
