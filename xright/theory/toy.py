"""The two-parameter example of arXiv 2410.15483 (table 2, fig 2): every strategy from the same start, recomputed.

Plain gradient descent, α = 0.01, L2 decay 0.001, β = 1. Joint methods take 20,000 steps; Sequential at most 10,000 of
each objective, a stage ending when its loss is below 0.05. f* = 0.
"""

from collections.abc import Sequence

import numpy as np

from xright.strategies import ALRIGHT, MAXRIGHT, Mix, Schedule, Selector, Sequential
from xright.theory.descent import Path, descend, descend_side_by_side
from xright.theory.objectives import Array
from xright.theory.problems import DECAY, NAMES, STEP, Problem, table_2, trade_off

STAGE = 10_000  # steps
STAGE_ENDS_BELOW = 0.05  # nats
VARIANTS = {"swapped": True, "printed": False}


def strategies(lam: float, seed: int = 0, k: int = 10) -> dict[str, Selector | Schedule]:
    """The four methods of the table, by their key in `theory.json`."""
    return {
        "sequential": Sequential("dpo", (1, 1), NAMES),
        "alright": ALRIGHT(trade_off(lam), seed),
        "maxright": MAXRIGHT(trade_off(lam), optima={"dpo": 0.0, "sft": 0.0}, k=k),
        "mix": Mix(trade_off(lam)),
    }


def train(problem: Problem, method: Selector | Schedule, visit: Sequence[int] = ()) -> Path:
    """One run of the table's settings; only Sequential's stages end early."""
    ends = STAGE_ENDS_BELOW if len(Schedule.of(method).phases) > 1 else None
    return descend(problem, method, STAGE, STEP, epochs=2, decay=DECAY, stage_ends_below=ends, visit=visit)


def outcome(problem: Problem, theta: Array) -> dict[str, float | list[float]]:
    """A row of the table for one end point (d,)."""
    losses = {f"f_{name}": float(loss) for name, loss in problem.losses(theta).items()}
    return {"theta": theta.tolist(), **losses, "ideal_distance": problem.ideal_distance(theta)}


def run(variant: str, method: str, lam: float = 0.5, k: int = 10) -> dict[str, float | list[float]]:
    """Train and judge one deterministic method on one variant."""
    problem = table_2(swapped=VARIANTS[variant])
    return outcome(problem, train(problem, strategies(lam, k=k)[method]).theta)


def run_alright(variant: str, lam: float, seeds: Sequence[int]) -> dict[str, float | list[float]]:
    """Run ALRIGHT under several seeds; return means and standard deviations."""
    problem = table_2(swapped=VARIANTS[variant])
    coins = [ALRIGHT(trade_off(lam), seed) for seed in seeds]
    ends = descend_side_by_side(problem, coins, 2 * STAGE, STEP, decay=DECAY)
    return mean_and_sd([outcome(problem, theta) for theta in ends])


def mean_and_sd(rows: Sequence[dict]) -> dict[str, float | list[float]]:
    """Rows of several seeds as one: every value's mean, its standard deviation (n − 1) under `…_sd`, and `seeds`."""
    table: dict = {"seeds": len(rows)}
    for key in rows[0]:
        values = np.array([row[key] for row in rows])
        table[key] = values.mean(0).tolist()
        table[f"{key}_sd"] = values.std(0, ddof=1).tolist()
    return table
