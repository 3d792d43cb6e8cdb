"""Seeded rows of random tokens, with lengths that spread as real ones do.

Prompts and responses are log-normal; with the default spread some 42 % of a padded SFT batch of 12 and 37 % of a padded
DPO batch of 4 pairs are padding, and 59 % of the tokens of a DPO batch belong to responses.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from xright.data.rows import Row
from xright.forward.collate import sequences_of
from xright.forward.trie import share

SPREAD = 0.6  # sigma of the log-lengths of prompts and of responses
PROMPT = 0.41  # the prompt's share of a sequence, on average
MEAN = 0.54  # mean length of a sequence over the longest allowed

Round = dict[str, list[Row]]  # the rows of one step, by stream


@dataclass(frozen=True)
class Lengths:
    """What a batch looks like. longest: tokens of prompt + response, at most; sft, pairs: rows per step."""

    longest: int = 384
    sft: int = 12
    pairs: int = 4


def draw(lengths: Lengths, vocabulary: int, seed: int) -> Round:
    """The rows of one step; ids differ between seeds, token 0 (EOS) ends every response and is nowhere else."""
    generator = np.random.default_rng(seed)

    def length(mean: float, most: int) -> int:
        drawn = generator.lognormal(np.log(mean) - SPREAD**2 / 2, SPREAD)
        return int(np.clip(round(drawn), 1, most))

    def words(count: int) -> list[int]:
        return generator.integers(1, vocabulary, count).tolist()

    def row(number: int, responses: int) -> Row:
        mean = MEAN * lengths.longest
        prompt = words(length(PROMPT * mean, lengths.longest - 2))
        room = lengths.longest - len(prompt)
        drawn = ([*words(length((1 - PROMPT) * mean, room) - 1), 0] for _ in range(responses))
        return Row(1000 * seed + number, prompt, tuple(drawn))

    pairs = [row(number, 2) for number in range(lengths.pairs)]
    return {"sft": [row(500 + number, 1) for number in range(lengths.sft)], "preference": pairs}


def describe(rows: Sequence[Row]) -> dict[str, float]:
    """tokens: of all sequences; shared: with each pair's prompt once; trie: of the packed line; predicted; longest;
    padded: of the padded grid; padding: the fraction of it that is none of the rows'."""
    sequences = [len(row.prompt) + len(response) for row in rows for response in row.responses]
    predicted = sum(len(response) for row in rows for response in row.responses)
    return {
        "tokens": sum(sequences),
        "shared": predicted + sum(len(row.prompt) for row in rows),
        "trie": len(share(sequences_of(rows))[0]),
        "predicted": predicted,
        "longest": max(sequences),
        "padded": len(sequences) * max(sequences),
        "padding": 1 - sum(sequences) / (len(sequences) * max(sequences)),
    }
