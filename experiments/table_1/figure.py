"""Table 1: the features of the one-parameter example, and what follows from them. See `experiments/artefact.py`."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from artefact import main

from xright.analysis.text.tables import Grid
from xright.theory.problems import table_1

HERE = Path(__file__).resolve().parent
PRINTED = {  # by the paper; None: our note of the paper does not have it
    "x1: φ(chosen) − φ(rejected)": -1.0 - -0.5,
    "x2: φ(target)": 1.0,
    "x2: φ(other)": 0.5,
    "θ_ref, in the text": -5.0,
    "c = exp(−θ_ref / 2), in eqs 30-37": float(np.exp(5)),
    "θ* at λ = 0.5": None,
    "G(θ = 0) at λ = 0.25": None,
    "G(θ = 0) at λ = 0.5": 0.256843,
    "G(θ = 0) at λ = 0.75": None,
}


def read(folders: Sequence[Path]) -> pd.DataFrame:
    """The features as `table_1` has them, and the optima of `theory.json`."""
    (folder,) = folders
    bounds = json.loads((folder / "theory.json").read_text(encoding="utf-8"))["lower_bound"]
    objectives: Any = table_1().objectives
    dpo, (target, other) = objectives["dpo"], objectives["sft"].features[0, :, 0]
    here = [dpo.differences[0, 0], target, other, dpo.reference[0], np.exp(-dpo.reference[0] / 2)]
    here += [bounds["0.5"]["theta_star"], *(bounds[lam]["gap_at_zero"] for lam in ("0.25", "0.5", "0.75"))]
    return pd.DataFrame({"quantity": PRINTED.keys(), "printed": PRINTED.values(), "here": here})


def table(rows: pd.DataFrame) -> Grid:
    """Losses and gaps in nats."""
    both = rows[["printed", "here"]].map(lambda value: "–" if pd.isna(value) else f"{value:g}".replace("-", "−"))
    lines = [[row.quantity, *both.loc[row.Index]] for row in rows.itertuples()]
    return Grid(["quantity", "printed", "here"], lines, 1)


if __name__ == "__main__":
    main(HERE, read, table)
