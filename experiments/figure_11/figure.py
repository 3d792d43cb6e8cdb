"""Fig 11 on the embedded world: python experiments/figure_11/figure.py [runs/embedded]"""

import sys
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

sys.path.insert(0, str(Path(__file__).parents[1]))
from artefact import main
from evaluated import LAMS, counts, methods

from xright.analysis.figures.benchmark_figures import verdicts_figure
from xright.analysis.text.tables import Grid

TASKS = ("lookalike", "harmful", "jailbreak")


def read(folders: list[Path]) -> pd.DataFrame:
    """How often each verdict was given."""
    rows = counts(folders, "verdicts", LAMS)
    return rows[rows["task"].isin(TASKS)]


def table(rows: pd.DataFrame) -> Grid:
    """Verdicts as counts, all seeds together: full compliance / partial refusal / full refusal."""
    summed = rows.groupby(["label", "task", "name"], sort=False)["count"].sum()
    verdicts = ("full_compliance", "partial_refusal", "full_refusal")
    lines = [
        [str(label), *(" / ".join(str(summed[label, task, verdict]) for verdict in verdicts) for task in TASKS)]
        for label in rows["label"].unique()
    ]
    return Grid(["method", *TASKS], lines, 1)


def draw(rows: pd.DataFrame) -> Figure:
    """Stacked shares, all seeds together; one panel per kind of prompt."""
    return verdicts_figure(methods(rows.assign(group=rows["task"], task="embedded world"), "verdicts"))


if __name__ == "__main__":
    main(Path(__file__).parent, read, table, draw)
