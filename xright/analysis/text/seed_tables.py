"""Statistics over seeds as people read them: ideal distances by weights, hypervolumes, paired comparisons.

"±" is half the width of a 95 % t interval over seeds; a single run stands without it.
"""

from typing import Any

import pandas as pd

from xright.analysis.numbers.statistics import Mean, comparisons, hypervolumes, mean_interval
from xright.analysis.read.runs import Runs
from xright.analysis.style import number
from xright.analysis.text.tables import Grid

POWERS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


def distance_grid(runs: Runs) -> Grid:
    """Ideal distance: a row per method, a column per weighting and one for what has none; no rows where no optima are
    known."""
    known = runs.table.dropna(subset="ideal_distance")
    ats = known.sort_values("lam", kind="stable")["weighting"].unique()
    columns = {at: at for at in ats if at} | ({"": "no weights"} if "" in ats else {})
    rows = []
    for variant, group in known.groupby("variant", sort=False):
        cells = [group.loc[group["weighting"] == at, "ideal_distance"] for at in columns]
        rows.append([str(variant), *(with_interval(mean_interval(cell)) for cell in cells)])
    return Grid(["method", *columns.values()], rows, 1)


def hypervolume_grid(runs: Runs) -> Grid:
    """A row per method: hypervolume, over how many seeds, and of how many points each."""
    rows = []
    for method, group in hypervolumes(runs).groupby("method", sort=False):
        found = mean_interval(group["hypervolume"])
        rows.append([str(method), str(found.n), str(group["points"].iloc[0]), with_interval(found)])
    unit = f"nats{str(len(runs.axes)).translate(POWERS)}"
    return Grid(["method", "seeds", "points per seed", f"hypervolume ({unit})"], rows, 1)


def comparison_grid(runs: Runs, each: bool = True) -> Grid:
    """A row per pair of methods and weights ("all": mean over the weights that both have), with the verdict.

    each: not only "all".
    """
    found = comparisons(runs.table)
    shown: Any = found if each else found[found["weighting"] == ""]
    rows = [
        [
            f"{row.left} ends closer than {row.right}",
            row.verdict,
            row.weighting or "all",
            str(row.n),
            with_interval(Mean(row.mean, row.high - row.mean, row.n)),
        ]
        for row in shown.itertuples()
    ]
    return Grid(["statement", "verdict", "weights", "seeds", "difference of ideal distances (nats)"], rows, 2)


def means_over_training(runs: Runs, rows: pd.DataFrame, columns: dict[str, str]) -> Grid:
    """The text alternative of curves: each quantity of `columns` {key: heading} at quarters of the way, seeds averaged.

    rows: `folder`, `step` and the keys; the value at a quarter is the last one known by then.
    """
    headings = [f"{heading}, {part} %" for heading in columns.values() for part in (25, 50, 75, 100)]
    found = rows.dropna(subset=list(columns)).sort_values("step", kind="stable")
    way = found["step"] / found.groupby("folder")["step"].transform("max")
    reached = [found[way <= part].groupby("folder")[list(columns)].last() for part in (0.25, 0.5, 0.75, 1.0)]
    lines = []
    for label, group in runs.table.groupby("label", sort=False):
        values = [quarter.reindex(group["folder"]) for quarter in reached]
        if values[-1].notna().any(axis=None):
            cells = [with_interval(mean_interval(quarter[column])) for column in columns for quarter in values]
            lines.append([str(label), *cells])
    return Grid(["method", *headings], lines, 1)


def with_interval(found: Mean) -> str:
    """ "0.200 ± 0.248", "0.200" for a single run, "–" for none."""
    return number(found.mean) + ("" if pd.isna(found.half) else f" ± {number(found.half)}")
