"""Every optimizer step: `steps.csv` and `train/*`, buffered and written every `every` steps.

Columns: step (t, from 0), pick (the objective's name; `both` where both of two were; several names joined by +), then
for each objective of the run loss_* (in its unit, of the step's batch, before the update; empty where not computed),
seen_gap_* (the rule's last-seen gap); seconds (evaluation excluded), tokens (prompt and response tokens of the updated
objectives, padding excluded), and weight_* (its weight in the step; empty: none).
Logs train/<objective> (mean over the buffer of the steps that computed it), train/<metric>, weight/<objective> (mean
over the buffer), and strategy/pick (mean weight on the first objective: 1 always, 0 never).
"""

import statistics
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import lightning as L

from xright.tracking.csvfile import CsvFile
from xright.tracking.trajectory import by_metric

BOTH = "both"


class Steps(L.Callback):
    """Write steps.csv. every: steps between two writes, ≥ 1."""

    def __init__(self, every: int = 10) -> None:
        self.every = every
        self.buffer: list[dict[str, Any]] = []
        self.loggers: Sequence[Any] = ()

    def setup(self, trainer: L.Trainer, pl_module: Any, stage: str) -> None:
        """The file has columns for each objective of the run."""
        self.names, self.loggers = tuple(pl_module.objectives), trainer.loggers
        each = [f"{kind}_{name}" for kind in ("loss", "seen_gap") for name in self.names]
        weights = [f"weight_{name}" for name in self.names]
        self.file = CsvFile(pl_module.folder / "steps.csv", ["step", "pick", *each, "seconds", "tokens", *weights])

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Begin the file, or go on behind the checkpoint's step."""
        self.file.start()

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, *_: Any) -> None:
        """Remember the step; write when the buffer is full."""
        self.buffer.append(outputs)
        if len(self.buffer) >= self.every:
            self._flush()

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the rows that are left."""
        self._flush()

    def state_dict(self) -> dict[str, Any]:
        """Return how far the file goes. A checkpoint stands for all rows before it: they are written first."""
        self._flush()
        return {"file": list(self.file.mark)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.file.go_on(state_dict["file"])

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """The steps before a failure are what one wants to see."""
        self._flush()

    def summary(self) -> dict[str, Any]:
        """Median seconds per step; tokens per second over the whole training time."""
        rows = self.file.read()
        seconds = [float(row["seconds"]) for row in rows]
        tokens = sum(int(row["tokens"]) for row in rows)
        return {
            "step_seconds_median": statistics.median(seconds) if rows else None,
            "tokens_per_second": tokens / sum(seconds) if rows else None,
        }

    def _flush(self) -> None:
        if not self.buffer:
            return
        self.file.add([self._row(outputs) for outputs in self.buffer])
        values: dict[str, list[float]] = defaultdict(list)
        for outputs in self.buffer:
            for name, value in (outputs["losses"] | by_metric(outputs["metrics"])).items():
                values[f"train/{name}"].append(value)
            for name in self.names:
                values[f"weight/{name}"].append(outputs["weights"].get(name, 0.0))
        means = {key: statistics.fmean(found) for key, found in values.items()}
        means["strategy/pick"] = means[f"weight/{self.names[0]}"]
        for logger in self.loggers:
            logger.log_metrics(means, step=self.buffer[-1]["step"] + 1)
        self.buffer.clear()

    def _row(self, outputs: dict[str, Any]) -> dict[str, Any]:
        picked = list(outputs["weights"])
        return {
            "step": outputs["step"],
            "pick": BOTH if len(picked) == len(self.names) == 2 else "+".join(picked),
            **{f"loss_{name}": loss for name, loss in outputs["losses"].items()},
            **{f"seen_gap_{name}": gap for name, gap in outputs["seen_gaps"].items()},
            "seconds": round(outputs["seconds"], 6),
            "tokens": outputs["tokens"],
            **{f"weight_{name}": weight for name, weight in outputs["weights"].items()},
        }
