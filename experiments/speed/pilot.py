"""Measures our steps inside Lightning's loop, and runs everyone else's between them.

Contestants are named "<objective>/<who>" where they train one objective ("dpo/naive"), else by who they are.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from time import perf_counter, process_time
from typing import Any, Protocol

import lightning as L
import torch
from rows import Round
from torch import Tensor, nn

from xright.data.rows import Row

STREAM = {"dpo": "preference", "sft": "sft"}
Turn = tuple[int, str]  # (round, contestant)


class Contestant(Protocol):
    """Whoever can make a step; its optimizer steps once in it, on the policy's gradients."""

    @property
    def policy(self) -> nn.Module:
        """What is trained."""

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """What trains it."""

    def step(self, rows: Sequence[Row]) -> float:
        """One optimizer step; returns the loss before it."""
        ...


class Meter(Protocol):
    """What is measured of a step."""

    def start(self) -> None:
        """Just before it."""

    def stop(self) -> dict[str, float]:
        """Just after it: the values by name."""
        ...


class Clock:
    """seconds: wall time. cpu: the part of it that this process computed; less, where others had the core."""

    def start(self) -> None:
        """Note the time."""
        self.since, self.cpu = perf_counter(), process_time()

    def stop(self) -> dict[str, float]:
        """Seconds since."""
        return {"seconds": perf_counter() - self.since, "cpu": process_time() - self.cpu}


KINDS = {  # of work, by the names of torch's operators
    "matrix products": ("aten::mm", "aten::addmm", "aten::bmm"),
    "attention": ("aten::_scaled_dot_product_flash",),
    "optimizer": ("aten::_fused_adam",),
}
REST = "other tensor operations"


class Kinds:
    """Where a step's time goes: seconds of each kind of work on the processor, and those outside torch's operators."""

    def start(self) -> None:
        """Watch what torch does."""
        self.clock, self.profiler = Clock(), torch.profiler.profile()
        self.clock.start()
        self.profiler.start()

    def stop(self) -> dict[str, float]:
        """By kind."""
        self.profiler.stop()
        whole, found = self.clock.stop()["seconds"], dict.fromkeys([*KINDS, REST], 0.0)
        for one in self.profiler.key_averages():
            kind = next((kind for kind, names in KINDS.items() if one.key.startswith(names)), REST)
            found[kind] += one.self_cpu_time_total / 1e6 if one.key.startswith("aten::") else 0.0
        return {"seconds": whole, **found, "outside of them": whole - sum(found.values())}


class Pilot(L.Callback):
    """turns: in their order. rounds: their rows. looks: `look` of JointModule for each contestant that is ours.

    values: one dict per step (round, contestant, what the meter says, losses). gradients: {contestant: relative
    difference to the naive step's gradients in round 1, the largest over parameters}.
    """

    def __init__(
        self,
        turns: Sequence[Turn],
        rounds: Sequence[Round],
        looks: Mapping[str, str],
        others: Mapping[str, Contestant],
        meter: Meter,
    ) -> None:
        self.turns, self.rounds, self.looks, self.others, self.meter = turns, rounds, looks, others, meter
        self.next = 0
        self.values: list[dict[str, Any]] = []
        self.gradients: dict[str, float] = {}
        self.seen: dict[str, Tensor] = {}
        self.naive: dict[str, dict[str, Tensor]] = {}

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Lightning is ready: whoever comes before our first step."""
        pairs = {id(other.optimizer): (other.optimizer, other.policy) for other in self.others.values()}
        for optimizer, policy in [*pairs.values(), (trainer.optimizers[0], pl_module.policy)]:
            optimizer.register_step_pre_hook(partial(self._see, policy))
        self._others(pl_module)

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: Any, *_: Any) -> None:
        """Our step is over; the others' turn, until it is ours again."""
        self._record(outputs["losses"])
        self._others(pl_module)

    def _others(self, module: Any) -> None:
        while self.next < len(self.turns):
            number, name = self.turns[self.next]
            if name in self.looks:
                module.look = self.looks[name]
                self.meter.start()
                return
            objective = objective_of(name)
            rows = self.rounds[number][STREAM[objective]]
            self.meter.start()
            loss = self.others[name].step(rows)
            self._record({objective: loss})

    def _record(self, losses: Mapping[str, float]) -> None:
        measured = self.meter.stop()
        number, name = self.turns[self.next]
        self.next += 1
        self.values.append({"round": number, "contestant": name, **measured, **losses})
        self._compare(name)

    def _see(self, policy: nn.Module, *_: Any) -> None:
        """Called by the optimizers, just before the update: keeps hold of the gradients of round 1."""
        if self.turns[self.next][0] == 1:
            self.seen = {n: p.grad for n, p in policy.named_parameters() if p.grad is not None}

    def _compare(self, name: str) -> None:
        objective, seen = objective_of(name), self.seen
        self.seen = {}
        if seen and name.endswith("/naive"):
            self.naive[objective] = seen
        elif seen and objective in self.naive:
            pairs = ((seen[n], gradient) for n, gradient in self.naive[objective].items())
            self.gradients[name] = max(float((found - naive).norm() / naive.norm()) for found, naive in pairs)


def objective_of(name: str) -> str:
    """The objective a contestant trains; empty for those that train several.

    >>> objective_of("dpo/naive"), objective_of("Mix")
    ('dpo', '')
    """
    return name.split("/")[0] if "/" in name else ""
