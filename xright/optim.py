"""One AdamW for all objectives (shared moments), and its learning rate as a pure function of the step.

lr(t) = lr · warm-up(t) · decay(t), where t counts from the start of the phase and n is the phase's length:
warm-up(t) = min(1, (t+1) / (warmup·n)); decay(t) = final + (1 − final)·(1 + cos(π t / n))/2 for `schedule: cosine`,
1 for `constant` (the paper: arXiv 2410.15483, constant 5e-5, betas (0.9, 0.95), weight decay 0, clip 1.0).
"""

import math
from collections.abc import Iterable, Sequence

import torch
from torch import nn

from xright.errors import UserError


class Optim:
    """lr: > 0. betas, weight_decay: AdamW's. clip: gradient norm, > 0, or null. schedule: constant or cosine.
    warmup: fraction of a phase, in [0, 1). final: the cosine's floor as a fraction of lr, in [0, 1].
    Raises UserError outside these."""

    def __init__(
        self,
        lr: float,
        betas: Sequence[float] = (0.9, 0.95),
        weight_decay: float = 0.0,
        clip: float | None = 1.0,
        schedule: str = "constant",
        warmup: float = 0.0,
        final: float = 0.0,
    ) -> None:
        _require("lr", lr, lr > 0, "a number > 0")
        _require("clip", clip, clip is None or clip > 0, "a number > 0, or null for none")
        _require("schedule", schedule, schedule in ("constant", "cosine"), "constant or cosine")
        _require("warmup", warmup, 0 <= warmup < 1, "a fraction in [0, 1)")
        _require("final", final, 0 <= final <= 1, "a fraction in [0, 1]")
        self.lr, self.betas, self.weight_decay, self.clip = lr, tuple(betas), weight_decay, clip
        self.schedule, self.warmup, self.final = schedule, warmup, final

    def build(self, parameters: Iterable[nn.Parameter]) -> torch.optim.AdamW:
        """AdamW over the parameters given."""
        return torch.optim.AdamW(parameters, lr=self.lr, betas=self.betas, weight_decay=self.weight_decay)  # type: ignore[arg-type]

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


def _require(name: str, value: object, holds: bool, domain: str) -> None:
    if not holds:
        raise UserError(f"optim.{name}={value!r} must be {domain}.")
