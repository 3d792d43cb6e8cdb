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
    """A row for each model that was measured, one per experiment, and the sum of the paper's."""
    lines = [line(str(name), mine) for name, mine in rows.groupby("experiment", sort=False)]
    paper = rows["kind"].eq("paper") & ~rows["method"].str.startswith("step/")
    return Grid(HEADS, [*lines, line("all of the paper", rows[paper])], 1)


def line(name: str, rows: pd.DataFrame) -> list[str]:
    """Steps where there are any, and hours of everything else."""
    steps = rows[rows["method"].str.startswith("step/")]
    whole, shared = rows.drop(steps.index), rows[rows["method"] == "stages"]
    pairs = [1e6 * steps["exaflop"], steps["seconds_per_step"]]
    cells = [" / ".join(map(number, values)) or "–" for values in pairs]
    if whole.empty:
        if len(foretold := steps["foretold_seconds"].dropna()):
            cells[1] += f" (foretold: {' / '.join(map(number, foretold))})"
        return [f"measured: {name}, 1 pair / 1 row", f"{steps['runs'].min()} of each", *cells, "–", "–", "–"]
    runs = whole.drop(shared.index)
    hours = [part["hours_here"].sum() for part in (shared, runs)] + [whole["hours_gpu"].sum()]
    return [name, f"{runs['runs'].sum()}", *cells, *map(in_hours, hours)]


def in_hours(value: float) -> str:
    """Whole hours with their thousands, or three digits of few."""
    return f"{value:,.0f}" if value >= 100 else number(value)


if __name__ == "__main__":
    for folder in sys.argv[1:]:
        write_rows(read(Path(folder)), HERE / "results.csv")
    found = pd.read_csv(HERE / "results.csv")
    write_card(HERE / "README.md", table(found), cost_figure(found), HERE / "figure.png")
