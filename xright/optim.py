"""One optimizer for all objectives (shared moments), and its learning rate as a pure function of the step.

lr(t) = lr · warm-up(t) · decay(t), where t counts from the start of the phase and n is the phase's length:
warm-up(t) = min(1, (t+1) / (warmup·n)); decay(t) = final + (1 − final)·(1 + cos(π t / n))/2 for `schedule: cosine`,
1 for `constant` (the paper: arXiv 2410.15483, AdamW, constant 5e-5, betas (0.9, 0.95), weight decay 0, clip 1.0).
"""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

from xright.errors import UserError, check_number


class Optim:
    """optimizer: makes one from parameters and lr=, as those of torch do; null: AdamW as in the paper. lr: > 0.
    clip: gradient norm, > 0, or null. schedule: constant or cosine. warmup: fraction of a phase, in [0, 1). final: the
    cosine's floor as a fraction of lr, in [0, 1]. Raises UserError outside these, and for what an optimizer refuses."""

    def __init__(
        self,
        lr: float,
        optimizer: Callable[..., torch.optim.Optimizer] | None = None,
        clip: float | None = 1.0,
        schedule: str = "constant",
        warmup: float = 0.0,
        final: float = 0.0,
    ) -> None:
        self.lr = check_number("optim.lr", lr, lambda x: x > 0, "a number > 0")
        self.optimizer = optimizer or _paper
        self.clip = None if clip is None else check_number("optim.clip", clip, lambda x: x > 0, "> 0, or null for none")
        self.warmup = check_number("optim.warmup", warmup, lambda x: 0 <= x < 1, "a fraction in [0, 1)")
        self.final = check_number("optim.final", final, lambda x: 0 <= x <= 1, "a fraction in [0, 1]")
        if schedule not in ("constant", "cosine"):
            raise UserError(f"optim.schedule={schedule!r} must be constant or cosine.")
        self.schedule = schedule
        try:
            made = self.build([nn.Parameter(torch.zeros(1))])
        except Exception as error:  # whatever an optimizer raises for what it was given
            raise UserError(f"optim.optimizer cannot be made: {' '.join(str(error).split())}.") from error
        if not isinstance(made, torch.optim.Optimizer):
            raise UserError(
                f"optim.optimizer must be an optimizer of torch's kind, with _partial_: true, not {made!r}."
            )

    def build(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """Build the optimizer over the parameters given."""
        return self.optimizer(parameters, lr=self.lr)

    def lr_at(self, step: int, phase_length: int) -> float:
        """Learning rate of step `step` (counted within its phase) of a phase of `phase_length` steps.

        >>> Optim(lr=2.0, schedule="cosine", final=0.5).lr_at(step=50, phase_length=100)
        1.5
        """
        warm = min(1.0, (step + 1) / (self.warmup * phase_length)) if self.warmup else 1.0
        if self.schedule == "constant":
            return self.lr * warm
        decay = self.final + (1 - self.final) * (1 + math.cos(math.pi * step / phase_length)) / 2
        return self.lr * warm * decay


def _paper(parameters: Any, lr: float) -> torch.optim.AdamW:
    return torch.optim.AdamW(parameters, lr=lr, betas=(0.9, 0.95), weight_decay=0.0)
