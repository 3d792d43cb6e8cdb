"""The paper's five claims (arXiv 2410.15483), each put to the test by intervals over seeds.

1. Sequential training forgets its first objective.      4. ALRIGHT costs about nothing, Mix costs much.
2. λ controls ALRIGHT's trade-off.                       5. MAXRIGHT with a large k oscillates.
3. MAXRIGHT ends closest to the ideal point.

A claim consists of statements. A statement is a quantity with one value per seed, its mean with a 95 % t interval
(statistics.mean_interval), and a bound. It holds if the whole interval lies on the right side of the bound, does not
hold if all of it lies on the other, and is otherwise left open; so it is with fewer than two seeds. A claim holds if
all its statements hold, and does not if any of them does not. Intervals are not corrected for how many there are.

Gaps, distances and rises are in nats; costs are fractions of a step's time.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
import pandas as pd

from xright.analysis.oscillation import rise
from xright.analysis.runs import CELL, JOINT, STRATEGIES, Runs
from xright.analysis.statistics import Mean, mean_interval, verdict
from xright.errors import UserError

NOTHING, MUCH = 0.1, 0.25  # of a step's time: at most so much more is "about nothing", at least so much more is "much"
USUAL_K = 10
BY_LAM = "by λ"  # in the place of a claim


@dataclass(frozen=True)
class Statement:
    """`text` says of which quantity; `above`: it must be more than `bound`, otherwise less."""

    claim: str
    text: str
    found: Mean
    bound: float = 0.0
    above: bool = True

    @property
    def verdict(self) -> str:
        """holds / does not hold / cannot tell."""
        beyond = self.bound - self.found.mean if self.above else self.found.mean - self.bound
        return verdict(self.found._replace(mean=beyond))


def paper_claims(runs: Runs, timed: Runs | None = None) -> list[Statement]:
    """The statements for which there are runs, in the order of the claims.

    timed: the runs whose times count, where those of `runs` were not taken on a quiet machine.
    Raises UserError where the runs have several settings: one study at a time.
    """
    if (settings := runs.table["setting"].unique()).size > 1:
        raise UserError(f"The runs differ in their setting ({'; '.join(settings)}); the claims are about one study.")
    table = _with_k(runs).merge(rise(runs.trajectory, runs.axes), on="folder", how="left")
    usual = _usual(table)
    found = (_forgets(usual), _lam_controls(usual), _closest(usual), _costs((timed or runs).table), _oscillates(table))
    return [statement for statements in found for statement in statements if statement.found.n]


def claim_verdicts(statements: list[Statement]) -> dict[str, str]:
    """{claim: verdict}."""
    verdicts: dict[str, set[str]] = {}
    for statement in statements:
        verdicts.setdefault(statement.claim, set()).add(statement.verdict)
    ranked = ("does not hold", "cannot tell", "holds")
    return {claim: next(word for word in ranked if word in found) for claim, found in verdicts.items()}


def _with_k(runs: Runs) -> pd.DataFrame:
    """The table with MAXRIGHT's `k`, missing for the others."""
    return runs.table if "k" in runs.table else runs.table.assign(k=np.nan)


def _usual(table: pd.DataFrame) -> pd.DataFrame:
    return table[(table["strategy"] != "maxright") | (table["k"] == USUAL_K)]


def _forgets(table: pd.DataFrame) -> Iterator[Statement]:
    joint = table[table["strategy"].isin(JOINT)]
    for first, second in (("dpo", "sft"), ("sft", "dpo")):
        sequential = table[(table["strategy"] == "sequential") & (table["first"] == first)]
        order = f"Sequential {first.upper()}→{second.upper()}"
        text = f"{first.upper()} gap of {order} minus that of the joint methods (means over splits and λ)"
        gaps = (_per_seed(part, f"gap_{first}") for part in (sequential, joint))
        yield Statement("Sequential forgets", text, _difference(*gaps))


def _lam_controls(table: pd.DataFrame) -> Iterator[Statement]:
    alright = table[table["strategy"] == "alright"]
    if alright["lam"].nunique() < 2:
        return
    lams = sorted(alright["lam"].unique())
    pairs = [(lams[0], lams[-1])] + ([(lams[1], lams[-2])] if len(lams) > 3 else [])  # the ends, and well inside
    for (low, high), (name, above) in product(pairs, (("f_dpo", False), ("f_sft", True))):
        label = name.replace("dpo", "DPO").replace("sft", "SFT")
        text = f"{label} of ALRIGHT at λ={high:g} minus that at λ={low:g}"
        found = _difference(*(_per_seed(alright[alright["lam"] == lam], name) for lam in (high, low)))
        yield Statement("λ controls ALRIGHT", text, found, above=above)


def _closest(table: pd.DataFrame) -> Iterator[Statement]:
    maxright = table[table["strategy"] == "maxright"]
    for strategy in ("alright", "mix", "model_average", "sequential"):
        other = table[table["strategy"] == strategy]
        if strategy == "sequential":  # its best order and split, chosen afterwards: the hardest comparison
            text, theirs = "the best Sequential run's", other.groupby(CELL)["ideal_distance"].min()
            ours = _per_seed(maxright, "ideal_distance")
        else:  # at the λ that both have
            text = f"{STRATEGIES[strategy]}'s at the same λ"
            shared = set(maxright["lam"]) & set(other["lam"])
            ours, theirs = (_per_seed(part[part["lam"].isin(shared)], "ideal_distance") for part in (maxright, other))
        text = f"ideal distance of MAXRIGHT (mean over λ) minus {text}"
        yield Statement("MAXRIGHT is closest to the ideal point", text, _difference(ours, theirs), above=False)


def closest_by_lam(runs: Runs) -> list[Statement]:
    """MAXRIGHT against ALRIGHT and Mix at each λ that both have: what the means over λ of claim 3 consist of."""
    usual = _usual(_with_k(runs))
    maxright = usual[usual["strategy"] == "maxright"]
    found = []
    for strategy, lam in product(("alright", "mix"), sorted(maxright["lam"].unique())):
        parts = (part[part["lam"] == lam] for part in (maxright, usual[usual["strategy"] == strategy]))
        distances = (_per_seed(part, "ideal_distance") for part in parts)
        text = f"ideal distance of MAXRIGHT minus {STRATEGIES[strategy]}'s, both at λ={lam:g}"
        found.append(Statement(BY_LAM, text, _difference(*distances), above=False))
    return [statement for statement in found if statement.found.n]


def _costs(table: pd.DataFrame) -> Iterator[Statement]:
    half = table["label"].str.extract(r"\((\d+),(\d+)\)", expand=True)  # Sequential's epochs
    even = _per_seed(table[(table["strategy"] == "sequential") & (half[0] == half[1])], "step_ms")
    claim = "joint training costs about nothing, Mix costs much"
    for strategy, bound, above in (("alright", NOTHING, False), ("maxright", NOTHING, False), ("mix", MUCH, True)):
        ours = _per_seed(table[table["label"] == f"{STRATEGIES[strategy]} λ=0.5"], "step_ms")
        text = f"time per step of {STRATEGIES[strategy]} λ=0.5 over that of Sequential with equal halves, minus 1"
        yield Statement(claim, text, mean_interval((ours / even).dropna() - 1), bound, above)


def _oscillates(table: pd.DataFrame) -> Iterator[Statement]:
    maxright = table[table["strategy"] == "maxright"]
    exact = maxright[maxright["k"] == 1]
    for k in sorted(set(maxright["k"]) - {1}):
        large = maxright[(maxright["k"] == k) & maxright["lam"].isin(exact["lam"])]
        rises = (_per_seed(part, "rise") for part in (large, exact[exact["lam"].isin(large["lam"])]))
        if k > USUAL_K:
            text = f"rise (what is lost and regained between evaluations) of MAXRIGHT k={k:g} minus that of k=1"
            yield Statement("a large k oscillates", text, _difference(*rises))


def _per_seed(table: pd.DataFrame, column: str) -> pd.Series:
    """Mean of a column over the runs of each seed."""
    return table.dropna(subset=column).groupby(CELL)[column].mean()


def _difference(left: pd.Series, right: pd.Series) -> Mean:
    """Of the seeds that both have."""
    return mean_interval((left - right).dropna())
