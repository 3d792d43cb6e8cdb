"""From rows of token ids to tensors: the one place that decides the batch layout.

- `packed` (what runs use): all rows in one line of tokens without padding; responses of a row share its prompt,
  [prompt | chosen | rejected]; positions restart with each row, and with each response at the prompt's length.
  Attention runs per row (`packing.py`), so that this is the same mathematics on fewer tokens.
- `padded`: every `prompt + response` is a line of its own, padded on the right to the longest. The reference
  implementation, and for models whose attention cannot be replaced.

Which positions are prompt, response or padding is known by *position*, never by comparing with the pad id (pad may
equal EOS). The first token of a sequence has no context and is never predicted.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import product

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

from xright.data.rows import Row, Rows
from xright.forward.batch import Batch, Group

LAYOUTS = ("packed", "padded")


def collate(rows: Sequence[Row], pad_id: int, layout: str = "padded") -> Batch:
    """Lay out rows that all have the same number of responses; reference log-probs come along when rows have them.

    A packed batch is for a policy that `packing.choose_layout` has prepared.
    """
    rows = list(rows)
    if rows[0].label is not None:
        return _labelled(rows, pad_id, layout)
    grid, places = {"packed": _packed, "padded": _padded}[layout](rows, pad_id)
    position: list[int] = []
    token: list[int] = []
    lengths = []
    for number, (response, row) in enumerate(product(range(len(rows[0].responses)), rows)):
        tokens = row.responses[response]
        last_of_prompt, first = places[number]
        if row.prompt:
            position.append(last_of_prompt)
        position += range(first, first + len(tokens) - 1)
        predicted = tokens if row.prompt else tokens[1:]
        token += predicted
        lengths.append(len(predicted))
    sequence_N = torch.arange(len(lengths)).repeat_interleave(torch.tensor(lengths))
    reference = None
    if rows[0].reference is not None:
        reference = torch.tensor([row.reference for row in rows], dtype=torch.float64).T.contiguous()
    return Batch(
        **grid,
        line_N=torch.zeros_like(sequence_N) if layout == "packed" else sequence_N,
        position_N=torch.tensor(position, dtype=torch.long),
        token_N=torch.tensor(token, dtype=torch.long),
        sequence_N=sequence_N,
        lengths=tuple(lengths),
        responses=len(rows[0].responses),
        n_rows=len(rows),
        n_input_tokens=sum(len(row.prompt) + len(response) for row in rows for response in row.responses),
        reference_logps_RB=reference,
    )


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


def length_sorted_chunks(rows: Sequence[Row], size: int) -> list[Sequence[Row]]:
    """All rows in chunks of at most `size`, neighbours of like length, longest first (so that too large a chunk fails
    at once); for forward-only work, where order does not matter."""
    rows = rows if isinstance(rows, Rows) else Rows.of(rows)
    longest_N = rows.lengths_NS[:, 0] + rows.lengths_NS[:, 1:].max(axis=1)
    order = np.argsort(-longest_N, kind="stable")
    return [rows[order[i : i + size]] for i in range(0, len(order), size)]


def _padded(rows: Sequence[Row], pad_id: int) -> tuple[dict, list[tuple[int, int]]]:
    """The grid of S lines, and per sequence the positions of the prompt's last and the response's first token."""
    ids = [torch.tensor(row.prompt + row.responses[i]) for i in range(len(rows[0].responses)) for row in rows]
    mask = [torch.ones(len(sequence), dtype=torch.long) for sequence in ids]
    starts = [(len(row.prompt) - 1, len(row.prompt)) for _ in rows[0].responses for row in rows]
    return {
        "input_ids_LT": pad_sequence(ids, batch_first=True, padding_value=pad_id),
        "attention_mask_LT": pad_sequence(mask, batch_first=True),
        "position_ids_LT": None,
        "groups": None,
    }, starts


def _packed(rows: Sequence[Row], pad_id: int) -> tuple[dict, list[tuple[int, int]]]:
    """Lay all rows out in one line, without padding."""
    ids: list[int] = []
    positions: list[int] = []
    groups, starts = [], {}
    for number, row in enumerate(rows):
        begin, prompt = len(ids), len(row.prompt)
        groups.append(Group(begin, prompt, tuple(len(response) for response in row.responses)))
        ids += row.prompt
        positions += range(prompt)
        for index, response in enumerate(row.responses):
            starts[index, number] = (begin + prompt - 1, len(ids))
            ids += response
            positions += range(prompt, prompt + len(response))
    return {
        "input_ids_LT": torch.tensor([ids]),
        "attention_mask_LT": None,
        "position_ids_LT": torch.tensor([positions]),
        "groups": tuple(groups),
    }, [starts[key] for key in sorted(starts)]
