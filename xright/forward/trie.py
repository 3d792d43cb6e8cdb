"""A packed line as a trie of its sequences: a prefix that several of them have in common stands in it once.

Sorted, sequences with a common prefix are neighbours, so that two numbers tell each, as in front coding: how many of
its tokens stand in the line already, as the first ones of the sequence before it, and how many follow as its own. A
chat template's first tokens, a pair's prompt, a prompt with several pairs and the turns of a conversation are all such
prefixes. Who attends to whom follows from these numbers alone: a token to its ancestors and to itself.
"""

from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

LEAST = 8  # tokens that a cut must save: it costs each layer's attention another piece of keys and values


class Branch(NamedTuple):
    """A sequence of a line: its first `shared` tokens are the first of the sequence before it, and `own` follow."""

    shared: int
    own: int


Span = tuple[int, int]  # places in the line, from the first to before the second


def share(sequences: Sequence[list[int]]) -> tuple[list[int], tuple[Branch, ...], list[list[int]]]:
    """The line's tokens, its branches, and for each sequence the places of its tokens in the line.

    A sequence that is another, or begins another, is no branch of its own.
    """
    line: list[int] = []
    branches, places = [], [[0]] * len(sequences)
    before: list[int] = []
    path: list[int] = []  # the places of `before`
    cuts = [0]  # where it is cut already
    # The longer first, so that what begins another comes after it.
    for number in sorted(range(len(sequences)), key=sequences.__getitem__, reverse=True):
        tokens = sequences[number]
        common = _common(before, tokens)
        if common < len(tokens):
            last = max(cut for cut in cuts if cut <= common)
            shared = common if common - last >= LEAST else last
            path = path[:shared] + list(range(len(line), len(line) + len(tokens) - shared))
            cuts = [cut for cut in cuts if cut < shared] + [shared]
            line += tokens[shared:]
            branches.append(Branch(shared, len(tokens) - shared))
            before = tokens
        places[number] = path[: len(tokens)]
    return line, tuple(branches), places


def _common(one: list[int], other: list[int]) -> int:
    """Count the tokens with which both begin."""
    shorter = min(len(one), len(other))
    return next((place for place in range(shorter) if one[place] != other[place]), shorter)


def spans(branches: Sequence[Branch]) -> list[list[Span]]:
    """Where the tokens of each branch's sequence stand in the line, from its first token on; the last span is its own.

    >>> spans([Branch(0, 5), Branch(3, 2), Branch(4, 1)])
    [[(0, 5)], [(0, 3), (5, 7)], [(0, 3), (5, 6), (7, 8)]]
    """
    found: list[list[Span]] = []
    path: list[Span] = []
    start = 0
    for shared, own in branches:
        kept = []
        for begin, end in path:
            kept.append((begin, min(end, begin + shared)))
            shared -= end - begin
            if shared <= 0:
                break
        path = [span for span in kept if span[0] < span[1]] + [(start, start + own)]
        found.append(path)
        start += own
    return found


@lru_cache(maxsize=2)  # all layers share it
def pieces(branches: tuple[Branch, ...]) -> tuple[list[int], list[list[int]]]:
    """Lengths of the pieces into which the line is cut wherever a branch begins or leaves another, and for each branch
    which of them make up its sequence."""
    paths = spans(branches)
    cuts = sorted({place for path in paths for span in path for place in span})
    piece = {cut: number for number, cut in enumerate(cuts)}
    of = [[number for begin, end in path for number in range(piece[begin], piece[end])] for path in paths]
    return [end - begin for begin, end in pairwise(cuts)], of
