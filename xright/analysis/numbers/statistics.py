"""What several seeds say together: means with intervals, paired comparisons, hypervolumes.

    mean ± t_{n−1, 0.975} · s / √n          Student's 95 % interval; s: sample standard deviation, n: runs (seeds)

One run has no interval: it says nothing about another seed. Two methods are compared by the differences of their ideal
distances at equal weights, seed and setting, because runs that share their data and draws vary together. "Left ends
closer than right" holds if the whole interval of left − right lies below 0, does not hold if it lies above 0, and is
otherwise left open. Distances are in nats, hypervolumes (xright.metrics) in nats to the number of objectives. Intervals
are not corrected for how many of them there are. The quantile is scipy's; the interval around it stays ours, for
`scipy.stats.t.interval` takes 150 times as long (0.1 ms), and a report asks for thousands.

>>> mean_interval([0.1, 0.2, 0.3])  # t = 4.3027 for n = 3: 4.3027 · 0.1 / √3
Mean(mean=0.2, half=0.2484, n=3)
"""

from collections.abc import Iterable, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from xright.analysis.read.runs import CELL, Runs
from xright.metrics import hypervolume

LEVEL = 0.95
MARGIN = 0.1  # of the range of final values, by which the reference point is worse than the worst of them


class Mean(NamedTuple):
    """A mean over `n` runs and half the width of its interval; NaN where n = 1 (both are NaN where n = 0)."""

    mean: float
    half: float
    n: int

    @property
    def low(self) -> float:
        """Return the lower end of the interval."""
        return self.mean - self.half

    @property
    def high(self) -> float:
        """Return the upper end of the interval."""
        return self.mean + self.half

    def __repr__(self) -> str:
        return f"Mean(mean={self.mean:.4g}, half={self.half:.4g}, n={self.n})"


def mean_interval(values: Iterable[float]) -> Mean:
    """Mean and 95 % t interval; missing values (NaN) are not counted."""
    known = np.asarray(list(values), dtype=float)
    known = known[~np.isnan(known)]
    n = len(known)
    if n < 2:
        return Mean(float(known[0]) if n else np.nan, np.nan, n)
    half = stdtrit(n - 1, (1 + LEVEL) / 2) * known.std(ddof=1) / np.sqrt(n)
    return Mean(float(known.mean()), float(half), n)


def means(table: pd.DataFrame, by: Sequence[str], columns: Sequence[str]) -> pd.DataFrame:
    """One row per group and column: `by`, `quantity`, `mean`, `low`, `high`, `n`, in the order of the table."""
    rows = []
    for keys, group in table.groupby(list(by), dropna=False, sort=False):
        for column in columns:
            found = mean_interval(group[column])
            rows.append([*keys, column, found.mean, found.low, found.high, found.n])
    return pd.DataFrame(rows, columns=[*by, "quantity", "mean", "low", "high", "n"])


def mean_curve(rows: pd.DataFrame, column: str) -> pd.DataFrame:
    """`mean`, `low`, `high`, `n` of a column over runs, at each step (the index) that as many runs have as any.

    A step that only some have is left out: where one run goes on, the curve would leap to its values.
    """
    steps, place = np.unique(rows["step"].to_numpy(), return_inverse=True)
    values = rows[column].to_numpy(dtype=float)
    known = ~np.isnan(values)
    place, values = place[known], values[known]
    least = np.full(len(steps), np.inf)
    np.minimum.at(least, place, values)
    above = values - least[place]  # so that equal values have no spread, not even that of rounding
    n = np.bincount(place, minlength=len(steps)).astype(float)
    seen, several = np.where(n > 0, n, np.nan), np.where(n > 1, n, np.nan)
    height = np.bincount(place, above, len(steps)) / seen
    squares = np.bincount(place, (above - height[place]) ** 2, len(steps))
    mean = least + height
    half = stdtrit(several - 1, (1 + LEVEL) / 2) * np.sqrt(squares / (several - 1) / several)
    found = pd.DataFrame({"mean": mean, "low": mean - half, "high": mean + half, "n": n}, pd.Index(steps, name="step"))
    return found[n == n.max(initial=0)]


def verdict(difference: Mean) -> str:
    """holds / does not hold / cannot tell, of "left is lower than right", from the interval of left − right."""
    if difference.n < 2 or difference.low <= 0 <= difference.high:
        return "cannot tell"
    return "holds" if difference.high < 0 else "does not hold"


def comparisons(table: pd.DataFrame, column: str = "ideal_distance") -> pd.DataFrame:
    """Every pair of methods with weights, at equal setting, weights and seeds: is `left` lower than `right`?

    Columns `setting, left, right, weighting, lam, mean, low, high, n, verdict`, the difference left − right; in the row
    with weighting "", each seed counts with its mean over all weights that both methods have (seeds that lack one are
    left out).
    """
    rows = []
    known = table[table["weighting"] != ""].dropna(subset=column).sort_values("lam", kind="stable")
    lams = known.groupby("weighting", sort=False)["lam"].first()
    for setting, part in known.groupby("setting", sort=False):
        wide = part.pivot_table(column, [*CELL, "weighting"], "variant", dropna=True)
        for right, left in combinations(table.loc[table["variant"].isin(part["variant"]), "variant"].unique(), 2):
            grid = (wide[left] - wide[right]).dropna().unstack("weighting")
            if grid.empty:
                continue
            found = [(at, lams[at], mean_interval(grid[at])) for at in lams.index if at in grid]
            found.append(("", np.nan, mean_interval(grid.dropna().mean(axis=1))))
            rows += [[setting, left, right, *at, d.mean, d.low, d.high, d.n, verdict(d)] for *at, d in found]
    columns = ["setting", "left", "right", "weighting", "lam", "mean", "low", "high", "n", "verdict"]
    return pd.DataFrame(rows, columns=columns)


def reference_point(runs: Runs) -> list[float]:
    """A loss for each of `Runs.axes`, worse than all final ones by MARGIN of the range from there to the best loss or
    optimum."""
    finals, optima = (runs.table[[f"f_{name}{end}" for name in runs.axes]].to_numpy() for end in ("", "_opt"))
    worst, best = np.nanmax(finals, axis=0), np.nanmin(np.concatenate([finals, optima]), axis=0)
    return (worst + MARGIN * (worst - best)).tolist()


def hypervolumes(runs: Runs) -> pd.DataFrame:
    """Return what each method's final points (over its weights) dominate, per seed: columns `setting, method, seeds,
    seed, points, hypervolume`, and `reference_<objective>`.

    The reference point is the same for all runs of a setting. Seeds with fewer points than the method's fullest seed
    are left out, for a missing weight is no fault of the method.
    """
    rows = []
    for setting, part in runs.by_setting():
        corner, losses = reference_point(part), [f"f_{name}" for name in part.axes]
        reference = dict(zip((f"reference_{name}" for name in part.axes), corner, strict=True))
        for method, own in part.table.groupby("front", sort=False):
            cells = {key: cell[losses].dropna() for key, cell in own.groupby(["seeds", "seed"], sort=False)}
            fullest = max(map(len, cells.values()))
            rows += [
                {"setting": setting, "method": method, "seeds": seeds, "seed": seed, "points": len(points),
                 "hypervolume": hypervolume(points, corner), **reference}
                for (seeds, seed), points in cells.items()
                if len(points) == fullest
            ]  # fmt: skip
    return pd.DataFrame(rows)
