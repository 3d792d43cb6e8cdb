"""A composed configuration as typed parts: what the rooms below the pipeline are given in its place.

`complete` fills in what one setting says of another; `Settings.of` turns the whole into parts, once. Nodes with a
`_target_` stay nodes (`Mapping`), for `build`: a stage makes its objectives and optimizers afresh.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from omegaconf import DictConfig, OmegaConf

from xright.config.build import build
from xright.config.naming import ARITHMETIC
from xright.errors import UserError, check_number
from xright.objectives import Objective
from xright.strategies.weights import check_weights, lam_of

Node = Mapping[str, Any]


@dataclass(frozen=True)
class ModelSettings:
    """conf/model: which model, in which dtype, trained in full or through an adapter."""

    path: str | None
    revision: str | None
    tokenizer: str | None
    init: Node | None
    pretrain: Node | None
    lora: Node
    dtype: str
    quantize: str | None
    trust_remote_code: bool
    gradient_checkpointing: bool
    micro_batch: int | None

    @property
    def reading(self) -> dict[str, Any]:
        """Return how any model of the run is read, beside its dtype: the arguments of `models.load`."""
        return {"trust_remote_code": self.trust_remote_code, "quantize": self.quantize}

    @property
    def key(self) -> dict[str, Any]:
        """Return `reading` as a cached stage's key has it."""
        return {"remote_code": self.trust_remote_code} | ({"quantize": self.quantize} if self.quantize else {})

    @property
    def adapter(self) -> Node | None:
        """Return what an adapter is made of that is trained in the place of all parameters; None: they are trained."""
        if self.lora["continue"]:
            return {"continue": True, "dropout": self.lora["dropout"]}
        return {key: value for key, value in self.lora.items() if key != "continue"} if self.lora["r"] else None


@dataclass(frozen=True)
class LoopSettings:
    """How any training goes, a stage's or a run's: on what machine, in what layout, how often it looks and saves.

    eval_every, checkpoint_every: steps. eval_batch_size: rows per forward. micro_batch: rows per forward in training;
    None: the whole step at once. look: how a rule sees a loss it may not use (`module.py`).
    """

    trainer: Node
    eval_every: int
    eval_batch_size: int
    checkpoint_every: int
    layout: str
    look: str
    micro_batch: int | None


@dataclass(frozen=True)
class Settings:
    """epochs: of the run and of the optima's stages. steps_per_epoch: None: one pass over the longest stream.
    objectives: {name: node}, the run's table. optima: "auto", or {name: f* or None}. arithmetic: of the trainer's
    settings, those that change results beyond rounding."""

    model: ModelSettings
    loop: LoopSettings
    data: Node
    optim: Node
    objectives: Mapping[str, Node]
    optima: str | Mapping[str, float | None]
    reference: str
    reference_training: Node
    epochs: int
    steps_per_epoch: int | None
    seed: int
    arithmetic: Mapping[str, Any]

    @classmethod
    def of(cls, cfg: DictConfig) -> "Settings":
        """Make the parts of a configuration that `complete` has filled in."""
        plain: Any = OmegaConf.to_container(cfg, resolve=True)
        found = {key: OmegaConf.select(cfg, key) for key in ARITHMETIC}
        own = {field.name for field in fields(cls)} - {"model", "loop", "objectives", "optima", "arithmetic"}
        return cls(
            **{key: plain[key] for key in own},
            model=_part(ModelSettings, plain["model"]),
            loop=_part(LoopSettings, {**plain, "micro_batch": plain["model"]["micro_batch"]}),
            objectives={name: node for name, node in plain["objectives"].items() if node},
            optima={} if plain["optima"] is None else plain["optima"],
            arithmetic={key: _plain(value) for key, value in found.items() if value is not None},
        )

    def table(self) -> dict[str, Objective]:
        """Build the run's objectives, {name: objective}."""
        return {name: build(node) for name, node in self.objectives.items()}


def complete(cfg: DictConfig, overrides: Sequence[str] = ()) -> None:
    """Fill in `weights` where it is null: λ on the first of two objectives, 1 − λ on the second; of another number of
    them, each the same. `lam` becomes what the weights say, null for another number than two.

    overrides: as given on the command line. UserError for a λ or weights that are none, and where one contradicts the
    other.
    """
    table = {name: build(node) for name, node in cfg.objectives.items() if node}
    names = [name for name, objective in table.items() if not objective.surrogate]
    given = {override.split("=")[0].lstrip("+").split(".")[0] for override in overrides}
    if cfg.weights is not None and not OmegaConf.is_dict(cfg.weights):
        raise UserError(f"weights={cfg.weights!r} must be numbers by objective: 'weights={_example(names)}', or null.")
    if cfg.weights is None:
        check_number("lam", cfg.lam, lambda x: 0 <= x <= 1, f"a number in [0, 1]: {_meaning(names)}")
        if "lam" in given and len(names) != 2:
            raise UserError(
                f"lam={cfg.lam} weighs two objectives, and this run has {', '.join(names)}"
                f"{_unweighed([name for name in table if name not in names])}; give 'weights={_example(names)}'."
            )
        lam = float(cfg.lam)
        cfg.weights = dict(zip(names, (lam, 1 - lam), strict=True)) if len(names) == 2 else dict.fromkeys(names, 1.0)
    elif "lam" in given and ("weights" in given or lam_of(cfg.weights) != cfg.lam):  # other ranks get them filled in
        raise UserError(f"lam={cfg.lam} and weights={cfg.weights} say the same thing twice; leave one of them out.")
    if unknown := [name for name, value in cfg.weights.items() if name not in names and value is not None]:
        raise UserError(
            f"weights names {', '.join(map(str, unknown))}, but the objectives of this run are {', '.join(names)}; "
            f"give 'weights={_example(names)}', or an objective of that name."
        )
    given_weights: Any = OmegaConf.to_container(cfg.weights, resolve=True)
    cfg.weights = check_weights(given_weights) if names else {}
    cfg.lam = lam_of(cfg.weights)


def _unweighed(surrogates: list[str]) -> str:
    return f" ({', '.join(surrogates)}: trained in the place of others, without a weight)" if surrogates else ""


def _meaning(names: list[str]) -> str:
    if len(names) != 2:
        return "the weight on the first of two objectives"
    first, second = (name.upper() for name in names)
    return f"the weight on {first} (0 {second} only, 1 {first} only)"


def _example(names: list[str]) -> str:
    return f"{{{', '.join(f'{name}: 1' for name in names)}}}"


def _part(kind: Any, plain: Mapping[str, Any]) -> Any:
    return kind(**{field.name: plain[field.name] for field in fields(kind)})


def _plain(node: Any) -> Any:
    return OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node
