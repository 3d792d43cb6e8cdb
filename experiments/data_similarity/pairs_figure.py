"""Fig 7 of arXiv 2410.15483: closest input pairs of the two data sets, and how alike their responses are."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from xright.analysis.style import INK, look, new_figure, number, styled

BINS = 50


@styled
def similarity_figure(shown: tuple[str, pd.DataFrame]) -> Figure:
    """shown: what the cosines are of, and the table of `pair_up`. A point per pair, histograms of both similarities at
    the sides; responses of random pairs as an outline, the chance level.
    """
    measure, pairs = shown
    x, y, chance = (pairs[f"{name}_similarity"] for name in ("input", "response", "random_response"))
    figure = new_figure(6.4, 6)
    panels = figure.subplots(2, 2, width_ratios=(4, 1), height_ratios=(1, 4), sharex="col", sharey="row")
    (top, corner), (middle, right) = panels
    corner.set_axis_off()
    corner.set_in_layout(False)
    middle.scatter(x, y, s=5, color=look("mix")[0], alpha=max(0.2, min(0.7, 1000 / len(pairs))), linewidths=0)
    for points in middle.collections:
        points.set_rasterized(True)  # thousands of points as vectors would make the page heavy
    low = min(0.0, float(pd.concat([x, y, chance]).min()))
    middle.set(xlim=(low, 1.02), ylim=(low, 1.02))
    middle.set(xlabel=f"closest inputs: cosine ({measure})", ylabel=f"their responses: cosine ({measure})")
    bins = np.linspace(low, 1, BINS + 1)
    top.hist(x, bins=bins, color=look("mix")[0], alpha=0.8)
    right.hist(y, bins=bins, orientation="horizontal", color=look("mix")[0], alpha=0.8)
    right.hist(chance, bins=bins, orientation="horizontal", histtype="step", color=look("sequential")[0])
    top.set_ylim(top=1.25 * top.get_ylim()[1])  # room for the median's number
    _median(top, x, "x")
    _median(right, y, "y")
    top.set_title(f"{len(pairs):,} preference rows, each with its closest SFT input (line: median)")
    right.text(0.95, 0.98, "outline:\nrandom\npairs", color=look("sequential")[0], fontsize=8, ha="right", va="top",
               transform=right.transAxes)  # fmt: skip
    for axes in (top, right):
        axes.grid(visible=False)
    top.set_yticks([])
    right.set_xticks([])
    return figure


def _median(axes: Axes, values: pd.Series, along: str) -> None:
    middle = float(values.median())
    if along == "x":
        axes.axvline(middle, color=INK, linewidth=1)
        axes.annotate(number(middle), (middle, 0.97), (4, 0), xycoords=("data", "axes fraction"),
                      textcoords="offset points", va="top", fontsize=8)  # fmt: skip
    else:
        axes.axhline(middle, color=INK, linewidth=1)
        axes.annotate(number(middle), (0.97, middle), (0, 4), xycoords=("axes fraction", "data"),
                      textcoords="offset points", ha="right", fontsize=8)  # fmt: skip
