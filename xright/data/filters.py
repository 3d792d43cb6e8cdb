"""The two filters of arXiv 2410.15483's preference data, as steps of `prepared.py`.

PKU-SafeRLHF: pairs of which one answer is labelled safe and the other unsafe, where a judge says the same of both.
ultrafeedback: pairs that hold a preference at all: neither answer empty, not the same text twice, not the same score.

    >>> row = {"prompt": "Hi", "chosen": "Hello!", "rejected": "Hello! "}
    >>> list(RealPreference(scores=None)([row], dropped := Counter())), dict(dropped)
    ([], {'equal answers': 1})
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from xright.data.messages import CALLS, Unusable, turns, written_out
from xright.errors import UserError

RawRow = Mapping[str, Any]
COMPLIED = "full_compliance"  # a judge's verdict on an answer that does what was asked

SIDES = ("chosen", "rejected")


class Asked(NamedTuple):
    """A prompt as judges take it: id, and the bare text."""

    id: str
    text: str


class Judge(Protocol):
    """Whoever has `verdicts`: for each prompt's answer full_compliance, partial_refusal or full_refusal, as
    `xright.evaluation.judges` do."""

    def verdicts(self, prompts: Sequence[Any], answers: Sequence[str]) -> Sequence[str]: ...


class OppositeSafety:
    """PKU-SafeRLHF's rows -> prompt, chosen (the safe answer), rejected (the unsafe one).

    labels: the two columns that say whether response_0 and response_1 are safe; which of the two is the more helpful
    (better_response_id) plays no part. None: the rows are such pairs already. judge: confirms a pair where it finds
    full compliance in the unsafe answer and anything less in the safe one; None: the labels suffice.
    Raises UserError for a row that lacks a column or a label.
    """

    def __init__(self, labels: Sequence[str] | None, judge: Judge | None) -> None:
        if labels is not None and len(labels) != 2:
            raise UserError(f"labels={labels!r} of OppositeSafety must be two columns, one of each answer, or null.")
        self.labels, self.judge = labels, judge

    def __call__(self, rows: Iterable[RawRow], dropped: Counter[str]) -> Iterator[dict[str, str]]:
        pairs = [pair for number, row in enumerate(rows) if (pair := self._pair(row, number, dropped))]
        if self.judge is None:
            yield from pairs
            return
        prompts = [Asked(str(number), pair["prompt"]) for number, pair in enumerate(pairs)]
        safe, unsafe = (self.judge.verdicts(prompts, [pair[side] for pair in pairs]) for side in SIDES)
        for pair, verdict, other in zip(pairs, safe, unsafe, strict=True):
            if verdict == COMPLIED:
                dropped["the judge finds that the safe answer complies"] += 1
            elif other != COMPLIED:
                dropped["the judge finds that the unsafe answer refuses"] += 1
            else:
                yield pair

    def _pair(self, row: RawRow, number: int, dropped: Counter[str]) -> dict[str, str] | None:
        """The row as a pair, or None where both answers have the same label."""
        if self.labels is None:
            return {name: _cell(row, name, number) for name in ("prompt", *SIDES)}
        safe = [_cell(row, column, number) for column in self.labels]
        if not all(isinstance(label, bool) for label in safe):
            raise UserError(f"row {number} has {safe!r} in the columns {list(self.labels)}; safety is true or false.")
        if safe[0] == safe[1]:
            dropped["both answers are safe" if safe[0] else "both answers are unsafe"] += 1
            return None
        answers = [_cell(row, f"response_{side}", number) for side in (0, 1)]
        chosen = safe.index(True)
        return {"prompt": _cell(row, "prompt", number), "chosen": answers[chosen], "rejected": answers[1 - chosen]}


class RealPreference:
    """prompt, chosen, rejected of the rows whose answers, text or messages, are neither empty nor equal.

    scores: the columns of the two answers' scores, which must differ; None: none are compared.
    Raises UserError for a row that lacks a column.
    """

    def __init__(self, scores: Sequence[str] | None) -> None:
        if scores is not None and len(scores) != 2:
            raise UserError(f"scores={scores!r} of RealPreference must be two columns, one of each answer, or null.")
        self.scores = scores

    def __call__(self, rows: Iterable[RawRow], dropped: Counter[str]) -> Iterator[dict[str, Any]]:
        for number, row in enumerate(rows):
            answers = [_last_words(_cell(row, side, number)) for side in SIDES]
            scores = [_cell(row, column, number) for column in self.scores or ()]
            if not all(answers):
                dropped["an empty answer"] += 1
            elif answers[0] == answers[1]:
                dropped["equal answers"] += 1
            elif scores and scores[0] == scores[1]:
                dropped["equal scores"] += 1
            else:
                yield {name: _cell(row, name, number) for name in ("prompt", *SIDES)}


def _cell(row: RawRow, column: str, number: int) -> Any:
    if column not in row:
        raise UserError(
            f"row {number} has no column '{column}', only {', '.join(row)}; name other columns in the step, or null "
            "where the rows have none."
        )
    return row[column]


def _last_words(answer: str | Sequence[Mapping[str, Any]] | None) -> str:
    """Return what an answer says, without the space around it: of a conversation its last turn, with its calls."""
    found = written_out(answer, "a row") if isinstance(answer, str) else answer
    if isinstance(found, str):
        return found.strip()
    if not found:
        return ""
    try:
        last = turns(list(found), "a row")[-1]
    except Unusable:  # an image, say: the reader of these rows tells of it
        return repr(found)
    return (last["content"] + "".join(repr(last[key]) for key in CALLS if key in last)).strip()
