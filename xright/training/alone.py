"""How a stage trains: one objective alone, from the beginning or from where an interrupted builder left it."""

from pathlib import Path
from typing import Any

from torch import nn
from transformers import PreTrainedTokenizerBase

from xright import models
from xright.config.settings import LoopSettings
from xright.data.rows import Rows
from xright.data.sampler import BatchSize
from xright.machine.ranks import is_first
from xright.objectives import SFT
from xright.optim import Optim
from xright.strategies import Only
from xright.tracking.trajectory import Trajectory
from xright.training.checkpoint import Checkpoint
from xright.training.fit import Plan, train

SEED = 0  # stages are shared by all seeds of a study
TEXT, NLL = "text", "nll"  # the stream that all rows together make; the loss of a stage that has only one


def first_responses(title: str, rows: Rows, batch_size: BatchSize, steps: int, *, optim: Optim) -> Plan:
    """SFT on the first response of each row, which is not evaluated: the plan of a base or a reference."""
    schedule = [(Only(NLL), steps)]
    return Plan(title, {NLL: SFT(TEXT)}, {TEXT: rows}, {TEXT: batch_size}, schedule=schedule, optim=optim, seed=SEED)


def train_alone(
    plan: Plan,
    policy: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    loop: LoopSettings,
    folder: Path,
) -> dict[str, Any]:
    """Train on a plan's single objective and save the model in `folder`; its numbers: steps, and the optimum, which is
    the lowest value seen, where there was an evaluation."""
    (name,) = plan.objectives
    trajectory = Trajectory(folder, plan.objectives, {}, plan.steps_per_epoch)
    checkpoint = Checkpoint(folder / "checkpoints", loop.checkpoint_every, identity=folder.stem)
    train(plan, policy, tokenizer, loop, callbacks=[trajectory, checkpoint])
    models.export(policy, tokenizer, folder / "model")
    seen = [float(row[f"f_{name}"]) for row in trajectory.file.read() if row[f"f_{name}"]] if is_first() else []
    return {"steps": plan.steps, "optimum": min(seen, default=None)}
