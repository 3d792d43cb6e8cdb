"""A task of `python -m xright.evaluate`: it looks at one model and returns numbers, each with a 95 % interval.

`share` is for what is counted (k of n prompts), `mean` for what is averaged.

- share: Wilson's score interval (1927), which stays in [0, 1] and is sound for k = 0 and k = n.
- mean: percentile bootstrap, the 2.5 % and 97.5 % quantiles of the means of 2,000 resamples, fixed seed.

>>> share(8, 10, higher_is_better=True)
Metric(value=0.8, n=10, low=0.4901624715366418, high=0.9433178485456248, higher_is_better=True)
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import scipy

from xright.errors import UserError
from xright.evaluation.subject import Subject

RESAMPLES = 2000


@dataclass(frozen=True)
class Metric:
    """A number over n examples and its 95 % interval [low, high]."""

    value: float
    n: int
    low: float
    high: float
    higher_is_better: bool


@dataclass
class Result:
    """metrics: what is compared between models. details: what a reader may want besides, JSON-able."""

    metrics: dict[str, Metric]
    details: dict[str, Any] = field(default_factory=dict)


class Task(ABC):
    """name: what the task is called in evaluation.json and in names of files; the option's name in conf/task."""

    name: str = ""

    def files(self) -> Mapping[str, str | Path]:
        """{role: file} of what the result depends on besides the model; a changed file makes another result.

        UserError where one is not there.
        """
        return {}

    def check(self, subject: Subject) -> None:
        """UserError for what can be known to fail before any model is loaded."""

    @abstractmethod
    def run(self, subject: Subject) -> Result:
        """Look at the model. May keep files of its own below `subject.folder`."""


def share(k: int, n: int, higher_is_better: bool) -> Metric:
    """k of n as a fraction with Wilson's interval. UserError for n = 0, where there is no share."""
    if n < 1:
        raise UserError("a share of no examples at all has no value; give at least one prompt.")
    low, high = scipy.stats.binomtest(k, n).proportion_ci(method="wilson")
    return Metric(k / n, n, float(low), float(high), higher_is_better=higher_is_better)


def mean(values: Sequence[float], higher_is_better: bool) -> Metric:
    """The mean with its bootstrap interval, the same for the same values. UserError for no values."""
    if not len(values):
        raise UserError("a mean of no examples at all has no value; give at least one prompt.")
    found, ends = np.asarray(values, dtype=float), (float(values[0]),) * 2
    if len(found) > 1:
        kind: dict[str, Any] = {"method": "percentile", "n_resamples": RESAMPLES, "batch": 100, "random_state": 0}
        ends = scipy.stats.bootstrap((found,), np.mean, **kind).confidence_interval
    return Metric(float(found.mean()), len(found), float(ends[0]), float(ends[1]), higher_is_better=higher_is_better)
