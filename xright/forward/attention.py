"""Attention for packed lines.

A packed line holds many sequences without padding, what they begin with in common once (`trie.py`). Everything in a
transformer but attention works token by token, so only attention must know who belongs together: a token attends to its
ancestors and to itself. It is registered with transformers under the name `packed`; called without branches (in
generation, for padded batches) it is transformers' own `sdpa`. Whether a model can have it is found out in
`packing.py`.

On a CPU attention runs branch by branch. On a GPU a loop of small kernels would wait for launches, so there the same
rule goes to FlexAttention as a mask (`block_mask.py`).

Shapes: H heads, K key-value heads, T tokens of the line, E head size.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention.flex_attention import flex_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from xright.forward.block_mask import block_mask
from xright.forward.logprobs import PACKED
from xright.forward.trie import Branch, pieces

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
    branches: Sequence[Branch] | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """transformers' attention interface: query (1, H, T, E), key and value (1, K, T, E) to (1, T, H, E).

    ValueError for an option that it does not follow, and for a mask: packed batches come with one of a single entry
    (`logprobs.hidden_states`), so a larger one is the model's own and says something that would be lost.
    """
    if branches is None:
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
        return by_block(query, key, value, branches, scale=scale, window=window, kernel=_compiled()), None
    return by_branch(query, key, value, branches, scale=scale, window=window, dropout=dropout), None


def by_branch(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    branches: Sequence[Branch],
    scale: float | None = None,
    window: int | None = None,
    dropout: float = 0.0,
) -> Tensor:
    """One small attention per branch: its own tokens ask all of its sequence; (1, H, T, E) in, (1, T, H, E) out."""
    options: dict[str, Any] = {"scale": scale, "dropout_p": dropout, "enable_gqa": key.shape[1] != query.shape[1]}
    lengths, paths = pieces(tuple(branches))
    # Cut once, wherever it is cut at all: a slice's backward would fill a tensor of the whole line.
    keys, values = key.split(lengths, dim=2), value.split(lengths, dim=2)
    outputs = []
    for queries, path in zip(query.split([own for _, own in branches], dim=2), paths, strict=True):
        k, v = (_joined([cut[piece] for piece in path]) for cut in (keys, values))
        plain = queries.shape[2] == k.shape[2] and (window is None or k.shape[2] <= window)
        mask = None if plain else _causal(queries.shape[2], k.shape[2], window, query.device)
        output = F.scaled_dot_product_attention(queries, k, v, attn_mask=mask, is_causal=plain, **options)
        outputs.append(output.transpose(1, 2))
    return torch.cat(outputs, 1)


def by_block(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    branches: Sequence[Branch],
    scale: float | None = None,
    window: int | None = None,
    kernel: Callable = flex_attention,
) -> Tensor:
    """The whole line at once, by FlexAttention, as it is or compiled; (1, H, T, E) in, (1, T, H, E) out."""
    kind = query.device.type
    if torch.is_autocast_enabled(kind):  # rotary embeddings leave queries and keys, but not values, in fp32
        dtype = torch.get_autocast_dtype(kind)
        query, key, value = (each.to(dtype) for each in (query, key, value))
    options: dict[str, Any] = {"scale": scale, "enable_gqa": key.shape[1] != query.shape[1]}
    # Else lines of fewer than 128 tokens, as the layout's probe is one, would be computed by another kernel.
    options["kernel_options"] = {"FORCE_USE_FLEX_ATTENTION": True}
    output = kernel(query, key, value, block_mask=block_mask(tuple(branches), window, query.device), **options)
    return output.transpose(1, 2).contiguous()


def _joined(parts: list[Tensor]) -> Tensor:
    return torch.cat(parts, 2) if len(parts) > 1 else parts[0]


def _causal(queries: int, keys: int, window: int | None, device: torch.device) -> Tensor:
    """Boolean (queries, keys): the last query sees all keys, each earlier one key less; at most `window` of them."""
    mask = torch.ones(queries, keys, dtype=torch.bool, device=device).tril(keys - queries)
    return mask if window is None else mask.triu(keys - queries - window + 1)


@lru_cache(maxsize=1)
def _compiled() -> Any:
    return torch.compile(flex_attention, dynamic=True)


AttentionInterface.register(PACKED, attention)
AttentionMaskInterface.register(PACKED, sdpa_mask)
