"""Three objectives that pull apart: alone, one after another, jointly; in three worlds. `make three-objectives`.

Then the same rules on the convex problem of `convex.py`, whose optima and front are known.
"""

import subprocess
import sys
from pathlib import Path

import pandas as pd
from convex import table

from xright.analysis.read.runs import Runs
from xright.analysis.report import corner
from xright.analysis.text.seed_tables import comparison_grid, hypervolume_grid
from xright.analysis.text.tables import Grid, markdown
from xright.metrics import pareto_front

sys.path.insert(0, str(Path(__file__).parents[1]))
from options import no_options
from publish import publish, verdicts

SEEDS = range(3)  # with seed s, world s too
WEIGHTS = "{dpo:1,sft:1,terse:1},{dpo:.6,sft:.2,terse:.2},{dpo:.2,sft:.6,terse:.2},{dpo:.2,sft:.2,terse:.6}"  # a sweep
ORDERS = "[dpo,sft,terse],[dpo,terse,sft],[sft,dpo,terse],[sft,terse,dpo],[terse,dpo,sft],[terse,sft,dpo]"
SWEEPS = (
    ["strategy=only", "strategy.objective=dpo,sft,terse"],
    ["strategy=sequential", f"strategy.first={ORDERS}", "strategy.epochs=[2,2,2]"],
    ["strategy=alright,maxright,mix,model_average", f"weights={WEIGHTS}"],
)


def fronts(runs: Runs) -> Grid:
    """Per label: in how many seeds its run is on the front of that seed's, and how many beat it in all losses."""
    losses, found = [f"f_{name}" for name in runs.axes], []
    for _, part in runs.table.groupby("seed"):
        values = part[losses].to_numpy()
        best = pareto_front(values)
        beaten = (values[:, None] > values[None]).all(axis=2).sum(axis=1)
        on_it = [place in best for place in range(len(part))]
        found.append(pd.DataFrame({"label": part["label"], "on": on_it, "beaten": beaten}))
    by_label = pd.concat(found).groupby("label", sort=False)
    lines = [[str(label), f"{own['on'].sum()} of {len(own)}", f"{own['beaten'].mean():.1f}"] for label, own in by_label]
    heads = ["run", "on the front of its seed", "runs of its seed that are better in all three (mean)"]
    return Grid(heads, lines, 2)


def more(runs: Runs) -> str:
    """What the report shows beside the table: Markdown."""
    parts = {
        f"Hypervolume of a method's final points, up to {corner(runs)}": hypervolume_grid(runs),
        "Two methods at the same seeds and weights": comparison_grid(runs, each=False),
        "The front of all runs of a seed": fronts(runs),
        "The convex problem whose front is known": table(),
    }
    return "\n".join([verdicts(runs), *(f"### {title}\n\n{markdown(grid)}" for title, grid in parts.items())])


if __name__ == "__main__":
    no_options(__doc__)
    for seed in SEEDS:
        for sweep in SWEEPS:
            options = ["experiment=three_objectives", "logger=csv", f"seed={seed}", f"data.source.seed={seed}", *sweep]
            subprocess.run([sys.executable, "-m", "xright.run", *options, "-m"], check=True)
    publish(Path("runs/three_objectives"), Path(__file__).parent, figures=("figure", "gaps"), more=more)
