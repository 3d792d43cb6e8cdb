"""What is compared: inputs and responses of both data sets as text."""

import re
from collections.abc import Mapping
from typing import Any

from xright.data.messages import Prompt, messages_of, text_of
from xright.data.sources import Files
from xright.data.stream import streams_of
from xright.errors import UserError

KINDS = {"sft": "completions", "preference": "pairs"}
Texts = dict[str, tuple[list[str], list[str]]]  # {"sft": (inputs, responses), "preference": (inputs, responses)}


def read_texts(sft: Any, preference: Any, answer: str, strip: str | None) -> Texts:
    """All rows of both data sets, without what `strip` matches; all white space counts as one blank,
    since line breaks between turns or fields are layout, and by their number would outweigh words.

    sft, preference: a path, paths, or the options of a stream. answer: "chosen" or "rejected", whose text is a pair's
    response. UserError for data that cannot be read and for a regular expression that is none.
    """
    try:
        pattern = re.compile(strip or "(?!)")  # which matches nothing
    except re.error as error:
        raise UserError(f"strip={strip!r} is no regular expression ({error}); mend it or leave it out.") from error

    def words(text: str) -> str:
        return " ".join(pattern.sub("", text).split())

    given = {
        name: {**(data if isinstance(data, Mapping) else {"path": data}), "kind": KINDS[name]}
        for name, data in (("sft", sft), ("preference", preference))
    }
    source, found = Files(streams_of(given), heldout=0.0), {}
    for stream, response in (("sft", "response"), ("preference", answer)):
        rows = source.rows(stream, "train")
        found[stream] = ([words(_text(row["prompt"])) for row in rows], [words(text_of(row[response])) for row in rows])
    return found


def _text(prompt: Prompt) -> str:
    return prompt if isinstance(prompt, str) else "\n".join(turn["content"] for turn in messages_of(prompt))
