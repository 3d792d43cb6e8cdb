"""Which rows are kept for evaluation: a pure function of each prompt.

A row is held out if u(prompt) < heldout, where u in [0, 1) is a hash of the seed and the prompt's words. So
one prompt never sits on both sides, in either stream, whatever the order of the rows, and rows added later
move no other row. Where all turns of conversations are learnt, u is that of a conversation's opening, so that its rows
are all on one side, with every prompt that begins as they do. Rows that repeat another one word for word are kept: they
are the user's weighting.

u_N: u of each of N rows; what is returned are row numbers, ascending.
"""

from __future__ import annotations

import hashlib

import numpy as np

from xright.data.messages import Prompt, words


def split(u_N: np.ndarray, heldout: float) -> tuple[np.ndarray, np.ndarray]:
    """Return (training rows, held-out rows), as indices."""
    return np.flatnonzero(u_N >= heldout), np.flatnonzero(u_N < heldout)


def capped(u_N: np.ndarray, most: int | None) -> np.ndarray:
    """At most `most` rows (None: all), those of lowest u: a larger cap only adds rows."""
    return np.sort(np.argsort(u_N, kind="stable")[:most])


def position(prompt: Prompt, seed: int) -> float:
    """Return u(prompt) in [0, 1), a hash of prompt and seed."""
    digest = hashlib.blake2b(f"{seed}\n{words(prompt)}".encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "little") >> 11) / 2**53  # 53 bits: exact as a float, and never 1
