"""Where rows come from: the interface, and the user's own files or hub datasets.

Reading is `tables.py`, canonical rows `columns.py` and `canonical.py`, what is held out for evaluation `heldout.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from transformers import PreTrainedTokenizerBase

from xright.data.canonical import Canonical, LazyRows, Survey, Tables
from xright.data.counts import BEYOND, BEYOND_HELD_OUT, About
from xright.data.heldout import capped, split
from xright.data.stream import TEXT, Stream
from xright.data.tables import read
from xright.errors import UserError, check_number


class Source(Protocol):
    """Rows for each stream and split, in a fixed order. It is made with `streams`, {name: Stream}, beside what its node
    of the configuration says.

    A source may also have `identity(stream, split)`, what its rows depend on as plain data: their tokens are then kept
    in the cache. And with it `notes(stream, split)`: what is to be said about the rows whenever they are used. By its
    `seed`, or 0, `eval_on=train_sample` draws.
    """

    def rows(self, stream: str, split: str) -> Sequence[Canonical]:
        """split "train" or "eval" of a stream: canonical rows of its kind (`kinds.py`).

        Beside the declared ones there is "text" (train only), of which all tokens are learnt. Either the prompt is ""
        and the response the whole text, or a key "stream" names the stream whose template joins them.
        """

    def tokenizer(self) -> PreTrainedTokenizerBase | None:
        """The tokenizer these rows call for, if they call for one."""


@dataclass(frozen=True)
class _Split:
    """One split of a stream: its rows, and what is to be said about them."""

    rows: LazyRows
    notes: list[str]


class Files:
    """Rows from local files (jsonl, json, csv, parquet, arrow; gz) or the hub.

    heldout: share of the prompts, in [0, 1), kept for evaluation where a stream names no evaluation data.
    """

    def __init__(self, streams: Mapping[str, Stream] | None = None, heldout: float = 0.05, seed: int = 0) -> None:
        share = "in [0, 1): the share of prompts kept for evaluation"
        check_number("data.source.heldout", heldout, lambda x: 0 <= x < 1, share)
        check_number("data.source.seed", seed, lambda x: isinstance(x, int), "a whole number")
        self.streams, self.heldout, self.seed = streams or {}, heldout, seed
        for key in (f"data.streams.{name}" for name, stream in self.streams.items() if not stream.path):
            raise UserError(f"{key} has no path; set {key}.path to a file or a hub dataset, or {key}=null.")
        self._fingerprints: dict[str, dict[str, list[str]]] = {}
        self._splits: dict[str, dict[str, _Split]] = {}

    def __repr__(self) -> str:
        return f"Files({self.streams}, heldout={self.heldout}, seed={self.seed})"

    def rows(self, stream: str, split: str) -> Sequence[Canonical]:
        """See Source. Raises UserError if the stream has no data, or none in this split."""
        if stream == TEXT.name:
            if split != "train":
                raise UserError(f"Stream text has no split '{split}'; it is made of training rows only.")
            return _as_text([(own, self.rows(name, "train")) for name, own in self.streams.items()])
        rows = self._load(stream)[split].rows
        if not rows:
            move = "raise" if split == "eval" else "lower"
            raise UserError(
                f"No {split} row is left of data.streams.{stream} {list(self.streams[stream].path)} with "
                f"heldout={self.heldout}; {move} data.source.heldout, or set data.streams.{stream}.eval_path."
            )
        return rows

    def identity(self, stream: str, split: str) -> dict[str, Any]:
        """All that `rows` depends on, as plain data; files are hashed, not read."""
        if stream == TEXT.name:
            return {"streams": [[name, self.identity(name, split)] for name in self.streams]}  # in their order
        options, data = self.streams[stream], self._data(stream)
        heldout = None if data["eval"] else {"share": self.heldout, "seed": self.seed}
        found: dict[str, Any] = {
            "data": data["train"],
            "kind": options.kind,
            "columns": dict(options.columns),
            "limit": options.limit,
            "heldout": heldout,
        }
        found |= {"turns": options.turns, "by_opening": self._by_opening()}
        if split == "train" and options.train_rows is not None:
            found |= {"train_rows": options.train_rows, "seed": self.seed}
        if split == "eval":
            found |= {"eval_data": data["eval"], "most": options.eval_rows, "seed": self.seed}
        return found

    def notes(self, stream: str, split: str) -> list[str]:
        """Prompts of evaluation that are trained on. What was dropped is told with the rows (`LazyRows.about`)."""
        return [] if stream == TEXT.name else self._load(stream)[split].notes

    def tokenizer(self) -> None:
        """Return None: files go with any tokenizer."""

    def _data(self, stream: str) -> dict[str, list[str]]:
        """Fingerprints of a stream's data when it was first asked for."""
        if stream not in self._fingerprints:
            self._fingerprints[stream] = self.streams[stream].fingerprints()
        return self._fingerprints[stream]

    def _load(self, stream: str) -> dict[str, _Split]:
        """Read both splits of a stream, and survey them once."""
        if stream not in self._splits:
            options, train = self.streams[stream], self._survey(stream, "train")
            apart = self._survey(stream, "eval") if options.places()["eval"] else train
            kept, out = split(train.u_N, self.heldout)
            if apart is not train:
                kept, out = np.arange(len(train.u_N)), np.arange(len(apart.u_N))
            learnt = kept[capped(train.u_N[kept], options.train_rows)]
            held = out[capped(apart.u_N[out], options.eval_rows)]
            about = _and_said(train.about, BEYOND.format(stream), len(kept) - len(learnt))
            # A row that is dropped is on neither side: where both are of one table, the training rows' line counts it.
            rest = replace(apart.about, dropped={}, said={}) if apart is train else apart.about
            notes = [] if apart is train else _shared_prompts(stream, train.u_N[learnt], apart.u_N)
            self._splits[stream] = {
                "train": _Split(train.rows(learnt, about), []),
                "eval": _Split(
                    apart.rows(held, _and_said(rest, BEYOND_HELD_OUT.format(stream), len(out) - len(held))), notes
                ),
            }
        return self._splits[stream]

    def _survey(self, stream: str, split: str) -> Survey:
        """One pass over the rows of a split. UserError if what is read is not what was hashed."""
        options = self.streams[stream]
        tables = [read(*place) for place in options.places()[split]]
        if [table.fingerprint for table in tables] != self._data(stream)[split]:
            raise UserError(f"The data of data.streams.{stream} changed while they were being read; start again.")
        limit = options.limit if split == "train" else None
        return Tables(tables, options, limit).survey(self.seed, self._by_opening())

    def _by_opening(self) -> bool:
        """Are rows held out by their conversation's opening? In all streams, or one prompt could be on both sides."""
        return any(options.turns == "all" for options in self.streams.values())


def _and_said(about: About, what: str, rows: int) -> About:
    """What is to be said of a split's data, and that of so many rows more, if there are any."""
    return replace(about, said={**about.said, what: rows}) if rows else about


def _as_text(streams: Sequence[tuple[Stream, Sequence[Canonical]]]) -> LazyRows:
    """The rows of streams one after another, each as prompt, first response and the stream whose template joins
    them."""

    def make(start: int, stop: int) -> list[Canonical]:
        found: list[Canonical] = []
        for stream, rows in streams:
            answer = stream.responses[0]
            found += [
                {"prompt": row["prompt"], "response": row[answer], "stream": stream.name}
                for row in rows[max(start, 0) : max(stop, 0)]
            ]
            start, stop = start - len(rows), stop - len(rows)
        return found

    return LazyRows(sum(len(rows) for _, rows in streams), make)


def _shared_prompts(stream: str, u_train: np.ndarray, u_eval: np.ndarray) -> list[str]:
    """One sentence if there are any. u is a hash of 53 bits, so that equal u is equal prompts."""
    shared = np.isin(u_eval, u_train).sum()
    sentence = f"{stream}: the prompts of {shared} of {len(u_eval)} evaluation rows are trained on too"
    return [sentence] if shared else []
