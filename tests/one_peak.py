"""What one rank's memory grows to in `test_sharded.py`: `python one_peak.py RANK WORLD PORT LIMIT MODEL FILE`.

Writes by how many MiB the peak of the resident set exceeds the start's: `loading` a reference, its log-probs
(`reference`), `training` of all parameters by AdamW for three steps with a checkpoint, `export`. The peak is the
kernel's, set back in between; pages of a file that is mapped count as long as it is. LIMIT: MiB that may be taken
beside what there is at the start; 0: no limit."""

import gc
import json
import os
import re
import resource
import sys
from pathlib import Path

import torch
from omegaconf import OmegaConf

from tests.one_rank import STRATEGIES, rows
from xright import models
from xright.config.settings import LoopSettings
from xright.machine import ranks
from xright.objectives import SFT
from xright.optim import Optim
from xright.pipeline.reference import reference_logps
from xright.strategies import Only
from xright.training.checkpoint import Checkpoint
from xright.training.fit import Plan, make_trainer, train
from xright.training.sharded import placed


class Tokens:
    """All of a tokenizer that a training asks for."""

    pad_token_id = 0

    def save_pretrained(self, folder):
        """There is none to save."""


def peak(field="VmHWM"):
    return int(re.search(rf"{field}:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1024


def main(rank, world, port, limit, model, file):
    torch.set_num_threads(1)
    if world > 1:
        os.environ |= {"LOCAL_RANK": str(rank), "NODE_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        ranks.join(rank, world, "127.0.0.1", port)
    node = {"_target_": "lightning.Trainer", "accelerator": "cpu", "devices": world, "enable_model_summary": False}
    node |= {"plugins": [{"_target_": "xright.training.checkpoint.Straight"}]}
    node |= {"strategy": STRATEGIES["fsdp"]} if world > 1 else {}
    if limit:  # as from the start of the training: what torch is, is not the model's
        resource.setrlimit(resource.RLIMIT_DATA, (int((peak("VmData") + limit) * 2**20),) * 2)
    loop = LoopSettings(OmegaConf.create(node), 10, 4, 2, layout="padded", look="auto", micro_batch=2)
    start, found = peak("VmRSS"), {}
    folder = Path(file).parent / "checkpoints"

    def noted(name):
        found[name] = peak() - start
        gc.collect()
        Path("/proc/self/clear_refs").write_text("5")

    reference = placed(models.load(model), make_trainer(loop.trainer, logger=False, enable_progress_bar=False))
    noted("loading")
    reference_logps(reference, rows(8, 2), 0, "padded")
    del reference
    noted("reference")
    policy = models.trainable(models.load(model), models.FULL, gradient_checkpointing=False, seed=0)
    plan = Plan("peak", {"sft": SFT("sft")}, {"sft": rows(24, 1)}, {"sft": 4}, [(Only("sft"), 3)], Optim(1e-3), seed=0)
    train(plan, policy, Tokens(), loop, callbacks=[Checkpoint(folder, 2)])
    noted("training")
    models.export(policy, Tokens(), Path(file).parent / "model")
    noted("export")
    Path(file).write_text(json.dumps(found))
    ranks.barrier()
    ranks.leave()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:5]), *sys.argv[5:])
