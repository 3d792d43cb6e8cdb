"""One stream's data as the yaml names it: where its rows are, and what identifies them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from xright.data.columns import TURNS
from xright.data.tables import fingerprint
from xright.errors import UserError, check_number
from xright.places import place


@dataclass(frozen=True)
class Stream:
    """One stream's data, as named in the yaml.

    path: file(s) or hub dataset(s), their rows in that order. split, subset: as `datasets` has them.
    eval_path, eval_split: where the evaluation rows are, if they are set apart already (either suffices).
    columns: {canonical name: column}, see `columns.py`. limit: only the first so many rows of `path`. turns: which
    assistant turns of a conversation are learnt, the last or all (SFT only).
    """

    path: tuple[str, ...]
    split: str = "train"
    subset: str | None = None
    eval_path: tuple[str, ...] | None = None
    eval_split: str | None = None
    columns: dict[str, str | None] | None = None
    limit: int | None = None
    turns: str = "last"

    def places(self) -> dict[str, list[tuple[str, str, str | None]]]:
        """{split: [(path, split, subset)]}; none for "eval" where it has to be split off "train"."""
        apart = self.eval_path is not None or self.eval_split is not None
        names = (self.path if self.eval_path is None else self.eval_path) if apart else ()
        return {
            "train": [(name, self.split, self.subset) for name in self.path],
            "eval": [(name, self.eval_split or self.split, self.subset) for name in names],
        }

    def fingerprints(self) -> dict[str, list[str]]:
        """What identifies the data of each split."""
        return {split: [fingerprint(*place) for place in places] for split, places in self.places().items()}


def stream_of(name: str, options: Mapping[str, Any]) -> Stream:
    """The options as given in the yaml, null meaning the default; UserError for those that make no sense."""
    known = [field.name for field in fields(Stream)]
    unknown = set(options) - set(known)
    if unknown:
        raise UserError(f"data.source.{name} has the unknown key '{min(unknown)}'; use {', '.join(known)}.")
    given = {key: value for key, value in options.items() if value is not None}
    if not given.get("path"):
        raise UserError(f"data.source.{name} has no path; set data.source.{name}.path to a file or a hub dataset.")
    if "limit" in given:
        limit = f"data.source.{name}.limit"
        check_number(limit, given["limit"], at_least_one_row, "a whole number of rows >= 1, or null for all")
    for key in {"path", "eval_path"} & set(given):
        given[key] = _names(f"data.source.{name}.{key}", given[key])
    if not isinstance(given.get("columns", {}), Mapping):
        raise UserError(f"data.source.{name}.columns={given['columns']!r} must be {{expected: found, …}}.")
    if given.get("turns", "last") not in (TURNS if name == "sft" else TURNS[:1]):
        remedy = " or ".join(TURNS) if name == "sft" else "left out: the sides of a pair differ in their last turn"
        raise UserError(f"data.source.{name}.turns={given['turns']!r} must be {remedy}.")
    return Stream(**given)


def _names(key: str, value: Any) -> tuple[str, ...]:
    """Files or data sets, each named once: also by a link to it, or in other words."""
    names = (value,) if isinstance(value, str) else tuple(value) if isinstance(value, Sequence) else ()
    if not names or not all(isinstance(name, str) for name in names):
        raise UserError(f"{key}={value!r:.60} must be a file or a hub dataset, or a list of them.")
    first: dict[str, str] = {}
    for name in names:
        real = os.path.realpath(place(name))  # of a data set of the hub just another word for it
        if real in first:
            raise UserError(
                f"{key} names the same data twice, as '{first[real]}' and '{name}', and their rows would count double; "
                "name them once (a copy of a file is read as a file of its own)."
            )
        first[real] = name
    return names


def at_least_one_row(number: object) -> bool:
    """Is it a whole number >= 1?"""
    return isinstance(number, int) and number >= 1
