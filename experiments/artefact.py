"""What the pages of the paper's figures and tables share: run folders -> results.csv -> figure.png and README.md.

`python experiments/<artefact>/figure.py FOLDER…` reads the folders and writes `results.csv`; without a folder it goes
on from the results.csv at hand. Picture and table come from that file alone, so that anyone can draw them again.
"""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure
from publish import between_markers, shrink

from xright.analysis.text.tables import Grid, markdown

DPI = 110


def main(
    here: Path,
    read: Callable[[Sequence[Path]], pd.DataFrame],
    table: Callable[[pd.DataFrame], Grid],
    draw: Callable[[pd.DataFrame], Figure] | None = None,
) -> None:
    """`<here>/results.csv` from the folders on the command line, then `figure.png` and the table in `README.md`."""
    if folders := [Path(name) for name in sys.argv[1:]]:
        read(folders).to_csv(here / "results.csv", index=False, float_format="%.6g", lineterminator="\n")
    rows = pd.read_csv(here / "results.csv")
    if draw:
        draw(rows).savefig(here / "figure.png", dpi=DPI)
        shrink(here / "figure.png", here / "figure.png")
    between_markers(here / "README.md", markdown(table(rows)))
