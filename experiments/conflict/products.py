"""What an optimizer step does to each loss, beside what products of gradients say that it will do.

Predictions of f_i after the step minus before, to first order, from g_i, the gradient of f_i on the step's rows; d,
what the optimizer is given (the rule's sum, clipped); and v̂, the optimizer's second moments:

    euclid        −lr ⟨g_i, d⟩         what `metric=euclid` looks at
    adam          −lr ⟨g_i, D⁻¹ d⟩     D = √v̂ + ε before the step: what `metric=adam` looks at
    no momentum   −lr ⟨g_i, D⁻¹ d⟩     D after the step, so with d² in it: AdamW's own step but for β₁ and weight decay
    moved         ⟨g_i, Δθ⟩            the movement itself: all that a first order can say

A rule promises not to raise f_i where its d has no negative product with g_i: `aligned …` is that product as a cosine,
`conflict …` the smallest cosine of g_i with another objective's gradient; each in the first three's inner products.
`fresh` is the cosine of Δθ with AdamW's step without momentum: how much of the movement is of this step's rows.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn

from xright.tracking.csvfile import CsvFile
from xright.training.gradients import Gradient, adam_scales
from xright.training.means import exact_means

PREDICTIONS = ("euclid", "adam", "no momentum", "moved")
METRICS = PREDICTIONS[:3]
CHANGES = ("change", "held-out change")
COSINES = tuple(f"{kind} {metric}" for kind in ("aligned", "conflict") for metric in METRICS)
COLUMNS = ("step", "objective", "before", *CHANGES, *PREDICTIONS, *COSINES, "fresh")


class Step:
    """One step: made before it, told when the optimizer is given d, asked after it.

    gradients: of each objective, a tensor for each of the parameters, which the optimizer has moved before.
    """

    def __init__(
        self, parameters: Sequence[nn.Parameter], optimizer: torch.optim.Optimizer, gradients: Mapping[str, Gradient]
    ) -> None:
        self.parameters, self.optimizer, self.gradients = parameters, optimizer, gradients
        self.start = [parameter.detach().clone() for parameter in parameters]
        self.scales = self._scales()

    def descend(self) -> None:
        """What stands in `.grad` is d."""
        self.given = [None if parameter.grad is None else parameter.grad.clone() for parameter in self.parameters]

    def found(self) -> dict[str, dict[str, float]]:
        """Of each objective: its predictions and its cosines."""
        lr = self.optimizer.param_groups[0]["lr"]
        moved: Gradient = [
            parameter.detach() - start for parameter, start in zip(self.parameters, self.start, strict=True)
        ]
        scales = dict(zip(METRICS, (None, self.scales, self._scales()), strict=True))
        fresh = -cosine(moved, scaled(self.given, scales["no momentum"]))
        found = {}
        for name, own in self.gradients.items():
            others = [gradient for other, gradient in self.gradients.items() if other != name]
            row = {metric: -lr * product(own, self.given, by) for metric, by in scales.items()}
            row |= {f"aligned {metric}": cosine(own, self.given, by) for metric, by in scales.items()}
            row |= {
                f"conflict {metric}": min(cosine(own, other, by) for other in others) for metric, by in scales.items()
            }
            found[name] = row | {"moved": product(own, moved), "fresh": fresh}
        return found

    def _scales(self) -> Gradient | None:
        """1 / (√v̂ + ε); of an optimizer without second moments, 1."""
        kept = [self.optimizer.state.get(parameter, {}) for parameter in self.parameters]
        return adam_scales(self.optimizer, self.parameters) if all("exp_avg_sq" in state for state in kept) else None


def scaled(gradient: Gradient, scales: Gradient | None) -> Gradient:
    """Each entry times its scale."""
    if scales is None:
        return gradient
    return [None if a is None else a * by for a, by in zip(gradient, scales, strict=True)]


def product(first: Gradient, second: Gradient, scales: Gradient | None = None) -> float:
    """⟨first, second⟩, or with each entry's scale: within a parameter as it is, over parameters in fp64."""
    pairs = zip(scaled(first, scales), second, strict=True)
    return sum(float((a * b).sum()) for a, b in pairs if a is not None and b is not None)


def cosine(first: Gradient, second: Gradient, scales: Gradient | None = None) -> float:
    """The cosine in that metric; 0 where one of them is 0."""
    square = product(first, first, scales) * product(second, second, scales)
    return product(first, second, scales) / square**0.5 if square else 0.0


class Conflict(L.Callback):
    """Writes conflict.csv in the run's folder: COLUMNS, a row for each objective of every `every`-th step.

    Losses are exact means without dropout. It only looks: the run is the same without it.
    """

    def __init__(self, every: int = 6) -> None:
        self.every, self.measured = every, None

    def setup(self, trainer: L.Trainer, pl_module: Any, stage: str) -> None:
        """Before anything is trained."""
        self.file = CsvFile(pl_module.folder / "conflict.csv", COLUMNS)

    def on_fit_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Begin the file, or go on behind the checkpoint's step."""
        self.file.start()

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """The step's gradients one by one, and the losses before it."""
        self.measured = None
        if pl_module.global_step % self.every != self.every // 2:  # never the first, which finds no moments
            return
        parameters = [parameter for parameter in pl_module.policy.parameters() if parameter.requires_grad]
        gradients = {name: gradient(pl_module, name, batch, parameters) for name in pl_module.objectives}
        self.losses = losses(pl_module, batch)
        self.measured, self.batch = Step(parameters, trainer.optimizers[0], gradients), batch

    def on_before_optimizer_step(self, trainer: L.Trainer, pl_module: Any, optimizer: torch.optim.Optimizer) -> None:
        """The gradient is clipped by now."""
        if self.measured:
            self.measured.descend()

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: Any, *_: Any) -> None:
        """The losses after the step, beside the predictions."""
        if not self.measured:
            return
        after, rows = losses(pl_module, self.batch), []
        for name, found in self.measured.found().items():
            before = self.losses[name]
            changes = dict(zip(CHANGES, (b - a for a, b in zip(before, after[name], strict=True)), strict=True))
            rows.append({"step": outputs["step"], "objective": name, "before": before[0], **changes, **found})
        self.file.add(rows)
        self.measured = None

    def state_dict(self) -> dict[str, Any]:
        """Return how far the file goes."""
        return {"file": list(self.file.mark)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.file.go_on(state_dict["file"])


def gradient(module: Any, name: str, batch: Mapping[str, Any], parameters: Sequence[nn.Parameter]) -> Gradient:
    """The gradient of an objective's mean over the step's rows."""
    objective = module.objectives[name]
    laid_out = module.collate(batch[objective.stream]).to(module.device)
    loss, _ = objective(module.policy.eval(), laid_out)
    found: tuple[Tensor | None, ...] = torch.autograd.grad(
        loss / objective.size(laid_out), parameters, allow_unused=True
    )
    module.policy.train()
    return list(found)


def losses(module: Any, batch: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
    """Of each objective: f of the step's rows, f of the held-out rows."""

    def mean(name: str, chunks: Sequence[Any]) -> float:
        return exact_means(
            name, module.objectives[name], module.policy, chunks, step=module.global_step,
            lay_out=lambda rows: module.collate(rows).to(module.device), sum_over_ranks=lambda *values: values,
        )[0]  # fmt: skip

    return {
        name: (mean(name, [batch[objective.stream]]), mean(name, module.evaluation[name]))
        for name, objective in module.objectives.items()
    }
