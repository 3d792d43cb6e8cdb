"""Runs as one flat table, one row per run and evaluated step, and back: what a page needs to be drawn again.

    RUN                      as in `Runs.table`; label and seed name the run
    step, f_*, train_seconds of the evaluation; train_seconds: up to here, evaluation not counted
    f_*_opt, OF_RUN          of the run, like RUN but for its name: only in its first row

phases: what each trained, for how many epochs, as "dpo:2 sft:2"; a table of before has none, and no runtime increase
follows from it. What is left out: steps, samples, configurations. Gaps, ideal distance and time per step follow from
the rest.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from xright.analysis.read.methods import Objective, place_of
from xright.analysis.read.runs import Runs, columns_of
from xright.errors import UserError

NAME = ["label", "seed"]
RUN = [*NAME, "strategy", "family", "method", "front", "variant", "lam", "weighting", "first"]
OF_RUN = ["device", "utilization_median_pct", "phases"]


def to_rows(runs: Runs, *more: str) -> pd.DataFrame:
    """The flat table; more: further columns of `Runs.table`. Raises UserError where label and seed do not tell the
    runs apart."""
    twice = runs.table[runs.table.duplicated(NAME)]
    if len(twice):
        raise UserError(
            f"{twice['folder'].iloc[0]} is the second run with label {twice['label'].iloc[0]!r} and its seed; "
            "name one study at a time."
        )
    evaluation = ["step", *(f"f_{name}" for name in runs.axes), "train_seconds"]
    of_run = [*(f"f_{name}_opt" for name in runs.axes), *OF_RUN, *more]
    table = runs.table.assign(phases=runs.table["phases"].map(_text))
    evaluated = table[["folder", *RUN, *of_run]].merge(runs.trajectory[["folder", *evaluation]], on="folder")
    flat = evaluated[[*RUN, *evaluation, *of_run]].astype(dict.fromkeys(RUN, object))
    flat.loc[flat.duplicated(NAME), [*RUN[len(NAME) :], *of_run]] = np.nan
    return flat


def from_rows(rows: pd.DataFrame, objectives: Mapping[str, Objective]) -> Runs:
    """The runs of a flat table, in the order of every table.

    A run's folder is "<label>, seed <seed>", and other columns are kept. objectives: no surrogates.
    """
    rows = rows.assign(folder=rows["label"] + ", seed " + rows["seed"].map("{:.0f}".format))
    evaluation = ["step", *(f"f_{name}" for name in objectives), "train_seconds"]
    of_run = rows.columns.difference([*NAME, "folder", *evaluation], sort=False)
    rows[of_run] = rows.groupby("folder", sort=False)[of_run.to_list()].transform("first")
    rows[["first", "weighting"]] = rows[["first", "weighting"]].fillna("")  # what a csv makes of ""
    for name in objectives:
        rows[f"gap_{name}"] = rows[f"f_{name}"] - rows[f"f_{name}_opt"]
    rows["ideal_distance"] = np.sqrt(sum(rows[f"gap_{name}"] ** 2 for name in objectives))
    table = rows.drop_duplicates("folder", keep="last").rename(columns={"step": "steps"})
    trained = table["steps"].where(table["steps"] > 0)
    weights = [{} if np.isnan(lam) else dict(zip(objectives, (lam, 1 - lam), strict=True)) for lam in table["lam"]]
    table["weights"] = weights
    table["phases"] = table["phases"].map(_phases) if "phases" in table else [[]] * len(table)
    table["place"] = [place_of(*run, objectives) for run in zip(table["family"], table["method"], strict=True)]
    keys = ["place", "method", "variant", "lam", "weighting", "label", "seed"]
    table = table.assign(setting="", seeds="", step_ms=1000 * table["train_seconds"] / trained)
    table = table.sort_values(keys, ignore_index=True).drop(columns="place")
    columns = columns_of(objectives)
    return Runs(
        table=table,
        trajectory=rows.reset_index(drop=True),
        steps=pd.DataFrame(columns=["folder", *columns["steps.csv"]]),
        samples=pd.DataFrame(columns=["folder", *columns["samples.jsonl"]]),
        unfinished=pd.DataFrame(columns=["folder", "step", "written", "reason"]),
        configs={folder: {} for folder in table["folder"]},
        objectives=dict(objectives),
    )


def _text(phases: Sequence[Mapping[str, Any]]) -> str:
    """Phases as a table of text holds them.

    >>> _text([{"objectives": ["dpo"], "epochs": 1}, {"objectives": ["sft"], "epochs": 2.5}])
    'dpo:1 sft:2.5'
    """
    return " ".join(f"{'+'.join(phase['objectives'])}:{phase['epochs']:g}" for phase in phases)


def _phases(text: str | float) -> list[dict[str, Any]]:
    """What `_text` has written; none of a run whose cell is empty.

    >>> _phases("dpo+sft:4")
    [{'objectives': ['dpo', 'sft'], 'epochs': 4}]
    """
    parts = [part.split(":") for part in text.split()] if isinstance(text, str) else []
    numbers = [float(epochs) for _, epochs in parts]
    return [
        {"objectives": names.split("+"), "epochs": int(number) if number.is_integer() else number}
        for (names, _), number in zip(parts, numbers, strict=True)
    ]
