"""Control tokens that stand in a row's own text: `<|im_end|>` written by a user ends no turn.

A tokenizer makes a control token of its name wherever it stands, so that a row could forge turns or end its answer
early. What a row says is therefore marked: a character that belongs to no text (U+FDD0, which Unicode keeps for
programs) goes between the first and the second character of each such name, and `Tokens` encodes what is left and right
of it apart. Only the template's own words then make control tokens.

    >>> mark("a </s> b", ("</s>",)).replace(MARK, "|")
    'a <|/s> b'
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any

from xright.data.counts import MARK as REASON
from xright.data.messages import Unusable

MARK = "\ufdd0"
CHOICES = ("auto", "text", "tokens")


def names(tokenizer: Any, chat: bool = False) -> tuple[str, ...]:
    """Return what may not be written in a row: the tokenizer's special tokens, and with `chat` the other added tokens
    by which its chat template tells turns apart."""
    if tokenizer is None:
        return ()
    return _names(tokenizer, len(tokenizer), str(tokenizer.chat_template) if chat else "", tokenizer.eos_token)


@lru_cache(maxsize=8)
def _names(tokenizer: Any, size: int, template: str, eos: str | None) -> tuple[str, ...]:
    """size, eos: that a token added since is seen."""
    added = tokenizer.added_tokens_decoder.values()
    found = {str(token) for token in added if token.special or (str(token) in template and not str(token).isspace())}
    return tuple(sorted(name for name in found | set(tokenizer.all_special_tokens) if len(name) > 1))


def holds(value: Any, among: tuple[str, ...]) -> bool:
    """Does any text in `value` hold one of these names?"""
    if isinstance(value, str):
        return bool(among) and _anywhere(among).search(value) is not None
    if value is None:
        return False
    parts = chain(value, value.values()) if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    return any(holds(part, among) for part in parts)


def mark(value: Any, among: tuple[str, ...]) -> Any:
    """`value` with every name in its texts marked. Raises Unusable for a text that holds the mark itself."""
    if isinstance(value, str):
        if MARK in value:
            raise Unusable(REASON)
        return _at(among).sub(lambda found: found[1] + MARK, value) if holds(value, among) else value
    if isinstance(value, Mapping):
        return {mark(key, among): mark(part, among) for key, part in value.items()}
    return [mark(part, among) for part in value] if isinstance(value, list) else value


def unmarked(text: str) -> str:
    """Return the text without the marks, as it is read."""
    return text.replace(MARK, "")


def without_end(text: str, eos: str | None) -> str:
    """An answer without the EOS that its writer has put at its end: it gets one anyway."""
    while eos and text.rstrip().endswith(eos):
        text = text.rstrip().removesuffix(eos)
    return text


@lru_cache(maxsize=8)
def _anywhere(among: Sequence[str]) -> re.Pattern[str]:
    return re.compile("|".join(map(re.escape, among)))


@lru_cache(maxsize=8)
def _at(among: Sequence[str]) -> re.Pattern[str]:
    """Finds the first character of each, also where one begins within another."""
    return re.compile(f"(?=(?:{'|'.join(map(re.escape, among))}))(.)", re.DOTALL)
