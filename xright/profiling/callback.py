"""What a training gives and takes, told while it goes on, by the trainers of transformers and TRL."""

import time
from typing import Any

from torch import nn
from tqdm import tqdm
from transformers import Trainer, TrainerCallback

from xright.errors import UserError, check_number, check_whole
from xright.models import evaluating
from xright.profiling.asked import Asked
from xright.profiling.changes import Change, changes
from xright.profiling.configuration import configuration
from xright.profiling.measures import divergence

BASE, START, NOW = "the base", "the start", "this training"


class ForgettingCallback(TrainerCallback):
    """Logs the loss on rows of several streams, and how much of what had been won before this training gives back.

        trainer = DPOTrainer("sft-model", …)
        trainer.add_callback(ForgettingCallback(trainer, "base", "data.streams.sft.path=sft.jsonl", …))

    base: the model before all stages, a folder or hub name. settings: those of `python -m xright.profile`, of which
    rows=64, gradients=false and layout=padded are the defaults here. share: of the time of training, that measuring
    may take; or every: steps from one measuring to the next. kl: measure how far predictions have moved from the
    base's, for which that stays in memory.

    It measures at the start, at the end, and between them as often as `share` allows, those two counted. Logged, for
    each objective: `forgetting/<objective>`, `…/gap` (to the lowest value so far, of base and start too),
    `…/given_back` (a share) with its 95 % interval `…/low` and `…/high`, where there is something to give back;
    `forgetting/kl` (nats per token); with gradients=true `forgetting/cosine/<objective>/<objective>`. The training
    itself is the same to the bit.
    UserError for settings that cannot be, and where weights are sharded.
    """

    def __init__(
        self, trainer: Trainer, base: str, *settings: str, share: float = 0.05, every: int | None = None,
        kl: bool = True,
    ) -> None:  # fmt: skip
        self.share = check_number("share", share, lambda x: 0 < x < 1, "in (0, 1)")
        if every is not None:
            check_whole("every", every, 1)
        self.every = every
        self.trainer, self.base, self.kl = trainer, base, kl
        if trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled:
            raise UserError(
                "ForgettingCallback asks the model of one process, which here may hold a part of it; leave it out."
            )
        cfg = configuration(["rows=64", "gradients=false", "layout=padded", *settings], [base])
        self.asked = Asked(cfg)
        if tokenizer := getattr(trainer, "processing_class", None):
            self.asked.check_tokens("the trainer's model", tokenizer)
        self.measured_at = -1

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Measure the base, and the model as it comes in."""
        if not state.is_world_process_zero:
            return
        self.began = time.perf_counter()
        base = self.asked.loaded(self.base)
        groups = self.asked.groups(base)
        self.batches = self.asked.laid_out(groups, self.policy)
        self.before = [self.asked.losses(base, self.asked.laid_out(groups, base))]
        self.kept, self.spent = base if self.kl else None, 0.0
        self.best = {name: own.mean() for name, own in self.before[0].items()}
        self.measure()
        self.spent = time.perf_counter() - self.began  # all that has come before the first step

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Measure where it is time."""
        if state.is_world_process_zero and self.is_time(state.global_step):
            self.measure()

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Measure what has come out, and say it in sentences."""
        if not state.is_world_process_zero:
            return
        if self.measured_at != state.global_step:
            self.measure()
        for change in self.changes():
            tqdm.write(change.sentence)
        self.kept = None

    def is_time(self, step: int) -> bool:
        """Tell whether to measure now: by steps, or so that this measuring and the last one fit into the share."""
        if self.every:
            return step % self.every == 0
        trained = time.perf_counter() - self.began - self.spent
        return self.spent + 2 * self.cost <= self.share * trained

    @property
    def policy(self) -> nn.Module:
        """Return the model that is trained, outside of what wraps it for several processes."""
        return self.trainer.accelerator.unwrap_model(self.trainer.model)

    def measure(self) -> None:
        """Ask the model as it is, log what it says, and note what that has cost."""
        began = time.perf_counter()
        self.now = self.asked.losses(self.policy, self.batches)
        if len(self.before) == 1:  # the base's: this is the start
            self.before.append(self.now)
        self.measured_at = self.trainer.state.global_step
        self.tell()
        self.cost = time.perf_counter() - began
        self.spent += self.cost

    def changes(self) -> list[Change]:
        """What this training has done so far to each objective."""
        found = {name: [*(own[name] for own in self.before), now] for name, now in self.now.items()}
        return [one for one in changes([BASE, START, NOW], found) if one.stage == NOW]

    def tell(self) -> None:
        """Log what was measured, by the trainer's own loggers."""
        logged: dict[str, float] = {}
        for name, own in self.now.items():
            value = own.mean()
            self.best[name] = min(self.best[name], value)
            logged |= {f"forgetting/{name}": value, f"forgetting/{name}/gap": value - self.best[name]}
        for change in self.changes():
            if change.given_back:
                keys = ("given_back", "low", "high")
                found = zip(keys, change.given_back, strict=True)
                logged |= {f"forgetting/{change.objective}/{key}": value for key, value in found}
        if self.kept is not None:
            every = [batch for own in self.batches.values() for batch in own]
            logged["forgetting/kl"] = divergence(self.kept, self.policy, every)
        if self.asked.cfg.gradients:
            for pair, cosine in self.asked.angles(self.policy, self.batches).items():
                logged[f"forgetting/cosine/{pair.replace(' · ', '/')}"] = cosine
        control = self.trainer.control
        due = control.should_log  # the trainer's own line of this step: to log anything puts it off
        with evaluating(self.policy):  # or TRL would take what it has gathered since its last log for finished
            self.trainer.log({key: float(value) for key, value in logged.items()})
        control.should_log = due
