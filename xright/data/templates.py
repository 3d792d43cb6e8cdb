"""How a prompt is written out for the model.

| name     | a prompt becomes                                          | a response                          |
|----------|-----------------------------------------------------------|-------------------------------------|
| raw      | itself (hh-rlhf: "Human: …\\n\\n", "Assistant: …")    | itself                              |
| plain    | "User: {instruction}\\nAssistant: " (the paper's)         | itself                              |
| chat     | the tokenizer's chat template, with its generation prompt | what the template writes for a turn |
|          |                                                           | or marks of it (`generation.py`)    |
| a string | itself with the prompt in place of {instruction}          | itself                              |

A conversation in a template of the second or fourth kind is written as a transcript: turns on lines of their
own, every turn but the first led by its role, and a system message before the first turn, set apart by a
blank line:

    >>> turns = [("user", "Hi"), ("assistant", "Hello!"), ("user", "1 + 1?")]
    >>> Template("plain").render(None, [{"role": role, "content": text} for role, text in turns])
    'User: Hi\\nAssistant: Hello!\\nUser: 1 + 1?\\nAssistant: '

Tools and tool calls are for chat templates; a row that has some, and a template that does not write them, is dropped.
Control tokens in a row's text: `control.py`.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from jinja2.exceptions import TemplateError

from xright.data.control import CHOICES, MARK, holds, mark, names, unmarked, without_end
from xright.data.counts import NO_CALLS, NO_TOOLS, REFUSED, REWRITTEN
from xright.data.generation import cut, has_blocks
from xright.data.messages import CALLS, Answer, Message, Prompt, Unusable, messages_of, text_of
from xright.errors import UserError

log = logging.getLogger(__name__)

PLAIN = "User: {instruction}\nAssistant: "
SLOT = "{instruction}"


class Template:
    """One of "raw", "plain", "chat", or any text that contains "{instruction}".

    control_tokens: what a control token's name in a row becomes. "text": text, so that no row can forge a turn;
    "tokens": that token; "auto": text, but tokens under "raw", whose rows write their own.
    """

    def __init__(self, spec: str, control_tokens: str = "auto") -> None:
        if spec not in ("raw", "plain", "chat") and SLOT not in str(spec):
            raise UserError(f"template={spec!r} is unknown; use raw, plain, chat, or a text containing {SLOT}.")
        if SLOT[:-1] in spec.replace(SLOT, ""):
            raise UserError(f"template={spec!r} asks for more than {SLOT}; a template is text with that slot, no code.")
        if control_tokens not in CHOICES:
            raise UserError(
                f"data.control_tokens={control_tokens!r} must be {', '.join(CHOICES[:-1])} or {CHOICES[-1]}."
            )
        self.spec = with_line_breaks(spec)
        self.is_chat = spec == "chat"
        self.adds_turns = self.spec not in ("raw", SLOT)
        self.as_text = control_tokens == "text" or (control_tokens == "auto" and spec != "raw")

    def __repr__(self) -> str:
        return f"Template({self.spec!r})"

    @property
    def identity(self) -> list[Any]:
        """All that decides what it writes, but for the tokenizer."""
        return [self.spec, self.as_text]

    def check(self, tokenizer: Any) -> None:
        """UserError if this template needs a chat template that the tokenizer has not."""
        found = tokenizer.chat_template if self.is_chat else None
        if self.is_chat and not found:
            raise UserError(
                f"template=chat needs a chat template, and the tokenizer '{tokenizer.name_or_path}' has "
                f"none; use template=plain, or raw for rows that carry their transcript."
            )
        if isinstance(found, dict) and "default" not in found:
            raise UserError(
                f"The tokenizer '{tokenizer.name_or_path}' has the chat templates {', '.join(found)}, but none named "
                f"default; save it with one of them as its chat_template, or use template=plain."
            )

    def render(self, tokenizer: Any, prompt: Prompt) -> str:
        """The prompt exactly as it is fed to the model, in training and in generation alike; `control.unmarked` gives
        it as it is read."""
        turns, tools = self._marked(tokenizer, messages_of(prompt), _tools(prompt))
        if self.is_chat:
            self.check(tokenizer)
            try:
                return _chat(tokenizer, turns, tools, add_generation_prompt=True)
            except Unusable as reason:
                words = str(reason)
                raise UserError(f"{words[:1].upper()}{words[1:]}; use template=plain.") from reason
        if self.spec == "raw":
            if not isinstance(prompt, str):
                raise UserError(
                    "template=raw takes text prompts, but this one is a list of messages; use chat or plain."
                )
            return turns[0]["content"]
        text = turns[0]["content"] if isinstance(prompt, str) else _transcript(turns)
        return (PLAIN if self.spec == "plain" else self.spec).replace(SLOT, text)

    def write(
        self, tokenizer: Any, prompt: Prompt, responses: Sequence[Answer], blocks: bool = False
    ) -> tuple[str, list[str]]:
        """The rendered prompt and what follows it for each response. blocks: of a chat template that `marks` answers,
        what it marks of each response, and all that stands before it.

        Raises Unusable for one with tools or tool calls that the template does not write; and if the chat template
        refuses the conversation, or writes prompt + response so that it does not begin with the rendered prompt (it
        rewrote an earlier turn): where the response begins is then unknown, but for blocks.
        """
        calls = any(key in turn for turn in [*messages_of(prompt), *map(_turn, responses)] for key in CALLS)
        if not self.is_chat:
            for present, reason in ((_tools(prompt), NO_TOOLS), (calls, NO_CALLS)):
                if present:
                    raise Unusable(
                        reason.format(f"template={self.spec}" if self.spec in ("raw", "plain") else "the template")
                    )
            _, answered, _ = self._answered(tokenizer, prompt, responses)
            return self.render(tokenizer, prompt), [turns[-1]["content"] for turns in answered]
        self.check(tokenizer)
        turns, answered, tools = self._answered(tokenizer, prompt, responses)
        start = _chat(tokenizer, turns, tools, add_generation_prompt=True)
        wholes = [_chat(tokenizer, turns, tools) for turns in answered]
        if not blocks and not all(whole.startswith(start) for whole in wholes):
            raise Unusable(REWRITTEN)
        if tools and not _differs(tokenizer, answered[:1], None, wholes):
            raise Unusable(NO_TOOLS.format("the chat template"))
        if calls and not _differs(tokenizer, [_without(turns, CALLS) for turns in answered], tools, wholes):
            raise Unusable(NO_CALLS.format("the chat template"))
        return cut(tokenizer, answered, tools, start) if blocks else (start, [whole[len(start) :] for whole in wholes])

    def marks(self, tokenizer: Any) -> bool:
        """Does the chat template say, by `{% generation %}`, what of an answer is learnt? (`generation.py`)"""
        return self.is_chat and has_blocks(tokenizer.chat_template)

    def uses(self, tokenizer: Any, prompt: Prompt, response: Answer, key: str) -> bool:
        """Would it write the row otherwise if its messages had no such key?"""
        if not self.is_chat:
            return False
        turns, tools = [*messages_of(prompt), _turn(response)], _tools(prompt)
        return _differs(tokenizer, [_without(turns, [key])], tools, [_chat(tokenizer, turns, tools)])

    def says_all(self, tokenizer: Any, prompt: Prompt, responses: Sequence[Answer], wholes: Sequence[str]) -> bool:
        """Does `wholes`, as it writes them, hold the text of every turn? White space around one does not count. A chat
        template may pass over roles (system, tool), or cut what stands before `</think>`."""
        turns, answers = messages_of(prompt), [self._ended(tokenizer, _turn(response)) for response in responses]
        texts = [([*turns, answer], unmarked(whole)) for answer, whole in zip(answers, wholes, strict=True)]
        return all(turn["content"].strip() in text for said, text in texts for turn in said)

    def meets_control_tokens(self, tokenizer: Any, prompt: Prompt, responses: Sequence[Answer]) -> bool:
        """Are any written in the row's own texts, but for an EOS at the end of an answer?"""
        answers = [self._ended(tokenizer, _turn(response)) for response in responses]
        return holds([messages_of(prompt), _tools(prompt), answers], names(tokenizer, self.is_chat))

    def is_blank(self, response: Answer) -> bool:
        """Nothing to learn: no text, or (raw: hh-rlhf rows) the bare role tag."""
        if not isinstance(response, str) and any(key in response for key in CALLS):
            return False
        return text_of(response).strip() in ("", "Assistant:" if self.spec == "raw" else "")

    def _answered(
        self, tokenizer: Any, prompt: Prompt, responses: Sequence[Answer]
    ) -> tuple[list[Message], list[list[Message]], Any]:
        """The prompt's turns, the same with each answer, and the tools: control tokens marked."""
        turns, tools = self._marked(tokenizer, messages_of(prompt), _tools(prompt))
        answers = self._marked(tokenizer, [self._ended(tokenizer, _turn(response)) for response in responses], None)[0]
        return turns, [[*turns, answer] for answer in answers], tools

    def _marked(self, tokenizer: Any, turns: list[Message], tools: Any) -> tuple[list[Message], Any]:
        """Turns and tools with the control tokens in their texts marked, and answers without an EOS at their end."""
        if not self.as_text or tokenizer is None:
            return turns, tools
        answer, other = names(tokenizer), names(tokenizer, self.is_chat)
        if not holds([turns, tools], (*other, MARK)):
            return turns, tools
        said = [self._ended(tokenizer, turn) for turn in turns]
        return [mark(turn, answer if turn["role"] == "assistant" else other) for turn in said], mark(tools, other)

    def _ended(self, tokenizer: Any, turn: Message) -> Message:
        """An assistant's turn without an EOS that its writer has put at its end, if that would be text."""
        if not self.as_text or tokenizer is None or turn["role"] != "assistant":
            return turn
        return {**turn, "content": without_end(turn["content"], tokenizer.eos_token)}


@lru_cache
def with_line_breaks(spec: str, key: str = "template") -> str:
    """Return a text of the configuration with its line breaks: a shell hands on `\\n` as two characters; who wants
    those writes `\\\\n`."""
    text = re.sub(r"\\(\\?)n", lambda found: r"\n" if found[1] else "\n", spec)
    if text != spec:
        log.warning("%s=%r: \\n is taken for a line break; a backslash and an n are written \\\\n", key, spec)
    return text


def _chat(tokenizer: Any, turns: list[Message], tools: Any, add_generation_prompt: bool = False) -> str:
    """Return what the chat template makes of a conversation; Unusable, with the template's own words, where it
    fails."""
    options = {"tokenize": False, "add_generation_prompt": add_generation_prompt}
    try:
        return tokenizer.apply_chat_template(turns, tools=tools, **options)
    except Exception as error:  # raise_exception() in the template, a filter that takes no None, an undefined name, …
        words = str(error).strip().splitlines() or [""]
        kind = "" if isinstance(error, TemplateError) else f"{type(error).__name__}: "
        raise Unusable(REFUSED.format(f"{kind}{words[0]:.120}")) from error


def _differs(tokenizer: Any, conversations: list[list[Message]], tools: Any, wholes: list[str]) -> bool:
    """Is every one of these conversations written otherwise than the whole one, or not at all?"""
    for turns, whole in zip(conversations, wholes, strict=False):
        try:
            if _chat(tokenizer, turns, tools) == whole:
                return False
        except Unusable:
            continue
    return True


def _without(turns: list[Message], keys: Sequence[str]) -> list[Message]:
    return [{key: value for key, value in turn.items() if key not in keys} for turn in turns]


def _turn(response: Answer) -> Message:
    return {"role": "assistant", "content": response} if isinstance(response, str) else response


def _tools(prompt: Prompt) -> Any:
    return prompt["tools"] if isinstance(prompt, dict) else None


def _transcript(turns: list[Message]) -> str:
    text, first = "", True
    for turn in turns:
        if turn["role"] == "system":
            text += turn["content"] + "\n\n" if first else f"\n{turn['content']}"
        else:
            text += turn["content"] if first else f"\n{turn['role'].capitalize()}: {turn['content']}"
            first = False
    return text
