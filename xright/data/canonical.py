"""The rows of tables in canonical form, read a chunk at a time: a pass over them all, or those asked for.

100,000 rows as Python dicts cost half a gigabyte; here they stay in the tables' Arrow files.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from xright.data.columns import BESIDE, detect, normalise
from xright.data.counts import COPIED, About
from xright.data.heldout import position
from xright.data.messages import Unusable, opening
from xright.data.stream import Stream
from xright.data.tables import Table
from xright.errors import UserError

if TYPE_CHECKING:
    from datasets import Dataset

CHUNK = 1000  # rows in memory at a time
MAY_BE_LEFT_OUT = ("input", *BESIDE)  # by some rows of a file

Canonical = dict[str, Any]


class LazyRows(Sequence[Canonical]):
    """n rows that are made when asked for: `make(start, stop)` gives them. about: what is said of their data."""

    def __init__(self, n: int, make: Callable[[int, int], list[Canonical]], about: About | None = None) -> None:
        self.n, self.make, self.about = n, make, about

    def __len__(self) -> int:
        return self.n

    @overload
    def __getitem__(self, index: int) -> Canonical: ...
    @overload
    def __getitem__(self, index: slice) -> list[Canonical]: ...
    def __getitem__(self, index: int | slice) -> Canonical | list[Canonical]:
        numbers = range(self.n)[index]
        if isinstance(numbers, int):
            return self.make(numbers, numbers + 1)[0]
        return self.make(numbers.start, numbers.stop) if numbers.step == 1 else [self[i] for i in numbers]

    def __iter__(self) -> Iterator[Canonical]:
        for start in range(0, self.n, CHUNK):
            yield from self[start : start + CHUNK]


class Tables:
    """The first `limit` rows of a stream's tables, one after another."""

    def __init__(self, tables: Sequence[Table], stream: Stream, limit: int | None) -> None:
        self.tables, self.stream = tables, stream
        self.columns = [detect(stream, t.dataset.column_names, t.where) for t in tables]
        for table, columns in zip(tables, self.columns, strict=True):
            _check_same_columns(table, [column for name, column in columns.items() if name not in MAY_BE_LEFT_OUT])
        self.data = [
            t.dataset.select_columns(list(columns.values())) for t, columns in zip(tables, self.columns, strict=True)
        ]
        ends = np.cumsum([len(t.dataset) for t in tables])
        self.bounds = [
            0,
            *np.minimum(ends, ends[-1] if limit is None else limit).tolist(),
        ]  # table i holds the rows from bounds[i] to bounds[i + 1]

    def survey(self, seed: int, by_opening: bool = False) -> Survey:
        """One pass. by_opening: u is that of a prompt's opening. Raises UserError for a row that is malformed, and for
        a table without a usable one."""
        numbers, parts, u = list[int](), list[int](), list[float]()
        used = {column: None for columns in self.columns for column in columns.values()}
        unused = {name: None for table in self.tables for name in table.dataset.column_names if name not in used}
        dropped, said = Counter[str](), Counter[str]()
        read = set[str]()
        for table, (begin, end) in zip(self.tables, pairwise(self.bounds), strict=True):
            own = Counter[str]()
            said[COPIED] += end - begin if table.fingerprint in read else 0
            read.add(table.fingerprint)
            for start in range(begin, end, CHUNK):
                chunk = np.arange(start, min(start + CHUNK, end))
                for number, made in zip(chunk.tolist(), self._made(chunk, said), strict=True):
                    if isinstance(made, Unusable):
                        own[str(made)] += 1
                        continue
                    for part, row in enumerate(made):
                        numbers.append(number)
                        parts.append(part)
                        u.append(position(opening(row["prompt"]) if by_opening else row["prompt"], seed))
            if sum(own.values()) == end - begin > 0:
                reasons = "; ".join(f"{count} {reason}" for reason, count in own.items())
                raise UserError(
                    f"None of the {end - begin} rows of '{table.where}' can be used ({reasons}); check the columns and "
                    "the roles of the messages."
                )
            dropped += own
        about = About(list(used), list(unused), dict(dropped), {what: n for what, n in said.items() if n})
        return Survey(self, np.array([numbers, parts], dtype=np.int64).T, np.array(u, dtype=np.float64), about)

    def read(self, places_M2: np.ndarray) -> list[Canonical]:
        """Return the usable rows of these (number, part), ascending."""
        made = self._made(places_M2[:, 0], Counter())
        return [rows[part] for rows, part in zip(made, places_M2[:, 1].tolist(), strict=True)]  # type: ignore[index]

    def _made(self, numbers_M: np.ndarray, said: Counter[str]) -> Iterator[list[Canonical] | Unusable]:
        """Yield what becomes of rows of the tables, by number, ascending."""
        for i, (begin, end) in enumerate(pairwise(self.bounds)):
            own = numbers_M[(numbers_M >= begin) & (numbers_M < end)] - begin
            if len(own):
                where, columns = self.tables[i].where, self.columns[i]
                for number, cells in zip(own.tolist(), _cells(self.data[i], own), strict=True):
                    try:
                        rows = normalise(self.stream, cells, columns, f"row {number} of '{where}'", said=said)
                        yield [_drawn(row, i) for row in rows] if self.stream.weighted else rows
                    except Unusable as reason:
                        yield reason


@dataclass(frozen=True)
class Survey:
    """What one pass over tables tells: the N usable rows by (number, part), their u (see `heldout`), what is to be said
    of the data."""

    tables: Tables
    places_N2: np.ndarray
    u_N: np.ndarray
    about: About

    def rows(self, picks_M: np.ndarray, about: About | None = None) -> LazyRows:
        """Those of the N rows, ascending."""
        places_M2 = self.places_N2[picks_M]
        return LazyRows(len(places_M2), lambda start, stop: self.tables.read(places_M2[start:stop]), about)


def _drawn(row: Canonical, table: int) -> Canonical:
    """A row with its weight and the number of its table, by which it is drawn."""
    return {**row, "drawn": (row.get("drawn", 1.0), table)}


def _check_same_columns(table: Table, used: Sequence[str]) -> None:
    """UserError if some rows have a used column and all others another one in its place.

    That is a file whose lines are of two kinds: to read it, Arrow fills up either with nulls, and half of the rows
    would be dropped as empty.
    """
    found = {name: table.dataset.data.column(name) for name in table.dataset.column_names}
    partly = [name for name, cells in found.items() if 0 < cells.null_count < len(cells)]
    for name in set(used) & set(partly):
        for other in partly:
            if found[name].is_null().equals(found[other].is_valid()):
                row = found[name].is_null().index(True).as_py()
                raise UserError(
                    f"'{table.where}' mixes rows with '{name}' and rows with '{other}' (row {row} has no '{name}'); "
                    "give all rows the same columns."
                )


def _cells(dataset: Dataset, numbers_M: np.ndarray) -> list[dict[str, Any]]:
    """The rows with these numbers, as they are. A span that is mostly wanted is read whole: five times as fast."""
    first, last = int(numbers_M[0]), int(numbers_M[-1])
    if last - first < 2 * len(numbers_M):
        columns, picks = dataset[first : last + 1], (numbers_M - first).tolist()
    else:
        columns, picks = dataset[numbers_M], range(len(numbers_M))
    return [{name: column[i] for name, column in columns.items()} for i in picks]
