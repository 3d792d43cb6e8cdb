"""The stages that runs share: base -> reference -> reference log-probs -> optima. Each is built once and cached.

- *base*: what every method starts from. A model on disk or on the hub is its own base; one built on the spot is first
  trained as a language model on the data's texts.
- *reference* (π_ref): the base after SFT, on the preference data's chosen responses or on the SFT data; or the base
  itself; or a model of the user's.
- *reference log-probs*: of every preference row, fp32, by row id; used by every epoch, λ, seed and strategy.
- *optima* (f_i*): each objective alone for the whole budget; the lowest value on its trajectory. Its final model serves
  model averaging.

A stage's key holds exactly what it depends on: rows enter by their token ids, parent stages by their ids. What only
rounds differently (layout, micro-batches, the number of ranks: 1e-7) is not in it, unless dropout is drawn per forward.
`tests/test_keys.py` goes through every setting.
"""

import hashlib
import json
import logging
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from torch import nn

from xright import models
from xright.build import build
from xright.cache import Stage, cached_stage
from xright.callbacks.checkpoint import Checkpoint
from xright.callbacks.trajectory import Trajectory
from xright.data.corpus import Corpus
from xright.data.datamodule import batch_sizes, batches, check_ranks, steps_per_epoch
from xright.data.identity import tokenizer_identity
from xright.data.rows import Rows
from xright.errors import UserError
from xright.fits import check_fits, check_same_tokens
from xright.naming import ARITHMETIC, material
from xright.objectives import SFT, Objective
from xright.optim import Optim
from xright.pretrained import Pretrained, merged_base
from xright.ranks import is_first, world_size
from xright.reference import stored_logps
from xright.strategies import Only
from xright.training import Plan, make_trainer, pad_id, train, whole

log = logging.getLogger(__name__)

SEED = 0  # stages are shared by all seeds of a study
FULL = {"r": 0}  # no adapter


class Stages:
    """The shared stages of one configuration, each built when first asked for."""

    def __init__(self, cfg: DictConfig, corpus: Corpus) -> None:
        self.cfg, self.corpus, self.tokenizer = cfg, corpus, corpus.tokenizer
        self.batch_size = batch_sizes(corpus.streams)

    def check(self) -> None:
        """UserError for data or a model that cannot work, before any stage is trained."""
        for stream, size in self.batch_size.items():
            batches(stream, self.corpus.train(stream), size, steps=1, seed=0)
            check_ranks(stream, self.corpus.train(stream), size, world_size())
            if len(self.corpus.evaluation(stream)) < world_size():
                raise UserError(f"{stream} has fewer evaluation rows than the run has processes ({world_size()}).")
        if self.cfg.reference not in ("chosen", "sft", "base"):
            _ = self.reference.identity
            check_same_tokens(*self.reference, self.tokenizer, self.cfg.model.trust_remote_code)
        model = self.cfg.model
        if not model.init and model.tokenizer != model.path:
            named = Pretrained.named(model.path, model.revision)
            check_same_tokens(*named, self.tokenizer, model.trust_remote_code, "model.path")
        if model.init:
            self._adapted(models.build(_plain(model.init), self.tokenizer, SEED), SEED)
        else:
            self.policy(SEED)

    def identity(self, config: Mapping[str, Any]) -> str:
        """What a checkpoint of the joint run stands for: the settings that matter, and the rows they have led to."""
        rows = [self.streams["preference"], self.streams["sft"], *map(self.corpus.evaluation, ("preference", "sft"))]
        told = [material(config), self._policy_key(), self.reference.identity, *(part.digest for part in rows)]
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]

    @cached_property
    def base(self) -> Pretrained:
        """The base model."""
        model = self.cfg.model
        if not model.init:
            return merged_base(Pretrained.named(model.path, model.revision), self.tokenizer, model.trust_remote_code)
        texts, pretrain = self.corpus.train("text"), model.pretrain
        key = {
            **self._arithmetic, "init": _plain(model.init), "pretrain": _plain(pretrain), "texts": texts.digest,
            "tokenizer": tokenizer_identity(self.tokenizer),
        }  # fmt: skip

        def train_base(folder: Path) -> dict[str, Any]:
            fresh = models.build(_plain(model.init), self.tokenizer, pretrain.seed)
            policy = models.trainable(fresh, FULL, gradient_checkpointing=False, seed=pretrain.seed)
            plan = Plan({"text": texts}, {"text": pretrain.batch_size}, (pretrain.steps,), {})
            optim = build(pretrain.optim)
            return self._train(plan, policy, {"sft": SFT("text")}, optim, pretrain.seed, "base", folder)

        return Pretrained(str(cached_stage("base", key, train_base).folder / "model"))

    @cached_property
    def reference(self) -> Pretrained:
        """π_ref."""
        kind, training = self.cfg.reference, self.cfg.reference_training
        if kind == "base":
            log.info("reference: the base model, %s", self.base)
            return self.base
        if kind not in ("chosen", "sft"):
            log.info("reference: the model in %s", kind)
            return Pretrained.named(kind)
        stream = "preference" if kind == "chosen" else "sft"
        rows = self.corpus.train(stream)
        rows = rows.chosen_only() if kind == "chosen" else rows
        batch_size = self.batch_size[stream]
        steps = training.epochs * steps_per_epoch({stream: rows}, {stream: batch_size})
        optim = {**_plain(self.cfg.optim), "lr": training.lr}
        key = {
            **self._policy_key(), "rows": rows.digest, "batch_size": str(batch_size), "steps": steps,
            "optim": optim,
        }  # fmt: skip

        def train_reference(folder: Path) -> dict[str, Any]:
            plan = Plan({stream: rows}, {stream: batch_size}, (steps,), {})
            objectives = {"sft": SFT(stream)}
            title = f"reference ({kind})"
            return self._train(plan, self.policy(SEED), objectives, build(optim), SEED, title, folder)

        folder = cached_stage("reference", key, train_reference).folder / "model"
        learnt = "the chosen responses" if kind == "chosen" else "the SFT data"
        log.info("reference: SFT on %s, %d steps, %s", learnt, steps, folder)
        return Pretrained(str(folder))

    @cached_property
    def preference_rows(self) -> tuple[Rows, Rows]:
        """Training and evaluation rows of the preference stream, with π_ref's log-probs attached."""
        train_rows, evaluation = self.corpus.train("preference"), self.corpus.evaluation("preference")
        rows = train_rows.union(evaluation)
        key = {
            "reference": self.reference.identity, "rows": rows.digest, "dtype": "float32", "layout": self.cfg.layout,
            "remote_code": self.cfg.model.trust_remote_code,
        }  # fmt: skip

        def model() -> nn.Module:
            model = self.reference.load("float32", self.cfg.model.trust_remote_code)
            check_fits(model, self.tokenizer, self.corpus.max_length)
            device = make_trainer(self.cfg.trainer, logger=False, enable_progress_bar=False).strategy.root_device
            return model.to(device)

        table = stored_logps(key, rows, model, pad_id(self.tokenizer), self.cfg.layout)
        return train_rows.with_reference(*table), evaluation.with_reference(*table)

    @cached_property
    def streams(self) -> dict[str, Rows]:
        """Training rows of both streams."""
        return {"preference": self.preference_rows[0], "sft": self.corpus.train("sft")}

    def evaluation(self, objective: Objective) -> Rows:
        """Evaluation rows of an objective."""
        return self.preference_rows[1] if objective.stream == "preference" else self.corpus.evaluation(objective.stream)

    @property
    def steps_per_epoch(self) -> int:
        """Steps of one pass over the longer loader."""
        return steps_per_epoch(self.streams, self.batch_size)

    def optimum(self, name: str) -> Stage:
        """The stage that trains one objective alone: `result["optimum"]` is f*, `model/` its final model."""
        node = self.cfg.objectives[name]
        objective = build(node)
        rows, evaluation = self.streams[objective.stream], self.evaluation(objective)
        batch_size = self.batch_size[objective.stream]
        steps = self.cfg.epochs * self.steps_per_epoch
        key = {
            **self._policy_key(), "objective": _plain(node), "rows": rows.digest, "evaluation": evaluation.digest,
            "reference": self.reference.identity if rows[0].reference else None, "steps": steps,
            "batch_size": str(batch_size), "eval_every": self.cfg.eval_every, "optim": _plain(self.cfg.optim),
        }  # fmt: skip

        def train_alone(folder: Path) -> dict[str, Any]:
            plan = Plan({objective.stream: rows}, {objective.stream: batch_size}, (steps,), {name: evaluation})
            title = f"optimum ({name})"
            return self._train(plan, self.policy(SEED), {name: objective}, build(self.cfg.optim), SEED, title, folder)

        return cached_stage(f"optimum_{name}", key, train_alone)

    def policy(self, seed: int) -> nn.Module:
        """A fresh policy: the base, to be trained in full or through an adapter started from `seed`."""
        model = self.cfg.model
        policy = self._adapted(self.base.load(model.dtype, model.trust_remote_code), seed)
        count = sum(parameter.numel() for parameter in policy.parameters() if parameter.requires_grad)
        kind = f"LoRA r={model.lora.r}" if model.lora.r else "all parameters"
        log.info("policy: %s, %s trained, from %s", kind, f"{count:,}", self.base)
        return policy

    def _adapted(self, model: nn.Module, seed: int) -> nn.Module:
        check_fits(model, self.tokenizer, self.corpus.max_length)
        settings, revision = self.cfg.model, None if self.cfg.model.init else self.base.revision
        return models.trainable(model, settings.lora, settings.gradient_checkpointing, seed, revision)

    def _policy_key(self) -> dict[str, Any]:
        model = self.cfg.model
        lora = _plain(model.lora) if model.lora.r else None
        key = {"base": self.base.identity, "lora": lora, "dtype": model.dtype, "remote_code": model.trust_remote_code}
        if model.lora.r and model.lora.dropout:  # masks are drawn per forward, so the cut into forwards decides them
            key["cut"] = {"layout": self.cfg.layout, "micro_batch": model.micro_batch, "ranks": world_size()}
        return {**self._arithmetic, **key}

    @property
    def _arithmetic(self) -> dict[str, Any]:
        """Of the trainer's settings, those that change results beyond rounding."""
        return {key: _plain(value) for key in ARITHMETIC if (value := OmegaConf.select(self.cfg, key)) is not None}

    def _train(
        self,
        plan: Plan,
        policy: nn.Module,
        objectives: Mapping[str, Objective],
        optim: Optim,
        seed: int,
        title: str,
        folder: Path,
    ) -> dict[str, Any]:
        """Train on a single objective and save the model; the optimum is the lowest value seen, where evaluated.

        Goes on from the checkpoints of a builder that was interrupted in this folder."""
        (name,) = objectives
        trajectory = Trajectory(folder, None, plan.steps_per_epoch)
        checkpoint = Checkpoint(folder / "checkpoints", self.cfg.checkpoint_every, identity=folder.stem)
        train(
            plan, policy, self.tokenizer, objectives, Only(name), optim, seed, self.cfg, title, [trajectory, checkpoint]
        )  # fmt: skip
        policy = whole(policy, self.cfg.trainer, lambda: self.policy(seed), checkpoint)
        seen = []
        if is_first():
            models.export(policy, self.tokenizer, folder / "model")
            seen = [float(row[f"f_{name}"]) for row in trajectory.file.read() if row[f"f_{name}"]]
        return {"steps": sum(plan.phases), "optimum": min(seen, default=None)}


def _plain(node: Any) -> Any:
    return OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node
