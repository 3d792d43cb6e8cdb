"""What can be said about a set of runs, counted from the runs: no sentence's outcome is written in advance.

A claim is a statement that can fail, a verdict, and the numbers behind it. Only runs that share setting,
and all seeds (a cell), and λ where it matters, are compared. The verdict follows from the count alone:

    all cases: holds · more than half: holds in part · half or fewer: does not hold · no case: cannot tell

Joint methods are ALRIGHT, MAXRIGHT and Mix (arXiv 2410.15483, section 4). Gaps and distances are in nats.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from xright.analysis.runs import CELL, JOINT, STRATEGIES, Runs


@dataclass(frozen=True)
class Claim:
    """`text`: the statement under test. `evidence`: the numbers in words. `figures`: the same by name."""

    text: str
    verdict: str
    evidence: str
    figures: dict[str, float] = field(default_factory=dict)


def claims(runs: Runs) -> list[Claim]:
    """Every claim, in the order of the report; those without runs to compare come out as "cannot tell"."""
    table = runs.table
    return [
        _forgets(table, "dpo", "sft"),
        _forgets(table, "sft", "dpo"),
        _refuses_less(table),
        _joint_is_closer(table),
        _closer(table, "maxright", "alright"),
        _closer(table, "maxright", "mix"),
        _closer(table, "alright", "model_average"),
        *(_lam_orders(table, strategy) for strategy in ("mix", "alright", "maxright")),
        _slower(table, "mix", "alright"),
        _mix_costs_the_sum(runs),
        _slower(table, "maxright", "alright"),
    ]


def verdict(wins: int, cases: int) -> str:
    """holds / holds in part / does not hold / cannot tell, from the count."""
    if cases == 0:
        return "cannot tell"
    return "holds" if wins == cases else "holds in part" if 2 * wins > cases else "does not hold"


def _forgets(table: pd.DataFrame, first: str, second: str) -> Claim:
    order = f"Sequential {first.upper()}→{second.upper()}"
    text = f"{order} ends with a larger {first.upper()} gap than every joint run of the same seed"
    column = f"gap_{first}"
    cases = _against_joint(table, first, column)
    if not cases:
        return _cannot_tell(text, f"finished runs of {order} and of a joint method with one seed, and known optima")
    sequential = np.array([own for own, _ in cases])
    worst = np.array([joint.max() for _, joint in cases])
    middle = float(np.median(np.concatenate([joint for _, joint in cases])))
    evidence = (
        f"{{}} runs; its {first.upper()} gap is {_spread(sequential)}, "
        f"the worst joint gap per seed {_spread(worst)}, the median joint gap {middle:.3f}"
    )
    figures = {
        "sequential": float(np.median(sequential)),
        "worst_joint": float(worst.max()),
        "median_joint": middle,
    }
    if middle > 0:  # a ratio to a gap of zero or below says nothing
        figures["ratio"] = figures["sequential"] / middle
        evidence += f" ({figures['ratio']:.1f} times as large, median to median)"
    return _counted(text, sequential > worst, evidence + ".", figures)


def _refuses_less(table: pd.DataFrame) -> Claim:
    text = "Sequential DPO→SFT refuses fewer harmful prompts than every joint run of the same seed"
    cases = _against_joint(table, "dpo", "behaviour.refuses_harmful")
    if not cases:
        return _cannot_tell(text, "behaviour checks of Sequential DPO→SFT and of a joint method with one seed")
    own = np.array([sequential for sequential, _ in cases])
    least = np.array([joint.min() for _, joint in cases])
    evidence = f"{{}} runs; it refuses {_spread(own, '.0%')}, the least refusing joint run {_spread(least, '.0%')}."
    return _counted(
        text, own < least, evidence, {"sequential": float(np.median(own)), "joint": float(np.median(least))}
    )


def _joint_is_closer(table: pd.DataFrame) -> Claim:
    text = "Every joint run ends closer to the ideal point than every Sequential run of the same seed"
    known = table.dropna(subset="ideal_distance")
    worst = known[known["strategy"].isin(JOINT)].groupby(CELL, dropna=False)["ideal_distance"].max()
    best = known[known["strategy"] == "sequential"].groupby(CELL, dropna=False)["ideal_distance"].min()
    both = pd.concat({"joint": worst, "sequential": best}, axis=1).dropna()
    if both.empty:
        return _cannot_tell(text, "finished Sequential and joint runs with one seed, and known optima")
    evidence = (
        f"{{}} seeds; the farthest joint run is at {_spread(both['joint'])}, "
        f"the closest Sequential run at {_spread(both['sequential'])}."
    )
    figures = {"joint": float(both["joint"].median()), "sequential": float(both["sequential"].median())}
    return _counted(text, both["joint"] < both["sequential"], evidence, figures)


def _closer(table: pd.DataFrame, left: str, right: str) -> Claim:
    text = f"{STRATEGIES[left]} ends closer to the ideal point than {STRATEGIES[right]} at the same seed and λ"
    pairs = _pairs(table, left, right, "ideal_distance")
    if pairs.empty:
        return _cannot_tell(text, f"{STRATEGIES[left]} and {STRATEGIES[right]} at one seed and λ, and known optima")
    evidence = f"{{}} pairs of runs; ideal distance {_spread(pairs['left'])} against {_spread(pairs['right'])}."
    figures = {"left": float(pairs["left"].median()), "right": float(pairs["right"].median())}
    return _counted(text, pairs["left"] < pairs["right"], evidence, figures)


def _lam_orders(table: pd.DataFrame, strategy: str) -> Claim:
    text = f"With {STRATEGIES[strategy]}, each larger λ gives a lower f_DPO and a higher f_SFT"
    groups = table[table["strategy"] == strategy].groupby([*CELL, "variant"], dropna=False)
    lines = [line.sort_values("lam") for _, line in groups if line["lam"].nunique() > 1]
    if not lines:
        return _cannot_tell(text, f"{STRATEGIES[strategy]} with two or more values of λ at one seed")
    orderly = [(line["f_dpo"].diff()[1:] < 0).all() and (line["f_sft"].diff()[1:] > 0).all() for line in lines]
    lams = sorted({lam for line in lines for lam in line["lam"]})
    return _counted(text, orderly, f"{{}} seeds, λ = {', '.join(f'{lam:g}' for lam in lams)}.", {})


def _slower(table: pd.DataFrame, left: str, right: str) -> Claim:
    text = f"An optimizer step of {STRATEGIES[left]} takes longer than one of {STRATEGIES[right]} at the same λ"
    pairs = _pairs(table, left, right, "step_ms")
    if pairs.empty:
        return _cannot_tell(text, f"timed runs of {STRATEGIES[left]} and {STRATEGIES[right]} at one seed and λ")
    ratio = pairs["left"] / pairs["right"]
    evidence = f"{{}} pairs of runs; mean time per step {_spread(ratio, '.2f')} times that of {STRATEGIES[right]}."
    return _counted(text, ratio > 1, evidence, {"ratio": float(ratio.median())})


def _mix_costs_the_sum(runs: Runs) -> Claim:
    text = "A step of Mix takes as long as a DPO step and an SFT step of ALRIGHT together, to within 15 %"
    steps = runs.steps.merge(runs.table[["folder", "strategy", *CELL]], on="folder")
    kinds = steps[steps["strategy"].isin(("mix", "alright"))]
    medians = kinds.groupby([*CELL, "strategy", "pick"], dropna=False)["seconds"].median().unstack(["strategy", "pick"])
    needed = [("mix", "both"), ("alright", "dpo"), ("alright", "sft")]
    if not set(needed) <= set(medians.columns):
        return _cannot_tell(text, "runs of Mix and of ALRIGHT that took both kinds of step, at one seed")
    ratio = (medians["mix", "both"] / (medians["alright", "dpo"] + medians["alright", "sft"])).dropna()
    evidence = f"{{}} seeds; median times, Mix over the sum {_spread(ratio, '.2f')}."
    return _counted(text, (ratio - 1).abs() <= 0.15, evidence, {"ratio": float(ratio.median())})


def _against_joint(table: pd.DataFrame, first: str, column: str) -> list[tuple[float, np.ndarray]]:
    """For each Sequential run that starts with `first`: its value, and those of its joint runs."""
    if column not in table:
        return []
    cases = []
    for _, cell in table.dropna(subset=column).groupby(CELL, dropna=False):
        joint = cell.loc[cell["strategy"].isin(JOINT), column].to_numpy()
        own = cell.loc[(cell["strategy"] == "sequential") & (cell["first"] == first), column]
        cases += [(value, joint) for value in own if len(joint)]
    return cases


def _pairs(table: pd.DataFrame, left: str, right: str, column: str) -> pd.DataFrame:
    """`column` of both strategies as `left` and `right`, one row per pair of runs with equal cell and λ."""
    keys = [*CELL, "lam"]
    sides = [
        table.loc[table["strategy"] == strategy, [*keys, column]].dropna(subset=column).rename(columns={column: side})
        for strategy, side in ((left, "left"), (right, "right"))
    ]
    return sides[0].merge(sides[1], on=keys)


def _counted(text: str, wins: Sequence[bool] | np.ndarray | pd.Series, evidence: str, figures: dict) -> Claim:
    """Fill "{}" in `evidence` with the count, and judge by it."""
    won, cases = int(np.sum(wins)), len(wins)
    return Claim(
        text,
        verdict(won, cases),
        evidence.format(f"{won} of {cases}"),
        {"wins": won, "cases": cases, **figures},
    )


def _cannot_tell(text: str, needs: str) -> Claim:
    return Claim(text, verdict(0, 0), f"It needs {needs}.")


def _spread(values: np.ndarray | pd.Series, style: str = ".3f") -> str:
    """ "2.040 (1.080 to 2.640)": median and range; the value alone where they agree as printed."""
    low, middle, high = (format(float(value), style) for value in (np.min(values), np.median(values), np.max(values)))
    return middle if low == high else f"{middle} ({low} to {high})"
