"""The stages that runs share: base -> reference -> reference log-probs -> optima. Each is built once and cached.

- *base*: what every method starts from. A model on disk or on the hub is its own base; one built on the spot is first
  trained as a language model on the data's texts. Rows that it writes itself: `memory.py`.
- *reference* (π_ref): the base after SFT, on the chosen responses of the run's pairs or on the rows of a stream; or the
  base itself; or a model of the user's.
- *reference log-probs*: of every row of a stream whose objective needs them, fp32, by row id; used by every epoch, λ,
  seed and strategy.
- *optima* (f_i*): each objective alone for the whole budget; the lowest value on its trajectory. Its final model serves
  model averaging.

A stage's key holds exactly what it depends on: rows enter by their token ids, parent stages by their ids. What only
rounds differently (layout, micro-batches, the number of ranks: 1e-7) is not in it, unless dropout is drawn per forward.
`tests/test_keys.py` goes through every setting.
"""

import logging
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property, partial, reduce
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from xright import models
from xright.cache import Stage, cached_stage
from xright.config.build import build
from xright.config.naming import material
from xright.config.settings import Settings
from xright.data.corpus import Corpus
from xright.data.datamodule import batch_sizes, steps_per_epoch
from xright.data.rows import Rows
from xright.data.stream import Stream
from xright.data.tokenizer_identity import tokenizer_identity
from xright.forward.fits import check_fits
from xright.machine.files import hash_of
from xright.machine.ranks import world_size
from xright.models.pretrained import Pretrained, merged_base
from xright.pipeline import memory
from xright.pipeline.reference import BASE, CHOSEN, learnt_from, stored_logps
from xright.strategies import Only
from xright.training.alone import SEED, TEXT, first_responses, train_alone
from xright.training.fit import Plan, make_trainer, pad_id
from xright.training.sharded import placed

log = logging.getLogger(__name__)


class Stages:
    """The shared stages of one configuration, each built when first asked for."""

    def __init__(self, settings: Settings, corpus: Corpus) -> None:
        self.settings, self.corpus, self.tokenizer = settings, corpus.with_sampled(self._sampled), corpus.tokenizer
        self.objectives = settings.table()
        used = {objective.stream for objective in self.objectives.values()}
        if unused := [name for name in corpus.streams if name not in used]:
            log.warning("data.streams.%s: no objective of this run uses these rows", ", ".join(unused))
        self.names = [name for name in corpus.streams if name in used]
        self.sizes = batch_sizes(corpus.streams)
        self.batch_size = {name: self.sizes[name] for name in self.names}

    def identity(self, config: Mapping[str, Any]) -> str:
        """Return what a checkpoint of the joint run stands for: the settings that matter, and the rows they have led
        to."""
        rows = [*self.streams.values(), *map(self.corpus.evaluation, self.names)]
        needs_reference = any(objective.needs_reference for objective in self.objectives.values())
        reference = self.reference.identity if needs_reference else None
        told = [material(config), self._policy_key(), reference, *(part.digest for part in rows)]
        return hash_of(told)

    @cached_property
    def named(self) -> Pretrained:
        """Return the model of model.path, which may be an adapter on its base."""
        model = self.settings.model
        assert model.path
        return Pretrained.named(model.path, model.revision)

    @cached_property
    def base(self) -> Pretrained:
        """Return the base model, which is built and pretrained first where the configuration says how."""
        model = self.settings.model
        if not model.init:
            return merged_base(self.named, self.tokenizer, model.trust_remote_code)
        assert model.pretrain
        texts, pretrain = self.corpus.train(TEXT), model.pretrain
        key = {
            **self.settings.arithmetic, "init": model.init, "pretrain": pretrain, "texts": texts.digest,
            "tokenizer": tokenizer_identity(self.tokenizer),
        }  # fmt: skip

        def train_base(folder: Path) -> dict[str, Any]:
            fresh = models.build(model.init or {}, self.tokenizer, pretrain["seed"])
            policy = models.trainable(fresh, models.FULL, gradient_checkpointing=False, seed=pretrain["seed"])
            plan = first_responses(
                "base", texts, pretrain["batch_size"], pretrain["steps"], optim=build(pretrain["optim"])
            )
            return self._train(replace(plan, seed=pretrain["seed"]), policy, folder)

        return Pretrained(str(cached_stage("base", key, train_base).folder / "model"))

    @cached_property
    def reference(self) -> Pretrained:
        """Return the reference policy π_ref, which is trained first where it is to be."""
        kind, training = self.settings.reference, self.settings.reference_training
        if kind == BASE:
            log.info("reference: the base model, %s", self.base)
            return self.base
        if kind != CHOSEN and kind not in self.sizes:
            log.info("reference: the model in %s", kind)
            return Pretrained.named(kind)
        names = learnt_from(kind, {name: self.corpus.streams[name] for name in self.names})
        rows, batch_size = reduce(Rows.union, [self.corpus.train(n).chosen_only() for n in names]), self.sizes[names[0]]
        one_pass = steps_per_epoch({TEXT: rows}, {TEXT: batch_size})
        steps = training["epochs"] * (self.settings.steps_per_epoch or one_pass)
        optim, size = {**self.settings.optim, "lr": training["lr"]}, str(batch_size)
        key = {**self._policy_key(), "rows": rows.digest, "batch_size": size, "steps": steps, "optim": optim}

        def train_reference(folder: Path) -> dict[str, Any]:
            plan = first_responses(f"reference ({kind})", rows, batch_size, steps, optim=build(optim))
            return self._train(plan, self.policy(SEED), folder)

        folder = cached_stage("reference", key, train_reference).folder / "model"
        learnt = "the chosen responses" if kind == CHOSEN else f"the rows of {kind}"
        log.info("reference: SFT on %s, %d steps, %s", learnt, steps, folder)
        return Pretrained(str(folder))

    @cached_property
    def rows(self) -> dict[str, tuple[Rows, Rows]]:
        """Training and evaluation rows of each stream, with log-probs under π_ref or the base where an objective needs
        them."""
        return {name: self._rows(name) for name in self.names}

    def _rows(self, stream: str) -> tuple[Rows, Rows]:
        own = [objective for objective in self.objectives.values() if objective.stream == stream]
        if any(objective.needs_reference for objective in own):
            return self._with_logps(self.reference, stream)
        if any(objective.of_base for objective in own):
            return memory.beside_base(*self._with_logps(self.base, stream))
        return self.corpus.train(stream), self.corpus.evaluation(stream)

    def _with_logps(self, named: Pretrained, stream: str) -> tuple[Rows, Rows]:
        train_rows, evaluation = self.corpus.train(stream), self.corpus.evaluation(stream)
        table = self._logps(named, train_rows.union(evaluation))
        return train_rows.with_reference(*table), evaluation.with_reference(*table)

    def _logps(self, named: Pretrained, rows: Rows) -> tuple[np.ndarray, np.ndarray]:
        """Return row ids and log-probs under a model, each row once."""
        layout, model = self.settings.loop.layout, partial(self._asked, named)
        key = {
            "reference": named.identity, "rows": rows.digest, "dtype": "float32", "layout": layout,
            **self.settings.model.key,
        }  # fmt: skip
        return stored_logps(key, rows, model, pad_id(self.tokenizer), layout=layout)

    def _asked(self, named: Pretrained) -> nn.Module:
        """Load a model to be asked, in fp32, where the run will train."""
        model = named.load("float32", **self.settings.model.reading)
        check_fits(model, self.tokenizer, self.corpus.max_length)
        return placed(model, make_trainer(self.settings.loop.trainer, logger=False, enable_progress_bar=False))

    def _sampled(self, stream: Stream, split: str) -> Rows:
        told = {"base": self.base.identity, **self.settings.model.key}
        return memory.sampled(stream, split, self.corpus, base=told, model=partial(self._asked, self.base))

    @property
    def streams(self) -> dict[str, Rows]:
        """Return the training rows of all streams."""
        return {name: train_rows for name, (train_rows, _) in self.rows.items()}

    @property
    def evaluation(self) -> dict[str, Rows]:
        """Return the evaluation rows of each objective."""
        return {name: self.rows[objective.stream][1] for name, objective in self.objectives.items()}

    @property
    def steps_per_epoch(self) -> int:
        """Return the steps of one pass over the longest loader, or of what the settings take for one."""
        one_pass = steps_per_epoch({name: self.corpus.train(name) for name in self.names}, self.batch_size)
        return self.settings.steps_per_epoch or one_pass

    def best(self, name: str, patient: bool = True) -> float:
        """Return f* of an objective: the lowest value seen when it was trained alone, or the base's own."""
        objective = self.objectives[name]
        if not objective.of_base:
            return self.optimum(name, patient).result["optimum"]
        return memory.base_value(self._with_logps(self.base, objective.stream)[1])

    def solved(self, name: str) -> Pretrained:
        """Return the model that is best at one objective: the base, or one that was trained on it alone."""
        return self.base if self.objectives[name].of_base else Pretrained(str(self.optimum(name).folder / "model"))

    def optimum(self, name: str, patient: bool = True) -> Stage:
        """The stage that trains one objective alone: `result["optimum"]` is f*, `model/` its final model."""
        objective = self.objectives[name]
        rows, evaluation = self.rows[objective.stream]
        batch_size, steps = self.batch_size[objective.stream], self.settings.epochs * self.steps_per_epoch
        key = {
            **self._policy_key(), "objective": self.settings.objectives[name], "rows": rows.digest,
            "evaluation": evaluation.digest,
            "reference": self.reference.identity if objective.needs_reference else None, "steps": steps,
            "batch_size": str(batch_size), "eval_every": self.settings.loop.eval_every, "optim": self.settings.optim,
        }  # fmt: skip

        def train_objective(folder: Path) -> dict[str, Any]:
            plan = Plan(
                f"optimum ({name})", {name: objective}, {objective.stream: rows}, {objective.stream: batch_size},
                schedule=[(Only(name), steps)], optim=build(self.settings.optim), seed=SEED,
                evaluation={name: evaluation},
            )  # fmt: skip
            return self._train(plan, self.policy(SEED), folder)

        return cached_stage(f"optimum_{name}", key, train_objective, patient=patient)

    def policy(self, seed: int) -> nn.Module:
        """A fresh policy: the base, to be trained in full or through an adapter started from `seed`, or the adapter
        that goes on."""
        model = self.settings.model
        named = self.named if model.lora["continue"] else self.base
        policy = self.adapted(named.load(model.dtype, **model.reading), seed)
        log.info("policy: %s, from %s", models.described(policy, model.lora), named)
        return policy

    @property
    def carried(self) -> str | None:
        """Return the folder of the base that an exported adapter has to carry: one that may not stay where it is."""
        base = self.named.below if self.settings.model.lora["continue"] else self.base
        return base.path if base.may_go else None

    def adapted(self, model: nn.Module, seed: int) -> nn.Module:
        """Make a loaded model a policy. UserError if it does not fit the data."""
        check_fits(model, self.tokenizer, self.corpus.max_length)
        settings = self.settings.model
        revision = None if settings.init else self.base.revision
        return models.trainable(model, settings.lora, settings.gradient_checkpointing, seed, revision=revision)

    def _policy_key(self) -> dict[str, Any]:
        model, loop = self.settings.model, self.settings.loop
        key = {"base": self.base.identity, "lora": model.adapter, "dtype": model.dtype, **model.key}
        if model.adapter and model.lora["dropout"]:  # masks are drawn per forward, so the cut into forwards decides
            key["cut"] = {"layout": loop.layout, "micro_batch": loop.micro_batch, "ranks": world_size()}
        return {**self.settings.arithmetic, **key}

    def _train(self, plan: Plan, policy: nn.Module, folder: Path) -> dict[str, Any]:
        return train_alone(plan, policy, self.tokenizer, self.settings.loop, folder=folder)
