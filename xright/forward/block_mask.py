"""Who attends to whom in a packed line, as a mask for FlexAttention.

A token's descendants are those that follow it in the line, up to a place: a trie in the order in which its branches are
told keeps each subtree together. So token k is an ancestor of q, or q itself, where k ≤ q < end[k], and whole blocks of
tokens are compared by the least and the largest of these numbers: no T × T tensor is ever there.

Shapes: T tokens of the line, N blocks of BLOCK.
"""

from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask

from xright.forward.trie import Branch, spans

BLOCK = 128  # FlexAttention's own


@lru_cache(maxsize=2)  # all layers share it
def block_mask(branches: tuple[Branch, ...], window: int | None, device: torch.device) -> BlockMask:
    """Return the mask of a line; of each sequence a token sees itself and the `window` − 1 before it (None: all)."""
    end_T, depth_T = lines(branches)
    (least_N, most_N), (near_N, far_N) = (_extremes(line_T) for line_T in (end_T, depth_T))
    begin_N = torch.arange(0, len(end_T), BLOCK)
    before_NN = begin_N[:, None] > begin_N  # queries in rows, keys in columns
    seen_NN = before_NN & (most_N > begin_N[:, None])
    full_NN = before_NN & (least_N >= begin_N[:, None] + BLOCK)
    if window is not None:  # blocks that it may touch: a few too many do no harm, the rule below is asked there
        seen_NN &= near_N[:, None] - far_N < window
        full_NN &= far_N[:, None] - near_N < window
    some_NN = seen_NN & ~full_NN | torch.eye(len(begin_N), dtype=torch.bool)
    end_T, depth_T = end_T.to(device), depth_T.to(device)

    def allowed(batch: Tensor, head: Tensor, q: Tensor, k: Tensor) -> Tensor:
        seen = (k <= q) & (q < end_T[k])
        return seen if window is None else seen & (depth_T[q] - depth_T[k] < window)

    some, full = (_listed(blocks_NN.to(device)) for blocks_NN in (some_NN, full_NN))
    return BlockMask.from_kv_blocks(
        *some, *full, BLOCK_SIZE=BLOCK, mask_mod=allowed, seq_lengths=(len(end_T), len(end_T))
    )


def lines(branches: tuple[Branch, ...]) -> tuple[Tensor, Tensor]:
    """Per token: where its descendants end in the line, and its position in its sequences."""
    end_T = torch.zeros(sum(own for _, own in branches), dtype=torch.int32)
    for path in spans(branches):
        for begin, end in path:
            end_T[begin:end] = path[-1][1]  # the last that says so is right
    return end_T, torch.cat([torch.arange(shared, shared + own, dtype=torch.int32) for shared, own in branches])


def _extremes(line_T: Tensor) -> tuple[Tensor, ...]:
    """The least and the largest number of each block, (N,) each."""
    blocks = [block_T.aminmax() for block_T in line_T.split(BLOCK)]
    return tuple(torch.stack(numbers) for numbers in zip(*blocks, strict=True))


def _listed(blocks_NN: Tensor) -> tuple[Tensor, Tensor]:
    """For each block of queries how many blocks of keys, and which of them first, as FlexAttention wants it."""
    which = blocks_NN.int().argsort(dim=1, descending=True, stable=True)
    return blocks_NN.sum(1, dtype=torch.int32)[None, None], which.int()[None, None]
