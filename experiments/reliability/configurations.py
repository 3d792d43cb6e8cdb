"""What is killed: the embedded world at its smallest, with every strategy; and where each place to die in is met."""

import json
from pathlib import Path

from places import Aim

from xright.data.world import World

# Evaluations, checkpoints and epochs (of 4 steps) end at different steps.
SMALL = (
    "debug=fast", "trainer=cpu", "logger=csv", "epochs=3", "eval_every=6", "checkpoint_every=5",
    "model.init.hidden_size=32", "model.init.num_hidden_layers=2", "model.init.intermediate_size=64",
)  # fmt: skip
ROWS = Path("..") / "rows"  # beside the folder that a command runs in
FILES = (
    "~debug", "data=files", "data.max_length=64", "data.source.heldout=0.2", "model.pretrain.steps=8",
    *(f"data.streams.{stream}.path={ROWS}/{stream}.jsonl" for stream in ("sft", "preference")),
    *(f"data.streams.{stream}.template='<user> {{instruction}} <bot> '" for stream in ("sft", "preference")),
    f"model.tokenizer={ROWS}/tokenizer", "callbacks.steps.every=3", "callbacks.samples.every=2",
)  # fmt: skip
LORA = ("model.lora.r=4", "model.lora.dropout=0.1", "model.lora.target_modules=[query_key_value,dense]")
OTHERS = (
    *("stch", "group_dro", "constrained", "exp3", "dwa", "famo", "upgrad", "pcgrad", "nash_mtl", "cagrad", "moco"),
)
VARIED = (
    *("blocks", "scheduled mix", "pcd, micro-batches", "mgda, draws in between", "raco, by adam's metric"),
    "modo, micro-batches",
)
CONFIGURATIONS = {
    "sequential, SFT first, streams of different lengths": (
        "strategy=sequential", "strategy.first=sft", "strategy.epochs=[1,2]", "data.source.preference_rows=45",
    ),
    "maxright, LoRA with dropout, micro-batches": ("strategy=maxright", "strategy.k=3", "model.micro_batch=3", *LORA),
    "mix, micro-batches": ("strategy=mix", "model.micro_batch=3"),
    "orpo": ("strategy=orpo",),
    "dpo": ("strategy=dpo",),
    "alright, stopping rule": ("strategy=alright", "callbacks=stopping", "callbacks.stop.epsilon=0.1"),
    "sft, W&B offline": ("strategy=sft", "logger=wandb"),
    "model_average": ("strategy=model_average",),
    "alright": ("strategy=alright",),
    "maxright, a look every 3 steps": ("strategy=maxright", "strategy.k=3"),
    "sequential, DPO first": ("strategy=sequential", "strategy.epochs=[2,2]"),
    "mix, streams of different lengths": ("strategy=mix", "data.source.preference_rows=45",
    "data.streams.sft.batch_size=20"),
    "alright, token budgets": ("strategy=alright", "data.streams.sft.batch_tokens=200",
    "data.streams.preference.batch_tokens=150"),
    "orpo, micro-batches": ("strategy=orpo", "model.micro_batch=3"),
    "maxright, W&B offline": ("strategy=maxright", "logger=wandb"),
    "alright, two processes": ("strategy=alright", "trainer=ddp", "trainer.accelerator=cpu"),
    "mix, rows of files": ("strategy=mix", *FILES),
    "blocks": ("strategy=blocks", "strategy.steps={dpo: 2, sft: 3}"),
    "scheduled mix": ("strategy=scheduled_mix", "strategy.end={dpo: 0.9, sft: 0.1}"),
    "pcd, micro-batches": ("strategy=pcd", "model.micro_batch=3"),
    "mgda, draws in between": ("strategy=mgda", "strategy.k=3", "strategy.sample=true"),
    "raco, by adam's metric": ("strategy=raco", "strategy.metric=adam"),
    "modo, micro-batches": ("strategy=modo", "model.micro_batch=3"),
    "ties": ("strategy=merge", "start=ties"),
    **{name: (f"strategy={name}",) for name in OTHERS},
}  # fmt: skip

# Where to die, in the order in which a run passes through. Where a stage is among the places, the cache is empty.
HASH = "?" * 16
AIMED: dict[str, tuple[Aim, ...]] = {
    "sequential, SFT first, streams of different lengths": (
        Aim("before", "stage base > building > step 5"),
        Aim("half", "stage base > building > export"),
        Aim("before", f"stage base > rename {HASH}"),
        Aim("after", f"stage reference > rename {HASH}"),
        Aim("after", "stage reference_logps > building"),
        Aim("before", "training > step 9"),
    ),
    "maxright, LoRA with dropout, micro-batches": (
        Aim("before", "stage optimum_dpo > building > step 5 > evaluation > DPO"),
        Aim("half", "stage optimum_dpo > building > write trajectory.csv"),
        Aim("half", "stage optimum_sft > building > *checkpoint > torch.save", 2),
        Aim("before", "training > step * > evaluation > SFT", 2),
        Aim("half", "training > write trajectory.csv"),
        Aim("half", "training > *checkpoint > torch.save", 2),
    ),
    "mix, micro-batches": (
        Aim("before", "rename config.yaml"),
        Aim("half", "training > write steps.csv"),
        Aim("half", "training > write samples.jsonl"),
    ),
    "orpo": (Aim("half", "training > *checkpoint > torch.save", 2),),
    "dpo": (
        Aim("after", "training > *rename previous.ckpt"),
        Aim("before", "training > *rename last.ckpt"),
        Aim("after", "training > *rename last.ckpt"),
    ),
    "alright, stopping rule": (
        Aim("half", "export"),
        Aim("before", "behaviour"),
        Aim("before", "finish > rename result.json"),
        Aim("after", "finish > rename result.json"),
    ),
    "sft, W&B offline": (Aim("after", "training > step 8"),),
    "model_average": (Aim("before", "training > evaluation > SFT"), Aim("half", "export")),
    "alright, two processes": (Aim("before", "training > step 8"),),
    "mix, rows of files": (Aim("after", "stage tokens > building"), Aim("before", f"stage tokens > rename {HASH}", 3)),
    **{name: (Aim("half", "training > *checkpoint > torch.save", 2),) for name in (*VARIED, *OTHERS)},
    "ties": (Aim("half", "export"),),
}


def write_rows(folder: Path) -> None:
    """What FILES reads: rows of a small world, and its tokenizer."""
    world = World(sft_rows=120, preference_rows=40)
    world.tokenizer().save_pretrained(folder / "tokenizer")
    for stream in ("sft", "preference"):
        lines = (json.dumps(row) + "\n" for row in world.rows(stream, "train"))
        (folder / f"{stream}.jsonl").write_text("".join(lines))
