"""Runs as one flat table, one row per run and evaluated step, and back: what a page needs to be drawn again.

    label, strategy, variant, lam, first, seed     as in `Runs.table`; label and seed name the run
    step, f_dpo, f_sft, train_seconds              of the evaluation; train_seconds: up to here, evaluation not counted
    f_dpo_opt, f_sft_opt, device, utilization_median_pct     of the run, the same in all of its rows

What is left out: steps, samples and configurations. Gaps, ideal distance and time per step follow from the rest.
"""

import numpy as np
import pandas as pd

from xright.analysis.runs import SAMPLES, STEPS, Runs
from xright.errors import UserError

RUN = ["label", "strategy", "variant", "lam", "first", "seed"]
EVALUATION = ["step", "f_dpo", "f_sft", "train_seconds"]
OF_RUN = ["f_dpo_opt", "f_sft_opt", "device", "utilization_median_pct"]


def to_rows(runs: Runs, *more: str) -> pd.DataFrame:
    """The flat table; more: further columns of `Runs.table`. Raises UserError where label and seed do not tell the
    runs apart."""
    twice = runs.table[runs.table.duplicated(["label", "seed"])]
    if len(twice):
        raise UserError(
            f"{twice['folder'].iloc[0]} is the second run with label {twice['label'].iloc[0]!r} and its seed; "
            "name one study at a time."
        )
    of_run = [*OF_RUN, *more]
    evaluated = runs.table[["folder", *RUN, *of_run]].merge(runs.trajectory[["folder", *EVALUATION]], on="folder")
    return evaluated[[*RUN, *EVALUATION, *of_run]]


def from_rows(rows: pd.DataFrame) -> Runs:
    """The runs of a flat table; a run's folder is "<label>, seed <seed>", and other columns are kept."""
    rows = rows.assign(
        folder=rows["label"] + ", seed " + rows["seed"].map("{:.0f}".format),
        first=rows["first"].fillna(""),  # what a csv makes of ""
        gap_dpo=rows["f_dpo"] - rows["f_dpo_opt"],
        gap_sft=rows["f_sft"] - rows["f_sft_opt"],
    )
    rows["ideal_distance"] = np.hypot(rows["gap_dpo"], rows["gap_sft"])
    table = rows.drop_duplicates("folder", keep="last").rename(columns={"step": "steps"})
    trained = table["steps"].where(table["steps"] > 0)
    table = table.assign(setting="", seeds="", step_ms=1000 * table["train_seconds"] / trained).reset_index(drop=True)
    return Runs(
        table=table,
        trajectory=rows.reset_index(drop=True),
        steps=pd.DataFrame(columns=["folder", *STEPS]),
        samples=pd.DataFrame(columns=["folder", *SAMPLES]),
        unfinished=pd.DataFrame(columns=["folder", "step", "written", "reason"]),
        configs={folder: {} for folder in table["folder"]},
    )
