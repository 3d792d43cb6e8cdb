"""A race: in every round each contestant makes one step on the same rows, in an order drawn anew.

`xright` takes part as users run it: JointModule under `make_trainer`, rows through JointData's loaders, selectors that
choose the objectives, the callbacks that watch every step of a run. Lightning's loop drives the race; between two of
its steps, a callback (`pilot.py`) runs the other contestants whose turn it is. A step of ours lasts from the end of one
such pause to the end of `on_train_batch_end`: it includes fetching the rows and everything Lightning does.

Round 0 warms up and is not counted. In round 1 the naive step comes first, and everyone's gradients are compared with
its own.
"""

import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from hydra import compose, initialize_config_dir
from pilot import Clock, Contestant, Meter, Pilot, Turn
from rows import Round
from setting import BETA, OPTIM, Setting
from torch import nn

from xright.callbacks.device import Device
from xright.callbacks.progress import Progress
from xright.callbacks.steps import Steps
from xright.data.datamodule import JointData
from xright.data.rows import Rows
from xright.data.sampler import StepBatches
from xright.forward.collate import collate
from xright.forward.packing import choose_layout
from xright.objectives import DPO, SFT, Objective
from xright.optim import Optim
from xright.run import CONF
from xright.strategies import Selector
from xright.theory.problems import NAMES
from xright.training.fit import make_trainer
from xright.training.module import JointModule

SELDOM = 2  # the last round of those who take part seldom


@dataclass(frozen=True)
class Ours:
    """A selector that takes part; `look` as in JointModule."""

    selector: Selector
    look: str = "auto"


def race(
    setting: Setting,
    rounds: Sequence[Round],
    ours: Mapping[str, Ours],
    others: Mapping[str, Contestant],
    folder: Path,
    meter: Meter | None = None,
    seldom: Collection[str] = (),
) -> Pilot:
    """Run it; the Pilot has the results.

    ours: at least one, for Lightning's loop drives the race. others: the naive ones first. folder: where the callbacks
    of ours write. seldom: who takes part up to round SELDOM only.
    """
    turns = draw_turns(len(rounds), [*others, *ours], seldom)
    racing = Racing(setting.policy(), {"dpo": DPO(BETA), "sft": SFT()}, OPTIM, pad_id=0)
    return go(racing, turns, rounds, ours, others, folder, meter or Clock())


class Racing(NamedTuple):
    """What ours train: the policy, on which objectives, by which optimizer; pad_id: of its tokenizer."""

    policy: nn.Module
    objectives: Mapping[str, Objective]
    optim: Optim
    pad_id: int


def go(
    racing: Racing,
    turns: Sequence[Turn],
    rounds: Sequence[Round],
    ours: Mapping[str, Ours],
    others: Mapping[str, Contestant],
    folder: Path,
    meter: Meter,
) -> Pilot:
    """The race of these turns."""
    own = [(number, name) for number, name in turns if name in ours]
    lay_out = partial(collate, pad_id=racing.pad_id, layout=choose_layout(racing.policy, "packed"))
    module = JointModule(
        racing.policy, racing.objectives, [(Turns(own, ours), len(own))], racing.optim, collate=lay_out,
        evaluation={}, eval_every=10**9, seed=0, folder=folder,
    )  # fmt: skip
    looks = {name: entry.look for name, entry in ours.items()}
    pilot = Pilot(turns, rounds, looks, others, meter)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("config", overrides=["trainer=cpu"]).trainer
    watching = [Steps(), Device(), Progress("race"), pilot]
    make_trainer(cfg, max_steps=len(own), callbacks=watching, logger=False).fit(module, loaders(rounds, own))
    return pilot


def draw_turns(rounds: int, names: Sequence[str], seldom: Collection[str] = ()) -> list[Turn]:
    """Everyone once a round: as named in the first two rounds, then in an order drawn anew."""
    turns = []
    for number in range(rounds):
        present = [name for name in names if number <= SELDOM or name not in seldom]
        if number > 1:
            random.Random(number).shuffle(present)
        turns += [(number, name) for name in present]
    return turns


def loaders(rounds: Sequence[Round], own: Sequence[Turn]) -> JointData:
    """JointData over the rounds' rows; its step t gets the rows of that step's round."""
    streams = {stream: Rows.of(row for rows in rounds for row in rows[stream]) for stream in rounds[0]}
    sizes = {stream: len(rows) for stream, rows in rounds[0].items()}
    data = JointData(streams, sizes, len(own), seed=0)
    data.samplers = {stream: InTurn(stream, streams, sizes, own) for stream in streams}
    return data


class InTurn(StepBatches):
    """The rows of step t are those of its round."""

    def __init__(self, stream: str, streams: Mapping, sizes: Mapping[str, int], own: Sequence[Turn]) -> None:
        super().__init__(stream, len(streams[stream]), sizes[stream], len(own), seed=0)
        self.rounds = [number for number, _ in own]

    def batch(self, step: int) -> list[int]:
        """Indices of the step's rows."""
        first = self.rounds[step] * self.batch_size
        return list(range(first, first + self.batch_size))


class Turns(Selector):
    """Step t is a step of the selector whose turn it is, which is asked and told in its place; to a selector its own
    steps are the rounds."""

    objectives = NAMES

    def __init__(self, own: Sequence[Turn], ours: Mapping[str, Ours]) -> None:
        self.turns = [(number, ours[name].selector) for number, name in own]

    def looks(self, step: int) -> tuple[str, ...]:
        self.number, self.current = self.turns[step]
        self.metric, self.gaps = self.current.metric, self.current.gaps
        return self.current.looks(self.number)

    def weights(self, step: int) -> dict[str, float]:
        return self.current.weights(self.number)

    def observe(self, losses: Mapping[str, float]) -> None:
        self.current.observe(losses)

    def compares(self, step: int) -> tuple[str, ...]:
        return self.current.compares(self.number)

    def combine(self, step: int, gramian_KK: np.ndarray) -> dict[str, float]:
        return self.current.combine(self.number, gramian_KK)

    def reviews(self, step: int) -> tuple[str, ...]:
        return self.current.reviews(self.number)

    def review(self, losses: Mapping[str, float]) -> None:
        self.current.review(losses)
