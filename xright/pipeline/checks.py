"""Start-up checks: what can be known to be wrong before anything is trained or written."""

import logging
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from torch import nn

from xright.config.build import build
from xright.config.moved import refuse_keys
from xright.data.prompts import Row, Template
from xright.data.stream import Stream, streams_of
from xright.errors import UserError, check_number
from xright.forward.collate import LAYOUTS, collate
from xright.machine.paths import place
from xright.objectives import Objective, labels
from xright.pipeline.certificates import check_certificate
from xright.pipeline.comparing import check_comparing
from xright.pipeline.model_checks import check_model
from xright.starts import Start
from xright.strategies import Schedule
from xright.training.fit import make_trainer
from xright.training.means import anchored

log = logging.getLogger(__name__)

FOLDER_NAME = re.compile(r"[^./\\\x00-\x1f][^/\\\x00-\x1f]*")  # hidden folders are no studies: the report skips them
# Of Lightning's: with float16, gradients would be clipped while they are scaled; with bf16-true and the like, weights
# would lose most updates to rounding.
PRECISIONS = ("32-true", "32", 32, "bf16-mixed", "bf16", None)
WHOLE = 2**63 - 1  # torch takes no larger seed
THREADS = 1024  # with many more, OpenMP ends the process
# Settings of Lightning's Trainer that would do nothing or harm here, and what is meant instead.
INSTEAD = {
    "max_steps": "epochs", "max_epochs": "epochs", "limit_train_batches": "epochs", "fast_dev_run": "debug=fast",
    "gradient_clip_val": "optim.clip", "accumulate_grad_batches": "model.micro_batch", "callbacks": "callbacks",
    "logger": "logger", "enable_checkpointing": "checkpoint_every", "val_check_interval": "eval_every",
    "min_steps": "epochs", "min_epochs": "epochs", "max_time": "epochs", "overfit_batches": "data.streams.<name>.limit",
    "limit_val_batches": "data.streams.<name>.eval_rows", "limit_test_batches": "data.streams.<name>.eval_rows",
    "limit_predict_batches": "data.streams.<name>.eval_rows", "check_val_every_n_epoch": "eval_every",
    "num_sanity_val_steps": "eval_every", "gradient_clip_algorithm": "optim.clip", "barebones": "callbacks",
    "use_distributed_sampler": "data.streams.<name>.batch_size",
    "reload_dataloaders_every_n_epochs": "data.streams.<name>.batch_size",
}  # fmt: skip


def check_config(cfg: DictConfig) -> None:
    """UserError for the first value that cannot work; objectives, optimizer and strategy check their own."""
    given: Any = OmegaConf.to_container(cfg)
    refuse_keys(given)
    try:
        OmegaConf.to_container(cfg, resolve=True)
    except OmegaConfBaseException as error:
        raise UserError(f"the configuration cannot be resolved: {str(error).splitlines()[0]}.") from error
    missing = sorted(OmegaConf.missing_keys(cfg))
    if missing:
        raise UserError(f"{', '.join(missing)} must be given, for example {missing[0]}=…; see --help.")
    for key in ("epochs", "eval_every", "eval_batch_size", "checkpoint_every", "reference_training.epochs"):
        _whole(key, OmegaConf.select(cfg, key), at_least=1)
    _whole("seed", cfg.seed, at_least=0)
    for key, most in (("model.micro_batch", WHOLE), ("steps_per_epoch", WHOLE), ("threads", THREADS)):
        if OmegaConf.select(cfg, key) is not None:
            _whole(key, OmegaConf.select(cfg, key), at_least=1, at_most=most)
    for key in ("reference", "model.path", "model.tokenizer"):
        if not isinstance(value := OmegaConf.select(cfg, key), str) and (value is not None or key == "reference"):
            words = "base, chosen, the name of a stream, or " if key == "reference" else ""
            raise UserError(f"{key}={value!r} must be {words}a folder or hub name.")
    for key, options in (("stage", ("run", "prepare")), ("layout", LAYOUTS), ("look", ("auto", "grad", "no_grad"))):
        if cfg[key] not in options:
            raise UserError(f"{key}={cfg[key]!r} must be {', '.join(options[:-1])} or {options[-1]}.")
    check_model(cfg.model)
    streams = _check_data(cfg.data)
    if cfg.stage == "run":
        _check_place(cfg.runs_dir, cfg.name)
    _check_trainer(cfg.trainer)
    for name, node in cfg.callbacks.items():
        if node and "every" in node:
            _whole(f"callbacks.{name}.every", node["every"], at_least=1)
    objectives = {name: build(node) for name, node in cfg.objectives.items() if node}
    if not objectives:
        raise UserError("objectives has no entry; a run needs one at least: objective@objectives.NAME=OPTION.")
    _check_optima(cfg.optima, objectives)
    probe = cfg.copy()
    if probe.optima == "auto":
        probe.optima = {name: 0.0 for name, objective in objectives.items() if not objective.surrogate}
    callbacks = [build(node) for node in probe.callbacks.values() if node]
    trainer = make_trainer(probe.trainer, callbacks, logger=False)
    for name, objective in objectives.items():
        _check_stream(name, objective, streams)
    schedule = Schedule.of(build(probe.strategy))
    for node in filter(None, probe.logger.values()):
        build(node, _partial_=True)  # what it names is there; nothing is opened yet
    own = {name: streams[objective.stream] for name, objective in objectives.items()}
    check_comparing(schedule, build(probe.optim), trainer, streams=own)
    check_certificate(probe, schedule, objectives, callbacks)
    _check_start(build(probe.start), schedule, objectives, model=cfg.model)
    check_number("reference_training.lr", cfg.reference_training.lr, lambda x: x > 0, "a number > 0")
    if unknown := [name for name in schedule.objectives if name not in objectives]:
        raise UserError(f"the strategy asks for objectives {unknown}, but only {sorted(objectives)} are configured.")


@torch.no_grad()
def check_reference(
    policy: nn.Module, objectives: Mapping[str, Objective], evaluation: Mapping[str, Sequence[Row]], dtype: str
) -> None:
    """With `reference=base` the policy starts as the reference, and each objective that is known there must be what it
    is there (DPO: log 2).

    evaluation: {objective: rows}. dtype: of the policy's weights. The stored log-probs are the reference's
    (`reference.check_agrees`), so a difference is the policy's: its dtype, or a forward that depends on the rows of a
    batch. UserError then.
    """
    named = labels(objectives)
    for name, objective in objectives.items():
        if (expected := objective.value_at_reference) is None:
            continue
        (batch,) = anchored(objective, policy, [collate(evaluation[name][:32], 0, "padded")], lambda *sums: sums)
        value = float(objective(policy, batch)[0]) / objective.size(batch)
        if abs(value - expected) > (1e-3 if dtype == "float32" else 5e-2) * expected:
            raise UserError(
                f"policy and reference are the same model, so f_{named[name]} must start at {expected:.4f}, but it is "
                f"{value:.4f}: in model.dtype={dtype} the policy computes other log-probs, by rounding or since its "
                "attention depends on the rows of a batch; give model.dtype=float32, or another family."
            )
        log.info("check: f_%s starts at %.4f, as it must with reference=base", named[name], value)


def _check_data(data: DictConfig) -> dict[str, Stream]:
    _whole("data.max_length", data.max_length, at_least=2)
    given: Any = OmegaConf.to_container(data, resolve=True)
    streams = streams_of(given.get("streams"))
    for stream in streams.values():
        Template(stream.template)
    return streams


def _check_stream(name: str, objective: Objective, streams: Mapping[str, Stream]) -> None:
    """UserError unless the objective's stream is there, with as many answers to a prompt as it compares."""
    if objective.stream not in streams:
        raise UserError(
            f"objectives.{name}.stream={objective.stream!r} is none of data.streams ({', '.join(streams)}); declare "
            "it, as in conf/stream, or name another."
        )
    stream = streams[objective.stream]
    wrong = stream.labelled != objective.labelled or (objective.of_base and not stream.sampled)
    if wrong or len(stream.responses) < objective.responses:
        does, kind = f"compares {objective.responses} answers to a prompt", "pairs"
        does, kind = ("learns from good answers", "completions") if objective.responses == 1 else (does, kind)
        does, kind = ("learns from labels", "labelled rows") if objective.labelled else (does, kind)
        does, kind = ("learns what the base wrote", "kind sampled") if objective.of_base else (does, kind)
        raise UserError(
            f"objectives.{name} {does}, but the rows of its stream {stream.name!r} are {stream.kind}; "
            f"give objectives.{name}.stream=…, a stream of {kind}."
        )


def _check_start(start: Start, schedule: Schedule, objectives: Mapping[str, Objective], *, model: DictConfig) -> None:
    """UserError for an adapter to be trained from a start that takes none, and for models that nobody trains."""
    lora = model.lora
    if model.quantize and not start.takes_adapter:
        raise UserError(
            f"start={start.name!r} merges plain weights, and the reference would be asked in 4 bits "
            f"(model.quantize={model.quantize}); leave that out."
        )
    if (lora.r or lora["continue"]) and schedule.phases and not start.takes_adapter:
        given = "model.lora.continue=true" if lora["continue"] else f"model.lora.r={lora.r}"
        raise UserError(
            f"start={start.name!r} has weights that are in no folder, so no adapter ({given}) can be trained from it; "
            "give model.lora.r=0, or strategy=model_average, which trains nothing."
        )
    trained = [name for name, objective in objectives.items() if not objective.surrogate]
    if unknown := [name for name in start.importance or {} if name not in trained]:
        raise UserError(
            f"start.weights names {', '.join(unknown)}, but the models to merge are of {', '.join(trained)}."
        )


def _check_trainer(trainer: DictConfig) -> None:
    for key, instead in INSTEAD.items():
        if key in trainer:
            raise UserError(f"trainer.{key}={trainer[key]!r} is not what decides here; remove it and see {instead}.")
    if (precision := trainer.get("precision", "32-true")) not in PRECISIONS:
        raise UserError(
            f"trainer.precision={precision!r} is none that xright trains in; give 32-true, or bf16-mixed (forwards in "
            "bfloat16, weights and optimizer in float32)."
        )


def _check_place(runs_dir: Any, name: Any) -> None:
    """A run's folder must lie in runs_dir, and be one that can be made."""
    if name is None or not FOLDER_NAME.fullmatch(str(name)) or len(str(name).encode()) > 255:
        raise UserError(f"name={name!r} must be the name of a folder: no slash in it, and no dot in front.")
    if not isinstance(runs_dir, str) or not runs_dir:
        raise UserError(f"runs_dir={runs_dir!r} must be the path of a folder.")
    path = place(runs_dir) / str(name)
    nearest = next(place for place in (path, *path.parents) if place.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        problem = "may not be written to" if nearest.is_dir() else "is no folder"
        raise UserError(f"runs_dir={runs_dir!r} cannot hold runs: {nearest} {problem}; give another runs_dir.")


def _check_optima(optima: Any, objectives: Mapping[str, Objective]) -> None:
    """auto, null, or numbers by objective; UserError for anything else, and for an f* that no f can reach."""
    plain: Any = OmegaConf.to_container(optima) if OmegaConf.is_config(optima) else optima
    if plain in ("auto", None):
        return
    names = [name for name, objective in objectives.items() if not objective.surrogate]
    if not isinstance(plain, dict) or plain.keys() != set(names):
        example = ", ".join(f"{name}: 0.5" for name in names)
        raise UserError(f"optima={plain!r} must be auto, null, or a number for each objective: 'optima={{{example}}}'.")
    for name, value in plain.items():
        least = objectives[name].lower_bound
        if value is not None and check_number(f"optima.{name}", value, lambda _: True, "a number, or null") < least:
            raise UserError(f"optima.{name}={value!r} must be >= {least:g}: f_{name} is never lower.")


def _whole(key: str, value: Any, at_least: int, at_most: int = WHOLE) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < at_least:
        raise UserError(f"{key}={value!r} must be a whole number >= {at_least}.")
    if value > at_most:
        raise UserError(f"{key}={value!r} must be a whole number <= {at_most}.")
