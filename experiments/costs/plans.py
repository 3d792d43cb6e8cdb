"""The paper's experiments, and the study of a real model, as conf/experiment has them: their models, data sizes, and
the runs that their heads name."""

import os
import re
import shlex
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml
from estimate import Experiment, Length, Size, Stream
from hydra import compose, initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

from xright import models
from xright.forward.logprobs import language_model
from xright.run import CONF

MODELS = ("pythia1b", "llama3_8b", "opt1_3b")  # the paper's: its experiments' names begin with them
NAMES = tuple(sorted(file.stem for model in MODELS for file in (CONF / "experiment").glob(f"{model}_*.yaml")))
STUDY = "smollm2_safety"  # what was really run: its model's speed is what the others are taken to have
ON = {"pythia-1b": "pythia1b_dpo_first", "Llama3-8B": "llama3_8b_safety"}  # whose models the study is also put on
COMMAND = re.compile(r"#\s+(?:(?:XRIGHT_DATA=\S+ )?python -m xright\.run|…) (.*)")
USUAL = {"lam": 0.5, "strategy.k": 10, "strategy.first": "dpo"}  # in conf/, where a command does not say
# As published with the weights.
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "EleutherAI/pythia-1b": {
        "model_type": "gpt_neox", "hidden_size": 2048, "num_hidden_layers": 16, "num_attention_heads": 8,
        "intermediate_size": 8192, "vocab_size": 50304, "max_position_embeddings": 2048, "tie_word_embeddings": False,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000, "partial_rotary_factor": 0.25},
    },
    "meta-llama/Meta-Llama-3-8B": {
        "model_type": "llama", "hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32,
        "num_key_value_heads": 8, "intermediate_size": 14336, "vocab_size": 128256, "tie_word_embeddings": False,
    },
    "facebook/opt-1.3b": {
        "model_type": "opt", "hidden_size": 2048, "num_hidden_layers": 24, "num_attention_heads": 32, "ffn_dim": 8192,
        "word_embed_proj_dim": 2048, "vocab_size": 50272, "max_position_embeddings": 2048,
    },
    "models/smollm2": {
        "model_type": "llama", "hidden_size": 576, "num_hidden_layers": 30, "num_attention_heads": 9,
        "num_key_value_heads": 3, "intermediate_size": 1536, "vocab_size": 49152, "tie_word_embeddings": True,
    },
}  # fmt: skip


class Run(NamedTuple):
    """A cell of a sweep, as `estimate.run` takes it."""

    strategy: str
    lam: float
    k: int
    first: str
    epochs: tuple[int, ...]


@lru_cache
def config(name: str) -> DictConfig:
    """The experiment's configuration, without its data being there."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", overrides=[f"experiment={name}"])


def runs(name: str) -> Iterator[Run]:
    """Every job that the commands in the experiment's head start."""
    cfg = config(name)
    default = re.search(r"override /strategy: (\w+)", (CONF / "experiment" / f"{name}.yaml").read_text())
    for command in commands(name):
        parsed = OverridesParser.create().parse_overrides(command)
        for cell in BasicSweeper.split_arguments(parsed, max_batch_size=None)[0]:
            given = {key: yaml.safe_load(value) for key, value in (text.split("=", 1) for text in cell)}
            epochs = given.get("strategy.epochs") or [given.get("epochs", cfg.epochs)]
            strategy = given.get("strategy") or (default and default[1])
            assert strategy, f"{name}: {cell} names no strategy"
            lam, k, first = (given.get(key, usual) for key, usual in USUAL.items())
            yield Run(strategy, lam, k, first, tuple(epochs))


def commands(name: str) -> list[list[str]]:
    """Overrides of each command in the head, without the experiment's own."""
    lines = (CONF / "experiment" / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    found = [match[1] for line in lines if (match := COMMAND.match(line))]
    words = [shlex.split(re.split(r" {3,}\(", text)[0]) for text in found]  # without a remark in brackets
    return [[word for word in line if word != "-m" and not word.startswith("experiment=")] for line in words]


def experiment(name: str, lengths: Mapping[str, Mapping[str, float]], model: str | None = None) -> Experiment:
    """lengths: mean tokens of `preference` rows (prompt, chosen, rejected) and of `sft` rows (prompt, response). model:
    of the experiment that has another one, to be taken in the place of its own."""
    cfg = config(name)
    pair, row = lengths["preference"], lengths["sft"]
    answers = pair["chosen"] + pair["rejected"]
    both = {
        "dpo": ("preference", Length(pair["prompt"] + answers, answers)),
        "sft": ("sft", Length(row["prompt"] + row["response"], row["response"])),
    }
    streams = {
        objective: Stream(
            cfg.data.streams[stream].train_rows or cfg.data.streams[stream].limit,
            cfg.data.streams[stream].batch_size,
            length,
        )
        for objective, (stream, length) in both.items()
    }
    chosen = Length(pair["prompt"] + pair["chosen"], pair["chosen"])
    return Experiment(
        size(config(model or name).model), streams, chosen, cfg.epochs, cfg.eval_every, cfg.reference,
        cfg.reference_training.epochs, cfg.probe_share,
    )  # fmt: skip


def size(model: DictConfig) -> Size:
    """Counted on the architecture, without any weights in memory."""
    with torch.device("meta"):
        policy = models.trainable(build(model.path), model.lora, gradient_checkpointing=False, seed=0)
    head = language_model(policy).get_output_embeddings()
    body = [module.weight for module in policy.modules() if isinstance(module, nn.Linear) and module is not head]
    trained = sum(weight.numel() for weight in body if weight.requires_grad)
    return Size(
        sum(weight.numel() for weight in body), trained, head.weight.numel(), head.weight.requires_grad,
        model.gradient_checkpointing,
    )  # fmt: skip


def build(path: str) -> nn.Module:
    """The architecture with random weights, fp32, dropout off."""
    settings = dict(ARCHITECTURES[path])
    settings |= {"dropout": 0.0} if settings["model_type"] == "opt" else {}
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(settings.pop("model_type"), **settings))


def shared(name: str, model: str | None = None) -> dict[str, tuple]:
    """Of each stage what tells whether two experiments share it: they are cached, so it is computed once. model: as in
    `experiment`."""
    cfg = config(name)
    data = (config(model or name).model.path, str(cfg.data.streams.preference), str(cfg.data.streams.sft))
    reference = (*data, cfg.reference, cfg.reference_training.epochs)
    return {
        "reference": reference,
        "reference_logps": reference,
        "optimum_dpo": (*reference, cfg.epochs),
        "optimum_sft": (*data, cfg.epochs),
    }


def data_folder() -> Path:
    """$XRIGHT_DATA."""
    if "XRIGHT_DATA" not in os.environ:
        raise SystemExit("XRIGHT_DATA must name the folder with sft/, pref/ and tokenizer_gptneox/.")
    return Path(os.environ["XRIGHT_DATA"]).resolve()
