"""Conversations out of cells: lists of messages, the same as JSON text, pairs of texts, content in blocks.

A message is {role, content: text}, or ShareGPT's {from, value}, and whatever else its writer gave it: whether it is to
be learnt (`switches.py`), and what only a chat template can make use of (tool_calls, name, …). What cannot be honoured
makes the row `Unusable`: it is dropped, and its reason counted; what is no conversation at all is a UserError.

    >>> turns('[{"role": "user", "content": [{"type": "text", "text": "Hi"}], "name": null}]', "row 0 of 'a.csv'")
    [{'role': 'user', 'content': 'Hi'}]
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from xright.data.counts import CONTENT, UNKNOWN_ROLE
from xright.data.switches import check
from xright.errors import UserError

Message = dict[str, Any]
Conversation = dict[str, Any]  # {messages, tools}
Prompt = str | list[Message] | Conversation  # a conversation where there are tools
Answer = str | Message  # a message where it is more than text

CALLS = ("tool_calls", "function_call")  # of a message: to leave them out would teach another answer
SHAREGPT = {  # {from, value}: from whom, and the role that this is
    **{name: name for name in ("system", "user", "assistant", "tool")},
    "human": "user", "gpt": "assistant", "chatgpt": "assistant",
}  # fmt: skip
NAMED = re.compile(r"^[# \t]*(human|user|assistant)[ \t]*:", re.IGNORECASE | re.MULTILINE)  # of a transcript's turn


class Unusable(Exception):
    """A row that has to be dropped. Its argument is the reason, as the log counts it."""


def turns(value: Any, where: str) -> list[Message]:
    """The messages of a cell; none of an empty one. A key without a value is left out: loaders fill in, as None, the
    keys that other messages have."""
    found = as_list(value, where, "messages")
    if not all(isinstance(turn, Mapping) for turn in found):
        raise UserError(f"{where} should hold a list of messages, not {value!r:.60}; check the columns.")
    return [_message(turn, where) for turn in found]


def as_list(value: Any, where: str, what: str) -> list[Any]:
    """A list, or the JSON text of one; UserError for anything else."""
    found = value if value != "" else []
    if isinstance(found, str):
        try:
            found = json.loads(found) or []
        except (ValueError, RecursionError):
            found = None
    if isinstance(found, Mapping):  # one message, or one tool
        found = [found]
    if not isinstance(found, list):
        raise UserError(
            f"{where} should hold a list of {what}, or the JSON text of one, not {value!r:.60}{_hint(value)}."
        )
    return found


def written_out(cell: str, where: str) -> str | list[Any]:
    """A cell of text, or the messages whose JSON text it is, as csv files hold them."""
    text = cell.strip()
    if text[:1] != "[" or ("role" not in text and "from" not in text):
        return cell
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        if text.startswith(("[{'role'", "[{'content'")) and text.endswith("]"):
            raise UserError(f"{where} holds {cell!r:.60}{_hint(cell)}.") from None
        return cell
    return found if found and all(map(_is_message, found)) else cell


def history(value: Any, where: str) -> list[Message]:
    """Return the earlier turns, given as [[user, assistant], …] or as messages."""
    found = as_list(value, where, "[user, assistant] pairs")
    if not all(isinstance(pair, list) and len(pair) == 2 and all(isinstance(t, str) for t in pair) for pair in found):
        return turns(found, where)
    return [
        {"role": role, "content": text}
        for pair in found
        for role, text in zip(("user", "assistant"), pair, strict=True)
    ]


def messages_of(prompt: Prompt) -> list[Message]:
    """Return a prompt as messages: a text is the user's."""
    if isinstance(prompt, str):
        return [{"role": "user", "content": prompt}]
    return prompt["messages"] if isinstance(prompt, dict) else prompt


def words(prompt: Prompt) -> str:
    """The words of a prompt without roles and spacing: equal for one question in text and in message form."""
    return " ".join("\n".join(turn["content"] for turn in messages_of(prompt)).split())


def opening(prompt: Prompt) -> Prompt:
    """A prompt up to the first answer in it: what all rows of one conversation share."""
    turns = messages_of(prompt)
    return turns[: next((i for i, turn in enumerate(turns) if turn["role"] == "assistant" and i), len(turns))]


def text_of(answer: Answer) -> str:
    """Return an answer's text: a message's content, or the text itself."""
    return answer if isinstance(answer, str) else answer["content"]


def answer_of(turn: Message) -> Answer:
    """An assistant's turn as an answer: its text, if there is no more to it."""
    return turn["content"] if turn.keys() <= {"role", "content"} else turn


def ends_with_answer(text: str) -> bool:
    """Is the last turn of a transcript an assistant's? Each begins on a line of its own, with a name and a colon."""
    names = NAMED.findall(text)
    return bool(names) and names[-1].lower() == "assistant"


def _is_message(turn: Any) -> bool:
    if not isinstance(turn, Mapping):
        return False
    if isinstance(turn.get("role"), str):
        return any(key in turn for key in ("content", *CALLS))
    return isinstance(turn.get("from"), str) and turn["from"] in SHAREGPT and "value" in turn


def _message(turn: Mapping[str, Any], where: str) -> Message:
    turn = _by_role(turn)
    content = turn.get("content")
    if not isinstance(turn.get("role"), str) or not isinstance(content, str | list | None):
        raise UserError(f"{where} has the message {turn!r:.60}; give each a role and a content, as text.")
    others = {key: value for key, value in turn.items() if key not in ("role", "content") and not _is_missing(value)}
    check(others, where)
    return {"role": turn["role"], "content": _joined(content, where), **others}


def _by_role(turn: Mapping[str, Any]) -> Mapping[str, Any]:
    """The message with role and content, where it is one of ShareGPT's."""
    if turn.get("role") is not None or not isinstance(turn.get("from"), str) or "value" not in turn:
        return turn
    if turn["from"] not in SHAREGPT:
        raise Unusable(UNKNOWN_ROLE.format(turn["from"][:40]))
    others = {key: value for key, value in turn.items() if key not in ("from", "value")}
    return {**others, "role": SHAREGPT[turn["from"]], "content": turn["value"]}


def _is_missing(value: Any) -> bool:
    return value is None or value == [] or value != value  # NaN alone differs from itself


def _joined(content: str | list[Any] | None, where: str) -> str:
    """The text of a message's content, which may come in blocks: {type: text, text: …}."""
    if not isinstance(content, list):
        return content or ""
    texts = []
    for block in content:
        if not isinstance(block, Mapping):
            raise UserError(f"{where} has the content {content!r:.60}; give text, or blocks of a type.")
        kind = block.get("type", "text")
        if kind != "text" or not isinstance(block.get("text"), str):
            raise Unusable(CONTENT.format(kind))
        texts.append(block["text"])
    return "".join(texts)


def _hint(value: Any) -> str:
    """Return what to do about a list that was printed into a cell, as pandas does."""
    printed = isinstance(value, str) and value.lstrip().startswith(("[{'", "{'", "[['"))
    return ", as Python prints it; write it with json.dumps" if printed else ""
