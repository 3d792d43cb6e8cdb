"""The stopping rule of arXiv 2410.15483, appendix B.2, checked at every evaluation.

Stop when f_DPO ≤ f_DPO* + ε, or f_SFT ≤ f_SFT* + ε, or some point (s, d) of a reference Pareto front has
f_SFT ≤ s + ε and f_DPO ≤ d + ε; ε in nats. Evaluations are the same on all ranks, so all stop together.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning as L

from xright.errors import UserError
from xright.metrics import pareto_front
from xright.places import place


class StoppingRule(L.Callback):
    """optima: {objective: f*}. front: points (f_SFT, f_DPO), or the folder of a study whose finished ALRIGHT runs give
    them, or None. epsilon: ε ≥ 0. Does nothing for a strategy that may not stop early (Sequential).

    Raises UserError when there is nothing to compare with.
    """

    def __init__(
        self,
        optima: Mapping[str, float] | None,
        front: Sequence[Sequence[float]] | str | None = None,
        epsilon: float = 1e-4,
    ) -> None:
        self.optima = dict(optima) if optima else {}
        self.front = _front_of_study(place(front)) if isinstance(front, str) else [tuple(p) for p in front or []]
        self.epsilon = epsilon
        self.stopped_by: str | None = None
        if not self.optima and not self.front:
            raise UserError(
                "the stopping rule needs optima or a reference front; leave optima=auto, or drop callbacks.stop."
            )

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: Any, *_: Any) -> None:
        """End the run where the rule says so."""
        if "evaluation" in outputs and pl_module.selector.may_stop_early:
            self.stopped_by = self.verdict(outputs["evaluation"])
            trainer.should_stop |= self.stopped_by is not None

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """A run that was interrupted after it stopped stays stopped."""
        trainer.should_stop |= self.stopped_by is not None

    def state_dict(self) -> dict[str, Any]:
        """The verdict."""
        return {"stopped_by": self.stopped_by}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.stopped_by = state_dict["stopped_by"]

    def verdict(self, losses: Mapping[str, float]) -> str | None:
        """Which part of the rule holds: `<objective>_optimum`, `front`, or None."""
        for name, best in self.optima.items():
            if losses[name] <= best + self.epsilon:
                return f"{name}_optimum"
        for sft, dpo in self.front:
            if losses["sft"] <= sft + self.epsilon and losses["dpo"] <= dpo + self.epsilon:
                return "front"
        return None

    def summary(self) -> dict[str, Any]:
        """stopped_by, where the rule ended the run."""
        return {"stopped_by": self.stopped_by} if self.stopped_by else {}


def _front_of_study(folder: Path) -> list[tuple[float, float]]:
    """(f_SFT, f_DPO) of the finished ALRIGHT runs below a folder, dominated points left out."""
    results = [json.loads(file.read_text()) for file in sorted(folder.glob("*/result.json"))]
    points = [(r["f_sft"], r["f_dpo"]) for r in results if r["strategy"] == "alright"]
    if not points:
        raise UserError(f"callbacks.stop.front={str(folder)!r} holds no finished ALRIGHT run to make a front of.")
    return [points[index] for index in pareto_front(points)]
