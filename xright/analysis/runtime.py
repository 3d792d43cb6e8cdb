"""What a joint method costs: its training time against that of the matched Sequential run (arXiv 2410.15483,
appendix B.5).

    runtime increase of A over B = (t_A − t_B) / t_B      t: training seconds; evaluation is not counted

B is the Sequential run of the same setting and seeds whose split of its epochs has the same trade-off: that share
T_DPO / (T_DPO + T_SFT) is nearest to λ, and of two as near, the more even split. For six epochs this is the paper's
λ = .01, .25, .5, .75, .99 ↔ (T_DPO, T_SFT) = (1,5), (2,4), (3,3), (4,2), (5,1).

>>> [matched_split(lam, 6) for lam in (0.01, 0.25, 0.5, 0.75, 0.99)]
[(1, 5), (2, 4), (3, 3), (4, 2), (5, 1)]
"""

import re

import pandas as pd

from xright.analysis.runs import CELL, JOINT, Runs
from xright.analysis.statistics import Mean, mean_interval
from xright.analysis.tables import Grid

SPLIT = re.compile(r"(DPO|SFT)→(?:DPO|SFT) \((\d+),(\d+)\)$")  # the end of a Sequential run's label


def matched_split(lam: float, epochs: int) -> tuple[int, int]:
    """(T_DPO, T_SFT), both ≥ 1 and `epochs` (≥ 2) together, with the trade-off of λ."""
    # rounded, for 2/6 is exactly as far from .25 as 1/6 is
    dpo = min(range(1, epochs), key=lambda count: (round(abs(count / epochs - lam), 9), abs(count / epochs - 0.5)))
    return dpo, epochs - dpo


def runtime_increases(table: pd.DataFrame) -> pd.DataFrame:
    """One row per joint run of `Runs.table` and Sequential run matched to it: `folder` and `label` of the joint run,
    `over`, the label of the Sequential run, its `first` objective, and `increase` (a fraction: 0.5 is half as long
    again). No row for a run that nothing matches."""
    timed = table[(table["steps"] > 0) & (table["train_seconds"] > 0)]
    joint = timed[timed["strategy"].isin(JOINT)].dropna(subset="lam")
    matched = timed[timed["strategy"] == "sequential"].merge(joint, on=CELL, suffixes=("_b", ""))
    rows = []
    for pair in matched.to_dict("records"):
        found = SPLIT.search(pair["label_b"])
        if found is None:
            continue
        first, split = found[1].lower(), (int(found[2]), int(found[3]))
        if matched_split(pair["lam"], sum(split)) == (split if first == "dpo" else split[::-1]):
            increase = (pair["train_seconds"] - pair["train_seconds_b"]) / pair["train_seconds_b"]
            rows.append([pair["folder"], pair["label"], pair["label_b"], first, increase])
    return pd.DataFrame(rows, columns=["folder", "label", "over", "first", "increase"])


def runtime_grid(runs: Runs) -> Grid:
    """A row per joint method, λ and Sequential run matched to it, in the order of the table of runs."""
    found = runtime_increases(runs.table)
    order = {label: place for place, label in enumerate(runs.table["label"].unique())}
    rows = [
        [str(label), str(over), str(len(group)), percent(mean_interval(group["increase"]))]
        for (label, over), group in sorted(
            found.groupby(["label", "over"]), key=lambda entry: [order[name] for name in entry[0]]
        )
    ]
    return Grid(["method", "over", "seeds", "runtime increase"], rows, 2)


def percent(found: Mean) -> str:
    """ "+53% ± 4%", "−2%" for a single run, "–" for none."""
    if pd.isna(found.mean):
        return "–"
    return f"{found.mean:+.0%}".replace("-", "−") + ("" if pd.isna(found.half) else f" ± {found.half:.0%}")
