"""TRL's own trainers, driven batch by batch: their collator, their `training_step`, their optimizer.

Gradient checkpointing and bf16 are off, the reference log-probs precomputed, and what their loop does between steps
(loader, scheduler, callbacks) is left out, in their favour. With `compact` their head scores completion positions only:
they do that on devices with Triton, and `trl.trainer.utils._use_triton` is made to say so here.
"""

import os
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any
from unittest.mock import patch

import torch
from datasets import Dataset, disable_progress_bars
from pilot import STREAM
from rows import Round
from setting import BETA, CLIP, OPTIM, Setting
from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

from xright.data.rows import Row

ADAM = OPTIM.build([torch.nn.Parameter(torch.zeros(1))]).defaults  # the same for TRL's

PLAIN: dict[str, Any] = {
    "bf16": False, "gradient_checkpointing": False, "use_cpu": True, "report_to": "none", "disable_tqdm": True,
    "max_length": None, "learning_rate": OPTIM.lr, "max_grad_norm": CLIP, "weight_decay": ADAM["weight_decay"],
    "adam_beta1": ADAM["betas"][0], "adam_beta2": ADAM["betas"][1], "save_strategy": "no",
}  # fmt: skip


class Trl:
    """One trainer for one objective, with or without compaction: both contestants may share it."""

    def __init__(self, trainer: Any, compact: bool) -> None:
        self.trainer, self.compact, self.policy = trainer, compact, trainer.model
        self.optimizer = trainer.optimizer
        self.examples = {example["row"]: example for example in trainer.train_dataset}

    def step(self, rows: Sequence[Row]) -> float:
        """`training_step` on these rows, clip, update."""
        trainer = self.trainer
        with as_on_triton() if self.compact else nullcontext():
            batch = trainer.data_collator([self.examples[row.id] for row in rows])
            loss = trainer.training_step(self.policy, batch)
        trainer._clip_grad_norm(self.policy)
        trainer.optimizer.step()
        self.policy.zero_grad()
        return loss.item()


def as_on_triton() -> AbstractContextManager:
    """In this context their head scores completion positions only."""
    return patch("trl.trainer.utils._use_triton", lambda device: True)


def trl_trainer(objective: str, setting: Setting, rounds: Sequence[Round], folder: str) -> Any:
    """TRL's trainer with the setting's policy; the rounds' rows are its data set."""
    disable_progress_bars()
    rows = [row for one in rounds for row in one[STREAM[objective]]]
    # `row` travels along, to find a row's example again.
    examples = Dataset.from_list([{"row": row.id, **_tokens(row)} for row in rows])
    config: Any = SFTConfig
    trainer_class: Any = SFTTrainer
    more = {}
    settings = PLAIN | {"per_device_train_batch_size": len(rounds[0][STREAM[objective]])}
    if objective == "dpo":
        config, trainer_class = DPOConfig, DPOTrainer
        settings |= {"precompute_ref_log_probs": True, "disable_dropout": True, "beta": BETA}
        more = {"ref_model": setting.base()}  # for the precomputation alone
    prepared = patch.object(trainer_class, "_prepare_dataset", lambda *_, **__: examples)  # all train on the same ids
    with patch.dict(os.environ, TQDM_DISABLE="1"), prepared:
        trainer = trainer_class(
            setting.policy(), args=config(folder, **settings), train_dataset=examples,
            processing_class=setting.tokenizer, **more,
        )  # fmt: skip
    trainer.create_optimizer_and_scheduler(num_training_steps=len(rounds))
    trainer.current_gradient_accumulation_steps = 1  # as their loop sets it
    return trainer


def _tokens(row: Row) -> dict[str, list[int]]:
    """As TRL's own preparation would have them."""
    if len(row.responses) == 2:
        return {"prompt_ids": row.prompt, "chosen_ids": row.responses[0], "rejected_ids": row.responses[1]}
    return {"input_ids": row.prompt + row.responses[0], "labels": [-100] * len(row.prompt) + row.responses[0]}
