"""The profile of some models: the same rows, asked of one after the other."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from xright import models
from xright.errors import UserError
from xright.profiling.asked import Asked
from xright.profiling.changes import Change, changes
from xright.profiling.measures import Losses, divergence

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Profile:
    """models: in their order, the base first. losses: {objective: by model}. divergences: KL from the base, by model.
    angles: by model {"DPO · SFT": the cosine of two objectives' gradients, "DPO": that of its own halves}; empty where
    gradients were not asked for. labels, units: of the objectives."""

    models: Sequence[str]
    losses: Mapping[str, Sequence[Losses]]
    divergences: Sequence[float]
    angles: Sequence[Mapping[str, float]]
    changes: Sequence[Change]
    units: Mapping[str, str]

    def as_data(self) -> dict[str, Any]:
        """Return the profile as plain data, as profile.json holds it."""
        return {
            "models": [
                {
                    "model": model,
                    "losses": {name: own[at].mean() for name, own in self.losses.items()},
                    "gaps": {name: own[at].mean() - self.best(name) for name, own in self.losses.items()},
                    "kl_from_base": self.divergences[at],
                    "cosines": dict(self.angles[at]) if self.angles else None,
                }
                for at, model in enumerate(self.models)
            ],
            "changes": [change.as_data() for change in self.changes],
            "prompts": {name: len(own[0].sums_C) for name, own in self.losses.items()},
            "units": dict(self.units),
        }

    def best(self, objective: str) -> float:
        """Return the lowest loss that any of the models has."""
        return min(one.mean() for one in self.losses[objective])


def profile(names: Sequence[str], cfg: DictConfig) -> Profile:
    """Measure the models, the base first. cfg: conf/profile.yaml, resolved. UserError where there is no such model, or
    one reads other tokens than the base."""
    if len(names) < 2 or len({*names}) < len(names):
        raise UserError(f"name a base and at least one other model, each once; {list(names)} does not.")
    asked = Asked(cfg)
    for name in names[1:]:
        asked.check_tokens(name, models.load_tokenizer(name, cfg.trust_remote_code))
    base = asked.loaded(names[0])
    groups = asked.groups(base)
    found: dict[str, list[Losses]] = {name: [] for name in asked.objectives}
    moved, angles = [], []
    for name in names:  # two or three models are in memory at a time
        log.info("profiling %s", name)
        policy = base if name == names[0] else asked.loaded(name)
        batches = asked.laid_out(groups, policy)
        for objective, own in asked.losses(policy, batches).items():
            found[objective].append(own)
        every = [batch for own in batches.values() for batch in own]
        moved.append(0.0 if policy is base else divergence(base, policy, every))
        if cfg.gradients:
            angles.append(asked.angles(policy, batches))
    units = {name: one.unit for name, one in asked.objectives.items()}
    called = short(names)
    return Profile(
        called, losses=found, divergences=moved, angles=angles,
        changes=changes(called, found, cfg.seed), units=units,
    )  # fmt: skip


def short(names: Sequence[str]) -> list[str]:
    """What people call models: the last part of a path that tells them apart, without a run's model/.

    >>> short(["EleutherAI/pythia-1b", "runs/sft/model", "dpo/checkpoint-9"])
    ['pythia-1b', 'sft', 'checkpoint-9']
    """
    parts = [[part for part in Path(name).parts if part != "model"] or [name] for name in names]
    for length in range(1, max(map(len, parts)) + 1):
        found = ["/".join(part[-length:]) for part in parts]
        if len({*found}) == len(found):
            return found
    return list(names)
