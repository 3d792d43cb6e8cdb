"""What the pages with paths through objective space share: figs 1, 3 and 8, and the ablation of MAXRIGHT's k."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd
from artefact import main
from matplotlib.figure import Figure

from xright.analysis.figures.paths_figure import paths_figure
from xright.analysis.numbers.runtime import percent, runtime_increases
from xright.analysis.numbers.statistics import mean_interval
from xright.analysis.read.methods import Objective
from xright.analysis.read.runs import Runs, read_runs
from xright.analysis.text.flat_table import from_rows, to_rows
from xright.analysis.text.seed_tables import with_interval
from xright.analysis.text.tables import Grid

OBJECTIVES = {"dpo": Objective("dpo", "DPO", "nats per pair"), "sft": Objective("sft", "SFT", "nats per token")}
COLUMNS = {"f_dpo": "f_DPO", "f_sft": "f_SFT", "gap_dpo": "DPO gap", "gap_sft": "SFT gap"}
COLUMNS |= {"ideal_distance": "ideal distance", "increase": "runtime increase", "gpu": "GPU utilisation (%)"}


def comparison(
    here: Path,
    first: str,
    labels: Sequence[str] | None = None,
    draw: Callable[[Runs], Figure] = paths_figure,
) -> None:
    """The page of fig 1, 3 or 8: of the setting in which Sequential begins with `first` ("dpo" or "sft").

    labels: of the runs on it; by default all, but those with another k.
    """

    def read(folders: Sequence[Path]) -> pd.DataFrame:
        runs, timed = study(folders)
        order, usual = runs.table["first"].isin(["", first]), runs.table["variant"] == runs.table["method"]
        runs = runs.only(runs.table["label"].isin(labels) if labels else order & (usual | runs.table["first"].ne("")))
        return to_rows(replace(runs, table=with_times(runs.table, timed.table, first)), "increase")

    def table(rows: pd.DataFrame) -> Grid:
        runs = from_rows(rows, OBJECTIVES)
        gpu = runs.table["utilization_median_pct"].where(~runs.table["device"].str.startswith("CPU"))
        return grid(runs.table.assign(gpu=gpu), COLUMNS)

    main(here, read, table, lambda rows: draw(from_rows(rows, OBJECTIVES)))


def study(folders: Sequence[Path]) -> tuple[Runs, Runs]:
    """(the runs of the first folder, those of the others): whose results count, and whose times."""
    runs = read_runs(folders[:1])
    return runs, read_runs(folders[1:]) if folders[1:] else runs


def with_times(table: pd.DataFrame, timed: pd.DataFrame, first: str) -> pd.DataFrame:
    """`table` with `increase`, the runtime increase over the matched Sequential run that begins with `first`, and `ms`,
    milliseconds per step: those of the timed run with the same label and seed; missing where there is none."""
    increases = runtime_increases(timed)
    over = increases[increases["first"] == first].groupby("folder")["increase"].mean()
    known = timed.assign(increase=timed["folder"].map(over), ms=timed["step_ms"])
    return table.merge(known[["label", "seed", "increase", "ms"]], on=["label", "seed"], how="left")


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
