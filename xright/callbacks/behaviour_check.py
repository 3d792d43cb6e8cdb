"""A small check of what the policy does, over training: `behaviour.csv` and `behaviour/*`, a row per check.

A loss says little about what a model does; this asks it, every few evaluations, the same prompts, greedily. What is
asked and how it is judged is the check's affair (`evaluation/checks.py`). Rank 0 writes.

Columns: step (optimizer steps done), and the check's metrics: shares in [0, 1]. Logs behaviour/<metric>, and to W&B a
table behaviour/completions (step, prompt, completion, verdict).
"""

from typing import Any

import lightning as L

from xright.data.control import unmarked
from xright.errors import UserError
from xright.evaluation.generate import complete, encode, positions
from xright.tracking.csvfile import CsvFile
from xright.tracking.text_tables import log_table
from xright.tracking.watcher import Watcher


class BehaviourCheck(Watcher):
    """check: a `Check`. every: evaluations between two checks (the first and the last evaluation always have one).
    max_new_tokens: per completion. batch_size: completions at a time."""

    def __init__(self, check: Any, every: int = 1, max_new_tokens: int = 64, batch_size: int = 64) -> None:
        if every < 1:
            raise UserError(f"every={every!r} of the behaviour check must be at least 1 evaluation.")
        self.check, self.every, self.max_new_tokens, self.batch_size = check, every, max_new_tokens, batch_size
        self.evaluations = 0

    def setup(self, trainer: L.Trainer, pl_module: Any, stage: str) -> None:
        """UserError for a prompt that leaves no room for a completion; better now than in the middle of a run."""
        self.file = CsvFile(pl_module.folder / "behaviour.csv", ["step", *self.check.metrics])
        prompts, room = self._written(pl_module.tokenizer), positions(pl_module.policy)
        for prompt, ids in zip(prompts, encode(pl_module.tokenizer, prompts, self.check.template.is_chat), strict=True):
            if room is not None and len(ids) + self.max_new_tokens > room:
                raise UserError(
                    f"the behaviour check's prompt {prompt[:40]!r}… has {len(ids)} tokens and leaves no room for "
                    f"max_new_tokens={self.max_new_tokens} in the model's {room} positions; leave it out, or lower it."
                )

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Begin the file, or go on behind the last check that the checkpoint knows of."""
        self.file.start()

    def watch(self, trainer: L.Trainer, pl_module: Any, outputs: Any) -> None:
        """Check at the first, every `every`-th and the last evaluation."""
        if "evaluation" not in outputs:
            return
        steps_done = outputs["steps_done"]
        due = self.evaluations % self.every == 0 or steps_done == pl_module.total_steps or trainer.should_stop
        if due:  # on all ranks: a sharded policy needs them
            self._look(trainer, pl_module, steps_done)
        self.evaluations += 1

    def _look(self, trainer: L.Trainer, pl_module: Any, steps_done: int) -> None:
        prompts, tokenizer = self._written(pl_module.tokenizer), pl_module.tokenizer
        is_chat = self.check.template.is_chat
        completions = complete(
            pl_module.policy, tokenizer, prompts, self.max_new_tokens, batch_size=self.batch_size, is_chat=is_chat
        )
        verdicts, shares = self.check.judge(completions)
        self.file.add([{"step": steps_done, **shares}])
        for logger in trainer.loggers:
            logger.log_metrics({f"behaviour/{name}": value for name, value in shares.items()}, step=steps_done)
        rows = [
            {"step": steps_done, "prompt": unmarked(prompt), "completion": completion, "verdict": verdict}
            for prompt, completion, verdict in zip(prompts, completions, verdicts, strict=True)
        ]
        log_table(trainer, "behaviour/completions", rows, steps_done)

    def _written(self, tokenizer: Any) -> list[str]:
        return [self.check.template.render(tokenizer, prompt) for prompt in self.check.prompts]

    def state_dict(self) -> dict[str, Any]:
        """Return how many evaluations have passed, and how far the file goes."""
        return {"evaluations": self.evaluations, "file": list(self.file.mark)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.evaluations = state_dict["evaluations"]
        self.file.go_on(state_dict["file"])
