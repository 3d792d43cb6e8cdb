"""What ended a cell of a sweep before its time, and the table of such cells that a sweep ends with."""

from collections.abc import Sequence
from pathlib import Path


class Unfinished(Exception):
    """What ended a cell: the exit code of its job, the reason, and where to look (a run folder, a log)."""

    def __init__(self, code: int, reason: str, where: Path | None = None) -> None:
        super().__init__(code, reason, where)
        self.code, self.reason, self.where = code, reason, where

    def __str__(self) -> str:
        return self.reason


Ends = Sequence[tuple[Sequence[str], Unfinished | None]]  # each cell's overrides, and what ended it before its time


def table(ends: Ends) -> str:
    """Return which cells did not finish (by the overrides in which cells differ), where to look, and why.

    >>> ends = [(["seed=1", "lam=0.2"], None), (["seed=1", "lam=0.75"], Unfinished(2, "NaN.", Path("runs/a")))]
    >>> print(table(ends).replace("; ", ";\\n"))
    xright: 1 of 2 cells did not finish:
      lam=0.75  runs/a  NaN.
    The same command tries them again, and them alone, each from its last checkpoint where it has one;
    a loss that became NaN after that one becomes NaN again: the message above says what to change.
    """
    shared = set.intersection(*(set(overrides) for overrides, _ in ends)) if len(ends) > 1 else set()
    rows = [
        (" ".join(x for x in overrides if x not in shared) or "(all alike)", str(end.where or "-"), end.reason)
        for overrides, end in ends
        if end
    ]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    return "\n".join(
        [
            f"xright: {len(rows)} of {len(ends)} cells did not finish:",
            *(f"  {cell:{widths[0]}}  {where:{widths[1]}}  {reason}" for cell, where, reason in rows),
            "The same command tries them again, and them alone, each from its last checkpoint where it has one; a loss "
            "that became NaN after that one becomes NaN again: the message above says what to change.",
        ]
    )
