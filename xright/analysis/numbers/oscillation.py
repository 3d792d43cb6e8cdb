"""How much a run loses on its way: a large k makes MAXRIGHT oscillate (arXiv 2410.15483, on alg 3).

    rise = Σ over consecutive evaluations of max(0, f_after − f_before)      nats, ≥ 0; 0 where a loss only falls

A loss that ends below its start has regained whatever it rose. What rises and falls again between two evaluations is
not seen, so only runs that were evaluated equally often compare. `stretch` looks at every step instead: the mean
number of optimizer steps that go to one objective before another has its turn.

>>> frame = pd.DataFrame({"folder": "a", "step": [1, 2, 3], "f_dpo": [2.0, 0.5, 1.0], "f_sft": [1.0, 3.0, 2.0]})
>>> rise(frame, ["dpo", "sft"]).to_dict("records")  # f_DPO falls by 1.5, rises by .5; f_SFT rises by 2, falls by 1
[{'folder': 'a', 'rise_dpo': 0.5, 'rise_sft': 2.0, 'rise': 2.5}]
"""

from collections.abc import Collection

import pandas as pd


def rise(trajectory: pd.DataFrame, objectives: Collection[str]) -> pd.DataFrame:
    """`folder`, `rise_<objective>` and their sum `rise` (nats), one row per folder in order of appearance.

    trajectory: `Runs.trajectory`, or any table with `folder`, `step`, `f_<objective>`. Missing with fewer than two
    evaluations of the objective: then nothing is known.
    """
    rows = trajectory.sort_values("step", kind="stable")
    found = {}
    for name in objectives:
        known = rows.dropna(subset=f"f_{name}")
        climbs = known.groupby("folder")[f"f_{name}"].diff().clip(lower=0)
        found[f"rise_{name}"] = climbs.groupby(known["folder"]).sum(min_count=1)
    folders = pd.Index(trajectory["folder"].unique(), name="folder")
    table = pd.DataFrame(found).reindex(folders)
    return table.assign(rise=table.sum(axis=1, skipna=False)).reset_index()


def stretch(steps: pd.DataFrame) -> pd.DataFrame:
    """`folder` and `stretch`, the mean length of its stretches of equal picks (optimizer steps).

    steps: `Runs.steps`, or any table with `folder`, `step`, `pick`; every step must be in it.
    """
    rows = steps.sort_values(["folder", "step"], kind="stable")
    turns = (rows["pick"] != rows.groupby("folder")["pick"].shift()).groupby(rows["folder"]).sum()
    lengths = rows.groupby("folder").size() / turns
    return lengths.reindex(pd.Index(steps["folder"].unique(), name="folder")).rename("stretch").reset_index()
