"""What the runs say: Spearman's rank correlation with forgetting, and the third parts side by side."""

from collections.abc import Callable

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from xright.analysis.numbers.statistics import mean_interval
from xright.analysis.style import number
from xright.analysis.text.seed_tables import with_interval
from xright.analysis.text.tables import Grid

PREDICTORS = {"memory_gap": "memory gap", "moved": "distance of the weights", "f_sft": "f_SFT", "f_dpo": "f_DPO"}
LOST = {"nats_lost": "nats per token on its text", "right_lost": "right answers"}
DRAWS = 2000
PARTS = {
    "nothing": "nothing", "replay_1": "1 % of the base's text", "replay_10": "10 % of the base's text",
    "memory_1": "memory, as many rows as 1 %", "memory_10": "memory, as many rows as 10 %",
    "memory_maxright": "memory, as many rows as 10 %, MAXRIGHT with equal weights",
}  # fmt: skip


def within(table: pd.DataFrame, one: str, other: str) -> float:
    """The mean over worlds of Spearman's ρ over the runs of a world."""
    found = [spearmanr(part[one], part[other]).statistic for _, part in table.groupby("seed")]
    return float(np.mean(found))


def bootstrapped(table: pd.DataFrame, statistic: Callable[[pd.DataFrame], float]) -> tuple[float, float]:
    """The 95 % percentile interval of a statistic over runs drawn again within each world."""
    draw = np.random.default_rng(0)
    worlds = [part.to_numpy() for _, part in table.groupby("seed")]
    found = []
    for _ in range(DRAWS):
        again = np.concatenate([part[draw.integers(len(part), size=len(part))] for part in worlds])
        found.append(statistic(pd.DataFrame(again, columns=table.columns)))
    return tuple(np.nanpercentile(found, [2.5, 97.5]))


def ranking(table: pd.DataFrame) -> Grid:
    """ρ of what is known at the end of a run with what it lost, over the runs that do not train memory."""
    runs, lines = table[table["part"] == "watched"], []
    for predictor, name in PREDICTORS.items():
        cells = []
        for lost in LOST:
            own = runs[["seed", predictor, lost]].astype(float)
            low, high = bootstrapped(own, lambda part, one=predictor, other=lost: within(part, one, other))
            cells.append(f"{within(own, predictor, lost):.2f} [{low:.2f}, {high:.2f}]")
        lines.append([name, *cells])
    worlds = runs["seed"].nunique()
    return Grid([f"{len(runs)} runs of {worlds} worlds: ρ with what is lost, in", *LOST.values()], lines, 1)


def third_parts(table: pd.DataFrame) -> Grid:
    """What each third part leaves: means over worlds, with t intervals."""
    lines = []
    for part, name in PARTS.items():
        own = table[table["part"] == part]
        if len(own):
            columns = ("nats_lost", "right_lost", "memory_gap", "f_dpo", "f_sft")
            lines.append([name, *(with_interval(mean_interval(own[column])) for column in columns), str(len(own))])
    before = number(table.loc[table["part"] == "base", "right_before"].mean())
    heads = ["third part", "nats lost", f"right answers lost (of {before})", "memory gap", "f_DPO", "f_SFT", "worlds"]
    return Grid(heads, lines, 1)
