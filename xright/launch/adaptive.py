"""The sweeper behind `hydra/sweeper=adaptive`: the next λ goes where the front has its widest gap.

A front begins with both ends of `lam=interval(0,1)`. Between two neighbouring λ of which each is better in one
objective, a run in the middle of a straight front would add a quarter of the rectangle they span to the hypervolume.
The interval with the largest is halved, until that is less than `gain` of the rectangle of the ends. What was found
decides, and no clock and no draw: the same command makes the same runs, and so goes on where it was.
"""

import logging
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from omegaconf import DictConfig

from xright.machine.command import end

log = logging.getLogger(__name__)

Point = Sequence[float]  # both objectives' values, lower is better


class Adaptive(Sweeper):
    """A Hydra sweeper; its arguments are those of conf/hydra/sweeper/adaptive.yaml."""

    def __init__(self, gain: float, most: int, at_once: int) -> None:
        if not (0 < gain < 1 and most > 2 and at_once > 0):
            end(f"hydra.sweeper: gain={gain} must be in (0, 1), most={most} above 2, at_once={at_once} above 0.")
        self.gain, self.most, self.at_once = gain, most, at_once

    def setup(self, *, config: DictConfig, **kwargs: Any) -> None:
        """Hydra hands over its context, which the launcher needs."""
        self.launcher: Any = Plugins.instance().instantiate_launcher(config=config, **kwargs)

    def sweep(self, arguments: list[str]) -> None:
        """Run the fronts side by side, round by round. One with a run that did not finish ends there."""
        fronts, ends = fronts_of(arguments)
        points: list[dict[float, Any]] = [{} for _ in fronts]
        number = 0
        while batch := [(front, lam) for front in range(len(fronts)) for lam in self._next(points[front], ends)]:
            returned = self.launcher.launch([[*fronts[front], _lam(lam)] for front, lam in batch], number)
            for (front, lam), told in zip(batch, returned, strict=True):
                points[front][lam] = told.return_value
            number += len(batch)

    def _next(self, points: Mapping[float, Any], ends: Sequence[float]) -> Sequence[float]:
        if not points:
            return ends
        if not all(isinstance(point, Sequence) for point in points.values()):
            return ()
        chosen = [found for found in gaps(points) if found[0] >= self.gain][
            : min(self.at_once, self.most - len(points))
        ]
        for gain, lam in chosen:
            log.info("a front of %d runs: λ=%g is expected to add %.1f %%", len(points), lam, 100 * gain)
        return [lam for _, lam in chosen]


def fronts_of(arguments: Sequence[str]) -> tuple[list[list[str]], tuple[float, float]]:
    """Return the overrides of each front, without λ, and the two λ that they begin with.

    >>> fronts_of(["lam=interval(0,1)", "seed=1,2"])
    ([['seed=1'], ['seed=2']], (0.0, 1.0))
    """
    overrides = OverridesParser.create().parse_overrides(list(arguments))
    intervals = [override for override in overrides if override.is_interval_sweep()]
    if [override.get_key_element() for override in intervals] != ["lam"]:
        end("hydra/sweeper=adaptive looks for values of λ, and of nothing else: give 'lam=interval(0,1)'.")
    interval: Any = intervals[0].value()
    (fronts,) = BasicSweeper.split_arguments([one for one in overrides if one not in intervals], max_batch_size=None)
    return fronts, (float(interval.start), float(interval.end))


def first_round(arguments: Sequence[str]) -> list[list[str]]:
    """Return the cells that are run whatever comes out: both ends of every front.

    >>> first_round(["lam=interval(0,1)", "strategy=mix"])
    [['strategy=mix', 'lam=0.0'], ['strategy=mix', 'lam=1.0']]
    """
    fronts, ends = fronts_of(arguments)
    return [[*front, _lam(lam)] for front in fronts for lam in ends]


def gaps(points: Mapping[float, Point]) -> list[tuple[float, float]]:
    """Return (expected gain, λ in the middle) of each interval, the largest gain first.

    points: {λ: values}, the smallest and the largest λ being the ends. The gain is a share of the rectangle that the
    ends span; 0 between two points of which one is as good in both objectives, and everywhere where an end is.

    >>> gaps({0: (4, 0), 0.5: (1, 1), 1: (0, 4)})
    [(0.046875, 0.25), (0.046875, 0.75)]
    """
    found = sorted(points.items())
    whole = _rectangle(found[0][1], found[-1][1])
    expected = [
        (_rectangle(a, b) / whole / 4 if whole else 0.0, (left + right) / 2)
        for (left, a), (right, b) in pairwise(found)
    ]
    return sorted(expected, key=lambda found: -found[0])


def _rectangle(a: Point, b: Point) -> float:
    return max(0.0, -(a[0] - b[0]) * (a[1] - b[1]))


def _lam(value: float) -> str:
    return f"lam={value!r}"
