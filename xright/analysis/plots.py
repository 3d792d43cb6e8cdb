"""Tables of finished runs -> figures. Each function takes the runs of one setting and returns a Figure.

Means over seeds are drawn strong, single runs faint, 95 % t intervals over seeds as bands and thin lines.
Gaps may be negative (f* is the lowest value seen); each figure says how it shows such gaps.
"""

from collections.abc import Callable
from itertools import cycle

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from xright.analysis.main_figure import main_figure
from xright.analysis.runs import STRATEGIES, Runs
from xright.analysis.statistics import mean_curve, mean_interval
from xright.analysis.style import (
    DASHES,
    INK,
    Dash,
    Plot,
    end_to_end,
    groups,
    groups_with,
    look,
    name_rows,
    new_figure,
    nothing,
    plain_ticks,
    short_name,
    styled,
)
from xright.analysis.thin import thin_curve

LINEAR_BELOW = 0.01  # nats; where the symlog axes of gaps turn linear
WINDOW = 30  # optimizer steps over which a share of picks is averaged
POINTS = 200  # of such a share that are shown per run


@styled
def gaps_figure(runs: Runs) -> Figure:
    """Both optimality gaps over optimizer steps, one column per method, λ by line style."""
    return _per_method(
        runs,
        runs.trajectory,
        {"gap_dpo": "DPO gap (nats)", "gap_sft": "SFT gap (nats per token)"},
        _gap_axis,
        f"optimizer step (the gap axes are linear within ±{LINEAR_BELOW}, so that negative gaps show)",
    )


@styled
def picks_figure(runs: Runs) -> Figure:
    """Share of optimizer steps on DPO, averaged over WINDOW steps, for ALRIGHT and MAXRIGHT."""
    chosen = runs.only(runs.table["strategy"].isin(["alright", "maxright"]))
    return _per_method(
        chosen,
        shares(chosen),
        {"share": f"share of DPO steps (mean of {WINDOW})"},
        lambda axes: axes.set_ylim(-0.03, 1.03),
        "optimizer step",
    )


def shares(runs: Runs) -> pd.DataFrame:
    """`folder`, `step`, `share`: the share of DPO steps among the last WINDOW, at no more than POINTS steps a run."""
    rows = runs.steps[runs.steps["pick"].isin(["dpo", "sft"])].sort_values(["folder", "step"])
    picks = (rows["pick"] == "dpo").astype(float).groupby(rows["folder"])
    rolling = picks.rolling(WINDOW, min_periods=WINDOW // 2).mean().droplevel(0)
    from_end = picks.cumcount(ascending=False)
    shown = from_end % np.ceil(picks.transform("size") / POINTS) == 0
    return rows[["folder", "step"]].assign(share=rolling)[shown]


@styled
def time_figure(runs: Runs) -> Figure:
    """Mean time per optimizer step and training time per run; ticks are single runs."""
    return _bars(
        runs.only((runs.table["steps"] > 0) & runs.table["train_seconds"].notna()),
        {
            "step_ms": "Training time per optimizer step (ms, mean)",
            "train_seconds": "Training time per run (s, evaluation not counted)",
        },
        "No run has a training time.",
    )


@styled
def device_figure(runs: Runs) -> Figure:
    """Throughput, utilisation and peak memory of the device; ticks are single runs."""
    columns = {
        "tokens_per_second": "Throughput (tokens per second)",
        "utilization_median_pct": "Utilisation of the device (%, median)",
        "peak_memory_gb": "Peak memory (GB)",
    }
    return _bars(runs.only(runs.table[list(columns)].notna().any(axis=1)), columns, "No run watched its device.")


FIGURES: dict[str, tuple[Plot, str]] = {  # file name: (function, what a reader without eyes is told)
    "figure": (main_figure, "Final f_DPO and f_SFT of every run, and each method's ideal distance and gaps"),
    "gaps": (gaps_figure, "DPO gap and SFT gap over optimizer steps, one column per method"),
    "picks": (picks_figure, "Share of DPO steps over training for ALRIGHT and MAXRIGHT"),
    "time": (time_figure, "Time per optimizer step and training time of each method"),
    "device": (device_figure, "Throughput, utilisation and peak memory of each method"),
}


def _bars(runs: Runs, columns: dict[str, str], otherwise: str) -> Figure:
    """A row per method and λ, a panel per quantity {column: title}: mean, interval over seeds, and single runs."""
    figure = new_figure(11, max(2.2, 0.24 * runs.table["label"].nunique() + 1.2))
    if runs.table.empty:
        nothing(figure.subplots(), otherwise)
        return figure
    panels = figure.subplots(1, len(columns), sharey=True)
    for axes, (column, title) in zip(panels, columns.items(), strict=True):
        bar_panel(axes, runs.table, column, title)
    name_rows(panels[0], runs.table)
    return figure


def bar_panel(axes: Axes, table: pd.DataFrame, column: str, title: str) -> None:
    """A bar per method and λ: mean of `column`, its interval over seeds as a line, single runs as ticks."""
    axes.set_title(title, fontsize=9)
    shown = list(groups(table))
    found = [mean_interval(group[column]) for _, group in shown]
    colours = [look(key["strategy"])[0] for key, _ in shown]
    axes.barh(range(len(found)), [one.mean for one in found], color=colours, alpha=0.85, height=0.7)
    ends = [edge for one in found for edge in (one.low, one.high, np.nan)]
    axes.plot(ends, np.repeat(range(len(found)), 3), color=INK, linewidth=1)
    singles = [(value, place) for place, (_, group) in enumerate(shown) for value in group[column]]
    axes.plot(*zip(*singles, strict=True), "|", color=INK, markersize=7)
    if not (table[column] < 0).any():
        axes.set_xlim(left=0)
    axes.grid(axis="y", visible=False)


def _gap_axis(axes: Axes) -> None:
    axes.set_yscale("symlog", linthresh=LINEAR_BELOW)
    plain_ticks(axes.yaxis)


def _per_method(
    runs: Runs, rows: pd.DataFrame, columns: dict[str, str], finish: Callable[[Axes], object], across: str
) -> Figure:
    """Small panels: a column per method, a row per quantity in `columns`; single runs faint, means strong."""
    lines = rows.dropna(subset=list(columns)).groupby("folder")["step"].nunique()
    table = runs.table[runs.table["folder"].isin(lines.index[lines > 1])]  # one row is no line
    methods = list(table["strategy"].unique())
    figure = new_figure(max(5.0, 3.0 * len(methods)), 2.4 * len(columns) + 1.2)
    panels = figure.subplots(len(columns), max(1, len(methods)), sharex=True, sharey="row", squeeze=False)
    if not methods:
        for axes in panels.flat:
            nothing(axes, "No run recorded this.")
        return figure
    for (down, along), axes in np.ndenumerate(panels):
        column, method = list(columns)[down], methods[along]
        for (key, _, mine), dash in zip(groups_with(table[table["strategy"] == method], rows), cycle(DASHES)):
            _mean_line(axes, mine, column, key, dash)
        finish(axes)
        if down == 0:
            axes.set_title(STRATEGIES.get(method, method))
        if along == 0:
            axes.set_ylabel(columns[column])
    for axes in panels[-1]:
        axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(0, -0.12))
    figure.supxlabel(across, fontsize=9)
    return figure


def _mean_line(axes: Axes, rows: pd.DataFrame, column: str, key: dict, dash: Dash) -> None:
    colour, _ = look(key["strategy"])
    axes.plot(*end_to_end(rows, "step", column), linestyle=dash, color=colour, alpha=0.2, linewidth=0.7)
    curve = thin_curve(mean_curve(rows, column))
    axes.fill_between(curve.index, curve["low"], curve["high"], color=colour, alpha=0.15, linewidth=0)
    axes.plot(curve.index, curve["mean"], linestyle=dash, color=colour, linewidth=1.6, label=short_name(key))
