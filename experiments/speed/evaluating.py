"""Evaluation raced: f_DPO and f_SFT of held-out rows as a run computes them, against TRL's, batch after batch.

As many rows go forward at once on both sides. TRL takes its batches as the rows come; it has π_ref's log-probs already,
as we have.
"""

import random
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
from pilot import STREAM, Clock
from rows import Round
from setting import BETA, Setting
from trl_steps import as_on_triton, trl_trainer

from xright.data.rows import Row
from xright.forward.collate import collate
from xright.forward.order import chunks
from xright.forward.packing import choose_layout
from xright.objectives import DPO, SFT
from xright.training.means import exact_means

TOGETHER = 8  # rows of a forward; TRL's default
OBJECTIVES = {"dpo": DPO(BETA), "sft": SFT()}
Evaluate = Callable[[str, Sequence[Row]], float]  # objective, rows -> f


def evaluation(setting: Setting, rows: Round, rounds: int) -> list[dict[str, Any]]:
    """A row per round, objective and contestant: seconds, cpu, and the loss. Round 0 warms up, on a batch of each."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        entered = {"ours": ours(setting), **trls(setting, rows, folder)}
        for number in range(rounds + 1):
            turns = [(objective, name) for objective in OBJECTIVES for name in entered]
            random.Random(number).shuffle(turns)
            for objective, name in turns:
                own = rows[STREAM[objective]]
                clock = Clock()
                clock.start()
                loss = entered[name](objective, own if number else own[:TOGETHER])
                found.append({"round": number, "contestant": f"{objective}/{name}", **clock.stop(), objective: loss})
    return found


def ours(setting: Setting) -> Evaluate:
    """As `JointModule.evaluate` does it."""
    policy = setting.policy()
    layout = choose_layout(policy, "packed")
    lay_out = partial(collate, pad_id=0, layout=layout)

    @torch.no_grad()
    def evaluate(name: str, rows: Sequence[Row]) -> float:
        own = chunks(rows, TOGETHER, layout)
        alone = partial(exact_means, sum_over_ranks=lambda *values: values)
        return alone(name, OBJECTIVES[name], policy, own, lay_out=lay_out, step=0)[0]

    return evaluate


def trls(setting: Setting, rows: Round, folder: str) -> Mapping[str, Evaluate]:
    """TRL's trainers with the head on all tokens, and on the completions alone."""
    trainers, examples = {}, {}
    for name in OBJECTIVES:
        batches = [{STREAM[name]: batch} for batch in cut(rows[STREAM[name]])]
        trainers[name] = trl_trainer(name, setting, batches, folder)
        examples[name] = {example["row"]: example for example in trainers[name].train_dataset}

    def evaluate(name: str, rows: Sequence[Row], how: Callable[[], AbstractContextManager]) -> float:
        trainer, total, units = trainers[name], 0.0, 0
        trainer.model.eval()
        with how():
            for batch in cut(rows):
                inputs = trainer.data_collator([examples[name][row.id] for row in batch])
                loss, *_ = trainer.prediction_step(trainer.model, inputs, prediction_loss_only=True)
                size = len(batch) if name == "dpo" else sum(len(row.responses[0]) for row in batch)
                total, units = total + float(loss) * size, units + size
        return total / units

    return {"TRL stock": partial(evaluate, how=nullcontext), "TRL compact": partial(evaluate, how=as_on_triton)}


def cut(rows: Sequence[Row]) -> list[list[Row]]:
    """As they come, TOGETHER at a time."""
    return [list(rows[begin : begin + TOGETHER]) for begin in range(0, len(rows), TOGETHER)]
