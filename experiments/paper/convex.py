"""Figs 2 and 6, tables 1 and 2: the paper's convex examples, from the folder with `theory.json`."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from xright.analysis.style import number
from xright.analysis.text.tables import Grid
from xright.theory.curves import one_parameter, paths
from xright.theory.figures import SHOWN
from xright.theory.problems import table_1, table_2
from xright.theory.toy import VARIANTS

HORIZONS = (100, 1_000, 10_000, 100_000)  # T
METHODS = {"sequential": "Sequential DPO→SFT", "mix": "Mix", "alright": "ALRIGHT", "maxright": "MAXRIGHT"}
PRINTED = {  # table 1 in the paper; None: our note of the paper does not have it
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


def theory(folders: Sequence[Path]) -> Any:
    """What `python -m xright.theory` found."""
    (folder,) = folders
    return json.loads((folder / "theory.json").read_text(encoding="utf-8"))


def two_parameters(folders: Sequence[Path]) -> pd.DataFrame:
    """The paths of fig 2, trained again (5 s), since `theory.json` has only their ends; those of the methods without
    chance must be the same."""
    found, ends = paths(), theory(folders)["toy"]["swapped"]
    last = found.groupby("method")[["theta_1", "theta_2"]].last()
    for method in ("sequential", "maxright"):
        np.testing.assert_allclose(last.loc[method], ends[method]["theta"], rtol=1e-9)
    return found


def ends_of_paths(rows: pd.DataFrame) -> Grid:
    """Where each path ended, after how many steps."""
    lines = [
        [SHOWN[end.method], str(end.step), f"({end.theta_1:.3f}, {end.theta_2:.3f})".replace("-", "−")]
        + [number(value) for value in (end.f_dpo, end.f_sft, end.ideal_distance)]
        for end in rows.groupby("method", sort=False).tail(1).itertuples()
    ]
    return Grid(["method", "steps", "θ at the end", "f_DPO (nats)", "f_SFT (nats)", "ideal distance (nats)"], lines, 1)


def curves(folders: Sequence[Path]) -> pd.DataFrame:
    """The curves of fig 6."""
    return one_parameter(theory(folders))


def gaps(rows: pd.DataFrame) -> Grid:
    """G by T, and the G below which no θ ≥ 0 gets: where Sequential ends, once its first stage has got far enough."""
    gaps = rows[(rows["panel"] == "gap") & rows["x"].isin(HORIZONS)]
    wide = gaps.pivot(index="series", columns="x", values="y").loc[gaps["series"].unique()]
    (floor,) = rows.loc[rows["series"] == "G(θ = 0)", "y"]
    lines = [
        [str(name), *map("{:.3g}".format, values)] for name, values in zip(wide.index, wide.to_numpy(), strict=True)
    ]
    lines.append(["G(θ = 0), for comparison", *[f"{floor:.3g}"] * len(HORIZONS)])
    return Grid(["gap G after training (nats), by T", *map("{:,}".format, HORIZONS)], lines, 1)


def features(folders: Sequence[Path]) -> pd.DataFrame:
    """Table 1: the features as `table_1` has them, and the optima of `theory.json`."""
    bounds = theory(folders)["lower_bound"]
    objectives: Any = table_1().objectives
    dpo, (target, other) = objectives["dpo"], objectives["sft"].features[0, :, 0]
    here = [dpo.differences[0, 0], target, other, dpo.reference[0], np.exp(-dpo.reference[0] / 2)]
    here += [bounds["0.5"]["theta_star"], *(bounds[lam]["gap_at_zero"] for lam in ("0.25", "0.5", "0.75"))]
    return pd.DataFrame({"quantity": PRINTED.keys(), "printed": PRINTED.values(), "here": here})


def printed_and_here(rows: pd.DataFrame) -> Grid:
    """Losses and gaps in nats."""
    both = rows[["printed", "here"]].map(lambda value: "–" if pd.isna(value) else f"{value:g}".replace("-", "−"))
    lines = [[row.quantity, *both.loc[row.Index]] for row in rows.itertuples()]
    return Grid(["quantity", "printed", "here"], lines, 1)


def variants(folders: Sequence[Path]) -> pd.DataFrame:
    """Table 2: a row per variant and method: the features as `table_2` has them, the ends as `theory.json` has
    (ALRIGHT's are means over its seeds)."""
    ends = theory(folders)["toy"]
    rows = []
    for variant, swapped in VARIANTS.items():
        objectives: Any = table_2(swapped).objectives
        target, other = objectives["sft"].features[0]
        vectors = {"difference": objectives["dpo"].differences[0], "target": target, "other": other}
        phi = {f"{name}_{i}": value for name, vector in vectors.items() for i, value in enumerate(vector, 1)}
        for method in METHODS:
            end = ends[variant][method]
            theta = dict(zip(("theta_1", "theta_2"), end["theta"], strict=True))
            scalars = {key: value for key, value in end.items() if not key.startswith("theta")}
            rows.append({"x2": variant, "method": method, **phi, **theta, **scalars})
    return pd.DataFrame(rows)


def features_and_ends(rows: pd.DataFrame) -> Grid:
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
