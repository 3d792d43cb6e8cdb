"""Adaptive λ against a grid of eleven, on the embedded world: how much of its hypervolume, with how many of its steps.
`make adaptive`.

Finished runs are not run again, and each world is published when it is there, so the command may be stopped and given
again.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterable, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).parents[1]))
from publish import between_markers, write_rows

from xright.analysis.numbers.statistics import mean_interval
from xright.analysis.read.runs import read_runs
from xright.analysis.report import machines
from xright.analysis.text.seed_tables import with_interval
from xright.analysis.text.tables import Grid, markdown
from xright.metrics import hypervolume

HERE = Path(__file__).parent
SEEDS = range(5)  # with seed s, world s too
GRID = [round(0.1 * i, 1) for i in range(11)]
NAME = "adaptive"
# Of a run, that costs time and changes no loss; optima only move the origin, of which no hypervolume knows.
QUICK = ("logger=csv", "callbacks.samples=null", "eval_every=180", "optima=null")
COLUMNS = ("base", "evenly_base", "best_base", "ends", "evenly_ends", "best_ends")


def started(*options: str) -> dict[float | None, dict]:
    """One command of xright: {λ: result} of its runs."""
    command = [sys.executable, "-m", "xright.run", f"name={NAME}", *options, *QUICK, "-m"]
    said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    folders = dict.fromkeys(Path(line) for line in said if line.startswith("runs/"))
    results = [json.loads((folder / "result.json").read_text()) for folder in folders]
    return {result["lam"]: result for result in results}


def point(result: dict) -> list[float]:
    """Both objectives' values."""
    return [objective["f"] for objective in result["objectives"].values()]


def world(seed: int, rule: str, jobs: int) -> dict:
    """One world: the shares that the adaptive front, and as many runs of the grid at even distances, have of it."""
    own = (f"seed={seed}", f"data.source.seed={seed}")
    beside = ("hydra/launcher=local", f"hydra.launcher.jobs={jobs}") if jobs > 1 else ()
    (base,) = started(*own, "strategy=merge", "start=base").values()
    found = started(*own, f"strategy={rule}", "hydra/sweeper=adaptive", "lam=interval(0,1)", *beside)
    grid = started(*own, f"strategy={rule}", f"lam={','.join(map(str, GRID))}", *beside)
    inner, more = GRID[1:-1], len(found) - 2
    evenly = [GRID[round(10 * share)] for share in np.linspace(0, 1, len(found))]
    chosen = [(0.0, 1.0, *lams) for lams in combinations(inner, min(more, len(inner)))]
    row = {"seed": seed, "rule": rule, "runs": len(found), "lams": " ".join(f"{lam:g}" for lam in sorted(found))}
    row["steps"] = sum(one["steps"] for one in found.values()) / sum(one["steps"] for one in grid.values())
    ends = np.max([point(grid[0.0]), point(grid[1.0])], axis=0).tolist()
    for corner, place in (("base", point(base)), ("ends", ends)):
        whole = volume(grid.values(), place)
        row[corner] = volume(found.values(), place) / whole
        row[f"evenly_{corner}"] = volume([grid[lam] for lam in evenly], place) / whole
        row[f"best_{corner}"] = max(volume([grid[lam] for lam in lams], place) for lams in chosen) / whole
    return row


def volume(results: Iterable[dict], corner: Sequence[float]) -> float:
    """What they dominate up to the corner."""
    return hypervolume([point(result) for result in results], corner)


def publish(rows: Sequence[dict]) -> None:
    """results.csv, and the table of the README."""
    table = pd.DataFrame(rows)
    write_rows(table, HERE / "results.csv")
    columns = ["steps", *COLUMNS]
    lines = [
        [str(row["seed"]), row["lams"], *(f"{100 * row[column]:.1f} %" for column in columns)]
        for row in table.to_dict("records")
    ]
    if len(rows) > 1:
        means = [f"{with_interval(mean_interval(100 * table[column]))} %" for column in columns]
        lines.append(["mean ± 95 %", f"{table['runs'].mean():.1f} runs", *means])
    shares = ["to the base", "evenly", "at best", "to the ends", "evenly", "at best"]
    grid = Grid(["world", "λ of the adaptive front", "steps", *shares], lines, 2)
    measured = [
        f"Measured on {device}, {versions}." for device, versions, _ in machines(read_runs([Path("runs") / NAME]).table)
    ]
    between_markers(HERE / "README.md", "\n".join([markdown(grid), *measured, ""]))


def main() -> None:
    """World by world."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rule", default="alright", help="whose front (default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=len(SEEDS), help="worlds (default: %(default)s)")
    parser.add_argument("--jobs", type=int, default=1, help="runs at once, one core each (default: %(default)s)")
    asked = parser.parse_args()
    rows = []
    for seed in SEEDS[: asked.seeds]:
        rows.append(world(seed, asked.rule, asked.jobs))
        publish(rows)


if __name__ == "__main__":
    main()
