"""Attention on the packed line against brute force: a dense mask, written down token by token, under torch's own
attention in fp64."""

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from finding import Said, at_most, skipped
from place import Place
from torch import Tensor, nn
from torch.nn.attention.flex_attention import create_mask

from xright.forward.attention import attention
from xright.forward.block_mask import BLOCK, block_mask
from xright.forward.rounding import relative, rounding
from xright.forward.trie import share

HEADS, KEY_VALUES, SIZE = 6, 2, 64  # grouped queries, as SmolLM2 and Llama 3 have them
DTYPES = (torch.float32, torch.bfloat16)
SEQUENCES = [  # shared over several blocks, a branch of a branch, a short one alone, many behind one prompt
    [*[1] * 300, *[2] * 90], [*[1] * 300, *[2] * 20, *[3] * 300], [*[1] * 30, *[4] * 150], [5] * 7,
    *([*[6] * 140, number] for number in range(7, 157)),
]  # fmt: skip


def check(place: Place) -> Iterator[Said]:
    """The rule is exact; results and gradients agree to rounding."""
    sequences = SEQUENCES[:4] if place.quick else SEQUENCES
    line, branches, places = share(sequences)
    device = torch.device(place.device)
    for window in (None, 170):
        seen = visible(places, len(line), window).to(device)
        mask = block_mask(branches, window, device)
        of = "" if window is None else f", window of {window}"
        rule = create_mask(mask.mask_mod, 1, 1, len(line), len(line), place.device)[0, 0]
        yield at_most(f"the mask's rule{of}: pairs of tokens that differ", int((rule != seen).sum()), 0)
        yield at_most(f"the mask's blocks{of}: pairs left out or let in", wrong_pairs(mask, seen), 0)
        for dtype in DTYPES:
            name, bound = (
                str(dtype).removeprefix("torch."),
                rounding(dtype, layers=1, width=len(line)),
            )  # sums over keys
            found, expected = (results(kind, dtype, seen, (branches, window)) for kind in (ours, brute_force))
            for what, one, other in zip(("output", "gradient"), found, expected, strict=True):
                kernel = "FlexAttention" if place.is_gpu else "attention branch by branch"
                yield at_most(f"{kernel} against brute force, {name}{of}: {what}", relative(one, other), bound)
    if not place.is_gpu:
        yield skipped("FlexAttention against brute force", "its compiled kernels need a GPU; the mask is checked above")


def visible(places: Sequence[Sequence[int]], tokens: int, window: int | None) -> Tensor:
    """(T, T): a token sees itself and what stands before it in a sequence that it belongs to."""
    seen = torch.zeros(tokens, tokens, dtype=torch.bool)
    for own in map(torch.tensor, places):
        steps_back = torch.arange(len(own))[:, None] - torch.arange(len(own))
        near = (steps_back >= 0) & (steps_back < (window or len(own)))
        seen[own[:, None], own] |= near
    return seen


def wrong_pairs(mask: object, seen: Tensor) -> int:
    """Visible pairs in blocks that are not listed, and invisible ones in blocks that are listed as full."""
    size = -(-len(seen) // BLOCK)
    blocks = F.pad(seen.cpu(), (0, size * BLOCK - len(seen)) * 2).view(size, BLOCK, size, BLOCK).transpose(1, 2)
    some, full = (
        listed(getattr(mask, f"{kind}kv_num_blocks"), getattr(mask, f"{kind}kv_indices")) for kind in ("", "full_")
    )
    return int(blocks[~(some | full)].sum() + (~blocks[full]).sum())


def listed(numbers: Tensor, indices: Tensor) -> Tensor:
    """(N, N): blocks of keys that are listed for each block of queries."""
    found = torch.zeros(indices.shape[-2:], dtype=torch.bool)
    for row, (number, which) in enumerate(zip(numbers[0, 0].tolist(), indices[0, 0].tolist(), strict=True)):
        found[row, which[:number]] = True
    return found


def results(kind: object, dtype: torch.dtype, seen: Tensor, line: tuple) -> tuple[Tensor, Tensor]:
    """Output, and the gradient of a sum that weighs each number of it differently, by queries, keys and values."""
    generator = torch.Generator().manual_seed(0)
    sizes = [(1, heads, len(seen), SIZE) for heads in (HEADS, KEY_VALUES, KEY_VALUES)]
    inputs = [torch.randn(size, generator=generator).to(seen.device, dtype).requires_grad_() for size in sizes]
    upstream = torch.randn((1, len(seen), HEADS, SIZE), generator=generator).to(seen.device, dtype)
    output = kind(inputs, seen, *line)  # type: ignore[operator]
    gradients = torch.autograd.grad(output, inputs, upstream.to(output.dtype))
    return output.detach(), torch.cat([gradient.flatten() for gradient in gradients])


def ours(inputs: Sequence[Tensor], seen: Tensor, branches: tuple, window: int | None) -> Tensor:
    """What a model with packed attention calls."""
    return attention(nn.Module(), *inputs, attention_mask=None, branches=branches, sliding_window=window)[0]


def brute_force(inputs: Sequence[Tensor], seen: Tensor, branches: tuple, window: int | None) -> Tensor:
    """In fp64, on the same rounded numbers."""
    query, key, value = (one.double() for one in inputs)
    key, value = (one.repeat_interleave(HEADS // KEY_VALUES, 1) for one in (key, value))
    scores = (query @ key.transpose(2, 3) / SIZE**0.5).masked_fill(~seen, -torch.inf)
    return (scores.softmax(-1) @ value).transpose(1, 2)
