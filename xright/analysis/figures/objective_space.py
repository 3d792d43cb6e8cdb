"""Objective space: where every run ends, the way there, and how far that is from the ideal point.

Ideal point: the lowest value of each objective, f*; ideal distance: sqrt(Σ gap²) with gap = f − f* (arXiv 2410.15483,
section 3). Each pair of objectives has two panels. The first is logarithmic, since forgetting lies a decade away; the
second is linear with equal scales, so that distance from the star is the ideal distance of these two (dotted arcs). The
bars give it over all objectives, with every gap on them, because one gap often makes up nearly all of it.
Single runs are faint, means over seeds strong, with 95 % t intervals over seeds; marks grow with λ.
"""

from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.ticker import MaxNLocator

from xright.analysis.figures.bars import distance_panel, height_of
from xright.analysis.figures.chart import Axis, Chart, Mark, Panel, Row, segments
from xright.analysis.figures.thin import end_to_end, share
from xright.analysis.numbers.statistics import Mean, mean_interval
from xright.analysis.read.methods import Objective
from xright.analysis.read.runs import Runs
from xright.analysis.style import FAINT, groups, groups_with, look, number, short_name
from xright.analysis.text.seed_tables import with_interval
from xright.metrics import pareto_front

FAR = 3.0  # times the median ideal distance
Pair = tuple[Objective, Objective]
Limits = tuple[float, float]
NAME_SIZE = (0.35, 0.04)  # width and height that a name needs, in shares of a panel


class End(NamedTuple):
    """Where the runs of one method and weighting end; means: {"f_o" of each objective, "ideal_distance"}."""

    key: dict
    runs: pd.DataFrame
    means: dict[str, Mean]


def objective_space(runs: Runs) -> Chart:
    """All pairs of objectives, and the ideal distances; for the runs of one setting."""
    columns = [*(f"f_{name}" for name in runs.axes), "ideal_distance"]
    ends = [End(key, own, {c: mean_interval(own[c]) for c in columns}) for key, own in groups(runs.table)]
    best = pareto_front(np.array([[end.means[column].mean for column in columns[:-1]] for end in ends]))
    front = [ends[place] for place in best]
    whole, near = ([panel(runs, pair, ends, front) for pair in pairs_of(runs)] for panel in (_whole, _near))
    bars, height = distance_panel(runs), height_of(runs.table)
    if len(whole) == 1:
        row = Row(panels=[*whole, *near, bars], height=max(5.0, height), widths=(1, 1, 0.9))
        return Chart(rows=[row], width=15)
    spaces = [Row(panels=panels, height=4.6) for panels in (whole, near) if panels]
    return Chart(rows=[*spaces, Row(panels=[bars], height=height)], width=15)


def pairs_of(runs: Runs) -> list[Pair]:
    """Return all pairs of objectives that span objective space."""
    return list(combinations(runs.axes.values(), 2))


def axes_of(pair: Pair, table: pd.DataFrame) -> tuple[Axis, Axis]:
    """The axes of a panel: logarithmic, where all final losses are positive."""
    positive = (table[[f"f_{one.name}" for one in pair]].dropna() > 0).all(axis=None)
    x, y = (Axis(title=f"f_{one.label} ({one.unit})", scale="log" if positive else "linear") for one in pair)
    return x, y


def ideal(table: pd.DataFrame, pair: Pair) -> list[Mark]:
    """The ideal point: its mean over the runs, and faintly each that there is."""
    points = table[[f"f_{one.name}_opt" for one in pair]].dropna().drop_duplicates().to_numpy()
    if not len(points):
        return []
    mean = points.mean(axis=0)
    facts = {f"f_{one.label}*": [number(value)] for one, value in zip(pair, mean, strict=True)}
    star = Mark(x=mean[:1], y=mean[1:], marker="*", size=14, group="ideal point", listed=True, head="ideal point",
                facts=facts)  # fmt: skip
    return [Mark(x=points[:, 0], y=points[:, 1], marker="*", size=7, colour=FAINT), star]


def size_of(key: Mapping) -> float:
    """The size of a final mark, which grows with λ."""
    return 5.5 + 5 * (0.5 if pd.isna(key["lam"]) else key["lam"])


def around_ideal_point(table: pd.DataFrame, pair: Pair) -> tuple[Limits, Limits]:
    """Limits of both axes: the square that holds the ideal point and the joint runs (all, where none is).

    Without those that end more than FAR times as far from it as the median: λ near 0 or 1 trains one objective only.
    """
    values = [_close(table)[[f"f_{one.name}", f"f_{one.name}_opt"]] for one in pair]
    corners = np.array([[part.min(axis=None), part.max(axis=None)] for part in values])
    reach = 0.6 * np.max(corners[:, 1] - corners[:, 0]) or 0.01  # half a side of the square, with some room
    x, y = corners.mean(axis=1)
    return (x - reach, x + reach), (y - reach, y + reach)


def _close(table: pd.DataFrame) -> pd.DataFrame:
    joint = table[table["family"] == "joint"]
    joint = joint if len(joint) else table
    return joint[~(joint["ideal_distance"] > FAR * joint["ideal_distance"].median())]


def _whole(runs: Runs, pair: Pair, ends: list[End], front: list[End]) -> Panel:
    """Return the panel of all final models and the ways there."""
    marks = [*_ways(runs, pair), *_finals(runs, pair, ends, front), *_names(runs.table, pair)]
    lines = "lines: λ; " if runs.table["lam"].notna().any() else ""
    x, y = axes_of(pair, runs.table)
    return Panel(marks=marks, title=f"Final models ({lines}faint: the way there)", x=x, y=y)


def _near(runs: Runs, pair: Pair, ends: list[End], front: list[End]) -> Panel:
    """The part that holds the ideal point and the joint runs near it."""
    marks = [*_arcs(runs.table, pair), *_finals(runs, pair, ends, front)]
    title = "Around the ideal point" + (" (larger mark: larger λ)" if runs.table["lam"].notna().any() else "")
    limits = zip(axes_of(pair, runs.table), around_ideal_point(runs.table, pair), strict=True)
    x, y = (Axis(title=axis.title, limits=limit) for axis, limit in limits)
    return Panel(marks=marks, title=title, x=x, y=y, equal=True)


def _ways(runs: Runs, pair: Pair) -> Iterator[Mark]:
    x, y = (f"f_{one.name}" for one in pair)
    seeds = runs.trajectory["folder"].map(runs.table.set_index("folder")["seed"])
    for key, _, rows in groups_with(runs.table, runs.trajectory.assign(seed=seeds)):
        way = end_to_end(rows, x, y, most=share(len(runs.table)))
        yield Mark(x=way[x], y=way[y], colour=look(key["method"])[0], alpha=0.45, dash="-", width=0.8,
                   group=key["front"], head=key["label"], facts=_facts(way, runs))  # fmt: skip


def _arcs(table: pd.DataFrame, pair: Pair) -> Iterator[Mark]:
    """Circles of equal distance around the ideal point, as far as the joint runs near it."""
    centre = table[[f"f_{one.name}_opt" for one in pair]].mean().to_numpy()
    if table["ideal_distance"].isna().all() or np.isnan(centre).any():
        return
    turn = 0.35 + np.linspace(0, 2 * np.pi, 200)
    for radius in MaxNLocator(5, prune="lower").tick_values(0, _close(table)["ideal_distance"].max()):
        x, y = centre[:, None] + radius * np.array([np.cos(turn), np.sin(turn)])
        yield Mark(x=x, y=y, colour=FAINT, dash=":", width=0.8, texts=[f"{radius:g}"], side="centre")


def _finals(runs: Runs, pair: Pair, ends: list[End], front: list[End]) -> Iterator[Mark]:
    """Single runs, means joined in the order of λ, their intervals, the front of two objectives, the ideal point."""
    x, y = (f"f_{one.name}" for one in pair)
    for key, own, _ in ends:
        colour, marker = look(key["method"])
        yield Mark(x=own[x], y=own[y], colour=colour, marker=marker, size=3.5, alpha=0.35, group=key["front"],
                   head=key["label"], facts=_facts(own.assign(step=own["steps"]), runs))  # fmt: skip
    for _, line in runs.table.dropna(subset="lam").groupby("variant", sort=False):
        means, first = line.groupby("lam")[[x, y]].mean(), line.iloc[0]
        yield Mark(x=means[x], y=means[y], colour=look(first["method"])[0], dash="-", group=first["front"])
    for end in ends:
        across, up, (colour, marker) = end.means[x], end.means[y], look(end.key["method"])
        bars = segments([across.low, across.mean], [across.high, across.mean])
        yield Mark(x=bars, y=segments([up.mean, up.low], [up.mean, up.high]), colour=colour, dash="-", width=0.9,
                   group=end.key["front"])  # fmt: skip
        yield Mark(x=[across.mean], y=[up.mean], colour=colour, marker=marker, size=size_of(end.key), listed=True,
                   group=end.key["front"], head=end.key["label"], facts=_mean_facts(end, runs, front))  # fmt: skip
    if len(runs.axes) == 2:
        stairs = np.repeat(sorted((end.means[x].mean, end.means[y].mean) for end in front), 2, axis=0)
        yield Mark(x=stairs[1:, 0], y=stairs[:-1, 1], dash=":", width=1.1, group="Pareto front", listed=True)
    yield from ideal(runs.table, pair)


def _names(table: pd.DataFrame, pair: Pair) -> Iterator[Mark]:
    """Methods without weights are named where they end, splits of one order by the order; not where a name would
    lie on another or on a mark: the legend has them all."""
    x, y = (f"f_{one.name}" for one in pair)
    logs = np.log(table[[x, y]].clip(lower=1e-9))
    low, span = logs.min(), (logs.max() - logs.min()).clip(lower=1e-9)
    marks, named = ((logs - low) / span).to_numpy(), list[np.ndarray]()
    for front, own in table[table["weighting"] == ""].groupby("front", sort=False):
        key = own.iloc[0].to_dict() | ({"label": front} if own["label"].nunique() > 1 else {})
        place = ((np.log(own[[x, y]].mean().clip(lower=1e-9)) - low) / span).to_numpy()
        side = "left" if place[0] > 0.5 else "right"
        middle = place + (0.5 if side == "right" else -0.5) * np.array([NAME_SIZE[0], 0])
        others = marks[(table["front"] != front).to_numpy()]
        is_free = (abs(others - middle) > np.multiply(NAME_SIZE, (0.5, 1))).any(axis=1).all()
        if is_free and all((abs(place - other) > NAME_SIZE).any() for other in named):
            named.append(place)
            yield Mark(x=[own[x].mean()], y=[own[y].mean()], texts=[short_name(key)], side=side)


def _facts(rows: pd.DataFrame, runs: Runs) -> dict[str, list[str]]:
    """Seed, step, every loss with its gap, and the ideal distance of each row."""
    facts = {"seed": [f"{seed:.0f}, step {step:.0f}" for seed, step in zip(rows["seed"], rows["step"], strict=True)]}
    for name, one in runs.objectives.items():
        pairs = zip(rows[f"f_{name}"], rows[f"gap_{name}"], strict=True)
        facts[f"f_{one.label}"] = [number(f) + ("" if pd.isna(gap) else f", gap {number(gap)}") for f, gap in pairs]
    return facts | {"ideal distance": [number(value) for value in rows["ideal_distance"]]}


def _mean_facts(end: End, runs: Runs, front: list[End]) -> dict[str, list[str]]:
    count = "1 run" if len(end.runs) == 1 else f"{len(end.runs)} runs (± 95 % interval)"
    names = {f"f_{name}": f"f_{one.label}" for name, one in runs.axes.items()} | {"ideal_distance": "ideal distance"}
    facts = {heading: [with_interval(end.means[name])] for name, heading in names.items()}
    on_it = any(end is other for other in front)
    return {"mean of": [count], **facts, "on the Pareto front:": ["yes" if on_it else "no"]}
