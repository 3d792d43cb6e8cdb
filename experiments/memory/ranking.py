"""What the runs say: Spearman's rank correlation with forgetting, and the third parts side by side."""

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from xright.analysis.numbers.statistics import mean_interval
from xright.analysis.style import number
from xright.analysis.text.seed_tables import with_interval
from xright.analysis.text.tables import Grid

PREDICTORS = {"memory_gap": "memory gap", "moved": "distance of the weights", "f_sft": "f_SFT", "f_dpo": "f_DPO"}
LOST = {"nats_lost": "nats per token on its text", "right_lost": "right answers"}
DRAWS = 1000
PARTS = {
    "nothing": "nothing", "replay_1": "1 % of the base's text", "replay_10": "10 % of the base's text",
    "memory_1": "memory, as many rows as 1 %", "memory_10": "memory, as many rows as 10 %",
    "memory_maxright": "memory, as many rows as 10 %, MAXRIGHT with equal weights",
    "memory_bound": "memory, as many rows as 10 %, bound to .03 nats (DPO to .1)",
}  # fmt: skip

PAIRS = [
    *((part, "nothing") for part in ("replay_1", "replay_10", "memory_1", "memory_10")),
    *((f"memory_{size}", f"replay_{size}") for size in ("1", "10")),
]


def within(groups: list[np.ndarray]) -> float:
    """The mean over groups of runs of Spearman's ρ between their two columns."""
    return float(np.mean([spearmanr(*group.T).statistic for group in groups]))


def bootstrapped(groups: list[np.ndarray]) -> tuple[float, float]:
    """The 95 % percentile interval of the same, over runs drawn again within each group; draws in which a column of a
    group is constant are left out."""
    draw, found = np.random.default_rng(0), []
    for _ in range(DRAWS):
        again = [group[draw.integers(len(group), size=len(group))] for group in groups]
        found += [within(again)] if all(np.ptp(group, axis=0).all() for group in again) else []
    low, high = np.percentile(found, [2.5, 97.5])
    return float(low), float(high)


def ranking(table: pd.DataFrame) -> Grid:
    """ρ of what is known at the end of a run with what it lost, over the runs that do not train memory."""
    runs, lines = table[table["part"] == "watched"], []
    for predictor, name in PREDICTORS.items():
        cells = []
        for alike in (["seed"], ["seed", "lr"]):
            for lost in LOST:
                groups = [part[[predictor, lost]].to_numpy(dtype=float) for _, part in runs.groupby(alike)]
                low, high = bootstrapped(groups)
                cells.append(f"{within(groups):.2f} [{low:.2f}, {high:.2f}]")
        lines.append([name, *cells])
    heads = [*LOST.values(), *(f"{lost}, at equal learning rate" for lost in LOST.values())]
    return Grid([f"{len(runs)} runs, {runs['seed'].nunique()} worlds: ρ with the loss of", *heads], lines, 1)


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


def paired(table: pd.DataFrame) -> Grid:
    """What one third part lost less than another in the same world: means of the differences, with t intervals."""
    lines = []
    for one, other in PAIRS:
        cells = []
        for lost in LOST:
            wide = table.pivot_table(index="seed", columns="part", values=lost)
            cells.append(with_interval(mean_interval(wide[one] - wide[other])))
        lines.append([f"{PARTS[one]} minus {PARTS[other]}", *cells])
    return Grid(["in the same world", "nats lost", "right answers lost"], lines, 1)
