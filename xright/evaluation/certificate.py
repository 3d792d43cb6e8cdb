"""The certificate of a gap: does f − f* stay below ε on rows like the held-out ones, and how sure is that?

    g = f − f*,   f = Σ ℓ_c / Σ n_c          c: the prompts of the held-out rows; ℓ_c, n_c: loss and units of a prompt
    e_c = x_c − (Σ x / Σ n) n_c              what prompt c adds to the error of a ratio of sums; Σ e = 0
    s² = C/(C−1) Σ e_c² / (Σ n)²             its variance (Cochran 1977, eq 2.44)
    bounds: g − s·h(±q),   q = t_{C−1, 1−α/K},   h(y) = 3/d ((1 + d (y − d/6))^⅓ − 1),   d = skewness of e / √C

Each bound is one-sided; α = .05 is shared by the run's K certificates (Bonferroni). h (Hall 1992, JRSS B 54:221) is y
where nothing is skewed. A few rows of large loss are the rule, and without h upper bounds would be too low: from 30 to
100 rows, as few as 89 to 91 % would hold (`experiments/certificate`).

A prompt counts once, with all its rows and those of later turns: they vary together, as the tokens of a row do, and
data are split into training and held-out rows by prompt. What x is depends on where f* comes from:

- *paired*: f* is the optima stage's, the lowest loss it saw **on the same rows**. x_c is ℓ_c minus that of the stage's
  final model: rows that are hard for both cancel. Where the lowest loss came before the end, what was lost since is in
  g, as a constant. A lowest of several looks is low by chance, so this makes `met` rarer and `not met` likelier.
- f* is a number that was given: it is taken as exact, and x_c = ℓ_c.

The bounds are about what f − f* is in expectation over such prompts, for the two models at hand; they say nothing of
another training run. `met`: the upper bound is at most ε; `not met`: the lower one is above it; else `undecided`. In at
most 5 % of draws of the rows one of a run's verdicts is wrong, as far as these approximations go: for fewer than LEAST
prompts there are no bounds.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import scipy

CONFIDENCE = 0.95
LEAST = 30  # prompts


@dataclass(frozen=True)
class Certificate:
    """epsilon, gap, its lower and upper bound (None: too few prompts) in the unit of the loss; confidence: of all
    certificates of the run together; rows, prompts: held out; paired: is f* of the same rows?"""

    epsilon: float
    gap: float
    lower: float | None
    upper: float | None
    rows: int
    prompts: int
    paired: bool
    confidence: float = CONFIDENCE

    @property
    def verdict(self) -> str:
        """Tell whether the gap is at most ε: met, not met, or undecided."""
        if self.lower is None or self.upper is None:
            return "undecided"
        return "met" if self.upper <= self.epsilon else "not met" if self.lower > self.epsilon else "undecided"

    @property
    def evidence(self) -> str:
        """Return the numbers behind the verdict, in words."""
        gap = f"gap {self.gap:.4f}"
        if self.lower is None or self.upper is None:
            return f"{gap} on {self.prompts} held-out prompts: fewer than {LEAST} give no bound"
        bound = {
            "met": f"at most {self.upper:.4f}",
            "not met": f"at least {self.lower:.4f}",
            "undecided": f"between {self.lower:.4f} and {self.upper:.4f}",
        }[self.verdict]
        fixed = "" if self.paired else ", f* taken as exact"
        return f"{gap}, {bound} with {self.confidence:.0%} confidence ({self.rows} held-out rows{fixed})"

    def as_data(self) -> dict[str, Any]:
        """Return what `result.json` says of it."""
        return {**asdict(self), "verdict": self.verdict}

    @classmethod
    def of_data(cls, data: Mapping[str, Any]) -> "Certificate":
        """Return the certificate that `as_data` tells of."""
        return cls(**{key: value for key, value in data.items() if key != "verdict"})


def certify(
    epsilon: float,
    losses_C: np.ndarray,
    units_C: np.ndarray,
    optimum: float,
    *,
    optimum_losses_C: np.ndarray | None = None,
    rows: int,
    among: int = 1,
    least: int = LEAST,
) -> Certificate:
    """Return the certificate of a gap, from each prompt's summed loss and its units.

    optimum: f*. optimum_losses_C: of the optima stage's final model, where f* is from these rows. rows: how many the
    prompts have. among: certificates that the run gives. least: prompts without which there are no bounds.

    >>> certify(0.2, np.arange(40.0) % 2, np.ones(40), 0.4, rows=40).evidence  # s = .5/√39, t = 1.6849
    'gap 0.1000, between -0.0349 and 0.2349 with 95% confidence (40 held-out rows, f* taken as exact)'
    """
    units, prompts = units_C.sum(), len(units_C)
    gap, paired = float(losses_C.sum() / units) - optimum, optimum_losses_C is not None
    lower, upper = None, None
    if prompts >= least:
        differences_C = losses_C if optimum_losses_C is None else losses_C - optimum_losses_C
        errors_C = differences_C - differences_C.sum() / units * units_C
        deviation = float(np.sqrt(prompts / (prompts - 1) * (errors_C**2).sum()) / units)
        quantile = float(scipy.special.stdtrit(prompts - 1, 1 - (1 - CONFIDENCE) / among))
        d = float(scipy.stats.skew(errors_C, bias=False)) / prompts**0.5 if deviation else 0.0
        lower, upper = (gap - deviation * straightened(y, d) for y in (quantile, -quantile))
    return Certificate(epsilon, gap, lower, upper, rows=rows, prompts=prompts, paired=paired)


def straightened(y: float, d: float) -> float:
    """Return h(y), which for a skewness of 0 is y.

    >>> round(straightened(-2.0, 0.3), 4)  # 10 (.385^⅓ − 1)
    -2.7252
    """
    return y if abs(d) < 1e-9 else 3 / d * (float(np.cbrt(1 + d * (y - d / 6))) - 1)
