"""What the models of the middle trade-off have of rows that nothing was trained on: `xright.profile`, seed by seed.

A study trains on the first rows of its files, split=train[:N] in conf/experiment, or on training splits of the hub;
these are the ones behind (`origin.py`). The reference of f_DPO is the model that all began from, so that it has ln 2 by
definition.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import published
from cells import Cell
from origin import behind
from publish import having, join_rows, read_rows

FILE = published.HERE / "held_out.csv"
ROWS = 50  # of each stream, drawn by the seed
NAMED = ["study", "cell", "seed"]
BEFORE = ("before", "the model before")  # cell and label


def is_there(cell: Cell) -> bool:
    """Whether a cell's model is in held_out.csv."""
    return len(having(read_rows(FILE), study=cell.table, cell=cell.key, seed=cell.seed)) > 0


def publish(cells: Sequence[Cell], model: Path) -> None:
    """Profile the models of some cells of one study and seed, and put what is found into held_out.csv."""
    one = cells[0]
    out, folders = published.RUNS / one.table / f"held_out_{one.seed}", [published.folder(cell) for cell in cells]
    options = [*behind(one.study, one.hub), f"rows={ROWS}", f"seed={one.seed}"]
    options += ["gradients=false", "threads=1", f"out={out}"]
    subprocess.run([sys.executable, "-m", "xright.profile", str(model), *map(str, folders), *options], check=True)
    found = json.loads((out / "profile.json").read_text(encoding="utf-8"))["models"]
    rows = [
        {"study": one.table, "cell": key, "seed": one.seed, "label": label, "kl_from_base": own["kl_from_base"]}
        | {f"f_{objective}": value for objective, value in own["losses"].items()}
        for (key, label), own in zip([BEFORE, *((one.key, label_of(one)) for one in cells)], found, strict=True)
    ]
    join_rows(pd.DataFrame(rows), FILE, NAMED)


def label_of(cell: Cell) -> str:
    """Return what a finished cell is called for people."""
    return str(json.loads((published.folder(cell) / "result.json").read_text(encoding="utf-8"))["label"])
