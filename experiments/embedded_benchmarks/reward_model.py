"""A reward model of the embedded world, trained on the spot: what judges the win rates of fig 5.

The world's base, with one output in the place of its vocabulary (`AutoModelForSequenceClassification`), trained on the
world's training preference pairs by Bradley and Terry's likelihood

    loss = −log σ(r(x, y_chosen) − r(x, y_rejected))

It is shown the tokens the base was trained on: `<user> prompt <bot> answer <eos>`. It has seen whole sentences only, so
besides its accuracy on held-out pairs it is told how often it prefers the chosen response to the same words shuffled:
how far it can be trusted with garbled answers.
"""

import json
from pathlib import Path
from random import Random
from typing import Any

import torch
from omegaconf import OmegaConf
from torch.nn.functional import logsigmoid
from transformers import AutoModelForSequenceClassification, PreTrainedTokenizerBase

from xright import models
from xright.config.settings import Settings
from xright.data.corpus import corpus_of
from xright.data.world import World
from xright.evaluation.winrate import RewardModel
from xright.machine.quiet import quiet
from xright.optim import Optim
from xright.pipeline.stages import Stages

TEXT = "<user> {prompt} <bot> {answer} <eos>"
EPOCHS, BATCH, OPTIM = 6, 16, Optim(lr=3e-4, schedule="cosine", warmup=0.1, final=0.1)


def train_reward_model(run: Path, seed: int, folder: Path) -> None:
    """Into `folder`, unless it is there: model, tokenizer and accuracy.json. run: of the same world, for its base."""
    if (folder / "accuracy.json").is_file():
        return
    torch.set_num_threads(1)
    quiet()
    cfg: Any = OmegaConf.load(run / "config.yaml")
    corpus = corpus_of(cfg)
    base = Stages(Settings.of(cfg), corpus).base
    torch.manual_seed(seed)
    model = AutoModelForSequenceClassification.from_pretrained(base.path, num_labels=1)
    model.config.pad_token_id = corpus.tokenizer.pad_token_id
    _train(model, corpus.tokenizer, World(seed).rows("preference", "train"), Random(seed))
    models.export(model, corpus.tokenizer, folder)
    pairs = [json.loads(line) for line in (folder.parent / "contest.jsonl").read_text(encoding="utf-8").splitlines()]
    found = accuracy(folder, pairs, Random(seed))
    (folder / "accuracy.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


def _train(model: torch.nn.Module, tokenizer: PreTrainedTokenizerBase, rows: list[dict[str, str]], rng: Random) -> None:
    """Bradley-Terry on pairs (prompt, chosen, rejected), in place."""
    optimizer, total = OPTIM.build(model.parameters()), EPOCHS * (len(rows) // BATCH)
    order = [row for _ in range(EPOCHS) for row in rng.sample(rows, len(rows))]
    for step in range(total):
        batch = order[step * BATCH : (step + 1) * BATCH]
        texts = [
            TEXT.format(prompt=row["prompt"], answer=row[side]) for side in ("chosen", "rejected") for row in batch
        ]
        encoded = tokenizer(texts, padding=True, padding_side="right", return_tensors="pt")
        rewards = model(input_ids=encoded["input_ids"], attention_mask=encoded["attention_mask"]).logits[:, 0]
        chosen, rejected = rewards.chunk(2)
        for group in optimizer.param_groups:
            group["lr"] = OPTIM.lr_at(step, total)
        optimizer.zero_grad()
        (-logsigmoid(chosen - rejected).mean()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), OPTIM.clip)
        optimizer.step()


def accuracy(folder: Path, pairs: list[dict[str, str]], rng: Random) -> dict[str, float]:
    """Shares of held-out pairs in which the chosen response gets more than the rejected one; and than its own words
    shuffled."""
    shuffled = [" ".join(rng.sample(words := row["chosen"].split(), len(words))) for row in pairs]
    answers = [[row["chosen"] for row in pairs], [row["rejected"] for row in pairs], shuffled]
    asked = [(row["prompt"], answer) for side in answers for row, answer in zip(pairs, side, strict=True)]
    rewards, _ = RewardModel(str(folder), TEXT).rewards(asked)
    chosen, rejected, garbled = torch.tensor(rewards).chunk(3)
    return {
        "pairs": len(pairs),
        "accuracy": (chosen > rejected).float().mean().item(),
        "accuracy_shuffled": (chosen > garbled).float().mean().item(),
    }
