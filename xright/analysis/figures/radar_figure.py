"""The radar of fig 4 of arXiv 2410.15483: one axis per compared score, better is outside.

Each axis goes from the worst of all subjects to the best of all, and both values are written at its end: it shows who
leads where, not by how much in absolute terms. Subjects beyond MOST are drawn method by method, each panel with the
baseline, on the same axes.
"""

from textwrap import fill

import numpy as np
from matplotlib.figure import Figure
from matplotlib.projections.polar import PolarAxes

from xright.analysis.read.benchmarks import Benchmarks
from xright.analysis.style import number, styled
from xright.analysis.text.benchmark_table import compared, directions, words

MOST = 6  # subjects that can be told apart in one panel
WIDE = 18  # characters of a line at an axis' end; there is no room for more beside a panel
INNER = 0.25  # radius of the worst subject on each axis; the best is at 1


@styled
def radar_figure(benchmarks: Benchmarks) -> Figure:
    """Fig 4: the compared scores, each axis from the worst to the best subject."""
    values, keys = benchmarks.wide()[compared(benchmarks)], compared(benchmarks)
    up = directions(benchmarks)[keys]
    best, worst = (values.max().where(up, values.min()), values.min().where(up, values.max()))
    spread = (best - worst).where(best != worst)
    radius = (INNER + (1 - INNER) * (values - worst) / spread).fillna(1.0)  # on an axis where all are equal: outside
    panels = _panels(benchmarks)
    across = 2 if len(panels) == 4 else min(3, len(panels))
    down = -(-len(panels) // across)
    figure = Figure(figsize=(6.2 * across, 4.8 * down))  # a layout engine would leave no room for the labels
    grid = figure.subplots(down, across, squeeze=False, subplot_kw={"projection": "polar"})
    figure.subplots_adjust(left=0.22, right=0.78, bottom=0.24, top=0.86, wspace=0.9, hspace=0.8)
    for axes in grid.flat[len(panels) :]:
        axes.set_axis_off()
    for axes, (title, names) in zip(grid.flat, panels.items(), strict=False):
        axes.set_title(title, loc="center", pad=34, fontweight="bold")
        _spokes(axes, [f"{fill(words(key), WIDE)}\n{number(worst[key])} to {number(best[key])}" for key in keys])
        for name in names:
            colour, dash = benchmarks.subjects.loc[name, ["colour", "dash"]]
            line = [*radius.loc[name], radius.loc[name].iloc[0]]
            axes.plot(_angles(len(keys)), line, color=colour, linestyle=dash, linewidth=1.6, label=name)
            axes.fill(_angles(len(keys)), line, color=colour, alpha=0.06)
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), frameon=False, ncols=2, fontsize=8)
    return figure


def _panels(benchmarks: Benchmarks) -> dict[str, list[str]]:
    """{title: subjects}: all in one, or one per method that has more than the baseline, and each with that."""
    names = [str(name) for name in benchmarks.subjects.index]
    if len(names) <= MOST:
        return {"": names}
    panels: dict[str, list[str]] = {}
    for name, method in benchmarks.subjects["method"].items():
        panels.setdefault(str(method or "Other models"), [benchmarks.baseline]).append(str(name))
    shown = {title: list(dict.fromkeys(names)) for title, names in panels.items()}
    return {title: names for title, names in shown.items() if len(names) > 1}


def _angles(n: int) -> np.ndarray:
    """n axes clockwise from the top, and the first again."""
    return np.linspace(0, 2 * np.pi, n + 1)


def _spokes(axes: PolarAxes, labels: list[str]) -> None:
    axes.set_theta_zero_location("N")
    axes.set_theta_direction(-1)
    axes.set_ylim(0, 1)
    axes.set_yticks([INNER, 1], labels=["", ""])
    axes.spines["polar"].set_visible(False)
    axes.set_xticks(_angles(len(labels))[:-1], labels=[])
    for angle, label in zip(_angles(len(labels)), labels, strict=False):
        right, up = np.sin(angle), np.cos(angle)
        align = "center" if abs(right) < 0.1 else "left" if right > 0 else "right"
        upright = "bottom" if up > 0.7 else "top" if up < -0.7 else "center"
        axes.text(angle, 1.1, label, ha=align, va=upright, fontsize=8.5)
