"""Bars: a row per method and weighting, the first on top; means over seeds, with 95 % t intervals as thin lines."""

from collections.abc import Iterator
from itertools import cycle

import pandas as pd

from xright.analysis.figures.chart import Axis, Chart, Mark, Panel, Row, segments
from xright.analysis.numbers.runtime import runtime_increases
from xright.analysis.numbers.statistics import mean_interval
from xright.analysis.read.runs import Runs
from xright.analysis.style import groups, look, number
from xright.analysis.text.seed_tables import with_interval

GAP_MARKS = ("d", "o", "s", "^", "v", "p", "h")  # of the objectives, in the order of the table
TIMES = {
    "step_ms": "Training time per optimizer step (ms, mean)",
    "train_seconds": "Training time per run (s, evaluation not counted)",
}
DEVICE = {
    "tokens_per_second": "Throughput (tokens per second)",
    "utilization_median_pct": "Utilisation of the device (%, median)",
    "peak_memory_gb": "Peak memory (GB)",
}


def times(runs: Runs) -> Chart:
    """Mean time per optimizer step and training time per run; ticks are single runs."""
    trained = (runs.table["steps"] > 0) & runs.table["train_seconds"].notna()
    return _bars(runs.table[trained], TIMES, "No run has a training time.")


def device(runs: Runs) -> Chart:
    """Throughput, utilisation and peak memory of the device; ticks are single runs."""
    watched = runs.table[list(DEVICE)].notna().any(axis=1)
    return _bars(runs.table[watched], DEVICE, "No run watched its device.")


def _bars(table: pd.DataFrame, columns: dict[str, str], otherwise: str) -> Chart:
    """Return a panel for each quantity, {column: title}."""
    if table.empty:
        return Chart(rows=[Row(panels=[Panel(marks=[], nothing=otherwise)], height=2.2)], width=11)
    panels = [bar_panel(table, column, title) for column, title in columns.items()]
    return Chart(rows=[Row(panels=panels, height=height_of(table), shared="y")], width=11)


def height_of(table: pd.DataFrame) -> float:
    """Inches of a panel with a row per method and weighting."""
    return max(2.2, 0.26 * table["label"].nunique() + 1.4)


def names_of(table: pd.DataFrame) -> Axis:
    """Return the axis that names the rows."""
    return Axis(names=[key["label"] for key, _ in groups(table)])


def bar_panel(table: pd.DataFrame, column: str, title: str) -> Panel:
    """A bar per method and weighting: mean of `column`, its interval over seeds as a line, single runs as ticks."""
    shown = list(groups(table))
    means = [mean_interval(group[column]) for _, group in shown]
    bars = [
        Mark(x=[mean.mean], y=[place], bar_from=0.0, colour=look(key["method"])[0], alpha=0.85, head=key["label"],
             facts={"mean": [with_interval(mean)], "runs:": [str(mean.n)]})
        for place, (mean, (key, _)) in enumerate(zip(means, shown, strict=True))
    ]  # fmt: skip
    zero = Mark(x=[0, 0], y=[-0.6, len(shown) - 0.4], dash="-", width=0.8)
    rows = range(len(shown))
    spread = segments([mean.low for mean in means], [mean.high for mean in means])
    intervals = Mark(x=spread, y=segments(rows, rows), dash="-", width=1)
    singles = [(value, place) for place, (_, group) in enumerate(shown) for value in group[column]]
    x, y = zip(*singles, strict=True)
    return Panel(marks=[*bars, zero, intervals, Mark(x=x, y=y, marker="|", size=7)], title=title, y=names_of(table))


def distance_panel(runs: Runs) -> Panel:
    """Ideal distance as a bar with its value, and on it every gap; an open mark is a negative gap's size."""
    known = runs.table.dropna(subset="ideal_distance")
    if known.empty:
        return Panel(marks=[], nothing="No optima are known, so there is no ideal distance.")
    gaps = [f"gap_{name}" for name in runs.axes]
    sizes = known[["ideal_distance", *gaps]].abs()
    floor = max(0.5 * sizes[sizes > 0].min(axis=None), 1e-4 * sizes.max(axis=None))
    marks = [
        mark
        for place, (key, group) in enumerate(groups(known))
        for mark in _distance(runs, key, group, place, floor=floor)
    ]
    most = max(known["ideal_distance"].max(), *(float(max(mark.x)) for mark in marks if mark.texts))
    return Panel(
        marks=sorted(marks, key=lambda mark: mark.listed), title="Ideal distance (bar) and its gaps (nats)",
        x=Axis(scale="log", limits=(floor, 5 * most)), y=names_of(known),
    )  # fmt: skip


def _distance(runs: Runs, key: dict, group: pd.DataFrame, place: int, floor: float) -> Iterator[Mark]:
    """One row: the bar, its interval, its value in numbers, and the gaps."""
    found = mean_interval(group["ideal_distance"])
    gaps = {name: mean_interval(group[f"gap_{name}"]) for name in runs.axes}
    facts = {"ideal distance": [with_interval(found)]}
    facts |= {f"{runs.axes[name].label} gap": [with_interval(gap)] for name, gap in gaps.items()}
    yield Mark(
        x=[found.mean], y=[place], bar_from=floor, colour=look(key["method"])[0], alpha=0.75, head=key["label"],
        facts=facts | {"runs:": [str(found.n)]},
    )  # fmt: skip
    ends = [found.mean, *(gap.mean for gap in gaps.values())]
    if found.n > 1:
        yield Mark(x=[max(found.low, floor), found.high], y=[place, place], dash="-", width=1)
        ends.append(found.high)
    yield Mark(x=[max(ends)], y=[place], texts=[number(found.mean)])
    for marker, (name, gap) in zip(cycle(GAP_MARKS), gaps.items(), strict=False):
        label = f"{runs.axes[name].label} gap" if gap.mean >= 0 else "negative gap (its size)"
        yield Mark(x=[abs(gap.mean)], y=[place], marker=marker, size=4.5, hollow=gap.mean < 0, group=label, listed=True)


def runtime_panel(runs: Runs, title: str = "Runtime increase over the matched Sequential run (%)") -> Panel:
    """Runtime increase (%) of each joint method and λ: a column `increase` (a fraction) if there is one."""
    table = compared_in_time(runs)
    if table.empty:
        return Panel(marks=[], nothing="No Sequential run matches a joint one.")
    return bar_panel(table.assign(increase=100 * table["increase"]), "increase", title)


def compared_in_time(runs: Runs) -> pd.DataFrame:
    """Return the rows of `Runs.table` that have an `increase`, a fraction: of their own, or over a matched Sequential
    run."""
    table = runs.table
    if "increase" not in table:
        over = runtime_increases(table).groupby("folder")["increase"].mean()
        table = table.assign(increase=table["folder"].map(over))
    return table.dropna(subset="increase")
