"""From a composed configuration to a finished run: check everything, prepare the shared stages, train, evaluate, write.

Nothing is trained or written before configuration, data and model have been found good. Where a job has several ranks,
all of them run this; the first decides and writes.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import nn

from xright import models
from xright.config.build import build
from xright.config.inputs import check_same, inputs
from xright.config.naming import run_path
from xright.config.settings import Settings
from xright.data.corpus import corpus_of
from xright.evaluation.behaviour import LONGEST_ANSWER, behaviour
from xright.evaluation.generate import complete
from xright.machine import preemption
from xright.machine.locks import free_first
from xright.machine.ranks import broadcast, first, is_first
from xright.objectives import labels
from xright.pipeline.card import write_card
from xright.pipeline.certificates import certificates, promised, sentences
from xright.pipeline.checks import check_reference
from xright.pipeline.folders import RunFolder
from xright.pipeline.stage_checks import check_stages
from xright.pipeline.stages import Stages
from xright.starts import Start
from xright.strategies import Schedule
from xright.strategies.method import Method, method_of
from xright.tracking.loggers import running
from xright.tracking.trajectory import Trajectory
from xright.training.checkpoint import Checkpoint
from xright.training.fit import Plan, train, versions

log = logging.getLogger(__name__)


def run(cfg: DictConfig, strategy: str, overrides: Sequence[str]) -> dict[str, Any] | None:
    """One joint run (or, with `stage=prepare`, only what it shares with others); returns what `result.json` holds.

    cfg: a configuration that `check_config` has passed. strategy: the chosen option of that group; overrides: as given
    on the command line. Prints the run folder as the last line of stdout. Raises UserError for bad input, before any
    training.
    """
    if cfg.threads:
        torch.set_num_threads(cfg.threads)
    if cfg.stage == "prepare":
        stages, _ = prepare(cfg)
        _ = stages.rows  # where optima are not asked for, nothing has needed them yet
        return None
    config: Any = OmegaConf.to_container(cfg, resolve=True)
    folder = RunFolder(run_path(config, strategy, overrides))
    job = preemption.slurm_job()
    afresh = cfg.overwrite and not (job and first(folder.begun_by) == job)  # a job that SLURM starts again goes on
    result = None if afresh else first(lambda: folder.finished(config))
    if result is None:
        stages, optima = prepare(cfg)
        with folder.lock():
            found = first(folder.set_aside) if afresh else first(lambda: folder.finished(config))
            # found: another process was faster
            result = found or JointRun(cfg, strategy, folder, stages, optima=optima).go(config, overrides)
    else:
        first(lambda: check_same(folder.path, result.get("inputs", {}), inputs(config)))
        log.info("finished already: %s", folder.path)
    if is_first():
        print(folder.path, flush=True)
    return result


def prepare(cfg: DictConfig) -> tuple[Stages, dict[str, float | None]]:
    """Build or find the shared stages; with them f* of each objective that is no surrogate, None where unknown."""
    stages = Stages(Settings.of(cfg), corpus_of(cfg))
    check_stages(stages)
    names = [name for name, objective in stages.objectives.items() if not objective.surrogate]
    given = stages.settings.optima
    if isinstance(given, str):
        best = free_first(names, stages.best)
        log.info("optima: %s", ", ".join(f"f_{name}* = {value:.4f}" for name, value in best.items()))
        return stages, dict(best)
    return stages, {name: given.get(name) for name in names}


class JointRun:
    """A run whose stages are there: its method, its start, its callbacks and loggers."""

    def __init__(
        self, cfg: DictConfig, strategy: str, folder: RunFolder, stages: Stages, optima: Mapping[str, float | None]
    ) -> None:
        self.cfg, self.strategy, self.folder, self.stages, self.optima = cfg, strategy, folder, stages, optima
        known = cfg.copy()
        known.optima = dict(optima) if any(best is not None for best in optima.values()) else None
        self.schedule = Schedule.of(build(known.strategy))
        self.start: Start = build(known.start)
        self.optim = build(known.optim)
        self.callbacks = [build(node) for node in known.callbacks.values() if node]

    def go(self, config: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
        """Train (from the last checkpoint, if there is one), evaluate, write `model/` and `result.json`."""
        stages, settings, folder = self.stages, self.stages.settings, self.folder
        read = first(lambda: inputs(config))
        schedule = self.schedule.steps(stages.steps_per_epoch, settings.epochs)
        method = method_of(
            self.schedule, stages.steps_per_epoch, settings.epochs,
            start=self.start.name, start_weights=self.start.importance, start_settings=self.start.settings,
            labels=labels(stages.objectives),
        )  # fmt: skip
        trajectory = Trajectory(folder.path, stages.objectives, self.optima, stages.steps_per_epoch)
        checkpoints = Checkpoint(folder.path / "checkpoints", settings.loop.checkpoint_every, stages.identity(config))
        callbacks = [trajectory, *self.callbacks, checkpoints]
        plan = Plan(
            method.label, stages.objectives, stages.streams, stages.batch_size, schedule=schedule, optim=self.optim,
            seed=settings.seed, evaluation=stages.evaluation, showcase=stages.corpus.showcase(stages.names),
            folder=folder.path,
        )  # fmt: skip
        policy = self.start.policy(stages, settings.seed)
        if settings.reference == "base" and self.start.is_reference:
            check_reference(policy, stages.objectives, stages.evaluation, settings.model.dtype)
        first(lambda: folder.begin(config, preemption.slurm_job()))
        with folder.telling_why(), running(self.cfg.logger, folder.path) as loggers:
            train(plan, policy, stages.tokenizer, settings.loop, callbacks=callbacks, loggers=loggers)
            bounds = promised(self.cfg.certificate, self.schedule, stages.objectives)
            certified = certificates(stages, policy, self.optima, bounds)
            models.export(policy, stages.tokenizer, folder.path / "model", stages.carried)
            behaves = self._behaviour(policy) if hasattr(stages.corpus.source, "probes") else {}
            result: dict[str, Any] = {}
            if is_first():
                result = self._about(method)
                if certified:
                    result["certificate"] = {name: one.as_data() for name, one in certified.items()}
                    for line in sentences(certified):
                        log.info("certificate: %s", line)
                for callback in callbacks:
                    result |= callback.summary() if hasattr(callback, "summary") else {}
                result |= {"behaviour": behaves} if behaves else {}
                result |= {"eval_on": self.cfg.eval_on, "reference": settings.reference, "inputs": read}
                result |= {"overrides": [*overrides], "data": self._rows(), "versions": versions()}
                write_card(folder.path / "model", config, result)
                folder.finish(result)
        return broadcast(result)

    def _about(self, method: Method) -> dict[str, Any]:
        """Return what `result.json` says of which run it is."""
        return {
            "strategy": self.strategy, "label": method.label, "lam": self.cfg.lam if method.weights else None,
            "seed": self.cfg.seed, "name": self.cfg.name, "stopped_by": "budget", "method": method.as_data(),
        }  # fmt: skip

    def _rows(self) -> dict[str, dict[str, Any]]:
        """Return of each stream how many rows are trained on and held out, and what identifies those trained on."""
        return {
            name: {"rows": len(trained), "heldout": len(held), "identity": trained.digest}
            for name, (trained, held) in self.stages.rows.items()
        }

    def _behaviour(self, policy: nn.Module) -> dict[str, float]:
        """Return what the final model does when asked: the source's probes, completed greedily and judged."""
        corpus = self.stages.corpus
        probes, template = corpus.source.probes(), corpus.templates[corpus.asked]
        prompts = [template.render(corpus.tokenizer, probe.prompt) for probe in probes]
        batch_size = self.stages.settings.loop.eval_batch_size
        answers = complete(
            policy, corpus.tokenizer, prompts, LONGEST_ANSWER, batch_size=batch_size, is_chat=template.is_chat
        )
        return behaviour(probes, answers)
