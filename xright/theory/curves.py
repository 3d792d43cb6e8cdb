"""What figs 2 and 6 of arXiv 2410.15483 draw, as tables: one row per point, so that a figure needs nothing but these.

Losses, distances and gaps in nats.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from xright.theory import toy
from xright.theory.problems import table_1, table_1_minimiser, table_2

METHODS = ("sequential", "alright", "maxright")  # of fig 2
VISITED = {*range(0, 1_000, 20), *range(1_000, 20_001, 100)}  # steps of a path that are kept, beside its last
SEQUENTIAL = {"const 1": "1", "const 0.1": "0.1", "1/sqrt(T)": "1/√T"}  # fig 6's α: key in theory.json, in words
THETA = np.linspace(-22, 12, 171)  # of fig 6's objectives


def paths() -> pd.DataFrame:
    """Fig 2: every method trained from the start, λ = 0.5, ALRIGHT with seed 0; x2's outputs exchanged.

    Columns method, step, theta_1, theta_2, f_dpo, f_sft, ideal_distance; a method's last row is where it ended.
    """
    problem, rows = table_2(), []
    for method in METHODS:
        visited = toy.train(problem, toy.strategies(0.5)[method], visit=range(20_001)).visited
        for step in sorted(VISITED & visited.keys() | {max(visited)}):
            end = toy.outcome(problem, visited[step])
            first, second = visited[step]
            rows.append({"method": method, "step": step, "theta_1": first, "theta_2": second, **end})
    return pd.DataFrame(rows).drop(columns="theta")


def one_parameter(results: Mapping[str, Any]) -> pd.DataFrame:
    """Fig 6 from the sections of `theory.json`: columns panel, series, x, y.

    panel `objectives`: losses over θ, and the mixture's optimum; `gap`: G at the end of training against T, and G at
    θ = 0 (x is that θ).
    """
    problem, optimum = table_1(), table_1_minimiser(0.5)
    mixture = problem.mixture({"dpo": 0.5, "sft": 0.5})
    losses = problem.losses(THETA[:, None])
    drawn, floor = results["alright"]["1"], results["lower_bound"]["0.5"]["gap_at_zero"]
    parts = [
        _series("objectives", "f_DPO", THETA, losses["dpo"]),
        _series("objectives", "f_SFT", THETA, losses["sft"]),
        _series("objectives", "mixture", THETA, mixture.loss(THETA[:, None])),
        _series("objectives", "optimum", [optimum], [mixture.loss(np.array([optimum]))]),
    ]
    for key, words in SEQUENTIAL.items():
        ends = results["sequential"][key]
        parts.append(_series("gap", f"Sequential, α = {words}", ends, [end["gap"] for end in ends.values()]))
    expected = results["alright_expected"]["1"]
    parts += [
        _series("gap", "ALRIGHT, expectation", expected, expected.values()),
        _series("gap", "ALRIGHT, mean", drawn, [row["mean_gap"] for row in drawn.values()]),
        _series("gap", "G(θ = 0)", [0], [floor]),
    ]
    return pd.concat(parts, ignore_index=True)


def _series(panel: str, series: str, x: Any, y: Any) -> pd.DataFrame:
    """Return the points of one line; x may be keys of JSON."""
    return pd.DataFrame({"panel": panel, "series": series, "x": [float(at) for at in x], "y": [float(at) for at in y]})
