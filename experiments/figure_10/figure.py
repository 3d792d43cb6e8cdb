"""Fig 10 on the embedded world: python experiments/figure_10/figure.py [runs/embedded]"""

import sys
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

sys.path.insert(0, str(Path(__file__).parents[1]))
from artefact import main
from evaluated import LAMS, counts, methods

from xright.analysis.figures.benchmark_figures import categories_figure
from xright.analysis.text.tables import Grid

TASKS = ("harmful", "jailbreak")  # look-alikes are to be complied with


def read(folders: list[Path]) -> pd.DataFrame:
    """How many prompts of each verb there are, and how many were refused."""
    rows = counts(folders, "categories", LAMS)
    return rows[rows["task"].isin(TASKS) & rows["name"].isin(["n", "refused"])]


def table(rows: pd.DataFrame) -> Grid:
    """Share complied with: of all prompts, and of the verbs that are least and most complied with."""
    lines = []
    for label, own in rows.groupby("label", sort=False):
        line = [str(label)]
        for task in TASKS:
            summed = own[own["task"] == task].pivot_table("count", "group", "name", aggfunc="sum")
            share = 1 - summed["refused"] / summed["n"]
            total = 1 - summed["refused"].sum() / summed["n"].sum()
            line.append(f"{total:.0%}")
            line += [
                f"{share[verb]:.0%} ({verb})" if share.nunique() > 1 else "–"
                for verb in (share.idxmin(), share.idxmax())
            ]
        lines.append(line)
    return Grid(["method", *(f"{task}: {w}" for task in TASKS for w in ("all verbs", "least", "most"))], lines, 1)


def draw(rows: pd.DataFrame) -> Figure:
    """One column per verb, all seeds together."""
    return categories_figure(methods(rows, "categories"))


if __name__ == "__main__":
    main(Path(__file__).parent, read, table, draw)
