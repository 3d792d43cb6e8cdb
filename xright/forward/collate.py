"""From rows of token ids to tensors: the one place that decides the batch layout.

- `packed` (what runs use): all rows in one line of tokens without padding, in which what several sequences begin with
  stands once (`trie.py`): a pair's prompt, and whatever rows have in common. Attention runs per sequence
  (`attention.py`), so that this is the same mathematics on fewer tokens. Under dropout a shared token draws once for
  all its sequences: each still sees the draws that it would see alone, so that the mean gradient is the same.
- `padded`: every `prompt + response` is a line of its own, padded on the right to the longest. The reference
  implementation, and for models whose attention cannot be replaced.

Which positions are prompt, response or padding is known by *position*, never by comparing with the pad id (pad may
equal EOS). The first token of a sequence has no context and is never predicted.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from xright.data.rows import Row
from xright.forward.batch import Batch
from xright.forward.trie import share

LAYOUTS = ("packed", "padded")


def collate(rows: Sequence[Row], pad_id: int, layout: str = "padded") -> Batch:
    """Lay out rows that all have the same number of responses; reference log-probs come along when rows have them.

    A packed batch is for a policy that `packing.choose_layout` has prepared.
    """
    rows = list(rows)
    if rows[0].label is not None:
        return _labelled(rows, pad_id, layout)
    sequences = sequences_of(rows)
    grid, places = {"packed": _packed, "padded": _padded}[layout](sequences, pad_id)
    positions: list[int] = []
    targets: list[int] = []
    lengths = []
    for number, (tokens, own) in enumerate(zip(sequences, places, strict=True)):
        first = max(1, len(rows[number % len(rows)].prompt))  # predicted token
        positions += own[first - 1 : -1]
        targets += tokens[first:]
        lengths.append(len(tokens) - first)
    position_N, token_N = np.array(positions, np.int64), np.array(targets, np.int64)
    sequence_N = torch.from_numpy(np.repeat(np.arange(len(lengths)), lengths))
    distinct_M, which_N = _distinct(position_N, token_N) if layout == "packed" else (None, None)
    reference = None
    if rows[0].reference is not None:
        reference = torch.tensor([row.reference for row in rows], dtype=torch.float64).T.contiguous()
    return Batch(
        **grid,
        line_N=torch.zeros_like(sequence_N) if layout == "packed" else sequence_N,
        position_N=torch.from_numpy(position_N),
        token_N=torch.from_numpy(token_N),
        sequence_N=sequence_N,
        lengths=tuple(lengths),
        responses=len(rows[0].responses),
        n_rows=len(rows),
        n_input_tokens=sum(map(len, sequences)),
        distinct_M=distinct_M,
        which_N=which_N,
        reference_logps_RB=reference,
    )


def sequences_of(rows: Sequence[Row]) -> list[list[int]]:
    """Prompt and response of all rows' first responses, then of all second ones, and so on."""
    return [row.prompt + row.responses[number] for number in range(len(rows[0].responses)) for row in rows]


def _labelled(rows: list[Row], pad_id: int, layout: str) -> Batch:
    """Labelled rows, and apart from them their prompts with the answers of others, through which no gradient goes."""
    own, other = (collate([_only(row, response) for row in rows], pad_id, layout) for response in range(2))
    labels_B = torch.tensor([row.label for row in rows])
    tokens = own.n_input_tokens + other.n_input_tokens
    return replace(own, labels_B=labels_B, mismatched=other, n_input_tokens=tokens)


def _only(row: Row, response: int) -> Row:
    """The row with one of its responses, and without its label."""
    one = slice(response, response + 1)
    return replace(row, responses=row.responses[one], reference=row.reference and row.reference[one], label=None)


def _distinct(position_N: np.ndarray, token_N: np.ndarray) -> tuple[Tensor | None, Tensor | None]:
    """`Batch.distinct_M` and `which_N` of predictions in one line."""
    keys_N = position_N << 32 | token_N
    _, distinct_M, which_N = np.unique(keys_N, return_index=True, return_inverse=True)
    if len(distinct_M) == len(keys_N):
        return None, None
    return torch.from_numpy(distinct_M), torch.from_numpy(which_N)


def _padded(sequences: Sequence[list[int]], pad_id: int) -> tuple[dict, list[list[int]]]:
    """The grid of S lines, and where each sequence's tokens stand in its own."""
    ids = [torch.from_numpy(np.array(tokens, np.int64)) for tokens in sequences]
    mask = [torch.ones(len(tokens), dtype=torch.long) for tokens in sequences]
    return {
        "input_ids_LT": pad_sequence(ids, batch_first=True, padding_value=pad_id),
        "attention_mask_LT": pad_sequence(mask, batch_first=True),
        "position_ids_LT": None,
        "branches": None,
    }, [list(range(len(tokens))) for tokens in sequences]


def _packed(sequences: Sequence[list[int]], pad_id: int) -> tuple[dict, list[list[int]]]:
    """The one line, and where each sequence's tokens stand in it."""
    line, branches, places = share(sequences)
    positions_T = np.concatenate([np.arange(shared, shared + own) for shared, own in branches])
    return {
        "input_ids_LT": torch.from_numpy(np.array(line, np.int64))[None],
        "attention_mask_LT": None,
        "position_ids_LT": torch.from_numpy(positions_T)[None],
        "branches": branches,
    }, places
