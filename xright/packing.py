"""Attention for packed lines, and whether a model can have it.

A packed line holds many rows without padding (`data/collate.py`). Everything in a transformer but attention works token
by token, so only attention must know who belongs together: every response attends to its row's prompt and to itself.
It is registered with transformers under the name `packed`; called without groups (generation, padded batches) it is
transformers' own `sdpa`.

On a CPU attention runs response by response. On a GPU a loop of small kernels would wait for launches, so there the
same mask goes to FlexAttention.

Shapes: H heads, K key-value heads, T tokens of the line, E head size.
"""

import logging
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

from xright.data.collate import collate
from xright.data.rows import Row
from xright.models import evaluating
from xright.objectives import Group
from xright.objectives.logprobs import PACKED, hidden_states, language_model

log = logging.getLogger(__name__)

UNKNOWN = ("softcap", "s_aux", "position_bias")  # changes to attention that neither path below makes
WINDOWS = ("sliding_window", "attention_chunk_size")  # in a config: attention reaches less far than the whole prefix
TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 3e-2}  # of hidden states, relative to their size


PROBE = [Row(0, [3, 1, 4], ([1, 5, 2], [6, 5, 3, 5])), Row(1, [2], ([7, 1], [0, 2, 6])), Row(2, [], ([5, 4], [1, 1]))]


def choose_layout(model: nn.Module, wanted: str) -> str:
    """`wanted`, or `padded` with a line in the log where the model's attention cannot be replaced.

    Replaces it where `packed` is wanted, and holds a packed probe to the padded one.
    """
    if wanted == "padded":
        return wanted
    inner = language_model(model)
    before = inner.config._attn_implementation
    if before == PACKED:
        return wanted
    reason: str | None = "its attention cannot be replaced"
    if inner._can_set_attn_implementation():
        inner.set_attn_implementation(PACKED)
        reason = _objection(model, before)
        if reason is None:
            return wanted
        inner.set_attn_implementation(before)
    log.warning("layout: padded, since %s cannot be packed: %s", type(inner).__name__, reason)
    return "padded"


def _objection(model: nn.Module, before: str) -> str | None:
    """Why a model that has packed attention must not keep it, or None."""
    inner = language_model(model)
    windows: set[int | None] = set()
    try:
        packed = _hidden(model, "packed", windows=windows)
        inner.set_attn_implementation(before)
        padded = _hidden(model, "padded")
        inner.set_attn_implementation(PACKED)
    except Exception as error:  # whatever a model's own code does with an attention it does not know
        return f"{type(error).__name__}: {str(error).splitlines()[0][:100]}"
    if any(getattr(inner.config, name, None) for name in WINDOWS) and windows <= {None}:
        return "its attention is not told of its window"
    difference = float((packed - padded).abs().max() / padded.abs().mean())
    allowed = TOLERANCE.get(padded.dtype, TOLERANCE[torch.bfloat16])
    return None if difference <= allowed else f"it differs from the padded layout by {difference:.1g}"


@torch.no_grad()
def _hidden(model: nn.Module, layout: str, **to_attention: Any) -> Tensor:
    """Hidden states that predict the probe's responses, (N, D)."""
    batch = collate(PROBE, 0, layout).to(next(model.parameters()).device)
    with evaluating(model):
        return hidden_states(model, batch, **to_attention)[batch.line_N, batch.position_N]


def attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    groups: Sequence[Group] | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """transformers' attention interface: query (1, H, T, E), key and value (1, K, T, E) to (1, T, H, E)."""
    if groups is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    if unknown := [name for name in UNKNOWN if options.get(name) is not None]:
        raise ValueError(f"packed attention does not know {unknown}")
    scale, window, dropout = options.get("scaling"), options.get("sliding_window"), options.get("dropout", 0.0)
    if "windows" in options:  # the probe asks which windows attention is told of
        options["windows"].add(window)
    if query.device.type == "cuda":
        if dropout:
            raise ValueError("packed attention on a GPU has no dropout; set the model's attention_dropout to 0")
        mask = block_mask(tuple(groups), query.shape[2], window, query.device)
        output = _compiled()(query, key, value, block_mask=mask, scale=scale, enable_gqa=key.shape[1] != query.shape[1])
    else:
        output = by_response(query, key, value, groups, scale, window, dropout)
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
    """The same rule for FlexAttention: same row, not later, and of the prompt or of the own response."""
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
