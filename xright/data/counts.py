"""What became of a split's rows, in one line of the log: nothing of a row goes without a word.

>>> counts = Counts(rows=3, kept=2, columns=["prompt", "response"], unused=["id"])
>>> counts.drop(EMPTY)
>>> counts.sentence("sft/train")
'sft/train: 2 of 3 rows kept; 1 dropped: empty response; columns prompt, response (unused: id)'
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

# Why a row is dropped.
EMPTY = "empty response"
TOO_LONG = "no room for a response within max_length"
EQUAL = "chosen equals rejected"
CONTENT = "content of type {}, and only text can be learnt from"
REWRITTEN = "the chat template does not write the answered conversation as it writes the prompt"
NO_ANSWER = "conversations that do not end in one assistant turn after a shared prompt"
TWO_SYSTEMS = "rows with a system turn and another system prompt beside it"
OFF = "answers that their owner has switched off (weight: 0, train: false, …)"
UNKNOWN_ROLE = "messages from {}, a role that is not known"
NO_CALLS = "tool calls, which {} does not write"
NO_TOOLS = "tools, which {} does not write"
REFUSED = "the chat template refuses: {}"
BLOCKS = "answers that the chat template does not mark as one {% generation %} block after a shared prompt"
MARK = "text with the character U+FDD0, which Unicode keeps for programs"

# What is said of rows that are kept.
EARLIER = "conversations with earlier assistant turns, which are prompt and not learnt (turns=all learns them)"
LATER = "conversations with turns after the last answer, which are left out"
EACH = "rows made of conversations beyond the first answer of each (turns=all)"
OFF_TURNS = "conversations with assistant turns that are switched off (weight: 0, train: false, …), and not learnt"
ON_TURNS = "conversations that switch on turns of other roles (weight: 1, train: true, …), and answers alone are learnt"
TWO_ANSWERS = "rows with two assistant turns in a row, which stay two turns"
TRANSCRIPT = "rows whose prompt is a transcript that ends with an assistant turn, and the template begins another"
COPIED = "rows of files with the content of another named file"
LEFT_OUT = "rows with a turn whose text the chat template leaves out or changes"
OWN_PROMPT = "rows whose answers bring a prompt of their own, which is taken in the place of the column's"
UNENDED = "answers whose {% generation %} block leaves out the end of their turn, which is then not learnt"
BEYOND = "more, beyond data.streams.{}.train_rows"
BEYOND_HELD_OUT = "more held out, beyond data.streams.{}.eval_rows"
AS_TEXT = "with control tokens in their text, which stay text (data.control_tokens)"
AS_TOKENS = "with control tokens in their text, which become those tokens"
ALTERED = "whose tokens do not give exactly the rendered text: see the tokenizer"

MOST = 6  # reasons that are told apart: a chat template may put a row's own words into its refusal


@dataclass(frozen=True)
class About:
    """What the reader of a split's data has to say: columns used and not, rows dropped by reason, and the rest."""

    columns: list[str]
    unused: list[str]
    dropped: dict[str, int]
    said: dict[str, int]


@dataclass
class Counts:
    """rows = kept + all that were dropped, by reason. Of the kept ones, `truncated` lost tokens.

    columns, unused: of the data. keys: whether the template makes use of a message's key (which `tries` rows tell).
    said: what else there is to say, and of how many rows. merges: of the `checked` rows, those that one tokenisation of
    prompt and response together would cut otherwise. altered: rows whose tokens do not give their text again. first:
    prompts of the first few rows kept, as they were before any template.
    """

    rows: int = 0
    kept: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    truncated: int = 0
    columns: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)
    keys: dict[str, bool] = field(default_factory=dict)
    said: dict[str, int] = field(default_factory=dict)
    merges: int = 0
    checked: int = 0
    altered: int = 0
    tries: dict[str, int] = field(default_factory=dict)
    first: list[Any] = field(default_factory=list)

    def drop(self, reason: str) -> None:
        """Count a row that is dropped."""
        if reason not in self.dropped and len(self.dropped) >= MOST:
            reason = "other reasons"
        self.dropped[reason] = self.dropped.get(reason, 0) + 1

    def say(self, what: str) -> None:
        """Count a row of which something is to be said."""
        self.said[what] = self.said.get(what, 0) + 1

    def take(self, about: About | None, rows: int) -> None:
        """Begin with what the reader of `rows` rows says."""
        self.rows = rows
        if about is not None:
            self.rows += sum(about.dropped.values())
            self.columns, self.unused = list(about.columns), list(about.unused)
            self.dropped, self.said = dict(about.dropped), dict(about.said)

    def sentence(self, stream: str) -> str:
        """The numbers in one line, for the log; what did not happen is left out."""
        parts = [f"{stream}: {self.kept} of {self.rows} rows kept"]
        parts += [f"{count} dropped: {reason}" for reason, count in self.dropped.items()]
        parts += [f"{self.truncated} truncated"] if self.truncated else []
        parts += _used("columns", self.columns, self.unused)
        used = [key for key, taken in self.keys.items() if taken]
        parts += _used("message keys", used, [key for key in self.keys if key not in used])
        parts += [f"{count} {what}" for what, count in self.said.items()]
        parts += [f"{self.altered} {ALTERED}"] if self.altered else []
        if self.merges:
            parts.append(
                f"in {self.merges} of {self.checked} looked at, one tokenisation of prompt and response would cut the "
                "same text otherwise at the boundary, which is exact"
            )
        return "; ".join(parts)


def _used(what: str, used: list[str], unused: list[str]) -> list[str]:
    if not used and not unused:
        return []
    rest = f" (unused: {', '.join(unused)})" if unused else ""
    return [f"{what} {', '.join(used) or 'none'}{rest}"]
