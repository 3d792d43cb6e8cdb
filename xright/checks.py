"""Start-up checks: what can be known to be wrong before anything is trained or written."""

import logging
import math
from collections.abc import Sequence
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from torch import nn

from xright.build import build
from xright.data.collate import LAYOUTS, collate
from xright.data.datamodule import check_batch_sizes
from xright.data.prompts import Row
from xright.errors import UserError
from xright.objectives import Objective
from xright.training import make_trainer

log = logging.getLogger(__name__)


def check_config(cfg: DictConfig) -> None:
    """UserError for the first value that cannot work; objectives, optimizer and strategy check their own."""
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
    check_batch_sizes(cfg.data)
    for key in ("model.micro_batch", "threads"):
        if OmegaConf.select(cfg, key) is not None:
            _whole(key, OmegaConf.select(cfg, key), at_least=1)
    for key, options in (("stage", ("run", "prepare")), ("layout", LAYOUTS), ("look", ("auto", "grad", "no_grad"))):
        if cfg[key] not in options:
            raise UserError(f"{key}={cfg[key]!r} must be {', '.join(options[:-1])} or {options[-1]}.")
    if not cfg.model.init and not cfg.model.path:
        raise UserError("the model has neither init nor path; give model.path=FOLDER or a hub name.")
    _check_optima(cfg.optima)
    probe = cfg.copy()
    optima = {"dpo": 0.0, "sft": 0.0} if cfg.optima == "auto" else cfg.optima
    probe.run = {"folder": ".", "optima": optima, "steps_per_epoch": 1, "showcase": []}
    make_trainer(probe.trainer, [build(node) for node in probe.callbacks.values() if node], logger=False)
    objectives = {name: build(node) for name, node in probe.objectives.items()}
    build(probe.optim)
    selector = build(probe.strategy)
    unknown = [name for name in selector.objectives if name not in objectives]
    if unknown:
        raise UserError(f"the strategy asks for objectives {unknown}, but only {sorted(objectives)} are configured.")


@torch.no_grad()
def check_reference(policy: nn.Module, objective: Objective, rows: Sequence[Row], cfg: DictConfig) -> None:
    """With `reference=base` the policy starts as the reference, and f_DPO must be what it is there (DPO: log 2).

    A difference means that policy and stored log-probs saw different weights, tokens, or dropout. UserError then.
    """
    if objective.value_at_reference is None:
        return
    batch = collate(rows[:32], 0, "padded")
    value = float(objective(policy, batch)[0]) / objective.size(batch)
    exact = cfg.model.dtype == "float32"
    if abs(value - objective.value_at_reference) > (1e-3 if exact else 5e-2) * objective.value_at_reference:
        raise UserError(
            f"policy and reference are the same model, so f_DPO must start at {objective.value_at_reference:.4f}, but "
            f"it is {value:.4f}: the stored reference log-probs do not belong to this model; clear the cache."
        )
    log.info("check: f_DPO starts at %.4f, as it must with reference=base", value)


def _check_optima(optima: Any) -> None:
    plain = OmegaConf.to_container(optima) if OmegaConf.is_config(optima) else optima
    if plain in ("auto", None):
        return
    numbers: list[Any] = list(plain.values()) if isinstance(plain, dict) and plain.keys() == {"dpo", "sft"} else [None]
    if not all(type(number) in (int, float) and math.isfinite(number) for number in numbers):
        raise UserError(f"optima={plain!r} must be auto, null, or both numbers: 'optima={{dpo: 0.05, sft: 1.5}}'.")


def _whole(key: str, value: Any, at_least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < at_least:
        raise UserError(f"{key}={value!r} must be a whole number >= {at_least}.")
