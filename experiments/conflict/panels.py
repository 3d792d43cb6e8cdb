"""The measured steps beside their predictions, and what became of the promises."""

from collections.abc import Sequence

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from products import PREDICTIONS
from summaries import OWN, SETTING, explained, fitted

from xright.analysis.numbers.statistics import mean_interval
from xright.analysis.style import FAINT, INK, SETTINGS, look, new_figure

COLOURS = ("#0072B2", "#D55E00", "#009E73")


def predictions_figure(steps: pd.DataFrame) -> Figure:
    """A row per setting, a column per prediction: the change against the prediction times its factor, UPGrad's runs."""
    with matplotlib.rc_context(SETTINGS):
        settings = [(key, own) for key, own in steps[steps["rule"] == "upgrad"].groupby(SETTING, sort=False)]
        figure = new_figure(10, 2.3 * len(settings))
        grid = figure.subplots(len(settings), len(PREDICTIONS), squeeze=False)
        for (key, own), axes in zip(settings, grid, strict=True):
            for prediction, ax in zip(PREDICTIONS, axes, strict=True):
                _scatter(ax, own, prediction)
            axes[0].set_ylabel(f"{key[0]},\n{'β₁ = .9' if key[1] == 'yes' else 'no momentum'}\nchange / its spread")
        for prediction, ax in zip(PREDICTIONS, grid[0], strict=True):
            ax.set_title(prediction)
        for ax in grid[-1]:
            ax.set_xlabel("prediction, scaled to fit")
        for ax in grid[:, 0]:
            ax.legend(loc="upper left", frameon=False, fontsize=7)
        return figure


def _scatter(ax: Axes, steps: pd.DataFrame, prediction: str) -> None:
    """Each run and objective in units of its changes' standard deviation; what lies outside is drawn at the edge."""
    edge, values = 4.0, []
    for place, (name, group) in enumerate(steps.groupby("objective", sort=False)):
        for _, own in group.groupby(["metric", "seed"]):
            factor, unit = fitted(own[prediction], own[OWN]), own[OWN].std()
            x, y = (factor * own[prediction] / unit).clip(-edge, edge), (own[OWN] / unit).clip(-edge, edge)
            label = str(name) if not ax.get_legend_handles_labels()[1].count(str(name)) else None
            ax.scatter(x, y, s=5, alpha=0.45, color=COLOURS[place], linewidths=0, label=label)
            values.append(explained(own[prediction], own[OWN], factor))
    ax.plot([-edge, edge], [-edge, edge], color=FAINT, linewidth=0.8)
    ax.axhline(0, color=INK, linewidth=0.5)
    ax.text(0.97, 0.05, f"R² = {np.mean(values):.2f}", transform=ax.transAxes, ha="right")
    ax.set(xlim=(-edge - 0.2, edge + 0.2), ylim=(-edge - 0.2, edge + 0.2))


def promises_figure(found: pd.DataFrame, columns: Sequence[str] = ("broken", "broken, held-out")) -> Figure:
    """Share of steps that raised a loss that was promised not to rise: a panel per setting, a dot per rule and seed."""
    with matplotlib.rc_context(SETTINGS):
        settings = list(found.groupby(SETTING, sort=False))
        figure = new_figure(10, 3.2)
        for (key, own), ax in zip(
            settings, figure.subplots(1, len(settings), sharey=True, squeeze=False)[0], strict=True
        ):
            rules = list(own.groupby(["rule", "metric"], sort=False))
            for place, ((rule, _), runs) in enumerate(rules):
                for shift, column in zip((-0.15, 0.15), columns, strict=True):
                    mean = mean_interval(runs[column])
                    filled = look(rule)[0] if column == columns[0] else "none"
                    ax.errorbar(
                        place + shift, mean.mean, yerr=0 if np.isnan(mean.half) else mean.half, color=look(rule)[0],
                        marker=look(rule)[1], markerfacecolor=filled, markersize=5, linewidth=1,
                    )  # fmt: skip
            names = [rule if metric == "–" else f"{rule} {metric}" for (rule, metric), _ in rules]
            ax.set_xticks(range(len(rules)), names, rotation=90)
            ax.set_title(key[0] if key[1] == "yes" else f"{key[0]},\nno momentum", fontsize=8)
            ax.set_ylim(0, 1)
        figure.supylabel("share of steps that raised a promised loss\nfilled: own rows; open: held-out", fontsize=8)
        return figure
