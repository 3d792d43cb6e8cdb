"""TRL's own trainers, driven batch by batch on the same rows: their collator, their `training_step`, their optimizer.

At their best for a GPU: bf16, no gradient checkpointing, reference log-probs precomputed; as it comes, and with Liger's
kernels where these are installed. What their loop does between steps is left out, in their favour.
"""

import logging
import os
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any
from unittest.mock import patch

import torch
from ours import BETA, NOISE, STILL, STREAM, WARM, Round
from place import Measured, Meter, Place
from shapes import Shape
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from xright.data.rows import Row

ADAM = STILL.build([torch.nn.Parameter(torch.zeros(1))]).defaults  # the same for TRL's
KERNELS = {"TRL": "trl", "TRL, Liger": "liger_kernel"}  # contestant: what must be there beside trl


def absent(place: Place, name: str) -> str | None:
    """Why a contestant cannot take part here, or None."""
    if missing := next((package for package in ("trl", KERNELS[name]) if not find_spec(package)), None):
        return f"{missing} is not installed"
    return None if place.is_gpu or name == "TRL" else "its kernels need a GPU"


def steps(
    place: Place, shape: Shape, name: str, objective: str, rounds: Sequence[Round]
) -> tuple[list[float], Measured]:
    """Losses before each update, and what a step takes."""
    with tempfile.TemporaryDirectory() as folder:
        trainer = trainer_of(place, shape, objective, rounds, folder, liger=name != "TRL")
    model = trainer.accelerator.prepare_model(trainer.model)  # as their loop does: bf16 is in its forward
    examples = {example["row"]: example for example in trainer.train_dataset}
    meter, losses = Meter(place), []
    for number, rows in enumerate(rounds):
        if number == WARM:
            meter.start()
        batch = trainer.data_collator([examples[row.id] for row in rows[STREAM[objective]]])
        losses.append(trainer.training_step(model, batch))
        trainer._clip_grad_norm(model)
        trainer.optimizer.step()
        model.zero_grad()
    measured = meter.stop(len(rounds) - WARM)
    return [float(found) for found in losses], measured


def trainer_of(place: Place, shape: Shape, objective: str, rounds: Sequence[Round], folder: str, *, liger: bool) -> Any:
    """The trainer, with a policy of its own; the rounds' rows are its data set."""
    import trl
    from datasets import Dataset, disable_progress_bars

    disable_progress_bars()
    logging.getLogger("trl").setLevel(logging.ERROR)
    names = ("prompt", "chosen", "rejected") if objective == "dpo" else ("prompt", "completion")
    rows = [row for one in rounds for row in one[STREAM[objective]]]
    texts = [{"row": row.id, **dict(zip(names, _texts(row), strict=True))} for row in rows]
    settings: dict[str, Any] = {
        "bf16": place.is_gpu, "use_cpu": not place.is_gpu, "gradient_checkpointing": False, "report_to": "none",
        "disable_tqdm": True, "max_length": None, "learning_rate": STILL.lr, "max_grad_norm": STILL.clip,
        "weight_decay": ADAM["weight_decay"], "adam_beta1": ADAM["betas"][0], "adam_beta2": ADAM["betas"][1],
        "save_strategy": "no", "per_device_train_batch_size": len(rounds[0][STREAM[objective]]),
        "use_liger_kernel": liger,
    }  # fmt: skip
    config, kind, more = trl.SFTConfig, trl.SFTTrainer, {}
    if objective == "dpo":
        config, kind = trl.DPOConfig, trl.DPOTrainer
        settings |= {"precompute_ref_log_probs": True, "disable_dropout": True, "beta": BETA}
        more = {"ref_model": shape.policy(place.device)}
    with patch.dict(os.environ, TQDM_DISABLE="1"):
        trainer: Any = kind(
            shape.policy(place.device, NOISE), args=config(folder, **settings), train_dataset=Dataset.from_list(texts),
            processing_class=tokenizer(shape.vocabulary), **more,
        )  # fmt: skip
    trainer.create_optimizer_and_scheduler(num_training_steps=len(rounds))
    trainer.current_gradient_accumulation_steps = 1  # as their loop sets it
    return trainer


def tokenizer(vocabulary: int) -> PreTrainedTokenizerFast:
    """Token i is the word `w<i>`; token 0 is EOS and padding."""
    words = {"</s>": 0} | {f"w{i}": i for i in range(1, vocabulary)}
    made = Tokenizer(models.WordLevel(words, unk_token="w1"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made.add_special_tokens(["</s>"])
    return PreTrainedTokenizerFast(tokenizer_object=made, eos_token="</s>", pad_token="</s>")


def _texts(row: Row) -> list[str]:
    def words(ids: list[int]) -> str:
        return " ".join("</s>" if token == 0 else f"w{token}" for token in ids)

    return [words(row.prompt), *(" " + words(response) for response in row.responses)]
