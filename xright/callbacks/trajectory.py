"""The trajectory in objective space: `trajectory.csv` and `val/*`, one row per evaluation.

Columns: step (optimizer steps done), epoch (passes over the longer loader), f_* (nats: per pair for dpo, per response
token for sft), gap_* = f − f*, ideal_distance (empty where no optima are known), *_steps (steps that updated this
objective), train_seconds and eval_seconds (cumulative, kept apart).
Logs val/<objective> (nats) and val/<metric> of the objectives (rewards in nats, accuracies in [0, 1], logps in nats).
"""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L

from xright.callbacks.csvfile import CsvFile
from xright.metrics import gap, ideal_distance
from xright.objectives import JOINT


class Trajectory(L.Callback):
    """folder: where `trajectory.csv` goes. optima: {objective: f*}, or None. steps_per_epoch: for the epoch column."""

    def __init__(self, folder: str | Path, optima: Mapping[str, float] | None, steps_per_epoch: int) -> None:
        self.optima = dict(optima) if optima else {}
        self.steps_per_epoch = steps_per_epoch
        per_objective = [f"{kind}_{name}" for kind in ("f", "gap") for name in JOINT]
        steps = [f"{name}_steps" for name in JOINT]
        columns = ["step", "epoch", *per_objective, "ideal_distance", *steps, "train_seconds", "eval_seconds"]
        self.file = CsvFile(Path(folder) / "trajectory.csv", columns)
        self.steps_done = 0
        self.picks: Counter[str] = Counter()
        self.train_seconds = self.eval_seconds = 0.0
        self.last: dict[str, Any] = {}

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Begin the file, or go on behind the last row the checkpoint knows of."""
        self.file.start()

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, *_: Any) -> None:
        """Count; where an evaluation came along, write and log it."""
        if "step" in outputs:
            self.steps_done = outputs["step"] + 1
            self.picks.update(outputs["weights"].keys())
            self.train_seconds += outputs["seconds"]
        if "evaluation" not in outputs:
            return
        self.eval_seconds += outputs["eval_seconds"]
        self.last = self._row(outputs["evaluation"])
        self.file.add([self.last])
        logged = {f"val/{name}": value for name, value in outputs["evaluation"].items()}
        for metrics in outputs["evaluation_metrics"].values():
            logged |= {f"val/{name}": value for name, value in metrics.items()}
        for logger in trainer.loggers:
            logger.log_metrics(logged, step=self.steps_done)

    def _row(self, losses: Mapping[str, float]) -> dict[str, Any]:
        gaps = {name: gap(losses[name], best) for name, best in self.optima.items() if name in losses}
        return {
            "step": self.steps_done,
            "epoch": self.steps_done / self.steps_per_epoch,
            **{f"f_{name}": losses[name] for name in JOINT if name in losses},
            **{f"gap_{name}": value for name, value in gaps.items()},
            "ideal_distance": ideal_distance(gaps) if gaps else None,
            **{f"{name}_steps": self.picks[name] for name in JOINT},
            "train_seconds": round(self.train_seconds, 3),
            "eval_seconds": round(self.eval_seconds, 3),
        }

    def state_dict(self) -> dict[str, Any]:
        """Counts and clocks; the rows themselves are in the file, up to its mark."""
        return {
            "steps_done": self.steps_done, "picks": dict(self.picks), "last": self.last,
            "train_seconds": self.train_seconds, "eval_seconds": self.eval_seconds, "file": list(self.file.mark),
        }  # fmt: skip

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.steps_done, self.last = state_dict["steps_done"], state_dict["last"]
        self.picks = Counter(state_dict["picks"])
        self.train_seconds, self.eval_seconds = state_dict["train_seconds"], state_dict["eval_seconds"]
        self.file.go_on(state_dict["file"])

    def summary(self) -> dict[str, Any]:
        """The last evaluation, the picks, and the clocks."""
        values = [f"{kind}_{name}" for kind in ("f", "gap") for name in JOINT]
        return {
            "steps": self.steps_done,
            **{key: self.last.get(key) for key in (*values, "ideal_distance")},
            **{f"f_{name}_opt": self.optima.get(name) for name in JOINT},
            "picks": {name: self.picks[name] for name in JOINT},
            "train_seconds": round(self.train_seconds, 3),
            "eval_seconds": round(self.eval_seconds, 3),
        }
