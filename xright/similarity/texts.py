"""What is compared: inputs and responses of both data sets as text, and the measures that make vectors of them."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from xright import models
from xright.data.messages import Prompt, messages_of, text_of
from xright.data.sources import Files
from xright.data.stream import streams_of
from xright.errors import UserError
from xright.similarity.embed import Embedder
from xright.similarity.vectors import Bags, Vectors

ANSWERS = ("chosen", "rejected")
Texts = dict[str, tuple[list[str], list[str]]]  # {"sft": (inputs, responses), "preference": (inputs, responses)}
Measure = Callable[[Sequence[str]], Vectors]


def read_texts(sft: Any, preference: Any, answer: str, strip: str | None) -> Texts:
    """All rows of both data sets, without what `strip` matches; all white space counts as one blank,
    since line breaks between turns or fields are layout, and by their number would outweigh words.

    sft, preference: a path, paths, or the options of a stream as in conf/stream. UserError for data that
    cannot be read, and for an answer or a regular expression that is none.
    """
    if answer not in ANSWERS:
        raise UserError(f"answer={answer!r} is no side of a pair; use {' or '.join(ANSWERS)}.")
    try:
        pattern = re.compile(strip) if strip else None
    except re.error as error:
        raise UserError(f"strip={strip!r} is no regular expression ({error}); mend it or leave it out.") from error
    given = {"sft": _options("sft", sft), "preference": _options("preference", preference)}
    kinds = zip(given.items(), ("completions", "pairs"), strict=True)
    source = Files(streams_of({name: {**options, "kind": kind} for (name, options), kind in kinds}), heldout=0.0)
    found = {}
    for stream, response in zip(given, ("response", answer), strict=True):
        rows = [(_text(row["prompt"]), text_of(row[response])) for row in source.rows(stream, "train")]
        sides = (
            [_words(pattern.sub("", text) if pattern else text) for text in side] for side in zip(*rows, strict=True)
        )
        found[stream] = (next(sides), next(sides))
    return found


def measures(
    tokenizer: str | None, model: str | None, batch_size: int, max_length: int
) -> Iterator[tuple[str, Measure]]:
    """("tokens", counts of the tokenizer's tokens), and if a model is named ("model", its embeddings), one at a time.

    UserError where neither is named, or cannot be loaded.
    """
    named = tokenizer or model
    if named is None:
        raise UserError(
            "tokenizer and model are both null; name a tokenizer's folder (or hub name), a model's, or both."
        )
    tokens = models.load_tokenizer(named)
    yield (
        "tokens",
        lambda texts: Bags(
            tokens(list(texts), add_special_tokens=False, truncation=False, verbose=False)["input_ids"], len(tokens)
        ),
    )
    if model is not None:
        yield "model", Embedder(model, batch_size, max_length)


def _options(stream: str, given: Any) -> Mapping[str, Any]:
    if given is None or (not isinstance(given, Mapping) and not given):
        raise UserError(f"{stream} names no data; give {stream}=FILE (or a list of files, or a hub dataset).")
    return given if isinstance(given, Mapping) else {"path": given}


def _text(prompt: Prompt) -> str:
    return prompt if isinstance(prompt, str) else "\n".join(turn["content"] for turn in messages_of(prompt))


def _words(text: str) -> str:
    return " ".join(text.split())
