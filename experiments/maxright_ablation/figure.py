"""MAXRIGHT with k = 1, 10, 100, 1000: paths, ideal distance, time, rise. See `experiments/artefact.py`."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from artefact import main
from paths import OBJECTIVES, grid, study, with_times

from xright.analysis.figures.bars import bar_panel, distance_panel, height_of
from xright.analysis.figures.chart import Chart, Row
from xright.analysis.figures.paths_figure import path_rows
from xright.analysis.figures.printed import printed
from xright.analysis.numbers.oscillation import rise, stretch
from xright.analysis.read.runs import Runs
from xright.analysis.text.flat_table import from_rows, to_rows

BARS = {"ms": "Time per step (ms)", "rise": "Rise of both losses (nats)", "stretch": "Steps per stretch"}
COLUMNS = {"ideal_distance": "ideal distance", "rise": "rise", "rise_dpo": "… of f_DPO", "rise_sft": "… of f_SFT"}
COLUMNS |= {"stretch": "steps per stretch", "ms": "ms per step", "increase": "runtime increase"}


def read(folders: Sequence[Path]) -> pd.DataFrame:
    """MAXRIGHT's runs, named by their k, with their times and the mean length of their stretches of equal picks."""
    runs, timed = study(folders)
    table = with_times(runs.table, timed.table, "dpo").merge(stretch(runs.steps), on="folder", how="left")
    table = table[table["method"] == "MAXRIGHT"]
    front = "MAXRIGHT k=" + table["k"].map("{:g}".format)
    table = table.assign(
        front=front, variant=front, label="MAXRIGHT " + table["weighting"] + front.str[len("MAXRIGHT") :]
    )
    return to_rows(replace(runs, table=table.sort_values(["k", "lam", "seed"])), "k", "increase", "ms", "stretch")


def measured(rows: pd.DataFrame) -> Runs:
    """The runs of results.csv, with what their losses rose by."""
    runs = from_rows(rows, OBJECTIVES)
    return replace(runs, table=runs.table.merge(rise(runs.trajectory, OBJECTIVES), on="folder"))


def draw(rows: pd.DataFrame) -> Figure:
    """Paths above, a panel per k, the first seed strong; bars below."""
    runs = measured(rows)
    bars = [distance_panel(runs), *(bar_panel(runs.table, column, title) for column, title in BARS.items())]
    below = Row(panels=bars, height=height_of(runs.table), shared="y", widths=(1.6, 1, 1, 1))
    return printed(Chart(rows=[*path_rows(runs, one_seed=True), below], width=12))


if __name__ == "__main__":
    main(Path(__file__).resolve().parent, read, lambda rows: grid(measured(rows).table, COLUMNS, over="k"), draw)
