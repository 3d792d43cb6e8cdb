"""The judge of claims: a quantity has to lie above or below a bound, and the verdict follows from the runs.

A quantity has cases, such as pairs of runs with equal seeds. With two seeds or more, each seed has one value, the mean
over its cases, and the mean over seeds has a 95 % t interval (`statistics.mean_interval`): the claim holds if the whole
interval lies on the right side of the bound, does not hold if all of it lies on the other, and is otherwise left open
("cannot tell"). Intervals are not corrected for how many there are. One seed has no interval: there the cases are
counted.

    all cases: holds · more than half: holds in part · half or fewer: does not hold
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import pandas as pd

from xright.analysis.numbers.statistics import Mean, mean_interval, verdict
from xright.analysis.read.runs import CELL
from xright.analysis.style import number
from xright.analysis.text.seed_tables import with_interval


@dataclass(frozen=True)
class Claim:
    """A statement (`text`) about a `quantity`, to be above or below a bound; heading: of the paper's claim that
    it belongs to, "" for none. found: over seeds. wins: of the cases. spread: their median and range."""

    heading: str
    text: str
    quantity: str
    found: Mean
    bound: float = 0.0
    above: bool = False
    wins: int = 0
    cases: int = 0
    spread: str = ""

    @property
    def verdict(self) -> str:
        """holds / holds in part / does not hold / cannot tell."""
        if self.found.n > 1:
            beyond = self.bound - self.found.mean if self.above else self.found.mean - self.bound
            return verdict(self.found._replace(mean=beyond))
        if not self.cases:
            return "cannot tell"
        part = "holds in part" if 2 * self.wins > self.cases else "does not hold"
        return "holds" if self.wins == self.cases else part

    @property
    def evidence(self) -> str:
        """Return the numbers behind the verdict."""
        count = f"{self.wins} of {self.cases} case{'' if self.cases == 1 else 's'}"
        if self.found.n > 1:
            return f"{self.quantity}: {with_interval(self.found)} over {self.found.n} seeds; true in {count}."
        return f"True in {count}; {self.quantity}: {self.spread}."


def judged(
    heading: str,
    text: str,
    quantity: str,
    cases: pd.Series,
    bound: float = 0.0,
    above: bool = False,
    total: bool = False,
) -> Iterator[Claim]:
    """The claim, if it has a case. cases: by cell. total: a seed's value is the sum of its cases, not their mean."""
    cases = cases.dropna()
    if cases.empty:
        return
    seeds = cases.groupby(level=CELL)
    found = mean_interval(seeds.sum() if total else seeds.mean())
    low, middle, high = map(number, (cases.min(), cases.median(), cases.max()))
    spread = middle if low == high else f"{middle} ({low} to {high})"
    wins = int((cases > bound).sum() if above else (cases < bound).sum())
    yield Claim(heading, text, quantity, found, bound=bound, above=above, wins=wins, cases=len(cases), spread=spread)


def pairs(left: pd.DataFrame, right: pd.DataFrame, column: str, *more: str) -> tuple[pd.Series, pd.Series]:
    """`column` of both, a row per pair of runs of one cell with equal `more`, by cell."""
    keys, none = [*CELL, *more], pd.Series(dtype=float)
    if column not in left or column not in right:
        return none, none
    sides = [side.dropna(subset=column)[[*keys, column]] for side in (left, right)]
    both = sides[0].merge(sides[1], on=keys, suffixes=("", "_right")).set_index(CELL)
    return both[column], both[f"{column}_right"]


def minus(left: pd.DataFrame, right: pd.DataFrame, column: str, *more: str) -> pd.Series:
    """The difference of a column in `pairs`, by cell."""
    ours, theirs = pairs(left, right, column, *more)
    return ours - theirs


def over(left: pd.DataFrame, right: pd.DataFrame, *more: str) -> pd.Series:
    """Return how much longer a step of `left` takes, as a fraction, in `pairs`, by cell."""
    ours, theirs = pairs(left, right, "step_ms", *more)
    return ours / theirs - 1


def claim_verdicts(found: Iterable[Claim]) -> dict[str, str]:
    """{heading: verdict}: a claim holds if all its statements hold, and does not if any of them does not."""
    verdicts: dict[str, set[str]] = {}
    for claim in found:
        verdicts.setdefault(claim.heading, set()).add(claim.verdict)
    ranked = ("does not hold", "cannot tell", "holds in part", "holds")
    return {heading: next(word for word in ranked if word in of) for heading, of in verdicts.items() if heading}
