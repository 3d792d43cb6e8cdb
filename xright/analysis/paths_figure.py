"""Figs 1, 3 and 8 of arXiv 2410.15483: ways through objective space, ideal distance, runtime increase.

Paths are means over seeds at each evaluation, single runs faint; marks are final models, larger for larger λ; the star
is the ideal point (f_DPO*, f_SFT*), its mean over seeds. All panels of paths have the same logarithmic axes.
"""

from collections.abc import Iterator
from itertools import cycle
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import LogLocator

from xright.analysis.main_figure import distance_bars
from xright.analysis.plots import bar_panel
from xright.analysis.runs import Runs
from xright.analysis.runtime import runtime_increases
from xright.analysis.statistics import front_name, mean_curve
from xright.analysis.style import (
    DASHES,
    INK,
    end_to_end,
    groups_with,
    look,
    name_rows,
    new_figure,
    nothing,
    plain_ticks,
    short_name,
    styled,
)


@styled
def paths_figure(runs: Runs) -> Figure:
    """Above, a panel of paths per method; below, ideal distance, and runtime against the matched Sequential run."""
    bars = 0.6 + 0.22 * runs.table["label"].nunique()
    figure = new_figure(12, 3.7 + bars)
    parts: Any = figure.subfigures(2, 1, height_ratios=(3.7, bars))
    above, below = parts
    path_panels(above, runs)
    distances, times = below.subplots(1, 2)
    distance_panel(distances, runs)
    runtime_panel(times, runs)
    return figure


@styled
def summary_figure(runs: Runs) -> Figure:
    """All paths in one panel, for a few runs; beside it ideal distance, and runtime as in `paths_figure`."""
    figure = new_figure(12, 4)
    space, distances, times = figure.subplots(1, 3, width_ratios=(1.2, 1, 0.8))
    for name, mine in _by_method(runs):
        _paths(space, mine, one_seed=False, name=name)
    _around(space, runs)
    space.set(xlabel="f_DPO (nats per pair)", ylabel="f_SFT (nats per token)")
    space.legend(frameon=False, fontsize=8)
    distance_panel(distances, runs)
    runtime_panel(times, runs)
    times.set_title("Runtime increase (%)", fontsize=9)
    return figure


def path_panels(figure: Figure | SubFigure, runs: Runs, one_seed: bool = False) -> None:
    """A panel per method (a variant without its split into epochs), side by side.

    one_seed: paths and ends of the lowest seed in the place of means, which would smooth what oscillates.
    """
    methods = list(_by_method(runs))
    panels = figure.subplots(1, len(methods), sharex=True, sharey=True, squeeze=False)[0]
    for axes, (name, mine) in zip(panels, methods, strict=True):
        _paths(axes, mine, one_seed)
        axes.set_title(name)
        _around(axes, runs)
        axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(0, -0.1))
    panels[0].set_ylabel("f_SFT (nats per token)")
    figure.supxlabel("f_DPO (nats per pair)", fontsize=9)


def _by_method(runs: Runs) -> Iterator[tuple[str, Runs]]:
    methods = runs.table["variant"].map(front_name)
    for method in methods.unique():
        yield method, runs.only(methods == method)


def _around(axes: Axes, runs: Runs) -> None:
    """The ideal point, and logarithmic axes."""
    axes.set(xscale="log", yscale="log")
    axes.plot(*runs.table[["f_dpo_opt", "f_sft_opt"]].mean(), "*", color=INK, markersize=13, zorder=4)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        plain_ticks(axis)


def _paths(axes: Axes, runs: Runs, one_seed: bool, name: str | None = None) -> None:
    """The paths of one method, a line style per λ or split; a model without a path is a mark alone.

    name: in the legend; by default each path's λ or split.
    """
    for (key, group, rows), dash in zip(groups_with(runs.table, runs.trajectory), cycle(DASHES)):
        colour, marker = look(key["strategy"])
        axes.plot(*end_to_end(rows, "f_dpo", "f_sft"), color=colour, alpha=0.2, linewidth=0.7, linestyle=dash)
        if one_seed:
            group = group.nsmallest(1, "seed")
            rows = rows[rows["folder"].isin(group["folder"])]
        way = [mean_curve(rows, name)["mean"] for name in ("f_dpo", "f_sft")]
        label = name or short_name(key)
        axes.plot(*way, color=colour, linewidth=1.4, linestyle=dash, label=label if len(way[0]) > 1 else None)
        size = 5.5 + 5 * (0.5 if pd.isna(key["lam"]) else key["lam"])
        end = group[["f_dpo", "f_sft"]].mean()
        mark: Any = {"color": colour, "markersize": size, "markeredgecolor": "white", "zorder": 3}
        axes.plot(*end, marker, label=None if len(way[0]) > 1 else label, **mark)


def distance_panel(axes: Axes, runs: Runs) -> None:
    """Ideal distance and gaps of each method and λ, with the marks' meaning in the title."""
    distance_bars(axes, runs.table)
    axes.set_title("Ideal distance and its gaps: ◆ DPO, ● SFT (nats)", fontsize=9)


def runtime_panel(axes: Axes, runs: Runs) -> None:
    """Runtime increase (%) of each joint method and λ: a column `increase` (a fraction) if there is one."""
    table = runs.table
    if "increase" not in table:
        over = runtime_increases(table).groupby("folder")["increase"].mean()
        table = table.assign(increase=table["folder"].map(over))
    table = table.assign(increase=100 * table["increase"]).dropna(subset="increase")
    if table.empty:
        nothing(axes, "No Sequential run matches a joint one.")
        return
    bar_panel(axes, table, "increase", "Runtime increase over the matched Sequential run (%)")
    name_rows(axes, table)
    axes.axvline(0, color=INK, linewidth=0.8)
