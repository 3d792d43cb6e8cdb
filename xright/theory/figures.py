"""The three figures of the convex results: fig 2 and fig 6 of arXiv 2410.15483, and E[G] against T with the bound.

The first two draw the tables of `curves.py`, the third the sections of `theory.json`. FIGURES makes each from these
sections; fig 2 trains its three paths again, since only their ends are in the file.
Colours and markers are those of every other figure of this project, told apart with colour-vision deficiencies.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from xright.analysis.style import FAINT, INK, look, new_figure, number, styled
from xright.theory import curves, forgetting
from xright.theory.expectation import expected_gap
from xright.theory.problems import table_2

SHOWN = {"sequential": "Sequential DPO→SFT", "alright": "ALRIGHT λ=0.5, seed 0", "maxright": "MAXRIGHT λ=0.5"}
DPO_COLOUR, SFT_COLOUR = look("dpo")[0], look("sft")[0]


@styled
def figure_2(paths: pd.DataFrame) -> Figure:
    """Per strategy of `curves.paths`: the path through parameter space (top), and in objective space (bottom)."""
    figure = new_figure(9.6, 6.4)
    grid = figure.subplots(2, len(SHOWN), sharex="row", sharey="row")
    for (method, title), above, below in zip(SHOWN.items(), *grid, strict=True):
        path = paths[paths["method"] == method]
        _parameter_space(above, path, method)
        above.set_title(title)
        distance = path["ideal_distance"].iloc[-1]
        _objective_space(below, path, method, f"ideal distance {number(distance)}")
    grid[0, 0].set_ylabel("θ₂")
    grid[1, 0].set_ylabel("f_SFT (nats)")
    marks = [
        Line2D([], [], color=DPO_COLOUR, linewidth=0.9, label="contours of f_DPO"),
        Line2D([], [], color=SFT_COLOUR, linewidth=0.9, linestyle="--", label="contours of f_SFT"),
        Line2D([], [], color=INK, marker="o", linestyle="", markerfacecolor="white", label="start"),
        Line2D([], [], color=INK, marker="X", linestyle="", label="end"),
        Line2D([], [], color=INK, marker="*", linestyle="", markersize=11, label="ideal point"),
    ]
    figure.legend(handles=marks, loc="outside lower center", ncols=len(marks), frameon=False)
    return figure


@styled
def figure_6(table: pd.DataFrame) -> Figure:
    """`curves.one_parameter`. Left: the objectives and the mixture's optimum. Right: the final gap G against T."""
    figure = new_figure(9.6, 3.9)
    left, right = figure.subplots(1, 2)
    series = {key: (rows["x"].to_numpy(), rows["y"].to_numpy()) for key, rows in table.groupby(["panel", "series"])}
    _objectives(left, {str(name): xy for (panel, name), xy in series.items() if panel == "objectives"})
    ends = {str(name): xy for (panel, name), xy in series.items() if panel == "gap"}
    colour, marker = look("sequential")
    for size, dash in (("1", ":"), ("0.1", "--"), ("1/√T", "-")):
        name = f"Sequential, α = {size}"
        right.plot(*ends[name], dash, color=colour, marker=marker, markersize=4, linewidth=1.3, label=name)
    colour, marker = look("alright")
    right.plot(*ends["ALRIGHT, expectation"], color=colour, linewidth=1.3)
    right.plot(*ends["ALRIGHT, mean"], marker, color=colour, markersize=4)
    right.plot([], [], marker=marker, color=colour, markersize=4, label="ALRIGHT, α = 1/√T (line: expectation)")
    floor = ends["G(θ = 0)"][1][0]
    right.axhline(floor, color=INK, linewidth=0.9)
    right.annotate(
        f"G(θ = 0) = {floor:.4f}", (1e5, floor), (0, -11), textcoords="offset points", ha="right", fontsize=8
    )
    right.set(xscale="log", yscale="log", xlabel="T (iterates per stage)", ylabel="gap G after training (nats)")
    right.set_title("Sequential moves away from the optimum")
    right.legend(frameon=False, fontsize=8)
    return figure


@styled
def figure_bound(results: Mapping[str, Any]) -> Figure:
    """E[G] of ALRIGHT, and G of Sequential and Mix, all with α = 10/√T, against T; theorem 4.1's bound above them."""
    figure = new_figure(6.4, 4.4)
    axes = figure.subplots()
    rows = results["alright"]["10"]
    horizons = np.geomspace(2, 1e5, 200)
    bound = [forgetting.bound(10.0, horizon) for horizon in horizons]
    axes.plot(horizons, bound, color=INK, linewidth=1.2, linestyle="--", label="bound of theorem 4.1 (corrected)")
    _curve(axes, results["sequential"]["10/sqrt(T)"], "gap", look("sequential"), label="Sequential DPO→SFT", dash="-")
    colour, marker = look("alright")
    expected = {horizon: expected_gap(10.0, horizon) for horizon in np.unique(np.geomspace(2, 1e5, 60).astype(int))}
    name = f"ALRIGHT, expectation (slope {number(results['alright_slope']['10'])})"
    axes.plot(list(expected), list(expected.values()), color=colour, linewidth=1.3, label=name)
    means, errors = ([row[key] for row in rows.values()] for key in ("mean_gap", "standard_error"))
    bars = 2 * np.array(errors)
    axes.errorbar(_numbers(rows), means, bars, color=colour, fmt=marker, markersize=4, capsize=3, label="mean ± 2 s.e.")
    _curve(axes, results["mix"]["10"], "gap", look("mix"), label="Mix (two gradients per step)", dash="-")
    axes.set(xscale="log", yscale="log", ylim=(3e-5, 60), xlabel="T (iterates)", ylabel="E[G] after training (nats)")
    axes.set_title("α = 10/√T, λ = 0.5")
    axes.legend(frameon=False, fontsize=8, loc="lower left")
    return figure


FIGURES: Mapping[str, Callable[[Mapping[str, Any]], Figure]] = {  # from the sections of theory.json
    "figure_2": lambda results: figure_2(curves.paths()),
    "figure_6": lambda results: figure_6(curves.one_parameter(results)),
    "gap_against_horizon": figure_bound,
}


def _parameter_space(axes: Axes, path: pd.DataFrame, method: str) -> None:
    """Contours of both objectives and the path; levels in nats."""
    x, y = np.meshgrid(np.linspace(-9, 15, 120), np.linspace(-14, 14, 120))
    losses = table_2().losses(np.stack([x, y], axis=-1))
    for name, colour, dash in (("dpo", DPO_COLOUR, "solid"), ("sft", SFT_COLOUR, "dashed")):
        lines = axes.contour(x, y, losses[name], (0.05, 0.2, 1, 3, 6), colors=colour, linewidths=0.9, linestyles=dash)
        axes.clabel(lines, fontsize=6, fmt="%g")
    points = path[["theta_1", "theta_2"]].to_numpy()
    axes.plot(*points.T, color=look(method)[0], linewidth=2.2)
    _ends(axes, points)
    axes.set(xlabel="θ₁")


def _objective_space(axes: Axes, path: pd.DataFrame, method: str, title: str) -> None:
    """Draw (f_DPO, f_SFT) along the path."""
    points = path[["f_dpo", "f_sft"]].to_numpy()
    axes.plot(*points.T, color=look(method)[0], linewidth=2.2)
    _ends(axes, points)
    axes.plot(0, 0, "*", color=INK, markersize=13, zorder=5, clip_on=False)
    axes.set(xlabel="f_DPO (nats)")
    axes.set_title(title, fontsize=9)


def _ends(axes: Axes, points: np.ndarray) -> None:
    """Mark the first and the last point."""
    axes.plot(*points[0], "o", color=INK, markerfacecolor="white", markersize=7, zorder=4)
    axes.plot(*points[-1], "X", color=INK, markersize=8, zorder=4)


def _objectives(axes: Axes, series: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> None:
    """f_DPO, f_SFT and their mean over θ, with the mean's optimum."""
    axes.plot(*series["f_DPO"], color=DPO_COLOUR, label="f_DPO")
    axes.plot(*series["f_SFT"], color=SFT_COLOUR, linestyle="--", label="f_SFT")
    axes.plot(*series["mixture"], color=INK, linestyle="-.", label="mixture, λ = 0.5")
    name = f"its optimum θ* = {series['optimum'][0][0]:g}".replace("-", "−")
    axes.plot(*series["optimum"], "*", color=INK, markersize=12, label=name)
    axes.axvspan(0, 12, color=FAINT, alpha=0.2, linewidth=0)
    axes.annotate("where Sequential ends", (0.4, 1.3), fontsize=8)
    axes.set(xlabel="θ", ylabel="loss (nats)", title="DPO pulls left, SFT pulls right", xlim=(-22, 12), ylim=(0, 11))
    axes.legend(frameon=False, fontsize=8, loc="upper center")


def _curve(axes: Axes, rows: Mapping[str, Any], key: str, looks: tuple[str, str], label: str, dash: str) -> None:
    """Draw one line over the horizons."""
    colour, marker = looks
    values = [row[key] for row in rows.values()]
    axes.plot(_numbers(rows), values, dash, color=colour, marker=marker, markersize=4, linewidth=1.3, label=label)


def _numbers(rows: Mapping[str, Any]) -> list[int]:
    """Return horizons, which are keys of JSON, as numbers."""
    return [int(horizon) for horizon in rows]
