"""Attention for packed lines.

A packed line holds many rows without padding (`collate.py`). Everything in a transformer but attention works token by
token, so only attention must know who belongs together: every response attends to its row's prompt and to itself. It is
registered with transformers under the name `packed`; called without groups (generation, padded batches) it is
transformers' own `sdpa`. Whether a model can have it is found out in `packing.py`.

On a CPU attention runs response by response. On a GPU a loop of small kernels would wait for launches, so there the
same mask goes to FlexAttention.

Shapes: H heads, K key-value heads, T tokens of the line, E head size.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from xright.forward.batch import Group
from xright.forward.logprobs import PACKED

# What a model may tell its attention beside queries, keys and values: what is followed below, and what changes nothing.
# Anything else that is not None may say that some keys count differently or not at all, as a cap, a sink, a bias or the
# indices of a sparse selection do.
FOLLOWED = {"scaling", "dropout", "sliding_window", "is_causal"}
IMMATERIAL = {"windows", "position_ids", "output_attentions", "output_hidden_states", "return_dict", "use_cache"}


def attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    groups: Sequence[Group] | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """transformers' attention interface: query (1, H, T, E), key and value (1, K, T, E) to (1, T, H, E).

    ValueError for an option that it does not follow, and for a mask: packed batches come with one of a single entry
    (`logprobs.hidden_states`), so a larger one is the model's own and says something that would be lost.
    """
    if groups is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    given = {name for name, option in options.items() if option is not None}
    if unknown := sorted(given - FOLLOWED - IMMATERIAL):
        raise ValueError(f"packed attention does not know {unknown}")
    if attention_mask is not None and attention_mask.numel() > 1:
        raise ValueError("packed attention does not know the model's own attention mask")
    if options.get("is_causal", True) is False or query.shape[2] != key.shape[2]:
        raise ValueError("packed attention is causal self-attention")
    scale, window, dropout = options.get("scaling"), options.get("sliding_window"), options.get("dropout", 0.0)
    if "windows" in options:  # the probe asks which windows attention is told of, layer by layer
        options["windows"][getattr(module, "layer_idx", None)] = window
    if query.device.type == "cuda":
        if dropout:
            raise ValueError("packed attention on a GPU has no dropout; set the model's attention_dropout to 0")
        mask = block_mask(tuple(groups), query.shape[2], window, query.device)
        output = _compiled()(query, key, value, block_mask=mask, scale=scale, enable_gqa=key.shape[1] != query.shape[1])
    else:
        output = by_response(query, key, value, groups, scale=scale, window=window, dropout=dropout)
    return output.transpose(1, 2).contiguous(), None


def by_response(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    groups: Sequence[Group],
    scale: float | None = None,
    window: int | None = None,
    dropout: float = 0.0,
) -> Tensor:
    """One small attention per response; (1, H, T, E) in and out."""
    options: dict[str, Any] = {"scale": scale, "dropout_p": dropout, "enable_gqa": key.shape[1] != query.shape[1]}
    # Cut once, with the prompt at the first response: a slice's backward would fill a tensor of the whole line.
    lengths = [length for _, prompt, (first, *rest) in groups for length in (prompt + first, *rest)]
    pieces = zip(*(tensor.split(lengths, dim=2) for tensor in (query, key, value)), strict=True)
    outputs = []
    for _, prompt, responses in groups:
        for index in range(len(responses)):
            queries, keys, values = next(pieces)
            if index == 0:
                prompt_keys, prompt_values = keys[:, :, :prompt], values[:, :, :prompt]
            elif prompt:
                keys, values = torch.cat([prompt_keys, keys], 2), torch.cat([prompt_values, values], 2)
            plain = queries.shape[2] == keys.shape[2] and (window is None or keys.shape[2] <= window)
            mask = None if plain else _causal(queries.shape[2], keys.shape[2], window, query.device)
            outputs.append(
                F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask, is_causal=plain, **options)
            )
    return torch.cat(outputs, 2)


@lru_cache(maxsize=2)  # all layers share it
def block_mask(groups: tuple[Group, ...], tokens: int, window: int | None, device: torch.device) -> BlockMask:
    """Return the same rule as a mask for FlexAttention: same row, not later, and of the prompt or of the own
    response."""
    row_T, part_T, position_T = (line.to(device) for line in _lines(groups))

    def allowed(batch: Tensor, head: Tensor, q: Tensor, k: Tensor) -> Tensor:
        seen = (row_T[q] == row_T[k]) & (k <= q) & ((part_T[k] == 0) | (part_T[k] == part_T[q]))
        return seen if window is None else seen & (position_T[q] - position_T[k] < window)

    return create_block_mask(allowed, None, None, tokens, tokens, device=device)


def _lines(groups: tuple[Group, ...]) -> tuple[Tensor, Tensor, Tensor]:
    """Per token: its row, its part (0 the prompt, 1 … a response), and its position in its sequence."""
    row: list[int] = []
    part: list[int] = []
    position: list[int] = []
    for number, (_, prompt, responses) in enumerate(groups):
        lengths = [prompt, *responses]
        row += [number] * sum(lengths)
        for index, length in enumerate(lengths):
            part += [index] * length
            position += range(prompt if index else 0, (prompt if index else 0) + length)
    return torch.tensor(row), torch.tensor(part), torch.tensor(position)


def _causal(queries: int, keys: int, window: int | None, device: torch.device) -> Tensor:
    """Boolean (queries, keys): the last query sees all keys, each earlier one key less; at most `window` of them."""
    mask = torch.ones(queries, keys, dtype=torch.bool, device=device).tril(keys - queries)
    return mask if window is None else mask.triu(keys - queries - window + 1)


@lru_cache(maxsize=1)
def _compiled() -> Any:
    return torch.compile(flex_attention, dynamic=True)


AttentionInterface.register(PACKED, attention)
AttentionMaskInterface.register(PACKED, sdpa_mask)
