"""Hours by experiment and method, on a logarithmic scale: on one core at hand below, on the assumed GPU above."""

import pandas as pd
from estimate import EXA, GPU, MEASURED
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from xright.analysis.style import FAINT, look, new_figure, plain_ticks, styled

NAMES = {  # strategy: as shown
    "sequential": "Sequential", "mix": "Mix", "alright": "ALRIGHT", "maxright": "MAXRIGHT",
    "model_average": "Model average", "orpo": "ORPO", "sft": "SFT only", "dpo": "DPO only",
    "stages": "stages that the runs share",
}  # fmt: skip


@styled
def cost_figure(rows: pd.DataFrame) -> Figure:
    """A mark per experiment and method, all its runs together; without model averaging, which only evaluates."""
    timed = rows[rows["kind"].eq(MEASURED) & rows["foretold_seconds"].isna()]  # the model from which all is foretold
    speed = timed["exaflop"].sum() * EXA / timed["seconds_per_step"].sum()
    whole = rows[rows["hours_here"].gt(0) & rows["method"].isin(NAMES)]
    shown = whole[whole["method"] != "model_average"]
    figure = new_figure(9.6, 6)
    axes = figure.subplots()
    labels, marks = [], {}
    for place, (name, mine) in enumerate(shown.groupby("experiment", sort=False)):
        ordered = [method for method in NAMES if method in set(mine["method"])]
        hours = mine.set_index("method")["hours_here"]
        for number, method in enumerate(ordered, 1):
            at = place - 0.5 + number / (len(ordered) + 1)
            colour, marker = look(method)
            (marks[method],) = axes.plot(hours[method], at, marker, color=colour, markersize=6, label=NAMES[method])
        runs = whole.loc[whole["experiment"].eq(name) & whole["method"].ne("stages"), "runs"].sum()
        labels.append(f"{name}\n{runs} runs")
        axes.axhline(place + 0.5, color=FAINT, linewidth=0.6)
    axes.set_yticks(range(len(labels)), labels)
    axes.grid(visible=False, axis="y")
    axes.set(ylim=(len(labels) - 0.5, -0.5), xscale="log")
    axes.set_xlabel(f"hours on one core (measured: {speed / 1e9:.0f} GFLOP/s)")
    above = axes.secondary_xaxis("top", functions=(lambda here: here * speed / GPU, lambda there: there * GPU / speed))
    above.set_xlabel(f"hours on a GPU (assumed: {GPU / 1e12:.0f} TFLOP/s)")
    for axis in (axes.xaxis, above.xaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        plain_ticks(axis)
    handles = [marks[method] for method in NAMES if method in marks]
    sizes = [f"{one.tokens:.0f} tokens, {one.predicted:.0f} of them predicted" for one in timed.itertuples()]
    model, machine = timed[["experiment", "machine"]].iloc[0]
    told = f"measured on {model}, one pair ({sizes[0]}) and one row ({sizes[1]})\n{machine}"
    figure.suptitle(told, x=0.01, ha="left", fontsize=8)
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)
    return figure
