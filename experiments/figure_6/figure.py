"""Fig 6: the one-parameter example, λ = 0.5: the objectives, and the gap against T. See `experiments/artefact.py`."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from artefact import main

from xright.analysis.text.tables import Grid
from xright.theory.curves import one_parameter
from xright.theory.figures import figure_6

HERE = Path(__file__).resolve().parent
SHOWN = (100, 1_000, 10_000, 100_000)  # T


def read(folders: Sequence[Path]) -> pd.DataFrame:
    """The curves, from the folder with `theory.json`."""
    (folder,) = folders
    return one_parameter(json.loads((folder / "theory.json").read_text(encoding="utf-8")))


def table(rows: pd.DataFrame) -> Grid:
    """G by T, and the G below which no θ ≥ 0 gets: where Sequential ends, once its first stage has got far enough."""
    gaps = rows[(rows["panel"] == "gap") & rows["x"].isin(SHOWN)]
    wide = gaps.pivot(index="series", columns="x", values="y").loc[gaps["series"].unique()]
    (floor,) = rows.loc[rows["series"] == "G(θ = 0)", "y"]
    lines = [
        [str(name), *map("{:.3g}".format, values)] for name, values in zip(wide.index, wide.to_numpy(), strict=True)
    ]
    lines.append(["G(θ = 0), for comparison", *[f"{floor:.3g}"] * len(SHOWN)])
    return Grid(["gap G after training (nats), by T", *map("{:,}".format, SHOWN)], lines, 1)


if __name__ == "__main__":
    main(HERE, read, table, figure_6)
