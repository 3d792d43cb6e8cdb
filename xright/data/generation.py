"""What a chat template itself says is learnt: the text within its `{% generation %}` blocks.

A template that has the tag (those that TRL calls training templates, and many on the hub) is taken at its word: of each
answer exactly its block is learnt, and whatever stands before the block is prompt, also where the generation prompt
differs from it. The blocks are read as places in the rendered text, so that any tokenizer will do, fast or slow, and
the boundary is as exact as everywhere (`prompts.py`). What follows the tokenizer's EOS within a block (the line break
of ChatML) is not learnt: no generation gets there.

A block that leaves the end-of-turn token out is obeyed, too: nothing then teaches the model to stop, which the log says
(`counts.UNENDED`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from os.path import commonprefix
from typing import Any

from transformers.utils.chat_template_utils import render_jinja_template

from xright.data.counts import BLOCKS
from xright.data.messages import Message, Unusable

TAG = re.compile(r"\{%[-+]?\s*generation\s*[-+]?%\}")
COMMENT = re.compile(r"\{#.*?#\}", re.DOTALL)


def has_blocks(template: Any) -> bool:
    """Tell whether a tokenizer's `chat_template` (a text, or several by name) has the tag, comments aside."""
    texts = template.values() if isinstance(template, dict) else [template or ""]
    return any(TAG.search(COMMENT.sub("", text)) for text in texts)


def cut(tokenizer: Any, conversations: Sequence[list[Message]], tools: Any, start: str) -> tuple[str, list[str]]:
    """The prompt that these answered conversations share, and the block of each one's answer.

    start: the rendered prompt. A block is the answer's if it ends after what both have in common, so that one which
    holds the answer's header is, too. Blocks that touch are one. Raises Unusable where an answer has no block or
    several, and where the blocks begin after different prompts.
    """
    parts = [_cut(tokenizer, turns, tools, start) for turns in conversations]
    if len({prompt for prompt, _ in parts}) != 1:
        raise Unusable(BLOCKS)
    return parts[0][0], [text for _, text in parts]


def _cut(tokenizer: Any, turns: list[Message], tools: Any, start: str) -> tuple[str, str]:
    rendered: Any = render_jinja_template(  # ([text], [[(begin, end) of each block]]), whatever its annotation says
        conversations=[turns],
        tools=tools,
        chat_template=tokenizer.get_chat_template(None, tools),
        return_assistant_tokens_mask=True,
        **tokenizer.special_tokens_map,
    )
    (whole,), (blocks,) = rendered
    same = len(commonprefix([start, whole]))  # noqa: RUF071 (characters are meant)
    own = [block for block in blocks if block[1] > max(block[0], same)]
    if not own or any(end != begin for (_, end), (begin, _) in pairwise(own)):
        raise Unusable(BLOCKS)
    begin, end = own[0][0], own[-1][1]
    return whole[:begin], whole[begin:end]
