"""What a joint method costs: its training time against that of the matched Sequential run (arXiv 2410.15483,
appendix B.5).

    runtime increase of A over B = (t_A − t_B) / t_B      t: training seconds; evaluation is not counted

B is the Sequential run of the same setting and seeds whose split of its epochs has the same trade-off: of all splits of
as many epochs, each phase ≥ 1, the one whose shares are nearest to the weights, and of two as near, the more even. For
six epochs of two objectives this is the paper's λ = .01, .25, .5, .75, .99 ↔ (T_DPO, T_SFT) = (1,5), (2,4), (3,3),
(4,2), (5,1).

>>> [matched_split((lam, 1 - lam), 6) for lam in (0.01, 0.25, 0.5, 0.75, 0.99)]
[(1, 5), (2, 4), (3, 3), (4, 2), (5, 1)]
"""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from xright.analysis.numbers.statistics import Mean, mean_interval
from xright.analysis.read.runs import CELL, Runs
from xright.analysis.text.tables import Grid


def matched_split(weights: Sequence[float], epochs: int) -> tuple[int, ...]:
    """So many epochs for each weight, all ≥ 1 and `epochs` together, with the trade-off of the weights (sum 1)."""
    cuts = np.array([[0, *inner, epochs] for inner in combinations(range(1, epochs), len(weights) - 1)])
    splits = np.diff(cuts)
    far, uneven = (((splits / epochs - aim) ** 2).sum(axis=1) for aim in (weights, 1 / len(weights)))
    nearest = np.lexsort((uneven, far.round(9)))[0]  # rounded, for 2/6 is exactly as far from .25 as 1/6 is
    return tuple(splits[nearest].tolist())


def runtime_increases(table: pd.DataFrame) -> pd.DataFrame:
    """One row per joint run of `Runs.table` and Sequential run matched to it: `folder` and `label` of the joint run,
    `over`, the label of the Sequential run, its `first` objective, and `increase` (a fraction: 0.5 is half as long
    again). No row for a run that nothing matches."""
    timed = table[(table["steps"] > 0) & (table["train_seconds"] > 0)]
    joint = timed[(timed["family"] == "joint") & (timed["weighting"] != "")]
    pairs = timed[timed["family"] == "sequential"].merge(joint, on=CELL, suffixes=("_b", ""))
    rows = [
        [
            pair["folder"],
            pair["label"],
            pair["label_b"],
            pair["first_b"],
            pair["train_seconds"] / pair["train_seconds_b"] - 1,
        ]
        for pair in pairs.to_dict("records")
        if _matches(pair["phases_b"], pair["weights"])
    ]
    return pd.DataFrame(rows, columns=["folder", "label", "over", "first", "increase"])


def _matches(phases: Sequence[Mapping[str, Any]], weights: Mapping[str, float]) -> bool:
    """Tell whether these phases train each weighted objective once, for as many epochs as match its weight."""
    epochs = {"+".join(phase["objectives"]): phase["epochs"] for phase in phases}
    if not weights or len(phases) != len(epochs) or epochs.keys() != weights.keys():
        return False
    shares = np.array([weights[name] for name in epochs])
    return matched_split(shares / shares.sum(), sum(epochs.values())) == tuple(epochs.values())


def runtime_grid(runs: Runs) -> Grid:
    """A row per joint method, weights and Sequential run matched to it, in the order of the table of runs."""
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
