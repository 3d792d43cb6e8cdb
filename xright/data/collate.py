"""From rows of token ids to tensors: the one place that decides the batch layout.

Layout `padded`: every `prompt + response` is a sequence of its own, padded on the right to the longest. Which positions
are prompt, response or padding is known by *position*, never by comparing with the pad id (pad may equal EOS). The
first token of a sequence has no context and is never predicted.

Shapes: S sequences (response-major: all first responses, then all second ones), T tokens, B rows, R responses per row.
"""

from collections.abc import Sequence

import torch
from torch.nn.utils.rnn import pad_sequence

from xright.data.prompts import Row
from xright.objectives import Batch


def collate(rows: Sequence[Row], pad_id: int) -> Batch:
    """Lay out rows that all have the same number of responses; reference log-probs come along when rows have them."""
    responses = len(rows[0].responses)
    sequences = [(row.prompt, row.responses[i]) for i in range(responses) for row in rows]
    ids = [torch.tensor(prompt + response) for prompt, response in sequences]
    lengths_S = torch.tensor([len(sequence) for sequence in ids])
    starts_S = torch.tensor([max(len(prompt), 1) for prompt, _ in sequences])
    position_T = torch.arange(int(lengths_S.max()))
    attention_mask_ST = position_T < lengths_S[:, None]
    response_mask_ST = attention_mask_ST & (position_T >= starts_S[:, None])
    reference = None
    if rows[0].reference is not None:
        reference = torch.tensor([row.reference for row in rows], dtype=torch.float32).T.contiguous()
    return Batch(
        input_ids_ST=pad_sequence(ids, batch_first=True, padding_value=pad_id),
        attention_mask_ST=attention_mask_ST.long(),
        response_mask_ST=response_mask_ST,
        responses=responses,
        n_rows=len(rows),
        n_tokens=int((lengths_S - starts_S).sum()),
        n_input_tokens=int(lengths_S.sum()),
        reference_logps_RB=reference,
    )


def length_sorted_chunks(rows: Sequence[Row], size: int) -> list[list[Row]]:
    """All rows in chunks of at most `size`, neighbours of like length, longest first (so that too large a chunk fails
    at once); for forward-only work, where order does not matter."""
    ordered = sorted(rows, key=lambda row: -len(row.prompt) - max(len(response) for response in row.responses))
    return [ordered[i : i + size] for i in range(0, len(ordered), size)]
