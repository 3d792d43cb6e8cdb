"""The trajectory in objective space: `trajectory.csv`, `val/*`, `gap/*` and `ideal_distance`, one row per evaluation.

Columns, for every objective of the run: step (optimizer steps done), epoch (passes over the longest loader), f_* (in
its unit), gap_* = f − f*, ideal_distance = sqrt(Σ gap²) (arXiv 2410.15483, section 3; empty unless all optima are
known), *_steps (steps that updated this objective), train_seconds and eval_seconds (cumulative, kept apart).
Logs val/<objective> and gap/<objective> (its unit), ideal_distance, and val/<metric> of objectives (rewards in nats,
accuracies in [0, 1], logps in nats); where two objectives have a metric of one name, val/<objective>/<metric>.
"""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L

from xright.metrics import gap, ideal_distance
from xright.objectives import Objective, labels
from xright.tracking.csvfile import CsvFile
from xright.tracking.watcher import Watcher


class Trajectory(Watcher):
    """folder: where `trajectory.csv` goes. objectives: the run's table; optima: {objective: f*, None where unknown}.
    steps_per_epoch: for the epoch column."""

    def __init__(
        self,
        folder: Path,
        objectives: Mapping[str, Objective],
        optima: Mapping[str, float | None],
        steps_per_epoch: int,
    ) -> None:
        self.objectives, self.steps_per_epoch = objectives, steps_per_epoch
        self.optima = {name: best for name, best in optima.items() if best is not None}
        per_objective = [f"{kind}_{name}" for kind in ("f", "gap") for name in objectives]
        steps = [f"{name}_steps" for name in objectives]
        columns = ["step", "epoch", *per_objective, "ideal_distance", *steps, "train_seconds", "eval_seconds"]
        self.file = CsvFile(folder / "trajectory.csv", columns)
        self.steps_done = 0
        self.picks: Counter[str] = Counter()
        self.train_seconds = self.eval_seconds = 0.0
        self.last: dict[str, Any] = {}

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Begin the file, or go on behind the last row the checkpoint knows of."""
        self.file.start()

    def watch(self, trainer: L.Trainer, pl_module: Any, outputs: Any) -> None:
        """Count; where an evaluation came along, write and log it."""
        if "step" in outputs:
            self.steps_done = outputs["step"] + 1
            self.picks.update(outputs["weights"].keys())
            self.train_seconds += outputs["seconds"]
        if "evaluation" not in outputs:
            return
        self.eval_seconds += outputs["eval_seconds"]
        losses = outputs["evaluation"]
        gaps = {name: gap(losses[name], best) for name, best in self.optima.items() if name in losses}
        goals = [name for name, objective in self.objectives.items() if not objective.surrogate]
        known = gaps and all(name in gaps for name in goals)  # a distance over some of them would be another quantity
        distance = {"ideal_distance": ideal_distance(gaps)} if known else {}
        self.last = self._row(losses, gaps) | distance
        self.file.add([self.last])
        logged = {f"val/{name}": value for name, value in losses.items()}
        logged |= {f"gap/{name}": value for name, value in gaps.items()} | distance
        logged |= {f"val/{name}": value for name, value in by_metric(outputs["evaluation_metrics"]).items()}
        for logger in trainer.loggers:
            logger.log_metrics(logged, step=self.steps_done)

    def _row(self, losses: Mapping[str, float], gaps: Mapping[str, float]) -> dict[str, Any]:
        return {
            "step": self.steps_done,
            "epoch": self.steps_done / self.steps_per_epoch,
            **{f"f_{name}": losses[name] for name in self.objectives if name in losses},
            **{f"gap_{name}": value for name, value in gaps.items()},
            "ideal_distance": None,
            **{f"{name}_steps": self.picks[name] for name in self.objectives},
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
        self.steps_done, self.last = state_dict["steps_done"], state_dict["last"]
        self.picks = Counter(state_dict["picks"])
        self.train_seconds, self.eval_seconds = state_dict["train_seconds"], state_dict["eval_seconds"]
        self.file.go_on(state_dict["file"])

    def summary(self) -> dict[str, Any]:
        """The last evaluation, the picks, the clocks; and the table of objectives as data."""
        values = [f"{kind}_{name}" for kind in ("f", "gap") for name in self.objectives]
        named = labels(self.objectives)
        table = {
            name: {
                "f": self.last.get(f"f_{name}"), "optimum": self.optima.get(name), "gap": self.last.get(f"gap_{name}"),
                "steps": self.picks[name], "unit": objective.unit, "label": named[name],
                "surrogate": objective.surrogate,
            }
            for name, objective in self.objectives.items()
        }  # fmt: skip
        return {
            "steps": self.steps_done,
            **{key: self.last.get(key) for key in (*values, "ideal_distance")},
            **{f"f_{name}_opt": self.optima.get(name) for name in self.objectives},
            "picks": {name: self.picks[name] for name in self.objectives},
            "objectives": table,
            "train_seconds": round(self.train_seconds, 3),
            "eval_seconds": round(self.eval_seconds, 3),
        }


def by_metric(metrics: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """{objective: {metric: value}} as {metric: value}, or {"objective/metric": value} where several have it.

    >>> by_metric({"dpo": {"margin": 1.0}, "sft": {}})
    {'margin': 1.0}
    """
    shared = Counter(metric for found in metrics.values() for metric in found)
    return {
        metric if shared[metric] == 1 else f"{name}/{metric}": value
        for name, found in metrics.items()
        for metric, value in found.items()
    }
