"""Where rows come from: the interface, and the user's own files or hub datasets.

Reading is `tables.py`, canonical rows `columns.py`, and what is held out for evaluation `heldout.py`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Protocol

from transformers import PreTrainedTokenizerBase

from xright.data.columns import detect, normalise, prompt_words
from xright.data.heldout import Rows, capped, split
from xright.data.tables import Table, read
from xright.errors import UserError

log = logging.getLogger(__name__)


class Source(Protocol):
    """Rows for each stream and split, in a fixed order."""

    def rows(self, stream: str, split: str) -> Rows:
        """split "train" or "eval" of a stream:

        sft: prompt, response. preference: prompt, chosen, rejected. Responses are text, a prompt is text or
        messages. text (train only): prompt, response, and all tokens of both are learnt. Either the prompt is
        "" and the response the whole text, or a key "stream" names the stream whose template joins the two.
        """

    def tokenizer(self) -> PreTrainedTokenizerBase | None:
        """The tokenizer these rows call for, if they call for one."""


@dataclass(frozen=True)
class Stream:
    """One stream's data, as named in the yaml.

    path: file(s) or hub dataset(s), their rows in that order. split, subset: as `datasets` has them.
    eval_path, eval_split: where the evaluation rows are, if they are set apart already (either suffices).
    columns: {canonical name: column}, see `columns.py`. limit: only the first so many rows of `path`.
    """

    path: tuple[str, ...]
    split: str = "train"
    subset: str | None = None
    eval_path: tuple[str, ...] | None = None
    eval_split: str | None = None
    columns: dict[str, str] | None = None
    limit: int | None = None

    def tables(self, split: str) -> list[Table]:
        """The tables behind one split; none for "eval" where it has to be split off "train"."""
        if split == "train":
            return [read(name, self.split, self.subset) for name in self.path]
        if self.eval_path is None and self.eval_split is None:
            return []
        names = self.path if self.eval_path is None else self.eval_path
        return [read(name, self.eval_split or self.split, self.subset) for name in names]


class Files:
    """Rows from local files (jsonl, json, csv, parquet, arrow; gz) or the hub.

    heldout: share of the prompts, in [0, 1), kept for evaluation where a stream names no evaluation data.
    eval_rows: {stream: most evaluation rows}; which ones depends on their prompts, not on their order.
    """

    def __init__(
        self,
        sft: Mapping[str, Any] | None,
        preference: Mapping[str, Any] | None,
        heldout: float = 0.05,
        eval_rows: Mapping[str, int] | None = None,
        seed: int = 0,
    ) -> None:
        if not 0 <= heldout < 1:
            raise UserError(f"data.heldout={heldout} must lie in [0, 1): the share of prompts kept for evaluation.")
        given = {"sft": sft, "preference": preference}
        self.streams = {name: _stream(name, options) for name, options in given.items() if options is not None}
        if not self.streams:
            raise UserError("Neither data.sft nor data.preference names any data; set the path of at least one.")
        self.heldout, self.seed = heldout, seed
        self.eval_rows = {name: n for name, n in (eval_rows or {}).items() if n is not None}
        for name, n in self.eval_rows.items():
            if name not in given or n < 1:
                raise UserError(f"data.eval_rows.{name}={n} must cap sft or preference, at 1 row or more.")
        self._splits: dict[str, dict[str, Rows]] = {}

    def __repr__(self) -> str:
        return f"Files({self.streams}, heldout={self.heldout}, eval_rows={self.eval_rows}, seed={self.seed})"

    def rows(self, stream: str, split: str) -> Rows:
        """See Source. Raises UserError if the stream has no data, or none in this split."""
        if stream == "text":
            if split != "train":
                raise UserError(f"Stream text has no split '{split}'; it is made of training rows only.")
            return [
                {"prompt": row["prompt"], "response": row[answer], "stream": name}
                for name, answer in (("sft", "response"), ("preference", "chosen"))
                if name in self.streams
                for row in self.rows(name, "train")
            ]
        if stream not in self.streams:
            raise UserError(f"No {stream} data is set; set data.{stream}.path, or choose a method without it.")
        rows = self._load(stream)[split]
        if not rows:
            raise UserError(
                f"No {split} row is left of data.{stream} {list(self.streams[stream].path)} with "
                f"heldout={self.heldout}; change data.heldout, or set data.{stream}.eval_path."
            )
        return rows

    def tokenizer(self) -> None:
        """None: files go with any tokenizer."""

    def _load(self, stream: str) -> dict[str, Rows]:
        """Both splits of a stream, read once."""
        if stream not in self._splits:
            options = self.streams[stream]
            columns = options.columns or {}
            train = _canonical(options.tables("train"), stream, columns, options.limit)
            apart = _canonical(options.tables("eval"), stream, columns, None)
            if apart:
                _warn_of_shared_prompts(stream, train, apart)
            else:
                train, apart = split(train, self.heldout, self.seed)
            evaluation = capped(apart, self.eval_rows.get(stream), self.seed)
            self._splits[stream] = {"train": train, "eval": evaluation}
        return self._splits[stream]


def _stream(name: str, options: Mapping[str, Any]) -> Stream:
    """The options as given in the yaml, null meaning the default; UserError for those that make no sense."""
    known = [field.name for field in fields(Stream)]
    unknown = set(options) - set(known)
    if unknown:
        raise UserError(f"data.{name} has the unknown key '{min(unknown)}'; use {', '.join(known)}.")
    given = {key: value for key, value in options.items() if value is not None}
    if not given.get("path"):
        raise UserError(f"data.{name} has no path; set data.{name}.path to a file or a hub dataset.")
    if given.get("limit", 1) < 1:
        raise UserError(f"data.{name}.limit={given['limit']} must be at least 1 row, or null for all.")
    for key in {"path", "eval_path"} & set(given):
        given[key] = (given[key],) if isinstance(given[key], str) else tuple(given[key])
    if "columns" in given:
        given["columns"] = dict(given["columns"])
    return Stream(**given)


def _canonical(tables: list[Table], stream: str, mapping: Mapping[str, str], limit: int | None) -> Rows:
    """The tables' first `limit` rows in canonical form; unusable ones are dropped, with a count."""
    rows: Rows = []
    left = limit
    for table in tables:
        columns = detect(stream, table.dataset.column_names, mapping, table.where)
        data = table.dataset.select_columns(list(columns.values()))
        if left is not None:
            data = data.select(range(min(left, len(data))))
            left -= len(data)
        found = [normalise(row, columns, f"row {i} of '{table.where}'") for i, row in enumerate(data.to_list())]
        usable = [row for row in found if row is not None]
        if len(usable) < len(found):
            what = (
                f"{len(found) - len(usable)} of {len(found)} conversations in '{table.where}' do not end in "
                f"one assistant turn after a shared prompt"
            )
            if not usable:
                raise UserError(f"{what}; check the columns and the roles of the messages.")
            log.warning("%s: dropped", what)
        rows += usable
    return rows


def _warn_of_shared_prompts(stream: str, train: Rows, apart: Rows) -> None:
    seen = {prompt_words(row["prompt"]) for row in train}
    shared = sum(prompt_words(row["prompt"]) in seen for row in apart)
    if shared:
        log.warning("%s: the prompts of %d of %d evaluation rows are trained on too", stream, shared, len(apart))
