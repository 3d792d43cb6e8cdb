"""The stopping rule of arXiv 2410.15483, appendix B.2, checked at every evaluation.

Stop when f_i ≤ f_i* + ε for some objective i, or when some point p of a reference Pareto front has f_i ≤ p_i + ε for
all i; ε in nats. Evaluations are the same on all ranks, so all stop together.
"""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning as L

from xright.errors import UserError, check_number
from xright.machine.paths import place
from xright.metrics import pareto_front
from xright.tracking.watcher import Watcher


class StoppingRule(Watcher):
    """optima: {objective: f*}. front: points {objective: f}, or the folder of a study whose finished runs of the
    strategy `of` give them, or None. epsilon: ε ≥ 0. Does nothing in a run of several phases, whose budget is its
    phases (Sequential).

    Raises UserError when there is nothing to compare with.
    """

    def __init__(
        self,
        optima: Mapping[str, float | None] | None,
        front: Sequence[Mapping[str, float]] | str | None = None,
        of: str | None = None,
        epsilon: float = 1e-4,
    ) -> None:
        self.optima = {name: best for name, best in (optima or {}).items() if best is not None}
        self.front = _front_of_study(place(front), of) if isinstance(front, str) else [_point(p) for p in front or []]
        self.epsilon = epsilon
        self.stopped_by: str | None = None
        if not self.optima and not self.front:
            raise UserError(
                "the stopping rule needs optima or a reference front; leave optima=auto, or drop callbacks.stop."
            )

    def watch(self, trainer: L.Trainer, pl_module: Any, outputs: Any) -> None:
        """End the run where the rule says so."""
        if "evaluation" in outputs and len(pl_module.schedule) == 1:
            self.stopped_by = self.verdict(outputs["evaluation"])
            trainer.should_stop |= self.stopped_by is not None

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """A run that was interrupted after it stopped stays stopped."""
        trainer.should_stop |= self.stopped_by is not None

    def state_dict(self) -> dict[str, Any]:
        """Return why the rule ended the run, where it did."""
        return {"stopped_by": self.stopped_by}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.stopped_by = state_dict["stopped_by"]

    def verdict(self, losses: Mapping[str, float]) -> str | None:
        """Return which part of the rule holds: `<objective>_optimum`, `front`, or None."""
        for name, best in self.optima.items():
            if losses[name] <= best + self.epsilon:
                return f"{name}_optimum"
        for point in self.front:
            if all(losses[name] <= value + self.epsilon for name, value in point.items()):
                return "front"
        return None

    def summary(self) -> dict[str, Any]:
        """Return {stopped_by: …} where the rule ended the run."""
        return {"stopped_by": self.stopped_by} if self.stopped_by else {}


def _point(given: Any) -> dict[str, float]:
    if not isinstance(given, Mapping):
        raise UserError(f"a point of callbacks.stop.front is {given!r}, but must be by objective: {{objective: f, …}}.")
    return {
        name: check_number(f"callbacks.stop.front: {name}", f, lambda _: True, "a number") for name, f in given.items()
    }


def _front_of_study(folder: Path, strategy: str | None) -> list[dict[str, float]]:
    """{objective: f} of the finished runs of a strategy below a folder, dominated points left out."""
    results = [json.loads(file.read_text()) for file in sorted(folder.glob("*/result.json"))]
    points = [
        {key[2:]: value for key, value in result.items() if re.fullmatch(r"f_(?!.*_opt$).+", key) and value is not None}
        for result in results
        if strategy in (None, result["strategy"])
    ]
    if not points:
        kind = f"{strategy} run" if strategy else "run"
        raise UserError(f"callbacks.stop.front={str(folder)!r} holds no finished {kind} to make a front of.")
    names = [name for name in points[0] if all(name in point for point in points)]
    return [
        {name: points[place][name] for name in names} for place in pareto_front([[p[n] for n in names] for p in points])
    ]
