"""Left: what a run lost of the tasks that were held back, against its memory gap. Right: with which third part."""

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator
from ranking import PARTS

from xright.analysis.style import LOOKS, new_figure, plain_ticks, styled


@styled
def figure(table: pd.DataFrame) -> Figure:
    """A mark per run; on the right one per world, and a line at their mean."""
    made = new_figure(10, 3.8)
    left, right = made.subplots(1, 2, width_ratios=(1, 1.15))
    watched = table[table["part"] == "watched"]
    for method, own in watched.groupby("method", sort=False):
        colour, marker = LOOKS[str(method).lower()]
        left.plot(own["memory_gap"], own["nats_lost"], marker, color=colour, markersize=5, label=method)
    left.set(xlabel="memory gap (nats per token)", ylabel="nats per token lost on held-back tasks")
    left.set(xscale="log", yscale="log")
    for axis in (left.xaxis, left.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        plain_ticks(axis)
    left.legend(frameon=False)
    shown = [part for part in PARTS if (table["part"] == part).any()]
    for place, part in enumerate(shown):
        own = table.loc[table["part"] == part, "nats_lost"]
        right.plot(own, [place] * len(own), "o", color=LOOKS["mix"][0], markersize=4)
        right.plot([own.mean()] * 2, [place - 0.3, place + 0.3], color=LOOKS["sequential"][0])
    right.set_yticks(range(len(shown)), [PARTS[part].replace("10 %, ", "10 %,\n") for part in shown])
    right.set(ylim=(len(shown) - 0.5, -0.5), xlabel="nats per token lost on held-back tasks")
    return made
