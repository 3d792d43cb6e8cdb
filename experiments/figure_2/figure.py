"""Fig 2: paths of the two-parameter example, λ = 0.5. See `experiments/artefact.py`."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from artefact import main

from xright.analysis.style import number
from xright.analysis.text.tables import Grid
from xright.theory.curves import paths
from xright.theory.figures import SHOWN, figure_2

HERE = Path(__file__).resolve().parent


def read(folders: Sequence[Path]) -> pd.DataFrame:
    """The paths, trained again (5 s), since `theory.json` has only their ends; those of the methods without chance must
    be the same."""
    (folder,) = folders
    found, ends = paths(), json.loads((folder / "theory.json").read_text(encoding="utf-8"))["toy"]["swapped"]
    last = found.groupby("method")[["theta_1", "theta_2"]].last()
    for method in ("sequential", "maxright"):
        np.testing.assert_allclose(last.loc[method], ends[method]["theta"], rtol=1e-9)
    return found


def table(rows: pd.DataFrame) -> Grid:
    """Where each path ended, after how many steps."""
    lines = [
        [SHOWN[end.method], str(end.step), f"({end.theta_1:.3f}, {end.theta_2:.3f})".replace("-", "−")]
        + [number(value) for value in (end.f_dpo, end.f_sft, end.ideal_distance)]
        for end in rows.groupby("method", sort=False).tail(1).itertuples()
    ]
    return Grid(["method", "steps", "θ at the end", "f_DPO (nats)", "f_SFT (nats)", "ideal distance (nats)"], lines, 1)


if __name__ == "__main__":
    main(HERE, read, table, figure_2)
