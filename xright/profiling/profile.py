"""The profile of some models: the same rows, asked of one after the other."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from torch import nn

from xright import models
from xright.config.build import build
from xright.data.corpus import corpus_of
from xright.data.rows import Row, Rows
from xright.errors import UserError
from xright.forward.batch import Batch
from xright.forward.collate import collate
from xright.forward.packing import choose_layout
from xright.objectives import Objective, labels
from xright.pipeline.certificates import by_prompt
from xright.pipeline.reference import reference_logps
from xright.profiling.changes import Change, changes
from xright.profiling.measures import Losses, cosine, divergence, gradient, losses
from xright.training.fit import pad_id

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
    return _Asked(names, cfg).profile()


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


class _Asked:
    """The rows that all models are asked, and their objectives by the names that people call them."""

    def __init__(self, names: Sequence[str], cfg: DictConfig) -> None:
        self.names, self.cfg, self.corpus = names, cfg, corpus_of(cfg)
        made: dict[str, Objective] = {name: build(node) for name, node in cfg.objectives.items() if node}
        self.objectives = {called: made[name] for name, called in labels(made).items()}
        for name, one in self.objectives.items():
            if one.anchored or one.of_base:
                raise UserError(
                    f"{name} cannot be profiled, for its losses depend on all rows of a step, or on rows that the base "
                    "writes; choose another objective, or set it to null."
                )
        self.pad = pad_id(self.corpus.tokenizer)

    def profile(self) -> Profile:
        """Measure one model after the other; two or three are in memory at a time."""
        rows = {name: self.rows(one) for name, one in self.objectives.items()}
        self.check_tokens(rows)
        base = self.loaded(self.names[0])
        reference = base if self.cfg.reference is None else self.loaded(self.cfg.reference)
        groups = {name: by_prompt(self.with_reference(own, reference, name)) for name, own in rows.items()}
        found: dict[str, list[Losses]] = {name: [] for name in self.objectives}
        moved, angles = [], []
        for name in self.names:
            log.info("profiling %s", name)
            policy = base if name == self.names[0] else self.loaded(name)
            batches = {objective: self.laid_out(own, policy) for objective, own in groups.items()}
            for objective, own in batches.items():
                found[objective].append(losses(policy, self.objectives[objective], own))
            every = [batch for own in batches.values() for batch in own]
            moved.append(0.0 if policy is base else divergence(base, policy, every))
            if self.cfg.gradients:
                angles.append(self.angles(policy, batches))
        units = {name: one.unit for name, one in self.objectives.items()}
        called = short(self.names)
        return Profile(
            called, losses=found, divergences=moved, angles=angles,
            changes=changes(called, found, self.cfg.seed), units=units,
        )  # fmt: skip

    def rows(self, objective: Objective) -> Rows:
        """The first rows of an objective's stream."""
        rows = self.corpus.train(objective.stream)
        rows = rows if objective.responses > 1 or objective.labelled else rows.chosen_only()
        return rows[: self.cfg.rows]

    def check_tokens(self, rows: Mapping[str, Rows]) -> None:
        """UserError for a model whose tokenizer reads the first rows otherwise than the base's."""
        ours = self.corpus.tokenizer
        texts = [ours.decode(row.prompt) for own in rows.values() for row in own[:5]]
        for name in self.names[1:]:
            theirs = models.load_tokenizer(name, self.cfg.trust_remote_code)
            if other := [text for text in texts if theirs(text)["input_ids"] != ours(text)["input_ids"]]:
                raise UserError(
                    f"{name} reads {other[0][:40]!r} as other tokens than {self.names[0]} does, so that their losses "
                    "cannot be compared; leave it out."
                )

    def loaded(self, name: str) -> nn.Module:
        """A model in eval mode, an adapter merged, on the GPU where there is one."""
        model: Any = models.load_merged(name, self.cfg.dtype, trust_remote_code=self.cfg.trust_remote_code)
        return model.eval().requires_grad_(bool(self.cfg.gradients)).to("cuda" if torch.cuda.is_available() else "cpu")

    def with_reference(self, rows: Rows, reference: nn.Module, objective: str) -> Rows:
        """The rows with the reference's log-probs, where their objective needs them."""
        if not self.objectives[objective].needs_reference:
            return rows
        ids, logps = reference_logps(reference, rows, self.pad, self.cfg.layout)
        return rows.with_reference(ids.numpy(), logps.numpy())

    def laid_out(self, groups: Sequence[Sequence[Row]], policy: nn.Module) -> list[Batch]:
        """A batch for each prompt, in the layout that the model can have."""
        layout, device = choose_layout(policy, self.cfg.layout), next(policy.parameters()).device
        return [collate(group, self.pad, layout).to(device) for group in groups]

    def angles(self, policy: nn.Module, batches: Mapping[str, Sequence[Batch]]) -> dict[str, float]:
        """Return `Profile.angles` of one model."""
        gradients, found = {}, {}
        for name, own in batches.items():
            gradients[name], found[name] = gradient(policy, self.objectives[name], own)
        return found | {f"{a} · {b}": cosine(gradients[a], gradients[b]) for a, b in combinations(batches, 2)}
