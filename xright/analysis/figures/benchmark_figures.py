"""Benchmarks -> figures: radar (fig 4 of arXiv 2410.15483), win rates (fig 5), categories (fig 10), verdicts (fig 11).

A figure is there only if some subject has what it shows. A subject has one colour in all of them.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from xright.analysis.figures.radar_figure import radar_figure
from xright.analysis.read.benchmarks import Benchmarks
from xright.analysis.style import FAINT, INK, new_figure, number, styled
from xright.analysis.text.benchmark_table import compared

VERDICTS = {  # verdict: (colour, colour of the number on it)
    "full_compliance": ("#0072B2", "white"),
    "partial_refusal": ("#F0E442", "black"),
    "full_refusal": ("#D55E00", "black"),
}


def benchmark_figures(benchmarks: Benchmarks) -> dict[str, tuple[Figure, str]]:
    """{file name: (figure, what a reader without eyes is told)}."""
    return {
        name: (plot(benchmarks), alternative)
        for name, (plot, is_there, alternative) in FIGURES.items()
        if is_there(benchmarks)
    }


@styled
def win_rate_figure(benchmarks: Benchmarks) -> Figure:
    """Fig 5: one panel per task with a `win_rate`; whiskers are 95 % intervals, the line is "as often as not"."""
    rates = benchmarks.scores[benchmarks.scores["metric"] == "win_rate"]
    lengths = dict(benchmarks.details("mean_tokens"))
    tasks = list(rates["task"].unique())
    figure = new_figure(8, _height(benchmarks, len(tasks)))
    for axes, task in zip(figure.subplots(len(tasks), 1, squeeze=False).flat, tasks, strict=True):
        axes.set_title(f"{task}: win rate (95 % interval)")
        for place, name in enumerate(benchmarks.subjects.index):
            rate = rates[(rates["subject"] == name) & (rates["task"] == task)]
            if rate.empty:
                continue
            value, low, high = rate[["value", "low", "high"]].iloc[0]
            axes.barh(place, value, color=benchmarks.subjects.at[name, "colour"], alpha=0.85, height=0.7)
            axes.plot([low, high], [place, place], color=INK, linewidth=1.2, marker="|", markersize=6)
            words = lengths.get(task, {}).get(name, {})
            said = ", ".join(f"{whose} {number(length)}" for whose, length in words.items())
            text = f"{value:.1%}" + (f"   (mean tokens: {said})" if said else "")
            axes.text(1.02, place, text, va="center", fontsize=8)  # to the right of the panel
        axes.axvline(0.5, color=INK, linewidth=0.8, linestyle=":")
        axes.set_xlim(0, 1)
        axes.xaxis.set_major_formatter(PercentFormatter(1))
        _rows(axes, benchmarks)
    return figure


@styled
def verdicts_figure(benchmarks: Benchmarks) -> Figure:
    """Fig 11: one row of panels per task, one panel per kind of prompt, stacked shares of the verdicts."""
    found = dict(benchmarks.details("verdicts"))
    kinds = {task: list(dict.fromkeys(k for counts in by.values() for k in counts)) for task, by in found.items()}
    most = max(map(len, kinds.values()))
    figure = new_figure(2.2 + 4.4 * most, _height(benchmarks, len(found)) + 0.3)
    grid = figure.subplots(len(found), most, squeeze=False)
    for row, (task, by_subject) in zip(grid, found.items(), strict=True):
        for axes in row[len(kinds[task]) :]:
            axes.set_axis_off()
        for axes, kind in zip(row, kinds[task], strict=False):
            table = pd.DataFrame({name: counts.get(kind, {}) for name, counts in by_subject.items()}).T
            _stacks(axes, benchmarks, table.reindex(columns=list(VERDICTS)).fillna(0))
            sizes = sorted({int(n) for n in table.sum(axis=1)} - {0})
            axes.set_title(f"{task}, {kind} prompts (n = {' to '.join(map(str, sizes[:: max(1, len(sizes) - 1)]))})")
            if axes is not row[0]:
                axes.tick_params(labelleft=False)
    handles, names = grid[0][0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=len(names), frameon=False)
    return figure


def _stacks(axes: Axes, benchmarks: Benchmarks, counts: pd.DataFrame) -> None:
    shares = counts.div(counts.sum(axis=1), axis=0).reindex(benchmarks.subjects.index).fillna(0)
    left = np.zeros(len(shares))
    places = range(len(shares))
    for verdict, (colour, ink) in VERDICTS.items():
        width = shares[verdict].to_numpy()
        axes.barh(places, width, left=left, color=colour, height=0.75, label=verdict.replace("_", " "))
        for place in np.flatnonzero(width >= 0.06):  # narrower ones have no room for a number
            middle = left[place] + width[place] / 2
            axes.text(middle, float(place), f"{width[place]:.0%}", ha="center", va="center", fontsize=8, color=ink)
        left += width
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    _rows(axes, benchmarks)


@styled
def categories_figure(benchmarks: Benchmarks) -> Figure:
    """Fig 10: share of each category's prompts that were complied with, not refused; one panel per task."""
    found = dict(benchmarks.details("categories"))
    names = {task: list(dict.fromkeys(c for by in found[task].values() for c in by)) for task in found}
    widest, longest = max(map(len, names.values())), max(len(name) for many in names.values() for name in many)
    height = _height(benchmarks, len(found)) + 0.065 * longest * len(found)
    figure = new_figure(max(7.0, 2.6 + 0.52 * widest), height)
    shades = colormaps["YlOrBr"]
    for axes, task in zip(figure.subplots(len(found), 1, squeeze=False).flat, found, strict=True):
        shares = np.full((len(benchmarks.subjects), len(names[task])), np.nan)
        for (down, along), _ in np.ndenumerate(shares):
            counts = found[task].get(benchmarks.subjects.index[down], {}).get(names[task][along])
            shares[down, along] = 1 - counts["refused"] / counts["n"] if counts and counts["n"] else np.nan
        mesh = axes.pcolormesh(shares, cmap=shades, vmin=0, vmax=1, edgecolors="white", linewidth=0.5)
        for (down, along), share in np.ndenumerate(shares):
            text, ink = ("–", FAINT) if np.isnan(share) else (f"{100 * share:.0f}", "white" if share > 0.6 else "black")
            axes.text(along + 0.5, down + 0.5, text, ha="center", va="center", fontsize=7.5, color=ink)
        axes.set_title(f"{task}: compliance (% of the prompts not refused)")
        labels = [name.replace("_", " ") for name in names[task]]
        axes.set_xticks(np.arange(len(labels)) + 0.5, labels, rotation=40, ha="right", rotation_mode="anchor")
        axes.set_yticks(np.arange(len(shares)) + 0.5, benchmarks.subjects.index)
        axes.invert_yaxis()
        axes.tick_params(length=0)
        axes.grid(visible=False)
        bar = figure.colorbar(mesh, ax=axes, format=PercentFormatter(1), fraction=0.04, pad=0.01)
        bar.outline.set_visible(False)
    return figure


Plot = Callable[[Benchmarks], Figure]
FIGURES: dict[str, tuple[Plot, Callable[[Benchmarks], bool], str]] = {  # file name: (function, whether, in words)
    "benchmarks-radar": (
        radar_figure,
        lambda benchmarks: len(compared(benchmarks)) > 2 and len(benchmarks.subjects) > 1,
        "Every compared score on an axis of its own, from the worst subject inside to the best outside",
    ),
    "benchmarks-win-rate": (
        win_rate_figure,
        lambda benchmarks: "win_rate" in set(benchmarks.scores["metric"]),
        "Win rate of each subject against the reference answers, with 95 % intervals",
    ),
    "benchmarks-verdicts": (
        verdicts_figure,
        lambda benchmarks: any(benchmarks.details("verdicts")),
        "Shares of full compliance, partial refusal and full refusal of each subject, by kind of prompt",
    ),
    "benchmarks-categories": (
        categories_figure,
        lambda benchmarks: any(benchmarks.details("categories")),
        "Share of prompts complied with, one row per subject and one column per category of prompts",
    ),
}


def _height(benchmarks: Benchmarks, panels: int) -> float:
    """Inches for so many panels with a row per subject."""
    return panels * (1.0 + 0.3 * len(benchmarks.subjects))


def _rows(axes: Axes, benchmarks: Benchmarks) -> None:
    """Label the rows of a bar chart, the first on top."""
    axes.set_yticks(range(len(benchmarks.subjects)), benchmarks.subjects.index)
    axes.set_ylim(len(benchmarks.subjects) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)
