"""The main figure: where every run ends in objective space, and how far that is from the ideal point.

Ideal point: (f_DPO*, f_SFT*); ideal distance: sqrt(gap_dpo² + gap_sft²) (arXiv 2410.15483, section 3). The
first panel is logarithmic, since forgetting lies a decade away; the second is linear with equal scales, so
that distance from the star is the ideal distance (dotted arcs); the third gives it as numbers, with both
gaps on each bar, because one gap often makes up nearly all of it. Thin lines are 95 % t intervals over seeds.
"""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle
from matplotlib.ticker import LogLocator, MaxNLocator

from xright.analysis.runs import JOINT, STRATEGIES, Runs
from xright.analysis.statistics import front_name, mean_interval
from xright.analysis.style import (
    FAINT,
    INK,
    end_to_end,
    groups,
    look,
    name_rows,
    new_figure,
    nothing,
    number,
    plain_ticks,
    short_name,
    styled,
)

FAR = 3.0  # times the median ideal distance


@styled
def main_figure(runs: Runs) -> Figure:
    """The three panels, for the runs of one setting."""
    bars_height = 0.26 * runs.table["label"].nunique()
    figure = new_figure(15, max(5.0, bars_height + 1.4))
    whole, near, bars = figure.subplots(1, 3, width_ratios=(1, 1, 0.9))
    for axes in (whole, near):
        _objective_space(axes, runs, paths=axes is whole)
        axes.set(xlabel="f_DPO (nats per pair)", ylabel="f_SFT (nats per token)")
    _all_of_it(whole, runs.table)
    _around_ideal_point(near, runs.table)
    distance_bars(bars, runs.table)
    handles = _legend(runs.table)
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)
    return figure


def _objective_space(axes: Axes, runs: Runs, paths: bool) -> None:
    """Paths, single runs, means joined in the order of λ (marks grow with it), and the ideal point(s)."""
    table = runs.table
    for strategy, group in table.groupby("strategy", sort=False):
        colour, marker = look(str(strategy))
        if paths:
            x, y = end_to_end(runs.trajectory[runs.trajectory["folder"].isin(group["folder"])], "f_dpo", "f_sft")
            axes.plot(x, y, color=colour, alpha=0.25, linewidth=0.8, zorder=1)
        axes.plot(group["f_dpo"], group["f_sft"], marker, color=colour, alpha=0.35, markersize=3.5, zorder=2)
    for (method, _), line in table.groupby(["strategy", "variant"], sort=False):
        colour, marker = look(str(method))
        means = line.groupby("lam", dropna=False)[["f_dpo", "f_sft"]].mean().reset_index()
        axes.plot(means["f_dpo"], means["f_sft"], color=colour, linewidth=1.4, zorder=3)
        spread = [
            [mean_interval(seeds[key]).half for key in ("f_sft", "f_dpo")]
            for _, seeds in line.groupby("lam", dropna=False)
        ]
        axes.errorbar(
            means["f_dpo"], means["f_sft"], *np.transpose(spread), color=colour, linestyle="", elinewidth=0.9, zorder=3
        )
        sizes = (5.5 + 5 * means["lam"].fillna(0.5)) ** 2
        axes.scatter(
            means["f_dpo"],
            means["f_sft"],
            s=sizes,
            color=colour,
            marker=marker,
            edgecolors="white",
            linewidths=0.6,
            zorder=3,
        )
    ideal = table[["f_dpo_opt", "f_sft_opt"]].dropna()
    if len(ideal):
        axes.plot(*ideal.drop_duplicates().to_numpy().T, "*", color=FAINT, markersize=7, zorder=2)
        axes.plot(*ideal.mean(), "*", color=INK, markersize=15, zorder=4)


def _all_of_it(axes: Axes, table: pd.DataFrame) -> None:
    """Logarithmic axes; methods without λ are named where they end, several splits of one order by the order."""
    axes.set(xscale="log", yscale="log", title="Final models (lines: λ; faint: the way there)")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
        plain_ticks(axis)
    middle = np.sqrt(table["f_dpo"].min() * table["f_dpo"].max())
    ends = table[table["lam"].isna()]
    for (strategy, front), group in ends.groupby(["strategy", ends["variant"].map(front_name)], sort=False):
        point = (group["f_dpo"].mean(), group["f_sft"].mean())
        side, shift = ("right", -8) if point[0] > middle else ("left", 8)
        label = front if group["label"].nunique() > 1 else group["label"].iloc[0]
        name = short_name({"strategy": strategy, "label": label})
        axes.annotate(name, point, (shift, 0), textcoords="offset points", ha=side, va="center", fontsize=8)


def _around_ideal_point(axes: Axes, table: pd.DataFrame) -> None:
    """The part that holds the ideal point and the joint runs near it; see `around_ideal_point`."""
    axes.set_title("Around the ideal point (larger mark: larger λ)")
    x, y = around_ideal_point(table)
    axes.set(xlim=x, ylim=y)
    axes.set_aspect("equal")
    if table["ideal_distance"].isna().all():
        return
    ideal = table[["f_dpo_opt", "f_sft_opt"]].mean().to_numpy()
    for radius in MaxNLocator(5, prune="lower").tick_values(0, _near(table)["ideal_distance"].max()):
        axes.add_patch(Circle(tuple(ideal), radius, fill=False, color=FAINT, linewidth=0.8, linestyle=":", zorder=0))
        x, y = ideal + radius * np.array([np.cos(0.35), np.sin(0.35)])
        axes.text(x, y, f"{radius:g}", fontsize=7, color=FAINT, ha="center", va="center", clip_on=True)


def around_ideal_point(table: pd.DataFrame) -> tuple[tuple[float, float], tuple[float, float]]:
    """Limits of f_DPO and of f_SFT: the square that holds the ideal point and the joint runs (all, where none is).

    Without those that end more than FAR times as far from it as the median: λ near 0 or 1 trains one objective only.
    """
    near = _near(table)
    corners = np.array(
        [
            [near[[f"f_{name}", f"f_{name}_opt"]].agg(edge).agg(edge) for name in ("dpo", "sft")]
            for edge in ("min", "max")
        ]
    )
    reach = 0.6 * np.max(corners[1] - corners[0]) or 0.01  # half a side of the square, with some room
    (x, y) = corners.mean(axis=0)
    return (x - reach, x + reach), (y - reach, y + reach)


def _near(table: pd.DataFrame) -> pd.DataFrame:
    joint = table[table["strategy"].isin(JOINT)]
    joint = joint if len(joint) else table
    far = joint["ideal_distance"] > FAR * joint["ideal_distance"].median()
    return joint[~far]


def distance_bars(axes: Axes, table: pd.DataFrame) -> None:
    """Ideal distance as a bar with its value, and on it both gaps; an open mark is a negative gap's size."""
    known = table.dropna(subset="ideal_distance")
    if known.empty:
        nothing(axes, "No optima are known, so there is no ideal distance.")
        return
    axes.set_title("Ideal distance (bar) and its two gaps (nats)")
    axes.set_xscale("log")
    sizes = known[["ideal_distance", "gap_dpo", "gap_sft"]].abs()
    floor = max(0.5 * sizes[sizes > 0].min(axis=None), 1e-4 * sizes.max(axis=None))
    for place, (key, group) in enumerate(groups(known)):
        spread = mean_interval(group["ideal_distance"])
        mean = spread.mean
        axes.barh(place, mean - floor, left=floor, color=look(key["strategy"])[0], alpha=0.75, height=0.7)
        end = max(mean, *group[["gap_dpo", "gap_sft"]].mean())
        if not np.isnan(spread.half):
            axes.plot([max(spread.low, floor), spread.high], [place, place], color=INK, linewidth=1)
            end = max(end, spread.high)
        axes.annotate(number(mean), (end, place), (6, 0), textcoords="offset points", va="center", fontsize=8)
        for column, mark in (("gap_dpo", "d"), ("gap_sft", "o")):
            gap = group[column].mean()
            axes.plot(abs(gap), place, mark, color=INK, markersize=4.5, markerfacecolor=INK if gap >= 0 else "none")
    plain_ticks(axes.xaxis)
    axes.set_xlim(floor, 3 * max(known["ideal_distance"].max(), axes.dataLim.x1))
    axes.grid(axis="y", visible=False)
    name_rows(axes, known)


def _legend(table: pd.DataFrame) -> list[Line2D]:
    """One entry per method, then what the other marks mean."""

    def entry(colour: str, marker: str, name: str, size: float = 8) -> Line2D:
        return Line2D([], [], color=colour, marker=marker, linestyle="", markersize=size, label=name)

    entries = [entry(*look(name), STRATEGIES.get(name, name)) for name in table["strategy"].unique()]
    entries += [
        entry(INK, "*", "ideal point", 12),
        entry(INK, "d", "DPO gap", 5),
        entry(INK, "o", "SFT gap", 5),
    ]
    if (table[["gap_dpo", "gap_sft"]] < 0).any(axis=None):
        hollow = entry(INK, "o", "negative gap (its size)", 5)
        hollow.set_markerfacecolor("none")
        entries.append(hollow)
    return entries
