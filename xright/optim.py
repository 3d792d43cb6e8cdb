"""One optimizer for all objectives (shared moments), and its learning rate as a pure function of the step.

lr(t) = lr · warm-up(t) · decay(t), where t counts from the start of the phase and n is the phase's length:
warm-up(t) = min(1, (t+1) / (warmup·n)); decay(t) = final + (1 − final)·(1 + cos(π t / n))/2 for `schedule: cosine`,
1 for `constant` (the paper: arXiv 2410.15483, AdamW, constant 5e-5, betas (0.9, 0.95), weight decay 0, clip 1.0).

L2-SP (Li et al. 2018, arXiv 1802.01483) penalises ½ c ‖θ − θ_0‖², θ_0: the trained parameters where the phase began. As
AdamW does with weight decay, it is kept out of the gradient: θ ← θ − lr(t) c (θ − θ_0) after each update. So no rule
weighs it and no moment knows it; for plain SGD it is the penalty's gradient.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from xright.errors import UserError, check_number


class Optim:
    """optimizer: makes one from parameters and lr=, as those of torch do; null: AdamW as in the paper. lr: > 0.
    clip: gradient norm, > 0, or null. schedule: constant or cosine. warmup: fraction of a phase, in [0, 1). final: the
    cosine's floor as a fraction of lr, in [0, 1]. l2_sp: c, ≥ 0 with lr·c ≤ 1; it costs a copy of the trained
    parameters. Raises UserError outside these, and for what an optimizer refuses."""

    def __init__(
        self,
        lr: float,
        optimizer: Callable[..., torch.optim.Optimizer] | None = None,
        clip: float | None = 1.0,
        schedule: str = "constant",
        warmup: float = 0.0,
        final: float = 0.0,
        l2_sp: float = 0.0,
    ) -> None:
        self.lr = check_number("optim.lr", lr, lambda x: x > 0, "a number > 0")
        self.optimizer = optimizer or partial(torch.optim.AdamW, betas=(0.9, 0.95), weight_decay=0.0)
        self.clip = None if clip is None else check_number("optim.clip", clip, lambda x: x > 0, "> 0, or null for none")
        self.warmup = check_number("optim.warmup", warmup, lambda x: 0 <= x < 1, "a fraction in [0, 1)")
        self.final = check_number("optim.final", final, lambda x: 0 <= x <= 1, "a fraction in [0, 1]")
        self.l2_sp = check_number(
            "optim.l2_sp",
            l2_sp,
            lambda x: x >= 0 and self.lr * x <= 1,
            f"a number in [0, {1 / self.lr:g}], 1 / optim.lr",
        )
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
        made: Any = self.optimizer(parameters, lr=self.lr, **_fused(self.optimizer))
        if isinstance(made, torch.optim.Optimizer):
            # Lightning clips no gradient of an optimizer that unscales by itself; there is nothing to unscale here.
            vars(made)["_step_supports_amp_scaling"] = False
        if self.l2_sp:
            L2SP(self.l2_sp).follow(made)
        return made

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


class L2SP:
    """Pulls each parameter that an optimizer updates toward where it was before the optimizer's first step.

    That place is kept in the optimizer's state, as `start`: a checkpoint has it, and a phase that begins with a fresh
    state begins with a place of its own. coefficient: c.
    """

    def __init__(self, coefficient: float) -> None:
        self.coefficient = coefficient
        self.fresh: dict[Tensor, Tensor] = {}

    def follow(self, optimizer: torch.optim.Optimizer) -> None:
        """Do so from now on, around each of its steps."""
        optimizer.register_step_pre_hook(self._before)
        optimizer.register_step_post_hook(self._after)

    def _before(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        known = {parameter for parameter, state in optimizer.state.items() if "start" in state}
        self.fresh = {
            parameter: parameter.detach().clone() for parameter, _ in _updated(optimizer) if parameter not in known
        }

    @torch.no_grad()
    def _after(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        for parameter, lr in _updated(optimizer):
            if parameter in self.fresh:  # only now: an optimizer takes a state that is not empty for its own
                optimizer.state[parameter]["start"] = self.fresh.pop(parameter)
            parameter.lerp_(optimizer.state[parameter]["start"], lr * self.coefficient)


def _updated(optimizer: torch.optim.Optimizer) -> Iterator[tuple[Tensor, float]]:
    for group in optimizer.param_groups:
        yield from ((parameter, group["lr"]) for parameter in group["params"] if parameter.grad is not None)


def _fused(optimizer: Any) -> dict[str, bool]:
    """What to tell Adam and AdamW beside the settings: one pass over memory per update in the place of ten, the same
    to 1e-8. A state that was made without goes on without."""
    told = getattr(optimizer, "keywords", {}).keys() & {"fused", "foreach", "capturable", "differentiable"}
    adam = getattr(optimizer, "func", optimizer) in (torch.optim.Adam, torch.optim.AdamW)
    return {"fused": True} if adam and not told else {}
