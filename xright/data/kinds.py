"""Kinds of streams: what a row of each holds, and which columns of a file it is read from. One entry is one kind.

| kind | a row: prompt and | columns of a file; the first match wins |
|---|---|---|
| completions | response | messages, conversations · instruction[/input]/output · prompt/completion · prompt/response |
| pairs | chosen, rejected | prompt/chosen/rejected · chosen/rejected as messages that share the prompt |
| labelled | response, and its label: true (a good one) or false | prompt/completion/label · prompt/response/label |
| sampled | response | none: the base writes them itself, before the run (`pipeline/memory.py`) |
| text | response | none: the rows of the base stage, which a source makes of all its streams |

A prompt is text, messages, or {messages, tools}; a response is text or a message (`messages.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

TURNS = ("last", "all")  # which assistant turns of a conversation are learnt


@dataclass(frozen=True)
class Kind:
    """responses: a canonical row's answers by name, in the order of `Row.responses`. shapes: sets of columns that make
    such a row; ? marks what may be missing. labelled: has a row a label? sampled: does the base write the rows?"""

    responses: tuple[str, ...]
    shapes: tuple[str, ...] = ()
    labelled: bool = False
    sampled: bool = False

    @property
    def turns(self) -> tuple[str, ...]:
        """Return which of TURNS can be learnt: the answers of a pair differ in their last turn; a label is of one."""
        return TURNS if len(self.responses) == 1 and not self.labelled else TURNS[:1]

    @property
    def declared(self) -> bool:
        """May a configuration name it?"""
        return bool(self.shapes) or self.sampled


KINDS = {
    "completions": Kind(
        ("response",), ("messages", "instruction/input?/output", "prompt/completion", "prompt/response")
    ),
    "pairs": Kind(("chosen", "rejected"), ("prompt/chosen/rejected", "chosen/rejected")),
    "labelled": Kind(("response",), ("prompt/completion/label", "prompt/response/label"), labelled=True),
    "sampled": Kind(("response",), sampled=True),
    "text": Kind(("response",)),
}
DECLARED = tuple(name for name, kind in KINDS.items() if kind.declared)


def asked(kinds: Mapping[str, str | None]) -> str:
    """Of {stream: kind} the stream in whose template a model is asked: the first with one answer to a prompt, else the
    first that is read from somewhere."""
    known = {name: KINDS[kind] for name, kind in kinds.items() if kind in KINDS and KINDS[kind].shapes}
    single = (name for name, kind in known.items() if len(kind.responses) == 1)
    return next(single, next(iter(known), next(iter(kinds))))
