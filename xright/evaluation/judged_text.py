"""A prompt and the answer it got, written as one text for a model that judges the answer.

Text in the place of {prompt} and {answer}; or `chat`: both as a conversation, in the judge's own chat template. The
role tag that answers in hh-rlhf's form begin with is no part of what is said.

>>> Pair("Human: {prompt}\\n\\nAssistant: {answer}").write(None, "Hi.", "Assistant: Hello!")
'Human: Hi.\\n\\nAssistant: Hello!'
"""

import re
from typing import Any

from xright.data.templates import Template
from xright.errors import UserError

SLOT = re.compile(r"\{(prompt|answer)\}")
ROLE = "Assistant:"


class Pair:
    """spec: `chat`, or text with {answer} and usually {prompt}; UserError for any other."""

    def __init__(self, spec: str) -> None:
        if spec != "chat" and "{answer}" not in str(spec):
            raise UserError(
                f"text={spec!r} shows no answer to the judge; use chat, or text with {{prompt}} and {{answer}}."
            )
        self.spec = spec
        self.is_chat = spec == "chat"

    def __repr__(self) -> str:
        return f"Pair({self.spec!r})"

    def write(self, tokenizer: Any, prompt: str, answer: str) -> str:
        """The text. UserError where a chat template is asked for and the tokenizer has none."""
        values = {"prompt": prompt.lstrip(), "answer": said(answer)}  # hh-rlhf's prompts begin with blank lines
        if not self.is_chat:
            return SLOT.sub(lambda slot: values[slot[1]], self.spec)
        Template("chat").check(tokenizer)
        turns = [{"role": "user", "content": values["prompt"]}, {"role": "assistant", "content": values["answer"]}]
        return tokenizer.apply_chat_template(turns, tokenize=False)


def said(answer: str) -> str:
    """The answer without role tag and surrounding white space."""
    return answer.strip().removeprefix(ROLE).strip()


def plain(answer: str) -> str:
    """What is said, in lower case and with straight apostrophes.

    >>> plain("Assistant: I’m sorry.")
    "i'm sorry."
    """
    return said(answer).replace("’", "'").lower()
