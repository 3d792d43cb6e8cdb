"""The rows that models are asked, and what a model is asked of them."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import torch
from omegaconf import DictConfig
from torch import nn
from transformers import PreTrainedTokenizerBase

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
from xright.profiling.measures import Losses, cosine, gradient, losses
from xright.training.fit import pad_id

Groups = Mapping[str, Sequence[Sequence[Row]]]  # {objective: its rows, prompt by prompt}
Batches = Mapping[str, Sequence[Batch]]  # the same, laid out


class Asked:
    """Some rows of each stream, drawn by the seed, and the objectives on them by the names that people call them.

    cfg: conf/profile.yaml, resolved. UserError for an objective that is not of rows alone.
    """

    def __init__(self, cfg: DictConfig) -> None:
        self.cfg, self.corpus = cfg, corpus_of(cfg)
        made: dict[str, Objective] = {name: build(node) for name, node in cfg.objectives.items() if node}
        self.objectives = {called: made[name] for name, called in labels(made).items()}
        for name, one in self.objectives.items():
            if one.anchored or one.of_base:
                raise UserError(
                    f"{name} cannot be profiled, for its losses depend on all rows of a step, or on rows that the base "
                    "writes; choose another objective, or set it to null."
                )
        self.pad = pad_id(self.corpus.tokenizer)
        self.rows = {name: self._rows(one) for name, one in self.objectives.items()}

    def _rows(self, objective: Objective) -> Rows:
        rows = self.corpus.train(objective.stream)
        rows = rows if objective.responses > 1 or objective.labelled else rows.chosen_only()
        return rows.drawn(self.cfg.rows, self.cfg.seed)

    def check_tokens(self, name: str, tokenizer: PreTrainedTokenizerBase) -> None:
        """UserError for a model whose tokenizer reads the rows otherwise than the base's."""
        ours = self.corpus.tokenizer
        texts = [ours.decode(row.prompt) for own in self.rows.values() for row in own[:5]]
        if other := [text for text in texts if tokenizer(text)["input_ids"] != ours(text)["input_ids"]]:
            raise UserError(
                f"{name} reads {other[0][:40]!r} as other tokens than {self.cfg.model.path} does, so that their losses "
                "cannot be compared; leave it out."
            )

    def loaded(self, name: str) -> nn.Module:
        """A model in eval mode, an adapter merged, on the GPU where there is one."""
        model: Any = models.load_merged(name, self.cfg.dtype, trust_remote_code=self.cfg.trust_remote_code)
        return model.eval().requires_grad_(bool(self.cfg.gradients)).to("cuda" if torch.cuda.is_available() else "cpu")

    def groups(self, base: nn.Module) -> Groups:
        """The rows by prompt, with log-probs of the reference where their objective needs them; `base` is the
        reference unless the configuration names another."""
        reference = base if self.cfg.reference is None else self.loaded(self.cfg.reference)
        return {name: by_prompt(self._with_reference(own, reference, name)) for name, own in self.rows.items()}

    def _with_reference(self, rows: Rows, reference: nn.Module, objective: str) -> Rows:
        if not self.objectives[objective].needs_reference:
            return rows
        ids, logps = reference_logps(reference, rows, self.pad, self.cfg.layout)
        return rows.with_reference(ids.numpy(), logps.numpy())

    def laid_out(self, groups: Groups, policy: nn.Module) -> Batches:
        """A batch for each prompt, in the layout that the model can have."""
        layout, device = choose_layout(policy, self.cfg.layout), next(policy.parameters()).device
        return {
            name: [collate(group, self.pad, layout).to(device) for group in groups[name]] for name in self.objectives
        }

    def losses(self, policy: nn.Module, batches: Batches) -> dict[str, Losses]:
        """The losses of each objective."""
        return {name: losses(policy, objective, batches[name]) for name, objective in self.objectives.items()}

    def angles(self, policy: nn.Module, batches: Batches) -> dict[str, float]:
        """{"DPO · SFT": the cosine of two objectives' gradients, "DPO": that of its own halves}."""
        gradients, found = {}, {}
        for name, own in batches.items():
            gradients[name], found[name] = gradient(policy, self.objectives[name], own)
        return found | {f"{a} · {b}": cosine(gradients[a], gradients[b]) for a, b in combinations(batches, 2)}
