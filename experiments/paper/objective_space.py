"""Figs 1, 3, 8 and 14: paths through objective space, the distance to the ideal point, and what a run takes."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from xright.analysis.figures.bars import bar_panel, distance_panel, height_of
from xright.analysis.figures.chart import Chart, Row
from xright.analysis.figures.paths_figure import path_rows
from xright.analysis.figures.printed import printed
from xright.analysis.numbers.oscillation import rise, stretch
from xright.analysis.numbers.runtime import percent, runtime_increases
from xright.analysis.numbers.statistics import mean_interval
from xright.analysis.read.methods import Objective
from xright.analysis.read.runs import Runs, read_runs
from xright.analysis.text.flat_table import from_rows, to_rows
from xright.analysis.text.seed_tables import with_interval
from xright.analysis.text.tables import Grid

OBJECTIVES = {"dpo": Objective("dpo", "DPO", "nats per pair"), "sft": Objective("sft", "SFT", "nats per token")}
SUMMARY = ("Sequential DPO→SFT (3,3)", "Mix λ=0.5", "ALRIGHT λ=0.5", "MAXRIGHT λ=0.5")
COLUMNS = {"f_dpo": "f_DPO", "f_sft": "f_SFT", "gap_dpo": "DPO gap", "gap_sft": "SFT gap"}
COLUMNS |= {"ideal_distance": "ideal distance", "increase": "runtime increase", "gpu": "GPU utilisation (%)"}
OF_K = {"ideal_distance": "ideal distance", "rise": "rise", "rise_dpo": "… of f_DPO", "rise_sft": "… of f_SFT"}
OF_K |= {"stretch": "steps per stretch", "ms": "ms per step", "increase": "runtime increase"}
BARS = {"ms": "Time per step (ms)", "rise": "Rise of both losses (nats)", "stretch": "Steps per stretch"}


def read(folders: Sequence[Path], first: str, *more: str) -> pd.DataFrame:
    """The flat table of the runs of the first folder.

    The other folders, if any, hold the runs whose times count: those with the same label and seed give `increase`, the
    runtime increase over the matched Sequential run that begins with `first`, and `ms`, milliseconds per step.
    more: further columns, of `k`, `ms` and `stretch`; the last two of MAXRIGHT alone.
    """
    runs = read_runs(folders[:1])
    timed = (read_runs(folders[1:]) if folders[1:] else runs).table
    increases = runtime_increases(timed)
    over = increases[increases["first"] == first].groupby("folder")["increase"].mean()
    known = timed.assign(increase=timed["folder"].map(over), ms=timed["step_ms"])[["label", "seed", "increase", "ms"]]
    table = runs.table.merge(known, on=["label", "seed"], how="left").merge(
        stretch(runs.steps), on="folder", how="left"
    )
    table.loc[table["method"] != "MAXRIGHT", ["ms", "stretch"]] = None
    return to_rows(replace(runs, table=table), *more)


def dpo_first(folders: Sequence[Path]) -> pd.DataFrame:
    """The runs of figs 1, 3 and 14, and of the claims."""
    return read(folders, "dpo", "k", "increase", "ms", "stretch")


def sft_first(folders: Sequence[Path]) -> pd.DataFrame:
    """The runs of fig 8."""
    return read(folders, "sft", "increase")


def at_half(rows: pd.DataFrame) -> Runs:
    """The four runs of fig 1, of every seed."""
    runs = from_rows(rows, OBJECTIVES)
    return runs.only(runs.table["label"].isin(SUMMARY))


def usual(rows: pd.DataFrame, first: str) -> Runs:
    """The runs of a flat table, but for those of another k and Sequential ones that do not begin with `first`."""
    runs = from_rows(rows, OBJECTIVES)
    is_usual = (runs.table["variant"] == runs.table["method"]) | runs.table["first"].ne("")
    return runs.only(is_usual & runs.table["first"].isin(["", first]))


def by_k(rows: pd.DataFrame) -> Runs:
    """The runs of MAXRIGHT, named by their k, with what their losses rose by."""
    runs = from_rows(rows, OBJECTIVES)
    runs = runs.only(runs.table["method"] == "MAXRIGHT")
    table = runs.table.merge(rise(runs.trajectory, OBJECTIVES), on="folder").sort_values(["k", "lam", "seed"])
    k = " k=" + table["k"].map("{:g}".format)
    label = "MAXRIGHT " + table["weighting"] + k
    return replace(runs, table=table.assign(front="MAXRIGHT" + k, variant="MAXRIGHT" + k, label=label))


def compared(runs: Runs) -> Grid:
    """Every method's ends and its runtime increase; its GPU utilisation where there was a GPU."""
    gpu = runs.table["utilization_median_pct"].where(~runs.table["device"].str.startswith("CPU"))
    return grid(runs.table.assign(gpu=gpu), COLUMNS)


def compared_by_k(runs: Runs) -> Grid:
    """Ends, rise and time by k."""
    return grid(runs.table, OF_K, over="k")


def k_figure(runs: Runs) -> Figure:
    """Paths above, a panel per k, the first seed strong; bars below."""
    bars = [distance_panel(runs), *(bar_panel(runs.table, column, title) for column, title in BARS.items())]
    below = Row(panels=bars, height=height_of(runs.table), shared="y", widths=(1.6, 1, 1, 1))
    return printed(Chart(rows=[*path_rows(runs, one_seed=True), below], width=12))


def grid(table: pd.DataFrame, columns: Mapping[str, str], over: str | None = None) -> Grid:
    """A row per method and λ: mean and 95 % t interval over seeds of each column {key: heading} that has any value.

    over: a column; then also, for each of its values, the difference to its lowest one, paired by seed, each seed with
    its mean over λ.
    """
    known = {key: heading for key, heading in columns.items() if table[key].notna().any()}
    found = [(str(label), group) for label, group in table.groupby("label", sort=False)]
    if over:
        by_seed = table.groupby([over, "seed"])[list(known)].mean()
        least, *others = table[over].drop_duplicates().sort_values()
        found += [
            (f"{over}={one:g} − {over}={least:g}, mean over λ", by_seed.loc[one] - by_seed.loc[least]) for one in others
        ]
    rows = []
    for name, group in found:
        means = {key: mean_interval(group[key]) for key in known}
        cells = [percent(mean) if key == "increase" else with_interval(mean) for key, mean in means.items()]
        rows.append([name, str(len(group)), *cells])
    return Grid(["method", "seeds", *known.values()], rows, 2)
