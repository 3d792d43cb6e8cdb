"""The figures of a screen: drawn by plotly in the reader's browser, from the same tables as those of `plots`.

Each function takes the runs of one setting and returns a plotly Figure without colours of its own for text, lines and
paper: the page gives them, light or dark (`report.js`). A trace without a colour is drawn in the page's ink.
"""

from collections.abc import Callable
from itertools import cycle
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from xright.analysis.objective_space import objective_space
from xright.analysis.plotly_style import finish, meta, plain, trace
from xright.analysis.plots import LINEAR_BELOW, WINDOW, shares
from xright.analysis.runs import STRATEGIES, Runs
from xright.analysis.seed_tables import with_interval
from xright.analysis.statistics import Mean, mean_curve, mean_interval
from xright.analysis.style import end_to_end, groups, groups_with, look, number
from xright.analysis.thin import thin_curve

DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
GAP_TICKS = (-1.0, -0.1, -0.01, 0.0, 0.01, 0.1, 1.0, 10.0, 100.0)


def gaps(runs: Runs) -> go.Figure:
    """Both gaps over optimizer steps, axes linear within ±LINEAR_BELOW and logarithmic beyond."""
    figure = make_subplots(1, 2, subplot_titles=("DPO gap (nats)", "SFT gap (nats per token)"), shared_yaxes=False)
    for column, key in ((1, "gap_dpo"), (2, "gap_sft")):
        _curves(figure, runs, runs.trajectory, key, column, lambda gap: np.arcsinh(gap / LINEAR_BELOW))
    ticks = {
        "tickvals": np.arcsinh(np.array(GAP_TICKS) / LINEAR_BELOW),
        "ticktext": [f"{tick:g}".replace("-", "−") for tick in GAP_TICKS],
    }
    figure.update_yaxes(**ticks, zeroline=True)
    figure.update_xaxes(title="optimizer step")
    return finish(figure, 520)


def picks(runs: Runs) -> go.Figure:
    """Share of DPO steps over optimizer steps."""
    table = runs.table
    methods = [name for name in ("alright", "maxright") if name in set(table["strategy"])]
    titles = [STRATEGIES[name] for name in methods]
    figure = make_subplots(1, max(1, len(methods)), subplot_titles=titles, shared_yaxes=True, horizontal_spacing=0.04)
    for column, name in enumerate(methods, start=1):
        chosen = runs.only(table["strategy"] == name)
        _curves(figure, chosen, shares(chosen), "share", column, lambda share: share, legend_in=column)
    figure.update_yaxes(range=[-0.03, 1.03])
    figure.update_yaxes(title=f"share of DPO steps (mean of {WINDOW})", col=1)
    figure.update_xaxes(title="optimizer step")
    return finish(figure, 480)


def quality_and_cost(runs: Runs) -> go.Figure:
    """The bars of fig 3: both gaps, ideal distance, runtime and utilisation, a row per method and λ."""
    columns = {
        "gap_dpo": "DPO gap (nats)",
        "gap_sft": "SFT gap (nats per token)",
        "ideal_distance": "Ideal distance (nats)",
        "train_seconds": "Training time (s)",
        "utilization_median_pct": "Utilisation (%)",
    }
    return _bars(runs, columns)


def throughput(runs: Runs) -> go.Figure:
    """Time per step, tokens per second and peak memory, a row per method and λ."""
    columns = {
        "step_ms": "Time per step (ms)",
        "tokens_per_second": "Tokens per second",
        "peak_memory_gb": "Peak memory (GB)",
    }
    return _bars(runs, columns)


INTERACTIVE: dict[str, tuple[Callable[[Runs], go.Figure], str]] = {  # of `plots.FIGURES`: (function, in words)
    "figure": (objective_space, "Final losses, the way there (left), and the Pareto front of the means (dotted)"),
    "gaps": (gaps, "DPO gap and SFT gap over optimizer steps"),
    "picks": (picks, "Share of DPO steps over training for ALRIGHT and MAXRIGHT"),
    "time": (quality_and_cost, "Gaps, ideal distance, training time and utilisation of each method"),
    "device": (throughput, "Time per step, throughput and peak memory of each method"),
}
MIN_WIDTH = {"figure": 760, "gaps": 640, "picks": 560, "time": 900, "device": 640}  # pixels; narrower screens scroll


def _curves(
    figure: go.Figure,
    runs: Runs,
    rows: pd.DataFrame,
    key: str,
    column: int,
    scale: Callable[[Any], Any],
    legend_in: int = 1,
) -> None:
    """Single runs faint, means over seeds strong with their interval in the hover text; λ by line style."""
    dashes: dict[str, Any] = {}
    traces: list[dict] = []
    for name, group, mine in groups_with(runs.table, rows.dropna(subset=[key])):
        if mine["step"].nunique() < 2:
            continue  # one row is no line
        style = {"color": look(name["strategy"])[0], "dash": next(dashes.setdefault(name["strategy"], cycle(DASHES)))}
        label = plain(name["label"])
        own: dict[str, Any] = {"legendgroup": label, "name": label, "meta": meta(name)}
        if len(group) > 1:
            steps, values = end_to_end(mine, "step", key)
            about = [[number(value)] for value in values]
            hover = "<b>%{meta[0]}</b>, one run<br>step %{x}: %{customdata[0]}<extra></extra>"
            traces.append(trace(
                steps, scale(values), about, line=style | {"width": 1}, opacity=0.3, hovertemplate=hover,
                showlegend=False, **own,
            ))  # fmt: skip
        curve = thin_curve(mean_curve(mine, key))
        spread = zip(curve["mean"], curve["high"] - curve["mean"], curve["n"].astype(int), strict=True)
        texts = [[with_interval(Mean(*found)), found[2]] for found in spread]
        hover = "<b>%{meta[0]}</b>, runs: %{customdata[1]}<br>step %{x}: %{customdata[0]}<extra></extra>"
        traces.append(trace(
            curve.index, scale(curve["mean"]), texts, line=style | {"width": 2}, hovertemplate=hover,
            showlegend=column == legend_in, **own,
        ))  # fmt: skip
    figure.add_traces(traces, 1, column)


def _bars(runs: Runs, columns: dict[str, str]) -> go.Figure:
    """A panel per quantity that is known, a row per method and λ: means, with intervals over seeds."""
    found = list(groups(runs.table))
    columns = {key: title for key, title in columns.items() if runs.table[key].notna().any()} or columns
    figure = make_subplots(
        1, len(columns), shared_yaxes=True, subplot_titles=list(columns.values()), horizontal_spacing=0.02
    )
    for place, column in enumerate(columns, start=1):
        for strategy in runs.table["strategy"].unique():
            mine = [(key, group) for key, group in found if key["strategy"] == strategy]
            spread = [mean_interval(group[column]) for _, group in mine]
            about = [[with_interval(one), one.n] for one in spread]
            half = [0.0 if np.isnan(one.half) else one.half for one in spread]
            bar = go.Bar(
                y=[plain(key["label"]) for key, _ in mine], x=[one.mean for one in spread], orientation="h",
                marker={"color": look(str(strategy))[0]}, customdata=about, showlegend=False,
                error_x={"type": "data", "array": half, "thickness": 1, "width": 3} if any(half) else None,
                hovertemplate="<b>%{y}</b><br>%{customdata[0]}, runs: %{customdata[1]}<extra></extra>",
            )  # fmt: skip
            figure.add_trace(bar, 1, place)
    labels = [plain(key["label"]) for key, _ in found]
    figure.update_yaxes(categoryorder="array", categoryarray=labels, autorange="reversed", dtick=1, type="category")
    figure.update_layout(bargap=0.25, barmode="overlay")
    return finish(figure, 110 + 22 * len(labels))
