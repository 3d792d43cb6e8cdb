"""Figs 1, 3 and 8 of arXiv 2410.15483: ways through objective space, ideal distance, runtime increase.

Paths are means over seeds at the evaluations that all have, single runs faint; marks are final models, larger for a
larger λ; the star is the ideal point, its mean over seeds. All panels of paths of two objectives have the same
logarithmic axes.
"""

from collections.abc import Iterable, Iterator
from itertools import cycle

import pandas as pd
from matplotlib.figure import Figure

from xright.analysis.figures.bars import compared_in_time, distance_panel, height_of, runtime_panel
from xright.analysis.figures.chart import Chart, Mark, Panel, Row
from xright.analysis.figures.objective_space import Pair, axes_of, ideal, pairs_of, size_of
from xright.analysis.figures.printed import printed
from xright.analysis.figures.thin import end_to_end
from xright.analysis.numbers.statistics import mean_curve
from xright.analysis.read.runs import Runs
from xright.analysis.style import DASHES, groups_with, look


def paths_figure(runs: Runs) -> Figure:
    """Above, a panel of paths per method; below, ideal distance, and runtime against the matched Sequential run, where
    there is one."""
    times = [] if compared_in_time(runs).empty else [runtime_panel(runs)]
    below = Row(panels=[distance_panel(runs), *times], height=height_of(runs.table))
    return printed(Chart(rows=[*path_rows(runs), below], width=max(12, 2 * runs.table["front"].nunique())))


def summary_figure(runs: Runs) -> Figure:
    """All paths in one panel, for a few runs; beside it ideal distance, and runtime as in `paths_figure`."""
    spaces = []
    for pair in pairs_of(runs):
        paths = [mark for front, mine in _by_front(runs) for mark in _paths(mine, pair, False, front)]
        spaces.append(_panel(runs, pair, "", paths))
    panels = [*spaces, distance_panel(runs), runtime_panel(runs, "Runtime increase (%)")]  # which is narrow
    return printed(Chart(rows=[Row(panels=panels, height=4, widths=[1.2] * len(spaces) + [1, 0.8])], width=12))


def path_rows(runs: Runs, one_seed: bool = False) -> list[Row]:
    """Return a row of panels for each pair of objectives, one per method (without its splits into epochs).

    one_seed: paths and ends of the lowest seed in the place of means, which would smooth what oscillates.
    """
    rows = []
    for pair in pairs_of(runs):
        panels = [_panel(runs, pair, front, _paths(mine, pair, one_seed)) for front, mine in _by_front(runs)]
        rows.append(Row(panels=panels, height=3.4, shared="xy"))
    return rows


def _panel(runs: Runs, pair: Pair, title: str, paths: Iterable[Mark]) -> Panel:
    x, y = axes_of(pair, runs.table)
    return Panel(marks=[*paths, *ideal(runs.table, pair)], title=title, x=x, y=y)


def _by_front(runs: Runs) -> Iterator[tuple[str, Runs]]:
    for front in runs.table["front"].unique():
        yield front, runs.only(runs.table["front"] == front)


def _paths(runs: Runs, pair: Pair, one_seed: bool, name: str = "") -> Iterator[Mark]:
    """The paths of one method, a line style per weighting or split; a model without a path is a mark alone.

    name: in the legend; by default each path's label.
    """
    columns = [f"f_{one.name}" for one in pair]
    for (key, group, rows), dash in zip(groups_with(runs.table, runs.trajectory), cycle(DASHES)):
        colour, marker = look(key["method"])
        single = end_to_end(rows, *columns)
        x, y = (single[column] for column in columns)
        yield Mark(x=x, y=y, colour=colour, alpha=0.2, width=0.7, dash=dash)
        if one_seed:
            group = group.nsmallest(1, "seed")
            rows = rows[rows["folder"].isin(group["folder"])]
        end = group[columns].mean()
        x, y = _mean_path(rows, end)
        shown = name or key["label"]
        yield Mark(x=x, y=y, dash=dash, colour=colour, group=shown, listed=len(x) > 1)
        yield Mark(x=end[:1], y=end[1:], marker=marker, size=size_of(key), colour=colour, group=shown,
                   listed=len(x) < 2)  # fmt: skip


def _mean_path(rows: pd.DataFrame, end: pd.Series) -> Iterator[pd.Series]:
    """The means of the columns that `end` names at the steps that all runs have; then `end`, where these are not the
    steps that runs end at: one that is longer than others would lead the path to an end of its own."""
    whole = rows.dropna(subset=[*end.index])
    for column, last in zip(whole[end.index], end, strict=True):
        way = mean_curve(whole, column)["mean"]
        ends_here = way.index[-1:] == whole["step"].max()
        yield way if ends_here.all() else pd.concat([way, pd.Series([last])])
