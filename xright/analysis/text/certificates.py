"""The certificates of runs as people read them: a row per run and gap that was to end below ε."""

import math

import pandas as pd

from xright.analysis.read.runs import Runs
from xright.analysis.style import number
from xright.analysis.text.tables import Grid

HEADINGS = ["run", "objective", "verdict", "seed", "ε", "gap", "at least", "at most", "held-out rows"]


def certificate_grid(runs: Runs) -> Grid:
    """One row per certificate, in the order of `runs.table`; no rows where no run has any. No bound is "–"."""
    rows = []
    for _, run in runs.table.iterrows():
        for name, one in runs.objectives.items():
            found = {key.rsplit(".", 1)[1]: run[key] for key in run.index if key.startswith(f"certificate.{name}.")}
            if pd.notna(found.get("verdict")):
                values = [number(found.get(key, math.nan)) for key in ("epsilon", "gap", "lower", "upper")]
                words = [run["label"], one.label, found["verdict"]]
                rows.append([*words, f"{run['seed']:.0f}", *values, f"{found.get('rows', math.nan):.0f}"])
    return Grid(HEADINGS, rows, 3)
