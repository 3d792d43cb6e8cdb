"""The limit: the packed, prompt-sharing mathematics written down directly, with nothing around it.

Shares no code with `xright` but the optimizer: rows to tensors, attention, head and loss are its own. So it is what
`xright` pays overhead over, and a second opinion on its numbers.

Shapes: T tokens of the line, H heads, E head size, N response tokens, D hidden size, V vocabulary.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from setting import BETA
from steps import Step
from torch import Tensor, nn
from transformers import AttentionInterface

from xright.data.rows import Row

TILE = 2**20  # logits at once
LEAST = 8  # tokens with which all rows must begin, to be computed once


class Piece(NamedTuple):
    """Tokens of the line that ask, and whom they see beside themselves: so many first tokens of other pieces."""

    length: int
    above: tuple[tuple[int, int], ...] = ()  # (number of the piece, tokens)
    seen: Tensor | None = None  # None: causal


def bare_attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Any, pieces: Sequence[Piece] = (), **more: Any
) -> tuple[Tensor, None]:
    """(1, H, T, E) to (1, T, H, E): each piece sees what is above it, and itself causally."""
    queries, keys, values = (x.split([piece.length for piece in pieces], 2) for x in (query, key, value))
    options, outputs = {"scale": more["scaling"], "enable_gqa": key.shape[1] != query.shape[1]}, []
    for q, k, v, piece in zip(queries, keys, values, pieces, strict=True):
        if piece.above:
            k, v = (
                torch.cat([*(x[number][:, :, :tokens] for number, tokens in piece.above), own], 2)
                for x, own in ((keys, k), (values, v))
            )
        outputs.append(F.scaled_dot_product_attention(q, k, v, piece.seen, is_causal=piece.seen is None, **options))
    return torch.cat(outputs, 2).transpose(1, 2), None


AttentionInterface.register("bare", bare_attention)


class FrozenHead(torch.autograd.Function):
    """log p of tokens, and its gradient W[y] − softmax(z) W on the way, one tile of the vocabulary after the other.

    As in flash attention, the running maximum is taken out of both sums; so the weights are read once.
    """

    @staticmethod
    def forward(ctx: Any, hidden_ND: Tensor, weight_VD: Tensor, tokens_N: Tensor) -> Tensor:
        count, own_ND = len(hidden_ND), weight_VD[tokens_N]
        largest_N1 = hidden_ND.new_full((count, 1), -torch.inf)
        total_N1, mean_ND = hidden_ND.new_zeros(count, 1), torch.zeros_like(hidden_ND)
        for tile_WD in weight_VD.split(max(64, TILE // count // 64 * 64)):  # rows of 64 logits: aligned
            logits_NW = hidden_ND @ tile_WD.T
            new_N1 = torch.maximum(largest_N1, logits_NW.amax(1, keepdim=True))
            shrink_N1, largest_N1 = (largest_N1 - new_N1).exp_(), new_N1
            logits_NW.sub_(new_N1).exp_()
            total_N1.mul_(shrink_N1).add_(logits_NW.sum(1, keepdim=True))
            mean_ND.mul_(shrink_N1).addmm_(logits_NW, tile_WD)
        ctx.save_for_backward(own_ND - mean_ND / total_N1)
        return (hidden_ND * own_ND).sum(1) - (largest_N1 + total_N1.log()).squeeze(1)

    @staticmethod
    def backward(ctx: Any, upstream_N: Tensor) -> tuple[Tensor, None, None]:
        return ctx.saved_tensors[0] * upstream_N[:, None], None, None


class Bare(Step):
    """A dozen lines per loss."""

    def __init__(self, policy: nn.Module) -> None:
        super().__init__(policy)
        model: Any = policy
        model = model.get_base_model() if hasattr(model, "get_base_model") else model
        model.set_attn_implementation("bare")
        self.body, self.weight_VD = model.base_model, model.get_output_embeddings().weight

    def loss(self, rows: Sequence[Row]) -> Tensor:
        """SFT: mean over tokens. DPO: mean over pairs."""
        ids, positions, predicting, pieces = lay_out(rows)
        responses = [response for row in rows for response in row.responses]
        tokens_N = torch.tensor([token for response in responses for token in response])
        hidden_TD = self.body(
            input_ids=torch.tensor([ids]), position_ids=torch.tensor([positions]), use_cache=False, pieces=pieces,
            attention_mask=torch.zeros(1, 1, 1, 1, dtype=torch.bool),
        ).last_hidden_state[0]  # fmt: skip
        hidden_ND = hidden_TD[torch.tensor(predicting)]
        if self.weight_VD.requires_grad:
            logps_N = -F.cross_entropy(hidden_ND @ self.weight_VD.T, tokens_N, reduction="none")
        else:
            logps_N = FrozenHead.apply(hidden_ND, self.weight_VD, tokens_N)
        if len(rows[0].responses) == 1:
            return -logps_N.mean()
        logps_BR = torch.stack([part.sum() for part in logps_N.split([len(one) for one in responses])]).view(-1, 2)
        margins_BR = logps_BR - torch.tensor([row.reference for row in rows])
        return -F.logsigmoid(BETA * (margins_BR[:, 0] - margins_BR[:, 1])).mean()


def lay_out(rows: Sequence[Row]) -> tuple[list[int], list[int], list[int], list[Piece]]:
    """Ids and positions of the line, where its response tokens are predicted, and the pieces attention works on: what
    all prompts begin with; of each row the rest of its prompt with its first response; its second response."""
    columns = enumerate(zip(*(row.prompt for row in rows), strict=False))
    common = next((place for place, column in columns if len(set(column)) > 1), min(len(row.prompt) for row in rows))
    root = rows[0].prompt[:common] if common >= LEAST else []
    ids, positions = [*root], [*range(len(root))]
    predicting: list[int] = []
    pieces = [Piece(len(root))] if root else []
    for row in rows:
        above = ((0, len(root)),) if root else ()
        own = row.prompt[len(root) :]
        last = len(ids) + len(own) - 1 if own else len(root) - 1  # the prompt's last token
        for response in row.responses:
            tokens, depth = own + response, sum(count for _, count in above)
            seen = torch.ones(len(tokens), depth + len(tokens), dtype=torch.bool).tril(depth) if above else None
            pieces.append(Piece(len(tokens), above, seen))
            ids += tokens
            positions += range(depth, depth + len(tokens))
            predicting += [last, *range(len(ids) - len(response), len(ids) - 1)]
            if own:  # what follows sees it
                above, own = (*above, (len(pieces) - 1, len(own))), []
    return ids, positions, predicting, pieces
