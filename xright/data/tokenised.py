"""Rows tokenised once: a stage of the cache, its tokens in one memory-mapped file.

`$XRIGHT_CACHE/tokens/<hash>/` holds `tokens.bin` (int32, rows one after another), `ids.npy` (N,), `lengths.npy` (N, S),
`labels.npy` (N,) where rows have labels, `drawn.npy` (N, 2) where they are drawn by weights or files, and in
`result.json` what is said about the rows. The key is all that the tokens depend on: the data's fingerprints and how
they are split, templates, tokenizer, max_length, and the versions of what computes. Rows of a source that has no
identity (the generated world, which is quicker made than read) are tokenised in memory at every start.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from xright.cache import cached_stage
from xright.data.prompts import VERSION, Counts, encode, encoded
from xright.data.rows import Row, Rows, chances, open_tokens, starts
from xright.data.stream import TEXT, Stream
from xright.data.templates import Template
from xright.data.tokenizer_identity import chat_identity, tokenizer_identity
from xright.errors import UserError

LIBRARIES = ("datasets", "tokenizers", "transformers")  # a new version may read or cut a text in another way


@dataclass(frozen=True)
class Tokenised:
    """A split of a stream. notes: what else is to be said."""

    rows: Rows
    counts: Counts
    notes: list[str]


def tokenised(
    source: Any, stream: Stream, split: str, templates: Mapping[str, Template], tokenizer: Any, max_length: int
) -> Tokenised:
    """Return the rows from the cache, or tokenise them now. Raises UserError as the source and `encode` do, and
    for a damaged entry."""
    if not hasattr(source, "identity"):
        rows = source.rows(stream.name, split)
        return Tokenised(*encode(rows, stream, templates, tokenizer, max_length=max_length, split=split), [])
    used = {name: template for name, template in templates.items() if stream.name == name or stream.kind == TEXT.kind}
    key = {
        "source": source.identity(stream.name, split),
        "stream": stream.name,
        "split": split,
        "templates": {name: template.identity for name, template in used.items()},
        "chat": chat_identity(tokenizer) if any(template.is_chat for template in used.values()) else None,
        **({"generation": 1} if stream.kind != TEXT.kind and used[stream.name].marks(tokenizer) else {}),
        "tokenizer": tokenizer_identity(tokenizer),
        "max_length": max_length,
        **({"drawn": True} if stream.weighted else {}),
        "versions": {"encoding": VERSION, **{name: version(name) for name in LIBRARIES}},
    }

    def build(folder: Path) -> dict[str, Any]:
        counts, rows = Counts(), source.rows(stream.name, split)
        write(folder, encoded(rows, stream, templates, tokenizer, max_length=max_length, split=split, counts=counts))
        return {"counts": asdict(counts), "notes": source.notes(stream.name, split)}

    stage = cached_stage("tokens", key, build, alone=True)
    counts = Counts(**stage.result["counts"])
    rows = read(stage.folder, counts.kept, stream.labelled)
    if stream.weighted and split == "train":
        rows = replace(rows, chances_N=_chances(stage.folder, stream))
    return Tokenised(rows, counts, stage.result["notes"])


def _chances(folder: Path, stream: Stream) -> np.ndarray:
    """How often each row of a folder is drawn. UserError for a file of a blend of which no row is left."""
    drawn_N2 = np.load(folder / "drawn.npy")
    for number, share in enumerate(stream.blend):
        if not (drawn_N2[:, 1] == number).any():
            raise UserError(
                f"data.streams.{stream.name}.blend gives {stream.path[number]!r} the share {share:g}, and no row of it "
                "is left; take it out of path and blend, or see why its rows went."
            )
    return chances(drawn_N2, stream.blend)


def write(folder: Path, chunks: Iterable[Sequence[Row]]) -> None:
    """Rows into a folder, a chunk in memory at a time."""
    ids, lengths, labels, drawn = [], [], [], list[tuple[float, int]]()
    with (folder / "tokens.bin").open("wb") as file:
        for chunk in chunks:
            if chunk:
                rows = Rows.of(chunk)
                rows.tokens[0].astype("<i4").tofile(file)
                ids.append(rows.ids_N)
                lengths.append(rows.lengths_NS)
                labels += [] if rows.labels_N is None else [rows.labels_N]
                drawn += [row.drawn for row in chunk if row.drawn]
    np.save(folder / "ids.npy", np.concatenate(ids))
    np.save(folder / "lengths.npy", np.concatenate(lengths))
    if labels:
        np.save(folder / "labels.npy", np.concatenate(labels))
    if drawn:
        np.save(folder / "drawn.npy", np.array(drawn))


def read(folder: Path, n_rows: int, labelled: bool = False) -> Rows:
    """The rows in a folder. UserError if it does not hold all `n_rows` of them to the last token."""
    try:
        ids_N, lengths_NS = np.load(folder / "ids.npy"), np.load(folder / "lengths.npy")
        tokens = open_tokens(folder / "tokens.bin")
        labels_N = np.load(folder / "labels.npy") if labelled else None
        counts = {len(part) for part in (ids_N, lengths_NS, labels_N) if part is not None}
        whole = counts == {n_rows} and len(tokens) == lengths_NS.sum()
        reason = "not all rows are there"
    except (OSError, ValueError, EOFError) as error:
        whole, reason = False, str(error)
    if not whole:
        raise UserError(f"The tokenised rows in {folder} are damaged ({reason}); delete that folder and start again.")
    return Rows((tokens,), ids_N, starts(lengths_NS), lengths_NS, labels_N=labels_N)
