"""Our step as a run makes it: JointModule under Lightning's loop, on rounds of rows in their order."""

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
from place import Measured, Meter, Place
from torch import nn
from torch.utils.data import DataLoader

sys.path.insert(1, str(Path(__file__).resolve().parents[1] / "speed"))
from rows import Lengths, Round, draw

from xright.forward.collate import collate
from xright.forward.packing import choose_layout
from xright.objectives import DPO, SFT, Objective
from xright.optim import Optim
from xright.strategies import Selector
from xright.training.fit import make_trainer
from xright.training.module import JointModule

STREAM = {"dpo": "preference", "sft": "sft"}
BETA = 0.1
HALF = {"dpo": 0.5, "sft": 0.5}  # λ
OBJECTIVES: Mapping[str, Objective] = {"dpo": DPO(BETA), "sft": SFT()}
# So small that no weight moves, though every update is computed: all steps see one function, and losses compare.
STILL = Optim(lr=1e-12)
NOISE = 0.01  # between π_ref and what is trained
WARM = 2  # steps that are not timed: kernels are compiled, moments allocated


def draw_rounds(lengths: Lengths, vocabulary: int, rounds: int) -> list[Round]:
    """Seeded rows of so many steps; π_ref is taken to find all tokens equally likely, as random weights about do."""
    found = [draw(lengths, vocabulary, seed) for seed in range(rounds)]
    for one in found:
        one["preference"] = [
            replace(row, reference=tuple(-math.log(vocabulary) * len(response) for response in row.responses))
            for row in one["preference"]
        ]
    return found


class Rounds(L.LightningDataModule):
    """A step's rows, by stream, step after step."""

    def __init__(self, rounds: Sequence[Round]) -> None:
        super().__init__()
        self.rounds = rounds

    def train_dataloader(self) -> DataLoader:
        """One round a step."""
        return DataLoader(self.rounds, batch_size=None, collate_fn=lambda rows: rows)  # type: ignore[arg-type]

    def transfer_batch_to_device(self, batch: Any, device: Any, dataloader_idx: int) -> Any:
        """Nothing to move, as in `JointData`."""
        return batch


class Watch(L.Callback):
    """outputs: of each step. measured: of those after the warm ones."""

    def __init__(self, place: Place, warm: int) -> None:
        self.meter, self.warm = Meter(place), warm
        self.outputs: list[dict[str, Any]] = []
        self.measured: Measured | None = None

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Start, where no step is warm."""
        self.meter.start()

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: Any, *_: Any) -> None:
        """Keep what the step has told."""
        self.outputs.append(outputs)
        if len(self.outputs) == self.warm:  # and again behind the last warm one
            self.meter.start()

    def on_train_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Stop behind the last one."""
        if len(self.outputs) > self.warm:
            self.measured = self.meter.stop(len(self.outputs) - self.warm)


def packed(policy: nn.Module) -> str:
    """The layout packed; RuntimeError where the device does not have it for this model, and the log says why."""
    if (layout := choose_layout(policy, "packed")) != "packed":
        raise RuntimeError("packed attention was refused on this device; the log above says why")
    return layout


def steps(
    place: Place,
    policy: nn.Module,
    rule: Selector,
    rounds: Sequence[Round],
    *,
    precision: str,
    look: str = "auto",
    optim: Optim = STILL,
    objectives: Mapping[str, Objective] = OBJECTIVES,
    warm: int = WARM,
) -> Watch:
    """One step a round; the Watch has what was seen."""
    policy.to(place.device)
    lay_out = partial(collate, pad_id=0, layout=packed(policy))
    module = JointModule(
        policy, objectives, [(rule, len(rounds))], optim, collate=lay_out, evaluation={}, eval_every=10**9, seed=0,
        look=look,
    )  # fmt: skip
    watch = Watch(place, warm)
    trainer = make_trainer(place.trainer(precision), callbacks=[watch], max_steps=len(rounds))
    trainer.fit(module, Rounds(rounds))  # it leaves the policy on the CPU
    return watch
