"""One stream as the configuration has it: where its rows are, how they are written out, how many make a step."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from xright.data.kinds import DECLARED, KINDS
from xright.data.tables import fingerprint
from xright.errors import UserError, check_number
from xright.machine.paths import place

NAME = re.compile(r"[A-Za-z_][\w-]*")  # what Hydra takes for a key
OF_SAMPLED = ("prompts", "opening", "rows", "max_new_tokens", "seed")  # keys of streams that the base writes
OF_BOTH = ("kind", "eval_rows", "batch_size", "batch_tokens")


@dataclass(frozen=True)
class Stream:
    """A named stream of rows of one kind. What a configuration leaves out, or null, has the value given here.

    kind: see `kinds.py`. path: file(s) or hub dataset(s), their rows in that order; nothing for a source that makes its
    own rows. blend: of each of these, its share of the rows that are drawn. split, subset: as `datasets` has them.
    eval_path, eval_split: where the evaluation rows are, if they are set apart already (either suffices). columns:
    {canonical name: column}, see `columns.py`. limit: only the first so many rows of `path`. turns: which assistant
    turns of a conversation are learnt, the last or all (of kinds with one response). template: as `Template` takes it.
    batch_size: rows of an optimizer step; batch_tokens: or so many tokens. train_rows, eval_rows: most rows of each
    side; which ones depends on their prompts and data.source.seed, not on their order.

    Of kind sampled, with these keys, eval_rows and a batch size alone: the base writes `rows` training rows, each of at
    most max_new_tokens, drawn from seed. prompts: the stream whose prompts it answers; without it, it writes texts that
    begin with `opening`, or where that is None with the tokenizer's beginning-of-text token.
    """

    name: str
    kind: str
    path: tuple[str, ...] = ()
    split: str = "train"
    subset: str | None = None
    eval_path: tuple[str, ...] = ()
    eval_split: str | None = None
    columns: Mapping[str, str | None] = field(default_factory=dict)
    limit: int | None = None
    blend: tuple[float, ...] = ()
    turns: str = "last"
    template: str = "plain"
    batch_size: int = 8
    batch_tokens: int | None = None
    train_rows: int | None = None
    eval_rows: int | None = None
    prompts: str | None = None
    opening: str | None = None
    rows: int = 512
    max_new_tokens: int = 64
    seed: int = 0

    @property
    def responses(self) -> tuple[str, ...]:
        """Return the names of a canonical row's answers."""
        return KINDS[self.kind].responses

    @property
    def labelled(self) -> bool:
        """Has a row a label?"""
        return KINDS[self.kind].labelled

    @property
    def sampled(self) -> bool:
        """Does the base write the rows?"""
        return KINDS[self.kind].sampled

    @property
    def weighted(self) -> bool:
        """Are some rows drawn more often than others?"""
        return bool(self.blend or self.columns.get("weight"))

    def places(self) -> dict[str, list[tuple[str, str, str | None]]]:
        """{split: [(path, split, subset)]}; none for "eval" where it has to be split off "train"."""
        apart = self.eval_path or (self.path if self.eval_split is not None else ())
        return {
            "train": [(name, self.split, self.subset) for name in self.path],
            "eval": [(name, self.eval_split or self.split, self.subset) for name in apart],
        }

    def fingerprints(self) -> dict[str, list[str]]:
        """Return what identifies the data of each split."""
        return {split: [fingerprint(*place) for place in places] for split, places in self.places().items()}


TEXT = Stream("text", "text")  # of the base stage


def streams_of(node: Any) -> dict[str, Stream]:
    """{name: stream} of `data.streams`, without those that are null; UserError for values that make no sense."""
    given = (
        {name: options for name, options in node.items() if options is not None} if isinstance(node, Mapping) else {}
    )
    if not given:
        raise UserError(f"data.streams={node!r} holds no stream; give at least one, as in conf/data/files.yaml.")
    streams = {name: _stream_of(name, options) for name, options in given.items()}
    read = [name for name, stream in streams.items() if not stream.sampled]
    for stream in streams.values():
        if stream.prompts is not None and stream.prompts not in read:
            raise UserError(
                f"data.streams.{stream.name}.prompts={stream.prompts!r} must be a stream whose rows are read "
                f"({', '.join(read) or 'there is none'}), or null."
            )
    return streams


def _stream_of(name: Any, options: Any) -> Stream:
    key = f"data.streams.{name}"
    if not isinstance(name, str) or not NAME.fullmatch(name) or name == TEXT.name:
        raise UserError(f"{key}: a stream needs a name of letters, digits, _ and -, other than {TEXT.name}.")
    if not isinstance(options, Mapping):
        raise UserError(f"{key}={options!r} is no stream; give its keys, as in conf/stream, or null.")
    known = [field.name for field in fields(Stream)][1:]
    if unknown := set(options) - set(known):
        raise UserError(f"{key} has the unknown key '{min(unknown, key=str)}'; use {', '.join(known)}.")
    if options.get("kind") not in DECLARED:
        raise UserError(f"{key}.kind={options.get('kind')!r} must be {' or '.join(DECLARED)}.")
    given = {key: value for key, value in options.items() if value is not None or key in ("template", "batch_size")}
    _check_sampled(key, given)
    rows, tokens = ("limit", "train_rows", "eval_rows", "rows", "batch_size"), ("batch_tokens", "max_new_tokens")
    for part, unit in (*((part, "rows") for part in rows), *((part, "tokens") for part in tokens)):
        if part in given:
            check_number(f"{key}.{part}", given[part], _at_least_one, f"a whole number of {unit} >= 1")
    for part in {"path", "eval_path"} & set(given):
        given[part] = _names(f"{key}.{part}", given[part])
    if "blend" in given:
        given["blend"] = _shares(f"{key}.blend", given["blend"], len(given.get("path", ())))
    if not isinstance(given.get("columns", {}), Mapping):
        raise UserError(f"{key}.columns={given['columns']!r} must be {{expected: found, …}}.")
    turns = KINDS[given["kind"]].turns
    if given.get("turns", "last") not in turns:
        why = (
            "a label is of one answer"
            if KINDS[given["kind"]].labelled
            else "the sides of a pair differ in their last turn"
        )
        remedy = " or ".join(turns) + ("" if len(turns) > 1 else f": {why}")
        raise UserError(f"{key}.turns={given['turns']!r} must be {remedy}.")
    return Stream(name, **given)


def _check_sampled(key: str, given: Mapping[str, Any]) -> None:
    """UserError for keys that do nothing for rows of this kind, and for two beginnings."""
    sampled = KINDS[given["kind"]].sampled
    good = set(given) & {*OF_SAMPLED, *OF_BOTH} if sampled else set(given) - set(OF_SAMPLED)
    if idle := sorted(set(given) - good):
        does = "which the base writes itself" if sampled else "which are read, and not of kind sampled"
        raise UserError(f"{key}.{idle[0]}={given[idle[0]]!r} does nothing for its rows, {does}; leave it out.")
    if "prompts" in given and "opening" in given:
        raise UserError(f"{key} has prompts and an opening, and a row begins with one of them; leave the other out.")
    if not isinstance(given.get("opening", ""), str):
        raise UserError(f"{key}.opening={given['opening']!r} must be a text, or null.")
    check_number(f"{key}.seed", given.get("seed", 0), lambda x: isinstance(x, int) and x >= 0, "a whole number >= 0")


def _shares(key: str, value: Any, files: int) -> tuple[float, ...]:
    """A number above 0 for each file."""
    numbers = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else []
    good = all(isinstance(one, int | float) and not isinstance(one, bool) and 0 < one < math.inf for one in numbers)
    if not good or len(numbers) != files or files < 2:
        raise UserError(
            f"{key}={value!r} must be a number above 0 for each of several files, and path names {files}: their shares "
            "of the rows that are drawn."
        )
    return tuple(float(one) for one in numbers)


def _names(key: str, value: Any) -> tuple[Any, ...]:
    """Files or data sets, each named once: also by a link to it, or in other words. A node that makes such a name
    (`prepared.py`) is one, too."""
    names = (value,) if isinstance(value, str | Mapping) else tuple(value) if isinstance(value, Sequence) else ()
    if not names or not all(
        isinstance(name, str) or (isinstance(name, Mapping) and "_target_" in name) for name in names
    ):
        raise UserError(f"{key}={value!r:.60} must be a file or a hub dataset, or a list of them.")
    first: dict[str, str] = {}
    for name in (name for name in names if isinstance(name, str)):
        real = os.path.realpath(place(name))  # of a data set of the hub just another word for it
        if real in first:
            raise UserError(
                f"{key} names the same data twice, as '{first[real]}' and '{name}', and their rows would count double; "
                "name them once (a copy of a file is read as a file of its own)."
            )
        first[real] = name
    return names


def _at_least_one(number: object) -> bool:
    return isinstance(number, int) and number >= 1
