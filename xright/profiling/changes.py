"""What each stage gave and took: differences of losses between consecutive models, with intervals over prompts.

    won        f_before − f_after, where that is above 0: what the stage has learnt of an objective
    given back (f_after − f_before) / (f_base − f_before), where the stages before had won f_base − f_before > 0:
               the share of it that this stage has lost again. More than 1: the loss ends above the base's.

Intervals are percentiles of DRAWS bootstrap draws of the prompts (Efron 1979), the same prompts for all models, so that
prompts that are hard for all of them cancel. A share is told only where the whole interval of what had been won is
above 0.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from xright.profiling.measures import Losses

DRAWS, LEVEL = 2000, 0.95


class Interval(NamedTuple):
    """A value, and the ends of its 95 % interval."""

    value: float
    low: float
    high: float


class Change(NamedTuple):
    """What a stage did to an objective. change: f_after − f_before, negative where it has learnt. given_back: of what
    the stages before had won, None where they had won nothing for sure or this one has lost nothing."""

    stage: str
    objective: str
    change: Interval
    given_back: Interval | None

    def as_data(self) -> dict[str, Any]:
        """Return what `profile.json` says of it."""
        return {
            "stage": self.stage, "objective": self.objective, "change": self.change._asdict(),
            "given_back": self.given_back and self.given_back._asdict(),
        }  # fmt: skip

    @property
    def sentence(self) -> str:
        """ "m2 gave back 63 % (41 to 88 %) of what had been won on SFT." """
        value, low, high = self.change
        if self.given_back:
            share, least, most = (round(100 * one) for one in self.given_back)
            return f"{self.stage} gave back {share} % ({least} to {most} %) of what had been won on {self.objective}."
        words = "won" if high < 0 else "lost" if low > 0 else "did not surely change"
        amount = "" if low <= 0 <= high else f" {abs(value):.3f}"
        return f"{self.stage} {words}{amount} on {self.objective} ({value:+.3f}, {low:+.3f} to {high:+.3f} nats)."


def changes(models: Sequence[str], found: Mapping[str, Sequence[Losses]], seed: int = 0) -> list[Change]:
    """What each model but the first did to each objective. found: {objective: its losses, model by model}."""
    rows = []
    for objective, by_model in found.items():
        prompts = len(by_model[0].sums_C)
        drawn = np.random.default_rng(seed).integers(prompts, size=(DRAWS, prompts))
        f = [(one.mean(), one.mean(drawn)) for one in by_model]
        for k in range(1, len(models)):
            lost = _interval(f[k], f[k - 1])
            won = _interval(f[0], f[k - 1])
            back = None
            if k > 1 and lost.value > 0 and won.low > 0:
                share = (f[k][1] - f[k - 1][1]) / np.maximum(f[0][1] - f[k - 1][1], np.finfo(float).tiny)
                back = Interval(lost.value / won.value, *np.quantile(share, _ends()).tolist())
            rows.append(Change(models[k], objective, lost, back))
    return sorted(rows, key=lambda one: models.index(one.stage))


def _interval(after: tuple[float, Any], before: tuple[float, Any]) -> Interval:
    return Interval(after[0] - before[0], *np.quantile(after[1] - before[1], _ends()).tolist())


def _ends() -> tuple[float, float]:
    return (1 - LEVEL) / 2, (1 + LEVEL) / 2
