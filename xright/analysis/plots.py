"""Tables of finished runs -> figures. Each function takes the runs of one setting and returns a Figure.

Means over seeds are drawn strong, single runs faint. Gaps may be negative (f* is the lowest value seen);
each figure says how it shows such gaps.
"""

from collections.abc import Callable
from itertools import cycle

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from xright.analysis.main_figure import main_figure
from xright.analysis.runs import STRATEGIES, Runs
from xright.analysis.style import (
    DASHES,
    INK,
    Dash,
    Plot,
    groups,
    look,
    name_rows,
    new_figure,
    nothing,
    plain_ticks,
    short_name,
    styled,
)

LINEAR_BELOW = 0.01  # nats; where the symlog axes of gaps turn linear
WINDOW = 30  # optimizer steps over which a share of picks is averaged


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
    rows = runs.steps[runs.steps["pick"].isin(["dpo", "sft"])].sort_values(["folder", "step"])
    share = (rows["pick"] == "dpo").astype(float).groupby(rows["folder"])
    rolling = share.transform(lambda picks: picks.rolling(WINDOW, min_periods=WINDOW // 2).mean())
    chosen = runs.only(runs.table["strategy"].isin(["alright", "maxright"]))
    return _per_method(
        chosen,
        rows.assign(share=rolling),
        {"share": f"share of DPO steps (mean of {WINDOW})"},
        lambda axes: axes.set_ylim(-0.03, 1.03),
        "optimizer step",
    )


@styled
def time_figure(runs: Runs) -> Figure:
    """Mean time per optimizer step and training time per run; ticks are single runs."""
    table = runs.table[(runs.table["steps"] > 0) & runs.table["train_seconds"].notna()]
    figure = new_figure(11, max(2.2, 0.24 * table["label"].nunique() + 1.2))
    step, total = figure.subplots(1, 2, sharey=True)
    for axes, column, title in (
        (step, "step_ms", "Training time per optimizer step (ms, mean)"),
        (total, "train_seconds", "Training time per run (s, evaluation not counted)"),
    ):
        if table.empty:
            nothing(axes, "No run has a training time.")
            continue
        axes.set_title(title)
        for place, (key, group) in enumerate(groups(table)):
            axes.barh(place, group[column].mean(), color=look(key["strategy"])[0], alpha=0.85, height=0.7)
            axes.plot(group[column], [place] * len(group), "|", color=INK, markersize=7)
        axes.grid(axis="y", visible=False)
    name_rows(step, table)
    return figure


FIGURES: dict[str, tuple[Plot, str]] = {  # file name: (function, what a reader without eyes is told)
    "figure": (main_figure, "Final f_DPO and f_SFT of every run, and each method's ideal distance and gaps"),
    "gaps": (gaps_figure, "DPO gap and SFT gap over optimizer steps, one column per method"),
    "picks": (picks_figure, "Share of DPO steps over training for ALRIGHT and MAXRIGHT"),
    "time": (time_figure, "Time per optimizer step and training time of each method"),
}


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
        for (key, group), dash in zip(groups(table[table["strategy"] == method]), cycle(DASHES)):
            _mean_line(axes, rows[rows["folder"].isin(group["folder"])], column, key, dash)
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
    for _, run in rows.groupby("folder"):
        axes.plot(run["step"], run[column], linestyle=dash, color=colour, alpha=0.2, linewidth=0.7)
    mean = rows.groupby("step")[column].mean()
    axes.plot(mean.index, mean, linestyle=dash, color=colour, linewidth=1.6, label=short_name(key))
