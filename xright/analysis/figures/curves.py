"""Curves over optimizer steps: a column of panels per method, a row per quantity, the weighting by line style.

Means over seeds are drawn strong, single runs faint, 95 % t intervals over seeds as bands. Gaps may be negative (f* is
the lowest value seen), so their axes are linear around 0 and logarithmic beyond.
"""

from collections.abc import Iterator, Mapping
from itertools import cycle
from typing import Any

import numpy as np
import pandas as pd

from xright.analysis.figures.chart import LINEAR_BELOW, Axis, Chart, Mark, Panel, Row
from xright.analysis.figures.thin import end_to_end, share, thin_curve
from xright.analysis.numbers.statistics import Mean, mean_curve
from xright.analysis.read.runs import Runs
from xright.analysis.style import DASHES, Dash, groups_with, look, number
from xright.analysis.text.seed_tables import with_interval

WINDOW = 30  # optimizer steps over which a weight is averaged
POINTS = 200  # of such a mean that are shown per run


def gaps(runs: Runs) -> Chart:
    """Every objective's gap, or its loss where no optimum is known, over optimizer steps."""
    across = f"optimizer step (gap axes are linear within ±{LINEAR_BELOW})"
    return _per_method(runs, runs.trajectory, gap_axes(runs), across)


def gap_axes(runs: Runs) -> dict[str, Axis]:
    """{column: its axis} of `gaps`: of each objective its gap, or its loss where it has no optimum (a surrogate)."""
    found = {}
    for name, one in runs.objectives.items():
        if runs.trajectory[f"gap_{name}"].notna().any():
            found[f"gap_{name}"] = Axis(title=f"{one.label} gap ({one.unit})", scale="symlog")
        else:
            found[f"f_{name}"] = Axis(title=f"f_{one.label} ({one.unit})")
    return found


def picks(runs: Runs) -> Chart:
    """The weight on each objective, a mean over WINDOW steps; of methods whose weights change from step to step."""
    return _per_method(runs, weights(runs), weight_axes(runs), f"optimizer step (weights are means of {WINDOW})")


def weight_axes(runs: Runs) -> dict[str, Axis]:
    """{column: its axis} of `picks`: of two objectives the weight on the first is enough."""
    shown = list(runs.axes.values())[: 1 if len(runs.axes) == 2 else None]
    return {f"weight_{one.name}": Axis(title=f"weight on {one.label}", limits=(-0.03, 1.03)) for one in shown}


def weights(runs: Runs) -> pd.DataFrame:
    """`folder`, `step` and weight_o per objective o, a mean of the last WINDOW steps, at no more than POINTS a run.

    Of joint methods, without those whose weights on several objectives never change (Mix). Where a file has no weights,
    a step that trained one objective is one of weight 1 on it.
    """
    joint = runs.only(runs.table["family"] == "joint")
    columns = {f"weight_{name}": name for name in runs.objectives}
    rows = joint.steps.sort_values(["folder", "step"], kind="stable")
    alone = pd.DataFrame({column: (rows["pick"] == name).astype(float) for column, name in columns.items()})
    known = rows[list(columns)].notna().any(axis=1)
    found = rows[list(columns)].fillna(0.0).where(known, alone)[known | (alone.sum(axis=1) > 0)]
    folder = rows["folder"][found.index]
    constant = (found.groupby(folder).nunique().max(axis=1) == 1) & ((found > 0).sum(axis=1).groupby(folder).max() > 1)
    found = found[~folder.isin(constant.index[constant])]
    own = found.groupby(folder[found.index], sort=False)
    rolling = own.rolling(WINDOW, min_periods=WINDOW // 2).mean().droplevel(0)
    to_come = own.cumcount(ascending=False)
    shown = to_come % np.ceil((own.cumcount() + to_come + 1) / POINTS) == 0
    return rows[["folder", "step"]].join(rolling, how="inner")[shown]


def _per_method(runs: Runs, rows: pd.DataFrame, shown: Mapping[str, Axis], across: str) -> Chart:
    """Small panels: a column per method, a row per quantity {column of rows: its axis}."""
    steps = rows.dropna(subset=[*shown], how="all").groupby("folder")["step"].nunique()
    table = runs.table[runs.table["folder"].isin(steps.index[steps > 1])]  # one row is no line
    methods = [group for _, group in table.groupby("method", sort=False)]
    if not methods:
        return Chart(rows=[Row(panels=[Panel(marks=[], nothing="No run recorded this.")], height=2.2)], width=8)
    charted: list[Row] = []
    for column, axis in shown.items():
        x = Axis(title=across if column == [*shown][-1] else "")
        titles = ["" if charted else own["method"].iloc[0] for own in methods]
        drawn = [list(_marks(own, rows, column)) for own in methods]
        panels = [Panel(marks=marks, title=title, x=x, y=axis) for marks, title in zip(drawn, titles, strict=True)]
        charted.append(Row(panels=panels, height=2.6, shared="xy"))
    return Chart(rows=charted, width=max(8.0, 2.6 * len(methods)))


def _marks(table: pd.DataFrame, rows: pd.DataFrame, column: str) -> Iterator[Mark]:
    for (key, group, mine), dash in zip(groups_with(table, rows.dropna(subset=column)), cycle(DASHES)):
        if mine["step"].nunique() > 1:
            yield from _curve(key, mine, column, dash, most=0 if len(group) == 1 else share(len(table)))


def _curve(key: dict, rows: pd.DataFrame, column: str, dash: Dash, *, most: int) -> Iterator[Mark]:
    """Single runs faint, in `most` points each, their interval as a band, their mean strong; 0: there is one run."""
    style: Any = {"colour": look(key["method"])[0], "group": key["label"]}
    curve = thin_curve(mean_curve(rows, column))
    if most:
        way = end_to_end(rows, "step", column, most=most)
        told = [f"{step:.0f}: {number(value)}" for step, value in zip(way["step"], way[column], strict=True)]
        yield Mark(x=way["step"], y=way[column], dash=dash, width=0.7, alpha=0.25, head=key["label"],
                   facts={"one run, step": told}, **style)  # fmt: skip
        band = curve.dropna(subset=["low"])
        around = np.append(band.index, band.index[::-1]), np.append(band["high"], band["low"][::-1])
        yield Mark(x=around[0], y=around[1], filled=True, alpha=0.15, **style)
    means = zip(curve.index, curve["mean"], curve["high"] - curve["mean"], curve["n"].astype(int), strict=True)
    told = [f"{step:.0f}: {with_interval(Mean(*found))}, runs: {found[2]}" for step, *found in means]
    yield Mark(x=curve.index, y=curve["mean"], dash=dash, width=1.6, listed=True, head=key["label"],
               facts={"step": told}, **style)  # fmt: skip
