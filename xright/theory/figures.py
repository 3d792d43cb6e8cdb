"""The three figures of the convex results: fig 2 and fig 6 of arXiv 2410.15483, and E[G] against T with the bound.

Each takes the sections of `theory.json`; fig 2 trains its three paths again, since only their ends are in the file.
Colours and markers are those of every other figure of this project, told apart with colour-vision deficiencies.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from xright.analysis.style import FAINT, INK, look, new_figure, number, styled
from xright.theory import forgetting, toy
from xright.theory.expectation import expected_gap
from xright.theory.problems import Problem, table_1, table_1_minimiser, table_2

SHOWN = {"sequential": "Sequential DPO→SFT", "alright": "ALRIGHT λ=0.5", "maxright": "MAXRIGHT λ=0.5"}
VISITED = (*range(0, 1_000, 20), *range(1_000, 20_001, 100))
DPO_COLOUR, SFT_COLOUR = look("dpo")[0], look("sft")[0]


@styled
def figure_2(results: Mapping[str, Any]) -> Figure:
    """Per strategy: the path through parameter space (top), and the same path in objective space (bottom)."""
    problem = table_2()
    figure = new_figure(9.6, 6.4)
    grid = figure.subplots(2, len(SHOWN), sharex="row", sharey="row")
    for (method, title), above, below in zip(SHOWN.items(), *grid, strict=True):
        path = toy.train(problem, toy.strategies(0.5)[method], visit=VISITED).visited
        points = np.array([path[step] for step in sorted(path)])
        _parameter_space(above, problem, points, method)
        above.set_title(title)
        distance = results["toy"]["swapped"][method]["ideal_distance"]
        _objective_space(below, problem, points, method, f"ideal distance {number(distance)}")
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
def figure_6(results: Mapping[str, Any]) -> Figure:
    """Left: the one-parameter objectives and the mixture's optimum. Right: the final gap G against T."""
    figure = new_figure(9.6, 3.9)
    left, right = figure.subplots(1, 2)
    _objectives(left)
    for schedule, dash in (("const 1", ":"), ("const 0.1", "--"), ("1/sqrt(T)", "-")):
        rows = results["sequential"][schedule]
        name = f"Sequential, α = {schedule.removeprefix('const ').replace('sqrt(T)', '√T')}"
        _curve(right, rows, "gap", look("sequential"), name, dash)
    colour, marker = look("alright")
    expected, drawn = results["alright_expected"]["1"], results["alright"]["1"]
    right.plot(_numbers(expected), list(expected.values()), color=colour, linewidth=1.3)
    means = [row["mean_gap"] for row in drawn.values()]
    right.plot(_numbers(drawn), means, marker, color=colour, markersize=4)
    right.plot([], [], marker=marker, color=colour, markersize=4, label="ALRIGHT, α = 1/√T (line: expectation)")
    floor = results["lower_bound"]["0.5"]["gap_at_zero"]
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
    _curve(axes, results["sequential"]["10/sqrt(T)"], "gap", look("sequential"), "Sequential DPO→SFT", "-")
    colour, marker = look("alright")
    expected = {horizon: expected_gap(10.0, horizon) for horizon in np.unique(np.geomspace(2, 1e5, 60).astype(int))}
    name = f"ALRIGHT, expectation (slope {number(results['alright_slope']['10'])})"
    axes.plot(list(expected), list(expected.values()), color=colour, linewidth=1.3, label=name)
    means, errors = ([row[key] for row in rows.values()] for key in ("mean_gap", "standard_error"))
    bars = 2 * np.array(errors)
    axes.errorbar(_numbers(rows), means, bars, color=colour, fmt=marker, markersize=4, capsize=3, label="mean ± 2 s.e.")
    _curve(axes, results["mix"]["10"], "gap", look("mix"), "Mix (two gradients per step)", "-")
    axes.set(xscale="log", yscale="log", ylim=(3e-5, 60), xlabel="T (iterates)", ylabel="E[G] after training (nats)")
    axes.set_title("α = 10/√T, λ = 0.5")
    axes.legend(frameon=False, fontsize=8, loc="lower left")
    return figure


FIGURES = {"figure_2": figure_2, "figure_6": figure_6, "gap_against_horizon": figure_bound}


def _parameter_space(axes: Axes, problem: Problem, points: np.ndarray, method: str) -> None:
    """Contours of both objectives and the path; levels in nats."""
    x, y = np.meshgrid(np.linspace(-9, 15, 120), np.linspace(-14, 14, 120))
    losses = problem.losses(np.stack([x, y], axis=-1))
    for name, colour, dash in (("dpo", DPO_COLOUR, "solid"), ("sft", SFT_COLOUR, "dashed")):
        lines = axes.contour(x, y, losses[name], (0.05, 0.2, 1, 3, 6), colors=colour, linewidths=0.9, linestyles=dash)
        axes.clabel(lines, fontsize=6, fmt="%g")
    axes.plot(*points.T, color=look(method)[0], linewidth=2.2)
    _ends(axes, points)
    axes.set(xlabel="θ₁")


def _objective_space(axes: Axes, problem: Problem, points: np.ndarray, method: str, title: str) -> None:
    """(f_DPO, f_SFT) along the path."""
    losses = problem.losses(points)
    path = np.stack([losses["dpo"], losses["sft"]], axis=-1)
    axes.plot(*path.T, color=look(method)[0], linewidth=2.2)
    _ends(axes, path)
    axes.plot(0, 0, "*", color=INK, markersize=13, zorder=5, clip_on=False)
    axes.set(xlabel="f_DPO (nats)")
    axes.set_title(title, fontsize=9)


def _ends(axes: Axes, points: np.ndarray) -> None:
    """Mark the first and the last point."""
    axes.plot(*points[0], "o", color=INK, markerfacecolor="white", markersize=7, zorder=4)
    axes.plot(*points[-1], "X", color=INK, markersize=8, zorder=4)


def _objectives(axes: Axes) -> None:
    """f_DPO, f_SFT and their mean over θ, with the mean's optimum."""
    theta = np.linspace(-22, 12, 300)[:, None]
    problem = table_1()
    losses = problem.losses(theta)
    mean = problem.mixture({"dpo": 0.5, "sft": 0.5})
    optimum = np.array([table_1_minimiser(0.5)])
    axes.plot(theta, losses["dpo"], color=DPO_COLOUR, label="f_DPO")
    axes.plot(theta, losses["sft"], color=SFT_COLOUR, linestyle="--", label="f_SFT")
    axes.plot(theta, mean.loss(theta), color=INK, linestyle="-.", label="mixture, λ = 0.5")
    axes.plot(optimum, mean.loss(optimum), "*", color=INK, markersize=12, label="its optimum θ* = −5")
    axes.axvspan(0, 12, color=FAINT, alpha=0.2, linewidth=0)
    axes.annotate("where Sequential ends", (0.4, 1.3), fontsize=8)
    axes.set(xlabel="θ", ylabel="loss (nats)", title="DPO pulls left, SFT pulls right", xlim=(-22, 12), ylim=(0, 11))
    axes.legend(frameon=False, fontsize=8, loc="upper center")


def _curve(axes: Axes, rows: Mapping[str, Any], key: str, looks: tuple[str, str], label: str, dash: str) -> None:
    """One line over horizons."""
    colour, marker = looks
    values = [row[key] for row in rows.values()]
    axes.plot(_numbers(rows), values, dash, color=colour, marker=marker, markersize=4, linewidth=1.3, label=label)


def _numbers(rows: Mapping[str, Any]) -> list[int]:
    """Horizons are keys of JSON."""
    return [int(horizon) for horizon in rows]
