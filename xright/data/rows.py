"""Rows as token ids: one `Row`, and `Rows`, a sequence of them over flat arrays.

100,000 rows of 200 tokens are 80 MB of int32, which may lie in a memory-mapped file, and 2 MB to say where each row
begins; as Python lists they would be near a gigabyte. A `Row` is made when it is asked for and dropped after use. What
selects rows or adds to them (slices, chosen_only, with_reference, union) makes views: the tokens are never copied.

Shapes: N rows, R responses each, S = 1 + R sequences (prompt, then responses), T tokens.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from typing import Any, overload

import numpy as np

from xright.errors import UserError


@dataclass(frozen=True)
class Row:
    """Token ids of a prompt and its responses: as many as its kind has (`kinds.py`).

    id: 63-bit hash of the token ids, and of the label where there is one. reference: each response's log-prob under the
    reference, where known; of a sampled row what `Memory` adds. label: is the response a good one? Of kind labelled;
    there a second response is another row's, as `Rows.with_mismatches` gives it. drawn: its weight, and the number of
    its file in the stream's path, of a stream that is drawn by these (`Rows.chances`).
    """

    id: int
    prompt: list[int]
    responses: tuple[list[int], ...]
    reference: tuple[float, ...] | None = None
    label: bool | None = None
    drawn: tuple[float, int] | None = None


@dataclass(frozen=True, eq=False)
class Rows(Sequence[Row]):
    """A list of rows, as far as reading goes; an array of indices selects rows as a slice does.

    tokens: int32 arrays, read one after another as if they were one (T,). Sequence s of row n (its prompt, then each
    response) takes lengths_NS[n, s] tokens from starts_NS[n, s] on; it lies within one array. lengths_NS answers
    questions of length without touching the tokens. chances_N: how often each row is drawn beside others; None: all are
    drawn alike.
    """

    tokens: tuple[np.ndarray, ...]
    ids_N: np.ndarray
    starts_NS: np.ndarray
    lengths_NS: np.ndarray
    reference_NR: np.ndarray | None = None
    labels_N: np.ndarray | None = None
    chances_N: np.ndarray | None = None

    @classmethod
    def of(cls, rows: Iterable[Row]) -> Rows:
        """Rows in memory; all have the same number of responses."""
        rows = list(rows)
        parts = [(row.prompt, *row.responses) for row in rows]
        lengths = [[len(part) for part in row] for row in parts]
        lengths_NS = np.array(lengths, dtype=np.int32).reshape(len(rows), len(parts[0]) if rows else 2)
        flat = chain.from_iterable(chain.from_iterable(parts))
        tokens = np.fromiter(flat, dtype=np.int32, count=int(lengths_NS.sum()))
        known = rows and rows[0].reference is not None
        labelled = rows and rows[0].label is not None
        drawn = rows and rows[0].drawn is not None
        return cls(
            (tokens,),
            np.array([row.id for row in rows], dtype=np.int64),
            starts(lengths_NS),
            lengths_NS,
            reference_NR=np.array([row.reference for row in rows], dtype=np.float64) if known else None,
            labels_N=np.array([row.label for row in rows], dtype=bool) if labelled else None,
            chances_N=chances(np.array([row.drawn for row in rows])) if drawn else None,
        )

    def __len__(self) -> int:
        return len(self.ids_N)

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice | np.ndarray) -> Rows: ...
    def __getitem__(self, index: Any) -> Row | Rows:
        reference = None if self.reference_NR is None else self.reference_NR[index]
        label = None if self.labels_N is None else self.labels_N[index]
        begins, lengths = self.starts_NS[index], self.lengths_NS[index]
        if isinstance(index, slice | np.ndarray):
            drawn = None if self.chances_N is None else self.chances_N[index]
            return Rows(
                self.tokens, self.ids_N[index], begins, lengths,
                reference_NR=reference, labels_N=label, chances_N=drawn,
            )  # fmt: skip
        prompt, *responses = map(self._cut, begins.tolist(), lengths.tolist())
        return Row(
            int(self.ids_N[index]),
            prompt,
            tuple(responses),
            reference=None if reference is None else tuple(reference.tolist()),
            label=None if label is None else bool(label),
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and all(own == its for own, its in zip(self, other, strict=True))

    def __repr__(self) -> str:
        return f"Rows({len(self)} rows, {int(self.lengths_NS.sum()):,} tokens)"

    @cached_property
    def digest(self) -> str:
        """Identity of the rows in their order: it covers data, template, tokenizer and length limit at once."""
        drawn = b"" if self.chances_N is None else self.chances_N.astype(">f8").tobytes()
        return hashlib.sha256(self.ids_N.astype(">i8").tobytes() + drawn).hexdigest()[:16]

    def drawn(self, most: int, seed: int) -> Rows:
        """Return so many of the rows, all where there are no more, drawn by a seed; in the order in which they are."""
        return self[np.sort(np.random.default_rng(seed).permutation(len(self))[:most])]

    def chosen_only(self) -> Rows:
        """Return what is to be learnt as completions: of pairs the first response, which is the chosen one; of labelled
        rows those of good ones."""
        rows = self if self.labels_N is None else self[self.labels_N]
        reference = None if rows.reference_NR is None else rows.reference_NR[:, :1]
        return replace(
            rows,
            starts_NS=rows.starts_NS[:, :2],
            lengths_NS=rows.lengths_NS[:, :2],
            reference_NR=reference,
            labels_N=None,
        )

    def with_mismatches(self, max_length: int) -> Rows:
        """Return the rows with the response of another as a second one, cut to max_length tokens with the prompt.

        Whose it is depends on the ids of all rows alone: the next larger id's, and of the largest the smallest's. Equal
        rows share it. It is part of the new id, by which reference log-probs are found. UserError where all are equal.
        """
        _, first_M, place_N = np.unique(self.ids_N, return_index=True, return_inverse=True)
        if len(first_M) < 2:
            raise UserError("fewer than two labelled rows are different, so none has the answer of another; add some.")
        other_N = first_M[(place_N + 1) % len(first_M)]
        ids_N = 3 * self.ids_N.astype(np.uint64) + self.ids_N[other_N].astype(np.uint64)  # modulo 2^64
        lengths_N = np.minimum(self.lengths_NS[other_N, 1], max_length - self.lengths_NS[:, 0])
        return replace(
            self,
            ids_N=(ids_N >> np.uint64(1)).astype(np.int64),
            starts_NS=np.column_stack([self.starts_NS, self.starts_NS[other_N, 1]]),
            lengths_NS=np.column_stack([self.lengths_NS, lengths_N]),
        )

    def with_reference(self, ids_M: np.ndarray, logps_MR: np.ndarray) -> Rows:
        """Rows with reference log-probs, found by row id in a table of M; KeyError with an id that it lacks."""
        order = np.argsort(ids_M)
        place = order[np.searchsorted(ids_M, self.ids_N, sorter=order).clip(max=len(order) - 1)]
        absent = self.ids_N[ids_M[place] != self.ids_N]
        if len(absent):
            raise KeyError(int(absent[0]))
        return replace(self, reference_NR=logps_MR[place])

    def union(self, other: Rows) -> Rows:
        """Both, each id once, in order of first appearance; without reference log-probs, labels and chances."""
        shift = sum(len(part) for part in self.tokens)
        ids_N = np.concatenate([self.ids_N, other.ids_N])
        both = Rows(
            self.tokens + other.tokens,
            ids_N,
            np.concatenate([self.starts_NS, other.starts_NS + shift]),
            np.concatenate([self.lengths_NS, other.lengths_NS]),
        )
        return both[np.sort(np.unique(ids_N, return_index=True)[1])]

    def __getstate__(self) -> dict[str, Any]:
        """Serialise memory-mapped tokens by the name of their file."""
        parts = [part.filename if isinstance(part, np.memmap) else part for part in self.tokens]
        return {**self.__dict__, "tokens": parts}

    def __setstate__(self, state: dict[str, Any]) -> None:
        parts = [part if isinstance(part, np.ndarray) else open_tokens(part) for part in state["tokens"]]
        self.__dict__.update(state | {"tokens": tuple(parts)})

    def _cut(self, start: int, length: int) -> list[int]:
        """Return the tokens of the sequence at `start`."""
        for part in self.tokens:
            if start + length <= len(part):
                break
            start -= len(part)
        return part[start : start + length].tolist()


def chances(drawn_N2: np.ndarray, blend: Sequence[float] = ()) -> np.ndarray:
    """How often rows are drawn, (N,), mean 1. drawn_N2: their weights and the numbers of their files. blend: the files'
    shares of all that is drawn, which their rows divide by their weights; none: weights hold across files.

    >>> chances(np.array([[1, 0], [1, 0], [1, 1], [3, 1]]), blend=(1, 1)).tolist()
    [1.0, 1.0, 0.5, 1.5]
    """
    weights_N, files_N = drawn_N2[:, 0].astype(float), drawn_N2[:, 1].astype(int)
    if blend:
        weights_N = weights_N * (np.array(blend) / np.bincount(files_N, weights_N, minlength=len(blend)))[files_N]
    return weights_N / weights_N.mean()


def starts(lengths_NS: np.ndarray) -> np.ndarray:
    """(N, S) where each sequence begins, for rows that lie one after another."""
    lengths = lengths_NS.astype(np.int64).ravel()
    return (lengths.cumsum() - lengths).reshape(lengths_NS.shape)


def open_tokens(path: Any) -> np.memmap:
    """The tokens in a file, memory-mapped: int32, nothing else."""
    return np.memmap(path, dtype="<i4", mode="r")
