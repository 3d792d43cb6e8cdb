"""One rank of the trainings in `test_ranks.py`, which writes what it saw:
`python one_rank.py TRAINER RANK WORLD PORT FILE`."""

import json
import os
import random
import sys
from functools import partial
from pathlib import Path

import lightning as L
import torch
from omegaconf import OmegaConf
from torch.distributed.tensor import DTensor
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

from xright.data.datamodule import JointData
from xright.data.prompts import Row
from xright.data.sampler import TokenBudget
from xright.forward.collate import collate
from xright.forward.packing import choose_layout
from xright.machine import ranks
from xright.models import trainable
from xright.models.sharding import is_sharded
from xright.objectives import DPO, ORPO, SFT
from xright.optim import Optim
from xright.strategies import (
    ALRIGHT,
    FAMO,
    MAXRIGHT,
    MGDA,
    PCD,
    RACO,
    Mix,
    MoCo,
    MoDo,
    Only,
    Phase,
    Schedule,
    Sequential,
)
from xright.theory.problems import NAMES, trade_off
from xright.training.fit import evaluation_chunks, make_trainer
from xright.training.module import JointModule
from xright.training.sharded import placed

STRATEGIES = {"ddp": "ddp", "fsdp": {"_target_": "xright.training.sharded.FullyShard"}}
LORA = {"alpha": 8, "dropout": 0.0, "target_modules": None}
SIZES = {"sft": 7, "preference": 5}  # neither is a multiple of two ranks
OPTIMA = {"dpo": 0.0, "sft": 0.0}
CASES = {
    "alright": (ALRIGHT(trade_off(0.5), seed=1), {}),
    "maxright": (MAXRIGHT(trade_off(0.7), OPTIMA, k=1), {}),
    "maxright, k=3": (MAXRIGHT(trade_off(0.7), OPTIMA, k=3), {"look": "no_grad"}),
    "mix": (Mix(trade_off(0.3)), {}),
    "mix, micro-batches": (Mix(trade_off(0.3)), {"micro_batch": 2}),
    "mix, packed": (Mix(trade_off(0.3)), {"layout": "packed"}),
    "sft": (Only("sft"), {"micro_batch": 1}),
    "dpo": (Only("dpo"), {"micro_batch": 3, "layout": "packed"}),
    "orpo": (Only("orpo"), {}),
    "sequential": (Sequential("dpo", (1, 1), NAMES), {}),
    "two rules": (
        Schedule([Phase(ALRIGHT(trade_off(0.5), seed=2)), Phase(MAXRIGHT(trade_off(0.5), OPTIMA, k=3))]),
        {},
    ),
    "mgda": (MGDA(trade_off(0.5)), {}),
    "pcd, micro-batches, packed": (PCD(trade_off(0.5), tau=0.1), {"micro_batch": 2, "layout": "packed"}),
    "raco by adam's metric, drawn": (RACO(trade_off(0.3), k=3, sample=True, metric="adam"), {}),
    "moco": (MoCo(trade_off(0.3)), {}),
    "modo": (MoDo(trade_off(0.3), gamma=0.01), {}),
    "modo, micro-batches": (MoDo(trade_off(0.5), gamma=0.01), {"micro_batch": 1}),
    "famo": (FAMO(trade_off(0.5)), {}),
    "lora, packed, micro-batches": (ALRIGHT(trade_off(0.5), seed=3), {"lora": 2, "layout": "packed", "micro_batch": 2}),
    "lora, mgda": (MGDA(trade_off(0.5)), {"lora": 2}),
    "clipped, l2-sp, checkpointing": (
        Mix(trade_off(0.5)),
        {"optim": Optim(lr=1e-2, clip=0.01, l2_sp=0.1), "checkpointing": True, "layout": "packed"},
    ),
    "by tokens": (Mix(trade_off(0.5)), {"sizes": {"sft": TokenBudget(40), "preference": TokenBudget(80)}}),
}


class Watch(L.Callback):
    def __init__(self):
        self.seen, self.rows = [], []

    def on_train_batch_end(self, trainer, module, outputs, batch, *_):
        keys = ("weights", "losses", "metrics", "tokens", "seen_gaps", "evaluation", "evaluation_metrics")
        self.seen.append({key: outputs[key] for key in keys if key in outputs})
        self.rows.append({stream: [row.id for row in rows] for stream, rows in batch.items()})


def rows(n, responses):
    draw = random.Random(responses)

    def words(most):
        return [draw.randrange(1, 40) for _ in range(draw.randint(1, most))]

    known = (-9.0, -11.0) if responses == 2 else None
    return [Row(i, words(6), tuple([*words(12), 0] for _ in range(responses)), known) for i in range(n)]


def tiny():
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    return GPTNeoXForCausalLM(
        GPTNeoXConfig(vocab_size=40, max_position_embeddings=64, initializer_range=0.3, eos_token_id=0, **sizes)
    )


def train(selector, strategy, world, layout="padded", sizes=SIZES, lora=0, optim=None, checkpointing=False, **settings):
    policy, watch = trainable(tiny(), {**LORA, "r": lora}, checkpointing, seed=0), Watch()
    schedule = Schedule.of(selector).steps(steps_per_epoch=4, epochs=1)
    steps = sum(length for _, length in schedule)
    node = {"_target_": "lightning.Trainer", "accelerator": "cpu", "devices": world, "enable_model_summary": False}
    node |= {"enable_progress_bar": False, "logger": False} | ({"strategy": STRATEGIES[strategy]} if world > 1 else {})
    trainer = make_trainer(OmegaConf.create(node), callbacks=[watch], max_steps=steps)
    placed(policy, trainer)
    streams = {"sft": rows(17, 1), "preference": rows(11, 2)}
    module = JointModule(
        policy, {"sft": SFT(), "dpo": DPO(), "orpo": ORPO()}, schedule, optim or Optim(lr=1e-2),
        collate=partial(collate, pad_id=0, layout=choose_layout(policy, layout)),
        evaluation={
            "sft": evaluation_chunks(rows(5, 1), 2, layout, trainer),
            "dpo": evaluation_chunks(rows(3, 2), 8, layout, trainer),
        },
        eval_every=2, seed=0, spare={name: own[:1] for name, own in streams.items()} if is_sharded(policy) else {},
        **settings,
    )  # fmt: skip
    trainer.fit(module, JointData(streams, sizes, steps, 0))
    return {
        "seen": watch.seen, "rows": watch.rows,
        "weights": torch.cat([whole(p).flatten() for p in policy.parameters() if p.requires_grad])[::37].tolist(),
        "kept": sum((p.to_local() if isinstance(p, DTensor) else p).numel() for p in policy.parameters()),
    }  # fmt: skip


def whole(parameter):
    """A parameter in one piece, on every rank."""
    found = parameter.detach()
    return found.full_tensor() if isinstance(found, DTensor) else found


def main(strategy, rank, world, port, file):
    torch.set_num_threads(1)
    if world > 1:
        os.environ |= {"LOCAL_RANK": str(rank), "NODE_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        ranks.join(rank, world, "127.0.0.1", port)
        assert ranks.gather(rank) == list(range(world))
        assert ranks.broadcast(rank) == 0
    found = {name: train(selector, strategy, world, **settings) for name, (selector, settings) in CASES.items()}
    Path(file).write_text(json.dumps(found))
    ranks.barrier()
    ranks.leave()
    assert (ranks.rank(), ranks.world_size()) == (0, 1)


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:5]), sys.argv[5])
