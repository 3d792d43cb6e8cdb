"""Whom a task looks at: a finished run, a folder in the Hugging Face / PEFT layout, or a model of the hub.

A run is asked in the template of its first stream of completions, and its results go into its own folder. Any other
model is asked in the template that `template=` names (null: its chat template where its tokenizer has one, else plain),
and its results go to <out>/<name>. Adapters stay on their base, unmerged.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import nn
from transformers import PreTrainedTokenizerBase

from xright import models
from xright.config.moved import renamed
from xright.data.kinds import asked
from xright.data.templates import Template
from xright.errors import UserError

HUB_NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")


@dataclass
class Subject:
    """name: for tables. path: folder or hub name of the model. folder: where results go. template: how prompts are
    written out for it. batch_size: rows per forward; no effect on values but rounding. seed: of whatever is sampled.
    max_length: most tokens the model gets at once in a benchmark; None: as many as it takes. config: a run's
    configuration, empty for other models.
    """

    name: str
    path: str
    folder: Path
    template: Template
    batch_size: int
    seed: int
    max_length: int | None = None
    dtype: str = "float32"
    trust_remote_code: bool = False
    config: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """Return the model's own tokenizer; UserError where it has none."""
        return models.load_tokenizer(self.path, self.trust_remote_code)

    @cached_property
    def policy(self) -> Any:
        """The model, loaded when first asked for, in eval mode, on the GPU where there is one."""
        policy: nn.Module = models.load(self.path, self.dtype, trust_remote_code=self.trust_remote_code)
        return policy.eval().to("cuda" if torch.cuda.is_available() else "cpu")

    @cached_property
    def fingerprint(self) -> str:
        """Tells these weights from others, also from later ones in the same folder; UserError where there are none."""
        return models.fingerprint(self.path)[:64]

    def release(self) -> None:
        """Let the model go; it is loaded again if asked for."""
        if self.__dict__.pop("policy", None) is not None and torch.cuda.is_available():
            torch.cuda.empty_cache()


def subject_of(text: str, cfg: Mapping[str, Any]) -> Subject:
    """The subject that an argument of the command names.

    cfg: `out`, `template`, `batch_size`, `seed`, `max_length`, `dtype`, `trust_remote_code` of conf/evaluate.yaml.
    UserError for a run that is not finished, a folder that is none or holds no model, a name that no model has, and
    a chat template that is asked for and not there. Loads no weights.
    """
    folder = Path(text)
    common = {key: cfg[key] for key in ("batch_size", "seed", "max_length")}
    config = _run_config(folder)
    if config:
        _check_finished(folder)
        subject = Subject(
            name=folder.resolve().name, path=str(folder / "model"), folder=folder,
            template=Template(str(_spec(config)), config["data"].get("control_tokens") or "auto"),
            config=config,
            dtype=config["model"].get("dtype", "float32"), **common,
            trust_remote_code=cfg["trust_remote_code"],
        )  # fmt: skip
    else:
        _check_model(text)
        name = _name(text)
        subject = Subject(
            name=name, path=text, folder=Path(cfg["out"]) / name, template=Template(cfg["template"] or "plain"),
            dtype=cfg["dtype"], trust_remote_code=cfg["trust_remote_code"], **common,
        )  # fmt: skip
        if cfg["template"] is None and subject.tokenizer.chat_template:
            subject.template = Template("chat")
    _ = subject.fingerprint  # says so where there is no such model
    subject.template.check(subject.tokenizer)
    return subject


def _run_config(folder: Path) -> dict[str, Any]:
    """The configuration of the run in a folder, under today's keys; empty where it is no run's. UserError if it is
    damaged."""
    file = folder / "config.yaml"
    if not file.is_file():
        return {}
    try:
        config = yaml.safe_load(file.read_text(encoding="utf-8"))
        if not isinstance(config, dict) or not {"data", "model", "strategy"} <= config.keys():
            return {}
        config = renamed(config)
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise UserError(f"{file} is not readable as YAML; restore it.") from error
    if not isinstance(config["model"], dict) or _spec(config) is None:
        raise UserError(f"{file} does not say model and data.streams, so the run cannot be asked; restore it.")
    return config


def _spec(config: Mapping[str, Any]) -> str | None:
    """The template a run's model is asked in; None where its configuration has no good streams."""
    streams = config["data"].get("streams") if isinstance(config["data"], dict) else None
    if not isinstance(streams, dict) or not streams or not all(isinstance(s, dict) for s in streams.values()):
        return None
    spec = streams[asked({name: stream.get("kind") for name, stream in streams.items()})].get("template", "plain")
    return spec if isinstance(spec, str) else None


def _check_finished(folder: Path) -> None:
    if not (folder / "result.json").is_file():
        raise UserError(
            f"{folder} holds a run that is not finished; run it to its end first (the same command goes on)."
        )
    if not (folder / "model").is_dir():
        raise UserError(f"{folder} holds a finished run without its model/ folder; restore that, or run it again.")


def _check_model(text: str) -> None:
    """UserError for a text that is neither a folder with a model nor the name of one on the hub."""
    folder = Path(text)
    if folder.is_dir():
        if any((folder / file).is_file() for file in ("config.json", "adapter_config.json")):
            return
        below = sorted(file.parent for file in folder.glob("*/result.json"))
        hint = f"give the runs in it, such as {below[0]}" if below else "give a run folder or a Hugging Face folder"
        raise UserError(f"{folder} holds neither a run nor a model; {hint}.")
    if folder.exists() or not HUB_NAME.fullmatch(text):
        raise UserError(
            f"{text!r} is no folder and no name of a hub model; give a run folder, a model's folder or name."
        )


def _name(text: str) -> str:
    """A folder's name (its parent's, where it is called model), or a hub name without its slash."""
    folder = Path(text)
    if not folder.is_dir():
        return text.replace("/", "--")
    folder = folder.resolve()
    return folder.parent.name if folder.name == "model" else folder.name
