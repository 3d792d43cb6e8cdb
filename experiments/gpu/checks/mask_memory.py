"""The mask of a long line is built from the lengths of its branches: no T × T tensor is ever there."""

from collections.abc import Iterator
from typing import Any

import torch
from finding import Said, at_most, skipped
from place import Place
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from xright.forward.block_mask import block_mask
from xright.forward.trie import Branch

SHARE = 100  # of T × T bytes, which is what a dense mask takes


class Largest(TorchDispatchMode):
    """bytes of the largest tensor that any operation gives, on whatever device."""

    bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Look at what comes out."""
        out = func(*args, **kwargs or {})
        sizes = [leaf.numel() * leaf.element_size() for leaf in tree_leaves(out) if isinstance(leaf, torch.Tensor)]
        self.bytes = max([self.bytes, *sizes])
        return out


def check(place: Place) -> Iterator[Said]:
    """A line of pairs: a prompt, two answers; at most a hundredth of what a dense mask takes."""
    pairs = 4 if place.quick else 64
    branches = (Branch(0, 400), Branch(200, 112)) * pairs
    tokens = sum(own for _, own in branches)
    device = torch.device(place.device)
    before = torch.cuda.memory_allocated() if place.is_gpu else 0
    if place.is_gpu:
        torch.cuda.reset_peak_memory_stats()
    with Largest() as largest:
        block_mask(branches, None, device)
    dense = tokens**2
    what = f"of {tokens:,} tokens, where a dense mask takes {dense / 1e6:,.1f} MB"
    yield at_most(f"largest tensor while the mask is built, {what}", largest.bytes / 1e6, dense / SHARE / 1e6, "MB")
    if place.is_gpu:
        peak = (torch.cuda.max_memory_allocated() - before) / 1e6
        yield at_most(f"peak of the device's memory, {what}", peak, dense / SHARE / 1e6, "MB")
    else:
        yield skipped("peak of the device's memory", "it is read off the CUDA allocator")
