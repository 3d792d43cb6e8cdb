"""What a check says: findings with a verdict, and lines of tables. A check yields them one by one, so that what it has
found stays when its time is over."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

HOLDS, FAILS, SKIPPED, ERROR = "holds", "does not hold", "skipped", "error"


@dataclass(frozen=True)
class Finding:
    """what: was asked. measured, relation, bound: the number, "≤" or "≥", and the tolerance; None where nothing was
    measured. why: of what was skipped or went wrong, a sentence."""

    what: str
    verdict: str
    measured: float | None = None
    relation: str = ""
    bound: float | None = None
    unit: str = ""
    why: str = ""


@dataclass(frozen=True)
class Line:
    """A line of the table of that name: {column: value}; None is written as a dash."""

    table: str
    values: dict[str, Any]


Said = Finding | Line


def at_most(what: str, measured: float, bound: float, unit: str = "") -> Finding:
    """Holds where measured ≤ bound; NaN holds nowhere.

    >>> at_most("difference", float("nan"), 1.0).verdict
    'does not hold'
    """
    return Finding(what, HOLDS if measured <= bound else FAILS, measured, "≤", bound, unit)


def at_least(what: str, measured: float, bound: float, unit: str = "") -> Finding:
    """Holds where measured ≥ bound."""
    return Finding(what, HOLDS if measured >= bound else FAILS, measured, "≥", bound, unit)


def skipped(what: str, why: str) -> Finding:
    """Not asked here, and why not."""
    return Finding(what, SKIPPED, why=why)


def failed(what: str, error: BaseException) -> Finding:
    """It raised where it should not have: the first line of what it said."""
    said = (str(error).strip().splitlines() or [""])[0][:200]
    return Finding(what, ERROR, why=f"{type(error).__name__}: {said}")


def accepted(verdicts: Sequence[str]) -> bool:
    """Whether something was asked, all of it holds, and nothing went wrong.

    >>> accepted([HOLDS, SKIPPED]), accepted([SKIPPED]), accepted([HOLDS, ERROR])
    (True, False, False)
    """
    return {*verdicts} - {SKIPPED} == {HOLDS}
