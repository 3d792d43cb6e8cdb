"""One training, whoever asks for it: a stage that trains a base, a reference or an optimum, or the joint run."""

import logging
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.plugins.environments import (
    ClusterEnvironment,
    LightningEnvironment,
    SLURMEnvironment,
    TorchElasticEnvironment,
)
from lightning.pytorch.callbacks import Checkpoint as Last
from torch import nn
from transformers import PreTrainedTokenizerBase

from xright import __version__
from xright.callbacks.progress import Progress
from xright.config.build import build
from xright.config.settings import LoopSettings
from xright.data.datamodule import JointData, steps_per_epoch
from xright.data.prompts import Row
from xright.data.sampler import BatchSize
from xright.errors import UserError
from xright.forward.collate import collate
from xright.forward.order import chunks
from xright.forward.packing import choose_layout
from xright.machine import preemption
from xright.models.sharding import is_sharded
from xright.objectives import Objective
from xright.optim import Optim
from xright.strategies import Selector
from xright.training.checkpoint import Checkpoint
from xright.training.means import NonFinite
from xright.training.module import JointModule
from xright.training.sharded import placed

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """What to train, on what, and what to evaluate.

    title: for the progress bar. objectives: {name: Objective}; streams: {name: training rows}; batch_size: {name: rows
    or tokens per step}; schedule: each phase's rule and length in steps; evaluation: {objective: rows}; seed: of row
    order and dropout. showcase: prompts to watch completions of (`Corpus.showcase`). folder: the run's.
    """

    title: str
    objectives: Mapping[str, Objective]
    streams: Mapping[str, Sequence[Row]]
    batch_size: Mapping[str, BatchSize]
    schedule: Sequence[tuple[Selector, int]]
    optim: Optim
    seed: int
    evaluation: Mapping[str, Sequence[Row]] = field(default_factory=dict)
    showcase: Sequence[Mapping[str, Any]] = ()
    folder: Path | None = None

    @property
    def steps(self) -> int:
        """Return the optimizer steps of all phases."""
        return sum(steps for _, steps in self.schedule)

    @property
    def steps_per_epoch(self) -> int:
        """Return the batches of the longest loader."""
        return steps_per_epoch(self.streams, self.batch_size)


def train(
    plan: Plan,
    policy: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    loop: LoopSettings,
    *,
    callbacks: Sequence[L.Callback] = (),
    loggers: Sequence[Any] = (),
) -> None:
    """Train `policy` in place, from the beginning or from where a Checkpoint among the callbacks left it.

    callbacks watch. Raises UserError if a loss stops being finite, and Preempted (after saving) if a signal asks this
    job to go.
    """
    watching = [*callbacks, Progress(plan.title)]
    trainer = make_trainer(loop.trainer, max_steps=plan.steps, callbacks=watching, logger=list(loggers))
    placed(policy, trainer)  # where it will work, so that the layout is tried there
    layout, size = choose_layout(policy, loop.layout), loop.eval_batch_size
    lay_out = partial(collate, pad_id=pad_id(tokenizer), layout=layout)
    evaluation = {name: evaluation_chunks(rows, size, layout, trainer) for name, rows in plan.evaluation.items()}
    module = JointModule(
        policy, plan.objectives, plan.schedule, plan.optim, collate=lay_out, evaluation=evaluation, seed=plan.seed,
        eval_every=loop.eval_every, micro_batch=loop.micro_batch, look=loop.look, folder=plan.folder,
        tokenizer=tokenizer, showcase=plan.showcase, stop_requested=preemption.requested,
        spare={name: rows[:1] for name, rows in plan.streams.items()} if is_sharded(policy) else {},
    )  # fmt: skip
    checkpoint = next((c.latest() for c in callbacks if isinstance(c, Checkpoint)), None)
    if checkpoint:
        log.info("%s: going on from %s", plan.title, checkpoint)
    data = JointData(plan.streams, plan.batch_size, plan.steps, plan.seed)
    try:
        with preemption.deferred():
            trainer.fit(module, data, ckpt_path=checkpoint, weights_only=True)
    except NonFinite as error:
        prompts = [tokenizer.decode(row.prompt)[-60:] for row in error.rows[:3]]
        raise UserError(
            f"the {error.objective} {error.what} became NaN or infinite at step {error.step} (its rows end their "
            f"prompts with {prompts}…); lower optim.lr, or look at these rows. The last checkpoint before it is kept."
        ) from error
    if module.interrupted:
        raise preemption.Preempted("another rank")
    if not is_sharded(policy):
        policy.to("cpu")


def evaluation_chunks(rows: Sequence[Row], batch_size: int, layout: str, trainer: L.Trainer) -> list[Sequence[Row]]:
    """This rank's share of the evaluation rows, in batches; as many on every rank, so that the last may be empty."""
    ranks = trainer.world_size
    found: list[Sequence[Row]] = [*chunks(rows, min(batch_size, -(-len(rows) // ranks)), layout)]
    found += [[] for _ in range(-len(found) % ranks)]
    return found[trainer.global_rank :: ranks]


def make_trainer(trainer_cfg: Any, callbacks: Sequence[L.Callback] = (), **kwargs: Any) -> L.Trainer:
    """Lightning's Trainer for manual optimization over one endless epoch; no sanity check, no validation loop.

    It saves only where a Checkpoint among the callbacks does.
    """
    if trainer_cfg.get("accelerator") in ("gpu", "cuda") and not torch.cuda.is_available():
        raise UserError(
            f"trainer.accelerator={trainer_cfg['accelerator']} needs a GPU and torch sees none here; use trainer=cpu, "
            "or trainer=ddp trainer.accelerator=cpu for several processes."
        )
    plugins = [*(build(node) for node in trainer_cfg.get("plugins") or []), environment()]
    saves = any(isinstance(callback, Last) for callback in callbacks)
    return build(
        trainer_cfg, max_epochs=1, num_sanity_val_steps=0, enable_checkpointing=saves,
        use_distributed_sampler=False, callbacks=list(callbacks), plugins=plugins, **kwargs,
    )  # fmt: skip


def environment() -> ClusterEnvironment:
    """Return who started the ranks: torchrun, srun (a batch script by itself is one process), or this program."""
    if TorchElasticEnvironment.detect():
        return TorchElasticEnvironment()
    if int(os.environ.get("SLURM_STEP_NUM_TASKS", 1)) > 1:
        return SLURMEnvironment(auto_requeue=False)  # `preemption.py` does that
    return LightningEnvironment()


def pad_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """The id that fills up sequences: any will do, padding is known by position."""
    return int(tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id)


def versions() -> dict[str, str]:
    """The versions of xright, Python and the libraries that decide what a run computes."""
    names = ("torch", "lightning", "transformers", "peft", "datasets", "hydra-core", "wandb")
    return {
        "xright": __version__,
        "python": platform.python_version(),
        **{name: version(name) for name in names},
    }
