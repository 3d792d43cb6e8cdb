"""Table 3 on the embedded world: python experiments/table_3/figure.py [runs/embedded]"""

import sys
from pathlib import Path

import pandas as pd

sys.path.insert(0, str(Path(__file__).parents[1]))
from artefact import main
from evaluated import BENCHMARKS, LAMS, grid, scores

from xright.analysis.numbers.statistics import mean_interval
from xright.analysis.style import number
from xright.analysis.text.tables import Grid
from xright.metrics import delta_m

BASELINE = "Sequential DPO→SFT (3,3)"


def deltas(rows: pd.DataFrame) -> pd.DataFrame:
    """label, delta_m: of every run, over the baseline of its own seed (eq 52)."""
    lower = [not rows.loc[rows["key"] == key, "higher_is_better"].iloc[0] for key in BENCHMARKS]
    values = rows.pivot_table("value", ["label", "seed"], "key", sort=False)[list(BENCHMARKS)]
    found = [
        [label, delta_m(own.tolist(), values.loc[(BASELINE, seed)].tolist(), lower)]
        for (label, seed), own in values.iterrows()
        if (BASELINE, seed) in values.index
    ]
    return pd.DataFrame(found, columns=["label", "delta_m"])


def table(rows: pd.DataFrame) -> Grid:
    """Δm, and the scores that it is made of."""
    scored, found = grid(rows), deltas(rows).groupby("label")["delta_m"].apply(mean_interval)
    lines = []
    for label, *cells in scored.rows:
        gain = found[label]
        interval = "" if gain.n < 2 else f" ({number(gain.low)} to {number(gain.high)})"
        lines.append([label, "baseline" if label == BASELINE else number(gain.mean) + interval, *cells])
    return Grid(["method", "Δm ↑", *scored.headings[1:]], lines, 1)


if __name__ == "__main__":
    main(Path(__file__).parent, lambda folders: scores(folders, BENCHMARKS, LAMS), table)
