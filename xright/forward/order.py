"""The order in which rows go forward where it is free, as in evaluation and for log-probs that are stored.

Packed, prompts that begin alike belong into one line (`trie.py`), so rows go sorted by prompt; padded, rows of like
length belong together.
"""

from collections.abc import Sequence

import numpy as np

from xright.data.rows import Row, Rows


def ordered(rows: Sequence[Row], layout: str) -> Rows:
    """All rows: neighbours have like prompts where the layout is packed, else like lengths, the longest first."""
    rows = rows if isinstance(rows, Rows) else Rows.of(rows)
    order = np.argsort(-longest(rows), kind="stable")
    if layout == "packed":
        prompts = [np.array(row.prompt, dtype=">i4").tobytes() for row in rows]  # bytes, an eighth of a list's memory
        order = np.array(sorted(order, key=prompts.__getitem__), dtype=int)
    return rows[order]


def chunks(rows: Sequence[Row], size: int, layout: str) -> list[Rows]:
    """All rows, `ordered`, in chunks of at most `size`; the largest first, so that too large a one fails at once."""
    rows = ordered(rows, layout)
    found = [rows[begin : begin + size] for begin in range(0, len(rows), size)]
    return sorted(found, key=lambda chunk: -len(chunk) * longest(chunk).max())


def longest(rows: Rows) -> np.ndarray:
    """Tokens of each row's longest sequence, (N,)."""
    return rows.lengths_NS[:, 0] + rows.lengths_NS[:, 1:].max(axis=1)
