"""The judge of the win rates: a reward model, trained here on pairs that no policy is trained on (`contests.py`).

SmolLM2 with one output in the place of its vocabulary, by TRL's RewardTrainer (Bradley and Terry's likelihood), through
an adapter that is merged in the end. The paper's judge is UltraRM-13b. It learns and is tested on pairs of short texts,
for time.
"""

import json
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from contests import ANSWER, PROMPT, PROMPTS, TESTED, TEXT, contests, home, rows, seen, sets
from datasets import Dataset
from peft import LoraConfig
from publish import join_rows
from transformers import AutoModelForSequenceClassification, AutoTokenizer
from trl import RewardConfig, RewardTrainer

from xright.data.messages import words
from xright.evaluation.judged_text import Pair, said
from xright.evaluation.task import share
from xright.evaluation.winrate import RewardModel

SIDES = ("chosen", "rejected")
LENGTH = 352  # most tokens of a pair's longer text, as it is shown: prompt, answer, what is around them
FIRST = ("tackle box", "penmanship")  # the paper's examples (D.1) come before other prompts
SETTINGS = {
    "num_train_epochs": 2, "learning_rate": 2e-4, "per_device_train_batch_size": 4, "max_length": None, "seed": 0,
    "lr_scheduler_type": "cosine", "warmup_steps": 10, "activation_checkpointing": False, "use_cpu": True,
    "save_strategy": "epoch", "save_total_limit": 1, "report_to": "none", "logging_steps": 20,
}  # fmt: skip
ADAPTER = {"r": 16, "lora_alpha": 32, "target_modules": ["q_proj", "v_proj"], "task_type": "SEQ_CLS"}
Row = dict[str, str]


def ready(model: Path, hub: bool) -> None:
    """Write the contests' prompts, train and test the judge, unless that is done. model: what it begins as."""
    where = home(hub)
    if (where / "tested.csv").is_file():
        return
    where.mkdir(parents=True, exist_ok=True)
    tokenizer = AutoTokenizer.from_pretrained(model)
    for data, contest in contests(hub).items():
        asked = prompts(rows(contest.path, contest.part, hub), tokenizer, seen(contest, hub))
        lines = [json.dumps({"prompt": row["prompt"], "reference": row["chosen"]}) + "\n" for row in asked]
        (where / f"{data}.jsonl").write_text("".join(lines), encoding="utf-8")
    learnt = {name: short(rows(own.path, own.learnt, hub), tokenizer) for name, own in sets(hub).items()}
    kept = {name: short(rows(own.path, own.tested, hub), tokenizer) for name, own in sets(hub).items()}
    train(model, tokenizer, list(chain.from_iterable(learnt.values())), where)
    found = [{"pairs": name, "learnt": len(learnt[name]), **tested(where / "model", kept[name])} for name in learnt]
    table = pd.DataFrame(found).assign(source="hub" if hub else "folder")
    join_rows(table, TESTED, ["source", "pairs"])
    table.to_csv(where / "tested.csv", index=False)  # last: all the others are there


def short(pairs: Iterable[Row], tokenizer: Any) -> list[Row]:
    """Those pairs whose texts, as the judge is shown them, have at most LENGTH tokens."""
    shown = Pair(TEXT)

    def longest(row: Row) -> int:
        return max(count(tokenizer, shown.write(tokenizer, row["prompt"], row[side])) for side in SIDES)

    return [row for row in pairs if longest(row) <= LENGTH]


def prompts(pairs: Iterable[Row], tokenizer: Any, without: set[str]) -> list[Row]:
    """The first PROMPTS rows whose prompt and chosen answer are short, but for prompts in `without`."""
    fit = [
        row
        for row in pairs
        if count(tokenizer, row["prompt"]) <= PROMPT
        and 0 < count(tokenizer, said(row["chosen"])) <= ANSWER
        and words(row["prompt"]) not in without
    ]
    fit.sort(key=lambda row: not any(some in row["prompt"] for some in FIRST))
    return fit[:PROMPTS]


def count(tokenizer: Any, text: str) -> int:
    """Its tokens."""
    return len(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])


def train(model: Path, tokenizer: Any, pairs: Sequence[Row], where: Path) -> None:
    """Bradley-Terry on the pairs, into where/model; goes on from the last epoch that a stopped process has finished."""
    torch.manual_seed(SETTINGS["seed"])
    judge = AutoModelForSequenceClassification.from_pretrained(model, num_labels=1, dtype=torch.float32)
    judge.config.pad_token_id = tokenizer.pad_token_id
    shown = [{side: turns(row["prompt"], row[side]) for side in SIDES} for row in pairs]
    trainer = RewardTrainer(
        model=judge, args=RewardConfig(output_dir=str(where / "training"), **SETTINGS), processing_class=tokenizer,
        train_dataset=Dataset.from_list(shown), peft_config=LoraConfig(**ADAPTER),
    )  # fmt: skip
    trainer.train(resume_from_checkpoint=any((where / "training").glob("checkpoint-*")))
    trainer.model.merge_and_unload().save_pretrained(where / "model")
    tokenizer.save_pretrained(where / "model")


def turns(prompt: str, answer: str) -> list[Row]:
    """As `RewardModel` shows them (`judged_text.Pair`)."""
    return [{"role": "user", "content": prompt.lstrip()}, {"role": "assistant", "content": said(answer)}]


def tested(judge: Path, pairs: Sequence[Row]) -> dict[str, Any]:
    """How often it prefers the chosen answer of held-out pairs, with Wilson's interval."""
    asked = [(row["prompt"], row[side]) for side in SIDES for row in pairs]
    rewards, _ = RewardModel(str(judge), TEXT).rewards(asked)
    right = sum(a > b for a, b in zip(rewards[: len(pairs)], rewards[len(pairs) :], strict=True))
    found = share(right, len(pairs), higher_is_better=True)
    return {"n": len(pairs), "accuracy": found.value, "low": found.low, "high": found.high}
