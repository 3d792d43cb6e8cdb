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

from xright import models, preemption
from xright.build import build
from xright.callbacks.checkpoint import Checkpoint
from xright.checks import check_reference
from xright.data.corpus import corpus_of
from xright.evaluation.behaviour import LONGEST_ANSWER, behaviour
from xright.evaluation.generate import complete
from xright.folders import RunFolder
from xright.inputs import check_same, inputs
from xright.loggers import wandb_runs
from xright.naming import run_path
from xright.objectives import JOINT
from xright.ranks import broadcast, first, is_first
from xright.stages import Stages
from xright.strategies import Selector
from xright.training import Plan, train, versions, whole

log = logging.getLogger(__name__)


def run(cfg: DictConfig, strategy: str, overrides: Sequence[str]) -> float | None:
    """One joint run (or, with `stage=prepare`, only what it shares with others); returns its ideal distance.

    cfg: a configuration that `check_config` has passed. strategy: the chosen option of that group; overrides: as given
    on the command line. Prints the run folder as the last line of stdout. Raises UserError for bad input, before any
    training.
    """
    if cfg.threads:
        torch.set_num_threads(cfg.threads)
    if cfg.stage == "prepare":
        prepare(cfg)
        return None
    config: Any = OmegaConf.to_container(cfg, resolve=True)
    folder = RunFolder(run_path(config, strategy, overrides))
    job = preemption.slurm_job()
    afresh = cfg.overwrite and not (job and first(folder.begun_by) == job)  # a job that SLURM starts again goes on
    result = None if afresh else first(lambda: folder.finished(config))
    if result is None:
        stages = prepare(cfg)
        with folder.lock():
            result = _joint_run(cfg, strategy, folder, config, stages, afresh)
    else:
        first(lambda: check_same(folder.path, result.get("inputs", {}), inputs(config)))
        log.info("finished already: %s", folder.path)
    if is_first():
        print(folder.path, flush=True)
    return result["ideal_distance"]


def prepare(cfg: DictConfig) -> Stages:
    """Build or find the shared stages, and fill in `cfg.run`: optima, steps per epoch."""
    corpus = corpus_of(cfg)
    stages = Stages(cfg, corpus)
    stages.check()
    cfg.run.steps_per_epoch = stages.steps_per_epoch
    if cfg.optima == "auto":
        cfg.run.optima = {name: stages.optimum(name).result["optimum"] for name in JOINT}
        log.info("optima: %s", ", ".join(f"f_{name}* = {value:.4f}" for name, value in cfg.run.optima.items()))
    else:
        cfg.run.optima = cfg.optima
    return stages


def _joint_run(
    cfg: DictConfig, strategy: str, folder: RunFolder, config: Mapping[str, Any], stages: Stages, afresh: bool
) -> dict[str, Any]:
    """Train (from the last checkpoint, if there is one), evaluate, write `model/` and `result.json`."""
    if afresh:
        first(folder.set_aside)
    elif found := first(lambda: folder.finished(config)):  # another process was faster
        return found
    read = first(lambda: inputs(config))
    cfg.run.folder = str(folder.path).replace("${", r"\${")  # a folder's name is no interpolation
    cfg.run.identity = stages.identity(config)
    selector, callbacks = build(cfg.strategy), [build(node) for node in cfg.callbacks.values() if node]
    objectives = {name: build(cfg.objectives[name]) for name in {*selector.objectives, *JOINT}}
    phases = selector.phases(stages.steps_per_epoch, cfg.epochs)
    evaluation = {name: stages.evaluation(objectives[name]) for name in JOINT}
    policy = _start(cfg, stages, selector)
    if cfg.reference == "base" and not selector.start():
        check_reference(policy, objectives["dpo"], evaluation["dpo"], cfg)
    first(lambda: folder.begin(config, preemption.slurm_job()))
    with folder.telling_why(), wandb_runs(cfg.logger) as loggers:
        plan = Plan(stages.streams, stages.batch_size, phases, evaluation, stages.corpus.showcase())
        train(
            plan, policy, stages.tokenizer, objectives, selector, build(cfg.optim), cfg.seed, cfg, selector.label,
            callbacks, loggers,
        )  # fmt: skip
        checkpoints = next(c for c in callbacks if isinstance(c, Checkpoint))
        policy = whole(policy, cfg.trainer, lambda: _start(cfg, stages, selector), checkpoints)
        result: dict[str, Any] = {}
        if is_first():
            carried = stages.base.path if stages.base.is_cached else None
            models.export(policy, stages.tokenizer, folder.path / "model", carried)
            about = {"strategy": strategy, "label": selector.label, "lam": cfg.strategy.get("lam"), "seed": cfg.seed}
            result |= about | {"name": cfg.name, "stopped_by": "budget"}
            for callback in callbacks:
                result |= callback.summary() if hasattr(callback, "summary") else {}
            if hasattr(stages.corpus.source, "probes"):
                result["behaviour"] = _behaviour(policy, stages, cfg.eval_batch_size)
            result |= {"eval_on": cfg.eval_on, "reference": cfg.reference, "inputs": read, "versions": versions()}
            folder.finish(result)
    return broadcast(result)


def _start(cfg: DictConfig, stages: Stages, selector: Selector) -> nn.Module:
    """The model the run starts from: the base, or the average of the optima's models a selector asks for."""
    if weights := selector.start():
        folders = {stages.optimum(name).folder / "model": weight for name, weight in weights.items()}
        return models.average(folders, trust_remote_code=cfg.model.trust_remote_code)
    return stages.policy(cfg.seed)


def _behaviour(policy: nn.Module, stages: Stages, batch_size: int) -> dict[str, float]:
    """What the final model does when asked: the source's probes, completed greedily and judged."""
    probes, template = stages.corpus.source.probes(), stages.corpus.templates[stages.corpus.asked]
    prompts = [template.render(stages.tokenizer, probe.prompt) for probe in probes]
    answers = complete(policy, stages.tokenizer, prompts, LONGEST_ANSWER, batch_size, template.is_chat)
    return behaviour(probes, answers)
