"""Objective space on a screen: hover shows strategy, λ, seed, step, losses and gaps of every point.

Paths of single runs and their ends faint, means over seeds strong with 95 % t intervals, the Pareto front of the means
and the ideal point (arXiv 2410.15483, section 3) in the page's ink. The marks grow with λ.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from xright.analysis.main_figure import around_ideal_point
from xright.analysis.plotly_style import finish, meta, plain, trace
from xright.analysis.runs import Runs
from xright.analysis.seed_tables import with_interval
from xright.analysis.statistics import front_name, mean_interval
from xright.analysis.style import end_to_end, groups, groups_with, look, number
from xright.analysis.thin import thinned
from xright.metrics import pareto_front

MARKERS = {"X": "x", "s": "square", "o": "circle", "D": "diamond", "P": "cross", "v": "triangle-down"}
MARKERS |= {"<": "triangle-left", ">": "triangle-right", "h": "hexagon"}
LOG_TICKS = [float(f"{digit}e{power}") for power in range(-5, 4) for digit in (1, 2, 5)]
BY_RUN = "<b>%{meta[0]}</b><br>λ %{meta[1]}, seed %{customdata[0]}, step %{customdata[1]}<br>"
GAPS = "DPO gap %{customdata[2]}<br>SFT gap %{customdata[3]}<br>ideal distance %{customdata[4]}<extra></extra>"


def objective_space(runs: Runs) -> go.Figure:
    """Paths, final points, their Pareto front and the ideal point; left all, right around the ideal point."""
    figure = make_subplots(1, 2, subplot_titles=("All runs and their paths", "Around the ideal point"))
    means = _final_means(runs)
    legend: set[str] = set()
    paths = runs.trajectory.assign(seed=runs.trajectory["folder"].map(runs.table.set_index("folder")["seed"]))
    traces: dict[int, list[dict]] = {1: [], 2: []}  # of each panel
    for (key, group, path), mean in zip(groups_with(runs.table, paths), means.itertuples(), strict=True):
        colour, marker = look(key["strategy"])
        name = plain(front_name(key["variant"]))
        own = {"legendgroup": name, "name": name, "meta": meta(key)}
        traces[1].append(_path(path, line={"color": colour, "width": 1}, opacity=0.45, showlegend=False, **own))
        point = {"color": colour, "symbol": MARKERS[marker], "size": 8 + 5 * _or(key["lam"], 0.5)}
        for column in (1, 2):
            shown = {"showlegend": column == 1 and name not in legend, "marker": point}
            traces[column].append(_finals(group, **own, **shown | {"opacity": 0.45, "showlegend": False}))
            traces[column].append(_mean_point(mean, **own, **shown))
        legend.add(name)
    front = means.iloc[pareto_front(means[["f_dpo", "f_sft"]].to_numpy())].sort_values("f_dpo")
    for column in (1, 2):
        figure.add_traces([*traces[column], *_front_and_ideal(runs.table, front, showlegend=column == 1)], 1, column)
    figure.update_xaxes(title="f_DPO (nats per pair)")
    figure.update_yaxes(title="f_SFT (nats per token)")
    if (runs.table[["f_dpo", "f_sft"]] > 0).all(axis=None):
        figure.update_xaxes(type="log", tickvals=LOG_TICKS, ticktext=[f"{tick:g}" for tick in LOG_TICKS], col=1)
        figure.update_yaxes(type="log", tickvals=LOG_TICKS, ticktext=[f"{tick:g}" for tick in LOG_TICKS], col=1)
    x, y = around_ideal_point(runs.table)
    figure.update_xaxes(range=x, col=2)
    figure.update_yaxes(range=y, scaleanchor="x2", col=2)
    return finish(figure, 560)


def _path(rows: pd.DataFrame, **style: Any) -> dict[str, Any]:
    """The ways of all runs in `rows`, end to end; a point of the way is its evaluation."""
    rows = thinned(rows, "f_dpo", "f_sft").sort_values("folder", kind="stable")
    x, y, *_ = end_to_end(rows, "f_dpo", "f_sft")
    seen = iter(_about(rows))
    about = [["", "", "", "", ""] if np.isnan(value) else next(seen) for value in _starts(rows)]
    hover = BY_RUN + "f_DPO %{x:.4f}, f_SFT %{y:.4f}<br>" + GAPS
    return trace(x, y, about, hovertemplate=hover, **style)


def _starts(rows: pd.DataFrame) -> np.ndarray:
    """NaN where `end_to_end` puts its gaps, numbers elsewhere."""
    return end_to_end(rows.assign(here=0.0), "here")[0]


def _finals(group: pd.DataFrame, **style: Any) -> dict[str, Any]:
    about = _about(group.assign(step=group["steps"]))
    hover = BY_RUN + "final f_DPO %{x:.4f}, f_SFT %{y:.4f}<br>" + GAPS
    style["marker"] = style["marker"] | {"size": 5}
    return trace(group["f_dpo"], group["f_sft"], about, "markers", hovertemplate=hover, **style)


def _mean_point(mean: Any, **style: Any) -> dict[str, Any]:
    bars = {
        f"error_{axis}": {"type": "data", "array": [half], "thickness": 1, "width": 0}
        for axis, half in (("x", mean.half_dpo), ("y", mean.half_sft))
        if not np.isnan(half)
    }
    hover = (
        "<b>%{meta[0]}</b><br>λ %{meta[1]}, mean of %{customdata[0]}<br>"
        "f_DPO %{customdata[1]}<br>f_SFT %{customdata[2]}<br>ideal distance %{customdata[3]}<extra></extra>"
    )
    about = [[mean.runs, mean.text_dpo, mean.text_sft, mean.text_distance]]
    return trace([mean.f_dpo], [mean.f_sft], about, "markers", hovertemplate=hover, **bars, **style)


def _final_means(runs: Runs) -> pd.DataFrame:
    """One row per method and λ: mean final losses, their intervals, and both as text."""
    rows = []
    for _, group in groups(runs.table):
        dpo, sft, far = (mean_interval(group[column]) for column in ("f_dpo", "f_sft", "ideal_distance"))
        texts = [with_interval(found) for found in (dpo, sft, far)]
        count = "1 run" if len(group) == 1 else f"{len(group)} runs (± 95 % interval)"
        rows.append([dpo.mean, sft.mean, dpo.half, sft.half, *texts, count])
    columns = ["f_dpo", "f_sft", "half_dpo", "half_sft", "text_dpo", "text_sft", "text_distance", "runs"]
    return pd.DataFrame(rows, columns=columns)


def _front_and_ideal(table: pd.DataFrame, front: pd.DataFrame, showlegend: bool) -> list[go.Scatter]:
    """In the page's ink: the Pareto front of the means as a staircase, and a star at the ideal point."""
    hover = "on the Pareto front<br>f_DPO %{x:.4f}, f_SFT %{y:.4f}<extra></extra>"
    line = go.Scatter(
        x=front["f_dpo"], y=front["f_sft"], mode="lines", line={"dash": "dot", "shape": "hv", "width": 1.5},
        name="Pareto front", legendgroup="front", hovertemplate=hover, showlegend=showlegend,
    )  # fmt: skip
    ideal = table[["f_dpo_opt", "f_sft_opt"]].mean()
    if ideal.isna().any():
        return [line]
    hover = "ideal point<br>f_DPO* %{x:.4f}, f_SFT* %{y:.4f}<extra></extra>"
    star = go.Scatter(
        x=[ideal["f_dpo_opt"]], y=[ideal["f_sft_opt"]], mode="markers", marker={"symbol": "star", "size": 16},
        name="ideal point", legendgroup="ideal", hovertemplate=hover, showlegend=showlegend,
    )  # fmt: skip
    return [line, star]


def _about(rows: pd.DataFrame) -> list[Sequence[str]]:
    """Seed, step, both gaps and the ideal distance of each row, as text."""
    numbers = [rows[key].map(number) for key in ("gap_dpo", "gap_sft", "ideal_distance")]
    whole = [rows[key].map("{:.0f}".format) for key in ("seed", "step")]
    return [list(row) for row in zip(*whole, *numbers, strict=True)]


def _or(value: float, otherwise: float) -> float:
    return otherwise if pd.isna(value) else value
