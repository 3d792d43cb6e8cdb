"""The cost of the paper's experiments at full scale, estimated: results.csv -> figure.png and the README.

`python experiments/costs/figure.py FOLDER` first writes results.csv from the folder with measured.json."""

import json
import sys
from pathlib import Path

import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from drawing import cost_figure
from publish import write_card, write_rows

from xright.analysis.style import number
from xright.analysis.text.tables import Grid

HERE = Path(__file__).resolve().parent
PAIRS = ["TFLOP per step, DPO / SFT", "s per step on a core here, DPO / SFT"]
HEADS = ["experiment", "runs", *PAIRS, "stages, core (h)", "runs, core (h)", "all, assumed GPU (h)"]


def read(folder: Path) -> pd.DataFrame:
    """From the folder with measured.json."""
    from costing import costs  # with the models' libraries, which drawing again does not need

    return costs(json.loads((folder / "measured.json").read_text(encoding="utf-8")))


def table(rows: pd.DataFrame) -> Grid:
    """A row for what was measured, one per experiment, and their sum."""
    lines = [line(str(name), mine) for name, mine in rows.groupby("experiment", sort=False)]
    return Grid(HEADS, [*lines, line("all", rows[~rows["method"].str.startswith("step/")])], 1)


def line(name: str, rows: pd.DataFrame) -> list[str]:
    """Steps where there are any, and hours of everything else."""
    steps = rows[rows["method"].str.startswith("step/")]
    whole, shared = rows.drop(steps.index), rows[rows["method"] == "stages"]
    pairs = [1e6 * steps["exaflop"], steps["seconds_per_step"]]
    cells = [" / ".join(map(number, values)) or "–" for values in pairs]
    if whole.empty:
        return ["measured: 1 pair / 1 row of pythia-1b", f"{steps['runs'].min()} of each", *cells, "–", "–", "–"]
    runs = whole.drop(shared.index)
    hours = [f"{part['hours_here'].sum():,.0f}" for part in (shared, runs)]
    return [name, f"{runs['runs'].sum()}", *cells, *hours, f"{whole['hours_gpu'].sum():,.1f}"]


if __name__ == "__main__":
    for folder in sys.argv[1:]:
        write_rows(read(Path(folder)), HERE / "results.csv")
    found = pd.read_csv(HERE / "results.csv")
    write_card(HERE / "README.md", table(found), cost_figure(found), HERE / "figure.png")
