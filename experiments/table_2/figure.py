"""Table 2: the features of the two-parameter example, printed and with x2's outputs exchanged, and where every method
ends on them, λ = 0.5. See `experiments/artefact.py`."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from artefact import main

from xright.analysis.style import number
from xright.analysis.text.tables import Grid
from xright.theory.problems import table_2
from xright.theory.toy import VARIANTS

HERE = Path(__file__).resolve().parent
METHODS = {"sequential": "Sequential DPO→SFT", "mix": "Mix", "alright": "ALRIGHT", "maxright": "MAXRIGHT"}


def read(folders: Sequence[Path]) -> pd.DataFrame:
    """A row per variant and method: the features as `table_2` has them, the ends as `theory.json` has (ALRIGHT's are
    means over its seeds)."""
    (folder,) = folders
    ends = json.loads((folder / "theory.json").read_text(encoding="utf-8"))["toy"]
    rows = []
    for variant, swapped in VARIANTS.items():
        objectives: Any = table_2(swapped).objectives
        target, other = objectives["sft"].features[0]
        vectors = {"difference": objectives["dpo"].differences[0], "target": target, "other": other}
        features = {f"{name}_{i}": value for name, vector in vectors.items() for i, value in enumerate(vector, 1)}
        for method in METHODS:
            end = ends[variant][method]
            theta = dict(zip(("theta_1", "theta_2"), end["theta"], strict=True))
            scalars = {key: value for key, value in end.items() if not key.startswith("theta")}
            rows.append({"x2": variant, "method": method, **features, **theta, **scalars})
    return pd.DataFrame(rows)


def table(rows: pd.DataFrame) -> Grid:
    """Losses and distances in nats; ± one standard deviation over seeds."""
    lines = []
    for _, row in rows.iterrows():
        vectors = [f"({row[f'{name}_1']:g}, {row[f'{name}_2']:g})" for name in ("difference", "target", "other")]
        spread = "" if pd.isna(row["seeds"]) else f" ± {number(row['ideal_distance_sd'])} ({row['seeds']:.0f} seeds)"
        end = f"({row['theta_1']:.2f}, {row['theta_2']:.2f})".replace("-", "−")
        numbers = [number(row["f_dpo"]), number(row["f_sft"]), number(row["ideal_distance"]) + spread]
        lines.append([row["x2"], *vectors, METHODS[row["method"]], end, *numbers])
    heads = ["x2", "x1: Δφ", "x2: φ(target)", "x2: φ(other)", "method", "θ at the end", "f_DPO", "f_SFT", "distance"]
    return Grid(heads, lines, 6)


if __name__ == "__main__":
    main(HERE, read, table)
