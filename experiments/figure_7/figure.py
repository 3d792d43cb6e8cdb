"""Fig 7: how alike the SFT and the preference data are. See `experiments/artefact.py`."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from artefact import main

from xright.analysis.text.tables import Grid
from xright.similarity.__main__ import SHOWN
from xright.similarity.closest import COLUMNS, summary
from xright.similarity.figure import similarity_figure

HERE = Path(__file__).resolve().parent
MEASURE = "tokens"


def read(folders: Sequence[Path]) -> pd.DataFrame:
    """The similarities of every pair, from the folder that `python -m xright.similarity` wrote."""
    (folder,) = folders
    return pd.read_csv(folder / f"pairs-{MEASURE}.csv")[list(COLUMNS)]


def table(rows: pd.DataFrame) -> Grid:
    """Mean, median and quantiles over pairs."""
    found: Any = summary(rows)
    heads = {"mean": "mean", "median": "median"}
    heads |= {f"quantile_{q:g}": f"{q:.0%}" for q in (0.05, 0.25, 0.75, 0.95)}
    lines = [[SHOWN[column], *(f"{found[column][key]:.3f}" for key in heads)] for column in COLUMNS]
    lines.append(["rank correlation of inputs and responses", f"{found['rank_correlation']:.3f}", *["–"] * 5])
    return Grid([f"cosine ({MEASURE}), {len(rows):,} pairs", *heads.values()], lines, 1)


def draw(rows: pd.DataFrame) -> Figure:
    """A point per pair."""
    return similarity_figure((MEASURE, rows))


if __name__ == "__main__":
    main(HERE, read, table, draw)
