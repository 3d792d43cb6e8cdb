"""Every optimizer step: `steps.csv` and `train/*`, buffered and written every `every` steps.

Columns: step (t, from 0), pick (`dpo`, `sft`, `both`, or another objective's name), loss_* (nats, of the step's batch,
before the update; empty where not computed), seen_gap_* (the selector's last-seen gaps), seconds (evaluation excluded),
tokens (prompt and response tokens of the updated objectives, padding excluded).
Logs train/<objective> (mean over the buffer of the steps that computed it), train/<metric>, and strategy/pick (mean
weight on DPO: 1 always DPO, 0 never).
"""

import statistics
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L

from xright.callbacks.csvfile import CsvFile

COLUMNS = ("step", "pick", "loss_dpo", "loss_sft", "seen_gap_dpo", "seen_gap_sft", "seconds", "tokens")


class Steps(L.Callback):
    """folder: where `steps.csv` goes. every: steps between two writes, ≥ 1."""

    def __init__(self, folder: str | Path, every: int = 10) -> None:
        self.file = CsvFile(Path(folder) / "steps.csv", COLUMNS)
        self.every = every
        self.buffer: list[dict[str, Any]] = []
        self.loggers: Sequence[Any] = ()

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Begin the file, or go on behind the checkpoint's step."""
        self.loggers = trainer.loggers
        self.file.start()

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, *_: Any) -> None:
        """Remember the step, if there was one; write when the buffer is full."""
        if "step" not in outputs:
            return
        self.buffer.append(outputs)
        if len(self.buffer) >= self.every:
            self._flush()

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write what is left."""
        self._flush()

    def state_dict(self) -> dict[str, Any]:
        """How far the file goes. A checkpoint stands for all rows before it: they are written first."""
        self._flush()
        return {"file": list(self.file.mark)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
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
        self.file.add([_row(outputs) for outputs in self.buffer])
        values: dict[str, list[float]] = defaultdict(list)
        for outputs in self.buffer:
            for name, loss in outputs["losses"].items():
                values[f"train/{name}"].append(loss)
                for metric, value in outputs["metrics"][name].items():
                    values[f"train/{metric}"].append(value)
            values["strategy/pick"].append(outputs["weights"].get("dpo", 0.0))
        means = {key: statistics.fmean(found) for key, found in values.items()}
        for logger in self.loggers:
            logger.log_metrics(means, step=self.buffer[-1]["step"] + 1)
        self.buffer.clear()


def _row(outputs: dict[str, Any]) -> dict[str, Any]:
    picked = list(outputs["weights"])
    return {
        "step": outputs["step"],
        "pick": picked[0] if len(picked) == 1 else "both",
        **{f"loss_{name}": loss for name, loss in outputs["losses"].items() if f"loss_{name}" in COLUMNS},
        **{f"seen_gap_{name}": gap for name, gap in outputs["seen_gaps"].items()},
        "seconds": round(outputs["seconds"], 6),
        "tokens": outputs["tokens"],
    }
