"""A training that is killed goes on from its checkpoint and ends where one that was left alone ends."""

import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import lightning as L
import torch
from finding import Line, Said, at_most
from ours import HALF, NOISE, OBJECTIVES, Lengths, draw_rounds
from place import Place
from shapes import SMALL, TINY, Shape
from torch import Tensor, nn
from trl_rival import tokenizer

from xright.config.settings import LoopSettings
from xright.data.rows import Rows
from xright.forward.rounding import relative
from xright.optim import Optim
from xright.strategies import MAXRIGHT
from xright.training.checkpoint import Checkpoint
from xright.training.fit import Plan, train

STEPS, SAVED = 8, 4
# Of the distance that training has gone. Sums that a GPU takes in no fixed order differ in the last bit, and Adam turns
# the sign of a gradient near zero into a whole step.
BOUND = {"cuda": 1e-3, "cpu": 1e-6}


class Killed(Exception):
    """What a power cut does, as far as one process can say it."""


class Kill(L.Callback):
    """after: so many steps."""

    def __init__(self, after: int) -> None:
        self.after = after

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        """Now."""
        if trainer.global_step == self.after:
            raise Killed


def check(place: Place) -> Iterator[Said]:
    """In fp32: MAXRIGHT, whose memory is part of the state, with AdamW. Killed a step behind its checkpoint."""
    shape = TINY if place.quick else SMALL
    start = vector(shape.policy(place.device, NOISE))
    with tempfile.TemporaryDirectory() as folder:
        whole, again = (trained(place, shape, Path(folder) / name) for name in ("whole", "again"))
        with suppress(Killed):
            trained(place, shape, Path(folder) / "killed", Kill(SAVED + 1))
        resumed = trained(place, shape, Path(folder) / "killed")
    gone = whole - start
    noise = relative(again - start, gone)
    yield Line("resume", {"two trainings left alone differ by": noise, "distance gone": float(gone.norm())})
    yield at_most(
        f"killed after step {SAVED + 1} of {STEPS}, resumed from step {SAVED}: final weights, of the distance gone",
        relative(resumed - start, gone), BOUND[place.device], "relative",
    )  # fmt: skip


def trained(place: Place, shape: Shape, folder: Path, *callbacks: L.Callback) -> Tensor:
    """The weights after all steps, from wherever a checkpoint in the folder left them."""
    rounds = draw_rounds(Lengths(40 if place.quick else 400, sft=4, pairs=3), shape.vocabulary, 4)
    streams = {stream: Rows.of(row for rows in rounds for row in rows[stream]) for stream in rounds[0]}
    rule = MAXRIGHT(HALF, {"dpo": 0.0, "sft": 0.0}, k=3)
    plan = Plan(
        "accept", OBJECTIVES, streams, {"sft": 4, "preference": 3}, schedule=[(rule, STEPS)], optim=Optim(lr=1e-3),
        seed=0, folder=folder,
    )  # fmt: skip
    loop = LoopSettings(
        trainer=place.trainer("32-true", bar=True), eval_every=10**9, eval_batch_size=8, checkpoint_every=SAVED,
        layout="packed", look="auto", micro_batch=None,
    )  # fmt: skip
    policy = shape.policy(place.device, NOISE)
    checkpoint = Checkpoint(folder / "checkpoints", SAVED, identity="accept")
    train(plan, policy, tokenizer(shape.vocabulary), loop, callbacks=[checkpoint, *callbacks])
    return vector(policy)


def vector(policy: nn.Module) -> Tensor:
    """All weights as one, on the CPU."""
    return torch.cat([parameter.detach().cpu().flatten() for parameter in policy.parameters()])
