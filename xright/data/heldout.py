"""Which rows are kept for evaluation: a pure function of each prompt.

A row is held out if u(prompt) < heldout, where u in [0, 1) is a hash of the seed and the prompt's words. So
one prompt never sits on both sides, in either stream, whatever the order of the rows, and rows added later
move no other row. Rows that repeat another one word for word are kept: they are the user's weighting.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from xright.data.columns import Prompt, prompt_words

Rows = list[dict[str, Any]]


def split(rows: Sequence[dict[str, Any]], heldout: float, seed: int) -> tuple[Rows, Rows]:
    """(training rows, held-out rows), each in their order."""
    out = [position(row["prompt"], seed) < heldout for row in rows]
    train = [row for row, is_out in zip(rows, out, strict=True) if not is_out]
    return train, [row for row, is_out in zip(rows, out, strict=True) if is_out]


def capped(rows: Sequence[dict[str, Any]], most: int | None, seed: int) -> Rows:
    """At most `most` rows (None: all), those of lowest u, in their order: a larger cap only adds rows."""
    lowest = sorted(range(len(rows)), key=lambda i: position(rows[i]["prompt"], seed))
    return [rows[i] for i in sorted(lowest[:most])]


def position(prompt: Prompt, seed: int) -> float:
    """u(prompt), in [0, 1)."""
    digest = hashlib.blake2b(f"{seed}\n{prompt_words(prompt)}".encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "little") >> 11) / 2**53  # 53 bits: exact as a float, and never 1
