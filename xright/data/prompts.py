"""From canonical rows to token ids, with an exact boundary between prompt and response.

The tokens of `prompt` need not be a prefix of the tokens of `prompt + response`: a token may span the
boundary. So the two are tokenised *apart* and concatenated. The boundary is then exact, chosen and
rejected share it, and the prompt has the very tokens that generation feeds. What both say together is the
rendered text: tokens of prompt and response give, decoded, the text as the template wrote it, or what the tokenizer
makes of it as a whole (a normaliser may change it). With tokenizers that treat the beginning of a text in a way of its
own, every row is looked at, otherwise some 500 rows spread over the data; what differs is counted.

Special tokens: `tokens.py`, `control.py`; what a chat template marks as learnt: `generation.py`. Truncation at
max_length cuts responses on the right, EOS included, and never writes over the last token kept. Of kind "text"
everything is learnt: the whole text is the response, the prompt is BOS or nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from tqdm import tqdm

from xright.data.control import names, unmarked
from xright.data.counts import (
    AS_TEXT,
    AS_TOKENS,
    EMPTY,
    EQUAL,
    LEFT_OUT,
    TOO_LONG,
    TRANSCRIPT,
    TWO_ANSWERS,
    UNENDED,
    Counts,
)
from xright.data.messages import CALLS, Prompt, Unusable, ends_with_answer, messages_of
from xright.data.rows import Row, Rows
from xright.data.stream import TEXT, Stream
from xright.data.switches import SWITCHES
from xright.data.templates import Template
from xright.data.tokens import Tokens
from xright.errors import UserError

__all__ = ["Counts", "Row", "Template", "encode", "encoded"]

VERSION = 4  # of all between a data file and its token ids; raise it when any of that changes, or caches go stale
CHUNK = 1000  # rows per call of the tokenizer
BAR_FROM = 5000  # a progress bar for more rows than this
CHECKED = 500  # about how many rows are looked at where the tokenizer is known to keep texts together
FIRST = 4  # prompts of rows kept that are remembered
TRIES = 3  # rows on which a template may show that it makes use of a message's key


def encode(
    rows: Sequence[Mapping[str, Any]],
    stream: Stream,
    template: Template | Mapping[str, Template],
    tokenizer: Any,
    max_length: int,
    split: str = "train",
) -> tuple[Rows, Counts]:
    """Canonical rows as token ids in memory, in their order, and what was dropped; see `encoded`."""
    counts = Counts()
    chunks = encoded(rows, stream, template, tokenizer, max_length=max_length, split=split, counts=counts)
    return Rows.of(row for chunk in chunks for row in chunk), counts


def encoded(
    rows: Sequence[Mapping[str, Any]],
    stream: Stream,
    template: Template | Mapping[str, Template],
    tokenizer: Any,
    max_length: int,
    split: str,
    counts: Counts,
) -> Iterator[list[Row]]:
    """Canonical rows as token ids, a chunk at a time, so that no more than a chunk need be in memory; fills `counts`.

    template: one for all rows, or {stream: template}. A row of kind "text" names the stream whose template
    it takes under the extra key "stream"; without it, it is text as it is. max_length: most tokens of prompt
    + one response. split: for the progress bar and messages. Raises UserError for max_length < 2, a tokenizer
    without EOS or (chat) without template, and if no row is left.
    """
    if isinstance(max_length, bool) or not isinstance(max_length, int) or max_length < 2:
        raise UserError(f"data.max_length={max_length!r} must be a whole number of tokens >= 2.")
    tokens = Tokens(tokenizer)
    counts.take(getattr(rows, "about", None), len(rows))
    stride = 1 if tokens.lead else max(1, len(rows) // CHECKED)
    hidden = None if len(rows) > BAR_FROM else True  # None: tqdm hides the bar where there is no terminal
    with tqdm(total=len(rows), desc=f"tokenise {stream.name}/{split}", disable=hidden) as bar:
        for start in range(0, len(rows), CHUNK):
            chunk = rows[start : start + CHUNK]
            texts = [text for row in chunk if (text := _write(row, stream, template, tokenizer, counts=counts))]
            kept = _tokenise(texts, tokens, max_length, counts, stride=stride)
            counts.kept += len(kept)
            yield kept
            bar.update(len(chunk))
    if not counts.kept:
        sentence = counts.sentence(f"{stream.name}/{split}")
        raise UserError(f"No row is left ({sentence}); check columns and template, or raise max_length.")


@dataclass(frozen=True)
class _Text:
    """A row as the tokenizer gets it. asked: its prompt, before any template. exact: its responses are all that is
    learnt, and get no EOS of ours. beside: what of the row stays as it is, by its name in `Row`."""

    asked: Prompt
    prompt: str
    responses: list[str]
    is_chat: bool
    exact: bool
    beside: Mapping[str, Any]


def _write(
    row: Mapping[str, Any],
    stream: Stream,
    template: Template | Mapping[str, Template],
    tokenizer: Any,
    counts: Counts,
) -> _Text | None:
    """The row with its template applied, or None if it is dropped (and counted)."""
    own = row.get("stream") if stream.kind == TEXT.kind else stream.name
    if own is None:
        template = Template("raw")
    elif not isinstance(template, Template):
        template = template[own]
    responses = [row[name] for name in stream.responses]
    if any(template.is_blank(response) for response in responses):
        counts.drop(EMPTY)
        return None
    exact = stream.kind != TEXT.kind and template.marks(tokenizer)
    try:
        prompt, texts = template.write(tokenizer, row["prompt"], responses, blocks=exact)
        _note_keys(row["prompt"], responses, template, tokenizer, counts=counts)
    except Unusable as reason:
        counts.drop(str(reason))
        return None
    if not template.says_all(tokenizer, row["prompt"], responses, [prompt + text for text in texts]):
        counts.say(LEFT_OUT)
    if template.meets_control_tokens(tokenizer, row["prompt"], responses):
        counts.say(AS_TEXT if template.as_text else AS_TOKENS)
    if note := _two_answers(row["prompt"], template):
        counts.say(note)
    if stream.kind == TEXT.kind:
        prompt, texts = "", [prompt + texts[0]]
    if exact and not all(text.rstrip().endswith(names(tokenizer, chat=True)) for text in texts):
        counts.say(UNENDED)
    beside = {key: row[key] for key in ("label", "drawn") if key in row}
    return _Text(row["prompt"], prompt, texts, template.is_chat, exact=exact, beside=beside)


def _two_answers(prompt: Prompt, template: Template) -> str | None:
    """Return what is to be said of assistant turns that follow each other; a transcript under "raw" is one as it
    stands."""
    if isinstance(prompt, str):
        return TRANSCRIPT if template.adds_turns and ends_with_answer(prompt) else None
    roles = [turn["role"] for turn in messages_of(prompt)] + ["assistant"]
    return TWO_ANSWERS if ("assistant", "assistant") in pairwise(roles) else None


def _note_keys(prompt: Any, responses: list[Any], template: Template, tokenizer: Any, counts: Counts) -> None:
    """Which keys of messages the template makes use of: those of calls and tools, or the row were dropped by now."""
    if isinstance(prompt, str) and all(isinstance(response, str) for response in responses):
        return
    turns = [*messages_of(prompt), *(response for response in responses if isinstance(response, dict))]
    for key in {key: None for turn in turns for key in turn} | ({"tools": None} if isinstance(prompt, dict) else {}):
        if counts.keys.get(key) or counts.tries.get(key, 0) >= TRIES:
            continue
        counts.tries[key] = counts.tries.get(key, 0) + 1
        known = key in ("role", "content", "tools", *CALLS, *SWITCHES)
        counts.keys[key] = known or template.uses(tokenizer, prompt, responses[0], key)


def _tokenise(texts: Sequence[_Text], tokens: Tokens, max_length: int, counts: Counts, stride: int) -> list[Row]:
    """The texts as rows, but for those that are dropped (and counted); every stride-th is looked at again."""
    prompts = tokens.ids([text.prompt for text in texts])
    begins = iter(tokens.ids([response for text in texts if not text.prompt for response in text.responses]))
    goes_on = iter(tokens.after([response for text in texts if text.prompt for response in text.responses]))
    flat = [[next(goes_on if text.prompt else begins) for _ in text.responses] for text in texts]
    _check(texts[::stride], prompts[::stride], flat[::stride], tokens, counts=counts)
    rows = []
    for text, prompt, found in zip(texts, prompts, flat, strict=True):
        responses = [tokens.bare(ids) for ids in found]
        if not text.is_chat:
            prompt = tokens.begin(prompt)
            if not text.prompt:  # of kind text: a BOS that the text has written itself
                responses = [tokens.begin(ids)[len(tokens.bos) :] for ids in responses]
        ended = [not text.exact or ids != written for ids, written in zip(responses, found, strict=True)]
        wholes = [[*ids, tokens.eos] if ends else ids for ids, ends in zip(responses, ended, strict=True)]
        room = max_length - len(prompt)
        cut = tuple(ids[: max(room, 0)] for ids in wholes)
        if not all(responses):
            counts.drop(EMPTY)
        elif room < 1:
            counts.drop(TOO_LONG)
        elif len(cut) == 2 and cut[0] == cut[1]:
            counts.drop(EQUAL)
        else:
            counts.truncated += any(len(ids) > room for ids in wholes)
            labelled = [[int(text.beside["label"])]] if "label" in text.beside else []
            rows.append(Row(row_id(prompt, *cut, *labelled), prompt, cut, **text.beside))
            counts.first += [text.asked] if len(counts.first) < FIRST else []
    return rows


def _check(
    texts: Sequence[_Text],
    prompts: list[list[int]],
    responses: list[list[list[int]]],
    tokens: Tokens,
    counts: Counts,
) -> None:
    """Compares prompt + response with one tokenisation of both: of the tokens it counts, of the text it mends what
    differs (in place), or counts it."""
    joint = iter(tokens.ids([text.prompt + response for text in texts for response in text.responses]))
    for text, prompt, found in zip(texts, prompts, responses, strict=True):
        wholes = [next(joint) for _ in text.responses]
        counts.checked += 1
        counts.merges += any(prompt + ids != whole for ids, whole in zip(found, wholes, strict=True))
        altered = False
        for place, (ids, whole, written) in enumerate(zip(found, wholes, text.responses, strict=True)):
            meant = {unmarked(text.prompt + written), tokens.text(whole)} if prompt + ids != whole else set()
            if meant and tokens.text(prompt + ids) not in meant:
                others = [whole[len(prompt) :]] if whole[: len(prompt)] == prompt else []
                others += [*tokens.after([written.lstrip()]), *tokens.ids([written])]  # a normaliser may join blanks
                good = [other for other in others if tokens.text(prompt + other) in meant]
                found[place] = good[0] if good else ids
                altered |= not good
        counts.altered += altered


def row_id(*parts: list[int]) -> int:
    """63 bits of blake2b over the parts, each led by its length so that the boundary counts too."""
    numbers = [number for part in parts for number in (len(part), *part)]
    digest = hashlib.blake2b(np.asarray(numbers, dtype="<i8").tobytes(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1
