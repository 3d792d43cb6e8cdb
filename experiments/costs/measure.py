"""Measures what the estimate needs: `XRIGHT_DATA=FOLDER python experiments/costs/measure.py OUT` -> OUT/measured.json.

Mean lengths: of the study's rows, by its model's tokenizer; of the local rows that stand in for those of each of the
paper's experiments, in its templates, by GPT-NeoX's.
Speed: one pair of DPO and one row of SFT at these lengths, forward and backward, through the objectives and the packed
layout of the training step, LoRA as in the experiment, fp32, on one core: of the real model that `make smollm2` makes,
from which all is estimated, and of pythia-1b's architecture with random weights, by which the estimate is checked.
What counts is the processor time of the process, which a busy machine blurs less than the time on the wall; both are
kept, with the machine's load. It takes 6 GB of memory and a few minutes.
"""

import json
import os
import platform
import resource
import sys
import tempfile
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import plans
import torch
from estimate import Length, update
from torch import nn

from xright import models
from xright.data.corpus import Corpus, corpus_of
from xright.data.rows import Row
from xright.data.sources import Files
from xright.data.stream import Stream
from xright.forward.collate import collate
from xright.forward.packing import choose_layout
from xright.machine.quiet import quiet
from xright.objectives import DPO, SFT, Objective
from xright.training.fit import versions

REPETITIONS = 3  # after one that warms up
TIMED = (plans.STUDY, "pythia1b_dpo_first")
HH = ("pref/hh_harmless_test.jsonl.gz", "pref/hh_helpful_test.jsonl.gz")
PREFERENCE = {  # by how an experiment's name begins
    "pythia1b": HH,
    "llama3_8b_general": HH,
    "llama3_8b_safety": ("pref/pku_saferlhf_test.jsonl.gz",),
    "opt1_3b": ("pref/ultrafeedback_binarized.jsonl.gz",),
}
ALPACA = ("sft/alpaca_gpt4_demo.jsonl",)
PARTS = {"preference": ("prompt", "chosen", "rejected"), "sft": ("prompt", "response")}

Lengths = dict[str, dict[str, float]]  # {stream: {part: mean tokens}}, and under "rows" how many rows they are of


def lengths(name: str, data: Path) -> Lengths:
    """Of an experiment's rows, or of those that stand in for them."""
    cfg = plans.config(name)
    corpus = corpus_of(cfg) if name == plans.STUDY else stand_in(name, data)
    found = {}
    for stream, parts in PARTS.items():
        rows = corpus.train(stream)
        means = rows.lengths_NS.mean(axis=0).tolist()
        found[stream] = {**dict(zip(parts, means, strict=True)), "rows": len(rows)}
    return found


def stand_in(name: str, data: Path) -> Corpus:
    """The local rows that stand in for those of one of the paper's experiments, in its templates."""
    cfg = plans.config(name)
    pairs = next(files for start, files in PREFERENCE.items() if name.startswith(start))
    same = cfg.data.streams.sft.columns  # opt-1.3b's SFT data are the chosen responses of its pairs
    files = {"sft": pairs if same else ALPACA, "preference": pairs}
    streams = {
        name: Stream(
            name, stream.kind, tuple(str(data / file) for file in files[name]), columns=stream.columns or {},
            template=stream.template,
        )
        for name, stream in cfg.data.streams.items()
    }  # fmt: skip
    tokenizer = models.load_tokenizer(str(data / "tokenizer_gptneox"))
    return Corpus(Files(streams, heldout=0), streams, tokenizer, cfg.data.max_length, cfg.eval_on)


def rows_of(lengths: Lengths, vocabulary: int) -> dict[str, Row]:
    """A pair and a row of random tokens, of mean lengths; the pair with log-probs under a made-up reference."""
    generator = torch.Generator().manual_seed(0)

    def drawn(count: float) -> list[int]:
        return torch.randint(vocabulary, (round(count),), generator=generator).tolist()

    words = {stream: [drawn(lengths[stream][part]) for part in parts] for stream, parts in PARTS.items()}
    prompt, chosen, rejected = words["preference"]
    reference = (-10.0 * len(chosen), -10.0 * len(rejected))
    return {"dpo": Row(0, prompt, (chosen, rejected), reference), "sft": Row(1, words["sft"][0], (words["sft"][1],))}


def time_steps(policy: nn.Module, row: Row, objective: Objective, repetitions: int) -> dict[str, Any]:
    """Wall and CPU seconds of each forward and backward of the row alone, as the training step makes them."""
    layout, found = choose_layout(policy, "packed"), []
    for _ in range(repetitions + 1):
        started, computed = perf_counter(), process_time()
        batch = collate([row], 0, layout)
        loss, _ = objective(policy, batch)
        (loss / objective.size(batch)).backward()
        found.append((perf_counter() - started, process_time() - computed))
        for parameter in policy.parameters():
            parameter.grad = None
    seconds, cpu = zip(*found[1:], strict=True)
    tokens, predicted = batch.input_ids_LT.numel(), sum(batch.lengths)
    return {"tokens": tokens, "predicted": predicted, "seconds": seconds, "cpu_seconds": cpu}


def policy_of(name: str) -> nn.Module:
    """The model of an experiment, to be trained as there: with its weights where the folder is at hand, else random."""
    model = plans.config(name).model
    torch.manual_seed(0)
    loaded = models.load(model.path) if Path(model.path).is_dir() else plans.build(model.path)
    return models.trainable(loaded, model.lora, model.gradient_checkpointing, seed=0)


def timed(name: str, lengths: Lengths) -> dict[str, Any]:
    """A pair and a row of an experiment, {objective: times, tokens and FLOP}."""
    policy, size, steps = policy_of(name), plans.experiment(name, lengths).size, {}
    for objective, row in rows_of(lengths, policy.config.vocab_size).items():
        found = time_steps(policy, row, {"dpo": DPO(), "sft": SFT()}[objective], REPETITIONS)
        steps[objective] = found | {"flop": update(size, Length(found["tokens"], found["predicted"]))}
    return steps


def measure(data: Path) -> dict[str, Any]:
    """Everything that goes into measured.json."""
    found = {name: lengths(name, data) for name in (plans.STUDY, *plans.NAMES)}
    steps = {name: timed(name, found[name]) for name in TIMED}
    load = os.getloadavg()[0]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9  # Linux counts in KiB
    about = {"cpu": cpu(), "threads": torch.get_num_threads(), "load": load, "versions": versions()}
    return {"lengths": found, "steps": steps, "peak_gb": peak, "about": about}


def cpu() -> str:
    """The processor's name."""
    info = Path("/proc/cpuinfo")
    names = [line for line in info.read_text().splitlines() if line.startswith("model name")] if info.exists() else []
    return names[0].split(":")[1].strip() if names else platform.machine()


if __name__ == "__main__":
    if not Path(plans.config(plans.STUDY).model.path).is_dir():
        sys.exit("costs: there is no models/smollm2, whose speed is measured; `make smollm2` fetches it.")
    quiet()
    torch.set_num_threads(1)
    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as cache:
        os.environ["XRIGHT_CACHE"] = cache
        told = measure(plans.data_folder())
    (out / "measured.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    print(out / "measured.json")
