"""Completions of a few fixed prompts over training: `samples.jsonl`, so that forgetting can be read, not only plotted.

The prompts are data, so they come from the module that is trained (`JointModule.showcase`) and never through the
configuration, which would take `${…}` in them for an instruction. Rank 0 writes them. Each line:
step (optimizer steps done), prompt (as rendered for the model), kind, completion (greedy). Logs to W&B a table
`samples` of the same columns.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import lightning as L

from xright.data.control import unmarked
from xright.evaluation.generate import complete
from xright.tracking.journal import Journal
from xright.tracking.text_tables import log_table
from xright.tracking.watcher import Watcher

log = logging.getLogger(__name__)


class Samples(Watcher):
    """every: evaluations between two looks (the last evaluation is always one). max_new_tokens: per completion."""

    def __init__(self, every: int = 5, max_new_tokens: int = 64) -> None:
        self.every, self.max_new_tokens = every, max_new_tokens
        self.prompts: Sequence[Mapping[str, Any]] = ()
        self.evaluations = 0

    def setup(self, trainer: L.Trainer, pl_module: Any, stage: str) -> None:
        """Leave out prompts that leave no room for a completion, and say so; better now than in the middle of a run."""
        self.file = Journal(pl_module.folder / "samples.jsonl")
        self.prompts = pl_module.showcase
        room = getattr(pl_module.policy.config, "max_position_embeddings", None)
        if room is None:
            return
        tokens = [len(pl_module.tokenizer(prompt["prompt"])["input_ids"]) for prompt in self.prompts]
        fit = [p for p, n in zip(self.prompts, tokens, strict=True) if n + self.max_new_tokens <= room]
        if len(fit) < len(self.prompts):
            log.info("samples: %d prompts are too long for this model and left out", len(self.prompts) - len(fit))
        self.prompts = fit

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Begin the file, or go on where the checkpoint was."""
        self.file.start()

    def watch(self, trainer: L.Trainer, pl_module: Any, outputs: Any) -> None:
        """Complete the prompts at the first, every `every`-th and the last evaluation."""
        if "evaluation" not in outputs or not self.prompts:
            return
        steps_done = outputs["steps_done"]
        due = self.evaluations % self.every == 0 or steps_done == pl_module.total_steps or trainer.should_stop
        if due:  # on all ranks: a sharded policy needs them
            lines = self._sample(pl_module, steps_done)
            log_table(trainer, "samples", lines, steps_done)
        self.evaluations += 1

    def _sample(self, pl_module: Any, steps_done: int) -> list[dict[str, Any]]:
        texts = [prompt["prompt"] for prompt in self.prompts]
        is_chat = [bool(prompt.get("is_chat")) for prompt in self.prompts]
        completions = complete(
            pl_module.policy, pl_module.tokenizer, texts, self.max_new_tokens, batch_size=len(texts), is_chat=is_chat
        )
        lines = [
            {"step": steps_done, "prompt": unmarked(prompt["prompt"]), "kind": prompt["kind"], "completion": completion}
            for prompt, completion in zip(self.prompts, completions, strict=True)
        ]
        self.file.append("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
        return lines

    def state_dict(self) -> dict[str, Any]:
        """Return how many evaluations have passed, and how far the file goes."""
        return {"evaluations": self.evaluations, "file": list(self.file.mark)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.evaluations = state_dict["evaluations"]
        self.file.go_on(state_dict["file"])
