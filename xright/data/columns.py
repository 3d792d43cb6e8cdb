"""Which columns hold what, and every accepted row shape brought to that of its kind (`kinds.py`).

Beside a kind's columns: `system` (or `system_prompt`), the first turn; `history`, turns before the prompt; `tools`, for
a chat template; `weight`, how often a row is drawn (if `columns` maps it). Of a conversation the last assistant turn is
the answer and what comes before is prompt, or each assistant turn in a row of its own, but for those that are switched
off (`switches.py`).

`input` is joined to `instruction` by a blank line: that is how the Alpaca template sets the two apart, and
how data sets that ship the joined prompt write it, so that one question has one prompt text in all streams.

    >>> stream = Stream("sft", "completions")
    >>> names = detect(stream, ["instruction", "input", "output"], "a.jsonl")
    >>> normalise(stream, {"instruction": "Add.", "input": "1 + 1", "output": "2"}, names, "row 0 of a.jsonl")
    [{'prompt': 'Add.\\n\\n1 + 1', 'response': '2'}]
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from xright.data.counts import EACH, EARLIER, LATER, NO_ANSWER, OFF, OFF_TURNS, ON_TURNS, OWN_PROMPT, TWO_SYSTEMS
from xright.data.kinds import KINDS
from xright.data.messages import Message, Prompt, Unusable, answer_of, as_list, history, turns, words, written_out
from xright.data.stream import Stream
from xright.data.switches import is_off, is_on
from xright.errors import UserError

BESIDE = {"system": ["system", "system_prompt"], "history": ["history"], "tools": ["tools"]}  # {name: its columns}
BESIDE |= {"weight": []}  # which is read where it is mapped, and not by its name: a score has many
OTHERWISE = {"messages": "conversations"}  # {name: the column that is taken where none has that name}
TEXT = ("instruction", "input", "output")  # never messages
LABELS = {True: True, False: False, "true": True, "false": False, "1": True, "0": False}  # 1 and 0 are equal to these


def detect(stream: Stream, found: Sequence[str], where: str) -> dict[str, str]:
    """{canonical name: column of the file} of the first of the kind's shapes that the columns `found` can fill, and of
    those BESIDE it.

    The stream's `columns` {canonical name: column} override: only shapes that use all its names are considered; a name
    of BESIDE that is mapped to null is left alone. Raises UserError naming `where`, the columns found and those
    expected.
    """
    mapping, shapes = stream.columns, KINDS[stream.kind].shapes
    for name, column in mapping.items():
        if column not in found and not (column is None and name in BESIDE):
            raise UserError(
                f"data.streams.{stream.name}.columns maps {name} to '{column}', but '{where}' has only the columns "
                f"{_listed(found)}; map to one of these."
            )
    beside = {
        name: next((column for column in columns if column in found), None) for name, columns in BESIDE.items()
    } | {name: column for name, column in mapping.items() if name in BESIDE}
    needed = {name: column for name, column in mapping.items() if name not in BESIDE}
    for shape in shapes:
        names = [name.rstrip("?") for name in shape.split("/")]
        columns = {name: needed.get(name) or _column(name, found) for name in names}
        columns = {name: column for name, column in columns.items() if column in found}
        if all(name in columns or name + "?" in shape for name in names) and set(needed) <= set(names):
            taken = columns.values()
            free = {name: own for name, own in beside.items() if own and (own not in taken or name in mapping)}
            return columns | free
    asked = f" (mapped: {dict(mapping)})" if mapping else ""
    raise UserError(
        f"'{where}' has the columns {_listed(found)}{asked}, but {stream.kind} need "
        f"{' or '.join(shapes)}; rename them or set data.streams.{stream.name}.columns={{expected: found, …}}."
    )


def normalise(
    stream: Stream,
    row: Mapping[str, Any],
    columns: Mapping[str, str],
    where: str,
    said: Counter[str] | None = None,
) -> list[dict[str, Any]]:
    """The canonical rows of a row: one, or where the stream's turns are "all" one for each assistant turn of a
    conversation.

    An empty cell (None, NaN) is empty text, never the text "None". `where` names row and file, for messages; `said`
    counts what is to be said of rows that are kept. Raises Unusable for what cannot be learnt from.
    """
    label = {"label": _label(row[columns["label"]], where)} if "label" in columns else {}
    alone = {"drawn": _weight(row[columns["weight"]], where)} if "weight" in columns else {}
    alone |= label
    cells = {
        name: _cell(row[column], where, column, name)
        for name, column in columns.items()
        if name not in ("label", "weight")
    }
    tools = as_list(cells.pop("tools", ""), where, "tools")
    before = _before(cells.pop("system", ""), cells.pop("history", ""), where)
    said = Counter() if said is None else said
    return [
        {**made, "prompt": _prompt(before, made["prompt"], tools), **alone}
        for made in _made(stream, cells, where, said)
    ]


def _made(stream: Stream, cells: dict[str, Any], where: str, said: Counter[str]) -> list[dict[str, Any]]:
    """Return the canonical rows of a row, without the system, history and tools that stand beside them."""
    if "messages" in cells:
        return _answered({"response": turns(cells["messages"], where)}, stream.turns, said)
    if "instruction" in cells:
        parts = [_text(cells.get(name, ""), where) for name in ("instruction", "input")]
        return [{"prompt": "\n\n".join(filter(None, parts)), "response": _text(cells["output"], where)}]
    prompt = cells.get("prompt", "")
    answers = {name: cells.get(name, cells.get("completion", "")) for name in stream.responses}
    kinds = {type(answer) for answer in answers.values() if answer}
    if kinds == {str, list}:
        raise UserError(f"{where} mixes text and messages in {' and '.join(answers)}; use one form for both.")
    asked = turns(prompt, where) if isinstance(prompt, list) else _as_user(prompt)
    if kinds == {list}:
        given = {name: turns(answer, where) for name, answer in answers.items()}
        whole = {name: _whole(asked, answer) for name, answer in given.items()}
        said[OWN_PROMPT] += any(_brings_its_own(asked, answer) for answer in given.values())
        return _answered(whole, stream.turns, said)
    if "prompt" not in cells:
        raise UserError(
            f"{where} has chosen and rejected as text but no prompt column, and where a prompt ends within "
            f"a transcript is not guessed; split the rows into prompt/chosen/rejected."
        )
    texts: dict[str, Any] = {name: _text(answer or "", where) for name, answer in answers.items()}
    return [{"prompt": asked if isinstance(prompt, list) else prompt, **texts}]


def _before(system: str | list[Any], earlier: str | list[Any], where: str) -> list[Message]:
    """The turns before a prompt."""
    if not isinstance(system, str):
        raise UserError(f"{where} has a list for a system prompt; give text, or map columns={{system: null}}.")
    return ([{"role": "system", "content": system}] if system else []) + history(earlier, where)


def _prompt(before: list[Message], prompt: Any, tools: list[Any]) -> Prompt:
    """The prompt with what stands before and beside it; one system prompt at most."""
    turns = prompt if isinstance(prompt, list) else _as_user(prompt)
    if before and turns and before[0]["role"] == turns[0]["role"] == "system":
        if before[0] != turns[0]:
            raise Unusable(TWO_SYSTEMS)
        turns = turns[1:]
    if tools:
        return {"messages": before + turns, "tools": tools}
    return before + turns if before else prompt


def _answered(conversations: dict[str, list[Message]], learnt: str, said: Counter[str]) -> list[dict[str, Any]]:
    """Conversations that differ in their last turn only -> shared turns as prompt, last one as answer; of a single one,
    each assistant turn if all are learnt."""
    lists = list(conversations.values())
    said[ON_TURNS] += any(is_on(turn) and turn["role"] != "assistant" for turn in lists[0])
    if learnt == "all" and len(lists) == 1:
        (turns,) = lists
        answers = [i for i, turn in enumerate(turns) if i and turn["role"] == "assistant"]
        places = [i for i in answers if not is_off(turns[i])]
        if not places:
            raise Unusable(OFF if answers else NO_ANSWER)
        said[OFF_TURNS] += len(places) < len(answers)
        said[LATER] += places[-1] < len(turns) - 1
        said[EACH] += len(places) - 1
        return [{"prompt": turns[:i], "response": answer_of(turns[i])} for i in places]
    shared = min(len(turns) for turns in lists) - 1  # identical conversations share the answer too
    for i in reversed(range(shared)):
        if any(turns[i] != lists[0][i] for turns in lists):
            shared = i
    if shared < 1 or any(len(turns) != shared + 1 or turns[-1]["role"] != "assistant" for turns in lists):
        raise Unusable(NO_ANSWER)
    if any(is_off(turns[-1]) for turns in lists):
        raise Unusable(OFF)
    earlier = [turn for turn in lists[0][:shared] if turn["role"] == "assistant" and not is_off(turn)]
    said[EARLIER] += "response" in conversations and bool(earlier)
    return [{"prompt": lists[0][:shared], **{name: answer_of(t[-1]) for name, t in conversations.items()}}]


def _whole(prompt: list[Message], answer: list[Message]) -> list[Message]:
    """The conversation of a prompt and an answer that goes on from it, or holds it again; a system turn of the prompt
    stays where the answer has none."""
    if answer[: len(prompt)] == prompt:
        return answer
    if not answer or answer[0]["role"] == "assistant":
        return prompt + answer
    return answer if answer[0]["role"] == "system" else _system(prompt) + answer


def _brings_its_own(prompt: list[Message], answer: list[Message]) -> bool:
    """Does an answer hold a prompt that is not the one given?"""
    if not prompt or not answer or answer[0]["role"] == "assistant":
        return False
    given, own = prompt[len(_system(prompt)) :], answer[len(_system(answer)) :]
    return words(own[: len(given)]) != words(given) or (_system(answer) or _system(prompt)) != (
        _system(prompt) or _system(answer)
    )


def _system(turns: list[Message]) -> list[Message]:
    return turns[: next((i for i, turn in enumerate(turns) if turn["role"] != "system"), len(turns))]


def _as_user(prompt: str | list[Any]) -> list[Message]:
    return [{"role": "user", "content": str(prompt)}] if prompt else []


def _column(name: str, found: Sequence[str]) -> str:
    return name if name in found else OTHERWISE.get(name, name)


def _listed(columns: Sequence[str]) -> str:
    """Names, in quotes where blanks around them would not be seen."""
    return ", ".join(name if name == name.strip() and name else repr(name) for name in columns)


def _cell(value: Any, where: str, column: str, name: str) -> str | list[Any]:
    if value is None or value != value:  # NaN alone differs from itself
        return ""
    if isinstance(value, Mapping) and name not in TEXT and (name in BESIDE or "role" in value or "from" in value):
        return [value]  # a single message
    if not isinstance(value, str | list):
        kind = type(value).__name__
        leave = f", or map columns={{{name}: null}} to leave it out" if name in BESIDE else ""
        raise UserError(f"{where} has the {kind} {value!r:.40} in column '{column}'; give text or messages{leave}.")
    return written_out(value, where) if isinstance(value, str) and name not in (*TEXT, *BESIDE) else value


def _label(value: Any, where: str) -> bool:
    """Return a label as true (a good answer) or false; csv files have it as text."""
    value = value.lower() if isinstance(value, str) else value
    found = LABELS.get(value) if isinstance(value, Hashable) else None
    if found is None:
        raise UserError(f"{where} has the label {value!r:.40}; give true for a good answer, or false.")
    return found


def _weight(value: Any, where: str) -> float:
    """Return a weight, above 0; csv files have it as text."""
    with suppress(TypeError, ValueError):
        if not isinstance(value, bool) and 0 < float(value) < math.inf:
            return float(value)
    raise UserError(f"{where} has the weight {value!r:.40}; give a number above 0.")


def _text(value: str | list[Any], where: str) -> str:
    if not isinstance(value, str):
        raise UserError(f"{where} holds a list where text is needed; name such columns prompt/completion.")
    return value
